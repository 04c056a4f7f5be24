//! What happens when the disk or sled fails under an open store.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fhir_core::ResourceType;
use parking_lot::Mutex;
use store::suite::block_on;
use store::suite::fixture::{FirstLine, append, commit, content, put, tenant, with_blob};
use store::{
    AppendError, BlobId, BlobReference, BodyCoding, Commit, CommitKind, Derive, DeriveError,
    IdentifierKey, ReadError, Store, T,
};
use tempfile::TempDir;

use crate::tail::LogFile;
use crate::{SledStore, SledStoreOptions, VerifyError};

/// A door to the disk that fails as told.
struct Faulty {
    file: Box<dyn LogFile>,
    faults: Arc<Mutex<Faults>>,
}

#[derive(Default)]
struct Faults {
    /// The next write fails so after half of its bytes.
    write: Option<io::ErrorKind>,
    /// The next write of nothing but zeros fails so after half of them.
    ahead: Option<io::ErrorKind>,
    sync: Option<io::ErrorKind>,
    cut: Option<io::ErrorKind>,
    /// Called before bytes are made durable.
    before_sync: Option<Box<dyn FnMut() + Send>>,
}

impl LogFile for Faulty {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut faults = self.faults.lock();
        let zeros = bytes.iter().all(|byte| *byte == 0);
        match if zeros { faults.ahead.take() } else { faults.write.take() } {
            None => self.file.write_all_at(bytes, offset),
            Some(kind) => {
                self.file.write_all_at(&bytes[..bytes.len() / 2], offset)?;
                Err(kind.into())
            }
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut faults = self.faults.lock();
        if let Some(before_sync) = &mut faults.before_sync {
            before_sync();
        }
        match faults.sync.take() {
            None => self.file.sync_data(),
            Some(kind) => Err(kind.into()),
        }
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        match self.faults.lock().cut.take() {
            None => self.file.set_len(length),
            Some(kind) => Err(kind.into()),
        }
    }
}

fn open(path: &Path) -> SledStore {
    let options = SledStoreOptions { cache_bytes: 4 << 20, ..SledStoreOptions::default() };
    SledStore::open(path, tenant().as_str(), Arc::new(FirstLine), options).unwrap()
}

/// A store with one commit whose door to the disk can be made to fail.
fn with_faults(path: &Path) -> (SledStore, Arc<Mutex<Faults>>) {
    let store = open(path);
    append(&store, &[put_at(1)]);
    let faults = Arc::new(Mutex::new(Faults::default()));
    let own = Arc::clone(&faults);
    store.wrap_log(|file| Box::new(Faulty { file, faults: own }));
    (store, faults)
}

fn put_at(t: u64) -> Commit {
    let number = format!("{t}");
    commit(t, vec![put(&format!("Patient/{t}"), 1, &number)])
}

/// Exactly the commits 1 to `last` are there.
fn ends_at(store: &SledStore, last: u64) {
    assert_eq!(store.head().t, T::new(last));
    for t in 1..=last + 2 {
        let found = block_on(content(store, &format!("Patient/{t}"), u64::MAX));
        assert_eq!(found, (t <= last).then(|| t.to_string()), "{t}");
    }
}

/// G1, G2: a full disk.
#[test]
fn a_failed_write_leaves_nothing_and_the_next_group_is_taken() {
    let folder = TempDir::new().unwrap();
    let (store, faults) = with_faults(folder.path());
    for (kind, expected) in [
        (io::ErrorKind::StorageFull, AppendError::DiskFull),
        (io::ErrorKind::QuotaExceeded, AppendError::DiskFull),
        (io::ErrorKind::ReadOnlyFilesystem, AppendError::ReadOnly),
        (io::ErrorKind::PermissionDenied, AppendError::Io(io::ErrorKind::PermissionDenied.into())),
    ] {
        faults.lock().write = Some(kind);
        let error = store.append(&[put_at(2), put_at(3)]).unwrap_err();
        assert_eq!(format!("{error:?}"), format!("{expected:?}"));
        ends_at(&store, 1);
    }
    drop(store);
    let (store, _) = (open(folder.path()), faults);
    assert_eq!(store.report().cut, None);
    ends_at(&store, 1);
    append(&store, &[put_at(2), put_at(3)]);
    ends_at(&store, 3);
}

