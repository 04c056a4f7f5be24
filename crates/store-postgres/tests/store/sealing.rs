//! Whether anything is sealed, and what of a purged patient's identifiers stays.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use store::suite::block_on;
use store::suite::fixture::{FirstLine, append, commit, delete, identified, put, put_identified};
use store::{
    BodyCoding, CommitId, Derive, DeriveError, IdentifierKey, OwnerKeyId, ReadBlob, Version,
};
use store_postgres::{ForgetError, Sealed, VerifyError, verify};

use crate::cluster::database;

const GONE: OwnerKeyId = OwnerKeyId(7);
/// With the highest bit, which PostgreSQL takes for a sign.
const KEPT: OwnerKeyId = OwnerKeyId(u64::MAX);

/// Derives nothing from what has the destroyed key.
struct Destroyed {
    /// Waits for this first.
    leave: Option<Leave>,
}

impl Destroyed {
    fn at_once() -> Arc<Self> {
        Arc::new(Self { leave: None })
    }
}

/// Says when it is asked, and goes on once it may.
struct Leave {
    asked: Sender<()>,
    may: Mutex<Receiver<()>>,
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
        _: ReadBlob<'_>,
    ) -> Result<Vec<IdentifierKey>, DeriveError> {
        if let Some(leave) = &self.leave {
            leave.asked.send(()).unwrap();
            // Closed, it waits for nothing.
            let _ = leave.may.lock().unwrap().recv();
        }
        let Version { resource_type, dictionary, length, body, .. } = version;
        match version.owner {
            GONE => Ok(Vec::new()),
            _ => self.identifiers(resource_type, *dictionary, *length, body),
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
        verify(tenant.as_str(), &database.options(), Some(Destroyed::at_once()))
    };
    let before = verified().unwrap_err();
    assert!(matches!(before, VerifyError::IdentifiersBeyond { extra: 3 }), "{before:?}");
    assert_eq!(store.forget_identifiers(&[GONE], Destroyed::at_once()).unwrap(), 2);
    let found = |of, value, at| block_on(identified(&store, of, ("n", value), at));
    assert_eq!(found("Patient", "1", 5), ["kept"]);
    assert!(found("Observation", "2", 5).is_empty());
    assert!(found("Observation", "3", 2).is_empty(), "only what can be read bears it");
    assert_eq!(found("Observation", "3", 3), ["moved"]);
    assert_eq!(found("Patient", "4", 5), ["kept"]);
    assert_eq!(verified().unwrap().identifiers, Some(3));
    assert_eq!(store.forget_identifiers(&[GONE], Destroyed::at_once()).unwrap(), 0);
    assert_eq!(database.sql("SELECT count(*) FROM hearthgate.identifiers"), "3");
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
    let leave = Some(Leave { asked, may: Mutex::new(may) });
    let slow = Destroyed { leave };
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
    let verified = verify(tenant.as_str(), &database.options(), Some(Destroyed::at_once()));
    assert_eq!(verified.unwrap().identifiers, Some(2));
}

#[test]
fn whoever_was_taken_over_deletes_no_identifiers() {
    let Some(database) = database() else { return };
    let store = database.open();
    append(&store, &[commit(1, vec![sealed(GONE, "Patient/gone", 1, &["1"])])]);
    let other = database.take_over();
    let refused = store.forget_identifiers(&[GONE], Destroyed::at_once()).unwrap_err();
    assert!(matches!(refused, ForgetError::Lost), "{refused:?}");
    assert_eq!(block_on(identified(&other, "Patient", ("n", "1"), 1)), ["gone"]);
}
