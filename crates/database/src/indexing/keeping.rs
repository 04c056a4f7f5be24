//! A search index that is kept over a restart: one folder of files, of which the manifest says
//! which belong together. Segments and names are written once; the manifest takes the place of the
//! one before when all that it names is durable, and what it does not name is removed.
//!
//! Whatever is wrong with it, it is thrown away, and the index is built from the log. It is also
//! thrown away with every purge, before that is answered, and so is its key.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fhir_core::Instant;
use parking_lot::Mutex;
use search_index::{CONTENT_VERSION, Index, SavedSegment, SavedState, SegmentIdentity};
use store::keys::{Keyring, KeysError};
use store::{ContentHash, HistoryOrder, Place, T, TenantText};

use super::IndexedBy;
use super::file::{self, Kind, Seal, Unusable, Writer, Written};
use super::manifest::{Manifest, Names};
use crate::Snapshot;

const MANIFEST: &str = "manifest";
/// A file that is being written is called so.
const BEING_WRITTEN: &str = "being-written";
/// With so many files of names one is made of them.
const MOST_NAME_FILES: usize = 16;

/// The place of a tenant's kept index.
pub(crate) struct KeptIndex {
    folder: PathBuf,
    /// Which index may write there, by its turn; held while names of files change.
    turn: Mutex<u64>,
}

/// What one index keeps in that place, as long as it is its turn.
pub(crate) struct Keeping {
    of: Arc<KeptIndex>,
    turn: u64,
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
    /// Those of its segments that the index has.
    segments: Vec<SegmentIdentity>,
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

impl KeptIndex {
    pub(crate) fn in_folder(folder: PathBuf) -> Arc<Self> {
        Arc::new(Self { folder, turn: Mutex::new(0) })
    }

    /// The turn of another index: those before write no more.
    pub(crate) fn begin(
        self: &Arc<Self>,
        tenant: TenantText,
        keys: Option<Arc<Keyring>>,
        by: &IndexedBy,
        fhir_version: &str,
    ) -> Keeping {
        let mut turn = self.turn.lock();
        *turn += 1;
        let basis = basis(by, fhir_version, keys.as_deref());
        Keeping { of: Arc::clone(self), turn: *turn, tenant, keys, basis, kept: Mutex::default() }
    }

    /// Nobody writes there any more.
    pub(crate) fn end(&self) {
        *self.turn.lock() += 1;
    }

