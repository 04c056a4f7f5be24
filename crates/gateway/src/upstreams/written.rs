//! An upstream as the configuration writes it, and what is checked of it when it is read.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};

use super::balance::Balancing;
use super::credentials::{Credentials, WrittenCredentials};
use super::target::Ejection;

/// An upstream's text. `WrittenUpstream::check` makes an `UpstreamConfig` of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenUpstream {
    /// Where it is.
    pub endpoints: Vec<WrittenEndpoint>,
    /// How it is spoken to.
    #[serde(default)]
    pub scheme: Scheme,
    /// What it enforces itself.
    pub enforces: Enforces,
    /// How an endpoint is chosen.
    #[serde(default)]
    pub balancing: Balancing,
    /// The header whose value chooses, with `hash`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash_header: Option<String>,
    /// The Host that it is asked by; the client's where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Checks of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<WrittenHealth>,
    /// Failed requests in a row that take an endpoint out.
    #[serde(default = "number::<5>")]
    pub failures: u32,
    /// For how long, in milliseconds, the first time.
    #[serde(default = "number::<1_000>")]
    pub ejection_ms: u32,
    /// And at most.
    #[serde(default = "number::<60_000>")]
    pub longest_ejection_ms: u32,
    /// Requests under way.
    #[serde(default = "number::<1_024>")]
    pub in_flight: u32,
    /// Requests that wait to be.
    #[serde(default = "number::<256>")]
    pub pending: u32,
    /// For a connection, in milliseconds.
    #[serde(default = "number::<2_000>")]
    pub connect_ms: u32,
    /// Until an answer's first byte.
    #[serde(default = "number::<60_000>")]
    pub first_byte_ms: u32,
    /// Between two bytes of an answer.
    #[serde(default = "number::<30_000>")]
    pub between_bytes_ms: u32,
    /// For a request and its answer in all; no limit where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whole_ms: Option<u32>,
    /// Whether a GET, HEAD or OPTIONS is sent once more when nothing of an answer came.
    #[serde(default = "yes")]
    pub retry: bool,
    /// WebSockets open at a time.
    #[serde(default = "number::<1_024>")]
    pub sockets: u32,
    /// How long such a one may be silent.
    #[serde(default = "number::<300_000>")]
    pub socket_idle_ms: u32,
    /// What the gateway shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<WrittenCredentials>,
    /// TLS, with `https`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<WrittenTls>,
}

/// An endpoint's text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenEndpoint {
    /// `HOST:PORT`, the host a name or an address.
    pub address: String,
    /// How much it takes beside the others.
    #[serde(default = "number::<1>")]
    pub weight: u32,
}

/// The text of an upstream's checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenHealth {
    /// What is asked, with GET.
    pub path: String,
    /// The status of a good answer.
    #[serde(default = "ok")]
    pub status: u16,
    /// Between two checks.
    #[serde(default = "number::<5_000>")]
    pub interval_ms: u32,
    /// For one check.
    #[serde(default = "number::<2_000>")]
    pub timeout_ms: u32,
    /// Good checks in a row that bring an endpoint back.
    #[serde(default = "number::<1>")]
    pub up: u32,
    /// Bad ones that take it out.
    #[serde(default = "number::<2>")]
    pub down: u32,
    /// Where in the answer it says its own base, as a JSON Pointer: `/implementation/url`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_pointer: Option<String>,
    /// What that has to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
}

/// The text of TLS to an upstream. Certificates and names are always verified.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenTls {
    /// The name that its certificate is for; the first endpoint's where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The authorities to believe, in PEM; the system's where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority_file: Option<PathBuf>,
    /// The gateway's own certificate, in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_file: Option<PathBuf>,
    /// Its key, in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
}

/// How an upstream is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// In clear text.
    #[default]
    Http,
    /// By TLS.
    Https,
}

/// What an upstream enforces itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Enforces {
    /// The grant of the contract: the server of ours.
    Grant,
    /// The caller's own token, which is passed on.
    SmartToken,
    /// Nothing: whoever reaches it sees everything.
    None,
}

/// An upstream that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UpstreamConfig {
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) scheme: Scheme,
    pub(crate) enforces: Enforces,
    pub(crate) balancing: Balancing,
    pub(crate) hash_header: Option<HeaderName>,
    pub(crate) host: Option<HeaderValue>,
    pub(crate) health: Option<Health>,
    pub(crate) ejection: Ejection,
    pub(crate) in_flight: usize,
    pub(crate) pending: usize,
    pub(crate) connect: Duration,
    pub(crate) first_byte: Duration,
    pub(crate) between_bytes: Duration,
    pub(crate) whole: Option<Duration>,
    pub(crate) retry: bool,
    pub(crate) sockets: usize,
    pub(crate) socket_idle: Duration,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) tls: WrittenTls,
}

/// An endpoint that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) weight: u32,
}

/// Checks that were checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Health {
    pub(crate) path: String,
    pub(crate) status: StatusCode,
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    pub(crate) up: u32,
    pub(crate) down: u32,
    pub(crate) base: Option<ExpectedBase>,
}

/// Where an upstream says its own base, and what it has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExpectedBase {
    pub(crate) pointer: String,
    pub(crate) base: String,
}

fn number<const N: u32>() -> u32 {
    N
}

fn yes() -> bool {
    true
}

fn ok() -> u16 {
    200
}

