//! Client connections: accepted, counted, served, and at the end drained.
//!
//! pingora can run its own accept loop, but only on a runtime of its own, without telling which
//! port it got, and stopping after a fixed time whether requests are done or not. Here a stop is
//! exact: no connection is accepted any more, those that stay idle close, each request in flight
//! finishes, and what has not finished when the drain time is over is cut off.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use contract::Clock;
use pingora::apps::{HttpServerApp, ReusedHttpStream};
use pingora::protocols::http::ServerSession;
use pingora::proxy::HttpProxy;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::access_log::{Line, Lines};
use crate::addresses::{Addresses, ToldBy};
use crate::config::Limits;
use crate::errors::Refusal;
use crate::http2;
use crate::metrics::{Metrics, RouteLabel};
use crate::origin::{Origin, Protection};
use crate::per_address::{Most, OfAddress, PerAddress};
use crate::proxy::Gateway;
use crate::proxy_protocol;
use crate::request::NO_INTERACTION;
use crate::snapshot::Current;
use crate::tls::{self, Acceptor, Protocol};
use crate::wire::{Transport, Wire};

/// How long accepting rests when the system has no more file descriptors to give.
const REST: Duration = Duration::from_millis(100);

/// How long after it was accepted a connection without a request is not closed by a stop.
const FRESH: Duration = Duration::from_secs(2);

/// How long a stop lets a connection that was used wait for its next request. A client that was
/// answered a moment before may have sent it already, and would be cut off (RFC 9112, 9.6); one
/// that asks within that time is told by the answer that the connection ends.
const NEXT: Duration = Duration::from_millis(500);

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
            subject: None,
            method: "other",
            route: RouteLabel::None.text(),
            upstream: None,
            trace_id: None,
            interaction: NO_INTERACTION,
            status: refusal.status(),
            bytes_in: 0,
            bytes_out: u64::try_from(self.answer.len()).unwrap_or(u64::MAX),
            duration: Duration::ZERO,
            upstream_took: None,
            cost: None,
            limit: None,
            refusal: Some(refusal.reason()),
        });
    }
}

/// The accept loop and all connections.
pub(crate) struct Connections {
    listener: TcpListener,
    drain: Duration,
    door: Arc<Door>,
    shutdown: watch::Receiver<bool>,
    open: JoinSet<()>,
}

/// What every connection is served with.
pub(crate) struct Door {
    pub(crate) proxy: Arc<HttpProxy<Gateway>>,
    pub(crate) current: Arc<Current>,
    /// How long the server may be silent within an answer.
    pub(crate) answer_within: Duration,
    /// Absent where plain HTTP is spoken.
    pub(crate) tls: Option<Arc<Acceptor>>,
    pub(crate) malformed: Arc<MalformedHeads>,
    /// Connections by whose they are: by the client's address where a proxy names it.
    pub(crate) by_address: Arc<PerAddress>,
}

impl Connections {
    pub(crate) fn new(
        listener: TcpListener,
        door: Door,
        drain: Duration,
        shutdown: watch::Receiver<bool>,
    ) -> Self {
        let door = Arc::new(door);
        Self { listener, drain, door, shutdown, open: JoinSet::new() }
    }

