//! Large bodies stand beside the log and are read as all others are; what is refused leaves none.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use database::{
    CommitError, DeriveFromBody, Expect, NotLookedAt, Options, Purge, PurgeError, ReadError,
};
use fhir_schema::Schema;
use store::{
    AppendError, BLOB_CHUNK, BLOB_FROM, BlobReference, CommitId, Derive as _, Store as _, T,
};

use crate::gate::{Hold, Outcome};
use crate::support::{
    Clinic, block_on, document, enqueue, identified, patient, put, resource, transaction, version,
};

over_each_backend! {
    large_bodies_come_back_to_the_byte_and_small_ones_stand_in_the_log
    identifiers_of_a_large_resource_are_found_when_they_are_derived_anew
    what_is_refused_leaves_no_blob
    of_an_unknown_outcome_the_blob_stays
    a_transaction_that_is_prepared_again_leaves_one_blob
    while_a_large_body_is_written_small_transactions_are_taken
    a_large_body_that_is_written_makes_room_for_the_next
    while_a_large_body_is_read_other_reads_are_answered
    while_large_bodies_are_waited_for_others_are_read
}

fn write(clinic: &Clinic, name: &str, text: &str) {
    clinic.write(put(name, text, Expect::Any));
}

/// The JSON without what the server puts into `meta`.
fn read(clinic: &Clinic, name: &str) -> Option<String> {
    let json = clinic.json(name)?;
    let (start, rest) = json.split_once("\"meta\":{")?;
    let (_, rest) = rest.split_once('}')?;
    Some(format!("{start}\"meta\":{{}}{rest}"))
}

fn stored(name: &str, text: &str) -> String {
    let (of, id) = resource(name);
    let rest = text.strip_prefix(&format!("{{\"resourceType\":\"{of}\"")).unwrap();
    format!("{{\"resourceType\":\"{of}\",\"id\":\"{id}\",\"meta\":{{}}{rest}")
}

/// The blob of a resource's newest version, and its file.
fn blob_file(clinic: &Clinic, name: &str) -> (BlobReference, PathBuf) {
    let (of, id) = resource(name);
    let entry = block_on(clinic.snapshot().newest(&of, &id)).unwrap().unwrap();
    let stored = block_on(clinic.gate().stored(&entry)).unwrap();
    let reference = BlobReference::from_bytes(&stored.bytes).unwrap();
    let path = clinic.folder().unwrap().join("blobs").join(reference.id.to_string());
    (reference, path)
}

/// A patient with an identifier and a photo that is too large for the log.
fn with_photo(identifier: &str) -> String {
    let large = document("Patient/1", 2 * BLOB_FROM);
    let photo = large.rsplit_once("\"data\":\"").unwrap().1.split('"').next().unwrap();
    let small = patient("female", &[identifier]);
    format!("{},\"photo\":[{{\"data\":\"{photo}\"}}]}}", &small[..small.len() - 1])
}

fn blobs(clinic: &Clinic) -> usize {
    clinic.gate().blobs().unwrap().len()
}

fn large_bodies_come_back_to_the_byte_and_small_ones_stand_in_the_log(clinic: &mut Clinic) {
    // Coded it is about three quarters as long.
    let sizes = [100, BLOB_FROM, 2 * BLOB_FROM, 2 * BLOB_CHUNK, 8 * BLOB_CHUNK];
    let texts: Vec<_> = sizes.iter().map(|size| document("Patient/1", *size)).collect();
    for (number, text) in texts.iter().enumerate() {
        write(clinic, &format!("DocumentReference/{number}"), text);
    }
    // A small version after a large one, and a large one after that.
    for text in [&texts[2], &texts[0], &texts[3]] {
        write(clinic, "DocumentReference/9", text);
    }
    for _ in 0..3 {
        for (number, text) in texts.iter().enumerate() {
            let name = format!("DocumentReference/{number}");
            assert!(read(clinic, &name).unwrap() == stored(&name, text), "{name} differs");
            let (of, id) = resource(&name);
            let entry = block_on(clinic.snapshot().newest(&of, &id)).unwrap().unwrap();
            assert_eq!(entry.flags.is_blob(), number > 1, "{name}");
        }
        let name = "DocumentReference/9";
        let (of, id) = resource(name);
        for (number, text) in (1..).zip([&texts[2], &texts[0], &texts[3]]) {
            let found = block_on(clinic.snapshot().vread(&of, &id, version(number))).unwrap();
            let json = found.unwrap().json.unwrap();
            let whole = stored(name, text).len();
            assert!(json.len() > whole && json.len() < whole + 100, "version {number}");
        }
        assert_eq!(blobs(clinic), 5);
        clinic.reopen();
    }
}

