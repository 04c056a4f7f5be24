//! The registry in PostgreSQL, which several gateways share: who wins, who follows, and what is
//! noticed.

use std::sync::OnceLock;
use std::thread;

use registry::{
    Condition, PostgresError, PostgresOptions, Standing, Transport, move_into_postgres,
};

use super::*;
use crate::postgres::{Cluster, PASSWORD};
use crate::proxy::{Fate, MARK, Proxy};

/// By when every gateway must know what one of them changed.
const PROMISED: Duration = Duration::from_secs(5);

/// A database of one test.
pub(super) struct Database {
    cluster: &'static Cluster,
    name: String,
}

impl Database {
    pub(super) fn options(&self) -> PostgresOptions {
        self.options_of("hearthgate")
    }

    /// Over the Unix socket.
    fn options_of(&self, user: &str) -> PostgresOptions {
        let directory = self.cluster.directory.display();
        let port = self.cluster.port;
        let text = format!("host={directory} port={port} user={user} dbname={}", self.name);
        PostgresOptions::new(&text, None, Transport::Local).unwrap()
    }

    /// Every row.
    pub(super) fn changes(&self) -> String {
        self.sql("SELECT * FROM hearthgate_registry.changes ORDER BY sequence")
    }

    /// Through a proxy.
    fn options_through(&self, proxy: &Proxy) -> PostgresOptions {
        let (port, name) = (proxy.port, &self.name);
        let text = format!("host=127.0.0.1 port={port} user=hearthgate dbname={name}");
        let password = Some(contract::Redacted::new(PASSWORD.to_owned()));
        PostgresOptions::new(&text, password, Transport::Local).unwrap()
    }

    fn sql(&self, sql: &str) -> String {
        self.cluster.psql(&self.name, sql)
    }
}

/// The time that PostgreSQL has, too.
#[expect(clippy::disallowed_methods, reason = "this is a door of time, for tests")]
fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_micros()).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "this is a door of time, for tests")]
fn since_start() -> Duration {
    static START: OnceLock<std::time::Instant> = OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed()
}

/// The system's clocks.
struct System;

impl Clock for System {
    fn now(&self) -> Instant {
        Instant::from_micros(now())
    }

    fn monotonic(&self) -> Duration {
        since_start()
    }
}

fn in_cluster(cluster: &'static Cluster) -> Place {
    let database = Database { cluster, name: cluster.create_database() };
    Place { start: now(), database: Some(database), ..Place::new() }
}

/// A place over an empty database, or `None` (and why) where PostgreSQL is not installed.
pub(super) fn place() -> Option<Place> {
    static CLUSTER: OnceLock<Option<Cluster>> = OnceLock::new();
    let cluster = CLUSTER.get_or_init(Cluster::begin).as_ref();
    if cluster.is_none() {
        println!("skipped: {}", crate::postgres::ABSENT);
    }
    cluster.map(in_cluster)
}

/// The same over a cluster of its own, which the test may stop.
fn place_to_stop() -> Option<(Place, &'static Cluster)> {
    place()?;
    let cluster: &'static Cluster = Box::leak(Box::new(Cluster::begin()?));
    Some((in_cluster(cluster), cluster))
}

impl Place {
    fn shared(&self) -> &Database {
        self.database.as_ref().unwrap()
    }

    /// Another gateway on the same database: with a directory and chance of its own.
    fn other(&self, seed: u64) -> Self {
        let Database { cluster, name } = self.shared();
        let database = Some(Database { cluster, name: name.clone() });
        let ids = Arc::new(Counting(AtomicU64::new(seed)));
        Self { start: now(), ids, database, ..Self::new() }
    }

    /// By the system's clocks.
    fn gateway(&self) -> Opened {
        self.try_gateway().unwrap()
    }

    fn try_gateway(&self) -> Result<Opened, OpenError> {
        let (options, ids) = (self.shared().options(), self.ids.clone());
        let clock = Arc::new(System);
        Registry::open_in_postgres(&self.path(), &options, Beside::NoTenant, clock, ids)
    }
}

fn wait_until(what: &str, limit: Duration, condition: impl Fn() -> bool) {
    let end = since_start() + limit;
    while !condition() {
        assert!(since_start() < end, "waited in vain: {what}");
        thread::park_timeout(Duration::from_millis(10));
    }
}

