//! A search index that is kept over a restart: one folder of files, of which the manifest says
//! which belong together. Segments and names are written once; the manifest takes the place of the
//! one before when all that it names is durable, and what it does not name is removed.
//!
//! Whatever is wrong with it, it is thrown away, and the index is built from the log. It is also
//! thrown away with every purge, before that is answered. Its key always goes first.

use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fhir_core::Instant;
use parking_lot::Mutex;
use search_index::{
    CONTENT_VERSION, Checkpoint, Index, SavedState, SegmentIdentity, SettledSegment,
};
use store::keys::Keyring;
use store::{ContentHash, HistoryOrder, Place, T, TenantText};

use super::IndexedBy;
use super::file::{self, Kind, PiecePlace, Seal, Unusable, Writer, Written};
use super::folder::{self, KeptIndex};
use super::manifest::{Manifest, Names};
use super::segment_file::{self, SegmentFile};
use crate::Snapshot;

/// With so many files of names one is made of them.
const MOST_NAME_FILES: usize = 16;
/// So often, and so far apart, it is looked whether a commit can be seen that is applied.
const MOST_LOOKS: usize = 1000;
const LOOKS_AGAIN: Duration = Duration::from_millis(1);

/// What one index keeps in that place, as long as it is its turn.
pub(crate) struct Keeping {
    of: Arc<KeptIndex>,
    /// By which it is known whose turn it is.
    number: u64,
    tenant: TenantText,
    keys: Option<Arc<Keyring>>,
    /// By what it is indexed, and what had been purged when it began.
    basis: [u8; 32],
    kept: Mutex<Kept>,
}

/// What there is on the disk.
#[derive(Default)]
struct Kept {
    key: Option<[u8; 16]>,
    manifest: Manifest,
    /// Segments that the index has, or has had a moment ago, and their files; also those that no
    /// manifest names yet.
    segments: Vec<(SegmentIdentity, SegmentFile)>,
}

impl Kept {
    /// The names of the files that stay.
    fn files(&self) -> Vec<String> {
        // One that was written has counted itself, too.
        let named = match self.manifest.next {
            0 => Vec::new(),
            _ => self.manifest.files().collect(),
        };
        let alive = self.segments.iter().filter(|(segment, _)| segment.is_alive());
        let alive = alive.map(|(_, it)| folder::name_of(Kind::Segment, it.file.number));
        named.into_iter().chain(alive).collect()
    }
}

/// A manifest that was read, and the state in it.
pub(crate) struct Opened {
    manifest: Manifest,
    pub(crate) state: SavedState,
    seal: Seal,
}

/// What became of writing it.
pub(crate) enum Outcome {
    /// It is kept up to this position; so many bytes were written.
    Written(T, u64),
    /// There is nothing to be written now.
    Nothing,
}

/// What a resource is put into the compartments of, by a name that changes with it.
const COMPARTMENTS: &str = "patients, also by own URL, security contexts, makers";

/// By what an index is, as a hash: whatever changes what it says of a resource, and who was purged.
fn basis(by: &IndexedBy, fhir_version: &str, keys: Option<&Keyring>) -> [u8; 32] {
    let mut bytes = Vec::new();
    let mut put = |text: &str| {
        bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
        bytes.extend_from_slice(text.as_bytes());
    };
    put(env!("CARGO_PKG_VERSION"));
    put(&CONTENT_VERSION.to_string());
    put(COMPARTMENTS);
    put(fhir_version);
    put(&by.base);
    put(&format!("{:?}", by.zone));
    for package in by.extractor.definitions().packages() {
        put(&package.to_string());
    }
    // One may come back under its name and version with other value sets.
    for digest in by.extractor.definitions().digests() {
        put(&format!("{digest:?}"));
    }
    for parameter in by.extractor.parameters().all() {
        put(&parameter.resource_type);
        put(parameter.code());
        put(parameter.kind.as_str());
        put(parameter.expression().unwrap_or_default());
        put(&format!("{:?}", parameter.flaw));
        for component in parameter.components.iter() {
            put(component.kind.as_str());
            put(&component.expression);
        }
    }
    let mut purged: Vec<u64> =
        keys.iter().flat_map(|keys| keys.ledger()).map(|entry| entry.key.0).collect();
    purged.sort_unstable();
    bytes.extend(purged.iter().flat_map(|key| key.to_le_bytes()));
    ContentHash::of(&bytes).0
}

