//! Bodies are sealed: what stands on the disk without the keys, and what can still be read with
//! them.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use database::{Database, DeriveFromBody, Expect, Options, Sealing};
use fhir_schema::Schema;
use store::keys::{FirstKeys, Keyring};
use store_sled::{KeyFolder, SledStore, SledStoreOptions};

use crate::support::{
    Clinic, SetClock, block_on, commit, delete, everything, json, keyring, put, resource, tenant,
};

const NAME: &str = "Quill";

fn named(rest: &str) -> String {
    format!("{{\"resourceType\":\"Patient\",\"name\":[{{\"family\":\"{NAME}\"}}]{rest}}}")
}

/// So short that it is not compressed: only the seal keeps it from being read.
fn short() -> String {
    format!("{{\"resourceType\":\"Basic\",\"x\":\"{NAME}\"}}")
}

fn observation(patient: &str, text: &str) -> String {
    format!(
        "{{\"resourceType\":\"Observation\",\"subject\":{{\"reference\":\"{patient}\"}},\
         \"code\":{{\"text\":\"{text}\"}}}}"
    )
}

/// The files under `path` in which `text` stands.
fn files_with(path: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, text));
        } else if fs::read(&path).unwrap().windows(text.len()).any(|at| at == text.as_bytes()) {
            found.push(path.display().to_string());
        }
    }
    found
}

fn key_of(clinic: &Clinic, name: &str) -> u64 {
    let (of, id) = resource(name);
    let entry = block_on(clinic.snapshot().newest(&of, &id)).unwrap().unwrap();
    let stored = block_on(store::Store::stored(clinic.gate().as_ref(), &entry)).unwrap();
    stored.owner.0
}

#[test]
fn nothing_of_a_body_stands_readable_in_the_log() {
    let mut clinic = Clinic::over_sled();
    clinic.write(put("Patient/1", &named(""), Expect::Any));
    clinic.write(put("Patient/1", &named(",\"active\":true"), Expect::Any));
    clinic.write(put("Observation/1", &observation("Patient/1", NAME), Expect::Any));
    clinic.write(put("Basic/1", &short(), Expect::Any));
    let folder = clinic.folder().unwrap();
    assert_eq!(files_with(&folder.join("log"), NAME), [] as [String; 0]);
    clinic.reopen_without_derived_data();
    assert_eq!(files_with(&folder, NAME), [] as [String; 0]);
    assert!(clinic.json("Patient/1").unwrap().contains(NAME));
    assert!(clinic.json("Basic/1").unwrap().contains(NAME));
}

#[test]
fn each_patients_data_has_a_key_and_what_is_no_ones_alone_has_the_tenants() {
    let clinic = Clinic::over_sled();
    let two = "{\"resourceType\":\"Observation\",\"subject\":{\"reference\":\"Patient/1\"},\
               \"performer\":[{\"reference\":\"Patient/2\"}]}";
    for (name, text) in [
        ("Patient/1", named("")),
        ("Patient/2", named("")),
        ("Observation/1", observation("Patient/1", "a")),
        ("Observation/2", observation("Patient/2", "a")),
        ("Observation/3", observation("Patient/1", "b")),
        ("Observation/4", two.to_owned()),
        ("Organization/1", "{\"resourceType\":\"Organization\"}".to_owned()),
    ] {
        clinic.write(put(name, &text, Expect::Any));
    }
    let key = |name| key_of(&clinic, name);
    assert_eq!(key("Patient/1"), key("Observation/1"));
    assert_eq!(key("Patient/1"), key("Observation/3"));
    assert_eq!(key("Patient/2"), key("Observation/2"));
    assert_ne!(key("Patient/1"), key("Patient/2"));
    assert_eq!(key("Observation/4"), key("Organization/1"));
    let of_tenant = |name| Keyring::is_of_tenant(store::OwnerKeyId(key(name)));
    assert!(of_tenant("Organization/1") && !of_tenant("Patient/1"));
    // A version that moves to another patient is sealed anew.
    clinic.write(put("Observation/1", &observation("Patient/2", "a"), Expect::Any));
    assert_eq!(key("Observation/1"), key("Patient/2"));
}

#[test]
fn deletions_that_write_nothing_do_not_move_what_is_sealed() {
    let mut clinic = Clinic::over_sled();
    clinic.write(put("Patient/9", &named(""), Expect::Any));
    let changes = vec![
        delete("Patient/8", Expect::Any),
        put("Patient/1", &named(""), Expect::Any),
        delete("Patient/9", Expect::Any),
        put("Patient/2", &named(",\"active\":true"), Expect::Any),
    ];
    clinic.commit(changes).unwrap();
    for _ in 0..2 {
        clinic.reopen_without_derived_data();
        assert!(clinic.json("Patient/1").is_some() && clinic.json("Patient/9").is_none());
        assert!(clinic.json("Patient/2").unwrap().contains("active"));
    }
}

