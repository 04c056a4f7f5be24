//! Large bodies where connections are lost, taken over, or busy.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use fhir_core::Clock;
use store::suite::block_on;
use store::suite::fixture::{append, commit, content, put, with_blob};
use store::{AppendError, BLOB_CHUNK, BlobId, BlobReference, ContentHash, Store, Version};
use store_postgres::{PostgresStore, Takeover, Transport};

use crate::cluster::{SystemClock, database, open, wait_until};
use crate::proxy::{BLOB, Fate, Proxy};

#[test]
fn a_blob_whose_answer_was_lost_is_written_again_without_harm() {
    let Some(database) = database() else { return };
    let proxy = Proxy::before(database.cluster.port);
    let place = format!("host=127.0.0.1 port={}", proxy.port);
    let store = open(database.options_at(&place, Transport::Local)).unwrap();
    let (id, bytes) = (BlobId(7), Bytes::from_static(BLOB));
    proxy.next_commit(Fate::LoseAnswerToBlob);
    store.write_blob(id, &bytes).unwrap();
    assert_eq!(proxy.fate(), Fate::Pass, "the answer was lost");
    assert_eq!(block_on(store.blob(&BlobReference::of(id, &bytes))).unwrap(), bytes);
    // Other bytes are not taken for it, be they as long.
    let mut other = bytes.to_vec();
    other.reverse();
    for other in [other.into(), bytes.slice(1..), Bytes::from_static(b"another")] {
        assert!(store.write_blob(id, &other).is_err(), "a blob was written over");
    }
    assert_eq!(block_on(store.blob(&BlobReference::of(id, &bytes))).unwrap(), bytes);
    assert_eq!(database.sql("SELECT count(*) FROM hearthgate.blobs"), "1");
}

#[test]
fn blobs_that_no_version_names_go_at_the_next_open_and_no_others() {
    let Some(database) = database() else { return };
    let store = database.open();
    let bytes = Bytes::from(vec![b'x'; BLOB_CHUNK + 1]);
    let named = BlobReference::of(BlobId(u128::MAX << 8 | 1), &bytes);
    let purged = BlobReference::of(BlobId(2), &bytes);
    let orphans = [BlobId(3), BlobId(1 << 120)];
    for id in [named.id, purged.id, orphans[0], orphans[1]] {
        store.write_blob(id, &bytes).unwrap();
    }
    let of = |name, reference| with_blob(put(name, 1, ""), reference);
    append(&store, &[commit(1, vec![of("Binary/1", &named), of("Binary/2", &purged)])]);
    assert!(store.remove_blob(purged.id).unwrap());
    // What only looks like a reference to it names nothing.
    let plain =
        Version { body: orphans[0].0.to_le_bytes().to_vec().into(), ..put("Basic/1", 1, "") };
    let plain = Version { content_hash: ContentHash::of(&plain.body), ..plain };
    append(&store, &[commit(2, vec![plain])]);
    // Another tenant's of the same ids.
    let other = || {
        let clock = Arc::new(SystemClock);
        PostgresStore::open("other", database.options(), clock).unwrap()
    };
    let others = other();
    others.write_blob(orphans[0], &bytes).unwrap();
    assert_eq!(store.blobs().unwrap().len(), 3);
    drop(store);
    let store = database.take_over();
    assert_eq!(store.blobs().unwrap(), [named.id]);
    assert_eq!(block_on(store.blob(&named)).unwrap(), bytes);
    assert_eq!(others.blobs().unwrap(), [orphans[0]]);
    others.close().unwrap();
    assert_eq!(other().blobs().unwrap(), []);
}

#[test]
fn the_versions_that_name_blobs_are_found_by_an_index() {
    let Some(database) = database() else { return };
    drop(database.open());
    let plan = database.sql(
        "SET enable_seqscan = off; EXPLAIN SELECT substr(body, 1, 16) FROM hearthgate.versions \
         WHERE tenant = 'clinic' AND flags & 8 <> 0 AND substr(body, 1, 16) = ANY('{a,b}'::bytea[])",
    );
    assert!(plan.contains("versions_by_blob"), "{plan}");
}