    /// Removes all that is kept, and destroys its keys. It may have what a purge makes
    /// unreadable.
    pub(crate) fn forget(&self, keys: &Keyring) -> Result<(), Forgetting> {
        let mut turn = self.turn.lock();
        *turn += 1;
        let mut names = Vec::new();
        for path in self.files()? {
            names.extend(file::key_of(&path)?);
        }
        names.sort_unstable();
        names.dedup();
        self.remove(|_| true)?;
        names.iter().try_for_each(|name| keys.destroy_begun(keys.of_derived(name)))?;
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn files(&self) -> io::Result<Vec<PathBuf>> {
        match fs::read_dir(&self.folder) {
            Ok(entries) => {
                let files = entries.map(|entry| Ok(entry?.path()));
                files.filter(|path| path.as_ref().map_or(true, |it| !it.is_dir())).collect()
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Removes files by their names, durably.
    fn remove(&self, is_removed: impl Fn(&str) -> bool) -> io::Result<()> {
        let mut removed = false;
        // What says which belong together goes first.
        let mut files = self.files()?;
        files.sort_by_key(|path| !path.ends_with(MANIFEST));
        for path in files {
            let name = path.file_name().and_then(|it| it.to_str()).unwrap_or_default();
            if is_removed(name) {
                fs::remove_file(&path)?;
                removed = true;
            }
        }
        if removed { sync(&self.folder) } else { Ok(()) }
    }
}

/// Why what is kept could not be forgotten.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Forgetting {
    #[error("the search index that is kept on disk cannot be removed")]
    Io(#[from] io::Error),
    #[error("the key of the search index that is kept on disk cannot be destroyed")]
    Keys(#[from] KeysError),
}

/// By what an index is, as a hash: whatever changes what it says of a resource, and who was purged.
fn basis(by: &IndexedBy, fhir_version: &str, keys: Option<&Keyring>) -> [u8; 32] {
    let mut bytes = Vec::new();
    let mut put = |text: &str| {
        bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
        bytes.extend_from_slice(text.as_bytes());
    };
    put(env!("CARGO_PKG_VERSION"));
    put(&CONTENT_VERSION.to_string());
    put(fhir_version);
    put(&by.base);
    put(&format!("{:?}", by.zone));
    for package in by.extractor.definitions().packages() {
        put(&package.to_string());
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

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

pub(super) fn name_of(kind: Kind, number: u64) -> String {
    match kind {
        Kind::Manifest => MANIFEST.to_owned(),
        Kind::Names => format!("names-{number:08}"),
        Kind::Segment => format!("segment-{number:08}"),
    }
}

/// What of the log tells it from another: its last version up to a position.
fn witness(all: &Snapshot, t: T) -> Result<Vec<u8>, crate::ReadError> {
    let range = Place::first_of(T::ZERO)..Place::first_of(t.next());
    let log = all.log(None, range, HistoryOrder::NewestFirst, 1);
    let last = futures_executor::block_on(log)?;
    Ok(last.first().map_or_else(Vec::new, |version| {
        let (place, entry) = (version.place, &version.entry);
        format!(
            "{} {} {}/{}/{} {} {}",
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

impl Keeping {
    /// Reads the manifest, where there is one that can be used. All else goes.
    pub(crate) fn open(&self) -> Option<Opened> {
        match self.read_manifest() {
            Ok(Some(opened)) => Some(opened),
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
            self.of.folder.display()
        );
        self.throw_away();
    }

    fn throw_away(&self) {
        *self.kept.lock() = Kept::default();
        let turn = self.of.turn.lock();
        if *turn == self.turn
            && let Err(error) = self.of.remove(|_| true)
        {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "an old search index cannot be removed from the disk");
        }
    }

    /// Whether it may still write.
    pub(crate) fn is_its_turn(&self) -> bool {
        *self.of.turn.lock() == self.turn
    }

    fn seal(&self, name: [u8; 16]) -> Seal {
        let keys = self.keys.as_ref().map(|keys| (Arc::clone(keys), name));
        Seal { tenant: self.tenant.clone(), keys }
    }

    fn read_manifest(&self) -> Result<Option<Opened>, Unusable> {
        let path = self.of.path(MANIFEST);
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
                let path = self.of.path(&name_of(kind, written.number));
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
        for written in &manifest.segments {
            let mut segment = SavedSegment::default();
            read(Kind::Segment, written, &mut |piece| Ok(segment.piece(piece)?))?;
            segments.push(segment);
        }
        let segments = index.restore(state, segments)?;
        let key = self.keys.as_ref().and(seal.keys.map(|(_, name)| name));
        *self.kept.lock() = Kept { key, manifest, segments };
        Ok((t, instant))
    }

    /// Writes what there is of the index by now and is not on the disk.
    pub(crate) fn write(
        &self,
        index: &Index,
        all: &Snapshot,
        stop: &AtomicBool,
    ) -> io::Result<Outcome> {
        let mut kept = self.kept.lock();
        let Some(checkpoint) = index.checkpoint(stop) else { return Ok(Outcome::Nothing) };
        // It comes to the index before it can be seen.
        if checkpoint.t() > all.at() || checkpoint.t() == T::ZERO {
            return Ok(Outcome::Nothing);
        }
        let witness = witness(all, checkpoint.t()).map_err(io::Error::other)?;
        let name = kept.key.or_else(|| self.keys.as_ref().map(|keys| keys.name_of_derived()));
        kept.key = name;
        let seal = self.seal(name.unwrap_or_default());
        let mut manifest = Manifest {
            basis: self.basis,
            witness,
            next: kept.manifest.next,
            names: kept.manifest.names.clone(),
            segments: Vec::new(),
        };
        DirBuilder::new().recursive(true).mode(0o700).create(&self.of.folder)?;
        let mut written = 0;
        let mut of = |kind, number, write: &mut dyn FnMut(&mut Pieces<'_>) -> io::Result<()>| {
            let file = self.write_file(&seal, (kind, number), stop, write)?;
            written += file.bytes;
            io::Result::Ok(file)
        };
        let mut segments = Vec::new();
        for (at, segment) in checkpoint.segments().enumerate() {
            let known = kept.segments.iter().position(|known| *known == segment);
            let file = match known.and_then(|at| kept.manifest.segments.get(at)) {
                Some(file) => *file,
                None => {
                    manifest.next += 1;
                    let write = &mut |sink: &mut Pieces<'_>| checkpoint.write_segment(at, sink);
                    of(Kind::Segment, manifest.next, write)?
                }
            };
            manifest.segments.push(file);
            segments.push(segment);
        }
        if manifest.names.len() >= MOST_NAME_FILES {
            manifest.names.clear();
        }
        let from = manifest.names.last().map_or(0, |names| names.end);
        if from < checkpoint.names() {
            manifest.next += 1;
            let end = checkpoint.names();
            let write = &mut |sink: &mut Pieces<'_>| index.write_names(from..end, sink);
            let file = of(Kind::Names, manifest.next, write)?;
            manifest.names.push(Names { file, end });
        }
        of(Kind::Manifest, 0, &mut |sink| {
            sink(&manifest.encode())?;
            checkpoint.write_state(index, sink)
        })?;
        kept.manifest = manifest;
        kept.segments = segments;
        let named: Vec<String> = kept.manifest.files().collect();
        self.in_turn(|| self.of.remove(|name| !named.iter().any(|it| it == name)))?;
        Ok(Outcome::Written(checkpoint.t(), written))
    }

    /// Does something to the folder, if it is still this one's turn.
    fn in_turn<R>(&self, act: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
        let turn = self.of.turn.lock();
        if *turn == self.turn {
            return act();
        }
        Err(io::Error::new(io::ErrorKind::Interrupted, "there is another index by now"))
    }

    /// Writes a file aside, and gives it its name when it is durable.
    fn write_file(
        &self,
        seal: &Seal,
        (kind, number): (Kind, u64),
        stop: &AtomicBool,
        write: &mut dyn FnMut(&mut Pieces<'_>) -> io::Result<()>,
    ) -> io::Result<Written> {
        let aside = self.of.path(&format!("{BEING_WRITTEN}-{}", self.turn));
        let mut file = self.in_turn(|| Writer::create(&aside, seal, kind, number))?;
        write(&mut |piece: &[u8]| {
            if stop.load(Ordering::Acquire) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            // Whoever forgets what is kept does not find a file that is made after that.
            self.in_turn(|| file.piece(piece))
        })?;
        let written = file.finish()?;
        self.in_turn(|| {
            fs::rename(&aside, self.of.path(&name_of(kind, number)))?;
            sync(&self.of.folder)
        })?;
        Ok(written)
    }
}

/// Takes pieces.
type Pieces<'p> = dyn FnMut(&[u8]) -> io::Result<()> + 'p;
