//! One HTTP request to the server's channel, over its Unix socket or the link: how the gateway reads
//! the channel's secret, and tells what it denied.
//!
//! A connection is opened for each question; questions are rare. Client requests never come here.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use link::{ConnectError, Fingerprint};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;

use crate::server_link::Link;

/// No document on the channel socket is longer.
const LONGEST_ANSWER: usize = 64 * 1024;

/// Where the server answers for its channel.
#[derive(Debug, Clone)]
pub(crate) enum ChannelPlace {
    /// On a socket of this host.
    Socket(PathBuf),
    /// On another host.
    Link(Arc<Link>),
}

/// Why a question got no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChannelAskError {
    #[error("nobody listens on the socket")]
    Unreachable(#[source] std::io::Error),
    #[error("the server's channel cannot be reached over the link")]
    Link(#[from] ConnectError),
    #[error(
        "the server does not believe this gateway: add its certificate ({}, fingerprint \
         {fingerprint}) to the file that server.link.gateways_file names",
        certificate.display()
    )]
    Refused { certificate: PathBuf, fingerprint: Fingerprint },
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    #[error("the connection failed")]
    Connection(#[from] hyper::Error),
    #[error("the answer's body failed or is longer than {LONGEST_ANSWER} bytes")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Asks `GET target` there.
pub(crate) async fn get(
    place: &ChannelPlace,
    target: &str,
    limit: Duration,
) -> Result<(StatusCode, Bytes), ChannelAskError> {
    within(limit, ask(place, (Method::GET, target), Bytes::new(), limit)).await
}

/// Sends a JSON document to `POST target` there.
pub(crate) async fn post(
    place: &ChannelPlace,
    target: &str,
    document: impl Into<Bytes>,
    limit: Duration,
) -> Result<(StatusCode, Bytes), ChannelAskError> {
    within(limit, ask(place, (Method::POST, target), document.into(), limit)).await
}

async fn within<T>(
    limit: Duration,
    asking: impl Future<Output = Result<T, ChannelAskError>>,
) -> Result<T, ChannelAskError> {
    tokio::time::timeout(limit, asking).await.unwrap_or(Err(ChannelAskError::TimedOut(limit)))
}

async fn ask(
    place: &ChannelPlace,
    asked: (Method, &str),
    document: Bytes,
    limit: Duration,
) -> Result<(StatusCode, Bytes), ChannelAskError> {
    match place {
        ChannelPlace::Socket(path) => {
            let stream = UnixStream::connect(path).await.map_err(ChannelAskError::Unreachable)?;
            exchange(stream, asked, document).await
        }
        ChannelPlace::Link(link) => {
            let stream = link.connect_channel(limit).await?;
            let answer = exchange(stream, asked, document).await;
            // Whom it does not believe, a server tells in its first bytes.
            answer.map_err(|error| match link.own_certificate() {
                Some((certificate, fingerprint)) if link::refused_by_other(&error) => {
                    ChannelAskError::Refused { certificate, fingerprint }
                }
                _ => error,
            })
        }
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    (method, target): (Method, &str),
    document: Bytes,
) -> Result<(StatusCode, Bytes), ChannelAskError> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let question = async move {
        let is_sent = !document.is_empty();
        let mut request = Request::new(Full::new(document));
        *request.method_mut() = method;
        if let Ok(uri) = target.parse() {
            *request.uri_mut() = uri;
        }
        request.headers_mut().insert(header::HOST, header::HeaderValue::from_static("localhost"));
        if is_sent {
            let json = header::HeaderValue::from_static("application/json");
            request.headers_mut().insert(header::CONTENT_TYPE, json);
        }
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), LONGEST_ANSWER)
            .collect()
            .await
            .map_err(ChannelAskError::Body)?;
        Ok((status, body.to_bytes()))
    };
    tokio::pin!(question, connection);
    // The connection is driven here, not in a task of its own: it ends with the question.
    tokio::select! {
        answer = &mut question => answer,
        ended = &mut connection => {
            ended?;
            question.await
        }
    }
}
