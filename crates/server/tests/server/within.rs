//! Rules within a part of the data: whose it is, what it says, who wrote it. Every way to look at
//! data is asked as several callers, and shows each the same part.

use std::time::Duration;

use contract::Rule;
use serde_json::{Value, json};

use super::search::ids;
use crate::support::bundle::{batch, entry, observation, patient, transaction, when};
use crate::support::{Access, Answer, Site, rule};

/// Patients `1` and `2`, an Observation of each (`o1`, `o2`), one of `1` that `2` performed
/// (`both`), a Practitioner, an Encounter of `1` with the Observation `e1`; a Group of `1`, and
/// of `2` no more; a care team of `1`.
pub(super) async fn clinic() -> Site {
    let site = Site::on_disk().await;
    let put = async |resource: Value| {
        let text = |name: &str| resource[name].as_str().unwrap().to_owned();
        let target = format!("{}/{}", text("resourceType"), text("id"));
        site.put(&target, resource).await.is(201);
        site.clock.advance(Duration::from_secs(1));
    };
    let reference = |to: &str| json!({ "reference": to });
    put(json!({ "resourceType": "Practitioner", "id": "p", "name": [{ "family": "Doc" }] })).await;
    for id in ["1", "2"] {
        let mut patient = patient(id);
        patient["generalPractitioner"] = json!([reference("Practitioner/p")]);
        patient["name"] = json!([{ "family": format!("Family{id}") }]);
        patient["active"] = json!(id == "1");
        put(patient).await;
    }
    put(json!({ "resourceType": "Encounter", "id": "e", "status": "finished",
        "class": { "code": "AMB" }, "subject": reference("Patient/1") }))
    .await;
    let of = |id: &str, subject: &str| {
        let mut observation = observation(subject);
        observation["id"] = id.into();
        observation["code"] = json!({ "coding": [{ "system": "urn:c", "code": id }] });
        observation
    };
    put(of("o1", "Patient/1")).await;
    put(of("o2", "Patient/2")).await;
    let mut both = of("both", "Patient/1");
    both["performer"] = json!([reference("Patient/2")]);
    put(both).await;
    let mut secret = of("e1", "Patient/1");
    secret["encounter"] = reference("Encounter/e");
    secret["meta"] = json!({ "security": [{ "system": "urn:s", "code": "R" }] });
    put(secret).await;
    put(json!({ "resourceType": "Group", "id": "g", "type": "person", "actual": true,
        "member": [
            { "entity": reference("Patient/1"), "period": { "start": "2000" } },
            { "entity": reference("Patient/2"), "inactive": true },
            { "entity": reference("Patient/2"), "period": { "end": "2001-01-01" } }] }))
    .await;
    put(json!({ "resourceType": "CareTeam", "id": "c", "status": "active",
        "subject": reference("Patient/1"),
        "participant": [{ "member": reference("Practitioner/p") }] }))
    .await;
    put(json!({ "resourceType": "CareTeam", "id": "over", "status": "inactive",
        "subject": reference("Patient/2"),
        "participant": [{ "member": reference("Practitioner/p") }] }))
    .await;
    site
}

pub(super) fn all_within(within: &str) -> Rule {
    rule(&["*"], &["*"], within)
}

pub(super) fn group() -> Access {
    Access::of(vec![all_within("group(Group/g)")])
}

pub(super) fn care_team() -> Access {
    Access::of(vec![all_within("careTeamOf(user)")]).being("Practitioner/p")
}

/// Everything, but what these narrow.
pub(super) fn filtered(filter: Option<&str>, without_labels: &[&str]) -> Access {
    let mut rule = all_within("all");
    rule.filter = filter.map(str::to_owned);
    rule.without_labels = without_labels.iter().map(|label| (*label).to_owned()).collect();
    Access::of(vec![rule])
}

pub(super) async fn by(
    site: &Site,
    access: &Access,
    method: &str,
    target: &str,
    body: Value,
) -> Answer {
    let ask = site.ask(method, target).by(access);
    let ask = if body.is_null() { ask } else { ask.body(body) };
    ask.send().await
}

