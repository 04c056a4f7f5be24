//! Whether the gateway can answer requests, and what it waits for: for `/readyz`, and for operators.

use std::collections::BTreeMap;
use std::sync::Arc;

use contract::Clock;
use prometheus::IntGauge;
use registry::{Registry, Standing};
use serde::Serialize;
use tokio::sync::watch;

use crate::acme::{AcmeKeeper, AcmeState};
use crate::channel::{Apart, ChannelKeeper};
use crate::limiting::Limiting;
use crate::snapshot::Current;

/// From so many seconds on it is said that the server is not told what is revoked.
const UNTOLD_IS_SAID: u64 = 10;

/// What readiness is told from.
pub(crate) struct Watched {
    pub(crate) limiting: Arc<Limiting>,
    pub(crate) current: Arc<Current>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) registry: Arc<Registry>,
    /// For how many seconds the server has not been told what was revoked.
    pub(crate) untold: IntGauge,
    /// None where the server of ours is not behind this gateway.
    pub(crate) channel: Option<Arc<ChannelKeeper>>,
    /// Where a certificate is had by ACME.
    pub(crate) acme: Option<Arc<AcmeKeeper>>,
    pub(crate) shutdown: watch::Receiver<bool>,
}

/// The parts of readiness, each by the condition that holds or does not.
#[derive(Debug, Serialize)]
pub(crate) struct Readiness {
    pub(crate) ready: bool,
    pub(crate) parts: Parts,
    /// How limits are counted: without the store of shared counters it is ready all the same.
    pub(crate) counters: &'static str,
    /// Whether what other gateways change in the registry is seen: without PostgreSQL, or behind
    /// it, it is ready all the same, as long as waiting may mend that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) registry: Option<&'static str>,
    /// How it stands with the certificate by ACME: while there is one it is ready all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) acme: Option<AcmeState>,
    /// How far the clocks of gateway and server differ, where that is to be mended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) clocks_differ_seconds: Option<u64>,
    /// For how long the server has not been told what was revoked, where that lasts: it is ready all
    /// the same, and what the server works on goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) revocations_untold_seconds: Option<u64>,
    /// Why the server is not ready, where it says so, or what is wrong with the registry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Parts {
    /// The gateway takes new requests: it was not told to stop.
    pub(crate) gateway: bool,
    /// The channel's secret is held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) channel: Option<bool>,
    /// The server on another host takes connections for requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) requests: Option<bool>,
    /// The server says that it can answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server: Option<bool>,
    /// The clocks of gateway and server are as near as the grants of requests take it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) clocks: Option<bool>,
    /// What other gateways change in the registry can be followed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) registry: Option<bool>,
    /// Each upstream of others has an endpoint that is well, and says the base it should.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) upstreams: BTreeMap<String, bool>,
}

impl Watched {
    /// How it stands now; the server is asked.
    pub(crate) async fn readiness(&self) -> Readiness {
        let server = match &self.channel {
            Some(channel) => Some(channel.server_readiness().await),
            None => None,
        };
        let standing = self.registry.standing();
        let followed = standing != Standing::Alone;
        let snapshot = self.current.take();
        let upstreams = snapshot.upstreams.readiness(self.clock.monotonic());
        let clocks = server.as_ref().and_then(|server| server.clocks);
        let untold = u64::try_from(self.untold.get()).unwrap_or_default();
        let parts = Parts {
            clocks: clocks.map(Apart::is_borne),
            gateway: !*self.shutdown.borrow(),
            channel: self.channel.as_ref().map(|channel| channel.is_there()),
            requests: server.as_ref().and_then(|server| server.requests),
            server: server.as_ref().map(|server| server.ready),
            registry: followed.then_some(!matches!(standing, Standing::Stuck { .. })),
            upstreams: upstreams.map(|(name, ready)| (name.to_owned(), ready)).collect(),
        };
        let stuck = match &standing {
            Standing::Stuck { reason, .. } => Some(reason.clone()),
            _ => None,
        };
        let differ = clocks.and_then(Apart::in_words);
        let reason = server.and_then(|server| server.reason).or(stuck).or(differ);
        let registry = followed.then(|| standing.word());
        let ready = parts.gateway
            && parts.channel != Some(false)
            && parts.requests != Some(false)
            && parts.server != Some(false)
            && parts.clocks != Some(false)
            && parts.registry != Some(false)
            && parts.upstreams.values().all(|ready| *ready);
        let counters = self.limiting.counting().word();
        let acme = self.acme.as_ref().map(|acme| acme.state());
        Readiness {
            ready,
            parts,
            counters,
            registry,
            acme,
            clocks_differ_seconds: clocks.and_then(Apart::seconds),
            revocations_untold_seconds: (untold >= UNTOLD_IS_SAID).then_some(untold),
            reason,
        }
    }
}
