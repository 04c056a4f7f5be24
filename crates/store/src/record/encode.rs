//! From a commit to bytes. Runs in the serial step: appends to the caller's buffers and allocates
//! nothing else.

use std::ops::Range;

use ring::digest::{Context, SHA256};

use super::{EncodeError, FRAME_HEADER, Format, MAX_LENGTH, PACKED, UUID_BYTES};
use crate::{Commit, CommitHash, T, Version};
use fhir_core::ResourceId;

/// The frame's fields of fixed width, from format to the hash before, then tenant length,
/// idempotency mark and number of versions.
const FIXED_HEAD: usize = 4 + 8 + 8 + 16 + 32 + 1 + 1 + 4;
/// A block's fields of fixed width, with the lengths of those that are not.
const FIXED_BLOCK: usize = 1 + 1 + 8 + 1 + 8 + 4 + 32 + 4 + 4;

/// How many bytes [`encode`] will append for this commit.
#[must_use]
pub fn length(commit: &Commit) -> usize {
    length_in(Format::NEWEST, commit)
}

fn length_in(format: Format, commit: &Commit) -> usize {
    let idempotency =
        commit.idempotency.as_ref().map_or(0, |of| 2 + of.client.len() + 2 + of.key.len() + 32);
    let head = FRAME_HEADER + FIXED_HEAD + commit.tenant.as_str().len() + idempotency;
    head + commit.versions.iter().map(|version| block_length(format, version)).sum::<usize>()
}

fn block_length(format: Format, version: &Version) -> usize {
    FRAME_HEADER
        + FIXED_BLOCK
        + version.resource_type.as_str().len()
        + format.packed(&version.id).map_or(version.id.as_str().len(), |_| UUID_BYTES)
        + version.body.len()
}

/// Appends the record of `commit`, which follows the commit with the hash `previous`, to `into`,
/// and where in `into` each version's block lies to `blocks`. Returns the commit's hash.
///
/// # Errors
/// [`EncodeError`] when a field does not fit; `into` and `blocks` are then as they were.
pub fn encode(
    commit: &Commit,
    previous: &CommitHash,
    into: &mut Vec<u8>,
    blocks: &mut Vec<Range<usize>>,
) -> Result<CommitHash, EncodeError> {
    encode_in(Format::NEWEST, commit, previous, into, blocks)
}

/// As [`encode`], in the format of a record that was read: its bytes come out again. The hash does
/// not depend on the format.
///
/// # Errors
/// As [`encode`].
pub fn encode_in(
    format: Format,
    commit: &Commit,
    previous: &CommitHash,
    into: &mut Vec<u8>,
    blocks: &mut Vec<Range<usize>>,
) -> Result<CommitHash, EncodeError> {
    check(format, commit)?;
    let start = into.len();
    into.extend_from_slice(&[0; FRAME_HEADER]);
    let head = into.len();
    into.push(format as u8);
    put_head(commit, previous, into);
    let mut context = hash_of_head(&into[head + 1..]);
    let seed = block_seed(commit.tenant.as_str(), commit.t);
    for version in &commit.versions {
        let block = into.len();
        into.extend_from_slice(&[0; FRAME_HEADER]);
        put_version(format, version, into, &mut context);
        into.extend_from_slice(&version.body);
        seal(seed, &mut into[block..]);
        blocks.push(block..into.len());
    }
    seal(0, &mut into[start..]);
    let mut hash = CommitHash::ZERO;
    hash.0.copy_from_slice(context.finish().as_ref());
    Ok(hash)
}

/// The hash of a commit, of which `head` is what follows the format: it is that of format 1,
/// whatever the record's own is.
pub(super) fn hash_of_head(head: &[u8]) -> Context {
    let mut context = Context::new(&SHA256);
    context.update(&[Format::One as u8]);
    context.update(head);
    context
}

/// Takes an id into a commit's hash: always as text.
pub(super) fn hash_id(id: &str, context: &mut Context) {
    context.update(&[short_length(id)]);
    context.update(id.as_bytes());
}

/// What the checksum of every block of a commit begins with.
pub(super) fn block_seed(tenant: &str, t: T) -> u32 {
    let length = [u8::try_from(tenant.len()).unwrap_or(u8::MAX)];
    let seed = crc32c::crc32c_append(crc32c::crc32c(&length), tenant.as_bytes());
    crc32c::crc32c_append(seed, &t.get().to_le_bytes())
}

