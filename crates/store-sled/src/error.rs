//! What can be wrong with a tenant's files.

use std::io;
use std::path::PathBuf;

use store::record::DecodeError;
use store::{DeriveError, ReadError, T};

/// Why a store could not be opened. Nothing was deleted.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The tenant has no proper name.
    #[error("the tenant cannot be named so")]
    InvalidTenant(#[from] store::InvalidTenant),
    /// The directory was written by a newer release.
    #[error(
        "{} has format {found}, this release knows up to {known}; start the release that wrote it \
         or a later one",
        path.display()
    )]
    NewerFormat {
        /// The tenant's directory.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format known here.
        known: u32,
    },
    /// The file that says the format says something else.
    #[error("{} does not name a format", path.display())]
    FormatUnreadable {
        /// The file.
        path: PathBuf,
    },
    /// A log with commits, but nothing that says its format.
    #[error("{} is missing beside a log with commits", path.display())]
    FormatMissing {
        /// The file.
        path: PathBuf,
    },
    /// The log is damaged.
    #[error("the log is damaged")]
    Damaged(#[from] Damage),
    /// A stored version cannot be read as what it must be.
    #[error("what version {resource} of commit {t} bears cannot be derived")]
    Underivable {
        /// The position of its commit.
        t: T,
        /// Its type and id.
        resource: String,
        /// Why not.
        #[source]
        source: DeriveError,
    },
    /// Another process has the store open.
    #[error("{} is in use by another process", path.display())]
    InUse {
        /// The derived state's directory.
        path: PathBuf,
    },
    /// The system does not let the derived state be read, which says nothing against its files.
    #[error("the derived state cannot be read: {reason}")]
    StateUnreadable {
        /// What failed.
        reason: String,
    },
    /// Even a new derived state cannot be written.
    #[error("the derived state cannot be written: {reason}")]
    StateFailed {
        /// What failed.
        reason: String,
    },
    /// A file or directory cannot be used.
    #[error("{} cannot be used", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

/// What [`crate::SledStore::verify`] found wrong first.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The log is damaged.
    #[error("the log is damaged")]
    Damaged(#[from] Damage),
    /// A stored version cannot be read as what it must be.
    #[error("what version {resource} of commit {t} bears cannot be derived")]
    Underivable {
        /// The position of its commit.
        t: T,
        /// Its type and id.
        resource: String,
        /// Why not.
        #[source]
        source: DeriveError,
    },
    /// The derived state does not say where a version lies, or says it wrongly.
    #[error("the derived state does not find version {resource} of commit {t}")]
    PointerLost {
        /// The position of its commit.
        t: T,
        /// Its type and id.
        resource: String,
    },
    /// The derived state does not say who bears an identifier.
    #[error("the derived state does not find {resource} of commit {t} by an identifier")]
    IdentifierLost {
        /// The position of its commit.
        t: T,
        /// Its type and id.
        resource: String,
    },
    /// The derived state has keys for versions that the log has not.
    #[error("the derived state has {found} versions, the log {expected}")]
    KeysBeyondLog {
        /// Versions in the derived state.
        found: u64,
        /// Versions in the log.
        expected: u64,
    },
    /// What the histories of types and of everything are read by is not what the segment has.
    #[error(
        "the history of segment {segment} is not the segment's; remove history/{segment:016}.run, \
         it is made again"
    )]
    HistoryDiffers {
        /// The number of the segment.
        segment: u64,
    },
    /// That cannot be read.
    #[error("the history of segment {segment} cannot be read")]
    HistoryUnreadable {
        /// The number of the segment.
        segment: u64,
        /// Why not.
        #[source]
        source: store::ReadError,
    },
    /// The derived state failed.
    #[error("the derived state failed: {reason}")]
    StateFailed {
        /// What failed.
        reason: String,
    },
    /// The log has another commit where an earlier walk through it ended, or ends before that.
    #[error("the log is not the one that was read before: it has no such commit {after}")]
    OtherLog {
        /// Where the earlier walk ended.
        after: T,
    },
    /// A file or directory cannot be used.
    #[error("{} cannot be used", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

/// A place in the log that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("segment {segment} of the log is damaged at byte {offset}: {lost} is lost")]
pub struct Damage {
    /// The number of the segment.
    pub segment: u64,
    /// Where in the segment, in bytes.
    pub offset: u64,
    /// What cannot be read.
    pub lost: String,
    /// What is wrong there.
    #[source]
    pub flaw: Flaw,
}

/// What is wrong with bytes of the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// The segment's file is not there.
    #[error("the segment is missing")]
    SegmentMissing,
    /// The bytes end before what stands there does.
    #[error("{needed} bytes needed, {available} there")]
    Short {
        /// Bytes needed.
        needed: u64,
        /// Bytes there.
        available: u64,
    },
    /// Something else stands there.
    #[error("the {0} is not one")]
    Magic(&'static str),
    /// The bytes are not those the checksum was made of.
    #[error("the {what} has checksum {stored:08x}, its bytes {computed:08x}")]
    Checksum {
        /// What stands there.
        what: &'static str,
        /// As stored.
        stored: u32,
        /// Of the bytes that are there.
        computed: u32,
    },
    /// A field that cannot be.
    #[error("the {0} is not possible")]
    Field(&'static str),
    /// A segment or commit of another log.
    #[error("it belongs to tenant {0}")]
    OtherTenant(String),
    /// It does not continue what stands before it.
    #[error("it does not follow commit {after}")]
    ChainBroken {
        /// The commit before.
        after: T,
    },
    /// The record of a commit.
    #[error("the record of a commit is not whole")]
    Record(#[source] DecodeError),
    /// A body that is not the one its content hash was made of.
    #[error("a body does not have the hash stored with it")]
    ContentHash,
    /// The block of another version.
    #[error("another version stands there")]
    OtherVersion,
}

impl From<Damage> for ReadError {
    fn from(damage: Damage) -> Self {
        Self::Damaged {
            segment: damage.segment,
            offset: damage.offset,
            lost: damage.lost,
            source: Box::new(damage.flaw),
        }
    }
}
