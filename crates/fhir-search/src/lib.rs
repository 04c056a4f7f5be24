//! FHIR search (FHIR R4 3.1.1): what a query means, what of a resource is indexed, and whether
//! one matches the other.
//!
//! [`Parameters`] are the search parameters of every type, from the definitions of a FHIR version
//! and of packages.
//!
//! No index, clock, network or database here: whoever answers queries from an index must give
//! what this crate's reference meaning gives.

mod parameters;

pub use parameters::{Kind, Parameter, ParameterId, Parameters};
