//! Upstreams that are not the server of ours: their endpoints, and what becomes of requests there.
//!
//! Each knows its endpoints' state, how many requests it may have, and what it is shown. Of what
//! is asked and answered it knows nothing.

mod ask;
mod balance;
mod breaker;
mod credentials;
mod health;
mod resolve;
mod target;
mod tls;
mod tokens;
mod watch;
mod written;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use contract::{Clock, Ids};
use http::{HeaderMap, HeaderValue};
use pingora::upstreams::peer::HttpPeer;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

pub(crate) use ask::{Asker, Question};
pub use balance::Balancing;
pub(crate) use balance::{hash, scatter, schedule};
pub(crate) use breaker::Breaker;
pub(crate) use credentials::Credentials;
pub use credentials::{Environment, SecretError, WrittenCredentials, WrittenToken};
pub(crate) use target::{OnTheWay, Row, Target};
pub use tls::TlsError;
pub(crate) use watch::Watch;
pub(crate) use written::UpstreamConfig;
pub use written::{Enforces, Scheme, WrittenEndpoint, WrittenHealth, WrittenTls, WrittenUpstream};

use crate::config::GatewayConfig;
use crate::metrics::{Tallies, UpstreamMetrics};
use balance::Balancer;
use credentials::Shown;
use resolve::Addresses;
use tls::Tls;
use watch::Lines;
use written::ExpectedBase;

/// How long an idle connection to an upstream is kept.
const KEPT_FOR: Duration = Duration::from_secs(30);

/// Why an upstream cannot be begun.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// TLS.
    #[error("the upstream {0} cannot be reached by TLS")]
    Tls(String, #[source] TlsError),
    /// Outgoing credentials.
    #[error("the upstream {0} cannot be shown its credentials")]
    Secret(String, #[source] SecretError),
}

/// One upstream.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) name: Arc<str>,
    pub(crate) config: UpstreamConfig,
    pub(crate) breaker: Arc<Breaker>,
    /// Room for WebSockets.
    pub(crate) sockets: Arc<Semaphore>,
    pub(crate) asker: Arc<Asker>,
    /// Servers of DNS that are asked for its endpoints; the system's where none is named.
    resolvers: Vec<SocketAddr>,
    balancer: ArcSwap<Balancer>,
    tls: Option<Tls>,
    lines: Arc<Lines>,
    shown: Option<Shown>,
    pub(crate) tallies: Tallies,
    /// A [`Base`].
    base: AtomicU8,
}

/// How an upstream is, for its metrics.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UpstreamState {
    /// Whether requests may be sent to it.
    pub(crate) is_ready: bool,
    /// Endpoints that get requests.
    pub(crate) available: usize,
    /// Endpoints that get none.
    pub(crate) out: usize,
    /// Requests that are under way.
    pub(crate) in_flight: usize,
    /// Requests that wait for room.
    pub(crate) waiting: usize,
}

/// How an endpoint is, for an operator.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EndpointState {
    pub(crate) address: SocketAddr,
    /// Requests that are on their way to it.
    pub(crate) in_flight: u32,
    /// Why it gets none; `None` where it does.
    pub(crate) why: Option<&'static str>,
}

/// What is known of the base that an upstream says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Base {
    /// Nobody asks, or it is the right one.
    Right,
    /// It was not asked yet.
    Unknown,
    /// It is another.
    Other,
}

/// All upstreams.
pub(crate) struct Upstreams {
    by_name: BTreeMap<Arc<str>, Arc<Kept>>,
    /// Made with the first of them: it reads the system's authorities.
    asker: Arc<OnceLock<Arc<Asker>>>,
    metrics: UpstreamMetrics,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
}

/// An upstream with the tasks that keep it current; these end with it.
#[derive(Debug)]
struct Kept {
    upstream: Arc<Upstream>,
    _tasks: JoinSet<()>,
}

impl Upstreams {
    /// Begins with all that are configured.
    pub(crate) fn start(
        config: &GatewayConfig,
        metrics: &UpstreamMetrics,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
    ) -> Result<Self, UpstreamError> {
        let (asker, metrics) = (Arc::default(), metrics.clone());
        Self { by_name: BTreeMap::new(), asker, metrics, clock, ids }.renewed(config)
    }

