//! G11: nothing is visible before it is durable, nothing is answered before it is visible; and
//! what comes of commits when the store fails, too many wait, or the database closes.

use std::sync::Arc;

use database::{CommitError, Expect, Options, Transaction};
use store::{AppendError, Store, T};

use crate::gate::{Hold, Outcome};
use crate::support::{
    Clinic, Waiting, block_on, condition, create, delete, enqueue, everything, filler, identified,
    is_pending, json, patient, put, resource, said, transaction, version,
};

over_each_backend! {
    a_database_that_is_dropped_lets_go_of_its_store
    nothing_is_visible_or_answered_before_it_is_durable
    nothing_is_answered_before_it_is_visible
    a_failed_append_fails_its_whole_group_and_later_commits_work
    a_store_that_lost_its_log_ends_commits_and_not_reads
    of_a_write_that_the_disk_failed_in_the_outcome_is_unknown
    a_state_that_is_being_put_right_refuses_and_does_not_end_commits
    a_writer_that_panics_ends_commits_and_says_so
    one_more_than_may_wait_is_refused
    more_bytes_than_may_wait_are_refused
    a_clock_far_behind_the_data_ends_writes_until_it_is_right
    closing_commits_what_waits_and_takes_nothing_more
    a_caller_that_goes_away_does_not_undo_its_commit
}

fn alone(change: database::Change) -> Transaction {
    transaction(T::ZERO, vec![change])
}

/// Puts Patient/1 and waits until its append is held.
fn held(clinic: &Clinic, at: Hold) -> Waiting {
    clinic.gate().hold(at);
    let change = put("Patient/1", &patient("a", &["x"]), Expect::Any);
    let waiting = enqueue(clinic.database(), alone(change));
    clinic.gate().wait_until_held();
    waiting
}

fn assert_invisible(clinic: &Clinic) {
    let snapshot = clinic.snapshot();
    assert_eq!(snapshot.at(), T::ZERO);
    let (of, id) = resource("Patient/1");
    assert_eq!(block_on(json(&snapshot, "Patient/1")), None);
    assert!(block_on(snapshot.newest(&of, &id)).unwrap().is_none());
    assert!(block_on(snapshot.vread(&of, &id, version(1))).unwrap().is_none());
    assert!(block_on(snapshot.history(&of, &id)).unwrap().is_empty());
    assert!(block_on(identified(&snapshot, "x")).is_empty());
}

fn assert_visible(clinic: &Clinic) {
    let snapshot = clinic.snapshot();
    assert_eq!(snapshot.at(), T::new(1));
    assert!(block_on(json(&snapshot, "Patient/1")).is_some());
    assert_eq!(block_on(identified(&snapshot, "x")), ["1"]);
}

/// G11.
fn nothing_is_visible_or_answered_before_it_is_durable(clinic: &mut Clinic) {
    let mut waiting = held(clinic, Hold::Before);
    assert_eq!(clinic.gate().head().t, T::ZERO);
    assert!(is_pending(&mut waiting));
    assert_invisible(clinic);
    clinic.gate().release();
    block_on(waiting).unwrap();
    assert_visible(clinic);
}

/// G11: the store has it, and as long as the database has not published it nobody is answered.
fn nothing_is_answered_before_it_is_visible(clinic: &mut Clinic) {
    let mut waiting = held(clinic, Hold::After);
    assert_eq!(clinic.gate().head().t, T::new(1));
    assert_invisible(clinic);
    assert!(is_pending(&mut waiting));
    clinic.gate().release();
    block_on(waiting).unwrap();
    assert_visible(clinic);
}

