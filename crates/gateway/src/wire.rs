//! One client connection, as pingora sees it: a stream of TCP or TLS with a write buffer and a
//! deadline.
//!
//! pingora's own stream type keeps its buffer sizes and its header timer to itself. This one
//! joins an answer's head and body into one send, bounds the *whole* time a request's head may
//! take (pingora restarts its timer at every byte) and the time that its client may leave an answer
//! untaken (pingora has none for a flush), and gives the two answers that pingora writes
//! before any hook runs (a head it cannot parse) the same form as every other answer of ours.
//! It knows nothing of requests beyond "in the head" and "past the head".

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use pingora::protocols::l4::socket::SocketAddr as PingoraAddr;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufWriter, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio_rustls::server::TlsStream;

use crate::connections::MalformedHeads;
use crate::origin::Origin;
use crate::pace::{Least, Taking};

/// An answer of up to this size leaves in one send with its head; larger bodies go straight out.
const WRITE_BUFFER: usize = 8 * 1024;

/// A client connection.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: BufWriter<Transport>,
    origin: Arc<Origin>,
    activity: Activity,
    digest: Arc<SocketDigest>,
    /// A [`Phase`]; set through shared references, by whoever holds the request.
    phase: AtomicU8,
    head_limit: Duration,
    deadline: Option<Pin<Box<Sleep>>>,
    malformed: Arc<MalformedHeads>,
    answer: OwnAnswer,
    waits: Waits,
    /// How fast the answer of now must be taken, where it is seen to here.
    least: Option<Least>,
    /// How fast it is.
    taking: Taking,
    /// Since when the client takes nothing.
    stalled: Option<Stalled>,
    /// Bytes that were handed out.
    given: u64,
    /// As many of them as requests came to.
    used: AtomicU64,
    /// Requests were said to come to more than that.
    is_unsure: bool,
}

/// A client that takes nothing.
#[derive(Debug)]
struct Stalled {
    since: Duration,
    /// Ends when it has had its time.
    over: Pin<Box<Sleep>>,
}

/// For what of the client the gateway waits.
#[derive(Debug, Default)]
struct Waits {
    /// Bytes were asked for, and none are there.
    to_read: AtomicBool,
    /// Bytes were to be sent, and the client does not take them.
    to_write: AtomicBool,
    /// How often bytes were asked for that were not there.
    late: AtomicU64,
    /// The next bytes are of another answer, which must be taken so fast.
    anew: Mutex<Option<Least>>,
    /// Whether `anew` holds something.
    is_anew: AtomicBool,
    /// Nothing need be taken any more.
    unpaced: AtomicBool,
}

/// What carries the bytes.
#[derive(Debug)]
pub(crate) enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Counts the bytes that pass, for whoever wants to know whether any do.
#[derive(Debug, Clone, Default)]
pub(crate) struct Activity(Arc<AtomicU64>);

/// Where the connection is between two requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    /// No byte of the next head has come.
    Idle,
    /// Some have.
    InHead,
    /// All have: body and answer are under way.
    PastHead,
}

/// What becomes of bytes that are written while no request was handed out yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OwnAnswer {
    /// None were written; our answer would take their place.
    Ready,
    /// Our answer took their place; the rest is swallowed.
    Given,
}

impl Wire {
    /// Wraps an accepted connection. A request's head may take `head_limit` from its first byte
    /// to its last.
    pub(crate) fn new(
        transport: Transport,
        peer: SocketAddr,
        origin: Origin,
        head_limit: Duration,
        malformed: Arc<MalformedHeads>,
    ) -> Self {
        let digest = SocketDigest::from_raw_fd(transport.tcp().as_raw_fd());
        // Set by hand, so that nobody asks the kernel for it again.
        let _ = digest.peer_addr.set(Some(PingoraAddr::Inet(peer)));
        Self {
            stream: BufWriter::with_capacity(WRITE_BUFFER, transport),
            origin: Arc::new(origin),
            activity: Activity::default(),
            digest: Arc::new(digest),
            phase: AtomicU8::new(Phase::Idle as u8),
            head_limit,
            deadline: None,
            malformed,
            answer: OwnAnswer::Ready,
            waits: Waits::default(),
            least: None,
            taking: Taking::default(),
            stalled: None,
            given: 0,
            used: AtomicU64::new(0),
            is_unsure: false,
        }
    }

    /// The answer that comes next must be taken so fast. Not for HTTP/2, of which a connection
    /// carries many.
    pub(crate) fn must_be_taken(&self, least: Least) {
        *self.waits.anew.lock() = Some(least);
        self.waits.is_anew.store(true, Ordering::Release);
    }

    /// The connection speaks another protocol now: its messages may be left for a while.
    pub(crate) fn is_upgraded(&self) {
        self.waits.unpaced.store(true, Ordering::Relaxed);
    }

    /// Waits until the client has sent something, or is gone. Nothing is read, so that whoever
    /// waits needs no room for it.
    pub(crate) async fn is_spoken_to(&self) {
        let transport = self.stream.get_ref();
        if transport.holds_bytes() {
            return;
        }
        // What cannot be waited for is found out by whoever reads.
        let _ = std::future::poll_fn(|context| transport.tcp().poll_read_ready(context)).await;
    }

    /// Where its requests come from.
    pub(crate) fn origin(&self) -> &Arc<Origin> {
        &self.origin
    }

    /// The count of its bytes.
    pub(crate) fn activity(&self) -> Activity {
        self.activity.clone()
    }

    /// Whether the client was asked for bytes that have not come.
    pub(crate) fn waits_to_read(&self) -> bool {
        self.waits.to_read.load(Ordering::Relaxed)
    }

