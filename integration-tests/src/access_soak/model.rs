//! All versions of all resources, and what their content says: whose they are, and what they match.
//! Written from docs/contract.md and FHIR's CompartmentDefinitions, with nothing of the product.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// One version.
#[derive(Debug, Clone)]
pub(super) struct Version {
    pub(super) of: String,
    pub(super) id: String,
    pub(super) number: u64,
    pub(super) t: u64,
    pub(super) micros: i64,
    /// None where it is a deletion.
    pub(super) json: Option<Value>,
    /// The app and the user who made the resource.
    pub(super) by: (String, Option<String>),
}

/// Every version in the order of the log.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) versions: Vec<Version>,
    /// The newest position.
    pub(super) head: u64,
    /// Which version of each resource is the newest.
    newest: BTreeMap<(String, String), usize>,
}

/// What a rule's filter asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Criterion {
    Final,
    Laboratory,
    CodeA,
    OfActivePatient,
    Active,
    Female,
}

impl Criterion {
    pub(super) const ALL: [Self; 6] = [
        Self::Final,
        Self::Laboratory,
        Self::CodeA,
        Self::OfActivePatient,
        Self::Active,
        Self::Female,
    ];

    /// As a query.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Final => "status=final",
            Self::Laboratory => "category=laboratory",
            Self::CodeA => "code=urn:c|a",
            Self::OfActivePatient => "subject:Patient.active=true",
            Self::Active => "active=true",
            Self::Female => "gender=female",
        }
    }

    /// The types that have the parameter (FHIR R4's search parameters).
    pub(super) fn types(self) -> &'static [&'static str] {
        match self {
            Self::Final => &["Observation", "Encounter", "CareTeam", "DocumentReference"],
            Self::Laboratory => &["Observation", "CareTeam", "DocumentReference"],
            Self::CodeA => &["Observation", "Group"],
            Self::OfActivePatient => &["Observation", "Encounter", "CareTeam", "DocumentReference"],
            Self::Active => &["Patient", "Practitioner"],
            Self::Female => &["Patient", "Practitioner"],
        }
    }
}

/// All items, of a list or of one alone.
fn items(value: &Value) -> impl Iterator<Item = &Value> {
    let list = value.as_array().map(Vec::as_slice);
    let one = if value.is_null() || list.is_some() { None } else { Some(value) };
    list.into_iter().flatten().chain(one)
}

fn reference(value: &Value) -> Option<&str> {
    value["reference"].as_str()
}

/// What stands at the paths of the parameters by which a type is in compartments of another.
pub(super) fn references_into(compartment: &str, of: &str, json: &Value) -> BTreeSet<String> {
    let paths: &[&str] = match (compartment, of) {
        ("Patient", "Patient") => &["link.other"],
        ("Patient", "Observation") => &["subject", "performer"],
        ("Patient", "Encounter") => &["subject"],
        ("Patient", "CareTeam") => &["subject", "participant.member"],
        ("Patient", "Group") => &["member.entity"],
        ("Patient", "DocumentReference") => &["subject", "author"],
        ("Encounter", "Observation") => &["encounter"],
        ("Encounter", "CareTeam") => &["encounter"],
        ("Encounter", "DocumentReference") => &["context.encounter"],
        ("Practitioner", "Patient") => &["generalPractitioner"],
        ("Practitioner", "Observation") => &["performer"],
        ("Practitioner", "Encounter") => &["participant.individual"],
        ("Practitioner", "CareTeam") => &["participant.member"],
        ("Practitioner", "Group") => &["member.entity"],
        ("Practitioner", "DocumentReference") => &["subject", "author", "authenticator"],
        _ => &[],
    };
    let mut found = BTreeSet::new();
    for path in paths {
        let mut at = vec![json];
        for step in path.split('.') {
            at = at.into_iter().flat_map(|value| items(&value[step])).collect();
        }
        found.extend(at.into_iter().filter_map(reference).map(str::to_owned));
    }
    found.retain(|it| it.starts_with(&format!("{compartment}/")));
    found
}

/// Whose compartments of this type a resource is in: those that it names, and its own.
pub(super) fn compartments(
    compartment: &str,
    (of, id): (&str, &str),
    json: &Value,
) -> BTreeSet<String> {
    let mut found = references_into(compartment, of, json);
    if of == compartment {
        found.insert(format!("{of}/{id}"));
    }
    found
}

