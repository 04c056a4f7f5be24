//! The derived state, harmed in every way, comes back equal.

use std::error::Error;
use std::fs;
use std::path::Path;

use store::suite::fixture::{append, commit, put};
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
    rebuilds_after(&folder, |state| {
        let bytes = fs::read(database(state)).unwrap();
        fs::write(database(state), &bytes[..bytes.len() / 2]).unwrap();
    });
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

/// G6, G7: keys that sled lost or that were changed.
#[test]
fn a_state_that_lost_or_changed_a_key_comes_back_equal() {
    let folder = many();
    let tree = |state: &Path, name: &str| {
        let db = sled::open(state).unwrap();
        (db.open_tree(name).unwrap(), db)
    };
    let reason = rebuilds_after(&folder, |state| {
        let (versions, db) = tree(state, "versions");
        versions.pop_min().unwrap().unwrap();
        db.flush().unwrap();
    });
    assert!(reason.contains(&format!("{} keys", 2 * MANY - 1)), "{reason}");
    rebuilds_after(&folder, |state| {
        let (versions, db) = tree(state, "versions");
        let (key, mut value) = versions.first().unwrap().unwrap();
        value[8] ^= 1;
        versions.insert(key, value).unwrap();
        db.flush().unwrap();
    });
    rebuilds_after(&folder, |state| {
        let (identifiers, db) = tree(state, "identifiers");
        identifiers.clear().unwrap();
        db.flush().unwrap();
    });
}

/// G6: with more keys than an open compares, `verify` does.
#[test]
fn verify_names_what_the_state_lost() {
    let folder = many();
    let unchecked = SledStoreOptions { checked_keys: 0, ..options() };
    let harm = |tree: &str, harm: &dyn Fn(&sled::Tree)| {
        let copy = folder.copy();
        {
            let db = sled::open(copy.path().join("state")).unwrap();
            harm(&db.open_tree(tree).unwrap());
            db.flush().unwrap();
        }
        let store = copy.open_with(unchecked.clone()).unwrap();
        assert_eq!(store.report().rebuilt, None);
        store.verify().unwrap_err()
    };
    let lost = harm("versions", &|tree| drop(tree.pop_min().unwrap()));
    assert!(matches!(lost, VerifyError::PointerLost { .. }), "{lost:?}");
    let lost = harm("identifiers", &|tree| drop(tree.pop_max().unwrap()));
    assert!(matches!(lost, VerifyError::IdentifierLost { .. }), "{lost:?}");
    let beyond = harm("versions", &|tree| {
        let (mut key, value) = tree.first().unwrap().unwrap();
        key[8] = b'x';
        tree.insert(key, value).unwrap();
    });
    assert!(matches!(beyond, VerifyError::KeysBeyondLog { .. }), "{beyond:?}");
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
