//! The admin listener: the admin API below `/admin`, and `/metrics`, `/livez`, `/readyz`. No client of
//! the FHIR API comes here.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use contract::Clock;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use registry::{CertificateDigest, Registry};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use trace::Tracer;

use crate::access_log::Lines;
use crate::api::{self, Api, Peer};
use crate::metrics::Metrics;
use crate::readiness::Watched;
use crate::small_server::{SmallServer, Stream, answer};
use crate::snapshot::Current;
use crate::tls::{Acceptor, peer_certificate};

/// How long a question's head may take.
const HEAD_LIMIT: Duration = Duration::from_secs(5);

/// How often it is looked whether the trail has to tell of refusals that were only counted.
const BETWEEN_TELLING: Duration = Duration::from_secs(5);

/// What the admin listener answers from.
pub(crate) struct Admin {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) lines: Lines,
    pub(crate) tracer: Arc<Tracer>,
    pub(crate) current: Arc<Current>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) registry: Arc<Registry>,
    /// What readiness is told from.
    pub(crate) watched: Arc<Watched>,
    /// What operators may do.
    pub(crate) api: Arc<Api>,
    /// Where the listener speaks TLS.
    pub(crate) tls: Option<Arc<Acceptor>>,
}

/// An answer on its way.
type Answering =
    Pin<Box<dyn Future<Output = Result<Response<Full<Bytes>>, Infallible>> + Send + 'static>>;

/// Serves the admin listener for as long as it is polled.
pub(crate) async fn serve(listener: TcpListener, admin: Arc<Admin>) {
    let mut server = SmallServer::new(HEAD_LIMIT);
    let mut due = tokio::time::interval(BETWEEN_TELLING);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Beside what is accepted, one at a time: it waits for the disk, which may hang.
    let mut telling = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = server.tend(listener.accept()) => accepted,
            _ = due.tick(), if telling.is_empty() => {
                let api = admin.api.clone();
                telling.spawn(async move { api.tell_refused().await });
                continue;
            }
            Some(_) = telling.join_next(), if !telling.is_empty() => continue,
        };
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
        let readiness = self.watched.readiness().await;
        let ready = readiness.ready;
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let body = serde_json::to_vec(&readiness).unwrap_or_default();
        answer(status, "application/json", body)
    }
}
