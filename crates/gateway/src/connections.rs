//! Client connections: accepted, counted, served, and at the end drained.
//!
//! pingora can run its own accept loop, but only on a runtime of its own, without telling which
//! port it got, and stopping after a fixed time whether requests are done or not. Here a stop is
//! exact: no connection is accepted any more, idle ones close at once, each request in flight
//! finishes, and what has not finished when the drain time is over is cut off.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use contract::Clock;
use pingora::apps::{HttpServerApp, ReusedHttpStream};
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::proxy::HttpProxy;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use crate::access_log::{Line, Lines};
use crate::config::Limits;
use crate::errors::Refusal;
use crate::metrics::{Metrics, RouteLabel};
use crate::network::network;
use crate::proxy::Gateway;
use crate::request::NO_INTERACTION;
use crate::wire::Wire;

/// How long accepting rests when the system has no more file descriptors to give.
const REST: Duration = Duration::from_millis(100);

/// Where heads that cannot be parsed are counted and logged: no hook of the proxy sees them.
pub(crate) struct MalformedHeads {
    pub(crate) answer: Bytes,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) lines: Lines,
}

impl std::fmt::Debug for MalformedHeads {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("MalformedHeads")
    }
}

impl MalformedHeads {
    /// Counts and logs one.
    pub(crate) fn refused(&self) {
        let refusal = Refusal::MalformedHead;
        self.metrics.refusals.with_label_values(&[refusal.reason()]).inc();
        self.lines.write(&Line {
            time: self.clock.now(),
            request_id: "-",
            client: None,
            method: "other",
            route: RouteLabel::None.text(),
            interaction: NO_INTERACTION,
            status: refusal.status(),
            bytes_in: 0,
            bytes_out: u64::try_from(self.answer.len()).unwrap_or(u64::MAX),
            duration: Duration::ZERO,
            upstream: None,
            cost: None,
            refusal: Some(refusal.reason()),
        });
    }
}

/// The accept loop and all connections.
pub(crate) struct Connections {
    listener: TcpListener,
    proxy: Arc<HttpProxy<Gateway>>,
    limits: Limits,
    drain: Duration,
    metrics: Arc<Metrics>,
    malformed: Arc<MalformedHeads>,
    shutdown: watch::Receiver<bool>,
    open: JoinSet<IpAddr>,
    by_address: HashMap<IpAddr, usize>,
}

impl Connections {
    pub(crate) fn new(
        listener: TcpListener,
        proxy: Arc<HttpProxy<Gateway>>,
        limits: Limits,
        drain: Duration,
        malformed: Arc<MalformedHeads>,
        shutdown: watch::Receiver<bool>,
    ) -> Self {
        Self {
            listener,
            proxy,
            limits,
            drain,
            metrics: malformed.metrics.clone(),
            malformed,
            shutdown,
            open: JoinSet::new(),
            by_address: HashMap::new(),
        }
    }

    /// Serves until told to stop, then drains.
    pub(crate) async fn serve(mut self) {
        let mut shutdown = self.shutdown.clone();
        loop {
            tokio::select! {
                // An owner that is gone cannot tell us any more: its end is the signal.
                () = async { drop(shutdown.wait_for(|stop| *stop).await) } => break,
                Some(ended) = self.open.join_next(), if !self.open.is_empty() => {
                    self.forget(ended);
                }
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, peer)) => self.begin(stream, peer),
                    Err(error) => {
                        tracing::warn!(error = &error as &dyn std::error::Error, "cannot accept");
                        tokio::time::sleep(REST).await;
                    }
                },
            }
        }
        self.finish().await;
    }

    async fn finish(self) {
        let Self { listener, proxy, drain, mut open, metrics, .. } = self;
        drop(listener);
        proxy.http_cleanup().await;
        let drained = async { while open.join_next().await.is_some() {} };
        if tokio::time::timeout(drain, drained).await.is_err() {
            tracing::warn!(
                connections = open.len(),
                "requests had not finished when the drain time was over"
            );
            open.shutdown().await;
        }
        metrics.connections_open.set(0);
    }

    fn begin(&mut self, stream: TcpStream, peer: SocketAddr) {
        let address = network(peer.ip());
        let from_address = self.by_address.get(&address).copied().unwrap_or(0);
        let reason = if self.open.len() >= self.limits.connections {
            Some("too-many")
        } else if from_address >= self.limits.connections_per_address {
            Some("too-many-from-address")
        } else {
            None
        };
        if let Some(reason) = reason {
            self.metrics.connections_refused.with_label_values(&[reason]).inc();
            return;
        }
        let wire = Wire::new(stream, peer, self.limits.header_timeout, self.malformed.clone());
        // Fails for a client that is gone already.
        let Ok(wire) = wire else { return };
        self.by_address.insert(address, from_address + 1);
        self.metrics.connections.inc();
        self.metrics.connections_open.inc();
        let proxy = self.proxy.clone();
        let shutdown = self.shutdown.clone();
        let idle = self.limits.idle;
        self.open.spawn(async move {
            serve_connection(Box::new(wire), &proxy, &shutdown, idle).await;
            address
        });
    }

    fn forget(&mut self, ended: Result<IpAddr, JoinError>) {
        self.metrics.connections_open.dec();
        let address = match ended {
            Ok(address) => address,
            Err(error) => {
                // Whose it was is lost with it, so that its address keeps the count.
                tracing::error!(error = &error as &dyn std::error::Error, "a connection failed");
                return;
            }
        };
        if let Some(count) = self.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&address);
            }
        }
    }
}

/// One request after the other.
async fn serve_connection(
    stream: Stream,
    proxy: &Arc<HttpProxy<Gateway>>,
    shutdown: &watch::Receiver<bool>,
    idle: Duration,
) {
    let mut session = ServerSession::new_http1(stream);
    session.set_keepalive(Some(idle.as_secs().max(1)));
    session.set_pipelining_enabled(true);
    let mut reused = proxy.process_new_http(session, shutdown).await;
    while let Some((stream, settings)) = reused.map(ReusedHttpStream::consume) {
        if let Some(wire) = (*stream).as_any().downcast_ref::<Wire>() {
            wire.await_next_head();
        }
        let mut session = ServerSession::new_http1(stream);
        if let Some(settings) = settings {
            settings.apply_to_session(&mut session);
        }
        reused = proxy.process_new_http(session, shutdown).await;
    }
}
