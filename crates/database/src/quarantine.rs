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

/// What the additional data of a layer begins with.
const LAYER: &[u8] = b"hearthgate layer 1";

/// Whether this type is the one that is set apart.
pub(crate) fn is_of(resource_type: &ResourceType) -> bool {
    resource_type.as_str() == TYPE
}

/// The patients that a resource, to be stored as `id`, names anywhere, each once: itself, where it
/// is one, and whatever has the form of a reference to one, by URL too, whatever stands around it.
#[must_use]
pub fn patients_named(resource: &Resource<'_>, id: &ResourceId) -> Vec<ResourceId> {
    fn look(value: Value<'_>, found: &mut Vec<ResourceId>) {
        match value.kind() {
            Kind::Object => value.members().for_each(|(_, member)| look(member, found)),
            Kind::Array => value.items().for_each(|item| look(item, found)),
            Kind::String => {
                if let Some(id) = value.as_str().and_then(|text| patient(&text))
                    && !found.contains(&id)
                {
                    found.push(id);
                }
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    if resource.resource_type().as_str() == "Patient" {
        found.push(id.clone());
    }
    look(resource.value(), &mut found);
    found
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
            if target.resource_type.as_str() == "Patient" =>
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

    #[test]
    fn a_patient_is_found_wherever_a_resource_names_one() {
        let json = r#"{"resourceType":"Observation","subjct":{"reference":"Patient/1"},
            "subject":"Patient/2/_history/3","focus":["https://a.example/fhir/Patient/3"],
            "performer":[{"reference":"Practitioner/4"},{"reference":"Patient/1"}],
            "note":[{"text":"see Patient/5"}]}"#;
        let check = |json: &str, expected: &[&str]| {
            let document = Document::parse(json.as_bytes()).unwrap();
            let resource = Resource::new(document.root()).unwrap();
            let found = patients_named(&resource, &"own".parse().unwrap());
            let found: Vec<_> = found.iter().map(ResourceId::as_str).collect();
            assert_eq!(found, expected);
        };
        check(json, &["1", "2", "3"]);
        check(&json.replace("Observation", "Patient"), &["own", "1", "2", "3"]);
    }
}
