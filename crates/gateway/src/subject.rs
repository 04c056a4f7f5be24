//! Whom a caller asks for, as the access log names them: by a pseudonym, never by their name.
//!
//! A subject may be a patient, and the access log goes where logs go. Its pseudonym is made with
//! a key that stays in the data directory: it is the same for the same subject as long as the key
//! is, and whoever has the log alone can neither read it back nor try names against it.

use contract::{GrantFields, Instance};
use ring::hmac;

/// What of a pseudonym's bytes is written: nobody finds two subjects with the same ones.
const WRITTEN: usize = 16;

/// The key that pseudonyms of subjects are made with. Shows nothing of itself.
#[derive(Clone)]
pub struct SubjectKey(hmac::Key);

impl SubjectKey {
    /// Bytes of a key.
    pub const LENGTH: usize = 32;

    /// The key of these bytes, which must be secret and random.
    #[must_use]
    pub fn new(bytes: &[u8; Self::LENGTH]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// The pseudonym of a subject, in 32 hexadecimal digits: a user as grants name them
    /// (`hospital/u-1`), or a resource (`Practitioner/7`, `Patient/123`).
    #[must_use]
    pub fn pseudonym(&self, subject: &str) -> String {
        let tag = hmac::sign(&self.0, subject.as_bytes());
        let digits = tag.as_ref()[..WRITTEN].iter().map(|byte| format!("{byte:02x}"));
        digits.collect()
    }

    /// The pseudonym of whom a caller with these members of a grant asks for; `None` for an app
    /// that asks for itself.
    pub(crate) fn of(&self, fields: &GrantFields) -> Option<Box<str>> {
        let person = || fields.fhir_user.as_ref().map(Instance::to_string);
        let patient = || fields.patient.as_ref().map(|id| format!("Patient/{id}"));
        let subject = fields.user.clone().or_else(person).or_else(patient)?;
        Some(self.pseudonym(&subject).into())
    }
}

impl std::fmt::Debug for SubjectKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("SubjectKey")
    }
}

#[cfg(test)]
mod tests {
    use contract::{Ids, Instant, Interaction, Nonce, digest};

    use super::*;
    use crate::testing::Fixed;

    fn fields(user: Option<&str>, person: Option<&str>, patient: Option<&str>) -> GrantFields {
        let ids: &dyn Ids = &Fixed;
        let tenant = "default".parse().expect("a name");
        let request = GrantFields::of_request(
            tenant,
            &Interaction::Capabilities,
            digest("", "", None),
            Nonce::generate(ids),
            Instant::from_micros(0),
        );
        GrantFields {
            user: user.map(str::to_owned),
            fhir_user: person.map(|person| person.parse().expect("an instance")),
            patient: patient.map(|id| id.parse().expect("an id")),
            ..request
        }
    }

    // GW-052
    #[test]
    fn the_user_comes_before_the_person_and_the_person_before_the_patient() {
        let key = SubjectKey::new(&[7; SubjectKey::LENGTH]);
        let expect = |subject: &str| Some(key.pseudonym(subject).into_boxed_str());
        let whole = fields(Some("hospital/u-1"), Some("Practitioner/7"), Some("p-1"));
        assert_eq!(key.of(&whole), expect("hospital/u-1"));
        let whole = fields(None, Some("Practitioner/7"), Some("p-1"));
        assert_eq!(key.of(&whole), expect("Practitioner/7"));
        assert_eq!(key.of(&fields(None, None, Some("p-1"))), expect("Patient/p-1"));
        assert_eq!(key.of(&fields(None, None, None)), None);
    }

    // GW-052: HMAC-SHA256 cut to half; the value is what `openssl dgst -sha256 -mac HMAC` says.
    #[test]
    fn a_pseudonym_is_its_keys_and_its_subjects() {
        let (one, other) = (SubjectKey::new(&[7; 32]), SubjectKey::new(&[8; 32]));
        assert_eq!(one.pseudonym("Patient/p-1"), "2adcc4a24a1c5c7550c35da1ae7ecf0e");
        assert_ne!(one.pseudonym("Patient/p-1"), other.pseudonym("Patient/p-1"));
        assert_ne!(one.pseudonym("Patient/p-1"), one.pseudonym("Patient/p-2"));
        assert_eq!(format!("{one:?}"), "SubjectKey");
    }
}
