//! `Identifier` (FHIR R4, 2.24.0.13) as the key it is found by.

use std::fmt;

use ring::digest::{SHA256, digest};

/// System and value of an identifier, as opaque bytes: equal exactly when both are (up to a
/// collision of SHA-256 for those longer than [`IdentifierKey::MAX_LENGTH`] together).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdentifierKey(Box<[u8]>);

const NO_SYSTEM: u8 = 0;
const WITH_SYSTEM: u8 = 1;
const HASHED: u8 = 2;

impl IdentifierKey {
    /// The longest key, in bytes: its length fits one byte.
    pub const MAX_LENGTH: usize = 255;

    /// The key of this identifier. A missing system is another key than an empty one.
    #[must_use]
    pub fn new(system: Option<&str>, value: &str) -> Self {
        let mut bytes = Vec::with_capacity(5 + system.map_or(0, str::len) + value.len());
        match system {
            None => bytes.push(NO_SYSTEM),
            Some(system) => {
                bytes.push(WITH_SYSTEM);
                // Every system that reaches a key is far shorter than 4 GB; longer ones would
                // be hashed with a wrapped length, which is still one key for equal systems.
                bytes.extend_from_slice(&(system.len() as u32).to_be_bytes());
                bytes.extend_from_slice(system.as_bytes());
            }
        }
        bytes.extend_from_slice(value.as_bytes());
        if bytes.len() > Self::MAX_LENGTH {
            let hash = digest(&SHA256, &bytes);
            bytes.clear();
            bytes.push(HASHED);
            bytes.extend_from_slice(hash.as_ref());
        }
        Self(bytes.into_boxed_slice())
    }

    /// The key's bytes: at most [`IdentifierKey::MAX_LENGTH`].
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Prints nothing of it: an identifier is patient data.
impl fmt::Debug for IdentifierKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("IdentifierKey([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::IdentifierKey;
    use proptest::prelude::*;

    #[test]
    fn a_missing_system_is_not_an_empty_one() {
        assert_ne!(IdentifierKey::new(None, "1"), IdentifierKey::new(Some(""), "1"));
    }

    #[test]
    fn a_long_identifier_has_a_short_key_of_its_own() {
        let (a, b) = ("a".repeat(5000), "a".repeat(5001));
        let key = IdentifierKey::new(Some("urn:x"), &a);
        assert!(key.as_bytes().len() <= IdentifierKey::MAX_LENGTH);
        assert_eq!(key, IdentifierKey::new(Some("urn:x"), &a));
        assert_ne!(key, IdentifierKey::new(Some("urn:x"), &b));
    }

    #[test]
    fn a_key_prints_nothing_of_the_identifier() {
        let printed = format!("{:?}", IdentifierKey::new(Some("urn:mrn"), "4711"));
        assert_eq!(printed, "IdentifierKey([redacted])");
    }

    proptest! {
        #[test]
        fn keys_are_equal_exactly_when_system_and_value_are(
            a in (proptest::option::of("[ab\u{0}-\u{2}]{0,3}"), "[ab\u{0}-\u{2}]{0,3}"),
            b in (proptest::option::of("[ab\u{0}-\u{2}]{0,3}"), "[ab\u{0}-\u{2}]{0,3}"),
        ) {
            let key = |of: &(Option<String>, String)| IdentifierKey::new(of.0.as_deref(), &of.1);
            prop_assert_eq!(key(&a) == key(&b), a == b);
        }
    }
}
