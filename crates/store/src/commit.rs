//! A commit: the changes that become visible together at one position of the log.

use std::fmt;

use bytes::Bytes;
use fhir_core::{Instant, ResourceId, ResourceType, VersionId};

use crate::{BlobReference, CommitId, ContentHash, IdentifierKey, T, TenantText};

/// One atomic change of the tenant's data. The hash of the commit before and its own are not
/// here: [`crate::record`] computes them from the head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Its position in the log.
    pub t: T,
    /// When; strictly increasing with `t`.
    pub instant: Instant,
    /// Its unique id.
    pub id: CommitId,
    /// The request it answers, when the client named it.
    pub idempotency: Option<Idempotency>,
    /// Whose log it belongs to.
    pub tenant: TenantText,
    /// The FHIR version of the resources in it.
    pub fhir_version: FhirVersion,
    /// What it changes.
    pub kind: CommitKind,
    /// The changed resources, each at most once.
    pub versions: Vec<Version>,
}

/// A client's name for its request, so that a repetition is known as one.
#[derive(Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// The client whose key it is.
    pub client: Box<str>,
    /// The key it sent.
    pub key: Box<str>,
    /// SHA-256 of the request: the same key with another request is refused.
    pub digest: [u8; 32],
}

/// A FHIR version, by the number that the record has for it. Others are reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FhirVersion {
    /// 4.0.1.
    R4 = 1,
    /// 4.3.0.
    R4B = 2,
    /// 5.0.0.
    R5 = 3,
}

/// What a commit changes, by the number that the record has for it. Others are reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum CommitKind {
    /// Versions of resources.
    Resources = 1,
    /// A patient's key is destroyed: the one version is a deletion of the Patient, with the key.
    Purge = 2,
}

/// A new version of one resource.
#[derive(Clone, PartialEq, Eq)]
pub struct Version {
    /// The type.
    pub resource_type: ResourceType,
    /// The id.
    pub id: ResourceId,
    /// The version's number.
    pub version: VersionId,
    /// How it came to be.
    pub flags: VersionFlags,
    /// The key that its body is sealed with; in a purge, the key that is destroyed.
    pub owner: OwnerKeyId,
    /// How its body is coded.
    pub dictionary: BodyCoding,
    /// The hash of `body`: of a blob that of the reference, which has the blob's.
    pub content_hash: ContentHash,
    /// Bytes of the JSON before coding; 0 when deleted.
    pub length: u32,
    /// The body as stored; empty when deleted; a [`BlobReference`] when the flags say so.
    pub body: Bytes,
    /// The identifiers the resource bears. Not in the record: derived from the body.
    pub identifiers: Vec<IdentifierKey>,
}

/// How a version came to be. Unused bits are reserved and zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct VersionFlags(u8);

/// The interaction that made a version, as history shows it (`Bundle.entry.request.method`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Method {
    /// Created under an id of the server's.
    Post = 0,
    /// Created or updated under the id asked for.
    Put = 1,
    /// Patched.
    Patch = 2,
    /// Deleted.
    Delete = 3,
}

impl VersionFlags {
    /// The bit of a version that says the resource is deleted.
    pub const DELETED: u8 = 0b0000_0001;
    /// The bits of the method.
    pub const METHOD: u8 = 0b0000_0110;
    /// The bit of a version whose body is a blob; never of a deletion.
    pub const BLOB: u8 = 0b0000_1000;
    const METHOD_SHIFT: u32 = 1;

    /// The flags of a version made by `method`: deleted exactly when that is DELETE.
    #[must_use]
    pub const fn of(method: Method) -> Self {
        let deleted = match method {
            Method::Delete => Self::DELETED,
            Method::Post | Method::Put | Method::Patch => 0,
        };
        Self(((method as u8) << Self::METHOD_SHIFT) | deleted)
    }

    /// The same of a version whose body is a blob; a deletion has none.
    #[must_use]
    pub const fn with_blob(self) -> Self {
        Self(if self.is_deleted() { self.0 } else { self.0 | Self::BLOB })
    }

    /// The flags with these bits; `None` when a reserved bit is set, when DELETED and the method
    /// disagree, or when a deletion has a blob.
    #[must_use]
    pub fn from_bits(bits: u8) -> Option<Self> {
        let flags = Self(bits);
        let plain = Self::of(flags.method());
        (flags == plain || flags == plain.with_blob()).then_some(flags)
    }

