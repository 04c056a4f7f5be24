//! A purged patient's data cannot be read by anybody, here, after a restart, from what memory
//! held, or after a crash at any moment of the purge; everybody else's can.

use std::sync::atomic::{AtomicBool, Ordering};

use database::{
    Action, Change, CommitError, Expect, Purge, PurgeError, Purged, ReadError, quarantine,
};
use store::keys::PurgeState;
use store::{AppendError, CommitId, CommitKind, Store as _, T, VersionEntry, Walked};

use crate::gate::{Hold, Outcome};
use crate::support::{
    Clinic, block_on, delete, document, enqueue, identified, patient, put, resource, said,
    transaction, version,
};

fn observation(subject: &str, text: &str) -> String {
    format!(
        "{{\"resourceType\":\"Observation\",\"subject\":{{\"reference\":\"{subject}\"}},\
         \"identifier\":[{{\"system\":\"urn:n\",\"value\":\"o-{text}\"}}],\
         \"code\":{{\"text\":\"{text}\"}}}}"
    )
}

/// Two patients, each with an identifier, several versions, an observation and a large document.
fn two_patients(clinic: &Clinic) {
    for (id, other) in [("1", "2"), ("2", "1")] {
        let name = format!("Patient/{id}");
        clinic.write(put(&name, &patient("female", &[id]), Expect::Any));
        clinic.write(put(&name, &patient("male", &[id, other]), Expect::Any));
        clinic.write(put(&name, &patient("other", &[id]), Expect::Any));
        let text = observation(&name, id);
        clinic.write(put(&format!("Observation/{id}"), &text, Expect::Any));
        let text = document(&name, 400_000);
        clinic.write(put(&format!("DocumentReference/{id}"), &text, Expect::Any));
    }
    assert_eq!(clinic.gate().blobs().unwrap().len(), 2);
}

fn asked(id: &str) -> Purge {
    Purge {
        patient: id.parse().unwrap(),
        reason: "asked for by letter".to_owned(),
        by: "uid 1000".to_owned(),
        commit: CommitId(u128::MAX - 7),
    }
}

pub(crate) fn purge(clinic: &Clinic, id: &str) -> Result<Purged, PurgeError> {
    block_on(clinic.database().purge(asked(id)))
}

fn history(clinic: &Clinic, name: &str) -> Vec<VersionEntry> {
    let (of, id) = resource(name);
    block_on(clinic.snapshot().history(&of, &id)).unwrap()
}

/// Every version with a body is read as purged, by itself and as the newest; no identifier leads
/// there.
fn check_gone(clinic: &Clinic, name: &str, identifiers: &[&str]) {
    let (of, id) = resource(name);
    let entries = history(clinic, name);
    assert!(!entries.is_empty());
    for entry in entries {
        let read = block_on(clinic.snapshot().vread(&of, &id, entry.version));
        match read {
            Err(ReadError::Purged) => assert!(!entry.flags.is_deleted()),
            Ok(Some(deleted)) => assert!(entry.flags.is_deleted() && deleted.json.is_none()),
            other => panic!("{name}: {other:?}"),
        }
        let stored = block_on(clinic.snapshot().coded(&entry));
        assert!(entry.flags.is_deleted() || matches!(stored, Err(ReadError::Purged)));
    }
    // Of the large documents the other patient's is left.
    assert_eq!(clinic.gate().blobs().unwrap().len(), 1);
    for identifier in identifiers {
        let found = block_on(identified(&clinic.snapshot(), identifier));
        assert!(!found.contains(&id.to_string()), "{identifier} finds {found:?}");
    }
}

/// Patient 2 is as it was made.
fn check_other(clinic: &Clinic) {
    assert_eq!(said(&clinic.json("Patient/2").unwrap()), "other");
    assert!(clinic.json("Observation/2").is_some());
    assert!(clinic.json("DocumentReference/2").is_some());
    let (of, id) = resource("Patient/2");
    let first = block_on(clinic.snapshot().vread(&of, &id, version(1))).unwrap().unwrap();
    assert!(first.json.is_some());
    assert_eq!(block_on(identified(&clinic.snapshot(), "2")), ["2"]);
}

