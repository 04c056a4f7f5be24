//! A disk that does not give what it holds: an error (EIO, no descriptor left), an end before the
//! file's, a bit that is another. That is an error of whoever asked, and nothing is changed by it.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Mutex;

use store::keys::{KeyFile, KeyStore as _};
use store::suite::block_on;
use store::{HistoryOrder, Place, ReadError, Store as _, StoredBody, T, VersionEntry};
use store_sled::disk::{Call, Disk, Watch};
use store_sled::{KeyFolder, SledStore, SledStoreOptions};

use crate::support::{Folder, close, fill, holds, open, options, resource, small_segments};

/// What happens to a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The disk says that it cannot be read.
    Error,
    /// No file can be opened.
    NoDescriptor,
    /// It gives nothing, as if the file ended.
    End,
    /// It gives half of it, which a disk may.
    Half,
    /// One bit of the byte at this offset of the file is another.
    Bit(u64),
}

#[derive(Debug, Default)]
struct State {
    /// Files whose path ends so meet this fault.
    fault: Option<(PathBuf, Fault)>,
    /// The read of this number, and what follows of it, meets this fault.
    nth: Option<(usize, Fault)>,
    reads: usize,
}

/// A disk that fails as told.
#[derive(Debug, Default)]
struct Failing(Mutex<State>);

impl Failing {
    fn disk() -> (Arc<Self>, Disk) {
        let failing = Arc::new(Self::default());
        (Arc::clone(&failing), Disk::watched(failing))
    }

    fn fail(&self, end: &str, fault: Fault) {
        self.0.lock().unwrap().fault = Some((end.into(), fault));
    }

    fn heal(&self) {
        let mut state = self.0.lock().unwrap();
        (state.fault, state.nth) = (None, None);
    }

    fn fault_of(&self, path: &Path, counts: bool) -> Option<Fault> {
        let mut state = self.0.lock().unwrap();
        if counts {
            state.reads += 1;
        }
        let reads = state.reads;
        let here = state.fault.as_ref().filter(|(end, _)| path.ends_with(end));
        here.map(|(_, fault)| *fault).or(match state.nth {
            Some((number, fault)) if number == reads => Some(fault),
            // A disk that ends there ends there the next time too.
            Some((number, Fault::End)) if number < reads => Some(Fault::End),
            _ => None,
        })
    }
}

impl Watch for Failing {
    fn make(&self, _: &Call<'_>, make: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        make()
    }

    fn open_to_read(&self, path: &Path) -> io::Result<()> {
        match self.fault_of(path, false) {
            Some(Fault::NoDescriptor) => Err(io::Error::from_raw_os_error(24)),
            _ => Ok(()),
        }
    }

    fn read(
        &self,
        (path, offset): (&Path, u64),
        into: &mut [u8],
        read: &mut dyn FnMut(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        match self.fault_of(path, true) {
            Some(Fault::Error) => Err(io::Error::from_raw_os_error(5)),
            Some(Fault::End) => Ok(0),
            Some(Fault::Half) => {
                let half = into.len().div_ceil(2);
                read(&mut into[..half])
            }
            Some(Fault::Bit(at)) => {
                let length = read(into)?;
                let inside = at.checked_sub(offset).and_then(|at| usize::try_from(at).ok());
                if let Some(byte) = inside.and_then(|at| into[..length].get_mut(at)) {
                    *byte ^= 8;
                }
                Ok(length)
            }
            Some(Fault::NoDescriptor) | None => read(into),
        }
    }
}

fn on(disk: Disk, options: SledStoreOptions) -> SledStoreOptions {
    SledStoreOptions { disk, ..options }
}

fn find(store: &SledStore, name: &str) -> VersionEntry {
    let (of, id) = resource(name);
    let found = block_on(store.newest(&of, &id, store.head().t)).unwrap();
    found.expect("what is stored is found, whatever the disk does with bodies")
}

fn body(store: &SledStore, name: &str) -> Result<StoredBody, ReadError> {
    block_on(store.stored(&find(store, name)))
}

/// Every file of the log, the histories and what is beside them, with its bytes. What sled has is
/// sled's. What is not finished is left out: a store that is open finishes it meanwhile.
fn files(folder: &Folder) -> BTreeMap<PathBuf, Vec<u8>> {
    fn take_in(path: &Path, into: &mut BTreeMap<PathBuf, Vec<u8>>) {
        for entry in fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|it| it == "unfinished") {
                continue;
            }
            if path.is_file() {
                into.insert(path.clone(), fs::read(&path).unwrap());
            } else if path.file_name().unwrap() != "state" {
                into.insert(path.clone(), Vec::new());
                take_in(&path, into);
            }
        }
    }
    let mut found = BTreeMap::new();
    take_in(&folder.path(), &mut found);
    found
}

