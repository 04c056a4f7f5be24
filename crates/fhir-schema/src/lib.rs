//! FHIR definitions as data: which types there are, what each of their elements holds, what of a
//! resource names its patient, and what profiles ask. R4 core (4.0.1) is built in.
//!
//! A FHIR package ([`package`]) is what HL7 and others publish. Two things are made of it.
//!
//! [`Schema`] ([`Schema::r4`]) answers fast what may stand where in a resource. It comes from
//! [`Definitions`], the base types, which [`compiled`] keeps as a small file.
//!
//! [`DefinitionSet`] ([`DefinitionSet::r4`]) has every StructureDefinition whole, profiles and
//! extensions among them, with search parameters, compartments and operations, and takes in
//! packages at run time. [`structures_file`] keeps it as a file. Where a package has only a
//! differential, the snapshot is made.
//!
//! [`version_elements`] says which elements the published versions of FHIR have, by path alone.
//!
//! Value sets and code systems are not here: a package's are handed on as they are. Invariants and
//! expressions are text. There is no logic of any type: another FHIR version is other data.

mod builder;
mod coding;
pub mod compile;
pub mod compiled;
pub mod conformance;
mod definition_set;
pub mod definitions;
mod draft;
mod error;
mod expression;
mod interner;
mod merge;
pub mod package;
mod parse;
mod schema;
mod snapshot;
pub mod structure;
pub mod structures_file;
pub mod version;
pub mod version_elements;

pub use definition_set::{DefinitionSet, UnmetDependency};
pub use definitions::{Definitions, PlainPath, TypeKind};
pub use draft::{ElementDraft, StructureSource};
pub use error::SchemaError;
pub use schema::{Element, Kind, Node, Schema};
pub use version_elements::VersionElements;
