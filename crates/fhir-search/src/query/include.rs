//! What is added to the matches: `_include` and `_revinclude` (FHIR R4, 3.1.1.5.4).

use std::sync::Arc;

use fhir_core::ResourceType;

use crate::Parameter;

/// One `_include` or `_revinclude`.
#[derive(Debug, Clone, PartialEq)]
pub struct Include {
    /// Which of the two.
    pub direction: IncludeDirection,
    /// `:iterate`: also from what was included.
    pub iterate: bool,
    /// By which references.
    pub source: IncludeSource,
    /// Only references to resources of this type.
    pub target: Option<ResourceType>,
}

/// Which end of a reference is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IncludeDirection {
    /// What is referred to: `_include`.
    Forward,
    /// What refers: `_revinclude`.
    Reverse,
}

/// The references that are followed.
#[derive(Debug, Clone, PartialEq)]
pub enum IncludeSource {
    /// `*`: every one of every type.
    Everything,
    /// `Type:*`: every one of a type.
    OfType(ResourceType),
    /// `Type:parameter`.
    Parameter(Arc<Parameter>),
}
