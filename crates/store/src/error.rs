//! What can keep a store from appending, reading or closing.

use std::io;

use crate::record::EncodeError;
use crate::{BlobFlaw, BlobId, T};

/// Why a group was not appended. But for [`AppendError::Poisoned`], none of it is visible now or
/// after a restart.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The group does not follow the head.
    #[error("the log's head is {head}, the group begins at {first}")]
    HeadMoved {
        /// The position of the head.
        head: T,
        /// The position of the group's first commit.
        first: T,
    },
    /// The group breaks a rule of the log: a fault of the caller.
    #[error("the group cannot stand in this log")]
    Malformed(#[source] MalformedGroup),
    /// A commit or the group is longer than the log takes.
    #[error("{length} bytes are more than the {limit} that one append takes")]
    TooLarge {
        /// How long it is, in bytes.
        length: u64,
        /// How long it may be, in bytes.
        limit: u64,
    },
    /// The group has more commits than one may have. Nothing was written.
    #[error("a group of {commits} commits was refused: {limit} may be in one")]
    TooMany {
        /// How many there are.
        commits: usize,
        /// How many there may be.
        limit: usize,
    },
    /// No room on the disk, or in its quota.
    #[error("the disk is full")]
    DiskFull,
    /// The file system takes no writes.
    #[error("the file system is read-only")]
    ReadOnly,
    /// It is unknown what is on the disk: an fsync failed now or before, or a failed write could
    /// not be cut off again. Nothing more is acknowledged until the store is opened anew.
    #[error("the log takes no more commits since what is on the disk is unknown")]
    Poisoned(#[source] Option<io::Error>),
    /// The derived state failed. It is being put right, or else the next open does that.
    #[error("the derived state failed and is being put right: {reason}")]
    StateFailed {
        /// What failed.
        reason: String,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// The write failed otherwise.
    #[error("the log cannot be written")]
    Io(#[source] io::Error),
}

/// A rule of the log that a group breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MalformedGroup {
    /// Positions are not consecutive.
    #[error("commit {found} stands where {expected} must")]
    NotConsecutive {
        /// The position that must follow.
        expected: T,
        /// The one that does.
        found: T,
    },
    /// Instants do not grow.
    #[error("the instant of commit {t} is not after that of the commit before it")]
    InstantNotAfter {
        /// The commit's position.
        t: T,
    },
    /// A commit of another tenant.
    #[error("commit {t} is of another tenant")]
    OtherTenant {
        /// The commit's position.
        t: T,
    },
    /// One resource changed twice at one position.
    #[error("commit {t} changes {resource} twice")]
    ResourceTwice {
        /// The commit's position.
        t: T,
        /// Its type and id.
        resource: String,
    },
    /// A blob that was not written before, or not as the commit says.
    #[error("commit {t} names the blob {blob}, which is not there")]
    BlobMissing {
        /// The commit's position.
        t: T,
        /// The blob.
        blob: BlobId,
    },
    /// A field that the record cannot hold.
    #[error("commit {t} cannot be written down")]
    Unencodable {
        /// The commit's position.
        t: T,
        /// What does not fit.
        #[source]
        source: EncodeError,
    },
}

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The log is damaged there.
    #[error("segment {segment} of the log is damaged at byte {offset}: {lost} is lost")]
    Damaged {
        /// The number of the segment.
        segment: u64,
        /// Where in the segment, in bytes.
        offset: u64,
        /// What cannot be read.
        lost: String,
        /// What is wrong there.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The log cannot be read there.
    #[error("segment {segment} of the log cannot be read at byte {offset}")]
    Io {
        /// The number of the segment.
        segment: u64,
        /// Where in the segment, in bytes.
        offset: u64,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// A blob is not as it was written.
    #[error("blob {id} is damaged: the body that it holds is lost")]
    Blob {
        /// Which.
        id: BlobId,
        /// What is wrong with it.
        #[source]
        source: BlobFlaw,
    },
    /// A blob cannot be read.
    #[error("blob {id} cannot be read")]
    BlobIo {
        /// Which.
        id: BlobId,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The derived state failed. Opening the store anew rebuilds it.
    #[error("the derived state failed and is being put right: {reason}")]
    StateFailed {
        /// What failed.
        reason: String,
    },
}

/// Why closing did not end well. The log is whole; the derived state is rebuilt where it is not.
#[derive(Debug, thiserror::Error)]
pub enum CloseError {
    /// The derived state could not be written.
    #[error("the derived state could not be written: {reason}")]
    StateFailed {
        /// What failed.
        reason: String,
    },
}
