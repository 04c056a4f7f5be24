//! Groups that are judged while the one before is being written: they rest on what it will have
//! done, and on nothing should it not be written.

use database::{CommitError, Expect, Options, Receipt, Transaction};
use store::{AppendError, T};

use crate::gate::{Hold, Outcome};
use crate::support::{
    Clinic, Waiting, block_on, condition, create, delete, enqueue, identified, is_pending, patient,
    put, resource, said, transaction, version,
};

over_each_backend! {
    a_group_is_judged_by_the_one_that_is_being_written
    what_rests_on_a_group_that_is_not_written_is_not_written_either
    only_the_group_that_was_begun_has_an_unknown_outcome
    a_disk_that_fails_twice_in_a_row_is_written_to_again
    a_writer_that_panics_leaves_nobody_waiting
    a_full_group_waits_for_the_disk_and_the_line_stays_bounded
}

/// So many waiting are judged while the disk is busy, and more.
const MANY: u64 = 24;
/// When so many wait, judging begins.
const WORTH_WAKING: u64 = 16;

type Answer = Result<Receipt, CommitError>;

fn alone(change: database::Change) -> Transaction {
    transaction(T::ZERO, vec![change])
}

/// Holds a group of one transaction at the disk, and lets the first of others be judged meanwhile.
fn judge_behind(clinic: &Clinic, first: Transaction, behind: Vec<Transaction>) -> Vec<Waiting> {
    clinic.gate().hold(Hold::Before);
    let mut waiting = vec![enqueue(clinic.database(), first)];
    clinic.gate().wait_until_held();
    let asked = clinic.clock.asked();
    // Once a group, and once for each that is judged.
    let judged = asked + 1 + WORTH_WAKING;
    waiting.extend(behind.into_iter().map(|behind| enqueue(clinic.database(), behind)));
    while clinic.clock.asked() < judged {
        std::thread::yield_now();
    }
    waiting
}

fn answers(clinic: &Clinic, waiting: &mut [Waiting]) -> Vec<Answer> {
    clinic.gate().release();
    waiting.iter_mut().map(block_on).collect()
}

fn creates(names: std::ops::Range<u64>) -> impl Iterator<Item = Transaction> {
    names.map(|n| alone(create(&format!("Patient/n{n}"), &patient("n", &[]))))
}

fn conditional(id: &str) -> Transaction {
    Transaction {
        conditions: vec![condition("x", &[])],
        ..alone(create(&format!("Patient/{id}"), &patient("a", &["x"])))
    }
}

/// G3, G11.
fn a_group_is_judged_by_the_one_that_is_being_written(clinic: &mut Clinic) {
    clinic.gate().groups();
    let only = |number| Expect::Versions(vec![version(number)]);
    let mut behind = vec![
        alone(put("Patient/1", &patient("b", &[]), only(1))),
        alone(put("Patient/1", &patient("c", &[]), only(1))),
        conditional("2"),
        alone(delete("Patient/1", only(2))),
    ];
    behind.extend(creates(0..MANY));
    let first = alone(put("Patient/1", &patient("a", &["x"]), Expect::Any));
    let mut waiting = judge_behind(clinic, first, behind);
    assert!(waiting.iter_mut().all(is_pending));
    assert_eq!(clinic.snapshot().at(), T::ZERO);
    let answers = answers(clinic, &mut waiting);
    assert_eq!(clinic.gate().groups(), [1, 2 + MANY as usize]);
    assert!(matches!(answers[2], Err(CommitError::Precondition { .. })), "{:?}", answers[2]);
    // Whoever has the identifier is not durable yet: ask again.
    assert!(matches!(answers[3], Err(CommitError::Raced)), "{:?}", answers[3]);
    let t: Vec<_> =
        answers.iter().filter_map(|answer| Some(answer.as_ref().ok()?.t.get())).collect();
    assert_eq!(t, Vec::from_iter(1..=3 + MANY));
    let (of, id) = resource("Patient/1");
    let history = block_on(clinic.snapshot().history(&of, &id)).unwrap();
    assert_eq!(history.len(), 3);
    assert!(clinic.json("Patient/1").is_none() && clinic.json("Patient/n23").is_some());
}