#[test]
fn a_purged_patient_cannot_be_read_by_anybody_and_everybody_else_can() {
    let mut clinic = Clinic::over_sled();
    two_patients(&clinic);
    // Memory holds them now.
    assert!(clinic.json("Patient/1").is_some() && clinic.json("Observation/1").is_some());
    let held = clinic.snapshot();
    let done = purge(&clinic, "1").unwrap();
    let counts: Vec<_> = done.versions.iter().map(|(of, count)| (of.as_str(), *count)).collect();
    assert_eq!(counts, [("DocumentReference", 1), ("Observation", 1), ("Patient", 3)]);
    assert!(done.blobs == 1 && done.blob_bytes > 256 << 10);
    assert!(done.bytes > 0 && done.entry.state == PurgeState::Done);
    let (of, id) = resource("Patient/1");
    // A snapshot of before is no way around it.
    let read = block_on(held.read(&of, &id));
    assert!(matches!(read, Err(ReadError::Purged)), "{read:?}");
    drop(held);
    for _ in 0..2 {
        check_gone(&clinic, "Patient/1", &["1"]);
        check_gone(&clinic, "Observation/1", &["o-1"]);
        check_gone(&clinic, "DocumentReference/1", &[]);
        check_other(&clinic);
        clinic.reopen();
    }
    clinic.reopen_without_derived_data();
    check_gone(&clinic, "Patient/1", &["1"]);
    check_other(&clinic);
    // Nothing leads from an identifier to it in what is derived anew.
    let key = crate::support::key("1");
    let bearers = block_on(clinic.gate().identified(&of, &key, T::new(u64::MAX)));
    assert_eq!(bearers.unwrap(), ["2".parse().unwrap()]);
}

#[test]
fn the_log_says_that_it_was_purged_and_the_ledger_why() {
    let clinic = Clinic::over_sled();
    two_patients(&clinic);
    let done = purge(&clinic, "1").unwrap();
    let mut found = Vec::new();
    let mut note = |walked: Walked<'_>| {
        if walked.kind == CommitKind::Purge {
            let version = walked.version;
            found.push((walked.t, walked.commit, version.owner, version.id.to_string()));
        }
    };
    block_on(clinic.gate().walk(T::new(u64::MAX), &mut note)).unwrap();
    assert_eq!(found, [(done.t, asked("1").commit, done.entry.key, "1".to_owned())]);
    let ledger = crate::support::keyring(&clinic.keys).ledger();
    assert_eq!(ledger, [done.entry]);
    assert_eq!(&*ledger[0].reason, "asked for by letter");
    assert!(history(&clinic, "Patient/1")[0].flags.is_deleted());
}

#[test]
fn nothing_more_is_stored_of_a_purged_patient() {
    let mut clinic = Clinic::over_sled();
    two_patients(&clinic);
    purge(&clinic, "1").unwrap();
    let both = "{\"resourceType\":\"Observation\",\"subject\":{\"reference\":\"Patient/2\"},\
                \"performer\":[{\"reference\":\"Patient/1\"}]}";
    for _ in 0..2 {
        for (name, text) in [
            ("Patient/1", patient("female", &["1"])),
            ("Observation/9", observation("Patient/1", "x")),
            ("Observation/9", both.to_owned()),
        ] {
            let refused = clinic.commit(vec![put(name, &text, Expect::Any)]);
            let purged = matches!(refused, Err(database::CommitError::OwnerPurged));
            assert!(purged, "{name}: {refused:?}");
        }
        clinic.write(put("Observation/2", &observation("Patient/2", "2"), Expect::Any));
        // What was the purged patient's may become another's.
        clinic.write(put("Observation/1", &observation("Patient/2", "new"), Expect::Any));
        clinic.reopen();
    }
}

