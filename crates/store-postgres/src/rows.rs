//! Commits as columns of rows, and rows as versions.

use std::collections::BTreeSet;

use bytes::Bytes;
use fhir_core::{Instant, ResourceId, ResourceType, VersionId};
use store::{
    AppendError, BodyCoding, Commit, CommitId, CommitKind, ContentHash, Head, HistoryVersion,
    Location, MalformedGroup, OwnerKeyId, Place, StoredBody, T, Version, VersionEntry,
    VersionFlags, Walked, record,
};
use tokio_postgres::Row;

use crate::error::Failure;

/// The most bytes of one group.
const MAX_GROUP: u64 = 1 << 30;
/// The most bytes of one body: PostgreSQL keeps copies of it while it stores it, each below 1 GB.
const MAX_BODY: u64 = 256 << 20;
/// A statement inserts no more bytes of bodies than this, but for a single one that is longer.
const CHUNK_BYTES: usize = 16 << 20;
/// Nor more versions.
const CHUNK_ROWS: usize = 10_000;

/// A group, as the statements take it.
pub(crate) struct Rows {
    pub(crate) before: Head,
    pub(crate) after: Head,
    pub(crate) last_id: CommitId,
    pub(crate) commits: CommitColumns,
    pub(crate) versions: Vec<VersionColumns>,
    pub(crate) identifiers: IdentifierColumns,
}

#[derive(Default)]
pub(crate) struct CommitColumns {
    pub(crate) t: Vec<i64>,
    pub(crate) instant: Vec<i64>,
    pub(crate) id: Vec<Vec<u8>>,
    pub(crate) kind: Vec<i16>,
    pub(crate) fhir_version: Vec<i16>,
    pub(crate) client: Vec<Option<Vec<u8>>>,
    pub(crate) key: Vec<Option<Vec<u8>>>,
    pub(crate) digest: Vec<Option<Vec<u8>>>,
    pub(crate) previous: Vec<Vec<u8>>,
    pub(crate) hash: Vec<Vec<u8>>,
    pub(crate) versions: Vec<i32>,
}

#[derive(Default)]
pub(crate) struct VersionColumns {
    pub(crate) resource_type: Vec<String>,
    pub(crate) id: Vec<String>,
    pub(crate) version: Vec<i64>,
    pub(crate) t: Vec<i64>,
    pub(crate) ordinal: Vec<i32>,
    pub(crate) instant: Vec<i64>,
    pub(crate) flags: Vec<i16>,
    pub(crate) owner: Vec<i64>,
    pub(crate) dictionary: Vec<i64>,
    pub(crate) content_hash: Vec<Vec<u8>>,
    pub(crate) length: Vec<i64>,
    pub(crate) body: Vec<Bytes>,
    bytes: usize,
}

#[derive(Default)]
pub(crate) struct IdentifierColumns {
    pub(crate) resource_type: Vec<String>,
    pub(crate) identifier: Vec<Vec<u8>>,
    pub(crate) id: Vec<String>,
    pub(crate) t: Vec<i64>,
}

/// A commit id as it is stored.
pub(crate) fn id_bytes(id: CommitId) -> Vec<u8> {
    id.0.to_be_bytes().to_vec()
}

/// A commit id as it was stored.
pub(crate) fn commit_id(bytes: &[u8]) -> Result<CommitId, Failure> {
    let bytes = bytes.try_into().map_err(|_| Failure::Impossible("commit id"))?;
    Ok(CommitId(u128::from_be_bytes(bytes)))
}

/// A 64-bit number of the port as the same bits in PostgreSQL, which has signed ones alone.
/// Positions and version numbers stay far below the sign.
pub(crate) fn signed(number: u64) -> i64 {
    number.cast_signed()
}

impl Rows {
    /// The rows of `group`, which was judged to follow `head`.
    pub(crate) fn of(group: &[Commit], head: &Head) -> Result<Self, AppendError> {
        check_lengths(group)?;
        let mut rows = Self {
            before: *head,
            after: *head,
            last_id: CommitId(0),
            commits: CommitColumns::default(),
            versions: vec![VersionColumns::default()],
            identifiers: IdentifierColumns::default(),
        };
        let (mut buffer, mut blocks) = (Vec::new(), Vec::new());
        let mut bearers = BTreeSet::new();
        for commit in group {
            buffer.clear();
            blocks.clear();
            let previous = rows.after.hash;
            let hash = record::encode(commit, &previous, &mut buffer, &mut blocks);
            let hash = hash.map_err(|source| {
                AppendError::Malformed(MalformedGroup::Unencodable { t: commit.t, source })
            })?;
            rows.commits.push(commit, previous.0, hash.0);
            if let Some((of, name, bearer)) = commit.answers() {
                // No other commit of the group has this position.
                rows.identifiers.push(commit.t, (&of, &bearer), name.as_bytes());
            }
            for (ordinal, version) in (0..).zip(&commit.versions) {
                rows.chunk(version.body.len()).push(commit, ordinal, version);
                for identifier in &version.identifiers {
                    let key = identifier.as_bytes();
                    if bearers.insert((&version.resource_type, key, &version.id)) {
                        let bearer = (&version.resource_type, &version.id);
                        rows.identifiers.push(commit.t, bearer, key);
                    }
                }
            }
            rows.after = Head { t: commit.t, instant: commit.instant, hash };
            rows.last_id = commit.id;
        }
        Ok(rows)
    }

