//! Walks through a segment of the log, verifying it: frames, checksums, positions, the chain of
//! hashes, the tenant.
//!
//! Only in the log's last segment can a group be torn ([`torn`]): it ends with the file, short of
//! its length, or only zeros follow the part of it that is there, or, since a disk writes blocks
//! in any order, whole blocks of it are still the zeros that stood there before. Zeros alone were
//! written ahead and are no group. Everything else that is not whole is damage, unless it changes
//! while it is looked at: the log is being appended to.

mod torn;
mod window;

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use store::record::{self, Decoded, RecordHead};
use store::{CommitHash, Head, T, TenantText};

use crate::disk::Disk;
use crate::error::{Damage, Flaw, OpenError, VerifyError};
use crate::frame::{GROUP_HEADER, GROUP_TRAILER, GroupHeader, MAX_SEGMENT_HEADER, SegmentHeader};
use crate::history::Rows;

use torn::{has_empty_block, may_be_one_group};
use window::Window;

/// Where a segment stands in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Others follow it.
    Inner,
    /// It is the newest one, whose end a crash may have torn, and may be appended to meanwhile.
    Last,
    /// It is the newest one, and nobody appends to it: what reads differently the next time is no
    /// group that came or went, but a disk that fails.
    Resting,
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
    /// The bytes of that one; none where there is none.
    last: Bytes,
    group: Option<Group>,
    torn: Option<u64>,
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
    /// The head of the log before it.
    before: Head,
}