    /// The bits as stored.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Whether the resource is deleted from this version on.
    #[must_use]
    pub const fn is_deleted(self) -> bool {
        self.0 & Self::DELETED != 0
    }

    /// Whether the body that stands in the record is a reference to a blob.
    #[must_use]
    pub const fn is_blob(self) -> bool {
        self.0 & Self::BLOB != 0
    }

    /// The interaction that made the version.
    #[must_use]
    pub const fn method(self) -> Method {
        match (self.0 & Self::METHOD) >> Self::METHOD_SHIFT {
            0 => Method::Post,
            1 => Method::Put,
            2 => Method::Patch,
            _ => Method::Delete,
        }
    }
}

impl Version {
    /// The blob that is its body, if one is.
    #[must_use]
    pub fn blob(&self) -> Option<BlobReference> {
        self.flags.is_blob().then(|| BlobReference::from_bytes(&self.body)).flatten()
    }
}

/// The number of the key that a body is sealed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OwnerKeyId(pub u64);

impl OwnerKeyId {
    /// Not sealed.
    pub const NONE: Self = Self(0);
}

/// How a body is coded: as is, or by zstd. From 2 on, the number is that of the dictionary; which
/// there are, the store does not know. A number never changes its meaning: what was coded under
/// it lies in logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BodyCoding(pub u32);

impl BodyCoding {
    /// Stored as is.
    pub const AS_IS: Self = Self(0);
    /// zstd without a dictionary.
    pub const ZSTD: Self = Self(1);
}

impl FhirVersion {
    /// The version with this number in the record.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::R4),
            2 => Some(Self::R4B),
            3 => Some(Self::R5),
            _ => None,
        }
    }

    /// Its publication and major number: `4.0`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::R4 => "4.0",
            Self::R4B => "4.3",
            Self::R5 => "5.0",
        }
    }

    /// The one that a version like `4.0.1` is of, by its publication and major number; `None` for
    /// those that no record has a number for.
    #[must_use]
    pub fn of(version: &str) -> Option<Self> {
        match version.split('.').take(2).collect::<Vec<_>>()[..] {
            ["4", "0"] => Some(Self::R4),
            ["4", "3"] => Some(Self::R4B),
            ["5", "0"] => Some(Self::R5),
            _ => None,
        }
    }
}

impl CommitKind {
    /// The kind with this number in the record.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Resources),
            2 => Some(Self::Purge),
            _ => None,
        }
    }
}

impl fmt::Debug for VersionFlags {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.method().fmt(formatter)
    }
}

/// Prints neither the body nor identifiers: they are patient data.
impl fmt::Debug for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Version")
            .field("resource_type", &self.resource_type)
            .field("id", &self.id)
            .field("version", &self.version)
            .field("flags", &self.flags)
            .field("owner", &self.owner)
            .field("dictionary", &self.dictionary)
            .field("content_hash", &self.content_hash)
            .field("length", &self.length)
            .field("body bytes", &self.body.len())
            .field("identifiers", &self.identifiers.len())
            .finish()
    }
}

/// Prints neither key nor digest: whoever has them may repeat the request.
impl fmt::Debug for Idempotency {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Idempotency").field("client", &self.client).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{Method, VersionFlags};

    #[test]
    fn flags_keep_the_method_and_say_deleted_for_delete_alone() {
        for (method, deleted) in [
            (Method::Post, false),
            (Method::Put, false),
            (Method::Patch, false),
            (Method::Delete, true),
        ] {
            let flags = VersionFlags::of(method);
            assert_eq!((flags.method(), flags.is_deleted()), (method, deleted));
            assert_eq!(VersionFlags::from_bits(flags.bits()), Some(flags));
            assert!(!flags.is_blob());
            let of_blob = flags.with_blob();
            assert_eq!((of_blob.method(), of_blob.is_blob()), (method, !deleted));
            assert_eq!(VersionFlags::from_bits(of_blob.bits()), Some(of_blob));
        }
    }

    #[test]
    fn reserved_bits_and_contradicting_bits_are_no_flags() {
        let known = (0..=255).filter(|bits| VersionFlags::from_bits(*bits).is_some()).count();
        assert_eq!(known, 7);
    }
}
