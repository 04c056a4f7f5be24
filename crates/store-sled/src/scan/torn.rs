//! How a group that a crash left unfinished looks: its blocks are written in any order, and those
//! that were not still are the zeros that stood there.
//!
//! Groups that others follow were acknowledged, and zeros in them are damage. One group ends with
//! the trailer that its own position and length make; what ends with another one was several.

use std::ops::Range;

use store::T;

use crate::frame::{GROUP_HEADER, GROUP_TRAILER, GroupHeader, MAX_GROUP_COMMITS, TRAILER_MAGIC};

/// The least that a disk writes whole or not at all, in bytes.
pub(super) const BLOCK: u64 = 512;
/// A commit's record has more bytes than this.
const LEAST_RECORD: usize = 64;

/// Whether at most a block of bytes is zeros.
pub(super) fn is_zeros(block: &[u8]) -> bool {
    const ZEROS: &[u8] = &[0; BLOCK as usize];
    block == &ZEROS[..block.len()]
}

/// Whether a block of the disk in which some of `part` of `bytes`, which stand at `offset`, lies
/// is all zeros, as far as `bytes` have it.
pub(super) fn has_empty_block(offset: u64, bytes: &[u8], part: Range<usize>) -> bool {
    let first = usize::try_from(offset % BLOCK).unwrap_or(0);
    let block = BLOCK as usize;
    // Counted from where the block begins in which `bytes` do.
    let (start, end) = ((part.start + first) / block, (part.end + first).div_ceil(block));
    (start..end).any(|number| {
        let from = (number * block).saturating_sub(first);
        let to = ((number + 1) * block - first).min(bytes.len());
        bytes.get(from..to).is_some_and(|block| !block.is_empty() && is_zeros(block))
    })
}

/// Whether `rest`, which stands at `offset`, reaches up to the last byte that is not zero and has
/// blocks that are, may be one group that begins with the commit `first`.
pub(super) fn may_be_one_group(offset: u64, rest: &[u8], first: T) -> bool {
    let trailer = written_of_trailer(offset, rest);
    let is_trailer = trailer.ends_with(TRAILER_MAGIC) || TRAILER_MAGIC.ends_with(trailer);
    let expected = || {
        // The fewer are tried, the less likely it is that another's trailer fits by chance.
        (1..=MAX_GROUP_COMMITS.min(rest.len() / LEAST_RECORD)).any(|commits| {
            let commits = u32::try_from(commits).unwrap_or(u32::MAX);
            let header = GroupHeader { commits, length: rest.len() as u64, first };
            header.trailer().ends_with(trailer)
        })
    };
    match trailer.len() {
        GROUP_TRAILER if is_trailer => expected(),
        _ => !has_group(&rest[1..]) && (!is_trailer || expected()),
    }
}

/// The last bytes of `rest`, as many as a trailer has, without those that stand in a block of
/// zeros.
fn written_of_trailer(offset: u64, rest: &[u8]) -> &[u8] {
    let start = rest.len().saturating_sub(GROUP_TRAILER);
    let end = offset + rest.len() as u64;
    let in_last_block = usize::try_from((end - 1) % BLOCK + 1).unwrap_or(GROUP_TRAILER);
    let boundary = rest.len().saturating_sub(in_last_block);
    if start < boundary && has_empty_block(offset, rest, start..boundary) {
        return &rest[boundary..];
    }
    &rest[start..]
}

/// Whether a group begins anywhere in `bytes`.
fn has_group(bytes: &[u8]) -> bool {
    bytes.windows(GROUP_HEADER).any(|bytes| GroupHeader::decode(bytes).is_ok())
}
