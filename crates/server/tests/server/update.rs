//! update, its conditions, and update-as-create.

use crate::support::bundle::{entry, transaction, when};
use crate::support::{Access, Answer, Site, rule};
use serde_json::json;
use tokio::task::JoinSet;

fn patient(id: &str, language: &str) -> String {
    format!(r#"{{"resourceType":"Patient","id":"{id}","language":"{language}"}}"#)
}

async fn put_if_match(site: &Site, id: &str, tag: &str) -> Answer {
    let target = format!("Patient/{id}");
    let ask = site.ask("PUT", &target).header("if-match", tag);
    ask.body(patient(id, "new")).send().await
}

#[tokio::test]
async fn an_update_makes_a_new_version() {
    // HTTP-090, HTTP-092, HTTP-093
    let site = Site::start().await;
    let created = site.put("Patient/1", patient("1", "en")).await.is(201);
    assert_eq!(created.reference(), "Patient/1");
    let body = json!({
        "resourceType": "Patient", "id": "1", "language": "de",
        "meta": { "versionId": "999", "lastUpdated": "2000-01-01T00:00:00Z" },
    });
    let updated = site.put("Patient/1", body).await.is(200);
    assert_eq!(updated.header("etag"), Some("W/\"2\""));
    assert_eq!(updated.json()["meta"]["versionId"], "2");
    // Time does not stand still between versions (HTTP-060).
    assert_eq!(updated.json()["meta"]["lastUpdated"], "2026-01-02T03:04:05.678902Z");
    assert_eq!(site.get("Patient/1").await.json()["language"], "de");
}

#[tokio::test]
async fn an_update_must_repeat_the_id_of_its_url() {
    // HTTP-091
    let site = Site::start().await;
    for body in [
        r#"{"resourceType":"Patient"}"#,
        r#"{"resourceType":"Patient","id":"2"}"#,
        r#"{"resourceType":"Patient","id":1}"#,
        r#"{"resourceType":"Patient","id":null}"#,
    ] {
        assert_eq!(site.put("Patient/1", body).await.is(400).expressions(), ["id"], "{body}");
    }
    assert_eq!(site.position(), 0);
}

#[tokio::test]
async fn if_match_is_taken_in_every_form() {
    // HTTP-033, HTTP-037
    let site = Site::start().await;
    site.put("Patient/1", patient("1", "en")).await.is(201);
    for tag in ["W/\"1\"", "\"2\"", "3", "W/\"9\", W/\"4\"", "*"] {
        put_if_match(&site, "1", tag).await.is(200);
    }
    assert_eq!(site.get("Patient/1").await.header("etag"), Some("W/\"6\""));
}

#[tokio::test]
async fn update_with_stale_if_match_is_412_and_changes_nothing() {
    // HTTP-034
    let site = Site::start().await;
    site.put("Patient/1", patient("1", "en")).await.is(201);
    site.put("Patient/1", patient("1", "de")).await.is(200);
    for tag in ["W/\"1\"", "W/\"3\"", "W/\"abc\"", "\"0\""] {
        let refused = put_if_match(&site, "1", tag).await.is(412);
        assert_eq!(refused.code(), "conflict", "{tag}");
        assert_eq!(refused.expressions(), ["http.If-Match"]);
    }
    put_if_match(&site, "1", "W/\"\"").await.is(400);
    let read = site.get("Patient/1").await;
    assert_eq!(
        (read.header("etag"), read.json()["language"].as_str()),
        (Some("W/\"2\""), Some("de"))
    );
}

#[tokio::test]
async fn if_match_never_creates() {
    // HTTP-035
    let site = Site::start().await;
    put_if_match(&site, "new", "W/\"1\"").await.is(412);
    put_if_match(&site, "new", "*").await.is(412);
    site.get("Patient/new").await.is(404);
    site.put("Patient/1", patient("1", "en")).await.is(201);
    site.delete("Patient/1").await.is(204);
    put_if_match(&site, "1", "W/\"1\"").await.is(412);
    put_if_match(&site, "1", "*").await.is(412);
    site.get("Patient/1").await.is(410);
}

#[tokio::test]
async fn if_none_match_any_creates_only_what_is_absent() {
    // HTTP-042
    let site = Site::start().await;
    let put = async |tag: &str| {
        let ask = site.ask("PUT", "Patient/1").header("if-none-match", tag);
        ask.body(patient("1", "en")).send().await
    };
    put("*").await.is(201);
    let refused = put("*").await.is(412);
    assert_eq!(refused.expressions(), ["http.If-None-Match"]);
    put("W/\"1\"").await.is(400);
    site.delete("Patient/1").await.is(204);
    put("*").await.is(201);
}

#[tokio::test]
async fn an_update_revives_what_was_deleted() {
    // HTTP-094, HTTP-095
    let site = Site::start().await;
    site.put("Patient/1", patient("1", "en")).await.is(201);
    site.delete("Patient/1").await.is(204);
    let revived = site.put("Patient/1", patient("1", "de")).await.is(201);
    assert_eq!(revived.header("etag"), Some("W/\"3\""));
    let history = site.get("Patient/1/_history").await.json();
    let shown: Vec<(&str, &str)> = history["entry"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            let text = |part: &str, name: &str| entry[part][name].as_str().unwrap();
            (text("request", "method"), text("response", "status"))
        })
        .collect();
    assert_eq!(shown, [("PUT", "201"), ("DELETE", "204"), ("PUT", "201")]);
}

