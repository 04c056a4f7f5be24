//! A group that a crash left unfinished is cut off and kept aside.

use std::fs;

use store::suite::block_on;
use store::suite::fixture::content;
use store::{Store, T};

use crate::support::{Folder, close, fill, holds, open, two_groups};

/// Opens `folder` with these bytes as its log and expects the second group torn, from `cut` on.
fn opens_without_second_group(folder: &Folder, log: &[u8], whole: usize, tail: &[u8]) {
    fs::write(folder.segment(1), log).unwrap();
    let store = open(folder);
    if tail.is_empty() {
        assert_eq!(store.report().cut, None);
    } else {
        let cut = store.report().cut.clone().unwrap();
        assert_eq!((cut.segment, cut.offset), (1, whole as u64));
        assert_eq!(cut.bytes, tail.len() as u64);
        assert!(fs::read(&cut.copied_to).unwrap() == tail);
        fs::remove_file(&cut.copied_to).unwrap();
    }
    assert_eq!(store.report().rebuilt, None);
    assert_eq!(store.head().t, T::new(2));
    for (t, expected) in [(2, Some("2".to_owned())), (3, None), (4, None)] {
        let found = block_on(content(&store, &format!("Patient/{t}"), u64::MAX));
        assert_eq!(found, expected);
    }
    close(store);
    let left = fs::read(folder.segment(1)).unwrap();
    assert!(left == log[..whole]);
}

/// G1.
#[test]
fn a_group_cut_short_at_any_byte_is_cut_off_and_kept_aside() {
    let (folder, whole) = two_groups();
    let log = fs::read(folder.segment(1)).unwrap();
    for length in whole..log.len() {
        opens_without_second_group(&folder, &log[..length], whole, &log[whole..length]);
    }
    fs::write(folder.segment(1), &log).unwrap();
    let store = open(&folder);
    assert_eq!(store.report().replayed_commits, 2);
    holds(&store, 4);
}

/// G1.
#[test]
fn a_group_zero_filled_from_any_byte_is_cut_off_and_kept_aside() {
    let (folder, whole) = two_groups();
    let log = fs::read(folder.segment(1)).unwrap();
    for from in whole..log.len() {
        let mut zeroed = log.clone();
        zeroed[from..].fill(0);
        let tail = zeroed[whole..].to_vec();
        opens_without_second_group(&folder, &zeroed, whole, &tail);
    }
    let mut longer = log.clone();
    longer.resize(log.len() + 5000, 0);
    fs::write(folder.segment(1), &longer).unwrap();
    let store = open(&folder);
    assert_eq!(store.report().cut.as_ref().unwrap().bytes, 5000);
    holds(&store, 4);
}

#[test]
fn after_a_torn_tail_was_cut_off_the_log_goes_on() {
    let (folder, whole) = two_groups();
    let log = fs::read(folder.segment(1)).unwrap();
    fs::write(folder.segment(1), &log[..whole + 100]).unwrap();
    let store = open(&folder);
    fill(&store, 3, 5);
    holds(&store, 5);
    close(store);
    holds(&open(&folder), 5);
}
