//! What a caller whose rules are narrower than everything gets.

use std::time::Duration;

use serde_json::Value;

use crate::support::bundle::{batch, entry, identified, observation, patient, transaction, when};
use crate::support::{Access, Answer, Site, rule};

/// Patients `1` and `hidden`, each with two versions; `gone`, which is deleted; an Observation of Patient/1.
async fn clinic() -> Site {
    let site = Site::on_disk().await;
    for id in ["1", "hidden", "gone"] {
        let target = format!("Patient/{id}");
        site.put(&target, patient(id)).await.is(201);
        site.clock.advance(Duration::from_secs(1));
        site.put(&target, patient(id)).await.is(200);
    }
    site.delete("Patient/gone").await.is(204);
    let mut resource = observation("Patient/1");
    resource["id"] = "o".into();
    site.put("Observation/o", resource).await.is(201);
    site
}

/// All that an answer tells, with what was asked for taken out.
fn told(answer: &Answer, id: &str) -> (u16, String, Vec<(String, String)>) {
    let hidden = |text: &str| text.replace(id, "ID");
    let mut headers: Vec<_> = answer
        .headers
        .iter()
        .filter(|(name, _)| !["date", "hearthgate-cost"].contains(&name.as_str()))
        .map(|(name, value)| (name.to_string(), hidden(value.to_str().unwrap())))
        .collect();
    headers.sort();
    (answer.status, hidden(&answer.text()), headers)
}

#[tokio::test]
async fn a_patient_reads_its_own_record_and_its_versions() {
    let site = clinic().await;
    let access = Access::of_patient("1");
    for target in
        ["Patient/1", "Patient/1/_history/1", "Patient/1/_history/2", "Patient/1/_history"]
    {
        let answer = site.ask("GET", target).by(&access).send().await.is(200);
        assert_eq!(answer.body, site.get(target).await.body, "{target}");
    }
    let ask = site.ask("GET", "Patient/1").by(&access).header("if-none-match", "W/\"2\"");
    ask.send().await.is(304);
}

#[tokio::test]
async fn what_a_patient_may_not_see_is_as_if_it_never_was() {
    // LEAK-26, LEAK-29, HTTP-057
    let site = clinic().await;
    let access = Access::of_patient("1");
    for suffix in [
        "",
        "/_history/1",
        "/_history/2",
        "/_history/3",
        "/_history/x",
        "/_history",
        "/_history?_count=1",
    ] {
        let get = async |id: &str| {
            let target = format!("Patient/{id}{suffix}");
            let ask = site.ask("GET", &target).by(&access).header("if-none-match", "*");
            told(&ask.send().await.is(404), id)
        };
        let never = get("never").await;
        for id in ["hidden", "gone"] {
            assert_eq!(get(id).await, never, "Patient/{id}{suffix}");
        }
        let head = site.ask("HEAD", "Patient/hidden").by(&access).send().await;
        head.is(404);
    }
}

#[tokio::test]
async fn an_update_of_what_a_patient_may_not_see_is_404_and_writes_nothing() {
    // LEAK-26, LEAK-29
    let site = clinic().await;
    let access = Access::of_patient("1");
    let position = site.position();
    for (header, value) in [
        ("x-none", ""),
        ("if-match", "W/\"2\""),
        ("if-match", "*"),
        ("if-none-match", "*"),
        ("prefer", "return=minimal"),
    ] {
        let put = async |id: &str| {
            let target = format!("Patient/{id}");
            let ask = site.ask("PUT", &target).by(&access).header(header, value);
            told(&ask.body(patient(id)).send().await.is(404), id)
        };
        let never = put("never").await;
        for id in ["hidden", "gone"] {
            assert_eq!(put(id).await, never, "Patient/{id} with {header}");
        }
    }
    assert_eq!(site.position(), position);
    site.get("Patient/never").await.is(404);
    assert_eq!(site.get("Patient/hidden").await.header("etag"), Some("W/\"2\""));
}

