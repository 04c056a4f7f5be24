//! The product as it is started, with a data directory of its own, and a caller of its server.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use contract::{
    Actions, ChannelDocument, ChannelSecret, Clock, Grant, GrantFields, Ids, Instant, Interaction,
    Nonce, Rule, TenantName, Types, VERSION, Within, digest, header,
};
use database::keys::{FirstKeys, KeyStore, Keyring, TenantKey};
use database::{Database, DeriveFromBody, Options, Sealing, Store, TenantText};
use fhir_schema::Schema;
use gateway::{AccessLog, GatewayConfig};
use hearthgate::doors::{SystemClock, SystemIds};
use registry::{Actor, Beside, Registry};
use server::{Limits, ServerConfig, Validation, WritePolicy};
use store_sled::{AuditFiles, AuditOptions, KeyFolder, SledStore, SledStoreOptions};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::{Failure, child, http};

const TENANT: &str = "default";
/// An index that takes longer to be made has a fault.
const LONGEST_REBUILD: Duration = Duration::from_secs(600);
/// The path under which FHIR is served.
pub(crate) const BASE: &str = "/fhir";

/// The server's socket for requests.
pub(crate) fn server_socket(directory: &Path) -> PathBuf {
    directory.join("server.sock")
}

/// The server's socket for its channel.
pub(crate) fn channel_socket(directory: &Path) -> PathBuf {
    directory.join("channel.sock")
}

/// Where the search index is kept.
pub(crate) fn kept_index(directory: &Path) -> PathBuf {
    of_tenant(directory).join("index")
}

/// The embedded store, as `hearthgate serve` opens it.
pub(crate) fn open_store(directory: &Path) -> Result<(Arc<dyn Store>, Sealing), Failure> {
    let path = of_tenant(directory);
    let sealing = sealing(Box::new(KeyFolder::of_tenant(&path)))?;
    let derive = Arc::new(DeriveFromBody::sealed(Schema::r4(), sealing.clone()));
    let store = SledStore::open(&path, TENANT, derive, SledStoreOptions::default())?;
    Ok((Arc::new(store), sealing))
}

/// What bodies are sealed with, the keys kept there.
pub(crate) fn sealing(keys: Box<dyn KeyStore>) -> Result<Sealing, Failure> {
    Ok(Sealing::with(TenantText::new(TENANT)?, keyring(keys)?))
}

fn keyring(keys: Box<dyn KeyStore>) -> Result<Arc<Keyring>, Failure> {
    let tenant = TenantText::new(TENANT)?;
    let (key, ids) = (TenantKey::parse(&"17".repeat(32))?, Arc::new(SystemIds::open()?));
    Ok(Arc::new(Keyring::open(keys, &tenant, key, ids, FirstKeys::MayBeMade)?))
}

/// The tenant's directory.
pub(crate) fn of_tenant(directory: &Path) -> PathBuf {
    directory.join("tenants").join(TENANT)
}

/// The tenant's audit log, as `hearthgate serve` opens it.
pub(crate) fn open_audit(directory: &Path) -> Result<AuditFiles, Failure> {
    let (path, tenant) = (of_tenant(directory), TenantText::new(TENANT)?);
    let keys = Some(keyring(Box::new(KeyFolder::of_tenant(&path)))?);
    let (now, options) = (SystemClock::start().now(), AuditOptions::default());
    Ok(AuditFiles::open(&path, &tenant, keys, now, options)?)
}

/// A database over a store, as `hearthgate serve` opens it.
pub(crate) fn open_database(store: Arc<dyn Store>, sealing: Sealing) -> Result<Database, Failure> {
    open_database_with(store, sealing, Options::default())
}

fn open_database_with(
    store: Arc<dyn Store>,
    sealing: Sealing,
    options: Options,
) -> Result<Database, Failure> {
    let clock = Arc::new(SystemClock::start());
    let tenant = TenantText::new(TENANT)?;
    Ok(Database::open_sealed(store, tenant, Schema::r4(), clock, options, sealing)?)
}

/// A database over the embedded store.
pub(crate) fn open(directory: &Path) -> Result<Database, Failure> {
    let (store, sealing) = open_store(directory)?;
    open_database(store, sealing)
}

/// Runs the server until this process shall end. When its index has all that there is it tells in
/// how many milliseconds it was opened, and in how many more indexed. Keys and orders of the
/// index may take `index_memory` bytes, where that is said.
pub(crate) async fn server(directory: &Path, index_memory: Option<usize>) -> Result<(), Failure> {
    hearthgate::memory::take_small_pages();
    let clock = Arc::new(SystemClock::start());
    let begun = clock.monotonic();
    let default = Options::default();
    let index_bytes = index_memory.unwrap_or(default.index_bytes);
    let (store, sealing) = open_store(directory)?;
    let database = open_database_with(store, sealing, Options { index_bytes, ..default })?;
    let database = Arc::new(database.keeping_index_in(kept_index(directory)));
    let opened = clock.monotonic();
    let audit = Arc::new(open_audit(directory)?);
    let logs = BTreeMap::from([(TENANT.parse::<TenantName>()?, Arc::clone(&audit) as _)]);
    let config = ServerConfig {
        socket: server_socket(directory),
        channel_socket: channel_socket(directory),
        link: None,
        admin_listen: None,
        public_base: format!("http://127.0.0.1:8080{BASE}").parse()?,
        page_key: server::PageKey::new(&[0; 32]),
        audit: server::Audit { logs, query_values: false },
        tracer: Arc::default(),
        denials: Arc::default(),
        not_deletable: Default::default(),
        limits: Limits::default(),
    };
    let version = database.schema().fhir_version();
    let validation = Arc::new(Validation::new(WritePolicy::default(), version));
    let served = (Arc::clone(&database), validation);
    let databases = BTreeMap::from([(TENANT.parse::<TenantName>()?, served)]);
    let ids = Arc::new(SystemIds::open()?);
    let (stop, stopping) = watch::channel(false);
    let (ready, is_ready) = oneshot::channel();
    let mut running = JoinSet::new();
    running.spawn(server::run(config, databases, clock.clone(), ids, ready, stopping));
    if is_ready.await.is_ok() {
        let waiting = Arc::clone(&database);
        let indexed = move || waiting.wait_for_index(LONGEST_REBUILD);
        if !tokio::task::spawn_blocking(indexed).await? {
            return Err("the search index does not follow the log".into());
        }
        let millis = |from: Duration, to: Duration| (to - from).as_millis();
        let (opening, indexing) = (millis(begun, opened), millis(opened, clock.monotonic()));
        child::ready(&format!("{opening} {indexing}"))?;
        child::end().await;
    }
    stop.send_replace(true);
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    tokio::task::spawn_blocking(move || {
        audit.close();
        database.close()
    })
    .await??;
    Ok(())
}

