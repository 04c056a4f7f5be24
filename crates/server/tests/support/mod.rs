//! A running server for tests: real sockets in a temporary directory, time and ids that the test
//! knows, and requests that the gateway's side vouches for.

mod access;
mod answer;
pub(crate) mod bundle;
mod door;
mod exchange;
mod failing;
pub(crate) mod package;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use contract::{Clock, ResourceType, TenantName};
use database::{Database, DeriveFromBody, Options, Rules, Store, TenantText};
use fhir_schema::Schema;
use server::{Limits, Ready, RunError, ServerConfig, Validation, WritePolicy};
use store::audit::{AuditLog, Event, Extent};
use store::model::ModelStore;
use store_sled::disk::Disk;
use store_sled::{AuditFiles, AuditOptions, SledStore, SledStoreOptions};
use tempfile::TempDir;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use failing::{AuditDisk, FailingStore};

pub(crate) use access::{Access, rule};
pub(crate) use answer::Answer;
pub(crate) use door::{CountingIds, HeldClock};
pub(crate) use exchange::{Ask, check_issues, raw};
pub(crate) use failing::{Fault, TROUBLE};

/// The base that clients know; its path is what requests over the socket begin with.
pub(crate) const BASE: &str = "http://clinic.example/fhir";

/// How long a test waits for anything before it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The tenants that every site has.
pub(crate) const TENANTS: [&str; 2] = ["default", "other"];

/// A server, its sockets, its data.
pub(crate) struct Site {
    pub(crate) clock: Arc<HeldClock>,
    pub(crate) ids: Arc<CountingIds>,
    pub(crate) socket: PathBuf,
    pub(crate) channel_socket: PathBuf,
    pub(crate) admin: std::net::SocketAddr,
    /// The channel's secret, as fetched.
    pub(crate) secret: String,
    pub(crate) stores: Stores,
    databases: BTreeMap<TenantName, Arc<Database>>,
    validations: BTreeMap<TenantName, Arc<Validation>>,
    pub(crate) audits: BTreeMap<TenantName, Arc<AuditFiles>>,
    /// Why requests were denied.
    pub(crate) denials: Arc<server::Denials>,
    /// Where the audit logs are, full when it is told to be.
    pub(crate) audit_disk: Arc<AuditDisk>,
    stop: watch::Sender<bool>,
    running: JoinSet<Result<(), RunError>>,
    directory: TempDir,
}

/// Where a site keeps its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeps {
    InMemory,
    OnDisk,
}

impl Site {
    /// A site in memory.
    pub(crate) async fn start() -> Self {
        Self::with(Keeps::InMemory, Limits::default()).await
    }

    /// A site over the embedded backend.
    pub(crate) async fn on_disk() -> Self {
        Self::with(Keeps::OnDisk, Limits::default()).await
    }

    /// A site in memory with bounds of its own.
    pub(crate) async fn limited(limits: Limits) -> Self {
        Self::with(Keeps::InMemory, limits).await
    }

    /// A site over the embedded backend, with rules for what is written.
    pub(crate) async fn ruled(rules: Rules) -> Self {
        Self::made(Keeps::OnDisk, (Limits::default(), rules, WritePolicy::parse_only())).await
    }

    /// A site over the embedded backend that asks this of what is written.
    pub(crate) async fn asking(policy: WritePolicy) -> Self {
        Self::made(Keeps::OnDisk, (Limits::default(), Rules::default(), policy)).await
    }

    async fn with(keeps: Keeps, limits: Limits) -> Self {
        // What is written in tests of other things is often no more than they need.
        Self::made(keeps, (limits, Rules::default(), WritePolicy::parse_only())).await
    }

