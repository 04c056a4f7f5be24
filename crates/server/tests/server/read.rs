//! read, vread and conditional read.

use std::time::Duration;

use serde_json::json;

use crate::support::{Access, Site};

async fn site_with_two_versions() -> Site {
    let site = Site::start().await;
    site.put("Patient/1", r#"{"resourceType":"Patient","id":"1","active":true}"#).await.is(201);
    site.clock.advance(Duration::from_secs(90));
    site.put("Patient/1", r#"{"resourceType":"Patient","id":"1","active":false}"#).await.is(200);
    site
}

#[tokio::test]
async fn a_read_returns_the_newest_version_with_its_headers() {
    // HTTP-031, HTTP-032, HTTP-056, HTTP-059, HTTP-006
    let site = site_with_two_versions().await;
    let read = site.get("Patient/1").await.is(200);
    assert_eq!(
        read.text(),
        r#"{"resourceType":"Patient","id":"1","meta":{"versionId":"2","lastUpdated":"2026-01-02T03:05:35.678901Z"},"active":false}"#
    );
    assert_eq!(read.header("etag"), Some("W/\"2\""));
    assert_eq!(read.header("last-modified"), Some("Fri, 02 Jan 2026 03:05:35 GMT"));
    assert_eq!(read.header("content-type"), Some("application/fhir+json"));
    // HTTP-022, HTTP-053
    assert!(read.header("vary").unwrap().contains("Accept"));
    assert!(read.header("cache-control").unwrap().contains("private"));
}

#[tokio::test]
async fn what_never_was_is_404_and_what_was_deleted_is_410() {
    // HTTP-057, HTTP-058
    let site = site_with_two_versions().await;
    let missing = site.get("Patient/2").await.is(404);
    assert_eq!(missing.code(), "not-found");
    assert_eq!(missing.header("etag"), None);
    site.delete("Patient/1").await.is(204);
    let gone = site.get("Patient/1").await.is(410);
    assert_eq!(gone.code(), "deleted");
    assert_eq!(gone.header("etag"), Some("W/\"3\""));
}

#[tokio::test]
async fn types_are_case_sensitive_and_must_exist() {
    // HTTP-002, HTTP-003
    let site = Site::start().await;
    for target in ["Foo/1", "Patientt/1", "Foo/1/_history", "Foo/1/_history/1"] {
        assert_eq!(site.get(target).await.is(404).code(), "not-supported", "{target}");
    }
    site.post("Foo", r#"{"resourceType":"Foo"}"#).await.is(404);
    site.put("Foo/1", r#"{"resourceType":"Foo","id":"1"}"#).await.is(404);
    site.delete("Foo/1").await.is(404);
    assert_eq!(site.position(), 0);
}

#[tokio::test]
async fn every_version_is_read_by_its_number() {
    // HTTP-063, HTTP-065
    let site = site_with_two_versions().await;
    let first = site.get("Patient/1/_history/1").await.is(200);
    assert_eq!(first.header("etag"), Some("W/\"1\""));
    assert_eq!(first.json()["active"], json!(true));
    assert_eq!(first.json()["meta"]["versionId"], "1");
    let newest = site.get("Patient/1/_history/2").await.is(200);
    assert_eq!(newest.body, site.get("Patient/1").await.body);
}

#[tokio::test]
async fn a_version_that_is_none_is_404_and_a_deletion_is_410() {
    // HTTP-064, HTTP-066
    let site = site_with_two_versions().await;
    site.delete("Patient/1").await.is(204);
    for version in ["4", "abc", "0", "01", "99999999999999999999", "1.0"] {
        let target = format!("Patient/1/_history/{version}");
        assert_eq!(site.get(&target).await.is(404).code(), "not-found", "{version}");
    }
    site.get("Patient/1/_history/3").await.is(410);
    site.get("Patient/1/_history/1").await.is(200);
    site.get("Patient/1/_history/2").await.is(200);
    site.get("Patient/2/_history/1").await.is(404);
}

#[tokio::test]
async fn one_id_names_two_resources_of_two_types() {
    // HTTP-061
    let site = Site::start().await;
    site.put("Patient/1", r#"{"resourceType":"Patient","id":"1"}"#).await.is(201);
    site.put("Observation/1", r#"{"resourceType":"Observation","id":"1","status":"final"}"#)
        .await
        .is(201);
    site.delete("Patient/1").await.is(204);
    assert_eq!(site.get("Observation/1").await.is(200).json()["status"], "final");
    assert_eq!(site.get("Observation/1").await.header("etag"), Some("W/\"1\""));
}

#[tokio::test]
async fn two_tenants_share_neither_data_nor_versions() {
    // HTTP-229
    let site = Site::start().await;
    let other = Access::owner().in_tenant("other");
    let put = |text: &'static str| {
        site.ask("PUT", "Patient/1")
            .by(&other)
            .body(format!(r#"{{"resourceType":"Patient","id":"1","language":"{text}"}}"#))
    };
    site.put("Patient/1", r#"{"resourceType":"Patient","id":"1","language":"en"}"#).await.is(201);
    assert_eq!(put("de").send().await.is(201).header("etag"), Some("W/\"1\""));
    put("fr").send().await.is(200);
    let ours = site.get("Patient/1").await.is(200);
    assert_eq!(ours.json()["language"], "en");
    assert_eq!(ours.header("etag"), Some("W/\"1\""));
    site.ask("GET", "Patient/1/_history/2").send().await.is(404);
}

#[tokio::test]
async fn a_conditional_read_answers_304_when_nothing_changed() {
    // HTTP-038, HTTP-039, HTTP-040
    let site = site_with_two_versions().await;
    let check = async |headers: &[(&str, &str)], status: u16| {
        let mut ask = site.ask("GET", "Patient/1");
        for (name, value) in headers {
            ask = ask.header(name, value);
        }
        let answer = ask.send().await.is(status);
        assert_eq!(answer.header("etag"), Some("W/\"2\""));
        assert_eq!(answer.body.is_empty(), status == 304);
    };
    let (same, before) = ("Fri, 02 Jan 2026 03:05:35 GMT", "Fri, 02 Jan 2026 03:05:34 GMT");
    check(&[("if-none-match", "W/\"2\"")], 304).await;
    check(&[("if-none-match", "\"2\"")], 304).await;
    check(&[("if-none-match", "W/\"1\", W/\"2\"")], 304).await;
    check(&[("if-none-match", "*")], 304).await;
    check(&[("if-none-match", "W/\"1\"")], 200).await;
    check(&[("if-modified-since", same)], 304).await;
    check(&[("if-modified-since", before)], 200).await;
    check(&[("if-modified-since", "yesterday")], 200).await;
    check(&[("if-none-match", "W/\"1\""), ("if-modified-since", same)], 200).await;
    check(&[("if-none-match", "W/\"2\""), ("if-modified-since", before)], 304).await;
}

#[tokio::test]
async fn a_conditional_read_of_what_was_deleted_is_410() {
    // HTTP-041
    let site = site_with_two_versions().await;
    site.delete("Patient/1").await.is(204);
    for tag in ["W/\"2\"", "W/\"3\"", "*"] {
        site.ask("GET", "Patient/1").header("if-none-match", tag).send().await.is(410);
    }
}

#[tokio::test]
async fn head_answers_like_get_without_the_body() {
    // HTTP-067
    let site = site_with_two_versions().await;
    for target in
        ["Patient/1", "Patient/1/_history/1", "Patient/1/_history", "metadata", "Patient/9"]
    {
        let get = site.get(target).await;
        let head = site.ask("HEAD", target).send().await.is(get.status);
        assert!(head.body.is_empty(), "{target}");
        for name in ["content-type", "etag", "last-modified", "content-length", "vary"] {
            assert_eq!(head.header(name), get.header(name), "{target} {name}");
        }
    }
}

#[tokio::test]
async fn unknown_parameters_are_ignored_unless_handling_is_strict() {
    // HTTP-025, HTTP-026, HTTP-047
    let site = site_with_two_versions().await;
    let strict = async |target: &str| {
        let ask = site.ask("GET", target).header("prefer", "handling=strict");
        ask.send().await
    };
    site.get("Patient/1?foo=bar").await.is(200);
    let refused = strict("Patient/1?foo=bar").await.is(400);
    assert_eq!(refused.expressions(), ["http.foo"]);
    strict("Patient/1?_format=json&_pretty=true").await.is(200);
    strict("Patient/1?_elements=name").await.is(400);
    strict("Patient/1?_count=1").await.is(400);
    strict("Patient/1/_history?_count=1").await.is(200);
    strict("metadata?mode=full").await.is(200);
}

#[tokio::test]
async fn what_was_written_is_there_after_a_restart() {
    let site = Site::on_disk().await;
    let patient = r#"{"resourceType":"Patient","id":"1","active":true}"#;
    let before = site.put("Patient/1", patient).await.is(201).body;
    let created = site.post("Patient", patient).await.is(201).reference();
    let site = site.restart().await;
    assert_eq!(site.get("Patient/1").await.is(200).body, before);
    site.get(&created).await.is(200);
}
