//! What lies just outside a part of the data: what refers to it by another parameter, versions of
//! another's time, what was another's before it was deleted.

use contract::Clock;
use serde_json::{Value, json};

use super::within::{all_within, clinic, found, get};
use crate::support::bundle::observation;
use crate::support::{Access, rule};

#[tokio::test]
async fn a_reference_that_puts_nothing_into_a_compartment_shows_nothing() {
    // LEAK-04
    let site = clinic().await;
    let mut about = observation("Patient/1");
    about["id"] = "about".into();
    about["focus"] = json!([{ "reference": "Encounter/e" }, { "reference": "Patient/2" }]);
    site.put("Observation/about", about).await.is(201);
    let encounter = Access::of(vec![all_within("compartment(Encounter/e)")]);
    for indexed in [false, true] {
        if indexed {
            site.is_indexed().await;
        }
        for (access, expected) in
            [(&encounter, &["e1"][..]), (&Access::of_patient("2"), &["both", "o2"])]
        {
            assert_eq!(found(&site, access, "Observation").await, expected);
            get(&site, access, "Observation/about").await.is(404);
        }
    }
}

#[tokio::test]
async fn of_a_resource_that_came_from_another_its_earlier_versions_are_not_shown() {
    // LEAK-07, LEAK-08
    let site = clinic().await;
    let mut moved = observation("Patient/1");
    moved["id"] = "o2".into();
    site.put("Observation/o2", moved).await.is(200);
    let access = Access::of_patient("1");
    get(&site, &access, "Observation/o2").await.is(200);
    get(&site, &access, "Observation/o2/_history/1").await.is(404);
    let history = get(&site, &access, "Observation/o2/_history").await.is(200).json();
    assert_eq!(history["total"], 1);
    assert_eq!(history["entry"].as_array().unwrap().len(), 1);
    assert_eq!(history["entry"][0]["resource"]["meta"]["versionId"], "2");
}

#[tokio::test]
async fn what_was_anothers_when_it_was_deleted_never_was() {
    // LEAK-26, LEAK-29
    let site = clinic().await;
    site.delete("Observation/o2").await.is(204);
    site.get("Observation/o2").await.is(410);
    let access = Access::of_patient("1");
    for path in ["", "/_history", "/_history/1", "/_history/2"] {
        let hidden = get(&site, &access, &format!("Observation/o2{path}")).await.is(404);
        let never = get(&site, &access, &format!("Observation/never{path}")).await.is(404);
        assert_eq!(hidden.text().replace("o2", "never"), never.text(), "{path}");
    }
}

#[tokio::test]
async fn what_was_written_is_shown_to_who_may_read_it_alone() {
    // LEAK-13
    let site = clinic().await;
    let write = Access::of(vec![rule(&["Observation"], &["create", "update"], "all")]);
    for prefer in ["return=minimal", "return=representation"] {
        let send = async |method: &str, target: &str, body| {
            let ask = site.ask(method, target).by(&write).header("prefer", prefer);
            ask.body(body).send().await
        };
        let created = send("POST", "Observation", observation("Patient/1")).await.is(201);
        assert!(created.body.is_empty() && created.header("location").is_some());
        let mut body = observation("Patient/1");
        body["id"] = "o1".into();
        let updated = send("PUT", "Observation/o1", body).await.is(200);
        assert!(updated.body.is_empty());
        assert_eq!((updated.header("location"), updated.header("etag")), (None, None));
        let ask = site.ask("PUT", "Observation/o1").by(&write).header("if-match", "W/\"987\"");
        let mut body = observation("Patient/1");
        body["id"] = "o1".into();
        let refused = ask.body(body).send().await.is(412);
        assert!(!refused.text().contains(|of: char| of.is_ascii_digit()), "{}", refused.text());
    }
}

#[tokio::test]
async fn what_shows_nothing_takes_a_step_of_real_time() {
    // LEAK-26
    let site = clinic().await;
    let access = Access::of_patient("1");
    // The server's clock stands still: each step begins when its request comes.
    let batch = json!({ "resourceType": "Bundle", "type": "batch",
        "entry": [{ "request": { "method": "GET", "url": "Observation/o2" } }] });
    for (method, target, body) in [
        ("GET", "Observation/o2", None),
        ("GET", "Observation/never", None),
        ("DELETE", "Observation/o2", None),
        ("POST", "", Some(batch)),
    ] {
        let ask = site.ask(method, target).by(&access);
        let ask = match body {
            Some(body) => ask.body(body),
            None => ask,
        };
        #[expect(clippy::disallowed_methods, reason = "how long it takes is what is tested")]
        let begun = std::time::Instant::now();
        ask.send().await;
        assert!(begun.elapsed() >= std::time::Duration::from_millis(4), "{method} {target}");
    }
}

