//! Random transactions against a BTreeMap: groups of them, failing disks, restarts and the loss
//! of derived data among them; every answer and every read must be the map's.

use std::collections::{BTreeMap, BTreeSet};

use database::{
    Change, CommitError, Expect, Precondition, Receipt, Snapshot, Transaction, Written,
};
use fhir_core::Instant;
use store::{AppendError, T};

use crate::differential::Chance;
use crate::gate::Outcome;
use crate::support::{
    Clinic, block_on, condition, create, delete, identified, json, patient, put, resource,
    transaction, version,
};

over_each_backend! {
    random_transactions_agree_with_a_map
}

const SEEDS: u64 = 8;
const STEPS: u64 = 25;
const IDS: u64 = 7;
const VALUES: u64 = 5;

/// A version as the map has it.
#[derive(Debug, Clone)]
struct Known {
    t: T,
    instant: Instant,
    /// What it says and the values of its identifiers; `None` when it is a deletion.
    content: Option<(String, Vec<String>)>,
}

/// A tenant's data as a map: the versions of each resource, oldest first.
#[derive(Debug, Clone, Default)]
struct Truth {
    head: T,
    resources: BTreeMap<String, Vec<Known>>,
}

/// A change as it was chosen, before it is made ready.
#[derive(Debug, Clone)]
struct Chosen {
    name: String,
    content: Option<(String, Vec<String>)>,
    expect: Expect,
}

/// A transaction as it was chosen: its changes, and the identifier it looked for.
#[derive(Debug, Clone)]
struct Wish {
    changes: Vec<Chosen>,
    looked_for: Option<(String, Vec<String>)>,
}

/// What the map expects of a transaction.
#[derive(Debug)]
enum Verdict {
    Commits(Vec<Written>),
    Refuses(usize, Precondition),
    Raced,
    /// What it looked for was touched by its own group and is the same: it may be sent back.
    MayRace,
}

fn random_transactions_agree_with_a_map(clinic: &mut Clinic) {
    let mut truth = Truth::default();
    let mut number = 0;
    for seed in 0..SEEDS {
        let mut chance = Chance(seed);
        let mut kept = Vec::new();
        for step in 0..STEPS {
            let place = format!("seed {seed}, step {step}");
            match chance.below(24) {
                0 => {
                    kept.clear();
                    clinic.reopen();
                }
                1 => {
                    kept.clear();
                    clinic.reopen_without_derived_data();
                }
                _ => {}
            }
            let wishes: Vec<_> =
                (0..=chance.below(5)).map(|_| wish(&truth, &mut chance, &mut number)).collect();
            submit(clinic, &mut truth, &wishes, &mut chance, &place);
            let snapshot = clinic.snapshot();
            assert_eq!(snapshot.at(), truth.head, "{place}");
            for _ in 0..4 {
                compare_some(&snapshot, &truth, &mut chance, &place);
            }
            if chance.below(6) == 0 {
                kept.push((snapshot, truth.clone()));
            }
        }
        for (snapshot, truth) in &kept {
            compare_all(snapshot, truth, &format!("kept, end of seed {seed}"));
        }
        compare_all(&clinic.snapshot(), &truth, &format!("end of seed {seed}"));
        clinic.clock.set(1_800_000_000_000_000 + (seed as i64 % 3) * 20_000_000);
    }
}

fn wish(truth: &Truth, chance: &mut Chance, number: &mut u64) -> Wish {
    let mut names = BTreeSet::new();
    for _ in 0..=chance.below(3) {
        names.insert(format!("Patient/r{}", chance.below(IDS)));
    }
    let mut changes: Vec<_> = names
        .into_iter()
        .map(|name| {
            let content = (chance.below(4) > 0).then(|| content(chance, number));
            let expect = expectation(truth.versions(&name).len(), chance);
            Chosen { name, content, expect }
        })
        .collect();
    if chance.below(4) == 0 {
        *number += 1;
        changes.push(Chosen {
            name: format!("Patient/new{number}"),
            content: Some(content(chance, number)),
            expect: Expect::New,
        });
    }
    let looked_for = (chance.below(3) == 0).then(|| {
        let value = chance.below(VALUES).to_string();
        let found = truth.bearers(&value, truth.head);
        (value, found)
    });
    Wish { changes, looked_for }
}