/// What of the log tells it from another: its last version up to a position, and the hash of that
/// version's commit, where the store says it. By the chain of hashes no other log comes to it, nor
/// one that was cut and has grown anew.
fn witness(all: &Snapshot, t: T) -> Result<Vec<u8>, crate::ReadError> {
    let range = Place::first_of(T::ZERO)..Place::first_of(t.next());
    let log = all.log(None, range, HistoryOrder::NewestFirst, 1);
    let last = futures_executor::block_on(log)?;
    let hash = match last.first() {
        Some(version) => futures_executor::block_on(all.store.hash_of_commit(&version.entry))?,
        None => None,
    };
    Ok(last.first().map_or_else(Vec::new, |version| {
        let (place, entry) = (version.place, &version.entry);
        format!(
            "{} {} {}/{}/{} {} {} {hash:?}",
            place.t,
            place.ordinal,
            entry.resource_type,
            entry.id,
            entry.version,
            entry.instant.as_micros(),
            entry.length
        )
        .into_bytes()
    }))
}

/// The data that shows a commit. One that is applied can be seen a moment later; not when it is
/// stopped.
fn showing(t: T, snapshot: &dyn Fn() -> Snapshot, stop: &AtomicBool) -> Option<Snapshot> {
    for _ in 0..MOST_LOOKS {
        let all = snapshot();
        if t <= all.at() {
            return Some(all);
        }
        if stop.load(Ordering::Acquire) {
            return None;
        }
        std::thread::sleep(LOOKS_AGAIN);
    }
    None
}

impl Keeping {
    /// Of one more index. It writes nothing before [`Keeping::take_turn`].
    pub(crate) fn of(
        of: &Arc<KeptIndex>,
        tenant: TenantText,
        keys: Option<Arc<Keyring>>,
        by: &IndexedBy,
        fhir_version: &str,
    ) -> Self {
        let (of, number) = (Arc::clone(of), of.number());
        let basis = basis(by, fhir_version, keys.as_deref());
        Self { of, number, tenant, keys, basis, kept: Mutex::default() }
    }

    /// Those before it write no more; nor does it, if a later one has had its turn.
    pub(crate) fn take_turn(&self) {
        self.of.take_turn(self.number);
    }

    /// Reads the manifest, where there is one that can be used and it is its turn. All else goes.
    pub(crate) fn open(&self) -> Option<Opened> {
        if !self.is_its_turn() {
            return None;
        }
        match self.read_manifest() {
            Ok(Some(opened)) => {
                // What was being written when the process ended.
                let manifest = opened.manifest.clone();
                self.warn_of(self.keep_only(&Kept { manifest, ..Kept::default() }));
                Some(opened)
            }
            Ok(None) => {
                self.throw_away();
                None
            }
            Err(why) => {
                self.refuse(&why);
                None
            }
        }
    }

    /// Says why what is kept is not used, and removes it.
    pub(crate) fn refuse(&self, why: &(dyn std::error::Error + 'static)) {
        tracing::warn!(
            why,
            "the search index kept in {} is not used: it is built from the log",
            self.of.folder().display()
        );
        self.throw_away();
    }

    /// Destroys the keys of all files there are, and removes them.
    pub(super) fn throw_away(&self) {
        self.warn_of(self.clear(&mut self.kept.lock()));
    }

    fn warn_of(&self, removed: io::Result<()>) {
        if let Err(error) = removed
            && self.is_its_turn()
        {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "an old search index cannot be removed from the disk");
        }
    }

    /// Destroys the keys of all files there are, and removes them.
    fn clear(&self, kept: &mut Kept) -> io::Result<()> {
        *kept = Kept::default();
        self.keep_only(kept)
    }

    /// Removes all other files, with keys that none of these has.
    fn keep_only(&self, kept: &Kept) -> io::Result<()> {
        let names = kept.files();
        self.in_turn(|| Ok(self.of.keep_only(&names, self.keys.as_deref())?))
    }

    /// Whether it may still write.
    pub(crate) fn is_its_turn(&self) -> bool {
        self.of.is_turn_of(self.number)
    }

    fn seal(&self, name: [u8; 16]) -> Seal {
        let keys = self.keys.as_ref().map(|keys| (Arc::clone(keys), name));
        Seal { tenant: self.tenant.clone(), keys }
    }

