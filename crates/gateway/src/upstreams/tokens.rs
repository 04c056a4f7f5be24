//! Access tokens that the gateway gets for itself, as a SMART backend service does: it signs an
//! assertion with its key and is given a token for a while (SMART App Launch 2.2, "Client
//! Authentication: Asymmetric" and "Backend Services"; RFC 7523).
//!
//! A token is asked for once for all who need one, and what comes of that is everybody's, a failure
//! too. It is asked for anew when three quarters of its time are over, or when its upstream refused
//! it; until there is another, requests go on with the old one. The server that gives them is an
//! upstream like any other, so that its TLS, its endpoints and its times are said there.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use contract::{Clock, Ids};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use parking_lot::Mutex;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    RSA_PKCS1_SHA384, RsaKeyPair,
};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;

use super::Upstream;
use super::ask::{AskError, Question};
use super::credentials::TokenSource;
use super::target::Row;
use crate::together::{Joined, Together};

/// For how long an assertion may be used: five minutes is the most that is allowed.
const ASSERTION_LIFE: i64 = 240;
/// The longest answer of who gives tokens, in bytes.
const LONGEST_ANSWER: usize = 64 * 1024;
/// How long one may take.
const LIMIT: Duration = Duration::from_secs(10);
/// After a failure, nobody is asked for so long.
const PAUSE: Duration = Duration::from_secs(1);
/// After a token was refused and another asked for, no refusal counts for so long: an upstream may
/// answer 401 to whatever some client asks, however good the token is.
const DEAF: Duration = Duration::from_secs(5);
/// For how long a token is good of which nothing is said.
const ASSUMED_LIFE: u64 = 60;
/// The longest that one is used, in seconds, however long it is said to be good: a day.
const LONGEST_LIFE: u64 = 24 * 60 * 60;

/// The key that assertions are signed with.
enum Key {
    Es256(EcdsaKeyPair),
    Es384(EcdsaKeyPair),
    Rs384(RsaKeyPair),
}

/// The token that one upstream is shown, and how another is had.
pub(crate) struct OutgoingTokens {
    kept: Arc<Kept>,
    asking: Together<Result<HeaderValue, Arc<TokenError>>>,
}

struct Kept {
    source: TokenSource,
    key: Key,
    random: SystemRandom,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    /// Who gives them; set once all upstreams are there.
    giver: OnceLock<Arc<Upstream>>,
    held: Mutex<Option<Held>>,
    /// Until when no refusal counts.
    deaf: Mutex<Duration>,
}

#[derive(Clone)]
struct Held {
    header: HeaderValue,
    /// Moments of the monotonic clock.
    renew: Duration,
    end: Duration,
}

impl Held {
    /// One that was given now, and is good for so many seconds.
    fn new(header: HeaderValue, now: Duration, expires_in: Option<u64>) -> Self {
        let life = Duration::from_secs(expires_in.unwrap_or(ASSUMED_LIFE).min(LONGEST_LIFE));
        Self { header, renew: now + life * 3 / 4, end: now + life }
    }
}

/// What is answered (RFC 6749, section 5.1).
#[derive(Deserialize)]
struct Given {
    access_token: String,
    token_type: String,
    expires_in: Option<u64>,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("nobody is there to give one")]
    NoEndpoint,
    #[error("no answer")]
    Unanswered(#[from] AskError),
    #[error("it is refused, with status {0}")]
    Refused(StatusCode),
    #[error("what is given is no bearer token")]
    Unreadable,
    #[error("the assertion cannot be signed")]
    Unsigned,
    #[error("the question ended without saying how")]
    Lost,
}

/// The key cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadKey;

impl std::fmt::Debug for OutgoingTokens {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("OutgoingTokens")
    }
}

impl OutgoingTokens {
    /// With the key in PKCS #8 and PEM: P-256, P-384 or RSA.
    pub(crate) fn new(
        source: TokenSource,
        pem: &str,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
    ) -> Result<Self, BadKey> {
        let random = SystemRandom::new();
        let key = Key::read(pem, &random).ok_or(BadKey)?;
        let (giver, held, deaf) = (OnceLock::new(), Mutex::default(), Mutex::default());
        let kept = Kept { source, key, random, clock, ids, giver, held, deaf };
        Ok(Self { kept: Arc::new(kept), asking: Together::default() })
    }

    /// The name of the upstream that gives them.
    pub(crate) fn giver(&self) -> &str {
        &self.kept.source.upstream
    }

    /// Says who that is.
    pub(crate) fn given_by(&self, giver: Arc<Upstream>) {
        // Said once, when all upstreams are begun.
        let _ = self.kept.giver.set(giver);
    }

    /// The value of `Authorization`. Waited for only where no token is held.
    pub(crate) async fn header(&self) -> Result<HeaderValue, Arc<TokenError>> {
        let held = self.kept.held.lock().clone();
        let now = self.kept.clock.monotonic();
        if let Some(held) = held
            && now < held.end
        {
            if now >= held.renew {
                self.ask();
            }
            return Ok(held.header);
        }
        self.ask().outcome().await.unwrap_or_else(|| Err(Arc::new(TokenError::Lost)))
    }

    /// The upstream refused this token.
    pub(crate) fn refused(&self, header: &HeaderValue) {
        let now = self.kept.clock.monotonic();
        if self.kept.held.lock().as_ref().is_none_or(|held| held.header != *header) {
            return;
        }
        {
            let mut deaf = self.kept.deaf.lock();
            if now < *deaf {
                return;
            }
            *deaf = now + DEAF;
        }
        self.ask();
    }

