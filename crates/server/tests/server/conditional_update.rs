//! update by criteria: alone, in a batch and in a transaction.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::bundle::{batch, creation, entry, identified, observation, transaction, when};
use crate::support::{Access, Answer, Site, rule};

/// A patient of this name, born on the day by which tests look for it.
fn born(name: &str) -> Value {
    json!({
        "resourceType": "Patient",
        "name": [{ "family": name }],
        "birthDate": "1815-12-10",
    })
}

fn with_id(mut resource: Value, id: &str) -> Value {
    resource["id"] = id.into();
    resource
}

const ADA: &str = "Patient?family=Lovelace&birthdate=1815-12-10";

/// A way to send one update by criteria.
#[derive(Debug, Clone, Copy)]
enum Way {
    Alone,
    InBatch,
    InTransaction,
}

const WAYS: [Way; 3] = [Way::Alone, Way::InBatch, Way::InTransaction];

/// Status of the update, and what it is about where that is told.
async fn update(site: &Site, way: Way, target: &str, body: &Value) -> (u16, Option<String>) {
    let entries = || [entry("PUT", target, body.clone())];
    let answer = match way {
        Way::Alone => {
            let answer = site.put(target, body).await;
            let reference = answer.header("location").map(|_| answer.reference());
            return (answer.status, reference);
        }
        Way::InBatch => site.post("", batch(entries())).await.is(200),
        Way::InTransaction => site.post("", transaction(entries())).await,
    };
    if answer.status != 200 {
        return (answer.status, None);
    }
    let located = answer.entry(0)["location"].is_string();
    (answer.statuses()[0], located.then(|| answer.entry_reference(0)))
}

#[tokio::test]
async fn without_a_match_and_id_it_creates() {
    // HTTP-103
    for way in WAYS {
        let site = Site::on_disk().await;
        site.put("Patient/1", with_id(born("Byron"), "1")).await.is(201);
        let (status, reference) = update(&site, way, ADA, &born("Lovelace")).await;
        assert_eq!(status, 201, "{way:?}");
        let reference = reference.unwrap();
        let stored = site.get(&reference).await.is(200);
        assert_eq!(stored.header("etag"), Some("W/\"1\""));
        assert_eq!(stored.json()["name"][0]["family"], "Lovelace");
        // History has it as what it was: a create with an id of the server's.
        let history = site.get(&format!("{reference}/_history")).await.json();
        assert_eq!(history["entry"][0]["request"]["method"], "POST");
    }
}

#[tokio::test]
async fn without_a_match_an_id_is_the_one_to_create_unless_it_is_taken() {
    // HTTP-104
    for way in WAYS {
        let site = Site::on_disk().await;
        let (status, reference) = update(&site, way, ADA, &with_id(born("Lovelace"), "ada")).await;
        assert_eq!((status, reference.as_deref()), (201, Some("Patient/ada")), "{way:?}");
        site.put("Patient/1", with_id(born("Byron"), "1")).await.is(201);
        let position = site.position();
        let other = "Patient?family=Babbage";
        let taken = update(&site, way, other, &with_id(born("Babbage"), "1")).await;
        assert_eq!(taken, (409, None), "{way:?}");
        let no_id = update(&site, way, other, &with_id(born("Babbage"), "no id")).await;
        assert_eq!(no_id, (400, None), "{way:?}");
        assert_eq!(site.position(), position);
        // Who may not choose ids creates by none.
        let access = Access::of(vec![rule(&["Patient"], &["update", "search"], "all")]);
        let ask = site.ask("PUT", other).by(&access);
        ask.body(with_id(born("Babbage"), "cb")).send().await.is(403);
        let ask = site.ask("PUT", other).by(&access).body(born("Babbage"));
        ask.send().await.is(403);
        assert_eq!(site.position(), position);
    }
}

