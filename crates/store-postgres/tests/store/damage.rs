//! Rows that are not as they were written, and tables of another program.

use std::sync::Arc;

use fhir_core::{ResourceId, ResourceType};
use store::suite::block_on;
use store::suite::fixture::{append, commit, put, read};
use store::{ReadError, Store, T};
use store_postgres::OpenError;

use crate::cluster::{database, open};

#[test]
fn a_flipped_bit_of_a_body_is_an_error_that_names_it() {
    let Some(database) = database() else { return };
    let store = database.open();
    append(&store, &[commit(1, vec![put("Patient/a", 1, "whole"), put("Patient/b", 1, "too")])]);
    for column in ["body", "content_hash"] {
        database.sql(&format!(
            "UPDATE hearthgate.versions SET {column} = set_bit({column}, 5, 1 - get_bit({column}, 5)) \
             WHERE id = 'a'"
        ));
        let (patient, id) = (ResourceType::new("Patient").unwrap(), ResourceId::new("a").unwrap());
        let entry = block_on(store.newest(&patient, &id, T::new(1))).unwrap().unwrap();
        let error = block_on(store.body(&entry)).unwrap_err();
        let ReadError::Damaged { lost, .. } = &error else { panic!("{error:?}") };
        assert_eq!(lost, "Patient/a version 1");
        assert!(block_on(read(&store, "Patient/b", 1)).is_some());
        database.sql(&format!(
            "UPDATE hearthgate.versions SET {column} = set_bit({column}, 5, 1 - get_bit({column}, 5)) \
             WHERE id = 'a'"
        ));
        assert!(block_on(store.body(&entry)).is_ok());
    }
}

#[test]
fn a_head_that_is_not_the_last_commits_is_not_opened() {
    let Some(database) = database() else { return };
    for (harm, mend) in [
        ("UPDATE hearthgate.heads SET t = 1", "UPDATE hearthgate.heads SET t = 2"),
        ("UPDATE hearthgate.heads SET t = 3", "UPDATE hearthgate.heads SET t = 2"),
        (
            "UPDATE hearthgate.commits SET hash = set_bit(hash, 0, 1 - get_bit(hash, 0)) WHERE t = 2",
            "UPDATE hearthgate.commits SET hash = set_bit(hash, 0, 1 - get_bit(hash, 0)) WHERE t = 2",
        ),
    ] {
        let store = database.open();
        if store.head().t == T::ZERO {
            append(&store, &[commit(1, vec![]), commit(2, vec![])]);
        }
        store.close().unwrap();
        database.sql(harm);
        let error = open(database.options()).unwrap_err();
        assert!(matches!(error, OpenError::Damaged { .. }), "{harm}: {error:?}");
        database.sql(mend);
    }
    assert_eq!(database.open().head().t, T::new(2));
}

#[test]
fn tables_of_a_newer_program_are_not_touched() {
    let Some(database) = database() else { return };
    database.open().close().unwrap();
    database.sql("UPDATE hearthgate.format SET version = 3");
    let before = database.sql("SELECT * FROM hearthgate.leases");
    let error = open(database.options()).unwrap_err();
    assert!(matches!(error, OpenError::NewerFormat { found: 3, known: 2 }), "{error:?}");
    assert_eq!(database.sql("SELECT * FROM hearthgate.leases"), before);
}

/// A program of before would write unsealed beside what is sealed.
#[test]
fn tables_of_an_earlier_format_are_raised_by_whoever_gets_the_lease() {
    let Some(database) = database() else { return };
    let format = || database.sql("SELECT version FROM hearthgate.format");
    let store = database.open();
    assert_eq!(format(), "2", "new tables");
    append(&store, &[commit(1, vec![put("Patient/a", 1, "of before")])]);
    database.sql("UPDATE hearthgate.format SET version = 1");
    let refused = open(database.options()).unwrap_err();
    assert!(matches!(refused, OpenError::Held { .. }), "{refused:?}");
    assert_eq!(format(), "1", "the server of before that holds it may start again");
    store.close().unwrap();
    let store = database.open();
    assert_eq!(format(), "2");
    assert!(block_on(read(&store, "Patient/a", 1)).is_some());
}

#[test]
fn two_servers_that_make_the_tables_at_once_meet_without_harm() {
    let Some(database) = database() else { return };
    let database = Arc::new(database);
    let opening: Vec<_> = (0..4)
        .map(|n| {
            let database = Arc::clone(&database);
            let open = move || {
                let clock = Arc::new(crate::cluster::SystemClock);
                let tenant = format!("tenant{n}");
                store_postgres::PostgresStore::open(&tenant, database.options(), clock)
            };
            std::thread::Builder::new().spawn(open).unwrap()
        })
        .collect();
    for opened in opening {
        opened.join().unwrap().unwrap();
    }
}
