//! history of an instance.

use std::time::Duration;

use serde_json::Value;

use crate::support::{BASE, Site};
use server::Limits;

const OWN: &str = "http://clinic.example/fhir/Patient/1";

fn patient(language: &str) -> String {
    format!(r#"{{"resourceType":"Patient","id":"1","language":"{language}"}}"#)
}

/// Versions 1 (PUT), 2 (PUT, a minute later), 3 (DELETE, a minute later).
async fn site() -> Site {
    let site = Site::start().await;
    site.put("Patient/1", patient("en")).await.is(201);
    site.clock.advance(Duration::from_secs(60));
    site.put("Patient/1", patient("de")).await.is(200);
    site.clock.advance(Duration::from_secs(60));
    site.delete("Patient/1").await.is(204);
    site
}

fn versions(bundle: &Value) -> Vec<&str> {
    let entries = bundle["entry"].as_array().map(Vec::as_slice).unwrap_or_default();
    entries.iter().map(|entry| entry["response"]["etag"].as_str().unwrap()).collect()
}

fn next(bundle: &Value) -> Option<String> {
    let links = bundle["link"].as_array().unwrap();
    let next = links.iter().find(|link| link["relation"] == "next")?;
    let url = next["url"].as_str().unwrap();
    Some(url.strip_prefix(BASE).unwrap().to_owned())
}

#[tokio::test]
async fn a_history_shows_every_version_the_newest_first() {
    // HTTP-143, HTTP-144, HTTP-145, HTTP-147, HTTP-153
    let site = site().await;
    let bundle = site.get("Patient/1/_history").await.is(200).json();
    assert_eq!(bundle["resourceType"], "Bundle");
    assert_eq!(bundle["type"], "history");
    assert_eq!(bundle["total"], 3);
    assert_eq!(versions(&bundle), ["W/\"3\"", "W/\"2\"", "W/\"1\""]);
    let entry = |index: usize| &bundle["entry"][index];
    for index in 0..3 {
        assert_eq!(entry(index)["fullUrl"], OWN);
        assert_eq!(entry(index)["request"]["url"], "Patient/1");
    }
    assert_eq!(entry(0)["request"]["method"], "DELETE");
    assert_eq!(entry(0)["response"]["status"], "204");
    assert_eq!(entry(0)["response"]["lastModified"], "2026-01-02T03:06:05.678901Z");
    assert_eq!(entry(0).get("resource"), None);
    assert_eq!(entry(1)["request"]["method"], "PUT");
    assert_eq!(entry(1)["response"]["status"], "200");
    assert_eq!(entry(1)["resource"]["language"], "de");
    assert_eq!(entry(1)["resource"]["meta"]["versionId"], "2");
    assert_eq!(entry(2)["response"]["status"], "201");
}

#[tokio::test]
async fn a_version_made_by_create_is_shown_as_post() {
    // HTTP-146
    let site = Site::start().await;
    let created = site.post("Patient", r#"{"resourceType":"Patient"}"#).await.is(201);
    let target = format!("{}/_history", created.reference());
    let bundle = site.get(&target).await.is(200).json();
    let request = &bundle["entry"][0]["request"];
    assert_eq!((&request["method"], &request["url"]), (&"POST".into(), &"Patient".into()));
    assert_eq!(bundle["entry"][0]["response"]["status"], "201");
    assert_eq!(bundle["entry"][0]["resource"]["resourceType"], "Patient");
}

#[tokio::test]
async fn a_history_of_what_never_was_is_404() {
    // HTTP-148
    let site = site().await;
    site.get("Patient/2/_history").await.is(404);
    site.get("Patient/1/_history").await.is(200);
}

#[tokio::test]
async fn since_includes_its_own_instant() {
    // HTTP-149
    let site = site().await;
    let check = async |since: &str, expected: &[&str]| {
        let target = format!("Patient/1/_history?_since={since}");
        let bundle = site.get(&target).await.is(200).json();
        assert_eq!(versions(&bundle), expected, "{since}");
        assert_eq!(bundle["total"], expected.len());
    };
    check("2026-01-02T03:05:05.678901Z", &["W/\"3\"", "W/\"2\""]).await;
    check("2026-01-02T03:05:05.678902Z", &["W/\"3\""]).await;
    check("2026-01-02T04:05:05.678901%2B01:00", &["W/\"3\"", "W/\"2\""]).await;
    check("2026-01-02T04:05:05.678901+01:00", &["W/\"3\"", "W/\"2\""]).await;
    check("2027-01-01T00:00:00Z", &[]).await;
}

#[tokio::test]
async fn pages_follow_each_other_while_versions_arrive() {
    // HTTP-151
    let site = Site::start().await;
    for number in 0..7 {
        site.put("Patient/1", patient(&number.to_string())).await;
    }
    let mut seen = Vec::new();
    let mut target = Some("Patient/1/_history?_count=3".to_owned());
    while let Some(page) = target {
        let bundle = site.get(&page).await.is(200).json();
        seen.extend(versions(&bundle).into_iter().map(str::to_owned));
        target = next(&bundle);
        site.put("Patient/1", patient("new")).await.is(200);
    }
    let expected: Vec<String> = (1..=7).rev().map(|number| format!("W/\"{number}\"")).collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn a_page_has_no_more_than_the_server_allows() {
    let site = Site::limited(Limits { history_page: 2, ..Limits::default() }).await;
    for number in 0..3 {
        site.put("Patient/1", patient(&number.to_string())).await;
    }
    for query in ["", "?_count=100"] {
        let bundle = site.get(&format!("Patient/1/_history{query}")).await.is(200).json();
        assert_eq!(versions(&bundle), ["W/\"3\"", "W/\"2\""]);
        let rest = site.get(&next(&bundle).unwrap()).await.is(200).json();
        assert_eq!(versions(&rest), ["W/\"1\""]);
        assert_eq!(next(&rest), None);
    }
    let none = site.get("Patient/1/_history?_count=0").await.is(200).json();
    assert_eq!((&none["total"], versions(&none)), (&3.into(), Vec::new()));
}

#[tokio::test]
async fn a_page_of_long_versions_ends_early_and_has_one_at_least() {
    let site = Site::limited(Limits { answer_bytes: 5000, ..Limits::default() }).await;
    for length in [100, 2000, 2000, 9000] {
        site.put("Patient/1", patient(&"x".repeat(length))).await;
    }
    let mut pages = Vec::new();
    let mut target = Some("Patient/1/_history".to_owned());
    while let Some(page) = target {
        let bundle = site.get(&page).await.is(200).json();
        assert_eq!(bundle["total"], 4);
        pages.push(versions(&bundle).len());
        target = next(&bundle);
    }
    assert_eq!(pages, [1, 3]);
}

#[tokio::test]
async fn parameters_that_cannot_be_read_or_repeat_are_refused() {
    // HTTP-155, HTTP-237
    let site = site().await;
    let check = async |query: &str, expression: &str| {
        let refused = site.get(&format!("Patient/1/_history?{query}")).await.is(400);
        assert_eq!(refused.expressions(), [expression], "{query}");
    };
    check("_since=yesterday", "http._since").await;
    check("_count=many", "http._count").await;
    check("_count=-1", "http._count").await;
    check("_since=2026-01-01T00:00:00Z&_since=2026-01-01T00:00:00Z", "http._since").await;
    check("_at=soon", "http._at").await;
    check("_at=2026&_at=2026", "http._at").await;
    check("_sort=_lastUpdated", "http._sort").await;
    check("_page=AAAA&_count=2", "http._page").await;
}