    /// Whether the client does not take the bytes that are to be sent.
    pub(crate) fn waits_to_write(&self) -> bool {
        self.waits.to_write.load(Ordering::Relaxed)
    }

    /// How often the client was asked for bytes that were not there.
    pub(crate) fn late(&self) -> u64 {
        self.waits.late.load(Ordering::Relaxed)
    }

    /// A whole head was read: the head's deadline ends, writes are answers.
    pub(crate) fn head_is_read(&self) {
        self.enter(Phase::PastHead);
    }

    /// The connection waits for its next request.
    pub(crate) fn await_next_head(&mut self) {
        self.is_unsure |= *self.used.get_mut() > self.given;
        self.enter(Phase::Idle);
    }

    /// Head and body of a request came to so many bytes. Once that was not so, as with a body in
    /// chunks or with a target that pingora had to escape, it is not known any more whose the bytes
    /// are that were handed out, for as long as the connection stands: pingora waits for each head
    /// then, with all the room that it needs for that.
    pub(crate) fn request_came_to(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Whether all bytes that were handed out were of requests that are done, so that none of the
    /// next one wait where they were handed to. False also where that is not known.
    pub(crate) fn gave_whole_requests(&self) -> bool {
        !self.is_unsure && self.given == self.used.load(Ordering::Relaxed)
    }

    fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// Holds the client to what it must take: an error when it left what was to be sent for longer
    /// than it may.
    fn hold<T>(
        &mut self,
        context: &mut Context<'_>,
        sent: Poll<io::Result<T>>,
        bytes: impl FnOnce(&T) -> usize,
    ) -> Poll<io::Result<T>> {
        self.waits.to_write.store(sent.is_pending(), Ordering::Relaxed);
        // Most answers are several writes, and a lock for each would be for nothing.
        if self.waits.is_anew.load(Ordering::Acquire)
            && let Some(least) = self.begin_anew()
        {
            (self.least, self.taking, self.stalled) = (Some(least), Taking::default(), None);
        }
        let Some(least) = self.least else { return sent };
        if let Poll::Ready(done) = &sent {
            if let Some(stalled) = self.stalled.take() {
                let now = self.malformed.clock.monotonic();
                self.taking.waited(now.saturating_sub(stalled.since));
            }
            self.taking.took(done.as_ref().map_or(0, bytes));
            return sent;
        }
        if self.waits.unpaced.load(Ordering::Relaxed) {
            return sent;
        }
        let left = self.taking.left(least);
        let stalled = self.stalled.get_or_insert_with(|| Stalled {
            since: self.malformed.clock.monotonic(),
            over: Box::pin(tokio::time::sleep(left)),
        });
        match stalled.over.as_mut().poll(context) {
            Poll::Ready(()) => {
                // What the system has of the answer by now, up to some megabytes, it would keep for
                // as long as the client takes some of it.
                if let Err(error) = self.stream.get_ref().tcp().set_zero_linger() {
                    tracing::debug!(%error, "a connection cannot be reset");
                }
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn begin_anew(&self) -> Option<Least> {
        self.waits.is_anew.store(false, Ordering::Relaxed);
        self.waits.anew.lock().take()
    }

    fn is_in(&self, phase: Phase) -> bool {
        self.phase.load(Ordering::Relaxed) == phase as u8
    }
}

impl Activity {
    /// Bytes that passed so far, or something that grew since if any did.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl Transport {
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }

    /// Whether there is something to read without the system: text that was deciphered, or that
    /// the client has said to send no more.
    fn holds_bytes(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(stream) => !stream.get_ref().1.wants_read(),
        }
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_ready() {
            let length = buffer.filled().len() - before;
            self.activity.add(length);
            self.given += length as u64;
        }
        let waited = self.waits.to_read.swap(read.is_pending(), Ordering::Relaxed);
        if read.is_pending() && !waited {
            self.waits.late.fetch_add(1, Ordering::Relaxed);
        }
        match read {
            Poll::Ready(_) if self.is_in(Phase::Idle) => {
                self.enter(Phase::InHead);
                self.deadline = None;
                read
            }
            // The whole head mostly comes in one piece, so that no timer is ever made.
            Poll::Pending if self.is_in(Phase::InHead) => {
                let limit = self.head_limit;
                let deadline =
                    self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
                match deadline.as_mut().poll(context) {
                    Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                    Poll::Pending => Poll::Pending,
                }
            }
            other => other,
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_in(Phase::PastHead) {
            let written = Pin::new(&mut self.stream).poll_write(context, bytes);
            if let Poll::Ready(Ok(length)) = &written {
                self.activity.add(*length);
            }
            return self.hold(context, written, |length| *length);
        }
        if self.answer == OwnAnswer::Given {
            return Poll::Ready(Ok(bytes.len()));
        }
        // Smaller than the empty buffer: taken whole, at once.
        let malformed = self.malformed.clone();
        match Pin::new(&mut self.stream).poll_write(context, &malformed.answer) {
            Poll::Ready(Ok(_)) => {
                self.answer = OwnAnswer::Given;
                malformed.refused();
                Poll::Ready(Ok(bytes.len()))
            }
            other => other,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.hold(context, flushed, |()| 0)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.hold(context, shut, |()| 0)
    }
}

#[async_trait]
impl Shutdown for Wire {
    async fn shutdown(&mut self) {
        // The client may be gone already; there is nobody left to tell.
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for Wire {
    fn id(&self) -> UniqueIDType {
        self.stream.get_ref().tcp().as_raw_fd()
    }
}

impl Ssl for Wire {}

impl GetTimingDigest for Wire {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Wire {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Wire {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(self.digest.clone())
    }
}

#[async_trait]
impl Peek for Wire {}
