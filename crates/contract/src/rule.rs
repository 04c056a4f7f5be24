//! A rule: which types, what may be done, within which part of the data.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use fhir_core::{ResourceId, ResourceType};
use serde::{Deserialize, Serialize};

use crate::{Actions, Instance, InvalidName, json};

/// One rule of a grant; the union of its rules is what it allows. A member unknown here could
/// narrow the rule, so a rule that has one is refused, whatever `critical` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// The types it speaks of.
    pub types: Types,
    /// What may be done to them.
    pub actions: Actions,
    /// In which part of the data.
    #[serde(with = "json")]
    pub within: Within,
    /// Search criteria that a resource must match as well, such as `category=laboratory`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Security labels, `system|code`, that a resource must not carry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub without_labels: Vec<String>,
}

/// Types by name, or all; on the wire a list of names, or `["*"]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub enum Types {
    /// Every type.
    All,
    /// These.
    Only(BTreeSet<ResourceType>),
}

/// A part of the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Within {
    /// `all`
    All,
    /// `compartment(Patient/123)`: the compartment of that instance.
    Compartment(Instance),
    /// `group(Group/1)`: the compartments of the members of that Group.
    Group(ResourceId),
    /// `careTeamOf(user)`: the compartments of the patients in whose care teams `fhirUser` is.
    CareTeamOf,
    /// `own`: what the caller made itself.
    Own,
}

impl Rule {
    /// Everything of these types, for these actions.
    #[must_use]
    pub const fn within_all(types: Types, actions: Actions) -> Self {
        Self { types, actions, within: Within::All, filter: None, without_labels: Vec::new() }
    }

    /// Whether nothing of its types is out of the rule's reach.
    #[must_use]
    pub fn is_unrestricted(&self) -> bool {
        self.within == Within::All && self.filter.is_none() && self.without_labels.is_empty()
    }
}

impl Types {
    /// Whether this type, or with `None` any type, is among them.
    #[must_use]
    pub fn touch(&self, resource_type: Option<&ResourceType>) -> bool {
        match (self, resource_type) {
            (Self::Only(types), Some(resource_type)) => types.contains(resource_type),
            _ => true,
        }
    }
}

impl TryFrom<Vec<String>> for Types {
    type Error = InvalidName;

    fn try_from(names: Vec<String>) -> Result<Self, Self::Error> {
        if names == ["*"] {
            return Ok(Self::All);
        }
        let types: Result<_, _> = names.iter().map(|name| name.parse()).collect();
        types.map(Self::Only).map_err(|_| InvalidName("list of types"))
    }
}

impl From<Types> for Vec<String> {
    fn from(types: Types) -> Self {
        match types {
            Types::All => vec!["*".to_owned()],
            Types::Only(types) => types.iter().map(ToString::to_string).collect(),
        }
    }
}

impl fmt::Display for Within {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => formatter.write_str("all"),
            Self::Compartment(instance) => write!(formatter, "compartment({instance})"),
            Self::Group(id) => write!(formatter, "group(Group/{id})"),
            Self::CareTeamOf => formatter.write_str("careTeamOf(user)"),
            Self::Own => formatter.write_str("own"),
        }
    }
}

impl FromStr for Within {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let inner = |word| text.strip_prefix(word)?.strip_suffix(')');
        let invalid = InvalidName("part of the data");
        match text {
            "all" => return Ok(Self::All),
            "own" => return Ok(Self::Own),
            "careTeamOf(user)" => return Ok(Self::CareTeamOf),
            _ => {}
        }
        if let Some(id) = inner("group(Group/") {
            return id.parse().map(Self::Group).map_err(|_| invalid);
        }
        let instance = inner("compartment(").ok_or(invalid)?;
        instance.parse().map(Self::Compartment)
    }
}
