//! What is invalid is quarantined: it outlives a restart and a restore, it goes with a patient who
//! is purged, and it becomes a resource when it is released.

use integration_tests::binary;
use integration_tests::client::Client;
use integration_tests::site::{Deployment, First, Site};
use serde_json::Value;

use crate::purge::{give_tenant_key, succeeds};

for_every_deployment! {
    what_is_quarantined_is_kept_released_and_purged,
}

const QUARANTINE: &str = "[validation]\naction = \"quarantine\"\n[server]\nquarantine_items = 4\n";

/// What R4 does not allow, about these patients.
fn observation(id: &str, patients: &[&str]) -> String {
    let subjects: Vec<_> =
        patients.iter().map(|id| format!(r#"{{"reference":"Patient/{id}"}}"#)).collect();
    format!(
        r#"{{"resourceType":"Observation","id":"{id}","status":"final","code":{{"text":"pulse"}},"subjct":[{}]}}"#,
        subjects.join(",")
    )
}

/// Sends a resource that is quarantined. Returns the item.
async fn quarantined(client: &Client, path: &str, body: String) -> String {
    let answer = client.put(path, body).await.is(202);
    let location = answer.header("location").unwrap();
    location.split_once("/$quarantine?item=").unwrap().1.to_owned()
}

/// The items that are listed, the newest first.
async fn items(client: &Client) -> Vec<String> {
    let bundle = client.get("/$quarantine").await.is(200).json();
    let entries = bundle["entry"].as_array().into_iter().flatten();
    let id = |entry: &Value| {
        let parameters = entry["resource"]["parameter"].as_array().unwrap();
        let item = parameters.iter().find(|it| it["name"] == "item").unwrap();
        item["valueId"].as_str().unwrap().to_owned()
    };
    entries.map(id).collect()
}

fn quarantine(site: &Site, arguments: &[&str]) -> std::process::Output {
    let (config, data) = (site.config().to_str().unwrap(), site.data().to_str().unwrap());
    let all = [&["quarantine"], arguments, &["--data", data, "--config", config]].concat();
    binary::run(site.folder(), &all)
}

async fn what_is_quarantined_is_kept_released_and_purged(deployment: Deployment) {
    let mut site = Site::prepare(deployment);
    site.configure(QUARANTINE);
    site.launch(First::Gateway).await;
    let owner = site.owner();
    let lab = site.new_client("lab", &["--role", "owner"]);
    let patient = |id: &str| format!(r#"{{"resourceType":"Patient","id":"{id}","colour":"red"}}"#);
    let gone = quarantined(&owner, "/Patient/gone", patient("gone")).await;
    let kept = quarantined(&lab, "/Patient/kept", patient("kept")).await;
    let both = observation("both", &["kept", "gone"]);
    let both = quarantined(&lab, "/Observation/both", both).await;
    let alone = observation("alone", &["kept"]);
    let alone = quarantined(&lab, "/Observation/alone", alone).await;
    let all = [&alone, &both, &kept, &gone].map(String::clone);
    assert_eq!(items(&owner).await, all);
    let full = owner.put("/Patient/later", patient("later")).await;
    full.is_outcome(422, "informational");
    assert_eq!(owner.get("/Patient/gone").await.status, 404);
    assert_eq!(owner.get("/_history").await.is(200).json()["total"], 0);
    let reader = site.new_client("reader", &["--role", "reader"]);
    let own = site.new_client("own", &["--role", "patient", "--patient", "gone"]);
    for client in [&reader, &own] {
        client.get("/$quarantine").await.is_outcome(403, "forbidden");
    }

    let listed = succeeds(&quarantine(&site, &["list", "--sender", "lab"]));
    assert_eq!(listed.lines().count(), 4, "{listed}");
    assert!(listed.contains("  lab  "), "{listed}");
    assert!(listed.contains("PUT Patient/kept"), "{listed}");
    assert!(listed.contains("unknown-property Observation.subjct"), "{listed}");
    let refused = succeeds(&quarantine(&site, &["release", &kept]));
    assert!(refused.contains("kept  ") && refused.contains("Patient.colour"), "{refused}");

    // It stands in the log: a kill takes nothing, and no server is needed to look at it.
    match deployment {
        // The lease of one that was killed lasts on.
        Deployment::OverPostgres => site.stop().await,
        _ => site.kill().await,
    }
    let counted = succeeds(&quarantine(&site, &["defects"]));
    assert!(counted.contains("unknown-property  Observation.subjct"), "{counted}");
    let alone_stays = binary::failure(&quarantine(&site, &["release", &kept]), 1);
    assert!(alone_stays.contains("no server runs"), "{alone_stays}");
    site.launch(First::Gateway).await;
    let owner = site.owner();
    assert_eq!(items(&owner).await, all);
    if deployment != Deployment::OverPostgres {
        a_backup_has_it(&site, &all).await;
    }

    let data = site.data().to_str().unwrap().to_owned();
    let config = site.config().to_str().unwrap().to_owned();
    let purge = ["purge", "Patient/gone", "--reason", "asked for by letter", "--data", &data];
    let purge = [&purge[..], &["--config", &config]].concat();
    let said = succeeds(&binary::run(site.folder(), &purge));
    assert!(said.contains("2 versions of HearthgateQuarantine"), "{said}");
    // What nobody can read any more takes no room.
    let later = quarantined(&owner, "/Patient/later", patient("later")).await;
    succeeds(&quarantine(&site, &["discard", &later]));
    let left = [&alone, &kept].map(String::clone);
    assert_eq!(items(&owner).await, left);
    for item in [&gone, &both] {
        assert_eq!(owner.get(&format!("/$quarantine?item={item}")).await.status, 404);
    }
    let again = owner.put("/Patient/gone", patient("gone")).await;
    again.is_outcome(422, "business-rule");

    site.stop().await;
    site.configure("[validation]\ndepth = \"parse\"\naction = \"quarantine\"\n");
    site.launch(First::Gateway).await;
    let owner = site.owner();
    assert_eq!(items(&owner).await, left);
    let done = succeeds(&quarantine(&site, &["release", &kept, &gone]));
    assert!(done.contains("released  Patient/kept/_history/1"), "{done}");
    assert!(done.contains("unknown"), "{done}");
    assert_eq!(owner.get("/Patient/kept").await.is(200).json()["colour"], "red");
    let done = succeeds(&quarantine(&site, &["discard", &alone]));
    assert!(done.contains("discarded"), "{done}");
    assert!(items(&owner).await.is_empty());
    assert_eq!(owner.get("/_history").await.is(200).json()["total"], 2, "a purge and a release");
    let wrong = binary::failure(&quarantine(&site, &["discard", "no item"]), 1);
    assert!(wrong.contains("is no item"), "{wrong}");
    site.stop().await;
}

/// What is restored has what was backed up.
async fn a_backup_has_it(site: &Site, all: &[String]) {
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
    restored.configure(QUARANTINE);
    restored.launch(First::Gateway).await;
    let key = site.owner().key().to_owned();
    succeeds(&restored.keys(&["confirm", key.split('_').nth(1).unwrap()]));
    assert_eq!(items(&restored.client(&key)).await, all);
}