    /// Those of another configuration. One that is the same and reads no file goes on as it is. Of
    /// another with the same endpoints their addresses are known from the start, and what is known
    /// of each; where its caps are the same, what is under way counts against them still.
    pub(crate) fn renewed(&self, config: &GatewayConfig) -> Result<Self, UpstreamError> {
        let mut by_name = BTreeMap::new();
        for (name, written) in &config.routing.upstreams {
            let before = self
                .by_name
                .get(name)
                .filter(|kept| kept.upstream.config.endpoints == written.endpoints);
            let same = before.filter(|kept| {
                kept.upstream.config == *written
                    && kept.upstream.resolvers == config.resolvers
                    && written.credentials.is_none()
                    && written.tls == WrittenTls::default()
            });
            let kept = match same {
                Some(kept) => kept.clone(),
                None => {
                    let begun = self.begin(name, written, config, before)?;
                    Arc::new(begun)
                }
            };
            by_name.insert(name.clone(), kept);
        }
        for kept in by_name.values() {
            if let Some(Shown::Token(tokens)) = &kept.upstream.shown
                && let Some(giver) = by_name.get(tokens.giver())
            {
                tokens.given_by(giver.upstream.clone());
            }
        }
        let (asker, clock, ids) = (self.asker.clone(), self.clock.clone(), self.ids.clone());
        Ok(Self { by_name, asker, metrics: self.metrics.clone(), clock, ids })
    }

    fn begin(
        &self,
        name: &Arc<str>,
        config: &UpstreamConfig,
        gateway: &GatewayConfig,
        before: Option<&Arc<Kept>>,
    ) -> Result<Kept, UpstreamError> {
        let credentials = config.credentials.as_ref();
        let shown =
            credentials.map(|known| known.shown(gateway.environment, &self.clock, &self.ids));
        let shown = shown.transpose();
        let shown = shown.map_err(|error| UpstreamError::Secret(name.to_string(), error))?;
        let asker = self.asker.get_or_init(|| Arc::new(Asker::new())).clone();
        let seen = (shown, self.metrics.of(name));
        let mut upstream = Upstream::new(name, config, seen, asker)?;
        upstream.resolvers.clone_from(&gateway.resolvers);
        if let Some(before) = before {
            upstream.follows(&before.upstream);
        }
        let upstream = Arc::new(upstream);
        let mut tasks = JoinSet::new();
        if resolve::has_names(&config.endpoints) {
            tasks.spawn(resolve::keep_resolving(upstream.clone()));
        }
        if let Some(health) = &config.health {
            tasks.spawn(health::keep_checking(upstream.clone(), health.clone()));
        }
        Ok(Kept { upstream, _tasks: tasks })
    }

    /// The upstream of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&Arc<Upstream>> {
        self.by_name.get(name).map(|kept| &kept.upstream)
    }

    /// Every upstream, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        self.by_name.values().map(|kept| &kept.upstream)
    }

    /// Each upstream's name, and how it is.
    pub(crate) fn states(&self, now: Duration) -> impl Iterator<Item = (&str, UpstreamState)> {
        self.by_name.iter().map(move |(name, kept)| (&**name, kept.upstream.state(now)))
    }

    /// Each upstream's name, and whether requests may be sent to it.
    pub(crate) fn readiness(&self, now: Duration) -> impl Iterator<Item = (&str, bool)> {
        self.by_name.iter().map(move |(name, kept)| (&**name, kept.upstream.is_ready(now)))
    }
}

impl Upstream {
    fn new(
        name: &Arc<str>,
        config: &UpstreamConfig,
        (shown, tallies): (Option<Shown>, Tallies),
        asker: Arc<Asker>,
    ) -> Result<Self, UpstreamError> {
        let tls = Tls::load(name, config);
        let asks = config.health.as_ref().is_some_and(|health| health.base.is_some());
        let base = if asks { Base::Unknown } else { Base::Right };
        let upstream = Self {
            name: name.clone(),
            breaker: Arc::new(Breaker::new(config.in_flight, config.pending)),
            sockets: Arc::new(Semaphore::new(config.sockets)),
            asker,
            resolvers: Vec::new(),
            balancer: ArcSwap::from_pointee(Balancer::new(config.balancing, Vec::new())),
            tls: tls.map_err(|error| UpstreamError::Tls(name.to_string(), error))?,
            lines: Arc::new(Lines { limit: config.connect }),
            shown,
            tallies,
            base: AtomicU8::new(base as u8),
            config: config.clone(),
        };
        upstream.is_at(&resolve::written_addresses(&config.endpoints));
        Ok(upstream)
    }

