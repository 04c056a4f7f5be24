//! Random operations, restarts and crashes among them, against the model.

use super::StoreUnderTest;
use super::fixture::{commit, delete, put_identified, resource_id, resource_type, tenant};
use super::history::compare_histories;
use crate::model::ModelStore;
use crate::{AppendError, Commit, IdentifierKey, Store, T, Version, VersionEntry};

const SEEDS: u64 = 8;
const STEPS: u64 = 40;
const TYPES: [&str; 3] = ["Patient", "Person", "PatientX"];
const SYSTEMS: [&str; 2] = ["urn:a", "urn:b"];

/// G1, G2, G6 and G11 together: after every operation the store answers as the model does. The
/// seeds follow one another on one store, so that each begins where the one before ended.
pub async fn random_operations_agree_with_the_model(under_test: &mut dyn StoreUnderTest) {
    let model = ModelStore::new(tenant());
    for seed in 0..SEEDS {
        let mut chance = Chance(seed);
        for step in 0..STEPS {
            let place = format!("seed {seed}, step {step}");
            match chance.below(12) {
                0 => under_test.restart(),
                1 => under_test.crash(),
                2 => {
                    refuse_group(under_test.store(), &model, &mut chance, &place);
                }
                _ => append_group(under_test.store(), &model, &mut chance, &place).await,
            }
            let store = under_test.store();
            assert_eq!(store.head(), model.head(), "{place}");
            for _ in 0..5 {
                compare_some(store, &model, &mut chance, &place).await;
            }
        }
        compare_all(under_test.store(), &model, &format!("end of seed {seed}")).await;
    }
}

/// A small generator of numbers (splitmix64), so that a seed is a run.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn one_of<'a>(&mut self, from: &[&'a str]) -> &'a str {
        let index = self.below(from.len() as u64);
        from[usize::try_from(index).unwrap_or(0)]
    }

    fn name(&mut self) -> String {
        format!("{}/r{}", self.one_of(&TYPES), self.below(12))
    }
}

async fn append_group(store: &dyn Store, model: &ModelStore, chance: &mut Chance, place: &str) {
    let first = model.head().t.get() + 1;
    for t in first..=first + chance.below(4) {
        let group = [random_commit(model, chance, t).await];
        // The model takes commits one by one, since version numbers depend on those before.
        let head = model.append(&group);
        assert_eq!(head.ok(), store.append(&group).ok(), "{place}");
    }
    let first = model.head().t.get() + 1;
    let group: Vec<_> = (first..first + chance.below(5))
        .map(|t| {
            let name = format!("Group/g{t}");
            commit(t, vec![put_identified(&name, 1, &[("urn:a", "1")], &name)])
        })
        .collect();
    assert_eq!(model.append(&group).ok(), store.append(&group).ok(), "{place}");
}

async fn random_commit(model: &ModelStore, chance: &mut Chance, t: u64) -> Commit {
    let mut versions: Vec<Version> = Vec::new();
    for _ in 0..chance.below(6) {
        let name = chance.name();
        let known = versions
            .iter()
            .any(|version| format!("{}/{}", version.resource_type, version.id) == name);
        if !known {
            versions.push(random_version(model, chance, &name, t).await);
        }
    }
    commit(t, versions)
}

async fn random_version(model: &ModelStore, chance: &mut Chance, name: &str, t: u64) -> Version {
    let newest = newest(model, name, T::new(t)).await;
    let number = newest.map_or(1, |entry| entry.version.get() + 1);
    if number > 1 && chance.below(5) == 0 {
        return delete(name, number);
    }
    let values: Vec<_> = (0..chance.below(3))
        .map(|_| (chance.one_of(&SYSTEMS), chance.below(6).to_string()))
        .collect();
    let identifiers: Vec<_> =
        values.iter().map(|(system, value)| (*system, value.as_str())).collect();
    let size = usize::try_from(chance.below(3000)).unwrap_or(0);
    let content = format!("{t} {}", "x".repeat(size));
    put_identified(name, number, &identifiers, &content)
}