fn damaged(place: &Place) -> String {
    place.try_gateway().unwrap_err().to_string()
}

// GW-064
#[test]
fn what_one_gateway_changes_counts_at_the_others_within_seconds() {
    let Some(place) = place() else { return };
    let one = place.gateway().registry;
    let owner = one.owner(&actor()).unwrap().unwrap();
    let other_place = place.other(7);
    let other = other_place.gateway().registry;
    assert!(other.authenticate(owner.secret.expose()).is_some());
    let key = one.create_key(&client_id("owner"), "", &actor()).unwrap();
    wait_until("the key is good there", PROMISED, || {
        other.authenticate(key.secret.expose()).is_some()
    });
    let cursor = other.revocations(0, 10).cursor;
    one.revoke_key(&key.key_id, &actor()).unwrap();
    wait_until("the key is refused there", PROMISED, || {
        other.authenticate(key.secret.expose()).is_none()
    });
    // And whoever follows the feed of that gateway is told.
    let told = other.revocations(cursor, 10).entries;
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].id, format!("key:{}", key.key_id));
    assert_eq!(other.standing(), Standing::Current);
}

// GW-064
#[test]
fn what_another_gateway_made_a_moment_ago_can_be_used_and_revoked_at_once() {
    let Some(place) = place() else { return };
    let one = place.gateway().registry;
    one.owner(&actor()).unwrap();
    let other_place = place.other(7);
    let other = other_place.gateway().registry;
    for number in 0..20 {
        let id = format!("client-{number}");
        one.create_client(reader(&id), &actor()).unwrap();
        // Refused by what is known there, and so judged again by what is.
        other.create_key(&client_id(&id), "", &actor()).unwrap();
        let key = one.create_key(&client_id("owner"), "", &actor()).unwrap();
        let next = other.rotate_key(&key.key_id, 1, &actor()).unwrap();
        one.revoke_key(&next.key_id, &actor()).unwrap();
        let again = refused(other.revoke_key(&next.key_id, &actor()));
        assert_eq!(again, CannotFollow::RevokedAlready(next.key_id));
    }
}

// GW-064
#[test]
fn what_another_gateway_changed_since_it_was_judged_is_not_overwritten() {
    let Some(place) = place() else { return };
    let one = place.gateway().registry;
    one.create_client(reader("lab"), &actor()).unwrap();
    let other_place = place.other(7);
    let other = other_place.gateway().registry;
    for number in 0..10 {
        let judged = one.clients();
        let by_hand = Some(format!("plan-{number}").parse().unwrap());
        other.set_plan(&client_id("lab"), by_hand.clone(), &actor()).unwrap();
        let client = NewClient { budget: Some(number), ..reader("lab") };
        let put = vec![registry::PutClient { client, disabled: false }];
        // Whether it was heard of already or not.
        let again = refused(one.put_clients_as_judged(put, vec![], &judged, &actor()));
        assert_eq!(again, CannotFollow::ClientChangedMeanwhile(client_id("lab")));
        other.catch_up().unwrap();
        for gateway in [&one, &other] {
            let client = gateway.client(&client_id("lab")).unwrap();
            assert_eq!((&client.plan, client.budget), (&by_hand, None));
        }
    }
}

// GW-064
#[test]
fn how_a_registry_stands_is_told_without_making_or_changing_anything() {
    let Some(place) = place() else { return };
    let condition = |options: &PostgresOptions| Condition::of(options, &System).unwrap();
    let found = condition(&place.shared().options());
    assert_eq!((found.tables, found.is_read_only), (None, false));
    assert!(found.clock_ahead.abs() < 60_000_000, "{}", found.clock_ahead);
    let there = "SELECT to_regnamespace('hearthgate_registry') IS NULL";
    assert_eq!(place.shared().sql(there), "t", "looking makes nothing");
    let one = place.gateway().registry;
    let newest = |found: Condition| found.tables.unwrap().newest.map(|(sequence, _)| sequence);
    assert_eq!(newest(condition(&place.shared().options())), None);
    one.owner(&actor()).unwrap();
    assert_eq!(newest(condition(&place.shared().options())), Some(1));
    // A role that may only look.
    let looker = format!("looker_{}", place.shared().name);
    let sql = |text: &str| place.shared().sql(text);
    let grant = format!(
        "CREATE ROLE {looker} LOGIN; GRANT USAGE ON SCHEMA hearthgate_registry TO {looker}; \
         GRANT SELECT ON ALL TABLES IN SCHEMA hearthgate_registry TO {looker}; \
         ALTER ROLE {looker} SET default_transaction_read_only = on"
    );
    let _ = sql(&grant);
    let found = condition(&place.shared().options_of(&looker));
    assert!(found.is_read_only && !found.tables.unwrap().may_add);
    assert!(condition(&place.shared().options()).tables.unwrap().may_add);
    let _ = sql("UPDATE hearthgate_registry.format SET version = 2");
    let newer = Condition::of(&place.shared().options(), &System).unwrap_err();
    assert!(matches!(newer, PostgresError::NewerFormat { found: 2, known: 1 }), "{newer:?}");
}

