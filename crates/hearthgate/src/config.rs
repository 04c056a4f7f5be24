//! What an operator decides: one TOML file, or nothing at all.
//!
//! Flags of the command line win over the file, the file over the defaults. The keys stand in one
//! table (`table`), from which reading, `check-config` and docs/configuration.md are made. The
//! configuration names files that hold secrets and never holds one.

mod acme;
mod admin;
mod certificates;
mod edge;
mod file;
mod issuers;
mod link;
mod plans;
mod routing;
mod setting;
mod store_url;
mod table;
mod traces;

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ::server::WritePolicy;
use contract::{ResourceType, TenantName};
use database::Rules;
use gateway::{AddressBlock, ToldBy};
use store_sled::SledStore;

use crate::roles;
use crate::tenant_key::KeySource;

pub use acme::{AcmeKeys, DnsName};
pub use edge::{ClientCertificateUse, CorsOrigin, HeaderName, InsecureHttp, TlsKeys};
pub use file::ConfigError;
pub(crate) use file::{line_of, refused};
pub use link::{GatewayLink, ServerLinkKeys};
pub use setting::{BaseUrl, Level, PostgresConnection, WithoutTls};
pub use store_url::StoreUrl;
#[cfg(test)]
pub(crate) use table::key_names;
pub use table::reference;
pub use traces::{ServiceName, Traces};

/// Everything decided, defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The data directory.
    pub data: PathBuf,
    /// Where the halves' sockets stand; in the data directory where absent.
    pub run: Option<PathBuf>,
    /// The tenant that requests are for.
    pub tenant: TenantName,
    /// Where the tenant's key comes from.
    pub tenant_key: KeySource,
    /// The core package of the FHIR version that the tenant begins with; R4 where absent.
    pub fhir_package: Option<PathBuf>,
    /// The FHIR base as clients see it.
    pub public_base_url: Option<BaseUrl>,
    /// Where the first start writes the owner's key.
    pub owner_key_file: Option<PathBuf>,
    /// The gateway's part.
    pub gateway: Gateway,
    /// The roles that the file defines, as they are written there.
    pub(crate) written_roles: roles::Written,
    /// The issuers of tokens, as they are written.
    pub(crate) written_issuers: issuers::Written,
    /// Whose tokens are accepted.
    pub issuers: Vec<gateway::TokenIssuer>,
    /// Which certificates are whose, as they are written.
    pub(crate) written_certificates: certificates::Written,
    /// Which certificates are whose.
    pub certificates: gateway::CertificateClients,
    /// Every role.
    pub roles: Arc<gateway::Roles>,
    /// The plans that the file defines, as they are written there.
    pub(crate) written_plans: plans::Written,
    /// How many requests are worked on at once.
    pub lanes: Lanes,
    /// Where counters are shared.
    pub counters: Counters,
    /// Routes and upstreams that the file defines, as they are written there.
    pub(crate) written_routing: routing::Written,
    /// The same, checked.
    pub routing: gateway::Routing,
    /// The server's part.
    pub server: Server,
    /// The tenant's rules for what is written.
    pub rules: Rules,
    /// What is asked of what is written.
    pub validation: WritePolicy,
    /// Where the tenant's data is.
    pub storage: Storage,
    /// Where the registry is.
    pub registry: Storage,
    /// What is kept of who saw and changed what.
    pub audit: Audit,
    /// Where spans of requests are sent.
    pub traces: Traces,
    /// From which level on the process logs.
    pub log_level: Level,
    /// Whether the link may be plain TCP: of the command line alone, so that nobody overlooks it.
    pub insecure_plain_link: bool,
}

