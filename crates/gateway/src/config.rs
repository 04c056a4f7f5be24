//! What an operator decides about the gateway, as already checked values.
//!
//! Reading the configuration file is the binary's work; nothing is read from disk here.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use contract::TenantName;
use trace::Tracer;

use crate::access_log::AccessLog;
use crate::acme::Acme;
use crate::addresses::Addresses;
use crate::api::Reconfigure;
use crate::certificates::CertificateClients;
use crate::denials::Denials;
use crate::errors::GatewayError;
use crate::header_rules::HeaderRules;
use crate::lanes::LaneSizes;
use crate::limiter::Rate;
use crate::limiting::Limiting;
use crate::roles::Roles;
use crate::routes::{Content, Destination, Host, Route, Routing, Table};
use crate::server_link::ServerLink;
use crate::subject::SubjectKey;
use crate::tls::Tls;
use crate::tokens::TokenIssuer;
use crate::upstreams::Environment;

/// The gateway's configuration.
#[derive(Debug)]
pub struct GatewayConfig {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// The socket on which clients connect, where somebody listens there already and handed it
    /// over; then nothing is done about `listen`.
    pub listener: Option<std::net::TcpListener>,
    /// Where the admin API, `/metrics`, `/livez` and `/readyz` are.
    pub admin_listen: SocketAddr,
    /// How operators are spoken to there; in plain HTTP when absent.
    pub admin_tls: Option<Tls>,
    /// Who can read the configuration again when an operator asks for it.
    pub reconfigure: Option<Arc<dyn Reconfigure>>,
    /// The server's forwarding socket.
    pub server_socket: PathBuf,
    /// The server's channel socket, which never carries client requests.
    pub channel_socket: PathBuf,
    /// Where the server is when it is on another host; then nobody is asked on the two sockets.
    pub link: Option<ServerLink>,
    /// The socket the gateway makes for the server's renewals and the revocation feed.
    pub renewal_socket: PathBuf,
    /// The path under which FHIR is served: `/fhir`. Begins with a slash, does not end with one.
    pub base_path: String,
    /// The tenant that every request is for.
    pub tenant: TenantName,
    /// The interactions open to requests without credentials, by the contract's codes. Being
    /// open here does not widen what the server permits to nobody: it permits its capabilities.
    pub public_open: Vec<String>,
    /// Rows that answering a request may read, for a client without a budget of its own.
    pub default_budget: u64,
    /// What clients may that have a role.
    pub roles: Arc<Roles>,
    /// Whose tokens are accepted, beside the registry's keys.
    pub issuers: Vec<TokenIssuer>,
    /// Which certificates of clients stand for which of the registry's.
    pub certificates: CertificateClients,
    /// The directory that the issuers' keys are kept in; made where it is missing.
    pub issuer_keys: PathBuf,
    /// The FHIR base as clients see it, which tokens may name resources below.
    pub public_base: String,
    /// For how many minutes a break-glass is in force.
    pub break_glass_minutes: u32,
    /// Where the reasons of denials are kept.
    pub denials: Arc<Denials>,
    /// The plans that clients are held to, and what was counted. Of a reload the plans are taken.
    pub limiting: Arc<Limiting>,
    /// How many requests the server works on at once, by kind.
    pub lanes: LaneSizes,
    /// Routes and upstreams beside the server of ours.
    pub routing: Routing,
    /// Servers of DNS that are asked for the names of endpoints; the system's when empty.
    pub resolvers: Vec<SocketAddr>,
    /// Whether the server of ours is behind this gateway.
    pub serves_server: bool,
    /// How variables of the environment are asked for that hold secrets.
    pub environment: Environment,
    /// Sizes, counts and rates.
    pub limits: Limits,
    /// How long the server may take to be reached, and be silent.
    pub upstream: UpstreamTimeouts,
    /// How clients are spoken to; in plain HTTP when absent.
    pub tls: Option<Tls>,
    /// Where a certificate is had by ACME, whose files are among those of `tls`; nowhere when
    /// absent.
    pub acme: Option<Acme>,
    /// Who may connect, and whom to believe about others.
    pub addresses: Addresses,
    /// Where plain HTTP is sent on to HTTPS; nowhere when absent.
    pub redirect_listen: Option<SocketAddr>,
    /// Which web pages of other origins may ask; none when absent.
    pub cors: Option<Cors>,
    /// How long requests in flight may take to finish once the gateway is told to stop.
    pub drain: Duration,
    /// Where the access log goes.
    pub access_log: AccessLog,
    /// The key of the pseudonyms by which the access log names subjects; it names none when absent.
    pub subject_key: Option<SubjectKey>,
    /// What is recorded of requests; nothing by default.
    pub tracer: Arc<Tracer>,
}

