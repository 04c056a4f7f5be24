//! `hearthgate serve`, `gateway` and `server`: the halves, started, watched and stopped.
//!
//! One process runs the same `run` functions as two do, over the same sockets. The gateway's half
//! comes first, so that a port in use is said before any data is made; it is not ready until the
//! server answers.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::sync::Arc;
use std::time::Duration;

use contract::Clock as _;
use database::{Database, InvalidTenant, Options, TenantText};
use gateway::{Bound, GatewayConfig, GatewayError, LaneSizes, Limiting, RedisStore};
use registry::{Actor, Registry};
use server::{InvalidPublicBase, Limits, PublicBase, Ready, RunError, ServerConfig, Validation};
use store_sled::{AuditFiles, OpenAuditError};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::audit;
use crate::command_socket::{self, CommandSocketError};
use crate::config::{self, Config, Flags};
use crate::control::{ControlSocket, Counted, Site};
use crate::doors::{NoRandomness, SystemClock, SystemIds};
use crate::handed_over;
use crate::key_file::KeyFileError;
use crate::lock::{Half, Lock, LockError};
use crate::otlp::{Exporting, OtlpError};
use crate::owner_key::{self, OwnerKeyError};
use crate::page_key;
use crate::purge::{self, Tenant};
use crate::registry_place::{self, RegistryPlaceError};
use crate::reload::Reloader;
use crate::server_control::{Commanded, ServerControl};
use crate::storage::{self, Opened, StorageError};
use crate::subject_key;
use crate::tenant_key;

/// When a lease has expired for sure.
const LEASE_MARGIN: Duration = Duration::from_millis(200);

/// Which halves this process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Halves {
    /// Both: a clinic.
    Both,
    /// The gateway's side alone.
    Gateway,
    /// The server alone.
    Server,
}

