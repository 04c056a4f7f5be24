//! G4: the data as of an instant, and histories, are those of one position.

use database::{Expect, HistoryOrder, Place, Snapshot, places};
use fhir_core::Instant;
use store::T;

use crate::support::{Clinic, block_on, delete, everything, json, patient, put, resource, said};

over_each_backend! {
    an_instant_shows_what_there_was_then_and_nothing_later
    a_history_shows_what_its_snapshot_does
}

/// Every second a change of Patient/1; the fourth deletes it.
fn changed(clinic: &mut Clinic) -> Vec<(Instant, Option<String>)> {
    let mut states = Vec::new();
    for number in 0..6 {
        clinic.clock.set(1_800_000_000_000_000 + number * 1_000_000);
        let text = format!("state {number}");
        let change = match number {
            3 => delete("Patient/1", Expect::Any),
            _ => put("Patient/1", &patient(&text, &[]), Expect::Any),
        };
        let receipt = clinic.write(change);
        states.push((receipt.instant, (number != 3).then_some(text)));
    }
    states
}

/// G4.
fn an_instant_shows_what_there_was_then_and_nothing_later(clinic: &mut Clinic) {
    let states = changed(clinic);
    clinic.reopen();
    clinic.write(put("Patient/1", &patient("later", &[]), Expect::Any));
    let now = clinic.snapshot();
    let at = |micros: i64| block_on(now.position_at(Instant::from_micros(micros))).unwrap();
    let text = |t: T| {
        let then = clinic.database().snapshot_at(t, database::Visibility::everything());
        block_on(json(&then, "Patient/1")).map(|json| said(&json))
    };
    let mut before = None;
    for (instant, state) in states {
        let micros = instant.as_micros();
        assert_eq!(text(at(micros - 1)), before, "before {instant}");
        assert_eq!(text(at(micros)), state, "at {instant}");
        before = state;
    }
    // Nothing is later than the newest, whatever is asked for.
    assert_eq!(text(T::new(u64::MAX)).as_deref(), Some("later"));
    let early = now.as_of(T::new(2));
    assert_eq!(block_on(early.position_at(Instant::from_micros(i64::MAX))).unwrap(), T::new(2));
    assert_eq!(early.as_of(T::new(5)).at(), T::new(2));
}

fn log(snapshot: &Snapshot, of: &str) -> Vec<(u64, bool)> {
    let (of, _) = resource(of);
    let all = places(T::ZERO, T::new(1_000_000));
    let found = snapshot.log(Some(&of), all.clone(), HistoryOrder::NewestFirst, 100);
    let found = block_on(found).unwrap();
    assert_eq!(block_on(snapshot.count_log(Some(&of), all)).unwrap(), found.len() as u64);
    let created = |entry| block_on(snapshot.brought_into_being(entry)).unwrap();
    found.iter().map(|version| (version.place.t.get(), created(&version.entry))).collect()
}

/// G4.
fn a_history_shows_what_its_snapshot_does(clinic: &mut Clinic) {
    changed(clinic);
    let snapshot = clinic.snapshot();
    let early = snapshot.as_of(T::new(3));
    clinic.write(put("Patient/2", &patient("later", &[]), Expect::Any));
    let expected = [(6, false), (5, true), (4, false), (3, false), (2, false), (1, true)];
    assert_eq!(log(&snapshot, "Patient/1"), expected);
    assert_eq!(log(&early, "Patient/1"), expected[3..]);
    assert_eq!(log(&everything(clinic.database()), "Patient/1").len(), 7);
    assert_eq!(log(&snapshot, "Observation/1"), []);
    let none = Place::first_of(T::new(9))..Place::first_of(T::new(1));
    let found = snapshot.log(None, none, HistoryOrder::OldestFirst, 9);
    assert_eq!(block_on(found).unwrap(), []);
}
