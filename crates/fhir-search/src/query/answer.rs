//! How an answer is to look: order, size and form (FHIR R4, 3.1.1.5).

use std::sync::Arc;

use fhir_core::ResourceType;

use crate::Parameter;

/// How much is answered, and in what form. `None` where the request does not say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// `_count`: the most matches on a page, brought below the limit. With nought no resource is
    /// answered, the total alone.
    pub count: Option<u32>,
    /// `_total`.
    pub total: Option<Total>,
    /// `_summary`.
    pub summary: Option<Summary>,
    /// `_elements`: empty when all are asked.
    pub elements: Vec<Element>,
    /// `_contained`.
    pub contained: Contained,
    /// `_containedType`.
    pub contained_match: ContainedMatch,
}

impl Answer {
    /// Whether the number of matches alone is asked.
    #[must_use]
    pub fn is_count_only(&self) -> bool {
        self.count == Some(0) || self.summary == Some(Summary::Count)
    }
}

/// How well the number of matches must be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Total {
    /// Not at all.
    None,
    /// Roughly.
    Estimate,
    /// Exactly.
    Accurate,
}

/// Which elements of a resource are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Summary {
    /// `true`: those that its definition marks as a summary.
    True,
    /// `text`: narrative, id, meta and what is mandatory.
    Text,
    /// `data`: all but the narrative.
    Data,
    /// `count`: no resource, the number of matches alone.
    Count,
    /// `false`: all.
    False,
}

/// An element at the top of a resource that is to be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// The type it is meant for; every type when not given.
    pub resource_type: Option<ResourceType>,
    /// Its name, without the type of a choice. Whether there is such an element is not asked.
    pub name: Box<str>,
}

/// Whether contained resources are searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Contained {
    /// `false`: those that are not contained.
    #[default]
    False,
    /// `true`: contained ones alone.
    True,
    /// `both`.
    Both,
}

/// What is answered when a contained resource matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ContainedMatch {
    /// What contains it.
    #[default]
    Container,
    /// The contained resource itself.
    Contained,
}

/// What matches are ordered by.
#[derive(Debug, Clone, PartialEq)]
pub struct SortKey {
    /// Which values.
    pub by: SortBy,
    /// Which way.
    pub direction: Direction,
}

/// Which values matches are ordered by.
#[derive(Debug, Clone, PartialEq)]
pub enum SortBy {
    /// `_score`: how well they match.
    Score,
    /// A parameter's: that of each type of the query, in the order of [`super::Query::types`].
    Parameter(Vec<Arc<Parameter>>),
}

/// Which way matches are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The least first.
    Ascending,
    /// The greatest first: `-`.
    Descending,
}