/// Sizes, counts and rates a client is held to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// A request's head, in bytes.
    pub header_bytes: usize,
    /// A request's header fields. The server reads at most 100, and the gateway adds some.
    pub header_count: usize,
    /// A request's body, in bytes.
    pub body_bytes: u64,
    /// A request's target, in bytes.
    pub uri_bytes: usize,
    /// From a head's first byte to its last.
    pub header_timeout: Duration,
    /// How long a connection may be silent: between requests, or within a body.
    pub idle: Duration,
    /// How often a client may ask that has no limit of its own; no limit when absent.
    pub client: Option<Rate>,
    /// How often an address may ask without credentials.
    pub public: Rate,
    /// How often an address may present credentials that are wrong.
    pub failed_authentications: Rate,
    /// How often an address may be wrong about one account: a key, an issuer's tokens.
    pub failures_per_account: u32,
    /// How many refused changes of one operator within a minute have lines of their own in the
    /// trail; those beyond are counted, and what else it asks for then has to wait.
    pub refusals_per_minute: u32,
    /// How long at most an address waits that sent too many wrong credentials.
    pub lockout: Duration,
    /// How long a body may stop coming on its way to an upstream of others.
    pub body_grace: Duration,
    /// Bytes a second that such a body must come with on average, that grace aside.
    pub body_rate: u32,
    /// Connections from one address at a time.
    pub connections_per_address: usize,
    /// Connections in all.
    pub connections: usize,
    /// Requests on one connection, after which it is closed.
    pub requests_per_connection: usize,
    /// Requests at a time on one connection of HTTP/2.
    pub http2_streams: u32,
    /// How old a connection of HTTP/2 may get before its client is told to open another.
    pub http2_age: Duration,
}

/// How long the server may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpstreamTimeouts {
    /// To accept a connection.
    pub connect: Duration,
    /// Between two bytes of an answer, the first among them.
    pub read: Duration,
}

/// Which web pages of other origins may ask.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cors {
    /// Origins as browsers write them (`https://app.example.org`), compared exactly. A `*` for the
    /// first label of the host stands for any one label.
    pub origins: Vec<String>,
    /// Whether pages may have the browser send what it keeps for this site (cookies, client
    /// certificates).
    pub credentials: bool,
    /// Headers of answers that pages may read, beside those that every page may.
    pub exposed: Vec<String>,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        let loopback = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        Self {
            listen: loopback(8080),
            listener: None,
            admin_listen: loopback(9090),
            admin_tls: None,
            reconfigure: None,
            server_socket: PathBuf::from("data/run/server.sock"),
            channel_socket: PathBuf::from("data/run/channel.sock"),
            link: None,
            renewal_socket: PathBuf::from("data/run/renewal.sock"),
            base_path: "/fhir".to_owned(),
            tenant: "default".parse().expect("`default` is the name of a tenant"),
            public_open: vec!["capabilities".to_owned()],
            default_budget: 1_000_000,
            roles: Arc::default(),
            issuers: Vec::new(),
            certificates: CertificateClients::default(),
            issuer_keys: PathBuf::from("data/issuers"),
            public_base: "http://127.0.0.1:8080/fhir".to_owned(),
            break_glass_minutes: 60,
            denials: Arc::default(),
            limiting: Arc::default(),
            lanes: LaneSizes::default(),
            routing: Routing::default(),
            resolvers: Vec::new(),
            serves_server: true,
            environment: Environment::default(),
            limits: Limits::default(),
            upstream: UpstreamTimeouts::default(),
            tls: None,
            acme: None,
            addresses: Addresses::default(),
            redirect_listen: None,
            cors: None,
            drain: Duration::from_secs(30),
            access_log: AccessLog::default(),
            subject_key: None,
            tracer: Arc::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        let rate = |per_second, burst| {
            Rate::new(per_second, burst).expect("the default rates are above zero")
        };
        Self {
            header_bytes: 32 * 1024,
            header_count: 90,
            body_bytes: 64 * 1024 * 1024,
            uri_bytes: 16 * 1024,
            header_timeout: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            client: None,
            public: rate(50, 100),
            failed_authentications: rate(1, 20),
            failures_per_account: 10,
            refusals_per_minute: 60,
            lockout: Duration::from_secs(900),
            body_grace: Duration::from_secs(30),
            body_rate: 16 * 1024,
            connections_per_address: 1024,
            connections: 16 * 1024,
            requests_per_connection: 10_000,
            http2_streams: 100,
            http2_age: Duration::from_secs(3600),
        }
    }
}