fn what_rests_on_a_group_that_is_not_written_is_not_written_either(clinic: &mut Clinic) {
    clinic.write(put("Patient/1", &patient("a", &[]), Expect::Any));
    clinic.gate().groups();
    let only = |number| Expect::Versions(vec![version(number)]);
    let mut behind = vec![
        alone(put("Patient/1", &patient("c", &[]), only(2))),
        // A refusal, and a deletion of nothing, for what then never happened.
        alone(put("Patient/1", &patient("d", &[]), only(1))),
        alone(delete("Patient/9", Expect::Any)),
        conditional("2"),
    ];
    behind.extend(creates(0..MANY));
    clinic.gate().next([Outcome::Fails(AppendError::DiskFull)]);
    let first = alone(put("Patient/1", &patient("b", &["x"]), only(1)));
    let mut waiting = judge_behind(clinic, first, behind);
    for answer in answers(clinic, &mut waiting) {
        match answer {
            Err(error @ CommitError::Store(_)) => assert!(error.is_disk_full()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(clinic.gate().groups(), [1], "the second is not tried");
    assert!(clinic.database().takes_commits());
    assert_eq!(said(&clinic.json("Patient/1").unwrap()), "a");
    assert_eq!(clinic.json("Patient/n0"), None);
    // Positions go on without a gap, the version and the identifier are free.
    let receipt = block_on(clinic.database().commit(conditional("2"))).unwrap();
    assert_eq!(receipt.t, T::new(2));
    let written = clinic.write(put("Patient/1", &patient("b", &[]), only(1)));
    assert_eq!(written.version, Some(version(2)));
    assert_eq!(block_on(identified(&clinic.snapshot(), "x")), ["2"]);
    clinic.reopen_without_derived_data();
    assert_eq!(said(&clinic.json("Patient/1").unwrap()), "b");
}

fn only_the_group_that_was_begun_has_an_unknown_outcome(clinic: &mut Clinic) {
    let failed = std::io::Error::other("as the test asked");
    clinic.gate().next([Outcome::Fails(AppendError::Poisoned(Some(failed)))]);
    let first = alone(create("Patient/1", &patient("a", &[])));
    let mut waiting = judge_behind(clinic, first, creates(0..MANY).collect());
    let answers = answers(clinic, &mut waiting);
    assert!(matches!(answers[0], Err(CommitError::OutcomeUnknown)), "{:?}", answers[0]);
    for answer in &answers[1..] {
        assert!(matches!(answer, Err(CommitError::Store(_))), "{answer:?}");
    }
    assert!(!clinic.database().takes_commits());
}

fn a_disk_that_fails_twice_in_a_row_is_written_to_again(clinic: &mut Clinic) {
    let full = || Outcome::Fails(AppendError::DiskFull);
    clinic.gate().next([full(), full()]);
    for round in 0..2 {
        let first = alone(create("Patient/1", &patient("a", &[])));
        let mut waiting = judge_behind(clinic, first, creates(0..MANY).collect());
        for answer in answers(clinic, &mut waiting) {
            assert!(matches!(answer, Err(CommitError::Store(_))), "{round}: {answer:?}");
        }
        assert_eq!(clinic.gate().groups(), [1]);
    }
    let first = alone(create("Patient/1", &patient("a", &[])));
    let mut waiting = judge_behind(clinic, first, creates(0..MANY).collect());
    let t: Vec<_> =
        answers(clinic, &mut waiting).into_iter().map(|answer| answer.unwrap().t.get()).collect();
    assert_eq!(t, Vec::from_iter(1..=1 + MANY));
    clinic.reopen_without_derived_data();
    assert_eq!(clinic.snapshot().at(), T::new(1 + MANY));
}

/// Neither those of its group, nor those that were judged meanwhile, nor who comes later.
fn a_writer_that_panics_leaves_nobody_waiting(clinic: &mut Clinic) {
    clinic.gate().next([Outcome::Panics]);
    let first = alone(create("Patient/1", &patient("a", &[])));
    let mut waiting = judge_behind(clinic, first, creates(0..MANY).collect());
    for answer in answers(clinic, &mut waiting) {
        assert!(matches!(answer, Err(CommitError::OutcomeUnknown)), "{answer:?}");
    }
    let later = clinic.commit(vec![create("Patient/2", &patient("a", &[]))]);
    assert!(matches!(later, Err(CommitError::Closed)), "{later:?}");
    assert!(!clinic.database().takes_commits());
    assert_eq!(clinic.snapshot().at(), T::ZERO);
}

fn a_full_group_waits_for_the_disk_and_the_line_stays_bounded(clinic: &mut Clinic) {
    let queue = 2 * MANY as usize;
    clinic.reopen_with(Options { group: MANY as usize, queue, ..Options::default() });
    let first = alone(create("Patient/1", &patient("a", &[])));
    let mut waiting = judge_behind(clinic, first, creates(0..MANY).collect());
    waiting.extend(creates(MANY..2 * MANY).map(|more| enqueue(clinic.database(), more)));
    let refused = clinic.commit(vec![create("Patient/2", &patient("a", &[]))]);
    assert!(matches!(refused, Err(CommitError::Overloaded)), "{refused:?}");
    clinic.gate().groups();
    for answer in answers(clinic, &mut waiting) {
        answer.unwrap();
    }
    assert_eq!(clinic.gate().groups(), [MANY as usize, MANY as usize]);
    assert_eq!(clinic.snapshot().at(), T::new(1 + 2 * MANY));
}
