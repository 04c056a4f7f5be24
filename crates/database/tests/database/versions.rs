//! One resource through its life: numbers, preconditions, deletion, instants.

use std::collections::BTreeSet;
use std::sync::Arc;

use database::{CommitError, Expect, Method, Precondition};
use fhir_core::Instant;

use crate::support::{
    Clinic, at_once, block_on, commit, create, delete, everything, json, patient, put, resource,
    said, version,
};

over_each_backend! {
    versions_of_a_resource_count_one_two_three
    no_update_is_lost_among_many_at_once
    of_many_updates_that_match_one_version_one_wins
    a_precondition_that_does_not_hold_is_named_and_nothing_is_written
    a_deleted_resource_is_revived_with_the_next_version
    deleting_what_is_not_there_writes_nothing
    a_transaction_is_written_whole_or_not_at_all
    the_version_of_a_deletion_brings_back_what_was_deleted
    instants_increase_while_the_clock_jumps_back
    history_says_how_each_version_came_to_be
}

fn versions_of_a_resource_count_one_two_three(clinic: &mut Clinic) {
    for (number, text) in [(1, "a"), (2, "b"), (3, "c")] {
        if number == 3 {
            clinic.reopen();
        }
        let written = clinic.write(put("Patient/1", &patient(text, &[]), Expect::Any));
        assert_eq!(written.version, Some(version(number)));
        assert_eq!((written.created, written.changed), (number == 1, true));
        assert_eq!(said(&clinic.json("Patient/1").unwrap()), text);
    }
    let (of, id) = resource("Patient/1");
    let snapshot = clinic.snapshot();
    for (number, text) in [(1, "a"), (2, "b"), (3, "c")] {
        let found = block_on(snapshot.vread(&of, &id, version(number))).unwrap().unwrap();
        let json = String::from_utf8(found.json.unwrap().to_vec()).unwrap();
        assert_eq!(said(&json), text);
    }
    let missing = block_on(snapshot.vread(&of, &id, version(4))).unwrap();
    assert!(missing.is_none());
}

/// HTTP-100.
fn no_update_is_lost_among_many_at_once(clinic: &mut Clinic) {
    const TASKS: u64 = 64;
    const EACH: u64 = 6;
    let tasks = (0..TASKS).map(|task| {
        let database = Arc::clone(clinic.database());
        async move {
            let mut written = Vec::new();
            for step in 0..EACH {
                let name = format!("Patient/{}", (task + step) % 3);
                let text = format!("{task}-{step}");
                let change = put(&name, &patient(&text, &[]), Expect::Any);
                let receipt = commit(&database, vec![change]).await.unwrap();
                written.push((name, receipt.written[0].version.unwrap(), text));
            }
            written
        }
    });
    let written = at_once(tasks).concat();
    let numbers: BTreeSet<_> =
        written.iter().map(|(name, number, _)| (name.clone(), number.get())).collect();
    let expected: BTreeSet<_> = (0..3)
        .flat_map(|id| (1..=TASKS * EACH / 3).map(move |number| (format!("Patient/{id}"), number)))
        .collect();
    assert_eq!(numbers, expected);
    let snapshot = clinic.snapshot();
    for (name, number, text) in written {
        let (of, id) = resource(&name);
        let found = block_on(snapshot.vread(&of, &id, number)).unwrap().unwrap();
        let json = String::from_utf8(found.json.unwrap().to_vec()).unwrap();
        assert_eq!(said(&json), text, "{name} version {number}");
    }
}

