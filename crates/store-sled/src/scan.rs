//! Walks through a segment of the log, verifying it: frames, checksums, positions, the chain of
//! hashes, the tenant.
//!
//! Only in the log's last segment can a group be torn: it ends with the file, short of its
//! length, or only zeros follow the part of it that is there, or, since a disk writes blocks in
//! any order, whole blocks of it are still the zeros that stood there before. Zeros alone were
//! written ahead and are no group. Everything else that is not whole is damage.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use store::record::{self, Decoded, RecordHead};
use store::{CommitHash, Head, T, TenantText};

use crate::error::{Damage, Flaw, OpenError, VerifyError};
use crate::frame::{GROUP_HEADER, GROUP_TRAILER, GroupHeader, MAX_SEGMENT_HEADER, SegmentHeader};
use crate::history::Rows;

/// Bytes read at a time, at least.
const WINDOW: usize = 1 << 20;
/// The least that a disk writes whole or not at all, in bytes.
const BLOCK: u64 = 512;

/// Where a segment stands in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Others follow it.
    Inner,
    /// It is the newest one, whose end a crash may have torn.
    Last,
}

/// Why a scan could not go on.
#[derive(Debug)]
pub(crate) enum ScanError {
    Damaged(Damage),
    Io { path: PathBuf, source: io::Error },
}

/// A commit in the log.
#[derive(Debug)]
pub(crate) struct Found {
    /// The head of the log with it.
    pub(crate) head: Head,
    /// Where its record begins in the segment.
    pub(crate) offset: u64,
    /// What it says, when that was asked for.
    pub(crate) decoded: Option<Decoded>,
}

/// A walk through one segment.
#[derive(Debug)]
pub(crate) struct SegmentScan {
    path: PathBuf,
    number: u64,
    place: Place,
    tenant: TenantText,
    window: Window,
    /// Up to this position commits are verified and not decoded.
    verified_only: T,
    head: Head,
    /// Where the last whole group ends.
    end: u64,
    group: Option<Group>,
    torn: Option<u64>,
    /// Where the zeros begin that the file ends with, once that was asked.
    written: Option<u64>,
    /// The versions walked through, when they were asked for.
    rows: Option<Rows>,
}

/// A group being walked through.
#[derive(Debug)]
struct Group {
    bytes: Bytes,
    offset: u64,
    at: usize,
    commits_left: u32,
    last: T,
}

impl SegmentScan {
    /// Opens a segment, whose header must continue `head` when that is known. Commits up to
    /// `verified_only` are verified and not decoded.
    pub(crate) fn open(
        path: &Path,
        number: u64,
        place: Place,
        tenant: &TenantText,
        head: Option<Head>,
        verified_only: T,
    ) -> Result<Self, ScanError> {
        let window = Window::open(path).map_err(|source| scan_io(path, source))?;
        let mut scan = Self {
            path: path.to_owned(),
            number,
            place,
            tenant: tenant.clone(),
            window,
            verified_only,
            head: Head::EMPTY,
            end: 0,
            group: None,
            torn: None,
            written: None,
            rows: None,
        };
        let bytes = scan.read(0, MAX_SEGMENT_HEADER as u64)?;
        let (header, length) =
            SegmentHeader::decode(&bytes).map_err(|flaw| scan.all_lost(0, flaw))?;
        if header.number != number {
            return Err(scan.all_lost(0, Flaw::Field("segment's number")));
        }
        if header.tenant != *tenant {
            let flaw = Flaw::OtherTenant(header.tenant.to_string());
            return Err(scan.all_lost(0, flaw));
        }
        let expected = if number == 1 { Some(Head::EMPTY) } else { head };
        if let Some(head) = expected.filter(|head| *head != header.base) {
            let flaw = Flaw::ChainBroken { after: head.t };
            return Err(scan.all_lost(0, flaw));
        }
        scan.head = header.base;
        scan.end = length as u64;
        Ok(scan)
    }

    /// Remembers where the versions lie that are walked through from now on.
    pub(crate) fn with_rows(mut self) -> Self {
        self.rows = Some(Rows::after(self.head));
        self
    }

