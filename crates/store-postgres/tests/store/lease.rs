//! One server at a time.

use std::sync::Arc;
use std::time::Duration;

use fhir_core::{Clock, Instant, ResourceId, ResourceType};
use store::suite::block_on;
use store::suite::fixture::{append, commit, put, tenant};
use store::{AppendError, Store, T};
use store_postgres::{Condition, OpenError, PostgresStore};

use crate::cluster::{SystemClock, database, open, wait_until};

#[test]
fn a_second_server_is_refused_and_told_by_whom() {
    let Some(database) = database() else { return };
    let store = database.open();
    let refused = open(database.options()).unwrap_err();
    let OpenError::Held { holder, left, .. } = &refused else { panic!("{refused:?}") };
    assert_eq!(holder, "clinic.example, process 7");
    assert!(*left <= Duration::from_secs(15));
    let told = refused.to_string();
    assert!(told.starts_with("clinic.example, process 7 holds tenant clinic since 20"), "{told}");
    append(&store, &[commit(1, vec![])]);
    store.close().unwrap();
    assert_eq!(database.open().head().t, T::new(1));
}

#[test]
fn a_server_whose_tenant_was_taken_over_appends_nothing_and_shows_nothing_old() {
    let Some(database) = database() else { return };
    let old = database.open();
    append(&old, &[commit(1, vec![put("Patient/a", 1, "")])]);
    let new = database.take_over();
    let refused = old.append(&[commit(2, vec![put("Patient/b", 1, "")])]);
    assert!(matches!(refused, Err(AppendError::Io(_))), "{refused:?}");
    assert!(!old.takes_commits());
    let (patient, id) = (ResourceType::new("Patient").unwrap(), ResourceId::new("a").unwrap());
    assert!(block_on(old.newest(&patient, &id, T::new(9))).is_err());
    append(&new, &[commit(2, vec![put("Patient/a", 2, "")])]);
    assert!(old.append(&[commit(2, vec![])]).is_err());
    // Closing gives back nothing that it does not have.
    old.close().unwrap();
    append(&new, &[commit(3, vec![])]);
    assert_eq!(database.sql("SELECT count(*) FROM hearthgate.commits"), "3");
    assert!(matches!(open(database.options()), Err(OpenError::Held { .. })));
}

/// As on a machine that slept: the holder's own clock says that no time has passed.
#[test]
fn a_server_that_was_taken_over_while_it_slept_shows_nothing_old() {
    struct Asleep;
    impl Clock for Asleep {
        fn now(&self) -> Instant {
            SystemClock.now()
        }

        fn monotonic(&self) -> Duration {
            Duration::ZERO
        }
    }
    let Some(database) = database() else { return };
    let old = PostgresStore::open(tenant().as_str(), database.options(), Arc::new(Asleep)).unwrap();
    append(&old, &[commit(1, vec![put("Patient/a", 1, "")])]);
    let (patient, id) = (ResourceType::new("Patient").unwrap(), ResourceId::new("a").unwrap());
    let newest = || block_on(old.newest(&patient, &id, T::new(9)));
    assert!(newest().unwrap().is_some());
    // Expired, and nobody has it yet: somebody may, at any moment.
    database.sql("UPDATE hearthgate.leases SET expires = 0");
    let refused = newest().unwrap_err().to_string();
    assert!(refused.contains("another server may have the tenant"), "{refused}");
    // Whoever appends still has it, and so it lasts again.
    append(&old, &[commit(2, vec![put("Patient/a", 2, "")])]);
    assert!(newest().unwrap().is_some());
    let new = database.take_over();
    append(&new, &[commit(3, vec![put("Patient/a", 3, "")])]);
    let refused = newest().unwrap_err().to_string();
    assert!(refused.contains("took this tenant over"), "{refused}");
    assert!(!old.takes_commits());
    assert!(old.trouble().unwrap().contains("took this tenant over"));
}