/// Room for a commit is enough.
#[test]
fn without_room_for_zeros_ahead_commits_are_taken() {
    let folder = TempDir::new().unwrap();
    let segment = folder.path().join("log/0000000000000001.log");
    let (store, faults) = with_faults(folder.path());
    faults.lock().write = Some(io::ErrorKind::PermissionDenied);
    drop(store.append(&[put_at(2)]).unwrap_err());
    faults.lock().ahead = Some(io::ErrorKind::StorageFull);
    append(&store, &[put_at(2)]);
    let length = segment.metadata().unwrap().len();
    assert!(length < 2000, "{length}");
    append(&store, &[put_at(3)]);
    assert!(segment.metadata().unwrap().len() > 500_000);
    ends_at(&store, 3);
    drop(store);
    ends_at(&open(folder.path()), 3);
}

/// G2: after a failed fsync nothing more is acknowledged.
#[test]
fn a_failed_fsync_ends_acknowledging_and_not_reading() {
    let folder = TempDir::new().unwrap();
    let (store, faults) = with_faults(folder.path());
    assert_eq!((store.takes_commits(), store.trouble()), (true, None));
    faults.lock().sync = Some(io::ErrorKind::Other);
    let error = store.append(&[put_at(2)]).unwrap_err();
    assert!(matches!(error, AppendError::Poisoned(Some(_))), "{error:?}");
    let error = store.append(&[put_at(2)]).unwrap_err();
    assert!(matches!(error, AppendError::Poisoned(None)), "{error:?}");
    ends_at(&store, 1);
    let trouble = store.trouble().unwrap();
    assert!(!store.takes_commits() && trouble.contains("look at the disk"), "{trouble}");
}

/// G1: half a group that could not be cut off again is cut off at the next open.
#[test]
fn half_a_group_that_cannot_be_undone_ends_acknowledging_until_the_next_open() {
    let folder = TempDir::new().unwrap();
    let (store, faults) = with_faults(folder.path());
    faults.lock().write = Some(io::ErrorKind::StorageFull);
    faults.lock().cut = Some(io::ErrorKind::Other);
    let error = store.append(&[put_at(2)]).unwrap_err();
    assert!(matches!(error, AppendError::Poisoned(Some(_))), "{error:?}");
    assert!(store.append(&[put_at(2)]).is_err());
    ends_at(&store, 1);
    drop(store);
    let store = open(folder.path());
    assert!(store.report().cut.is_some());
    append(&store, &[put_at(2)]);
    ends_at(&store, 2);
}

/// G11.
#[test]
fn nothing_is_visible_before_it_is_durable() {
    let folder = TempDir::new().unwrap();
    let (store, faults) = with_faults(folder.path());
    let store = Arc::new(store);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (reader, into) = (Arc::clone(&store), Arc::clone(&seen));
    faults.lock().before_sync = Some(Box::new(move || {
        let found = block_on(content(reader.as_ref(), "Patient/2", u64::MAX));
        into.lock().push((reader.head().t, found));
    }));
    append(store.as_ref(), &[put_at(2)]);
    assert_eq!(*seen.lock(), [(T::new(1), None)]);
    ends_at(&store, 2);
    faults.lock().before_sync = None;
}

/// A store whose state fails; it is put right behind the reader, who is told until then.
fn fail_state(store: &SledStore) {
    store.memory.wait_for(store.head().t).unwrap();
    store.state.get().unwrap().fail("as a test");
    let patient = store::suite::fixture::resource_type("Patient");
    let id = store::suite::fixture::resource_id("1");
    let error = block_on(store.newest(&patient, &id, T::new(1))).unwrap_err();
    assert!(matches!(error, ReadError::StateFailed { .. }), "{error:?}");
}

