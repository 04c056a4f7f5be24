//! Connections that are lost, and what became of the commits on them.

use std::time::Duration;

use store::suite::block_on;
use store::suite::fixture::{append, commit, content, put};
use store::{AppendError, Commit, Store, T};
use store_postgres::{PostgresStore, Transport};

use crate::cluster::{Database, database, open, wait_until};
use crate::proxy::{Fate, Proxy};

fn patient(t: u64) -> Commit {
    commit(t, vec![put("Patient/a", t, &format!("at {t}"))])
}

/// Exactly the commits up to `t` are there.
fn holds(store: &PostgresStore, t: u64) {
    assert_eq!(store.head().t, T::new(t));
    let found = block_on(content(store, "Patient/a", u64::MAX));
    assert_eq!(found, Some(format!("at {t}")));
}

fn through_proxy(database: &Database) -> (Proxy, PostgresStore) {
    let proxy = Proxy::before(database.cluster.port);
    let place = format!("host=127.0.0.1 port={}", proxy.port);
    let mut options = database.options_at(&place, Transport::Local);
    options.outcome_patience = Duration::from_secs(5);
    (proxy, open(options).unwrap())
}

#[test]
fn an_append_after_every_connection_was_ended_connects_anew() {
    let Some(database) = database() else { return };
    let store = database.open();
    append(&store, &[patient(1)]);
    holds(&store, 1);
    for t in 2..5 {
        let ended = database.sql(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
             WHERE application_name = 'hearthgate' AND datname = current_database()",
        );
        assert_ne!(ended, "0");
        append(&store, &[patient(t)]);
        holds(&store, t);
    }
}

#[test]
fn a_connection_lost_in_the_middle_of_an_append_leaves_the_whole_group_once() {
    let Some(database) = database() else { return };
    let store = database.open();
    append(&store, &[patient(1)]);
    // The first INSERT of versions ends its own session, as an administrator would.
    database.sql(
        "CREATE SEQUENCE tries; GRANT ALL ON SEQUENCE tries TO PUBLIC; \
         CREATE FUNCTION end_session() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF nextval('tries') = 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF; \
         RETURN NEW; END $$; \
         CREATE TRIGGER end_session BEFORE INSERT ON hearthgate.versions \
         FOR EACH ROW EXECUTE FUNCTION end_session()",
    );
    append(&store, &[patient(2), patient(3)]);
    assert_eq!(database.sql("SELECT last_value >= 3 FROM tries"), "t");
    holds(&store, 3);
    assert_eq!(database.sql("SELECT count(*) FROM hearthgate.commits"), "3");
}

#[test]
fn a_commit_whose_answer_was_lost_is_asked_for_and_acknowledged_once() {
    let Some(database) = database() else { return };
    let (proxy, store) = through_proxy(&database);
    append(&store, &[patient(1)]);
    proxy.next_commit(Fate::LoseAnswer);
    append(&store, &[patient(2)]);
    assert_eq!(proxy.fate(), Fate::Pass, "the answer was lost");
    holds(&store, 2);
    append(&store, &[patient(3)]);
    assert_eq!(database.sql("SELECT count(*) FROM hearthgate.commits"), "3");
}

#[test]
fn a_commit_still_under_way_when_it_is_asked_for_is_waited_for() {
    let Some(database) = database() else { return };
    let (proxy, store) = through_proxy(&database);
    append(&store, &[patient(1)]);
    database.sql(
        "CREATE TABLE gate(); \
         CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         PERFORM 1 FROM gate; RETURN NEW; END $$; \
         CREATE CONSTRAINT TRIGGER pass AFTER INSERT ON hearthgate.commits \
         DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION pass()",
    );
    let gate = database.lock("gate");
    proxy.next_commit(Fate::CutAfterQuestion);
    std::thread::scope(|scope| {
        scope.spawn(|| append(&store, &[patient(2)]));
        wait_until("COMMIT waits at the gate, and the question for COMMIT", || {
            let waiting = "SELECT count(*) FROM pg_stat_activity \
                 WHERE wait_event_type = 'Lock' AND datname = current_database()";
            database.sql(waiting) == "2"
        });
        gate.open();
    });
    assert_eq!(proxy.fate(), Fate::Pass, "the connection was cut");
    holds(&store, 2);
    assert_eq!(database.sql("SELECT count(*) FROM hearthgate.commits"), "2");
}

