//! The port itself: what a backend does, and what it is told.

use std::error::Error;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use fhir_core::{Instant, ResourceId, ResourceType, VersionId};

use crate::{
    AppendError, BlobError, BlobId, BlobReference, BodyCoding, CloseError, Commit, CommitHash,
    CommitId, CommitKind, Head, HistoryOrder, HistoryVersion, IdentifierKey, OwnerKeyId, Place,
    ReadBlob, ReadError, T, Version, VersionFlags,
};

/// One tenant's log and what finds versions in it.
///
/// Every read takes the position `at` and sees exactly the commits up to it; an `at` beyond the
/// head sees what is durable.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Where the log ends: the last durable commit.
    fn head(&self) -> Head;

    /// Makes a group of commits durable and readable, all of it or nothing. Blocks; called by one
    /// thread at a time. Positions follow the head's without a gap. An empty group does nothing.
    ///
    /// # Errors
    /// Unless it is [`AppendError::Poisoned`], nothing of the group is visible, nor will be after
    /// a restart.
    fn append(&self, group: &[Commit]) -> Result<Head, AppendError>;

    /// Makes a blob durable, under an id that was never used. Blocks; many may be written at once,
    /// and beside appends. A commit that names it is appended after this has answered.
    ///
    /// # Errors
    /// [`AppendError`]: what there is of it then is an orphan.
    fn write_blob(&self, id: BlobId, bytes: &Bytes) -> Result<(), AppendError>;

    /// What is there of a blob, which is still to be compared with the reference: for whoever
    /// does that elsewhere than where bytes are waited for.
    ///
    /// # Errors
    /// [`ReadError::Blob`] when it is not there.
    async fn fetch_blob(&self, reference: &BlobReference) -> Result<Bytes, ReadError>;

    /// A blob, checked to be the one that the reference was made of.
    ///
    /// # Errors
    /// [`ReadError::Blob`] when it is not, or not there.
    async fn blob(&self, reference: &BlobReference) -> Result<Bytes, ReadError> {
        let found = self.fetch_blob(reference).await?;
        let damaged = |source| ReadError::Blob { id: reference.id, source };
        reference.check(&found).map_err(damaged)?;
        Ok(found)
    }

    /// Removes a blob, durably: one that no commit names, or that nobody can open any more. Says
    /// whether it was there. Blocks.
    ///
    /// # Errors
    /// [`BlobError`] when it may still be there.
    fn remove_blob(&self, id: BlobId) -> Result<bool, BlobError>;

    /// Every blob there is, also those that no commit names. Blocks.
    ///
    /// # Errors
    /// [`BlobError`] when that cannot be known.
    fn blobs(&self) -> Result<Vec<BlobId>, BlobError>;

    /// Whether an append can succeed now, as far as that is known without trying.
    fn takes_commits(&self) -> bool {
        true
    }

    /// Why it takes no commits now, for the operator, where it knows more than that.
    fn trouble(&self) -> Option<String> {
        None
    }

    /// Whether so many bytes may be written to the disk beside what is its own, and leave the room
    /// that commits need. Where there is no such bound, all are.
    fn fits(&self, bytes: u64) -> bool {
        let _ = bytes;
        true
    }

    /// The newest version of a resource; a deletion is one.
    ///
    /// # Errors
    /// [`ReadError`] when it cannot be known.
    async fn newest(
        &self,
        resource_type: &ResourceType,
        id: &ResourceId,
        at: T,
    ) -> Result<Option<VersionEntry>, ReadError>;

    /// The version of a resource with this number.
    ///
    /// # Errors
    /// [`ReadError`] when it cannot be known.
    async fn version(
        &self,
        resource_type: &ResourceType,
        id: &ResourceId,
        version: VersionId,
        at: T,
    ) -> Result<Option<VersionEntry>, ReadError>;

    /// All versions of a resource, the newest first.
    ///
    /// # Errors
    /// [`ReadError`] when they cannot be known.
    async fn versions(
        &self,
        resource_type: &ResourceType,
        id: &ResourceId,
        at: T,
    ) -> Result<Vec<VersionEntry>, ReadError>;

    /// The body of a version as it was stored, checked to be whole and that of this tenant, type,
    /// id, version and position. Empty for a deletion; a reference where the entry's flags say
    /// that it is a blob.
    ///
    /// # Errors
    /// [`ReadError`] when it cannot be read or is not what was asked for.
    async fn body(&self, entry: &VersionEntry) -> Result<Bytes, ReadError> {
        Ok(self.stored(entry).await?.bytes)
    }

    /// The same, with what opens it where it is sealed.
    ///
    /// # Errors
    /// [`ReadError`] when it cannot be read or is not what was asked for.
    async fn stored(&self, entry: &VersionEntry) -> Result<StoredBody, ReadError>;

    /// Calls `each` with every version up to `at`, in the log's order. For what no index answers:
    /// it reads all there is, and may block.
    ///
    /// # Errors
    /// [`ReadError`] for the first thing that cannot be read.
    async fn walk(
        &self,
        at: T,
        each: &mut (dyn for<'a> FnMut(Walked<'a>) + Send),
    ) -> Result<(), ReadError>;

    /// The resources that bear this identifier, or bore it in an earlier version, in the order of
    /// their ids: candidates, to be verified on their newest version. A commit bears the name of
    /// the request that it answers in the same way ([`crate::Commit::answers`]).
    ///
    /// # Errors
    /// [`ReadError`] when they cannot be known.
    async fn identified(
        &self,
        resource_type: &ResourceType,
        identifier: &IdentifierKey,
        at: T,
    ) -> Result<Vec<ResourceId>, ReadError>;

    /// Versions in the order of the log: of one type, or of all when `of` is `None`, at the places
    /// in `range`, `most` of them at most. Costs in proportion to what it answers, not to what the
    /// log holds.
    ///
    /// # Errors
    /// [`ReadError`] when they cannot be known.
    async fn history(
        &self,
        of: Option<&ResourceType>,
        range: Range<Place>,
        order: HistoryOrder,
        most: usize,
    ) -> Result<Vec<HistoryVersion>, ReadError>;

    /// How many versions [`Store::history`] has in `range`.
    ///
    /// # Errors
    /// [`ReadError`] when it cannot be known.
    async fn count_history(
        &self,
        of: Option<&ResourceType>,
        range: Range<Place>,
    ) -> Result<u64, ReadError>;

    /// The position of the last commit at or before `instant`; [`T::ZERO`] when there is none.
    ///
    /// # Errors
    /// [`ReadError`] when it cannot be known.
    async fn position_at(&self, instant: Instant) -> Result<T, ReadError>;

    /// The hash of the commit that made a version: by the chain of hashes it tells the log up to
    /// there from every other. `None` where the backend does not say. Reads the whole commit.
    ///
    /// # Errors
    /// [`ReadError`] when the commit cannot be read.
    async fn hash_of_commit(&self, entry: &VersionEntry) -> Result<Option<CommitHash>, ReadError> {
        let _ = entry;
        Ok(None)
    }

    /// Takes no more commits and writes what was still to be written. Blocks; a second call does
    /// nothing. Without it the next open has more to replay, and nothing is lost.
    ///
    /// # Errors
    /// [`CloseError`] when the derived state could not be written.
    fn close(&self) -> Result<(), CloseError>;
}

