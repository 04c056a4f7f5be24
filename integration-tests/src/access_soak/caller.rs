//! Who asks: grants by chance, and what they let be touched, read from docs/contract.md.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::model::{Criterion, Model, Version, compartments, has_label};
use crate::chance::Chance;

/// A part of the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Within {
    All,
    /// A patient's, an encounter's or a practitioner's compartment.
    Compartment(&'static str, &'static str),
    Group(&'static str),
    CareTeamOf,
    Own,
}

#[derive(Debug, Clone)]
pub(super) struct Rule {
    /// None for all.
    pub(super) types: Option<Vec<&'static str>>,
    pub(super) actions: Vec<&'static str>,
    pub(super) part: Part,
}

/// What a rule reaches of the types that it speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) within: Within,
    /// All of these.
    pub(super) filter: Vec<Criterion>,
    pub(super) without_label: Option<&'static str>,
}

/// A caller.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) client: &'static str,
    pub(super) user: Option<&'static str>,
    fhir_user: Option<&'static str>,
    patient: Option<&'static str>,
    pub(super) rules: Vec<Rule>,
}

/// What an interaction may touch of a type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reach {
    Denied,
    Whole,
    Parts(Vec<Part>),
}

pub(super) const TYPES: [&str; 7] = [
    "Patient",
    "Observation",
    "Encounter",
    "CareTeam",
    "Group",
    "Practitioner",
    "DocumentReference",
];
pub(super) const LABEL: &str = "urn:s|R";

/// One of these.
pub(super) fn one<T: Copy>(chance: &mut Chance, of: &[T]) -> T {
    of[chance.below(of.len())]
}

/// Who may do everything.
pub(super) fn owner() -> Caller {
    let part = Part { within: Within::All, filter: Vec::new(), without_label: None };
    let rule = Rule { types: None, actions: vec!["*"], part };
    let rules = vec![rule];
    Caller { client: "owner", user: None, fhir_user: None, patient: None, rules }
}

impl Caller {
    /// Anyone, with one to four rules.
    pub(super) fn by(chance: &mut Chance) -> Self {
        let mut caller = Self {
            client: one(chance, &["app", "other"]),
            user: one(chance, &[None, Some("ada"), Some("bob")]),
            fhir_user: None,
            patient: None,
            rules: Vec::new(),
        };
        for _ in 0..1 + chance.below(4) {
            let rule = caller.rule(chance);
            caller.rules.push(rule);
        }
        caller
    }

    fn rule(&mut self, chance: &mut Chance) -> Rule {
        let types = match chance.below(3) {
            0 => None,
            _ => {
                let types: BTreeSet<_> =
                    (0..1 + chance.below(5)).map(|_| one(chance, &TYPES)).collect();
                Some(types.into_iter().collect())
            }
        };
        let actions: &[&str] = match chance.below(12) {
            0..=5 => &["*"],
            6 => &["read", "search", "history"],
            7 => &["read", "search"],
            8 => &["read", "history"],
            9 => &["create", "update", "search"],
            10 => &["read", "search", "update", "delete", "create"],
            _ => &["search"],
        };
        let within = match chance.below(12) {
            0 | 1 => Within::All,
            2..=5 => {
                let id = self.patient.unwrap_or_else(|| one(chance, &["p1", "p2", "p3", "p4"]));
                self.patient = Some(id);
                Within::Compartment("Patient", id)
            }
            6 => Within::Compartment("Encounter", one(chance, &["e1", "e2", "e3"])),
            7 => Within::Compartment("Practitioner", one(chance, &["d1", "d2"])),
            8 => Within::Group(one(chance, &["g1", "g2"])),
            9 | 10 => {
                let user = one(chance, &["Practitioner/d1", "Practitioner/d2", "Patient/p1"]);
                self.fhir_user = Some(self.fhir_user.unwrap_or(user));
                Within::CareTeamOf
            }
            _ => Within::Own,
        };
        let filter = match chance.below(8) {
            0 => vec![one(chance, &Criterion::ALL)],
            1 => vec![one(chance, &Criterion::ALL), one(chance, &Criterion::ALL)],
            _ => Vec::new(),
        };
        let without_label = (chance.below(4) == 0).then_some(LABEL);
        let part = Part { within, filter, without_label };
        Rule { types, actions: actions.to_vec(), part }
    }

