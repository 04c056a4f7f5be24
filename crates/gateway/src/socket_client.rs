//! One HTTP request over a Unix socket: how the gateway reads the server's channel socket, and tells
//! it what it denied.
//!
//! A connection is opened for each question; questions are rare. Client requests never come here.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

/// No document on the channel socket is longer.
const LONGEST_ANSWER: usize = 64 * 1024;

/// Why a question got no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    #[error("nobody listens on the socket")]
    Unreachable(#[source] std::io::Error),
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    #[error("the connection failed")]
    Connection(#[from] hyper::Error),
    #[error("the answer's body failed or is longer than {LONGEST_ANSWER} bytes")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Asks `GET target` on the socket at `path`.
pub(crate) async fn get(
    path: &Path,
    target: &str,
    limit: Duration,
) -> Result<(StatusCode, Bytes), AskError> {
    within(limit, ask(path, (Method::GET, target), Bytes::new())).await
}

/// Sends a JSON document to `POST target` on the socket at `path`.
pub(crate) async fn post(
    path: &Path,
    target: &str,
    document: impl Into<Bytes>,
    limit: Duration,
) -> Result<(StatusCode, Bytes), AskError> {
    within(limit, ask(path, (Method::POST, target), document.into())).await
}

async fn within<T>(
    limit: Duration,
    asking: impl Future<Output = Result<T, AskError>>,
) -> Result<T, AskError> {
    tokio::time::timeout(limit, asking).await.unwrap_or(Err(AskError::TimedOut(limit)))
}

async fn ask(
    path: &Path,
    (method, target): (Method, &str),
    document: Bytes,
) -> Result<(StatusCode, Bytes), AskError> {
    let stream = UnixStream::connect(path).await.map_err(AskError::Unreachable)?;
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
            .map_err(AskError::Body)?;
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
