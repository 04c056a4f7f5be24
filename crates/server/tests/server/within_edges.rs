//! Rules within a part of the data, where others write meanwhile, refer by URL, release or change
//! what somebody made; and what histories show by the index.

use std::sync::Arc;

use database::Rules;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::within::{all_within, by, clinic, filtered, found, get, group};
use crate::support::bundle::{observation, patient};
use crate::support::{Access, Site};

fn own(user: &'static str) -> Access {
    Access::of(vec![all_within("own")]).used_by(user)
}

#[tokio::test]
async fn what_somebody_made_is_their_own_whoever_updates_it() {
    let site = clinic().await;
    let (ada, bob) = (own("ada"), own("bob"));
    let made = by(&site, &ada, "POST", "Observation", observation("Patient/1")).await.is(201);
    let made = made.reference();
    let mut changed = observation("Patient/1");
    changed["id"] = made.split('/').next_back().unwrap().into();
    changed["status"] = "amended".into();
    site.put(&made, changed.clone()).await.is(200);
    for indexed in [false, true] {
        if indexed {
            site.is_indexed().await;
        }
        assert_eq!(get(&site, &ada, &made).await.is(200).json()["status"], "amended");
        get(&site, &ada, &format!("{made}/_history/1")).await.is(200);
        get(&site, &bob, &made).await.is(404);
        assert_eq!(found(&site, &ada, "Observation").await.len(), 1);
        assert_eq!(found(&site, &bob, "Observation").await.len(), 0);
    }
    by(&site, &ada, "PUT", &made, changed.clone()).await.is(200);
    // What was deleted and is made anew is whose who makes it.
    site.delete(&made).await.is(204);
    get(&site, &ada, &made).await.is(410);
    site.put(&made, changed).await.is(201);
    get(&site, &ada, &made).await.is(404);
    assert_eq!(found(&site, &ada, "Observation").await.len(), 0);
}

#[tokio::test]
async fn references_by_the_servers_own_url_put_into_compartments() {
    // LEAK-25
    let site = clinic().await;
    let of = |id: &str, base: &str| {
        let mut observation = observation(&format!("{base}Patient/2"));
        observation["id"] = id.into();
        observation
    };
    for (id, base) in [("u", "http://clinic.example/fhir/"), ("f", "http://other.example/fhir/")] {
        site.put(&format!("Observation/{id}"), of(id, base)).await.is(201);
    }
    let [one, two] = ["1", "2"].map(Access::of_patient);
    for indexed in [false, true] {
        if indexed {
            site.is_indexed().await;
        }
        get(&site, &two, "Observation/u").await.is(200);
        for (access, target) in
            [(&one, "Observation/u"), (&one, "Observation/f"), (&two, "Observation/f")]
        {
            get(&site, access, target).await.is(404);
        }
        assert_eq!(found(&site, &two, "Observation").await, ["both", "o2", "u"]);
    }
    by(&site, &two, "PUT", "Observation/u", of("u", "http://clinic.example/fhir/")).await.is(200);
    let mut foreign = of("u", "http://clinic.example/fhir/");
    foreign["performer"] = json!([{ "reference": "http://clinic.example/fhir/Patient/1" }]);
    by(&site, &two, "PUT", "Observation/u", foreign).await.is(403);
}

#[tokio::test]
async fn histories_show_the_same_by_the_index_as_by_looking_at_every_version() {
    // LEAK-07
    let site = clinic().await;
    let mut moved = observation("Patient/2");
    moved["id"] = "o1".into();
    site.put("Observation/o1", moved).await.is(200);
    site.delete("Observation/e1").await.is(204);
    site.delete("Observation/o2").await.is(204);
    let callers = [
        Access::of_patient("1"),
        Access::of_patient("2"),
        group(),
        filtered(Some("code=urn:c|both,urn:c|e1"), &[]),
        filtered(None, &["urn:s|R"]),
    ];
    let mut before = Vec::new();
    for indexed in [false, true] {
        if indexed {
            site.is_indexed().await;
        }
        for (at, access) in callers.iter().enumerate() {
            for target in ["Observation/_history", "Patient/_history"] {
                let bundle = get(&site, access, target).await;
                let bundle = if bundle.status == 200 { bundle.json() } else { Value::Null };
                let told = (bundle["total"].clone(), bundle["entry"].clone());
                match indexed {
                    false => before.push(told),
                    true => assert_eq!(told, before.remove(0), "{target} of {at}"),
                }
            }
        }
    }
}

#[tokio::test]
async fn a_reference_to_what_is_not_seen_is_missing_like_one_to_what_is_not_there() {
    // LEAK-26
    let rules = Rules { references_exist: vec!["*".parse().unwrap()], ..Rules::default() };
    let site = Site::ruled(rules).await;
    for id in ["1", "2"] {
        site.put(&format!("Patient/{id}"), patient(id)).await.is(201);
        let encounter = json!({ "resourceType": "Encounter", "id": format!("e{id}"),
            "status": "finished", "class": { "code": "AMB" },
            "subject": { "reference": format!("Patient/{id}") } });
        site.put(&format!("Encounter/e{id}"), encounter).await.is(201);
    }
    let access = Access::of_patient("1");
    let write = async |encounter: &str| {
        let mut observation = observation("Patient/1");
        observation["encounter"] = json!({ "reference": format!("Encounter/{encounter}") });
        by(&site, &access, "POST", "Observation", observation).await
    };
    write("e1").await.is(201);
    let (hidden, never) = (write("e2").await, write("e9").await);
    assert_ne!(hidden.status, 201);
    assert_eq!((hidden.status, hidden.text().replace("e2", "e9")), (never.status, never.text()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn patches_in_transactions_of_who_sees_a_part_are_planned_anew_where_they_race() {
    let site = Arc::new(clinic().await);
    let member = |id: &str| json!({ "entity": { "reference": format!("Patient/{id}") } });
    let both = json!({ "resourceType": "Group", "id": "both", "type": "person", "actual": true,
        "member": [member("1"), member("2")] });
    site.put("Group/both", both).await.is(201);
    let mut patches = JoinSet::new();
    for _ in 0..12 {
        let site = Arc::clone(&site);
        patches.spawn(async move {
            // [{"op":"add","path":"/note","value":[{"text":"x"}]}]
            let patch = "W3sib3AiOiJhZGQiLCJwYXRoIjoiL25vdGUiLCJ2YWx1ZSI6W3sidGV4dCI6IngifV19XQ==";
            let bundle = json!({ "resourceType": "Bundle", "type": "transaction", "entry": [{
                "resource": { "resourceType": "Binary", "data": patch,
                    "contentType": "application/json-patch+json" },
                "request": { "method": "PATCH", "url": "Observation/both" } }] });
            let access = Access::of(vec![all_within("group(Group/both)")]);
            by(&site, &access, "POST", "", bundle).await
        });
    }
    for answer in patches.join_all().await {
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}