#[test]
fn a_commit_that_never_arrived_is_known_to_be_undone_and_sent_again() {
    let Some(database) = database() else { return };
    let (proxy, store) = through_proxy(&database);
    append(&store, &[patient(1)]);
    proxy.next_commit(Fate::LoseQuestion);
    append(&store, &[patient(2)]);
    assert_eq!(proxy.fate(), Fate::Pass, "the question was lost");
    holds(&store, 2);
    assert_eq!(database.sql("SELECT count(*) FROM hearthgate.commits"), "2");
}

#[test]
fn an_outcome_that_cannot_be_known_ends_acknowledging_until_the_next_open() {
    let Some(database) = database() else { return };
    let (proxy, store) = through_proxy(&database);
    append(&store, &[patient(1)]);
    proxy.next_commit(Fate::LoseAnswerAndAll);
    let unknown = store.append(&[patient(2)]);
    assert!(matches!(unknown, Err(AppendError::Poisoned(Some(_)))), "{unknown:?}");
    proxy.next_commit(Fate::Pass);
    assert!(!store.takes_commits());
    // Not acknowledged, so not visible.
    holds(&store, 1);
    let refused = store.append(&[patient(2)]);
    assert!(matches!(refused, Err(AppendError::Poisoned(None))), "{refused:?}");
    store.close().unwrap();
    holds(&database.open(), 2);
}

#[test]
fn while_postgresql_is_away_appends_and_reads_are_errors_and_afterwards_neither() {
    let Some(database) = database() else { return };
    let (proxy, store) = through_proxy(&database);
    append(&store, &[patient(1)]);
    holds(&store, 1);
    proxy.next_commit(Fate::LoseAll);
    let failed = store.append(&[patient(2)]);
    assert!(matches!(failed, Err(AppendError::Io(_))), "{failed:?}");
    proxy.next_commit(Fate::Pass);
    append(&store, &[patient(2)]);
    holds(&store, 2);
}

#[test]
fn a_lost_race_is_run_again() {
    let Some(database) = database() else { return };
    let store = database.open();
    append(&store, &[patient(1)]);
    database.sql(
        "CREATE SEQUENCE tries; \
         CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF nextval('tries') < 3 THEN RAISE EXCEPTION 'lost' USING ERRCODE = '40001'; END IF; \
         RETURN NEW; END $$; \
         CREATE CONSTRAINT TRIGGER lose AFTER INSERT ON hearthgate.commits \
         DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION lose()",
    );
    append(&store, &[patient(2)]);
    assert_eq!(database.sql("SELECT last_value FROM tries"), "3");
    holds(&store, 2);
}

#[test]
fn a_full_disk_and_a_read_only_database_are_said_so_and_nothing_is_kept() {
    let Some(database) = database() else { return };
    let store = database.open();
    append(&store, &[patient(1)]);
    database.sql(
        "CREATE TABLE fate (code text); INSERT INTO fate VALUES ('53100'); \
         CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF EXISTS (SELECT FROM fate) THEN \
         RAISE EXCEPTION 'no' USING ERRCODE = (SELECT code FROM fate); END IF; \
         RETURN NEW; END $$; \
         CREATE TRIGGER fail BEFORE INSERT ON hearthgate.identifiers \
         FOR EACH STATEMENT EXECUTE FUNCTION fail()",
    );
    let full = store.append(&[patient(2)]);
    assert!(matches!(full, Err(AppendError::DiskFull)), "{full:?}");
    database.sql("UPDATE fate SET code = '25006'");
    let read_only = store.append(&[patient(2)]);
    assert!(matches!(read_only, Err(AppendError::ReadOnly)), "{read_only:?}");
    holds(&store, 1);
    assert_eq!(database.sql("SELECT count(*) FROM hearthgate.versions"), "1");
    database.sql("DELETE FROM fate");
    append(&store, &[patient(2)]);
    holds(&store, 2);
}

#[test]
fn a_large_group_in_many_statements_is_there_whole_or_not_at_all() {
    let Some(database) = database() else { return };
    let store = database.open();
    let names: Vec<_> = (0..12_000).map(|n| format!("Observation/{n}")).collect();
    let versions = || names.iter().map(|name| put(name, 1, name)).collect();
    let mut twice: Vec<_> = versions();
    twice.push(put("Patient/a", 1, ""));
    append(&store, &[commit(1, vec![put("Patient/a", 1, "")])]);
    // The last row, in the second statement, is there already.
    assert!(store.append(&[commit(2, twice)]).is_err());
    assert_eq!(database.sql("SELECT count(*) FROM hearthgate.versions"), "1");
    append(&store, &[commit(2, versions())]);
    drop(store);
    let store = database.take_over();
    for name in [&names[0], &names[11_999]] {
        let found = block_on(content(&store, name, 2));
        assert_eq!(found.as_ref(), Some(name));
    }
}
