//! The folder of a tenant's kept index: whose turn it is to write there, and that no file of it
//! goes before its key is destroyed, unless another file that stays has the same one.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use store::Store;
use store::keys::{Keyring, KeysError};

use super::file::{self, Kind};

const MANIFEST: &str = "manifest";
/// A file that is being written is called so.
const BEING_WRITTEN: &str = "being-written";

/// The place of a tenant's kept index.
pub(crate) struct KeptIndex {
    folder: PathBuf,
    /// Knows what room there is beside what commits need.
    store: Arc<dyn Store>,
    /// Held while names of files change.
    turns: Mutex<Turns>,
}

/// Which index may write there. Each has a number, greater than of those before.
#[derive(Default)]
struct Turns {
    given: u64,
    now: u64,
}

/// Why what is kept could not be forgotten.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Forgetting {
    #[error("the search index that is kept on disk cannot be removed")]
    Io(#[from] io::Error),
    #[error("the key of the search index that is kept on disk cannot be destroyed")]
    Keys(#[from] KeysError),
}

impl From<Forgetting> for io::Error {
    fn from(error: Forgetting) -> Self {
        match error {
            Forgetting::Io(error) => error,
            keys @ Forgetting::Keys(_) => Self::other(keys),
        }
    }
}

impl KeptIndex {
    pub(crate) fn in_folder(folder: PathBuf, store: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self { folder, store, turns: Mutex::default() })
    }

    /// The number of one more index.
    pub(super) fn number(&self) -> u64 {
        let mut turns = self.turns.lock();
        turns.given += 1;
        turns.given
    }

    /// It is the turn of the index with this number, unless a later one has had it.
    pub(super) fn take_turn(&self, number: u64) {
        let mut turns = self.turns.lock();
        turns.now = turns.now.max(number);
    }

    pub(super) fn is_turn_of(&self, number: u64) -> bool {
        self.turns.lock().now == number
    }

    /// Does something to the folder, if it is this one's turn.
    pub(super) fn in_turn<R>(
        &self,
        number: u64,
        act: impl FnOnce() -> io::Result<R>,
    ) -> io::Result<R> {
        let turns = self.turns.lock();
        if turns.now == number {
            return act();
        }
        Err(io::Error::new(io::ErrorKind::Interrupted, "there is another index by now"))
    }

    /// None of those that there are writes any more.
    pub(crate) fn end(&self) {
        self.turns.lock().end();
    }

    /// Destroys the keys of all that is kept, and removes it. It may have what a purge makes
    /// unreadable.
    pub(crate) fn forget(&self, keys: &Keyring) -> Result<(), Forgetting> {
        let mut turns = self.turns.lock();
        turns.end();
        self.keep_only(&[], Some(keys))
    }

    /// Removes all files but those with these names, durably, after the keys that are of no file
    /// that stays. A file says which is its key: whoever ends half way finds it again.
    pub(super) fn keep_only(
        &self,
        named: &[String],
        keys: Option<&Keyring>,
    ) -> Result<(), Forgetting> {
        let is_named = |path: &PathBuf| {
            let name = path.file_name().and_then(|it| it.to_str()).unwrap_or_default();
            named.iter().any(|it| it == name)
        };
        let (stay, mut go): (Vec<_>, Vec<_>) = self.files()?.into_iter().partition(is_named);
        if go.is_empty() {
            return Ok(());
        }
        if let Some(keys) = keys {
            let mut names = BTreeSet::new();
            for path in &go {
                names.extend(file::key_of(path)?);
            }
            for path in &stay {
                if let Some(name) = file::key_of(path)? {
                    names.remove(&name);
                }
            }
            names.iter().try_for_each(|name| keys.destroy_begun(keys.of_derived(name)))?;
        }
        // What says which belong together goes first.
        go.sort_by_key(|path| !path.ends_with(MANIFEST));
        go.iter().try_for_each(fs::remove_file)?;
        Ok(self.sync()?)
    }

    /// Whether so many bytes may be written, or why not.
    pub(super) fn require_room(&self, bytes: usize) -> io::Result<()> {
        if self.store.fits(bytes as u64) {
            return Ok(());
        }
        let full = "the disk has no room for it beside what is kept for commits";
        Err(io::Error::new(io::ErrorKind::StorageFull, full))
    }

    pub(super) fn make(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where a file is.
    pub(super) fn path(&self, kind: Kind, number: u64) -> PathBuf {
        self.folder.join(name_of(kind, number))
    }

    /// Where the index with this number writes a file that has no name yet.
    pub(super) fn aside(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{BEING_WRITTEN}-{number}"))
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
}

impl Turns {
    fn end(&mut self) {
        self.given += 1;
        self.now = self.given;
    }
}

pub(super) fn name_of(kind: Kind, number: u64) -> String {
    match kind {
        Kind::Manifest => MANIFEST.to_owned(),
        Kind::Names => format!("names-{number:08}"),
        Kind::Segment => format!("segment-{number:08}"),
    }
}
