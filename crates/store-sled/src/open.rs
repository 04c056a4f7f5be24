//! From a directory to an open store: the log verified, its torn tail cut off, and the derived
//! state brought up to it, or rebuilt from it where it cannot be used.

use std::cell::Cell;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;

use store::record::Decoded;
use store::{
    BlobReference, CommitId, Derive, DeriveError, Head, IdentifierKey, ReadError, T, TenantText,
    Version,
};

use crate::applier::Applier;
use crate::blobs::Blobs;
use crate::disk::DiskFile;
use crate::error::{OpenError, VerifyError};
use crate::history::{Histories, Rows};
use crate::layout::{Layout, io_error};
use crate::memory::Memory;
use crate::report::{Cut, OpenReport, Rebuild};
use crate::scan::{Found, Place, ScanError, SegmentScan};
use crate::segments::Segments;
use crate::slot::Slot;
use crate::state::{Applied, State, Unopened, is_of_the_system, marked_failure};
use crate::table::{Unit, UnitBuilder};
use crate::tail::Tail;
use crate::{SledStore, SledStoreOptions};

/// Opens the tenant's store, or makes it.
pub(crate) fn open(
    directory: &Path,
    tenant: &str,
    derive: Arc<dyn Derive>,
    options: SledStoreOptions,
) -> Result<SledStore, OpenError> {
    let tenant = TenantText::new(tenant)?;
    let layout = Layout::on(directory, options.disk.clone());
    layout.prepare(&tenant)?;
    let blobs = Blobs::new(layout.clone());
    blobs.remove_unfinished().map_err(io_error(&layout.blobs()))?;
    layout.forget_marked_state()?;
    let replay = Replay {
        segments: layout.segments()?,
        layout: &layout,
        tenant: &tenant,
        derive: derive.as_ref(),
        blobs: &blobs,
        options: &options,
    };
    let mut cut = None;
    let (replayed, rebuilt) = match replay.replay_onto_stored_state(&mut cut) {
        Ok(replayed) => (replayed, None),
        Err(Obstacle::Open(error)) => return Err(error),
        Err(Obstacle::State(reason)) => {
            let moved_to = layout.move_state_aside()?;
            let replayed = match replay.replay_onto_nothing(&mut cut) {
                Ok(replayed) => replayed,
                Err(Obstacle::Open(error)) => return Err(error),
                Err(Obstacle::State(reason)) => return Err(OpenError::StateFailed { reason }),
            };
            // A new tenant has no state to miss.
            let missed = moved_to.is_some() || replayed.head != Head::EMPTY;
            let rebuild = missed.then_some(Rebuild { reason, moved_to });
            (replayed, rebuild)
        }
    };
    let report = OpenReport {
        head: replayed.head,
        cut,
        rebuilt,
        replayed_commits: replayed.commits,
        replayed_versions: replayed.versions,
        harmed_blobs: replayed.harmed_blobs,
    };
    if let Some(cut) = &report.cut {
        tracing::warn!(?cut, "a torn tail of the log was cut off");
    }
    if let Some(rebuild) = &report.rebuilt {
        tracing::warn!(?rebuild, "the derived state was rebuilt from the log");
    }
    let newest = *replay.segments.last().expect("segments() found at least one");
    let path = layout.segment(newest);
    let tail = Tail::open(layout.disk(), &path, newest, replayed.end, options.segment_bytes);
    let tail = tail.map_err(io_error(&path))?;
    layout.reserve().take(&options);
    let (parts, rows) = replayed.into_parts();
    Ok(SledStore::assemble(
        tenant.clone(),
        Segments::new(layout.clone()),
        Histories::new(layout.clone(), tenant, newest, rows),
        layout,
        blobs,
        derive,
        options,
        parts,
        tail,
        report,
    ))
}

/// What the log was read into.
struct Replayed {
    state: Arc<Slot>,
    memory: Arc<Memory>,
    applier: Applier,
    head: Head,
    /// Where the newest segment ends.
    end: u64,
    /// The newest segment's versions.
    rows: Rows,
    commits: u64,
    versions: u64,
    harmed_blobs: u64,
}

/// The derived state and what feeds it.
pub(crate) struct Parts {
    pub(crate) state: Arc<Slot>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) applier: Applier,
}

impl Replayed {
    fn into_parts(self) -> (Parts, Rows) {
        let parts = Parts { state: self.state, memory: self.memory, applier: self.applier };
        (parts, self.rows)
    }
}

/// What stands in the way of opening.
enum Obstacle {
    /// Something that rebuilding the state does not help.
    Open(OpenError),
    /// The state cannot be used: why.
    State(String),
}

impl Obstacle {
    /// Why the state could not be read: a fault of its files, or none of theirs (G8).
    fn of(reason: String) -> Self {
        if is_of_the_system(&reason) {
            return Self::Open(OpenError::StateUnreadable { reason });
        }
        Self::State(reason)
    }
}

