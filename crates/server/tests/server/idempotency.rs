//! `Idempotency-Key`.

use std::sync::Arc;

use serde_json::json;
use tokio::task::JoinSet;

use crate::support::{Access, Answer, Site, rule};

const PATIENT: &str = r#"{"resourceType":"Patient","gender":"other"}"#;

async fn send(site: &Site, method: &str, path: &str, key: &str, body: &str) -> Answer {
    site.ask(method, path).header("idempotency-key", key).body(body.to_owned()).send().await
}

#[tokio::test]
async fn a_create_sent_again_is_answered_again_and_done_once() {
    let site = Site::on_disk().await;
    let first = send(&site, "POST", "Patient", "k1", PATIENT).await.is(201);
    let again = send(&site, "POST", "Patient", "k1", PATIENT).await.is(201);
    assert_eq!(first.reference(), again.reference());
    for header in ["location", "etag", "last-modified"] {
        assert_eq!(first.header(header), again.header(header), "{header}");
    }
    assert_eq!(first.body, again.body);
    assert_eq!(site.position(), 1);
    // Another key, and none, are other requests.
    send(&site, "POST", "Patient", "k2", PATIENT).await.is(201);
    site.post("Patient", PATIENT).await.is(201);
    assert_eq!(site.position(), 3);
    // Also by a server that starts anew.
    let site = site.restart().await;
    let again = send(&site, "POST", "Patient", "k1", PATIENT).await.is(201);
    assert_eq!((first.reference(), site.position()), (again.reference(), 3));
}

