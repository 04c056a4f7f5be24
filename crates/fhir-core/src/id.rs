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

/// 8-4-4-4-12 lower-case hexadecimal digits.
fn hyphenated(uuid: u128) -> [u8; 36] {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    let mut text = [b'-'; 36];
    let places = (0..36).filter(|place| !matches!(place, 8 | 13 | 18 | 23));
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
}
