//! Events in plain words, for the patient whose record they are about.
//!
//! What an event says of others is not told: which resources it is about is named only where it
//! shows data of nobody else.

use std::collections::BTreeMap;

use database::audit::{Act, Event, Outcome};
use serde_json::Value;

use super::NAME;

/// How many kinds of entries of a Bundle are told.
const LISTED: usize = 10;

/// One event in plain words.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// The event itself, for who may read it.
    pub(super) event: Option<String>,
    /// The instant, as FHIR writes it.
    pub(super) instant: String,
    /// Microseconds since 1970.
    pub(super) micros: i64,
    pub(super) who: String,
    pub(super) what: String,
    pub(super) why: String,
    /// Whether it was refused.
    pub(super) is_denied: bool,
    /// Whether the normal limits were set aside.
    pub(super) is_emergency: bool,
}

/// Whose record it is, and what people are called.
pub(super) struct Reader<'a> {
    pub(super) patient: &'a str,
    /// By `Type/id`.
    pub(super) names: &'a BTreeMap<String, String>,
    /// Whether kinds and ids of data are told.
    pub(super) is_told: bool,
}

impl Reader<'_> {
    pub(super) fn line(&self, id: Option<String>, event: &Event) -> Line {
        let occurred = event.occurred.unwrap_or(event.instant);
        Line {
            event: id,
            instant: occurred.to_string(),
            micros: occurred.as_micros(),
            who: self.who(event),
            what: self.what(event),
            why: why(event),
            is_denied: event.outcome == Outcome::Denied,
            is_emergency: event.break_glass.is_some(),
        }
    }

    fn who(&self, event: &Event) -> String {
        let app = event.client.as_deref().map(|app| match event.role.as_deref() {
            Some(role) => format!("the app \"{app}\", in the role \"{role}\""),
            None => format!("the app \"{app}\", in no role that was named"),
        });
        let user = match (event.fhir_user.as_deref(), event.user.as_deref()) {
            (Some(of), _) if of.strip_prefix("Patient/") == Some(self.patient) => {
                Some("you".to_owned())
            }
            (Some(of), user) => match (self.names.get(of), user) {
                (Some(name), _) => Some(name.clone()),
                (None, Some(user)) if user != of => Some(format!("{user} ({of})")),
                (None, _) => Some(of.to_owned()),
            },
            (None, Some(user)) if event.client.is_none() => {
                Some(format!("whoever runs this server ({user})"))
            }
            (None, user) => user.map(str::to_owned),
        };
        match (user, app) {
            (Some(user), Some(app)) => format!("{user}, with {app}"),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => "somebody unknown".to_owned(),
        }
    }

    fn what(&self, event: &Event) -> String {
        let is_own = event.patients.iter().all(|patient| **patient == *self.patient);
        let act = self.in_words(&event.act, is_own);
        if !self.is_told && !self.is_of_patient(&event.act) {
            let act = match event.act.kind.code() {
                "search-compartment" => "looked through data about the patient".to_owned(),
                _ => self.done(&event.act, "data about the patient"),
            };
            return tried(event.outcome, &act);
        }
        let saw = if is_own && self.is_told { saw(event) } else { None };
        let words = match (event.outcome, saw) {
            (Outcome::Done, Some(saw)) if event.entries.is_empty() => {
                format!("{act}, and saw {saw}")
            }
            (Outcome::Done, _) if searches(&event.act) => format!("{act}, and saw some of yours"),
            (Outcome::Done, _) => act,
            (outcome, _) => tried(outcome, &act),
        };
        let entries = self.entries(event, is_own);
        if entries.is_empty() { words } else { format!("{words}: {entries}") }
    }

    /// Whether something was done to the Patient itself.
    fn is_of_patient(&self, act: &Act) -> bool {
        act.resource_type.as_deref() == Some("Patient")
            && act.id.as_deref() == Some(self.patient)
            && act.kind.code() != "search-compartment"
    }

    /// What the entries of a Bundle did that succeeded: like ones once, with how many they were. Of
    /// a Bundle about several patients what was done to this one alone.
    fn entries(&self, event: &Event, is_own: bool) -> String {
        let mut told: Vec<(String, usize)> = Vec::new();
        for act in event.entries.iter().filter(|act| act.status < 400) {
            let of = act.resource_type.as_deref();
            let is_patient = self.is_of_patient(act);
            if !is_patient && (!is_own || of == Some("Patient")) {
                continue;
            }
            let it = match of {
                _ if is_patient => "your personal details".to_owned(),
                Some(of) => several(of),
                None => "the records".to_owned(),
            };
            let words = self.done(act, &it);
            match told.iter_mut().find(|(known, _)| *known == words) {
                Some((_, count)) => *count += 1,
                None => told.push((words, 1)),
            }
        }
        let more = told.len().saturating_sub(LISTED);
        let listed = told.into_iter().take(LISTED).map(|(words, count)| match count {
            1 => words,
            _ => format!("{words} ({count} times)"),
        });
        let mut parts: Vec<String> = listed.collect();
        if more > 0 {
            parts.push(format!("and {more} things more"));
        }
        if !is_own && !event.entries.is_empty() {
            let what = if parts.is_empty() { "it" } else { "the rest" };
            parts.push(format!("{what} was about others, or about you and others"));
        }
        parts.join("; ")
    }

    /// What was done to what.
    fn in_words(&self, act: &Act, is_own: bool) -> String {
        let of = act.resource_type.as_deref();
        let it = match (of, act.id.as_deref()) {
            (Some("Patient"), Some(id)) if id == self.patient => "your personal details".to_owned(),
            // Their numbers count what else happens here.
            (Some("AuditEvent"), Some(_)) => "a record of who looked at your data".to_owned(),
            (Some(of), Some(id)) if is_own => format!("{} ({of}/{id})", one(of)),
            (Some(of), Some(_)) => format!("{}, of you and others", one(of)),
            (Some(of), None) => several(of),
            _ => "the records".to_owned(),
        };
        self.done(act, &it)
    }

    /// What was done to it.
    fn done(&self, act: &Act, it: &str) -> String {
        let of = act.resource_type.as_deref();
        match act.kind.code() {
            "read" => format!("looked at {it}"),
            "vread" => format!("looked at an earlier version of {it}"),
            "history-instance" => format!("looked at all versions of {it}"),
            "history-type" | "history-system" => format!("looked at what changed in {it}"),
            "search-type" | "search-system" => format!("searched {it}"),
            "search-compartment" => {
                let is_of_patient =
                    of == Some("Patient") && act.id.as_deref() == Some(self.patient);
                match (is_of_patient, act.name.as_deref().map(several)) {
                    (true, Some(entries)) => format!("looked through your {entries}"),
                    (true, None) => "looked through all of your record".to_owned(),
                    (false, Some(entries)) => format!("looked through {entries} of {it}"),
                    (false, None) => format!("looked through all that belongs to {it}"),
                }
            }
            "create" => format!("added {it}"),
            "update" | "conditional-update" | "patch" | "conditional-patch" => {
                format!("wrote {it}")
            }
            "delete" | "conditional-delete" => format!("deleted {it}"),
            "batch-or-transaction" => "did several things at once".to_owned(),
            "purge" => "erased your data for good".to_owned(),
            _ if act.name.as_deref() == Some(NAME) => "looked at this list".to_owned(),
            code => {
                let name = act.name.as_deref().unwrap_or(code);
                format!("had the server work on {it} ({name})")
            }
        }
    }
}

