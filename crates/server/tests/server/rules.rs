//! A tenant's rules: identifiers that one resource alone bears, references that lead somewhere.

use std::sync::Arc;

use database::Rules;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{Access, Site, rule};

fn unique() -> Rules {
    let rule = "Patient urn:mrn".parse().unwrap();
    Rules { unique_identifiers: vec![rule], ..Rules::default() }
}

fn checked(of: &str) -> Rules {
    Rules { references_exist: vec![of.parse().unwrap()], ..Rules::default() }
}

fn bearing(id: &str, system: &str, value: &str) -> String {
    let identifier = json!([{"system": system, "value": value}]);
    json!({"resourceType": "Patient", "id": id, "identifier": identifier}).to_string()
}

#[tokio::test]
async fn a_second_bearer_of_a_unique_identifier_is_409_and_nothing_is_written() {
    let site = Site::ruled(unique()).await;
    site.put("Patient/a", bearing("a", "urn:mrn", "1")).await.is(201);
    // Itself again, another value, another system, another type.
    site.put("Patient/a", bearing("a", "urn:mrn", "1")).await.is(200);
    site.put("Patient/b", bearing("b", "urn:mrn", "2")).await.is(201);
    site.put("Patient/c", bearing("c", "urn:other", "1")).await.is(201);
    let person = bearing("p", "urn:mrn", "1").replace("Patient", "Person");
    site.put("Person/p", person).await.is(201);
    let position = site.position();
    for (method, path) in [("POST", "Patient"), ("PUT", "Patient/b"), ("PUT", "Patient/new")] {
        let id = path.strip_prefix("Patient/").unwrap_or("x");
        let refused = site.ask(method, path).body(bearing(id, "urn:mrn", "1")).send().await.is(409);
        assert_eq!(
            (refused.code(), refused.expressions()),
            ("duplicate".to_owned(), vec!["Patient.identifier".to_owned()])
        );
        assert!(refused.text().contains("urn:mrn") && !refused.text().contains("Patient/a"));
    }
    assert_eq!(site.position(), position);
    // Long ones are known by a hash, and their system all the same.
    let long = "x".repeat(300);
    site.put("Patient/l", bearing("l", "urn:mrn", &long)).await.is(201);
    site.put("Patient/m", bearing("m", "urn:mrn", &long)).await.is(409);
    site.put("Patient/n", bearing("n", "urn:other", &long)).await.is(201);
    site.put("Patient/o", bearing("o", "urn:other", &long)).await.is(201);
    // Given up by its bearer, or gone with it, it is free.
    site.put("Patient/a", r#"{"resourceType":"Patient","id":"a"}"#).await.is(200);
    site.put("Patient/new", bearing("new", "urn:mrn", "1")).await.is(201);
    site.ask("DELETE", "Patient/new").send().await.is(204);
    site.put("Patient/a", bearing("a", "urn:mrn", "1")).await.is(200);
    site.put("Patient/new", bearing("new", "urn:mrn", "1")).await.is(409);
}

/// The refusal says the same to whoever may read nothing.
#[tokio::test]
async fn who_may_only_create_learns_no_more_than_that_it_is_taken() {
    let site = Site::ruled(unique()).await;
    site.put("Patient/hidden", bearing("hidden", "urn:mrn", "1")).await.is(201);
    let access = Access::of(vec![rule(&["Patient"], &["create"], "all")]);
    let refused = site.ask("POST", "Patient").by(&access).body(bearing("x", "urn:mrn", "1"));
    let refused = refused.send().await.is(409);
    assert!(!refused.text().contains("hidden"), "{}", refused.text());
    assert_eq!((refused.header("location"), refused.header("etag")), (None, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_64_creates_of_one_unique_identifier_at_once_one_is_done() {
    let site = Arc::new(Site::ruled(unique()).await);
    let mut creates = JoinSet::new();
    for _ in 0..64 {
        let site = Arc::clone(&site);
        let create = async move { site.post("Patient", bearing("x", "urn:mrn", "1")).await.status };
        creates.spawn(create);
    }
    let mut statuses = creates.join_all().await;
    statuses.sort_unstable();
    assert_eq!(statuses[0], 201);
    assert!(statuses[1..].iter().all(|status| *status == 409), "{statuses:?}");
    assert_eq!(site.position(), 1);
}

fn transaction(entries: &[(&str, &str, String)]) -> String {
    let entry = |(method, url, body): &(&str, &str, String)| {
        let mut entry = json!({"request": {"method": method, "url": url}});
        if let Ok(resource) = serde_json::from_str::<Value>(body) {
            entry["resource"] = resource;
        }
        entry
    };
    let entries: Vec<Value> = entries.iter().map(entry).collect();
    json!({"resourceType": "Bundle", "type": "transaction", "entry": entries}).to_string()
}

#[tokio::test]
async fn within_a_transaction_an_identifier_is_unique_and_may_change_hands() {
    let site = Site::ruled(unique()).await;
    let twice = transaction(&[
        ("POST", "Patient", bearing("x", "urn:mrn", "1")),
        ("POST", "Patient", bearing("x", "urn:mrn", "1")),
    ]);
    let refused = site.post("", twice).await.is(409);
    assert_eq!(refused.expressions(), ["Bundle.entry[1].resource.identifier"]);
    assert_eq!(site.position(), 0);
    site.put("Patient/a", bearing("a", "urn:mrn", "1")).await.is(201);
    let handed = transaction(&[
        ("PUT", "Patient/b", bearing("b", "urn:mrn", "1")),
        ("PUT", "Patient/a", r#"{"resourceType":"Patient","id":"a"}"#.to_owned()),
    ]);
    site.post("", handed).await.is(200);
    let replaced = transaction(&[
        ("DELETE", "Patient/b", String::new()),
        ("PUT", "Patient/c", bearing("c", "urn:mrn", "1")),
    ]);
    site.post("", replaced).await.is(200);
    site.put("Patient/d", bearing("d", "urn:mrn", "1")).await.is(409);
}

fn observation(subject: &str) -> String {
    let performers = json!([{"reference": subject}]);
    let subject = json!({"reference": subject});
    json!({"resourceType": "Observation", "subject": subject, "performer": performers}).to_string()
}

#[tokio::test]
async fn a_reference_that_leads_nowhere_is_422_and_names_its_place() {
    let site = Site::ruled(checked("Observation.subject")).await;
    let refused = site.post("Observation", observation("Patient/a")).await.is(422);
    assert_eq!(refused.expressions(), ["Observation.subject.reference"]);
    assert!(refused.text().contains("Patient/a"), "{}", refused.text());
    assert_eq!(site.position(), 0);
    site.put("Patient/a", r#"{"resourceType":"Patient","id":"a"}"#).await.is(201);
    let base = crate::support::BASE;
    for good in [
        "Patient/a",
        "Patient/a/_history/1",
        &format!("{base}/Patient/a"),
        "#x",
        "http://other.example/fhir/Patient/b",
        "urn:uuid:c7c1a1de-0000-4000-8000-000000000001",
    ] {
        site.post("Observation", observation(good)).await.is(201);
    }
    for bad in ["Patient/b", "Group/a", &format!("{base}/Patient/b")] {
        site.post("Observation", observation(bad)).await.is(422);
    }
    // Only what the rule names is looked at.
    let other = json!({"resourceType": "Observation", "performer": [{"reference": "Patient/b"}]});
    site.post("Observation", other.to_string()).await.is(201);
    site.ask("DELETE", "Patient/a").send().await.is(204);
    site.post("Observation", observation("Patient/a")).await.is(422);
}

#[tokio::test]
async fn within_a_transaction_its_own_entries_are_there_unless_it_deletes_them() {
    let site = Site::ruled(checked("*")).await;
    let patient = || r#"{"resourceType":"Patient","id":"a"}"#.to_owned();
    let made = transaction(&[
        ("POST", "Observation", observation("Patient/a")),
        ("PUT", "Patient/a", patient()),
    ]);
    site.post("", made).await.is(200);
    let position = site.position();
    let deleted = transaction(&[
        ("POST", "Observation", observation("Patient/a")),
        ("DELETE", "Patient/a", String::new()),
    ]);
    let refused = site.post("", deleted).await.is(422);
    assert_eq!(refused.expressions(), ["Bundle.entry[0].resource.performer[0].reference"]);
    assert_eq!(site.position(), position);
}

/// What is referred to is deleted at the same moment: no reference is written after that.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_reference_and_a_deletion_at_once_the_later_reference_is_refused() {
    let site = Arc::new(Site::ruled(checked("*")).await);
    for round in 0..16 {
        let path = format!("Patient/p{round}");
        let patient = format!(r#"{{"resourceType":"Patient","id":"p{round}"}}"#);
        site.put(&path, patient).await.is(201);
        let mut running = JoinSet::new();
        for number in 0..8 {
            let (site, path) = (Arc::clone(&site), path.clone());
            running.spawn(async move {
                if number == 4 {
                    site.delete(&path).await
                } else {
                    site.post("Observation", observation(&path)).await
                }
            });
        }
        let answers = running.join_all().await;
        let history = site.get(&format!("{path}/_history")).await.is(200).json();
        let deleted = history["entry"][0]["response"]["lastModified"].as_str().unwrap();
        for answer in answers {
            match answer.status {
                204 | 422 => {}
                201 => {
                    let written = answer.json()["meta"]["lastUpdated"].clone();
                    assert!(written.as_str().unwrap() < deleted, "{written} {deleted}");
                }
                other => panic!("{other} {}", answer.text()),
            }
        }
        site.post("Observation", observation(&path)).await.is(422);
    }
}

#[tokio::test]
async fn a_reference_to_what_its_writer_may_not_see_leads_nowhere() {
    // LEAK-26
    let site = Site::ruled(checked("Observation")).await;
    for id in ["1", "2"] {
        site.put(&format!("Patient/{id}"), bearing(id, "urn:mrn", id)).await.is(201);
    }
    let writes = || rule(&["Observation"], &["*"], "all");
    let patient = rule(&["Patient"], &["read"], "compartment(Patient/1)");
    let one = Access::of(vec![writes(), patient]).launched_for("1");
    let none = Access::of(vec![writes()]);
    let send = async |access: &Access, id: &str| {
        let subject = json!({ "reference": format!("Patient/{id}") });
        let body = json!({ "resourceType": "Observation", "status": "final",
            "code": { "text": "height" }, "subject": subject });
        site.ask("POST", "Observation").by(access).body(body).send().await
    };
    send(&one, "1").await.is(201);
    for access in [&one, &none] {
        let (hidden, never) = (send(access, "2").await.is(422), send(access, "9").await.is(422));
        assert_eq!(hidden.text().replace("Patient/2", "Patient/9"), never.text());
    }
}