#[test]
fn a_head_that_was_moved_by_others_ends_the_writing_and_is_said() {
    let Some(database) = database() else { return };
    let store = database.open();
    append(&store, &[commit(1, vec![])]);
    assert_eq!((store.takes_commits(), store.trouble()), (true, None));
    database.sql("UPDATE hearthgate.heads SET t = 5");
    assert!(matches!(store.append(&[commit(2, vec![])]), Err(AppendError::Io(_))));
    assert!(!store.takes_commits());
    let trouble = store.trouble().unwrap();
    assert!(trouble.contains("the head in the database"), "{trouble}");
    // It stays so, whatever the head is now: what happened in between is not known.
    database.sql("UPDATE hearthgate.heads SET t = 1");
    assert!(matches!(store.append(&[commit(2, vec![])]), Err(AppendError::Io(_))));
    store.close().unwrap();
}

#[test]
fn how_a_tenant_stands_is_told_without_touching_it() {
    let Some(database) = database() else { return };
    let condition = || {
        let options = database.options();
        Condition::of(tenant().as_str(), &options, &SystemClock).unwrap()
    };
    let before = condition();
    assert!(before.is_empty() && before.held.is_none(), "{before:?}");
    assert!(before.clock_ahead.abs() < 60_000_000, "{before:?}");
    // The cluster of the tests is set so.
    assert_eq!(before.unsafe_settings, ["fsync"]);
    assert_eq!(database.sql("SELECT count(*) FROM pg_namespace WHERE nspname = 'hearthgate'"), "0");
    let store = database.open();
    append(&store, &[commit(1, vec![])]);
    let held = condition();
    assert_eq!(held.head, Some((T::new(1), store.head().instant)));
    let (holder, left) = held.held.unwrap();
    assert_eq!(holder, "clinic.example, process 7");
    assert!(left <= Duration::from_secs(15));
    append(&store, &[commit(2, vec![])]);
    store.close().unwrap();
    assert_eq!(condition().held, None);
}

#[test]
fn a_lease_is_renewed_while_its_holder_does_nothing_and_lost_when_it_ends() {
    let Some(database) = database() else { return };
    let mut options = database.options();
    options.lease = Duration::from_millis(900);
    let expires = || database.sql("SELECT expires FROM hearthgate.leases").parse::<i64>().unwrap();
    let store = open(options.clone()).unwrap();
    let first = expires();
    wait_until("the lease is renewed", || expires() > first + 1_000_000);
    assert!(matches!(open(options.clone()), Err(OpenError::Held { .. })));
    drop(store);
    wait_until("the lease expires", || open(options.clone()).is_ok());
}

#[test]
fn a_holder_notices_by_itself_that_it_was_taken_over() {
    let Some(database) = database() else { return };
    let mut options = database.options();
    options.lease = Duration::from_millis(900);
    let old = open(options).unwrap();
    let _new = database.take_over();
    wait_until("the old holder notices", || !old.takes_commits());
}

#[test]
fn clocks_that_disagree_by_more_than_a_minute_are_refused() {
    struct Shifted(i64);
    impl Clock for Shifted {
        fn now(&self) -> Instant {
            Instant::from_micros(SystemClock.now().as_micros() + self.0 * 1_000_000)
        }

        fn monotonic(&self) -> Duration {
            SystemClock.monotonic()
        }
    }
    let Some(database) = database() else { return };
    for (seconds, is_refused) in [(-90, true), (-30, false), (0, false), (30, false), (90, true)] {
        let (options, clock) = (database.options(), Arc::new(Shifted(seconds)));
        match PostgresStore::open(tenant().as_str(), options, clock) {
            Ok(store) => {
                assert!(!is_refused, "{seconds}");
                store.close().unwrap();
            }
            Err(error) => {
                assert!(is_refused && matches!(error, OpenError::Clocks { .. }), "{error:?}");
                assert!(error.to_string().contains("NTP"), "{error}");
            }
        }
    }
}

#[test]
fn tenants_of_one_database_are_apart() {
    let Some(database) = database() else { return };
    let store = database.open();
    append(&store, &[commit(1, vec![put("Patient/a", 1, "")])]);
    let other = PostgresStore::open("another", database.options(), Arc::new(SystemClock)).unwrap();
    assert_eq!(other.head().t, T::ZERO);
    let (patient, id) = (ResourceType::new("Patient").unwrap(), ResourceId::new("a").unwrap());
    assert_eq!(block_on(other.newest(&patient, &id, T::new(9))).unwrap(), None);
}
