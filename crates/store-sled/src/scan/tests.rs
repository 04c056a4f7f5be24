//! What a walk makes of a log that changes under it, and of blocks that were never written.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use store::suite::fixture::{FirstLine, append, commit, put, tenant};
use store::{Store, T};
use tempfile::TempDir;

use super::{Place, ScanError, SegmentScan};
use crate::{SledStore, SledStoreOptions};

const BLOCK: usize = 512;

fn open(folder: &Path) -> SledStore {
    let options = SledStoreOptions { cache_bytes: 4 << 20, ..SledStoreOptions::default() };
    SledStore::open(folder, tenant().as_str(), Arc::new(FirstLine), options).unwrap()
}

fn segment(folder: &Path) -> PathBuf {
    folder.join("log/0000000000000001.log")
}

fn scan(path: &Path) -> SegmentScan {
    SegmentScan::open(&crate::disk::Disk::default(), path, 1, Place::Last, &tenant(), None, T::ZERO)
        .unwrap()
}

/// Text of so many bytes without a zero.
fn text(length: usize) -> String {
    (0..length).map(|n| char::from(b'a' + (n * n % 23) as u8)).collect()
}

/// Appends commits in one group, each with a text of so many bytes.
fn group(store: &SledStore, lengths: &[usize]) {
    let first = store.head().t.get() + 1;
    let put_at = |(t, length): (u64, &usize)| {
        commit(t, vec![put(&format!("Patient/{t}"), 1, &text(*length))])
    };
    append(store, &(first..).zip(lengths).map(put_at).collect::<Vec<_>>());
}

/// Walks on to the end and says at which commit that is.
fn walk(scan: &mut SegmentScan) -> Result<u64, ScanError> {
    while scan.next()?.is_some() {}
    Ok(scan.head().t.get())
}

/// A backup's walk over a log whose next group is longer than the file was.
#[test]
fn a_group_that_goes_beyond_the_length_the_file_had_ends_the_walk() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path());
    group(&store, &[100]);
    for length in [3 << 20, 40_000] {
        let mut scan = scan(&segment(folder.path()));
        let last = store.head().t.get();
        while scan.head().t.get() < last {
            scan.next().unwrap().unwrap();
        }
        group(&store, &[length]);
        let end = walk(&mut scan).unwrap();
        assert!(end == last || end == last + 1, "{end}");
        assert_eq!(walk(&mut scan).unwrap(), end);
    }
    assert_eq!(walk(&mut scan(&segment(folder.path()))).unwrap(), 3);
}

#[test]
fn zeros_that_are_cut_off_under_a_walk_are_its_end() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path());
    group(&store, &[700_000, 900_000]);
    group(&store, &[10]);
    let mut early = scan(&segment(folder.path()));
    let mut late = scan(&segment(folder.path()));
    while late.next().unwrap().is_some_and(|found| found.head.t < T::new(3)) {}
    store.close().unwrap();
    for scan in [&mut early, &mut late] {
        assert_eq!(walk(scan).unwrap(), 3);
        assert!(scan.torn().is_none() && !scan.is_followed_by_zeros());
    }
}

/// A log with the texts' groups after each other, where each of them ends, and its file.
fn log(groups: &[&[usize]]) -> (TempDir, Vec<u8>, Vec<usize>) {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path());
    let mut ends = Vec::new();
    for lengths in groups {
        group(&store, lengths);
        let mut scan = scan(&segment(folder.path()));
        walk(&mut scan).unwrap();
        ends.push(usize::try_from(scan.end()).unwrap());
    }
    store.close().unwrap();
    let bytes = fs::read(segment(folder.path())).unwrap();
    (folder, bytes, ends)
}

