//! The times of one request to an upstream: until its answer's first byte, between two bytes, in
//! all, and for how long an upgraded connection may be silent. And the end of one whose caller was
//! revoked meanwhile.
//!
//! pingora has one limit for every read of a connection, and none for a whole request. Here a
//! task looks at how the request goes on, and shuts its connection when a limit has passed; the
//! proxy then sees the connection end, and asks what ended it.

use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use pingora::connectors::l4::Connect;
use pingora::http::ResponseHeader;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::l4::stream::Stream;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{Digest, GetProxyDigest as _};
use pingora::{Error, ErrorType, OrErr as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// Looks in each limit; a silence is noticed up to a quarter of its limit late.
const LOOKS: u32 = 4;

/// A second handle on an upstream's connection, which only ends it.
#[derive(Debug)]
struct Line(std::net::TcpStream);

impl Line {
    /// Whether bytes came that were not read. The connection never blocks.
    fn has_unread(&self) -> bool {
        self.0.peek(&mut [0]).is_ok_and(|length| length > 0)
    }
}

/// Connects to upstreams, so that each connection carries its [`Line`].
#[derive(Debug)]
pub(crate) struct Lines {
    /// How long an endpoint may take to accept.
    pub(crate) limit: Duration,
}

#[async_trait]
impl Connect for Lines {
    async fn connect(&self, address: &SocketAddr) -> pingora::Result<Stream> {
        let SocketAddr::Inet(address) = address else {
            return Error::e_explain(ErrorType::SocketError, "not an address of the internet");
        };
        let connecting = tokio::time::timeout(self.limit, TcpStream::connect(address)).await;
        let stream = match connecting {
            Err(_) => return Error::e_explain(ErrorType::ConnectTimedout, "no connection in time"),
            Ok(connected) => connected.or_err(ErrorType::ConnectError, "no connection")?,
        };
        let handle = std::os::fd::AsFd::as_fd(&stream).try_clone_to_owned();
        let line = Line(handle.or_err(ErrorType::SocketError, "no second handle")?.into());
        let mut stream = Stream::from(stream);
        // The one place of a connection's description that takes what is ours.
        let unused = Box::new(ResponseHeader::build_no_case(200, None)?);
        stream.set_proxy_digest(ProxyDigest::new(unused, Some(Box::new(Arc::new(line)))));
        Ok(stream)
    }
}

/// Watches one request.
#[derive(Debug)]
pub(crate) struct Watch {
    watched: Arc<Watched>,
    /// Ends with the request.
    _task: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Watched {
    at: Mutex<At>,
    changed: Notify,
    /// Grows with every byte that passes.
    progress: AtomicU64,
    over: AtomicBool,
    /// It was over since what the request came under was revoked.
    revoked: AtomicBool,
    /// When it was over, bytes of the answer were there that nobody had taken.
    unread: AtomicBool,
    /// The connection spoke another protocol then.
    upgraded: AtomicBool,
}

/// Where the request is.
#[derive(Debug, Default)]
struct At {
    line: Option<Arc<Line>>,
    /// How long nothing may happen now.
    silence: Option<Duration>,
    /// Whether the whole still counts.
    unbounded: bool,
}

impl Watch {
    /// Begins: from now on the whole counts, if it has a limit. It ends when `until_revoked` does.
    pub(crate) fn begin(
        whole: Option<Duration>,
        until_revoked: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        let watched = Arc::new(Watched::default());
        let mut task = JoinSet::new();
        task.spawn(watched.clone().watch(whole, until_revoked));
        Self { watched, _task: task }
    }

    /// The request has a connection; it may take `silence` until its answer's first byte. Returns
    /// whether there is still time.
    pub(crate) fn connected(&self, digest: Option<&Digest>, silence: Duration) -> bool {
        let line = digest
            .and_then(|digest| digest.proxy_digest.as_ref()?.user_data.as_ref())
            .and_then(|data| data.downcast_ref::<Arc<Line>>().cloned());
        self.enter(|at| {
            at.line = line;
            at.silence = Some(silence);
        });
        !self.is_over()
    }

    /// The answer began: bytes may be `silence` apart.
    pub(crate) fn answered(&self, silence: Duration) {
        self.enter(|at| at.silence = Some(silence));
    }

    /// The connection speaks another protocol now: it may last, and be silent for so long.
    pub(crate) fn upgraded(&self, silence: Duration) {
        self.enter(|at| {
            at.silence = Some(silence);
            at.unbounded = true;
        });
    }

    /// The connection is not this request's any more.
    pub(crate) fn disconnected(&self) {
        self.enter(|at| *at = At { unbounded: at.unbounded, ..At::default() });
    }

    /// Something passed, in either direction.
    pub(crate) fn progress(&self) {
        self.watched.progress.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether a limit has passed.
    pub(crate) fn is_over(&self) -> bool {
        self.watched.over.load(Ordering::Acquire)
    }

    /// Whether it is over since what the request came under was revoked.
    pub(crate) fn was_revoked(&self) -> bool {
        self.watched.revoked.load(Ordering::Acquire)
    }

    /// Whether bytes of the answer were there when a limit passed: then its client was waited for.
    pub(crate) fn left_unread(&self) -> bool {
        self.watched.unread.load(Ordering::Acquire)
    }

    /// Whether the connection spoke another protocol when a limit passed.
    pub(crate) fn was_upgraded(&self) -> bool {
        self.watched.upgraded.load(Ordering::Acquire)
    }

    fn enter(&self, change: impl FnOnce(&mut At)) {
        change(&mut self.watched.at.lock());
        self.progress();
        self.watched.changed.notify_one();
    }
}

impl Watched {
    async fn watch(
        self: Arc<Self>,
        whole: Option<Duration>,
        until_revoked: impl Future<Output = ()>,
    ) {
        let whole = after(whole);
        tokio::pin!(whole, until_revoked);
        let mut quiet = 0;
        loop {
            let (silence, bounded) = {
                let at = self.at.lock();
                (at.silence, !at.unbounded)
            };
            let before = self.progress.load(Ordering::Relaxed);
            tokio::select! {
                () = &mut whole, if bounded => return self.end(),
                () = &mut until_revoked => {
                    self.revoked.store(true, Ordering::Release);
                    return self.end();
                }
                () = self.changed.notified() => quiet = 0,
                () = after(silence.map(|silence| silence / LOOKS)) => {
                    quiet = match self.progress.load(Ordering::Relaxed) == before {
                        true => quiet + 1,
                        false => 0,
                    };
                    if quiet >= LOOKS {
                        return self.end();
                    }
                }
            }
        }
    }

    fn end(&self) {
        let mut at = self.at.lock();
        self.upgraded.store(at.unbounded, Ordering::Release);
        let line = at.line.take();
        self.unread.store(line.as_ref().is_some_and(|line| line.has_unread()), Ordering::Release);
        self.over.store(true, Ordering::Release);
        drop(at);
        if let Some(line) = line {
            // It may have ended by itself.
            let _ = line.0.shutdown(Shutdown::Both);
        }
    }
}

/// Sleeps for so long; for ever without a limit.
async fn after(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}
