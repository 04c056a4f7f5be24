//! Where a tenant's key comes from, as it is written in the configuration and noted in the tenant's
//! folder. The key itself is not read here.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use store::TenantText;

use super::directory;

/// Where the tenant's key comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum KeySource {
    /// A file in the data directory, made at the first start.
    #[default]
    DataDirectory,
    /// This file, made at the first start.
    File(PathBuf),
    /// This variable of the environment.
    Environment(String),
    /// This credential that systemd gives the service.
    Credential(String),
}

/// The directory that systemd puts credentials into.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// The note of where the key came from, in the folder of the keys.
const NOTE: &str = "source";

/// The text names no source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a tenant's key comes from \"file:PATH\", \"env:NAME\" or \"credential:NAME\", or from \"\": a file in the data directory"
)]
pub struct InvalidKeySource;

impl KeySource {
    /// Where `serve` took the tenant's key from, or the default.
    #[must_use]
    pub fn noted(data: &Path, tenant: &TenantText) -> Self {
        let text = fs::read_to_string(note(data, tenant));
        text.ok().and_then(|text| text.trim_end().parse().ok()).unwrap_or_default()
    }

    pub(crate) fn path(&self, data: &Path, tenant: &TenantText) -> Option<PathBuf> {
        match self {
            Self::DataDirectory => Some(data.join("tenant-keys").join(tenant.as_str())),
            Self::File(path) => Some(path.clone()),
            Self::Environment(_) => None,
            Self::Credential(name) => {
                environment(CREDENTIALS).map(|dir| Path::new(&dir).join(name))
            }
        }
    }

    /// Where it is, for people.
    pub(super) fn place(&self, data: &Path, tenant: &TenantText) -> String {
        match self {
            Self::Environment(name) => format!("the environment's {name}"),
            Self::Credential(name) => format!("the systemd credential {name}"),
            Self::DataDirectory | Self::File(_) => {
                self.path(data, tenant).unwrap_or_default().display().to_string()
            }
        }
    }
}

impl FromStr for KeySource {
    type Err = InvalidKeySource;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_name = |name: &str| {
            !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0', '='])
        };
        match text.split_once(':') {
            None if text.is_empty() => Ok(Self::DataDirectory),
            Some(("file", path)) if !path.is_empty() && !path.contains('\0') => {
                Ok(Self::File(path.into()))
            }
            Some(("env", name)) if is_name(name) => Ok(Self::Environment(name.to_owned())),
            Some(("credential", name)) if is_name(name) => Ok(Self::Credential(name.to_owned())),
            _ => Err(InvalidKeySource),
        }
    }
}

impl fmt::Display for KeySource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DataDirectory => Ok(()),
            Self::File(path) => write!(formatter, "file:{}", path.display()),
            Self::Environment(name) => write!(formatter, "env:{name}"),
            Self::Credential(name) => write!(formatter, "credential:{name}"),
        }
    }
}

/// The file that says where the key came from.
pub(super) fn note(data: &Path, tenant: &TenantText) -> PathBuf {
    directory(data, tenant).join("keys").join(NOTE)
}

/// A variable of the environment, where it is text.
#[expect(
    clippy::disallowed_methods,
    reason = "a container's secret or a systemd credential, where the configuration names it"
)]
pub(crate) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_read_as_they_are_written() {
        for text in ["", "file:/etc/key", "env:KEY", "credential:key"] {
            assert_eq!(text.parse::<KeySource>().unwrap().to_string(), text);
        }
        for bad in ["key", "file:", "env:", "env:A=B", "credential:../key", "credential:.x", "x:y"]
        {
            assert!(bad.parse::<KeySource>().is_err(), "{bad}");
        }
    }
}
