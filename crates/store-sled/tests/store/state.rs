//! The derived state, harmed in every way, comes back equal.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use store::suite::block_on;
use store::suite::fixture::{append, commit, content, identified, put};
use store::{Store, T};
use store_sled::{SledStoreOptions, VerifyError};

use crate::support::{Folder, close, fill, holds, open, options, two_groups};

const MANY: u64 = 1500;

/// A closed store with many commits.
fn many() -> Folder {
    let folder = Folder::new();
    let store = open(&folder);
    for first in (1..=MANY).step_by(100) {
        fill(&store, first, first + 99);
    }
    close(store);
    folder
}

/// G7, G8: harms the state, opens, and finds everything, and the harmed state kept.
fn rebuilds_after(folder: &Folder, harm: impl FnOnce(&Path)) -> String {
    let state = folder.path().join("state");
    harm(&state);
    let harmed = state.exists();
    let store = open(folder);
    let report = store.report().clone();
    let rebuilt = report.rebuilt.unwrap();
    assert_eq!(rebuilt.moved_to.is_some(), harmed, "{}", rebuilt.reason);
    assert!(rebuilt.moved_to.is_none_or(|path| path.is_dir()));
    assert_eq!(report.replayed_versions, MANY);
    holds(&store, MANY);
    close(store);
    let store = open(folder);
    assert_eq!((&store.report().rebuilt, store.report().replayed_commits), (&None, 0));
    rebuilt.reason
}

/// G7.
#[test]
fn a_state_that_is_deleted_emptied_cut_or_overwritten_comes_back_equal() {
    let folder = many();
    let database = |state: &Path| state.join("db");
    rebuilds_after(&folder, |state| fs::remove_dir_all(state).unwrap());
    rebuilds_after(&folder, |state| {
        fs::remove_dir_all(state).unwrap();
        fs::create_dir(state).unwrap();
    });
    // Half of sled's file may be a whole state of an earlier time, which catches up.
    for cut in 1..8 {
        let copy = folder.copy();
        let file = database(&copy.path().join("state"));
        let bytes = fs::read(&file).unwrap();
        fs::write(file, &bytes[..bytes.len() * cut / 8]).unwrap();
        let store = open(&copy);
        let behind = store.report().rebuilt.is_some() || store.report().replayed_versions > 0;
        assert!(behind || cut > 1, "the file ends in what sled has not used yet");
        holds(&store, MANY);
        store.verify().unwrap();
    }
    rebuilds_after(&folder, |state| {
        fs::write(database(state), b"").unwrap();
    });
    rebuilds_after(&folder, |state| {
        fs::remove_dir_all(state).unwrap();
        fs::write(state, b"not even a directory").unwrap_or_default();
        fs::remove_file(state).unwrap();
        fs::create_dir(state).unwrap();
        fs::write(database(state), vec![0xaa; 100_000]).unwrap();
        fs::write(state.join("conf"), b"garbage").unwrap();
    });
}

/// G6, G7: what sled lost or what was changed.
#[test]
fn a_state_that_lost_or_changed_a_block_comes_back_equal() {
    let folder = many();
    let harm = |name: &'static str, harm: &dyn Fn(&sled::Tree)| {
        rebuilds_after(&folder, |state| {
            let db = sled::open(state).unwrap();
            harm(&db.open_tree(name).unwrap());
            db.flush().unwrap();
        })
    };
    let reason = harm("blocks", &|blocks| drop(blocks.pop_min().unwrap().unwrap()));
    assert!(reason.contains("must be"), "{reason}");
    let reason = harm("blocks", &|blocks| drop(blocks.pop_max().unwrap().unwrap()));
    assert!(reason.contains("must be"), "{reason}");
    let reason = harm("blocks", &|blocks| {
        let (key, mut value) = blocks.first().unwrap().unwrap();
        value[8] ^= 1;
        blocks.insert(key, value).unwrap();
    });
    assert!(reason.contains("checksum"), "{reason}");
    let reason = harm("filters", &|filters| filters.clear().unwrap());
    assert!(reason.contains("filter"), "{reason}");
    let reason = harm("filters", &|filters| {
        let (key, mut value) = filters.first().unwrap().unwrap();
        value[8] ^= 1;
        filters.insert(key, value).unwrap();
    });
    assert!(reason.contains("filter"), "{reason}");
    let reason = rebuilds_after(&folder, |state| {
        let db = sled::open(state).unwrap();
        let mut manifest = db.get("manifest").unwrap().unwrap();
        manifest[50] ^= 1;
        db.insert("manifest", manifest).unwrap();
        db.flush().unwrap();
    });
    assert!(reason.contains("manifest"), "{reason}");
}