    /// Where the versions lie, when that was asked for.
    pub(crate) fn rows(self) -> Option<Rows> {
        self.rows
    }

    /// The head of the log after what was walked through.
    pub(crate) fn head(&self) -> Head {
        self.head
    }

    /// Where the last whole group ends.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Whether nothing but zeros that were written ahead follows the last whole group, once the
    /// walk is over.
    pub(crate) fn is_followed_by_zeros(&self) -> bool {
        self.torn.is_none() && self.end < self.window.length
    }

    /// The length of the file when a torn group ends it, once the walk is over.
    pub(crate) fn torn(&self) -> Option<u64> {
        self.torn
    }

    /// The next commit; `None` at the end of what is whole.
    pub(crate) fn next(&mut self) -> Result<Option<Found>, ScanError> {
        if self.group.is_none() {
            self.group = self.next_group()?;
        }
        let Some(mut group) = self.group.take() else {
            return Ok(None);
        };
        let found = self.next_commit(&mut group)?;
        if group.commits_left == 0 {
            if group.at != group.bytes.len() - GROUP_TRAILER {
                let flaw = Flaw::Field("group's length");
                return Err(self.group_lost(&group, flaw));
            }
            self.end = group.offset + group.bytes.len() as u64;
        } else {
            self.group = Some(group);
        }
        Ok(Some(found))
    }

    fn next_group(&mut self) -> Result<Option<Group>, ScanError> {
        let offset = self.end;
        if offset == self.window.length || self.torn.is_some() {
            return Ok(None);
        }
        let header = self.read(offset, GROUP_HEADER as u64)?;
        let header = match GroupHeader::decode(&header) {
            Ok(header) => header,
            Err(flaw) => return self.torn_or(offset, GROUP_HEADER as u64, flaw),
        };
        let available = self.window.length - offset;
        if header.length > available {
            let flaw = Flaw::Short { needed: header.length, available };
            return self.torn_or(offset, header.length, flaw);
        }
        let bytes = self.read(offset, header.length)?;
        if bytes[bytes.len() - GROUP_TRAILER..] != header.trailer() {
            return self.torn_or(offset, header.length, Flaw::Magic("group's trailer"));
        }
        if self.is_torn_within(offset, &bytes)? {
            self.torn = Some(self.window.length);
            return Ok(None);
        }
        let last = header.first.get().saturating_add(u64::from(header.commits) - 1);
        let group = Group {
            bytes,
            offset,
            at: GROUP_HEADER,
            commits_left: header.commits,
            last: T::new(last),
        };
        if header.first != self.head.t.next() {
            let after = self.head.t;
            return Err(self.group_lost(&group, Flaw::ChainBroken { after }));
        }
        Ok(Some(group))
    }

    /// A group of `length` bytes at `offset` is not whole: torn when nothing but zeros stands
    /// where it ends, or blocks of it were never written, and damaged otherwise.
    fn torn_or(
        &mut self,
        offset: u64,
        length: u64,
        flaw: Flaw,
    ) -> Result<Option<Group>, ScanError> {
        if self.place == Place::Last {
            let written = self.written()?;
            if written <= offset {
                return Ok(None);
            }
            let torn = written < offset.saturating_add(length) || self.is_written_now(offset)? || {
                let rest = self.read(offset, written - offset)?;
                has_empty_block(offset, &rest) && !has_group(&rest[1..])
            };
            if torn {
                self.torn = Some(self.window.length);
                return Ok(None);
            }
        }
        Err(self.all_lost(offset, flaw))
    }

    /// Whether the group at `offset`, which was not whole a moment ago, is now: the log is being
    /// appended to.
    fn is_written_now(&mut self, offset: u64) -> Result<bool, ScanError> {
        self.window.forget();
        let header = self.read(offset, GROUP_HEADER as u64)?;
        let Ok(header) = GroupHeader::decode(&header) else {
            return Ok(false);
        };
        let group = self.read(offset, header.length)?;
        Ok(group.ends_with(&header.trailer()))
    }

