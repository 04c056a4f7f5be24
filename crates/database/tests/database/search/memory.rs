//! An index that may have little memory finds what one that has all of it finds, and what cannot be
//! read from the disk any more is never taken for nothing.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use database::{Expect, IndexState, Seen, Visibility};
use fhir_core::ResourceType;
use store::{HistoryOrder, T, places};

use super::differential::change;
use super::kept::{compare, files, index, purge};
use super::{refers, search};
use crate::differential::Chance;
use crate::gate::Hold;
use crate::support::{Clinic, block_on, put};

/// Nothing that can be read again stays, and some of it.
const BUDGETS: [usize; 2] = [0, 40_000];

fn within(bytes: usize) -> Clinic {
    let mut clinic = Clinic::over_sled_with_a_kept_index();
    clinic.index_bytes = Some(bytes);
    clinic.reopen();
    clinic
}

fn state(clinic: &Clinic) -> IndexState {
    clinic.database().index_state().unwrap()
}

/// The files of segments.
fn segments(clinic: &Clinic) -> Vec<PathBuf> {
    let is_segment = |path: &PathBuf| path.to_string_lossy().contains("segment-");
    files(&clinic.kept_index()).into_iter().filter(is_segment).collect()
}

/// Harms all files of segments, in one of three ways.
fn harm(clinic: &Clinic, way: usize) {
    for path in segments(clinic) {
        let mut bytes = fs::read(&path).unwrap();
        match way {
            0 => bytes.iter_mut().skip(60).for_each(|byte| *byte ^= 1),
            1 => bytes.truncate(100),
            _ => bytes.clear(),
        }
        // The same file, not another with its name.
        fs::write(&path, bytes).unwrap();
    }
}

#[test]
fn an_index_with_little_memory_finds_the_same_over_closes_and_crashes() {
    for (seed, budget) in (7..).zip(BUDGETS) {
        let (mut clinic, mut chance) = (within(budget), Chance(seed));
        let mut loaded = 0;
        for round in 0..8 {
            index(&clinic);
            assert_eq!(clinic.was_restored(), round > 0, "round {round} within {budget}");
            compare(&clinic, &mut chance, 10);
            assert!(round == 0 || state(&clinic).held <= budget, "{:?}", state(&clinic));
            change(&clinic, &mut chance, 10);
            clinic.database().settle_index();
            compare(&clinic, &mut chance, 10);
            loaded += state(&clinic).loaded;
            match round % 3 {
                2 => clinic.reopen_after_a_drop(),
                _ => clinic.reopen(),
            }
        }
        assert!(loaded > 0, "within {budget}");
    }
}

#[test]
fn segments_are_written_down_as_soon_as_they_take_more_than_they_may() {
    let (clinic, mut chance) = (within(0), Chance(2));
    index(&clinic);
    change(&clinic, &mut chance, 30);
    clinic.database().settle_index();
    assert!(!segments(&clinic).is_empty());
    assert_eq!(state(&clinic).held, 0);
    compare(&clinic, &mut chance, 10);
    let size = state(&clinic);
    assert!(size.held == 0 && size.loaded > 0 && size.evicted > 0, "{size:?}");
    // No manifest names them yet, and no file of one that was merged stays.
    for _ in 0..8 {
        change(&clinic, &mut chance, 5);
        clinic.database().settle_index();
    }
    assert!(segments(&clinic).len() <= 5, "{:?}", segments(&clinic));
    compare(&clinic, &mut chance, 10);
}