    pub(crate) async fn made(keeps: Keeps, settings: (Limits, Rules, WritePolicy)) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let clock = Arc::new(HeldClock::default());
        let stores = open(keeps, &directory);
        Self::over(stores, clock, (settings, BTreeSet::new()), directory).await
    }

    /// A site in memory that deletes no resources of these types, and by criteria two of others.
    pub(crate) async fn never_deleting(types: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let stores = open(Keeps::InMemory, &directory);
        let types = types.iter().map(|of| of.parse().expect("a type"));
        let limits = Limits { conditional_deletes: 2, ..Limits::default() };
        let settings = (limits, Rules::default(), WritePolicy::parse_only());
        Self::over(stores, Arc::default(), (settings, types.collect()), directory).await
    }

    /// The same data on disk, opened again by a server that starts anew.
    pub(crate) async fn restart(self) -> Self {
        self.restart_asking(WritePolicy::parse_only()).await
    }

    /// As [`Self::restart`], asking this of what is written.
    pub(crate) async fn restart_asking(mut self, policy: WritePolicy) -> Self {
        self.stop.send_replace(true);
        while let Some(ended) = self.running.join_next().await {
            ended.expect("no panic").expect("a clean stop");
        }
        for database in self.databases.values() {
            database.close().expect("the store closes");
        }
        self.databases.clear();
        self.audits.clear();
        self.stores.clear();
        let stores = open(Keeps::OnDisk, &self.directory);
        let settings = (Limits::default(), Rules::default(), policy);
        Self::over(stores, self.clock, (settings, BTreeSet::new()), self.directory).await
    }

    async fn over(
        stores: Stores,
        clock: Arc<HeldClock>,
        ((limits, rules, policy), not_deletable): (
            (Limits, Rules, WritePolicy),
            BTreeSet<ResourceType>,
        ),
        directory: TempDir,
    ) -> Self {
        let databases = stores.iter().map(|(name, store)| {
            let store = Arc::clone(store) as Arc<dyn Store>;
            let tenant = TenantText::new(name).expect("a tenant's name");
            let clock = Arc::clone(&clock) as Arc<dyn contract::Clock>;
            // Every read asks the store, so that its faults are met.
            let options = Options { kept_bytes: 0, ..Options::default() };
            let database = Database::open(store, tenant, Schema::r4(), clock, options);
            let name: TenantName = name.parse().expect("a tenant's name");
            (name, Arc::new(database.expect("a database").with_rules(rules.clone())))
        });
        let databases: BTreeMap<TenantName, Arc<Database>> = databases.collect();
        let validations = databases.iter().map(|(name, database)| {
            let version = database.schema().fhir_version();
            (name.clone(), Arc::new(Validation::new(policy.clone(), version)))
        });
        let validations: BTreeMap<_, _> = validations.collect();
        let served = databases.iter().map(|(name, database)| {
            (name.clone(), (Arc::clone(database), Arc::clone(&validations[name])))
        });
        let served = served.collect();
        let socket = directory.path().join("run/server.sock");
        let channel_socket = directory.path().join("run/channel.sock");
        let audit_disk = Arc::new(AuditDisk::default());
        let disk = Disk::watched(Arc::clone(&audit_disk) as _);
        let audits = databases.keys().map(|name| {
            let tenant = TenantText::new(name.as_str()).expect("a tenant's name");
            let at = directory.path().join("audited").join(name.as_str());
            let options = AuditOptions { disk: disk.clone(), ..AuditOptions::default() };
            let log = AuditFiles::open(&at, &tenant, None, Clock::now(&*clock), options);
            (name.clone(), Arc::new(log.expect("an audit log")))
        });
        let audits: BTreeMap<TenantName, Arc<AuditFiles>> = audits.collect();
        let logs = audits.iter().map(|(name, log)| (name.clone(), Arc::clone(log) as _)).collect();
        let denials = Arc::<server::Denials>::default();
        let config = ServerConfig {
            socket: socket.clone(),
            channel_socket: channel_socket.clone(),
            link: None,
            admin_listen: Some("127.0.0.1:0".parse().expect("an address")),
            public_base: BASE.parse().expect("a base"),
            page_key: server::PageKey::new(&[7; 32]),
            audit: server::Audit { logs, query_values: false },
            tracer: Arc::default(),
            denials: Arc::clone(&denials),
            not_deletable,
            limits,
        };
        // What is not seen is no match in the first place.
        database::panic_when_hidden_late();
        let ids = Arc::new(CountingIds::default());
        let (stop, stopping) = watch::channel(false);
        let (ready, is_ready) = oneshot::channel::<Ready>();
        let mut running = JoinSet::new();
        running.spawn(server::run(
            config,
            served,
            Arc::clone(&clock) as Arc<dyn contract::Clock>,
            Arc::clone(&ids) as Arc<dyn contract::Ids>,
            ready,
            stopping,
        ));
        let Ready { admin } = is_ready.await.expect("the server gets ready");
        let mut site = Self {
            clock,
            ids,
            socket,
            channel_socket,
            admin: admin.expect("a port"),
            secret: String::new(),
            stores,
            databases,
            validations,
            audits,
            denials,
            audit_disk,
            stop,
            running,
            directory,
        };
        site.secret = site.fetch_secret().await;
        site
    }

    /// The events of the tenant's audit log, the oldest first.
    pub(crate) async fn audited(&self) -> Vec<Event> {
        let tenant: TenantName = TENANTS[0].parse().expect("a tenant's name");
        let log = &self.audits[&tenant];
        let (tell, told) = oneshot::channel();
        log.sync(Box::new(move |result| drop(tell.send(result))));
        told.await.expect("an answer").expect("the log is written");
        let instants = contract::Instant::MIN..contract::Instant::from_micros(i64::MAX);
        let extent = Extent { instants, before: None, patient: None, most_bytes: u64::MAX };
        let mut events = Vec::new();
        let read = log.read(&extent, &mut |_, event| {
            events.push(event);
            std::ops::ControlFlow::Continue(())
        });
        read.expect("the log is read");
        events.reverse();
        events
    }

    async fn fetch_secret(&self) -> String {
        let request = "GET /channel HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";
        let answer = raw(&self.channel_socket, request.as_bytes()).await;
        let (_, body) = answer.split_once("\r\n\r\n").expect("an answer");
        let document: contract::ChannelDocument = serde_json::from_str(body).expect("a document");
        document.secret.to_header()
    }

    /// The last position that was written: how many transactions there were.
    pub(crate) fn position(&self) -> u64 {
        let tenant: TenantName = TENANTS[0].parse().expect("a tenant's name");
        self.databases[&tenant].snapshot(database::Visibility::everything()).at().get()
    }

    /// Waits until searches are answered from the index.
    pub(crate) async fn is_indexed(&self) {
        let tenant: TenantName = TENANTS[0].parse().expect("a tenant's name");
        while !self.databases[&tenant].is_indexed() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// How many have a hold of the tenant's data: whoever works on a request does.
    pub(crate) fn holders(&self) -> usize {
        let tenant: TenantName = TENANTS[0].parse().expect("a tenant's name");
        Arc::strong_count(&self.databases[&tenant])
    }

    /// Gives the tenant a package.
    pub(crate) async fn add_package(&self, archive: Vec<u8>) -> server::AddedPackages {
        let added = self.try_packages(vec![archive]).await;
        added.expect("a package that can be used")
    }

    /// Gives the tenant packages that it may refuse.
    pub(crate) async fn try_packages(
        &self,
        archives: Vec<Vec<u8>>,
    ) -> Result<server::AddedPackages, server::PackagesError> {
        let tenant: TenantName = TENANTS[0].parse().expect("a tenant's name");
        let archive = |bytes| server::Archive { file: "test.tgz".to_owned(), bytes };
        let archives = archives.into_iter().map(archive).collect();
        let (validation, database) = (&self.validations[&tenant], &self.databases[&tenant]);
        validation.add(database, &*self.ids, archives).await
    }

    /// Takes a package, `NAME#VERSION`, from the tenant.
    pub(crate) async fn remove_package(&self, label: &str) {
        let tenant: TenantName = TENANTS[0].parse().expect("a tenant's name");
        let (validation, database) = (&self.validations[&tenant], &self.databases[&tenant]);
        let removed = validation.remove(database, &*self.ids, label).await;
        removed.expect("a package that the tenant has");
    }

    /// Loads the tenant's definitions as a start does.
    pub(crate) async fn load(&self) -> Result<(), server::PackagesError> {
        let tenant: TenantName = TENANTS[0].parse().expect("a tenant's name");
        self.validations[&tenant].load(&self.databases[&tenant]).await
    }

    /// From now on the stores fail in this way.
    pub(crate) fn fail(&self, fault: Fault) {
        for store in self.stores.values() {
            store.fail(fault);
        }
    }

    /// A request of the owner; `target` is relative to the base.
    pub(crate) fn ask<'a>(&'a self, method: &'a str, target: &'a str) -> Ask<'a> {
        Ask::new(self, method, target)
    }

    pub(crate) async fn get(&self, target: &str) -> Answer {
        self.ask("GET", target).send().await
    }

    pub(crate) async fn post(&self, target: &str, body: impl ToString) -> Answer {
        self.ask("POST", target).body(body).send().await
    }

    pub(crate) async fn put(&self, target: &str, body: impl ToString) -> Answer {
        self.ask("PUT", target).body(body).send().await
    }

    pub(crate) async fn delete(&self, target: &str) -> Answer {
        self.ask("DELETE", target).send().await
    }
}

type Stores = BTreeMap<&'static str, Arc<FailingStore>>;

/// Opens the stores of all tenants.
fn open(keeps: Keeps, directory: &TempDir) -> Stores {
    let stores = TENANTS.map(|name| {
        let store: Arc<dyn Store> = match keeps {
            Keeps::InMemory => {
                let tenant = TenantText::new(name).expect("a tenant's name");
                Arc::new(ModelStore::new(tenant))
            }
            Keeps::OnDisk => {
                let derive = Arc::new(DeriveFromBody::new(Schema::r4()));
                let path = directory.path().join("tenants").join(name);
                let options =
                    SledStoreOptions { cache_bytes: 8 << 20, ..SledStoreOptions::default() };
                Arc::new(SledStore::open(&path, name, derive, options).expect("a store"))
            }
        };
        (name, Arc::new(FailingStore::new(store)))
    });
    stores.into()
}

/// Numbers 0 to `count` in an order that looks random and is the same each time.
pub(crate) fn shuffled(count: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    for at in (1..count).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let other = usize::try_from(state % (at as u64 + 1)).expect("at most `at`");
        order.swap(at, other);
    }
    order
}