pub(super) async fn get(site: &Site, access: &Access, target: &str) -> Answer {
    by(site, access, "GET", target, Value::Null).await
}

/// The ids that a search finds, by the index and before it is there.
pub(super) async fn found(site: &Site, access: &Access, target: &str) -> Vec<String> {
    let bundle = get(site, access, target).await.is(200).json();
    let mut found = ids(&bundle, "match");
    found.sort();
    assert_eq!(bundle["total"], found.len(), "{target}");
    found
}

#[tokio::test]
async fn each_kind_of_rule_shows_its_part_to_reads_and_searches_alike() {
    // SRCH-252, LEAK-05, LEAK-16, LEAK-21, LEAK-29
    let site = clinic().await;
    let of_patient: &[&str] = &["both", "e1", "o1"];
    let cases: [(&str, Access, &[&str]); 8] = [
        ("patient", Access::of_patient("1"), of_patient),
        ("other patient", Access::of_patient("2"), &["both", "o2"]),
        ("group", group(), of_patient),
        ("care team", care_team(), of_patient),
        ("encounter", Access::of(vec![all_within("compartment(Encounter/e)")]), &["e1"]),
        ("filter", filtered(Some("code=o1,o2"), &[]), &["o1", "o2"]),
        ("chained filter", filtered(Some("subject:Patient.active=true"), &[]), of_patient),
        ("label", filtered(None, &["urn:s|R"]), &["both", "o1", "o2"]),
    ];
    for indexed in [false, true] {
        if indexed {
            site.is_indexed().await;
        }
        for (name, access, expected) in &cases {
            assert_eq!(found(&site, access, "Observation").await, *expected, "{name}");
            let sorted = get(&site, access, "Observation?_sort=-code&_total=accurate").await;
            assert_eq!(ids(&sorted.json(), "match").len(), expected.len(), "{name}");
            for shown in ["_elements=code", "_summary=true", "_summary=text", "_summary=data"] {
                let target = format!("Observation?{shown}");
                assert_eq!(found(&site, access, &target).await, *expected, "{name} {shown}");
            }
            let count = get(&site, access, "Observation?_summary=count").await.json();
            assert_eq!(count["total"], expected.len(), "{name}");
            for id in ["o1", "o2", "both", "e1"] {
                let status = if expected.contains(&id) { 200 } else { 404 };
                for target in [
                    format!("Observation/{id}"),
                    format!("Observation/{id}/_history/1"),
                    format!("Observation/{id}/_history"),
                ] {
                    let answer = get(&site, access, &target).await;
                    assert_eq!(answer.status, status, "{name} {target} {}", answer.text());
                }
            }
        }
    }
}

#[tokio::test]
async fn chains_includes_and_reverse_includes_stay_within() {
    // LEAK-01, LEAK-03, LEAK-05, LEAK-06, SRCH-181
    let site = clinic().await;
    site.is_indexed().await;
    for access in [Access::of_patient("1"), group(), care_team()] {
        let target = "Observation?_id=both&_include=*&_include:iterate=*&_revinclude=*:*";
        let bundle = get(&site, &access, target).await.is(200).json();
        let mut included = ids(&bundle, "include");
        included.retain(|id| id != "p");
        assert_eq!(included, ["1"], "{bundle}");
        let target = "Patient?_revinclude=Observation:subject&_revinclude:iterate=Group:member";
        let bundle = get(&site, &access, target).await.is(200).json();
        assert_eq!(ids(&bundle, "match"), ["1"]);
        let mut included = ids(&bundle, "include");
        included.sort();
        assert_eq!(included, ["both", "e1", "g", "o1"]);
        for (target, expected) in [
            ("Observation?performer:Patient.family=Family2", &[][..]),
            ("Observation?subject:Patient.family=Family1", &["both", "e1", "o1"][..]),
            ("Observation?subject:Patient.active=false", &[][..]),
        ] {
            assert_eq!(found(&site, &access, target).await, expected, "{target}");
        }
        for target in [
            "Patient?_has:Observation:subject:code=o2",
            "Patient?_has:Observation:performer:code=both",
        ] {
            assert_eq!(found(&site, &access, target).await, [""; 0], "{target}");
        }
    }
}

