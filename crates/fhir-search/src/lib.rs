//! FHIR search (FHIR R4 3.1.1): what a query means, what of a resource is indexed, and whether
//! one matches the other.
//!
//! A [`Query`] is what a request asks, read by a [`Reader`] from its parameters, strictly or
//! leniently.
//!
//! [`Parameters`] are the search parameters of every type, from the definitions of a FHIR version
//! and of packages. An [`Extractor`] takes their values from resources: [`IndexValue`]s.
//!
//! [`matches()`] is the reference meaning of a query: whether a resource, as an
//! [`IndexedResource`], satisfies it within a [`World`] of others.
//!
//! No index, clock, network or database here: whoever answers queries from an index must give
//! what this crate's reference meaning gives.

pub mod explain;
mod extract;
mod grammar;
mod matches;
mod parameters;
mod query;
mod value;

pub use extract::{
    ExtractOptions, Extracted, Extractor, Problem, ProblemReason, STEPS_OF_ALL_POSTED, TrialError,
    Unsupported, UnsupportedReason,
};
pub use fhirpath::Decimal;
pub use grammar::{Asked, MalformedForm, Reader, decode_form, encode_form};
pub use matches::{
    BareId, Codes, CodesError, IndexedResource, InvalidSortPosition, NoCodes, SortPosition,
    Unanswerable, Unanswered, Weight, World, asks_for_words, asks_terminology, bare_ids,
    case_counts, check_answerable, holds, is_named, matches, matches_contained, sort_value,
    urls_of, values_asked,
};
pub use parameters::{
    Component, Fingerprint, Flaw, Kind, Origin, Parameter, ParameterId, Parameters, PostedError,
    PostedProblem,
};
pub use query::*;
pub use value::{
    CanonicalQuantity, Composite, DateRange, IndexValue, NumberRange, Position, Quantity,
    Reference, ReferenceTarget, Token, TokenFrom, Zone, type_of_reference,
};