    /// The columns that one more version with a body of that many bytes goes to.
    fn chunk(&mut self, bytes: usize) -> &mut VersionColumns {
        let last = self.versions.last();
        let is_full = |chunk: &VersionColumns| {
            chunk.t.len() >= CHUNK_ROWS
                || (!chunk.t.is_empty() && chunk.bytes + bytes > CHUNK_BYTES)
        };
        if last.is_none_or(is_full) {
            self.versions.push(VersionColumns::default());
        }
        self.versions.last_mut().expect("one was pushed where there was none")
    }
}

fn check_lengths(group: &[Commit]) -> Result<(), AppendError> {
    let length: u64 = group.iter().map(|commit| record::length(commit) as u64).sum();
    if length > MAX_GROUP {
        return Err(AppendError::TooLarge { length, limit: MAX_GROUP });
    }
    let bodies = group.iter().flat_map(|commit| &commit.versions);
    let longest = bodies.map(|version| version.body.len() as u64).max().unwrap_or(0);
    if longest > MAX_BODY {
        return Err(AppendError::TooLarge { length: longest, limit: MAX_BODY });
    }
    Ok(())
}

impl CommitColumns {
    fn push(&mut self, commit: &Commit, previous: [u8; 32], hash: [u8; 32]) {
        let idempotency = commit.idempotency.as_ref();
        self.t.push(signed(commit.t.get()));
        self.instant.push(commit.instant.as_micros());
        self.id.push(id_bytes(commit.id));
        self.kind.push(commit.kind as i16);
        self.fhir_version.push(commit.fhir_version as i16);
        // Bytes, since PostgreSQL's text takes no NUL.
        self.client.push(idempotency.map(|of| of.client.as_bytes().to_vec()));
        self.key.push(idempotency.map(|of| of.key.as_bytes().to_vec()));
        self.digest.push(idempotency.map(|of| of.digest.to_vec()));
        self.previous.push(previous.to_vec());
        self.hash.push(hash.to_vec());
        let versions = i32::try_from(commit.versions.len());
        self.versions.push(versions.expect("each version has bytes, all fit 1 GB"));
    }
}

impl VersionColumns {
    fn push(&mut self, commit: &Commit, ordinal: i32, version: &Version) {
        self.resource_type.push(version.resource_type.as_str().to_owned());
        self.id.push(version.id.as_str().to_owned());
        self.version.push(signed(version.version.get()));
        self.t.push(signed(commit.t.get()));
        self.ordinal.push(ordinal);
        self.instant.push(commit.instant.as_micros());
        self.flags.push(version.flags.bits().into());
        self.owner.push(signed(version.owner.0));
        self.dictionary.push(version.dictionary.0.into());
        self.content_hash.push(version.content_hash.0.to_vec());
        self.length.push(version.length.into());
        self.body.push(version.body.clone());
        self.bytes += version.body.len();
    }
}

impl IdentifierColumns {
    pub(crate) fn push(&mut self, t: T, bearer: (&ResourceType, &ResourceId), key: &[u8]) {
        self.resource_type.push(bearer.0.as_str().to_owned());
        self.identifier.push(key.to_vec());
        self.id.push(bearer.1.as_str().to_owned());
        self.t.push(signed(t.get()));
    }
}

/// A version's row of NEWEST, VERSION or VERSIONS.
pub(crate) fn entry(
    row: &Row,
    resource_type: &ResourceType,
    id: &ResourceId,
) -> Result<VersionEntry, Failure> {
    let t = row.try_get::<_, i64>(1)?.cast_unsigned();
    let number = |found: i64, field| u32::try_from(found).map_err(|_| Failure::Impossible(field));
    let flags = u8::try_from(row.try_get::<_, i16>(4)?).ok().and_then(VersionFlags::from_bits);
    Ok(VersionEntry {
        t: T::new(t),
        instant: Instant::from_micros(row.try_get(3)?),
        resource_type: resource_type.clone(),
        id: id.clone(),
        version: VersionId::new(row.try_get::<_, i64>(0)?.cast_unsigned())
            .ok_or(Failure::Impossible("version"))?,
        flags: flags.ok_or(Failure::Impossible("flags"))?,
        dictionary: BodyCoding(number(row.try_get(5)?, "dictionary")?),
        length: number(row.try_get(6)?, "length")?,
        location: Location {
            segment: 0,
            offset: t,
            length: 0,
            ordinal: number(row.try_get::<_, i32>(2)?.into(), "ordinal")?,
            into_commit: 0,
        },
    })
}