#[tokio::test]
async fn the_etag_of_what_is_gone_brings_it_back() {
    // HTTP-058
    let site = Site::start().await;
    site.put("Patient/1", patient("1", "en")).await.is(201);
    site.delete("Patient/1").await.is(204);
    let gone = site.get("Patient/1").await.is(410);
    let tag = gone.header("etag").unwrap().to_owned();
    let back = put_if_match(&site, "1", &tag).await.is(201);
    assert_eq!(back.header("etag"), Some("W/\"3\""));
    put_if_match(&site, "1", &tag).await.is(412);
    // In a transaction too.
    site.delete("Patient/1").await.is(204);
    let put = entry("PUT", "Patient/1", json!({ "resourceType": "Patient", "id": "1" }));
    let answer = site.post("", transaction([when(put, "ifMatch", "W/\"4\"")])).await.is(200);
    assert_eq!(answer.statuses(), [201]);
}

#[tokio::test]
async fn a_part_of_a_resource_does_not_replace_the_whole() {
    // HTTP-098
    let site = Site::start().await;
    site.put("Patient/1", patient("1", "en")).await.is(201);
    let tagged = |tag: serde_json::Value| json!({ "resourceType": "Patient", "id": "1", "meta": { "tag": [{}, tag] } });
    let system = "http://terminology.hl7.org/CodeSystem/v3-ObservationValue";
    let part = tagged(json!({ "system": system, "code": "SUBSETTED" }));
    let refused = site.put("Patient/1", &part).await.is(422);
    assert_eq!(refused.expressions(), ["Resource.meta.tag"]);
    let within = transaction([entry("PUT", "Patient/1", part)]);
    site.post("", within).await.is(422);
    assert_eq!(site.get("Patient/1").await.header("etag"), Some("W/\"1\""));
    site.put("Patient/1", tagged(json!({ "system": "urn:x", "code": "SUBSETTED" }))).await.is(200);
}

#[tokio::test]
async fn whoever_may_not_create_cannot_choose_ids() {
    let site = Site::start().await;
    site.put("Patient/1", patient("1", "en")).await.is(201);
    let access = Access::of(vec![rule(&["Patient"], &["read", "update"], "all")]);
    let put = async |id: &str, condition: (&str, &str)| {
        let target = format!("Patient/{id}");
        let ask = site.ask("PUT", &target).by(&access).header(condition.0, condition.1);
        ask.body(patient(id, "de")).send().await
    };
    let none = ("x-none", "1");
    put("2", none).await.is(403);
    put("2", ("if-none-match", "*")).await.is(403);
    put("2", ("if-match", "W/\"1\"")).await.is(412);
    site.get("Patient/2").await.is(404);
    // Nor may what is there be overwritten by one who insists that it is not.
    put("1", ("if-none-match", "*")).await.is(403);
    assert_eq!(site.get("Patient/1").await.json()["language"], "en");
    put("1", none).await.is(200);
    site.delete("Patient/1").await.is(204);
    put("1", none).await.is(403);
    put("1", ("if-match", "W/\"3\"")).await.is(412);
    site.get("Patient/1").await.is(410);
}

/// Sends 20 updates at once.
async fn twenty_updates(site: &std::sync::Arc<Site>, tag: Option<&'static str>) -> Vec<u16> {
    let mut updates = JoinSet::new();
    for number in 0..20 {
        let site = std::sync::Arc::clone(site);
        updates.spawn(async move {
            let mut ask = site.ask("PUT", "Patient/1");
            if let Some(tag) = tag {
                ask = ask.header("if-match", tag);
            }
            ask.body(patient("1", &number.to_string())).send().await.status
        });
    }
    updates.join_all().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_updates_at_once_with_one_if_match_exactly_one_succeeds() {
    // HTTP-101
    let site = std::sync::Arc::new(Site::on_disk().await);
    site.put("Patient/1", patient("1", "en")).await.is(201);
    let statuses = twenty_updates(&site, Some("W/\"1\"")).await;
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1);
    assert_eq!(statuses.iter().filter(|status| **status == 412).count(), 19);
    assert_eq!(site.get("Patient/1").await.header("etag"), Some("W/\"2\""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_updates_at_once_without_if_match_none_is_lost() {
    // HTTP-100
    let site = std::sync::Arc::new(Site::on_disk().await);
    let mut statuses = twenty_updates(&site, None).await;
    statuses.sort_unstable();
    assert_eq!((statuses[18], statuses[19]), (200, 201));
    let history = site.get("Patient/1/_history").await.json();
    let mut languages: Vec<u32> = history["entry"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["resource"]["language"].as_str().unwrap().parse().unwrap())
        .collect();
    languages.sort_unstable();
    assert_eq!(languages, (0..20).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_64_at_once_that_match_one_version_one_wins() {
    let site = std::sync::Arc::new(Site::on_disk().await);
    site.put("Patient/a", r#"{"resourceType":"Patient","id":"a"}"#).await.is(201);
    let mut updates = tokio::task::JoinSet::new();
    for number in 0..64 {
        let site = std::sync::Arc::clone(&site);
        updates.spawn(async move {
            let body = format!(r#"{{"resourceType":"Patient","id":"a","language":"x-{number}"}}"#);
            let ask = site.ask("PUT", "Patient/a").header("if-match", "W/\"1\"");
            (number, ask.body(body).send().await.status)
        });
    }
    let answers = updates.join_all().await;
    let won: Vec<_> = answers.iter().filter(|(_, status)| *status == 200).collect();
    let lost = answers.iter().filter(|(_, status)| *status == 412).count();
    assert_eq!((won.len(), lost), (1, 63));
    let newest = site.get("Patient/a").await.is(200);
    assert_eq!(newest.json()["language"], format!("x-{}", won[0].0));
    assert_eq!((newest.header("etag"), site.position()), (Some("W/\"2\""), 2));
}
