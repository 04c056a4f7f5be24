//! What the gateway shows an upstream of itself: a bearer token, a name with a password, or an
//! access token that it gets as a SMART backend service (`tokens`).
//!
//! The configuration names the file or the variable of the environment that holds a secret, and
//! never the secret. Nothing here is ever written to a log.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use serde::{Deserialize, Serialize};

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
}

/// Outgoing credentials that were checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Credentials {
    /// `Authorization: Bearer`.
    Bearer(SecretSource),
    /// `Authorization: Basic`.
    Basic { user: String, password: SecretSource },
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

impl Credentials {
    /// The value of `Authorization`.
    pub(crate) fn header(&self, environment: Environment) -> Result<HeaderValue, SecretError> {
        let (text, source) = match self {
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
