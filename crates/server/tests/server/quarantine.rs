//! What the tenant's policy sets apart instead of refusing it.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use database::Rules;
use serde_json::{Value, json};
use server::{Action, Depth, Limits, Policy, WritePolicy};
use tokio::task::JoinSet;

use crate::support::bundle::{batch, entry, transaction};
use crate::support::package::{self, PROFILE};
use crate::support::{Access, Answer, Fault, Keeps, Site, check_issues, rule};

fn quarantining() -> WritePolicy {
    let default = Policy { depth: Depth::Base, action: Action::Quarantine };
    WritePolicy { default, ..WritePolicy::default() }
}

/// A patient with something that R4 has no name for.
fn invalid(id: &str) -> String {
    format!("{{ \"resourceType\": \"Patient\",\n  \"id\": \"{id}\", \"colour\": \"red\" }}")
}

/// The item that an answer says its resource is quarantined as.
#[track_caller]
fn item_of(answer: &Answer) -> String {
    assert_eq!(answer.status, 202, "{}", answer.text());
    let outcome = answer.json();
    assert_eq!(outcome["resourceType"], "OperationOutcome");
    check_issues(&outcome);
    assert_eq!(outcome["issue"][0]["severity"], "information");
    let location = answer.header("location").unwrap();
    location.split_once("$quarantine?item=").unwrap().1.to_owned()
}

/// The parts or parameters of this name.
fn values<'v>(list: &'v Value, name: &str) -> Vec<&'v Value> {
    let list = list.as_array().into_iter().flatten();
    let named = list.filter(|part| part["name"] == name);
    let value = |part: &'v Value| {
        let members = part.as_object().unwrap().iter();
        members.filter(|(name, _)| *name != "name").map(|(_, value)| value).next().unwrap()
    };
    named.map(value).collect()
}

async fn items(site: &Site, query: &str) -> Vec<String> {
    let bundle = site.get(&format!("$quarantine{query}")).await.is(200).json();
    let entries = bundle["entry"].as_array().into_iter().flatten();
    let id = |entry: &Value| {
        values(&entry["resource"]["parameter"], "item")[0].as_str().unwrap().to_owned()
    };
    entries.map(id).collect()
}

fn named(items: &[&str]) -> Value {
    let items: Vec<_> = items.iter().map(|id| json!({ "name": "item", "valueId": id })).collect();
    json!({ "resourceType": "Parameters", "parameter": items })
}

/// What became of each item, with where it is or why it is not.
async fn done(site: &Site, operation: &str, items: &[&str]) -> Vec<(String, String)> {
    let answer = site.post(operation, named(items)).await.is(200).json();
    let result = |part: &Value| {
        let part = &part["part"];
        let outcome = values(part, "outcome")[0].as_str().unwrap().to_owned();
        let place = values(part, "location").first().map(|it| it.as_str().unwrap().to_owned());
        let why = values(part, "issues").first().map(|outcome| {
            check_issues(outcome);
            outcome["issue"][0]["code"].as_str().unwrap().to_owned()
        });
        (outcome, place.or(why).unwrap_or_default())
    };
    answer["parameter"].as_array().unwrap().iter().map(result).collect()
}

async fn released(site: &Site, items: &[&str]) -> Vec<(String, String)> {
    done(site, "$quarantine-release", items).await
}

