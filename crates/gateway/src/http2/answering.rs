//! One request of HTTP/2 whose answer has begun.
//!
//! pingora's own never waits in vain for a body, and lets a client take an answer as slowly as it
//! likes as long as it takes some of each piece. This one is the same with the times that there are
//! in HTTP/1: what is left of a body may stop coming for so long, and an answer must be taken so
//! fast. Everything else is pingora's.
//!
//! Only once the answer has begun: before that, the server of ours or the watch on an upstream of
//! others ends a request that stalls, and pingora is strict about the authority of its own kind of
//! session alone.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use contract::Clock;
use futures_util::Stream;
use http::HeaderMap;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::Digest;
use pingora::protocols::http::custom::CustomMessageWrite;
use pingora::protocols::http::custom::server::Session;
use pingora::protocols::http::v2::server::HttpSession;
use pingora::protocols::http::{HttpTask, ServerSession};
use pingora::protocols::l4::socket::SocketAddr;
use pingora::{Error, ErrorType};
use tokio::time::error::Elapsed;

use crate::pace::{Least, Taking};

/// Has a session's answer, if it is one of HTTP/2, be taken so fast, and what is left of its
/// request's body not stop coming for longer than `silence`.
pub(crate) fn hold_answer(
    session: &mut ServerSession,
    least: Least,
    silence: Duration,
    clock: &Arc<dyn Clock>,
) {
    if !session.is_http2() {
        return;
    }
    // Nothing sees what stands there in between.
    *session = match std::mem::replace(session, ServerSession::new_custom(Box::new(()))) {
        ServerSession::H2(stream) => {
            let taking = Taking::default();
            let (silence, clock) = (Some(silence), clock.clone());
            let answering = Answering { stream, least, taking, silence, clock };
            ServerSession::new_custom(Box::new(answering))
        }
        other => other,
    };
}

struct Answering {
    stream: HttpSession,
    least: Least,
    taking: Taking,
    /// How long a body may stop coming.
    silence: Option<Duration>,
    clock: Arc<dyn Clock>,
}

impl Answering {
    /// Begins to send something with so many bytes of a body: when, and how long it may take.
    fn begin(&mut self, bytes: usize) -> (Duration, Duration) {
        self.taking.took(bytes);
        (self.clock.monotonic(), self.taking.left(self.least))
    }

    /// It was sent, or not in time.
    fn end<T>(
        &mut self,
        began: Duration,
        sent: Result<pingora::Result<T>, Elapsed>,
    ) -> pingora::Result<T> {
        self.taking.waited(self.clock.monotonic().saturating_sub(began));
        sent.unwrap_or_else(|_| Err(Error::new_down(ErrorType::WriteTimedout)))
    }
}

#[async_trait]
impl Session for Answering {
    fn req_header(&self) -> &RequestHeader {
        self.stream.req_header()
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        self.stream.req_header_mut()
    }

    async fn read_body_bytes(&mut self) -> pingora::Result<Option<Bytes>> {
        let reading = self.stream.read_body_bytes();
        let Some(silence) = self.silence else { return reading.await };
        let read = tokio::time::timeout(silence, reading).await;
        read.unwrap_or_else(|_| Err(Error::new_down(ErrorType::ReadTimedout)))
    }

    async fn drain_request_body(&mut self) -> pingora::Result<()> {
        self.stream.drain_request_body().await
    }

    async fn write_response_header(
        &mut self,
        head: Box<ResponseHeader>,
        end: bool,
    ) -> pingora::Result<()> {
        self.stream.write_response_header(head, end)
    }

    async fn write_response_header_ref(
        &mut self,
        head: &ResponseHeader,
        end: bool,
    ) -> pingora::Result<()> {
        self.stream.write_response_header_ref(head, end)
    }

    async fn write_body(&mut self, data: Bytes, end: bool) -> pingora::Result<()> {
        let (began, left) = self.begin(data.len());
        let sent = tokio::time::timeout(left, self.stream.write_body(data, end)).await;
        self.end(began, sent)
    }

    async fn write_trailers(&mut self, trailers: HeaderMap) -> pingora::Result<()> {
        self.stream.write_trailers(trailers)
    }

    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> pingora::Result<bool> {
        let length = |task: &HttpTask| match task {
            HttpTask::Body(Some(data), _) => data.len(),
            _ => 0,
        };
        let bytes = tasks.iter().map(length).sum();
        let (began, left) = self.begin(bytes);
        let sent = tokio::time::timeout(left, self.stream.response_duplex_vec(tasks)).await;
        self.end(began, sent)
    }

    fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        self.silence = timeout;
    }

    fn get_read_timeout(&self) -> Option<Duration> {
        self.silence
    }

    fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.stream.set_write_timeout(timeout);
    }

    fn get_write_timeout(&self) -> Option<Duration> {
        self.stream.get_write_timeout()
    }

    fn set_total_drain_timeout(&mut self, timeout: Option<Duration>) {
        self.stream.set_total_drain_timeout(timeout);
    }

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        self.stream.get_total_drain_timeout()
    }

    fn request_summary(&self) -> String {
        self.stream.request_summary()
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.stream.response_written()
    }

    async fn shutdown(&mut self, code: u32, _context: &str) {
        self.stream.shutdown_with_reason(code.into());
    }

    async fn abandon(&mut self, _context: &str) {
        self.stream.shutdown();
    }

    fn is_body_done(&mut self) -> bool {
        self.stream.is_body_done()
    }

    async fn finish(&mut self) -> pingora::Result<()> {
        self.stream.finish()
    }

    fn is_body_empty(&mut self) -> bool {
        self.stream.is_body_empty()
    }

    async fn read_body_or_idle(&mut self, is_done: bool) -> pingora::Result<Option<Bytes>> {
        match is_done || self.stream.is_body_done() {
            true => self.stream.read_body_or_idle(true).await,
            false => self.read_body_bytes().await,
        }
    }

    fn body_bytes_sent(&self) -> usize {
        self.stream.body_bytes_sent()
    }

    fn body_bytes_read(&self) -> usize {
        self.stream.body_bytes_read()
    }

    fn digest(&self) -> Option<&Digest> {
        self.stream.digest()
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        self.stream.digest_mut()
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        self.stream.client_addr()
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        self.stream.server_addr()
    }

    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        self.stream.pseudo_raw_h1_request_header()
    }

    fn enable_retry_buffering(&mut self) {
        self.stream.enable_retry_buffering();
    }

    fn retry_buffer_truncated(&self) -> bool {
        self.stream.retry_buffer_truncated()
    }

    fn get_retry_buffer(&self) -> Option<Bytes> {
        self.stream.get_retry_buffer()
    }

    // What HTTP/2 has none of.

    async fn finish_custom(&mut self) -> pingora::Result<()> {
        Ok(())
    }

    fn take_custom_message_reader(&mut self) -> Option<Messages> {
        None
    }

    fn restore_custom_message_reader(&mut self, _reader: Messages) -> pingora::Result<()> {
        Ok(())
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        None
    }

    fn restore_custom_message_writer(
        &mut self,
        _writer: Box<dyn CustomMessageWrite>,
    ) -> pingora::Result<()> {
        Ok(())
    }
}

type Messages = Box<dyn Stream<Item = pingora::Result<Bytes>> + Unpin + Send + Sync + 'static>;
