//! Names of plans. How much a plan lets be asked, the configuration says, not the registry.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A plan's name: 1 to 40 of `a-z 0-9 -`, a letter first.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PlanName(Arc<str>);

/// The text is no plan's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a plan's name has 1 to 40 characters of a-z 0-9 - and begins with a letter")]
pub struct InvalidPlanName;

impl PlanName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PlanName {
    type Err = InvalidPlanName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let valid = (1..=40).contains(&text.len())
            && text.starts_with(|first: char| first.is_ascii_lowercase())
            && text.bytes().all(plain);
        if valid { Ok(Self(Arc::from(text))) } else { Err(InvalidPlanName) }
    }
}

impl TryFrom<String> for PlanName {
    type Error = InvalidPlanName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<PlanName> for String {
    fn from(name: PlanName) -> Self {
        name.as_str().to_owned()
    }
}

impl fmt::Display for PlanName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for PlanName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, formatter)
    }
}
