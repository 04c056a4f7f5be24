//! FHIR's small words as types: ids, type names, instants, references, a resource as strictly
//! read JSON, OperationOutcome and Bundle.
//!
//! Plain functions of their inputs: no I/O, no clock, no threads. Which resource types exist is
//! data (`fhir-schema`), so [`ResourceType`] checks syntax alone.

mod bundle;
mod classify;
mod door;
mod id;
mod instance;
mod instant;
mod interaction;
pub mod json;
mod lines;
mod outcome;
mod redacted;
mod reference;
mod resource;
mod resource_type;
mod version_id;

pub use bundle::{Bundle, BundleEntry, BundleRequest, BundleType, MalformedBundle};
pub use classify::NotFhir;
pub use door::{Clock, Ids};
pub use id::{InvalidResourceId, ResourceId};
pub use instance::{Instance, InvalidName, OperationName};
pub use instant::{Instant, InvalidInstant, days_from_civil, days_in_month};
pub use interaction::{Interaction, Level};
pub use lines::Lines;
pub use outcome::{
    Issue, IssueCode, OperationOutcome, Position, RULE_SYSTEM, Severity, UnknownCode,
};
pub use redacted::Redacted;
pub use reference::{InvalidReference, Reference, Target};
pub use resource::{InvalidResource, Resource};
pub use resource_type::{InvalidResourceType, ResourceType};
pub use version_id::{InvalidVersionId, VersionId};
