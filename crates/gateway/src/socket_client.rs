//! One HTTP GET over a Unix socket: how the gateway reads the server's channel socket.
//!
//! A connection is opened for each question; questions are rare. Client requests never come here.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
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
    tokio::time::timeout(limit, ask(path, target)).await.unwrap_or(Err(AskError::TimedOut(limit)))
}

async fn ask(path: &Path, target: &str) -> Result<(StatusCode, Bytes), AskError> {
    let stream = UnixStream::connect(path).await.map_err(AskError::Unreachable)?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let question = async move {
        let mut request = Request::new(Empty::<Bytes>::new());
        if let Ok(uri) = target.parse() {
            *request.uri_mut() = uri;
        }
        request.headers_mut().insert(header::HOST, header::HeaderValue::from_static("localhost"));
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
