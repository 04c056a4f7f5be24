//! What is written is validated by the tenant's policy and packages, and `$validate` says what
//! would be wrong.

use std::process::Output;

use integration_tests::binary;
use integration_tests::client::{Answer, Client};
use integration_tests::site::{Deployment, First, Site};
use integration_tests::test_data::folder;
use serde_json::{Value, json};

use crate::purge::give_tenant_key;

for_every_deployment! {
    what_is_invalid_is_refused_and_validate_says_why,
    with_warn_it_is_stored_and_can_be_found_out,
    us_core_is_added_beside_a_running_server_and_enforced,
}

const US_CORE: &str = "hl7.fhir.us.core#6.1.0";
const US_CORE_PATIENT: &str = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-patient";

fn rules(outcome: &Value) -> Vec<String> {
    let errors = outcome["issue"].as_array().unwrap().iter();
    let errors = errors.filter(|issue| issue["severity"] == "error");
    errors.map(|it| it["details"]["coding"][0]["code"].as_str().unwrap().to_owned()).collect()
}

async fn post(client: &Client, path: &str, body: &Value) -> Answer {
    client.post(path, body.to_string()).await
}

/// VAL-191, VAL-200: by default what R4 does not allow is not stored.
async fn what_is_invalid_is_refused_and_validate_says_why(deployment: Deployment) {
    let site = Site::start(deployment).await;
    let owner = site.owner();
    let invalid = json!({ "resourceType": "Patient", "colour": "red" });
    let refused = post(&owner, "/Patient", &invalid).await;
    refused.is_outcome(422, "structure");
    assert_eq!(rules(&refused.json()), ["unknown-property"]);
    let told = post(&owner, "/Patient/$validate", &invalid).await.is(200).json();
    assert_eq!(rules(&told), ["unknown-property"]);
    let gender = json!({ "resourceType": "Patient", "id": "1", "gender": "none" });
    drop(owner.put("/Patient/1", gender.to_string()).await.is(201));
    let told = owner.get("/Patient/1/$validate").await.is(200).json();
    assert_eq!(rules(&told), ["binding"]);
    let reader = site.new_client("reader", &["--role", "reader"]);
    drop(reader.get("/Patient/1/$validate").await.is(200));
    let statement = owner.get("/metadata").await.is(200).json();
    let resources = statement["rest"][0]["resource"].as_array().unwrap();
    assert!(resources.iter().all(|it| it["operation"][0]["name"] == "validate"));
}

async fn with_warn_it_is_stored_and_can_be_found_out(deployment: Deployment) {
    let mut site = Site::prepare(deployment);
    site.configure("[validation]\ndepth = \"terminology\"\naction = \"warn\"\n");
    site.launch(First::Gateway).await;
    let owner = site.owner();
    let invalid = json!({ "resourceType": "Patient", "id": "1", "gender": "none" });
    drop(owner.put("/Patient/1", invalid.to_string()).await.is(201));
    let stored = owner.get("/Patient/1").await.is(200).json();
    assert_eq!(
        stored["meta"]["tag"],
        json!([{ "system": "urn:hearthgate:validation", "code": "invalid" }])
    );
    assert_eq!(stored["gender"], "none");
}

fn packages(site: &Site, arguments: &[&str]) -> Output {
    let config = site.config().to_str().unwrap();
    let data = site.data().to_str().unwrap();
    let all = [&["packages"], arguments, &["--data", data, "--config", config]].concat();
    binary::run(site.folder(), &all)
}

fn succeeds(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    binary::text(&output.stdout).to_owned()
}

/// Conforms to US Core's Patient, and lacks what it asks for.
fn patients() -> (Value, Value) {
    let conforms = json!({
        "resourceType": "Patient", "gender": "female",
        "identifier": [{ "system": "urn:mrn", "value": "1" }], "name": [{ "family": "A" }],
    });
    (conforms, json!({ "resourceType": "Patient", "gender": "female" }))
}