    /// Whether the group at `offset`, which begins and ends as it should, is the last one and
    /// blocks of it were never written.
    fn is_torn_within(&mut self, offset: u64, group: &[u8]) -> Result<bool, ScanError> {
        if self.place != Place::Last || !has_empty_block(offset, group) {
            return Ok(false);
        }
        if self.written()? > offset + group.len() as u64 {
            return Ok(false);
        }
        let mut records = &group[GROUP_HEADER..group.len() - GROUP_TRAILER];
        while !records.is_empty() {
            match record::check(records) {
                Ok(read) => records = &records[read.length..],
                Err(_) => return Ok(true),
            }
        }
        Ok(false)
    }

    fn written(&mut self) -> Result<u64, ScanError> {
        if let Some(written) = self.written {
            return Ok(written);
        }
        let written = self.window.written().map_err(|source| scan_io(&self.path, source))?;
        self.written = Some(written);
        Ok(written)
    }

    fn next_commit(&mut self, group: &mut Group) -> Result<Found, ScanError> {
        let bytes = group.bytes.slice(group.at..group.bytes.len() - GROUP_TRAILER);
        let offset = group.offset + group.at as u64;
        let after = self.head.t;
        let mut rows = self.rows.as_mut();
        let mut push = |of: &str, block: Range<usize>| {
            if let Some(rows) = &mut rows {
                let length = u32::try_from(block.len()).expect("a block is shorter than a record");
                rows.push(of, offset + block.start as u64, length);
            }
        };
        let read = if after.next() > self.verified_only {
            record::decode(&bytes).map(|decoded| {
                for (version, block) in decoded.commit.versions.iter().zip(&decoded.blocks) {
                    push(version.resource_type.as_str(), block.clone());
                }
                Read::from(decoded)
            })
        } else {
            record::check_each(&bytes, |block, of| push(of, block)).map(Read::from)
        };
        let read = read.map_err(|error| {
            ScanError::Damaged(Damage {
                segment: self.number,
                offset: offset + error.offset as u64,
                lost: lost_from(after.next()),
                flaw: Flaw::Record(error),
            })
        })?;
        let head = read.head;
        let chained = read.previous == self.head.hash && head.t == after.next();
        if !chained || head.instant <= self.head.instant || head.t > group.last {
            return Err(self.all_lost(offset, Flaw::ChainBroken { after }));
        }
        if read.tenant != self.tenant {
            let flaw = Flaw::OtherTenant(read.tenant.to_string());
            return Err(self.all_lost(offset, flaw));
        }
        if let Some(rows) = &mut self.rows {
            rows.end_commit(head.instant);
        }
        let (length, decoded) = (read.length, read.decoded);
        group.at += length;
        group.commits_left -= 1;
        self.head = head;
        Ok(Found { head, offset, decoded })
    }

    fn group_lost(&self, group: &Group, flaw: Flaw) -> ScanError {
        self.all_lost(group.offset, flaw)
    }

    /// What stands at `offset` cannot be read, nor can anything after it be found.
    fn all_lost(&self, offset: u64, flaw: Flaw) -> ScanError {
        ScanError::Damaged(Damage {
            segment: self.number,
            offset,
            lost: lost_from(self.head.t.next()),
            flaw,
        })
    }

    fn read(&mut self, offset: u64, length: u64) -> Result<Bytes, ScanError> {
        let read = self.window.read(offset, length);
        read.map_err(|source| scan_io(&self.path, source))
    }
}

/// Whether a block of the disk, or what `bytes`, which stand at `offset`, have of it, is all zeros.
fn has_empty_block(offset: u64, bytes: &[u8]) -> bool {
    let first = (BLOCK - offset % BLOCK).min(bytes.len() as u64) as usize;
    let (first, rest) = bytes.split_at(first);
    let empty = |block: &[u8]| !block.is_empty() && is_zeros(block);
    empty(first) || rest.chunks(BLOCK as usize).any(empty)
}