#[tokio::test]
async fn one_match_is_updated_when_the_body_has_its_id_or_none() {
    // HTTP-105
    for way in WAYS {
        let site = Site::on_disk().await;
        site.put("Patient/ada", with_id(born("Lovelace"), "ada")).await.is(201);
        for (version, body) in [(2, born("Lovelace")), (3, with_id(born("Lovelace"), "ada"))] {
            let (status, reference) = update(&site, way, ADA, &body).await;
            assert_eq!((status, reference.as_deref()), (200, Some("Patient/ada")), "{way:?}");
            let etag = format!("W/\"{version}\"");
            assert_eq!(site.get("Patient/ada").await.header("etag"), Some(&*etag));
        }
    }
}

#[tokio::test]
async fn one_match_with_another_id_and_several_are_refused() {
    // HTTP-106, HTTP-107
    for way in WAYS {
        let site = Site::on_disk().await;
        site.put("Patient/ada", with_id(born("Lovelace"), "ada")).await.is(201);
        let other = update(&site, way, ADA, &with_id(born("Lovelace"), "other")).await;
        assert_eq!(other, (400, None), "{way:?}");
        site.put("Patient/2", with_id(born("Lovelace"), "2")).await.is(201);
        let position = site.position();
        assert_eq!(update(&site, way, ADA, &born("Lovelace")).await, (412, None), "{way:?}");
        assert_eq!(site.position(), position);
    }
    let site = Site::start().await;
    site.post("Patient", born("Lovelace")).await.is(201);
    site.post("Patient", born("Lovelace")).await.is(201);
    let refused = site.put(ADA, born("Lovelace")).await.is(412);
    assert_eq!(refused.code(), "multiple-matches");
}

#[tokio::test]
async fn criteria_that_say_nothing_update_nothing() {
    // HTTP-108, HTTP-112, SRCH-026
    let site = Site::start().await;
    site.post("Patient", born("Lovelace")).await.is(201);
    for way in WAYS {
        for criteria in [
            "bogus=1",
            "family=Lovelace&bogus=1",
            "family=Lovelace&birthdate=",
            "family=Lovelace&_count=1",
            "family=Lovelace&_sort=family",
            "_include=Patient:organization",
            "_format=json",
            "birthdate=abc",
        ] {
            let target = format!("Patient?{criteria}");
            let refused = update(&site, way, &target, &born("Lovelace")).await;
            assert_eq!(refused, (400, None), "{way:?} {criteria}");
        }
    }
    site.put(ADA, observation("Patient/1")).await.is(400);
    assert_eq!(site.position(), 1);
}

