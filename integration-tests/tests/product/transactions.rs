//! Transactions and batches, through the gateway.

use integration_tests::bundle::transaction;
use integration_tests::client::{Answer, instance};
use integration_tests::site::{Deployment, Site};

for_every_deployment! {
    references_between_entries_lead_to_what_was_made,
    a_transaction_is_done_whole_or_not_at_all,
    if_none_exist_finds_what_is_there,
    in_a_batch_each_entry_is_done_by_itself,
}

fn created_in(answer: &Answer, entry: usize) -> String {
    let location = &answer.json()["entry"][entry]["response"]["location"];
    instance(location.as_str().unwrap())
}

fn create(full_url: &str, resource: &str, of: &str) -> String {
    format!(
        r#"{{"fullUrl":"{full_url}","resource":{resource},"request":{{"method":"POST","url":"{of}"}}}}"#
    )
}

const PATIENT: &str = "urn:uuid:3f1ec2aa-6f21-4b2e-8f0e-5a4d2f1b7c01";

async fn references_between_entries_lead_to_what_was_made(deployment: Deployment) {
    let site = Site::start(deployment).await;
    let owner = site.owner();
    let practitioner = r#"{"resourceType":"Practitioner","id":"p","identifier":[{"system":"http://example.org/ids","value":"7"}]}"#;
    let _ = owner.put("/Practitioner/p", practitioner).await.is(201);
    let observation = format!(
        r#"{{"resourceType":"Observation","status":"final","code":{{"text":"x"}},
        "subject":{{"reference":"{PATIENT}"}},
        "performer":[{{"reference":"Practitioner?identifier=http://example.org/ids|7"}}]}}"#
    );
    // What refers stands before what it refers to.
    let entries = [
        create("urn:uuid:3f1ec2aa-6f21-4b2e-8f0e-5a4d2f1b7c02", &observation, "Observation"),
        create(PATIENT, r#"{"resourceType":"Patient"}"#, "Patient"),
    ];
    let answer = owner.post("", transaction(&entries)).await.is(200);
    assert_eq!(answer.json()["type"], "transaction-response");
    let (observation, patient) = (created_in(&answer, 0), created_in(&answer, 1));
    let read = owner.get(&format!("/{observation}")).await.is(200).json();
    assert_eq!(read["subject"]["reference"], patient.as_str());
    assert_eq!(read["performer"][0]["reference"], "Practitioner/p");
    assert_eq!(owner.get(&format!("/{patient}")).await.status, 200);
}

async fn a_transaction_is_done_whole_or_not_at_all(deployment: Deployment) {
    let site = Site::start(deployment).await;
    let owner = site.owner();
    let put = |id: &str, condition: &str| {
        format!(
            r#"{{"resource":{{"resourceType":"Patient","id":"{id}"}},
            "request":{{"method":"PUT","url":"Patient/{id}"{condition}}}}}"#
        )
    };
    let dangling = create(
        PATIENT,
        r#"{"resourceType":"Observation","performer":[{"reference":"Practitioner?identifier=http://example.org/ids|none"}]}"#,
        "Observation",
    );
    for (failing, status) in [(put("b", r#","ifMatch":"W/\"3\"""#), 412), (dangling, 400)] {
        let answer = owner.post("", transaction(&[put("a", ""), failing])).await.is(status);
        assert_eq!(answer.json()["resourceType"], "OperationOutcome");
        assert_eq!(owner.get("/Patient/a").await.status, 404);
        assert_eq!(owner.get("/Patient/b").await.status, 404);
    }
    let _ = owner.post("", transaction(&[put("a", ""), put("b", "")])).await.is(200);
    assert_eq!(owner.get("/Patient/a").await.status, 200);
    assert_eq!(owner.get("/Patient/b").await.status, 200);
}

async fn if_none_exist_finds_what_is_there(deployment: Deployment) {
    let site = Site::start(deployment).await;
    let owner = site.owner();
    let entry = r#"{"fullUrl":"urn:uuid:3f1ec2aa-6f21-4b2e-8f0e-5a4d2f1b7c03",
        "resource":{"resourceType":"Organization","identifier":[{"system":"urn:o","value":"1"}]},
        "request":{"method":"POST","url":"Organization","ifNoneExist":"identifier=urn:o|1"}}"#;
    let bundle = transaction(&[entry.to_owned()]);
    let status = |answer: &Answer| {
        answer.json()["entry"][0]["response"]["status"].as_str().unwrap()[..3].to_owned()
    };
    let first = owner.post("", bundle.clone()).await.is(200);
    assert_eq!(status(&first), "201");
    let second = owner.post("", bundle).await.is(200);
    assert_eq!(status(&second), "200");
    assert_eq!(created_in(&first, 0), created_in(&second, 0));
}

async fn in_a_batch_each_entry_is_done_by_itself(deployment: Deployment) {
    let site = Site::start(deployment).await;
    let owner = site.owner();
    let batch = r#"{"resourceType":"Bundle","type":"batch","entry":[
        {"resource":{"resourceType":"Patient","id":"x"},"request":{"method":"PUT","url":"Patient/x"}},
        {"resource":{"resourceType":"Patient","id":"y"},"request":{"method":"PUT","url":"Patient/z"}},
        {"request":{"method":"GET","url":"Patient/absent"}},
        {"request":{"method":"GET","url":"Patient?birthdate=x"}}]}"#;
    let answer = owner.post("", batch).await.is(200).json();
    assert_eq!(answer["type"], "batch-response");
    let entries = answer["entry"].as_array().unwrap();
    let statuses: Vec<&str> =
        entries.iter().map(|entry| &entry["response"]["status"].as_str().unwrap()[..3]).collect();
    assert_eq!(statuses, ["201", "400", "404", "400"]);
    assert_eq!(owner.get("/Patient/x").await.status, 200);
    assert_eq!(owner.get("/Patient/z").await.status, 404);
}
