//! The embedded backend: an append-only log as the truth, sled as a derived view of it.
//!
//! A group of commits is durable once it stands in the log (`frame`, `tail`), findable at once
//! from `memory`, and a little later from sled (`state`), into which the `applier` thread copies
//! behind the commit path. Opening (`open`) replays what sled has not, or everything when
//! sled's files are missing or harmed. docs/storage.md has the layout and the guarantees.
//!
//! Deliberately absent: the lock on the data directory (the binary takes it), what is sealed and
//! purged (the database's), and the files of a backup.

mod applier;
mod audit;
mod blobs;
mod copy;
pub mod disk;
mod error;
#[cfg(test)]
mod faults;
mod fhir_version;
mod frame;
mod history;
mod key_files;
mod keys;
mod layout;
mod memory;
mod mend;
mod open;
mod options;
mod report;
mod reserve;
mod room;
mod scan;
mod sealed;
mod segments;
mod slot;
mod state;
mod store;
mod table;
mod tail;
mod varint;
mod verify;
mod walk;

pub use audit::{
    AuditFiles, AuditOptions, AuditSegment, AuditVerified, OpenAuditError, audit_segments,
    verify_audit,
};
pub use blobs::{NamedBlob, blob_path, list_blobs, read_blob, remove_blob};
pub use copy::{
    LogExtent, Reached, SegmentExtent, cut_after, extent, extent_in_steps, newest_commit,
};
pub use error::{Damage, Flaw, OpenError, VerifyError};
pub use fhir_version::fhir_version;
pub use key_files::KeyFolder;
pub use options::SledStoreOptions;
pub use report::{Cut, OpenReport, Rebuild, VerifyReport};
pub use room::{Room, room};
pub use sealed::holds_sealed;
pub use store::SledStore;
