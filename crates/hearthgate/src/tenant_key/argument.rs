//! `--tenant-key` of the commands that run without the server.

use std::path::Path;
use std::sync::Arc;

use clap::Args;
use database::Sealing;
use store::TenantText;
use store::keys::Keyring;

use super::{KeySource, TenantKeyError, TenantKeys};
use crate::config::Config;
use crate::doors::SystemIds;

/// The tenant's key for a command that runs without the server.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct TenantKeyArgument {
    /// Where the tenant's key is: file:PATH, env:NAME or credential:NAME [default: where the
    /// server took it from]
    #[arg(long = "tenant-key", value_name = "SOURCE")]
    source: Option<KeySource>,
}

impl TenantKeyArgument {
    pub(crate) fn source(&self, data: &Path, tenant: &TenantText) -> KeySource {
        self.source.clone().unwrap_or_else(|| KeySource::noted(data, tenant))
    }

    /// Opens the tenant's keys; `None` where nothing was ever sealed.
    pub(crate) fn keyring(
        &self,
        data: &Path,
        tenant: &TenantText,
    ) -> Result<Option<Arc<Keyring>>, TenantKeyError> {
        let source = self.source(data, tenant);
        TenantKeys { data, tenant, source: &source }.open(Arc::new(SystemIds::open()?))
    }

    /// What opens the tenant's bodies.
    pub(crate) fn sealing(
        &self,
        data: &Path,
        tenant: &TenantText,
    ) -> Result<Sealing, TenantKeyError> {
        let keyring = self.keyring(data, tenant)?;
        Ok(keyring.map_or(Sealing::none(), |keys| Sealing::with(tenant.clone(), keys)))
    }

    /// What opens the bodies of a tenant that has keys, where the argument says, or else the
    /// configuration.
    pub(crate) fn sealing_of(
        &self,
        config: &Config,
        tenant: &TenantText,
    ) -> Result<Sealing, TenantKeyError> {
        let source = self.source.as_ref().unwrap_or(&config.tenant_key);
        let keys = TenantKeys { data: &config.data, tenant, source };
        let keyring = keys.open(Arc::new(SystemIds::open()?))?;
        Ok(keyring.map_or(Sealing::none(), |keys| Sealing::with(tenant.clone(), keys)))
    }

    pub(crate) fn is_given(&self) -> bool {
        self.source.is_some()
    }
}
