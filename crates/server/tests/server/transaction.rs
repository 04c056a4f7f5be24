//! transaction: all entries or none.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::bundle::{
    creation, entry, identified, observation, patient, transaction, when,
};
use crate::support::{Access, Answer, Site, rule, shuffled};

/// Sends a transaction that must fail: with this status, about these expressions, writing nothing.
async fn refused(site: &Site, entries: Vec<Value>, status: u16, expressions: &[&str]) -> Answer {
    let position = site.position();
    let sent = json!(entries).to_string();
    let answer = site.post("", transaction(entries)).await;
    assert_eq!(answer.status, status, "{sent}: {}", answer.text());
    assert_eq!(answer.json()["resourceType"], "OperationOutcome", "{sent}");
    assert_eq!(answer.expressions(), expressions, "{sent}");
    assert_eq!(site.position(), position, "{sent}");
    answer
}

#[tokio::test]
async fn an_empty_transaction_is_answered_by_an_empty_bundle() {
    // HTTP-239
    let site = Site::start().await;
    for bundle in [json!({ "resourceType": "Bundle", "type": "transaction" }), transaction([])] {
        let answer = site.post("", bundle).await.is(200);
        assert_eq!(answer.text(), r#"{"resourceType":"Bundle","type":"transaction-response"}"#);
    }
    // HTTP-001
    site.post("/", transaction([])).await.is(200);
    assert_eq!(site.position(), 0);
}

#[tokio::test]
async fn entries_answer_in_the_order_they_were_sent() {
    // HTTP-175, HTTP-197, HTTP-191
    let site = Site::start().await;
    site.put("Patient/1", patient("1")).await.is(201);
    site.put("Patient/2", patient("2")).await.is(201);
    let entries = [
        entry("GET", "Patient/2", Value::Null),
        entry("PUT", "Patient/2", patient("2")),
        entry("POST", "Patient", patient("x")),
        entry("DELETE", "Patient/1", Value::Null),
        entry("DELETE", "Patient/never", Value::Null),
        entry("PUT", "Patient/3", patient("3")),
        entry("HEAD", "Patient/2", Value::Null),
    ];
    let answer = site.post("", transaction(entries)).await.is(200);
    assert_eq!(answer.json()["type"], "transaction-response");
    assert_eq!(answer.statuses(), [200, 200, 201, 204, 204, 201, 200]);
    // The read sees what the transaction wrote.
    assert_eq!(answer.json()["entry"][0]["resource"]["meta"]["versionId"], "2");
    assert_eq!(answer.entry(1)["location"], "Patient/2/_history/2");
    assert_eq!(answer.entry(1)["etag"], "W/\"2\"");
    assert_eq!(answer.entry(3)["etag"], "W/\"2\"");
    assert_eq!(answer.entry(3).get("location"), None);
    assert_eq!(answer.entry(4).get("etag"), None);
    assert_eq!(answer.json()["entry"][6].get("resource"), None);
    // One commit, one instant.
    assert_eq!(site.position(), 3);
    for index in [1, 2, 3, 5] {
        assert_eq!(answer.entry(index)["lastModified"], answer.entry(1)["lastModified"]);
    }
}

#[tokio::test]
async fn one_entry_that_fails_undoes_all() {
    // HTTP-173
    let site = Site::on_disk().await;
    site.put("Patient/1", patient("1")).await.is(201);
    let good = || {
        vec![
            creation("urn:uuid:1", identified("47")),
            entry("PUT", "Patient/2", patient("2")),
            entry("DELETE", "Patient/1", Value::Null),
        ]
    };
    for (bad, status, expression) in [
        (entry("PUT", "Patient/3", patient("4")), 400, "Bundle.entry[3].resource.id"),
        (entry("PUT", "Patient/3", Value::Null), 400, "Bundle.entry[3]"),
        (entry("PUT", "Patient/3", observation("x")), 400, "Bundle.entry[3].resource.resourceType"),
        (entry("POST", "Foo", json!({ "resourceType": "Foo" })), 404, "Bundle.entry[3]"),
        (entry("GET", "Patient/9", Value::Null), 404, "Bundle.entry[3]"),
        (entry("PUT", "metadata", patient("3")), 405, "Bundle.entry[3].request.url"),
        (
            entry("PATCH", "Patient/3", json!({ "resourceType": "Parameters" })),
            404,
            "Bundle.entry[3]",
        ),
        (entry("GET", "Patient?birthdate=x", Value::Null), 400, "http.birthdate"),
        (
            when(entry("PUT", "Patient/3", patient("3")), "ifMatch", "W/\"1\""),
            412,
            "Bundle.entry[3].request.ifMatch",
        ),
        (
            when(entry("DELETE", "Patient/3", Value::Null), "ifMatch", "W/\"1\""),
            412,
            "Bundle.entry[3].request.ifMatch",
        ),
        (
            when(entry("PUT", "Patient/3", patient("3")), "ifMatch", "\"\""),
            400,
            "Bundle.entry[3].request.ifMatch",
        ),
        (
            when(entry("POST", "Patient", patient("x")), "ifNoneExist", "foo=bar"),
            400,
            "Bundle.entry[3].request.ifNoneExist",
        ),
        (
            entry("POST", "Observation", observation("urn:uuid:none")),
            400,
            "Bundle.entry[3].resource.subject.reference",
        ),
    ] {
        let mut entries = good();
        entries.push(bad);
        refused(&site, entries, status, &[expression]).await;
    }
    site.get("Patient/1").await.is(200);
    site.get("Patient/2").await.is(404);
    site.post("", transaction(good())).await.is(200);
    site.get("Patient/1").await.is(410);
    site.get("Patient/2").await.is(200);
}

#[tokio::test]
async fn a_stale_if_match_within_undoes_all() {
    // HTTP-193
    let site = Site::start().await;
    site.put("Patient/1", patient("1")).await.is(201);
    site.put("Patient/1", patient("1")).await.is(200);
    let put = |tag| when(entry("PUT", "Patient/1", patient("1")), "ifMatch", tag);
    let other = || entry("PUT", "Patient/2", patient("2"));
    refused(&site, vec![other(), put("W/\"1\"")], 412, &["Bundle.entry[1].request.ifMatch"]).await;
    site.post("", transaction([other(), put("W/\"2\"")])).await.is(200);
    let none_match = when(entry("PUT", "Patient/1", patient("1")), "ifNoneMatch", "*");
    refused(&site, vec![none_match], 412, &["Bundle.entry[0].request.ifNoneMatch"]).await;
}

#[tokio::test]
async fn the_order_of_entries_does_not_matter() {
    // HTTP-174, HTTP-187
    let entries = || {
        vec![
            creation(
                "urn:uuid:a",
                json!({ "resourceType": "Encounter", "status": "finished", "diagnosis": [{ "condition": { "reference": "urn:uuid:b" } }] }),
            ),
            creation(
                "urn:uuid:b",
                json!({ "resourceType": "Condition", "encounter": { "reference": "urn:uuid:a" }, "subject": { "reference": "urn:uuid:p" } }),
            ),
            creation("urn:uuid:p", identified("1")),
            creation("urn:uuid:o", observation("Patient?identifier=urn:mrn|1")),
            creation("urn:uuid:q", observation("Patient?identifier=urn:mrn|2")),
            entry("DELETE", "Patient/gone", Value::Null),
            entry(
                "PUT",
                "Patient/2",
                json!({ "resourceType": "Patient", "id": "2", "identifier": [{ "system": "urn:mrn", "value": "2" }] }),
            ),
            entry("GET", "Patient/2", Value::Null),
        ]
    };
    let mut outcomes = Vec::new();
    for seed in 0..12 {
        let site = Site::start().await;
        let gone = json!({ "resourceType": "Patient", "id": "gone", "identifier": [{ "system": "urn:mrn", "value": "2" }] });
        site.put("Patient/gone", gone).await.is(201);
        let order = shuffled(8, seed);
        let all = entries();
        let sent = order.iter().map(|index| all[*index].clone());
        let answer = site.post("", transaction(sent)).await.is(200);
        // What each entry came to, with the ids that were given replaced by names.
        let mut names: BTreeMap<String, String> = BTreeMap::new();
        let mut statuses = BTreeMap::new();
        for (place, index) in order.iter().enumerate() {
            statuses.insert(*index, answer.statuses()[place]);
            if answer.entry(place).get("location").is_some() {
                names.insert(answer.entry_reference(place), format!("entry {index}"));
            }
        }
        let mut contents = BTreeMap::new();
        for (reference, name) in &names {
            let mut text = site.get(reference).await.is(200).text();
            for (reference, name) in &names {
                let (_, id) = reference.split_once('/').unwrap();
                text = text
                    .replace(reference, name)
                    .replace(&format!("\"id\":\"{id}\""), "\"id\":\"\"");
            }
            contents.insert(name.clone(), text);
        }
        site.get("Patient/gone").await.is(410);
        outcomes.push((statuses, contents));
    }
    assert!(outcomes[0].1["entry 0"].contains(r#""reference":"entry 1""#), "{outcomes:?}");
    assert!(outcomes[0].1["entry 1"].contains(r#""reference":"entry 0""#), "{outcomes:?}");
    assert!(outcomes[0].1["entry 3"].contains(r#""reference":"entry 2""#), "{outcomes:?}");
    assert!(outcomes[0].1["entry 4"].contains(r#""reference":"entry 6""#), "{outcomes:?}");
    for outcome in &outcomes {
        assert_eq!(outcome, &outcomes[0]);
    }
}

#[tokio::test]
async fn no_resource_is_touched_twice() {
    // HTTP-176
    let site = Site::start().await;
    let existing = site.post("Patient", identified("47")).await.is(201).reference();
    let id = &existing["Patient/".len()..];
    let put = || entry("PUT", "Patient/1", patient("1"));
    let delete = || entry("DELETE", "Patient/1", Value::Null);
    let if_none_exist =
        |value| when(entry("POST", "Patient", identified("47")), "ifNoneExist", value);
    let existing_put = || entry("PUT", &existing, patient(id));
    let existing_delete = || entry("DELETE", &existing, Value::Null);
    let (here, new) = ("identifier=urn:mrn|47", "identifier=urn:mrn|48");
    let url = "Bundle.entry[1].request.url";
    for (entries, expression) in [
        (vec![put(), put()], url),
        (vec![put(), delete()], url),
        (vec![delete(), put()], url),
        (vec![delete(), delete()], url),
        (vec![if_none_exist(here), if_none_exist(here)], url),
        (vec![if_none_exist(here), existing_put()], url),
        (vec![existing_put(), if_none_exist(here)], url),
        (vec![existing_delete(), if_none_exist(here)], url),
        (vec![if_none_exist(new), if_none_exist(new)], "Bundle.entry[1].request.ifNoneExist"),
    ] {
        refused(&site, entries, 400, &[expression]).await;
    }
    // Reading what is written is no second touch.
    let read = || entry("GET", "Patient/1", Value::Null);
    site.post("", transaction([read(), put(), read()])).await.is(200);
}

#[tokio::test]
async fn a_full_url_stands_once() {
    // HTTP-190
    let site = Site::start().await;
    let twice = vec![
        creation("urn:uuid:1", patient("x")),
        creation("urn:uuid:1", observation("Patient/1")),
    ];
    refused(&site, twice, 400, &["Bundle.entry[1].fullUrl"]).await;
}

#[tokio::test]
async fn reading_what_the_transaction_deletes_undoes_all() {
    let site = Site::start().await;
    site.put("Patient/1", patient("1")).await.is(201);
    let delete = || entry("DELETE", "Patient/1", Value::Null);
    let read = |url| entry("GET", url, Value::Null);
    refused(&site, vec![read("Patient/1"), delete()], 410, &["Bundle.entry[0]"]).await;
    let answer = site.post("", transaction([read("Patient/1/_history"), delete()])).await.is(200);
    assert_eq!(answer.json()["entry"][0]["resource"]["total"], 2);
}

#[tokio::test]
async fn a_version_that_the_transaction_writes_is_read_in_it() {
    // HTTP-174
    let site = Site::start().await;
    let put = |id: &str| entry("PUT", &format!("Patient/{id}"), patient(id));
    let read = |id: &str, version: &str| {
        entry("GET", &format!("Patient/{id}/_history/{version}"), Value::Null)
    };
    let answer = site.post("", transaction([read("1", "1"), put("1")])).await.is(200);
    assert_eq!(answer.statuses(), [200, 201]);
    let sent = [read("1", "2"), read("1", "1"), put("1")];
    let answer = site.post("", transaction(sent)).await.is(200);
    assert_eq!(answer.json()["entry"][0]["resource"]["meta"]["versionId"], "2");
    assert_eq!(answer.json()["entry"][1]["resource"]["meta"]["versionId"], "1");
    // What it does not write is not there, and what it deletes is gone.
    refused(&site, vec![read("1", "4"), put("1")], 404, &["Bundle.entry[0]"]).await;
    refused(&site, vec![read("1", "x"), put("1")], 404, &["Bundle.entry[0]"]).await;
    refused(&site, vec![read("2", "1"), put("1")], 404, &["Bundle.entry[0]"]).await;
    let delete = |id: &str| entry("DELETE", &format!("Patient/{id}"), Value::Null);
    refused(&site, vec![read("1", "3"), delete("1")], 410, &["Bundle.entry[0]"]).await;
    refused(&site, vec![read("2", "1"), delete("2")], 404, &["Bundle.entry[0]"]).await;
    let answer = site.post("", transaction([read("1", "2"), delete("1")])).await.is(200);
    assert_eq!(answer.statuses(), [200, 204]);
}

#[tokio::test]
async fn a_conditional_create_within_finds_or_creates() {
    // HTTP-185
    let site = Site::on_disk().await;
    let existing = site.post("Patient", identified("47")).await.is(201).reference();
    let create = |value: &str, full_url: &str| {
        let condition = format!("identifier=urn:mrn|{value}");
        when(creation(full_url, identified(value)), "ifNoneExist", &condition)
    };
    let entries = || {
        [
            creation("urn:uuid:3", observation("urn:uuid:1")),
            creation("urn:uuid:4", observation("urn:uuid:2")),
            create("47", "urn:uuid:1"),
            create("48", "urn:uuid:2"),
        ]
    };
    let answer = site.post("", transaction(entries())).await.is(200);
    assert_eq!(answer.statuses(), [201, 201, 200, 201]);
    assert_eq!(answer.entry_reference(2), existing);
    assert_eq!(answer.entry(2)["etag"], "W/\"1\"");
    let created = answer.entry_reference(3);
    for (index, subject) in [(0, &existing), (1, &created)] {
        let read = site.get(&answer.entry_reference(index)).await.json();
        assert_eq!(read["subject"]["reference"], **subject);
    }
    // Sent again, both are found.
    let ask = site.ask("POST", "").header("prefer", "return=representation");
    let again = ask.body(transaction(entries())).send().await.is(200);
    assert_eq!(again.statuses(), [201, 201, 200, 200]);
    assert_eq!(again.entry_reference(3), created);
    assert_eq!(again.json()["entry"][3]["resource"]["identifier"][0]["value"], "48");
    site.post("Patient", identified("47")).await.is(201);
    let several = vec![create("47", "urn:uuid:1")];
    refused(&site, several, 412, &["Bundle.entry[0].request.ifNoneExist"]).await;
}

#[tokio::test]
async fn one_denied_entry_writes_nothing() {
    // LEAK-11
    let site = Site::start().await;
    site.put("Patient/1", patient("1")).await.is(201);
    let access = Access::of(vec![rule(&["Patient"], &["read", "create", "update"], "all")]);
    for denied in [
        entry("POST", "Observation", observation("Patient/1")),
        entry("DELETE", "Patient/1", Value::Null),
        entry("GET", "Patient/1/_history", Value::Null),
        entry("GET", "Patient/2/_history", Value::Null),
        // Criteria tell what is there: they take the right to search.
        when(entry("POST", "Patient", identified("47")), "ifNoneExist", "identifier=urn:mrn|47"),
    ] {
        let entries = [entry("PUT", "Patient/2", patient("2")), denied.clone()];
        let ask = site.ask("POST", "").by(&access).body(transaction(entries));
        let answer = ask.send().await.is(403);
        assert_eq!(answer.expressions(), ["Bundle.entry[1]"], "{denied}");
        assert_eq!(site.position(), 1, "{denied}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_transactions_at_once_with_one_condition_one_creates() {
    // HTTP-086
    let site = Arc::new(Site::on_disk().await);
    let mut sending = JoinSet::new();
    for _ in 0..32 {
        let site = Arc::clone(&site);
        sending.spawn(async move {
            let condition = "identifier=urn:mrn|1";
            let entries = [
                when(creation("urn:uuid:p", identified("1")), "ifNoneExist", condition),
                creation("urn:uuid:o", observation("urn:uuid:p")),
            ];
            site.post("", transaction(entries)).await.is(200)
        });
    }
    let answers = sending.join_all().await;
    let created = answers.iter().filter(|answer| answer.statuses()[0] == 201).count();
    assert_eq!(created, 1);
    let patient = answers[0].entry_reference(0);
    for answer in &answers {
        assert_eq!(answer.entry_reference(0), patient);
        let observation = site.get(&answer.entry_reference(1)).await.json();
        assert_eq!(observation["subject"]["reference"], *patient);
    }
    assert_eq!(site.position(), 32);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_reader_sees_half_a_transaction() {
    // HTTP-194
    let site = Arc::new(Site::on_disk().await);
    let pair = |language: &str| {
        let put = |id: &str| {
            entry(
                "PUT",
                &format!("Patient/{id}"),
                json!({ "resourceType": "Patient", "id": id, "language": language }),
            )
        };
        transaction([put("a"), put("b")])
    };
    site.post("", pair("0")).await.is(200);
    let mut writing = JoinSet::new();
    let writer = Arc::clone(&site);
    writing.spawn(async move {
        for number in 1..60 {
            writer.post("", pair(&number.to_string())).await.is(200);
        }
    });
    // Read one after the other, the second is never older than the first.
    let number =
        |answer: Answer| -> u32 { answer.json()["language"].as_str().unwrap().parse().unwrap() };
    let mut last = 0;
    while last < 59 {
        let first = number(site.get("Patient/a").await.is(200));
        let second = number(site.get("Patient/b").await.is(200));
        assert!(first <= second, "{first} {second}");
        last = first;
    }
    writing.join_all().await;
}

#[tokio::test]
async fn a_large_transaction_is_resolved_like_a_small_one() {
    let site = Site::on_disk().await;
    let count = 2000;
    let entries = (0..count).map(|index| {
        let next = format!("urn:uuid:{}", (index + 1) % count);
        let other = json!({ "other": { "reference": next }, "type": "seealso" });
        let resource = json!({ "resourceType": "Patient", "link": [other] });
        creation(&format!("urn:uuid:{index}"), resource)
    });
    let answer = site.post("", transaction(entries)).await.is(200);
    assert_eq!(site.position(), 1);
    let bundle = answer.json();
    let reference = |index: usize| {
        let location = bundle["entry"][index]["response"]["location"].as_str().unwrap();
        location.split_once("/_history/").unwrap().0
    };
    for index in [0, 1, 999, count - 1] {
        let stored = site.get(reference(index)).await.is(200).json();
        assert_eq!(stored["link"][0]["other"]["reference"], reference((index + 1) % count));
    }
}