#[test]
fn what_was_sealed_before_the_purge_is_not_committed_after_it() {
    let clinic = Clinic::over_sled();
    two_patients(&clinic);
    let database = clinic.database();
    let at = clinic.snapshot().at();
    let other = transaction(at, vec![put("Patient/2", &patient("other", &["2"]), Expect::Any)]);
    let own = || put("Patient/1", &patient("unknown", &["1"]), Expect::Any);
    // Held back, a transaction that was sealed waits while the purge begins.
    clinic.gate().hold(Hold::Before);
    let first = enqueue(database, other);
    clinic.gate().wait_until_held();
    let late = enqueue(database, transaction(at, vec![own()]));
    let purging = std::sync::Arc::clone(database);
    let purging = std::thread::Builder::new()
        .name("purging".to_owned())
        .spawn(move || block_on(purging.purge(asked("1"))))
        .unwrap();
    clinic.gate().release();
    block_on(first).unwrap();
    let late = block_on(late);
    let done = purging.join().unwrap().unwrap();
    match late {
        // Judged before: it is gone with the rest.
        Ok(receipt) => assert!(receipt.t < done.t),
        Err(database::CommitError::OwnerPurged) => {}
        other => panic!("{other:?}"),
    }
    check_gone(&clinic, "Patient/1", &["1"]);
}

#[test]
fn a_patient_whose_data_is_anothers_too_is_not_purged_and_the_list_says_why() {
    let clinic = Clinic::over_sled();
    two_patients(&clinic);
    let both = "{\"resourceType\":\"Observation\",\"subject\":{\"reference\":\"Patient/2\"},\
                \"performer\":[{\"reference\":\"Patient/1\"}]}";
    clinic.write(put("Observation/3", both, Expect::Any));
    clinic.write(delete("Observation/3", Expect::Any));
    let url = "{\"resourceType\":\"Observation\",\
               \"subject\":{\"reference\":\"https://a.example/fhir/Patient/1\"}}";
    clinic.write(put("Observation/4", url, Expect::Any));
    let refused = purge(&clinic, "1");
    let Err(PurgeError::Refused { count: 2, obstacles, .. }) = refused else {
        panic!("{refused:?}");
    };
    let listed: Vec<_> = obstacles
        .iter()
        .map(|of| format!("{}/{} {}: {}", of.resource_type, of.id, of.version, of.why))
        .collect();
    assert_eq!(
        listed,
        [
            "Observation/3 1: it stands also in the compartment of Patient/2",
            "Observation/4 1: it names a patient by a URL, which may be another's",
        ]
    );
    // Nothing changed, and the patient's data is taken again.
    assert_eq!(said(&clinic.json("Patient/1").unwrap()), "other");
    clinic.write(put("Patient/1", &patient("unknown", &["1"]), Expect::Any));
    assert!(crate::support::keyring(&clinic.keys).ledger().is_empty());
}

#[test]
fn who_is_not_there_is_not_purged_and_nobody_is_purged_twice_or_without_keys() {
    let clinic = Clinic::over_sled();
    two_patients(&clinic);
    assert!(matches!(purge(&clinic, "3"), Err(PurgeError::NothingStored(_))));
    clinic.write(put("Patient/3", &patient("female", &["3"]), Expect::Any));
    purge(&clinic, "1").unwrap();
    let again = purge(&clinic, "1");
    assert!(matches!(again, Err(PurgeError::AlreadyDone(_))), "{again:?}");
    let plain = Clinic::over_the_model();
    plain.write(put("Patient/1", &patient("female", &["1"]), Expect::Any));
    assert!(matches!(purge(&plain, "1"), Err(PurgeError::NotSealed)));
    assert!(plain.json("Patient/1").is_some());
}