/// HTTP-101.
fn of_many_updates_that_match_one_version_one_wins(clinic: &mut Clinic) {
    clinic.write(put("Patient/1", &patient("0", &[]), Expect::Any));
    for round in 1..=12 {
        let tasks = (0..16).map(|task| {
            let database = Arc::clone(clinic.database());
            async move {
                let text = format!("{round}-{task}");
                let expect = Expect::Versions(vec![version(round)]);
                let change = put("Patient/1", &patient(&text, &[]), expect);
                let answer = commit(&database, vec![change]).await;
                // Whoever is refused sees what it lost against.
                let seen = json(&everything(&database), "Patient/1").await.unwrap();
                (text, answer, said(&seen))
            }
        });
        let mut won = Vec::new();
        for (text, answer, seen) in at_once(tasks) {
            match answer {
                Ok(receipt) => {
                    assert_eq!(receipt.written[0].version, Some(version(round + 1)));
                    assert_eq!(seen, text);
                    won.push(text);
                }
                Err(CommitError::Precondition {
                    change: 0,
                    failed: Precondition::VersionConflict { newest },
                }) => {
                    assert_eq!(newest, version(round + 1));
                    assert_ne!(seen, text);
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(won.len(), 1, "round {round}");
        assert_eq!(said(&clinic.json("Patient/1").unwrap()), won[0]);
    }
}

fn a_precondition_that_does_not_hold_is_named_and_nothing_is_written(clinic: &mut Clinic) {
    let json = patient("a", &[]);
    clinic.write(put("Patient/there", &json, Expect::Any));
    clinic.write(put("Patient/there", &json, Expect::Any));
    clinic.write(put("Patient/gone", &json, Expect::Any));
    clinic.write(delete("Patient/gone", Expect::Any));
    let at = clinic.snapshot().at();
    let conflict = Precondition::VersionConflict { newest: version(2) };
    let versions =
        |numbers: &[u64]| Expect::Versions(numbers.iter().copied().map(version).collect());
    for (id, expect, failed) in [
        ("there", Expect::Absent, Precondition::Present),
        ("there", versions(&[1]), conflict),
        ("there", versions(&[1, 3]), conflict),
        ("there", versions(&[]), conflict),
        ("gone", Expect::Exists, Precondition::Missing),
        ("gone", versions(&[1, 3]), Precondition::Missing),
        ("gone", Expect::Existing(vec![version(2)]), Precondition::Missing),
        ("never", Expect::Exists, Precondition::Missing),
        ("never", versions(&[1]), Precondition::Missing),
    ] {
        let name = format!("Patient/{id}");
        for change in [put(&name, &json, expect.clone()), delete(&name, expect.clone())] {
            let place = format!("{change:?}");
            match clinic.commit(vec![create(&format!("Patient/x{at}"), &json), change]) {
                Err(CommitError::Precondition { change: 1, failed: found }) => {
                    assert_eq!(found, failed, "{place}")
                }
                other => panic!("{place}: {other:?}"),
            }
        }
    }
    assert_eq!(clinic.snapshot().at(), at);
    assert_eq!(clinic.json(&format!("Patient/x{at}")), None);
    for (id, expect) in [
        ("there", Expect::Exists),
        ("there", versions(&[9, 3])),
        ("gone", Expect::Absent),
        ("never", Expect::Absent),
    ] {
        clinic.write(put(&format!("Patient/{id}"), &json, expect));
    }
}

/// HTTP-095.
fn a_deleted_resource_is_revived_with_the_next_version(clinic: &mut Clinic) {
    clinic.write(put("Patient/1", &patient("a", &["x"]), Expect::Absent));
    let deleted = clinic.write(delete("Patient/1", Expect::Exists));
    assert_eq!(deleted.version, Some(version(2)));
    assert_eq!((deleted.created, deleted.changed), (false, true));
    let (of, id) = resource("Patient/1");
    let snapshot = clinic.snapshot();
    let found = block_on(snapshot.read(&of, &id)).unwrap().unwrap();
    assert!(found.entry.flags.is_deleted());
    assert_eq!((found.entry.version, found.json), (version(2), None));
    assert!(block_on(crate::support::identified(&snapshot, "x")).is_empty());
    drop(snapshot);
    clinic.reopen();
    let revived = clinic.write(put("Patient/1", &patient("b", &["x"]), Expect::Absent));
    assert_eq!(revived.version, Some(version(3)));
    assert_eq!((revived.created, revived.changed), (true, true));
    assert_eq!(said(&clinic.json("Patient/1").unwrap()), "b");
    let found = block_on(crate::support::identified(&clinic.snapshot(), "x"));
    assert_eq!(found, ["1"]);
}

fn deleting_what_is_not_there_writes_nothing(clinic: &mut Clinic) {
    clinic.write(put("Patient/1", &patient("a", &[]), Expect::Any));
    let deleted = clinic.write(delete("Patient/1", Expect::Any));
    let at = clinic.snapshot().at();
    clinic.gate().groups();
    clinic.clock.set(1_900_000_000_000_000);
    let again = clinic.write(delete("Patient/1", Expect::Any));
    assert_eq!((again.version, again.instant), (deleted.version, deleted.instant));
    assert!(!again.changed);
    let never = clinic.write(delete("Patient/2", Expect::Absent));
    assert_eq!((never.version, never.changed), (None, false));
    assert_eq!(clinic.snapshot().at(), at);
    assert!(clinic.gate().groups().is_empty());
    // Among changes that write it writes nothing either.
    let changes =
        vec![delete("Patient/2", Expect::Any), put("Patient/1", &patient("b", &[]), Expect::Any)];
    let receipt = clinic.commit(changes).unwrap();
    let changed: Vec<_> = receipt.written.iter().map(|written| written.changed).collect();
    assert_eq!((changed, receipt.t), (vec![false, true], at.next()));
    let (of, id) = resource("Patient/2");
    assert!(block_on(clinic.snapshot().history(&of, &id)).unwrap().is_empty());
}

fn a_transaction_is_written_whole_or_not_at_all(clinic: &mut Clinic) {
    clinic.write(put("Patient/1", &patient("a", &["x"]), Expect::Any));
    let changes = |expect: Expect| {
        vec![
            put("Patient/1", &patient("b", &["y"]), Expect::Exists),
            create("Patient/2", &patient("b", &["z"])),
            delete("Patient/3", expect),
        ]
    };
    clinic.commit(changes(Expect::Exists)).unwrap_err();
    let snapshot = clinic.snapshot();
    assert_eq!(said(&clinic.json("Patient/1").unwrap()), "a");
    assert_eq!(clinic.json("Patient/2"), None);
    for (value, found) in [("x", vec!["1"]), ("y", vec![]), ("z", vec![])] {
        assert_eq!(block_on(crate::support::identified(&snapshot, value)), found);
    }
    drop(snapshot);
    let receipt = clinic.commit(changes(Expect::Any)).unwrap();
    let numbers: Vec<_> = receipt.written.iter().map(|written| written.version).collect();
    assert_eq!(numbers, [Some(version(2)), Some(version(1)), None]);
    let instants: BTreeSet<_> = receipt.written.iter().map(|written| written.instant).collect();
    assert_eq!(instants.len(), 1);
    clinic.reopen_without_derived_data();
    let snapshot = clinic.snapshot();
    for (value, found) in [("x", vec![]), ("y", vec!["1"]), ("z", vec!["2"])] {
        assert_eq!(block_on(crate::support::identified(&snapshot, value)), found);
    }
}

fn the_version_of_a_deletion_brings_back_what_was_deleted(clinic: &mut Clinic) {
    let versions = |number| Expect::Versions(vec![version(number)]);
    let write = |expect| put("Patient/1", &patient("a", &[]), expect);
    clinic.write(write(Expect::Any));
    clinic.write(delete("Patient/1", Expect::Any));
    // What is deleted already stays so, and nothing is written.
    let again = clinic.write(delete("Patient/1", versions(2)));
    assert_eq!((again.version, again.changed), (Some(version(2)), false));
    let missing = clinic.commit(vec![write(versions(1))]);
    assert!(
        matches!(
            missing,
            Err(CommitError::Precondition { change: 0, failed: Precondition::Missing })
        ),
        "{missing:?}"
    );
    let back = clinic.write(write(versions(2)));
    assert_eq!((back.version, back.created), (Some(version(3)), true));
}

fn instants_increase_while_the_clock_jumps_back(clinic: &mut Clinic) {
    let start = 1_800_000_000_000_000;
    let mut last = Instant::MIN;
    for (step, micros) in [0, -5_000_000, 0, 0, 7, 7, -1, 50_000_000, 0].into_iter().enumerate() {
        clinic.clock.set(start + micros);
        if step == 4 {
            clinic.reopen();
        }
        let written = clinic.write(put("Patient/1", &patient("a", &[]), Expect::Any));
        let now = Instant::from_micros(start + micros);
        let expected = now.max(Instant::from_micros(last.as_micros() + 1));
        assert_eq!(written.instant, expected, "step {step}");
        last = written.instant;
        let json = clinic.json("Patient/1").unwrap();
        let text = String::from_utf8(last.text().to_vec()).unwrap();
        let meta =
            format!("\"meta\":{{\"versionId\":\"{}\",\"lastUpdated\":\"{text}\"}}", step + 1);
        assert!(json.contains(&meta), "{json}");
    }
    // Within one group as well.
    let transactions = (0..5)
        .map(|_| {
            let change = put("Patient/1", &patient("b", &[]), Expect::Any);
            crate::support::transaction(store::T::ZERO, vec![change])
        })
        .collect();
    for answer in clinic.as_one_group(transactions) {
        let instant = answer.unwrap().written[0].instant;
        assert!(instant > last);
        last = instant;
    }
}

fn history_says_how_each_version_came_to_be(clinic: &mut Clinic) {
    clinic.write(create("Patient/1", &patient("a", &[])));
    clinic.write(put("Patient/1", &patient("b", &[]), Expect::Any));
    clinic.write(delete("Patient/1", Expect::Any));
    clinic.reopen();
    clinic.write(put("Patient/1", &patient("c", &[]), Expect::Any));
    let (of, id) = resource("Patient/1");
    let history = block_on(clinic.snapshot().history(&of, &id)).unwrap();
    let methods: Vec<_> =
        history.iter().map(|entry| (entry.version.get(), entry.flags.method())).collect();
    let expected = [(4, Method::Put), (3, Method::Delete), (2, Method::Put), (1, Method::Post)];
    assert_eq!(methods, expected);
}