#[tokio::test]
async fn histories_show_versions_that_are_and_were_within() {
    // LEAK-07, LEAK-08, LEAK-16
    let site = clinic().await;
    let mut moved = observation("Patient/2");
    moved["id"] = "o1".into();
    site.put("Observation/o1", moved).await.is(200);
    site.delete("Observation/e1").await.is(204);
    let access = Access::of_patient("1");
    for target in ["Observation/o1", "Observation/o1/_history/1", "Observation/o1/_history"] {
        get(&site, &access, target).await.is(404);
    }
    get(&site, &access, "Observation/e1").await.is(410);
    get(&site, &access, "Observation/e1/_history/1").await.is(200);
    let names = |bundle: &Value| -> Vec<String> {
        let entries = bundle["entry"].as_array().cloned().unwrap_or_default();
        let name = |entry: &Value| entry["request"]["url"].as_str().unwrap().to_owned();
        entries.iter().map(name).collect()
    };
    let own = ["Observation/e1", "Observation/e1", "Observation/both"];
    let bundle = get(&site, &access, "Observation/_history").await.is(200).json();
    assert_eq!(names(&bundle), own);
    assert_eq!(bundle["total"], own.len());
    let whole = get(&site, &access, "_history").await.is(200).json();
    let mut types = names(&whole);
    types.sort();
    types.dedup();
    assert_eq!(
        types,
        ["CareTeam/c", "Encounter/e", "Group/g", "Observation/both", "Observation/e1", "Patient/1"]
    );
    // Pages have no gaps.
    let mut target = "Observation/_history?_count=1".to_owned();
    for (at, name) in own.iter().enumerate() {
        let page = get(&site, &access, &target).await.is(200).json();
        assert_eq!(names(&page), [*name]);
        let links = page["link"].as_array().unwrap();
        let next = links.iter().find(|link| link["relation"] == "next");
        assert_eq!(next.is_some(), at + 1 < own.len());
        if let Some(next) = next {
            let url = next["url"].as_str().unwrap();
            target = url.strip_prefix("http://clinic.example/fhir/").unwrap().to_owned();
        }
    }
}

#[tokio::test]
async fn what_is_written_is_within_and_of_nobody_else() {
    // LEAK-14, LEAK-15, LEAK-29
    let site = clinic().await;
    for access in [Access::of_patient("1"), group(), care_team()] {
        let position = site.position();
        let mut both = observation("Patient/1");
        both["performer"] = json!([{ "reference": "Patient/2" }]);
        let mut by_url = observation("Patient/1");
        by_url["performer"] = json!([{ "reference": "http://clinic.example/fhir/Patient/2" }]);
        for body in [observation("Patient/2"), both, by_url] {
            by(&site, &access, "POST", "Observation", body).await.is(403);
        }
        for body in [patient("x"), json!({ "resourceType": "Organization" })] {
            let target = body["resourceType"].as_str().unwrap().to_owned();
            by(&site, &access, "POST", &target, body).await.is(403);
        }
        let mut moved = observation("Patient/2");
        moved["id"] = "o1".into();
        by(&site, &access, "PUT", "Observation/o1", moved).await.is(403);
        let patch = r#"[{"op":"replace","path":"/subject/reference","value":"Patient/2"}]"#;
        let ask = site.ask("PATCH", "Observation/o1").by(&access);
        ask.bytes("application/json-patch+json", patch).send().await.is(403);
        // What is of others too is not one's own to change.
        let mut shared = observation("Patient/1");
        shared["id"] = "both".into();
        shared["performer"] = json!([{ "reference": "Patient/2" }]);
        by(&site, &access, "PUT", "Observation/both", shared).await.is(403);
        // Nor to take out of the other's record, or away.
        let mut alone = observation("Patient/1");
        alone["id"] = "both".into();
        by(&site, &access, "PUT", "Observation/both", alone.clone()).await.is(403);
        let patch = r#"[{"op":"remove","path":"/performer"}]"#;
        let ask = site.ask("PATCH", "Observation/both").by(&access);
        ask.bytes("application/json-patch+json", patch).send().await.is(403);
        let ask = site.ask("PATCH", "Observation?_id=both").by(&access);
        ask.bytes("application/json-patch+json", patch).send().await.is(403);
        by(&site, &access, "PUT", "Observation?_id=both", alone.clone()).await.is(403);
        for target in ["Observation/both", "Observation?_id=both"] {
            by(&site, &access, "DELETE", target, Value::Null).await.is(403);
        }
        for kind in ["batch", "transaction"] {
            for (method, url, body) in [
                ("DELETE", "Observation/both", None),
                ("DELETE", "Observation?_id=both", None),
                ("PUT", "Observation/both", Some(&alone)),
                ("PUT", "Observation?_id=both", Some(&alone)),
            ] {
                let mut entry = json!({ "request": { "method": method, "url": url } });
                if let Some(body) = body {
                    entry["resource"] = body.clone();
                }
                let bundle = json!({ "resourceType": "Bundle", "type": kind, "entry": [entry] });
                let answer = site.ask("POST", "").by(&access).body(bundle).send().await;
                if kind == "transaction" {
                    answer.is(403);
                } else {
                    let status = &answer.is(200).json()["entry"][0]["response"]["status"];
                    assert!(status.as_str().unwrap().starts_with("403"), "{method} {url}");
                }
            }
        }
        assert_eq!(site.position(), position);
        let made = by(&site, &access, "POST", "Observation", observation("Patient/1")).await;
        let made = made.is(201).reference();
        get(&site, &access, &made).await.is(200);
        let mut same = observation("Patient/1");
        same["id"] = "o1".into();
        by(&site, &access, "PUT", "Observation/o1", same).await.is(200);
        by(&site, &access, "DELETE", &made, Value::Null).await.is(204);
        site.get(&made).await.is(410);
    }
}

