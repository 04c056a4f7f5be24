//! What a URL names: one resource, one operation (FHIR R4, 3.1.0.1.2 and 3.2.0).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::{ResourceId, ResourceType};

/// The text does not have the form of this word.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {0}")]
pub struct InvalidName(pub &'static str);

/// The name of an operation with its `$`: a letter, then letters, digits, hyphens and underscores,
/// 64 characters in all.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OperationName(Arc<str>);

/// Type and id of one resource, written `Patient/123`. `Debug` leaves out the id.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Instance {
    /// The type.
    pub resource_type: ResourceType,
    /// The id.
    pub id: ResourceId,
}

impl OperationName {
    /// The name as text, with its `$`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for OperationName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = text.strip_prefix('$').unwrap_or_default();
        let valid = text.len() <= 64
            && name.starts_with(|first: char| first.is_ascii_alphabetic())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        valid.then(|| Self(text.into())).ok_or(InvalidName("operation name"))
    }
}

impl FromStr for Instance {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text
            .split_once('/')
            .and_then(|(resource_type, id)| Some((resource_type.parse().ok()?, id.parse().ok()?)));
        let (resource_type, id) = parts.ok_or(InvalidName("type and id"))?;
        Ok(Self { resource_type, id })
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.resource_type, self.id)
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/[redacted]", self.resource_type)
    }
}