#[tokio::test]
async fn a_key_that_named_another_request_is_422_and_nothing_is_done() {
    let site = Site::start().await;
    send(&site, "POST", "Patient", "k", PATIENT).await.is(201);
    let male = r#"{"resourceType":"Patient","gender":"male"}"#;
    for (method, path, body) in [
        ("POST", "Patient", male),
        ("PUT", "Patient/a", r#"{"resourceType":"Patient","id":"a"}"#),
        ("DELETE", "Patient/a", ""),
    ] {
        let refused = send(&site, method, path, "k", body).await.is(422);
        assert!(refused.text().contains("Idempotency-Key"), "{}", refused.text());
    }
    let conditional = site.ask("POST", "Patient").header("idempotency-key", "k");
    let conditional = conditional.header("if-none-exist", "identifier=urn:x|1");
    conditional.body(PATIENT.to_owned()).send().await.is(422);
    assert_eq!(site.position(), 1);
}

#[tokio::test]
async fn a_key_is_its_clients_own() {
    let site = Site::start().await;
    let first = send(&site, "POST", "Patient", "k", PATIENT).await.is(201);
    let other = Access::of(vec![rule(&["Patient"], &["create", "read"], "all")]).sent_by("other");
    let theirs = site.ask("POST", "Patient").by(&other).header("idempotency-key", "k");
    let theirs = theirs.body(PATIENT.to_owned()).send().await.is(201);
    assert_ne!(first.reference(), theirs.reference());
    assert_eq!(site.position(), 2);
}

/// What was done with more rights is not shown with fewer.
#[tokio::test]
async fn an_answer_is_built_by_the_rights_of_now() {
    let site = Site::start().await;
    let access = Access::of(vec![rule(&["Patient"], &["create"], "all")]);
    let ask = async |access: &Access| {
        let ask = site.ask("POST", "Patient").by(access).header("idempotency-key", "k");
        ask.body(PATIENT.to_owned()).send().await
    };
    ask(&access).await.is(201);
    let less = Access::of(vec![rule(&["Patient"], &["read"], "all")]);
    ask(&less).await.is(403);
    assert_eq!(site.position(), 1);
}

#[tokio::test]
async fn updates_and_deletes_sent_again_change_nothing_more() {
    let site = Site::start().await;
    let body = r#"{"resourceType":"Patient","id":"a"}"#;
    let made = send(&site, "PUT", "Patient/a", "made", body).await.is(201);
    let changed = send(&site, "PUT", "Patient/a", "changed", body).await.is(200);
    assert_eq!(send(&site, "PUT", "Patient/a", "made", body).await.is(201).body, made.body);
    let deleted = send(&site, "DELETE", "Patient/a", "deleted", "").await.is(204);
    assert_eq!(send(&site, "PUT", "Patient/a", "changed", body).await.is(200).body, changed.body);
    let again = send(&site, "DELETE", "Patient/a", "deleted", "").await.is(204);
    assert_eq!(deleted.header("etag"), again.header("etag"));
    // A deletion that found nothing does not delete what comes later.
    send(&site, "DELETE", "Patient/b", "nothing", "").await.is(204);
    let later = r#"{"resourceType":"Patient","id":"b"}"#;
    site.put("Patient/b", later).await.is(201);
    send(&site, "DELETE", "Patient/b", "nothing", "").await.is(204);
    site.get("Patient/b").await.is(200);
    // Brought back, which is creating: so it is said again.
    let back = send(&site, "PUT", "Patient/a", "back", body).await.is(201);
    assert_eq!(send(&site, "PUT", "Patient/a", "back", body).await.is(201).body, back.body);
}

fn entry(method: &str, url: &str, resource: serde_json::Value) -> serde_json::Value {
    let mut entry = json!({"request": {"method": method, "url": url}});
    if !resource.is_null() {
        entry["resource"] = resource;
    }
    entry
}

#[tokio::test]
async fn a_transaction_sent_again_is_answered_again_and_done_once() {
    let site = Site::on_disk().await;
    site.put("Patient/old", r#"{"resourceType":"Patient","id":"old"}"#).await.is(201);
    let mut created = entry("POST", "Patient", json!({"resourceType": "Patient"}));
    created["fullUrl"] = json!("urn:uuid:c7c1a1de-0000-4000-8000-000000000001");
    let mut conditional = entry(
        "POST",
        "Patient",
        json!({"resourceType": "Patient", "identifier": [{"system": "urn:mrn", "value": "1"}]}),
    );
    conditional["request"]["ifNoneExist"] = json!("identifier=urn:mrn|1");
    let reference = json!({"reference": "urn:uuid:c7c1a1de-0000-4000-8000-000000000001"});
    let observation = json!({"resourceType": "Observation", "subject": reference});
    let bundle = json!({"resourceType": "Bundle", "type": "transaction", "entry": [
        entry("DELETE", "Patient/never", json!(null)),
        created,
        entry("POST", "Observation", observation),
        entry("DELETE", "Patient/old", json!(null)),
        conditional,
        entry("PUT", "Patient/put", json!({"resourceType": "Patient", "id": "put"})),
    ]})
    .to_string();
    let first = send(&site, "POST", "", "t", &bundle).await.is(200);
    let (position, json) = (site.position(), first.json());
    for _ in 0..2 {
        let again = send(&site, "POST", "", "t", &bundle).await.is(200).json();
        for (index, entry) in json["entry"].as_array().unwrap().iter().enumerate() {
            let again = &again["entry"][index]["response"];
            for member in ["status", "location", "etag"] {
                assert_eq!(entry["response"][member], again[member], "{index} {member}");
            }
        }
    }
    assert_eq!(site.position(), position);
    // Once what it made is gone or changed, what it answered stays the same.
    site.put("Patient/put", r#"{"resourceType":"Patient","id":"put"}"#).await.is(200);
    let again = send(&site, "POST", "", "t", &bundle).await.is(200).json();
    assert_eq!(again["entry"][5]["response"]["etag"], "W/\"1\"");
    assert_eq!(site.position(), position + 1);
}

/// What a client is told of each entry, but for resources.
fn told(answer: &Answer) -> Vec<[serde_json::Value; 3]> {
    let json = answer.json();
    let entries = json["entry"].as_array().unwrap().iter();
    let members = ["status", "location", "etag"];
    entries.map(|entry| members.map(|member| entry["response"][member].clone())).collect()
}

fn married(code: &str) -> serde_json::Value {
    json!({"resourceType": "Patient", "maritalStatus": {"coding": [{"code": code}]}})
}

/// An entry that creates a patient unless there is one of this marital status.
fn unless_there(code: &str) -> serde_json::Value {
    let mut entry = entry("POST", "Patient", married(code));
    entry["request"]["ifNoneExist"] = format!("own={code}").into();
    entry
}

async fn define_own(site: &Site) {
    let own = json!({
        "resourceType": "SearchParameter", "id": "own", "url": "http://own.example/own",
        "name": "Own", "status": "active", "description": "own", "code": "own",
        "base": ["Patient"], "type": "token", "expression": "Patient.maritalStatus",
    });
    site.put("SearchParameter/own", own).await.is(201);
}

#[tokio::test]
async fn what_a_transaction_did_is_answered_when_its_criteria_mean_nothing_any_more() {
    let site = Site::start().await;
    define_own(&site).await;
    site.post("Patient", married("D")).await.is(201);
    let observation = json!({"resourceType": "Observation",
        "subject": {"reference": "Patient?own=M"}});
    let bundle = json!({"resourceType": "Bundle", "type": "transaction", "entry": [
        unless_there("M"),
        entry("PUT", "Patient?own=S", married("S")),
        entry("DELETE", "Patient?own=D", json!(null)),
        entry("POST", "Patient", married("X")),
        entry("POST", "Observation", observation),
    ]})
    .to_string();
    let first = send(&site, "POST", "", "t", &bundle).await.is(200);
    site.delete("SearchParameter/own").await.is(204);
    let position = site.position();
    let again = send(&site, "POST", "", "t", &bundle).await.is(200);
    assert_eq!((told(&again), site.position()), (told(&first), position));
    // Whatever else asks by it is refused.
    send(&site, "POST", "", "other", &bundle).await.is(400);
}

#[tokio::test]
async fn which_resource_was_found_is_told_as_long_as_it_can_be() {
    let site = Site::start().await;
    define_own(&site).await;
    site.post("Patient", married("M")).await.is(201);
    let bundle = json!({"resourceType": "Bundle", "type": "transaction", "entry": [
        unless_there("S"),
        unless_there("M"),
        unless_there("D"),
        entry("PUT", "Patient/a", json!({"resourceType": "Patient", "id": "a"})),
    ]})
    .to_string();
    let first = told(&send(&site, "POST", "", "t", &bundle).await.is(200));
    assert_eq!(told(&send(&site, "POST", "", "t", &bundle).await.is(200)), first);
    // What was made is told also when others have come to match.
    site.post("Patient", married("S")).await.is(201);
    assert_eq!(told(&send(&site, "POST", "", "t", &bundle).await.is(200)), first);
    site.delete("SearchParameter/own").await.is(204);
    let found = json!({"resourceType": "Bundle", "type": "transaction", "entry": [
        unless_there("M"),
        entry("POST", "Patient", married("X")),
    ]});
    define_own_again_and_lose_it(&site, &found.to_string()).await;
}

/// Of a create that found something, all that is left to tell is that it did.
async fn define_own_again_and_lose_it(site: &Site, bundle: &str) {
    let own = site.get("SearchParameter/own/_history/1").await.is(200).json();
    site.put("SearchParameter/own", own).await.is(201);
    let first = told(&send(site, "POST", "", "found", bundle).await.is(200));
    site.delete("SearchParameter/own").await.is(204);
    let answer = send(site, "POST", "", "found", bundle).await.is(200);
    let again = told(&answer);
    assert_eq!((&again[0][0], &again[0][1]), (&json!("200 OK"), &json!(null)));
    assert_eq!(again[1], first[1]);
    let outcome = &answer.json()["entry"][0]["response"]["outcome"]["issue"][0];
    assert_eq!(outcome["severity"], "information");
}

#[tokio::test]
async fn a_batch_sent_again_does_what_was_left_and_nothing_twice() {
    let site = Site::start().await;
    let post = || entry("POST", "Patient", json!({"resourceType": "Patient"}));
    let of = |entries: Vec<serde_json::Value>| {
        json!({"resourceType": "Bundle", "type": "batch", "entry": entries}).to_string()
    };
    let locations = |answer: Answer| {
        let json = answer.is(200).json();
        let entries = json["entry"].as_array().unwrap().iter();
        entries.map(|entry| entry["response"]["location"].clone()).collect::<Vec<_>>()
    };
    // As where it broke off after its first entries.
    let part = locations(send(&site, "POST", "", "b", &of(vec![post(), post()])).await);
    let whole = of(vec![post(), post(), post()]);
    let all = locations(send(&site, "POST", "", "b", &whole).await);
    assert_eq!(all[..2], part);
    assert_eq!(site.position(), 3);
    assert_eq!(locations(send(&site, "POST", "", "b", &whole).await), all);
    assert_eq!(site.position(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_64_at_once_with_one_key_one_is_done_and_all_get_its_answer() {
    let site = Arc::new(Site::on_disk().await);
    let mut creates = JoinSet::new();
    for _ in 0..64 {
        let site = Arc::clone(&site);
        creates.spawn(async move { send(&site, "POST", "Patient", "k", PATIENT).await });
    }
    let answers = creates.join_all().await;
    let first = answers[0].reference();
    for answer in answers {
        assert_eq!((answer.status, answer.reference()), (201, first.clone()));
    }
    assert_eq!(site.position(), 1);
}

#[tokio::test]
async fn after_seven_days_a_key_is_new() {
    let site = Site::start().await;
    let first = send(&site, "POST", "Patient", "k", PATIENT).await.is(201);
    let week = std::time::Duration::from_secs(7 * 24 * 60 * 60);
    site.clock.advance(week - std::time::Duration::from_secs(1));
    let known = send(&site, "POST", "Patient", "k", PATIENT).await.is(201);
    assert_eq!(first.reference(), known.reference());
    site.clock.advance(std::time::Duration::from_secs(1));
    let male = r#"{"resourceType":"Patient","gender":"male"}"#;
    let new = send(&site, "POST", "Patient", "k", male).await.is(201);
    assert_ne!(first.reference(), new.reference());
    let again = send(&site, "POST", "Patient", "k", male).await.is(201);
    assert_eq!(new.reference(), again.reference());
    assert_eq!(site.position(), 2);
}

#[tokio::test]
async fn what_was_refused_is_not_remembered() {
    let site = Site::start().await;
    let body = r#"{"resourceType":"Patient","id":"a"}"#;
    let ask = || {
        let ask = site.ask("PUT", "Patient/a").header("idempotency-key", "k");
        ask.header("if-match", "W/\"1\"").body(body.to_owned())
    };
    ask().send().await.is(412);
    site.put("Patient/a", body).await.is(201);
    let done = ask().send().await.is(200);
    assert_eq!(ask().send().await.is(200).header("etag"), done.header("etag"));
    assert_eq!(site.position(), 2);
}

#[tokio::test]
async fn a_key_that_is_none_is_refused() {
    let site = Site::start().await;
    let long = "k".repeat(256);
    for key in ["", "a b", "ä", &long] {
        let refused = send(&site, "POST", "Patient", key, PATIENT).await.is(400);
        assert!(refused.text().contains("1 to 255"), "{}", refused.text());
    }
    let twice = site.ask("POST", "Patient").header("idempotency-key", "a");
    twice.header("idempotency-key", "b").body(PATIENT.to_owned()).send().await.is(400);
    // A read is not done twice by being sent twice.
    site.ask("GET", "Patient/1").header("idempotency-key", "a b").send().await.is(404);
    assert_eq!(site.position(), 0);
}
