//! G3: commits are serializable, whoever comes at once.

use std::sync::Arc;

use database::{CommitError, Database, Expect, Transaction};
use store::T;

use crate::support::{
    Clinic, at_once, block_on, commit, condition, create, delete, everything, identified, patient,
    put, transaction,
};

over_each_backend! {
    many_conditional_creates_at_once_make_one_resource
    a_condition_holds_until_something_touches_what_it_looked_at
    a_condition_survives_what_does_not_touch_it
    a_condition_older_than_what_is_remembered_is_asked_again
    transfers_between_two_patients_never_lose_or_make_anything
}

/// Creates `Patient/ID` unless one bears `value`, preparing again when raced, as the server does.
/// Returns who bears it, and whether it was this one who created it.
async fn create_if_none(database: &Database, id: &str, value: &str) -> (Vec<String>, bool) {
    loop {
        let snapshot = everything(database);
        let found = identified(&snapshot, value).await;
        if !found.is_empty() {
            return (found, false);
        }
        let change = create(&format!("Patient/{id}"), &patient("a", &[value]));
        let transaction = Transaction {
            conditions: vec![condition(value, &[])],
            ..transaction(snapshot.at(), vec![change])
        };
        match database.commit(transaction).await {
            Ok(_) => return (vec![id.to_owned()], true),
            Err(CommitError::Raced) => {}
            Err(other) => panic!("{other}"),
        }
    }
}

/// G3, HTTP-086.
fn many_conditional_creates_at_once_make_one_resource(clinic: &mut Clinic) {
    for round in 0..8 {
        let value = format!("mrn-{round}");
        let barrier = Arc::new(tokio::sync::Barrier::new(64));
        let tasks = (0..64).map(|task| {
            let (database, barrier) = (Arc::clone(clinic.database()), Arc::clone(&barrier));
            let value = value.clone();
            async move {
                barrier.wait().await;
                create_if_none(&database, &format!("p{round}-{task}"), &value).await
            }
        });
        let answers = at_once(tasks);
        let created = answers.iter().filter(|(_, created)| *created).count();
        assert_eq!(created, 1, "round {round}");
        let bearers = block_on(identified(&clinic.snapshot(), &value));
        assert_eq!(bearers.len(), 1, "round {round}");
        for (found, _) in answers {
            assert_eq!(found, bearers, "round {round}");
        }
    }
}

/// What happened between preparing and committing, and whether "these bear x" still held then.
fn a_condition_holds_until_something_touches_what_it_looked_at(clinic: &mut Clinic) {
    let bearing = |id: &str, values: &[&str]| {
        put(&format!("Patient/{id}"), &patient("a", values), Expect::Any)
    };
    let cases = [
        (vec![], bearing("1", &["x"]), false),
        (vec![], bearing("1", &["y"]), true),
        (vec!["1"], bearing("1", &["z"]), false),
        (vec!["1"], bearing("1", &["x", "z"]), true),
        (vec!["1"], bearing("2", &["x"]), false),
        (vec!["1"], bearing("2", &["z"]), true),
        (vec!["1"], delete("Patient/1", Expect::Any), false),
        (vec!["1", "2"], delete("Patient/2", Expect::Any), false),
    ];
    for (number, (before, between, holds)) in cases.into_iter().enumerate() {
        for id in ["1", "2"] {
            let values: &[&str] = if before.contains(&id) { &["x"] } else { &[] };
            clinic.write(bearing(id, values));
        }
        let prepared = clinic.snapshot();
        assert_eq!(block_on(identified(&prepared, "x")), before);
        clinic.write(between);
        let transaction = Transaction {
            conditions: vec![condition("x", &before)],
            ..transaction(prepared.at(), vec![create("Patient/new", &patient("a", &[]))])
        };
        let answer = block_on(clinic.database().commit(transaction));
        let raced = matches!(answer, Err(CommitError::Raced));
        assert_eq!((answer.is_ok(), raced), (holds, !holds), "case {number}");
        clinic.write(delete("Patient/new", Expect::Any));
    }
}