impl SegmentScan {
    /// Opens a segment, whose header must continue `head` when that is known. Commits up to
    /// `verified_only` are verified and not decoded.
    pub(crate) fn open(
        disk: &Disk,
        path: &Path,
        number: u64,
        place: Place,
        tenant: &TenantText,
        head: Option<Head>,
        verified_only: T,
    ) -> Result<Self, ScanError> {
        let window = Window::open(disk, path).map_err(|source| scan_io(path, source))?;
        let mut scan = Self {
            path: path.to_owned(),
            number,
            place,
            tenant: tenant.clone(),
            window,
            verified_only,
            head: Head::EMPTY,
            end: 0,
            last: Bytes::new(),
            group: None,
            torn: None,
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

    /// The bytes of the last whole group, as they were verified; none when there is none.
    pub(crate) fn last(&self) -> &Bytes {
        &self.last
    }

    /// Whether nothing but zeros that were written ahead follows the last whole group, once the
    /// walk is over.
    pub(crate) fn is_followed_by_zeros(&self) -> bool {
        self.torn.is_none() && self.end < self.window.length()
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
        let found = loop {
            match self.next_commit(&mut group) {
                Ok(found) => break found,
                Err(error) if !self.read_again(&mut group)? => return Err(error),
                Err(_) if group.bytes.is_empty() => return Ok(None),
                Err(_) => {}
            }
        };
        if group.commits_left == 0 {
            if group.at != group.bytes.len() - GROUP_TRAILER {
                let flaw = Flaw::Field("group's length");
                return Err(self.group_lost(&group, flaw));
            }
            self.end = group.offset + group.bytes.len() as u64;
            self.last = group.bytes;
        } else {
            self.group = Some(group);
        }
        Ok(Some(found))
    }

    fn next_group(&mut self) -> Result<Option<Group>, ScanError> {
        let offset = self.end;
        if offset >= self.window.length() || self.torn.is_some() {
            return Ok(None);
        }
        let bytes = self.read(offset, GROUP_HEADER as u64)?;
        let header = match GroupHeader::decode(&bytes) {
            Ok(header) => header,
            Err(flaw) => return self.torn_or(offset, &bytes, GROUP_HEADER as u64, flaw),
        };
        let bytes = self.read(offset, header.length)?;
        if (bytes.len() as u64) < header.length {
            let flaw = Flaw::Short { needed: header.length, available: bytes.len() as u64 };
            return self.torn_or(offset, &bytes, header.length, flaw);
        }
        if bytes[bytes.len() - GROUP_TRAILER..] != header.trailer() {
            let flaw = Flaw::Magic("group's trailer");
            return self.torn_or(offset, &bytes, header.length, flaw);
        }
        if self.is_torn_within(offset, &bytes)? {
            self.torn = Some(self.window.length());
            return Ok(None);
        }
        let last = header.first.get().saturating_add(u64::from(header.commits) - 1);
        let group = Group {
            bytes,
            offset,
            at: GROUP_HEADER,
            commits_left: header.commits,
            last: T::new(last),
            before: self.head,
        };
        if header.first != self.head.t.next() {
            let after = self.head.t;
            return Err(self.group_lost(&group, Flaw::ChainBroken { after }));
        }
        Ok(Some(group))
    }

    /// A group of `length` bytes at `offset`, of which `judged` was read, is not whole: its header
    /// when it is as long as that, and otherwise its trailer. Torn when nothing but zeros stands
    /// where it ends, or when it is the last group and the blocks of that were never written;
    /// and damaged otherwise.
    fn torn_or(
        &mut self,
        offset: u64,
        judged: &[u8],
        length: u64,
        flaw: Flaw,
    ) -> Result<Option<Group>, ScanError> {
        if self.place != Place::Inner {
            let written = self.written()?;
            if written <= offset {
                return Ok(None);
            }
            let end = offset.saturating_add(length);
            let torn = written < end || {
                let header_lost = length == GROUP_HEADER as u64;
                let rest = self.read(offset, written - offset)?;
                let lost = if header_lost { 0..GROUP_HEADER } else { trailer_of(judged) };
                // Behind a header that says where its group ends, nothing may stand yet.
                (header_lost || written == end)
                    && has_empty_block(offset, &rest, lost)
                    && may_be_one_group(offset, &rest, self.head.t.next())
            };
            let live = self.place == Place::Last;
            if torn || live && self.has_changed(offset, judged, length)? {
                self.torn = Some(self.window.length());
                return Ok(None);
            }
        }
        Err(self.all_lost(offset, flaw))
    }

    /// Whether the `length` bytes at `offset`, of which `judged` was read a moment ago, read
    /// otherwise now: the log is being appended to, and a whole group is there or soon will be.
    fn has_changed(&mut self, offset: u64, judged: &[u8], length: u64) -> Result<bool, ScanError> {
        self.window.renew().map_err(|source| scan_io(&self.path, source))?;
        Ok(self.read(offset, length)? != judged)
    }

    /// Reads a group anew that is not whole although it begins and ends as it should. `false`
    /// when it is the same as before; without bytes when it is gone.
    fn read_again(&mut self, group: &mut Group) -> Result<bool, ScanError> {
        let length = group.bytes.len() as u64;
        if self.place != Place::Last || !self.has_changed(group.offset, &group.bytes, length)? {
            return Ok(false);
        }
        let now = self.read(group.offset, length)?;
        let framed = |bytes: &[u8]| {
            let trailer = bytes.len().checked_sub(GROUP_TRAILER).map(|at| bytes[at..].to_vec());
            (bytes.get(..GROUP_HEADER).map(<[u8]>::to_vec), trailer)
        };
        let same = now.len() == group.bytes.len() && framed(&now) == framed(&group.bytes);
        group.bytes = if same { now } else { Bytes::new() };
        if !same {
            // Its write failed and was undone: nobody was told of any of its commits.
            (self.head, self.torn) = (group.before, Some(self.window.length()));
        }
        Ok(true)
    }

    /// Whether the group at `offset`, which begins and ends as it should, is the last one and
    /// blocks of it were never written.
    fn is_torn_within(&mut self, offset: u64, group: &[u8]) -> Result<bool, ScanError> {
        if self.place == Place::Inner || !has_empty_block(offset, group, 0..group.len()) {
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

    /// Where the zeros begin that the file ends with at this moment.
    fn written(&mut self) -> Result<u64, ScanError> {
        let written = self.window.renew().and_then(|()| self.window.written());
        written.map_err(|source| scan_io(&self.path, source))
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

/// Where in a group its trailer stands.
fn trailer_of(group: &[u8]) -> Range<usize> {
    group.len().saturating_sub(GROUP_TRAILER)..group.len()
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

#[cfg(test)]
mod tests;