#[test]
fn whoever_reads_or_commits_waits_for_no_blob_that_is_being_written() {
    let Some(database) = database() else { return };
    let store = Arc::new(database.open());
    let bytes = Bytes::from(vec![b'x'; BLOB_CHUNK + 1]);
    let [there, slow] = [1, 2].map(|id| BlobReference::of(BlobId(id), &bytes));
    store.write_blob(there.id, &bytes).unwrap();
    append(store.as_ref(), &[commit(1, vec![put("Patient/a", 1, "small")])]);
    database.sql(
        "CREATE TABLE gate(); GRANT ALL ON gate TO PUBLIC; \
         CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         PERFORM 1 FROM gate; RETURN NEW; END $$; \
         CREATE TRIGGER pass BEFORE INSERT ON hearthgate.blobs \
         FOR EACH ROW EXECUTE FUNCTION pass()",
    );
    let gate = database.lock("gate");
    let writing = {
        let (store, bytes) = (Arc::clone(&store), bytes.clone());
        thread::Builder::new().spawn(move || store.write_blob(slow.id, &bytes)).unwrap()
    };
    wait_until("the blob is being written", || {
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
        database.sql(waits) == "1"
    });
    let asked = SystemClock.monotonic();
    // More often than there are sessions that read.
    for _ in 0..8 {
        assert_eq!(block_on(content(store.as_ref(), "Patient/a", 1)).as_deref(), Some("small"));
        assert_eq!(block_on(store.blob(&there)).unwrap(), bytes);
    }
    let named = |name: &str, reference| with_blob(put(name, 1, ""), reference);
    for (t, name) in (2..10).zip(["1", "2", "3", "4", "5", "6", "7", "8"]) {
        let version = named(&format!("Binary/{name}"), &there);
        append(store.as_ref(), &[commit(t, vec![version])]);
    }
    let took = SystemClock.monotonic() - asked;
    assert!(took < Duration::from_secs(15), "all of it waited, {took:?}");
    assert!(!writing.is_finished());
    let refused = store.append(&[commit(10, vec![named("Binary/slow", &slow)])]);
    assert!(matches!(refused, Err(AppendError::Malformed(_))), "{refused:?}");
    gate.open();
    writing.join().unwrap().unwrap();
    append(store.as_ref(), &[commit(10, vec![named("Binary/slow", &slow)])]);
}

#[test]
fn a_blob_does_not_wait_for_others_out_of_its_own_time() {
    let Some(database) = database() else { return };
    let mut options = database.options();
    options.patience = Duration::from_secs(3);
    let store = Arc::new(open(options).unwrap());
    database.sql(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         PERFORM pg_sleep(1.3); RETURN NEW; END $$; \
         CREATE TRIGGER slow BEFORE INSERT ON hearthgate.blobs \
         FOR EACH ROW EXECUTE FUNCTION slow()",
    );
    let writing = (1..=4).map(|id| {
        let store = Arc::clone(&store);
        let write = move || store.write_blob(BlobId(id), &Bytes::from_static(b"slow"));
        thread::Builder::new().spawn(write).unwrap()
    });
    let writing: Vec<_> = writing.collect();
    for written in writing {
        written.join().unwrap().unwrap();
    }
}

#[test]
fn who_comes_after_a_blob_that_takes_too_long_does_not_wait_for_it() {
    let Some(database) = database() else { return };
    let mut options = database.options();
    options.patience = Duration::from_secs(2);
    let store = open(options).unwrap();
    database.sql(
        "CREATE FUNCTION stuck() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF NEW.bytes = 'stuck' THEN PERFORM pg_sleep(20); END IF; RETURN NEW; END $$; \
         CREATE TRIGGER stuck BEFORE INSERT ON hearthgate.blobs \
         FOR EACH ROW EXECUTE FUNCTION stuck()",
    );
    assert!(store.write_blob(BlobId(1), &Bytes::from_static(b"stuck")).is_err());
    store.write_blob(BlobId(2), &Bytes::from_static(b"quick")).unwrap();
}

#[test]
fn the_lease_never_runs_out_while_many_blobs_are_removed_at_an_open() {
    let Some(database) = database() else { return };
    drop(database.open());
    // In the order of ids, of which a part removes a hundred.
    database.sql(
        "INSERT INTO hearthgate.blobs (tenant, id, number, bytes) \
         SELECT 'clinic', decode(lpad(to_hex(n), 32, '0'), 'hex'), 0, 'x' \
         FROM generate_series(1, 901) n; \
         CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         PERFORM pg_sleep(0.5); RETURN NULL; END $$; \
         CREATE TRIGGER slow AFTER DELETE ON hearthgate.blobs \
         FOR EACH STATEMENT EXECUTE FUNCTION slow(); \
         CREATE TABLE renewals (late boolean); \
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF NEW.epoch = OLD.epoch THEN INSERT INTO renewals VALUES \
         (extract(epoch FROM clock_timestamp()) * 1000000 > OLD.expires); END IF; \
         RETURN NEW; END $$; \
         CREATE TRIGGER note BEFORE UPDATE ON hearthgate.leases \
         FOR EACH ROW EXECUTE FUNCTION note()",
    );
    let mut options = database.options();
    options.lease = Duration::from_secs(4);
    options.takeover = Takeover::AtOnce;
    let store = open(options).unwrap();
    assert_eq!(store.blobs().unwrap(), []);
    wait_until("the lease is renewed", || {
        database.sql("SELECT count(*) FROM renewals").parse::<u32>().unwrap() > 1
    });
    assert_eq!(database.sql("SELECT count(*) FROM renewals WHERE late"), "0");
    assert!(store.takes_commits());
}
