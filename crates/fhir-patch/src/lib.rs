//! Patches of a resource (FHIR R4, 3.1.0.6): JSON Patch ([`JsonPatch`], RFC 6902) and FHIRPath
//! Patch ([`FhirPathPatch`], FHIR R4 fhirpatch.html).
//!
//! A patch is read once and applied to a resource's JSON; what comes out is JSON, with every
//! number and string that was not patched as it was written. All operations are applied or none.
//! Whether the result is a valid resource is not asked here, nor who may write it. How many
//! operations a patch has, how long its result is and how much work it takes are bounded.

mod error;
mod fhirpath_patch;
mod json_patch;
mod kept;
mod number;
mod pointer;
mod tree;

pub use error::{PatchError, PatchProblem};
pub use fhirpath_patch::FhirPathPatch;
pub use json_patch::JsonPatch;
pub use kept::check_kept;

/// How many bytes the result of a patch may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Of the result as compact JSON.
    pub bytes: usize,
}
