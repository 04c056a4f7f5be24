//! What the index finds against what looking at every resource finds: random resources, commits
//! and queries.

use std::collections::BTreeSet;
use std::time::Duration;

use database::{
    Change, Database, Expect, IndexedBy, Purge, ReadError, Snapshot, VersionEntry, Visibility,
};
use fhir_search::{Handling, Zone};
use store::{CommitId, T};

use crate::differential::{
    BASE, Chance, Compared, Known, Pair, TYPES, compare, names, request, resource,
};
use crate::support::{Clinic, block_on, delete, put};

over_each_backend! {
    the_index_finds_what_looking_at_every_resource_finds
    while_the_index_catches_up_searches_find_the_same
}

/// How often there are new commits; over both backends twice as often.
const ROUNDS: u64 = 20;
/// As many queries follow each time.
const QUERIES: u64 = 50;

fn indexed_by() -> IndexedBy {
    let extractor = Known::r4().indexing.clone();
    IndexedBy { extractor, base: BASE.into(), zone: Zone::UTC }
}

/// Begins an index, and waits until it has caught up.
pub(super) fn index(database: &Database) {
    database.index_by(indexed_by()).unwrap();
    wait_until_indexed(database);
}

fn wait_until_indexed(database: &Database) {
    assert!(database.wait_for_index(Duration::from_secs(60)), "the index does not catch up");
}

/// Some commits of some changes each.
pub(super) fn change(clinic: &Clinic, chance: &mut Chance, commits: u64) {
    for _ in 0..commits {
        let (mut changes, mut names): (Vec<Change>, _) = (Vec::new(), BTreeSet::new());
        for _ in 0..=chance.below(8) {
            let of = chance.one(&TYPES);
            let (name, json) = resource(chance, of);
            let is_there = clinic.json(&name).is_some();
            if names.insert(name.clone()) {
                changes.push(match chance.once_in(6) && is_there {
                    true => delete(&name, Expect::Any),
                    false => put(&name, &json, Expect::Any),
                });
            }
        }
        clinic.commit(changes).unwrap();
    }
}

/// Compares the answers to a random query as of now or before; says whether it found something.
pub(super) fn compare_one(clinic: &Clinic, chance: &mut Chance) -> Result<bool, String> {
    let head = clinic.snapshot().at();
    let known = Known::r4();
    loop {
        let request = request(chance, known.parameters());
        let Ok(query) = known.read(&request, Handling::Lenient) else { continue };
        let t = if chance.once_in(3) { T::new(chance.below(head.get() + 1)) } else { head };
        let visibility = match chance.below(4) {
            0 => {
                Visibility::of_types((0..8).map(|_| chance.one(&TYPES).parse().unwrap()).collect())
            }
            _ => Visibility::everything(),
        };
        let snapshot = clinic.database().snapshot_at(t, visibility);
        let (most, request) = (chance.one(&[1000, 1000, 3]), format!("{request} at {t:?}"));
        let pair = Pair { request: &request, query: &query, known, most, most_included: 1000 };
        return match compare(&pair, &mut |_| snapshot.clone())? {
            Compared::Found { matches, .. } => Ok(matches > 0),
            Compared::Refused => Ok(false),
            Compared::BeforeHorizon => Err(format!("{request} is before the horizon")),
        };
    }
}

