//! Damage in the log is named, and nothing is deleted.

use std::fs;

use store::suite::block_on;
use store::suite::fixture::{append, commit, put};
use store::{Store, T};
use store_sled::{Flaw, VerifyError};

use crate::support::{
    Folder, close, damage, files, fill, holds, open, options, resource, small_segments, two_groups,
};

/// G6, G8: also in the last group, which is whole.
#[test]
fn a_flipped_bit_anywhere_in_the_newest_segment_is_named_and_nothing_is_deleted() {
    let (folder, whole) = two_groups();
    let log = fs::read(folder.segment(1)).unwrap();
    let header = log.windows(4).position(|bytes| bytes == b"HGG1").unwrap();
    for at in 0..log.len() {
        let mut flipped = log.clone();
        flipped[at] ^= 1 << (at % 8);
        fs::write(folder.segment(1), &flipped).unwrap();
        let before = files(&folder.path());
        let damage = damage(folder.open_with(options()).unwrap_err());
        assert_eq!(damage.segment, 1, "byte {at}");
        let offset = usize::try_from(damage.offset).unwrap();
        let part = |of| [0, header, whole].into_iter().rev().find(|start| *start <= of);
        assert_eq!(part(offset), part(at), "byte {at}: {damage}");
        assert!(damage.lost.starts_with("commit "), "byte {at}: {damage}");
        assert!(files(&folder.path()) == before, "byte {at}");
    }
    fs::write(folder.segment(1), &log).unwrap();
    holds(&open(&folder), 4);
}

/// G6: what an open does not look at, `verify` and every read of it do.
#[test]
fn a_flipped_bit_anywhere_in_an_older_segment_is_named_by_verify_and_by_reads() {
    let small = small_segments();
    let folder = Folder::new();
    let store = folder.open_with(small.clone()).unwrap();
    fill(&store, 1, 2);
    fill(&store, 3, 3);
    let log = fs::read(folder.segment(1)).unwrap();
    assert!(folder.segment(2).exists());
    let lengths = [1, 2].map(|t| {
        let (patient, id) = resource(&format!("Patient/{t}"));
        let entry = block_on(store.newest(&patient, &id, T::new(3)));
        entry.unwrap().unwrap().location.length
    });
    let (blocks, mut unreadable) = (lengths.iter().sum::<u32>(), 0);
    for at in 0..log.len() {
        let mut flipped = log.clone();
        flipped[at] ^= 1 << (at % 8);
        fs::write(folder.segment(1), &flipped).unwrap();
        let damage = match store.verify().unwrap_err() {
            VerifyError::Damaged(damage) => damage,
            other => panic!("byte {at}: {other:?}"),
        };
        assert_eq!(damage.segment, 1, "byte {at}");
        assert!(damage.offset <= at as u64, "byte {at}: {damage}");
        for t in [1, 2, 3] {
            let (patient, id) = resource(&format!("Patient/{t}"));
            let entry = block_on(store.newest(&patient, &id, T::new(3))).unwrap().unwrap();
            match block_on(store.body(&entry)) {
                Ok(body) => assert!(body.ends_with(format!("\n{t}").as_bytes())),
                Err(error) => {
                    let said = error.to_string();
                    assert!(said.contains("segment 1"), "byte {at}: {said}");
                    assert!(said.contains(&format!("Patient/{t}")), "byte {at}: {said}");
                    unreadable += 1;
                }
            }
        }
    }
    assert_eq!(unreadable, blocks);
    fs::write(folder.segment(1), &log).unwrap();
    holds(&store, 3);
}

/// G8.
#[test]
fn a_missing_segment_is_an_error_that_names_it() {
    let small = small_segments();
    let folder = Folder::new();
    let store = folder.open_with(small.clone()).unwrap();
    for t in 1..=3 {
        fill(&store, t, t);
    }
    close(store);
    for number in [2, 1] {
        fs::rename(folder.segment(number), folder.path().join("elsewhere")).unwrap();
        let damage = damage(folder.open_with(small.clone()).unwrap_err());
        assert_eq!((damage.segment, damage.flaw), (number, Flaw::SegmentMissing));
        fs::rename(folder.path().join("elsewhere"), folder.segment(number)).unwrap();
    }
    holds(&folder.open_with(small).unwrap(), 3);
}

/// The process can end between making a segment and writing the first group to it.
#[test]
fn a_segment_without_commits_continues_the_one_before() {
    let small = small_segments();
    let folder = Folder::new();
    let store = folder.open_with(small.clone()).unwrap();
    fill(&store, 1, 1);
    let before = folder.copy();
    fill(&store, 2, 2);
    close(store);
    let second = fs::read(folder.segment(2)).unwrap();
    let header = second.windows(4).position(|bytes| bytes == b"HGG1").unwrap();
    fs::write(before.segment(2), &second[..header]).unwrap();
    let store = before.open_with(small).unwrap();
    assert_eq!(store.report().cut, None);
    holds(&store, 1);
    fill(&store, 2, 2);
    holds(&store, 2);
}

#[test]
fn segments_out_of_place_are_damage() {
    let small = small_segments();
    let folder = Folder::new();
    let store = folder.open_with(small.clone()).unwrap();
    for t in 1..=2 {
        fill(&store, t, t);
    }
    close(store);
    fs::copy(folder.segment(1), folder.segment(2)).unwrap();
    let copied = damage(folder.open_with(small.clone()).unwrap_err());
    assert_eq!(copied.segment, 2);
    assert_eq!(copied.flaw, Flaw::Field("segment's number"));

    let other = Folder::new();
    let store = other.open_with(small.clone()).unwrap();
    append(&store, &[commit(1, vec![put("Patient/1", 1, "other")])]);
    append(&store, &[commit(2, vec![put("Patient/2", 1, "other")])]);
    close(store);
    fs::copy(other.segment(2), folder.segment(2)).unwrap();
    fs::remove_dir_all(folder.path().join("state")).unwrap();
    let foreign = damage(folder.open_with(small).unwrap_err());
    assert_eq!(foreign.segment, 2);
    assert_eq!(foreign.flaw, Flaw::ChainBroken { after: T::new(1) });
}