fn content(chance: &mut Chance, number: &mut u64) -> (String, Vec<String>) {
    *number += 1;
    let values: BTreeSet<_> =
        (0..chance.below(3)).map(|_| chance.below(VALUES).to_string()).collect();
    let length = usize::try_from(chance.below(400)).unwrap();
    let text = format!("{number}{}", "y".repeat(length));
    (text, values.into_iter().collect())
}

fn expectation(versions: usize, chance: &mut Chance) -> Expect {
    let versions = versions as u64;
    match chance.below(8) {
        0 => Expect::Absent,
        1 => Expect::Exists,
        2 if versions > 0 => Expect::Versions(vec![version(1 + chance.below(versions + 1))]),
        5 => Expect::Never,
        4 if versions > 0 => Expect::Existing(vec![version(versions)]),
        3 if versions > 0 => Expect::Versions(vec![version(versions), version(versions + 1)]),
        _ => Expect::Any,
    }
}

impl Wish {
    fn transaction(&self, prepared_at: T) -> Transaction {
        let change = |chosen: &Chosen| -> Change {
            let (name, expect) = (&chosen.name, chosen.expect.clone());
            match &chosen.content {
                None => delete(name, expect),
                Some((text, values)) => {
                    let values: Vec<_> = values.iter().map(String::as_str).collect();
                    let json = patient(text, &values);
                    match expect {
                        Expect::New => create(name, &json),
                        _ => put(name, &json, expect),
                    }
                }
            }
        };
        let conditions = self.looked_for.iter().map(|(value, found)| {
            let found: Vec<_> = found.iter().map(String::as_str).collect();
            condition(value, &found)
        });
        Transaction {
            conditions: conditions.collect(),
            ..transaction(prepared_at, self.changes.iter().map(change).collect())
        }
    }
}

/// Commits the wishes as one group, sometimes on a full disk, and holds every answer against the
/// map's.
fn submit(clinic: &Clinic, truth: &mut Truth, wishes: &[Wish], chance: &mut Chance, place: &str) {
    let transactions = wishes.iter().map(|wish| wish.transaction(truth.head));
    let is_full = chance.below(8) == 0;
    if is_full {
        let full = Outcome::Fails(AppendError::DiskFull);
        clinic.gate().next([Outcome::Passes, full]);
    }
    let answers = clinic.as_one_group(transactions.collect());
    clinic.gate().next([]);
    let (of, id) = resource("Basic/filler");
    let (prepared_at, filled) = (truth.head, truth.head.next());
    let newest = block_on(clinic.snapshot().newest(&of, &id)).unwrap().unwrap();
    assert_eq!(newest.t, filled, "{place}");
    truth.head = filled;
    let mut after = truth.clone();
    let failed = answers.iter().filter(|answer| is_disk_full(answer)).count();
    if failed > 0 {
        // All or none of them, and only when there was something to write.
        assert!(is_full && failed == answers.len(), "{place}: {answers:?}");
        return;
    }
    for (wish, answer) in wishes.iter().zip(answers) {
        after.hold_against(wish, prepared_at, filled, answer, place);
    }
    assert!(!is_full || after.head == truth.head, "{place}: the disk was full");
    *truth = after;
}

fn is_disk_full(answer: &Result<Receipt, CommitError>) -> bool {
    answer.as_ref().is_err_and(CommitError::is_disk_full)
}

impl Truth {
    fn versions(&self, name: &str) -> &[Known] {
        self.resources.get(name).map_or(&[], Vec::as_slice)
    }

    fn newest(&self, name: &str, at: T) -> Option<&Known> {
        self.versions(name).iter().rfind(|known| known.t <= at)
    }

    /// The ids of the resources whose newest version at `at` bears this value.
    fn bearers(&self, value: &str, at: T) -> Vec<String> {
        let bears = |name: &str| {
            let content = self.newest(name, at).and_then(|known| known.content.as_ref());
            content.is_some_and(|(_, values)| values.iter().any(|of| of == value))
        };
        let names = self.resources.keys().filter(|name| bears(name));
        names.map(|name| name.trim_start_matches("Patient/").to_owned()).collect()
    }