impl Default for UpstreamTimeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(2), read: Duration::from_secs(120) }
    }
}

impl GatewayConfig {
    /// All routes: those that are written, and the one to the server of ours unless one of them
    /// is that.
    pub(crate) fn table(&self) -> Result<Table, GatewayError> {
        let (body_bytes, cors) = (self.limits.body_bytes, self.cors.as_ref());
        let written = self.routing.routes.iter().map(|route| route.route(body_bytes, cors));
        let mut routes: Vec<Route> = written.collect();
        let elsewhere =
            |route: &Route| route.to == Destination::Server && route.path != self.base_path;
        if let Some(route) = routes.iter().find(|route| elsewhere(route)) {
            return Err(GatewayError::ServerElsewhere {
                route: route.name.to_string(),
                base_path: self.base_path.clone(),
            });
        }
        if !self.serves_server && self.routing.names_the_server() {
            return Err(GatewayError::NoServer);
        }
        if self.serves_server && !self.routing.names_the_server() {
            routes.push(self.server_route());
        }
        if routes.is_empty() {
            return Err(GatewayError::NoRoutes);
        }
        Table::new(routes).map_err(GatewayError::Routes)
    }

    /// Checks the routes with what else the gateway has.
    ///
    /// # Errors
    /// [`GatewayError`] at the first that cannot be beside the others.
    pub fn check_routes(&self) -> Result<(), GatewayError> {
        self.table().map(drop)
    }

    /// The route of the server of ours, where none is written.
    fn server_route(&self) -> Route {
        Route {
            name: "fhir".into(),
            host: Host::Any,
            path: self.base_path.clone(),
            methods: Vec::new(),
            header: None,
            content: Content::Fhir,
            cors: self.cors.clone(),
            body_bytes: self.limits.body_bytes,
            request_headers: HeaderRules::default(),
            response_headers: HeaderRules::default(),
            authorizer: None,
            to: Destination::Server,
        }
    }

    /// Checks what the types cannot.
    pub(crate) fn check(&self) -> Result<(), GatewayError> {
        let base = &self.base_path;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
        if !base.starts_with('/') || base.ends_with('/') || base.contains("//") {
            return Err(GatewayError::BasePath(base.clone()));
        }
        let dots = base.split('/').any(|segment| matches!(segment, "." | ".."));
        if dots || !base.bytes().all(plain) {
            return Err(GatewayError::BasePath(base.clone()));
        }
        let sockets = [&self.server_socket, &self.channel_socket, &self.renewal_socket];
        match sockets.into_iter().find(|path| !can_be_a_socket(path)) {
            Some(path) => Err(GatewayError::SocketPath(path.clone())),
            None => Ok(()),
        }
    }
}

/// Whether the system takes the path for a socket, and pingora takes it as text.
fn can_be_a_socket(path: &Path) -> bool {
    std::os::unix::net::SocketAddr::from_pathname(path).is_ok() && path.to_str().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_path_that_no_system_takes_is_refused_by_name() {
        let long = PathBuf::from("/run").join("x".repeat(120)).join("renewal.sock");
        let config = GatewayConfig { renewal_socket: long.clone(), ..GatewayConfig::default() };
        assert!(matches!(config.check(), Err(GatewayError::SocketPath(path)) if path == long));
        assert!(GatewayConfig::default().check().is_ok());
    }

    fn check(base_path: &str, accepted: bool) {
        let config = GatewayConfig { base_path: base_path.to_owned(), ..GatewayConfig::default() };
        assert_eq!(config.check().is_ok(), accepted, "{base_path}");
    }

    #[test]
    fn a_base_path_is_a_plain_path_without_an_end_slash() {
        check("/fhir", true);
        check("/clinic-1/fhir", true);
        check("fhir", false);
        check("/fhir/", false);
        check("/", false);
        check("", false);
        check("/a//b", false);
        check("/a/../b", false);
        check("/fh ir", false);
        check("/fhir?x", false);
        check("/%66hir", false);
    }
}
