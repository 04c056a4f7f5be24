//! What of the data a search may find: one more condition in every step that it takes.

use fhir_core::{ResourceId, ResourceType};
use fhir_search::Clause;

/// What a search may find.
#[derive(Debug, Clone, PartialEq)]
pub enum Visible {
    /// Everything.
    Everything,
    /// What one of these shows; with none of them nothing.
    Any(Vec<VisiblePart>),
}

/// A part of the data. All that it says must be so of a resource that it shows.
#[derive(Debug, Clone, PartialEq)]
pub struct VisiblePart {
    /// Of which types.
    pub types: VisibleTypes,
    /// In which compartments.
    pub within: VisibleWithin,
}

impl VisiblePart {
    /// Whether a resource that it shows may come to say something that it does not show. A
    /// resource stays of its type.
    pub(crate) fn may_change(&self) -> bool {
        let has_clauses = match &self.types {
            VisibleTypes::All => false,
            VisibleTypes::These(types) => types.iter().any(|(_, clauses)| !clauses.is_empty()),
        };
        has_clauses || self.within != VisibleWithin::Anywhere
    }
}

/// Of which types resources are shown.
#[derive(Debug, Clone, PartialEq)]
pub enum VisibleTypes {
    /// Of every one.
    All,
    /// Of these, if all clauses hold. They are judged by all data, visible or not.
    These(Vec<(ResourceType, Vec<Clause>)>),
}

/// In which compartments resources are shown.
#[derive(Debug, Clone, PartialEq)]
pub enum VisibleWithin {
    /// In any and in none.
    Anywhere,
    /// In the compartment of one of these resources, as [`crate::Subject::compartments`] said.
    Compartments(Vec<(ResourceType, ResourceId)>),
}
