//! delete.

use crate::support::Site;

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
