//! Whether anything is sealed, and what of a purged patient's identifiers stays.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use store::suite::block_on;
use store::suite::fixture::{
    FirstLine, append, commit, delete, identified, put, put_identified, with_blob,
};
use store::{
    BlobFlaw, BlobId, BlobReference, BodyCoding, CommitId, Derive, DeriveError, IdentifierKey,
    OwnerKeyId, ReadBlob, Store as _, Version,
};
use store_postgres::{Failure, ForgetError, Opens, PostgresStore, Sealed, VerifyError, verify};

use crate::cluster::database;

const GONE: OwnerKeyId = OwnerKeyId(7);
/// With the highest bit, which PostgreSQL takes for a sign.
const KEPT: OwnerKeyId = OwnerKeyId(u64::MAX);

/// Derives nothing from what has the destroyed key.
#[derive(Default)]
struct Destroyed {
    /// Says when it is asked, and derives once it may.
    leave: Option<(Sender<()>, Mutex<Receiver<()>>)>,
}

impl Derive for Destroyed {
    fn identifiers(
        &self,
        of: &fhir_core::ResourceType,
        coding: BodyCoding,
        length: u32,
        body: &[u8],
    ) -> Result<Vec<IdentifierKey>, DeriveError> {
        FirstLine.identifiers(of, coding, length, body)
    }

    fn identifiers_of(
        &self,
        version: &Version,
        _: CommitId,
        _: u32,
        read: ReadBlob<'_>,
    ) -> Result<Vec<IdentifierKey>, DeriveError> {
        if let Some((asked, may)) = &self.leave {
            asked.send(()).unwrap();
            // Closed, it waits for nothing.
            let _ = may.lock().unwrap().recv();
        }
        let Version { resource_type, dictionary, length, body, .. } = version;
        match (version.owner, version.blob()) {
            (GONE, _) => Ok(Vec::new()),
            (_, Some(blob)) => self.identifiers(resource_type, *dictionary, *length, &read(&blob)?),
            (_, None) => self.identifiers(resource_type, *dictionary, *length, body),
        }
    }
}

fn sealed(owner: OwnerKeyId, name: &str, number: u64, bears: &[&str]) -> Version {
    let bears: Vec<_> = bears.iter().map(|value| ("n", *value)).collect();
    Version { owner, ..put_identified(name, number, &bears, "sealed") }
}

#[test]
fn the_last_sealed_body_is_found_and_none_where_nothing_is_sealed() {
    let Some(database) = database() else { return };
    let store = database.open();
    assert!(store.newest_sealed().unwrap().is_none());
    append(&store, &[commit(1, vec![put("Patient/plain", 1, "")])]);
    assert!(store.newest_sealed().unwrap().is_none());
    append(&store, &[commit(2, vec![sealed(GONE, "Patient/a", 1, &[])])]);
    append(&store, &[commit(3, vec![put("Patient/b", 1, ""), sealed(KEPT, "Patient/c", 1, &[])])]);
    // Neither a deletion, which has a purge's key, nor what is not sealed.
    let purge = Version { owner: GONE, ..delete("Patient/a", 2) };
    append(&store, &[commit(4, vec![purge]), commit(5, vec![put("Patient/plain", 2, "")])]);
    let Sealed { version, commit: id, ordinal, .. } = store.newest_sealed().unwrap().unwrap();
    assert_eq!((version.id.as_str(), version.owner, ordinal), ("c", KEPT, 1));
    assert_eq!(id, commit(3, vec![]).id);
    assert!(store.has_commit(id).unwrap());
    assert!(!store.has_commit(CommitId(1)).unwrap());
}

#[test]
fn identifiers_under_a_destroyed_key_go_and_what_others_bear_stays() {
    let Some(database) = database() else { return };
    let store = database.open();
    append(
        &store,
        &[
            commit(1, vec![sealed(GONE, "Patient/gone", 1, &["1"])]),
            commit(2, vec![sealed(GONE, "Observation/moved", 1, &["2", "3"])]),
            commit(3, vec![sealed(KEPT, "Observation/moved", 2, &["3"])]),
            commit(4, vec![sealed(KEPT, "Patient/kept", 1, &["1", "4"])]),
            commit(5, vec![Version { owner: GONE, ..delete("Patient/gone", 2) }]),
        ],
    );
    let verified = || {
        let tenant = store::suite::fixture::tenant();
        verify(tenant.as_str(), &database.options(), Some(Arc::new(Destroyed::default())))
    };
    let before = verified().unwrap_err();
    assert!(matches!(before, VerifyError::IdentifiersBeyond { extra: 3 }), "{before:?}");
    assert_eq!(store.forget_identifiers(&[GONE], Arc::new(Destroyed::default())).unwrap(), 2);
    let found = |of, value, at| block_on(identified(&store, of, ("n", value), at));
    assert_eq!(found("Patient", "1", 5), ["kept"]);
    assert!(found("Observation", "2", 5).is_empty());
    assert!(found("Observation", "3", 2).is_empty(), "only what can be read bears it");
    assert_eq!(found("Observation", "3", 3), ["moved"]);
    assert_eq!(found("Patient", "4", 5), ["kept"]);
    assert_eq!(verified().unwrap().identifiers, Some(3));
    assert_eq!(store.forget_identifiers(&[GONE], Arc::new(Destroyed::default())).unwrap(), 0);
    assert_eq!(database.sql("SELECT count(*) FROM hearthgate.identifiers"), "3");
}

