//! What appending needs: a group as it will stand in the log, and its keys. That it is appended, and
//! where there is room, the store sees to.

use std::ops::Range;

use store::record;
use store::{AppendError, Commit, CommitHash, Head, MalformedGroup, T};

use crate::frame::{GROUP_HEADER, GROUP_TRAILER, GroupHeader, MAX_GROUP_COMMITS};
use crate::table::{Unit, UnitBuilder};
use crate::tail::Tail;

/// The most bytes of one group.
const MAX_GROUP: u64 = 1 << 30;

/// A buffer that grew beyond this for a large group is not kept.
const KEPT_BUFFER: usize = 8 << 20;

/// What appending needs, reused from group to group.
pub(super) struct Writer {
    pub(super) tail: Tail,
    pub(super) buffer: Vec<u8>,
    pub(super) blocks: Vec<Range<usize>>,
    pub(super) hashes: Vec<CommitHash>,
    /// Where each commit's record begins in the buffer.
    pub(super) starts: Vec<usize>,
}

impl Writer {
    /// Writes the group into the buffer, as it will stand in the log. Returns its length.
    pub(super) fn encode(
        &mut self,
        first: T,
        head: Head,
        group: &[Commit],
    ) -> Result<usize, AppendError> {
        if group.len() > MAX_GROUP_COMMITS {
            let (commits, limit) = (group.len(), MAX_GROUP_COMMITS);
            return Err(AppendError::TooMany { commits, limit });
        }
        let framing = GROUP_HEADER + GROUP_TRAILER;
        let length = framing + group.iter().map(record::length).sum::<usize>();
        if length as u64 > MAX_GROUP {
            return Err(AppendError::TooLarge { length: length as u64, limit: MAX_GROUP });
        }
        self.buffer.clear();
        self.blocks.clear();
        self.hashes.clear();
        self.starts.clear();
        self.buffer.reserve(length);
        let commits = u32::try_from(group.len()).expect("each commit has bytes, all fit 1 GB");
        let header = GroupHeader { commits, length: length as u64, first };
        self.buffer.extend_from_slice(&header.encode());
        let mut previous = head.hash;
        for commit in group {
            self.starts.push(self.buffer.len());
            let hash = record::encode(commit, &previous, &mut self.buffer, &mut self.blocks);
            previous = hash.map_err(|source| {
                let t = commit.t;
                AppendError::Malformed(MalformedGroup::Unencodable { t, source })
            })?;
            self.hashes.push(previous);
        }
        self.buffer.extend_from_slice(&header.trailer());
        Ok(length)
    }

    /// The keys of the group in the buffer, which stands at `offset` of the newest segment.
    pub(super) fn unit(&self, group: &[Commit], offset: u64) -> Unit {
        let mut builder = UnitBuilder::new(self.tail.segment(), self.blocks.len());
        let mut blocks = self.blocks.iter();
        for ((commit, hash), start) in group.iter().zip(&self.hashes).zip(&self.starts) {
            let own = blocks.by_ref().take(commit.versions.len());
            let places = own.map(|block| {
                let length = u32::try_from(block.len()).expect("a block is below 1 GB");
                (offset + block.start as u64, length)
            });
            builder.add(commit, *hash, offset + *start as u64, places);
        }
        builder.finish()
    }

    /// Keeps no buffer that a large group left.
    pub(super) fn tidy(&mut self) {
        if self.buffer.capacity() > KEPT_BUFFER {
            self.buffer = Vec::new();
        }
    }
}
