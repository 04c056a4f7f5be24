//! What a search asks (FHIR R4, 3.1.1), read from a request and understood: which types, what
//! must hold of a resource, and how the answer is to look.
//!
//! Everything in a [`Query`] has been looked up and cannot be wrong: parameters exist, values are
//! of their kind, limits are kept. What it means for a resource is not said here, except that
//! each test on a value has a `holds`, so that everyone who compares compares alike.

mod answer;
mod clause;
mod composite;
mod date;
mod error;
mod include;
mod limits;
mod near;
mod number;
mod prefix;
mod quantity;
mod reference;
mod string;
mod text;
mod token;
mod uri;
mod uses;

pub use answer::Total;
pub use answer::{Answer, Contained, ContainedMatch, Direction, Element, SortBy, SortKey, Summary};
pub use clause::{Chain, Clause, Has, Sense, Test, ValueClause};
pub use composite::CompositeTest;
pub use date::DateTest;
pub use error::{Place, QueryError, QueryProblem};
pub use include::{Include, IncludeDirection, IncludeSource};
pub use limits::{Handling, Limits};
pub use near::NearTest;
pub use number::NumberTest;
pub use prefix::Prefix;
pub use quantity::{QuantityTest, UCUM, UnitTest};
pub use reference::{Hierarchy, ReferenceTest};
pub use string::{StringMatch, StringTest, fold, from_words};
pub use text::TextTest;
pub use token::{SystemTest, TokenTest};
pub use uri::UriTest;

use std::sync::Arc;

use fhir_core::{ResourceId, ResourceType};

use crate::Parameter;
use crate::grammar::encode_form;

/// A search that has been read and understood.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// What must hold of the resources of each type that is asked; no type twice.
    pub types: Vec<TypeQuery>,
    /// The compartment that the resources must be in.
    pub compartment: Option<Compartment>,
    /// In what order matches come; ties go by their place in the log.
    pub sort: Vec<SortKey>,
    /// What is added to the matches.
    pub includes: Vec<Include>,
    /// How much is answered, and in what form.
    pub answer: Answer,
    /// The parameters as they were used, in the order of the request; what was ignored is not
    /// among them.
    pub applied: Vec<Applied>,
    /// What was not used, and why. Empty with strict handling.
    pub ignored: Vec<QueryError>,
}

/// What must hold of the resources of one type.
#[derive(Debug, Clone, PartialEq)]
pub struct TypeQuery {
    /// The type.
    pub resource_type: ResourceType,
    /// All of these must hold.
    pub clauses: Vec<Clause>,
    /// With a compartment: what puts a resource of this type into it.
    pub membership: Option<Membership>,
}

/// A compartment (FHIR R4, 5.4): `Patient/1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compartment {
    /// `Patient`, `Encounter`, ….
    pub resource_type: ResourceType,
    /// The id of the resource that the compartment is about.
    pub id: ResourceId,
}

/// What puts a resource into a compartment: one of these suffices.
#[derive(Debug, Clone, PartialEq)]
pub struct Membership {
    /// References to the resource that the compartment is about.
    pub parameters: Vec<Arc<Parameter>>,
    /// Whether that resource itself is of this type, and so in its own compartment.
    pub itself: bool,
}

/// A parameter as it was used: decoded, but with its escapes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The name with modifiers and chain.
    pub name: Box<str>,
    /// The value, without the parts that were ignored.
    pub value: Box<str>,
}

impl Query {
    /// The query as it was understood, for a link that asks it again: what a server puts after
    /// the question mark of `self`.
    #[must_use]
    pub fn to_query_string(&self) -> String {
        encode_form(self.applied.iter().map(|it| (&*it.name, &*it.value)))
    }
}