fn outcome(outcome: &str, detail: &str) -> (String, String) {
    (outcome.to_owned(), detail.to_owned())
}

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
async fn an_item_says_who_sent_what_and_has_its_body_byte_for_byte() {
    let site = Site::asking(quarantining()).await;
    let sender = Access::owner().sent_by("lab-feed");
    let ask = site.ask("PUT", "Patient/1").by(&sender).header("x-request-id", "r-77");
    let item = item_of(&ask.body(invalid("1")).send().await);
    let xml = "<Patient xmlns='http://hl7.org/fhir'>\n<birthDate value='someday'/></Patient>";
    let ask = site.ask("POST", "Patient").bytes("application/fhir+xml", xml);
    let answer = ask.send().await;
    assert_eq!((answer.status, &*answer.expressions()[0]), (202, "Patient.birthDate"));
    let shown = site.get(&format!("$quarantine?item={item}")).await.is(200).json();
    let shown = &shown["parameter"];
    for (name, expected) in [
        ("item", json!(item)),
        ("sender", json!("lab-feed")),
        ("request-id", json!("r-77")),
        ("request", json!("PUT Patient/1")),
        ("format", json!("application/fhir+json")),
        ("bytes", json!(invalid("1").len())),
        ("body", json!(STANDARD.encode(invalid("1")))),
    ] {
        assert_eq!(values(shown, name), [&expected], "{name}");
    }
    let issue = &values(shown, "issues")[0]["issue"][0];
    assert_eq!(issue["expression"], json!(["Patient.colour"]));
    assert_eq!(issue["details"]["coding"][0]["code"], "unknown-property");
    let lines = issue["extension"].as_array().unwrap();
    assert_eq!(lines[0]["valueInteger"], 2);
    let other = items(&site, "?sender=clinic-app").await;
    let shown = site.get(&format!("$quarantine?item={}", other[0])).await.is(200).json();
    assert_eq!(values(&shown["parameter"], "body"), [&json!(STANDARD.encode(xml))]);
    assert_eq!(values(&shown["parameter"], "format"), [&json!("application/fhir+xml")]);
    assert_eq!(values(&shown["parameter"], "request"), [&json!("POST Patient")]);
    let in_xml = site.get(&format!("$quarantine?item={item}&_format=xml")).await.is(200);
    assert_eq!(values(&in_xml.json()["parameter"], "sender"), [&json!("lab-feed")]);
    site.get("$quarantine?item=unknown").await.is(404);
    site.get("$quarantine?item=no%20id").await.is(400);
}

#[tokio::test]
async fn items_are_listed_by_sender_and_type_page_by_page_the_newest_first() {
    let site = Site::asking(quarantining()).await;
    let lab = Access::owner().sent_by("lab-feed");
    let mut sent = Vec::new();
    for number in 0..5 {
        let of = if number == 3 { "Basic" } else { "Patient" };
        let body = invalid(&number.to_string()).replace("Patient", of);
        let target = format!("{of}/{number}");
        let ask = site.ask("PUT", &target);
        let ask = if number % 2 == 0 { ask.by(&lab) } else { ask };
        sent.push(item_of(&ask.body(body).send().await));
    }
    let of = |numbers: &[usize]| numbers.iter().map(|at| sent[*at].clone()).collect::<Vec<_>>();
    assert_eq!(items(&site, "").await, of(&[4, 3, 2, 1, 0]));
    assert_eq!(items(&site, "?sender=lab-feed").await, of(&[4, 2, 0]));
    assert_eq!(items(&site, "?type=Basic").await, of(&[3]));
    assert_eq!(items(&site, "?type=Basic&sender=lab-feed").await, of(&[]));
    let (mut seen, mut query) = (Vec::new(), "?_count=2&sender=lab-feed".to_owned());
    loop {
        seen.push(items(&site, &query).await);
        let bundle = site.get(&format!("$quarantine{query}")).await.json();
        let links = bundle["link"].as_array().unwrap();
        let Some(next) = links.iter().find(|link| link["relation"] == "next") else { break };
        let (_, next) = next["url"].as_str().unwrap().split_once("$quarantine").unwrap();
        query = next.to_owned();
        // It is for whoever got it.
        let stranger = Access::owner().sent_by("stranger");
        let target = format!("$quarantine{query}");
        site.ask("GET", &target).by(&stranger).send().await.is(400);
    }
    assert_eq!(seen.concat(), of(&[4, 2, 0]));
    for query in ["?_count=0", "?_count=x", "?colour=red", "?_page=x"] {
        site.get(&format!("$quarantine{query}")).await.is(400);
    }
    let other = Access::owner().in_tenant("other");
    let elsewhere = site.ask("GET", "$quarantine").by(&other).send().await.is(200).json();
    assert_eq!(elsewhere.get("entry"), None);
}