/// G6, G8: a body.
#[test]
fn a_body_that_the_disk_does_not_give_is_an_error_of_that_read_alone() {
    for fault in [Fault::Error, Fault::End, Fault::NoDescriptor] {
        let folder = Folder::new();
        let store = open(&folder);
        close(store);
        let (failing, disk) = Failing::disk();
        let store = folder.open_with(on(disk, small_segments())).unwrap();
        fill(&store, 1, 1);
        fill(&store, 2, 2);
        fill(&store, 3, 3);
        assert!(
            find(&store, "Patient/2").location.segment > find(&store, "Patient/1").location.segment
        );
        let before = files(&folder);
        let at = find(&store, "Patient/2").location;
        failing.fail(&format!("{:016}.log", at.segment), fault);
        for _ in 0..2 {
            let error = body(&store, "Patient/2").unwrap_err();
            let ReadError::Io { segment, offset, source } = error else {
                panic!("{fault:?}: {error:?}");
            };
            assert_eq!(segment, at.segment, "{fault:?}: {source}");
            assert!(offset <= at.offset && at.offset < offset + 4096, "{fault:?}: {offset}");
            body(&store, "Patient/1").unwrap();
            body(&store, "Patient/3").unwrap();
        }
        // Nothing was taken for lost, and it is written to.
        fill(&store, 4, 4);
        failing.heal();
        holds(&store, 4);
        let after = files(&folder);
        assert!(before.keys().all(|path| after.contains_key(path)), "{fault:?}");
        assert!(after.keys().all(|path| !path.to_str().unwrap().contains("damaged")));
    }
}

/// G8: a history whose file cannot be read is not taken for one that is harmed.
#[test]
fn a_history_that_the_disk_does_not_give_is_an_error_and_is_not_made_again() {
    for fault in [Fault::Error, Fault::NoDescriptor] {
        let folder = Folder::new();
        let (failing, disk) = Failing::disk();
        let store = folder.open_with(on(disk.clone(), small_segments())).unwrap();
        for t in 1..=4 {
            fill(&store, t, t);
        }
        close(store);
        let store = folder.open_with(on(disk, small_segments())).unwrap();
        let path = folder.path().join("history/0000000000000002.run");
        let made = fs::metadata(&path).unwrap();
        let all = || {
            let range = Place::first_of(T::new(1))..Place::first_of(T::new(5));
            block_on(store.history(None, range, HistoryOrder::NewestFirst, 100))
        };
        failing.fail("0000000000000002.run", fault);
        for _ in 0..2 {
            let error = all().unwrap_err();
            assert!(matches!(&error, ReadError::Io { segment: 2, .. }), "{fault:?}: {error:?}");
        }
        // Halfway through, too.
        failing.heal();
        assert_eq!(all().unwrap().len(), 4);
        failing.fail("0000000000000002.run", fault);
        all().unwrap_err();
        failing.heal();
        assert_eq!(all().unwrap().len(), 4);
        let now = fs::metadata(&path).unwrap();
        assert_eq!(made.modified().unwrap(), now.modified().unwrap(), "{fault:?}");
        store.verify().unwrap();
    }
}

