//! HTTP/2 connections (RFC 9113): their streams, and when they end.
//!
//! Each stream is a request of its own for the proxy. pingora's own loop has no oldest age and
//! owns no tasks, so the loop is here. What a frame is, and what a client may send in which
//! state, the library below knows; it bounds header lists, and streams that are reset before they
//! were taken up.

mod answering;

use std::sync::Arc;
use std::time::Duration;

use pingora::apps::HttpServerApp;
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::{H2Accept, HttpSession, default_h2_options, handshake};
use pingora::protocols::{Digest, GetSocketDigest};
use pingora::proxy::HttpProxy;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use crate::config::Limits;
use crate::metrics::Metrics;
use crate::origin::Origin;
use crate::proxy::Gateway;
use crate::wire::{Activity, Wire};

pub(crate) use self::answering::hold_answer;

/// Streams that are no requests at all, before their connection ends.
const MOST_MALFORMED: usize = 32;
/// Requests that a client leaves unanswered, before its connection ends, if they are most of all.
const MOST_ABANDONED: u32 = 100;

/// Serves a connection until it ends. `silence` is how long a server may take to answer, and a
/// client to go on after that: longer than that no byte stays away for a reason.
pub(crate) async fn serve(
    wire: Wire,
    proxy: &Arc<HttpProxy<Gateway>>,
    limits: &Limits,
    silence: Duration,
    metrics: &Metrics,
    shutdown: &watch::Receiver<bool>,
) {
    let origin = wire.origin().clone();
    let activity = wire.activity();
    // Frames of the protocol's own are no answers to a head.
    wire.head_is_read();
    let digest = Arc::new(Digest {
        ssl_digest: None,
        timing_digest: Vec::new(),
        proxy_digest: None,
        socket_digest: wire.get_socket_digest(),
    });
    let mut options = default_h2_options();
    options.max_concurrent_streams(limits.http2_streams);
    options.max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX));
    let begun = handshake(Box::new(wire), Some(options));
    let Ok(Ok(connection)) = tokio::time::timeout(limits.header_timeout, begun).await else {
        return;
    };

    let mut streams = JoinSet::new();
    let mut live = Some(connection);
    let mut end = End::new(limits, silence, activity, shutdown.clone());
    let mut malformed = 0;
    let mut taken: u32 = 0;
    while let Some(connection) = &mut live {
        let is_unused = streams.is_empty();
        tokio::select! {
            Some(_) = streams.join_next(), if !is_unused => {
                let abandoned = origin.abandoned();
                if abandoned > MOST_ABANDONED && abandoned > taken / 2 {
                    metrics.http2_ended.with_label_values(&["abandoned"]).inc();
                    connection.abrupt_shutdown(h2::Reason::ENHANCE_YOUR_CALM);
                }
                continue;
            }
            told = end.next(is_unused) => {
                metrics.http2_ended.with_label_values(&[told.label()]).inc();
                match told {
                    Told::Silent => live = None,
                    Told::Unused | Told::Old | Told::Stopping => connection.graceful_shutdown(),
                }
            }
            stream = HttpSession::from_h2_conn(connection, digest.clone()) => match stream {
                Ok(Some(H2Accept::Session(mut stream))) => {
                    taken = taken.saturating_add(1);
                    if usize::try_from(taken).is_ok_and(|taken| taken >= limits.requests_per_connection) {
                        connection.graceful_shutdown();
                    }
                    mark(&mut stream, &origin);
                    let (proxy, shutdown) = (proxy.clone(), shutdown.clone());
                    streams.spawn(async move {
                        let session = ServerSession::new_http2(stream);
                        proxy.process_new_http(session, &shutdown).await;
                    });
                }
                Ok(Some(H2Accept::Rejected)) => {
                    malformed += 1;
                    if malformed >= MOST_MALFORMED {
                        metrics.http2_ended.with_label_values(&["malformed"]).inc();
                        connection.abrupt_shutdown(h2::Reason::ENHANCE_YOUR_CALM);
                    }
                }
                Ok(None) | Err(_) => live = None,
            },
        }
    }
    // What is still at work finds out that nobody listens, and is written down.
    while streams.join_next().await.is_some() {}
}

/// Writes onto a request where it comes from.
fn mark(stream: &mut HttpSession, origin: &Arc<Origin>) {
    stream.req_header_mut().extensions_mut().insert(origin.clone());
}

/// Why a connection is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// The process stops.
    Stopping,
    /// It is as old as one gets.
    Old,
    /// It had no request for a while.
    Unused,
    /// Not a byte went over it for a while.
    Silent,
}

impl Told {
    fn label(self) -> &'static str {
        match self {
            Self::Stopping => "stopping",
            Self::Old => "old",
            Self::Unused => "unused",
            Self::Silent => "silent",
        }
    }
}

/// Waits for the reasons to end a connection.
struct End {
    shutdown: watch::Receiver<bool>,
    activity: Activity,
    idle: Duration,
    silence: Duration,
    age: Duration,
    ticks: tokio::time::Interval,
    begun: Option<Instant>,
    /// When a byte was last seen to have passed, and how many had by then.
    heard: Option<(Instant, u64)>,
    /// When there was last a stream.
    used: Option<Instant>,
    is_ending: bool,
}

impl End {
    fn new(
        limits: &Limits,
        silence: Duration,
        activity: Activity,
        shutdown: watch::Receiver<bool>,
    ) -> Self {
        let tick = (limits.idle.min(limits.http2_age) / 4).max(Duration::from_millis(10));
        let mut ticks = tokio::time::interval(tick);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            shutdown,
            activity,
            idle: limits.idle,
            silence,
            age: limits.http2_age,
            ticks,
            begun: None,
            heard: None,
            used: None,
            is_ending: false,
        }
    }

    /// The next reason. Nothing is lost when it is not waited for to the end.
    async fn next(&mut self, is_unused: bool) -> Told {
        loop {
            let now = tokio::select! {
                // An owner that is gone cannot tell us any more: its end is the signal.
                () = async { drop(self.shutdown.wait_for(|stop| *stop).await) },
                    if !self.is_ending => {
                    self.is_ending = true;
                    return Told::Stopping;
                }
                now = self.ticks.tick() => now,
            };
            if let Some(told) = self.look(now, is_unused) {
                return told;
            }
        }
    }

    fn look(&mut self, now: Instant, is_unused: bool) -> Option<Told> {
        let begun = *self.begun.get_or_insert(now);
        let bytes = self.activity.bytes();
        let heard = self.heard.get_or_insert((now, bytes));
        if heard.1 != bytes {
            *heard = (now, bytes);
        }
        let silent = now - heard.0 >= self.silence;
        let used = self.used.get_or_insert(now);
        if !is_unused {
            *used = now;
        }
        let unused = now - *used >= self.idle;
        if silent {
            return Some(Told::Silent);
        }
        if self.is_ending {
            // Whoever was told, has nothing under way, and does not go.
            return unused.then_some(Told::Silent);
        }
        let told = if unused {
            Told::Unused
        } else if now - begun >= self.age {
            Told::Old
        } else {
            return None;
        };
        self.is_ending = true;
        // From now on it counts how long the client takes to go.
        self.used = Some(now);
        Some(told)
    }
}
