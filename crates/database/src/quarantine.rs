//! Quarantine: what a server sets apart instead of storing it as a resource stands in the log as
//! a resource of a type that FHIR does not have (docs/adr/0022).
//!
//! Its body names in `subject` every patient that what was set apart names anywhere, since what is
//! invalid may name them where no definition looks. It is sealed with the keys of all of them, one
//! over the other: when one is purged nobody can read it any more, whatever else it is about.

use bytes::Bytes;
use fhir_core::json::{Kind, Value};
use fhir_core::{Reference, Resource, ResourceId, ResourceType};
use store::OwnerKeyId;
use store::keys::{KeyDestroyed, Keyring, UnsealError};

use crate::ReadError;

/// The type that it is stored as.
pub const TYPE: &str = "HearthgateQuarantine";
/// Who names more patients is not set apart: each is a layer of the seal.
pub const MOST_PATIENTS: usize = 16;

const PATIENT: &str = "Patient";
/// What the additional data of a layer begins with.
const LAYER: &[u8] = b"hearthgate layer 1";

/// Whether this type is the one that is set apart.
pub(crate) fn is_of(resource_type: &ResourceType) -> bool {
    resource_type.as_str() == TYPE
}

/// The patients that a resource, to be stored as `id`, names anywhere, each once: itself, where it
/// is one, by this id and by the one it was sent with; every Patient that stands in it, by its id;
/// and whatever follows `Patient/` in any string or name of a member, whatever stands around it.
///
/// The search ends with one more than [`MOST_PATIENTS`]: of those that are too many, not all.
#[must_use]
pub fn patients_named(resource: &Resource<'_>, id: &ResourceId) -> Vec<ResourceId> {
    let mut named = Named::default();
    if resource.resource_type().as_str() == PATIENT {
        named.note(id.as_str());
    }
    named.look(resource.value());
    named.0
}

/// The patients found so far; few, so that looking through them is quick.
#[derive(Default)]
struct Named(Vec<ResourceId>);

impl Named {
    fn look(&mut self, value: Value<'_>) {
        if self.are_too_many() {
            return;
        }
        match value.kind() {
            Kind::Object => {
                let is_patient = value.get_str("resourceType").is_some_and(|of| of == PATIENT);
                if let Some(id) = value.get_str("id").filter(|_| is_patient) {
                    self.note(&id);
                }
                for (name, member) in value.members() {
                    self.read(&name);
                    self.look(member);
                }
            }
            Kind::Array => value.items().for_each(|item| self.look(item)),
            Kind::String => {
                if let Some(text) = value.as_str() {
                    self.read(&text);
                }
            }
            _ => {}
        }
    }

    /// Finds `Patient/ID` in a text. A dot or hyphen at the end may be the sentence's or the id's:
    /// both are taken.
    fn read(&mut self, text: &str) {
        for (at, found) in text.match_indices("Patient/") {
            if self.are_too_many() {
                return;
            }
            let (before, after) = text.split_at(at);
            // The end of another type's name.
            if before.ends_with(|last: char| last.is_ascii_alphanumeric()) {
                continue;
            }
            let after = &after[found.len()..];
            let is_ids = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
            // One byte beyond the longest id tells that it is none.
            let run = after.bytes().take(ResourceId::MAX_LENGTH + 1);
            let run = &after[..run.take_while(|byte| is_ids(*byte)).count()];
            self.note(run);
            self.note(run.trim_end_matches(['.', '-']));
        }
    }

    /// Adds a patient, if this is an id and it is new.
    fn note(&mut self, id: &str) {
        if let Ok(id) = ResourceId::new(id)
            && !self.are_too_many()
            && !self.0.contains(&id)
        {
            self.0.push(id);
        }
    }

    fn are_too_many(&self) -> bool {
        self.0.len() > MOST_PATIENTS
    }
}

/// The patients in `subject` of what is set apart.
pub(crate) fn subjects(value: Value<'_>) -> Vec<ResourceId> {
    let subjects = value.get("subject").filter(|list| list.kind() == Kind::Array);
    let subjects = subjects.iter().flat_map(Value::items);
    let subjects = subjects.filter(|subject| subject.kind() == Kind::Object);
    subjects.filter_map(|subject| patient(&subject.get_str("reference")?)).collect()
}

/// The patient whom a reference is to.
fn patient(reference: &str) -> Option<ResourceId> {
    match Reference::parse(reference).ok()? {
        Reference::Relative(target) | Reference::Absolute(_, target)
            if target.resource_type.as_str() == PATIENT =>
        {
            Some(target.id)
        }
        _ => None,
    }
}

