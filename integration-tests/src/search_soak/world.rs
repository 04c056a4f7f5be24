//! A database whose data changes by chance, and which is closed, dropped and opened again.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use database::{
    Action, Body, Change, Database, DeriveFromBody, Expect, IndexedBy, Method, Options, Purge,
    PurgeError, Sealing, Seen, Snapshot, Store, T, Transaction, Visibility,
};
use fhir_core::json::{Document, Replacements};
use fhir_core::{Clock, Ids, Instant, Resource, ResourceId, ResourceType};
use fhir_schema::Schema;
use fhir_search::Zone;
use hearthgate::doors::{SystemClock, SystemIds};
use store::keys::{FirstKeys, Keyring, MemoryKeyStore, TenantKey};
use store::suite::block_on;
use store::{CommitId, TenantText};
use store_postgres::{PostgresOptions, PostgresStore, Takeover, Transport};
use store_sled::{SledStore, SledStoreOptions};
use tempfile::TempDir;

use super::Happened;
use super::differential::{BASE, Chance, Known, TYPES, of_one_patient, resource};
use crate::postgres::{self, Postgres};

/// Where the data is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// In the embedded store.
    Sled,
    /// In PostgreSQL.
    Postgres,
}

impl fmt::Display for Backend {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Sled => "sled",
            Self::Postgres => "postgres",
        })
    }
}

enum Place {
    Sled(TempDir),
    Postgres(postgres::Database),
}

/// How long what was replaced can be searched, in microseconds.
const HORIZON: i64 = 24 * 3600 * 1_000_000;
/// Patients of whom resources speak that speak of nobody else.
const OWN_PATIENTS: u64 = 3;
/// How long anything may take that happens in the background.
const PATIENCE: Duration = Duration::from_secs(60);

/// A clock that is set.
#[derive(Debug)]
struct SetClock(AtomicI64);