#[tokio::test]
async fn writes_to_what_is_not_seen_do_not_tell_whether_it_is_there() {
    // LEAK-13, LEAK-26, LEAK-29
    let site = clinic().await;
    let access = Access::of_patient("1");
    let position = site.position();
    let told = |answer: Answer, id: &str| {
        let etag = answer.header("etag").map(str::to_owned);
        (answer.status, answer.text().replace(id, "ID"), etag)
    };
    for (header, value) in [("x-none", ""), ("if-match", "W/\"1\""), ("if-none-match", "*")] {
        let send = async |method: &str, id: &str| {
            let target = format!("Observation/{id}");
            let mut body = observation("Patient/1");
            body["id"] = id.into();
            let ask = site.ask(method, &target).by(&access).header(header, value);
            let ask = match method {
                "PUT" => ask.body(body),
                "PATCH" => ask.bytes("application/json-patch+json", "[]"),
                _ => ask,
            };
            told(ask.send().await, id)
        };
        for method in ["PUT", "PATCH", "DELETE"] {
            let (hidden, never) = (send(method, "o2").await, send(method, "never").await);
            assert_eq!(hidden, never, "{method} {header}");
            if method != "DELETE" {
                assert_eq!(hidden.0, 404, "{method} {header}");
            }
        }
    }
    assert_eq!(site.position(), position);
    site.get("Observation/o2").await.is(200);
}

#[tokio::test]
async fn conditions_match_what_is_seen_alone() {
    // LEAK-12, LEAK-13
    let site = clinic().await;
    let access = Access::of_patient("1");
    let send = async |method: &str, target: &str, condition: &str, body: Value| {
        let ask = site.ask(method, target).by(&access);
        let ask = if condition.is_empty() { ask } else { ask.header("if-none-exist", condition) };
        let ask = if body.is_null() { ask } else { ask.body(body) };
        ask.send().await
    };
    // There is one, of another: it is no match.
    let created = send("POST", "Observation", "code=o2", observation("Patient/1")).await.is(201);
    assert_ne!(created.reference(), "Observation/o2");
    let existing = send("POST", "Observation", "code=o1", observation("Patient/1")).await.is(200);
    assert_eq!(existing.reference(), "Observation/o1");
    let position = site.position();
    for target in ["Observation?code=o2", "Observation?code=never"] {
        send("DELETE", target, "", Value::Null).await.is(204);
        let ask = site.ask("PATCH", target).by(&access);
        ask.bytes("application/json-patch+json", "[]").send().await.is(404);
    }
    assert_eq!(site.position(), position);
    // What is of another as well is matched, and not to be made one's own.
    send("PUT", "Observation?code=both", "", observation("Patient/2")).await.is(403);
    let updated = send("PUT", "Observation?code=o1", "", observation("Patient/1")).await.is(200);
    assert_eq!(updated.reference(), "Observation/o1");
    let created = send("PUT", "Observation?code=o2", "", observation("Patient/1")).await.is(201);
    assert_ne!(created.reference(), "Observation/o2");
    send("DELETE", "Observation?code=e1", "", Value::Null).await.is(204);
    site.get("Observation/e1").await.is(410);
    site.get("Observation/o2").await.is(200);
}