/// The gateway's part.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table says it of each key, for the operator too")]
pub struct Gateway {
    pub listen: SocketAddr,
    pub admin_listen: SocketAddr,
    pub admin_certificate_file: Option<PathBuf>,
    pub admin_key_file: Option<PathBuf>,
    pub admin_authority_file: Option<PathBuf>,
    pub server: bool,
    pub link: GatewayLink,
    pub insecure_http: InsecureHttp,
    pub redirect_listen: Option<SocketAddr>,
    pub public: Vec<String>,
    pub allow: Vec<AddressBlock>,
    pub deny: Vec<AddressBlock>,
    pub trusted_proxies: Vec<AddressBlock>,
    pub client_address: ToldBy,
    pub cors_origins: Vec<CorsOrigin>,
    pub cors_credentials: bool,
    pub cors_exposed: Vec<HeaderName>,
    pub header_bytes: usize,
    pub header_count: usize,
    pub uri_bytes: usize,
    pub body_bytes: u64,
    pub header: Duration,
    pub idle: Duration,
    pub client_per_second: Option<u32>,
    pub client_burst: u32,
    pub public_per_second: u32,
    pub public_burst: u32,
    pub failures_per_second: u32,
    pub failures_burst: u32,
    pub failures_per_account: u32,
    pub admin_refusals_per_minute: u32,
    pub lockout: Duration,
    pub body_grace: Duration,
    pub body_rate: u32,
    pub break_glass_minutes: u32,
    pub connections: usize,
    pub connections_per_address: usize,
    pub requests_per_connection: usize,
    pub http2_streams: u32,
    pub http2_age: Duration,
    pub tls: TlsKeys,
    pub acme: AcmeKeys,
    pub upstream_connect: Duration,
    pub upstream_read: Duration,
    pub resolvers: Vec<SocketAddr>,
    pub drain: Duration,
}

/// How many requests are worked on at once, by kind.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table says it of each key, for the operator too")]
pub struct Lanes {
    pub interactive: usize,
    pub system: usize,
    pub bulk: Option<u32>,
    pub wait: Duration,
}

/// Where several gateways share their counters.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table says it of each key, for the operator too")]
pub struct Counters {
    pub redis: Option<StoreUrl>,
    pub redis_password_file: Option<PathBuf>,
    pub gateways: u32,
}

/// The server's part.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table says it of each key, for the operator too")]
pub struct Server {
    pub held_bytes: usize,
    pub body_grace: Duration,
    pub body_rate: u32,
    pub queue_bytes: usize,
    pub search_versions: u64,
    pub index_memory: usize,
    pub conditional_deletes: usize,
    pub not_deletable: BTreeSet<ResourceType>,
    pub quarantine_items: usize,
    pub quarantine_bytes: usize,
    pub admin_listen: Option<SocketAddr>,
    pub link: ServerLinkKeys,
}

/// What is kept of who saw and changed what.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table says it of each key, for the operator too")]
pub struct Audit {
    pub keep_days: u32,
    pub query_values: bool,
}

/// Where data is, the tenant's or the registry's: in the data directory, or in PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table says it of each key, for the operator too")]
pub struct Storage {
    pub postgres: Option<PostgresConnection>,
    pub password_file: Option<PathBuf>,
    pub authority_file: Option<PathBuf>,
    pub without_tls: WithoutTls,
}

/// With less, searches read the same again and again.
const LEAST_INDEX_MEMORY: usize = 16 << 20;

/// What the command line decides for `serve`, `gateway`, `server` and `check-config`.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Flags {
    /// The configuration file (TOML); none is needed
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The data directory [default: ./data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Where clients connect [default: 127.0.0.1:8080]
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Option<SocketAddr>,
    /// Where /metrics, /livez and /readyz are [default: 127.0.0.1:9090]
    #[arg(long, value_name = "HOST:PORT")]
    pub admin: Option<SocketAddr>,
    /// Where the first start also writes the owner's key (0600)
    #[arg(long, value_name = "FILE")]
    pub owner_key_file: Option<PathBuf>,
    /// Let the link between gateway and server on two hosts be plain TCP: whoever reaches it reads
    /// and writes everything
    #[arg(long)]
    pub insecure_plain_link: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: PathBuf::from("./data"),
            run: None,
            tenant: "default".parse().expect("`default` is a tenant's name"),
            tenant_key: KeySource::default(),
            fhir_package: None,
            public_base_url: None,
            owner_key_file: None,
            gateway: Gateway::default(),
            written_roles: roles::Written::new(),
            written_issuers: issuers::Written::new(),
            issuers: Vec::new(),
            written_certificates: certificates::Written::new(),
            certificates: gateway::CertificateClients::default(),
            roles: Arc::new(roles::built_in_roles()),
            written_plans: plans::Written::new(),
            lanes: Lanes::default(),
            counters: Counters { redis: None, redis_password_file: None, gateways: 1 },
            written_routing: routing::Written::default(),
            routing: gateway::Routing::default(),
            server: Server::default(),
            rules: Rules::default(),
            validation: WritePolicy::default(),
            audit: Audit::default(),
            storage: Storage::default(),
            registry: Storage::default(),
            traces: Traces::default(),
            log_level: Level::Info,
            insecure_plain_link: false,
        }
    }
}