/// The coded body with a layer for each of the patients but the first, whose key seals the whole.
pub(crate) fn in_layers(
    keys: &Keyring,
    patients: &[ResourceId],
    place: &[u8],
    body: &[u8],
) -> Result<Bytes, KeyDestroyed> {
    let mut body = body.to_vec();
    let mut count = 0;
    for patient in patients.iter().skip(1) {
        let owner = keys.of_patient(patient);
        let sealed = keys.seal(owner, &layer_place(place, count), &body)?;
        body = [owner.0.to_le_bytes().as_slice(), sealed.as_ref()].concat();
        count = count.checked_add(1).expect("there are at most MOST_PATIENTS");
    }
    body.insert(0, count);
    Ok(body.into())
}

/// What [`in_layers`] was given.
///
/// # Errors
/// [`ReadError::Purged`] when one of the patients was.
pub(crate) fn out_of_layers(
    keys: &Keyring,
    place: &[u8],
    layered: &[u8],
) -> Result<Bytes, ReadError> {
    let unreadable = || ReadError::UnreadableBody { reason: "its layers are none".to_owned() };
    let (count, layered) = layered.split_first().ok_or_else(unreadable)?;
    let mut body = layered.to_vec();
    for number in (0..*count).rev() {
        let (owner, sealed) = body.split_first_chunk().ok_or_else(unreadable)?;
        let owner = OwnerKeyId(u64::from_le_bytes(*owner));
        let opened = keys.unseal(owner, &layer_place(place, number), sealed);
        body = opened
            .map_err(|error| match error {
                UnsealError::KeyDestroyed => ReadError::Purged,
                error => ReadError::UnreadableBody { reason: error.to_string() },
            })?
            .to_vec();
    }
    Ok(body.into())
}

/// Where a layer is sealed.
fn layer_place(place: &[u8], number: u8) -> Vec<u8> {
    [LAYER, &[number], place].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use fhir_core::json::Document;

    #[track_caller]
    fn check(json: &str, expected: &[&str]) {
        let document = Document::parse(json.as_bytes()).unwrap();
        let resource = Resource::new(document.root()).unwrap();
        let found = patients_named(&resource, &"own".parse().unwrap());
        let found: Vec<_> = found.iter().map(ResourceId::as_str).collect();
        assert_eq!(found, expected, "{json}");
    }

    #[test]
    fn a_patient_is_found_wherever_a_resource_names_one() {
        let json = r#"{"resourceType":"Observation","subjct":{"reference":"Patient/1"},
            "subject":"Patient/2/_history/3","focus":["https://a.example/fhir/Patient/3"],
            "performer":[{"reference":"Practitioner/4"},{"reference":"Patient/1"}],
            "note":[{"text":"see Patient/5"}],"Patient/6":7}"#;
        check(json, &["1", "2", "3", "5", "6"]);
        check(&json.replace("Observation", "Patient"), &["own", "1", "2", "3", "5", "6"]);
    }

    #[test]
    fn a_patient_is_found_in_what_is_no_reference_of_any_form() {
        let text = |text: &str, expected: &[&str]| {
            check(&format!(r#"{{"resourceType":"Basic","x":"{text}"}}"#), expected);
        };
        for named in ["/Patient/z", " Patient/z ", "Patient/z#x", "Patient/z/", "Patient\\/z?y"] {
            text(named, &["z"]);
        }
        text("Patient/a,Patient/b: Patient/a", &["a", "b"]);
        text("of Patient/a.", &["a.", "a"]);
        text(&format!("Patient/{}", "a".repeat(65)), &[]);
        for none in ["Patient/", "Patient/_history", "Inpatient/1", "XPatient/1", "Patient 1"] {
            text(none, &[]);
        }
    }

    #[test]
    fn a_patient_is_found_by_the_id_it_was_sent_with_within_a_bundle_too() {
        check(r#"{"resourceType":"Patient","id":"sent"}"#, &["own", "sent"]);
        check(r#"{"resourceType":"Basic","id":"sent"}"#, &[]);
        let bundle = r#"{"resourceType":"Bundle","entry":[{"fullUrl":"urn:uuid:1",
            "resource":{"id":"in","resourceType":"Patient"}},{"resource":{"id":7,
            "resourceType":"Patient"}},{"resource":{"id":"b","resourceType":"Basic"}}]}"#;
        check(bundle, &["in"]);
    }

    #[test]
    fn the_search_ends_with_one_patient_too_many() {
        let names = |of: std::ops::Range<usize>| {
            of.map(|id| format!("\"Patient/{id}\"")).collect::<Vec<_>>().join(",")
        };
        for many in [MOST_PATIENTS, MOST_PATIENTS + 1, 10 * MOST_PATIENTS] {
            for json in [names(0..many), names(0..many).replace("\",\"", " ")] {
                let json = format!(r#"{{"resourceType":"Basic","x":[{json}]}}"#);
                let document = Document::parse(json.as_bytes()).unwrap();
                let resource = Resource::new(document.root()).unwrap();
                let found = patients_named(&resource, &"own".parse().unwrap()).len();
                assert_eq!(found, many.min(MOST_PATIENTS + 1));
            }
        }
    }
}