fn refuse_group(store: &dyn Store, model: &ModelStore, chance: &mut Chance, place: &str) {
    let head = model.head().t.get();
    let t = match chance.below(2) {
        0 => head,
        _ => head + 2 + chance.below(3),
    };
    let refused = store.append(&[commit(t, vec![delete("Patient/refused", 1)])]);
    let moved = matches!(refused, Err(AppendError::HeadMoved { .. }));
    assert!(moved, "{place}: {refused:?}");
}

async fn compare_some(store: &dyn Store, model: &ModelStore, chance: &mut Chance, place: &str) {
    let at = T::new(chance.below(model.head().t.get() + 2));
    let name = chance.name();
    compare_resource(store, model, &name, at, place).await;
    let value = chance.below(6).to_string();
    let key = IdentifierKey::new(Some(chance.one_of(&SYSTEMS)), &value);
    compare_identifier(store, model, chance.one_of(&TYPES), &key, at, place).await;
    let part = (chance.below(at.get() + 1), at.get());
    compare_histories(store, model, part, 5, place).await;
}

async fn compare_all(store: &dyn Store, model: &ModelStore, place: &str) {
    let head = model.head().t;
    for at in [T::ZERO, T::new(head.get() / 2), head] {
        for (resource_type, id) in model.resources() {
            let name = format!("{resource_type}/{id}");
            compare_resource(store, model, &name, at, place).await;
        }
        for (resource_type, key) in model.identifiers() {
            compare_identifier(store, model, resource_type.as_str(), &key, at, place).await;
        }
    }
    compare_histories(store, model, (0, head.get() + 1), usize::MAX, place).await;
}

async fn compare_identifier(
    store: &dyn Store,
    model: &ModelStore,
    type_name: &str,
    key: &IdentifierKey,
    at: T,
    place: &str,
) {
    let resource_type = resource_type(type_name);
    let expected = model.identified(&resource_type, key, at).await.ok();
    let found = store.identified(&resource_type, key, at).await.ok();
    assert_eq!(found, expected, "{place}: {type_name} at {at}");
}

async fn compare_resource(store: &dyn Store, model: &ModelStore, name: &str, at: T, place: &str) {
    let (type_name, id) = name.split_once('/').expect("a name is Type/id");
    let (resource_type, id) = (resource_type(type_name), resource_id(id));
    let expected = model.versions(&resource_type, &id, at).await;
    let expected = expected.expect("the model knows");
    let found = store.versions(&resource_type, &id, at).await;
    let found = found.unwrap_or_else(|error| panic!("{place}: {name} at {at}: {error}"));
    let known = |entries: &[VersionEntry]| entries.iter().map(without_location).collect::<Vec<_>>();
    assert_eq!(known(&found), known(&expected), "{place}: {name} at {at}");
    assert_eq!(newest(store, name, at).await.as_ref(), found.first(), "{place}: {name} at {at}");
    for (found, expected) in found.iter().zip(&expected) {
        let body = store.body(found).await;
        let body = body.unwrap_or_else(|error| panic!("{place}: {name} at {at}: {error}"));
        let same = model.body(expected).await.is_ok_and(|expected| expected == body);
        assert!(same, "{place}: the body of {name} at {at}");
        let by_number = store.version(&resource_type, &id, found.version, at).await;
        let by_number = by_number.expect("a version is known");
        assert_eq!(by_number.as_ref(), Some(found), "{place}: {name} at {at}");
    }
}

async fn newest(store: &dyn Store, name: &str, at: T) -> Option<VersionEntry> {
    let (type_name, id) = name.split_once('/').expect("a name is Type/id");
    let (resource_type, id) = (resource_type(type_name), resource_id(id));
    let entry = store.newest(&resource_type, &id, at).await;
    entry.expect("newest is known")
}

/// What two backends agree on.
fn without_location(entry: &VersionEntry) -> impl PartialEq + std::fmt::Debug + use<> {
    (
        (entry.t, entry.instant, entry.version, entry.flags),
        (entry.resource_type.clone(), entry.id.clone()),
        (entry.dictionary, entry.length),
    )
}