// GW-064
#[test]
fn gateways_that_change_at_once_all_get_their_changes_in_one_order_and_one_wins() {
    const EACH: u64 = 15;
    let Some(place) = place() else { return };
    let places: Vec<Place> = (1..4).map(|seed| place.other(seed * 1_000_003)).collect();
    let gateways: Vec<Registry> = places.iter().map(|place| place.gateway().registry).collect();
    let outcomes: Vec<Result<Option<_>, ChangeError>> = thread::scope(|scope| {
        let owners = gateways.iter().map(|one| scope.spawn(|| one.owner(&actor())));
        let owners: Vec<_> = owners.collect();
        owners.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let won = outcomes.iter().filter(|outcome| matches!(outcome, Ok(Some(_)))).count();
    assert_eq!(won, 1, "{outcomes:?}");
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    let all = thread::scope(|scope| {
        let made = gateways.iter().map(|one| {
            scope.spawn(|| {
                let key = |_| one.create_key(&client_id("owner"), "", &actor()).unwrap();
                (0..EACH).map(key).collect::<Vec<_>>()
            })
        });
        let made: Vec<_> = made.collect();
        made.into_iter().flat_map(|one| one.join().unwrap()).collect::<Vec<_>>()
    });
    // The very same client, by all at once: one makes it, the others are told that it is there.
    let clients: Vec<_> = thread::scope(|scope| {
        let made = gateways
            .iter()
            .map(|one| scope.spawn(|| one.create_client(reader("lab"), &actor()).map(drop)));
        let made: Vec<_> = made.collect();
        made.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(clients.iter().filter(|made| made.is_ok()).count(), 1, "{clients:?}");
    let late = clients.into_iter().filter(Result::is_err).map(refused);
    assert!(late.eq([CannotFollow::ClientExists(client_id("lab")); 1].into_iter().cycle().take(2)));
    for gateway in &gateways {
        gateway.catch_up().unwrap();
        assert_eq!(gateway.sequence(), 2 + 3 * EACH);
        assert!(all.iter().all(|key| gateway.authenticate(key.secret.expose()).is_some()));
    }
    let reopened = place.gateway().registry;
    let instants: Vec<_> =
        reopened.changes(None, 0, 999).unwrap().into_iter().map(|change| change.instant).collect();
    assert_eq!(instants.len() as u64, 2 + 3 * EACH);
    assert!(instants.windows(2).all(|pair| pair[0] < pair[1]));
}

/// A clock that stands still, but for what waits.
struct Still(Instant);

impl Clock for Still {
    fn now(&self) -> Instant {
        self.0
    }

    fn monotonic(&self) -> Duration {
        System.monotonic()
    }
}

#[test]
fn of_two_that_ask_for_the_same_at_the_same_instant_one_does_it() {
    let Some(place) = place() else { return };
    let clock = Arc::new(Still(System.now()));
    let places = [place.other(1), place.other(2)];
    let gateways = places.each_ref().map(|place| {
        let (options, ids, clock) = (place.shared().options(), place.ids.clone(), clock.clone());
        let beside = Beside::NoTenant;
        Registry::open_in_postgres(&place.path(), &options, beside, clock, ids).unwrap().registry
    });
    gateways[0].owner(&actor()).unwrap();
    for number in 0..20 {
        let id = format!("client-{number}");
        let made = thread::scope(|scope| {
            let made = gateways.each_ref().map(|one| {
                let id = &id;
                scope.spawn(move || one.create_client(reader(id), &actor()).map(drop))
            });
            made.map(|one| one.join().unwrap())
        });
        assert_eq!(made.iter().filter(|made| made.is_ok()).count(), 1, "{made:?}");
    }
}

// GW-064
#[test]
fn while_postgresql_is_away_callers_go_on_changes_are_refused_and_it_is_said_and_found_again() {
    let Some((place, cluster)) = place_to_stop() else { return };
    let one = place.gateway().registry;
    let owner = one.owner(&actor()).unwrap().unwrap();
    let other_place = place.other(7);
    let other = other_place.gateway().registry;
    cluster.stop();
    wait_until("it is noticed", PROMISED, || matches!(other.standing(), Standing::Away { .. }));
    for registry in [&one, &other] {
        assert!(registry.authenticate(owner.secret.expose()).is_some());
        let away = registry.create_key(&client_id("owner"), "", &actor()).unwrap_err();
        assert!(matches!(away, ChangeError::Away(_)), "{away:?}");
        assert!(away.to_string().contains("nothing was changed"), "{away}");
        assert_eq!(registry.keys().len(), 1);
    }
    assert!(other.changes(None, 0, 10).is_err());
    assert!(other_place.try_gateway().is_err());
    cluster.start();
    wait_until("it is found again", 2 * PROMISED, || other.standing() == Standing::Current);
    one.revoke_key(&owner.key_id, &actor()).unwrap();
    wait_until("the key is refused there", PROMISED, || {
        other.authenticate(owner.secret.expose()).is_none()
    });
}

fn marked(id: &str) -> NewClient {
    NewClient { name: MARK.to_owned(), ..reader(id) }
}

fn opened_through(place: &Place, proxy: &Proxy) -> Registry {
    let options = place.shared().options_through(proxy);
    let (clock, ids) = (Arc::new(System), place.ids.clone());
    let opened = Registry::open_in_postgres(&place.path(), &options, Beside::NoTenant, clock, ids);
    opened.unwrap().registry
}

// GW-064
#[test]
fn a_change_whose_answer_was_lost_is_asked_for_and_made_once() {
    let Some(place) = place() else { return };
    let proxy = Proxy::before(place.shared().cluster.port);
    let one = opened_through(&place, &proxy);
    for (number, fate) in [(1, Fate::LoseAnswer), (2, Fate::LoseQuestion), (3, Fate::LoseAnswer)] {
        proxy.set(fate);
        let id = format!("client-{number}");
        let made = one.create_client(marked(&id), &actor()).unwrap();
        assert_eq!((made.id.as_str(), proxy.fate()), (id.as_str(), Fate::Pass), "{fate:?}");
        let rows = place.shared().sql("SELECT count(*) FROM hearthgate_registry.changes");
        assert_eq!(rows, number.to_string(), "{fate:?}");
    }
}

/// Bytes of a long change.
const LONG: usize = 600_000;

impl Database {
    /// Adds the changes of these numbers as rows, each of which revokes a client's tokens at length.
    fn add_long(&self, numbers: std::ops::RangeInclusive<u64>) {
        for number in numbers {
            let rest = format!(r#""change":"revokeTokens","tokens":{{"client":"c{number}"}}}}"#);
            let change = format!("{{{}{rest}", " ".repeat(LONG));
            let mut head = u32::try_from(2 + 4 + change.len()).unwrap().to_le_bytes().to_vec();
            head.extend(number.to_le_bytes());
            head.extend((10 * number).to_le_bytes());
            let body = [[4_u8, 0].as_slice(), b"test".as_slice(), change.as_bytes()].concat();
            let checksums =
                u64::from(crc32c::crc32c(&head)) << 32 | u64::from(crc32c::crc32c(&body));
            self.sql(&format!(
                "INSERT INTO hearthgate_registry.changes VALUES ({number}, {}, 'test', \
                 '{{' || repeat(' ', {LONG}) || '{rest}', {})",
                10 * number,
                checksums.cast_signed()
            ));
        }
    }
}

// GW-064
#[test]
fn pages_of_long_changes_end_at_a_number_of_bytes_and_leave_none_out() {
    const COUNT: u64 = 20;
    let Some(place) = place() else { return };
    let database = place.shared();
    drop(place.gateway());
    database.add_long(1..=COUNT);
    // One that comes later reads all, page by page.
    let proxy = Proxy::before(database.cluster.port);
    let registry = opened_through(&place, &proxy);
    let known = || registry.token_revocations().len() as u64;
    assert_eq!(known(), COUNT);
    let total = COUNT * LONG as u64;
    assert!(proxy.answered() > total, "{}", proxy.answered());
    // Whoever asks for one gets a page, which is far from all.
    let before = proxy.answered();
    assert_eq!(registry.changes(None, 3, 1).unwrap()[0].sequence, 4);
    let (page, most) = (proxy.answered() - before, (4 << 20) + 2 * LONG as u64);
    assert!(page > LONG as u64 && page < most, "{page} bytes of {total}, at most {most}");
    assert!(total > 2 * most, "{total}");
    let all = registry.changes(None, 0, usize::MAX).unwrap();
    assert!(all.iter().map(|change| change.sequence).eq(1..=COUNT), "{}", all.len());
    // And it follows over several pages.
    proxy.set(Fate::LoseAll);
    database.add_long(COUNT + 1..=2 * COUNT);
    proxy.set(Fate::Pass);
    wait_until("all are known", 4 * PROMISED, || known() == 2 * COUNT);
}

// GW-064
#[test]
fn a_change_of_which_nothing_can_be_learnt_is_said_to_be_so_and_shown_once_it_can() {
    let Some(place) = place() else { return };
    let proxy = Proxy::before(place.shared().cluster.port);
    let one = opened_through(&place, &proxy);
    proxy.set(Fate::LoseAnswerAndAll);
    let unknown = one.create_client(marked("lab"), &actor()).unwrap_err();
    assert!(matches!(unknown, ChangeError::Unknown(_)), "{unknown:?}");
    assert!(unknown.to_string().contains("look whether it does"), "{unknown}");
    assert!(one.client(&client_id("lab")).is_none());
    proxy.set(Fate::Pass);
    let lab = client_id("lab");
    wait_until("it is shown", 2 * PROMISED, || one.client(&lab).is_some());
    // And nothing stands in the way of the next.
    one.create_client(reader("ward"), &actor()).unwrap();
}

// GW-064
#[test]
fn a_row_that_was_harmed_is_named_at_an_open_and_by_whoever_follows() {
    let Some(place) = place() else { return };
    let one = place.gateway().registry;
    let owner = one.owner(&actor()).unwrap().unwrap();
    one.create_client(reader("lab"), &actor()).unwrap();
    one.create_client(reader("ward"), &actor()).unwrap();
    let table = "hearthgate_registry.changes";
    let whole = place.shared().changes();
    for (harm, mend) in [
        ("change = replace(change, 'lab', 'lob')", "change = replace(change, 'lob', 'lab')"),
        ("actor = 'nobody'", "actor = 'test'"),
        ("instant = instant + 1", "instant = instant - 1"),
        ("checksum = checksum # 1", "checksum = checksum # 1"),
        ("sequence = 7", "sequence = 2"),
    ] {
        let at = if harm.starts_with("sequence") { 7 } else { 2 };
        place.shared().sql(&format!("UPDATE {table} SET {harm} WHERE sequence = 2"));
        let told = damaged(&place);
        for part in ["damaged at change 2", "backup"] {
            assert!(told.contains(part), "{harm}: {told}");
        }
        assert!(!told.contains('\n'));
        place.shared().sql(&format!("UPDATE {table} SET {mend} WHERE sequence = {at}"));
        assert_eq!(place.shared().changes(), whole, "{harm}");
    }
    // What comes and cannot be followed is said by those that run; what came before it counts.
    let other_place = place.other(7);
    let other = other_place.gateway().registry;
    let gone = other.create_key(&client_id("owner"), "", &actor()).unwrap();
    one.catch_up().unwrap();
    let append = format!(
        "INSERT INTO {table} SELECT sequence + 1, instant + 1, actor, change, checksum FROM {table} \
         ORDER BY sequence DESC LIMIT 1"
    );
    place.shared().sql(&append);
    wait_until("it is said", PROMISED, || matches!(other.standing(), Standing::Stuck { .. }));
    let Standing::Stuck { reason, .. } = other.standing() else { panic!("mended") };
    assert!(reason.contains("damaged at change 5"), "{reason}");
    assert!(other.authenticate(gone.secret.expose()).is_some());
    let refused = one.revoke_key(&owner.key_id, &actor()).unwrap_err();
    assert!(matches!(refused, ChangeError::Behind(_)), "{refused:?}");
    place.shared().sql(&format!("DELETE FROM {table} WHERE sequence = 5"));
    wait_until("it goes on", PROMISED, || other.standing() == Standing::Current);
    one.revoke_key(&owner.key_id, &actor()).unwrap();
}

// GW-064
#[test]
fn a_database_that_was_put_back_to_before_is_noticed_and_takes_no_change() {
    let Some(place) = place() else { return };
    let one = place.gateway().registry;
    let owner = one.owner(&actor()).unwrap().unwrap();
    let key = one.create_key(&client_id("owner"), "", &actor()).unwrap();
    one.revoke_key(&key.key_id, &actor()).unwrap();
    place.shared().sql("DELETE FROM hearthgate_registry.changes WHERE sequence = 3");
    // The restored one would believe the key again; whoever knows better does not.
    wait_until("it is noticed", PROMISED, || matches!(one.standing(), Standing::Stuck { .. }));
    assert!(one.authenticate(key.secret.expose()).is_none());
    let refused = one.revoke_key(&owner.key_id, &actor()).unwrap_err();
    assert!(
        matches!(&refused, ChangeError::Behind(why)
        if matches!(**why, PostgresError::Another { sequence: 3 })),
        "{refused:?}"
    );
    // Another has gone on from there.
    let other_place = place.other(7);
    let other = other_place.gateway().registry;
    other.create_client(reader("lab"), &actor()).unwrap();
    assert!(one.catch_up().is_err());
    assert!(one.client(&client_id("lab")).is_none());
}

// GW-064
#[test]
fn tables_of_a_later_format_are_refused_and_not_touched() {
    let Some(place) = place() else { return };
    let one = place.gateway().registry;
    one.owner(&actor()).unwrap();
    let before = place.shared().changes();
    place.shared().sql("UPDATE hearthgate_registry.format SET version = 2");
    let error = damaged(&place);
    for part in ["format 2", "up to 1", "start the release that wrote it"] {
        assert!(error.contains(part), "{error}");
    }
    // Who runs already writes nothing into them either.
    assert!(one.create_client(reader("lab"), &actor()).is_err());
    assert_eq!(place.shared().changes(), before);
}

#[test]
fn an_empty_database_beside_a_tenant_or_in_the_place_of_a_registry_is_refused() {
    let Some(place) = place() else { return };
    let error = place.try_open(Beside::ExistingTenant).unwrap_err().to_string();
    assert!(error.contains("is empty") && error.contains("registry.postgres"), "{error}");
    place.open().registry.owner(&actor()).unwrap();
    assert!(place.try_open(Beside::ExistingTenant).is_ok());
    // The same directory, and a database that has nothing.
    let mut elsewhere = self::place().unwrap();
    elsewhere.dir = place.dir;
    let error = elsewhere.try_open(Beside::NoTenant).unwrap_err().to_string();
    assert!(error.contains("is empty"), "{error}");
    // Nor is a registry begun in files where one is in PostgreSQL.
    let files = Place { dir: elsewhere.dir, ..Place::new() };
    let error = files.try_open(Beside::NoTenant).unwrap_err();
    assert!(matches!(error, OpenError::InPostgres { .. }), "{error}");
    assert!(!files.log().exists());
}

// GW-064
#[test]
fn a_role_that_may_only_read_and_add_is_enough_once_the_tables_are_there() {
    let Some(place) = place() else { return };
    let owner = place.open().registry.owner(&actor()).unwrap().unwrap();
    for sql in [
        "CREATE ROLE adds LOGIN",
        "GRANT USAGE ON SCHEMA hearthgate_registry TO adds",
        "GRANT SELECT ON ALL TABLES IN SCHEMA hearthgate_registry TO adds",
        "GRANT INSERT ON hearthgate_registry.changes TO adds",
    ] {
        place.shared().sql(sql);
    }
    let options = place.shared().options_of("adds");
    let (clock, ids) = (Arc::new(System), Arc::new(Counting(AtomicU64::new(7))));
    let opened =
        Registry::open_in_postgres(&place.path(), &options, Beside::NoTenant, clock, ids).unwrap();
    opened.registry.revoke_key(&owner.key_id, &actor()).unwrap();
    assert!(opened.registry.authenticate(owner.secret.expose()).is_none());
}

#[test]
fn clocks_that_are_a_minute_apart_are_refused() {
    let Some(mut place) = place() else { return };
    for (seconds, is_good) in [(-90, false), (-30, true), (30, true), (90, false)] {
        place.start = now() + seconds * 1_000_000;
        match place.try_open(Beside::NoTenant) {
            Ok(_) => assert!(is_good, "{seconds}"),
            Err(error) => {
                assert!(!is_good && error.to_string().contains("NTP"), "{seconds}: {error}");
            }
        }
    }
}

// GW-064
#[test]
fn no_row_and_no_dump_holds_a_key() {
    let Some(place) = place() else { return };
    let created = place.open().registry.owner(&actor()).unwrap().unwrap();
    let secret = created.secret.expose().rsplit_once('_').map(|(_, secret)| secret.to_owned());
    let text = created.secret.expose();
    let secret =
        secret.filter(|secret| secret.len() == 43).unwrap_or_else(|| text[20..].to_owned());
    let dump = place.shared().cluster.dump(&place.shared().name);
    assert!(dump.contains(created.key_id.as_str()));
    let hexadecimal = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    use base64::Engine as _;
    let raw = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(&secret).unwrap();
    for form in [secret.clone(), hexadecimal(secret.as_bytes()), hexadecimal(&raw)] {
        assert!(!dump.contains(&form));
    }
}

// GW-064
#[test]
fn a_registry_moves_from_files_into_postgresql_with_every_change_and_once() {
    let Some(place) = place() else { return };
    let files = Place { dir: place.dir, ..Place::new() };
    let opened = files.open();
    let owner = opened.registry.owner(&Actor::local_user(7)).unwrap().unwrap();
    let revoked = opened.registry.create_key(&client_id("owner"), "", &actor()).unwrap();
    opened.registry.revoke_key(&revoked.key_id, &actor()).unwrap();
    let before = opened.registry.changes(None, 0, 10).unwrap();
    drop(opened);
    let log = fs::read(files.log()).unwrap();
    let place = Place { dir: files.dir, ..place };
    // Naming PostgreSQL alone moves nothing, and hides nothing.
    let error = place.try_open(Beside::NoTenant).unwrap_err();
    assert!(matches!(error, OpenError::InFiles { .. }), "{error}");
    assert!(error.to_string().contains("hearthgate registry move"), "{error}");

    let moved = move_into_postgres(&place.path(), &place.shared().options(), &System).unwrap();
    assert_eq!((moved.changes, moved.was_there), (3, false));
    assert_eq!(fs::read(&moved.set_aside).unwrap(), log);
    let check = |place: &Place| {
        let opened = place.try_open(Beside::ExistingTenant).unwrap();
        assert!(!opened.first_start);
        assert_eq!(opened.registry.changes(None, 0, 10).unwrap(), before);
        assert!(opened.registry.authenticate(owner.secret.expose()).is_some());
        assert!(opened.registry.authenticate(revoked.secret.expose()).is_none());
    };
    check(&place);
    // As if it had been cut off before the files were set aside: the next finishes it.
    fs::rename(&moved.set_aside, place.log()).unwrap();
    fs::write(place.path().join("format"), "hearthgate registry 1\n").unwrap();
    let again = move_into_postgres(&place.path(), &place.shared().options(), &System).unwrap();
    assert!(again.was_there && again.set_aside == moved.set_aside);
    check(&place);
    // Another registry does not go where this one is.
    let third = Place::new();
    third.open().registry.owner(&actor()).unwrap();
    let occupied = move_into_postgres(&third.path(), &place.shared().options(), &System);
    assert!(occupied.unwrap_err().to_string().contains("has other changes"));
    assert!(third.log().exists());
    check(&place);
}