impl Clock for SetClock {
    fn now(&self) -> Instant {
        Instant::from_micros(self.0.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

/// What is open of it.
struct Open {
    store: Arc<dyn Store>,
    database: Database,
}

/// A tenant's data, and what happened to it.
pub(super) struct World {
    place: Place,
    keys: Arc<MemoryKeyStore>,
    clock: Arc<SetClock>,
    open: Option<Open>,
    /// As in [`super::Run::index_memory`].
    index_memory: Option<usize>,
    /// By what it is indexed.
    pub(super) known: &'static Known,
    pub(super) happened: Happened,
    /// The instant of each position from the first on.
    instants: Vec<i64>,
    named: u128,
    /// Own patients that were purged.
    purged: BTreeSet<u64>,
}

fn tenant() -> TenantText {
    TenantText::new("clinic").expect("a tenant's name")
}

/// Who may see what stands in the compartments of some patients.
pub(super) fn of_patients(chance: &mut Chance) -> Visibility {
    let patients: Vec<ResourceId> =
        (0..2).map(|_| chance.one(&["a", "b", "c", "own-1"]).parse().expect("an id")).collect();
    let types = TYPES.iter().map(|of| of.parse::<ResourceType>().expect("a type's name"));
    let parts = types.map(|of| (of, vec![Seen::within_patients(patients.iter().cloned())]));
    Visibility::of_parts(parts.collect())
}

impl World {
    /// An empty one, open and indexed; `None` where there is no PostgreSQL for it.
    pub(super) fn new(backend: Backend, index_memory: Option<usize>) -> Option<Self> {
        let place = match backend {
            Backend::Sled => Place::Sled(tempfile::tempdir().expect("the system gives a folder")),
            Backend::Postgres => Place::Postgres(Postgres::shared()?.database()),
        };
        let mut world = Self {
            place,
            keys: Arc::default(),
            clock: Arc::new(SetClock(AtomicI64::new(1_800_000_000_000_000))),
            open: None,
            index_memory,
            known: Known::r4(),
            happened: Happened::default(),
            instants: Vec::new(),
            named: 0,
            purged: BTreeSet::new(),
        };
        world.open();
        Some(world)
    }

    fn open(&mut self) {
        let ids: Arc<dyn Ids> = Arc::new(SystemIds::open().expect("the system gives chance"));
        let key = TenantKey::parse(&"5a".repeat(32)).expect("a key");
        let keys = Box::new(Arc::clone(&self.keys));
        let keyring = Keyring::open(keys, &tenant(), key, ids, FirstKeys::MayBeMade);
        let sealing = Sealing::with(tenant(), Arc::new(keyring.expect("the keys open")));
        let store: Arc<dyn Store> = match &self.place {
            Place::Sled(folder) => {
                let derive = Arc::new(DeriveFromBody::sealed(Schema::r4(), sealing.clone()));
                let options =
                    SledStoreOptions { cache_bytes: 4 << 20, ..SledStoreOptions::default() };
                let path = folder.path().join("clinic");
                let store = SledStore::open(&path, tenant().as_str(), derive, options);
                Arc::new(store.expect("the store opens"))
            }
            Place::Postgres(database) => {
                let (connection, holder) = (database.connection(), "the soak".to_owned());
                let options = PostgresOptions::new(&connection, None, Transport::Local, holder);
                let mut options = options.expect("a connection of the tests");
                // Who was dropped holds its lease for a while.
                options.takeover = Takeover::AtOnce;
                let clock = Arc::new(SystemClock::start());
                let store = PostgresStore::open(tenant().as_str(), options, clock);
                Arc::new(store.expect("the store opens"))
            }
        };
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        let default = Options::default();
        let index_bytes = self.index_memory.unwrap_or(default.index_bytes);
        let options = Options { index_bytes, ..default };
        let schema = Schema::r4();
        let database =
            Database::open_sealed(Arc::clone(&store), tenant(), schema, clock, options, sealing);
        let mut database = database.expect("the database opens");
        if let (Place::Sled(folder), Some(_)) = (&self.place, self.index_memory) {
            database = database.keeping_index_in(folder.path().join("index"));
        }
        self.open = Some(Open { store, database });
        self.index();
    }

    /// Begins an index by the parameters that there are now.
    fn index(&self) {
        let extractor = Arc::clone(&self.known.indexing);
        let by = IndexedBy { extractor, base: BASE.into(), zone: Zone::UTC };
        self.database().index_by(by).expect("there is a thread for it");
        self.wait();
    }

    /// Waits until the index has everything.
    fn wait(&self) {
        assert!(self.database().wait_for_index(PATIENCE), "the index does not catch up");
    }

    fn database(&self) -> &Database {
        &self.open.as_ref().expect("it is open").database
    }

    /// Closes it in order.
    pub(super) fn close(&mut self) {
        if let Some(open) = self.open.take() {
            open.database.close().expect("it closes");
            Self::let_go(open);
        }
    }

    /// Drops it as it is, and waits until nobody has its store.
    fn let_go(Open { store, database }: Open) {
        drop(database);
        until("somebody still holds the store", || Arc::strong_count(&store) == 1);
    }

    /// The newest position.
    pub(super) fn head(&self) -> T {
        self.database().snapshot(Visibility::everything()).at()
    }

    /// What a page is asked of.
    pub(super) fn snapshot(&self, t: T, visibility: Visibility) -> Snapshot {
        self.database().snapshot_at(t, visibility)
    }

    /// Whether what was the newest at `t` may have been replaced so long ago that it cannot be
    /// searched any more.
    pub(super) fn is_before_horizon(&self, t: T) -> bool {
        let next = usize::try_from(t.get()).ok().and_then(|at| self.instants.get(at));
        next.is_some_and(|instant| *instant <= self.clock.now().as_micros() - HORIZON)
    }

    /// A commit of some changes, a while after the one before.
    pub(super) fn change(&mut self, chance: &mut Chance) {
        let most = if chance.once_in(10) { 40 } else { 8 };
        let mut resources = Vec::new();
        for _ in 0..=chance.below(most) {
            let of = chance.one(&TYPES);
            resources.push(resource(chance, of));
        }
        let own = chance.below(OWN_PATIENTS);
        if chance.once_in(6) && !self.purged.contains(&own) {
            resources.extend(of_one_patient(chance, &format!("own-{own}")));
        }
        self.commit(chance, resources);
    }

    fn commit(&mut self, chance: &mut Chance, resources: Vec<(String, String)>) {
        let (mut changes, mut named) = (Vec::new(), BTreeSet::new());
        for (name, json) in resources {
            let (of, id) = name.split_once('/').expect("a name");
            let (resource_type, id): (ResourceType, ResourceId) =
                (of.parse().expect("a type's name"), id.parse().expect("an id"));
            if !named.insert(name.clone()) {
                continue;
            }
            let action = match chance.once_in(6) {
                true => Action::Delete,
                false => {
                    let document = Document::parse(json.as_bytes()).expect("it is JSON");
                    let resource = Resource::new(document.root()).expect("it is a resource");
                    let body = Body::of(&resource, &id, &Replacements::default(), Schema::r4());
                    Action::Write { body: Box::new(body), method: Method::Put }
                }
            };
            self.happened.deletions += u64::from(matches!(action, Action::Delete));
            changes.push(Change { resource_type, id, action, expect: Expect::Any });
        }
        // Mostly seconds; a day in some fifty commits.
        let pause = match chance.below(8) {
            0 => chance.below(8 * 3600),
            _ => chance.below(60),
        };
        self.advance(Duration::from_secs(pause));
        self.named += 1;
        let transaction = Transaction {
            id: CommitId(self.named),
            prepared_at: self.head(),
            changes,
            conditions: Vec::new(),
        };
        let receipt = block_on(self.database().commit(transaction)).expect("it commits");
        assert!(receipt.t <= self.head());
        self.happened.commits += 1;
        self.note_positions();
    }

    fn advance(&self, by: Duration) {
        let micros = i64::try_from(by.as_micros()).expect("not for ever");
        self.clock.0.fetch_add(micros, Ordering::SeqCst);
    }

    /// Notes when the positions were that there are now.
    fn note_positions(&mut self) {
        let head = usize::try_from(self.head().get()).expect("not so many");
        self.instants.resize(head, self.clock.now().as_micros());
    }

    /// Perhaps does more to the data than commit changes.
    pub(super) fn disturb(&mut self, chance: &mut Chance) {
        match chance.below(16) {
            0 => self.restart(),
            1 => self.restart_after_a_drop(),
            2 => {
                self.happened.made_anew += 1;
                self.index();
            }
            3 => self.change_parameters(),
            4 | 5 => self.purge(chance),
            6..=12 => self.settle(),
            _ => {}
        }
        self.wait();
    }

    /// Does something that pages which lead on are not to notice.
    pub(super) fn between_pages(&mut self, chance: &mut Chance) {
        match chance.below(12) {
            0 => self.restart(),
            1 => self.restart_after_a_drop(),
            2 => {
                self.happened.made_anew += 1;
                self.index();
            }
            3..=5 => self.settle(),
            _ => self.change(chance),
        }
        self.wait();
    }

    fn settle(&mut self) {
        self.database().settle_index();
        self.happened.settled += 1;
    }

    fn restart(&mut self) {
        self.close();
        self.open();
        self.happened.closed += 1;
    }

    fn restart_after_a_drop(&mut self) {
        if let Some(open) = self.open.take() {
            Self::let_go(open);
        }
        self.open();
        self.happened.dropped += 1;
    }

    fn change_parameters(&mut self) {
        let other = [Known::r4(), Known::with_package()];
        let other = other.into_iter().find(|it| !std::ptr::eq(*it, self.known));
        self.known = other.expect("there are two");
        let changed = self.database().index_with(&self.known.indexing);
        changed.expect("there is a thread for it");
        // Until the index by them is there, another one may answer, or none: pages lead on in one.
        until("the parameters are still being indexed", || {
            self.database().being_indexed(&self.known.indexing).is_none()
        });
        self.happened.parameters += 1;
    }

    fn purge(&mut self, chance: &mut Chance) {
        let own = chance.below(OWN_PATIENTS);
        if self.purged.contains(&own) {
            return;
        }
        self.named += 1;
        let purge = Purge {
            patient: format!("own-{own}").parse().expect("an id"),
            reason: "the soak".to_owned(),
            by: "the soak".to_owned(),
            commit: CommitId(self.named),
        };
        match block_on(self.database().purge(purge)) {
            Ok(_) => {
                self.purged.insert(own);
                self.happened.purges += 1;
            }
            Err(PurgeError::NothingStored(_)) => {}
            Err(error) => panic!("nobody else is spoken of: {error:?}"),
        }
        self.note_positions();
    }

    /// All resources that there are now, one a line.
    pub(super) fn everything(&self) -> String {
        let snapshot = self.database().snapshot(Visibility::everything());
        let range = store::places(T::ZERO, snapshot.at());
        let log = snapshot.log(None, range, store::HistoryOrder::OldestFirst, 1_000_000);
        let log = block_on(log).expect("the log is read");
        let mut text = String::new();
        for version in log {
            let entry = version.entry;
            let name = format!("{} {}/{}", entry.t.get(), entry.resource_type, entry.id);
            let said = match block_on(snapshot.load(entry)) {
                Ok(version) => version.json.map_or_else(
                    || "is deleted".to_owned(),
                    |json| String::from_utf8_lossy(&json).into_owned(),
                ),
                Err(error) => error.to_string(),
            };
            let _ = writeln!(text, "{name} {said}");
        }
        text
    }
}

/// Waits until it holds, and no longer than there is patience for it.
fn until(what_else: &str, holds: impl Fn() -> bool) {
    for _ in 0..PATIENCE.as_millis() {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("{what_else}");
}