/// What was done, and what came of it.
fn tried(outcome: Outcome, act: &str) -> String {
    match outcome {
        Outcome::Done => act.to_owned(),
        Outcome::Denied => format!("tried to, and was refused: {act}"),
        Outcome::NotFound => format!("found nothing: {act}"),
        Outcome::Refused | Outcome::Failed => format!("did not succeed: {act}"),
    }
}

fn searches(act: &Act) -> bool {
    matches!(act.kind.code(), "search-type" | "search-system" | "history-type" | "history-system")
}

/// What kinds of data an answer showed, and how many of each.
fn saw(event: &Event) -> Option<String> {
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for shown in &event.shown {
        *kinds.entry(&shown.resource_type).or_default() += 1;
    }
    let kinds: Vec<String> = kinds
        .into_iter()
        .map(|(of, count)| match count {
            1 => one(of),
            count => format!("{count} {}", several(of)),
        })
        .collect();
    (!kinds.is_empty()).then(|| kinds.join(", "))
}

fn why(event: &Event) -> String {
    let purpose = match event.purpose.as_deref() {
        Some("TREAT") => "treatment".to_owned(),
        Some("ETREAT") => "emergency treatment".to_owned(),
        Some("HPAYMT") => "payment".to_owned(),
        Some("HOPERAT") => "running the organisation".to_owned(),
        Some("HRESCH") => "research".to_owned(),
        Some("PATRQT") => "asked for by the patient".to_owned(),
        Some(other) => other.to_owned(),
        None => "no reason was given".to_owned(),
    };
    match &event.break_glass {
        Some(id) => format!("{purpose}; the normal limits were set aside in an emergency ({id})"),
        None => purpose,
    }
}