fn a_failed_append_fails_its_whole_group_and_later_commits_work(clinic: &mut Clinic) {
    clinic.write(put("Patient/1", &patient("a", &[]), Expect::Any));
    let at = clinic.snapshot().at();
    let full = Outcome::Fails(AppendError::DiskFull);
    clinic.gate().next([Outcome::Passes, full]);
    let stale = Expect::Versions(vec![version(1)]);
    let creating = |id: &str| Transaction {
        conditions: vec![condition("x", &[])],
        ..transaction(at, vec![create(&format!("Patient/{id}"), &patient("a", &["x"]))])
    };
    // The refusals and the deletion of nothing rest on commits that then never happened.
    let answers = clinic.as_one_group(vec![
        alone(put("Patient/1", &patient("b", &[]), Expect::Any)),
        alone(put("Patient/1", &patient("c", &[]), stale.clone())),
        alone(delete("Patient/2", Expect::Any)),
        creating("3"),
        creating("4"),
    ]);
    assert_eq!(answers.len(), 5);
    for answer in answers {
        match answer {
            Err(error @ CommitError::Store(_)) => assert!(error.is_disk_full()),
            other => panic!("{other:?}"),
        }
    }
    assert!(clinic.database().takes_commits());
    let snapshot = clinic.snapshot();
    assert!(block_on(identified(&snapshot, "x")).is_empty());
    let (of, id) = resource("Patient/1");
    assert_eq!(block_on(snapshot.history(&of, &id)).unwrap().len(), 1);
    drop(snapshot);
    // Version 1 is the newest again, x is free again, and positions go on without a gap.
    let written = clinic.write(put("Patient/1", &patient("c", &[]), stale));
    assert_eq!(written.version, Some(version(2)));
    let receipt = block_on(clinic.database().commit(creating("4"))).unwrap();
    assert_eq!(receipt.t, T::new(at.get() + 3));
    clinic.reopen_without_derived_data();
    assert_eq!(block_on(identified(&clinic.snapshot(), "x")), ["4"]);
}

fn a_store_that_lost_its_log_ends_commits_and_not_reads(clinic: &mut Clinic) {
    clinic.write(create("Patient/1", &patient("a", &[])));
    assert!(clinic.database().takes_commits());
    clinic.gate().next([Outcome::Fails(AppendError::Poisoned(None))]);
    let refused = clinic.commit(vec![filler()]).unwrap_err();
    assert!(matches!(refused, CommitError::Store(_)) && !refused.is_disk_full());
    assert!(!clinic.database().takes_commits());
    assert!(clinic.json("Patient/1").is_some());
    clinic.reopen();
    assert!(clinic.database().takes_commits());
    clinic.write(filler());
}

/// The bytes may be on the disk: a client that is told they are not would send them again.
fn of_a_write_that_the_disk_failed_in_the_outcome_is_unknown(clinic: &mut Clinic) {
    let failed = std::io::Error::other("as the test asked");
    clinic.gate().next([Outcome::Fails(AppendError::Poisoned(Some(failed)))]);
    let unknown = clinic.commit(vec![filler()]).unwrap_err();
    assert!(matches!(unknown, CommitError::OutcomeUnknown), "{unknown:?}");
    assert!(!clinic.database().takes_commits());
}

fn a_state_that_is_being_put_right_refuses_and_does_not_end_commits(clinic: &mut Clinic) {
    let reason = "as the test asked".to_owned();
    clinic.gate().next([Outcome::Fails(AppendError::StateFailed { reason })]);
    let refused = clinic.commit(vec![filler()]).unwrap_err();
    assert!(matches!(refused, CommitError::Store(_)) && !refused.is_disk_full());
    assert!(clinic.database().takes_commits());
    clinic.write(filler());
}

fn a_writer_that_panics_ends_commits_and_says_so(clinic: &mut Clinic) {
    clinic.write(create("Patient/1", &patient("a", &[])));
    clinic.gate().next([Outcome::Panics]);
    clinic.gate().hold(Hold::Before);
    let mut waiting = enqueue(clinic.database(), alone(filler()));
    clinic.gate().wait_until_held();
    let mut behind = enqueue(clinic.database(), alone(filler()));
    clinic.gate().release();
    for waiting in [&mut waiting, &mut behind] {
        let answer = block_on(waiting);
        assert!(matches!(answer, Err(CommitError::OutcomeUnknown)), "{answer:?}");
    }
    assert!(!clinic.database().takes_commits());
    let refused = clinic.commit(vec![filler()]);
    assert!(matches!(refused, Err(CommitError::Closed)), "{refused:?}");
    assert!(clinic.json("Patient/1").is_some());
    clinic.reopen();
    clinic.write(filler());
}

fn one_more_than_may_wait_is_refused(clinic: &mut Clinic) {
    clinic.reopen_with(Options { queue: 3, ..Options::default() });
    let mut waiting = vec![held(clinic, Hold::Before)];
    for id in ["2", "3", "4"] {
        let change = create(&format!("Patient/{id}"), &patient("a", &[]));
        waiting.push(enqueue(clinic.database(), alone(change)));
    }
    let refused = clinic.commit(vec![create("Patient/5", &patient("a", &[]))]);
    assert!(matches!(refused, Err(CommitError::Overloaded)), "{refused:?}");
    assert!(clinic.database().takes_commits());
    clinic.gate().release();
    for answer in waiting {
        block_on(answer).unwrap();
    }
    assert_eq!(clinic.json("Patient/5"), None);
    clinic.write(create("Patient/5", &patient("a", &[])));
}

