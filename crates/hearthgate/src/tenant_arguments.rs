//! Which tenant a command is about: the arguments of commands that work on one, whether a server
//! runs on its data or not.

use std::path::PathBuf;

use clap::Args;
use store::TenantText;

use crate::config::{Config, ConfigError, Flags};
use crate::tenant_key::TenantKeyArgument;

/// The arguments that name a tenant.
#[derive(Debug, Args)]
pub(crate) struct TenantArguments {
    /// The data directory [default: the configuration's, or ./data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The tenant [default: the configuration's, or `default`]
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// The configuration file, where the data is in PostgreSQL and no server runs
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    tenant_key: TenantKeyArgument,
}

/// Why the arguments name no tenant.
#[derive(Debug, thiserror::Error)]
pub enum InvalidTenantArguments {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The name of the tenant is none.
    #[error(transparent)]
    Tenant(#[from] store::InvalidTenant),
    /// The name of the tenant is none that the configuration takes.
    #[error(transparent)]
    TenantName(#[from] fhir_core::InvalidName),
}

impl TenantArguments {
    /// What the configuration says, where there is one, and the arguments.
    pub(crate) fn configuration(&self) -> Result<Config, InvalidTenantArguments> {
        let flags =
            Flags { data: self.data.clone(), config: self.config.clone(), ..Flags::default() };
        let mut config = match self.config {
            Some(_) => Config::resolve(&flags)?,
            None => {
                Config { data: flags.data.unwrap_or(Config::default().data), ..Config::default() }
            }
        };
        if let Some(tenant) = &self.tenant {
            TenantText::new(tenant)?;
            config.tenant = tenant.parse()?;
        }
        let name = TenantText::new(config.tenant.as_str())?;
        if self.config.is_none() || self.tenant_key.is_given() {
            config.tenant_key = self.tenant_key.source(&config.data, &name);
        }
        Ok(config)
    }
}