/// Why the process could not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Somebody else has the data.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The registry does not open.
    #[error(transparent)]
    Registry(#[from] RegistryPlaceError),
    /// The owner's key could not be made or kept.
    #[error(transparent)]
    Owner(#[from] OwnerKeyError),
    /// A key that this place makes for itself.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// The control socket.
    #[error(transparent)]
    Control(#[from] CommandSocketError),
    /// The gateway's half.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    /// What was counted of quotas cannot be kept.
    #[error(transparent)]
    Ledger(#[from] gateway::LedgerError),
    /// The store of shared counters cannot be used as it is configured.
    #[error(transparent)]
    Counters(#[from] gateway::RedisStoreError),
    /// The store of a tenant does not open.
    #[error(transparent)]
    Store(#[from] StorageError),
    /// The audit log of a tenant does not open.
    #[error(transparent)]
    Audit(#[from] OpenAuditError),
    /// A purge that had begun cannot be finished.
    #[error(transparent)]
    Purge(#[from] database::PurgeError),
    /// The name of the tenant is none that a log can hold.
    #[error(transparent)]
    Tenant(#[from] InvalidTenant),
    /// The server's half.
    #[error(transparent)]
    Server(#[from] RunError),
    /// The public base URL.
    #[error(transparent)]
    PublicBase(#[from] InvalidPublicBase),
    /// Spans cannot be sent as it is configured.
    #[error(transparent)]
    Otlp(#[from] OtlpError),
    /// The system gives no random bytes.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// What was handed over is no socket to listen on.
    #[error(
        "the first socket that was handed over (LISTEN_FDS) cannot be used; it must be a TCP socket that listens"
    )]
    HandedOver(#[source] io::Error),
    /// What was handed over would speak plain HTTP to the world.
    #[error(
        "the socket that was handed over is no loopback address, and keys and patients' data would leave this machine readable: name `gateway.tls.certificates`, or say `gateway.insecure_http = \"anywhere\"`"
    )]
    HandedOverInsecure,
    /// What the system refused.
    #[error("cannot {doing}")]
    System {
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The configuration says that there is no server.
    #[error("gateway.server says that no server of ours is here; start `hearthgate gateway` alone")]
    NoServer,
    /// The configuration says that the server is elsewhere.
    #[error(
        "gateway.link says that the server is on another host; start `hearthgate gateway` here, or take gateway.link out"
    )]
    ServerElsewhere,
    /// A half ended by a panic, or its thread was lost.
    #[error("the {0} half ended unexpectedly; the log above says why")]
    Lost(&'static str),
}

fn system(doing: &'static str) -> impl FnOnce(io::Error) -> ServeError {
    move |source| ServeError::System { doing, source }
}

/// Runs the halves until the process is told to stop (SIGINT, SIGTERM), then drains them. Told
/// again, or before the halves have started, it ends as it is: nothing acknowledged is lost by
/// that.
///
/// # Errors
/// [`ServeError`], to be said in one line.
pub async fn serve(config: Config, flags: Flags, halves: Halves) -> Result<(), ServeError> {
    let mut stop = StopSignals::listen()?;
    let (clock, ids) = (Arc::new(SystemClock::start()), Arc::new(SystemIds::open()?));
    let exporting = Exporting::start(&config.traces, &clock, &ids)?;
    let process = Process { flags, tracer: exporting.tracer(), clock, ids, config };
    if let Some(few) = crate::doctor::few_descriptors() {
        tracing::warn!("{few}");
    }
    let (gateway, server) = tokio::select! {
        started = process.start(halves) => started?,
        () = stop.told() => return Ok(()),
    };
    let ended = run_until(stop, gateway, server).await;
    exporting.finish().await;
    ended
}

/// A line for whoever started the process.
fn say(line: &str) {
    // Where stderr is gone there is no one to tell.
    drop(writeln!(io::stderr(), "{line}"));
}

/// The signals by which the process is told to stop.
struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl StopSignals {
    fn listen() -> Result<Self, ServeError> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).map_err(system("listen for SIGINT"))?,
            terminate: signal(SignalKind::terminate()).map_err(system("listen for SIGTERM"))?,
            hangup: signal(SignalKind::hangup()).map_err(system("listen for SIGHUP"))?,
        })
    }

    /// Completes at the next of them.
    async fn told(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// The next of all signals.
    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.interrupt.recv() => Told::Stop,
            _ = self.terminate.recv() => Told::Stop,
            _ = self.hangup.recv() => Told::Reload,
        }
    }
}

/// What a signal tells a running process.
enum Told {
    Stop,
    Reload,
}

/// Reads the configuration again, where there is a gateway to read it for.
async fn reload(reloader: Option<&(Reloader, Arc<Registry>)>) {
    match reloader {
        Some((reloader, registry)) => {
            reloader.reload_and_tell(registry, Process::gateway_config).await;
        }
        None => tracing::warn!("of the server's configuration nothing changes without a restart"),
    }
}

/// The process, before its halves run.
pub(crate) struct Process {
    flags: Flags,
    config: Config,
    tracer: Arc<trace::Tracer>,
    clock: Arc<SystemClock>,
    ids: Arc<SystemIds>,
}

/// A half on the runtime's threads.
struct Running<E> {
    name: &'static str,
    task: JoinSet<Result<(), E>>,
}

impl<E: Into<ServeError> + Send + 'static> Running<E> {
    fn start(
        name: &'static str,
        half: impl Future<Output = Result<(), E>> + Send + 'static,
    ) -> Self {
        let mut task = JoinSet::new();
        task.spawn(half);
        Self { name, task }
    }

    /// The half's end; `Ok` at once when it was already told.
    async fn ended(&mut self) -> Result<(), ServeError> {
        match self.task.join_next().await {
            None => Ok(()),
            Some(Ok(result)) => result.map_err(Into::into),
            Some(Err(error)) => {
                tracing::error!(%error, half = self.name, "a half ended by a panic");
                Err(ServeError::Lost(self.name))
            }
        }
    }

    /// The end of a half that should go on.
    async fn lost(&mut self) -> ServeError {
        match self.ended().await {
            Ok(()) => ServeError::Lost(self.name),
            Err(error) => error,
        }
    }
}

/// The gateway's half, running.
struct GatewayHalf {
    bound: Bound,
    running: Running<GatewayError>,
    stop: watch::Sender<bool>,
    reloader: (Reloader, Arc<Registry>),
    control: JoinSet<()>,
    _lock: Lock,
}

/// The server's half, running.
struct ServerHalf {
    running: Running<RunError>,
    admin: Option<SocketAddr>,
    stop: watch::Sender<bool>,
    database: Arc<Database>,
    audit: Arc<AuditFiles>,
    control: JoinSet<()>,
    _lock: Lock,
}

impl Process {
    /// Starts the halves, the gateway first.
    async fn start(
        &self,
        halves: Halves,
    ) -> Result<(Option<GatewayHalf>, Option<ServerHalf>), ServeError> {
        let verb = match halves {
            Halves::Both => "serve",
            Halves::Gateway => "gateway",
            Halves::Server => "server",
        };
        if halves != Halves::Gateway && !self.config.gateway.server {
            return Err(ServeError::NoServer);
        }
        if halves == Halves::Both && self.config.gateway.link.server.is_some() {
            return Err(ServeError::ServerElsewhere);
        }
        let take = |half| Lock::take(&self.config.data, half, verb);
        let server_lock = (halves != Halves::Gateway).then(|| take(Half::Server)).transpose()?;
        let gateway_lock = (halves != Halves::Server).then(|| take(Half::Gateway)).transpose()?;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(self.config.run_dir())
            .map_err(system("make the directory of the sockets"))?;
        let mut base_url = self.config.base_url();
        let gateway = match gateway_lock {
            None => None,
            Some(lock) => {
                let half = self.start_gateway(lock).await?;
                if self.config.public_base_url.is_none() {
                    let scheme = self.config.gateway.scheme();
                    base_url = format!("{scheme}://{}{}", half.bound.listen, config::FHIR_BASE);
                }
                Some(half)
            }
        };
        let server = match server_lock {
            None => None,
            Some(lock) => Some(self.start_server(lock, &base_url).await?),
        };
        say(&match &gateway {
            Some(half) if !self.config.gateway.server => format!(
                "Hearthgate's gateway listens on {} (metrics and readiness: http://{})",
                half.bound.listen, half.bound.admin_listen
            ),
            Some(half) => format!(
                "Hearthgate answers at {base_url} (metrics and readiness: http://{})",
                half.bound.admin_listen
            ),
            None => format!("Hearthgate's server answers its gateway for {base_url}"),
        });
        if let Some(admin) = server.as_ref().and_then(|half| half.admin) {
            say(&format!("The server's metrics and readiness: http://{admin}"));
        }
        Ok((gateway, server))
    }

    async fn start_gateway(&self, lock: Lock) -> Result<GatewayHalf, ServeError> {
        let (registry, first_start) = self.open_registry().await?;
        let registry = Arc::new(registry);
        let (stop, stopping) = watch::channel(false);
        let (asked, told) = (Arc::clone(&registry), stopping.clone());
        let signalled = Arc::clone(&registry);
        let (started, bound) = oneshot::channel();
        let (clock, ids) = (self.clock.clone(), self.ids.clone());
        let limiting = self.open_limiting()?;
        let mut config = Self::gateway_config(&self.config);
        config.limiting = Arc::clone(&limiting);
        config.subject_key = Some(subject_key::open(&self.config.data, &*self.ids)?);
        config.tracer = Arc::clone(&self.tracer);
        let counted = Some(Counted { limiting, clock: self.clock.clone() });
        config.listener = handed_over::listener(&self.config.gateway)?;
        let (reload, reloads) = mpsc::channel(1);
        let reloader = Reloader::new(self.flags.clone(), self.config.clone(), reload);
        let denials = Some(Arc::clone(&config.denials));
        let roles = config.roles.clone();
        let plans = Arc::new(self.config.plans());
        let reloads_by = Some(reloader.clone());
        let site = Site { roles, denials, plans, counted, reloader: reloads_by };
        config.reconfigure = Some(Arc::new(reloader.clone()));
        let half = gateway::run(config, registry, clock, ids, started, reloads, stopping);
        let mut running = Running::start("gateway", half);
        let Ok(bound) = bound.await else {
            return Err(running.lost().await);
        };
        // Once the ports are ours: a start that comes to nothing uses up no key.
        // It waits for the disk, or for PostgreSQL.
        tokio::task::block_in_place(|| self.settle_owner(&asked, first_start))?;
        // After the owner, who must be the first change.
        let control = ControlSocket::bind(&self.config.data)?;
        let mut controls = JoinSet::new();
        controls.spawn(control.serve(asked, site, told));
        let reloader = (reloader, signalled);
        Ok(GatewayHalf { bound, running, stop, reloader, control: controls, _lock: lock })
    }

    /// Opens the registry, and says whether its owner is still to be made.
    async fn open_registry(&self) -> Result<(Registry, bool), ServeError> {
        let config = self.config.clone();
        let (clock, ids) = (Arc::clone(&self.clock), Arc::clone(&self.ids));
        let open = move || {
            let beside = storage::beside(&config, &*clock)?;
            let opened = registry_place::open(&config, &config.data, beside, clock, ids)?;
            Ok::<_, ServeError>(opened)
        };
        let opened = tokio::task::spawn_blocking(open).await;
        let opened = opened.map_err(|_| ServeError::Lost("gateway"))??;
        if let Some(cut) = &opened.report.cut {
            tracing::warn!(?cut, "the registry's log ended in an unfinished change, now cut off");
        }
        Ok((opened.registry, opened.first_start))
    }

    /// Makes the owner's key where there is none yet, and prints it once.
    fn settle_owner(&self, registry: &Registry, first_start: bool) -> Result<(), ServeError> {
        let file = self.config.owner_key_file.as_deref();
        if !first_start {
            return Ok(file.map_or(Ok(()), |file| owner_key::finish(registry, file))?);
        }
        let uid = command_socket::own_uid().map_err(system("ask for this account"))?;
        if let Some(created) = owner_key::make(registry, &Actor::local_user(uid), file)? {
            say(&format!("The owner's key, shown this once: {}", created.secret.expose()));
        }
        Ok(())
    }

    /// The plans, with what was counted before.
    fn open_limiting(&self) -> Result<Arc<Limiting>, ServeError> {
        let (dir, now) = (self.config.data.join("gateway"), self.clock.now());
        let limiting = Limiting::open(self.config.plans(), &dir, now)?;
        let counters = &self.config.counters;
        let Some(url) = &counters.redis else { return Ok(Arc::new(limiting)) };
        let password = counters.redis_password_file.as_deref();
        let store = Arc::new(RedisStore::new(url.as_str(), password)?);
        Ok(Arc::new(limiting.sharing(store, counters.gateways)))
    }

    /// What a configuration decides about the gateway.
    pub(crate) fn gateway_config(config: &Config) -> GatewayConfig {
        let run = config.run_dir();
        let from = &config.gateway;
        let rate = gateway::Rate::new;
        let defaults = gateway::Limits::default();
        GatewayConfig {
            listen: from.listen,
            admin_listen: from.admin_listen,
            admin_tls: from.admin_tls(),
            server_socket: run.join("server.sock"),
            channel_socket: run.join("channel.sock"),
            link: from.link.told(),
            renewal_socket: run.join("renewal.sock"),
            base_path: config::FHIR_BASE.to_owned(),
            tenant: config.tenant.clone(),
            public_open: from.public.clone(),
            routing: config.routing.clone(),
            serves_server: from.server,
            environment: gateway::Environment(tenant_key::environment),
            roles: Arc::clone(&config.roles),
            limiting: Arc::new(Limiting::in_memory(config.plans())),
            issuers: config.issuers.clone(),
            certificates: config.certificates.clone(),
            issuer_keys: config.data.join("issuers"),
            public_base: config.base_url(),
            break_glass_minutes: from.break_glass_minutes,
            lanes: LaneSizes {
                interactive: config.lanes.interactive,
                system: config.lanes.system,
                bulk: config.lanes.bulk.and_then(|bulk| usize::try_from(bulk).ok()),
                wait: config.lanes.wait,
            },
            limits: gateway::Limits {
                header_bytes: from.header_bytes,
                header_count: from.header_count,
                body_bytes: from.body_bytes,
                uri_bytes: from.uri_bytes,
                header_timeout: from.header,
                idle: from.idle,
                client: from
                    .client_per_second
                    .and_then(|per_second| rate(per_second, from.client_burst)),
                public: rate(from.public_per_second, from.public_burst).unwrap_or(defaults.public),
                failed_authentications: rate(from.failures_per_second, from.failures_burst)
                    .unwrap_or(defaults.failed_authentications),
                failures_per_account: from.failures_per_account,
                refusals_per_minute: from.admin_refusals_per_minute,
                lockout: from.lockout,
                body_grace: from.body_grace,
                body_rate: from.body_rate,
                connections_per_address: from.connections_per_address,
                connections: from.connections,
                requests_per_connection: from.requests_per_connection,
                http2_streams: from.http2_streams,
                http2_age: from.http2_age,
            },
            tls: from.tls(&config.data),
            acme: from.acme(&config.data),
            redirect_listen: from.redirect_listen,
            upstream: gateway::UpstreamTimeouts {
                connect: from.upstream_connect,
                read: from.upstream_read,
            },
            resolvers: from.resolvers.clone(),
            addresses: from.addresses(),
            cors: from.cors(),
            drain: from.drain,
            ..GatewayConfig::default()
        }
    }

    async fn start_server(&self, lock: Lock, base_url: &str) -> Result<ServerHalf, ServeError> {
        let public_base: PublicBase = base_url.parse()?;
        let tenant = self.open_tenant().await?;
        let database = Arc::clone(&tenant.database);
        let audit = self.open_audit(&tenant).await?;
        let run = self.config.run_dir();
        let body_bytes = usize::try_from(self.config.gateway.body_bytes).unwrap_or(usize::MAX);
        let from = &self.config.server;
        let limits = Limits {
            body_bytes,
            held_bytes: from.held_bytes,
            body_grace: from.body_grace,
            body_rate: from.body_rate,
            search_versions: from.search_versions,
            conditional_deletes: from.conditional_deletes,
            drain: self.config.gateway.drain,
            quarantine_items: from.quarantine_items,
            quarantine_bytes: from.quarantine_bytes,
            ..Limits::default()
        };
        let denials = Arc::<server::Denials>::default();
        let config = ServerConfig {
            socket: run.join("server.sock"),
            channel_socket: run.join("channel.sock"),
            link: from.link.told(),
            admin_listen: from.admin_listen,
            public_base: public_base.clone(),
            page_key: page_key::open(&self.config.data, &*self.ids)?,
            audit: server::Audit {
                logs: BTreeMap::from([(self.config.tenant.clone(), Arc::clone(&audit) as _)]),
                query_values: self.config.audit.query_values,
            },
            denials: Arc::clone(&denials),
            tracer: Arc::clone(&self.tracer),
            not_deletable: from.not_deletable.clone(),
            limits,
        };
        let version = database.schema().fhir_version();
        let validation = Arc::new(Validation::new(self.config.validation.clone(), version));
        let served = (Arc::clone(&database), Arc::clone(&validation));
        let databases = BTreeMap::from([(self.config.tenant.clone(), served)]);
        let (stop, stopping) = watch::channel(false);
        let told = stopping.clone();
        let (ready, is_ready) = oneshot::channel();
        let half =
            server::run(config, databases, self.clock.clone(), self.ids.clone(), ready, stopping);
        let mut running = Running::start("server", half);
        let Ok(Ready { admin }) = is_ready.await else {
            return Err(running.lost().await);
        };
        let control = ServerControl::bind(&self.config.data)?;
        let clock = self.clock.clone();
        let base = public_base;
        let audited = Arc::clone(&audit) as Arc<dyn database::audit::AuditLog>;
        let commanded = Commanded { tenant, validation, base, clock, audit: audited, denials };
        let mut controls = JoinSet::new();
        controls.spawn(control.serve(commanded, told));
        let control = controls;
        Ok(ServerHalf { running, stop, database, audit, admin, control, _lock: lock })
    }

    async fn open_audit(&self, tenant: &Tenant) -> Result<Arc<AuditFiles>, ServeError> {
        let (config, now) = (self.config.clone(), self.clock.now());
        let (directory, name) = (tenant.directory.clone(), tenant.name.clone());
        let keys = tenant.sealing.keys().cloned();
        let open = move || audit::open(&config, &directory, &name, keys, now);
        let opened = tokio::task::spawn_blocking(open).await;
        Ok(opened.map_err(|_| ServeError::Lost("server"))??)
    }

    async fn open_storage(&self) -> Result<Result<Opened, StorageError>, ServeError> {
        let (config, clock, ids) = (self.config.clone(), self.clock.clone(), self.ids.clone());
        let open = move || storage::open(&config, clock, ids);
        tokio::task::spawn_blocking(open).await.map_err(|_| ServeError::Lost("server"))
    }

    async fn open_tenant(&self) -> Result<Tenant, ServeError> {
        let mut opened = self.open_storage().await?;
        // Whoever was killed a moment ago holds it still, and renews it no more.
        if let Some((left, error)) = opened.as_ref().err().and_then(StorageError::held) {
            tracing::warn!(error = error as &dyn std::error::Error, "waits until that expires");
            tokio::time::sleep(left + LEASE_MARGIN).await;
            opened = self.open_storage().await?;
        }
        let opened = opened?;
        if let Some(path) = opened.keys.made.as_deref() {
            say(&tenant_key::advice(path));
        }
        let name = TenantText::new(self.config.tenant.as_str())?;
        let directory = self.config.data.join("tenants").join(name.as_str());
        let options = Options {
            queue_bytes: self.config.server.queue_bytes,
            index_bytes: self.config.server.index_memory,
            ..Options::default()
        };
        let (schema, clock) = (opened.schema, self.clock.clone());
        let (store, sealing) = (opened.store, opened.sealing);
        let database =
            Database::open_sealed(store, name.clone(), schema, clock, options, sealing.clone())
                .map_err(system("start the thread that commits"))?;
        let database = database.with_rules(self.config.rules.clone());
        let (ids, turn) = (self.ids.clone(), Arc::default());
        let backend = opened.backend;
        let database = Arc::new(backend.with_kept_index(database, &directory));
        let tenant = Tenant { name, directory, backend, sealing, database, ids, turn };
        let (opened, runtime) = (tenant.clone(), tokio::runtime::Handle::current());
        let finish = move || purge::finish(&opened, &runtime);
        let finished = tokio::task::spawn_blocking(finish).await;
        finished.map_err(|_| ServeError::Lost("server"))??;
        Ok(tenant)
    }
}

/// Runs what there is until told to stop or until a half ends; then drains it, unless told again.
async fn run_until(
    mut stop: StopSignals,
    mut gateway: Option<GatewayHalf>,
    mut server: Option<ServerHalf>,
) -> Result<(), ServeError> {
    let reloader = gateway.as_ref().map(|half| half.reloader.clone());
    let result = loop {
        tokio::select! {
            told = stop.next() => match told {
                Told::Stop => break Ok(()),
                Told::Reload => reload(reloader.as_ref()).await,
            },
            error = lost(gateway.as_mut().map(|half| &mut half.running)) => break Err(error),
            error = lost(server.as_mut().map(|half| &mut half.running)) => break Err(error),
        }
    };
    let drained = tokio::select! {
        drained = drain(gateway, server) => drained,
        () = stop.told() => {
            tracing::warn!("told to stop a second time: requests in flight are cut off");
            Ok(())
        }
    };
    result.and(drained)
}

/// Drains the gateway, so that what it accepted is answered, and the server after it.
async fn drain(gateway: Option<GatewayHalf>, server: Option<ServerHalf>) -> Result<(), ServeError> {
    let mut result = Ok(());
    if let Some(mut half) = gateway {
        half.stop.send_replace(true);
        result = half.running.ended().await;
        half.control.join_all().await;
    }
    if let Some(mut half) = server {
        half.stop.send_replace(true);
        result = result.and(half.running.ended().await);
        half.control.join_all().await;
        let close = move || {
            // What is committed still is written down: the log of that ends after the data.
            let closed = half.database.close();
            half.audit.close();
            closed
        };
        match tokio::task::spawn_blocking(close).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the next start has more to replay"),
            Err(error) => tracing::error!(%error, "closing the database failed"),
        }
    }
    result
}

/// The end of a half; never, when it does not run here.
async fn lost<E: Into<ServeError> + Send + 'static>(
    running: Option<&mut Running<E>>,
) -> ServeError {
    match running {
        Some(running) => running.lost().await,
        None => std::future::pending().await,
    }
}