fn more_bytes_than_may_wait_are_refused(clinic: &mut Clinic) {
    clinic.reopen_with(Options { queue_bytes: 3000, ..Options::default() });
    let mut waiting = vec![held(clinic, Hold::Before)];
    let long = patient(&"a".repeat(4000), &[]);
    waiting.push(enqueue(clinic.database(), alone(create("Patient/2", &long))));
    // What has no body waits for nothing but its turn, and even so it is one too many.
    for change in [create("Patient/3", &patient("a", &[])), delete("Patient/1", Expect::Any)] {
        let refused = clinic.commit(vec![change]);
        assert!(matches!(refused, Err(CommitError::Overloaded)), "{refused:?}");
    }
    clinic.gate().release();
    for answer in waiting {
        block_on(answer).unwrap();
    }
    assert_eq!(clinic.json("Patient/3"), None);
    assert!(clinic.json("Patient/1").is_some());
    clinic.write(create("Patient/3", &long));
}

fn a_clock_far_behind_the_data_ends_writes_until_it_is_right(clinic: &mut Clinic) {
    const NOW: i64 = 1_800_000_000_000_000;
    const MINUTE: i64 = 60_000_000;
    clinic.clock.set(NOW);
    clinic.write(put("Patient/1", &patient("a", &[]), Expect::Any));
    clinic.clock.set(NOW - MINUTE);
    let written = clinic.write(put("Patient/1", &patient("b", &[]), Expect::Any));
    assert_eq!(written.instant.as_micros(), NOW + 1);
    // Also when it is so from the start.
    for reopens in [false, true] {
        clinic.clock.set(NOW - MINUTE);
        if reopens {
            clinic.reopen();
        }
        assert!(!clinic.database().takes_commits());
        let refused = clinic.commit(vec![put("Patient/1", &patient("c", &[]), Expect::Any)]);
        match refused {
            Err(CommitError::ClockBehind { now, newest }) => {
                assert_eq!((now.as_micros(), newest.as_micros()), (NOW - MINUTE, NOW + 1));
            }
            other => panic!("{other:?}"),
        }
        let (of, id) = resource("Patient/1");
        assert_eq!(block_on(clinic.snapshot().history(&of, &id)).unwrap().len(), 2);
        assert!(clinic.json("Patient/1").unwrap().contains("\"b\""));
    }
    clinic.clock.set(NOW + 1 - MINUTE);
    assert!(clinic.database().takes_commits());
    clinic.write(put("Patient/1", &patient("c", &[]), Expect::Any));
}

fn closing_commits_what_waits_and_takes_nothing_more(clinic: &mut Clinic) {
    let mut waiting = vec![held(clinic, Hold::Before)];
    for id in ["2", "3"] {
        let change = create(&format!("Patient/{id}"), &patient("a", &[]));
        waiting.push(enqueue(clinic.database(), alone(change)));
    }
    std::thread::scope(|scope| {
        let closing = scope.spawn(|| clinic.database().close());
        // It takes nothing more from the moment it begins to close, before anything is written.
        while clinic.database().takes_commits() {
            std::thread::yield_now();
        }
        let refused = clinic.commit(vec![filler()]);
        assert!(matches!(refused, Err(CommitError::Closed)), "{refused:?}");
        assert!(!closing.is_finished());
        assert_invisible(clinic);
        clinic.gate().release();
        closing.join().unwrap().unwrap();
    });
    for answer in waiting {
        block_on(answer).unwrap();
    }
    assert!(clinic.json("Patient/3").is_some());
    clinic.database().close().unwrap();
    clinic.reopen();
    for id in ["1", "2", "3"] {
        assert!(clinic.json(&format!("Patient/{id}")).is_some());
    }
}

fn a_caller_that_goes_away_does_not_undo_its_commit(clinic: &mut Clinic) {
    drop(held(clinic, Hold::Before));
    let next = enqueue(clinic.database(), alone(filler()));
    clinic.gate().release();
    block_on(next).unwrap();
    let snapshot = everything(&Arc::clone(clinic.database()));
    assert!(block_on(json(&snapshot, "Patient/1")).is_some());
}

/// G2.
fn a_database_that_is_dropped_lets_go_of_its_store(clinic: &mut Clinic) {
    clinic.write(put("Patient/1", &patient("a", &[]), Expect::Any));
    clinic.reopen_after_a_drop();
    assert_eq!(said(&clinic.json("Patient/1").unwrap()), "a");
    clinic.write(put("Patient/1", &patient("b", &[]), Expect::Any));
    assert_eq!(said(&clinic.json("Patient/1").unwrap()), "b");
}
