//! What the index finds against what looking at every resource finds: random resources, commits
//! and queries.

mod queries;
mod resources;
mod values;

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use database::{Asked, Change, Database, Expect, Found, IndexedBy, SearchError, Snapshot};
use fhir_search::{Extractor, Handling, Query, Zone};
use store::{T, VersionEntry};

use super::{BASE, EXTRACTOR, asked, extractor, read};
use crate::random::Chance;
use crate::support::{Clinic, block_on, delete, put};
use values::TYPES;

over_each_backend! {
    the_index_finds_what_looking_at_every_resource_finds
}

/// Queries of each backend; twice as many pairs of answers in all.
const QUERIES: usize = 1000;
/// As many queries between one set of commits and the next.
const QUERIES_AT_ONCE: usize = 50;
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
    for _ in 0..10_000 {
        if database.is_indexed() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("the index does not catch up");
}

/// Some commits of some changes each.
fn change(clinic: &Clinic, chance: &mut Chance, commits: u64) {
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

fn find(
    snapshot: &Snapshot,
    query: &Query,
    extractor: &Arc<Extractor<'static>>,
    (most, most_included): (usize, usize),
    after: Option<&[u8]>,
) -> Result<Found, SearchError> {
    let asked =
        Asked { extractor, most, most_included, after, budget: BUDGET, ..asked() };
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
fn compare(snapshot: &Snapshot, request: &str, query: &Query, most: usize) -> Result<usize, String> {
    let [mut by_index, mut by_scan]: [Option<Vec<u8>>; 2] = [None, None];
    let mut matches = 0;
    loop {
        let limits = (most, 1000);
        let indexed = find(snapshot, query, &EXTRACTOR, limits, by_index.as_deref());
        let scanned = find(snapshot, query, &SCANNING, limits, by_scan.as_deref());
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
            both(&|it| format!("{:?}", names(&it.matches))),
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

/// Compares random queries as of now and before; gives how many found something.
fn compare_some(clinic: &Clinic, chance: &mut Chance, queries: usize) -> Result<usize, String> {
    let (mut left, mut finding) = (queries, 0);
    let head = clinic.snapshot().at();
    while left > 0 {
        let request = queries::request(chance);
        let Ok(query) = read(&request, Handling::Lenient) else { continue };
        left -= 1;
        let t = if chance.once_in(3) { T::new(chance.below(head.get() + 1)) } else { head };
        let snapshot = clinic.database().snapshot_at(t, database::Visibility::everything());
        let most = chance.one(&[1000, 1000, 3]);
        finding += usize::from(compare(&snapshot, &format!("{request} at {t:?}"), &query, most)? > 0);
    }
    Ok(finding)
}

/// SRCH-193, SRCH-205, SRCH-245
fn the_index_finds_what_looking_at_every_resource_finds(clinic: &mut Clinic) {
    let mut chance = Chance(std::env::var("SEED").ok().map_or(7, |it| it.parse().unwrap()));
    let queries = std::env::var("QUERIES").ok().map_or(QUERIES, |it| it.parse().unwrap());
    index(clinic.database());
    change(clinic, &mut chance, 20);
    let mut finding = 0;
    let mut wrong = Vec::new();
    for round in 0..queries / QUERIES_AT_ONCE {
        change(clinic, &mut chance, 2);
        if round % 5 == 4 {
            clinic.reopen();
            index(clinic.database());
        }
        wait_until_indexed(clinic.database());
        for _ in 0..QUERIES_AT_ONCE {
            match compare_some(clinic, &mut chance, 1) {
                Ok(found) => finding += found,
                Err(why) => wrong.push(why),
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ\n{}", wrong.len(), wrong.join("\n"));
    assert!(finding > queries / 4, "only {finding} found something");
}
