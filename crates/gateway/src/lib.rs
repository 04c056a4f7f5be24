//! The gateway: who may ask, how often, and in whose name. What is asked belongs to the server.
//!
//! A request is judged (`judge`), given a grant for itself alone (`grant_template`), forwarded
//! over a Unix socket or the link (`proxy`), and its answer passed on when it shows to be the answer. The
//! gateway holds no resource, reads no body but that of a break-glass, and of FHIR knows what `contract` says.
//! `docs/gateway.md` describes it for an operator.

mod access_log;
mod acme;
mod addresses;
mod admin;
mod answer;
mod api;
mod audited_denials;
mod authorizer;
mod break_glass;
mod callers;
mod certificates;
mod channel;
mod collector;
mod config;
mod connections;
mod cors;
mod denials;
mod errors;
mod fetch;
mod foreign;
mod framing;
mod grant_template;
mod guard;
mod header_rules;
mod http2;
mod judge;
mod lanes;
mod limiter;
mod limiting;
mod metrics;
mod mirror;
mod network;
mod origin;
mod pace;
mod per_address;
mod plans;
mod proxy;
mod proxy_protocol;
mod readiness;
mod redirect;
mod reload;
mod renewal;
mod request;
mod request_id;
mod roles;
mod routes;
mod run;
mod scope;
mod second_look;
mod server_link;
mod small_server;
mod snapshot;
mod socket_client;
mod spans;
mod subject;
mod tls;
mod together;
mod tokens;
mod told_revocations;
mod upstreams;
mod wire;

#[cfg(test)]
mod testing;

pub use access_log::AccessLog;
pub use acme::{Acme, AcmeChallenge, AcmeError};
pub use addresses::{AddressBlock, Addresses, InvalidAddressBlock, ToldBy};
pub use api::{Reconfigure, Reconfiguring};
pub use authorizer::WrittenAuthorizer;
pub use certificates::{CertificateClients, CertificateError, WrittenCertificate};
pub use collector::{Collector, CollectorError, CollectorUrl, InvalidCollectorUrl};
pub use config::{Cors, GatewayConfig, Limits, UpstreamTimeouts};
pub use denials::{Denial, Denials};
pub use errors::GatewayError;
pub use fetch::{AuthorityUnreadable, InvalidIssuerUrl, IssuerUrl};
pub use header_rules::WrittenHeaderRules;
pub use lanes::LaneSizes;
pub use limiter::Rate;
pub use limiting::{
    CounterStore, Exchanged, Granted, LedgerError, LimitShown, Limiting, LimitsShown, RedisStore,
    RedisStoreError, Report, Reported, StoreError,
};
pub use plans::{
    Plan, PlanError, Plans, Span, Unit, Window, WindowKind, WrittenAtOnce, WrittenPlan,
    WrittenQuota, WrittenRate,
};
pub use reload::{NotDone, Reload, Then};
pub use roles::{Rights, Role, RoleError, RoleProblem, Roles, WrittenRole, WrittenRule};
pub use routes::{
    Access, Content, Promise, RouteProblem, Routing, RoutingError, WrittenHeader, WrittenMirror,
    WrittenRoute, WrittenShare,
};
pub use run::{Bound, run};
pub use server_link::ServerLink;
pub use subject::SubjectKey;
pub use tls::{CertificateFiles, ClientCertificates, Tls, TlsError};
pub use tokens::{
    IssuerError, TokenIssuer, WrittenIntrospection, WrittenIssuer, WrittenTokenClient,
};
pub use upstreams::{
    Balancing, Enforces, Environment, Scheme, SecretError, TlsError as UpstreamTlsError,
    UpstreamError, WrittenCredentials, WrittenEndpoint, WrittenHealth, WrittenTls, WrittenToken,
    WrittenUpstream,
};

use std::time::Duration;

use contract::Instant;

/// pingora's debug and trace lines hold whole request heads; they are compiled out of every build
/// that has the gateway in it.
const _: () = assert!(log::STATIC_MAX_LEVEL as usize <= log::LevelFilter::Warn as usize);

/// The instant that much later.
fn later(now: Instant, by: Duration) -> Instant {
    let micros = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
    Instant::from_micros(now.as_micros().saturating_add(micros))
}