/// Whether at most a block of bytes is zeros.
fn is_zeros(block: &[u8]) -> bool {
    const ZEROS: &[u8] = &[0; BLOCK as usize];
    block == &ZEROS[..block.len()]
}

/// Whether a group begins anywhere in `bytes`.
fn has_group(bytes: &[u8]) -> bool {
    bytes.windows(GROUP_HEADER).any(|bytes| GroupHeader::decode(bytes).is_ok())
}

/// A record that was verified, and decoded when that was asked for.
struct Read {
    head: Head,
    previous: CommitHash,
    tenant: TenantText,
    length: usize,
    decoded: Option<Decoded>,
}

impl From<Decoded> for Read {
    fn from(decoded: Decoded) -> Self {
        Self {
            head: Head { t: decoded.commit.t, instant: decoded.commit.instant, hash: decoded.hash },
            previous: decoded.previous,
            tenant: decoded.commit.tenant.clone(),
            length: decoded.length,
            decoded: Some(decoded),
        }
    }
}

impl From<RecordHead<'_>> for Read {
    fn from(record: RecordHead<'_>) -> Self {
        Self {
            head: Head { t: record.t, instant: record.instant, hash: record.hash },
            previous: record.previous,
            tenant: TenantText::new(record.tenant).expect("check() checked the tenant"),
            length: record.length,
            decoded: None,
        }
    }
}

fn lost_from(t: T) -> String {
    format!("commit {t} and what follows it")
}

fn scan_io(path: &Path, source: io::Error) -> ScanError {
    ScanError::Io { path: path.to_owned(), source }
}

impl From<ScanError> for OpenError {
    fn from(error: ScanError) -> Self {
        match error {
            ScanError::Damaged(damage) => Self::Damaged(damage),
            ScanError::Io { path, source } => Self::Io { path, source },
        }
    }
}

impl From<ScanError> for VerifyError {
    fn from(error: ScanError) -> Self {
        match error {
            ScanError::Damaged(damage) => Self::Damaged(damage),
            ScanError::Io { path, source } => Self::Io { path, source },
        }
    }
}

/// A file read forward in large pieces.
#[derive(Debug)]
struct Window {
    file: File,
    length: u64,
    start: u64,
    bytes: Bytes,
}

impl Window {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        Ok(Self { file, length, start: 0, bytes: Bytes::new() })
    }

    /// The bytes at `offset`, as many of `length` as the file has.
    fn read(&mut self, offset: u64, length: u64) -> io::Result<Bytes> {
        let length = length.min(self.length.saturating_sub(offset));
        // A piece of a file that is in memory has a length that fits memory.
        let length = usize::try_from(length).map_err(io::Error::other)?;
        let inside = offset.checked_sub(self.start).map(usize::try_from);
        if let Some(Ok(at)) = inside
            && at + length <= self.bytes.len()
        {
            return Ok(self.bytes.slice(at..at + length));
        }
        let rest = usize::try_from(self.length - offset).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length.max(WINDOW).min(rest)];
        self.file.read_exact_at(&mut bytes, offset)?;
        (self.start, self.bytes) = (offset, Bytes::from(bytes));
        Ok(self.bytes.slice(..length))
    }

    /// Reads anew what is asked for next.
    fn forget(&mut self) {
        self.bytes = Bytes::new();
    }

    /// Where the zeros begin that the file ends with.
    fn written(&self) -> io::Result<u64> {
        let mut end = self.length;
        let mut bytes = vec![0; WINDOW];
        while end > 0 {
            let start = end.saturating_sub(WINDOW as u64);
            let piece = &mut bytes[..usize::try_from(end - start).unwrap_or(WINDOW)];
            self.file.read_exact_at(piece, start)?;
            let mut written = piece.len();
            for block in piece.rchunks(BLOCK as usize) {
                if !is_zeros(block) {
                    let last = block.iter().rposition(|byte| *byte != 0);
                    let zeros = last.map_or(block.len(), |last| block.len() - last - 1);
                    return Ok(start + (written - zeros) as u64);
                }
                written -= block.len();
            }
            end = start;
        }
        Ok(0)
    }
}
