//! What an operator decides: one TOML file, or nothing at all.
//!
//! Flags of the command line win over the file, the file over the defaults. The keys stand in one
//! table (`table`), from which reading, `check-config` and docs/configuration.md are made. The
//! configuration names files that hold secrets and never holds one.

mod certificates;
mod edge;
mod file;
mod issuers;
mod plans;
mod routing;
mod setting;
mod store_url;
mod table;

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

pub use edge::{ClientCertificateUse, CorsOrigin, HeaderName, InsecureHttp, TlsKeys};
pub use file::ConfigError;
pub use setting::{BaseUrl, Level, PostgresConnection, WithoutTls};
pub use store_url::StoreUrl;
#[cfg(test)]
pub(crate) use table::key_names;
pub use table::reference;

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
    /// What is kept of who saw and changed what.
    pub audit: Audit,
    /// From which level on the process logs.
    pub log_level: Level,
}

/// The gateway's part.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table says it of each key, for the operator too")]
pub struct Gateway {
    pub listen: SocketAddr,
    pub admin_listen: SocketAddr,
    pub server: bool,
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
    pub break_glass_minutes: u32,
    pub connections: usize,
    pub connections_per_address: usize,
    pub requests_per_connection: usize,
    pub http2_streams: u32,
    pub http2_age: Duration,
    pub tls: TlsKeys,
    pub upstream_connect: Duration,
    pub upstream_read: Duration,
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
}

/// What is kept of who saw and changed what.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table says it of each key, for the operator too")]
pub struct Audit {
    pub keep_days: u32,
    pub query_values: bool,
}

/// Where the tenant's data is: in the data directory, or in PostgreSQL.
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
            log_level: Level::Info,
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

impl Default for Gateway {
    fn default() -> Self {
        let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            listen: loopback(8080),
            admin_listen: loopback(9090),
            server: true,
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
            break_glass_minutes: 60,
            connections: 16 << 10,
            connections_per_address: 1 << 10,
            requests_per_connection: 10_000,
            http2_streams: 100,
            http2_age: Duration::from_secs(3600),
            tls: TlsKeys::default(),
            upstream_connect: Duration::from_secs(2),
            upstream_read: Duration::from_secs(120),
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
        config.check()?;
        Ok(config)
    }

