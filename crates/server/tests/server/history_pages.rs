//! Pages of histories, and the links between them.

use std::time::Duration;

use serde_json::Value;
use server::Limits;

use crate::support::{Access, BASE, Site, rule};

async fn put(site: &Site, id: usize, language: &str) {
    let body = format!(r#"{{"resourceType":"Patient","id":"{id}","language":"{language}"}}"#);
    let status = site.put(&format!("Patient/{id}"), body).await.status;
    assert!(matches!(status, 200 | 201));
}

/// Seven patients, each changed once: fourteen versions.
async fn site() -> Site {
    let site = Site::start().await;
    fill(&site).await;
    site
}

async fn fill(site: &Site) {
    for language in ["en", "de"] {
        for id in 1..=7 {
            put(site, id, language).await;
        }
    }
}

fn names(bundle: &Value) -> Vec<String> {
    let entries = bundle["entry"].as_array().map(Vec::as_slice).unwrap_or_default();
    let name = |entry: &Value| {
        let url = entry["fullUrl"].as_str().unwrap();
        let etag = entry["response"]["etag"].as_str().unwrap();
        format!("{}.{}", url.rsplit('/').next().unwrap(), &etag[3..etag.len() - 1])
    };
    entries.iter().map(name).collect()
}

fn link(bundle: &Value, relation: &str) -> Option<String> {
    let links = bundle["link"].as_array().unwrap();
    let link = links.iter().find(|link| link["relation"] == relation)?;
    Some(link["url"].as_str().unwrap().strip_prefix(BASE).unwrap().to_owned())
}

fn expected() -> Vec<String> {
    let name = |version: usize| move |id: usize| format!("{id}.{version}");
    (1..=7).rev().map(name(2)).chain((1..=7).rev().map(name(1))).collect()
}

#[tokio::test]
async fn pages_have_each_version_once_while_others_arrive() {
    // HTTP-151
    for target in ["_history?_count=4", "Patient/_history?_count=4"] {
        let site = site().await;
        let (mut seen, mut pages) = (Vec::new(), Vec::new());
        let mut next = Some(target.to_owned());
        while let Some(page) = next {
            let bundle = site.get(&page).await.is(200).json();
            assert_eq!(bundle["total"], 14);
            let own = link(&bundle, "self").unwrap();
            assert_eq!(names(&site.get(&own).await.is(200).json()), names(&bundle));
            seen.extend(names(&bundle));
            next = link(&bundle, "next");
            pages.push(bundle);
            put(&site, 3, "fr").await;
            put(&site, 100 + seen.len(), "fr").await;
        }
        assert_eq!(seen, expected(), "{target}");
        assert_eq!(pages.len(), 4);
        // And back, without what arrived.
        assert_eq!(link(&pages[0], "previous"), None);
        let mut at = pages.last().unwrap().clone();
        for page in pages.iter().rev().skip(1) {
            at = site.get(&link(&at, "previous").unwrap()).await.is(200).json();
            assert_eq!(names(&at), names(page));
            assert!(link(&at, "next").is_some());
        }
        assert_eq!(link(&at, "previous"), None);
        let on = site.get(&link(&at, "next").unwrap()).await.is(200).json();
        assert_eq!(names(&on), names(&pages[1]));
    }
}

#[tokio::test]
async fn a_count_of_nought_is_the_total_alone() {
    let site = site().await;
    let bundle = site.get("Patient/_history?_count=0").await.is(200).json();
    assert_eq!((&bundle["total"], names(&bundle)), (&14.into(), Vec::new()));
    assert_eq!(link(&bundle, "next"), None);
}

#[tokio::test]
async fn a_page_of_long_versions_ends_early_and_the_rest_follows() {
    let site = Site::limited(Limits { answer_bytes: 5000, ..Limits::default() }).await;
    for id in 1..=9 {
        put(&site, id, &"x".repeat(if id == 5 { 9000 } else { 1500 })).await;
    }
    let (mut seen, mut next) = (Vec::new(), Some("_history".to_owned()));
    while let Some(page) = next {
        let bundle = site.get(&page).await.is(200).json();
        let found = names(&bundle);
        assert!((1..=3).contains(&found.len()), "{found:?}");
        seen.extend(found);
        next = link(&bundle, "next");
    }
    assert_eq!(seen, (1..=9).rev().map(|id| format!("{id}.1")).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_link_outlives_a_restart_and_a_day_and_no_longer() {
    let site = Site::on_disk().await;
    fill(&site).await;
    let first = site.get("_history?_count=4").await.is(200).json();
    let next = link(&first, "next").unwrap();
    let site = site.restart().await;
    site.clock.advance(Duration::from_secs(24 * 3600));
    put(&site, 1, "fr").await;
    let second = site.get(&next).await.is(200).json();
    assert_eq!(names(&second), expected()[4..8]);
    site.clock.advance(Duration::from_micros(1));
    let gone = site.get(&next).await.is(410);
    assert_eq!((gone.code(), gone.expressions()), ("expired".into(), vec!["http._page".into()]));
    // Each page has a link of its own age.
    site.get(&link(&second, "next").unwrap()).await.is(200);
    // A clock that was set back makes no link live longer.
    site.clock.back(Duration::from_secs(3 * 24 * 3600));
    site.get(&next).await.is(410);
}

#[tokio::test]
async fn a_link_opens_for_its_caller_and_its_url_alone() {
    // LEAK: a link is no way past the caller's own access.
    let site = site().await;
    let first = site.get("Patient/_history?_count=2").await.is(200).json();
    let next = link(&first, "next").unwrap();
    let (_, sealed) = next.split_once("_page=").unwrap();
    assert!(!sealed.contains("Patient") && sealed.len() < 200, "{sealed}");
    let refused = async |target: &str, access: &Access| {
        let answer = site.ask("GET", target).by(access).send().await.is(400);
        assert_eq!(answer.expressions(), ["http._page"], "{target}");
    };
    let owner = Access::owner();
    for path in ["_history", "Observation/_history", "Patient/1/_history"] {
        refused(&format!("{path}?_page={sealed}"), &owner).await;
    }
    refused(&next, &Access::of_patient("1")).await;
    refused(&next, &Access::owner().in_tenant("other")).await;
    refused(&next, &Access::owner().launched_for("1")).await;
    let other_rules = Access::of(vec![rule(&["Patient"], &["history", "search"], "all")]);
    refused(&next, &other_rules).await;
    refused(&format!("{next}&_count=9"), &owner).await;
    refused(&format!("{next}&_page={sealed}"), &owner).await;
    for changed in
        ["", "AAAA", "%00", &sealed[1..], &sealed[..sealed.len() - 1], &sealed.to_uppercase()]
    {
        refused(&format!("Patient/_history?_page={changed}"), &owner).await;
    }
    let own = Access::of_patient("1");
    let target = "Patient/_history?_count=1";
    let first = site.ask("GET", target).by(&own).send().await.is(200).json();
    let next = link(&first, "next").unwrap();
    refused(&next, &owner).await;
    refused(&next, &Access::of_patient("2")).await;
    site.ask("GET", &next).by(&own).send().await.is(200);
    // How it is written stays the caller's choice.
    site.ask("GET", &format!("{next}&_pretty=true&_format=json")).by(&own).send().await.is(200);
    let strict = site.ask("GET", &next).by(&own).header("prefer", "handling=strict");
    strict.send().await.is(200);
}
