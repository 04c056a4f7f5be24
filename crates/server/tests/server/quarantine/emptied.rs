//! Items that are released or discarded.

use std::sync::Arc;

use serde_json::{Value, json};
use server::WritePolicy;
use tokio::task::JoinSet;

use super::{done, invalid, item_of, items, named, outcome, quarantining, released, values};
use crate::support::bundle::{batch, entry, transaction};
use crate::support::package::{self, PROFILE};
use crate::support::{Access, Fault, Site, check_issues, rule};

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
async fn a_condition_of_codes_is_judged_by_the_tenants_terminology_when_it_is_released() {
    let site = Site::asking(quarantining()).await;
    let genders = json!({
        "resourceType": "ValueSet", "id": "genders", "url": "http://x/ValueSet/genders",
        "status": "active",
        "compose": { "include": [{ "system": "http://hl7.org/fhir/administrative-gender",
            "concept": [{ "code": "male" }] }] },
    });
    site.put("ValueSet/genders", genders).await.is(201);
    let mut items = Vec::new();
    for gender in ["male", "male"] {
        let ask = site.ask("POST", "Patient");
        let ask = ask.header("if-none-exist", "gender:in=http://x/ValueSet/genders");
        let body = json!({ "resourceType": "Patient", "colour": "red", "gender": gender });
        items.push(item_of(&ask.body(body).send().await));
    }
    let site = site.restart().await;
    let outcomes = released(&site, &[&items[0], &items[1]]).await;
    assert_eq!((&*outcomes[0].0, &outcomes[1]), ("released", &outcome("kept", "duplicate")));
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
async fn one_that_cannot_be_read_is_named_and_keeps_no_other_from_being_listed_or_released() {
    let site = Site::asking(quarantining()).await;
    let mut sent = Vec::new();
    for id in ["1", "2", "3", "4"] {
        sent.push(item_of(&site.put(&format!("Patient/{id}"), invalid(id)).await));
    }
    let site = site.restart().await;
    site.fail(Fault::NotGivenAt(2));
    let newest_first: Vec<_> = sent.iter().rev().cloned().collect();
    assert_eq!(items(&site, "").await, newest_first);
    assert_eq!(items(&site, "?_count=3").await, newest_first[..3]);
    // Nobody knows who sent it.
    assert_eq!(items(&site, "?sender=stranger").await, sent[1..2]);
    let bundle = site.get("$quarantine?sender=stranger").await.json();
    let shown = &bundle["entry"][0]["resource"]["parameter"];
    assert_eq!(values(shown, "unreadable"), [&json!(true)]);
    assert_eq!(values(shown, "received").len(), 1);
    check_issues(values(shown, "issues")[0]);
    site.get(&format!("$quarantine?item={}", sent[1])).await.is(500);
    let defects = site.get("$quarantine-defects").await.is(200).json();
    let defects = &defects["parameter"];
    assert_eq!(values(defects, "unreadable"), [&json!(1)]);
    assert_eq!(values(defects, "looked-at"), [&json!(4)]);
    assert_eq!(values(values(defects, "defect")[0], "items"), [&json!(3)]);
    let asked: Vec<_> = sent[..3].iter().map(String::as_str).collect();
    let place = |id: &str| outcome("released", &format!("Patient/{id}/_history/1"));
    let unreadable = outcome("unreadable", "");
    assert_eq!(released(&site, &asked).await, [place("1"), unreadable, place("3")]);
    site.fail(Fault::None);
    assert_eq!(released(&site, &asked[1..2]).await, [place("2")]);
    site.fail(Fault::NotGivenAt(4));
    let discarded = done(&site, "$quarantine-discard", &[&sent[3]]).await;
    assert_eq!(discarded, [outcome("discarded", "")]);
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
