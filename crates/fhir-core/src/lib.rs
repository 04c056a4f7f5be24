//! FHIR's small words as types: ids, type names, instants, references, a resource as strictly
//! read JSON, OperationOutcome and Bundle.
//!
//! Plain functions of their inputs: no I/O, no clock, no threads. Which resource types exist is
//! data (`fhir-schema`), so [`ResourceType`] checks syntax alone.

mod door;
mod id;
mod instant;
mod redacted;
mod reference;
mod resource_type;
mod version_id;

pub use door::{Clock, Ids};
pub use id::{InvalidResourceId, ResourceId};
pub use instant::{Instant, InvalidInstant};
pub use redacted::Redacted;
pub use reference::{InvalidReference, Reference, Target};
pub use resource_type::{InvalidResourceType, ResourceType};
pub use version_id::{InvalidVersionId, VersionId};
