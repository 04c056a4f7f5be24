//! delete.

use serde_json::{Value, json};

use crate::support::bundle::{batch, entry, transaction};
use crate::support::{Access, Site, rule};

const PATIENT: &str = r#"{"resourceType":"Patient","id":"1"}"#;

#[tokio::test]
async fn what_is_deleted_is_gone() {
    // HTTP-130, HTTP-135
    let site = Site::start().await;
    site.put("Patient/1", PATIENT).await.is(201);
    let deleted = site.delete("Patient/1").await.is(204);
    assert!(deleted.body.is_empty());
    assert_eq!(deleted.header("etag"), Some("W/\"2\""));
    assert_eq!(deleted.header("location"), None);
    site.get("Patient/1").await.is(410);
}

#[tokio::test]
async fn deleting_twice_or_what_never_was_succeeds_and_writes_nothing() {
    // HTTP-131
    let site = Site::start().await;
    site.put("Patient/1", PATIENT).await.is(201);
    site.delete("Patient/1").await.is(204);
    let position = site.position();
    let again = site.delete("Patient/1").await.is(204);
    assert_eq!(again.header("etag"), Some("W/\"2\""));
    let never = site.delete("Patient/never").await.is(204);
    assert_eq!(never.header("etag"), None);
    assert_eq!(site.position(), position);
    assert_eq!(site.get("Patient/1/_history").await.json()["total"], 2);
    site.get("Patient/never").await.is(404);
}

#[tokio::test]
async fn a_delete_honours_if_match() {
    // HTTP-134
    let site = Site::start().await;
    site.put("Patient/1", PATIENT).await.is(201);
    site.put("Patient/1", PATIENT).await.is(200);
    let delete =
        async |tag: &str| site.ask("DELETE", "Patient/1").header("if-match", tag).send().await;
    delete("W/\"1\"").await.is(412);
    site.get("Patient/1").await.is(200);
    delete("W/\"2\"").await.is(204);
    delete("W/\"2\"").await.is(412);
}

#[tokio::test]
async fn an_outcome_that_is_preferred_comes_with_200() {
    let site = Site::start().await;
    site.put("Patient/1", PATIENT).await.is(201);
    let ask = site.ask("DELETE", "Patient/1").header("prefer", "return=OperationOutcome");
    let deleted = ask.send().await.is(200);
    assert_eq!(deleted.json()["resourceType"], "OperationOutcome");
    assert_eq!(deleted.header("etag"), Some("W/\"2\""));
}

#[tokio::test]
async fn which_version_a_deletion_is_is_told_to_who_may_read_what_was_deleted() {
    // LEAK-13
    let site = Site::start().await;
    let limited = |actions: &[&str]| Access::of(vec![rule(&["Patient"], actions, "all")]);
    let (deleter, reader) =
        (limited(&["delete", "search"]), limited(&["delete", "search", "read"]));
    let gone = |url: &str| [entry("DELETE", url, Value::Null)];
    for (access, etag) in [(&deleter, false), (&reader, true), (&Access::of_patient("1"), true)] {
        for target in ["Patient/1", "Patient?_id=1"] {
            site.put("Patient/1", PATIENT).await;
            let done = site.ask("DELETE", target).by(access).send().await.is(204);
            assert_eq!(done.header("etag").is_some(), etag, "{target}");
            for bundle in [batch(gone(target)), transaction(gone(target))] {
                site.put("Patient/1", PATIENT).await;
                let done = site.ask("POST", "").by(access).body(bundle).send().await.is(200);
                let response = &done.entry(0);
                assert_eq!(response["status"], "204 No Content");
                assert_eq!(response["etag"].is_string(), etag, "{target} {response}");
            }
        }
        // Nor to who sends it again.
        site.put("Patient/1", PATIENT).await;
        for _ in 0..2 {
            let ask = site.ask("DELETE", "Patient/1").by(access);
            let key = format!("key-{etag}");
            let done = ask.header("idempotency-key", key).send().await;
            assert!(etag || done.header("etag").is_none(), "{}", done.text());
        }
    }
}

#[tokio::test]
async fn what_the_configuration_says_is_never_deleted_is_405_however_it_is_asked() {
    // HTTP-133
    let site = Site::never_deleting(&["Patient"]).await;
    site.put("Patient/1", PATIENT).await.is(201);
    let refused = site.delete("Patient/1").await.is(405);
    assert_eq!(refused.header("allow"), Some("GET, HEAD, PUT, PATCH"));
    assert!(refused.text().contains("server.not_deletable"), "{}", refused.text());
    let refused = site.delete("Patient?_id=1").await.is(405);
    assert_eq!(refused.header("allow"), Some("GET, HEAD, POST, PUT, PATCH"));
    for url in ["Patient/1", "Patient?_id=1"] {
        let entries = [entry("DELETE", url, Value::Null)];
        site.post("", transaction(entries.clone())).await.is(405);
        assert_eq!(site.post("", batch(entries)).await.is(200).statuses(), [405]);
    }
    site.get("Patient/1").await.is(200);
    site.put("Basic/1", json!({ "resourceType": "Basic", "id": "1" })).await.is(201);
    site.delete("Basic/1").await.is(204);
    let statement = site.get("metadata").await.is(200).json();
    for resource in statement["rest"][0]["resource"].as_array().unwrap() {
        let codes: Vec<_> = resource["interaction"].as_array().unwrap().iter().collect();
        let is_deleted = codes.iter().any(|it| it["code"] == "delete");
        let expected = !["Patient", "AuditEvent"].contains(&resource["type"].as_str().unwrap());
        assert_eq!(is_deleted, expected, "{}", resource["type"]);
        let conditional = if expected { "multiple" } else { "not-supported" };
        assert_eq!(resource["conditionalDelete"], conditional, "{}", resource["type"]);
    }
}
