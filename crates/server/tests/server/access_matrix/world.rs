//! Two clinics that are the same but for another patient's data, which one of them has not.

use std::time::Duration;

use database::Rules;
use serde_json::{Value, json};
use server::{Limits, WritePolicy};

use super::callers::{MY_APP_USER, Whose};
use crate::support::{Access, Keeps, Site};

/// Every id that an answer could tell, in the order in which the matrix names them.
pub(super) const IDS: [&str; 12] = [
    "p-mine",
    "o-mine",
    "o-both",
    "g-team",
    "c-team",
    "pr-doc",
    "p-other",
    "o-other",
    "o-moved",
    "o-gone",
    "c-other",
    super::told::NEW,
];

/// Whether another patient's data are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Other {
    IsThere,
    NeverWas,
}

/// Patient `p-mine`, whose data the caller wrote, tagged as the caller's; and `p-other`, with data
/// that somebody else wrote, labelled as restricted. `o-both` is of the first and was performed
/// by the other; `o-moved` was of the first once; `o-gone` is deleted. The group has had the
/// other as a member, the care team was theirs once.
pub(super) async fn clinic(other: Other) -> Site {
    let reference_rule = "Observation.subject".parse().unwrap();
    let rules = Rules { references_exist: vec![reference_rule], ..Rules::default() };
    let settings = (Limits::default(), rules, WritePolicy::parse_only());
    let site = Site::made(Keeps::InMemory, settings).await;
    let write = |resource, whose| write(&site, other, resource, whose);
    let reference = |to: &str| json!({ "reference": to });
    let mine = || json!({ "tag": [{ "system": "urn:t", "code": "mine" }] });
    let others = || json!({ "security": [{ "system": "urn:s", "code": "R" }] });
    let patient = |id: &str, meta: Value| {
        json!({ "resourceType": "Patient", "id": id, "meta": meta,
            "identifier": [{ "system": "urn:i", "value": id }], "name": [{ "family": id }],
            "generalPractitioner": [reference("Practitioner/pr-doc")] })
    };
    let observation = |id: &str, of: &str, meta: Value| {
        json!({ "resourceType": "Observation", "id": id, "meta": meta, "status": "final",
            "code": { "coding": [{ "system": "urn:c", "code": id }] },
            "subject": reference(&format!("Patient/{of}")) })
    };
    write(json!({ "resourceType": "Practitioner", "id": "pr-doc", "meta": mine() }), Whose::Mine)
        .await;
    write(patient("p-mine", mine()), Whose::Mine).await;
    write(patient("p-other", others()), Whose::Other).await;
    for (id, of, meta, whose) in [
        ("o-mine", "p-mine", mine(), Whose::Mine),
        ("o-mine", "p-mine", mine(), Whose::Mine),
        ("o-other", "p-other", others(), Whose::Other),
        ("o-other", "p-other", others(), Whose::Other),
        ("o-moved", "p-mine", mine(), Whose::Other),
        ("o-moved", "p-other", others(), Whose::Other),
        ("o-gone", "p-other", others(), Whose::Other),
    ] {
        write(observation(id, of, meta), whose).await;
    }
    let somebody_else = Access::owner().used_by("somebody-else");
    let (method, status) = if other == Other::IsThere { ("DELETE", 204) } else { ("GET", 404) };
    site.ask(method, "Observation/o-gone").by(&somebody_else).send().await.is(status);
    site.clock.advance(Duration::from_secs(1));
    let mut both = observation("o-both", "p-mine", mine());
    both["performer"] = json!([reference("Patient/p-other")]);
    write(both, Whose::Mine).await;
    write(
        json!({ "resourceType": "Group", "id": "g-team", "meta": mine(), "type": "person",
            "actual": true, "member": [
                { "entity": reference("Patient/p-mine"), "period": { "start": "2000" } },
                { "entity": reference("Patient/p-other"), "inactive": true },
                { "entity": reference("Patient/p-other"), "period": { "end": "2001-01-01" } }] }),
        Whose::Mine,
    )
    .await;
    let team = |id: &str, of: &str, status: &str, meta: Value| {
        json!({ "resourceType": "CareTeam", "id": id, "meta": meta, "status": status,
            "subject": reference(&format!("Patient/{of}")),
            "participant": [{ "member": reference("Practitioner/pr-doc") }] })
    };
    write(team("c-team", "p-mine", "active", mine()), Whose::Mine).await;
    write(team("c-other", "p-other", "inactive", others()), Whose::Other).await;
    for (id, of, whose) in [("o-mine", "p-mine", Whose::Mine), ("o-other", "p-other", Whose::Other)]
    {
        let meta = || if whose == Whose::Mine { mine() } else { others() };
        write(
            json!({ "resourceType": "Binary", "id": id, "meta": meta(),
                "contentType": "text/plain", "data": "QQ==",
                "securityContext": reference(&format!("Patient/{of}")) }),
            whose,
        )
        .await;
        let system = format!("urn:cs:{id}");
        write(
            json!({ "resourceType": "CodeSystem", "id": id, "meta": meta(), "url": system,
                "status": "active", "content": "complete", "concept": [{ "code": "a" }] }),
            whose,
        )
        .await;
        write(
            json!({ "resourceType": "ValueSet", "id": id, "meta": meta(),
                "url": format!("urn:vs:{id}"), "status": "active",
                "compose": { "include": [{ "system": system, "concept": [{ "code": "a" }] }] } }),
            whose,
        )
        .await;
        write(
            json!({ "resourceType": "ConceptMap", "id": id, "meta": meta(),
                "url": format!("urn:cm:{id}"), "status": "active", "group": [{
                "source": system, "target": "urn:t", "element": [{ "code": "a",
                    "target": [{ "code": "b", "equivalence": "equal" }] }] }] }),
            whose,
        )
        .await;
    }
    site.is_indexed().await;
    site
}

/// Writes a resource of the caller's; one of another's where they are there.
async fn write(site: &Site, other: Other, resource: Value, whose: Whose) {
    let user = if whose == Whose::Mine { MY_APP_USER } else { "somebody-else" };
    let access = Access::owner().used_by(user);
    let text = |name: &str| resource[name].as_str().unwrap().to_owned();
    let target = format!("{}/{}", text("resourceType"), text("id"));
    if whose == Whose::Mine || other == Other::IsThere {
        let answer = site.ask("PUT", &target).by(&access).body(&resource).send().await;
        assert!([200, 201].contains(&answer.status), "{}", answer.text());
    } else {
        // As much happened, and nothing of it is there.
        site.ask("GET", &target).by(&access).send().await.is(404);
    }
    site.clock.advance(Duration::from_secs(1));
}