/// Whether a resource has this security label, `system|code`.
pub(super) fn has_label(json: &Value, label: &str) -> bool {
    items(&json["meta"]["security"]).any(|it| {
        let text = |name: &str| it[name].as_str().unwrap_or_default();
        format!("{}|{}", text("system"), text("code")) == label
    })
}

fn has_code(concepts: &Value, system: Option<&str>, code: &str) -> bool {
    let mut codings = items(concepts).flat_map(|concept| items(&concept["coding"]));
    codings.any(|it| it["code"] == *code && system.is_none_or(|system| it["system"] == *system))
}

/// Whether a period is now; years and days as the generator writes them.
fn covers(period: &Value) -> bool {
    let year = |name: &str| period[name].as_str().map(|text| text[..4].to_owned());
    year("start").is_none_or(|start| *start <= *"2026")
        && year("end").is_none_or(|end| *end >= *"2026")
}

impl Model {
    /// Adds what came after all others.
    pub(super) fn add(&mut self, version: Version) {
        let name = (version.of.clone(), version.id.clone());
        self.newest.insert(name, self.versions.len());
        self.versions.push(version);
    }

    /// The newest version of a resource.
    pub(super) fn present(&self, of: &str, id: &str) -> Option<&Version> {
        let at = self.newest.get(&(of.to_owned(), id.to_owned()))?;
        self.versions.get(*at)
    }

    /// The newest version, unless it is a deletion.
    pub(super) fn alive(&self, of: &str, id: &str) -> Option<&Version> {
        self.present(of, id).filter(|it| it.json.is_some())
    }

    /// What is there now of a type, or of all, in the order of the log.
    pub(super) fn all_alive(&self, of: Option<&str>) -> impl Iterator<Item = &Version> {
        let of_type = self.newest.iter().filter(move |((it, _), _)| of.is_none_or(|of| it == of));
        let places: BTreeSet<usize> = of_type.map(|(_, at)| *at).collect();
        places.into_iter().map(|at| &self.versions[at]).filter(|it| it.json.is_some())
    }

    /// The version itself, or what a deletion deleted.
    pub(super) fn content<'m>(&'m self, version: &'m Version) -> Option<&'m Version> {
        let mut before =
            self.versions.iter().rev().filter(|it| {
                it.of == version.of && it.id == version.id && it.number <= version.number
            });
        before.find(|it| it.json.is_some())
    }

    /// Whether a filter is met, judged by all data.
    pub(super) fn meets(&self, of: &str, json: &Value, criterion: Criterion) -> bool {
        if !criterion.types().contains(&of) {
            return false;
        }
        match criterion {
            Criterion::Final => json["status"] == "final",
            Criterion::Laboratory => has_code(&json["category"], None, "laboratory"),
            Criterion::CodeA => has_code(&json["code"], Some("urn:c"), "a"),
            Criterion::OfActivePatient => {
                let patient =
                    reference(&json["subject"]).and_then(|it| it.strip_prefix("Patient/"));
                let patient = patient.and_then(|id| self.alive("Patient", id));
                patient.and_then(|it| it.json.as_ref()).is_some_and(|it| it["active"] == true)
            }
            Criterion::Active => json["active"] == true,
            Criterion::Female => json["gender"] == "female",
        }
    }

    /// The patients who are members of a Group now.
    pub(super) fn members(&self, group: &str) -> BTreeSet<String> {
        let group = self.alive("Group", group).and_then(|it| it.json.as_ref());
        let Some(group) = group.filter(|group| group["active"] != false) else {
            return BTreeSet::new();
        };
        let members = items(&group["member"]);
        let members = members.filter(|it| it["inactive"] != true && covers(&it["period"]));
        let patients = members.filter_map(|it| reference(&it["entity"]));
        patients.filter(|it| it.starts_with("Patient/")).map(str::to_owned).collect()
    }

    /// The patients in whose care teams somebody is now.
    pub(super) fn cared_for(&self, user: &str) -> BTreeSet<String> {
        let teams = self.all_alive(Some("CareTeam")).filter_map(|it| it.json.as_ref());
        let teams = teams.filter(|team| team["status"] == "active" && covers(&team["period"]));
        let takes_part = |team: &&Value| {
            let mut all = items(&team["participant"]);
            all.any(|it| reference(&it["member"]) == Some(user) && covers(&it["period"]))
        };
        let patients = teams.filter(takes_part).filter_map(|team| reference(&team["subject"]));
        patients.filter(|it| it.starts_with("Patient/")).map(str::to_owned).collect()
    }
}