    /// Judges one wish by what the map has now, and takes what it commits.
    fn hold_against(
        &mut self,
        wish: &Wish,
        prepared_at: T,
        before_group: T,
        answer: Result<Receipt, CommitError>,
        place: &str,
    ) {
        let verdict = self.judge(wish, prepared_at, before_group);
        let place = format!("{place}: {wish:?} expects {verdict:?}");
        match (verdict, answer) {
            (Verdict::Commits(expected), Ok(receipt)) => {
                self.take(wish, &expected, &receipt, &place);
            }
            (Verdict::MayRace, Ok(receipt)) => {
                let unconditional = Wish { looked_for: None, ..wish.clone() };
                let answer = Ok(receipt);
                self.hold_against(&unconditional, prepared_at, before_group, answer, &place);
            }
            (
                Verdict::Refuses(change, failed),
                Err(CommitError::Precondition { change: found_change, failed: found }),
            ) => assert_eq!((found_change, found), (change, failed), "{place}"),
            (Verdict::Raced | Verdict::MayRace, Err(CommitError::Raced)) => {}
            (Verdict::MayRace, answer @ Err(CommitError::Precondition { .. })) => {
                let unconditional = Wish { looked_for: None, ..wish.clone() };
                self.hold_against(&unconditional, prepared_at, before_group, answer, &place);
            }
            (_, answer) => panic!("{place}: {answer:?}"),
        }
    }

    fn judge(&self, wish: &Wish, prepared_at: T, before_group: T) -> Verdict {
        if let Some((value, found)) = &wish.looked_for {
            if self.bearers(value, self.head) != *found {
                return Verdict::Raced;
            }
            assert_eq!(self.bearers(value, prepared_at), *found);
            let touched = |known: &Known| known.t > before_group;
            let by_group = self.resources.iter().any(|(name, versions)| {
                let id = name.trim_start_matches("Patient/");
                versions.iter().filter(|known| touched(known)).any(|known| {
                    let content = known.content.as_ref();
                    found.iter().any(|found| found == id)
                        || content.is_some_and(|(_, values)| values.contains(value))
                })
            });
            if by_group {
                return Verdict::MayRace;
            }
        }
        let mut written = Vec::new();
        for (index, change) in wish.changes.iter().enumerate() {
            let versions = self.versions(&change.name);
            let newest = versions.last();
            let number = versions.len() as u64;
            let is_there = newest.is_some_and(|known| known.content.is_some());
            let failed = match &change.expect {
                Expect::New | Expect::Any => None,
                Expect::Exists => (!is_there).then_some(Precondition::Missing),
                Expect::Absent => is_there.then_some(Precondition::Present),
                Expect::Never => {
                    (number > 0).then(|| Precondition::VersionConflict { newest: version(number) })
                }
                Expect::Versions(any) if number > 0 && any.contains(&version(number)) => None,
                Expect::Existing(any) if is_there && any.contains(&version(number)) => None,
                Expect::Versions(_) | Expect::Existing(_) if !is_there => {
                    Some(Precondition::Missing)
                }
                Expect::Versions(any) | Expect::Existing(any) => {
                    let newest = version(number);
                    let conflict = Precondition::VersionConflict { newest };
                    (!any.contains(&newest)).then_some(conflict)
                }
            };
            if let Some(failed) = failed {
                return Verdict::Refuses(index, failed);
            }
            let changed = change.content.is_some() || is_there;
            let number = if changed { number + 1 } else { number };
            written.push(Written {
                version: (number > 0).then(|| version(number)),
                // The instant of what is written now is the receipt's to say.
                instant: match newest {
                    Some(known) if !changed => known.instant,
                    _ => Instant::MIN,
                },
                created: changed && !is_there,
                changed,
            });
        }
        Verdict::Commits(written)
    }

