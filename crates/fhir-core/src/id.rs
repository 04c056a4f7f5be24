//! `id`: the logical id of a resource (FHIR R4, 2.24.0.1 Primitive Types).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// 1 to 64 characters of `A-Z a-z 0-9 - .`; cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceId(Arc<str>);

/// The text is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an id has 1 to 64 characters of A-Z a-z 0-9 - and .")]
pub struct InvalidResourceId;

impl ResourceId {
    /// The longest id, in characters.
    pub const MAX_LENGTH: usize = 64;

    /// Reads an id.
    ///
    /// # Errors
    /// [`InvalidResourceId`] when the text is empty, longer than 64 characters, or has another
    /// character than those allowed.
    pub fn new(text: &str) -> Result<Self, InvalidResourceId> {
        if Self::is_valid(text) { Ok(Self(Arc::from(text))) } else { Err(InvalidResourceId) }
    }

    /// The id of a resource that the server names itself: a UUID in its usual form.
    #[must_use]
    pub fn from_uuid(uuid: u128) -> Self {
        let text = hyphenated(uuid);
        Self(Arc::from(std::str::from_utf8(&text).expect("digits and hyphens are ASCII")))
    }

    /// The number of an id that is a UUID in its usual form, in lower case: what
    /// [`ResourceId::from_uuid`] writes, and nothing else.
    #[must_use]
    pub fn as_uuid(&self) -> Option<u128> {
        Self::uuid_of(&self.0)
    }

    /// As [`Self::as_uuid`], of a text.
    #[must_use]
    pub fn uuid_of(text: &str) -> Option<u128> {
        if text.len() != UUID_LENGTH {
            return None;
        }
        let mut uuid = 0;
        for (place, byte) in text.bytes().enumerate() {
            let digit = match (byte, is_hyphen(place)) {
                (b'-', true) => continue,
                (b'0'..=b'9', false) => byte - b'0',
                (b'a'..=b'f', false) => byte - b'a' + 10,
                _ => return None,
            };
            uuid = uuid << 4 | u128::from(digit);
        }
        Some(uuid)
    }

    /// Whether `text` is an id.
    #[must_use]
    pub fn is_valid(text: &str) -> bool {
        (1..=Self::MAX_LENGTH).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.')
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Characters of a UUID.
const UUID_LENGTH: usize = 36;

/// Whether a hyphen stands at this place of a UUID.
const fn is_hyphen(place: usize) -> bool {
    matches!(place, 8 | 13 | 18 | 23)
}

/// 8-4-4-4-12 lower-case hexadecimal digits.
fn hyphenated(uuid: u128) -> [u8; UUID_LENGTH] {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    let mut text = [b'-'; UUID_LENGTH];
    let places = (0..UUID_LENGTH).filter(|place| !is_hyphen(*place));
    let mut rest = uuid;
    for place in places.rev() {
        text[place] = DIGITS[(rest & 0xf) as usize];
        rest >>= 4;
    }
    text
}

impl FromStr for ResourceId {
    type Err = InvalidResourceId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for ResourceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::ResourceId;

    #[test]
    fn ids_are_checked_against_the_standard() {
        // HTTP-004
        for good in ["1", "a-B.9", &"x".repeat(64)] {
            assert_eq!(ResourceId::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "a_b", "a b", "ä", "a/b", "%20", &"x".repeat(65)] {
            assert!(ResourceId::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_id_from_a_uuid_has_its_usual_form() {
        let id = ResourceId::from_uuid(0x0192_0000_0000_7000_8000_0000_0000_00ff);
        assert_eq!(id.as_str(), "01920000-0000-7000-8000-0000000000ff");
        assert!(ResourceId::is_valid(id.as_str()));
    }

    #[test]
    fn a_uuid_is_read_from_its_usual_form_alone() {
        for uuid in [0, 1, u128::MAX, 0x0192_0000_0000_7000_8000_abcd_ef00_00ff] {
            assert_eq!(ResourceId::from_uuid(uuid).as_uuid(), Some(uuid));
        }
        for other in [
            "01920000-0000-7000-8000-0000000000fF",
            "0192000-00000-7000-8000-0000000000ff",
            "01920000-0000-7000-8000-0000000000f-",
            "01920000-0000-7000-8000-0000000000fg",
            "01920000-0000-7000-8000-0000000000f",
            "01920000-0000-7000-8000-0000000000fff",
            "019200000000700080000000000000ff",
        ] {
            assert_eq!(ResourceId::new(other).unwrap().as_uuid(), None, "{other}");
        }
    }
}
