//! Histories over many segments, and what they are read by: derived, and made again.

use std::fs;
use std::path::PathBuf;

use store::suite::block_on;
use store::suite::fixture::{commit, resource_type};
use store::{HistoryOrder, Place, Store, T, places};
use store_sled::{SledStore, VerifyError};

use crate::support::{Folder, close, fill, options, small_segments};

fn run(folder: &Folder, segment: u64) -> PathBuf {
    folder.path().join(format!("history/{segment:016}.run"))
}

/// Twenty commits of a version each, every one in a segment of its own.
fn filled() -> (Folder, SledStore) {
    let folder = Folder::new();
    let store = folder.open_with(small_segments()).unwrap();
    for t in 1..=20 {
        fill(&store, t, t);
    }
    (folder, store)
}

/// The commits in the history of everything and in that of Patient, which are the same.
fn history(store: &SledStore, after: u64, through: u64) -> Vec<u64> {
    let range = places(T::new(after), T::new(through));
    let patient = resource_type("Patient");
    let commits = |of| {
        let found = store.history(of, range.clone(), HistoryOrder::NewestFirst, 100);
        let found = block_on(found).unwrap();
        let count = block_on(store.count_history(of, range.clone())).unwrap();
        assert_eq!(found.len() as u64, count);
        found.iter().map(|version| version.place.t.get()).collect::<Vec<_>>()
    };
    let all = commits(None);
    assert_eq!(commits(Some(&patient)), all);
    all
}

fn is_whole(store: &SledStore) {
    assert_eq!(history(store, 0, 20), (1..=20).rev().collect::<Vec<_>>());
    assert_eq!(history(store, 4, 9), [9, 8, 7, 6, 5]);
    for t in 0..=20 {
        let at = block_on(store.position_at(commit(t, vec![]).instant)).unwrap();
        assert_eq!(at, T::new(t));
    }
    store.verify().unwrap();
}

#[test]
fn a_version_tells_the_hash_of_its_commit_in_the_chain() {
    let folder = Folder::new();
    let store = folder.open_with(small_segments()).unwrap();
    let mut heads = Vec::new();
    for t in 1..=20 {
        fill(&store, t, t);
        heads.push(store.head().hash);
    }
    let found = store.history(None, places(T::ZERO, T::new(20)), HistoryOrder::OldestFirst, 100);
    let hash = |entry| block_on(store.hash_of_commit(entry)).unwrap().unwrap();
    let hashes: Vec<_> = block_on(found).unwrap().iter().map(|it| hash(&it.entry)).collect();
    assert_eq!(hashes, heads);
}

/// G7: while it is in use, and at rest.
#[test]
fn a_history_that_is_deleted_or_harmed_comes_back_equal() {
    let (folder, store) = filled();
    is_whole(&store);
    close(store);
    let whole: Vec<_> = (1..20).map(|segment| fs::read(run(&folder, segment)).unwrap()).collect();
    assert!(!run(&folder, 20).exists());
    let harms: [fn(&mut Vec<u8>); 6] = [
        Vec::clear,
        |bytes| bytes.truncate(bytes.len() / 2),
        |bytes| bytes.truncate(4096),
        |bytes| bytes[50] ^= 1,
        |bytes| bytes[4096 + 3] ^= 1,
        |bytes| bytes.fill(0),
    ];
    for harm in harms {
        for segment in 1..20 {
            let mut bytes = fs::read(run(&folder, segment)).unwrap();
            harm(&mut bytes);
            fs::write(run(&folder, segment), bytes).unwrap();
        }
        let store = folder.open_with(small_segments()).unwrap();
        is_whole(&store);
        // And while the store is open, which knows where each column begins.
        for segment in 1..20 {
            let mut bytes = fs::read(run(&folder, segment)).unwrap();
            bytes[4096..].fill(7);
            fs::write(run(&folder, segment), bytes).unwrap();
        }
        is_whole(&store);
        close(store);
        for (segment, whole) in (1..20).zip(&whole) {
            assert!(fs::read(run(&folder, segment)).unwrap() == *whole, "{segment}");
        }
    }
    fs::remove_dir_all(folder.path().join("history")).unwrap();
    is_whole(&folder.open_with(small_segments()).unwrap());
}

/// G6: a run whose checksums are right and that leaves a version out is noticed.
#[test]
fn verify_names_a_history_that_is_not_its_segments() {
    let (folder, store) = filled();
    close(store);
    let path = run(&folder, 7);
    let mut bytes = fs::read(&path).unwrap();
    // The length of the one version's block, in the column of lengths, is not its own.
    let page = 4 * 4096;
    assert!(bytes.len() >= page + 4096);
    bytes[page] ^= 1;
    let checksum = crc32c::crc32c(&bytes[page..page + 4088]).to_le_bytes();
    bytes[page + 4088..page + 4092].copy_from_slice(&checksum);
    fs::write(&path, bytes).unwrap();
    let store = folder.open_with(small_segments()).unwrap();
    let found = store.verify().unwrap_err();
    assert!(matches!(found, VerifyError::HistoryDiffers { segment: 7 }), "{found:?}");
    assert!(found.to_string().contains("history/0000000000000007.run"));
    // A page that it is on is an error, never one with something else.
    let (of, range) = (None, places(T::new(5), T::new(8)));
    let page = store.history(of, range, HistoryOrder::NewestFirst, 9);
    assert!(block_on(page).is_err());
    fs::remove_file(&path).unwrap();
    drop(store);
    is_whole(&folder.open_with(small_segments()).unwrap());
}

/// G4: a page whose end another one begins at, over segments that come to be meanwhile.
#[test]
fn pages_over_segments_that_come_to_be_meanwhile_have_each_version_once() {
    let (_folder, store) = filled();
    let mut seen = Vec::new();
    let mut range = places(T::ZERO, T::new(20));
    let mut next = 21;
    loop {
        let page = store.history(None, range.clone(), HistoryOrder::NewestFirst, 3);
        let page = block_on(page).unwrap();
        let Some(last) = page.last() else { break };
        range.end = last.place;
        seen.extend(page.iter().map(|version| version.place.t.get()));
        fill(&store, next, next + 1);
        next += 2;
    }
    assert_eq!(seen, (1..=20).rev().collect::<Vec<_>>());
    // Ordinals beyond a commit's versions are where the next commit begins.
    let range = Place { t: T::new(3), ordinal: 9 }..Place { t: T::new(4), ordinal: u32::MAX };
    let found = block_on(store.history(None, range, HistoryOrder::OldestFirst, 9)).unwrap();
    assert_eq!(found.len(), 1);
}

/// A log without histories, as one of before there were any.
#[test]
fn a_log_without_histories_gets_them_when_they_are_asked_for() {
    let (folder, store) = filled();
    close(store);
    fs::remove_dir_all(folder.path().join("history")).unwrap();
    let store = folder.open_with(options()).unwrap();
    assert!(!folder.path().join("history").exists());
    assert_eq!(history(&store, 6, 8), [8, 7]);
    assert!(run(&folder, 7).exists() && !run(&folder, 1).exists());
    is_whole(&store);
}
