//! Copies of requests to a second upstream, whose answers are thrown away.
//!
//! A copy is sent beside the request and never before it is; what becomes of it changes nothing:
//! there is room for so many copies at a time, and one more is not made. A copy has no
//! credentials of the caller, and none of the first upstream's.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use contract::Clock;
use http::header::{AUTHORIZATION, COOKIE, HOST};
use http::{HeaderMap, HeaderName, header};
use parking_lot::Mutex;
use pingora::http::RequestHeader;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use crate::header_rules::HeaderRules;
use crate::upstreams::{Question, Row, Upstream};

/// Copies under way at a time.
const MOST: usize = 64;
/// The longest body that is copied, in bytes.
const LONGEST_BODY: usize = 1024 * 1024;
/// The longest answer that is read to its end, so that its connection can be kept.
const LONGEST_ANSWER: usize = 1024 * 1024;
/// For how long a copy may be under way.
const LIMIT: Duration = Duration::from_secs(10);

/// Headers that are of the connection, or say who is asking.
const LEFT_OUT: [HeaderName; 11] = [
    AUTHORIZATION,
    COOKIE,
    HOST,
    header::PROXY_AUTHORIZATION,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// The copies that are under way; they end with it.
#[derive(Debug)]
pub(crate) struct Mirrors {
    under_way: Mutex<JoinSet<()>>,
    room: Arc<Semaphore>,
}

/// A copy that still collects its body.
#[derive(Debug)]
pub(crate) struct Copy {
    upstream: Arc<Upstream>,
    question: Question,
    body: BytesMut,
    room: OwnedSemaphorePermit,
}

impl Default for Mirrors {
    fn default() -> Self {
        Self { under_way: Mutex::default(), room: Arc::new(Semaphore::new(MOST)) }
    }
}

impl Mirrors {
    /// Begins a copy of a request for an upstream; none when there is no room. Of headers that the
    /// route's rules take out or set it has none: neither the caller's nor what another upstream is
    /// to get.
    pub(crate) fn begin(
        &self,
        upstream: &Arc<Upstream>,
        head: &RequestHeader,
        rules: &HeaderRules,
    ) -> Option<Copy> {
        let room = self.room.clone().try_acquire_owned().ok()?;
        let headers: HeaderMap = head
            .headers
            .iter()
            .filter(|(name, _)| !LEFT_OUT.contains(name) && !rules.replaces(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let question = Question {
            method: head.method.clone(),
            target: String::from_utf8_lossy(head.raw_path()).into_owned(),
            host: upstream.host_for(head.headers.get(HOST)),
            headers,
            body: Bytes::new(),
        };
        Some(Copy { upstream: upstream.clone(), question, body: BytesMut::new(), room })
    }

    /// Sends a copy whose body is whole.
    pub(crate) fn send(&self, copy: Copy, clock: Arc<dyn Clock>) {
        let Copy { upstream, mut question, body, room } = copy;
        question.body = body.freeze();
        let mut under_way = self.under_way.lock();
        while under_way.try_join_next().is_some() {}
        under_way.spawn(async move {
            let _room = room;
            let at = upstream.choose(&question.headers, clock.monotonic(), None);
            let Some(at) = at else { return };
            let asked = upstream.ask(at.target(), &question, LIMIT, LONGEST_ANSWER).await;
            upstream.judge(at.target(), &asked, Row::Copies, clock.monotonic());
            if let Err(error) = asked {
                tracing::debug!(
                    upstream = &*upstream.name,
                    error = &error as &dyn std::error::Error,
                    "a copy of a request was not answered"
                );
            }
        });
    }
}

impl Copy {
    /// Takes a piece of the body; false when it is longer than what is copied.
    pub(crate) fn take(&mut self, piece: &[u8]) -> bool {
        let fits = self.body.len() + piece.len() <= LONGEST_BODY;
        if fits {
            self.body.extend_from_slice(piece);
        }
        fits
    }
}
