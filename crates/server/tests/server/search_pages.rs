//! Pages of searches, and the links between them.

use std::time::Duration;

use serde_json::{Value, json};
use server::Limits;

use super::search::{clinic, fill, ids, link, put};
use crate::support::{Access, BASE, Site, rule};

fn named(id: usize) -> Value {
    json!({ "resourceType": "Patient", "id": format!("p{id}"), "name": [{ "family": "Secret" }],
        "managingOrganization": { "reference": "Organization/o" } })
}

async fn seven() -> Site {
    let site = Site::start().await;
    put(&site, json!({ "resourceType": "Organization", "id": "o" })).await;
    for id in 1..=7 {
        put(&site, named(id)).await;
    }
    site
}

#[tokio::test]
async fn pages_have_each_match_once_while_others_are_written() {
    // SRCH-193, SRCH-203, SRCH-205, SRCH-209, SRCH-211
    for (query, pages) in [("_count=3", 3), ("_count=7", 1), ("_count=1&_sort=-_id", 7)] {
        let site = seven().await;
        let (mut seen, mut count) = (Vec::new(), 0);
        let mut next = Some(format!("/Patient?family=secret&{query}"));
        while let Some(page) = next {
            let bundle = site.get(&page).await.is(200).json();
            assert_eq!(bundle["total"], 7);
            let own = link(&bundle, "self").unwrap();
            assert_eq!(ids(&site.get(&own).await.is(200).json(), "match"), ids(&bundle, "match"));
            seen.extend(ids(&bundle, "match"));
            next = link(&bundle, "next");
            count += 1;
            if count == 1 {
                site.put("Patient/p8", named(8)).await.is(201);
                site.delete("Patient/p5").await.is(204);
                let mut renamed = named(6);
                renamed["name"][0]["family"] = "Other".into();
                site.put("Patient/p6", renamed).await.is(200);
            }
        }
        assert_eq!(count, pages, "{query}");
        seen.sort();
        assert_eq!(seen, (1..=7).map(|id| format!("p{id}")).collect::<Vec<_>>(), "{query}");
    }
}

#[tokio::test]
async fn each_page_has_its_own_includes() {
    // SRCH-173, SRCH-184
    let site = seven().await;
    let mut next = Some("/Patient?_include=Patient:organization&_count=3".to_owned());
    while let Some(page) = next {
        let bundle = site.get(&page).await.is(200).json();
        assert_eq!(ids(&bundle, "include"), ["o"]);
        let mut urls: Vec<_> =
            bundle["entry"].as_array().unwrap().iter().map(|it| it["fullUrl"].clone()).collect();
        urls.dedup();
        assert_eq!(urls.len(), bundle["entry"].as_array().unwrap().len());
        next = link(&bundle, "next");
    }
}

#[tokio::test]
async fn a_count_above_the_limit_is_brought_below_it_and_said() {
    // SRCH-200
    let site = Site::limited(Limits { search_page: 2, ..Limits::default() }).await;
    fill(&site).await;
    let bundle = site.get("Patient").await.is(200).json();
    assert_eq!(ids(&bundle, "match").len(), 2);
    let bundle = site.get("Patient?_count=1000000").await.is(200).json();
    assert_eq!(link(&bundle, "self").unwrap(), "/Patient?_count=1000");
    assert_eq!(ids(&bundle, "match").len(), 3);
}

#[tokio::test]
async fn a_link_after_a_form_tells_nothing_of_it_and_leads_on_by_url_and_by_form() {
    // SRCH-204, SRCH-212
    let site = seven().await;
    let form = |body: String| {
        let ask = site.ask("POST", "Patient/_search");
        ask.bytes("application/x-www-form-urlencoded", body).send()
    };
    let first = form("family=secret&_count=3".to_owned()).await.is(200).json();
    let next = link(&first, "next").unwrap();
    assert!(next.starts_with("/Patient?_page=") && !next.contains("ecret"), "{next}");
    let second = site.get(&next).await.is(200).json();
    let expected: Vec<String> = ["p4", "p5", "p6"].map(str::to_owned).into();
    let mut found = [ids(&first, "match"), ids(&second, "match")].concat();
    found.sort();
    assert_eq!(found[3..], expected[..]);
    let by_form = form(next.split_once('?').unwrap().1.to_owned()).await.is(200).json();
    assert_eq!(ids(&by_form, "match"), ids(&second, "match"));
}

#[tokio::test]
async fn a_link_is_good_for_who_got_it_where_and_for_a_day() {
    // SRCH-206
    let site = seven().await;
    put(
        &site,
        json!({ "resourceType": "Observation", "id": "x", "status": "final",
        "code": { "text": "x" } }),
    )
    .await;
    let first = site.get("Patient?_count=3").await.is(200).json();
    let next = link(&first, "next").unwrap();
    let refused = async |target: &str, access: &Access, status: u16| {
        let answer = site.ask("GET", target).by(access).send().await.is(status);
        assert_eq!(answer.expressions(), ["http._page"]);
    };
    let owner = Access::owner();
    let tampered = format!("{}AAAA", &next[..next.len() - 4]);
    refused(&tampered, &owner, 400).await;
    refused(&next.replace("Patient", "Observation"), &owner, 400).await;
    refused(&format!("{next}&_count=5"), &owner, 400).await;
    refused(&next, &owner.clone().sent_by("another-app"), 400).await;
    refused(&next, &owner.clone().in_tenant("other"), 400).await;
    let rules = Access::of(vec![rule(&["Patient"], &["search", "read"], "all")]);
    refused(&next, &rules, 400).await;
    site.clock.advance(Duration::from_secs(24 * 3600 + 1));
    refused(&next, &owner, 410).await;
}

#[tokio::test]
async fn a_page_ends_before_it_is_longer_than_an_answer_may_be() {
    let limits = Limits { answer_bytes: 900, ..Limits::default() };
    let site = Site::limited(limits).await;
    fill(&site).await;
    let (mut seen, mut pages) = (Vec::new(), 0);
    let mut next = Some("/Patient?_sort=_id".to_owned());
    while let Some(page) = next {
        let bundle = site.get(&page).await.is(200).json();
        assert!(!ids(&bundle, "match").is_empty());
        seen.extend(ids(&bundle, "match"));
        next = link(&bundle, "next");
        pages += 1;
    }
    assert_eq!((seen, pages > 1), (vec!["1".into(), "2".into(), "3".into()], true));
}

#[tokio::test]
async fn what_is_too_much_to_include_is_left_out_and_said() {
    // SRCH-177
    let site = Site::limited(Limits { search_included: 1, ..Limits::default() }).await;
    fill(&site).await;
    let bundle = site.get("Patient?_id=1&_revinclude=Observation:subject").await.is(200).json();
    assert_eq!(ids(&bundle, "include").len(), 1);
    let outcome = &bundle["entry"][2];
    assert_eq!(outcome["search"]["mode"], "outcome");
    assert_eq!(outcome["resource"]["issue"][0]["severity"], "warning");
    assert_eq!(bundle["total"], 1);
}

#[tokio::test]
async fn links_lead_to_the_public_base() {
    // SRCH-203, SRCH-226
    let site = clinic().await;
    let bundle = site.get("Patient?_count=1&name=m%C3%BCller&_sort=_id").await.is(200).json();
    let links: Vec<_> = bundle["link"].as_array().unwrap().iter().collect();
    assert!(links.iter().all(|link| link["url"].as_str().unwrap().starts_with(BASE)));
    assert_eq!(link(&bundle, "self").unwrap(), "/Patient?_count=1&name=m%C3%BCller&_sort=_id");
}
