//! What the gateway shows an upstream of itself: a bearer token, a name with a password, or an
//! access token that it gets as a SMART backend service (`tokens`).
//!
//! The configuration names the file or the variable of the environment that holds a secret, and
//! never the secret. Nothing here is ever written to a log.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use contract::{Clock, Ids};
use http::HeaderValue;
use serde::{Deserialize, Serialize};

use super::tokens::{BadKey, OutgoingTokens};

/// The text of outgoing credentials.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenCredentials {
    /// The name that goes with a password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The file that holds the token or the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// The variable of the environment that holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// How an access token is had; what is in the file or the environment is then the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<WrittenToken>,
}

/// The text of how an access token is had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenToken {
    /// The upstream that gives it.
    pub upstream: String,
    /// Where it gives it.
    pub path: String,
    /// The same as a URL, by which it knows itself.
    pub audience: String,
    /// By what id it knows the gateway.
    pub client: String,
    /// By what id it knows the gateway's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// The scopes that are asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
}

/// How an access token is had, the key aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TokenSource {
    pub(crate) upstream: String,
    pub(crate) path: String,
    pub(crate) audience: String,
    pub(crate) client: String,
    pub(crate) key_id: Option<String>,
    pub(crate) scope: Option<String>,
}

/// Outgoing credentials that were checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Credentials {
    /// An access token that is asked for, with the key that asks.
    Token { source: TokenSource, key: SecretSource },
    /// `Authorization: Bearer`.
    Bearer(SecretSource),
    /// `Authorization: Basic`.
    Basic { user: String, password: SecretSource },
}

/// What an upstream is shown of the gateway.
#[derive(Debug)]
pub(crate) enum Shown {
    /// The same value of `Authorization` each time.
    Header(HeaderValue),
    /// An access token of the moment.
    Token(Box<OutgoingTokens>),
}

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SecretSource {
    File(PathBuf),
    Environment(String),
}

/// How variables of the environment are asked for: the environment comes in by the binary's door.
#[derive(Debug, Clone, Copy)]
pub struct Environment(pub fn(&str) -> Option<String>);

impl Default for Environment {
    fn default() -> Self {
        Self(|_| None)
    }
}

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file.
    #[error("cannot read the secret in {}", .0.display())]
    File(PathBuf, #[source] std::io::Error),
    /// The environment.
    #[error("the environment has no variable {0}")]
    Environment(String),
    /// What should be a key.
    #[error("{0} holds no key in PKCS #8 and PEM: P-256, P-384, or RSA of 2048 bits at least")]
    NoKey(String),
    /// What it holds.
    #[error("the secret in {0} is empty, or has other than visible ASCII in it")]
    Unusable(String),
}

impl WrittenCredentials {
    /// # Errors
    /// What is wrong, and what is right.
    pub(crate) fn check(&self) -> Result<Credentials, String> {
        let secret = match (&self.file, &self.environment) {
            (Some(file), None) => SecretSource::File(file.clone()),
            (None, Some(name)) => SecretSource::Environment(name.clone()),
            _ => return Err("name a file, or a variable of the environment".to_owned()),
        };
        if let Some(token) = &self.token {
            if self.user.is_some() {
                return Err("user and token do not go together".to_owned());
            }
            return Ok(Credentials::Token { source: token.check()?, key: secret });
        }
        match &self.user {
            None => Ok(Credentials::Bearer(secret)),
            Some(user)
                if !user.contains(':') && user.bytes().all(|byte| byte.is_ascii_graphic()) =>
            {
                Ok(Credentials::Basic { user: user.clone(), password: secret })
            }
            Some(_) => Err("user is visible ASCII without a colon".to_owned()),
        }
    }
}

impl WrittenToken {
    fn check(&self) -> Result<TokenSource, String> {
        if !self.path.starts_with('/') || !self.path.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("token: path begins with a slash, and is visible ASCII".to_owned());
        }
        if self.client.is_empty() || self.audience.is_empty() {
            return Err("token: client and audience say who asks, and whom".to_owned());
        }
        Ok(TokenSource {
            upstream: self.upstream.clone(),
            path: self.path.clone(),
            audience: self.audience.clone(),
            client: self.client.clone(),
            key_id: self.key_id.clone(),
            scope: self.scope.clone(),
        })
    }
}

impl Credentials {
    /// What an upstream is shown.
    pub(crate) fn shown(
        &self,
        environment: Environment,
        clock: &Arc<dyn Clock>,
        ids: &Arc<dyn Ids>,
    ) -> Result<Shown, SecretError> {
        let Self::Token { source, key } = self else {
            return self.header(environment).map(Shown::Header);
        };
        let pem = key.read(environment)?;
        let tokens = OutgoingTokens::new(source.clone(), &pem, clock.clone(), ids.clone());
        let tokens = tokens.map_err(|BadKey| SecretError::NoKey(key.told()))?;
        Ok(Shown::Token(Box::new(tokens)))
    }

    /// The value of `Authorization`, where it is always the same.
    fn header(&self, environment: Environment) -> Result<HeaderValue, SecretError> {
        let (text, source) = match self {
            Self::Token { key, .. } => return Err(SecretError::NoKey(key.told())),
            Self::Bearer(source) => (format!("Bearer {}", source.read(environment)?), source),
            Self::Basic { user, password } => {
                let pair = format!("{user}:{}", password.read(environment)?);
                (format!("Basic {}", STANDARD.encode(pair)), password)
            }
        };
        let mut value =
            HeaderValue::try_from(text).map_err(|_| SecretError::Unusable(source.told()))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl SecretSource {
    /// The secret, without the line's end that editors put behind it.
    pub(crate) fn read(&self, environment: Environment) -> Result<String, SecretError> {
        let text = match self {
            Self::File(path) => read_file(path)?,
            Self::Environment(name) => {
                environment.0(name).ok_or_else(|| SecretError::Environment(name.clone()))?
            }
        };
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            return Err(SecretError::Unusable(self.told()));
        }
        Ok(text.to_owned())
    }

    fn told(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Environment(name) => format!("the environment's {name}"),
        }
    }
}

fn read_file(path: &Path) -> Result<String, SecretError> {
    std::fs::read_to_string(path).map_err(|error| SecretError::File(path.to_owned(), error))
}
