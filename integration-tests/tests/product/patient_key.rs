//! A key of the role `patient`: one patient is there, and nothing tells whether others are.

use integration_tests::client::{Answer, Client};
use integration_tests::raw::RawAnswer;
use integration_tests::site::{Deployment, Site};
use integration_tests::socket::{Request, channel_secret};
use serde_json::{Value, json};

use crate::Method;
use crate::client::sent;

for_every_deployment! {
    the_own_patient_is_there_and_others_are_as_if_absent,
    whoever_may_update_within_a_patient_overwrites_and_makes_nothing_else,
    what_is_anothers_is_as_if_absent_whatever_it_is,
}

/// A site with two patients, and a key of the first's.
async fn two_patients(deployment: Deployment) -> (Site, Client) {
    let site = Site::start(deployment).await;
    let owner = site.owner();
    for id in ["own", "other"] {
        let body = format!(r#"{{"resourceType":"Patient","id":"{id}","gender":"other"}}"#);
        let _ = owner.put(&format!("/Patient/{id}"), body).await.is(201);
    }
    let phone = site.new_client("phone", &["--role", "patient", "--patient", "own"]);
    (site, phone)
}

/// All that a client sees of an answer, but for the clock.
fn all(answer: &Answer) -> (u16, Vec<(String, String)>, String) {
    let headers = answer.headers.iter().filter(|(name, _)| *name != "date");
    let headers = headers.map(|(name, value)| (name.to_string(), format!("{value:?}"))).collect();
    (answer.status, headers, answer.text().to_owned())
}

async fn ask(client: &Client, method: Method, path: &str, body: &str) -> Answer {
    // The same id for both, so that the whole answers can be compared.
    sent(client.with_body(method, path, body.to_owned()).header("x-request-id", "same")).await
}

async fn the_own_patient_is_there_and_others_are_as_if_absent(deployment: Deployment) {
    // LEAK-26, LEAK-29
    let (site, phone) = two_patients(deployment).await;
    for path in ["/Patient/own", "/Patient/own/_history/1", "/Patient/own/_history"] {
        assert_eq!(phone.get(path).await.status, 200, "{path}");
    }
    for below in ["", "/_history/1", "/_history"] {
        for method in [Method::GET, Method::HEAD] {
            let other = ask(&phone, method.clone(), &format!("/Patient/other{below}"), "").await;
            let absent = ask(&phone, method, &format!("/Patient/never{below}"), "").await;
            assert_eq!(other.status, 404);
            // The counters of the limiter go on, whatever is asked.
            assert_eq!(without_limits(all(&other)), without_limits(all(&absent)), "{below}");
        }
    }
    // What the key may never do says nothing of what is there.
    let body = |id: &str| format!(r#"{{"resourceType":"Patient","id":"{id}"}}"#);
    for method in [Method::PUT, Method::DELETE] {
        let own = ask(&phone, method.clone(), "/Patient/own", &body("own")).await;
        let other = ask(&phone, method.clone(), "/Patient/other", &body("other")).await;
        let absent = ask(&phone, method, "/Patient/never", &body("never")).await;
        assert_eq!(own.status, 403);
        assert_eq!(without_limits(all(&own)), without_limits(all(&other)));
        assert_eq!(without_limits(all(&other)), without_limits(all(&absent)));
    }
    let owner = site.owner();
    assert_eq!(owner.get("/Patient/other").await.is(200).header("etag"), Some("W/\"1\""));
    assert_eq!(owner.get("/Patient/never").await.status, 404);
}

type Seen = (u16, Vec<(String, String)>, String);

fn without_limits((status, mut headers, body): Seen) -> Seen {
    headers.retain(|(name, _)| !name.starts_with("ratelimit"));
    (status, headers, body)
}

/// Members of a grant for reading and updating within the compartment of the patient `own`.
fn within_own() -> Value {
    json!({
        "client": "phone",
        "patient": "own",
        "rules": [{
            "types": ["*"],
            "actions": ["create", "read", "update", "delete", "history"],
            "within": "compartment(Patient/own)",
        }],
    })
}

async fn granted(site: &Site, request: Request) -> RawAnswer {
    let secret = channel_secret(site).await;
    request.granted(within_own()).with("hearthgate-channel", secret).send(site).await
}

async fn whoever_may_update_within_a_patient_overwrites_and_makes_nothing_else(
    deployment: Deployment,
) {
    // LEAK-26, LEAK-29. No role of today gives such a rule: the test grants it itself.
    let (site, _) = two_patients(deployment).await;
    let own = granted(&site, Request::new("GET", "/fhir/Patient/own")).await;
    assert_eq!(own.status(), Some(200), "the grant is good: {own:?}");
    let mut answers = Vec::new();
    for id in ["other", "never"] {
        let path = format!("/fhir/Patient/{id}");
        let body = format!(r#"{{"resourceType":"Patient","id":"{id}","gender":"male"}}"#);
        let put = granted(&site, Request::new("PUT", &path).with_body(&body)).await;
        let delete = granted(&site, Request::new("DELETE", &path)).await;
        let read = granted(&site, Request::new("GET", &path)).await;
        // What is not there for the caller needs no deleting.
        let statuses = [&put, &delete, &read].map(|answer| answer.status().unwrap());
        assert_eq!(statuses, [404, 204, 404], "{id}");
        answers.push([put, delete, read].map(|answer| (answer.header_names(), answer.text())));
    }
    assert_eq!(answers[0], answers[1]);
    let owner = site.owner();
    let other = owner.get("/Patient/other").await.is(200);
    assert_eq!(other.header("etag"), Some("W/\"1\""));
    assert_eq!(other.json()["gender"], "other");
    assert_eq!(owner.get("/Patient/never").await.status, 404);
}

async fn what_is_anothers_is_as_if_absent_whatever_it_is(deployment: Deployment) {
    // LEAK-11
    let (site, phone) = two_patients(deployment).await;
    let owner = site.owner();
    let observation = r#"{"resourceType":"Observation","id":"o","status":"final","code":{"text":"x"},"subject":{"reference":"Patient/other"}}"#;
    let _ = owner.put("/Observation/o", observation).await.is(201);
    for below in ["", "/_history", "/_history/1"] {
        let hidden = phone.get(&format!("/Observation/o{below}")).await;
        let never = phone.get(&format!("/Observation/never{below}")).await;
        assert_eq!((hidden.status, never.status), (404, 404), "{below}");
        assert_eq!(hidden.text(), never.text(), "{below}");
    }
    let own = observation.replace("\"o\"", "\"mine\"").replace("/other", "/own");
    let _ = owner.put("/Observation/mine", own).await.is(201);
    assert_eq!(phone.get("/Observation/mine").await.status, 200);
    for (path, count) in [
        ("/Observation?patient=own", 1),
        ("/Observation?patient=other", 0),
        ("/Patient", 1),
        ("/Patient/own/Observation", 1),
        ("/?_type=Patient,Observation", 2),
    ] {
        let found = phone.get(path).await.is(200).json();
        assert_eq!(found["total"], count, "{path}");
        assert!(!found.to_string().contains("Patient/other"), "{path}");
    }
    let everything = phone.get("/Patient/own/$everything").await;
    assert!(matches!(everything.status, 403 | 501), "{}", everything.status);
    // In a batch as alone.
    let batch = integration_tests::bundle::reads(
        &["Patient/own", "Patient/other", "Patient/never", "Observation/o"].map(str::to_owned),
    );
    let answer = phone.post("", batch).await.is(200).json();
    let entries = answer["entry"].as_array().unwrap();
    let statuses: Vec<&str> =
        entries.iter().map(|entry| &entry["response"]["status"].as_str().unwrap()[..3]).collect();
    assert_eq!(statuses, ["200", "404", "404", "404"]);
    assert_eq!(entries[1], entries[2]);
}