/// A write is seen in parts while it is under way, in any of them.
#[test]
fn a_group_of_which_a_part_is_seen_too_early_is_read_again() {
    let (folder, bytes, ends) = log(&[&[10], &[2_000, 2_000]]);
    let path = segment(folder.path());
    for stale in [ends[0]..ends[0] + 5, ends[1] - 30..ends[1], ends[1] - 1_500..ends[1] - 700] {
        let mut early = bytes.clone();
        early[stale.clone()].iter_mut().for_each(|byte| *byte ^= 1);
        fs::write(&path, &early).unwrap();
        let mut scan = scan(&path);
        while scan.end() < ends[0] as u64 {
            scan.next().unwrap().unwrap();
        }
        let within = stale.start == ends[1] - 1_500;
        if within {
            assert_eq!(scan.next().unwrap().unwrap().head.t, T::new(2));
        }
        // The walk has read all of it by now.
        fs::write(&path, &bytes).unwrap();
        let last = walk(&mut scan).unwrap();
        assert_eq!(last, if within { 3 } else { 1 }, "{stale:?}");
        // And what stays as it was is damage.
        fs::write(&path, &early).unwrap();
        let damaged = walk(&mut self::scan(&path));
        assert!(matches!(damaged, Err(ScanError::Damaged(_))), "{stale:?}");
    }
}

/// Blocks of the disk in which some of `range` lies.
fn blocks(range: Range<usize>) -> Range<usize> {
    range.start / BLOCK..range.end.div_ceil(BLOCK)
}

/// The log with only zeros from `start` on in these blocks.
fn without(bytes: &[u8], start: usize, missing: impl Iterator<Item = usize>) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for block in missing {
        let end = bytes.len().min((block + 1) * BLOCK);
        bytes[start.max(block * BLOCK)..end].fill(0);
    }
    bytes
}

/// G1: whatever blocks of the last group were written, and wherever in a block its header and its
/// trailer stand, also where they lie in two.
#[test]
fn a_group_is_torn_whichever_of_its_blocks_were_not_written() {
    let mut straddled = 0;
    for shift in (0..BLOCK).step_by(24) {
        let (folder, bytes, ends) = log(&[&[30 + shift], &[900, 20, 700 - shift / 2]]);
        let path = segment(folder.path());
        let own = ends[0]..ends[1];
        straddled += usize::from(ends[0] % BLOCK > BLOCK - 32);
        let all: Vec<usize> = blocks(own.clone()).collect();
        assert!(all.len() < 8);
        for missing in 1_usize..1 << all.len() {
            let gone = all.iter().enumerate().filter(|(bit, _)| missing >> bit & 1 == 1);
            let torn = without(&bytes, own.start, gone.map(|(_, block)| *block));
            for ahead in [0, 5_000] {
                let mut torn = torn.clone();
                torn.resize(bytes.len() + ahead, 0);
                fs::write(&path, &torn).unwrap();
                let mut scan = scan(&path);
                assert_eq!(walk(&mut scan).unwrap(), 1, "{shift} {missing:b}");
                assert_eq!(scan.end(), own.start as u64);
                let nothing = torn[own.start..].iter().all(|byte| *byte == 0);
                assert_eq!(scan.torn().is_none(), nothing, "{shift} {missing:b}");
            }
        }
    }
    assert!(straddled > 0);
}

/// G8: groups that others follow were acknowledged, and are not cut off because a block turned
/// into zeros that held several of them.
#[test]
fn a_block_of_zeros_in_several_small_groups_at_the_end_is_damage() {
    let mut tried = 0;
    for shift in (0..BLOCK).step_by(37) {
        let (folder, bytes, ends) = log(&[&[700 + shift], &[20], &[9], &[1], &[30], &[2], &[44]]);
        let path = segment(folder.path());
        let (last, start) = (ends[ends.len() - 2], ends[0]);
        for block in blocks(start..last) {
            let cleared = without(&bytes, start, std::iter::once(block));
            // A block up to the end leaves nothing to tell it from a group that was cut short, and
            // of a trailer in two blocks the last bytes may be anybody's.
            if (block + 1) * BLOCK + 8 > bytes.len() {
                continue;
            }
            fs::write(&path, cleared).unwrap();
            let damaged = walk(&mut scan(&path));
            assert!(matches!(damaged, Err(ScanError::Damaged(_))), "{shift} {block}: {damaged:?}");
            tried += 1;
        }
    }
    assert!(tried > 30, "{tried}");
}
