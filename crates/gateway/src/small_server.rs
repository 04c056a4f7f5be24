//! A small HTTP server for the listeners that are not for clients: admin and renewal.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::server::TlsStream;

/// Connections served at a time; more wait to be accepted.
const MOST_CONNECTIONS: usize = 256;

/// The connections of one listener. Dropping it ends them.
pub(crate) struct SmallServer {
    head_limit: Duration,
    open: JoinSet<()>,
}

impl SmallServer {
    /// A server without connections; a question's head may take `head_limit`.
    pub(crate) fn new(head_limit: Duration) -> Self {
        Self { head_limit, open: JoinSet::new() }
    }

    /// Waits for `accepting`, and meanwhile for connections that end.
    pub(crate) async fn tend<A>(&mut self, accepting: impl Future<Output = A>) -> A {
        tokio::pin!(accepting);
        loop {
            let full = self.open.len() >= MOST_CONNECTIONS;
            tokio::select! {
                // How a connection of these ended, nobody needs to know.
                Some(_) = self.open.join_next(), if !self.open.is_empty() => {}
                accepted = &mut accepting, if !full => return accepted,
            }
        }
    }

    /// Serves a connection.
    pub(crate) fn begin<S, A, F>(&mut self, stream: S, answer: A)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        A: Fn(Request<Incoming>) -> F + Send + 'static,
        F: Future<Output = Result<Response<Full<Bytes>>, Infallible>> + Send + 'static,
    {
        self.begin_with(async { Some((stream, answer)) });
    }

    /// Serves a connection that is first made ready, where that comes to something.
    pub(crate) fn begin_with<S, A, F>(
        &mut self,
        ready: impl Future<Output = Option<(S, A)>> + Send + 'static,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        A: Fn(Request<Incoming>) -> F + Send + 'static,
        F: Future<Output = Result<Response<Full<Bytes>>, Infallible>> + Send + 'static,
    {
        let head_limit = self.head_limit;
        self.open.spawn(async move {
            let Some((stream, answer)) = ready.await else { return };
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(head_limit)
                .serve_connection(TokioIo::new(stream), service_fn(answer))
                .await;
            if let Err(error) = served {
                tracing::debug!(error = &error as &dyn std::error::Error, "a connection failed");
            }
        });
    }
}

/// A connection, plain or not.
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
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

impl AsyncWrite for Stream {
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

/// A whole answer.
pub(crate) fn answer(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