/// G7: sled failing in use is said, and mended without a restart.
#[test]
fn a_state_that_fails_in_use_is_said_and_put_right_from_the_log() {
    let folder = TempDir::new().unwrap();
    let (store, _) = with_faults(folder.path());
    for round in 0..3 {
        fail_state(&store);
        while !store.takes_commits() {
            std::thread::yield_now();
        }
        ends_at(&store, round + 1);
        append(&store, &[put_at(round + 2)]);
        ends_at(&store, round + 2);
        store.verify().unwrap();
    }
    assert!(!folder.path().join("state.failed").exists());
    store.close().unwrap();
    drop(store);
    let store = open(folder.path());
    assert_eq!(store.report().rebuilt, None);
    ends_at(&store, 4);
}

/// G7, G8: files that are no state any more are moved aside, and the log makes new ones.
#[test]
fn a_state_whose_files_are_lost_in_use_is_rebuilt_from_the_log() {
    let folder = TempDir::new().unwrap();
    let (store, _) = with_faults(folder.path());
    append(&store, &[put_at(2)]);
    store.memory.wait_for(T::new(2)).unwrap();
    std::fs::remove_dir_all(folder.path().join("state")).unwrap();
    fail_state(&store);
    while !store.takes_commits() {
        std::thread::yield_now();
    }
    ends_at(&store, 2);
    store.verify().unwrap();
    assert!(folder.path().join("state.damaged-1").exists());
}

/// Bodies of FirstLine's, of which one type bears nothing and must not be read.
struct NoneOfBinary;

impl Derive for NoneOfBinary {
    fn identifiers(
        &self,
        resource_type: &ResourceType,
        coding: BodyCoding,
        length: u32,
        body: &[u8],
    ) -> Result<Vec<IdentifierKey>, DeriveError> {
        FirstLine.identifiers(resource_type, coding, length, body)
    }

    fn bears_identifiers(&self, resource_type: &ResourceType) -> bool {
        resource_type.as_str() != "Binary"
    }
}

/// G6, G7: a harmed blob is the loss of its body alone, whenever the state is made again; `verify`
/// names it.
#[test]
fn a_harmed_or_missing_blob_is_no_obstacle_to_a_state_and_verify_names_it() {
    let folder = TempDir::new().unwrap();
    let (large, other, binary) = (BlobId(1), BlobId(2), BlobId(3));
    let store = open(folder.path());
    for (t, name, id) in [(1, "Patient/1", large), (2, "Patient/2", other), (3, "Binary/3", binary)]
    {
        let bytes = Bytes::from(format!("\n{t}"));
        store.write_blob(id, &bytes).unwrap();
        let version = with_blob(put(name, 1, ""), &BlobReference::of(id, &bytes));
        append(&store, &[commit(t, vec![version])]);
    }
    store.close().unwrap();
    drop(store);
    for id in [large, binary] {
        std::fs::write(folder.path().join("blobs").join(id.to_string()), "harmed").unwrap();
    }
    std::fs::remove_file(folder.path().join("blobs").join(other.to_string())).unwrap();
    std::fs::remove_dir_all(folder.path().join("state")).unwrap();
    let options = SledStoreOptions { cache_bytes: 4 << 20, ..SledStoreOptions::default() };
    let derive = Arc::new(NoneOfBinary);
    let store = SledStore::open(folder.path(), tenant().as_str(), derive, options).unwrap();
    assert_eq!(store.report().harmed_blobs, 2, "the one of a Binary is not read");
    append(&store, &[put_at(4)]);
    store.memory.wait_for(T::new(4)).unwrap();
    std::fs::remove_dir_all(folder.path().join("state")).unwrap();
    fail_state(&store);
    while !store.takes_commits() {
        std::thread::yield_now();
    }
    assert_eq!(block_on(content(&store, "Patient/4", u64::MAX)).as_deref(), Some("4"));
    let named = store.verify().unwrap_err();
    let first = matches!(&named, VerifyError::Underivable { resource, .. }
        if resource == "Patient/1");
    assert!(first, "{named:?}");
}

