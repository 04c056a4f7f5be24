//! Validation of FHIR resources (FHIR R4, 2.10): a resource and profiles in, a list of issues out.
//!
//! A [`Validator`] compiles each StructureDefinition once, when it is first needed, into a
//! program: elements resolved, patterns read, invariants compiled by `fhirpath`. Validation then
//! walks the borrowed JSON. What is wrong becomes an [`Issue`] with place, rule and mend; bad FHIR
//! is never an error of the validator.
//!
//! How much is asked is the caller's: [`Depth`]. No clock, network, threads or file system here:
//! references are resolved within the resource and its Bundle alone, and terminology that is not
//! loaded is told as not checked. Questionnaire answers against their Questionnaire (R4 2.10.1),
//! `$validate` and what becomes of an invalid resource are not here.

mod binding;
mod bounds;
mod bundle;
mod comments;
mod cross_version;
mod documents;
mod errata;
mod extensions;
mod host;
mod issue;
mod markup;
mod names;
mod narrative;
mod options;
mod primitive;
mod profile;
mod program;
mod references;
mod resources;
mod slicing;
mod structures;
mod template;
mod text;
mod validator;
mod value_sets;
mod vital_signs;
mod walk;

pub use errata::{BindingErratum, Correction, Erratum, Native, binding_errata, errata};
pub use issue::{Issue, Place};
pub use options::{
    BestPractices, Comments, Contained, Depth, ExampleUrls, Html, Options, OtherEntries, SentIn,
    Targets, UnknownExtensions, VitalSigns, WrongDisplays,
};
pub use validator::Validator;