/// SRCH-193, SRCH-205, SRCH-245
fn the_index_finds_what_looking_at_every_resource_finds(clinic: &mut Clinic) {
    let mut chance = Chance(7);
    index(clinic.database());
    change(clinic, &mut chance, 20);
    let (mut finding, mut wrong) = (0, Vec::new());
    for round in 0..ROUNDS {
        change(clinic, &mut chance, 2);
        if round % 5 == 4 {
            clinic.reopen();
            index(clinic.database());
        }
        wait_until_indexed(clinic.database());
        for _ in 0..QUERIES {
            match compare_one(clinic, &mut chance) {
                Ok(found) => finding += u64::from(found),
                Err(why) => wrong.push(why),
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ\n{}", wrong.len(), wrong.join("\n"));
    assert!(finding > ROUNDS * QUERIES / 4, "only {finding} found something");
}

/// SRCH-245: of the index there is nothing to be seen, but that it takes less long.
fn while_the_index_catches_up_searches_find_the_same(clinic: &mut Clinic) {
    let mut chance = Chance(11);
    change(clinic, &mut chance, 20);
    clinic.reopen();
    assert!(!clinic.database().is_indexed());
    clinic.database().index_by(indexed_by()).unwrap();
    // At first there is none yet, and then there is.
    while !clinic.database().is_indexed() {
        compare_one(clinic, &mut chance).unwrap();
    }
    for _ in 0..20 {
        compare_one(clinic, &mut chance).unwrap();
    }
}

/// What searches find, read, and found again as it was.
fn kept(snapshot: &Snapshot, requests: &[&str]) -> Vec<VersionEntry> {
    let known = Known::r4();
    let mut found = Vec::new();
    for request in requests {
        let query = known.read(request, Handling::Strict).unwrap();
        let pair = Pair { request, query: &query, known, most: 1000, most_included: 1000 };
        let from_store = pair.find(snapshot, true, None).unwrap().matches;
        for entry in &from_store {
            assert!(block_on(snapshot.json(entry)).unwrap().is_some());
        }
        assert_eq!(pair.find(snapshot, true, None).unwrap().matches, from_store, "{request}");
        found.extend(from_store);
    }
    found
}

/// SRCH-245
#[test]
fn of_a_purged_patient_the_index_finds_nothing() {
    let clinic = Clinic::over_sled();
    index(clinic.database());
    let patient = "{\"resourceType\":\"Patient\",\"birthDate\":\"1970-01-01\"}";
    for id in ["1", "2"] {
        clinic.write(put(&format!("Patient/{id}"), patient, Expect::Any));
        let observation = format!(
            "{{\"resourceType\":\"Observation\",\"subject\":{{\"reference\":\"Patient/{id}\"}},\
             \"code\":{{\"coding\":[{{\"code\":\"c\"}}]}}}}"
        );
        clinic.write(put(&format!("Observation/{id}"), &observation, Expect::Any));
    }
    let snapshot = clinic.snapshot();
    let before = snapshot.at();
    // What was read is kept, and found as it was in the store.
    let found = kept(&snapshot, &["Patient", "Observation"]);
    assert_eq!(names(&found).len(), 4);
    let purge = Purge {
        patient: "1".parse().unwrap(),
        reason: "asked for by letter".to_owned(),
        by: "uid 1000".to_owned(),
        commit: CommitId(u128::MAX - 7),
    };
    block_on(clinic.database().purge(purge)).unwrap();
    // Whoever found it before the purge reads it no more.
    for entry in &found {
        let is_purged = matches!(block_on(snapshot.json(entry)), Err(ReadError::Purged));
        assert_eq!(is_purged, entry.id.as_str() == "1", "{entry:?}");
    }
    wait_until_indexed(clinic.database());
    for t in [before, clinic.snapshot().at()] {
        let snapshot = clinic.database().snapshot_at(t, Visibility::everything());
        for (request, expected) in [
            ("Patient", "Patient/2/1"),
            ("Patient?birthdate=1970", "Patient/2/1"),
            ("Patient?_id=1", ""),
            ("Patient?_has:Observation:subject:code=c", "Patient/2/1"),
            ("Observation?code=c", "Observation/2/1"),
            ("Observation?subject=Patient/1", ""),
            ("Observation?subject:Patient.birthdate=1970", "Observation/2/1"),
            ("Patient/1/Observation", ""),
        ] {
            let known = Known::r4();
            let query = known.read(request, Handling::Strict).unwrap();
            let pair = Pair { request, query: &query, known, most: 1000, most_included: 1000 };
            compare(&pair, &mut |_| snapshot.clone()).unwrap();
            let found = pair.find(&snapshot, true, None).unwrap();
            assert_eq!(names(&found.matches).join(" "), expected, "{request} at {t:?}");
        }
    }
}

/// SRCH-205: a page link leads on in the middle of a commit, whatever index was made since.
#[test]
fn a_page_goes_on_within_a_commit_after_a_start() {
    let mut clinic = Clinic::over_sled();
    index(clinic.database());
    let patient =
        |id: &str| put(&format!("Patient/{id}"), "{\"resourceType\":\"Patient\"}", Expect::Any);
    clinic.commit(vec![patient("old"), patient("older")]).unwrap();
    // A deletion before the others, and one of what is not there, which writes nothing.
    clinic
        .commit(vec![
            delete("Patient/old", Expect::Any),
            delete("Patient/none", Expect::Any),
            patient("a"),
            patient("b"),
            delete("Patient/older", Expect::Any),
            patient("c"),
            patient("d"),
        ])
        .unwrap();
    let known = Known::r4();
    let query = known.read("Patient", Handling::Strict).unwrap();
    let pair = Pair { request: "Patient", query: &query, known, most: 2, most_included: 1000 };
    let first = pair.find(&clinic.snapshot(), true, None).unwrap();
    assert_eq!(names(&first.matches), ["Patient/a/1", "Patient/b/1"]);
    clinic.reopen();
    index(clinic.database());
    let next = pair.find(&clinic.snapshot(), true, first.next.as_deref()).unwrap();
    assert_eq!(names(&next.matches), ["Patient/c/1", "Patient/d/1"]);
    assert_eq!(next.next, None);
}
