//! A clinic: a database over a backend, and the words in which tests speak to it.

use std::future::Future;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use database::{
    Action, Body, Change, CommitError, Condition, Criteria, Database, DeriveFromBody, Expect,
    IdentifierKey, Method, Options, Receipt, Sealing, Snapshot, Transaction, Visibility, Written,
};
use fhir_core::json::{Document, Replacements};
use fhir_core::{Clock, Ids, Instant, Resource, ResourceId, ResourceType, VersionId};
use fhir_schema::Schema;
use parking_lot::Mutex;
use store::keys::{FirstKeys, KeyFile, KeyStore, Keyring, MemoryKeyStore, TenantKey};
use store::model::ModelStore;
use store::{CommitId, Store, T, TenantText, VersionEntry};
use store_sled::{SledStore, SledStoreOptions};
use tempfile::TempDir;
use tokio::task::JoinSet;

pub(crate) use store::suite::block_on;

use crate::gate::Gate;

/// A database over a fresh store, with a clock that the test sets.
pub(crate) struct Clinic {
    backend: Backend,
    pub(crate) keys: Arc<Disk>,
    pub(crate) clock: Arc<SetClock>,
    open: Option<Open>,
    /// Where the search index is kept, if it is.
    kept_index: Option<PathBuf>,
    /// How many bytes of memory keys and orders of the index may take, where that is not as always.
    pub(crate) index_bytes: Option<usize>,
}

enum Backend {
    Model(Arc<ModelStore>),
    Sled(TempDir),
}

/// What goes away when the clinic closes.
struct Open {
    gate: Arc<Gate>,
    database: Arc<Database>,
    sealing: Sealing,
}

/// Keys that can be opened again. A test says which write of a file fails.
#[derive(Default)]
pub(crate) struct Disk {
    files: MemoryKeyStore,
    /// This many more writes succeed, when it is said.
    pub(crate) writes: Mutex<Option<usize>>,
}

impl KeyStore for Disk {
    fn read(&self, file: KeyFile) -> io::Result<Option<Vec<u8>>> {
        self.files.read(file)
    }

    fn replace(&self, file: KeyFile, bytes: &[u8]) -> io::Result<()> {
        match &mut *self.writes.lock() {
            Some(0) => return Err(io::Error::other("the disk refuses")),
            Some(left) => *left -= 1,
            None => {}
        }
        self.files.replace(file, bytes)
    }

    fn place(&self) -> String {
        "the test's keys".to_owned()
    }
}

/// The keys on that disk.
pub(crate) fn keyring(disk: &Arc<Disk>) -> Keyring {
    let key = TenantKey::parse(&"5a".repeat(32)).unwrap();
    let (ids, first) = (Arc::new(Chance(RandomState::new())), FirstKeys::MayBeMade);
    Keyring::open(Box::new(Arc::clone(disk)), &tenant(), key, ids, first).unwrap()
}

/// Chance as good as tests need it.
struct Chance(RandomState);

impl Ids for Chance {
    fn next(&self) -> u128 {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        u128::from(self.0.hash_one(count)) << 64 | u128::from(self.0.hash_one((count, count)))
    }

    fn fill(&self, bytes: &mut [u8]) {
        for piece in bytes.chunks_mut(16) {
            piece.copy_from_slice(&self.next().to_le_bytes()[..piece.len()]);
        }
    }
}

/// How often a test looks, with other threads' turns between, before it gives up.
const MOST_LOOKS: u32 = 10_000_000;

/// A clock that stands until it is set, and counts how often it is asked.
pub(crate) struct SetClock {
    micros: AtomicI64,
    asked: AtomicU64,
}

impl SetClock {
    pub(crate) fn at(micros: i64) -> Self {
        Self { micros: AtomicI64::new(micros), asked: AtomicU64::new(0) }
    }

    pub(crate) fn set(&self, micros: i64) {
        self.micros.store(micros, Ordering::SeqCst);
    }

