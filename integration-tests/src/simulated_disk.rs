//! A disk that forgets: what a store asked of the real one is recorded call by call, and at any of
//! the calls the files are made that a crash at that moment may have left behind.
//!
//! Only what was synced is sure to be there. Of the rest, any sectors of 512 bytes and any first
//! part of the changes of names in a directory may be, as POSIX has it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use store_sled::disk::{Call, FileNumber};

use crate::chance::Chance;

/// The least that a disk writes whole or not at all, in bytes.
const SECTOR: usize = 512;

/// A call that was made, with all it needs to be made again.
#[derive(Debug, Clone)]
pub enum Made {
    /// As [`Call::CreateDirectory`].
    CreateDirectory(PathBuf),
    /// As [`Call::Create`].
    Create(PathBuf, FileNumber),
    /// As [`Call::Open`].
    Open(PathBuf, FileNumber),
    /// As [`Call::Write`].
    Write(FileNumber, u64, Vec<u8>),
    /// As [`Call::SetLength`].
    SetLength(FileNumber, u64),
    /// As [`Call::Sync`].
    Sync(FileNumber),
    /// As [`Call::Rename`].
    Rename(PathBuf, PathBuf),
    /// As [`Call::Remove`] and [`Call::RemoveTree`].
    Remove(PathBuf),
    /// As [`Call::SyncDirectory`].
    SyncDirectory(PathBuf),
    /// A sync failed: what was written is on the disk or never will be, as the number says, and
    /// the system takes it for written. Readers see all of it until the crash.
    SyncFailed(FileNumber, u64),
    /// It failed and changed nothing.
    Nothing,
}

impl Made {
    /// What a call does when it is done.
    #[must_use]
    pub fn of(call: &Call<'_>) -> Self {
        match *call {
            Call::CreateDirectory(path) => Self::CreateDirectory(path.to_owned()),
            Call::Create(path, file) => Self::Create(path.to_owned(), file),
            Call::Open(path, file) => Self::Open(path.to_owned(), file),
            Call::Write(_, file, offset, bytes) => Self::Write(file, offset, bytes.to_vec()),
            Call::SetLength(_, file, length) | Call::Allocate(_, file, length) => {
                Self::SetLength(file, length)
            }
            Call::Sync(_, file) => Self::Sync(file),
            Call::Rename(from, to) => Self::Rename(from.to_owned(), to.to_owned()),
            Call::Remove(path) | Call::RemoveTree(path) => Self::Remove(path.to_owned()),
            Call::SyncDirectory(path) => Self::SyncDirectory(path.to_owned()),
            _ => Self::Nothing,
        }
    }
}

/// What becomes of what was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsynced {
    /// None of it is there.
    Lost,
    /// All of it is there.
    Kept,
    /// Some of it is there.
    Torn,
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    Directory,
    File(usize),
}

/// A change of names.
#[derive(Debug, Clone)]
enum Naming {
    Gives(PathBuf, Node),
    Renames(PathBuf, PathBuf),
    Takes(PathBuf),
}

impl Naming {
    fn directory(&self) -> Option<&Path> {
        match self {
            Self::Gives(path, _) | Self::Renames(path, _) | Self::Takes(path) => path.parent(),
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, Node>) {
        match self {
            Self::Gives(path, node) => {
                names.insert(path.clone(), *node);
            }
            Self::Renames(from, to) => {
                if let Some(node) = names.remove(from) {
                    names.insert(to.clone(), node);
                }
            }
            Self::Takes(path) => names.retain(|name, _| !name.starts_with(path)),
        }
    }
}

/// A change of a file.
#[derive(Debug, Clone)]
enum Change {
    Write(usize, Vec<u8>),
    SetLength(usize),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>, mut keeps: impl FnMut() -> bool) {
        match self {
            Self::SetLength(length) => {
                if keeps() {
                    bytes.resize(*length, 0);
                }
            }
            Self::Write(offset, written) => {
                let mut at = 0;
                while at < written.len() {
                    let place = offset + at;
                    let end = written.len().min(at + SECTOR - place % SECTOR);
                    if keeps() {
                        let piece = &written[at..end];
                        bytes.resize(bytes.len().max(place + piece.len()), 0);
                        bytes[place..place + piece.len()].copy_from_slice(piece);
                    }
                    at = end;
                }
            }
        }
    }
}