    /// What no key by itself can say.
    fn check(&self) -> Result<(), ConfigError> {
        let Storage { postgres, password_file, authority_file, without_tls } = &self.storage;
        let contradiction = if (self.server.held_bytes as u64) < self.gateway.body_bytes {
            "`server.held_bytes` is less than `gateway.body_bytes`: a body of that length would \
             never be taken; raise the one or lower the other"
        } else if self.server.index_memory < LEAST_INDEX_MEMORY {
            "`server.index_memory` is less than 16777216 (16 MiB): every search would read most of \
             what it needs from the disk; raise it"
        } else if postgres.is_none() && (password_file.is_some() || authority_file.is_some()) {
            "`storage.postgres_password_file` and `storage.postgres_authority_file` say nothing \
             without `storage.postgres`: name the connection or leave them out"
        } else if authority_file.is_some() && *without_tls == WithoutTls::InsecureAnywhere {
            "`storage.postgres_without_tls` says insecure-anywhere beside \
             `storage.postgres_authority_file`: leave it out, and PostgreSQL is reached by TLS"
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
mod tests {
    use super::*;

    use database::DeriveFromBody;
    use fhir_schema::Schema;
    use store_sled::SledStoreOptions;

    fn resolved(text: &str, flags: Flags) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hearthgate.toml");
        std::fs::write(&path, text).unwrap();
        let config = Some(path.clone());
        Config::resolve(&Flags { config, ..flags }).map_err(|error| {
            let line = crate::failure::one_line(&error);
            line.replace(path.to_str().unwrap(), "FILE")
        })
    }

    fn error(text: &str) -> String {
        resolved(text, Flags::default()).unwrap_err()
    }

    #[test]
    fn without_a_file_the_documented_defaults_stand() {
        let config = Config::resolve(&Flags::default()).unwrap();
        assert_eq!(config, Config::default());
        assert_eq!(config.data, Path::new("./data"));
        assert_eq!(config.gateway.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(config.gateway.admin_listen.to_string(), "127.0.0.1:9090");
        assert_eq!(config.base_url(), "http://127.0.0.1:8080/fhir");
        assert_eq!(config.run_dir(), Path::new("./data/run"));
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_the_defaults() {
        let flags =
            Flags { listen: Some(SocketAddr::from(([0, 0, 0, 0], 81))), ..Flags::default() };
        let text = "data = \"/srv/hg\"\n[gateway]\ninsecure_http = \"anywhere\"\nlisten = \"127.0.0.1:80\"\nadmin_listen = \"127.0.0.1:90\"\n";
        let config = resolved(text, flags).unwrap();
        assert_eq!(config.data, Path::new("/srv/hg"));
        assert_eq!(config.gateway.listen.to_string(), "0.0.0.0:81");
        assert_eq!(config.gateway.admin_listen.to_string(), "127.0.0.1:90");
        assert_eq!(config.gateway.idle, Duration::from_secs(75));
    }

    #[test]
    fn what_check_config_prints_decides_the_same() {
        // GW-060
        let text = "public_base_url = \"https://ehr.example.org/fhir\"\nowner_key_file = \"k\"\n\
                    [gateway]\npublic = []\ncors_origins = [\"https://*.example.org:8443\"]\n\
                    cors_exposed = [\"X-Total\"]\ncors_credentials = true\n\
                    allow = [\"192.0.2.0/24\", \"::1\"]\ndeny = [\"192.0.2.8/29\"]\n\
                    trusted_proxies = [\"10.0.0.1\"]\nclient_address = \"proxy-protocol\"\n\
                    client_per_second = 7\nidle_seconds = 1_0\n\
                    [rules]\nunique_identifiers = [\"Patient urn:x\"]\n\
                    references_exist = [\"*\", \"Observation.subject\"]\n\
                    [validation]\ndepth = \"profiles\"\naction = \"warn\"\n\
                    rules = [\"Observation terminology enforce\", \"http://x/p base warn\"]\n\
                    required_profiles = [\"Patient http://x/p|1\"]\n[log]\nlevel = \"debug\"\n\
                    [roles.lab]\nsays = \"A lab.\"\nlane = \"system\"\n\
                    rules = [{ types = [\"Observation\"], actions = [\"read\"], within = \"all\" }]\n";
        let config = resolved(text, Flags::default()).unwrap();
        assert_ne!(config, Config::default());
        let printed = config.to_toml();
        assert_eq!(resolved(&printed, Flags::default()).unwrap(), config, "{printed}");
        let defaults = Config::default().to_toml();
        assert_eq!(resolved(&defaults, Flags::default()).unwrap(), Config::default());
    }

    const ROUTES: &str = "[gateway]\nserver = false\n[[gateway.routes]]\nname = \"lab\"\n\
                          path = \"/lab\"\nupstream = \"lab\"\n[gateway.upstreams.lab]\n\
                          endpoints = [{ address = \"lab.example:80\", weight = 2 }]\n\
                          enforces = \"none\"\n[server]\nqueue_bytes = 7\n";

    #[test]
    fn routes_and_upstreams_are_read_and_printed_as_they_were_written() {
        let config = resolved(ROUTES, Flags::default()).unwrap();
        assert_ne!(config.routing, gateway::Routing::default());
        let printed = config.to_toml();
        assert_eq!(resolved(&printed, Flags::default()).unwrap(), config, "{printed}");
    }

    #[test]
    fn routes_and_upstreams_that_are_wrong_are_refused_with_their_line() {
        // GW-060, GW-001
        for (written, wrong, line, said) in [
            ("upstream = \"lab\"", "upstream = \"labs\"", 3, "there is no upstream `labs`"),
            ("path = \"/lab\"", "pth = \"/lab\"", 5, "unknown field `pth`"),
            ("enforces = \"none\"", "enforces = \"grant\"", 7, "gateway.upstreams.lab: enforces"),
            ("enforces = \"none\"", "enforces = \"all\"", 9, "unknown variant `all`"),
        ] {
            let refused = error(&ROUTES.replace(written, wrong));
            assert!(refused.contains(&format!("FILE line {line}: ")), "{refused}");
            assert!(refused.contains(said), "{refused}");
        }
        let refused = error(&ROUTES.replace("upstream = \"lab\"", "upstream = \"server\""));
        assert!(refused.contains("answers below /fhir alone"), "{refused}");
        let none = error("[gateway]\nserver = false\n");
        assert!(none.contains("there is no route and no server of ours"), "{none}");
    }

    #[test]
    fn with_postgresql_it_is_said_that_nothing_bounds_the_index() {
        let says = |text: &str| {
            let config = resolved(text, Flags::default()).unwrap();
            let printed = config.to_toml();
            assert_eq!(resolved(&printed, Flags::default()).unwrap(), config, "{printed}");
            printed.contains("this bounds nothing")
        };
        assert!(says("[storage]\npostgres = \"host=/run/postgresql dbname=hearthgate\"\n"));
        assert!(!says("[server]\nindex_memory = 16777216\n"));
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line_and_the_nearest_known_one() {
        // GW-060
        for (text, line, key, nearest) in [
            ("[gateway]\nlisten_on = \"a\"", 2, "gateway.listen_on", "gateway.listen"),
            ("dta = \"x\"", 1, "dta", "data"),
            ("listen = \"x\"", 1, "listen", "gateway.listen"),
            ("\n\n[gatway]\nlisten = \"x\"", 3, "gatway", "gateway"),
            ("gateway.idle = 1", 1, "gateway.idle", "gateway.idle_seconds"),
            ("[gateway]\n[gateway.limits]\nx = 1", 2, "gateway.limits", ""),
        ] {
            let error = error(text);
            let start = format!("FILE line {line}: there is no key `{key}`; ");
            assert!(error.starts_with(&start), "{text}: {error}");
            assert!(error.contains(nearest), "{text}: {error}");
        }
    }

    #[test]
    fn a_wrong_value_is_refused_with_its_line_and_what_is_expected() {
        for (text, line, key, expected) in [
            ("\ndata = 7", 2, "data", "a path"),
            ("data = \"\"", 1, "data", "a path"),
            ("gateway = 7", 1, "gateway", "a section"),
            ("[gateway]\nlisten = \"8080\"", 2, "gateway.listen", "an address and port"),
            ("[gateway]\nlisten = \"localhost:80\"", 2, "gateway.listen", "an address and port"),
            ("[gateway]\nbody_bytes = 0", 2, "gateway.body_bytes", "a whole number, at least 1"),
            ("[gateway]\nbody_bytes = -1", 2, "gateway.body_bytes", "a whole number"),
            ("[gateway]\nbody_bytes = 1.5", 2, "gateway.body_bytes", "a whole number"),
            ("[gateway]\npublic_burst = 99999999999", 2, "gateway.public_burst", "a whole number"),
            ("[gateway]\nidle_seconds = \"75\"", 2, "gateway.idle_seconds", "seconds"),
            ("[gateway]\npublic = \"all\"", 2, "gateway.public", "a list of texts"),
            ("[gateway]\nallow = [\"10.0.0.1/8\"]", 2, "gateway.allow", "a list of addresses"),
            ("[gateway]\nclient_address = \"x-real-ip\"", 2, "gateway.client_address", "one of"),
            ("[gateway]\ncors_origins = [\"*\"]", 2, "gateway.cors_origins", "a list of origins"),
            (
                "[gateway]\ncors_origins = [\"https://a.example.org/\"]",
                2,
                "gateway.cors_origins",
                "a list of origins",
            ),
            ("[gateway]\ncors_exposed = [\"a b\"]", 2, "gateway.cors_exposed", "a list of names"),
            ("[gateway]\ninsecure_http = true", 2, "gateway.insecure_http", "one of loopback"),
            (
                "[gateway.tls]\ncertificates = [{ certificate = \"c\" }]",
                2,
                "gateway.tls.certificates",
                "a list of tables",
            ),
            (
                "[[gateway.tls.certificates]]\ncertificate = \"c\"\nkey = \"k\"\nname = \"n\"",
                1,
                "gateway.tls.certificates",
                "a list of tables",
            ),
            ("[server]\nqueue_bytes = 0", 2, "server.queue_bytes", "a whole number, at least 1"),
            ("[server]\nbody_grace_seconds = 0", 2, "server.body_grace_seconds", "seconds"),
            ("[server]\nbody_bytes_per_second = -1", 2, "server.body_bytes_per_second", "a whole"),
            ("storage.postgres_without_tls = \"yes\"", 1, "storage.postgres_without_tls", "one of"),
            ("storage = \"postgres\"", 1, "storage", "a section"),
            ("rules.unique_identifiers = [\"Patient\"]", 1, "rules.unique_identifiers", "a list"),
            (
                "rules.unique_identifiers = [\"Patients urn:x\"]",
                1,
                "rules.unique_identifiers",
                "a l",
            ),
            ("rules.references_exist = [\"Observations\"]", 1, "rules.references_exist", "a list"),
            ("[validation]\ndepth = \"deep\"", 2, "validation.depth", "one of parse, base"),
            ("[validation]\naction = \"ask\"", 2, "validation.action", "one of enforce, warn"),
            ("validation.rules = [\"Patients base warn\"]", 1, "validation.rules", "a list of"),
            ("validation.rules = [\"Patient base\"]", 1, "validation.rules", "a list of"),
            (
                "validation.required_profiles = [\"Patients http://x\"]",
                1,
                "validation.required_profiles",
                "a list of",
            ),
            ("[log]\nlevel = \"loud\"", 2, "log.level", "one of error, warn, info, debug, trace"),
            ("tenant = \"../x\"", 1, "tenant", "a tenant's name"),
            ("public_base_url = \"ehr.example.org\"", 1, "public_base_url", "a URL"),
        ] {
            let error = error(text);
            let start = format!("FILE line {line}: `{key}` takes {expected}");
            assert!(error.starts_with(&start), "{text}: {error}");
        }
    }

    const LAB: &str = "[roles.lab]\nsays = \"A lab.\"\n\
                       rules = [{ types = [\"*\"], actions = [\"read\"], within = \"all\" }]\n";

    #[test]
    fn a_role_stands_beside_the_built_in_ones_or_replaces_one() {
        let roles = |text: &str| resolved(text, Flags::default()).unwrap().roles;
        let says = |roles: &gateway::Roles, name: &str| {
            roles.get(&name.parse().unwrap()).map(|role| role.says.clone())
        };
        assert_eq!(says(&roles(LAB), "lab").as_deref(), Some("A lab."));
        assert!(says(&roles(LAB), "clinician").is_some());
        let replaced = roles(&LAB.replace("roles.lab", "roles.clinician"));
        assert_eq!(says(&replaced, "clinician").as_deref(), Some("A lab."));
        assert_eq!(says(&roles(""), "lab"), None);
    }

    #[test]
    fn a_wrong_role_is_refused_with_its_line_and_place() {
        let with = |from: &str, to: &str| error(&format!("\n{}", LAB.replace(from, to)));
        for (from, to, line, parts) in [
            ("\"*\"", "\"patient\"", 2, ["lab, rules[0].types", "\"patient\" is no type's name"]),
            ("\"all\"", "\"compartment(Patient/1)\"", 2, ["rules[0].within", "there are all"]),
            ("within", "inside", 4, ["unknown field `inside`", "within"]),
            ("says", "say", 3, ["unknown field `say`", "says"]),
            ("roles.lab", "roles.Lab", 2, ["a role's name", "a-z"]),
            ("roles.lab", "roles.owner", 2, ["owner", "stays as it is"]),
        ] {
            let said = with(from, to);
            assert!(said.starts_with(&format!("FILE line {line}: ")), "{to}: {said}");
            assert!(parts.iter().all(|part| said.contains(part)), "{to}: {said}");
        }
        assert!(error("roles = 7").contains("`roles` takes a section of keys"));
    }

    // GW-021
    #[test]
    fn plain_http_is_on_loopback_or_asked_for_and_a_certificate_makes_it_https() {
        let listen = |host: &str| format!("[gateway]\nlisten = \"{host}:80\"\n");
        let tls = "[[gateway.tls.certificates]]\ncertificate = \"c\"\nkey = \"k\"\n";
        let anywhere = "insecure_http = \"anywhere\"\n";
        for (text, base) in [
            (listen("127.0.0.1"), "http://127.0.0.1:80/fhir"),
            (listen("[::1]"), "http://[::1]:80/fhir"),
            (listen("192.0.2.1") + anywhere, "http://192.0.2.1:80/fhir"),
            (listen("192.0.2.1") + tls, "https://192.0.2.1:80/fhir"),
            (listen("127.0.0.1") + tls, "https://127.0.0.1:80/fhir"),
        ] {
            let config = resolved(&text, Flags::default()).unwrap();
            assert_eq!(config.base_url(), base);
            assert_eq!(resolved(&config.to_toml(), Flags::default()).unwrap(), config);
        }
        assert!(resolved(&listen("192.0.2.1"), Flags::default()).is_err());
    }

    #[test]
    fn values_that_contradict_each_other_are_refused() {
        for (text, expected) in [
            ("[server]\nheld_bytes = 1000", "`server.held_bytes` is less"),
            ("[gateway]\nbody_bytes = 300000000", "`server.held_bytes` is less"),
            ("[gateway]\nlisten = \"0.0.0.0:80\"", "`gateway.listen` is no loopback address"),
            ("[gateway]\nlisten = \"[::]:80\"", "`gateway.insecure_http = \"anywhere\"`"),
            ("[gateway]\nredirect_listen = \"0.0.0.0:80\"", "sends on to HTTPS"),
            ("[gateway]\nclient_address = \"forwarded\"", "name them"),
            ("[gateway]\ntrusted_proxies = [\"10.0.0.1\"]", "go together"),
            ("[gateway.tls]\nclient_certificates = \"request\"", "say nothing without"),
            (
                "[gateway.tls]\ncertificates = [{ certificate = \"c\", key = \"k\" }]\n\
                 client_certificates = \"require\"",
                "go together",
            ),
            ("[server]\nindex_memory = 16777215", "`server.index_memory` is less"),
            ("[storage]\npostgres_password_file = \"p\"", "name the connection"),
            ("[storage]\npostgres_authority_file = \"p\"", "name the connection"),
            (
                "storage = { postgres = \"host=db\", postgres_authority_file = \"a\", \
                 postgres_without_tls = \"insecure-anywhere\" }",
                "reached by TLS",
            ),
        ] {
            let error = error(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
        let fine = "gateway.body_bytes = 1000\nserver.held_bytes = 1000\n\
                    storage = { postgres = \"host=/run/postgresql\" }\n";
        let config = resolved(fine, Flags::default()).unwrap();
        assert_eq!(config.storage.postgres.unwrap().as_str(), "host=/run/postgresql");
    }

    #[test]
    fn a_connection_with_a_password_is_refused_and_not_repeated() {
        for connection in ["host=db password=planted", "postgresql://u:planted@db/x", "planted"] {
            let error = error(&format!("storage.postgres = \"{connection}\""));
            assert!(error.contains("without a password"), "{error}");
            assert!(!error.contains("planted"), "{error}");
        }
    }

    #[test]
    fn a_url_with_credentials_is_refused_and_not_repeated() {
        let error = error("public_base_url = \"https://user:planted@ehr.example.org/fhir\"");
        assert!(error.contains("`public_base_url` takes a URL"), "{error}");
        assert!(!error.contains("planted"), "{error}");
    }

    #[test]
    fn what_is_not_toml_is_said_with_its_line_in_one_line() {
        for (text, line) in
            [("data = ", 1), ("a = 1\nb = [\n", 2), ("data = \"a\"\ndata = \"b\"", 2)]
        {
            let error = error(text);
            let prefix = error.split_once(": ").unwrap().0;
            assert!(prefix.starts_with("FILE line "), "{error}");
            assert!(prefix[10..].parse::<usize>().unwrap() >= line, "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
        let dir = tempfile::tempdir().unwrap();
        let config = Some(dir.path().join("absent.toml"));
        let missing = Config::resolve(&Flags { config, ..Flags::default() }).unwrap_err();
        let line = crate::failure::one_line(&missing);
        assert!(line.contains("absent.toml") && line.contains("; "), "{line}");
    }

    #[test]
    fn whatever_stands_among_the_tenants_counts_as_data_but_a_store_without_a_commit() {
        let data = tempfile::tempdir().unwrap();
        assert_eq!(beside(data.path()).unwrap(), registry::Beside::NoTenant);
        std::fs::create_dir(data.path().join("tenants")).unwrap();
        assert_eq!(beside(data.path()).unwrap(), registry::Beside::NoTenant);
        let tenant = data.path().join("tenants/default");
        std::fs::create_dir(&tenant).unwrap();
        assert_eq!(beside(data.path()).unwrap(), registry::Beside::NoTenant);
        let derive = DeriveFromBody::new(Schema::r4());
        let options = SledStoreOptions::default();
        let store = SledStore::open(&tenant, "default", Arc::new(derive), options).unwrap();
        assert_eq!(beside(data.path()).unwrap(), registry::Beside::NoTenant);
        drop(store);
        std::fs::remove_dir_all(tenant.join("log")).unwrap();
        assert_eq!(beside(data.path()).unwrap(), registry::Beside::ExistingTenant);
        std::fs::remove_dir_all(&tenant).unwrap();
        assert_eq!(beside(data.path()).unwrap(), registry::Beside::NoTenant);
        std::fs::write(&tenant, "").unwrap();
        assert_eq!(beside(data.path()).unwrap(), registry::Beside::ExistingTenant);
    }
}
