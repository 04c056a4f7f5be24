//! A log that another process may be appending to: how far it is whole at this moment, and how a
//! copy of it is cut back to an instant.
//!
//! A whole group never changes, so that whoever copies segments up to the end of one has the log
//! as it was at one position, without asking anyone. What stands behind the last whole group may
//! change at any moment: zeros become a group there, or are cut off. What was acknowledged before
//! the walk is within it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use fhir_core::Instant;
use store::record::Decoded;
use store::{CommitKind, Head, OwnerKeyId, T, TenantText};

use crate::blobs::NamedBlob;
use crate::disk::Disk;
use crate::error::{OpenError, VerifyError};
use crate::frame::{GROUP_HEADER, GroupHeader};
use crate::layout::Layout;
use crate::scan::{Place, SegmentScan};
use crate::verify::{check_bodies, unsealed};

/// Up to where a log was whole when it was walked through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogExtent {
    /// The last commit within it.
    pub head: Head,
    /// The segments from the first one walked through on, in order.
    pub segments: Vec<SegmentExtent>,
    /// How many versions were verified.
    pub versions: u64,
    /// How many bodies of them are not sealed.
    pub unsealed: u64,
    /// The versions whose bodies are blobs, which were not looked at.
    pub blobs: Vec<NamedBlob>,
    /// The keys that commits say are destroyed.
    pub purged: BTreeSet<OwnerKeyId>,
}

impl LogExtent {
    fn note_blobs(&mut self, decoded: &Decoded) {
        let commit = &decoded.commit;
        for version in &commit.versions {
            if commit.kind == CommitKind::Purge {
                self.purged.insert(version.owner);
            }
            self.blobs.extend(version.blob().map(|reference| NamedBlob {
                t: commit.t,
                owner: version.owner,
                resource: format!("{}/{}", version.resource_type, version.id),
                reference,
            }));
        }
    }
}

/// Up to where a segment was whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentExtent {
    /// Its number.
    pub number: u64,
    /// Its file.
    pub path: PathBuf,
    /// Bytes from its beginning.
    pub length: u64,
}

/// Where an earlier walk through the same log ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    /// The head then.
    pub head: Head,
    /// The last segment then.
    pub segment: u64,
}

/// Walks through the log in a tenant's directory, verifying frames, checksums, chain and the
/// bodies' hashes, from the segment that an earlier walk `reached` on. Reads alone: the store may
/// be open in this or another process.
///
/// # Errors
/// [`VerifyError`] for the first thing found wrong; [`VerifyError::OtherLog`] when the log is not
/// the one that the earlier walk went through.
pub fn extent(
    directory: &Path,
    tenant: &TenantText,
    reached: Option<&Reached>,
) -> Result<LogExtent, VerifyError> {
    extent_in_steps(directory, tenant, reached, &mut || {})
}

/// As [`extent`]; `step` is called for each commit, and may take its time.
///
/// # Errors
/// As [`extent`].
pub fn extent_in_steps(
    directory: &Path,
    tenant: &TenantText,
    reached: Option<&Reached>,
    step: &mut dyn FnMut(),
) -> Result<LogExtent, VerifyError> {
    let layout = Layout::new(directory);
    let numbers = segments(&layout)?;
    let first = reached.map_or(1, |reached| reached.segment);
    let mut extent = LogExtent {
        head: Head::EMPTY,
        segments: Vec::new(),
        versions: 0,
        unsealed: 0,
        blobs: Vec::new(),
        purged: BTreeSet::new(),
    };
    let mut before = None;
    let other =
        || VerifyError::OtherLog { after: reached.map_or(T::ZERO, |reached| reached.head.t) };
    for &number in numbers.iter().filter(|number| **number >= first) {
        let path = layout.segment(number);
        let known = reached.map_or(T::ZERO, |reached| reached.head.t);
        // The writer may be in the midst of a group, in the newest segment alone: it begins the
        // next one after the last whole group of this.
        let place = if numbers.last() == Some(&number) { Place::Last } else { Place::Inner };
        let mut scan =
            SegmentScan::open(layout.disk(), &path, number, place, tenant, before, known)?;
        check_reached(reached, &scan.head()).ok_or_else(other)?;
        // The segment that was reached began at or before what was reached.
        if before.is_none() && reached.is_some_and(|reached| scan.head().t > reached.head.t) {
            return Err(other());
        }
        while let Some(found) = scan.next()? {
            step();
            check_reached(reached, &found.head).ok_or_else(other)?;
            let Some(decoded) = &found.decoded else {
                continue;
            };
            check_bodies(number, found.offset, decoded)?;
            extent.versions += decoded.commit.versions.len() as u64;
            extent.unsealed += unsealed(decoded);
            extent.note_blobs(decoded);
        }
        extent.head = scan.head();
        extent.segments.push(SegmentExtent { number, path, length: scan.end() });
        before = Some(scan.head());
    }
    if reached.is_some_and(|reached| extent.head.t < reached.head.t) {
        return Err(other());
    }
    Ok(extent)
}