/// Where a version lies and what is known without reading its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionEntry {
    /// The position of its commit.
    pub t: T,
    /// The instant of its commit (`meta.lastUpdated`).
    pub instant: Instant,
    /// The type.
    pub resource_type: ResourceType,
    /// The id.
    pub id: ResourceId,
    /// The version's number (`meta.versionId`).
    pub version: VersionId,
    /// How it came to be.
    pub flags: VersionFlags,
    /// How its body is coded.
    pub dictionary: BodyCoding,
    /// Bytes of the JSON before coding; 0 when deleted.
    pub length: u32,
    /// Where the backend has it.
    pub location: Location,
}

/// Where a backend has a version: meaningful to that backend alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Location {
    /// The part of the log.
    pub segment: u64,
    /// Where in it.
    pub offset: u64,
    /// How long it is there.
    pub length: u32,
    /// Which of its commit's versions it is, from 0.
    pub ordinal: u32,
    /// How far before it its commit begins.
    pub into_commit: u32,
}

/// A body as it was stored, and where: what a sealed one is opened with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBody {
    /// The key it is sealed with; [`OwnerKeyId::NONE`] when it is not.
    pub owner: OwnerKeyId,
    /// The id of its commit.
    pub commit: CommitId,
    /// Which of the commit's versions it is, from 0.
    pub ordinal: u32,
    /// The body.
    pub bytes: Bytes,
}

/// A version that [`Store::walk`] comes by.
#[derive(Debug, Clone, Copy)]
pub struct Walked<'a> {
    /// The position of its commit.
    pub t: T,
    /// The commit's instant.
    pub instant: Instant,
    /// The commit's id.
    pub commit: CommitId,
    /// What the commit is.
    pub kind: CommitKind,
    /// Which of the commit's versions it is, from 0.
    pub ordinal: u32,
    /// The version; its identifiers are not there.
    pub version: &'a Version,
}

/// Why [`Derive`] could not read a stored version.
pub type DeriveError = Box<dyn Error + Send + Sync>;

/// Tells a backend what it must know of a stored version to find it again. Given by the database
/// at open and asked when the log is replayed; answers what [`crate::Version::identifiers`] held
/// when the version was appended.
pub trait Derive: Send + Sync + 'static {
    /// The identifiers that a version bears.
    ///
    /// # Errors
    /// When the body cannot be decoded or read.
    fn identifiers(
        &self,
        resource_type: &ResourceType,
        coding: BodyCoding,
        length: u32,
        body: &[u8],
    ) -> Result<Vec<IdentifierKey>, DeriveError>;

    /// Whether a version of this type can bear any: where not, its body need not be read.
    fn bears_identifiers(&self, resource_type: &ResourceType) -> bool {
        let _ = resource_type;
        true
    }

    /// The identifiers of a version whose body may be sealed and may be a blob: the one at `ordinal` of
    /// the commit with this id. None of one whose key was destroyed, whose blob is not asked for.
    ///
    /// # Errors
    /// When the body cannot be opened, decoded or read.
    fn identifiers_of(
        &self,
        version: &Version,
        commit: CommitId,
        ordinal: u32,
        blob: ReadBlob<'_>,
    ) -> Result<Vec<IdentifierKey>, DeriveError> {
        let _ = (commit, ordinal);
        let Version { resource_type, dictionary, length, body, .. } = version;
        match version.blob() {
            Some(reference) => {
                self.identifiers(resource_type, *dictionary, *length, &blob(&reference)?)
            }
            None => self.identifiers(resource_type, *dictionary, *length, body),
        }
    }
}