/// G6: with more keys than an open compares, `verify` does.
#[test]
fn verify_names_what_the_state_lost() {
    let folder = many();
    let unchecked = SledStoreOptions { checked_keys: 0, ..options() };
    let harm = |harm: &dyn Fn(&sled::Tree)| {
        let copy = folder.copy();
        {
            let db = sled::open(copy.path().join("state")).unwrap();
            harm(&db.open_tree("blocks").unwrap());
            db.flush().unwrap();
        }
        let store = copy.open_with(unchecked.clone()).unwrap();
        assert_eq!(store.report().rebuilt, None);
        store.verify().unwrap_err()
    };
    // Bearers' keys come before versions'.
    let lost = harm(&|blocks| drop(blocks.pop_max().unwrap()));
    assert!(matches!(lost, VerifyError::PointerLost { .. }), "{lost:?}");
    let lost = harm(&|blocks| drop(blocks.pop_min().unwrap()));
    assert!(matches!(lost, VerifyError::IdentifierLost { .. }), "{lost:?}");
}

/// A crash leaves blocks that no manifest names; they are removed and change nothing.
#[test]
fn what_no_manifest_names_is_removed_at_open() {
    let folder = many();
    let sled = || sled::open(folder.path().join("state")).unwrap();
    let count = |db: &sled::Db| db.open_tree("blocks").unwrap().len();
    let before = {
        let db = sled();
        let before = count(&db);
        for number in [900_u64, 901] {
            for tree in ["blocks", "filters"] {
                let key = [number.to_be_bytes().as_slice(), b"vPatient"].concat();
                db.open_tree(tree).unwrap().insert(key, b"half written").unwrap();
            }
        }
        db.flush().unwrap();
        before
    };
    // It is removed behind everything else, and a close does not wait for that.
    for _ in 0..100 {
        let store = open(&folder);
        assert_eq!(store.report().rebuilt, None);
        holds(&store, MANY);
        store.verify().unwrap();
        close(store);
        if count(&sled()) == before {
            return;
        }
    }
    panic!("what no manifest names is still there");
}

/// Runs are merged and removed while they are read, and nothing is missed.
#[test]
fn what_is_being_merged_is_found_all_the_time() {
    let folder = Folder::new();
    let no_lag = SledStoreOptions { lag_versions: 0, lag_bytes: 0, ..options() };
    let store = Arc::new(folder.open_with(no_lag).unwrap());
    fill(store.as_ref(), 1, 1);
    let done = Arc::new(AtomicBool::new(false));
    let (reader, stop) = (Arc::clone(&store), Arc::clone(&done));
    let reader = thread::Builder::new().spawn(move || {
        let mut reads = 0_u64;
        while !stop.load(Ordering::Relaxed) {
            for t in 1..=reader.head().t.get() {
                let text = t.to_string();
                let name = format!("Patient/{t}");
                let found = content(reader.as_ref(), &name, u64::MAX);
                assert_eq!(block_on(found).as_ref(), Some(&text));
                let found = identified(reader.as_ref(), "Patient", ("urn:n", &text), u64::MAX);
                assert_eq!(block_on(found), [text]);
                reads += 1;
            }
        }
        reads
    });
    for t in 2..=300 {
        fill(store.as_ref(), t, t);
    }
    store.verify().unwrap();
    done.store(true, Ordering::Relaxed);
    assert!(reader.unwrap().join().unwrap() > 300);
}

/// G7.
#[test]
fn a_state_behind_the_log_catches_up() {
    let (folder, _) = two_groups();
    let store = open(&folder);
    assert_eq!((&store.report().rebuilt, store.report().replayed_commits), (&None, 2));
    holds(&store, 4);
}

/// G7: the log lost commits that the state has seen.
#[test]
fn a_state_ahead_of_the_log_is_rebuilt_and_says_so() {
    let (folder, whole) = two_groups();
    close(open(&folder));
    let log = fs::read(folder.segment(1)).unwrap();
    fs::write(folder.segment(1), &log[..whole]).unwrap();
    let store = open(&folder);
    let reason = store.report().rebuilt.clone().unwrap().reason;
    assert!(reason.contains("commit 4"), "{reason}");
    holds(&store, 2);
}

#[test]
fn the_state_of_another_log_is_not_used() {
    let (folder, _) = two_groups();
    let other = Folder::new();
    let store = open(&other);
    append(&store, &[commit(1, vec![put("Patient/x", 1, "")])]);
    close(store);
    fs::remove_dir_all(folder.path().join("state")).unwrap();
    fs::rename(other.path().join("state"), folder.path().join("state")).unwrap();
    let store = open(&folder);
    let reason = store.report().rebuilt.clone().unwrap().reason;
    assert!(reason.contains("another log"), "{reason}");
    holds(&store, 4);
}

#[test]
fn a_body_whose_identifiers_cannot_be_derived_is_an_error_that_names_it() {
    let folder = Folder::new();
    let store = open(&folder);
    let mut version = put("Patient/bad", 1, "");
    version.length += 1;
    append(&store, &[commit(1, vec![version])]);
    close(store);
    assert_eq!(open(&folder).head().t, T::new(1));
    fs::remove_dir_all(folder.path().join("state")).unwrap();
    let error = folder.open_with(options()).unwrap_err();
    assert!(error.to_string().contains("Patient/bad"), "{error}");
    assert!(error.source().is_some());
}