    fn take(&mut self, wish: &Wish, expected: &[Written], receipt: &Receipt, place: &str) {
        let writes = expected.iter().any(|written| written.changed);
        let t = if writes { self.head.next() } else { self.head };
        assert_eq!(receipt.t, t, "{place}");
        assert_eq!(receipt.written.len(), expected.len(), "{place}");
        let all = self.resources.values().flatten();
        let last = all.map(|known| known.instant).max().unwrap_or(Instant::MIN);
        for ((expected, written), change) in
            expected.iter().zip(&receipt.written).zip(&wish.changes)
        {
            let is_new = expected.changed || expected.version.is_none();
            let instant = if is_new { written.instant } else { expected.instant };
            assert_eq!(*written, Written { instant, ..*expected }, "{place}");
            assert!(!is_new || instant > last, "{place}");
            if expected.changed {
                self.resources.entry(change.name.clone()).or_default().push(Known {
                    t,
                    instant,
                    content: change.content.clone(),
                });
            }
        }
        self.head = t;
    }

    /// The JSON of version `number` of `name`.
    fn json(&self, name: &str, number: usize) -> Option<String> {
        let known = &self.versions(name)[number - 1];
        let (text, values) = known.content.as_ref()?;
        let values: Vec<_> = values.iter().map(String::as_str).collect();
        let (_, id) = name.split_once('/').unwrap();
        let instant = String::from_utf8(known.instant.text().to_vec()).unwrap();
        let start = format!(
            "{{\"resourceType\":\"Patient\",\"id\":\"{id}\",\
             \"meta\":{{\"versionId\":\"{number}\",\"lastUpdated\":\"{instant}\"}}"
        );
        Some(patient(text, &values).replace("{\"resourceType\":\"Patient\"", &start))
    }
}

fn compare_some(snapshot: &Snapshot, truth: &Truth, chance: &mut Chance, place: &str) {
    let name = format!("Patient/r{}", chance.below(IDS));
    compare_resource(snapshot, truth, &name, place);
    compare_identifier(snapshot, truth, &chance.below(VALUES).to_string(), place);
}

fn compare_all(snapshot: &Snapshot, truth: &Truth, place: &str) {
    let absent = ["Patient/r".to_owned(), "Patient/never".to_owned()];
    for name in truth.resources.keys().chain(&absent) {
        compare_resource(snapshot, truth, name, place);
    }
    for value in 0..VALUES {
        compare_identifier(snapshot, truth, &value.to_string(), place);
    }
}

fn compare_identifier(snapshot: &Snapshot, truth: &Truth, value: &str, place: &str) {
    let found = block_on(identified(snapshot, value));
    assert_eq!(found, truth.bearers(value, snapshot.at()), "{place}: {value}");
}

fn compare_resource(snapshot: &Snapshot, truth: &Truth, name: &str, place: &str) {
    let (of, id) = resource(name);
    let history = block_on(snapshot.history(&of, &id)).unwrap();
    let expected = truth.versions(name);
    assert_eq!(history.len(), expected.len(), "{place}: {name}");
    for (entry, (index, known)) in history.iter().rev().zip(expected.iter().enumerate()) {
        let number = index + 1;
        let place = format!("{place}: {name} version {number}");
        assert_eq!(entry.version, version(number as u64), "{place}");
        assert_eq!((entry.t, entry.instant), (known.t, known.instant), "{place}");
        assert_eq!(entry.flags.is_deleted(), known.content.is_none(), "{place}");
        let read = block_on(snapshot.vread(&of, &id, entry.version)).unwrap();
        let read = read.unwrap();
        assert_eq!(read.entry, *entry, "{place}");
        let json = read.json.map(|json| String::from_utf8(json.to_vec()).unwrap());
        assert_eq!(json, truth.json(name, number), "{place}");
    }
    let newest = block_on(json(snapshot, name));
    let expected = (!expected.is_empty()).then(|| truth.json(name, expected.len()));
    assert_eq!(newest, expected.flatten(), "{place}: {name}");
    assert_eq!(
        block_on(snapshot.newest(&of, &id)).unwrap().as_ref(),
        history.first(),
        "{place}: {name}"
    );
}