    /// Asks for a token, together with whoever else does.
    fn ask(&self) -> Joined<Result<HeaderValue, Arc<TokenError>>> {
        let kept = self.kept.clone();
        self.asking.join(|| async move {
            match kept.ask().await {
                Ok(header) => (Ok(header), Duration::ZERO),
                Err(error) => {
                    tracing::warn!(
                        upstream = kept.source.upstream,
                        client = kept.source.client,
                        error = &error as &dyn std::error::Error,
                        "no access token is given"
                    );
                    (Err(Arc::new(error)), PAUSE)
                }
            }
        })
    }
}

impl Kept {
    async fn ask(&self) -> Result<HeaderValue, TokenError> {
        let giver = self.giver.get().ok_or(TokenError::NoEndpoint)?;
        let now = self.clock.monotonic();
        let at = giver.choose(&HeaderMap::new(), now, None).ok_or(TokenError::NoEndpoint)?;
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        let json = HeaderValue::from_static("application/json");
        let question = Question {
            method: Method::POST,
            target: self.source.path.clone(),
            host: giver.host_for(None),
            headers: HeaderMap::from_iter([(CONTENT_TYPE, form), (ACCEPT, json)]),
            body: self.form()?,
        };
        let asked = giver.asker.ask(&at.target().peer, &question, LIMIT, LONGEST_ANSWER).await;
        giver.judge(at.target(), &asked, Row::Requests, self.clock.monotonic());
        let (status, body) = asked?;
        if status != StatusCode::OK {
            return Err(TokenError::Refused(status));
        }
        // The reason is not passed on: it could quote the token.
        let given: Given = serde_json::from_slice(&body).map_err(|_| TokenError::Unreadable)?;
        if !given.token_type.eq_ignore_ascii_case("bearer") {
            return Err(TokenError::Unreadable);
        }
        let mut header = HeaderValue::try_from(format!("Bearer {}", given.access_token))
            .map_err(|_| TokenError::Unreadable)?;
        header.set_sensitive(true);
        *self.held.lock() = Some(Held::new(header.clone(), now, given.expires_in));
        Ok(header)
    }

    fn form(&self) -> Result<Bytes, TokenError> {
        let mut form = String::from(
            "grant_type=client_credentials&client_assertion_type=\
             urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer",
        );
        if let Some(scope) = &self.source.scope {
            form.push_str("&scope=");
            push_escaped(&mut form, scope);
        }
        form.push_str("&client_assertion=");
        form.push_str(&self.assertion()?);
        Ok(form.into())
    }

    fn assertion(&self) -> Result<String, TokenError> {
        let mut header = serde_json::json!({"alg": self.key.algorithm(), "typ": "JWT"});
        if let Some(id) = &self.source.key_id {
            header["kid"] = id.as_str().into();
        }
        let now = self.clock.now().as_micros() / 1_000_000;
        let client = self.source.client.as_str();
        let claims = serde_json::json!({
            "iss": client, "sub": client, "aud": self.source.audience,
            "iat": now, "exp": now + ASSERTION_LIFE, "jti": format!("{:032x}", self.ids.next()),
        });
        let encode = |json: &serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let signed = format!("{}.{}", encode(&header), encode(&claims));
        let signature = self.key.sign(signed.as_bytes(), &self.random);
        let signature = signature.ok_or(TokenError::Unsigned)?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

impl Key {
    fn read(pem: &str, random: &SystemRandom) -> Option<Self> {
        let key = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).ok()?;
        let der = key.secret_pkcs8_der();
        let on_curve = |curve| EcdsaKeyPair::from_pkcs8(curve, der, random).ok();
        on_curve(&ECDSA_P384_SHA384_FIXED_SIGNING)
            .map(Self::Es384)
            .or_else(|| on_curve(&ECDSA_P256_SHA256_FIXED_SIGNING).map(Self::Es256))
            .or_else(|| RsaKeyPair::from_pkcs8(der).ok().map(Self::Rs384))
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::Es256(_) => "ES256",
            Self::Es384(_) => "ES384",
            Self::Rs384(_) => "RS384",
        }
    }

    fn sign(&self, text: &[u8], random: &SystemRandom) -> Option<Vec<u8>> {
        match self {
            Self::Es256(key) | Self::Es384(key) => {
                Some(key.sign(random, text).ok()?.as_ref().to_vec())
            }
            Self::Rs384(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA384, random, text, &mut signature).ok()?;
                Some(signature)
            }
        }
    }
}

/// Writes a value as forms have it.
fn push_escaped(form: &mut String, text: &str) {
    use std::fmt::Write as _;

    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            form.push(char::from(byte));
        } else {
            write!(form, "%{byte:02X}").expect("a String takes every text");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // GW-013
    #[test]
    fn a_token_is_used_for_its_life_and_a_day_at_most_however_long_that_is() {
        let now = Duration::from_secs(1000);
        for (expires_in, renew, end) in [
            (None, 45, 60),
            (Some(0), 0, 0),
            (Some(400), 300, 400),
            (Some(86_401), 64_800, 86_400),
            (Some(u64::MAX), 64_800, 86_400),
        ] {
            let held = Held::new(HeaderValue::from_static("Bearer x"), now, expires_in);
            let after = |at: Duration| (at - now).as_secs();
            assert_eq!((after(held.renew), after(held.end)), (renew, end), "{expires_in:?}");
        }
    }
}
