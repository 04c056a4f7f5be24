//! What is asked, by chance: every interaction, by itself and in Bundles.

use serde_json::{Value, json};

use super::caller::{TYPES, one};
use super::model::Model;
use super::resources::{id, patient, resource};
use super::site::Sent;
use crate::chance::Chance;

/// A resource's type and id.
pub(super) type Name = (&'static str, String);

/// One request.
#[derive(Debug, Clone)]
pub(super) enum Ask {
    Read(Name),
    Vread(Name, u64),
    HistoryInstance(Name),
    HistoryType(&'static str),
    HistorySystem,
    /// Types that are searched, and how that is written.
    Search(Vec<&'static str>, String),
    /// Of a type, or of all, within a compartment.
    Compartment(Name, Option<&'static str>, String),
    Create(Value),
    CreateIfNone(Value, Criteria),
    Update(Name, Value),
    Patch(Name, Change),
    Delete(Name),
    UpdateWhere(Value, Criteria),
    PatchWhere(&'static str, Criteria, Change),
    DeleteWhere(&'static str, Criteria),
    Batch(Vec<Ask>),
    Transaction(Vec<Ask>),
}

/// One element replaced.
#[derive(Debug, Clone)]
pub(super) struct Change {
    /// The name of the element.
    pub(super) element: &'static str,
    pub(super) to: Value,
    /// A tag, so that something changes.
    pub(super) tag: String,
}

/// Criteria that say so little that anyone can judge them.
#[derive(Debug, Clone)]
pub(super) enum Criteria {
    Id(String),
    Tag(String),
    Subject(String),
    /// The subject is an active patient.
    OfActive,
}

impl Criteria {
    pub(super) fn text(&self) -> String {
        match self {
            Self::Id(id) => format!("_id={id}"),
            Self::Tag(code) => format!("_tag=urn:n|{code}"),
            Self::Subject(reference) => format!("subject={reference}"),
            Self::OfActive => "subject:Patient.active=true".to_owned(),
        }
    }

    fn by(chance: &mut Chance, model: &Model, of: &str) -> Self {
        let has_subject =
            ["Observation", "Encounter", "CareTeam", "DocumentReference"].contains(&of);
        match chance.below(if has_subject { 5 } else { 3 }) {
            0 => Self::Id(id(chance, model, of)),
            1 | 2 => {
                let of_type: Vec<&Value> =
                    model.all_alive(Some(of)).filter_map(|it| it.json.as_ref()).collect();
                match of_type.is_empty() {
                    true => Self::Tag("none".to_owned()),
                    false => {
                        let json = one(chance, &of_type);
                        let code = json["meta"]["tag"][0]["code"].as_str().unwrap_or_default();
                        Self::Tag(code.to_owned())
                    }
                }
            }
            3 => {
                let reference = patient(chance);
                Self::Subject(reference["reference"].as_str().unwrap_or_default().to_owned())
            }
            _ => Self::OfActive,
        }
    }
}

impl Change {
    fn by(chance: &mut Chance, of: &str, number: u64) -> Self {
        let (element, to) = match (of, chance.below(2)) {
            ("Observation" | "Encounter" | "CareTeam" | "DocumentReference", 0) => {
                ("subject", patient(chance))
            }
            ("Observation", _) => ("status", one(chance, &["final", "preliminary"]).into()),
            ("Patient" | "Practitioner", _) => ("active", (chance.below(2) == 0).into()),
            ("Group", _) => ("member", json!([{ "entity": patient(chance) }])),
            _ => ("language", "en".into()),
        };
        Self { element, to, tag: number.to_string() }
    }

    /// As a JSON Patch.
    pub(super) fn patch(&self) -> Value {
        json!([
            { "op": "add", "path": format!("/{}", self.element), "value": self.to },
            { "op": "replace", "path": "/meta/tag/0/code", "value": self.tag },
        ])
    }

    /// What it leaves.
    pub(super) fn apply(&self, json: &Value) -> Value {
        let mut json = json.clone();
        json[self.element] = self.to.clone();
        json["meta"]["tag"][0]["code"] = self.tag.clone().into();
        json
    }
}

/// What of a search stands behind its `?`.
fn parameters(chance: &mut Chance, of: &str) -> String {
    let patients = ["p1", "p2", "p3", "p4"];
    let p = one(chance, &patients);
    let conditions: Vec<String> = match of {
        "Patient" => vec![
            "active=true".into(),
            "family=adler".into(),
            format!("_id={p}"),
            format!("link=Patient/{p}"),
            "general-practitioner:Practitioner.family=Doc".into(),
            "_has:Observation:subject:code=urn:c|a".into(),
            "_has:Observation:performer:status=final".into(),
            "_has:Encounter:subject:status=finished".into(),
            "_has:Group:member:code=urn:c|a".into(),
            "_has:CareTeam:subject:participant=Practitioner/d1".into(),
            "_has:Encounter:subject:_has:Observation:encounter:code=urn:c|b".into(),
        ],
        "Observation" => vec![
            "code=urn:c|a".into(),
            "status:not=final".into(),
            format!("subject=Patient/{p}"),
            format!("patient={p}"),
            "performer:Practitioner.family=Doc".into(),
            "subject:Patient.active=true".into(),
            "patient.family=berg".into(),
            "encounter.status=finished".into(),
            "encounter.subject:Patient.gender=female".into(),
            "subject:Patient.general-practitioner:Practitioner.family=Medic".into(),
            "subject:Patient._has:Group:member:code=urn:c|a".into(),
            "encounter:missing=true".into(),
            "value-quantity=gt4".into(),
            "_security=urn:s|R".into(),
        ],
        "Encounter" => vec![
            "status=finished".into(),
            format!("subject=Patient/{p}"),
            "participant:Practitioner.family=Doc".into(),
            "subject:Patient.family=conti".into(),
            "_has:Observation:encounter:code=urn:c|a".into(),
            "_has:DocumentReference:encounter:status=current".into(),
        ],
        "CareTeam" => vec![
            "status=active".into(),
            "participant=Practitioner/d1".into(),
            "subject:Patient.active=true".into(),
            "encounter.status=finished".into(),
        ],
        "Group" => vec![
            format!("member=Patient/{p}"),
            "code=urn:c|a".into(),
            "member:Patient.active=true".into(),
        ],
        "Practitioner" => vec![
            "family=doc".into(),
            "_has:Patient:general-practitioner:active=true".into(),
            "_has:Observation:performer:code=urn:c|b".into(),
        ],
        _ => vec![
            format!("subject=Patient/{p}"),
            "author:Patient.active=true".into(),
            "category=laboratory".into(),
            "encounter.status=in-progress".into(),
        ],
    };
    let mut parameters = Vec::new();
    for _ in 0..chance.below(3) {
        parameters.push(conditions[chance.below(conditions.len())].clone());
    }
    parameters.extend(shape(chance, of));
    parameters.join("&")
}

/// Includes, order, number and total.
fn shape(chance: &mut Chance, of: &str) -> Vec<String> {
    const INCLUDES: [(&str, &str); 22] = [
        ("Observation", "_include=Observation:subject"),
        ("Observation", "_include=Observation:performer"),
        ("Observation", "_include=Observation:encounter"),
        ("Observation", "_include=*"),
        ("Observation", "_include=Observation:encounter&_include:iterate=Encounter:participant"),
        ("Observation", "_include=Observation:subject&_revinclude:iterate=Group:member"),
        ("Observation", "_include=Observation:subject&_include:iterate=Patient:link"),
        ("Patient", "_include=Patient:general-practitioner"),
        ("Patient", "_include=Patient:link"),
        ("Patient", "_revinclude=Observation:subject"),
        ("Patient", "_revinclude=Encounter:subject&_revinclude:iterate=Observation:encounter"),
        ("Patient", "_revinclude=Group:member"),
        ("Patient", "_revinclude=CareTeam:subject&_include:iterate=CareTeam:participant"),
        ("Patient", "_revinclude=*:*"),
        ("Encounter", "_include=Encounter:subject"),
        ("Encounter", "_revinclude=Observation:encounter&_include:iterate=Observation:subject"),
        ("CareTeam", "_include=CareTeam:participant"),
        ("Group", "_include=Group:member&_revinclude:iterate=Observation:subject"),
        ("Practitioner", "_revinclude=Patient:general-practitioner"),
        ("Practitioner", "_revinclude=Observation:performer"),
        ("DocumentReference", "_include=DocumentReference:author"),
        ("DocumentReference", "_include=*"),
    ];
    let mut shape = Vec::new();
    if chance.below(2) == 0 {
        let of_type: Vec<&str> =
            INCLUDES.iter().filter(|(it, _)| *it == of).map(|(_, text)| *text).collect();
        shape.push(one(chance, &of_type).to_owned());
    }
    match chance.below(4) {
        0 => shape.push("_total=accurate".to_owned()),
        1 => shape.push("_total=none".to_owned()),
        _ => {}
    }
    let sorts: &[&str] = match of {
        "Observation" => &["_lastUpdated", "-_lastUpdated", "code,-_lastUpdated", "_id", "-status"],
        "Patient" => &["family", "-_lastUpdated", "_id", "-general-practitioner"],
        "Practitioner" => &["family", "-_id"],
        _ => &["_lastUpdated", "-_id"],
    };
    if chance.below(3) == 0 {
        shape.push(format!("_sort={}", one(chance, sorts)));
    }
    match chance.below(6) {
        0 => shape.push("_summary=count".to_owned()),
        1..=3 => shape.push(format!("_count={}", 1 + chance.below(5))),
        _ => {}
    }
    shape
}

impl Ask {
    /// A search, of a type, of several, or within a compartment.
    pub(super) fn search(chance: &mut Chance, model: &Model) -> Self {
        let of = one(chance, &TYPES);
        match chance.below(10) {
            0 => {
                let other = one(chance, &TYPES);
                let mut types = vec![of, other];
                types.sort_unstable();
                types.dedup();
                let shape =
                    ["_total=accurate", "_count=3", "_sort=-_lastUpdated", "_count=2&_sort=_id"];
                let text = format!("?_type={}&{}", types.join(","), one(chance, &shape));
                Self::Search(types, text)
            }
            1 | 2 => {
                let about = one(chance, &["Patient", "Encounter", "Practitioner"]);
                let name = (about, id(chance, model, about));
                let in_patients = ["Observation", "Encounter", "CareTeam", "DocumentReference"];
                let of = one(chance, &in_patients);
                match chance.below(5) {
                    0 => Self::Compartment(name, None, "_count=4".to_owned()),
                    _ => Self::Compartment(name, Some(of), parameters(chance, of)),
                }
            }
            _ => Self::Search(vec![of], format!("{of}?{}", parameters(chance, of))),
        }
    }

    /// What looks and changes nothing.
    pub(super) fn look(chance: &mut Chance, model: &Model) -> Self {
        let of = one(chance, &TYPES);
        let name = (of, id(chance, model, of));
        match chance.below(12) {
            0 | 1 => Self::Read(name),
            2 | 3 => {
                let newest = model.present(of, &name.1).map_or(1, |it| it.number);
                let below = usize::try_from(newest + 1).unwrap_or(1);
                Self::Vread(name, 1 + chance.below(below) as u64)
            }
            4 => Self::HistoryInstance(name),
            5 => Self::HistoryType(of),
            6 => Self::HistorySystem,
            _ => Self::search(chance, model),
        }
    }

    /// One write.
    pub(super) fn write(chance: &mut Chance, model: &Model, number: u64) -> Self {
        let of = one(chance, &TYPES);
        let of = if chance.below(3) == 0 { "Observation" } else { of };
        let name = (of, id(chance, model, of));
        let json = resource(chance, of, number);
        match chance.below(14) {
            0 | 1 => Self::Create(json),
            2..=4 => Self::update(name, json),
            5..=7 => Self::Patch(name, Change::by(chance, of, number)),
            8 => Self::Delete(name),
            9 | 10 => Self::CreateIfNone(json, Criteria::by(chance, model, of)),
            11 => Self::UpdateWhere(json, Criteria::by(chance, model, of)),
            12 => {
                let criteria = Criteria::by(chance, model, of);
                Self::PatchWhere(of, criteria, Change::by(chance, of, number))
            }
            _ => Self::DeleteWhere(of, Criteria::by(chance, model, of)),
        }
    }

    pub(super) fn update(name: Name, mut json: Value) -> Self {
        json["id"] = name.1.clone().into();
        Self::Update(name, json)
    }

    /// A Bundle: what is written is of different resources, and nothing that says what may be seen.
    pub(super) fn bundle(chance: &mut Chance, model: &Model, number: u64) -> Self {
        let of = ["Observation", "DocumentReference"];
        let mut entries = Vec::new();
        let mut names = Vec::new();
        let is_batch = chance.below(2) == 0;
        for at in 0..1 + chance.below(4) as u64 {
            let of = one(chance, &of);
            let name = (of, id(chance, model, of));
            if names.contains(&name) {
                continue;
            }
            names.push(name.clone());
            let number = number * 100 + at;
            let json = resource(chance, of, number);
            entries.push(match chance.below(if is_batch { 8 } else { 6 }) {
                0 => Self::Create(json),
                1 | 2 => Self::update(name, json),
                3 | 4 => Self::Patch(name, Change::by(chance, of, number)),
                5 => Self::Delete(name),
                _ => Self::Read((one(chance, &["Patient", "Group"]), "p1".to_owned())),
            });
        }
        if is_batch { Self::Batch(entries) } else { Self::Transaction(entries) }
    }

    /// As it is sent.
    pub(super) fn sent(&self) -> Sent {
        let of = |json: &Value| json["resourceType"].as_str().unwrap_or_default().to_owned();
        let name = |(of, id): &Name| format!("{of}/{id}");
        let (method, target, body) = match self {
            Self::Read(it) => ("GET", name(it), None),
            Self::Vread(it, number) => ("GET", format!("{}/_history/{number}", name(it)), None),
            Self::HistoryInstance(it) => ("GET", format!("{}/_history", name(it)), None),
            Self::HistoryType(of) => ("GET", format!("{of}/_history?_count=1000"), None),
            Self::HistorySystem => ("GET", "_history?_count=1000".to_owned(), None),
            Self::Search(_, text) => ("GET", text.clone(), None),
            Self::Compartment(it, of, text) => {
                ("GET", format!("{}/{}?{text}", name(it), of.unwrap_or("*")), None)
            }
            Self::Create(json) | Self::CreateIfNone(json, _) => {
                ("POST", of(json), Some(json.clone()))
            }
            Self::Update(it, json) => ("PUT", name(it), Some(json.clone())),
            Self::Patch(it, change) => ("PATCH", name(it), Some(change.patch())),
            Self::Delete(it) => ("DELETE", name(it), None),
            Self::UpdateWhere(json, criteria) => {
                ("PUT", format!("{}?{}", of(json), criteria.text()), Some(json.clone()))
            }
            Self::PatchWhere(of, criteria, change) => {
                ("PATCH", format!("{of}?{}", criteria.text()), Some(change.patch()))
            }
            Self::DeleteWhere(of, criteria) => {
                ("DELETE", format!("{of}?{}", criteria.text()), None)
            }
            Self::Batch(entries) => ("POST", String::new(), Some(bundle("batch", entries))),
            Self::Transaction(entries) => {
                ("POST", String::new(), Some(bundle("transaction", entries)))
            }
        };
        let mut headers = Vec::new();
        if let Self::CreateIfNone(_, criteria) = self {
            headers.push(("if-none-exist", criteria.text()));
        }
        // Bars do not stand in a request line as they are.
        Sent { method, target: target.replace('|', "%7C"), headers, body }
    }
}

fn bundle(kind: &str, entries: &[Ask]) -> Value {
    let entry = |ask: &Ask| {
        let Sent { method, target, body, .. } = ask.sent();
        let mut entry = json!({ "request": { "method": method, "url": target } });
        if let Some(body) = body {
            entry["resource"] = match method {
                "PATCH" => in_binary(ask),
                _ => body,
            };
        }
        entry
    };
    let entries: Vec<Value> = entries.iter().map(entry).collect();
    json!({ "resourceType": "Bundle", "type": kind, "entry": entries })
}

/// A JSON Patch as the Binary in which it stands in a Bundle.
fn in_binary(ask: &Ask) -> Value {
    use base64::Engine as _;
    let Ask::Patch(_, change) = ask else { return Value::Null };
    let data = base64::engine::general_purpose::STANDARD.encode(change.patch().to_string());
    json!({ "resourceType": "Binary", "contentType": "application/json-patch+json", "data": data })
}