    /// Takes over what is known of the same endpoints.
    fn follows(&mut self, before: &Self) {
        let targets = before.balancer();
        let mut followed: Vec<Arc<Target>> = Vec::with_capacity(targets.targets().len());
        for target in targets.targets() {
            let (address, state) = (target.address, target.state().clone());
            followed.push(Arc::new(Target::new(address, target.weight, self.peer(address), state)));
        }
        self.balancer.store(Arc::new(Balancer::new(self.config.balancing, followed)));
        let (new, old) = (&self.config, &before.config);
        if (new.in_flight, new.pending) == (old.in_flight, old.pending) {
            self.breaker = before.breaker.clone();
        }
        if new.sockets == old.sockets {
            self.sockets = before.sockets.clone();
        }
        if new.health == old.health {
            self.base.store(before.base.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// The balancer of this moment.
    fn balancer(&self) -> Arc<Balancer> {
        self.balancer.load_full()
    }

    /// Its endpoints are at these addresses from now on. What is known of those that stay, stays.
    fn is_at(&self, addresses: &Addresses) {
        let before = self.balancer();
        let mut targets: Vec<Arc<Target>> = Vec::with_capacity(addresses.len());
        for (address, weight) in addresses {
            if targets.iter().any(|target| target.address == *address) {
                continue;
            }
            let known = before
                .targets()
                .iter()
                .find(|target| target.address == *address && target.weight == *weight);
            targets.push(match known {
                Some(target) => target.clone(),
                None => {
                    let peer = self.peer(*address);
                    Arc::new(Target::new(*address, *weight, peer, Arc::default()))
                }
            });
        }
        if targets.len() == before.targets().len()
            && targets.iter().zip(before.targets()).all(|(new, old)| Arc::ptr_eq(new, old))
        {
            return;
        }
        self.balancer.store(Arc::new(Balancer::new(self.config.balancing, targets)));
    }

    fn peer(&self, address: SocketAddr) -> HttpPeer {
        let name = self.tls.as_ref().map_or("", |tls| tls.name());
        let mut peer = HttpPeer::new(address, self.tls.is_some(), name.to_owned());
        if let Some(tls) = &self.tls {
            tls.dress(&mut peer);
        }
        peer.options.connection_timeout = Some(self.config.connect);
        peer.options.total_connection_timeout = Some(self.config.connect);
        peer.options.idle_timeout = Some(KEPT_FOR);
        peer.options.custom_l4 = Some(self.lines.clone());
        peer
    }

    /// An available endpoint other than `except`, counted as busy.
    pub(crate) fn choose(
        &self,
        headers: &HeaderMap,
        now: Duration,
        except: Option<&Target>,
    ) -> Option<OnTheWay> {
        let key = self.config.hash_header.as_ref().and_then(|name| headers.get(name));
        let key = key.map(HeaderValue::as_bytes);
        let balancer = self.balancer.load();
        balancer.choose(key, now, except).map(Target::begin)
    }

    /// The value of `Authorization` that it is shown, where it is shown one. It is waited for no
    /// longer than `limit` takes.
    pub(crate) async fn authorization(
        &self,
        limit: impl Future<Output = ()>,
    ) -> Result<Option<HeaderValue>, NoToken> {
        match &self.shown {
            None => Ok(None),
            Some(Shown::Header(header)) => Ok(Some(header.clone())),
            Some(Shown::Token(tokens)) => tokio::select! {
                biased;
                header = tokens.header() => header.map(Some).map_err(|error| {
                    tracing::debug!(
                        upstream = &*self.name,
                        error = &error as &dyn std::error::Error,
                        "there is no access token for it"
                    );
                    NoToken
                }),
                () = limit => Err(NoToken),
            },
        }
    }

    /// It did not take what it was shown: a token is asked for anew, once in a while.
    pub(crate) fn refused(&self, authorization: Option<&HeaderValue>) {
        if let (Some(Shown::Token(tokens)), Some(header)) = (&self.shown, authorization) {
            tokens.refused(header);
        }
    }

    /// The Host that it is asked by: its own, the client's, or its endpoint's name.
    pub(crate) fn host_for(&self, client: Option<&HeaderValue>) -> HeaderValue {
        let own = self.config.host.as_ref().or(client).cloned();
        own.unwrap_or_else(|| {
            let name = self.config.endpoints.first().map_or("", |endpoint| endpoint.host.as_str());
            HeaderValue::try_from(name).unwrap_or_else(|_| HeaderValue::from_static("localhost"))
        })
    }

    fn state(&self, now: Duration) -> UpstreamState {
        let balancer = self.balancer.load();
        let targets = balancer.targets();
        let available = targets.iter().filter(|target| target.is_available(now)).count();
        UpstreamState {
            is_ready: self.is_ready(now),
            available,
            out: targets.len() - available,
            in_flight: self.config.in_flight.saturating_sub(self.breaker.room()),
            waiting: self.breaker.waiting(),
        }
    }

    /// Whether requests may be sent to it.
    pub(crate) fn is_ready(&self, now: Duration) -> bool {
        self.base.load(Ordering::Relaxed) == Base::Right as u8
            && self.balancer.load().targets().iter().any(|target| target.is_available(now))
    }

    /// Why no requests may be sent to it, for an operator; `None` where they may.
    pub(crate) fn why_not(&self, now: Duration) -> Option<&'static str> {
        if self.base.load(Ordering::Relaxed) == Base::Unknown as u8 {
            Some("no health check has said yet which base its links are on")
        } else if self.base.load(Ordering::Relaxed) == Base::Other as u8 {
            Some("its links lead past the gateway; tell it its public base")
        } else if self.balancer.load().targets().is_empty() {
            Some("no address of its endpoints is known yet")
        } else if self.is_ready(now) {
            None
        } else {
            Some("none of its endpoints is well")
        }
    }

    /// Its endpoints, and how each is.
    pub(crate) fn endpoints(&self, now: Duration) -> Vec<EndpointState> {
        let balancer = self.balancer.load();
        let state = |target: &Arc<Target>| EndpointState {
            address: target.address,
            in_flight: target.in_flight(),
            why: target.why_not(now),
        };
        balancer.targets().iter().map(state).collect()
    }

    /// A check read which base it says.
    fn says_base(&self, expected: &ExpectedBase, said: Option<&str>) {
        let base = if expected.is_met_by(said) { Base::Right } else { Base::Other };
        let before = self.base.swap(base as u8, Ordering::Relaxed);
        if before != base as u8 && base == Base::Other {
            tracing::warn!(
                upstream = &*self.name,
                expected = expected.base,
                said,
                "its links lead past the gateway: it has to be told its public base; its routes \
                 are not ready"
            );
        }
    }
}

/// No access token can be had for an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoToken;

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream(text: serde_json::Value) -> Upstream {
        let written: WrittenUpstream = serde_json::from_value(text).expect("an upstream");
        let config = written.check().expect("a sound one");
        let metrics = crate::metrics::Metrics::new().expect("the names are valid");
        let tallies = metrics.upstreams.of("lab");
        let upstream =
            Upstream::new(&"lab".into(), &config, (None, tallies), Arc::new(Asker::new()));
        upstream.expect("it begins")
    }

    // GW-014
    #[test]
    fn endpoints_that_a_name_still_stands_for_keep_what_is_known_of_them() {
        let upstream = upstream(serde_json::json!({
            "endpoints": [{"address": "lab.example:80"}], "enforces": "none",
        }));
        let now = Duration::ZERO;
        let headers = HeaderMap::new();
        assert!(!upstream.is_ready(now), "nobody knows the name yet");
        let at = |addresses: &[&str]| {
            let parsed = addresses.iter().map(|text| (text.parse().expect("an address"), 1));
            upstream.is_at(&parsed.collect());
        };
        at(&["10.0.0.1:80", "10.0.0.2:80", "10.0.0.2:80"]);
        assert!(upstream.is_ready(now));
        let balancer = upstream.balancer();
        assert_eq!(balancer.targets().len(), 2);
        let stays = balancer.targets()[1].clone();
        stays.checked(false, 1, 1);
        at(&["10.0.0.2:80", "10.0.0.3:80"]);
        let balancer = upstream.balancer();
        assert!(Arc::ptr_eq(&balancer.targets()[0], &stays));
        for _ in 0..4 {
            let chosen = upstream.choose(&headers, now, None).expect("the new one is well");
            assert_eq!(chosen.target().address.to_string(), "10.0.0.3:80");
        }
    }
}
