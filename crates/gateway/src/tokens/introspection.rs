//! Asking an issuer what a token is worth (RFC 7662): for tokens that say nothing by themselves.
//!
//! What is asked at a time is bounded, and so is what is remembered of tokens that are worth
//! nothing. The credentials are read from their file each time, so that a new secret counts at
//! once.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use contract::{Clock, Instant};
use http::HeaderValue;
use serde_json::{Map, Value};
use smart::Claims;
use tokio::sync::Semaphore;

use super::cache::{Cache, TokenDigest};
use super::written::IntrospectionAt;
use crate::fetch::{FetchError, Fetcher, Form};

/// The rights of accounts that have nothing to do with this one.
const OTHERS: u32 = 0o007;
/// Questions at a time.
const AT_A_TIME: usize = 32;
/// The longest answer.
const LONGEST_ANSWER: usize = 64 * 1024;
/// Tokens that are worth nothing, remembered at a time.
const MOST_REFUSED: usize = 8 * 1024;
/// For how long, in microseconds.
const REFUSED_FOR: i64 = 30_000_000;

/// One issuer's endpoint.
pub(crate) struct Introspection {
    at: IntrospectionAt,
    fetcher: Fetcher,
    asking: Semaphore,
    refused: Cache<Instant>,
    clock: Arc<dyn Clock>,
}

/// Why nothing is known of a token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IntrospectionError {
    #[error("as many tokens are asked about as may be at a time")]
    Busy,
    #[error("the file with the secret cannot be read")]
    Secret(#[source] std::io::Error),
    #[error("other accounts may read or write the file with the secret; take their rights away")]
    Exposed,
    #[error("the secret cannot be sent")]
    Unsendable,
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("the answer is not that of an introspection")]
    Answer,
}

impl Introspection {
    pub(crate) fn new(at: &IntrospectionAt, fetcher: Fetcher, clock: Arc<dyn Clock>) -> Self {
        Self {
            at: at.clone(),
            fetcher,
            asking: Semaphore::new(AT_A_TIME),
            refused: Cache::new(MOST_REFUSED),
            clock,
        }
    }

    /// When a token that was asked about now is asked about again.
    pub(crate) fn again(&self) -> Instant {
        crate::later(self.clock.now(), self.at.again)
    }

    /// What the issuer says of a token; `None` when it is worth nothing.
    pub(crate) async fn ask(
        &self,
        token: &str,
        digest: &TokenDigest,
    ) -> Result<Option<Claims>, IntrospectionError> {
        let now = self.clock.now();
        if self.refused.get(digest).is_some_and(|until| now < until) {
            return Ok(None);
        }
        let _turn = self.asking.try_acquire().map_err(|_| IntrospectionError::Busy)?;
        let secret = self.secret().await?;
        let authorization = basic(&self.at.client_id, secret.trim_end_matches(['\r', '\n']))?;
        let body = format!("token={}&token_type_hint=access_token", form_encoded(token));
        let form = Form { body, authorization };
        let answer = self.fetcher.post(&self.at.url, form, LONGEST_ANSWER).await?;
        let answer: Map<String, Value> =
            serde_json::from_slice(&answer).map_err(|_| IntrospectionError::Answer)?;
        match answer.get("active") {
            Some(Value::Bool(true)) => Ok(Some(Claims::of(answer))),
            Some(Value::Bool(false)) => {
                let until = Instant::from_micros(now.as_micros().saturating_add(REFUSED_FOR));
                self.refused.put(*digest, until);
                Ok(None)
            }
            _ => Err(IntrospectionError::Answer),
        }
    }
}

impl Introspection {
    async fn secret(&self) -> Result<String, IntrospectionError> {
        let path = &self.at.secret_file;
        let metadata = tokio::fs::metadata(path).await.map_err(IntrospectionError::Secret)?;
        if metadata.permissions().mode() & OTHERS != 0 {
            return Err(IntrospectionError::Exposed);
        }
        tokio::fs::read_to_string(path).await.map_err(IntrospectionError::Secret)
    }
}

/// RFC 6749, section 2.3.1: both parts are form-encoded first.
fn basic(id: &str, secret: &str) -> Result<HeaderValue, IntrospectionError> {
    let pair = format!("{}:{}", form_encoded(id), form_encoded(secret));
    let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair)))
        .map_err(|_| IntrospectionError::Unsendable)?;
    value.set_sensitive(true);
    Ok(value)
}

fn form_encoded(text: &str) -> String {
    let encoded = text.bytes().map(|byte| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'*' => {
            char::from(byte).to_string()
        }
        b' ' => "+".to_owned(),
        byte => format!("%{byte:02X}"),
    });
    encoded.collect()
}

#[cfg(test)]
mod tests {
    use super::{basic, form_encoded};

    #[test]
    fn what_is_sent_is_encoded_as_a_form() {
        assert_eq!(form_encoded("a b&c=~é"), "a+b%26c%3D%7E%C3%A9");
        let value = basic("gate", "a:b").expect("a value");
        assert_eq!(value.to_str().expect("text"), "Basic Z2F0ZTphJTNBYg==");
    }
}