#[tokio::test]
async fn entries_of_bundles_are_judged_like_requests_and_one_denial_fails_a_transaction() {
    // LEAK-11, LEAK-26
    let site = clinic().await;
    let access = Access::of_patient("1");
    let bundle = |of: &str| {
        let mut put = observation("Patient/1");
        put["id"] = of.into();
        [
            entry("GET", &format!("Observation/{of}"), Value::Null),
            entry("PUT", &format!("Observation/{of}"), put),
            entry("DELETE", &format!("Observation/{of}"), Value::Null),
            entry("POST", "Observation", observation("Patient/2")),
            when(
                entry("POST", "Observation", observation("Patient/1")),
                "ifNoneExist",
                &format!("code={of}&_id={of}"),
            ),
            entry("GET", "Observation/o1", Value::Null),
        ]
    };
    let send = async |bundle: Value| by(&site, &access, "POST", "", bundle).await;
    let [hidden, never] = [send(batch(bundle("o2"))).await, send(batch(bundle("never"))).await];
    assert_eq!(hidden.statuses(), [404, 404, 204, 403, 201, 200]);
    assert_eq!(never.statuses(), hidden.statuses());
    let position = site.position();
    for at in [0, 1, 3] {
        let of = |id: &str| {
            let own = entry("POST", "Observation", observation("Patient/1"));
            transaction([own, bundle(id)[at].clone()])
        };
        let (hidden, never) = (send(of("o2")).await, send(of("never")).await);
        assert_eq!(hidden.status, never.status);
        assert_eq!(hidden.text().replace("o2", "never"), never.text());
        assert!([403, 404].contains(&hidden.status), "{}", hidden.text());
    }
    assert_eq!(site.position(), position);
    let whole = transaction([
        entry("POST", "Observation", observation("Patient/1")),
        entry("DELETE", "Observation/o2", Value::Null),
        entry("DELETE", "Observation/o1", Value::Null),
        entry("GET", "Encounter/e", Value::Null),
    ]);
    assert_eq!(send(whole).await.is(200).statuses(), [201, 204, 204, 200]);
    site.get("Observation/o2").await.is(200);
    site.get("Observation/o1").await.is(410);
}

#[tokio::test]
async fn what_somebody_wrote_is_their_own() {
    let site = clinic().await;
    let of = |user: &'static str| Access::of(vec![all_within("own")]).used_by(user);
    let (ada, bob) = (of("ada"), of("bob"));
    let made = by(&site, &ada, "POST", "Observation", observation("Patient/1")).await.is(201);
    let made = made.reference();
    for indexed in [false, true] {
        if indexed {
            site.is_indexed().await;
        }
        get(&site, &ada, &made).await.is(200);
        get(&site, &bob, &made).await.is(404);
        assert_eq!(found(&site, &ada, "Observation").await.len(), 1);
        assert_eq!(found(&site, &bob, "Observation").await.len(), 0);
    }
    by(&site, &bob, "DELETE", &made, Value::Null).await.is(204);
    get(&site, &ada, &made).await.is(200);
    by(&site, &ada, "DELETE", &made, Value::Null).await.is(204);
    site.get(&made).await.is(410);
    // Another app of the same user is another author.
    let other = of("ada").sent_by("other");
    get(&site, &other, &made).await.is(404);
    get(&site, &ada, &made).await.is(410);
}