#[tokio::test]
async fn released_it_is_the_resource_that_was_sent_and_quarantined_no_more() {
    let site = Site::asking(quarantining()).await;
    let item = item_of(&site.put("Patient/1", invalid("1")).await);
    let created = item_of(&site.post("Patient", invalid("ignored")).await);
    let before = site.position();
    assert_eq!(released(&site, &[&item]).await, [outcome("kept", "structure")]);
    assert_eq!(site.position(), before);
    // The policy has become another, and the server was started anew.
    let site = site.restart().await;
    assert_eq!(items(&site, "").await, [created.clone(), item.clone()]);
    assert_eq!(released(&site, &[&item]).await, [outcome("released", "Patient/1/_history/1")]);
    assert_eq!(site.position(), before + 1, "one commit");
    let stored = site.get("Patient/1").await.is(200).json();
    assert_eq!(stored["colour"], "red");
    assert_eq!(items(&site, "").await, std::slice::from_ref(&created));
    site.get(&format!("$quarantine?item={item}")).await.is(404);
    assert_eq!(released(&site, &[&item]).await, [outcome("unknown", "")]);
    let (how, place) = released(&site, &[&created]).await.remove(0);
    assert_eq!(how, "released");
    site.get(&place).await.is(200);
    assert_eq!(site.get("_history").await.json()["total"], 2);
}

#[tokio::test]
async fn what_a_package_makes_valid_can_be_released() {
    let policy = WritePolicy {
        required_profiles: vec![format!("Patient {PROFILE}").parse().unwrap()],
        ..quarantining()
    };
    let site = Site::asking(policy).await;
    let body = json!({ "resourceType": "Patient", "meta": { "profile": [PROFILE] },
        "birthDate": "1970-01-01" });
    let item = item_of(&site.post("Patient", body).await);
    assert_eq!(released(&site, &[&item]).await, [outcome("kept", "not-found")]);
    site.add_package(package::tgz()).await;
    assert_eq!(released(&site, &[&item]).await[0].0, "released");
}

#[tokio::test]
async fn discarded_it_is_gone() {
    let site = Site::asking(quarantining()).await;
    let item = item_of(&site.put("Patient/1", invalid("1")).await);
    let kept = item_of(&site.put("Patient/2", invalid("2")).await);
    let discarded = done(&site, "$quarantine-discard", &[&item, "unknown"]).await;
    assert_eq!(discarded, [outcome("discarded", ""), outcome("unknown", "")]);
    assert_eq!(items(&site, "").await, [kept]);
    let site = site.restart().await;
    assert_eq!(released(&site, &[&item]).await, [outcome("unknown", "")]);
    site.get("Patient/1").await.is(404);
}

#[tokio::test]
async fn a_release_never_writes_over_what_came_later() {
    let site = Site::asking(quarantining()).await;
    let valid = json!({ "resourceType": "Patient", "id": "1", "active": true });
    let early = item_of(&site.put("Patient/1", invalid("1")).await);
    site.put("Patient/1", &valid).await.is(201);
    let item = item_of(&site.put("Patient/1", invalid("1")).await);
    let next = item_of(&site.put("Patient/1", invalid("1")).await);
    let site = site.restart().await;
    assert_eq!(released(&site, &[&early]).await, [outcome("kept", "conflict")]);
    // Those of one request follow each other as they were sent.
    let both = released(&site, &[&next, &item]).await;
    let places = ["Patient/1/_history/2", "Patient/1/_history/3"];
    assert_eq!(both, places.map(|place| outcome("released", place)));
    assert_eq!(released(&site, &[&early]).await, [outcome("kept", "conflict")]);
    // What was written and deleted since stays deleted.
    site.delete("Patient/1").await;
    assert_eq!(released(&site, &[&early]).await, [outcome("kept", "conflict")]);
    site.get("Patient/1").await.is(410);
}

#[tokio::test]
async fn a_release_takes_the_rights_that_the_write_itself_would() {
    let site = Site::asking(quarantining()).await;
    let valid = json!({ "resourceType": "Patient", "id": "1", "active": true });
    site.put("Patient/1", &valid).await.is(201);
    let there = item_of(&site.put("Patient/1", invalid("1")).await);
    let never = item_of(&site.put("Patient/2", invalid("2")).await);
    site.put("Patient/3", json!({ "resourceType": "Patient", "id": "3" })).await.is(201);
    site.delete("Patient/3").await;
    let deleted = item_of(&site.put("Patient/3", invalid("3")).await);
    let ask = site.ask("POST", "Patient").header("if-none-exist", "identifier=urn:x|1");
    let conditional = item_of(&ask.body(invalid("4")).send().await);
    let site = site.restart().await;
    let release = async |actions: &[&str], item: &str| {
        let operator = Access::of(vec![rule(&["*"], actions, "all")]);
        let ask = site.ask("POST", "$quarantine-release").by(&operator).body(named(&[item]));
        let answer = ask.send().await.is(200).json();
        values(&answer["parameter"][0]["part"], "outcome")[0].as_str().unwrap().to_owned()
    };
    // Who may not create brings nothing back, and who may not search learns of no match.
    for item in [&never, &deleted] {
        assert_eq!(release(&["operation:*", "update"], item).await, "kept");
        assert_eq!(release(&["operation:*", "update", "create"], item).await, "released");
    }
    assert_eq!(release(&["operation:*", "update"], &there).await, "released");
    assert_eq!(release(&["operation:*", "create"], &conditional).await, "kept");
    assert_eq!(release(&["operation:*", "create", "search"], &conditional).await, "released");
}

