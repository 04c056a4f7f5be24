//! Search parameters that are posted where much is stored already, through the gateway.

use integration_tests::client::{Answer, Client};
use integration_tests::site::{Deployment, First, Site};
use integration_tests::waiting::{SOON, until};
use serde_json::{Value, json};

for_every_deployment! {
    a_posted_parameter_finds_from_the_first_second_on_and_after_a_restart,
}

/// Patients at the beginning, each fifth one married.
const PATIENTS: usize = 2500;

fn definition(expression: &str) -> String {
    json!({
        "resourceType": "SearchParameter", "id": "own", "name": "Own", "status": "active",
        "url": "http://own.example/SearchParameter/own", "description": "own", "code": "own",
        "base": ["Patient"], "type": "token", "expression": expression,
    })
    .to_string()
}

async fn write_patients(owner: &Client) {
    for begin in (0..PATIENTS).step_by(500) {
        let entries = (begin..begin + 500).map(|id| {
            let married = if id % 5 == 0 { "M" } else { "S" };
            json!({
                "request": { "method": "PUT", "url": format!("Patient/p{id}") },
                "resource": {
                    "resourceType": "Patient", "id": format!("p{id}"), "gender": "other",
                    "maritalStatus": { "coding": [{ "code": married }] },
                },
            })
        });
        let entries: Vec<Value> = entries.collect();
        let bundle = json!({ "resourceType": "Bundle", "type": "transaction", "entry": entries });
        let _ = owner.post("", bundle.to_string()).await.is(200);
    }
}

/// How many a search finds, and what else its answer says.
async fn total(owner: &Client, query: &str) -> (u64, Option<String>) {
    let bundle = owner.get(&format!("/Patient?{query}&_count=1")).await.is(200).json();
    let entries = bundle["entry"].as_array().cloned().unwrap_or_default();
    let outcome = entries.iter().find(|entry| entry["search"]["mode"] == "outcome");
    let told = outcome.map(|it| it["resource"]["issue"][0]["diagnostics"].to_string());
    (bundle["total"].as_u64().expect("a total"), told)
}

async fn is_ignored(owner: &Client) -> bool {
    let request = owner.request(http::Method::GET, "/Patient?own=M");
    let answer: Answer =
        integration_tests::client::sent(request.header("prefer", "handling=strict")).await;
    answer.text().contains("own") && answer.json()["issue"][0]["severity"] == "error"
}

/// Searches until nothing is said of indexing any more; the total must be right all the while.
async fn until_indexed(owner: &Client, query: &str, expected: u64) -> usize {
    let mut tries = 0;
    until("the parameter is indexed", 2 * SOON, async || {
        let (found, told) = total(owner, query).await;
        assert_eq!(found, expected);
        let Some(told) = told else { return Ok(tries) };
        assert!(told.contains("Patient.own is still being indexed"), "{told}");
        tries += 1;
        Err(told)
    })
    .await
}

async fn a_posted_parameter_finds_from_the_first_second_on_and_after_a_restart(
    deployment: Deployment,
) {
    // SRCH-237, SRCH-240, SRCH-242
    let mut site = Site::start(deployment).await;
    let owner = site.owner();
    write_patients(&owner).await;
    let married = PATIENTS as u64 / 5;
    assert!(is_ignored(&owner).await);
    let bad = owner.put("/SearchParameter/own", definition("Patient.nothing")).await;
    bad.is_outcome(422, "invalid");
    let _ = owner.put("/SearchParameter/own", definition("Patient.maritalStatus")).await.is(201);
    until_indexed(&owner, "own=M", married).await;
    // What asks by nothing new is told nothing.
    assert_eq!(total(&owner, "gender=other").await, (PATIENTS as u64, None));
    site.kill().await;
    site.launch(First::Gateway).await;
    let owner = site.owner();
    until_indexed(&owner, "own=M", married).await;
    let _ = owner.put("/SearchParameter/own", definition("Patient.gender")).await.is(200);
    until_indexed(&owner, "own=other", PATIENTS as u64).await;
    assert_eq!(total(&owner, "own=M").await.0, 0);
    let _ = owner.delete("/SearchParameter/own").await.is(204);
    assert!(is_ignored(&owner).await);
    assert_eq!(total(&owner, "gender=other").await, (PATIENTS as u64, None));
}