fn a_condition_survives_what_does_not_touch_it(clinic: &mut Clinic) {
    clinic.write(create("Patient/1", &patient("a", &["x"])));
    let at = clinic.snapshot().at();
    // Another type with the same identifier is another matter.
    let device =
        "{\"resourceType\":\"Device\",\"identifier\":[{\"system\":\"urn:n\",\"value\":\"x\"}]}";
    clinic.write(create("Device/1", device));
    clinic.write(create("Patient/2", &patient("a", &["xx"])));
    let transaction = Transaction {
        conditions: vec![condition("x", &["1"])],
        ..transaction(at, vec![put("Patient/1", &patient("b", &["x"]), Expect::Any)])
    };
    block_on(clinic.database().commit(transaction)).unwrap();
}

fn a_condition_older_than_what_is_remembered_is_asked_again(clinic: &mut Clinic) {
    let at = clinic.snapshot().at();
    clinic.write(create("Patient/1", &patient("a", &["x"])));
    clinic.write(create("Patient/2", &patient("a", &[])));
    // What the writer remembers of late changes ends with its process.
    clinic.reopen();
    for (value, found, holds) in
        [("x", vec![], false), ("x", vec!["1"], true), ("y", vec![], true), ("y", vec!["1"], false)]
    {
        let change = put("Patient/3", &patient("a", &[]), Expect::Any);
        let transaction = Transaction {
            conditions: vec![condition(value, &found)],
            ..transaction(at, vec![change])
        };
        let answer = block_on(clinic.database().commit(transaction));
        let raced = matches!(answer, Err(CommitError::Raced));
        assert_eq!((answer.is_ok(), raced), (holds, !holds), "{value} {found:?}");
    }
    assert_eq!(at, T::ZERO);
}

/// Each transaction moves one token from one patient to the other by the versions it read:
/// their sum is the same in every snapshot.
fn transfers_between_two_patients_never_lose_or_make_anything(clinic: &mut Clinic) {
    const TOKENS: i64 = 100;
    let holding = |name: &str, count: i64, expect: Expect| {
        put(name, &patient(&count.to_string(), &[]), expect)
    };
    clinic
        .commit(vec![
            holding("Patient/a", TOKENS, Expect::Absent),
            holding("Patient/b", 0, Expect::Absent),
        ])
        .unwrap();
    let tasks = (0..16).map(|task| {
        let database = Arc::clone(clinic.database());
        async move {
            let mut moved = 0;
            for _ in 0..12 {
                let snapshot = everything(&database);
                let mut counts = Vec::new();
                for name in ["Patient/a", "Patient/b"] {
                    let (of, id) = crate::support::resource(name);
                    let found = snapshot.read(&of, &id).await.unwrap().unwrap();
                    let json = String::from_utf8(found.json.unwrap().to_vec()).unwrap();
                    let count: i64 = crate::support::said(&json).parse().unwrap();
                    counts.push((count, Expect::Versions(vec![found.entry.version])));
                }
                let total: i64 = counts.iter().map(|(count, _)| count).sum();
                assert_eq!(total, TOKENS);
                let step = if task % 2 == 0 { 1 } else { -1 };
                let (b, a) = (counts.pop().unwrap(), counts.pop().unwrap());
                let changes = vec![
                    holding("Patient/a", a.0 - step, a.1),
                    holding("Patient/b", b.0 + step, b.1),
                ];
                match commit(&database, changes).await {
                    Ok(_) => moved += step,
                    Err(CommitError::Precondition { .. }) => {}
                    Err(other) => panic!("{other}"),
                }
            }
            moved
        }
    });
    let moved: i64 = at_once(tasks).into_iter().sum();
    let left = crate::support::said(&clinic.json("Patient/a").unwrap());
    assert_eq!(left, (TOKENS - moved).to_string());
}