/// G7: those who ask meanwhile do not keep it from being tried again.
#[test]
fn a_state_that_cannot_be_put_right_at_once_is_tried_again_while_it_is_asked() {
    let folder = TempDir::new().unwrap();
    let (store, _) = with_faults(folder.path());
    let (log, away) = (folder.path().join("log"), folder.path().join("log-away"));
    store.memory.wait_for(T::new(1)).unwrap();
    std::fs::rename(&log, &away).unwrap();
    fail_state(&store);
    let trouble = store.trouble().unwrap();
    assert!(trouble.contains("is being put right"), "{trouble}");
    let (store, asked) = (Arc::new(store), Arc::new(AtomicBool::new(true)));
    let (right, is_right) = std::sync::mpsc::channel();
    let (reader, asking) = (Arc::clone(&store), Arc::clone(&asked));
    let reader = std::thread::Builder::new().name("reader".to_owned()).spawn(move || {
        while asking.load(Ordering::Relaxed) && !reader.takes_commits() {
            let id = store::suite::fixture::resource_id("1");
            let patient = store::suite::fixture::resource_type("Patient");
            drop(block_on(reader.newest(&patient, &id, T::new(1))));
        }
        // Nobody listens when it took too long.
        let _ = right.send(());
    });
    let reader = reader.unwrap();
    let early = is_right.recv_timeout(Duration::from_millis(300));
    std::fs::rename(&away, &log).unwrap();
    early.expect_err("without the log nothing is put right");
    let waited = is_right.recv_timeout(Duration::from_secs(20));
    asked.store(false, Ordering::Relaxed);
    reader.join().unwrap();
    waited.expect("it is tried again each second");
    ends_at(&store, 1);
}

/// G7: a process that ends while its state is failed finds that out at the next open.
#[test]
fn a_state_that_failed_before_a_crash_is_rebuilt_at_the_next_open() {
    let folder = TempDir::new().unwrap();
    drop(with_faults(folder.path()));
    std::fs::write(folder.path().join("state.failed"), "as a test").unwrap();
    let store = open(folder.path());
    assert_eq!(store.report().rebuilt.as_ref().unwrap().reason, "as a test");
    ends_at(&store, 1);
    store.verify().unwrap();
}

/// A disk on which too little is free takes no commits, and its state stays as it is.
#[test]
fn a_nearly_full_disk_takes_no_commits_and_is_read() {
    let folder = TempDir::new().unwrap();
    append(&open(folder.path()), &[put_at(1)]);
    let whole = SledStoreOptions {
        cache_bytes: 4 << 20,
        reserve_bytes: u64::MAX,
        reserve_share: 1,
        ..SledStoreOptions::default()
    };
    let store = SledStore::open(folder.path(), tenant().as_str(), Arc::new(FirstLine), whole);
    let store = store.unwrap();
    let error = store.append(&[put_at(2)]).unwrap_err();
    assert!(matches!(error, AppendError::DiskFull), "{error:?}");
    ends_at(&store, 1);
    assert!(store.takes_commits());
    // Nor does it let others write beside it.
    assert!(!store.fits(0));
    // Who must be forgotten is, on what is kept back, and nobody else beside them.
    let purge = |t| Commit { kind: CommitKind::Purge, ..put_at(t) };
    for group in [[purge(2), put_at(3)], [put_at(2), purge(3)]] {
        let error = store.append(&group).unwrap_err();
        assert!(matches!(error, AppendError::DiskFull), "{error:?}");
    }
    ends_at(&store, 1);
    store.append(&[purge(2), purge(3)]).unwrap();
    ends_at(&store, 3);
}
