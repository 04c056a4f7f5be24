//! An index that is kept over a restart finds what one that is built anew finds, whatever happened
//! to its files.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use database::{Change, Expect, IndexedBy, Purge};
use fhir_schema::package::{Package, PackageLimits};
use fhir_schema::{DefinitionSet, Schema};
use fhir_search::{Extractor, Parameters, Zone};
use fhir_terminology::Terminology;
use store::CommitId;
use store::keys::{KeyFile, KeyStore as _};

use super::differential::{change, compare_one};
use super::parameters::with_own;
use super::{EXTRACTOR, search};
use crate::differential::{BASE, Chance, Known};
use crate::support::{Clinic, block_on, keyring, put};

/// Begins an index, and waits until it has caught up.
pub(super) fn index(clinic: &Clinic) {
    let extractor = Arc::clone(&EXTRACTOR);
    let by = IndexedBy { extractor, base: BASE.into(), zone: Zone::UTC };
    clinic.database().index_by(by).unwrap();
    assert!(clinic.database().wait_for_index(Duration::from_secs(60)), "it does not catch up");
}

pub(super) fn compare(clinic: &Clinic, chance: &mut Chance, queries: u64) {
    for _ in 0..queries {
        compare_one(clinic, chance).unwrap();
    }
}

pub(super) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| entry.unwrap().path()).collect(),
        Err(_) => Vec::new(),
    };
    files.sort();
    files
}

fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    files(folder).into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

fn put_back(folder: &Path, contents: &[(PathBuf, Vec<u8>)]) {
    fs::create_dir_all(folder).unwrap();
    for path in files(folder) {
        fs::remove_file(path).unwrap();
    }
    for (path, bytes) in contents {
        fs::write(path, bytes).unwrap();
    }
}

pub(super) fn purge(patient: &str, commit: u128) -> Purge {
    Purge {
        patient: patient.parse().unwrap(),
        reason: "asked for by letter".to_owned(),
        by: "uid 1000".to_owned(),
        commit: CommitId(u128::MAX - commit),
    }
}

#[test]
fn an_index_goes_on_from_what_was_kept_and_finds_what_one_built_anew_finds() {
    let mut clinic = Clinic::over_sled_with_a_kept_index();
    let mut chance = Chance(3);
    let folder = clinic.kept_index();
    for round in 0..12 {
        index(&clinic);
        assert_eq!(clinic.was_restored(), round > 0, "round {round}");
        compare(&clinic, &mut chance, 10);
        change(&clinic, &mut chance, 6);
        compare(&clinic, &mut chance, 10);
        let before = contents(&folder);
        if chance.below(3) == 0 && round > 0 {
            // What is kept is that of an earlier close.
            clinic.reopen_after_a_drop();
            assert_eq!(contents(&folder), before);
        } else {
            clinic.reopen();
            assert!(files(&folder).iter().any(|path| path.ends_with("manifest")));
        }
    }
}