/// On a disk that is full for others what is kept for purges is theirs alone.
#[test]
fn a_purge_is_a_group_of_its_own() {
    let clinic = Clinic::over_sled();
    two_patients(&clinic);
    let key = crate::support::keyring(&clinic.keys).of_patient(&"1".parse().unwrap());
    let (resource_type, id) = resource("Patient/1");
    let action = Action::Purge { key };
    let purge = Change { resource_type, id, action, expect: Expect::Any };
    let write = |id| put(&format!("Patient/{id}"), &patient("male", &[]), Expect::Any);
    clinic.gate().groups();
    let transactions = [write(8), purge, write(9)].map(|change| transaction(T::ZERO, vec![change]));
    for answer in clinic.as_one_group(transactions.into()) {
        answer.unwrap();
    }
    assert_eq!(clinic.gate().groups(), [1, 2, 1]);
}

/// A full disk fails what is judged over a group that failed; a purge is tried again.
#[test]
fn a_purge_goes_through_beside_writes_that_a_full_disk_refuses() {
    let clinic = Clinic::over_sled();
    two_patients(&clinic);
    let full = || Outcome::Fails(AppendError::DiskFull);
    clinic.gate().next([full(), full()]);
    purge(&clinic, "1").unwrap();
    check_gone(&clinic, "Patient/1", &["1"]);
}

/// As many as ask without a pause share no group with a purge, nor with what it waits behind.
#[test]
fn a_purge_goes_through_while_others_keep_writing_to_a_full_disk() {
    let clinic = Clinic::over_sled();
    two_patients(&clinic);
    clinic.gate().be_full_for_others();
    let done = AtomicBool::new(false);
    let purged = std::thread::scope(|scope| {
        for id in 10..14 {
            let (clinic, done) = (&clinic, &done);
            scope.spawn(move || {
                while !done.load(Ordering::SeqCst) {
                    let change = put(&format!("Patient/{id}"), &patient("male", &[]), Expect::Any);
                    let refused = clinic.commit(vec![change]).unwrap_err();
                    assert!(refused.is_disk_full(), "{refused:?}");
                }
            });
        }
        let purged = purge(&clinic, "1");
        done.store(true, Ordering::SeqCst);
        purged
    });
    purged.unwrap();
    check_gone(&clinic, "Patient/1", &["1"]);
}

/// Where a purge fails.
#[derive(Debug, Clone, Copy)]
enum Failing {
    Commit,
    /// The write of keys after so many.
    Keys(usize),
    Removal,
}

/// Fails at each write of the keys, at the commit and at the removal of blobs in turn: after a restart the purge either
/// never began, and everything is there, or it is finished, and nothing is.
#[test]
fn a_purge_that_was_interrupted_anywhere_is_finished_at_the_next_open_or_never_began() {
    let (mut finished, mut never_began) = (0, 0);
    let keys = [0, 1, 2].map(Failing::Keys);
    for failing in [Failing::Commit, Failing::Removal].into_iter().chain(keys) {
        let mut clinic = Clinic::over_sled();
        two_patients(&clinic);
        match failing {
            Failing::Commit => clinic.gate().next([Outcome::Fails(AppendError::ReadOnly)]),
            Failing::Removal => clinic.gate().keep_blobs(true),
            Failing::Keys(writes) => *clinic.keys.writes.lock() = Some(writes),
        }
        let error = purge(&clinic, "1").unwrap_err();
        let begun = matches!(error, PurgeError::Begun(_));
        *clinic.keys.writes.lock() = None;
        clinic.reopen();
        let done = block_on(clinic.database().finish_purges()).unwrap();
        assert_eq!(done.len(), usize::from(begun), "{error:?}");
        if begun {
            finished += 1;
            check_gone(&clinic, "Patient/1", &["1"]);
            check_gone(&clinic, "Observation/1", &["o-1"]);
            check_gone(&clinic, "DocumentReference/1", &[]);
            assert_eq!(history(&clinic, "Patient/1").len(), 4, "it is said once");
        } else {
            never_began += 1;
            assert_eq!(said(&clinic.json("Patient/1").unwrap()), "other");
            purge(&clinic, "1").unwrap();
        }
        check_other(&clinic);
        assert!(block_on(clinic.database().finish_purges()).unwrap().is_empty());
    }
    assert_eq!((finished, never_began), (4, 1));
}