    /// The members of a grant.
    pub(super) fn members(&self) -> Value {
        let mut members = json!({ "client": self.client });
        let texts = [("user", self.user), ("fhirUser", self.fhir_user), ("patient", self.patient)];
        for (name, text) in texts {
            if let Some(text) = text {
                members[name] = text.into();
            }
        }
        members["rules"] = self.rules.iter().map(Rule::as_json).collect();
        members
    }

    /// What may be touched of a type by what takes all of these actions: of one rule.
    pub(super) fn reach(&self, of: &str, actions: &[&str]) -> Reach {
        let speaks = |rule: &&Rule| rule.types.as_ref().is_none_or(|types| types.contains(&of));
        let holds = |rule: &&Rule| {
            rule.actions == ["*"] || actions.iter().all(|action| rule.actions.contains(action))
        };
        let mut parts = Vec::new();
        for rule in self.rules.iter().filter(speaks).filter(holds) {
            let part = rule.part.clone();
            if part.is_whole() {
                return Reach::Whole;
            }
            parts.push(part);
        }
        if parts.is_empty() { Reach::Denied } else { Reach::Parts(parts) }
    }

    pub(super) fn reads(&self, of: &str) -> Reach {
        self.reach(of, &["read"])
    }

    pub(super) fn searches(&self, of: &str) -> Reach {
        self.reach(of, &["search"])
    }

    /// What a chain or an include may touch: what may be searched and read.
    pub(super) fn on_the_way(&self, of: &str) -> Reach {
        match (self.searches(of), self.reads(of)) {
            (Reach::Denied, _) | (_, Reach::Denied) => Reach::Denied,
            (Reach::Whole, other) | (other, Reach::Whole) => other,
            (Reach::Parts(search), Reach::Parts(read)) => {
                let with_all = |one: &Part| read.iter().filter_map(|it| one.common(it)).collect();
                let both: Vec<Part> =
                    search.iter().flat_map(|it| -> Vec<_> { with_all(it) }).collect();
                if both.is_empty() { Reach::Denied } else { Reach::Parts(both) }
            }
        }
    }

    /// Whether there is a rule for every type that holds all of these.
    pub(super) fn of_all_types(&self, actions: &[&str]) -> bool {
        let rules: Vec<Rule> =
            self.rules.iter().filter(|rule| rule.types.is_none()).cloned().collect();
        let all = Self { rules, ..self.clone() };
        all.reach("Basic", actions) != Reach::Denied
    }

    /// Whether an id may be chosen: creating and updating are whole.
    pub(super) fn may_choose_ids(&self, of: &str) -> bool {
        let whole = |action| self.reach(of, &[action]) == Reach::Whole;
        whole("create") && whole("update")
    }

    /// Whether a version is seen: by its own content and by the present one of its resource.
    pub(super) fn sees(&self, model: &Model, reach: &Reach, version: &Version) -> bool {
        let parts = match reach {
            Reach::Denied => return false,
            Reach::Whole => return true,
            Reach::Parts(parts) => parts,
        };
        let shows = |version: &Version| {
            let content = model.content(version);
            content.is_some_and(|content| {
                let json = content.json.as_ref().expect("it has content");
                let name = (&*content.of, &*content.id);
                let is_own = content.by == self.name();
                parts.iter().any(|part| self.is_within(model, part, name, json, is_own))
            })
        };
        let present = model.present(&version.of, &version.id);
        shows(version) && present.is_some_and(shows)
    }

    /// The app and the user.
    pub(super) fn name(&self) -> (String, Option<String>) {
        (self.client.to_owned(), self.user.map(str::to_owned))
    }

