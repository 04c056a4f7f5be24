//! The port of the system of record: one totally ordered log of commits per tenant, and where
//! each version of each resource lies in it.
//!
//! The log is the truth; everything that finds versions is derived from it and can be rebuilt.
//! A backend implements [`Store`] and passes [`suite`]; [`model`] is the reference backend, in
//! memory. [`record`] is how a commit is written down. [`audit`] is the form and the port of the log
//! of who saw what. docs/storage.md has the layout and the numbered guarantees.
//!
//! Deliberately absent: preconditions, version numbering and time (the database's serial step
//! judges and gives them), search, and any knowledge of what a body says ([`Derive`] asks for
//! what must be known).

pub mod audit;
mod blob;
mod commit;
mod error;
mod group;
mod history;
mod idempotency;
mod identifier;
pub mod keys;
pub mod model;
mod port;
mod position;
pub mod record;
pub mod suite;
mod tenant;

pub use blob::{BLOB_CHUNK, BLOB_FROM, BlobError, BlobFlaw, BlobId, BlobReference, ReadBlob};
pub use commit::{
    BodyCoding, Commit, CommitKind, FhirVersion, Idempotency, Method, OwnerKeyId, Version,
    VersionFlags,
};
pub use error::{AppendError, CloseError, MalformedGroup, ReadError};
pub use group::{judge_group, named_blobs};
pub use history::{HistoryOrder, HistoryVersion, Place, places};
pub use idempotency::Earlier;
pub use identifier::IdentifierKey;
pub use port::{Derive, DeriveError, Location, Store, StoredBody, VersionEntry, Walked};
pub use position::{CommitHash, CommitId, ContentHash, Head, T};
pub use tenant::{InvalidTenant, TenantText};