    /// Serves until told to stop, then drains.
    pub(crate) async fn serve(mut self) {
        let mut shutdown = self.shutdown.clone();
        loop {
            tokio::select! {
                // An owner that is gone cannot tell us any more: its end is the signal.
                () = async { drop(shutdown.wait_for(|stop| *stop).await) } => break,
                Some(ended) = self.open.join_next(), if !self.open.is_empty() => {
                    self.door.metrics().connections_open.dec();
                    if let Err(error) = ended {
                        let error = &error as &dyn std::error::Error;
                        tracing::error!(error, "a connection failed");
                    }
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
        let Self { listener, door, drain, mut open, .. } = self;
        drop(listener);
        let drained = async {
            tokio::select! {
                () = async { while open.join_next().await.is_some() {} } => return,
                () = tokio::time::sleep(NEXT) => {}
            }
            door.proxy.http_cleanup().await;
            while open.join_next().await.is_some() {}
        };
        if tokio::time::timeout(drain, drained).await.is_err() {
            tracing::warn!(
                connections = open.len(),
                "requests had not finished when the drain time was over"
            );
            open.shutdown().await;
        }
        door.metrics().connections_open.set(0);
    }

    fn begin(&mut self, stream: TcpStream, peer: SocketAddr) {
        // Of its own: a connection may be open for long, and what a reload puts away with the rest
        // of the snapshot ends with it.
        let (limits, addresses) = {
            let snapshot = self.door.current.take();
            (snapshot.limits.clone(), snapshot.addresses.clone())
        };
        // A proxy has as many as its clients have together.
        let most = match addresses.trusts(peer.ip()) {
            true => Most::ANY,
            false => Most::of(&limits),
        };
        let place = if !addresses.admits(peer.ip()) {
            Err("address-denied")
        } else if self.open.len() >= limits.connections {
            Err("too-many")
        } else {
            self.door.by_address.enter(peer.ip(), &most)
        };
        let place = match place {
            Ok(place) => place,
            Err(reason) => return self.door.refused(reason),
        };
        // Fails for a client that is gone already.
        if stream.set_nodelay(true).is_err() {
            return;
        }
        self.door.metrics().connections.inc();
        self.door.metrics().connections_open.inc();
        let (door, shutdown) = (self.door.clone(), self.shutdown.clone());
        self.open.spawn(async move {
            let _place = place;
            door.serve(stream, peer, (&limits, &addresses), &shutdown).await;
        });
    }
}

impl Door {
    fn metrics(&self) -> &Metrics {
        &self.malformed.metrics
    }

    /// Counts a connection that is not served.
    fn refused(&self, reason: &str) {
        self.metrics().connections_refused.with_label_values(&[reason]).inc();
    }

    /// Serves one connection until its end.
    async fn serve(
        &self,
        mut stream: TcpStream,
        peer: SocketAddr,
        (limits, addresses): (&Limits, &Addresses),
        shutdown: &watch::Receiver<bool>,
    ) {
        let limit = limits.header_timeout;
        let (peer, _place) = match self.client_behind(&mut stream, peer, addresses, limits).await {
            Ok(client) => client,
            Err(reason) => return self.refused(reason),
        };
        let wire = |transport, protection| {
            let origin = Origin::new(peer, protection);
            Wire::new(transport, peer, origin, limit, self.malformed.clone())
        };
        let Some(acceptor) = &self.tls else {
            let wire = wire(Transport::Plain(stream), Protection::None);
            return self.serve_http1(wire, limits, shutdown).await;
        };
        let Some(stream) = acceptor.accept(stream, limit).await else { return };
        let protocol = tls::protocol(&stream);
        let certificate = tls::peer_certificate(&stream);
        let protection = Protection::Tls { hsts_seconds: acceptor.hsts_seconds(), certificate };
        let wire = wire(Transport::Tls(Box::new(stream)), protection);
        match protocol {
            Protocol::Http1 => self.serve_http1(wire, limits, shutdown).await,
            Protocol::Http2 => {
                let silence = limits.idle + self.answer_within;
                http2::serve(wire, &self.proxy, limits, silence, self.metrics(), shutdown).await;
            }
        }
    }

    /// The client at the other end: whom a trusted proxy names by the PROXY protocol, where that
    /// is spoken, with a place among those of its address. The reason when what it says is none,
    /// or the client may not connect.
    async fn client_behind(
        &self,
        stream: &mut TcpStream,
        peer: SocketAddr,
        addresses: &Addresses,
        limits: &Limits,
    ) -> Result<(SocketAddr, Option<OfAddress>), &'static str> {
        if addresses.told_by != ToldBy::ProxyProtocol || !addresses.trusts(peer.ip()) {
            return Ok((peer, None));
        }
        let named = tokio::time::timeout(limits.header_timeout, proxy_protocol::read(stream)).await;
        let Ok(Ok(named)) = named else { return Err("no-proxy-protocol") };
        // None where the proxy speaks for itself.
        let Some(client) = named else { return Ok((peer, None)) };
        if !addresses.admits(client.ip()) {
            return Err("address-denied");
        }
        if addresses.trusts(client.ip()) {
            return Ok((client, None));
        }
        let place = self.by_address.enter(client.ip(), &Most::of(limits))?;
        Ok((client, Some(place)))
    }

    /// Waits for a connection's first bytes. One that was accepted a moment ago is not idle: its
    /// first request is on its way, and a stop lets it come.
    async fn is_spoken_to(wire: &Wire, idle: Duration, shutdown: &watch::Receiver<bool>) -> bool {
        let mut shutdown = shutdown.clone();
        let fresh = tokio::time::sleep(FRESH);
        let stopped = async {
            drop(shutdown.wait_for(|stop| *stop).await);
            fresh.await;
        };
        tokio::select! {
            biased;
            () = wire.is_spoken_to() => true,
            () = stopped => false,
            () = tokio::time::sleep(idle) => false,
        }
    }

    /// One request after the other. Between two of them nothing of pingora's is there, unless it may
    /// have read bytes of the next one already: what it needs to wait for a head is as large as what
    /// it needs to answer one.
    async fn serve_http1(&self, wire: Wire, limits: &Limits, shutdown: &watch::Receiver<bool>) {
        if !Self::is_spoken_to(&wire, limits.idle, shutdown).await {
            return;
        }
        let mut session = ServerSession::new_http1(Box::new(wire));
        session.set_keepalive(Some(limits.idle.as_secs().max(1)));
        let reuses = u32::try_from(limits.requests_per_connection.saturating_sub(1));
        session.set_keepalive_reuses_remaining(Some(reuses.unwrap_or(u32::MAX)));
        session.set_pipelining_enabled(true);
        let mut reused = self.proxy.process_new_http(session, shutdown).await;
        let stopped = async {
            let mut shutdown = shutdown.clone();
            drop(shutdown.wait_for(|stop| *stop).await);
            tokio::time::sleep(NEXT).await;
        };
        tokio::pin!(stopped);
        // Kept from wait to wait: one that is put off costs less than one that is made anew.
        let silence = tokio::time::sleep(limits.idle);
        tokio::pin!(silence);
        while let Some((stream, settings)) = reused.map(ReusedHttpStream::consume) {
            let Ok(mut wire) = stream.into_any().downcast::<Wire>() else { return };
            // Bytes of the next request that pingora has read already nobody sends again.
            let waits = wire.gave_whole_requests();
            wire.await_next_head();
            if waits {
                let idle = self.current.take().limits.idle;
                silence.as_mut().reset(tokio::time::sleep(idle).deadline());
                tokio::select! {
                    biased;
                    () = wire.is_spoken_to() => {}
                    () = &mut stopped => return,
                    () = &mut silence => return,
                }
            }
            let mut session = ServerSession::new_http1(wire);
            if let Some(settings) = settings {
                settings.apply_to_session(&mut session);
            }
            reused = self.proxy.process_new_http(session, shutdown).await;
        }
    }
}
