//! FHIR definitions as data: which types there are, what each of their elements holds, and what
//! of a resource names its patient. R4 core (4.0.1) is built in, see [`Schema::r4`].
//!
//! Three forms follow each other. A FHIR package ([`package`]) is what HL7 publishes;
//! [`compile`] takes from it what the product needs, as [`Definitions`]; [`compiled`] writes and
//! reads these as a small file; and [`Schema`] answers questions about them fast. The first two
//! run when a developer runs `cargo xtask definitions`, the last two when the product starts.
//!
//! Profiles, value sets and invariants are not here: a FHIR version's base types only.

pub mod compile;
pub mod compiled;
pub mod definitions;
mod error;
mod expression;
pub mod package;
mod schema;

pub use definitions::{Definitions, PlainPath, TypeKind};
pub use error::SchemaError;
pub use schema::{Element, Kind, Node, Schema};