    fn is_within(
        &self,
        model: &Model,
        part: &Part,
        (of, id): (&str, &str),
        json: &Value,
        is_own: bool,
    ) -> bool {
        let within = match &part.within {
            Within::All => true,
            Within::Own => is_own,
            Within::Compartment(about, it) => {
                compartments(about, (of, id), json).contains(&format!("{about}/{it}"))
            }
            Within::Group(_) | Within::CareTeamOf => {
                let patients = self.patients(model, &part.within);
                !compartments("Patient", (of, id), json).is_disjoint(&patients)
            }
        };
        within
            && part.filter.iter().all(|filter| model.meets(of, json, *filter))
            && part.without_label.is_none_or(|label| !has_label(json, label))
    }

    /// Whose data a part is.
    fn patients(&self, model: &Model, within: &Within) -> BTreeSet<String> {
        match within {
            Within::Compartment("Patient", id) => [format!("Patient/{id}")].into(),
            Within::Group(group) => model.members(group),
            Within::CareTeamOf => self.fhir_user.map(|it| model.cared_for(it)).unwrap_or_default(),
            Within::All | Within::Own | Within::Compartment(..) => BTreeSet::new(),
        }
    }

    /// Whether this may be taken away, or another put in its place: as if it were written.
    pub(super) fn may_replace(&self, model: &Model, reach: &Reach, there: &Version) -> bool {
        let name = (&*there.of, &*there.id);
        there.json.as_ref().is_some_and(|json| self.may_write(model, reach, name, json))
    }

    /// Whether this may be written: it is within a part, and whose else it is that part names too.
    pub(super) fn may_write(
        &self,
        model: &Model,
        reach: &Reach,
        name: (&str, &str),
        json: &Value,
    ) -> bool {
        let parts = match reach {
            Reach::Denied => return false,
            Reach::Whole => return true,
            Reach::Parts(parts) => parts,
        };
        parts.iter().any(|part| {
            let patients = self.patients(model, &part.within);
            let of_patients = matches!(
                part.within,
                Within::Compartment("Patient", _) | Within::Group(_) | Within::CareTeamOf
            );
            let owners = compartments("Patient", name, json);
            let is_own = model.alive(name.0, name.1).is_none_or(|it| it.by == self.name());
            self.is_within(model, part, name, json, is_own)
                && (!of_patients || owners.is_subset(&patients))
        })
    }
}

impl Part {
    /// What is in both; parts within two compartments have nothing in common that is shown.
    fn common(&self, other: &Self) -> Option<Self> {
        let within = match (&self.within, &other.within) {
            (Within::All, within) | (within, Within::All) => within,
            (one, other) if one == other => one,
            _ => return None,
        };
        let filter = [self.filter.clone(), other.filter.clone()].concat();
        let without_label = self.without_label.or(other.without_label);
        Some(Self { within: within.clone(), filter, without_label })
    }

    fn is_whole(&self) -> bool {
        self.within == Within::All && self.filter.is_empty() && self.without_label.is_none()
    }
}

impl Rule {
    fn as_json(&self) -> Value {
        let within = match self.part.within {
            Within::All => "all".to_owned(),
            Within::Compartment(of, id) => format!("compartment({of}/{id})"),
            Within::Group(id) => format!("group(Group/{id})"),
            Within::CareTeamOf => "careTeamOf(user)".to_owned(),
            Within::Own => "own".to_owned(),
        };
        let types = self.types.clone().unwrap_or_else(|| vec!["*"]);
        let mut rule = json!({ "types": types, "actions": self.actions, "within": within });
        if !self.part.filter.is_empty() {
            let filter: Vec<&str> = self.part.filter.iter().map(|it| it.text()).collect();
            rule["filter"] = filter.join("&").into();
        }
        if let Some(label) = self.part.without_label {
            rule["withoutLabels"] = json!([label]);
        }
        rule
    }
}