    fn read_manifest(&self) -> Result<Option<Opened>, Unusable> {
        let path = self.of.path(Kind::Manifest, 0);
        let key = match file::key_of(&path) {
            Ok(key) => key.unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let seal = self.seal(key);
        let (mut manifest, mut state) = (None, SavedState::default());
        file::read(&path, &seal, (Kind::Manifest, 0), &mut |piece| {
            match &manifest {
                None => manifest = Some(Manifest::decode(piece)?),
                Some(_) => state.piece(piece)?,
            }
            Ok(())
        })?;
        let manifest = manifest.ok_or(Unusable::Harmed("it is empty"))?;
        if manifest.basis != self.basis {
            return Err(Unusable::Other(
                "it is of other parameters, another version or another base, or a patient was \
                 purged since",
            ));
        }
        if state.segments() != manifest.segments.len() {
            return Err(Unusable::Harmed("it names another number of segments"));
        }
        Ok(Some(Opened { manifest, state, seal }))
    }

    /// Puts into an empty index what is kept. Says up to which commit and when that was; none when
    /// it cannot be used.
    pub(crate) fn restore(
        &self,
        opened: Opened,
        index: &Index,
        all: &Snapshot,
        stop: &AtomicBool,
    ) -> Option<(T, Instant)> {
        match self.try_to_restore(opened, index, all, stop) {
            Ok(of) => Some(of),
            // It is as good as before.
            Err(_) if stop.load(Ordering::Acquire) => None,
            Err(why) => {
                // Also of what could be read before that.
                index.forget_all();
                self.refuse(&why);
                None
            }
        }
    }

    fn try_to_restore(
        &self,
        opened: Opened,
        index: &Index,
        all: &Snapshot,
        stop: &AtomicBool,
    ) -> Result<(T, Instant), Unusable> {
        let Opened { manifest, mut state, seal } = opened;
        let (t, instant) = (state.t(), state.instant());
        if t > all.at() {
            return Err(Unusable::Other("the log ends before it"));
        }
        let of_log = witness(all, t).map_err(|_| Unusable::Other("the log cannot be read"))?;
        if of_log != manifest.witness {
            return Err(Unusable::Other("it is of another log"));
        }
        let stopped = || match stop.load(Ordering::Acquire) {
            true => Err(Unusable::Other("it was stopped")),
            false => Ok(()),
        };
        let read =
            |kind, written: &Written, take: &mut dyn FnMut(&[u8]) -> Result<(), Unusable>| {
                let path = self.of.path(kind, written.number);
                let found = file::read(&path, &seal, (kind, written.number), &mut |piece| {
                    stopped()?;
                    take(piece)
                })?;
                if found == *written { Ok(()) } else { Err(Unusable::Harmed("it is another file")) }
            };
        for names in &manifest.names {
            read(Kind::Names, &names.file, &mut |piece| Ok(state.names_piece(piece)?))?;
        }
        let mut segments = Vec::new();
        for of in &manifest.segments {
            let path = self.of.path(Kind::Segment, of.file.number);
            segments.push(segment_file::open(&path, &seal, of, &mut || stopped())?);
        }
        let segments = index.restore(state, segments)?;
        // As much as there is room for, so that searches need not.
        if index.load(&|| stop.load(Ordering::Acquire)).is_err() {
            return Err(Unusable::Keys(index.harm().unwrap_or_default()));
        }
        let key = self.keys.as_ref().and(seal.keys.map(|(_, name)| name));
        let segments = segments.into_iter().zip(manifest.segments.iter().copied()).collect();
        *self.kept.lock() = Kept { key, manifest, segments };
        Ok((t, instant))
    }

    /// Writes what there is of the index by now and is not on the disk.
    pub(crate) fn write(
        &self,
        index: &Index,
        snapshot: &dyn Fn() -> Snapshot,
        stop: &AtomicBool,
    ) -> io::Result<Outcome> {
        let mut kept = self.kept.lock();
        self.begin(&mut kept)?;
        let Some(checkpoint) = index.checkpoint(stop) else { return Ok(Outcome::Nothing) };
        if checkpoint.t() == T::ZERO {
            return Ok(Outcome::Nothing);
        }
        let Some(all) = showing(checkpoint.t(), snapshot, stop) else {
            return Ok(Outcome::Nothing);
        };
        let written = self.write_checkpoint(&mut kept, index, &checkpoint, &all, stop);
        // Also what is left of files when it failed.
        let removed = self.keep_only(&kept);
        written.and_then(|outcome| removed.map(|()| outcome))
    }

    /// Writes the settled segments that are not on the disk, so that they need not stay in memory:
    /// no manifest names them yet. Says how many bytes were written: none while all is written
    /// anyway, for which whoever settles does not wait.
    pub(crate) fn write_segments(&self, index: &Index, stop: &AtomicBool) -> io::Result<u64> {
        let Some(mut kept) = self.kept.try_lock() else { return Ok(0) };
        self.begin(&mut kept)?;
        let mut bytes = 0;
        for segment in index.segments().iter().filter(|it| !it.is_kept()) {
            bytes += self.write_segment(&mut kept, index, segment, stop)?.file.bytes;
        }
        // Those that were merged into others.
        self.keep_only(&kept)?;
        Ok(bytes)
    }

    /// Before something is written.
    fn begin(&self, kept: &mut Kept) -> io::Result<()> {
        let key = self.keys.as_ref().zip(kept.key);
        let is_lost = key.is_some_and(|(keys, name)| keys.is_destroyed(keys.of_derived(&name)));
        if kept.manifest.next == 0 || is_lost {
            // Nothing that is there is its own; the key of it would not be found again.
            self.clear(kept)?;
        }
        if kept.key.is_none() {
            kept.key = self.keys.as_ref().map(|keys| keys.name_of_derived());
        }
        let named = kept.manifest.segments.clone();
        kept.segments.retain(|(segment, file)| segment.is_alive() || named.contains(file));
        Ok(())
    }

    /// The file of a segment, which is written if there is none. The keys of the segment are read
    /// from there from then on.
    fn write_segment(
        &self,
        kept: &mut Kept,
        index: &Index,
        segment: &SettledSegment,
        stop: &AtomicBool,
    ) -> io::Result<SegmentFile> {
        let identity = segment.identity();
        if let Some((_, file)) = kept.segments.iter().find(|(known, _)| *known == identity) {
            return Ok(*file);
        }
        self.of.make()?;
        let seal = self.seal(kept.key.unwrap_or_default());
        kept.manifest.next += 1;
        let number = kept.manifest.next;
        let mut directory = None;
        let file = self.write_file(&seal, (Kind::Segment, number), stop, &mut |sink| {
            directory = Some(segment_file::write(segment, sink)?);
            Ok(())
        })?;
        let directory = directory.ok_or_else(|| io::Error::other("a segment has no directory"))?;
        let written = SegmentFile { file, directory };
        let path = self.of.path(Kind::Segment, number);
        let source = segment_file::reopen(&path, &seal, &written).map_err(io::Error::other)?;
        segment.keep_in(source, index);
        kept.segments.push((identity, written));
        Ok(written)
    }

    fn write_checkpoint(
        &self,
        kept: &mut Kept,
        index: &Index,
        checkpoint: &Checkpoint,
        all: &Snapshot,
        stop: &AtomicBool,
    ) -> io::Result<Outcome> {
        self.of.require_room(index.unkept_bytes())?;
        let witness = witness(all, checkpoint.t()).map_err(io::Error::other)?;
        let seal = self.seal(kept.key.unwrap_or_default());
        let mut written = 0;
        let mut segments = Vec::new();
        for segment in checkpoint.segments() {
            let is_kept = segment.is_kept();
            let file = self.write_segment(kept, index, &segment, stop)?;
            written += if is_kept { 0 } else { file.file.bytes };
            segments.push(file);
        }
        let mut manifest = Manifest {
            basis: self.basis,
            witness,
            next: kept.manifest.next,
            names: kept.manifest.names.clone(),
            segments,
        };
        self.of.make()?;
        let mut of = |kind, number, write: &mut dyn FnMut(&mut Pieces<'_>) -> io::Result<()>| {
            let file = self.write_file(&seal, (kind, number), stop, write)?;
            written += file.bytes;
            io::Result::Ok(file)
        };
        if manifest.names.len() >= MOST_NAME_FILES {
            manifest.names.clear();
        }
        let from = manifest.names.last().map_or(0, |names| names.end);
        if from < checkpoint.names() {
            manifest.next += 1;
            let end = checkpoint.names();
            let write = &mut |sink: &mut Pieces<'_>| {
                index.write_names(from..end, &mut |piece| sink(piece).map(drop))
            };
            let file = of(Kind::Names, manifest.next, write)?;
            manifest.names.push(Names { file, end });
        }
        manifest.next += 1;
        of(Kind::Manifest, 0, &mut |sink| {
            sink(&manifest.encode())?;
            checkpoint.write_state(index, &mut |piece| sink(piece).map(drop))
        })?;
        kept.manifest = manifest;
        Ok(Outcome::Written(checkpoint.t(), written))
    }

    /// Does something to the folder, if it is still this one's turn.
    fn in_turn<R>(&self, act: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
        self.of.in_turn(self.number, act)
    }

    /// Writes a file aside, and gives it its name when it is durable.
    fn write_file(
        &self,
        seal: &Seal,
        (kind, number): (Kind, u64),
        stop: &AtomicBool,
        write: &mut dyn FnMut(&mut Pieces<'_>) -> io::Result<()>,
    ) -> io::Result<Written> {
        let aside = self.of.aside(self.number);
        let mut file = self.in_turn(|| Writer::create(&aside, seal, kind, number))?;
        write(&mut |piece: &[u8]| {
            if stop.load(Ordering::Acquire) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            self.of.require_room(piece.len())?;
            // Whoever forgets what is kept does not find a file that is made after that.
            self.in_turn(|| file.piece(piece))
        })?;
        let written = file.finish()?;
        self.in_turn(|| {
            fs::rename(&aside, self.of.path(kind, number))?;
            self.of.sync()
        })?;
        Ok(written)
    }
}

/// Takes pieces.
type Pieces<'p> = dyn FnMut(&[u8]) -> io::Result<PiecePlace> + 'p;