/// A version's row of WALK.
#[derive(Debug)]
pub(crate) struct WalkedRow {
    pub(crate) t: T,
    instant: Instant,
    pub(crate) commit: CommitId,
    kind: CommitKind,
    pub(crate) ordinal: u32,
    pub(crate) version: Version,
}

impl WalkedRow {
    pub(crate) fn as_walked(&self) -> Walked<'_> {
        let &Self { t, instant, commit, kind, ordinal, ref version } = self;
        Walked { t, instant, commit, kind, ordinal, version }
    }
}

pub(crate) fn walked(row: &Row) -> Result<WalkedRow, Failure> {
    let possible = |field| Failure::Impossible(field);
    let number = |found: i64, field| u32::try_from(found).map_err(|_| possible(field));
    let id: &[u8] = row.try_get(2)?;
    let kind = u8::try_from(row.try_get::<_, i16>(3)?).ok().and_then(CommitKind::from_number);
    let flags = u8::try_from(row.try_get::<_, i16>(8)?).ok().and_then(VersionFlags::from_bits);
    let hash: &[u8] = row.try_get(11)?;
    let body: &[u8] = row.try_get(13)?;
    Ok(WalkedRow {
        t: T::new(row.try_get::<_, i64>(0)?.cast_unsigned()),
        instant: Instant::from_micros(row.try_get(1)?),
        commit: commit_id(id)?,
        kind: kind.ok_or(possible("kind"))?,
        ordinal: number(row.try_get::<_, i32>(4)?.into(), "ordinal")?,
        version: Version {
            resource_type: ResourceType::new(row.try_get(5)?).map_err(|_| possible("type"))?,
            id: ResourceId::new(row.try_get(6)?).map_err(|_| possible("id"))?,
            version: VersionId::new(row.try_get::<_, i64>(7)?.cast_unsigned())
                .ok_or(possible("version"))?,
            flags: flags.ok_or(possible("flags"))?,
            owner: OwnerKeyId(row.try_get::<_, i64>(9)?.cast_unsigned()),
            dictionary: BodyCoding(number(row.try_get(10)?, "dictionary")?),
            content_hash: ContentHash(hash.try_into().map_err(|_| possible("content hash"))?),
            length: number(row.try_get(12)?, "length")?,
            body: Bytes::copy_from_slice(body),
            identifiers: Vec::new(),
        },
    })
}

/// A version's row of a history.
pub(crate) fn history_version(row: &Row) -> Result<HistoryVersion, Failure> {
    let resource_type =
        ResourceType::new(row.try_get(7)?).map_err(|_| Failure::Impossible("type"))?;
    let id = ResourceId::new(row.try_get(8)?).map_err(|_| Failure::Impossible("id"))?;
    let entry = entry(row, &resource_type, &id)?;
    let place = Place { t: entry.t, ordinal: entry.location.ordinal };
    Ok(HistoryVersion { place, entry })
}

/// The body in a row of BODY, if the row is the one that `entry` was made of and is unharmed.
pub(crate) fn body(row: &Row, entry: &VersionEntry) -> Result<Result<StoredBody, Flaw>, Failure> {
    let place = (row.try_get::<_, i64>(0)?, i64::from(row.try_get::<_, i32>(1)?));
    let expected = (signed(entry.location.offset), i64::from(entry.location.ordinal));
    if place != expected || place.0 != signed(entry.t.get()) {
        return Ok(Err(Flaw::OtherVersion));
    }
    let form: (i16, i64, i64) = (row.try_get(2)?, row.try_get(3)?, row.try_get(4)?);
    if form != (entry.flags.bits().into(), entry.dictionary.0.into(), entry.length.into()) {
        return Ok(Err(Flaw::OtherVersion));
    }
    let (hash, body): (&[u8], &[u8]) = (row.try_get(5)?, row.try_get(6)?);
    if ContentHash::of(body).0 != hash {
        return Ok(Err(Flaw::ContentHash));
    }
    Ok(Ok(StoredBody {
        owner: OwnerKeyId(row.try_get::<_, i64>(7)?.cast_unsigned()),
        commit: commit_id(row.try_get(8)?)?,
        ordinal: entry.location.ordinal,
        bytes: Bytes::copy_from_slice(body),
    }))
}

/// What is wrong with a stored version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Flaw {
    /// The row is not there.
    #[error("nothing of that name stands there")]
    Missing,
    /// Another one is.
    #[error("another version stands there")]
    OtherVersion,
    /// It is not the body that was stored.
    #[error("the body does not have the hash stored with it")]
    ContentHash,
}