    pub(crate) fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Clock for SetClock {
    fn now(&self) -> Instant {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Instant::from_micros(self.micros.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

impl Clinic {
    pub(crate) fn over_the_model() -> Self {
        Self::over(Backend::Model(Arc::new(ModelStore::new(tenant()))))
    }

    pub(crate) fn over_sled() -> Self {
        Self::over(Backend::Sled(TempDir::new().unwrap()))
    }

    fn over(backend: Backend) -> Self {
        let clock = Arc::new(SetClock::at(1_800_000_000_000_000));
        let keys = Arc::default();
        let mut clinic =
            Self { backend, keys, clock, open: None, kept_index: None, index_bytes: None };
        clinic.open(Options::default());
        clinic
    }

    pub(crate) fn over_sled_with_a_kept_index() -> Self {
        let mut clinic = Self::over_sled();
        clinic.kept_index = clinic.folder().map(|folder| folder.join("index"));
        clinic.reopen();
        clinic
    }

    /// The same with the keys of another.
    pub(crate) fn over_sled_with_a_kept_index_and_keys_of(other: &Self) -> Self {
        let mut clinic = Self::over_sled();
        clinic.keys = Arc::clone(&other.keys);
        clinic.kept_index = clinic.folder().map(|folder| folder.join("index"));
        clinic.reopen();
        clinic
    }

    pub(crate) fn over_the_model_with_an_index_in(folder: PathBuf) -> Self {
        let mut clinic = Self::over_the_model();
        clinic.kept_index = Some(folder);
        clinic.reopen();
        clinic
    }

    /// The folder of the kept index.
    pub(crate) fn kept_index(&self) -> PathBuf {
        self.kept_index.clone().unwrap()
    }

    /// Whether the index went on from what was kept.
    pub(crate) fn was_restored(&self) -> bool {
        self.database().index_state().is_some_and(|it| it.restored.is_some())
    }

    /// What is sealed with: the model's clinic has no keys, so that everything is tried without
    /// them too.
    fn sealing(&self) -> Sealing {
        match &self.backend {
            Backend::Model(_) => Sealing::none(),
            Backend::Sled(_) => Sealing::with(tenant(), Arc::new(keyring(&self.keys))),
        }
    }

    fn open(&mut self, mut options: Options) {
        options.index_bytes = self.index_bytes.unwrap_or(options.index_bytes);
        let sealing = self.sealing();
        let store: Arc<dyn Store> = match &self.backend {
            Backend::Model(store) => {
                store.reopen();
                Arc::clone(store) as _
            }
            Backend::Sled(folder) => {
                let derive = Arc::new(DeriveFromBody::sealed(Schema::r4(), sealing.clone()));
                let options =
                    SledStoreOptions { cache_bytes: 4 << 20, ..SledStoreOptions::default() };
                let path = folder.path().join("clinic");
                Arc::new(SledStore::open(&path, tenant().as_str(), derive, options).unwrap())
            }
        };
        let gate = Arc::new(Gate::new(store));
        let database = Database::open_sealed(
            Arc::clone(&gate) as _,
            tenant(),
            Schema::r4(),
            Arc::clone(&self.clock) as _,
            options,
            sealing.clone(),
        );
        let mut database = database.unwrap();
        if let Some(folder) = &self.kept_index {
            database = database.keeping_index_in(folder.clone());
        }
        let database = Arc::new(database);
        self.open = Some(Open { gate, database, sealing });
    }

    /// The body that was stored for a version, before it was sealed.
    pub(crate) fn coded(&self, entry: &VersionEntry) -> Bytes {
        let open = self.open.as_ref().unwrap();
        block_on(everything(&open.database).coded(entry)).unwrap()
    }

    /// What reads identifiers out of stored bodies here.
    pub(crate) fn derive(&self) -> DeriveFromBody {
        DeriveFromBody::sealed(Schema::r4(), self.open.as_ref().unwrap().sealing.clone())
    }

    /// The tenant's folder, when the backend has one.
    pub(crate) fn folder(&self) -> Option<PathBuf> {
        match &self.backend {
            Backend::Model(_) => None,
            Backend::Sled(folder) => Some(folder.path().join("clinic")),
        }
    }

    /// Closes the database and its store and opens them again.
    pub(crate) fn reopen(&mut self) {
        self.reopen_with(Options::default());
    }

    pub(crate) fn reopen_with(&mut self, options: Options) {
        self.close();
        self.open(options);
    }

    /// Closes, removes what is derived from the log, and opens again.
    pub(crate) fn reopen_without_derived_data(&mut self) {
        self.close();
        if let Backend::Sled(folder) = &self.backend {
            std::fs::remove_dir_all(folder.path().join("clinic/state")).unwrap();
        }
        self.open(Options::default());
    }

    fn close(&mut self) {
        let open = self.open.take().unwrap();
        open.database.close().unwrap();
        let sole = Arc::into_inner(open.database);
        assert!(sole.is_some(), "the test still holds the database");
    }

    /// Drops the database as it is, and opens the store again once its threads let go of it.
    pub(crate) fn reopen_after_a_drop(&mut self) {
        let Open { gate, database, .. } = self.open.take().unwrap();
        assert!(Arc::into_inner(database).is_some(), "the test still holds the database");
        for _ in 0..MOST_LOOKS {
            if Arc::strong_count(&gate) == 1 {
                break;
            }
            std::thread::yield_now();
        }
        assert!(Arc::into_inner(gate).is_some(), "somebody still holds the store");
        self.open(Options::default());
    }

    pub(crate) fn database(&self) -> &Arc<Database> {
        &self.open.as_ref().unwrap().database
    }

    pub(crate) fn gate(&self) -> &Arc<Gate> {
        &self.open.as_ref().unwrap().gate
    }

    /// The newest file of the log, when the backend has files.
    pub(crate) fn log_file(&self) -> Option<PathBuf> {
        let Backend::Sled(folder) = &self.backend else {
            return None;
        };
        let log = folder.path().join("clinic/log");
        let files = std::fs::read_dir(log).unwrap();
        files.map(|file| file.unwrap().path()).max()
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        everything(self.database())
    }

    /// Commits changes that look nothing up.
    pub(crate) fn commit(&self, changes: Vec<Change>) -> Result<Receipt, CommitError> {
        block_on(commit(self.database(), changes))
    }

    /// Commits one change, which must succeed.
    pub(crate) fn write(&self, change: Change) -> Written {
        self.commit(vec![change]).unwrap().written[0]
    }

    /// The JSON of the newest version, if there is one and it is no deletion.
    pub(crate) fn json(&self, name: &str) -> Option<String> {
        block_on(json(&self.snapshot(), name))
    }

    /// Hands these transactions to the writer while it waits for the disk with an earlier
    /// commit, so that they are one group in this order; returns their answers.
    pub(crate) fn as_one_group(
        &self,
        transactions: Vec<Transaction>,
    ) -> Vec<Result<Receipt, CommitError>> {
        self.gate().hold(crate::gate::Hold::Before);
        let mut first = enqueue(self.database(), transaction(T::ZERO, vec![filler()]));
        self.gate().wait_until_held();
        let mut waiting: Vec<_> = transactions
            .into_iter()
            .map(|transaction| enqueue(self.database(), transaction))
            .collect();
        self.gate().release();
        block_on(&mut first).unwrap();
        waiting.iter_mut().map(block_on).collect()
    }
}

/// A change that no test looks at.
pub(crate) fn filler() -> Change {
    put("Basic/filler", "{\"resourceType\":\"Basic\"}", Expect::Any)
}

pub(crate) fn tenant() -> TenantText {
    TenantText::new("clinic").unwrap()
}

pub(crate) fn everything(database: &Database) -> Snapshot {
    database.snapshot(Visibility::everything())
}

/// Type and id in `Type/id`.
pub(crate) fn resource(name: &str) -> (ResourceType, ResourceId) {
    let (resource_type, id) = name.split_once('/').unwrap();
    (resource_type.parse().unwrap(), id.parse().unwrap())
}

pub(crate) fn version(number: u64) -> VersionId {
    VersionId::new(number).unwrap()
}

/// A resource's JSON made ready to be stored.
pub(crate) fn body(id: &ResourceId, json: &str) -> Body {
    let document = Document::parse(json.as_bytes()).unwrap();
    let resource = Resource::new(document.root()).unwrap();
    Body::of(&resource, id, &Replacements::default(), Schema::r4())
}

pub(crate) fn put(name: &str, json: &str, expect: Expect) -> Change {
    let (resource_type, id) = resource(name);
    let action = Action::Write { body: Box::new(body(&id, json)), method: Method::Put };
    Change { resource_type, id, action, expect }
}

/// A resource under an id that was never there.
pub(crate) fn create(name: &str, json: &str) -> Change {
    let mut change = put(name, json, Expect::New);
    if let Action::Write { method, .. } = &mut change.action {
        *method = Method::Post;
    }
    change
}

pub(crate) fn delete(name: &str, expect: Expect) -> Change {
    let (resource_type, id) = resource(name);
    Change { resource_type, id, action: Action::Delete, expect }
}

/// A patient that says `text` and bears these identifiers of system `urn:n`.
pub(crate) fn patient(text: &str, identifiers: &[&str]) -> String {
    let identifiers: Vec<_> = identifiers
        .iter()
        .map(|value| format!("{{\"system\":\"urn:n\",\"value\":\"{value}\"}}"))
        .collect();
    format!(
        "{{\"resourceType\":\"Patient\",\"identifier\":[{}],\"gender\":\"{text}\"}}",
        identifiers.join(",")
    )
}

/// A document of a patient with an attachment of so many characters, which hardly compress.
pub(crate) fn document(subject: &str, length: usize) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut state = length as u64 | 1;
    let next = |_| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(ALPHABET[(state >> 58) as usize])
    };
    let data: String = (0..length).map(next).collect();
    format!(
        "{{\"resourceType\":\"DocumentReference\",\"status\":\"current\",\
         \"subject\":{{\"reference\":\"{subject}\"}},\
         \"content\":[{{\"attachment\":{{\"data\":\"{data}\"}}}}]}}"
    )
}

/// What [`patient`] said.
pub(crate) fn said(json: &str) -> String {
    let document = Document::parse(json.as_bytes()).unwrap();
    document.root().get_str("gender").unwrap().into_owned()
}

pub(crate) fn key(value: &str) -> IdentifierKey {
    IdentifierKey::new(Some("urn:n"), value)
}

/// "These patients alone bear this identifier."
pub(crate) fn condition(value: &str, found: &[&str]) -> Condition {
    Condition {
        resource_type: "Patient".parse().unwrap(),
        criteria: Criteria::Identifier(key(value)),
        found: found.iter().map(|id| id.parse().unwrap()).collect(),
    }
}

pub(crate) fn transaction(prepared_at: T, changes: Vec<Change>) -> Transaction {
    static IDS: AtomicU64 = AtomicU64::new(1);
    Transaction {
        id: CommitId(u128::from(IDS.fetch_add(1, Ordering::Relaxed))),
        prepared_at,
        changes,
        conditions: Vec::new(),
    }
}

pub(crate) async fn commit(
    database: &Database,
    changes: Vec<Change>,
) -> Result<Receipt, CommitError> {
    let at = everything(database).at();
    database.commit(transaction(at, changes)).await
}

/// An answer that is waited for.
pub(crate) type Waiting = Pin<Box<dyn Future<Output = Result<Receipt, CommitError>> + Send>>;

/// Hands a transaction to the writer; it waits in the queue when this returns.
pub(crate) fn enqueue(database: &Arc<Database>, transaction: Transaction) -> Waiting {
    let database = Arc::clone(database);
    let mut waiting: Waiting = Box::pin(async move { database.commit(transaction).await });
    assert!(is_pending(&mut waiting), "it waits for the writer");
    waiting
}

pub(crate) fn is_pending(waiting: &mut Waiting) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    matches!(waiting.as_mut().poll(&mut context), Poll::Pending)
}

pub(crate) async fn json(snapshot: &Snapshot, name: &str) -> Option<String> {
    let (resource_type, id) = resource(name);
    let version = snapshot.read(&resource_type, &id).await.unwrap()?;
    let json = version.json?;
    Some(String::from_utf8(json.to_vec()).unwrap())
}

pub(crate) async fn identified(snapshot: &Snapshot, value: &str) -> Vec<String> {
    let of = "Patient".parse().unwrap();
    let found = snapshot.identified(&of, &key(value)).await.unwrap();
    found.iter().map(ToString::to_string).collect()
}

/// Runs tasks at once on several threads; returns what they return, in no order.
pub(crate) fn at_once<F>(tasks: impl IntoIterator<Item = F>) -> Vec<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap();
    runtime.block_on(async {
        let tasks: JoinSet<_> = tasks.into_iter().collect();
        tasks.join_all().await
    })
}