/// A log of some segments with a torn tail.
fn torn() -> Folder {
    let folder = Folder::new();
    let store = folder.open_with(SledStoreOptions { segment_bytes: 700, ..options() }).unwrap();
    for t in 1..=6 {
        fill(&store, t, t);
    }
    close(store);
    let mut newest = 1;
    while folder.segment(newest + 1).exists() {
        newest += 1;
    }
    assert!(newest > 1);
    // The beginning of a group as it stands at the segment's end.
    let bytes = fs::read(folder.segment(1)).unwrap();
    let at = bytes.windows(4).position(|magic| magic == b"HGG1").unwrap();
    let mut file = OpenOptions::new().append(true).open(folder.segment(newest)).unwrap();
    file.write_all(&bytes[at..at + 20]).unwrap();
    // Without a state the whole log is read.
    fs::remove_dir_all(folder.path().join("state")).unwrap();
    folder
}

/// G6, G8: each read of an open meets each fault. Either all is there, or it is refused; what is
/// on the disk is lost by neither.
#[test]
fn an_open_whose_reads_fail_is_refused_or_finds_everything() {
    let (original, mut refused) = (torn(), 0);
    let (failing, disk) = Failing::disk();
    let folder = original.copy();
    let store = folder.open_with(on(disk, options())).unwrap();
    let reads = failing.0.lock().unwrap().reads;
    holds(&store, 6);
    assert!(reads > 5, "{reads}");
    let longest = fs::metadata(original.segment(1)).unwrap().len();
    let bits = (0..longest).step_by(61).map(Fault::Bit);
    for fault in [Fault::Error, Fault::End, Fault::Half].into_iter().chain(bits) {
        for number in 1..=reads {
            let folder = original.copy();
            let (failing, disk) = Failing::disk();
            failing.0.lock().unwrap().nth = Some((number, fault));
            let (log, what) = (files(&folder), format!("{fault:?} of read {number}"));
            match folder.open_with(on(disk, options())) {
                Ok(store) => {
                    failing.heal();
                    holds(&store, 6);
                    assert_ne!(fault, Fault::Error, "{what}");
                }
                Err(error) => {
                    refused += 1;
                    assert_ne!(fault, Fault::Half, "{what}: {error:?}");
                    let left = files(&folder);
                    for (path, bytes) in &log {
                        let there = left.get(path).unwrap_or_else(|| panic!("{what}: {path:?}"));
                        let kept = there == bytes || path.ends_with("format");
                        assert!(kept, "{what}: {error:?}, {} changed", path.display());
                    }
                }
            }
            let store = open(&folder);
            assert_eq!(store.head().t, T::new(6), "{what}");
            let rebuilt = store.report().rebuilt.clone();
            assert!(rebuilt.is_none_or(|rebuilt| rebuilt.moved_to.is_none()), "{what}");
            holds(&store, 6);
        }
    }
    assert!(refused > reads, "{refused} of {reads}");
}

/// G8: keys that cannot be read are not keys that are not there, which might be made anew.
#[test]
fn keys_that_the_disk_does_not_give_are_not_taken_for_absent() {
    let folder = Folder::new();
    close(folder.open_with(options()).unwrap());
    let (failing, disk) = Failing::disk();
    let keys = KeyFolder::of_tenant(&folder.path()).on(disk);
    keys.replace(KeyFile::Tree, b"secrets").unwrap();
    for fault in [Fault::Error, Fault::End, Fault::NoDescriptor] {
        failing.fail("keys/tree", fault);
        keys.read(KeyFile::Tree).unwrap_err();
        failing.heal();
        assert_eq!(keys.read(KeyFile::Tree).unwrap().unwrap(), b"secrets");
    }
}