/// The checksum of a frame or block: over its length and what follows the checksum.
pub(super) fn checksum(seed: u32, framed: &[u8]) -> u32 {
    let seed = crc32c::crc32c_append(seed, &framed[..4]);
    crc32c::crc32c_append(seed, &framed[FRAME_HEADER..])
}

/// Fills in the length and checksum in front of a frame or block.
fn seal(seed: u32, framed: &mut [u8]) {
    let length = length_field(framed.len() - FRAME_HEADER);
    framed[..4].copy_from_slice(&length.to_le_bytes());
    let checksum = checksum(seed, framed);
    framed[4..FRAME_HEADER].copy_from_slice(&checksum.to_le_bytes());
}

fn length_field(length: usize) -> u32 {
    u32::try_from(length).expect("check() held the record below MAX_LENGTH")
}

fn put_head(commit: &Commit, previous: &CommitHash, into: &mut Vec<u8>) {
    into.extend_from_slice(&[commit.kind as u8, commit.fhir_version as u8, 0]);
    into.extend_from_slice(&commit.t.get().to_le_bytes());
    into.extend_from_slice(&commit.instant.as_micros().to_le_bytes());
    into.extend_from_slice(&commit.id.0.to_le_bytes());
    into.extend_from_slice(&previous.0);
    put_short(commit.tenant.as_str(), into);
    match &commit.idempotency {
        None => into.push(0),
        Some(idempotency) => {
            into.push(1);
            for text in [&idempotency.client, &idempotency.key] {
                let length = u16::try_from(text.len()).expect("check() held it below 64 KB");
                into.extend_from_slice(&length.to_le_bytes());
                into.extend_from_slice(text.as_bytes());
            }
            into.extend_from_slice(&idempotency.digest);
        }
    }
    into.extend_from_slice(&length_field(commit.versions.len()).to_le_bytes());
}

/// A version's fields up to its body, to the record and to the hash.
fn put_version(format: Format, version: &Version, into: &mut Vec<u8>, context: &mut Context) {
    let start = into.len();
    put_short(version.resource_type.as_str(), into);
    context.update(&into[start..]);
    put_id(format, &version.id, into);
    hash_id(version.id.as_str(), context);
    let start = into.len();
    into.extend_from_slice(&version.version.get().to_le_bytes());
    into.push(version.flags.bits());
    into.extend_from_slice(&version.owner.0.to_le_bytes());
    into.extend_from_slice(&version.dictionary.0.to_le_bytes());
    into.extend_from_slice(&version.content_hash.0);
    into.extend_from_slice(&version.length.to_le_bytes());
    into.extend_from_slice(&length_field(version.body.len()).to_le_bytes());
    context.update(&into[start..]);
}

fn put_id(format: Format, id: &ResourceId, into: &mut Vec<u8>) {
    match format.packed(id) {
        Some(uuid) => {
            into.push(PACKED);
            into.extend_from_slice(&uuid.to_be_bytes());
        }
        None => put_short(id.as_str(), into),
    }
}

/// Text of at most 64 bytes, which tenant, type and id are by construction.
fn put_short(text: &str, into: &mut Vec<u8>) {
    into.push(short_length(text));
    into.extend_from_slice(text.as_bytes());
}

fn short_length(text: &str) -> u8 {
    u8::try_from(text.len()).expect("tenants, types and ids have at most 64 bytes")
}

fn check(format: Format, commit: &Commit) -> Result<(), EncodeError> {
    let fits = |field, length: usize, limit: usize| {
        if length > limit {
            return Err(EncodeError::FieldTooLong { field, length, limit });
        }
        Ok(())
    };
    if let Some(idempotency) = &commit.idempotency {
        let limit = usize::from(u16::MAX);
        fits("idempotency client", idempotency.client.len(), limit)?;
        fits("idempotency key", idempotency.key.len(), limit)?;
    }
    let bodiless = |version: &Version| version.body.is_empty() && version.length == 0;
    if !commit.versions.iter().all(|version| !version.flags.is_deleted() || bodiless(version)) {
        return Err(EncodeError::BodyOfDeleted);
    }
    let blobs = commit.versions.iter().filter(|version| version.flags.is_blob());
    if blobs.into_iter().any(|version| version.blob().is_none()) {
        return Err(EncodeError::NoBlobReference);
    }
    fits("the record", length_in(format, commit), MAX_LENGTH)
}
