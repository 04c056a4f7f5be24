//! Resources by chance: a few patients and all that is written of them.

use serde_json::{Value, json};

use super::caller::one;
use super::model::Model;
use crate::chance::Chance;

fn to(of: &str, id: &str) -> Value {
    json!({ "reference": format!("{of}/{id}") })
}

pub(super) fn patient(chance: &mut Chance) -> Value {
    to("Patient", one(chance, &["p1", "p2", "p3", "p4"]))
}

fn practitioner(chance: &mut Chance) -> Value {
    to("Practitioner", one(chance, &["d1", "d2"]))
}

fn encounter(chance: &mut Chance) -> Value {
    to("Encounter", one(chance, &["e1", "e2", "e3"]))
}

fn period(chance: &mut Chance) -> Value {
    match chance.below(5) {
        0 => json!({ "end": "2001-01-01" }),
        1 => json!({ "start": "2099" }),
        _ => json!({ "start": "2000", "end": "2099-01-01" }),
    }
}

/// The ids that those of a type have who are given one.
pub(super) fn ids(of: &str) -> &'static [&'static str] {
    match of {
        "Patient" => &["p1", "p2", "p3", "p4"],
        "Observation" => &["o1", "o2", "o3", "o4", "o5", "o6"],
        "Encounter" => &["e1", "e2", "e3"],
        "CareTeam" => &["c1", "c2", "c3"],
        "Group" => &["g1", "g2"],
        "Practitioner" => &["d1", "d2"],
        _ => &["r1", "r2", "r3"],
    }
}

/// An id of a type: mostly of what is there, or was.
pub(super) fn id(chance: &mut Chance, model: &Model, of: &str) -> String {
    let written: Vec<&str> =
        model.versions.iter().filter(|it| it.of == of).map(|it| &*it.id).collect();
    if chance.below(3) > 0 && !written.is_empty() {
        return one(chance, &written).to_owned();
    }
    one(chance, ids(of)).to_owned()
}

/// A resource without an id, unlike any before.
pub(super) fn resource(chance: &mut Chance, of: &str, number: u64) -> Value {
    let mut json = match of {
        "Patient" => a_patient(chance),
        "Observation" => an_observation(chance),
        "Encounter" => json!({
            "status": one(chance, &["finished", "in-progress"]),
            "class": { "system": "urn:class", "code": "AMB" },
            "subject": patient(chance),
            "participant": [{ "individual": practitioner(chance) }],
        }),
        "CareTeam" => a_care_team(chance),
        "Group" => a_group(chance),
        "Practitioner" => json!({
            "active": chance.below(2) == 0,
            "gender": one(chance, &["female", "male"]),
            "name": [{ "family": one(chance, &["Doc", "Medic"]) }],
        }),
        _ => json!({
            "status": "current",
            "category": [{ "coding": [{ "code": one(chance, &["laboratory", "other"]) }] }],
            "subject": patient(chance),
            "author": [if chance.below(3) == 0 { patient(chance) } else { practitioner(chance) }],
            "context": { "encounter": [encounter(chance)] },
            "content": [{ "attachment": { "contentType": "text/plain" } }],
        }),
    };
    json["resourceType"] = of.into();
    json["meta"] = json!({ "tag": [{ "system": "urn:n", "code": number.to_string() }] });
    if chance.below(4) == 0 {
        json["meta"]["security"] = json!([{ "system": "urn:s", "code": "R" }]);
    }
    json
}

fn a_patient(chance: &mut Chance) -> Value {
    let mut json = json!({
        "active": chance.below(2) == 0,
        "gender": one(chance, &["female", "male"]),
        "name": [{ "family": one(chance, &["Adler", "Berg", "Conti"]) }],
        "identifier": [{ "system": "urn:mrn", "value": one(chance, &["1", "2", "3"]) }],
        "generalPractitioner": [practitioner(chance)],
    });
    if chance.below(6) == 0 {
        json["link"] = json!([{ "other": patient(chance), "type": "seealso" }]);
    }
    json
}

fn an_observation(chance: &mut Chance) -> Value {
    let mut json = json!({
        "status": one(chance, &["final", "preliminary"]),
        "category": [{ "coding": [{ "code": one(chance, &["laboratory", "vital-signs"]) }] }],
        "code": { "coding": [{ "system": "urn:c", "code": one(chance, &["a", "b", "c"]) }] },
        "subject": patient(chance),
        "performer": [if chance.below(4) == 0 { patient(chance) } else { practitioner(chance) }],
        "valueQuantity": { "value": chance.below(10) },
    });
    if chance.below(2) == 0 {
        json["encounter"] = encounter(chance);
    }
    json
}

fn a_care_team(chance: &mut Chance) -> Value {
    let mut participant = json!([]);
    for _ in 0..1 + chance.below(2) {
        let member = if chance.below(5) == 0 { patient(chance) } else { practitioner(chance) };
        let mut one = json!({ "member": member });
        if chance.below(3) == 0 {
            one["period"] = period(chance);
        }
        participant.as_array_mut().expect("a list").push(one);
    }
    let mut json = json!({
        "status": if chance.below(4) == 0 { "inactive" } else { "active" },
        "category": [{ "coding": [{ "code": "laboratory" }] }],
        "subject": patient(chance),
        "participant": participant,
    });
    if chance.below(3) == 0 {
        json["period"] = period(chance);
    }
    if chance.below(3) == 0 {
        json["encounter"] = encounter(chance);
    }
    json
}

fn a_group(chance: &mut Chance) -> Value {
    let mut members = json!([]);
    for _ in 0..1 + chance.below(3) {
        let mut one = json!({ "entity": patient(chance) });
        match chance.below(4) {
            0 => one["period"] = period(chance),
            1 => one["inactive"] = (chance.below(2) == 0).into(),
            _ => {}
        }
        members.as_array_mut().expect("a list").push(one);
    }
    let mut json = json!({
        "type": "person",
        "actual": true,
        "code": { "coding": [{ "system": "urn:c", "code": one(chance, &["a", "b"]) }] },
        "member": members,
    });
    if chance.below(4) == 0 {
        json["active"] = (chance.below(2) == 0).into();
    }
    json
}