/// VAL-153, VAL-204, VAL-207: required, a profile is asked of every resource of its type.
async fn us_core_is_added_beside_a_running_server_and_enforced(deployment: Deployment) {
    let Some(data) = folder() else { return };
    let archive = data.join("packages/hl7.fhir.us.core-6.1.0.tgz");
    let archive = archive.to_str().unwrap();
    let mut site = Site::prepare(deployment);
    site.configure(&format!(
        "[validation]\ndepth = \"terminology\"\nrequired_profiles = [\"Patient {US_CORE_PATIENT}\"]\n"
    ));
    site.launch(First::Gateway).await;
    let owner = site.owner();
    let (conforms, lacks) = patients();
    // Nothing is let through because the profile is not there yet.
    post(&owner, "/Patient", &conforms).await.is_outcome(422, "not-found");
    let added = succeeds(&packages(&site, &["add", archive]));
    assert!(added.starts_with(&format!("Added {US_CORE}.\n")), "{added}");
    assert!(added.contains("Not there: hl7.terminology.r4#"), "{added}");
    drop(post(&owner, "/Patient", &conforms).await.is(201));
    assert_eq!(
        rules(&post(&owner, "/Patient", &lacks).await.is(422).json()),
        ["cardinality", "cardinality"]
    );
    let again = packages(&site, &["add", archive]);
    assert!(!again.status.success());
    assert!(binary::text(&again.stderr).contains("already; remove it first"), "{again:?}");
    let hostile = site.folder().join("hostile.tgz");
    std::fs::write(&hostile, "no archive").unwrap();
    let refused = packages(&site, &["add", hostile.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(1));
    let said = binary::text(&refused.stderr);
    assert!(said.contains("hostile.tgz is no package") && said.lines().count() == 1, "{said}");
    let guide = "http://hl7.org/fhir/us/core/ImplementationGuide/hl7.fhir.us.core|6.1.0";
    let statement = owner.get("/metadata").await.is(200).json();
    assert_eq!(statement["implementationGuide"], json!([guide]));
    // One patient was written, and nothing else is to be seen.
    let history = owner.get("/_history").await.is(200).json();
    assert_eq!(history["total"], 1);

    site.stop().await;
    let listed = succeeds(&packages(&site, &["list"]));
    assert!(listed.contains(&format!("{US_CORE}  1692609  ")), "{listed}");
    site.launch(First::Gateway).await;
    let owner = site.owner();
    drop(post(&owner, "/Patient", &lacks).await.is(422));
    assert_eq!(succeeds(&packages(&site, &["remove", US_CORE])), format!("Removed {US_CORE}.\n"));
    post(&owner, "/Patient", &conforms).await.is_outcome(422, "not-found");
    site.stop().await;
    let gone = packages(&site, &["remove", US_CORE]);
    assert!(binary::text(&gone.stderr).contains("has no package"), "{gone:?}");
    succeeds(&packages(&site, &["add", archive]));
    if deployment != Deployment::OverPostgres {
        a_backup_has_them(&site, &lacks).await;
    }
}

/// What is restored validates as what was backed up did.
async fn a_backup_has_them(site: &Site, lacks: &Value) {
    let run = |arguments: &[&str]| succeeds(&binary::run(site.folder(), arguments));
    let data = site.data().to_str().unwrap();
    run(&["backup", "--data", data, "--to", "backup", "--keys-to", "keys"]);
    let mut restored = Site::prepare(Deployment::OneProcess);
    let place = restored.folder().join("restored");
    let to = place.to_str().unwrap();
    run(&["restore", "--from", "backup", "--data", to, "--keys-from", "keys"]);
    give_tenant_key(site.data(), &place);
    run(&["verify", "--data", to]);
    restored.settle(&place, Vec::new());
    restored.configure(&std::fs::read_to_string(site.config()).unwrap());
    restored.launch(First::Gateway).await;
    let key = site.owner().key().to_owned();
    let id = key.split('_').nth(1).unwrap();
    succeeds(&restored.keys(&["confirm", id]));
    drop(post(&restored.client(&key), "/Patient", lacks).await.is(422));
}