/// What is wrong with a member, and what is right: `(member, problem)`.
type Wrong = (&'static str, String);

impl WrittenUpstream {
    /// Reads every word of the upstream. No file is read.
    ///
    /// # Errors
    /// The member that is wrong, and how to mend it.
    pub(crate) fn check(&self) -> Result<UpstreamConfig, Wrong> {
        let wrong = |member, problem: &str| Err((member, problem.to_owned()));
        if self.enforces == Enforces::Grant {
            return wrong(
                "enforces",
                "grants go to the server of ours alone, which is the upstream `server` without a \
                 section; say `smart-token` or `none`",
            );
        }
        if self.endpoints.is_empty() {
            return wrong("endpoints", "name one at least");
        }
        let endpoints: Vec<Endpoint> =
            self.endpoints.iter().map(WrittenEndpoint::check).collect::<Result<_, _>>()?;
        let hash_header = match (&self.hash_header, self.balancing) {
            (Some(name), Balancing::Hash) => {
                let name = HeaderName::try_from(name.as_str());
                Some(name.map_err(|_| ("hash_header", "that is no name of a header".to_owned()))?)
            }
            (None, Balancing::RoundRobin | Balancing::LeastRequests) => None,
            _ => {
                return wrong("hash_header", "it belongs to balancing = \"hash\", and to it alone");
            }
        };
        let host = self.host.as_deref().map(HeaderValue::try_from).transpose();
        let at_least_one = [
            ("failures", self.failures),
            ("ejection_ms", self.ejection_ms),
            ("longest_ejection_ms", self.longest_ejection_ms),
            ("in_flight", self.in_flight),
            ("connect_ms", self.connect_ms),
            ("first_byte_ms", self.first_byte_ms),
            ("between_bytes_ms", self.between_bytes_ms),
            ("whole_ms", self.whole_ms.unwrap_or(1)),
            ("socket_idle_ms", self.socket_idle_ms),
        ];
        if let Some((member, _)) = at_least_one.iter().find(|(_, number)| *number == 0) {
            return wrong(member, "it is at least 1");
        }
        let tls = self.tls.clone().unwrap_or_default();
        if self.tls.is_some() && self.scheme == Scheme::Http {
            return wrong("tls", "it belongs to scheme = \"https\"");
        }
        if tls.certificate_file.is_some() != tls.key_file.is_some() {
            return wrong("tls", "certificate_file and key_file go together");
        }
        let is_token = self.enforces == Enforces::SmartToken;
        if is_token && self.credentials.is_some() {
            return wrong(
                "credentials",
                "with enforces = \"smart-token\" the caller's own token is passed on, and no \
                 other can stand beside it; leave them out",
            );
        }
        let credentials = self.credentials.as_ref().map(WrittenCredentials::check).transpose();
        Ok(UpstreamConfig {
            endpoints,
            scheme: self.scheme,
            enforces: self.enforces,
            balancing: self.balancing,
            hash_header,
            host: host.map_err(|_| ("host", "that is no host".to_owned()))?,
            health: self.health.as_ref().map(WrittenHealth::check).transpose()?,
            ejection: Ejection {
                failures: self.failures,
                first: millis(self.ejection_ms),
                longest: millis(self.longest_ejection_ms),
            },
            in_flight: size(self.in_flight),
            pending: size(self.pending),
            connect: millis(self.connect_ms),
            first_byte: millis(self.first_byte_ms),
            between_bytes: millis(self.between_bytes_ms),
            whole: self.whole_ms.map(millis),
            retry: self.retry,
            sockets: size(self.sockets),
            socket_idle: millis(self.socket_idle_ms),
            credentials: credentials.map_err(|problem| ("credentials", problem))?,
            tls,
        })
    }
}

impl WrittenEndpoint {
    fn check(&self) -> Result<Endpoint, Wrong> {
        let wrong = |problem: &str| ("endpoints", format!("{:?}: {problem}", self.address));
        if !(1..=100).contains(&self.weight) {
            return Err(wrong("a weight is 1 to 100"));
        }
        let (host, port) =
            self.address.rsplit_once(':').ok_or_else(|| wrong("an address is HOST:PORT"))?;
        let port: u16 = port.parse().map_err(|_| wrong("an address is HOST:PORT"))?;
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(address) => address,
            None => host,
        };
        let named = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        let is_name = !host.is_empty() && host.len() < 254 && host.bytes().all(named);
        if port == 0 || !(is_name || host.parse::<IpAddr>().is_ok()) {
            return Err(wrong("a host is a name or an address, and a port 1 to 65535"));
        }
        Ok(Endpoint { host: host.to_owned(), port, weight: self.weight })
    }
}

impl WrittenHealth {
    fn check(&self) -> Result<Health, Wrong> {
        let wrong = |problem: &str| Err(("health", problem.to_owned()));
        let visible = |byte: u8| byte.is_ascii_graphic();
        if !self.path.starts_with('/') || !self.path.bytes().all(visible) {
            return wrong("path begins with a slash, and is visible ASCII");
        }
        let numbers = [self.interval_ms, self.timeout_ms, self.up, self.down];
        if numbers.contains(&0) {
            return wrong("interval_ms, timeout_ms, up and down are at least 1");
        }
        let base = match (&self.base_pointer, &self.base) {
            (None, None) => None,
            (Some(pointer), Some(base)) if pointer.starts_with('/') => {
                Some(ExpectedBase { pointer: pointer.clone(), base: base.clone() })
            }
            _ => return wrong("base_pointer, which begins with a slash, and base go together"),
        };
        let status = StatusCode::from_u16(self.status)
            .map_err(|_| ("health", "status is an HTTP status".to_owned()))?;
        Ok(Health {
            path: self.path.clone(),
            status,
            interval: millis(self.interval_ms),
            timeout: millis(self.timeout_ms),
            up: self.up,
            down: self.down,
            base,
        })
    }
}

fn millis(number: u32) -> Duration {
    Duration::from_millis(number.into())
}

fn size(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