impl From<OpenError> for Obstacle {
    fn from(error: OpenError) -> Self {
        Self::Open(error)
    }
}

impl From<ScanError> for Obstacle {
    fn from(error: ScanError) -> Self {
        Self::Open(error.into())
    }
}

struct Replay<'a> {
    segments: Vec<u64>,
    layout: &'a Layout,
    tenant: &'a TenantText,
    derive: &'a dyn Derive,
    blobs: &'a Blobs,
    options: &'a SledStoreOptions,
}

impl Replay<'_> {
    fn replay_onto_stored_state(&self, cut: &mut Option<Cut>) -> Result<Replayed, Obstacle> {
        if let Some(reason) = marked_failure(self.layout) {
            return Err(Obstacle::State(reason));
        }
        if !self.layout.state().is_dir() {
            return Err(Obstacle::State("it is missing".to_owned()));
        }
        let state = self.open_state()?;
        let applied = state.load().map_err(Obstacle::of)?;
        let applied = applied.ok_or_else(|| Obstacle::State("it has no manifest".to_owned()))?;
        if state.keys() <= self.options.checked_keys {
            state.check().map_err(Obstacle::of)?;
        }
        let replayed = self.replay(state, applied, cut)?;
        if replayed.head.t < applied.t {
            let reason = format!("it has seen commit {}, the log ends before that", applied.t);
            return Err(Obstacle::State(reason));
        }
        Ok(replayed)
    }

    fn open_state(&self) -> Result<State, Obstacle> {
        State::open(self.layout, self.options).map_err(|unopened| match unopened {
            Unopened::Unusable(reason) => Obstacle::State(reason),
            Unopened::Disk(error) => Obstacle::Open(io_error(&self.layout.state())(error)),
            Unopened::InUse => Obstacle::Open(OpenError::InUse { path: self.layout.state() }),
        })
    }

    fn replay_onto_nothing(&self, cut: &mut Option<Cut>) -> Result<Replayed, Obstacle> {
        let state = self.open_state()?;
        let applied = state.begin().map_err(Obstacle::State)?;
        self.replay(state, applied, cut)
    }

    /// Verifies the log from the segment that the state has reached and reads what comes after.
    fn replay(
        &self,
        state: State,
        applied: Applied,
        cut: &mut Option<Cut>,
    ) -> Result<Replayed, Obstacle> {
        let from = self.segments.binary_search(&applied.segment);
        let from = from.map_err(|_| Obstacle::State("it is ahead of the log".to_owned()))?;
        let state = Arc::new(Slot::of(state));
        let memory = Arc::new(Memory::new(self.options, applied));
        let applier = Applier::start(&memory, &state, applied);
        let applier = applier.map_err(io_error(&self.layout.state()))?;
        let mut replayed = Replayed {
            state,
            memory,
            applier,
            head: Head::EMPTY,
            end: 0,
            rows: Rows::after(Head::EMPTY),
            commits: 0,
            versions: 0,
            harmed_blobs: 0,
        };
        let mut before = None;
        for &number in &self.segments[from..] {
            let place = match self.segments.last() {
                Some(last) if *last == number => Place::Resting,
                _ => Place::Inner,
            };
            let path = self.layout.segment(number);
            let mut scan = SegmentScan::open(
                self.layout.disk(),
                &path,
                number,
                place,
                self.tenant,
                before,
                applied.t,
            )?;
            if place == Place::Resting {
                scan = scan.with_rows();
            }
            same_log(&applied, &scan.head())?;
            while let Some(found) = scan.next()? {
                same_log(&applied, &found.head)?;
                self.take_in(&mut replayed, number, found)?;
            }
            if place == Place::Resting {
                self.settle(&path, &scan, cut)?;
            }
            before = Some(scan.head());
            (replayed.head, replayed.end) = (scan.head(), scan.end());
            if let Some(rows) = scan.rows() {
                replayed.rows = rows;
            }
        }
        Ok(replayed)
    }

    fn take_in(&self, into: &mut Replayed, segment: u64, found: Found) -> Result<(), Obstacle> {
        let Some(mut decoded) = found.decoded else {
            return Ok(());
        };
        let harmed = derive_what_is_left(self.derive, self.blobs, &mut decoded);
        into.harmed_blobs += harmed.map_err(|lost| OpenError::Underivable {
            t: lost.t,
            resource: lost.resource,
            source: lost.source,
        })?;
        into.commits += 1;
        into.versions += decoded.commit.versions.len() as u64;
        into.memory.wait_for_room().map_err(Obstacle::State)?;
        into.memory.insert(unit(&decoded, segment, found.offset));
        Ok(())
    }

    /// Cuts a torn tail off, and the zeros that were written ahead, and makes the rest durable: a
    /// group that was written whole by a process that was killed before its fsync becomes readable
    /// now. The last group is written anew: after an fsync that failed the system has it in memory
    /// and takes it for written, and would not write it again. Those before it were acknowledged.
    fn settle(
        &self,
        path: &Path,
        scan: &SegmentScan,
        cut: &mut Option<Cut>,
    ) -> Result<(), OpenError> {
        let file = self.layout.disk().open(path).map_err(io_error(path))?;
        if let Some(length) = scan.torn() {
            *cut = Some(self.cut(&file, path, scan, length)?);
        } else if scan.is_followed_by_zeros() {
            file.set_len(scan.end()).map_err(io_error(path))?;
        }
        // What was verified, not what another read would give.
        let last = scan.last();
        file.write_all_at(last, scan.end() - last.len() as u64).map_err(io_error(path))?;
        file.sync().map_err(io_error(path))
    }

    fn cut(
        &self,
        file: &DiskFile,
        path: &Path,
        scan: &SegmentScan,
        length: u64,
    ) -> Result<Cut, OpenError> {
        let offset = scan.end();
        let tail = file.reader().from(offset).take(length - offset);
        let (copied_to, kept) =
            (self.layout.keep_cut(scan.head().t, tail)).map_err(io_error(&self.layout.log()))?;
        if kept != length - offset {
            return Err(io_error(path)(io::ErrorKind::UnexpectedEof.into()));
        }
        file.set_len(offset).map_err(io_error(path))?;
        Ok(Cut {
            segment: *self.segments.last().expect("segments() found at least one"),
            offset,
            bytes: length - offset,
            copied_to,
        })
    }
}