/// The last commit of the log in a tenant's directory, which another process may be appending to.
/// Reads the newest segment alone.
///
/// # Errors
/// [`VerifyError`] when that segment is not whole.
pub fn newest_commit(directory: &Path, tenant: &TenantText) -> Result<Head, VerifyError> {
    let layout = Layout::new(directory);
    let number = *segments(&layout)?.last().expect("segments() found at least one");
    let path = layout.segment(number);
    let everything = T::new(u64::MAX);
    let mut scan =
        SegmentScan::open(layout.disk(), &path, number, Place::Last, tenant, None, everything)?;
    while scan.next()?.is_some() {}
    Ok(scan.head())
}

pub(crate) fn segments(layout: &Layout) -> Result<Vec<u64>, VerifyError> {
    layout.segments().map_err(|error| match error {
        OpenError::Damaged(damage) => VerifyError::Damaged(damage),
        OpenError::Io { path, source } => VerifyError::Io { path, source },
        other => VerifyError::Io { path: layout.log(), source: std::io::Error::other(other) },
    })
}

/// `None` when the log has another commit at the position that was reached.
fn check_reached(reached: Option<&Reached>, head: &Head) -> Option<()> {
    match reached {
        Some(reached) if reached.head.t == head.t && reached.head.hash != head.hash => None,
        _ => Some(()),
    }
}

/// Cuts a copy of a log, of which no store is open, back to the commits up to `at`. Returns the
/// last of them.
///
/// # Errors
/// [`VerifyError`] when the copy is not whole or cannot be written.
pub fn cut_after(directory: &Path, tenant: &TenantText, at: Instant) -> Result<Head, VerifyError> {
    let layout = Layout::new(directory);
    let numbers = segments(&layout)?;
    let mut before = None;
    for (index, &number) in numbers.iter().enumerate() {
        let path = layout.segment(number);
        let place = if index + 1 == numbers.len() { Place::Resting } else { Place::Inner };
        let mut scan = SegmentScan::open(
            layout.disk(),
            &path,
            number,
            place,
            tenant,
            before,
            T::new(u64::MAX),
        )?;
        loop {
            let (kept, group) = (scan.head(), scan.end());
            let Some(found) = scan.next()? else {
                break;
            };
            if found.head.instant > at {
                let cut = Cut { group, first: found.offset };
                let written = cut.write(layout.disk(), &path, kept.t).and_then(|()| {
                    for &later in &numbers[index + 1..] {
                        layout.disk().remove(&layout.segment(later))?;
                    }
                    layout.disk().sync_directory(&layout.log())
                });
                written.map_err(|source| VerifyError::Io { path: path.clone(), source })?;
                return Ok(kept);
            }
        }
        before = Some(scan.head());
    }
    Ok(before.unwrap_or(Head::EMPTY))
}

/// Where a segment is cut.
struct Cut {
    /// Where the group begins that the first commit to go stands in.
    group: u64,
    /// Where that commit's record begins.
    first: u64,
}

impl Cut {
    /// Cuts; what stays of the group, whose last commit is then `last`, is framed anew.
    fn write(&self, disk: &Disk, path: &Path, last: T) -> std::io::Result<()> {
        let file = disk.open(path)?;
        let mut header = [0; GROUP_HEADER];
        file.reader().read_exact_at(&mut header, self.group)?;
        let whole = GroupHeader::decode(&header)
            .map_err(|flaw| std::io::Error::new(std::io::ErrorKind::InvalidData, flaw))?;
        let commits = (last.get() + 1).saturating_sub(whole.first.get());
        if commits == 0 {
            file.set_len(self.group)?;
        } else {
            let commits = u32::try_from(commits).map_err(std::io::Error::other)?;
            let mut kept = GroupHeader { commits, length: 0, first: whole.first };
            kept.length = self.first - self.group + kept.trailer().len() as u64;
            file.set_len(self.first)?;
            file.write_all_at(&kept.trailer(), self.first)?;
            file.write_all_at(&kept.encode(), self.group)?;
        }
        file.sync()
    }
}
