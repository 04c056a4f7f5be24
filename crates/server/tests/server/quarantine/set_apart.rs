//! What is set apart, what its sender is told, and what is refused all the same.

use database::Rules;
use serde_json::{Value, json};
use server::{Limits, WritePolicy};

use super::{done, invalid, item_of, items, quarantining};
use crate::support::bundle::{batch, entry, transaction};
use crate::support::{Keeps, Site};

#[tokio::test]
async fn what_is_quarantined_is_told_to_its_sender_and_found_by_no_clinical_interaction() {
    let site = Site::asking(quarantining()).await;
    let identified = json!({ "resourceType": "Patient", "id": "1", "colour": "red",
        "identifier": [{ "system": "urn:x", "value": "1" }] });
    let answer = site.put("Patient/1", identified).await;
    let item = item_of(&answer);
    assert_eq!(answer.expressions(), ["Patient.colour"]);
    assert!(answer.json()["issue"][0]["diagnostics"].as_str().unwrap().contains(&item));
    assert_eq!(answer.header("etag"), None);
    for target in ["Patient/1", "Patient/1/_history/1", "Patient/1/_history"] {
        site.get(target).await.is(404);
    }
    for target in ["_history", "Patient/_history", "_history?_count=0", "_history?_count=1"] {
        let history = site.get(target).await.is(200);
        assert_eq!(history.json()["total"], 0, "{target}");
        assert!(!history.text().contains("red"), "{target}");
    }
    site.get(&format!("HearthgateQuarantine/{item}")).await.is(404);
    site.get("HearthgateQuarantine/_history").await.is(404);
    site.delete(&format!("HearthgateQuarantine/{item}")).await.is(404);
    // Its identifier finds nothing.
    let create = site.ask("POST", "Patient").header("if-none-exist", "identifier=urn:x|1");
    create.body(r#"{"resourceType":"Patient","active":true}"#).send().await.is(201);
    site.ask("PATCH", "Patient?identifier=urn:x%7C1")
        .bytes("application/json-patch+json", "[]")
        .send()
        .await
        .is(404);
}

#[tokio::test]
async fn a_reference_to_what_is_quarantined_leads_nowhere() {
    let rules = Rules { references_exist: vec!["*".parse().unwrap()], ..Rules::default() };
    let settings = (Limits::default(), rules, quarantining());
    let site = Site::made(Keeps::InMemory, settings).await;
    item_of(&site.put("Patient/1", invalid("1")).await);
    let encounter = json!({ "resourceType": "Basic", "code": { "text": "x" },
        "subject": { "reference": "Patient/1" } });
    site.post("Basic", encounter).await.is(422);
}

#[tokio::test]
async fn an_entry_of_a_batch_is_quarantined_alone_and_a_transaction_is_refused_whole() {
    // VAL-171
    let site = Site::asking(quarantining()).await;
    let entries = || {
        let bad: Value = serde_json::from_str(&invalid("x")).unwrap();
        [
            entry("POST", "Patient", json!({ "resourceType": "Patient", "active": true })),
            entry("POST", "Patient", bad.clone()),
            entry("PUT", "Patient/x", bad),
        ]
    };
    let answer = site.post("", batch(entries())).await.is(200);
    assert_eq!(answer.statuses(), [201, 202, 202]);
    let response = answer.entry(1);
    assert_eq!(response["outcome"]["issue"][1]["expression"], json!(["Patient.colour"]));
    let item = items(&site, "").await;
    assert_eq!(item.len(), 2);
    let location = response["location"].as_str().unwrap();
    assert!(item.iter().any(|item| location == format!("$quarantine?item={item}")), "{location}");
    let before = site.position();
    let refused = site.post("", transaction(entries())).await.is(422);
    let expressions = ["Bundle.entry[1].resource.colour", "Bundle.entry[2].resource.colour"];
    assert_eq!(refused.expressions(), expressions);
    assert_eq!(site.position(), before);
}

#[tokio::test]
async fn what_a_patch_makes_invalid_is_refused() {
    let site = Site::asking(quarantining()).await;
    let valid = json!({ "resourceType": "Patient", "id": "1", "active": true });
    site.put("Patient/1", &valid).await.is(201);
    let patch = json!([{ "op": "add", "path": "/colour", "value": "red" }]).to_string();
    let ask = site.ask("PATCH", "Patient/1").bytes("application/json-patch+json", patch);
    ask.send().await.is(422);
    assert_eq!(items(&site, "").await, [""; 0]);
}

#[tokio::test]
async fn a_request_sent_again_under_its_key_is_quarantined_once() {
    let site = Site::asking(quarantining()).await;
    let send = async |site: &Site| {
        let ask = site.ask("POST", "Patient").header("idempotency-key", "k");
        ask.body(invalid("1")).send().await
    };
    let (first, again) = (send(&site).await, send(&site).await);
    assert_eq!(item_of(&first), item_of(&again));
    assert_eq!(first.body, again.body);
    assert_eq!(site.position(), 1);
    let bundle = batch([entry("PUT", "Patient/1", serde_json::from_str(&invalid("1")).unwrap())]);
    for _ in 0..2 {
        let ask = site.ask("POST", "").header("idempotency-key", "b").body(&bundle);
        assert_eq!(ask.send().await.is(200).statuses(), [202]);
    }
    assert_eq!(site.position(), 2);
    // What became of it is told, and it is not set apart anew.
    assert!(first.text().contains("release it when"), "{}", first.text());
    done(&site, "$quarantine-discard", &[&item_of(&first)]).await;
    let late = send(&site).await;
    assert_eq!(item_of(&late), item_of(&first));
    assert!(late.text().contains("released or discarded since"), "{}", late.text());
    assert!(!late.text().contains("release it when"), "{}", late.text());
    assert_eq!(site.position(), 3);
}

#[tokio::test]
async fn where_there_is_no_room_it_is_refused() {
    let limits = Limits { quarantine_items: 2, ..Limits::default() };
    let settings = (limits, Rules::default(), quarantining());
    let site = Site::made(Keeps::InMemory, settings).await;
    let many: Vec<_> = (0..17).map(|id| format!("Patient/{id}")).collect();
    let many = json!({ "resourceType": "Basic", "colour": many });
    let refused = site.post("Basic", many).await.is(422);
    assert!(refused.text().contains("names more than 16 patients"), "{}", refused.text());
    let item = item_of(&site.put("Patient/1", invalid("1")).await);
    item_of(&site.put("Patient/2", invalid("2")).await);
    let refused = site.put("Patient/3", invalid("3")).await.is(422);
    assert!(refused.text().contains("the quarantine is full"), "{}", refused.text());
    assert_eq!(refused.expressions(), ["Patient.colour"]);
    done(&site, "$quarantine-discard", &[&item]).await;
    item_of(&site.put("Patient/3", invalid("3")).await);
}

#[tokio::test]
async fn what_is_set_apart_counts_among_all_bodies_until_it_is_stored() {
    let limits = Limits { held_bytes: 6000, ..Limits::default() };
    let settings = (limits, Rules::default(), quarantining());
    let site = Site::made(Keeps::InMemory, settings).await;
    let long =
        |bytes: usize| json!({ "resourceType": "Patient", "id": "1", "colour": "r".repeat(bytes) });
    // In base64 the item has 4,000 bytes more.
    assert_eq!(site.put("Patient/1", long(3000)).await.is(503).code(), "transient");
    for _ in 0..3 {
        item_of(&site.put("Patient/1", long(2000)).await);
    }
}

#[tokio::test]
async fn a_rule_quarantines_one_type_or_profile_and_leaves_the_others() {
    // VAL-200
    let rules = ["Patient base quarantine", "http://x/p base warn"];
    let rules = rules.iter().map(|rule| rule.parse().unwrap()).collect();
    let site = Site::asking(WritePolicy { rules, ..WritePolicy::default() }).await;
    item_of(&site.put("Patient/1", invalid("1")).await);
    site.post("Basic", json!({ "resourceType": "Basic", "colour": "red" })).await.is(422);
    let claims = json!({ "resourceType": "Basic", "colour": "red", "code": { "text": "x" },
        "meta": { "profile": ["http://x/p"] } });
    site.post("Basic", claims).await.is(201);
    assert_eq!(items(&site, "").await.len(), 1);
}
