//! Everything that is not as it was written is found, beside a server that runs.

use std::sync::Arc;

use bytes::Bytes;
use store::suite::fixture::{
    FirstLine, append, commit, delete, put, put_identified, tenant, with_blob,
};
use store::{BlobId, BlobReference, CommitKind, Idempotency, OwnerKeyId, Store, T, Version};
use store_postgres::{Verified, VerifyError, verify};

use crate::cluster::{Database, database};

fn verified(database: &Database) -> Result<Verified, VerifyError> {
    verify(tenant().as_str(), &database.options(), Some(Arc::new(FirstLine)))
}

fn fill(store: &dyn Store) {
    let patient = |number, value| put_identified("Patient/a", number, &[("n", value)], "whole");
    let mut named = commit(2, vec![patient(2, "2"), put_identified("Basic/b", 1, &[], "x")]);
    let idempotency = Idempotency { client: "c".into(), key: "k".into(), digest: [3; 32] };
    named.idempotency = Some(idempotency);
    append(store, &[commit(1, vec![patient(1, "1")]), named]);
    append(store, &[commit(3, vec![]), commit(4, vec![patient(3, "1"), delete("Basic/b", 2)])]);
}

#[test]
fn a_whole_log_is_verified_beside_its_server() {
    let Some(database) = database() else { return };
    let nothing = verified(&database).unwrap();
    assert_eq!((nothing.head.t, nothing.versions), (T::ZERO, 0));
    let store = database.open();
    assert_eq!(verified(&database).unwrap(), nothing);
    fill(&store);
    let whole = verified(&database).unwrap();
    assert_eq!((whole.head, whole.versions, whole.unsealed), (store.head(), 5, 4));
    assert_eq!(whole.identifiers, Some(3), "two of the patient's and the request's name");
    // More commits than are read at once.
    let many: Vec<_> = (5..2500).map(|t| commit(t, vec![])).collect();
    append(&store, &many);
    assert_eq!(verified(&database).unwrap().head, store.head());
}

#[test]
fn every_harm_to_the_rows_is_found_and_said() {
    let Some(database) = database() else { return };
    let store = database.open();
    fill(&store);
    let tables = ["heads", "commits", "versions", "identifiers"];
    for table in tables {
        database.sql(&format!("CREATE TABLE public.{table} AS TABLE hearthgate.{table}"));
    }
    for (harm, said) in [
        (
            "UPDATE hearthgate.versions SET body = 'other' WHERE t = 2 AND id = 'a'",
            "commit 2: the body of Patient/a",
        ),
        (
            "UPDATE hearthgate.versions SET body = E'n|2\\nWHOLE', content_hash = sha256(E'n|2\\nWHOLE') WHERE t = 2 AND id = 'a'",
            "commit 2: it does not have the hash",
        ),
        (
            "UPDATE hearthgate.versions SET owner = 5 WHERE t = 1",
            "commit 1: it does not have the hash",
        ),
        (
            "UPDATE hearthgate.versions SET version = 9 WHERE t = 1",
            "commit 1: it does not have the hash",
        ),
        ("DELETE FROM hearthgate.versions WHERE t = 2 AND ordinal = 1", "commit 2: its versions"),
        (
            "UPDATE hearthgate.versions SET t = 99 WHERE t = 4 AND ordinal = 1",
            "commit 4: its versions",
        ),
        ("UPDATE hearthgate.versions SET instant = 5 WHERE t = 4", "2 rows of versions"),
        (
            "INSERT INTO hearthgate.versions SELECT tenant, type, 'more', version, 99, 0, instant, flags, \
             owner, dictionary, content_hash, length, body FROM hearthgate.versions WHERE t = 1",
            "1 rows of versions belong to no commit",
        ),
        (
            "DELETE FROM hearthgate.commits WHERE t = 3",
            "commit 4: the commit before it is not there",
        ),
        ("DELETE FROM hearthgate.commits WHERE t = 4", "the log ends at commit 3"),
        (
            "UPDATE hearthgate.commits SET instant = instant + 1 WHERE t = 3",
            "commit 3: it does not have",
        ),
        (
            "UPDATE hearthgate.commits SET previous = sha256('x') WHERE t = 3",
            "commit 3: it does not name",
        ),
        (
            "UPDATE hearthgate.commits SET key = 'j' WHERE t = 2",
            "commit 2: it does not have the hash",
        ),
        ("UPDATE hearthgate.heads SET hash = sha256('x')", "the log ends at commit 4"),
        ("DELETE FROM hearthgate.identifiers WHERE t = 1", "commit 1: Patient/a is not found"),
        (
            "UPDATE hearthgate.identifiers SET t = 3 WHERE t = 2 AND type = 'Patient'",
            "commit 2: Patient/a is not found",
        ),
        (
            "UPDATE hearthgate.identifiers SET t = 1 WHERE t = 2 AND type = 'Patient'",
            "1 identifiers are borne by no",
        ),
        (
            "INSERT INTO hearthgate.identifiers SELECT tenant, type, 'x', id, t FROM hearthgate.identifiers WHERE t = 1",
            "1 identifiers",
        ),
    ] {
        database.sql(harm);
        let error = verified(&database).expect_err(harm).to_string();
        assert!(error.contains(said), "{harm}: {error}");
        for table in tables {
            database.sql(&format!(
                "DELETE FROM hearthgate.{table}; INSERT INTO hearthgate.{table} TABLE public.{table}"
            ));
        }
    }
    assert!(verified(&database).is_ok());
}

#[test]
fn a_blob_that_is_not_whole_is_found_unless_its_key_was_destroyed() {
    let Some(database) = database() else { return };
    let store = database.open();
    let (id, bytes) = (BlobId(9), Bytes::from_static(b"\nlarge"));
    store.write_blob(id, &bytes).unwrap();
    let owner = OwnerKeyId(7);
    let reference = BlobReference::of(id, &bytes);
    let large = Version { owner, ..with_blob(put("Patient/large", 1, ""), &reference) };
    append(&store, &[commit(1, vec![large])]);
    let without_keys = || verify(tenant().as_str(), &database.options(), None);
    assert_eq!(verified(&database).unwrap().versions, 1);
    assert_eq!(without_keys().unwrap().versions, 1);
    for harm in ["UPDATE hearthgate.blobs SET bytes = E'\\nLARGE'", "DELETE FROM hearthgate.blobs"]
    {
        database.sql(harm);
        let said = without_keys().unwrap_err().to_string();
        assert!(said.contains("commit 1: the blob of Patient/large"), "{said}");
        let said = verified(&database).unwrap_err().to_string();
        assert!(said.contains("commit 1: Patient/large cannot be read"), "{said}");
    }
    let gone = Version { owner, ..delete("Patient/large", 2) };
    append(&store, &[store::Commit { kind: CommitKind::Purge, ..commit(2, vec![gone]) }]);
    assert_eq!(without_keys().unwrap().versions, 2);
}
