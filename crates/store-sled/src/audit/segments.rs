//! The files of the audit log: which there are, and what is whole in each.

use std::io;
use std::path::{Path, PathBuf};

use store::TenantText;
use store::audit::ChainHash;

use super::frame::{Group, SegmentHeader};
use crate::disk::Disk;

/// A directory of segments.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    path: PathBuf,
    disk: Disk,
}

/// How the bytes of a segment end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// With a whole group.
    Whole,
    /// With a part of a group, which a process did not finish that was killed.
    Torn,
    /// Something is no group, and there are groups behind it.
    Damaged,
}

/// A segment as it lies on the disk.
pub(super) struct Segment {
    pub(super) header: SegmentHeader,
    pub(super) bytes: Vec<u8>,
    /// Where its first group begins.
    pub(super) begins: usize,
}

/// What walking the groups of a segment came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Walked {
    /// Where the last whole group ends.
    pub(super) offset: usize,
    /// Its hash, or that which the segment's header names.
    pub(super) hash: ChainHash,
    /// The number of the event after its last.
    pub(super) next: u64,
    pub(super) end: End,
}

impl Folder {
    pub(super) fn of_tenant(directory: &Path, disk: Disk) -> Self {
        Self { path: directory.join("audit"), disk }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn disk(&self) -> &Disk {
        &self.disk
    }

    pub(super) fn segment(&self, number: u64) -> PathBuf {
        self.path.join(format!("{number:016}.log"))
    }

    /// Where it stands which patients a segment names.
    pub(super) fn patients(&self, number: u64) -> PathBuf {
        self.path.join(format!("{number:016}.patients"))
    }

    /// The numbers of the segments that are there, in order.
    pub(super) fn numbers(&self) -> io::Result<Vec<u64>> {
        let entries = match std::fs::read_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut numbers = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(".log"));
            numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// A segment with all its bytes; `None` when its beginning is no segment's of this tenant.
    pub(super) fn load(&self, number: u64, tenant: &TenantText) -> io::Result<Option<Segment>> {
        let bytes = self.disk.read(&self.segment(number))?;
        let decoded = SegmentHeader::decode(&bytes);
        let own = decoded.filter(|(header, _)| header.number == number && header.tenant == *tenant);
        Ok(own.map(|(header, begins)| Segment { header, bytes, begins }))
    }
}

impl Segment {
    /// Shows each whole group, in order, with its offset, and says where they end.
    pub(super) fn walk<'a>(&'a self, mut see: impl FnMut(Group<'a>)) -> Walked {
        let (mut offset, mut hash) = (self.begins, self.header.before);
        let mut next = self.header.first;
        while let Some((group, length, own)) = Group::decode(&self.bytes[offset..]) {
            // One that does not continue what is before it is none of this place.
            if group.before != hash || group.first != next {
                return Walked { offset, hash, next, end: End::Damaged };
            }
            next += u64::from(group.count);
            hash = own;
            offset += length;
            see(group);
        }
        let rest = &self.bytes[offset..];
        let end = match rest {
            [] => End::Whole,
            rest if Group::find(rest).is_some() => End::Damaged,
            _ => End::Torn,
        };
        Walked { offset, hash, next, end }
    }
}