#[tokio::test]
async fn conditions_hold_when_it_is_quarantined_and_when_it_is_released() {
    let site = Site::asking(quarantining()).await;
    let valid = json!({ "resourceType": "Patient", "id": "1", "active": true });
    site.put("Patient/1", &valid).await.is(201);
    let stale = site.ask("PUT", "Patient/1").header("if-match", "W/\"9\"").body(invalid("1"));
    stale.send().await.is(412);
    let present = site.ask("PUT", "Patient/1").header("if-none-match", "*").body(invalid("1"));
    present.send().await.is(412);
    let good = site.ask("PUT", "Patient/1").header("if-match", "W/\"1\"").body(invalid("1"));
    item_of(&good.send().await);
    let create = async |body: Value| {
        let ask = site.ask("POST", "Patient").header("if-none-exist", "identifier=urn:x|1");
        ask.body(body).send().await
    };
    let mut body = json!({ "resourceType": "Patient", "colour": "red",
        "identifier": [{ "system": "urn:x", "value": "1" }] });
    let items = [item_of(&create(body.clone()).await), item_of(&create(body.clone()).await)];
    body.as_object_mut().unwrap().remove("colour");
    let bad = site.ask("POST", "Patient").header("if-none-exist", "bogus=x").body(invalid("1"));
    bad.send().await.is(400);
    let site = site.restart().await;
    let outcomes = released(&site, &[&items[0], &items[1]]).await;
    assert_eq!((&*outcomes[0].0, &outcomes[1]), ("released", &outcome("kept", "duplicate")));
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
async fn a_fault_midway_loses_nothing_of_what_became_of_the_others() {
    let site = Site::asking(quarantining()).await;
    let mut sent = Vec::new();
    for id in ["1", "2", "3"] {
        sent.push(item_of(&site.put(&format!("Patient/{id}"), invalid(id)).await));
    }
    let site = site.restart().await;
    let sent: Vec<_> = sent.iter().map(String::as_str).collect();
    let not_done = || outcome("not-done", "transient");
    site.fail(Fault::FullAfter(1));
    let outcomes = released(&site, &sent).await;
    let place = outcome("released", "Patient/1/_history/1");
    assert_eq!(outcomes, [place, not_done(), not_done()]);
    // Where nothing was done, the fault is the answer.
    site.ask("POST", "$quarantine-release").body(named(&sent[1..])).send().await.is(503);
    site.fail(Fault::FullAfter(1));
    let outcomes = done(&site, "$quarantine-discard", &sent[1..]).await;
    assert_eq!(outcomes, [outcome("discarded", ""), not_done()]);
    site.fail(Fault::None);
    assert_eq!(released(&site, &sent[2..]).await[0].0, "released");
}

#[tokio::test]
async fn the_commonest_defects_are_counted_with_who_sent_them() {
    let site = Site::asking(quarantining()).await;
    let lab = Access::owner().sent_by("lab-feed");
    let names = json!([{ "family": "a", "shade": 1 }, { "family": "b", "shade": 2 }]);
    for number in 0..3 {
        let body = json!({ "resourceType": "Patient", "colour": "red", "name": names });
        let ask = site.ask("POST", "Patient").body(body);
        item_of(&if number == 0 { ask.by(&lab) } else { ask }.send().await);
    }
    let last = item_of(&site.post("Patient", invalid("1")).await);
    let shown = site.get("$quarantine-defects").await.is(200).json();
    assert_eq!(values(&shown["parameter"], "items"), [4]);
    let defects = values(&shown["parameter"], "defect");
    let of = |defect: &Value| {
        let text = |name: &str| values(defect, name)[0].as_str().unwrap().to_owned();
        let senders = values(defect, "sender").len();
        (text("rule"), text("expression"), values(defect, "items")[0].as_u64().unwrap(), senders)
    };
    let unknown = "unknown-property".to_owned();
    assert_eq!(of(defects[0]), (unknown.clone(), "Patient.colour".to_owned(), 4, 2));
    assert_eq!(of(defects[1]), (unknown, "Patient.name.shade".to_owned(), 3, 2));
    assert_eq!(values(defects[0], "example"), [&json!(last)]);
    let one = site.get("$quarantine-defects?sender=lab-feed&_count=1").await.is(200).json();
    let one = values(&one["parameter"], "defect");
    assert_eq!((one.len(), of(one[0]).2), (1, 1));
}

#[tokio::test]
async fn whoever_may_not_see_everything_sees_nothing_of_the_quarantine() {
    let site = Site::asking(quarantining()).await;
    let item = item_of(&site.put("Patient/1", invalid("1")).await);
    let (shown, unknown) = (format!("$quarantine?item={item}"), "$quarantine?item=unknown");
    let everyone = [
        Access::of_patient("1"),
        Access::of(vec![rule(&["*"], &["read", "search", "history"], "all")]),
        Access::of(vec![rule(&["Patient"], &["*"], "all")]),
        Access::of(vec![rule(&["*"], &["operation:$quarantine"], "compartment(Patient/1)")])
            .launched_for("1"),
    ];
    for access in &everyone {
        let ask = async |target: &str| site.ask("GET", target).by(access).send().await;
        let refused = ask(&shown).await.is(403);
        assert_eq!(refused.text(), ask(unknown).await.is(403).text());
        for target in ["$quarantine", "$quarantine-defects"] {
            ask(target).await.is(403);
        }
        for target in ["$quarantine-release", "$quarantine-discard"] {
            let ask = site.ask("POST", target).by(access).body(named(&[&item]));
            ask.send().await.is(403);
        }
    }
    site.ask("GET", "$quarantine").by(&Access::nobody()).send().await.is(403);
    assert_eq!(items(&site, "").await, std::slice::from_ref(&item));
    // Who may operate it and not write, releases nothing.
    let operator = Access::of(vec![rule(&["*"], &["operation:*"], "all")]);
    let ask = site.ask("POST", "$quarantine-release").by(&operator).body(named(&[&item]));
    let answer = ask.send().await.is(200).json();
    let part = &answer["parameter"][0]["part"];
    assert_eq!(values(part, "outcome"), ["kept"]);
    assert_eq!(values(part, "issues")[0]["issue"][0]["code"], "forbidden");
    site.get("Patient/1").await.is(404);
}

#[tokio::test]
async fn nothing_is_changed_by_following_a_link_or_from_within_a_bundle() {
    let site = Site::asking(quarantining()).await;
    let item = item_of(&site.put("Patient/1", invalid("1")).await);
    for operation in ["$quarantine-release", "$quarantine-discard"] {
        site.get(&format!("{operation}?item={item}")).await.is(400);
        let link = format!("{operation}?item={item}");
        site.post(&link, named(&[&item])).await.is(400);
        for bad in [named(&[]), json!({ "resourceType": "Patient" })] {
            site.post(operation, bad).await.is(400);
        }
        for method in ["GET", "POST"] {
            let entries = || [entry(method, operation, named(&[&item]))];
            assert_eq!(site.post("", batch(entries())).await.is(200).statuses(), [400]);
            site.post("", transaction(entries())).await.is(400);
        }
        site.get(&format!("Patient/{operation}")).await.is(501);
    }
    assert_eq!(items(&site, "").await, [item]);
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

#[tokio::test]
async fn of_many_releases_at_once_one_writes() {
    // Two operators press the button.
    let site = Site::asking(quarantining()).await;
    let item = item_of(&site.post("Patient", invalid("1")).await);
    let site = Arc::new(site.restart().await);
    let before = site.position();
    let mut running = JoinSet::new();
    for _ in 0..8 {
        let (site, item) = (Arc::clone(&site), item.clone());
        running.spawn(async move { released(&site, &[&item]).await.remove(0).0 });
    }
    let outcomes = running.join_all().await;
    let won = outcomes.iter().filter(|outcome| *outcome == "released").count();
    let lost = outcomes.iter().filter(|outcome| *outcome == "unknown").count();
    assert_eq!((won, lost), (1, 7), "{outcomes:?}");
    assert_eq!(site.position(), before + 1);
    assert_eq!(site.get("_history").await.json()["total"], 1);
}
