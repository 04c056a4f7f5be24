//! A group that a crash left unfinished is cut off and kept aside.

use std::fs;

use store::suite::block_on;
use store::suite::fixture::{append, commit, content, put};
use store::{Store, T};
use store_sled::OpenError;

use crate::support::{Folder, close, fill, holds, open, options, two_groups};

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
        // Zeros alone are no group.
        let tail = if from == whole { &[] } else { &zeroed[whole..] };
        opens_without_second_group(&folder, &zeroed, whole, tail);
    }
}

/// A log whose last group, of many blocks of the disk, begins at the position returned.
fn a_group_of_many_blocks() -> (Folder, usize) {
    let folder = Folder::new();
    let store = open(&folder);
    fill(&store, 1, 2);
    close(store);
    let before = folder.copy();
    let whole = fs::read(folder.segment(1)).unwrap().len();
    let store = open(&folder);
    let text: String = (0..6_000).map(|n| char::from(b'a' + (n * n % 23) as u8)).collect();
    append(&store, &[commit(3, vec![put("Patient/3", 1, &text)])]);
    close(store);
    fs::copy(folder.segment(1), before.segment(1)).unwrap();
    (before, whole)
}

/// G1: a disk writes the blocks of a group in any order.
#[test]
fn a_group_of_which_any_block_was_not_written_is_cut_off_and_kept_aside() {
    let (folder, whole) = a_group_of_many_blocks();
    let log = fs::read(folder.segment(1)).unwrap();
    for block in whole / 512..log.len().div_ceil(512) {
        let mut torn = log.clone();
        torn[(block * 512).max(whole)..((block + 1) * 512).min(log.len())].fill(0);
        // As it would stand there with zeros written ahead, too.
        for zeros in [0, 100_000] {
            torn.resize(log.len() + zeros, 0);
            opens_without_second_group(&folder, &torn, whole, &torn[whole..]);
        }
    }
}

/// G6, G8: what others follow was durable.
#[test]
fn a_block_that_is_zeros_before_a_later_group_is_damage() {
    let (folder, whole) = a_group_of_many_blocks();
    let store = open(&folder);
    fill(&store, 4, 4);
    close(store);
    let log = fs::read(folder.segment(1)).unwrap();
    for block in [whole.div_ceil(512), whole / 512 + 8, whole / 512] {
        let mut damaged = log.clone();
        damaged[(block * 512).max(whole)..(block + 1) * 512].fill(0);
        fs::write(folder.segment(1), &damaged).unwrap();
        assert!(matches!(folder.open_with(options()), Err(OpenError::Damaged(_))), "{block}");
        assert!(fs::read(folder.segment(1)).unwrap() == damaged);
    }
}

#[test]
fn zeros_stand_ahead_while_the_store_is_open_and_are_no_torn_tail() {
    let (folder, _) = two_groups();
    let log = fs::read(folder.segment(1)).unwrap();
    let store = open(&folder);
    fill(&store, 5, 5);
    let ahead = fs::read(folder.segment(1)).unwrap();
    assert!(ahead.len() > 500_000 && ahead.starts_with(&log));
    fill(&store, 6, 9);
    assert_eq!(fs::metadata(folder.segment(1)).unwrap().len(), ahead.len() as u64);
    let crashed = fs::read(folder.segment(1)).unwrap();
    close(store);
    let closed = fs::read(folder.segment(1)).unwrap();
    assert!(crashed[..closed.len()] == closed && closed.last() != Some(&0));
    fs::write(folder.segment(1), &crashed).unwrap();
    let store = open(&folder);
    assert_eq!(store.report().cut, None);
    holds(&store, 9);
    fill(&store, 10, 10);
    close(store);
    holds(&open(&folder), 10);
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