#[test]
fn a_kept_index_that_was_harmed_or_is_of_something_else_is_built_anew() {
    let mut clinic = Clinic::over_sled_with_a_kept_index();
    let mut chance = Chance(5);
    let folder = clinic.kept_index();
    index(&clinic);
    change(&clinic, &mut chance, 20);
    clinic.reopen();
    index(&clinic);
    change(&clinic, &mut chance, 20);
    clinic.reopen();
    let whole = contents(&folder);
    assert!(whole.len() >= 4, "{:?}", files(&folder));
    // With the key, which goes with whatever is thrown away.
    let tree = clinic.keys.read(KeyFile::Tree).unwrap().unwrap();
    let all_put_back = |clinic: &Clinic| {
        put_back(&folder, &whole);
        clinic.keys.replace(KeyFile::Tree, &tree).unwrap();
    };
    for (path, bytes) in &whole {
        for way in 0..4 {
            all_put_back(&clinic);
            let mut harmed = bytes.clone();
            match way {
                0 => {
                    let at = usize::try_from(chance.below(bytes.len() as u64)).unwrap();
                    harmed[at] ^= 1 << chance.below(8);
                }
                1 => harmed.truncate(usize::try_from(chance.below(bytes.len() as u64)).unwrap()),
                2 => harmed.extend_from_slice(b"more"),
                _ => harmed.clear(),
            }
            fs::write(path, harmed).unwrap();
            clinic.reopen_after_a_drop();
            index(&clinic);
            // A bit of keys is found wrong by whoever needs them, and then nothing is answered by
            // them; whatever is read at a start is found wrong there.
            let is_of_keys = way == 0 && clinic.was_restored();
            assert!(is_of_keys || !clinic.was_restored(), "{} in way {way}", path.display());
            compare(&clinic, &mut chance, if is_of_keys { 20 } else { 4 });
        }
        all_put_back(&clinic);
        fs::remove_file(path).unwrap();
        clinic.reopen_after_a_drop();
        index(&clinic);
        assert!(!clinic.was_restored(), "{} removed", path.display());
    }
    // By other parameters' base.
    all_put_back(&clinic);
    clinic.reopen_after_a_drop();
    let by = IndexedBy {
        extractor: Arc::clone(&Known::r4().scanning),
        base: "http://other/fhir".into(),
        zone: Zone::UTC,
    };
    clinic.database().index_by(by).unwrap();
    assert!(clinic.database().wait_for_index(Duration::from_secs(60)));
    assert!(!clinic.was_restored());
    // And untouched it is used.
    all_put_back(&clinic);
    clinic.reopen_after_a_drop();
    index(&clinic);
    assert!(clinic.was_restored());
    compare(&clinic, &mut chance, 20);
}

#[test]
fn an_index_that_is_ahead_of_the_log_or_of_another_log_is_built_anew() {
    let mut clinic = Clinic::over_sled_with_a_kept_index();
    index(&clinic);
    clinic.write(put(
        "Patient/1",
        "{\"resourceType\":\"Patient\",\"gender\":\"male\"}",
        Expect::Any,
    ));
    clinic.write(put(
        "Patient/2",
        "{\"resourceType\":\"Patient\",\"gender\":\"male\"}",
        Expect::Any,
    ));
    let folder = clinic.kept_index();
    clinic.reopen();
    let whole = contents(&folder);
    for commits in [1, 2] {
        let mut other = Clinic::over_sled_with_a_kept_index_and_keys_of(&clinic);
        for id in 0..commits {
            let json = "{\"resourceType\":\"Patient\",\"gender\":\"female\"}";
            other.write(put(&format!("Patient/{id}"), json, Expect::Any));
        }
        let there = other.kept_index();
        let moved: Vec<_> = whole
            .iter()
            .map(|(path, bytes)| (there.join(path.file_name().unwrap()), bytes.clone()))
            .collect();
        put_back(&there, &moved);
        other.reopen_after_a_drop();
        index(&other);
        assert!(!other.was_restored(), "{commits}");
        let found = search(&other.snapshot(), "Patient?gender=female");
        assert_eq!(found.unwrap().matches.len(), commits);
    }
}

