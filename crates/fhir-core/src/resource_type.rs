//! The name of a resource type, by syntax: which names exist depends on the FHIR version and is
//! data (`fhir-schema`).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A capital letter, then up to 63 letters: `Patient`; cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceType(Arc<str>);

/// The text cannot be the name of a resource type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a resource type is a capital letter followed by letters")]
pub struct InvalidResourceType;

impl ResourceType {
    /// The longest name taken, in letters (the longest in R4 has 36).
    pub const MAX_LENGTH: usize = 64;

    /// Reads a type name.
    ///
    /// # Errors
    /// [`InvalidResourceType`] when the text is not a capital letter followed by at most 63
    /// letters.
    pub fn new(text: &str) -> Result<Self, InvalidResourceType> {
        if Self::is_valid(text) { Ok(Self(Arc::from(text))) } else { Err(InvalidResourceType) }
    }

    /// Whether `text` has the form of a type name.
    #[must_use]
    pub fn is_valid(text: &str) -> bool {
        text.len() <= Self::MAX_LENGTH
            && text.starts_with(|first: char| first.is_ascii_uppercase())
            && text.bytes().all(|byte| byte.is_ascii_alphabetic())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ResourceType {
    type Err = InvalidResourceType;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

impl fmt::Display for ResourceType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for ResourceType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::ResourceType;

    #[test]
    fn type_names_are_letters_and_begin_with_a_capital() {
        // HTTP-002
        for good in ["Patient", "X", "MedicinalProductUndesirableEffect"] {
            assert_eq!(ResourceType::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "patient", "Patient1", "Pat ient", "Ünit", &"X".repeat(65)] {
            assert!(ResourceType::new(bad).is_err(), "{bad}");
        }
    }
}