fn identifiers_of_a_large_resource_are_found_when_they_are_derived_anew(clinic: &mut Clinic) {
    write(clinic, "Patient/1", &with_photo("large"));
    assert_eq!(blobs(clinic), 1);
    clinic.reopen_without_derived_data();
    assert_eq!(block_on(identified(&clinic.snapshot(), "large")), ["1"]);
}

fn what_is_refused_leaves_no_blob(clinic: &mut Clinic) {
    write(clinic, "DocumentReference/1", &document("Patient/1", 2 * BLOB_FROM));
    let large = |expect| put("DocumentReference/1", &document("Patient/1", 3 * BLOB_FROM), expect);
    let conflict = clinic.commit(vec![large(Expect::Absent)]);
    assert!(matches!(conflict, Err(CommitError::Precondition { .. })), "{conflict:?}");
    assert_eq!(blobs(clinic), 1);
    clinic.gate().next([Outcome::Fails(AppendError::DiskFull)]);
    let full = clinic.commit(vec![large(Expect::Any)]);
    assert!(matches!(&full, Err(error) if error.is_disk_full()), "{full:?}");
    assert_eq!(blobs(clinic), 1);
    clinic.reopen_with(Options { queue: 0, ..Options::default() });
    let overloaded = clinic.commit(vec![large(Expect::Any)]);
    assert!(matches!(overloaded, Err(CommitError::Overloaded)), "{overloaded:?}");
    assert_eq!(blobs(clinic), 1);
    // Whoever asked may be gone by then.
    clinic.reopen();
    let database = Arc::clone(clinic.database());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    clinic.gate().next([Outcome::Fails(AppendError::DiskFull)]);
    clinic.gate().hold(Hold::Before);
    runtime.block_on(async {
        let change = large(Expect::Any);
        let mut asking = tokio::task::JoinSet::new();
        asking.spawn(async move { database.commit(transaction(T::ZERO, vec![change])).await });
        let gate = Arc::clone(clinic.gate());
        let held = tokio::task::spawn_blocking(move || gate.wait_until_held()).await;
        assert!(held.is_ok() && clinic.gate().blobs().unwrap().len() == 2);
        asking.shutdown().await;
        clinic.gate().release();
        for _ in 0..10_000_000 {
            if clinic.gate().blobs().unwrap().len() == 1 {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("the blob of a refused transaction stays");
    });
}

fn of_an_unknown_outcome_the_blob_stays(clinic: &mut Clinic) {
    let failed = std::io::Error::other("the disk");
    clinic.gate().next([Outcome::Fails(AppendError::Poisoned(Some(failed)))]);
    let change = put("DocumentReference/1", &document("Patient/1", 2 * BLOB_FROM), Expect::Any);
    let unknown = clinic.commit(vec![change]);
    assert!(matches!(unknown, Err(CommitError::OutcomeUnknown)), "{unknown:?}");
    assert_eq!(blobs(clinic), 1, "the log may name it");
}

fn a_transaction_that_is_prepared_again_leaves_one_blob(clinic: &mut Clinic) {
    // The same transaction, prepared twice under its id while the first waits.
    let change = put("DocumentReference/1", &document("Patient/1", 2 * BLOB_FROM), Expect::Absent);
    let transaction = transaction(T::ZERO, vec![change]);
    clinic.gate().hold(Hold::Before);
    let first = enqueue(clinic.database(), transaction.clone());
    clinic.gate().wait_until_held();
    let second = enqueue(clinic.database(), transaction);
    clinic.gate().release();
    block_on(first).unwrap();
    assert!(matches!(block_on(second), Err(CommitError::Precondition { .. })));
    assert_eq!(blobs(clinic), 1);
    assert!(clinic.json("DocumentReference/1").is_some());
}

/// Plain it has fewer bytes than this; with its blob it has more.
const ONE_LARGE: usize = 4 * BLOB_FROM;

/// Commits a large body on another thread; what comes of it.
fn commit_large(
    clinic: &Clinic,
    runtime: &tokio::runtime::Runtime,
    name: &str,
) -> tokio::task::JoinHandle<Result<database::Receipt, CommitError>> {
    let change = put(name, &document("Patient/1", 3 * BLOB_FROM), Expect::Any);
    let (database, transaction) =
        (Arc::clone(clinic.database()), transaction(T::ZERO, vec![change]));
    runtime.spawn(async move { database.commit(transaction).await })
}

fn while_a_large_body_is_written_small_transactions_are_taken(clinic: &mut Clinic) {
    clinic.reopen_with(Options { queue_bytes: ONE_LARGE, ..Options::default() });
    let runtime = tokio::runtime::Runtime::new().unwrap();
    clinic.gate().hold(Hold::Blob);
    let large = commit_large(clinic, &runtime, "DocumentReference/1");
    clinic.gate().wait_until_held();
    let small = clinic.commit(vec![put("Patient/2", &patient("a", &[]), Expect::Any)]);
    // Of large ones no more than may wait do.
    let change = put("DocumentReference/2", &document("Patient/1", 3 * BLOB_FROM), Expect::Any);
    let overloaded = clinic.commit(vec![change]);
    clinic.gate().release();
    assert!(small.is_ok(), "{small:?}");
    assert!(matches!(overloaded, Err(CommitError::Overloaded)), "{overloaded:?}");
    runtime.block_on(large).unwrap().unwrap();
    write(clinic, "DocumentReference/2", &document("Patient/1", 3 * BLOB_FROM));
    assert_eq!(blobs(clinic), 2);
}

fn a_large_body_that_is_written_makes_room_for_the_next(clinic: &mut Clinic) {
    clinic.reopen_with(Options { queue_bytes: ONE_LARGE, ..Options::default() });
    let runtime = tokio::runtime::Runtime::new().unwrap();
    clinic.gate().hold(Hold::Before);
    let first = commit_large(clinic, &runtime, "DocumentReference/1");
    clinic.gate().wait_until_held();
    // The first waits for its turn in the log, its blob written.
    let second = commit_large(clinic, &runtime, "DocumentReference/2");
    for _ in 0..10_000_000 {
        if blobs(clinic) == 2 || second.is_finished() {
            break;
        }
        std::thread::yield_now();
    }
    clinic.gate().release();
    for large in [first, second] {
        runtime.block_on(large).unwrap().unwrap();
    }
    assert_eq!(blobs(clinic), 2);
}

fn while_a_large_body_is_read_other_reads_are_answered(clinic: &mut Clinic) {
    clinic.reopen_with(Options { kept_bytes: 0, ..Options::default() });
    let text = document("Patient/1", 2 * BLOB_FROM);
    write(clinic, "DocumentReference/1", &text);
    write(clinic, "Patient/2", &patient("a", &[]));
    // Its one thread answers all.
    let mut one_thread = tokio::runtime::Builder::new_multi_thread();
    let runtime = one_thread.worker_threads(1).enable_time().build().unwrap();
    let read = |name| {
        let snapshot = clinic.snapshot();
        runtime.spawn(async move { crate::support::json(&snapshot, name).await.unwrap().len() })
    };
    clinic.gate().hold(Hold::Reading);
    let large = read("DocumentReference/1");
    clinic.gate().wait_until_held();
    let small = read("Patient/2");
    let patience = std::time::Duration::from_secs(4);
    let answered = runtime.block_on(async { tokio::time::timeout(patience, small).await });
    clinic.gate().release();
    answered.expect("a small read waits for a large one").unwrap();
    assert!(runtime.block_on(large).unwrap() > text.len());
}

/// A disk or a network that keeps some waiting keeps no other from being opened.
fn while_large_bodies_are_waited_for_others_are_read(clinic: &mut Clinic) {
    clinic.reopen_with(Options { kept_bytes: 0, ..Options::default() });
    write(clinic, "DocumentReference/1", &document("Patient/1", 2 * BLOB_FROM));
    // More than are opened at a time.
    let waiting = std::thread::available_parallelism().unwrap().get();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build().unwrap();
    let read = || {
        let snapshot = clinic.snapshot();
        let name = "DocumentReference/1";
        runtime.spawn(async move { crate::support::json(&snapshot, name).await.unwrap().len() })
    };
    clinic.gate().hold_most(Hold::Reading, waiting);
    let waiting_for: Vec<_> = (0..waiting).map(|_| read()).collect();
    clinic.gate().wait_until_so_many_are_held(waiting);
    let other = read();
    let answered = runtime
        .block_on(async { tokio::time::timeout(std::time::Duration::from_secs(10), other).await });
    clinic.gate().release();
    assert!(answered.is_ok(), "a body that is there waits for those that are not");
    waiting_for.into_iter().for_each(|read| assert!(runtime.block_on(read).unwrap() > BLOB_FROM));
}

#[test]
fn nothing_of_a_blob_is_readable_in_its_file() {
    let clinic = Clinic::over_sled();
    let text = document("Patient/1", 4 * BLOB_FROM);
    let planted = &text[text.len() / 2..][..40];
    write(&clinic, "DocumentReference/1", &text);
    let folder = clinic.folder().unwrap().join("blobs");
    let files: Vec<_> = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    let [file] = files.as_slice() else { panic!("{files:?}") };
    let bytes = fs::read(file).unwrap();
    assert!(bytes.len() > BLOB_FROM);
    let found = bytes.windows(planted.len()).any(|window| window == planted.as_bytes());
    assert!(!found && !bytes.windows(17).any(|window| window == b"DocumentReference"));
}

#[test]
fn a_harmed_blob_is_an_error_of_that_body_alone_and_never_an_empty_answer() {
    let clinic = Clinic::over_sled();
    let text = document("Patient/1", 3 * BLOB_CHUNK);
    for name in ["DocumentReference/1", "DocumentReference/2"] {
        write(&clinic, name, &text);
    }
    // So much is not kept in memory.
    let (of, id) = resource("DocumentReference/1");
    let (reference, path) = blob_file(&clinic, "DocumentReference/1");
    let whole = fs::read(&path).unwrap();
    let mut swapped = whole[BLOB_CHUNK..2 * BLOB_CHUNK].to_vec();
    swapped.extend_from_slice(&whole[..BLOB_CHUNK]);
    swapped.extend_from_slice(&whole[2 * BLOB_CHUNK..]);
    for harmed in [&whole[..whole.len() - 1], &whole[..2 * BLOB_CHUNK], &swapped, b""] {
        fs::write(&path, harmed).unwrap();
        let found = block_on(clinic.snapshot().read(&of, &id));
        let named = matches!(&found, Err(ReadError::Store(store::ReadError::Blob { id, .. }))
            if *id == reference.id);
        assert!(named, "{found:?}");
    }
    assert!(read(&clinic, "DocumentReference/2").is_some());
    fs::write(&path, whole).unwrap();
    assert!(read(&clinic, "DocumentReference/1").is_some());
}

fn harm(path: &PathBuf) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn purge(clinic: &Clinic, id: &str, commit: u128) -> Result<database::Purged, PurgeError> {
    block_on(clinic.database().purge(Purge {
        patient: id.parse().unwrap(),
        reason: "asked for by letter".to_owned(),
        by: "uid 1000".to_owned(),
        commit: CommitId(u128::MAX - commit),
    }))
}

/// What a lost body is found by is lost with it, and nothing else is.
#[test]
fn a_harmed_or_missing_blob_stops_no_start_and_no_purge_of_its_patient() {
    let mut clinic = Clinic::over_sled();
    let names = ["Patient/1", "Patient/2", "Patient/3"];
    for (name, identifier) in names.iter().zip(["one", "two", "three"]) {
        write(&clinic, name, &with_photo(identifier));
    }
    harm(&blob_file(&clinic, "Patient/1").1);
    fs::remove_file(blob_file(&clinic, "Patient/2").1).unwrap();
    clinic.reopen_without_derived_data();
    for (name, identifier) in names.iter().zip(["one", "two", "three"]) {
        let (of, id) = resource(name);
        let found = block_on(identified(&clinic.snapshot(), identifier));
        let read = block_on(clinic.snapshot().read(&of, &id));
        if *name == "Patient/3" {
            assert_eq!(found, ["3"]);
            assert!(read.unwrap().unwrap().json.is_some());
        } else {
            assert!(found.is_empty(), "{found:?}");
            let harmed = matches!(read, Err(ReadError::Store(store::ReadError::Blob { .. })));
            assert!(harmed, "{name}");
        }
    }
    for (commit, id) in (1..).zip(["1", "2"]) {
        let done = purge(&clinic, id, commit).unwrap();
        assert_eq!((done.versions["Patient"], done.blobs), (1, 1));
        let (of, id) = resource(&format!("Patient/{id}"));
        let read = block_on(clinic.snapshot().vread(&of, &id, version(1)));
        assert!(matches!(read, Err(ReadError::Purged)), "{read:?}");
    }
    assert_eq!(blobs(&clinic), 1);
}

/// It may be about anybody.
#[test]
fn a_harmed_blob_that_belongs_to_no_patient_alone_keeps_purges_off_and_is_listed() {
    let clinic = Clinic::over_sled();
    write(&clinic, "Patient/1", &patient("female", &["one"]));
    write(&clinic, "Patient/2", &patient("female", &["two"]));
    write(&clinic, "DocumentReference/1", &document("Device/1", 2 * BLOB_FROM));
    let path = blob_file(&clinic, "DocumentReference/1").1;
    let whole = fs::read(&path).unwrap();
    harm(&path);
    let refused = purge(&clinic, "1", 1);
    let Err(PurgeError::Refused { count: 1, obstacles, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(obstacles[0].id.to_string(), "1");
    assert_eq!(obstacles[0].why, "its blob is harmed, and it may name this patient");
    fs::write(&path, whole).unwrap();
    let done = purge(&clinic, "1", 2).unwrap();
    assert_eq!(done.not_looked_at, NotLookedAt::default());
    // Of one that is gone nobody can read anything here: where it may be, is said.
    fs::remove_file(&path).unwrap();
    let NotLookedAt { count, listed } = purge(&clinic, "2", 3).unwrap().not_looked_at;
    let (of, id) = resource("DocumentReference/1");
    assert_eq!((count, listed), (1, vec![(of, id, version(1))]));
}

/// What is harmed is lost whatever it named, and what cannot be read now may be read later.
#[test]
fn a_harmed_blob_of_what_is_quarantined_stops_no_purge_and_an_unreadable_one_does() {
    let clinic = Clinic::over_sled();
    let name = format!("{}/1", database::quarantine::TYPE);
    let large = document("Patient/1", 2 * BLOB_FROM);
    let data = large.rsplit('"').nth(1).unwrap();
    let subject = "{\"reference\":\"Patient/2\"},{\"reference\":\"Patient/1\"}";
    let of = database::quarantine::TYPE;
    let json = format!("{{\"resourceType\":\"{of}\",\"subject\":[{subject}],\"data\":\"{data}\"}}");
    write(&clinic, &name, &json);
    write(&clinic, "Patient/1", &patient("female", &["one"]));
    let path = blob_file(&clinic, &name).1;
    let whole = fs::read(&path).unwrap();
    clinic.gate().give_no_blobs(true);
    let refused = purge(&clinic, "1", 1);
    assert!(refused.is_err(), "{refused:?}");
    assert!(clinic.json("Patient/1").is_some());
    clinic.gate().give_no_blobs(false);
    harm(&path);
    purge(&clinic, "1", 2).unwrap();
    fs::write(&path, whole).unwrap();
    let (of, id) = resource(&name);
    let read = block_on(clinic.snapshot().vread(&of, &id, version(1)));
    assert!(matches!(read, Err(ReadError::Purged)), "{read:?}");
}

#[test]
fn types_without_identifiers_are_known_without_reading_a_body() {
    let derive = DeriveFromBody::new(Schema::r4());
    let bears = |of: &str| derive.bears_identifiers(&of.parse().unwrap());
    assert!(bears("Patient") && bears("DocumentReference") && !bears("Binary"));
}