/// Two patients, the first of this family: in another log the last version is the same.
fn two_patients(clinic: &Clinic, family: &str) {
    let json = format!(r#"{{"resourceType":"Patient","name":[{{"family":"{family}"}}]}}"#);
    clinic.write(put("Patient/1", &json, Expect::Any));
    clinic.write(put("Patient/2", r#"{"resourceType":"Patient"}"#, Expect::Any));
}

#[test]
fn an_index_of_a_log_that_was_cut_and_has_grown_anew_alike_is_built_anew() {
    let mut clinic = Clinic::over_sled_with_a_kept_index();
    index(&clinic);
    two_patients(&clinic, "Adam");
    let folder = clinic.kept_index();
    clinic.reopen();
    let whole = contents(&folder);
    let mut other = Clinic::over_sled_with_a_kept_index_and_keys_of(&clinic);
    two_patients(&other, "Evam");
    let last = |clinic: &Clinic| {
        let newest =
            block_on(clinic.snapshot().newest(&"Patient".parse().unwrap(), &"2".parse().unwrap()));
        let newest = newest.unwrap().unwrap();
        (newest.t, newest.instant, newest.version, newest.length)
    };
    assert_eq!(last(&clinic), last(&other), "one version alone does not tell them apart");
    let there = other.kept_index();
    let moved: Vec<_> = whole
        .iter()
        .map(|(path, bytes)| (there.join(path.file_name().unwrap()), bytes.clone()))
        .collect();
    put_back(&there, &moved);
    other.reopen_after_a_drop();
    index(&other);
    assert!(!other.was_restored());
    let found = search(&other.snapshot(), "Patient?family=Evam");
    assert_eq!(found.unwrap().matches.len(), 1);
}

#[test]
fn no_file_of_the_index_outlives_a_purge_and_none_that_is_put_back_can_be_opened() {
    let mut clinic = Clinic::over_sled_with_a_kept_index();
    index(&clinic);
    let patient = |id: &str| -> Change {
        put(id, "{\"resourceType\":\"Patient\",\"name\":[{\"family\":\"Muster\"}]}", Expect::Any)
    };
    for id in ["Patient/1", "Patient/2"] {
        clinic.write(patient(id));
    }
    clinic.reopen();
    let folder = clinic.kept_index();
    let old = contents(&folder);
    assert!(!old.is_empty());
    // Nothing of them can be read without the keys.
    for (path, bytes) in &old {
        let has = |text: &[u8]| bytes.windows(text.len()).any(|it| it == text);
        assert!(!has(b"muster") && !has(b"Muster"), "{}", path.display());
    }
    // Also where there is no index.
    block_on(clinic.database().purge(purge("1", 1))).unwrap();
    assert_eq!(files(&folder), [] as [PathBuf; 0]);
    put_back(&folder, &old);
    clinic.reopen_after_a_drop();
    index(&clinic);
    assert!(!clinic.was_restored());
    let names = |clinic: &Clinic| {
        let found = search(&clinic.snapshot(), "Patient?family=muster").unwrap();
        found.matches.iter().map(|it| it.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(&clinic), ["2"]);
    // With one that is there and writes.
    clinic.write(patient("Patient/3"));
    clinic.reopen();
    index(&clinic);
    assert!(clinic.was_restored());
    let old = contents(&folder);
    block_on(clinic.database().purge(purge("2", 2))).unwrap();
    assert!(clinic.database().wait_for_index(Duration::from_secs(60)));
    assert!(old.iter().all(|(path, bytes)| fs::read(path).ok().as_ref() != Some(bytes)));
    assert_eq!(names(&clinic), ["3"]);
    // The ledger and the key are of before the purge in an old copy alone: it is refused by either.
    clinic.reopen();
    put_back(&folder, &old);
    clinic.reopen_after_a_drop();
    index(&clinic);
    assert!(!clinic.was_restored());
    assert_eq!(names(&clinic), ["3"]);
}

#[test]
fn a_purge_that_ended_half_way_leaves_no_index_that_is_older_than_it() {
    let mut clinic = Clinic::over_sled_with_a_kept_index();
    index(&clinic);
    let json = "{\"resourceType\":\"Patient\",\"gender\":\"male\"}";
    clinic.write(put("Patient/1", json, Expect::Any));
    clinic.write(put("Patient/2", json, Expect::Any));
    clinic.reopen();
    let (folder, ids) = (clinic.kept_index(), ["1", "2"]);
    let whole = contents(&folder);
    // The first write is that of the ledger; then a write of keys fails.
    for writes in 1..3 {
        put_back(&folder, &whole);
        *clinic.keys.writes.lock() = Some(writes);
        let failed = block_on(clinic.database().purge(purge(ids[0], 1)));
        assert!(failed.is_err(), "{writes}");
        *clinic.keys.writes.lock() = None;
        clinic.reopen_after_a_drop();
        index(&clinic);
        assert!(!clinic.was_restored(), "{writes}");
        if writes == 1 {
            continue;
        }
        block_on(clinic.database().finish_purges()).unwrap();
        assert!(clinic.database().wait_for_index(Duration::from_secs(60)));
        let found = search(&clinic.snapshot(), "Patient?gender=male");
        let found: Vec<_> = found.unwrap().matches.iter().map(|it| it.id.to_string()).collect();
        assert_eq!(found, ["2"]);
    }
}

/// A clinic whose index is kept, of one male patient.
fn kept() -> Clinic {
    let mut clinic = Clinic::over_sled_with_a_kept_index();
    index(&clinic);
    clinic.write(patient("Patient/1"));
    clinic.reopen();
    assert!(files(&clinic.kept_index()).len() >= 3);
    clinic
}

fn patient(name: &str) -> Change {
    put(name, "{\"resourceType\":\"Patient\",\"gender\":\"male\"}", Expect::Any)
}

/// The names of the keys that files say they are sealed with.
fn keys_of(contents: &[(PathBuf, Vec<u8>)]) -> BTreeSet<[u8; 16]> {
    contents.iter().map(|(_, bytes)| bytes[10..26].try_into().unwrap()).collect()
}

fn are_destroyed(clinic: &Clinic, names: &BTreeSet<[u8; 16]>) -> Vec<bool> {
    let keys = keyring(&clinic.keys);
    names.iter().map(|name| keys.is_destroyed(keys.of_derived(name))).collect()
}

#[test]
fn the_key_of_an_index_that_is_thrown_away_is_destroyed() {
    let mut clinic = kept();
    let names = keys_of(&contents(&clinic.kept_index()));
    assert_eq!(are_destroyed(&clinic, &names), [false]);
    // It is of another base.
    let extractor = Arc::clone(&EXTRACTOR);
    let by = IndexedBy { extractor, base: "http://other/fhir".into(), zone: Zone::UTC };
    clinic.database().index_by(by).unwrap();
    assert!(clinic.database().wait_for_index(Duration::from_secs(60)));
    assert!(!clinic.was_restored());
    assert_eq!(are_destroyed(&clinic, &names), [true]);
    clinic.reopen();
    let next = keys_of(&contents(&clinic.kept_index()));
    assert_eq!(are_destroyed(&clinic, &next), [false]);
    // It is harmed, but for the names of keys.
    for (path, mut bytes) in contents(&clinic.kept_index()) {
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(path, bytes).unwrap();
    }
    index(&clinic);
    assert!(!clinic.was_restored());
    assert_eq!(are_destroyed(&clinic, &next), [true]);
}

#[test]
fn no_file_goes_before_its_key_is_destroyed() {
    let clinic = kept();
    let folder = clinic.kept_index();
    let whole = contents(&folder);
    let names = keys_of(&whole);
    // The ledger and the patient's key are written, and that of the index is not.
    *clinic.keys.writes.lock() = Some(2);
    assert!(block_on(clinic.database().purge(purge("1", 1))).is_err());
    assert_eq!(contents(&folder), whole);
    assert_eq!(are_destroyed(&clinic, &names), [false]);
    *clinic.keys.writes.lock() = None;
    block_on(clinic.database().finish_purges()).unwrap();
    assert_eq!(files(&folder), [] as [PathBuf; 0]);
    assert_eq!(are_destroyed(&clinic, &names), [true]);
}

#[test]
fn an_index_for_which_there_is_no_room_leaves_what_was_kept_as_it_was() {
    // One that was never kept leaves neither files nor keys.
    let mut clinic = Clinic::over_sled_with_a_kept_index();
    index(&clinic);
    clinic.write(patient("Patient/1"));
    let folder = clinic.kept_index();
    clinic.gate().have_room(2);
    clinic.reopen();
    assert_eq!(files(&folder), [] as [PathBuf; 0]);
    let mut clinic = kept();
    let folder = clinic.kept_index();
    let before = contents(&folder);
    let mut times = 0;
    loop {
        index(&clinic);
        assert!(clinic.was_restored(), "{times}");
        clinic.write(patient("Patient/2"));
        clinic.gate().have_room(times);
        clinic.reopen();
        if contents(&folder) != before {
            break;
        }
        times += 1;
    }
    assert!((3..20).contains(&times), "{times}");
    index(&clinic);
    assert!(clinic.was_restored());
    let found = search(&clinic.snapshot(), "Patient?gender=male").unwrap();
    assert_eq!(found.matches.len(), 2);
}

#[test]
fn what_no_manifest_names_is_removed_at_the_start() {
    let mut clinic = kept();
    let folder = clinic.kept_index();
    let whole = contents(&folder);
    for name in ["being-written-7", "segment-00000099", "names-00000099"] {
        fs::write(folder.join(name), &whole.last().unwrap().1).unwrap();
    }
    clinic.reopen_after_a_drop();
    index(&clinic);
    assert!(clinic.was_restored());
    assert_eq!(contents(&folder), whole);
}

#[test]
fn an_index_is_kept_after_parameters_are_changed_and_after_they_are_changed_back() {
    let mut clinic = kept();
    clinic.commit((2..1000).map(|id| patient(&format!("Patient/{id}"))).collect()).unwrap();
    index(&clinic);
    assert!(clinic.was_restored());
    let until_it_is_by = |clinic: &Clinic, extractor| {
        while clinic.database().being_indexed(extractor).is_some() {
            std::thread::yield_now();
        }
    };
    let own = with_own("token", "Patient.maritalStatus");
    clinic.database().index_with(&own).unwrap();
    clinic.database().index_with(&EXTRACTOR).unwrap();
    until_it_is_by(&clinic, &EXTRACTOR);
    clinic.write(patient("Patient/1000"));
    let before = contents(&clinic.kept_index());
    clinic.reopen();
    assert_ne!(contents(&clinic.kept_index()), before);
    index(&clinic);
    assert!(clinic.was_restored());
    // The next one is kept when it is the one that is searched.
    let names = keys_of(&contents(&clinic.kept_index()));
    clinic.database().index_with(&own).unwrap();
    until_it_is_by(&clinic, &own);
    clinic.reopen();
    assert_eq!(are_destroyed(&clinic, &names), [true]);
    let by = IndexedBy { extractor: own, base: BASE.into(), zone: Zone::UTC };
    clinic.database().index_by(by).unwrap();
    assert!(clinic.database().wait_for_index(Duration::from_secs(60)));
    assert!(clinic.was_restored());
}

#[test]
fn what_is_not_sealed_is_kept_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let mut clinic = Clinic::over_the_model_with_an_index_in(folder.path().join("index"));
    let mut chance = Chance(8);
    for round in 0..3 {
        index(&clinic);
        assert_eq!(clinic.was_restored(), round > 0);
        change(&clinic, &mut chance, 5);
        compare(&clinic, &mut chance, 10);
        clinic.reopen();
    }
}

/// R4 with a package without files, whose archive has such a digest.
fn by_package(digest: u8) -> IndexedBy {
    let manifest = br#"{"name":"p","version":"1.0.0","fhirVersions":["4.0.1"]}"#;
    let files = [Ok(("package.json".to_owned(), manifest.to_vec()))];
    let package = Package::from_files(files, PackageLimits::default()).unwrap();
    let package = Package { digest: Some([digest; 32]), ..package };
    let (schema, set) = (Schema::r4(), DefinitionSet::r4().with_packages(vec![package]).unwrap());
    let parameters = Arc::new(Parameters::new(&set, schema));
    let extractor = Arc::new(Extractor::new(schema, parameters, set, Terminology::r4()));
    IndexedBy { extractor, base: BASE.into(), zone: Zone::UTC }
}

#[test]
fn an_index_by_a_package_of_other_content_is_built_anew() {
    let mut clinic = kept();
    for (digest, is_used) in [(1, false), (1, true), (2, false), (2, true)] {
        clinic.database().index_by(by_package(digest)).unwrap();
        assert!(clinic.database().wait_for_index(Duration::from_secs(60)));
        assert_eq!(clinic.was_restored(), is_used, "{digest}");
        clinic.reopen();
    }
}