#[test]
fn a_file_that_is_harmed_below_an_index_is_never_taken_for_nothing() {
    for way in 0..3 {
        let (mut clinic, mut chance) = (within(0), Chance(11));
        index(&clinic);
        change(&clinic, &mut chance, 30);
        clinic.reopen();
        index(&clinic);
        assert!(clinic.was_restored());
        compare(&clinic, &mut chance, 5);
        harm(&clinic, way);
        // Whatever becomes of the index meanwhile.
        compare(&clinic, &mut chance, 20);
        let mut looks = 0;
        while clinic.was_restored() {
            assert!(looks < 60_000, "{:?}", state(&clinic));
            looks += 1;
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(clinic.database().wait_for_index(Duration::from_secs(60)));
        compare(&clinic, &mut chance, 20);
        clinic.reopen();
        index(&clinic);
        assert!(clinic.was_restored());
        compare(&clinic, &mut chance, 5);
    }
}

/// Versions of the patient `1` and of others, more than are enumerated at once.
const VERSIONS: usize = 700;

/// The names of the patient's versions, as its history is to be, the oldest first. What was the
/// patient's and is another's now is not in it.
fn with_a_history(clinic: &Clinic) -> Vec<String> {
    let name = |at: usize| format!("Basic/{at}");
    let change = |at: usize, patient: &str| {
        let subject = refers("subject", &format!("Patient/{patient}"));
        put(&name(at), &format!("{{\"resourceType\":\"Basic\",{subject}}}"), Expect::Any)
    };
    let (is_theirs, is_moved) = (|at: &usize| at.is_multiple_of(3), |at: &usize| at % 30 == 6);
    for first in (0..VERSIONS).step_by(100) {
        let changes = first..first + 100;
        let changes = changes.map(|at| change(at, if is_theirs(&at) { "1" } else { "2" }));
        clinic.commit(changes.collect()).unwrap();
    }
    let moved = (0..VERSIONS).filter(is_moved).map(|at| change(at, "2")).collect();
    clinic.commit(moved).unwrap();
    (0..VERSIONS).filter(|at| is_theirs(at) && !is_moved(at)).map(name).collect()
}

/// The history of who sees the patient `1` alone: the names of versions, the oldest first.
fn history_of_one(clinic: &Clinic, order: HistoryOrder) -> Vec<String> {
    let (of, patient) = ("Basic".parse::<ResourceType>().unwrap(), "1".parse().unwrap());
    let seen = [(of.clone(), vec![Seen::within_patients([patient])])];
    let snapshot = clinic.database().snapshot(Visibility::of_parts(seen.into()));
    let all = places(T::ZERO, snapshot.at());
    let found = block_on(snapshot.log(Some(&of), all.clone(), order, VERSIONS)).unwrap();
    assert_eq!(block_on(snapshot.count_log(Some(&of), all)).unwrap(), found.len() as u64);
    let entries = found.into_iter().map(|version| version.entry).collect::<Vec<_>>();
    let mut named: Vec<_> = entries.iter().map(|it| format!("Basic/{}", it.id)).collect();
    if order == HistoryOrder::NewestFirst {
        named.reverse();
    }
    named
}

/// What a caller sees of a history is complete, and shows nothing of others, also where the index
/// that tells it is harmed before it is asked, or between two pieces of the history.
#[test]
fn an_index_that_is_harmed_in_the_midst_of_a_history_takes_nothing_out_and_shows_nothing_more() {
    // LEAK-07
    for (pieces, way, order) in [
        (0, 0, HistoryOrder::OldestFirst),
        (1, 0, HistoryOrder::OldestFirst),
        (1, 1, HistoryOrder::NewestFirst),
        (2, 2, HistoryOrder::OldestFirst),
    ] {
        let mut clinic = within(0);
        index(&clinic);
        let expected = with_a_history(&clinic);
        clinic.database().settle_index();
        clinic.reopen();
        index(&clinic);
        assert!(clinic.was_restored());
        clinic.gate().hold_one_after(pieces, Hold::History);
        let told = std::thread::scope(|scope| {
            let telling = scope.spawn(|| history_of_one(&clinic, order));
            clinic.gate().wait_until_held();
            harm(&clinic, way);
            if pieces > 0 {
                // Another search meets it.
                search(&clinic.snapshot(), "Basic?subject=Patient/2&_count=1").unwrap();
            }
            clinic.gate().release();
            telling.join().unwrap()
        });
        assert_eq!(told, expected, "after {pieces} pieces, harmed in way {way}");
        assert_eq!(history_of_one(&clinic, order), expected);
        // It was the index, and it was found harmed.
        let mut looks = 0;
        while clinic.was_restored() {
            assert!(looks < 60_000, "{:?}", state(&clinic));
            looks += 1;
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn after_a_purge_an_index_with_little_memory_finds_the_others_alone() {
    let mut clinic = within(0);
    index(&clinic);
    for id in 0..40 {
        let json = "{\"resourceType\":\"Patient\",\"name\":[{\"family\":\"Muster\"}]}";
        clinic.write(put(&format!("Patient/{id}"), json, Expect::Any));
        if id % 10 == 0 {
            clinic.database().settle_index();
        }
    }
    let count = |clinic: &Clinic| {
        search(&clinic.snapshot(), "Patient?family=muster").unwrap().matches.len()
    };
    for (round, id) in [(1, "3"), (2, "20"), (3, "39")] {
        assert_eq!(count(&clinic), 41 - round);
        let old = segments(&clinic);
        let before: Vec<Vec<u8>> = old.iter().map(|path| fs::read(path).unwrap()).collect();
        block_on(clinic.database().purge(purge(id, round as u128))).unwrap();
        assert_eq!(count(&clinic), 40 - round);
        assert!(clinic.database().wait_for_index(Duration::from_secs(60)));
        assert_eq!(count(&clinic), 40 - round);
        clinic.database().settle_index();
        assert_eq!(count(&clinic), 40 - round);
        let gone = |path: &PathBuf, bytes: &Vec<u8>| fs::read(path).ok().as_ref() != Some(bytes);
        assert!(old.iter().zip(&before).all(|(path, bytes)| gone(path, bytes)));
        clinic.reopen();
        index(&clinic);
        assert!(clinic.was_restored());
        assert_eq!(count(&clinic), 40 - round);
    }
}