#[tokio::test]
async fn an_operation_that_is_in_no_row_is_not_there() {
    // LEAK-09, LEAK-10, LEAK-19, LEAK-22
    let site = clinic().await;
    let of_all = Access::of(vec![rule(&["*"], &["*"], "all")]);
    for access in [&of_all, &Access::of_patient("1")] {
        let never = get(&site, access, "Patient/1/$nonesuch").await;
        assert!(never.status >= 403, "{}", never.text());
        for name in ["$everything", "$graphql", "$export", "$meta", "$diff"] {
            for on in ["", "Patient/", "Patient/1/"] {
                let answer = get(&site, access, &format!("{on}{name}")).await;
                let never = get(&site, access, &format!("{on}$nonesuch")).await;
                let told = answer.text().replace(name, "$nonesuch");
                assert_eq!((answer.status, told), (never.status, never.text()), "{on}{name}");
            }
        }
    }
}

#[tokio::test]
async fn a_membership_begins_and_ends_while_nobody_writes() {
    // LEAK-29
    let site = clinic().await;
    let now = site.clock.now().as_micros();
    let hour = |hours: i64| contract::Instant::from_micros(now + hours * 3_600_000_000).to_string();
    let period = json!({ "start": hour(1), "end": hour(3) });
    let reference = |to: &str| json!({ "reference": to });
    let group = json!({ "resourceType": "Group", "id": "g", "type": "person", "actual": true,
        "member": [{ "entity": reference("Patient/1"), "period": period }] });
    let team = json!({ "resourceType": "CareTeam", "id": "c", "status": "active",
        "subject": reference("Patient/1"),
        "participant": [{ "member": reference("Practitioner/p"), "period": period }] });
    site.put("Group/g", &group).await.is(200);
    site.put("CareTeam/c", &team).await.is(200);
    let of_group = Access::of(vec![all_within("group(Group/g)")]);
    let of_team = Access::of(vec![all_within("careTeamOf(user)")]).being("Practitioner/p");
    for (status, what) in [(404, "before"), (200, "within"), (404, "after")] {
        for access in [&of_group, &of_team] {
            // Twice, so that what is remembered is asked too.
            for _ in 0..2 {
                let answer = get(&site, access, "Observation/o1").await;
                assert_eq!(answer.status, status, "{what}: {}", answer.text());
                let is_empty = found(&site, access, "Observation").await.is_empty();
                assert_eq!(is_empty, status == 404, "{what}");
            }
        }
        site.clock.advance(std::time::Duration::from_secs(2 * 3600));
    }
}

#[tokio::test]
async fn a_membership_that_has_ended_shows_nothing() {
    // LEAK-29
    let site = clinic().await;
    let reference = |to: &str| json!({ "reference": to });
    let ended = json!({ "end": "2001-01-01" });
    let check = async |access: &Access, mut resource: Value, changed: Value| {
        for (name, value) in changed.as_object().unwrap() {
            resource[name] = value.clone();
        }
        let text = |name: &str| resource[name].as_str().unwrap();
        let target = format!("{}/{}", text("resourceType"), text("id"));
        site.put(&target, &resource).await.is(200);
        assert_eq!(found(&site, access, "Observation").await, [""; 0], "{resource}");
        get(&site, access, "Observation/o1").await.is(404);
    };
    let group = Access::of(vec![all_within("group(Group/g)")]);
    let member = reference("Patient/1");
    for changed in [
        json!({ "active": false }),
        json!({ "member": [{ "entity": member, "inactive": true }] }),
        json!({ "member": [{ "entity": member, "period": ended }] }),
    ] {
        let whole = json!({ "resourceType": "Group", "id": "g", "type": "person",
            "actual": true, "member": [{ "entity": member }] });
        check(&group, whole, changed).await;
    }
    let team = Access::of(vec![all_within("careTeamOf(user)")]).being("Practitioner/p");
    let participant = reference("Practitioner/p");
    for changed in [
        json!({ "status": "inactive" }),
        json!({ "period": ended }),
        json!({ "participant": [{ "member": participant, "period": ended }] }),
    ] {
        let whole = json!({ "resourceType": "CareTeam", "id": "c", "status": "active",
            "subject": reference("Patient/1"), "participant": [{ "member": participant }] });
        check(&team, whole, changed).await;
    }
}