/// The keys of a commit that was read from a segment.
pub(crate) fn unit(decoded: &Decoded, segment: u64, offset: u64) -> Unit {
    let places = decoded.blocks.iter().map(|block| {
        let length = u32::try_from(block.len()).expect("a block is shorter than a record");
        (offset + block.start as u64, length)
    });
    let mut builder = UnitBuilder::new(segment, decoded.commit.versions.len());
    builder.add(&decoded.commit, decoded.hash, offset, places);
    builder.finish()
}

/// A stored version whose identifiers could not be derived.
pub(crate) struct Underivable {
    t: T,
    resource: String,
    source: DeriveError,
}

impl From<Underivable> for VerifyError {
    fn from(lost: Underivable) -> Self {
        Self::Underivable { t: lost.t, resource: lost.resource, source: lost.source }
    }
}

/// Fills in what the record does not hold. Reads every body but those of whom was purged.
pub(crate) fn derive_identifiers(
    derive: &dyn Derive,
    blobs: &Blobs,
    decoded: &mut Decoded,
) -> Result<(), Underivable> {
    derive_each(decoded, |version, commit, ordinal| {
        derive.identifiers_of(version, commit, ordinal, &|reference| blobs.read(reference))
    })
}

/// The same for a state that is made again: no blob is read of a type without identifiers, and
/// one that is harmed or missing is the loss of that body alone (G6), which is then found by
/// nothing. Returns how many those are.
pub(crate) fn derive_what_is_left(
    derive: &dyn Derive,
    blobs: &Blobs,
    decoded: &mut Decoded,
) -> Result<u64, Underivable> {
    let (t, mut harmed) = (decoded.commit.t, 0);
    derive_each(decoded, |version, commit, ordinal| {
        if version.flags.is_blob() && !derive.bears_identifiers(&version.resource_type) {
            return Ok(Vec::new());
        }
        let flaw = Cell::new(None);
        let read = |reference: &BlobReference| {
            blobs.read(reference).inspect_err(|error| {
                if let ReadError::Blob { id, source } = error {
                    flaw.set(Some((*id, *source)));
                }
            })
        };
        match (derive.identifiers_of(version, commit, ordinal, &read), flaw.get()) {
            (Err(_), Some((blob, flaw))) => {
                let Version { resource_type, id, version, .. } = version;
                tracing::error!(
                    %t, %blob, %flaw,
                    "{resource_type}/{id} version {version} is lost, and no identifier leads to it"
                );
                harmed += 1;
                Ok(Vec::new())
            }
            (derived, _) => derived,
        }
    })?;
    Ok(harmed)
}

fn derive_each(
    decoded: &mut Decoded,
    mut of: impl FnMut(&Version, CommitId, u32) -> Result<Vec<IdentifierKey>, DeriveError>,
) -> Result<(), Underivable> {
    let (t, commit) = (decoded.commit.t, decoded.commit.id);
    for (ordinal, version) in (0..).zip(&mut decoded.commit.versions) {
        if version.flags.is_deleted() {
            continue;
        }
        version.identifiers = of(version, commit, ordinal).map_err(|source| Underivable {
            t,
            resource: format!("{}/{}", version.resource_type, version.id),
            source,
        })?;
    }
    Ok(())
}

/// Refuses a state that followed another log.
fn same_log(applied: &Applied, head: &Head) -> Result<(), Obstacle> {
    if head.t == applied.t && head.hash != applied.hash {
        let reason = format!("it followed another log up to commit {}", applied.t);
        return Err(Obstacle::State(reason));
    }
    Ok(())
}
