//! Logs copied while they grow, and copies cut back.

use std::fs;

use fhir_core::Instant;
use store::suite::block_on;
use store::suite::fixture::{resource_id, resource_type, tenant};
use store::{Store, T};
use store_sled::{
    LogExtent, Reached, SledStoreOptions, VerifyError, cut_after, extent, newest_commit,
};

use crate::support::{Folder, close, fill, holds, open, options};

fn extent_of(folder: &Folder, reached: Option<&Reached>) -> Result<LogExtent, VerifyError> {
    extent(&folder.path(), &tenant(), reached)
}

/// What a backup does: the segments up to their extents, and the format.
fn copied(folder: &Folder, extent: &LogExtent) -> Folder {
    let copy = Folder::new();
    fs::create_dir_all(copy.path().join("log")).unwrap();
    fs::copy(folder.path().join("format"), copy.path().join("format")).unwrap();
    for segment in &extent.segments {
        let bytes = fs::read(&segment.path).unwrap();
        let to = copy.path().join("log").join(segment.path.file_name().unwrap());
        fs::write(to, &bytes[..usize::try_from(segment.length).unwrap()]).unwrap();
    }
    copy
}

/// So small that a few groups fill a segment.
fn short_segments() -> SledStoreOptions {
    SledStoreOptions { segment_bytes: 2_000, ..options() }
}

/// G10: nobody is asked, and nothing is held up.
#[test]
fn a_log_copied_while_its_store_is_open_opens_equal() {
    let folder = Folder::new();
    let store = folder.open_with(short_segments()).unwrap();
    for first in (1..=60).step_by(3) {
        fill(&store, first, first + 2);
        let found = extent_of(&folder, None).unwrap();
        assert_eq!((found.head, found.versions), (store.head(), first + 2));
        assert_eq!(newest_commit(&folder.path(), &tenant()).unwrap(), store.head());
    }
    let found = extent_of(&folder, None).unwrap();
    assert!(found.segments.len() > 3);
    // Half a group at the end is one that was not acknowledged.
    let last = &found.segments.last().unwrap().path;
    let mut bytes = fs::read(last).unwrap();
    bytes.extend_from_slice(b"HGG1\x03\x00");
    fs::write(last, bytes).unwrap();
    assert_eq!(extent_of(&folder, None).unwrap(), found);
    let copy = copied(&folder, &found);
    let restored = open(&copy);
    assert_eq!((restored.head(), &restored.report().cut), (store.head(), &None));
    holds(&restored, 60);
}

/// G10: a second walk goes on where the first ended, and notices another log.
#[test]
fn a_walk_goes_on_from_where_an_earlier_one_ended() {
    let folder = Folder::new();
    let store = folder.open_with(short_segments()).unwrap();
    fill(&store, 1, 20);
    let first = extent_of(&folder, None).unwrap();
    let at = first.segments.last().unwrap();
    let reached = Reached { head: first.head, segment: at.number };
    assert_eq!(extent_of(&folder, Some(&reached)).unwrap().versions, 0);
    for group in 3..8 {
        fill(&store, group * 10 - 9, group * 10);
    }
    let next = extent_of(&folder, Some(&reached)).unwrap();
    assert_eq!((next.head, next.versions), (store.head(), 50));
    assert_eq!(next.segments[0].number, at.number);
    assert!(next.segments[0].length >= at.length && next.segments.len() > 1);

    let mut other = reached;
    other.head.hash.0[0] ^= 1;
    let found = extent_of(&folder, Some(&other)).unwrap_err();
    assert!(matches!(found, VerifyError::OtherLog { after } if after == reached.head.t));
    // A log whose segment of that number begins later.
    other = reached;
    other.segment += 2;
    let found = extent_of(&folder, Some(&other)).unwrap_err();
    assert!(matches!(found, VerifyError::OtherLog { .. }), "{found:?}");
    other = reached;
    other.head.t = T::new(71);
    let found = extent_of(&folder, Some(&other)).unwrap_err();
    assert!(matches!(found, VerifyError::OtherLog { .. }), "{found:?}");
}

/// G6, G10: a damaged log is not backed up as if it were whole.
#[test]
fn a_flipped_bit_is_noticed_by_the_walk() {
    let folder = Folder::new();
    let store = open(&folder);
    fill(&store, 1, 3);
    close(store);
    let path = extent_of(&folder, None).unwrap().segments[0].path.clone();
    let bytes = fs::read(&path).unwrap();
    for at in (0..bytes.len()).step_by(7) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 4;
        fs::write(&path, flipped).unwrap();
        assert!(extent_of(&folder, None).is_err(), "byte {at}");
    }
}

/// G6, G10: only the newest segment may end in what was not finished.
#[test]
fn a_segment_cut_short_or_zeroed_before_others_is_noticed_by_the_walk() {
    let folder = Folder::new();
    let store = folder.open_with(short_segments()).unwrap();
    for first in (1..=40).step_by(2) {
        fill(&store, first, first + 1);
    }
    close(store);
    let found = extent_of(&folder, None).unwrap();
    let [inner, _, .., newest] = &found.segments[..] else { panic!("too few segments") };
    for (segment, noticed) in [(inner, true), (newest, false)] {
        let whole = fs::read(&segment.path).unwrap();
        let cut = whole[..whole.len() - 5].to_vec();
        let mut zeroed = whole.clone();
        zeroed[whole.len() - 20..].fill(0);
        for bytes in [cut, zeroed] {
            fs::write(&segment.path, bytes).unwrap();
            assert_eq!(extent_of(&folder, None).is_err(), noticed);
        }
        fs::write(&segment.path, whole).unwrap();
    }
}

/// The instants of the commits, by their positions from 1.
fn instants(folder: &Folder, last: u64) -> Vec<Instant> {
    let store = open(folder);
    let patient = resource_type("Patient");
    let instant = |t: u64| {
        let id = resource_id(&t.to_string());
        let newest = store.newest(&patient, &id, T::new(last));
        block_on(newest).unwrap().unwrap().instant
    };
    (1..=last).map(instant).collect()
}

/// G10: to any instant, also one within a group.
#[test]
fn a_copy_cut_back_to_any_instant_has_exactly_the_commits_up_to_it() {
    const LAST: u64 = 18;
    let folder = Folder::new();
    let store = folder.open_with(short_segments()).unwrap();
    for first in (1..=LAST).step_by(6) {
        fill(&store, first, first + 2);
        fill(&store, first + 3, first + 5);
    }
    close(store);
    let instants = instants(&folder, LAST);
    for kept in 0..=LAST {
        let index = usize::try_from(kept).unwrap();
        let at = match index.checked_sub(1) {
            Some(index) => instants[index],
            None => Instant::from_micros(instants[0].as_micros() - 1),
        };
        let copy = folder.copy();
        fs::remove_dir_all(copy.path().join("state")).unwrap();
        let head = cut_after(&copy.path(), &tenant(), at).unwrap();
        assert_eq!(head.t, T::new(kept));
        let found = extent_of(&copy, None).unwrap();
        assert_eq!((found.head, found.versions), (head, kept));
        let store = open(&copy);
        assert_eq!(store.report().cut, None);
        holds(&store, kept);
        // And the log goes on from there.
        fill(&store, kept + 1, kept + 2);
        close(store);
        holds(&open(&copy), kept + 2);
    }
}