/// More bodies than are read with what stands before them in their commit.
#[test]
fn every_body_of_a_large_transaction_is_opened_in_its_place() {
    let mut clinic = Clinic::over_sled();
    let name = |number| format!("Observation/{number}");
    let text = |number: u32| observation(&format!("Patient/{}", number % 7), &number.to_string());
    let changes = (0..500).map(|number| put(&name(number), &text(number), Expect::Any));
    clinic.commit(changes.collect()).unwrap();
    clinic.reopen_without_derived_data();
    for number in 0..500 {
        let found = clinic.json(&name(number)).unwrap();
        assert!(found.contains(&format!("\"text\":\"{number}\"")), "{found}");
    }
}

/// The store and the database of a folder, sealed or not.
fn open(path: &Path, sealing: Sealing) -> Database {
    let derive = Arc::new(DeriveFromBody::sealed(Schema::r4(), sealing.clone()));
    let options = SledStoreOptions { cache_bytes: 4 << 20, ..SledStoreOptions::default() };
    let store = SledStore::open(path, tenant().as_str(), derive, options).unwrap();
    let clock = Arc::new(SetClock::at(1_800_000_000_000_000));
    let options = Options { kept_bytes: 0, ..Options::default() };
    let (store, schema) = (Arc::new(store), Schema::r4());
    Database::open_sealed(store, tenant(), schema, clock, options, sealing).unwrap()
}

#[test]
fn a_directory_of_before_there_were_keys_opens_and_seals_from_then_on() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("clinic");
    let plain = open(&path, Sealing::none());
    block_on(commit(&plain, vec![put("Basic/1", &short(), Expect::Any)])).unwrap();
    plain.close().unwrap();
    drop(plain);
    fs::write(path.join("format"), "hearthgate store 1\n").unwrap();
    assert_eq!(KeyFolder::first_keys(&path).unwrap(), FirstKeys::MayBeMade);
    assert_eq!(files_with(&path.join("log"), NAME).len(), 1);

    let before = fs::metadata(path.join("log/0000000000000001.log")).unwrap().len();
    let keys = Arc::new(keyring(&Arc::default()));
    let sealed = open(&path, Sealing::with(tenant(), keys));
    assert_eq!(fs::read_to_string(path.join("format")).unwrap(), "hearthgate store 3\n");
    assert_eq!(KeyFolder::first_keys(&path).unwrap(), FirstKeys::MustBeThere);
    block_on(commit(&sealed, vec![put("Basic/2", &short(), Expect::Any)])).unwrap();
    for name in ["Basic/1", "Basic/2"] {
        assert!(block_on(json(&everything(&sealed), name)).unwrap().contains(NAME));
    }
    let log = fs::read(path.join("log/0000000000000001.log")).unwrap();
    let since = &log[usize::try_from(before).unwrap()..];
    assert!(!since.windows(NAME.len()).any(|at| at == NAME.as_bytes()));
}

#[test]
fn what_is_sealed_is_an_error_without_keys_and_never_an_empty_answer() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("clinic");
    let keys = Arc::new(keyring(&Arc::default()));
    let sealed = open(&path, Sealing::with(tenant(), Arc::clone(&keys)));
    block_on(commit(&sealed, vec![put("Patient/1", &named(""), Expect::Any)])).unwrap();
    sealed.close().unwrap();
    drop(sealed);
    let (of, id) = resource("Patient/1");
    for sealing in [Sealing::none(), Sealing::with(tenant(), Arc::new(keyring(&Arc::default())))] {
        let database = open(&path, sealing);
        let found = block_on(everything(&database).read(&of, &id));
        let unreadable = matches!(found, Err(database::ReadError::UnreadableBody { .. }));
        assert!(unreadable, "{found:?}");
        database.close().unwrap();
    }
}

#[test]
fn key_files_appear_whole_and_for_this_account_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    use store::keys::{KeyFile, KeyStore as _};
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("clinic");
    let keys = KeyFolder::of_tenant(&path);
    assert!(!keys.has_keys() && keys.read(KeyFile::Tree).unwrap().is_none());
    keys.replace(KeyFile::Tree, b"first and longer").unwrap();
    // Whoever still has the replaced file open finds nothing of it.
    let replaced = fs::File::open(path.join("keys/tree")).unwrap();
    keys.replace(KeyFile::Tree, b"second").unwrap();
    assert_eq!(keys.read(KeyFile::Tree).unwrap().unwrap(), b"second");
    assert_eq!(std::io::read_to_string(replaced).unwrap(), "\0".repeat(16));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path.join("keys")), mode(&path.join("keys/tree"))), (0o700, 0o600));
    assert_eq!(fs::read_dir(path.join("keys")).unwrap().count(), 1);
}