impl Default for Server {
    fn default() -> Self {
        let limits = server::Limits::default();
        Self {
            held_bytes: limits.held_bytes,
            body_grace: limits.body_grace,
            body_rate: limits.body_rate,
            queue_bytes: database::Options::default().queue_bytes,
            search_versions: limits.search_versions,
            index_memory: database::Options::default().index_bytes,
            conditional_deletes: limits.conditional_deletes,
            not_deletable: BTreeSet::new(),
            quarantine_items: limits.quarantine_items,
            quarantine_bytes: limits.quarantine_bytes,
            admin_listen: None,
            link: ServerLinkKeys::default(),
        }
    }
}

impl Default for Lanes {
    fn default() -> Self {
        let gateway::LaneSizes { interactive, system, wait, .. } = gateway::LaneSizes::default();
        Self { interactive, system, bulk: None, wait }
    }
}

impl Default for Audit {
    fn default() -> Self {
        // Six years, with their leap days.
        Self { keep_days: 2192, query_values: false }
    }
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            postgres: None,
            password_file: None,
            authority_file: None,
            without_tls: WithoutTls::Local,
        }
    }
}

impl Storage {
    /// Whether how PostgreSQL is reached is said of none.
    fn is_unnamed(&self) -> bool {
        self.postgres.is_none() && (self.password_file.is_some() || self.authority_file.is_some())
    }

    /// Whether it is to be reached by TLS and without.
    fn is_secure_and_not(&self) -> bool {
        self.authority_file.is_some() && self.without_tls == WithoutTls::InsecureAnywhere
    }
}

impl Default for Gateway {
    fn default() -> Self {
        let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            listen: loopback(8080),
            admin_listen: loopback(9090),
            admin_certificate_file: None,
            admin_key_file: None,
            admin_authority_file: None,
            server: true,
            link: GatewayLink::default(),
            insecure_http: InsecureHttp::Loopback,
            redirect_listen: None,
            public: vec!["capabilities".to_owned()],
            allow: Vec::new(),
            deny: Vec::new(),
            trusted_proxies: Vec::new(),
            client_address: ToldBy::Nothing,
            cors_origins: Vec::new(),
            cors_credentials: false,
            cors_exposed: Vec::new(),
            header_bytes: 32 << 10,
            header_count: 90,
            uri_bytes: 16 << 10,
            body_bytes: 64 << 20,
            header: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            client_per_second: None,
            client_burst: 100,
            public_per_second: 50,
            public_burst: 100,
            failures_per_second: 1,
            failures_burst: 20,
            failures_per_account: 10,
            admin_refusals_per_minute: 60,
            lockout: Duration::from_secs(900),
            body_grace: Duration::from_secs(30),
            body_rate: 16 << 10,
            break_glass_minutes: 60,
            connections: 16 << 10,
            connections_per_address: 1 << 10,
            requests_per_connection: 10_000,
            http2_streams: 100,
            http2_age: Duration::from_secs(3600),
            tls: TlsKeys::default(),
            acme: AcmeKeys::default(),
            upstream_connect: Duration::from_secs(2),
            upstream_read: Duration::from_secs(120),
            resolvers: Vec::new(),
            drain: Duration::from_secs(30),
        }
    }
}