#[tokio::test]
async fn whose_patients_somebody_sees_is_judged_each_time() {
    // LEAK-02, LEAK-17
    let site = clinic().await;
    site.is_indexed().await;
    let first = get(&site, &group(), "Observation?_count=1").await.is(200).json();
    let next = first["link"].as_array().unwrap().iter().find(|link| link["relation"] == "next");
    let next = next.unwrap()["url"].as_str().unwrap();
    let next = next.strip_prefix("http://clinic.example/fhir/").unwrap().to_owned();
    let page = get(&site, &group(), &next).await.is(200).json();
    assert_eq!(ids(&page, "match").len(), 1);
    site.put(
        "Group/g",
        json!({ "resourceType": "Group", "id": "g", "type": "person",
        "actual": true, "member": [{ "entity": { "reference": "Patient/2" } }] }),
    )
    .await
    .is(200);
    // The link shows what was there before, and nothing of it to who is no more to see it.
    let page = get(&site, &group(), &next).await.is(200).json();
    assert_eq!(ids(&page, "match"), [""; 0]);
    assert_eq!(found(&site, &group(), "Observation").await, ["both", "o2"]);
    site.delete("CareTeam/c").await.is(204);
    assert_eq!(found(&site, &care_team(), "Observation").await, [""; 0]);
    get(&site, &care_team(), "Observation/o1").await.is(404);
}

#[tokio::test]
async fn what_belongs_to_no_patient_is_whole_by_a_rule_of_its_own_and_by_no_other() {
    // LEAK-20
    let site = clinic().await;
    let shared = rule(&["Practitioner"], &["read", "search"], "all");
    let access = Access::of(vec![all_within("compartment(Patient/1)"), shared]).launched_for("1");
    get(&site, &access, "Practitioner/p").await.is(200);
    assert_eq!(found(&site, &access, "Practitioner?family=doc").await, ["p"]);
    let include = "Patient?_include=Patient:general-practitioner";
    assert_eq!(ids(&get(&site, &access, include).await.json(), "include"), ["p"]);
    get(&site, &access, "Practitioner/p/_history").await.is(404);
    let body = json!({ "resourceType": "Practitioner", "id": "p" });
    by(&site, &access, "PUT", "Practitioner/p", body).await.is(404);
    get(&site, &access, "CareTeam/over").await.is(404);
    // A rule within a compartment reaches nothing of it.
    let alone = Access::of_patient("1");
    get(&site, &alone, "Practitioner/p").await.is(404);
    assert_eq!(found(&site, &alone, "Practitioner?family=doc").await, [""; 0]);
    assert_eq!(ids(&get(&site, &alone, include).await.json(), "include"), [""; 0]);
    let narrow = rule(&["Patient"], &["*"], "compartment(Patient/1)");
    let narrow = Access::of(vec![narrow]).launched_for("1");
    get(&site, &narrow, "Practitioner/p").await.is(403);
}

#[tokio::test]
async fn a_patients_binary_is_theirs_by_its_security_context() {
    // LEAK-18
    let site = clinic().await;
    let binary = |id: &str, patient: &str| {
        json!({ "resourceType": "Binary", "id": id, "contentType": "text/plain", "data": "QQ==",
            "securityContext": { "reference": format!("Patient/{patient}") } })
    };
    for (id, patient) in [("a", "1"), ("b", "2")] {
        site.put(&format!("Binary/{id}"), binary(id, patient)).await.is(201);
    }
    let free = json!({ "resourceType": "Binary", "id": "c", "contentType": "text/plain" });
    site.put("Binary/c", free).await.is(201);
    let access = Access::of_patient("1");
    get(&site, &access, "Binary/a").await.is(200);
    for id in ["b", "c", "never"] {
        get(&site, &access, &format!("Binary/{id}")).await.is(404);
    }
}

