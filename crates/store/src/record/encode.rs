//! From a commit to bytes. Runs in the serial step: appends to the caller's buffers and allocates
//! nothing else.

use std::ops::Range;

use ring::digest::{Context, SHA256};

use super::{EncodeError, FORMAT, FRAME_HEADER, MAX_LENGTH};
use crate::{Commit, CommitHash, T, Version};

/// The frame's fields of fixed width, from format to the hash before, then tenant length,
/// idempotency mark and number of versions.
const FIXED_HEAD: usize = 4 + 8 + 8 + 16 + 32 + 1 + 1 + 4;
/// A block's fields of fixed width, with the lengths of those that are not.
const FIXED_BLOCK: usize = 1 + 1 + 8 + 1 + 8 + 4 + 32 + 4 + 4;

/// How many bytes [`encode`] will append for this commit.
#[must_use]
pub fn length(commit: &Commit) -> usize {
    let idempotency =
        commit.idempotency.as_ref().map_or(0, |of| 2 + of.client.len() + 2 + of.key.len() + 32);
    let head = FRAME_HEADER + FIXED_HEAD + commit.tenant.as_str().len() + idempotency;
    head + commit.versions.iter().map(block_length).sum::<usize>()
}

fn block_length(version: &Version) -> usize {
    FRAME_HEADER
        + FIXED_BLOCK
        + version.resource_type.as_str().len()
        + version.id.as_str().len()
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
    check(commit)?;
    let start = into.len();
    into.extend_from_slice(&[0; FRAME_HEADER]);
    let head = into.len();
    put_head(commit, previous, into);
    let mut context = Context::new(&SHA256);
    context.update(&into[head..]);
    let seed = block_seed(commit.tenant.as_str(), commit.t);
    for version in &commit.versions {
        let block = into.len();
        into.extend_from_slice(&[0; FRAME_HEADER]);
        put_version(version, into);
        context.update(&into[block + FRAME_HEADER..]);
        into.extend_from_slice(&version.body);
        seal(seed, &mut into[block..]);
        blocks.push(block..into.len());
    }
    seal(0, &mut into[start..]);
    let mut hash = CommitHash::ZERO;
    hash.0.copy_from_slice(context.finish().as_ref());
    Ok(hash)
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
    into.extend_from_slice(&[FORMAT, commit.kind as u8, commit.fhir_version as u8, 0]);
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

/// A version's fields up to its body.
fn put_version(version: &Version, into: &mut Vec<u8>) {
    put_short(version.resource_type.as_str(), into);
    put_short(version.id.as_str(), into);
    into.extend_from_slice(&version.version.get().to_le_bytes());
    into.push(version.flags.bits());
    into.extend_from_slice(&version.owner.0.to_le_bytes());
    into.extend_from_slice(&version.dictionary.0.to_le_bytes());
    into.extend_from_slice(&version.content_hash.0);
    into.extend_from_slice(&version.length.to_le_bytes());
    into.extend_from_slice(&length_field(version.body.len()).to_le_bytes());
}

/// Text of at most 64 bytes, which tenant, type and id are by construction.
fn put_short(text: &str, into: &mut Vec<u8>) {
    into.push(u8::try_from(text.len()).expect("tenants, types and ids have at most 64 bytes"));
    into.extend_from_slice(text.as_bytes());
}

fn check(commit: &Commit) -> Result<(), EncodeError> {
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
    fits("the record", length(commit), MAX_LENGTH)
}
