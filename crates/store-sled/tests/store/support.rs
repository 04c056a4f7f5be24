//! A tenant's folder that is gone when the test is over, with a store that can be opened in it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fhir_core::{ResourceId, ResourceType};
use store::suite::block_on;
use store::suite::fixture::{
    FirstLine, append, commit, content, identified, put_identified, tenant,
};
use store::{Store, T};
use store_sled::{Damage, OpenError, SledStore, SledStoreOptions};
use tempfile::TempDir;

/// Small enough for many stores at once.
pub(crate) fn options() -> SledStoreOptions {
    SledStoreOptions { cache_bytes: 4 << 20, ..SledStoreOptions::default() }
}

/// So small that every group begins a segment.
pub(crate) fn small_segments() -> SledStoreOptions {
    SledStoreOptions { segment_bytes: 200, ..options() }
}

/// A tenant's folder.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().join("clinic")
    }

    pub(crate) fn segment(&self, number: u64) -> PathBuf {
        self.path().join(format!("log/{number:016}.log"))
    }

    pub(crate) fn open_with(&self, options: SledStoreOptions) -> Result<SledStore, OpenError> {
        open_at(&self.path(), options)
    }

    /// Another folder with the same files.
    pub(crate) fn copy(&self) -> Self {
        let copy = Self::new();
        copy_all(&self.path(), &copy.path());
        copy
    }
}

/// Opens the store of the fixtures' tenant in `path`.
pub(crate) fn open_at(path: &Path, options: SledStoreOptions) -> Result<SledStore, OpenError> {
    let derive = Arc::new(FirstLine);
    SledStore::open(path, tenant().as_str(), derive, options)
}

/// Type and id in `Type/id`.
pub(crate) fn resource(name: &str) -> (ResourceType, ResourceId) {
    let (resource_type, id) = name.split_once('/').unwrap();
    (resource_type.parse().unwrap(), id.parse().unwrap())
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            // A file that sled has just replaced is gone for the copy as for a crash.
            let _ = fs::copy(entry.path(), target);
        }
    }
}

pub(crate) fn open(folder: &Folder) -> SledStore {
    folder.open_with(options()).unwrap()
}

pub(crate) fn close(store: SledStore) {
    store.close().unwrap();
}

/// Commits `from` to `to`, in one group; each puts a patient with an identifier.
pub(crate) fn fill(store: &SledStore, from: u64, to: u64) {
    let commits: Vec<_> = (from..=to)
        .map(|t| {
            let text = t.to_string();
            let name = format!("Patient/{t}");
            commit(t, vec![put_identified(&name, 1, &[("urn:n", &text)], &text)])
        })
        .collect();
    append(store, &commits);
}

/// Exactly the commits 1 to `last` are there, and everything verifies.
pub(crate) fn holds(store: &SledStore, last: u64) {
    assert_eq!(store.head().t, T::new(last));
    for t in 1..=last {
        let text = t.to_string();
        let found = block_on(content(store, &format!("Patient/{t}"), u64::MAX));
        assert_eq!(found.as_ref(), Some(&text));
        let found = block_on(identified(store, "Patient", ("urn:n", &text), u64::MAX));
        assert_eq!(found, [text]);
    }
    let beyond = block_on(content(store, &format!("Patient/{}", last + 1), u64::MAX));
    assert_eq!(beyond, None);
    let verified = store.verify().unwrap();
    assert_eq!((verified.head.t, verified.versions), (T::new(last), last));
}

/// A folder with a first and a second group of commits, closed after the first, so that the
/// state knows that alone, and the length of the log after the first.
pub(crate) fn two_groups() -> (Folder, usize) {
    let folder = Folder::new();
    let store = open(&folder);
    fill(&store, 1, 2);
    close(store);
    let before = folder.copy();
    let length = fs::read(folder.segment(1)).unwrap().len();
    let store = open(&folder);
    fill(&store, 3, 4);
    close(store);
    fs::copy(folder.segment(1), before.segment(1)).unwrap();
    (before, length)
}

/// All files of a folder but the state's.
pub(crate) fn files(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for folder in [path.to_owned(), path.join("log")] {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let bytes = fs::read(&path).unwrap();
                found.insert(path.display().to_string(), bytes);
            }
        }
    }
    found
}

pub(crate) fn damage(error: OpenError) -> Damage {
    match error {
        OpenError::Damaged(damage) => damage,
        other => panic!("{other:?}"),
    }
}