/// The same, of what has a blob: what stands in that.
fn in_a_blob(store: &PostgresStore, number: u64, version: Version) -> (Version, BlobReference) {
    let id = BlobId(number.into());
    store.write_blob(id, &version.body).unwrap();
    let reference = BlobReference::of(id, &version.body);
    (Version { length: version.length, ..with_blob(version, &reference) }, reference)
}

fn harm(database: &crate::cluster::Database, blob: u64) {
    database.sql(&format!(
        "UPDATE hearthgate.blobs SET bytes = set_byte(bytes, 0, get_byte(bytes, 0) # 1) \
         WHERE id = decode(lpad(to_hex({blob}), 32, '0'), 'hex')"
    ));
}

#[test]
fn a_body_in_its_row_says_whose_keys_are_needed_and_a_harmed_blob_says_nothing() {
    let Some(database) = database() else { return };
    let store = database.open();
    let (large, _) = in_a_blob(&store, 1, sealed(KEPT, "Patient/large", 1, &["1"]));
    append(&store, &[commit(1, vec![large])]);
    let newest = || store.newest_sealed().unwrap().unwrap();
    assert_eq!(newest().version.id.as_str(), "large");
    assert_eq!(newest().is_read_by(&Destroyed::default()).unwrap(), Opens::Yes);
    harm(&database, 1);
    assert_eq!(
        newest().is_read_by(&Destroyed::default()).unwrap(),
        Opens::NotKnown(BlobFlaw::Hash)
    );
    store.remove_blob(BlobId(1)).unwrap();
    assert_eq!(
        newest().is_read_by(&Destroyed::default()).unwrap(),
        Opens::NotKnown(BlobFlaw::Missing)
    );
    append(&store, &[commit(2, vec![sealed(KEPT, "Patient/small", 1, &[])])]);
    let (large, _) = in_a_blob(&store, 2, sealed(KEPT, "Patient/large", 2, &["1"]));
    append(&store, &[commit(3, vec![large])]);
    assert_eq!(newest().version.id.as_str(), "small");
}

#[test]
fn whether_anything_is_sealed_is_not_waited_for_for_ever() {
    let Some(database) = database() else { return };
    let mut options = database.options();
    options.patience = Duration::from_millis(500);
    let store = crate::cluster::open(options).unwrap();
    let gate = database.lock("hearthgate.versions");
    let silent = store.newest_sealed();
    gate.open();
    assert!(matches!(silent, Err(Failure::Silent(_))));
}

#[test]
fn a_harmed_blob_keeps_no_identifiers_of_who_was_purged() {
    let Some(database) = database() else { return };
    let store = database.open();
    let (moved, _) = in_a_blob(&store, 1, sealed(KEPT, "Observation/moved", 2, &["1"]));
    let (whole, _) = in_a_blob(&store, 2, sealed(KEPT, "Observation/moved", 3, &["2"]));
    append(
        &store,
        &[
            commit(1, vec![sealed(GONE, "Observation/moved", 1, &["1", "2", "3"])]),
            commit(2, vec![moved]),
            commit(3, vec![whole]),
        ],
    );
    harm(&database, 1);
    assert_eq!(store.forget_identifiers(&[GONE], Arc::new(Destroyed::default())).unwrap(), 2);
    let found = |value| block_on(identified(&store, "Observation", ("n", value), 3));
    assert!(found("1").is_empty() && found("3").is_empty());
    assert_eq!(found("2"), ["moved"]);
}

#[test]
fn commits_go_on_while_bodies_are_read_to_forget_and_what_they_bear_stays() {
    let Some(database) = database() else { return };
    let store = Arc::new(database.open());
    append(
        store.as_ref(),
        &[
            commit(1, vec![sealed(GONE, "Observation/moved", 1, &["1", "2", "3"])]),
            commit(2, vec![sealed(KEPT, "Observation/moved", 2, &["2"])]),
        ],
    );
    let ((asked, is_asked), (let_it, may)) = (channel(), channel());
    let slow = Destroyed { leave: Some((asked, Mutex::new(may))) };
    let forgetting = {
        let store = Arc::clone(&store);
        let forget = move || store.forget_identifiers(&[GONE], Arc::new(slow));
        thread::Builder::new().spawn(forget).unwrap()
    };
    is_asked.recv().unwrap();
    append(store.as_ref(), &[commit(3, vec![sealed(KEPT, "Observation/moved", 3, &["3"])])]);
    assert!(!forgetting.is_finished());
    drop(let_it);
    assert_eq!(forgetting.join().unwrap().unwrap(), 1);
    let found = |value, at| block_on(identified(store.as_ref(), "Observation", ("n", value), at));
    assert!(found("1", 3).is_empty());
    assert_eq!((found("2", 1).len(), found("2", 2).len()), (0, 1));
    assert_eq!((found("3", 2).len(), found("3", 3).len()), (0, 1));
    let tenant = store::suite::fixture::tenant();
    let verified =
        verify(tenant.as_str(), &database.options(), Some(Arc::new(Destroyed::default())));
    assert_eq!(verified.unwrap().identifiers, Some(2));
}

#[test]
fn whoever_was_taken_over_deletes_no_identifiers() {
    let Some(database) = database() else { return };
    let store = database.open();
    append(&store, &[commit(1, vec![sealed(GONE, "Patient/gone", 1, &["1"])])]);
    let other = database.take_over();
    let refused = store.forget_identifiers(&[GONE], Arc::new(Destroyed::default())).unwrap_err();
    assert!(matches!(refused, ForgetError::Lost), "{refused:?}");
    assert_eq!(block_on(identified(&other, "Patient", ("n", "1"), 1)), ["gone"]);
}