/// What patients call these: one, and several.
const KINDS: [(&str, &str, &str); 30] = [
    ("AllergyIntolerance", "an allergy", "allergies"),
    ("Appointment", "an appointment", "appointments"),
    ("CarePlan", "a care plan", "care plans"),
    ("CareTeam", "a care team", "care teams"),
    ("Claim", "a bill", "bills"),
    ("ClinicalImpression", "an assessment", "assessments"),
    ("Communication", "a message", "messages"),
    ("Composition", "a document", "documents"),
    ("Condition", "a diagnosis", "diagnoses"),
    ("Consent", "a consent", "consents"),
    ("Coverage", "an insurance", "insurances"),
    ("DiagnosticReport", "a report of findings", "reports of findings"),
    ("DocumentReference", "a document", "documents"),
    ("Encounter", "a visit", "visits"),
    ("ExplanationOfBenefit", "an insurer's statement", "insurers' statements"),
    ("FamilyMemberHistory", "a note on the family's health", "notes on the family's health"),
    ("Flag", "a warning", "warnings"),
    ("Goal", "a goal of care", "goals of care"),
    ("ImagingStudy", "pictures such as X-rays", "pictures such as X-rays"),
    ("Immunization", "a vaccination", "vaccinations"),
    ("MedicationAdministration", "a medicine that was given", "medicines that were given"),
    ("MedicationDispense", "a medicine that was handed out", "medicines that were handed out"),
    ("MedicationRequest", "a prescription", "prescriptions"),
    ("MedicationStatement", "a medicine that is taken", "medicines that are taken"),
    ("Observation", "a measurement or test result", "measurements and test results"),
    ("Patient", "personal details", "personal details"),
    ("Procedure", "a treatment or operation", "treatments and operations"),
    ("QuestionnaireResponse", "a filled-in questionnaire", "filled-in questionnaires"),
    ("RelatedPerson", "a contact person", "contact persons"),
    ("ServiceRequest", "a referral or order", "referrals and orders"),
];

fn kind(of: &str) -> Option<(&'static str, &'static str)> {
    let found = KINDS.iter().find(|(kind, ..)| *kind == of);
    found.map(|(_, one, several)| (*one, *several))
}

fn one(of: &str) -> String {
    kind(of).map_or_else(|| format!("an entry of the kind {of}"), |(one, _)| one.to_owned())
}

fn several(of: &str) -> String {
    kind(of).map_or_else(|| format!("entries of the kind {of}"), |(_, several)| several.to_owned())
}

/// What somebody is called, by the first name of a resource that is there.
pub(super) fn name_of(resource: &Value) -> Option<String> {
    let name = resource["name"].as_array()?.first()?;
    if let Some(text) = name["text"].as_str() {
        return Some(text.to_owned());
    }
    let texts = |list: &Value| -> Vec<String> {
        let list = list.as_array().into_iter().flatten();
        list.filter_map(|text| text.as_str().map(str::to_owned)).collect()
    };
    let parts = [texts(&name["prefix"]), texts(&name["given"])].concat();
    let family = name["family"].as_str().map(str::to_owned);
    let parts: Vec<String> = parts.into_iter().chain(family).collect();
    (!parts.is_empty()).then(|| parts.join(" "))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::name_of;

    #[test]
    fn people_are_called_by_the_first_name_that_is_there() {
        let check = |name: Value, expected: Option<&str>| {
            assert_eq!(name_of(&json!({ "name": name })).as_deref(), expected);
        };
        check(json!([{ "text": "Dr. A" }, { "text": "B" }]), Some("Dr. A"));
        let parts = json!([{ "prefix": ["Dr."], "given": ["A", "B"], "family": "C" }]);
        check(parts, Some("Dr. A B C"));
        check(json!([{ "use": "official" }]), None);
        check(json!([]), None);
    }
}
