//! FHIR's terminology as a library (FHIR R4, 4.1 to 4.10): code systems, value sets and concept
//! maps, and the questions that one asks them.
//!
//! A [`Terminology`] is layers of definitions: R4 core built in ([`Terminology::r4`]), packages
//! and a tenant's own on top ([`Layer`]). A value set is resolved once ([`Terminology::resolve`]),
//! and then says of a code whether it is in it ([`ResolvedSet::check`]), validates it with its
//! display ([`ResolvedSet::validate`]) and lists its codes ([`ResolvedSet::expand`]). `$lookup`,
//! `$subsumes` and `$translate` have a file each; [`operations`] are all of them from Parameters
//! to Parameters.
//!
//! What is not here is *not known*, never an error: SNOMED CT, LOINC and RxNorm have no loaders
//! yet. No clock, no network, no threads; `$closure` and `$find-matches` are not offered.

mod canonical;
mod code_system;
mod concept_map;
mod error;
mod expand;
mod filter;
mod grammar;
mod implicit;
mod kept;
mod layer;
mod lookup;
pub mod operations;
pub mod pack;
mod read_code_system;
mod resolve;
mod resolved;
mod supplement;
mod tables;
mod terminology;
mod text;
mod translate;
mod validate;
mod value_set;

pub use canonical::{Canonical, compare_versions};
pub use code_system::{
    CodeSystem, ConceptIndex, Content, Designation, Hierarchy, Naming, PropertyDefinition,
    PropertyValue, Status,
};
pub use concept_map::{ConceptMap, Dependency, Element, Group, Target, Unmapped, read_concept_map};
pub use error::TerminologyError;
pub use expand::{Contains, ExpandRequest, Expansion, ExpansionLimits, NESTING_DEPTH, Nesting};
pub use grammar::{FormFault, Grammar, form_fault};
pub use kept::CANONICAL_BYTES;
pub use layer::{Entry, Kind, Layer};
pub use lookup::{Found, Looked, Subsumption, subsumes};
pub use read_code_system::read_code_system;
pub use resolve::IMPORT_DEPTH;
pub use resolved::{Member, Membership, Pins, ResolvedSet};
pub use terminology::{KnownSystem, Terminology, r4_source};
pub use text::{Languages, TextFilter, fold};
pub use translate::{Direction, Match, TranslateRequest};
pub use validate::{
    Abstracts, Coding, Displays, Finding, FindingKind, ValidateOptions, Validation, Verdict,
    validate_in, validate_in_code_system,
};
pub use value_set::{Filter, Include, ListedConcept, ListedDesignation, ValueSet, read_value_set};