#[tokio::test]
async fn if_match_holds_besides() {
    // HTTP-109
    let site = Site::start().await;
    let put = async |target: &str, name: &str, value: &str| {
        let ask = site.ask("PUT", target).header(name, value);
        ask.body(born("Lovelace")).send().await
    };
    put(ADA, "if-match", "W/\"1\"").await.is(412);
    let created = put(ADA, "if-none-match", "*").await.is(201).reference();
    put(ADA, "if-none-match", "*").await.is(412);
    assert_eq!(put(ADA, "if-match", "W/\"1\"").await.is(200).reference(), created);
    put(ADA, "if-match", "W/\"1\"").await.is(412);
    let position = site.position();
    for (condition, status) in [("W/\"1\"", 412), ("W/\"2\"", 200)] {
        let entry = when(entry("PUT", ADA, born("Lovelace")), "ifMatch", condition);
        let answer = site.post("", transaction([entry])).await;
        assert_eq!(answer.status, status, "{}", answer.text());
    }
    assert_eq!(site.position(), position + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_64_at_once_one_creates_and_the_others_update_it() {
    // HTTP-110, HTTP-195
    let site = Arc::new(Site::on_disk().await);
    let mut updates = JoinSet::new();
    for _ in 0..64 {
        let site = Arc::clone(&site);
        updates.spawn(async move { site.put(ADA, born("Lovelace")).await });
    }
    let answers = updates.join_all().await;
    let created = answers.iter().filter(|answer| answer.status == 201).count();
    // Who lost again and again is told so, and wrote nothing.
    let updated = answers.iter().filter(|answer| answer.status == 200).count();
    let contended = answers.iter().filter(|answer| answer.status == 409).count();
    assert_eq!((created, updated + contended), (1, 63));
    let written = answers.iter().filter(|answer| answer.status < 300);
    assert_eq!(written.map(Answer::reference).collect::<BTreeSet<_>>().len(), 1);
    assert_eq!(site.get(ADA).await.json()["total"], 1);
    assert_eq!(site.position(), (created + updated) as u64);
}

#[tokio::test]
async fn what_its_own_criteria_do_not_match_is_written_and_said() {
    // HTTP-111
    let site = Site::start().await;
    site.put("Patient/ada", with_id(born("Lovelace"), "ada")).await.is(201);
    let put = async |target: &str, name: &str| {
        let ask = site.ask("PUT", target).header("prefer", "return=OperationOutcome");
        ask.body(born(name)).send().await.is(200).json()["issue"][0]["severity"].clone()
    };
    assert_eq!(put(ADA, "Lovelace").await, "information");
    assert_eq!(put(ADA, "King").await, "warning");
    let by_name = "Patient?family=King";
    let bundle = transaction([entry("PUT", by_name, born("Noel"))]);
    let answer = site.post("", bundle).await.is(200);
    assert_eq!(answer.entry(0)["outcome"]["issue"][0]["severity"], "warning");
    let by_identifier = "Patient?identifier=urn:mrn|7";
    let ask = site.ask("PUT", by_identifier).header("prefer", "return=OperationOutcome");
    let said = ask.body(identified("8")).send().await.is(201).json();
    assert_eq!(said["issue"][0]["severity"], "warning");
}

#[tokio::test]
async fn references_to_what_it_creates_or_updates_are_resolved() {
    // HTTP-186
    let site = Site::on_disk().await;
    for expected in [201, 200] {
        let mut put = entry("PUT", ADA, born("Lovelace"));
        put["fullUrl"] = "urn:uuid:1".into();
        let entries = [entry("POST", "Observation", observation("urn:uuid:1")), put];
        let answer = site.post("", transaction(entries)).await.is(200);
        assert_eq!(answer.statuses(), [201, expected]);
        let written = site.get(&answer.entry_reference(0)).await.json();
        assert_eq!(written["subject"]["reference"], answer.entry_reference(1));
    }
    assert_eq!(site.get(ADA).await.json()["total"], 1);
}

#[tokio::test]
async fn two_entries_about_one_resource_fail_the_transaction() {
    // HTTP-176
    let site = Site::on_disk().await;
    let put = || entry("PUT", ADA, born("Lovelace"));
    let by_family = || entry("PUT", "Patient?family=Lovelace", born("Lovelace"));
    // Both would create it.
    let refused = site.post("", transaction([put(), put()])).await.is(400);
    assert_eq!(refused.expressions(), ["Bundle.entry[1].request.url"]);
    let create = creation("urn:uuid:1", born("Lovelace"));
    let create = when(create, "ifNoneExist", "family=Lovelace&birthdate=1815-12-10");
    site.post("", transaction([put(), create])).await.is(400);
    assert_eq!(site.position(), 0);
    site.put("Patient/ada", with_id(born("Lovelace"), "ada")).await.is(201);
    for other in [
        put(),
        by_family(),
        entry("DELETE", "Patient/ada", Value::Null),
        entry("DELETE", "Patient?family=Lovelace", Value::Null),
        entry("PUT", "Patient/ada", with_id(born("Lovelace"), "ada")),
    ] {
        let refused = site.post("", transaction([put(), other])).await.is(400);
        assert_eq!(refused.expressions(), ["Bundle.entry[1].request.url"]);
    }
    assert_eq!(site.position(), 1);
}

#[tokio::test]
async fn sent_again_by_its_name_it_is_done_once() {
    let site = Site::on_disk().await;
    for _ in 0..2 {
        let ask = site.ask("PUT", ADA).header("idempotency-key", "u");
        let answer = ask.body(born("King")).send().await.is(201);
        assert_eq!(answer.header("etag"), Some("W/\"1\""));
        let ask = site.ask("POST", "").header("idempotency-key", "t");
        let bundle = transaction([entry("PUT", "Patient?family=King", born("Noel"))]);
        let answer = ask.body(bundle).send().await.is(200);
        assert_eq!(answer.entry(0)["etag"], "W/\"2\"");
    }
    assert_eq!(site.position(), 2);
}