impl Config {
    /// What the file and the flags decide together.
    ///
    /// # Errors
    /// [`ConfigError`], in one line that names file, line and key.
    pub fn resolve(flags: &Flags) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        if let Some(path) = &flags.config {
            file::read(path, &mut config)?;
        }
        config.with_flags(flags)
    }

    /// What this text and the flags decide together, as if it stood in the file at `path`.
    ///
    /// # Errors
    /// [`ConfigError`], in one line that names that file, line and key.
    pub(crate) fn resolve_text(
        flags: &Flags,
        path: &Path,
        text: &str,
    ) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        file::read_text(path, text, &mut config)?;
        config.with_flags(flags)
    }

    /// The flags win.
    fn with_flags(mut self, flags: &Flags) -> Result<Self, ConfigError> {
        let config = &mut self;
        if let Some(data) = &flags.data {
            config.data.clone_from(data);
        }
        if let Some(listen) = flags.listen {
            config.gateway.listen = listen;
        }
        if let Some(admin) = flags.admin {
            config.gateway.admin_listen = admin;
        }
        if let Some(file) = &flags.owner_key_file {
            config.owner_key_file = Some(file.clone());
        }
        config.insecure_plain_link = flags.insecure_plain_link;
        self.check()?;
        Ok(self)
    }

    /// What no key by itself can say.
    fn check(&self) -> Result<(), ConfigError> {
        let contradiction = if (self.server.held_bytes as u64) < self.gateway.body_bytes {
            "`server.held_bytes` is less than `gateway.body_bytes`: a body of that length would \
             never be taken; raise the one or lower the other"
        } else if self.server.index_memory < LEAST_INDEX_MEMORY {
            "`server.index_memory` is less than 16777216 (16 MiB): every search would read most of \
             what it needs from the disk; raise it"
        } else if self.storage.is_unnamed() {
            "`storage.postgres_password_file` and `storage.postgres_authority_file` say nothing \
             without `storage.postgres`: name the connection or leave them out"
        } else if self.storage.is_secure_and_not() {
            "`storage.postgres_without_tls` says insecure-anywhere beside \
             `storage.postgres_authority_file`: leave it out, and PostgreSQL is reached by TLS"
        } else if self.registry.is_unnamed() {
            "`registry.postgres_password_file` and `registry.postgres_authority_file` say nothing \
             without `registry.postgres`: name the connection or leave them out"
        } else if self.registry.is_secure_and_not() {
            "`registry.postgres_without_tls` says insecure-anywhere beside \
             `registry.postgres_authority_file`: leave it out, and PostgreSQL is reached by TLS"
        } else if !self.written_certificates.is_empty()
            && self.gateway.tls.client_certificates == ClientCertificateUse::None
        {
            "`gateway.certificates` says nothing unless `gateway.tls.client_certificates` asks \
             clients for theirs: say request or require there"
        } else if self.counters.redis.is_none() && self.counters.redis_password_file.is_some() {
            "`counters.redis_password_file` says nothing without `counters.redis`: name the store \
             or leave it out"
        } else if let Some(contradiction) = self.gateway.contradiction() {
            contradiction
        } else if let Some(contradiction) = self.traces.contradiction() {
            contradiction
        } else if let Some(contradiction) = link::contradiction(self) {
            contradiction
        } else {
            let routed = gateway::GatewayConfig {
                routing: self.routing.clone(),
                serves_server: self.gateway.server,
                base_path: FHIR_BASE.to_owned(),
                ..gateway::GatewayConfig::default()
            };
            let checked = routed.check_routes();
            checked.map_err(|error| ConfigError::Gateway(Box::new(error)))?;
            return self.check_plans();
        };
        Err(ConfigError::Contradiction(contradiction))
    }

    /// Plans name roles, wherever in the file those are defined.
    fn check_plans(&self) -> Result<(), ConfigError> {
        let plans = self.plans();
        let unknown = plans.roles().find(|role| self.roles.get(role).is_none());
        unknown.map_or(Ok(()), |role| Err(ConfigError::RoleOfPlan { role: role.to_string() }))
    }

    /// The plans.
    #[must_use]
    pub fn plans(&self) -> gateway::Plans {
        plans::checked(&self.written_plans)
    }

    /// Where the halves' sockets stand.
    #[must_use]
    pub fn run_dir(&self) -> PathBuf {
        self.run.clone().unwrap_or_else(|| self.data.join("run"))
    }

    /// The FHIR base that links are built on.
    #[must_use]
    pub fn base_url(&self) -> String {
        match &self.public_base_url {
            Some(url) => url.as_str().to_owned(),
            None => format!("{}://{}{FHIR_BASE}", self.gateway.scheme(), self.gateway.listen),
        }
    }

    /// The keys that the other decides otherwise.
    #[must_use]
    pub(crate) fn difference(&self, other: &Self) -> Vec<&'static str> {
        table::difference(self, other)
    }

    /// The whole configuration as a file that decides the same.
    #[must_use]
    pub fn to_toml(&self) -> String {
        table::to_toml(self)
    }
}

/// The path under which FHIR is served.
pub const FHIR_BASE: &str = "/fhir";

/// Whether a tenant's data is in the data directory: then an empty registry is no first start. A
/// tenant without a commit has no data: the server's half may have been first to start.
///
/// # Errors
/// What the file system says when it cannot tell.
pub fn beside(data: &Path) -> io::Result<registry::Beside> {
    match std::fs::read_dir(data.join("tenants")) {
        Ok(entries) => {
            for entry in entries {
                let path = entry?.path();
                if !path.is_dir() || !SledStore::holds_nothing(&path).map_err(io::Error::other)? {
                    return Ok(registry::Beside::ExistingTenant);
                }
            }
            Ok(registry::Beside::NoTenant)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(registry::Beside::NoTenant),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