#[derive(Debug, Default, Clone)]
struct Inode {
    durable: Vec<u8>,
    pending: Vec<Change>,
}

impl Inode {
    /// The file as a crash leaves it.
    fn after_a_crash(&self, unsynced: Unsynced, chance: &mut Chance) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        let (kept, of) = match unsynced {
            Unsynced::Lost => (0, 1),
            Unsynced::Kept => (1, 1),
            Unsynced::Torn => (chance.below(5), 4),
        };
        for change in &self.pending {
            change.apply(&mut bytes, || chance.below(of) < kept);
        }
        if unsynced == Unsynced::Torn && chance.below(4) == 0 {
            // The length may be on the disk before the bytes are.
            let mut whole = self.durable.clone();
            self.pending.iter().for_each(|change| change.apply(&mut whole, || true));
            bytes.resize(whole.len(), 0);
        }
        bytes
    }
}

/// The files, with what of them is durable.
#[derive(Debug, Default)]
pub struct SimulatedDisk {
    inodes: Vec<Inode>,
    open: BTreeMap<FileNumber, usize>,
    names: BTreeMap<PathBuf, Node>,
    durable_names: BTreeMap<PathBuf, Node>,
    renamed: Vec<Naming>,
}

impl SimulatedDisk {
    /// A disk on which what is in the directory `root` is durable, and nothing else is.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn holding(root: &Path) -> io::Result<Self> {
        let mut disk = Self::default();
        disk.take_in(root)?;
        disk.durable_names = disk.names.clone();
        Ok(disk)
    }

    fn take_in(&mut self, directory: &Path) -> io::Result<()> {
        self.names.insert(directory.to_owned(), Node::Directory);
        for entry in std::fs::read_dir(directory)? {
            let path = entry?.path();
            if path.is_dir() {
                self.take_in(&path)?;
                continue;
            }
            let durable = std::fs::read(&path)?;
            self.names.insert(path, Node::File(self.inodes.len()));
            self.inodes.push(Inode { durable, pending: Vec::new() });
        }
        Ok(())
    }

    /// Takes a call as made.
    pub fn make(&mut self, made: &Made) {
        match made {
            Made::CreateDirectory(path) => {
                self.name(Naming::Gives(path.clone(), Node::Directory));
            }
            Made::Create(path, file) => match self.names.get(path) {
                Some(&Node::File(inode)) => {
                    self.open.insert(*file, inode);
                    self.inodes[inode].pending.push(Change::SetLength(0));
                }
                _ => {
                    self.open.insert(*file, self.inodes.len());
                    self.name(Naming::Gives(path.clone(), Node::File(self.inodes.len())));
                    self.inodes.push(Inode::default());
                }
            },
            Made::Open(path, file) => {
                if let Some(&Node::File(inode)) = self.names.get(path) {
                    self.open.insert(*file, inode);
                }
            }
            Made::Write(file, offset, bytes) => {
                self.change(*file, Change::Write(*offset as usize, bytes.clone()));
            }
            Made::SetLength(file, length) => {
                self.change(*file, Change::SetLength(*length as usize));
            }
            Made::Sync(file) => {
                if let Some(inode) = self.open.get(file).map(|inode| &mut self.inodes[*inode]) {
                    for change in std::mem::take(&mut inode.pending) {
                        change.apply(&mut inode.durable, || true);
                    }
                }
            }
            Made::SyncFailed(file, seed) => {
                if let Some(inode) = self.open.get(file).map(|inode| &mut self.inodes[*inode]) {
                    let mut chance = Chance::new(*seed);
                    let kept = chance.below(3);
                    for change in std::mem::take(&mut inode.pending) {
                        change.apply(&mut inode.durable, || chance.below(2) < kept);
                    }
                }
            }
            Made::Rename(from, to) => self.name(Naming::Renames(from.clone(), to.clone())),
            Made::Remove(path) => self.name(Naming::Takes(path.clone())),
            Made::SyncDirectory(path) => {
                let of = |naming: &Naming| naming.directory() == Some(path.as_path());
                let (synced, left) = std::mem::take(&mut self.renamed).into_iter().partition(of);
                self.renamed = left;
                let synced: Vec<Naming> = synced;
                synced.iter().for_each(|naming| naming.apply(&mut self.durable_names));
            }
            Made::Nothing => {}
        }
    }

    fn name(&mut self, naming: Naming) {
        naming.apply(&mut self.names);
        self.renamed.push(naming);
    }

    fn change(&mut self, file: FileNumber, change: Change) {
        if let Some(inode) = self.open.get(&file) {
            self.inodes[*inode].pending.push(change);
        }
    }

    /// Makes under `to` what a crash now leaves of the directory `root`.
    ///
    /// # Errors
    /// When the real disk does not take it.
    pub fn crash(
        &self,
        (root, to): (&Path, &Path),
        unsynced: Unsynced,
        chance: &mut Chance,
    ) -> io::Result<()> {
        let mut names = self.durable_names.clone();
        let kept = match unsynced {
            Unsynced::Lost => 0,
            Unsynced::Kept => self.renamed.len(),
            Unsynced::Torn => chance.below(self.renamed.len() + 1),
        };
        self.renamed[..kept].iter().for_each(|naming| naming.apply(&mut names));
        for (path, node) in &names {
            let Ok(below) = path.strip_prefix(root) else {
                continue;
            };
            let place = to.join(below);
            // A name in a directory that has none is lost with it.
            if !below.as_os_str().is_empty() && !place.parent().is_some_and(Path::is_dir) {
                continue;
            }
            match node {
                Node::Directory => std::fs::create_dir_all(place)?,
                Node::File(inode) => {
                    let bytes = self.inodes[*inode].after_a_crash(unsynced, chance);
                    std::fs::write(place, bytes)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(calls: &[Made], unsynced: Unsynced, seed: u64) -> BTreeMap<String, Vec<u8>> {
        let mut disk = SimulatedDisk::default();
        calls.iter().for_each(|made| disk.make(made));
        let folder = tempfile::TempDir::new().unwrap();
        let to = folder.path().join("crashed");
        disk.crash((Path::new("/data"), &to), unsynced, &mut Chance::new(seed)).unwrap();
        let Ok(entries) = std::fs::read_dir(&to) else {
            return BTreeMap::new();
        };
        let file = |entry: io::Result<std::fs::DirEntry>| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read(path).unwrap())
        };
        entries.map(file).collect()
    }

    fn begin() -> Vec<Made> {
        vec![
            Made::CreateDirectory("/data".into()),
            Made::SyncDirectory("/".into()),
            Made::Create("/data/a".into(), 1),
            Made::Write(1, 0, vec![1; 2_000]),
        ]
    }

    #[test]
    fn only_what_was_synced_under_a_synced_name_is_sure() {
        let mut calls = begin();
        assert_eq!(after(&calls, Unsynced::Lost, 0).len(), 0);
        assert_eq!(after(&calls, Unsynced::Kept, 0)["a"], vec![1; 2_000]);
        calls.push(Made::Sync(1));
        assert_eq!(after(&calls, Unsynced::Lost, 0).len(), 0);
        calls.push(Made::SyncDirectory("/data".into()));
        assert_eq!(after(&calls, Unsynced::Lost, 0)["a"], vec![1; 2_000]);
        calls.push(Made::Write(1, 100, vec![2; 10]));
        calls.push(Made::Rename("/data/a".into(), "/data/b".into()));
        let lost = after(&calls, Unsynced::Lost, 0);
        assert_eq!((lost.len(), &lost["a"]), (1, &vec![1; 2_000]));
        let kept = after(&calls, Unsynced::Kept, 0);
        assert_eq!((kept.len(), kept["b"][100]), (1, 2));
    }

    #[test]
    fn any_sectors_of_what_was_not_synced_may_be_there() {
        let mut calls = begin();
        calls.push(Made::SyncDirectory("/data".into()));
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let torn = after(&calls, Unsynced::Torn, seed);
            let mut bytes = torn["a"].clone();
            bytes.resize(2_048, 0);
            let sectors: Vec<bool> = bytes.chunks(SECTOR).map(|sector| sector[0] == 1).collect();
            for (sector, there) in bytes.chunks(SECTOR).zip(&sectors) {
                assert!(sector[..400].iter().all(|byte| *byte == u8::from(*there)));
            }
            seen.insert(sectors);
        }
        assert_eq!(seen.len(), 16);
    }
}