#[tokio::test]
async fn a_binary_follows_its_security_context_of_whatever_type_that_is() {
    // LEAK-18
    let site = clinic().await;
    let document = |id: &str, patient: &str| {
        json!({ "resourceType": "DocumentReference", "id": id, "status": "current", "content": [],
            "subject": { "reference": format!("Patient/{patient}") } })
    };
    let binary = |id: &str, context: &str, more: &Value| {
        json!({ "resourceType": "Binary", "id": id, "contentType": "text/plain", "meta": more,
            "securityContext": { "reference": context } })
    };
    for (id, patient) in [("d1", "1"), ("d2", "2"), ("gone", "1")] {
        site.put(&format!("DocumentReference/{id}"), document(id, patient)).await.is(201);
    }
    let secret = json!({ "security": [{ "system": "urn:s", "code": "R" }] });
    let absolute = format!("{}/DocumentReference/d1", crate::support::BASE);
    for (id, context, more) in [
        ("mine", "DocumentReference/d1", &Value::Null),
        ("url", &absolute, &Value::Null),
        ("secret", "DocumentReference/d1", &secret),
        ("other", "DocumentReference/d2", &Value::Null),
        ("deleted", "DocumentReference/gone", &Value::Null),
        ("never", "DocumentReference/never", &Value::Null),
        ("chain", "Binary/mine", &Value::Null),
        ("moved", "DocumentReference/d2", &Value::Null),
    ] {
        let mut resource = binary(id, context, more);
        if more.is_null() {
            resource.as_object_mut().unwrap().remove("meta");
        }
        site.put(&format!("Binary/{id}"), resource).await.is(201);
    }
    let moved = json!({ "resourceType": "Binary", "id": "moved", "contentType": "text/plain",
        "securityContext": { "reference": "DocumentReference/d1" } });
    site.put("Binary/moved", moved).await.is(200);
    site.delete("DocumentReference/gone").await.is(204);
    let access = Access::of_patient("1");
    for shown in ["mine", "url", "secret", "moved", "mine/_history/1", "moved/_history/2"] {
        get(&site, &access, &format!("Binary/{shown}")).await.is(200);
    }
    let hidden = get(&site, &access, "Binary/absent").await.is(404);
    for id in ["other", "deleted", "never", "chain"] {
        let answer = get(&site, &access, &format!("Binary/{id}")).await.is(404);
        assert_eq!(answer.body, hidden.body, "{id}");
        get(&site, &access, &format!("Binary/{id}/_history/1")).await.is(404);
    }
    get(&site, &access, "Binary/moved/_history/1").await.is(404);
    get(&site, &access, "Binary/moved/_history/3").await.is(404);
    // What a rule says of a Binary's own labels holds, and reading the context takes a rule too.
    let mut unlabelled = rule(&["*"], &["*"], "compartment(Patient/1)");
    unlabelled.without_labels = vec!["urn:s|R".to_owned()];
    // So it does beside another rule that says nothing of them.
    let others = rule(&["Binary"], &["*"], "group(Group/absent)");
    for rules in [
        vec![unlabelled.clone()],
        vec![unlabelled.clone(), others.clone()],
        vec![others, unlabelled],
    ] {
        let unlabelled = Access::of(rules).launched_for("1");
        get(&site, &unlabelled, "Binary/secret").await.is(404);
    }
    let alone = rule(&["Binary"], &["*"], "compartment(Patient/1)");
    get(&site, &Access::of(vec![alone]).launched_for("1"), "Binary/mine").await.is(404);
}

#[tokio::test]
async fn operations_take_all_or_show_what_a_read_shows() {
    // LEAK-22
    let site = clinic().await;
    let access = Access::of_patient("1");
    let validate = async |id: &str, mode: &str| {
        let target = format!("Observation/{id}/$validate?mode={mode}");
        get(&site, &access, &target).await
    };
    validate("o1", "delete").await.is(200);
    for mode in ["delete", "update"] {
        let (hidden, never) = (validate("o2", mode).await, validate("never", mode).await);
        assert_eq!((hidden.status, hidden.text()), (never.status, never.text()));
        assert_eq!(hidden.status, 404);
    }
    for target in ["$quarantine", "CodeSystem/$lookup?system=urn:c&code=x"] {
        get(&site, &access, target).await.is(403);
    }
}
