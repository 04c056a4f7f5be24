//! What the index finds against what looking at every resource finds: random resources, commits
//! and queries.

mod queries;
mod resources;
mod values;

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use database::{
    Asked, Change, Database, Expect, Found, IndexedBy, Purge, SearchError, Snapshot, Visibility,
};
use fhir_search::{Extractor, Handling, Query, Zone};
use store::{CommitId, T, VersionEntry};

use super::{BASE, EXTRACTOR, asked, extractor, query, read};
use crate::random::Chance;
use crate::support::{Clinic, block_on, delete, put};
use values::TYPES;

over_each_backend! {
    the_index_finds_what_looking_at_every_resource_finds
    while_the_index_catches_up_searches_find_the_same
}

/// How often there are new commits; over both backends twice as often.
const ROUNDS: u64 = 20;
/// As many queries follow each time.
const QUERIES: u64 = 50;
const BUDGET: u64 = 10_000_000;

/// The same parameters once more. No index is by these, so that every resource is looked at.
static SCANNING: LazyLock<Arc<Extractor<'static>>> = LazyLock::new(extractor);

/// Begins an index, and waits until it has caught up.
fn index(database: &Database) {
    let extractor = Arc::clone(&EXTRACTOR);
    database.index_by(IndexedBy { extractor, base: BASE.into(), zone: Zone::UTC }).unwrap();
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
            let (name, json) = resources::resource(chance, of);
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

pub(super) fn find(
    snapshot: &Snapshot,
    query: &Query,
    extractor: &Arc<Extractor<'static>>,
    most: usize,
    after: Option<&[u8]>,
) -> Result<Found, SearchError> {
    let asked = Asked { extractor, most, after, budget: BUDGET, ..asked() };
    block_on(snapshot.search(query, &asked))
}

fn names(entries: &[VersionEntry]) -> Vec<String> {
    let name = |it: &VersionEntry| format!("{}/{}/{}", it.resource_type, it.id, it.version);
    entries.iter().map(name).collect()
}

fn sorted(entries: &[VersionEntry]) -> BTreeSet<String> {
    names(entries).into_iter().collect()
}

/// Asserts that both find the same, page by page.
fn compare(
    snapshot: &Snapshot,
    request: &str,
    query: &Query,
    most: usize,
) -> Result<usize, String> {
    let [mut by_index, mut by_scan]: [Option<Vec<u8>>; 2] = [None, None];
    let mut matches = 0;
    loop {
        let indexed = find(snapshot, query, &EXTRACTOR, most, by_index.as_deref());
        let scanned = find(snapshot, query, &SCANNING, most, by_scan.as_deref());
        let (indexed, scanned) = match (indexed, scanned) {
            (Ok(indexed), Ok(scanned)) => (indexed, scanned),
            (Err(indexed), Err(scanned)) if indexed.to_string() == scanned.to_string() => {
                return Ok(matches);
            }
            (indexed, scanned) => {
                return Err(format!("{request}: {:?} {:?}", indexed.err(), scanned.err()));
            }
        };
        let both = |of: &dyn Fn(&Found) -> String| (of(&indexed), of(&scanned));
        for (indexed, scanned) in [
            both(&|it| format!("{:?} {:?}", names(&it.matches), it.contained)),
            both(&|it| format!("{:?}", sorted(&it.included))),
            both(&|it| format!("{:?} {}", it.total, it.included_cut)),
            both(&|it| it.next.is_some().to_string()),
        ] {
            if indexed != scanned {
                return Err(format!("{request} by {most}:\n  index {indexed}\n  scan  {scanned}"));
            }
        }
        matches += indexed.matches.len();
        (by_index, by_scan) = (indexed.next, scanned.next);
        if by_index.is_none() {
            return Ok(matches);
        }
    }
}

/// Compares the answers to a random query as of now or before; says whether it found something.
pub(super) fn compare_one(clinic: &Clinic, chance: &mut Chance) -> Result<bool, String> {
    let head = clinic.snapshot().at();
    loop {
        let request = queries::request(chance);
        let Ok(query) = read(&request, Handling::Lenient) else { continue };
        let t = if chance.once_in(3) { T::new(chance.below(head.get() + 1)) } else { head };
        let visibility = match chance.below(4) {
            0 => {
                Visibility::of_types((0..8).map(|_| chance.one(&TYPES).parse().unwrap()).collect())
            }
            _ => Visibility::everything(),
        };
        let snapshot = clinic.database().snapshot_at(t, visibility);
        let most = chance.one(&[1000, 1000, 3]);
        return Ok(compare(&snapshot, &format!("{request} at {t:?}"), &query, most)? > 0);
    }
}

/// SRCH-193, SRCH-205, SRCH-245
fn the_index_finds_what_looking_at_every_resource_finds(clinic: &mut Clinic) {
    // As many and from where a soak says.
    #[expect(clippy::disallowed_methods, reason = "what a soak says")]
    let said = |name| std::env::var(name).ok().map(|it| it.parse::<u64>().unwrap());
    let mut chance = Chance(said("SEARCH_SEED").unwrap_or(7));
    let rounds = said("SEARCH_ROUNDS").unwrap_or(ROUNDS);
    index(clinic.database());
    change(clinic, &mut chance, 20);
    let (mut finding, mut wrong) = (0, Vec::new());
    for round in 0..rounds {
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
    assert!(finding > rounds * QUERIES / 4, "only {finding} found something");
}

/// SRCH-245: of the index there is nothing to be seen, but that it takes less long.
fn while_the_index_catches_up_searches_find_the_same(clinic: &mut Clinic) {
    let mut chance = Chance(11);
    change(clinic, &mut chance, 20);
    clinic.reopen();
    let extractor = Arc::clone(&EXTRACTOR);
    let by = IndexedBy { extractor, base: BASE.into(), zone: Zone::UTC };
    assert!(!clinic.database().is_indexed());
    clinic.database().index_by(by).unwrap();
    // At first there is none yet, and then there is.
    while !clinic.database().is_indexed() {
        compare_one(clinic, &mut chance).unwrap();
    }
    for _ in 0..20 {
        compare_one(clinic, &mut chance).unwrap();
    }
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
    let before = clinic.snapshot().at();
    let purge = Purge {
        patient: "1".parse().unwrap(),
        reason: "asked for by letter".to_owned(),
        by: "uid 1000".to_owned(),
        commit: CommitId(u128::MAX - 7),
    };
    block_on(clinic.database().purge(purge)).unwrap();
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
            let query = query(request);
            compare(&snapshot, request, &query, 1000).unwrap();
            let found = find(&snapshot, &query, &EXTRACTOR, 1000, None).unwrap();
            assert_eq!(names(&found.matches).join(" "), expected, "{request} at {t:?}");
        }
    }
}
