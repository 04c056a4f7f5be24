//! Requests of the gateway's own to upstreams: checks, tokens, questions to an authorizer, and
//! what is mirrored. Each has a limit in time and in bytes.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use pingora::connectors::http::Connector;
use pingora::http::RequestHeader;
use pingora::upstreams::peer::HttpPeer;

use super::Upstream;
use super::target::{Row, Target};

/// Asks, on kept connections.
pub(crate) struct Asker(Connector);

impl std::fmt::Debug for Asker {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Asker")
    }
}

/// What is asked.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) target: String,
    pub(crate) host: HeaderValue,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    #[error("no answer within {0:?}")]
    TooSlow(Duration),
    #[error("the connection failed")]
    Failed(#[source] Box<pingora::Error>),
    #[error("the answer's body is longer than {0} bytes")]
    TooLong(usize),
    #[error("there is no access token to show")]
    NoToken,
}

impl From<Box<pingora::Error>> for AskError {
    fn from(error: Box<pingora::Error>) -> Self {
        Self::Failed(error)
    }
}

impl Question {
    /// A GET without a body.
    pub(crate) fn get(target: &str, host: HeaderValue) -> Self {
        Self {
            method: Method::GET,
            target: target.to_owned(),
            host,
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }

    /// The same with one more header.
    pub(crate) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }
}

impl Asker {
    pub(crate) fn new() -> Self {
        Self(Connector::new(None))
    }

    /// Asks, and reads an answer of at most `most` bytes within `limit`.
    pub(crate) async fn ask(
        &self,
        peer: &HttpPeer,
        question: &Question,
        limit: Duration,
        most: usize,
    ) -> Result<(StatusCode, Bytes), AskError> {
        let answer = tokio::time::timeout(limit, self.answer(peer, question, most)).await;
        answer.unwrap_or(Err(AskError::TooSlow(limit)))
    }

    async fn answer(
        &self,
        peer: &HttpPeer,
        question: &Question,
        most: usize,
    ) -> Result<(StatusCode, Bytes), AskError> {
        let target = question.target.as_bytes();
        let mut head = RequestHeader::build(question.method.clone(), target, None)?;
        for (name, value) in &question.headers {
            head.append_header(name, value)?;
        }
        head.insert_header(header::HOST, &question.host)?;
        let has_body = !question.body.is_empty() || question.method == Method::POST;
        if has_body {
            head.insert_header(header::CONTENT_LENGTH, question.body.len())?;
        }
        let (mut session, _) = self.0.get_http_session(peer).await?;
        session.write_request_header(Box::new(head)).await?;
        if !question.body.is_empty() {
            session.write_request_body(question.body.clone(), true).await?;
        }
        session.finish_request_body().await?;
        loop {
            session.read_response_header().await?;
            let informs = |head: &pingora::http::ResponseHeader| head.status.is_informational();
            if !session.response_header().is_some_and(informs) {
                break;
            }
        }
        let status = session.response_header().map_or(StatusCode::BAD_GATEWAY, |head| head.status);
        let mut body = Vec::new();
        while let Some(piece) = session.read_response_body().await? {
            if body.len() + piece.len() > most {
                return Err(AskError::TooLong(most));
            }
            body.extend_from_slice(&piece);
        }
        self.0.release_http_session(session, peer, peer.options.idle_timeout).await;
        Ok((status, body.into()))
    }
}

impl Upstream {
    /// Asks an endpoint, with what the upstream is shown, all within `limit`. A token that has to be
    /// had first may take half of that.
    pub(crate) async fn ask(
        &self,
        target: &Target,
        question: &Question,
        limit: Duration,
        most: usize,
    ) -> Result<(StatusCode, Bytes), AskError> {
        let asked = async {
            let own = self.authorization(tokio::time::sleep(limit / 2)).await;
            match own.map_err(|_| AskError::NoToken)? {
                Some(own) => {
                    let question = question.clone().with(header::AUTHORIZATION, own);
                    self.asker.ask(&target.peer, &question, limit, most).await
                }
                None => self.asker.ask(&target.peer, question, limit, most).await,
            }
        };
        tokio::time::timeout(limit, asked).await.unwrap_or(Err(AskError::TooSlow(limit)))
    }

    /// Counts what a question of the gateway's own to an endpoint came to.
    pub(crate) fn judge(
        &self,
        target: &Target,
        asked: &Result<(StatusCode, Bytes), AskError>,
        row: Row,
        now: Duration,
    ) {
        match asked {
            Ok((status, _)) => self.answered(target, *status, row, now),
            Err(AskError::TooSlow(_) | AskError::Failed(_)) => self.failed(target, row, now),
            // It answers, or was not asked.
            Err(AskError::TooLong(_) | AskError::NoToken) => {}
        }
    }

    /// Counts an answer of an endpoint: 502 to 504 are failures, since nobody is there behind it.
    pub(crate) fn answered(&self, target: &Target, status: StatusCode, row: Row, now: Duration) {
        match status.as_u16() {
            502..=504 => self.failed(target, row, now),
            _ => target.succeeded(row),
        }
    }

    /// Counts that an endpoint did not answer.
    pub(crate) fn failed(&self, target: &Target, row: Row, now: Duration) {
        let balancer = self.balancer.load();
        let is_last = balancer.choose(None, now, Some(target)).is_none();
        if let Some(out) = target.failed(row, &self.config.ejection, now, is_last) {
            self.tallies.ejections.inc();
            tracing::warn!(
                upstream = &*self.name, endpoint = %target.address, seconds = out.as_secs_f64(),
                "failed too often in a row, and gets no requests for a while"
            );
        }
    }
}