/// A purge that is asked for again after it failed goes on where it was.
#[test]
fn a_purge_that_failed_can_be_asked_for_again() {
    for writes in [Some(1), Some(2), None] {
        let clinic = Clinic::over_sled();
        two_patients(&clinic);
        *clinic.keys.writes.lock() = writes;
        clinic.gate().keep_blobs(writes.is_none());
        assert!(matches!(purge(&clinic, "1"), Err(PurgeError::Begun(_))));
        *clinic.keys.writes.lock() = None;
        clinic.gate().keep_blobs(false);
        let done = purge(&clinic, "1").unwrap();
        assert_eq!(done.versions.values().sum::<u64>(), 5);
        check_gone(&clinic, "Patient/1", &["1"]);
        assert_eq!(history(&clinic, "Patient/1").len(), 4, "it is said once");
    }
}

/// What is quarantined as this, and names these patients.
fn quarantined(id: &str, patients: &[&str], text: &str) -> Change {
    let subject = |id: &&str| format!("{{\"reference\":\"Patient/{id}\"}}");
    let subject: Vec<_> = patients.iter().map(subject).collect();
    let json = format!(
        "{{\"resourceType\":\"{}\",\"subject\":[{}],\"data\":\"{text}\"}}",
        quarantine::TYPE,
        subject.join(",")
    );
    put(&format!("{}/{id}", quarantine::TYPE), &json, Expect::Any)
}

/// What is quarantined keeps nobody from being purged: whoever of those it names is, nobody can
/// read it any more, also the large and what was taken out since.
#[test]
fn what_is_quarantined_goes_with_any_patient_that_it_names() {
    for purged in ["1", "2"] {
        let mut clinic = Clinic::over_sled();
        let large = document("Patient/1", 400_000);
        let large = large.rsplit('"').nth(1).unwrap();
        for (id, patients, text) in [
            ("own", &[purged][..], "A"),
            ("both", &["1", "2", "3"], "A"),
            ("large", &["2", "1"], large),
            ("taken-out", &[purged], "A"),
            ("other", &["3"], "A"),
            ("nobodys", &[], "A"),
        ] {
            clinic.write(quarantined(id, patients, text));
        }
        clinic.write(delete("HearthgateQuarantine/taken-out", Expect::Exists));
        let name = |id: &str| format!("{}/{id}", quarantine::TYPE);
        for id in ["own", "both", "large", "other", "nobodys"] {
            assert!(clinic.json(&name(id)).is_some(), "{id}");
        }
        assert_eq!(clinic.gate().blobs().unwrap().len(), 1);
        let done = purge(&clinic, purged).unwrap();
        assert_eq!(done.versions[quarantine::TYPE], 4);
        for reopened in [false, true] {
            if reopened {
                clinic.reopen_without_derived_data();
            }
            // One that the key of another is around is left, and opened by nobody.
            let left = usize::from(purged == "1");
            assert_eq!(clinic.gate().blobs().unwrap().len(), left);
            for id in ["own", "both", "large", "taken-out"] {
                let (of, id) = resource(&name(id));
                let read = block_on(clinic.snapshot().vread(&of, &id, version(1)));
                assert!(matches!(read, Err(ReadError::Purged)), "{id}: {read:?}");
            }
            assert!(clinic.json(&name("other")).is_some());
            assert!(clinic.json(&name("nobodys")).is_some());
        }
        // Whom it names besides can be purged too.
        let other = if purged == "1" { "2" } else { "1" };
        clinic.write(put(&format!("Patient/{other}"), &patient("other", &[]), Expect::Any));
        purge(&clinic, other).unwrap();
        // Nothing more of theirs is set apart.
        let refused = clinic.commit(vec![quarantined("late", &["3", purged], "A")]);
        assert!(matches!(refused, Err(CommitError::OwnerPurged)), "{refused:?}");
    }
}
