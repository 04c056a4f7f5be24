//! Commits that share one group: each sees what those before it did, though none is durable yet.

use database::{CommitError, Expect, Options, Precondition, Receipt, Transaction};
use store::T;

use crate::gate::Hold;
use crate::support::{
    Clinic, block_on, condition, create, delete, enqueue, filler, identified, json, patient, put,
    said, transaction, version,
};

over_each_backend! {
    commits_of_one_group_judge_by_those_before_them
    one_identifier_is_created_once_within_a_group
    a_condition_is_prepared_again_when_its_group_touches_it
    what_a_refused_transaction_would_have_done_is_not_seen_by_its_group
    groups_keep_their_bounds_and_no_one_is_left_behind
}

type Answer = Result<Receipt, CommitError>;

fn alone(change: database::Change) -> Transaction {
    transaction(T::ZERO, vec![change])
}

fn number(answer: &Answer) -> Option<u64> {
    answer.as_ref().unwrap().written[0].version.map(fhir_core::VersionId::get)
}

fn failed(answer: &Answer) -> Precondition {
    match answer {
        Err(CommitError::Precondition { change: 0, failed }) => *failed,
        other => panic!("{other:?}"),
    }
}

fn commits_of_one_group_judge_by_those_before_them(clinic: &mut Clinic) {
    let put = |text: &str, expect| alone(put("Patient/1", &patient(text, &[]), expect));
    let delete = || alone(delete("Patient/1", Expect::Any));
    clinic.gate().groups();
    let answers = clinic.as_one_group(vec![
        put("a", Expect::Absent),
        put("b", Expect::Any),
        put("c", Expect::Versions(vec![version(1)])),
        put("d", Expect::Versions(vec![version(2)])),
        put("e", Expect::Absent),
        delete(),
        put("f", Expect::Versions(vec![version(3)])),
        put("g", Expect::Exists),
        delete(),
        put("h", Expect::Absent),
    ]);
    assert_eq!(clinic.gate().groups(), [1, 5]);
    let newest = |number| Precondition::VersionConflict { newest: version(number) };
    assert_eq!(number(&answers[0]), Some(1));
    assert_eq!(number(&answers[1]), Some(2));
    assert_eq!(failed(&answers[2]), newest(2));
    assert_eq!(number(&answers[3]), Some(3));
    assert_eq!(failed(&answers[4]), Precondition::Present);
    assert_eq!(number(&answers[5]), Some(4));
    assert_eq!(failed(&answers[6]), Precondition::Missing);
    assert_eq!(failed(&answers[7]), Precondition::Missing);
    let again = answers[8].as_ref().unwrap();
    let deleted = answers[5].as_ref().unwrap();
    assert_eq!((number(&answers[8]), again.written[0].changed), (Some(4), false));
    assert_eq!(again.written[0].instant, deleted.written[0].instant);
    assert_eq!(number(&answers[9]), Some(5));
    let created: Vec<_> =
        [0, 1, 3, 5, 9].map(|at: usize| answers[at].as_ref().unwrap().written[0].created).into();
    assert_eq!(created, [true, false, false, false, true]);
    // The group's commits have positions of their own, one after the other.
    let positions: Vec<_> =
        [0, 1, 3, 5, 9].map(|at: usize| answers[at].as_ref().unwrap().t.get()).into();
    assert_eq!(positions, [2, 3, 4, 5, 6]);
    assert_eq!(said(&clinic.json("Patient/1").unwrap()), "h");
}

/// G3.
fn one_identifier_is_created_once_within_a_group(clinic: &mut Clinic) {
    let creating = |id: u64| Transaction {
        conditions: vec![condition("x", &[])],
        ..alone(create(&format!("Patient/{id}"), &patient("a", &["x"])))
    };
    let answers = clinic.as_one_group((0..8).map(creating).collect());
    assert!(answers[0].is_ok());
    for answer in &answers[1..] {
        assert!(matches!(answer, Err(CommitError::Raced)), "{answer:?}");
    }
    assert_eq!(block_on(identified(&clinic.snapshot(), "x")), ["0"]);
}

/// G3.
fn a_condition_is_prepared_again_when_its_group_touches_it(clinic: &mut Clinic) {
    let bearing =
        |id: &str, value: &str| put(&format!("Patient/{id}"), &patient("a", &[value]), Expect::Any);
    for id in ["1", "2", "3"] {
        clinic.write(bearing(id, &format!("v{id}")));
    }
    let at = clinic.snapshot().at();
    let if_borne_by = |value: &str, id: &str, new: &str| Transaction {
        conditions: vec![condition(value, &[id])],
        ..transaction(at, vec![create(&format!("Patient/{new}"), &patient("n", &[]))])
    };
    let answers = clinic.as_one_group(vec![
        alone(bearing("1", "other")),
        if_borne_by("v1", "1", "n1"),
        alone(delete("Patient/2", Expect::Any)),
        if_borne_by("v2", "2", "n2"),
        if_borne_by("v3", "3", "n3"),
        alone(bearing("4", "v3")),
        if_borne_by("v3", "3", "n4"),
    ]);
    let raced: Vec<_> =
        answers.iter().map(|answer| matches!(answer, Err(CommitError::Raced))).collect();
    assert_eq!(raced, [false, true, false, true, false, false, true]);
    for (name, there) in [("n1", false), ("n2", false), ("n3", true), ("n4", false)] {
        let name = format!("Patient/{name}");
        assert_eq!(clinic.json(&name).is_some(), there, "{name}");
    }
}

fn what_a_refused_transaction_would_have_done_is_not_seen_by_its_group(clinic: &mut Clinic) {
    let refused = transaction(
        T::ZERO,
        vec![
            put("Patient/1", &patient("a", &["x"]), Expect::Any),
            delete("Patient/2", Expect::Exists),
        ],
    );
    let conditional = Transaction {
        conditions: vec![condition("x", &[])],
        ..alone(put("Patient/1", &patient("b", &["x"]), Expect::Absent))
    };
    let answers = clinic.as_one_group(vec![refused, conditional]);
    assert!(matches!(answers[0], Err(CommitError::Precondition { change: 1, .. })));
    assert_eq!(number(&answers[1]), Some(1));
    assert_eq!(said(&clinic.json("Patient/1").unwrap()), "b");
}

fn groups_keep_their_bounds_and_no_one_is_left_behind(clinic: &mut Clinic) {
    // Digits in no order: their compressed length is some 42 % of theirs.
    let digits: String = (0..450_u64)
        .map(|n| format!("{:07}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40))
        .collect();
    let large = format!("{{\"resourceType\":\"Basic\",\"text\":\"{digits}\"}}");
    clinic.reopen_with(Options { group: 4, group_bytes: 2000, ..Options::default() });
    clinic.gate().hold(Hold::Before);
    let mut answers = vec![enqueue(clinic.database(), alone(filler()))];
    clinic.gate().wait_until_held();
    // Small, small, large (two thirds of a group), large, then small ones.
    for (number, size) in "ssllsssss".chars().enumerate() {
        let name = format!("Basic/{number}");
        let json = match size {
            's' => "{\"resourceType\":\"Basic\"}",
            _ => &large,
        };
        answers.push(enqueue(clinic.database(), alone(create(&name, json))));
    }
    clinic.gate().groups();
    clinic.gate().release();
    for answer in &mut answers {
        block_on(answer).unwrap();
    }
    assert_eq!(clinic.gate().groups(), [3, 4, 2]);
    let snapshot = clinic.snapshot();
    for number in 0..9 {
        let there = block_on(json(&snapshot, &format!("Basic/{number}")));
        assert!(there.is_some(), "{number}");
    }
}