#[tokio::test]
async fn types_and_actions_without_a_rule_are_403() {
    let site = clinic().await;
    let access = Access::of(vec![rule(&["Patient"], &["read"], "all")]);
    let check = async |method: &str, target: &str, body: &str, status: u16| {
        let ask = site.ask(method, target).by(&access);
        let ask = if body.is_empty() { ask } else { ask.body(body) };
        ask.send().await.is(status)
    };
    check("GET", "Patient/1", "", 200).await;
    check("GET", "Patient/1/_history/1", "", 200).await;
    check("GET", "Patient/never", "", 404).await;
    check("GET", "Patient/1/_history", "", 403).await;
    check("GET", "Observation/o", "", 403).await;
    check("GET", "Observation/never", "", 403).await;
    // Nor does it learn what is not there yet.
    check("GET", "Observation?code=x", "", 403).await;
    check("GET", "Patient/1/$everything", "", 403).await;
    check("PATCH", "Patient/1", "[]", 403).await;
    check("DELETE", "Patient/1", "", 403).await;
    // Denied whatever the body says: it is not even read.
    check("PUT", "Patient/1", "{ no JSON", 403).await;
    check("POST", "Patient", "{ no JSON", 403).await;
    let none = Access::of(Vec::new());
    let ask = site.ask("POST", "").by(&none).body("{ no JSON");
    ask.send().await.is(403);
    site.ask("GET", "metadata").by(&none).send().await.is(200);
    for target in ["Patient/1", "Patient/never"] {
        site.ask("GET", target).by(&Access::nobody()).send().await.is(403);
    }
}

#[tokio::test]
async fn the_entries_of_a_bundle_are_judged_like_requests() {
    // LEAK-11, LEAK-26, LEAK-29
    let site = clinic().await;
    let access = Access::of_patient("1");
    let position = site.position();
    let send = async |bundle: Value| site.ask("POST", "").by(&access).body(bundle).send().await;
    let get = |url: &str| entry("GET", url, Value::Null);
    let entries = |id: &str| {
        [
            get("Patient/1"),
            get(&format!("Patient/{id}")),
            get(&format!("Patient/{id}/_history/1")),
            get(&format!("Patient/{id}/_history")),
            entry("PUT", &format!("Patient/{id}"), patient(id)),
            get("Patient/1/_history/1"),
            get("Observation/o"),
            entry("POST", "Patient", identified("47")),
            entry("DELETE", &format!("Patient/{id}"), Value::Null),
            when(
                entry("POST", "Patient", identified("47")),
                "ifNoneExist",
                "identifier=urn:mrn|47",
            ),
            get("Patient/1/_history"),
        ]
    };
    let never = send(batch(entries("never"))).await.is(200);
    // A Patient is made under an id of the server's, which is another's than the caller's.
    assert_eq!(never.statuses(), [200, 404, 404, 404, 404, 200, 200, 403, 204, 403, 200]);
    assert_eq!(told(&send(batch(entries("hidden"))).await, "\u{1}").1, never.text());
    for index in [1, 2, 3, 4, 7, 9] {
        let of = |id: &str, entry: &Value| {
            transaction([get("Patient/1"), entry.clone()]).to_string().replace("never", id)
        };
        let entry = &entries("never")[index];
        let (one, other) = (of("never", entry), of("hidden", entry));
        let one = site.ask("POST", "").by(&access).body(one).send().await;
        let other = site.ask("POST", "").by(&access).body(other).send().await;
        assert_eq!(one.status, never.statuses()[index]);
        assert_eq!(told(&other, "\u{1}"), told(&one, "\u{1}"));
    }
    let reads = transaction([get("Patient/1"), get("Patient/1/_history")]);
    assert_eq!(send(reads).await.is(200).statuses(), [200, 200]);
    assert_eq!(site.position(), position);
}

#[tokio::test]
async fn what_a_transaction_writes_is_read_by_those_alone_who_may() {
    // LEAK-11
    let site = clinic().await;
    let position = site.position();
    let put = || entry("PUT", "Patient/hidden", patient("hidden"));
    let delete = || entry("DELETE", "Patient/hidden", Value::Null);
    let read = || entry("GET", "Patient/hidden", Value::Null);
    let write = || rule(&["Patient"], &["create", "update", "delete"], "all");
    let own = rule(&["Patient"], &["read", "history"], "compartment(Patient/1)");
    for (access, status) in
        [(Access::of(vec![write()]), 403), (Access::of(vec![write(), own]).launched_for("1"), 404)]
    {
        for written in [put(), delete()] {
            let bundle = transaction([written, read()]);
            let refused = site.ask("POST", "").by(&access).body(bundle).send().await.is(status);
            assert_eq!(refused.expressions(), ["Bundle.entry[1]"]);
        }
    }
    assert_eq!(site.position(), position);
}
