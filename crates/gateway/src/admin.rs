//! The admin listener: the admin API below `/admin`, and `/metrics`, `/livez`, `/readyz`. No client of
//! the FHIR API comes here.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use contract::Clock;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use registry::{CertificateDigest, Registry, Standing};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::watch;
use trace::Tracer;

use crate::access_log::Lines;
use crate::acme::{AcmeKeeper, AcmeState};
use crate::api::{self, Api, Peer};
use crate::channel::ChannelKeeper;
use crate::limiting::Limiting;
use crate::metrics::Metrics;
use crate::small_server::{SmallServer, Stream, answer};
use crate::snapshot::Current;
use crate::tls::{Acceptor, peer_certificate};

/// How long a question's head may take.
const HEAD_LIMIT: Duration = Duration::from_secs(5);

/// What the admin listener answers from.
pub(crate) struct Admin {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) lines: Lines,
    pub(crate) tracer: Arc<Tracer>,
    pub(crate) limiting: Arc<Limiting>,
    pub(crate) current: Arc<Current>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) registry: Arc<Registry>,
    /// None where the server of ours is not behind this gateway.
    pub(crate) channel: Option<Arc<ChannelKeeper>>,
    /// Where a certificate is had by ACME.
    pub(crate) acme: Option<Arc<AcmeKeeper>>,
    pub(crate) shutdown: watch::Receiver<bool>,
    /// What operators may do.
    pub(crate) api: Arc<Api>,
    /// Where the listener speaks TLS.
    pub(crate) tls: Option<Arc<Acceptor>>,
}

/// An answer on its way.
type Answering =
    Pin<Box<dyn Future<Output = Result<Response<Full<Bytes>>, Infallible>> + Send + 'static>>;

/// The parts of readiness, each by the condition that holds or does not.
#[derive(Debug, Serialize)]
struct Readiness {
    ready: bool,
    parts: Parts,
    /// How limits are counted: without the store of shared counters it is ready all the same.
    counters: &'static str,
    /// Whether what other gateways change in the registry is seen: without PostgreSQL, or behind
    /// it, it is ready all the same, as long as waiting may mend that.
    #[serde(skip_serializing_if = "Option::is_none")]
    registry: Option<&'static str>,
    /// How it stands with the certificate by ACME: while there is one it is ready all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    acme: Option<AcmeState>,
    /// Why the server is not ready, where it says so, or what is wrong with the registry.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Debug, Serialize)]
struct Parts {
    /// The gateway takes new requests: it was not told to stop.
    gateway: bool,
    /// The channel's secret is held.
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<bool>,
    /// The server on another host takes connections for requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    requests: Option<bool>,
    /// The server says that it can answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<bool>,
    /// What other gateways change in the registry can be followed.
    #[serde(skip_serializing_if = "Option::is_none")]
    registry: Option<bool>,
    /// Each upstream of others has an endpoint that is well, and says the base it should.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    upstreams: BTreeMap<String, bool>,
}

/// Serves the admin listener for as long as it is polled.
pub(crate) async fn serve(listener: TcpListener, admin: Arc<Admin>) {
    let mut server = SmallServer::new(HEAD_LIMIT);
    loop {
        let accepted = server.tend(listener.accept()).await;
        match accepted {
            Ok((stream, address)) => {
                let (admin, address) = (admin.clone(), address.ip().to_canonical());
                server.begin_with(async move {
                    let Some(tls) = &admin.tls else {
                        let peer = Peer { address, certificate: None };
                        return Some((Stream::Plain(stream), admin.answering(peer)));
                    };
                    // Whoever does not shake hands has nobody to be told by.
                    let stream = tls.accept_operator(stream, HEAD_LIMIT).await?;
                    let shown = peer_certificate(&stream);
                    let certificate = shown.map(|shown| CertificateDigest::of(shown.der()));
                    let answering = admin.answering(Peer { address, certificate });
                    Some((Stream::Tls(Box::new(stream)), answering))
                });
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

impl Admin {
    /// What answers the requests of one connection.
    fn answering(self: &Arc<Self>, peer: Peer) -> impl Fn(Request<Incoming>) -> Answering + use<> {
        let admin = self.clone();
        move |request| {
            let (admin, peer) = (admin.clone(), peer.clone());
            Box::pin(async move {
                Ok(if api::is_below(request.uri().path()) {
                    admin.api.clone().answer(request, peer).await
                } else {
                    admin.answer(&request).await
                })
            })
        }
    }

    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            let mut refused = answer(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "only GET\n");
            refused
                .headers_mut()
                .insert(header::ALLOW, header::HeaderValue::from_static("GET, HEAD"));
            return refused;
        }
        match request.uri().path() {
            "/metrics" => self.metrics(),
            "/livez" => answer(StatusCode::OK, "text/plain", "alive\n"),
            "/readyz" => self.readiness().await,
            _ => answer(
                StatusCode::NOT_FOUND,
                "text/plain",
                "/metrics, /livez, /readyz, and the admin API at /admin/v1/openapi.json\n",
            ),
        }
    }

    fn metrics(&self) -> Response<Full<Bytes>> {
        let dropped = i64::try_from(self.lines.dropped()).unwrap_or(i64::MAX);
        self.metrics.log_lines_dropped.set(dropped);
        self.metrics.note_spans(self.tracer.counts());
        self.metrics.registry.note(&self.registry);
        let upstreams = &self.current.take().upstreams;
        self.metrics.upstreams.note(upstreams, self.clock.monotonic());
        answer(StatusCode::OK, "text/plain; version=0.0.4", self.metrics.render())
    }

    async fn readiness(&self) -> Response<Full<Bytes>> {
        let server = match &self.channel {
            Some(channel) => Some(channel.server_readiness().await),
            None => None,
        };
        let standing = self.registry.standing();
        let followed = standing != Standing::Alone;
        let snapshot = self.current.take();
        let upstreams = snapshot.upstreams.readiness(self.clock.monotonic());
        let parts = Parts {
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
        let reason = server.and_then(|server| server.reason).or(stuck);
        let registry = followed.then(|| standing.word());
        let ready = parts.gateway
            && parts.channel != Some(false)
            && parts.requests != Some(false)
            && parts.server != Some(false)
            && parts.registry != Some(false)
            && parts.upstreams.values().all(|ready| *ready);
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let counters = self.limiting.counting().word();
        let acme = self.acme.as_ref().map(|acme| acme.state());
        let readiness = Readiness { ready, parts, counters, registry, acme, reason };
        let body = serde_json::to_vec(&readiness).unwrap_or_default();
        answer(status, "application/json", body)
    }
}