/// Runs the gateway until this process shall end; tells its address and a key.
pub(crate) async fn gateway(directory: &Path) -> Result<(), Failure> {
    hearthgate::memory::take_small_pages();
    let clock = Arc::new(SystemClock::start());
    let ids = Arc::new(SystemIds::open()?);
    let path = directory.join("registry");
    let opened = Registry::open(&path, Beside::NoTenant, clock.clone(), ids.clone())?;
    let registry = Arc::new(opened.registry);
    let owner = registry.owner(&Actor::first_start())?.ok_or("the registry is not new")?;
    let config = GatewayConfig {
        listen: "127.0.0.1:0".parse()?,
        admin_listen: "127.0.0.1:0".parse()?,
        server_socket: server_socket(directory),
        channel_socket: channel_socket(directory),
        renewal_socket: directory.join("renewal.sock"),
        access_log: AccessLog::Writer(Box::new(std::fs::File::create(
            directory.join("access.log"),
        )?)),
        ..GatewayConfig::default()
    };
    let (stop, stopping) = watch::channel(false);
    let (started, bound) = oneshot::channel();
    let (_reload, reloads) = mpsc::channel(1);
    let mut running = JoinSet::new();
    running.spawn(gateway::run(config, registry, clock, ids, started, reloads, stopping));
    if let Ok(bound) = bound.await {
        child::ready(&format!("{} {}", bound.listen, owner.secret.expose()))?;
        child::end().await;
    }
    stop.send_replace(true);
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    Ok(())
}

/// Whoever the server takes for its gateway.
pub(crate) struct Caller {
    secret: ChannelSecret,
    clock: SystemClock,
    ids: SystemIds,
}

impl Caller {
    /// Fetches the channel's secret.
    pub(crate) fn of(directory: &Path) -> Result<Self, Failure> {
        let question = b"GET /channel HTTP/1.1\r\nhost: localhost\r\n\r\n";
        let (_, body) = http::ask(&channel_socket(directory), question)?;
        let document: ChannelDocument = serde_json::from_slice(&body)?;
        Ok(Self { secret: document.secret, clock: SystemClock::start(), ids: SystemIds::open()? })
    }

    /// A request of an owner, as the gateway writes it, good for an hour.
    pub(crate) fn request(
        &self,
        method: &str,
        path: &str,
        fields: &str,
        body: &str,
    ) -> Result<Vec<u8>, Failure> {
        let everything = vec![Rule::within_all(Types::All, Actions::all())];
        self.request_within(everything, (method, path), fields, body)
    }

    /// The same of whoever these rules allow something.
    pub(crate) fn request_within(
        &self,
        rules: Vec<Rule>,
        (method, path): (&str, &str),
        fields: &str,
        body: &str,
    ) -> Result<Vec<u8>, Failure> {
        let whole = format!("{BASE}/{path}");
        let (below, query) = match whole.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (&*whole, None),
        };
        let interaction = Interaction::classify(method, &below[BASE.len()..], query)?;
        let hour = 3_600_000_000;
        let request = GrantFields::of_request(
            TENANT.parse()?,
            &interaction,
            digest(method, below, query),
            Nonce::generate(&self.ids),
            Instant::from_micros(self.clock.now().as_micros() + hour),
        );
        let patient = rules.iter().find_map(|rule| match &rule.within {
            Within::Compartment(of) if of.resource_type.as_str() == "Patient" => {
                Some(of.id.clone())
            }
            _ => None,
        });
        let grant = Grant::new(GrantFields {
            client: Some("owner".to_owned()),
            authorization: Some("key:0123456789abcdef".to_owned()),
            patient,
            rules,
            budget: 1_000_000,
            ..request
        })?;
        let id = format!("{:032x}", self.ids.next());
        let mut text = format!(
            "{method} {whole} HTTP/1.1\r\nhost: 127.0.0.1:8080\r\naccept: application/fhir+json\r\n\
             {fields}{}: {VERSION}\r\n{}: {}\r\n{}: {}\r\nx-request-id: {id}\r\n\
             forwarded: for=127.0.0.1;proto=http\r\nx-forwarded-for: 127.0.0.1\r\n",
            header::CONTRACT,
            header::CHANNEL,
            self.secret.to_header(),
            header::GRANT,
            grant.encode()?,
        );
        if !body.is_empty() {
            text.push_str(&format!(
                "content-type: application/fhir+json\r\ncontent-length: {}\r\n",
                body.len()
            ));
        }
        Ok(format!("{text}\r\n{body}").into_bytes())
    }
}
