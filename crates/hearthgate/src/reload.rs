//! Reading the configuration again while the gateway's half runs: all of it or nothing.
//!
//! Some keys decide what is opened once at the start; where one of those has changed nothing is
//! put into force, and each is said by name.

mod turn;

use std::sync::{Arc, Mutex, PoisonError};

use gateway::{GatewayConfig, GatewayError, Reload, Roles, Then};
use registry::{How, Registry};
use tokio::sync::mpsc;

use crate::config::{Config, ConfigError, Flags};
use crate::serve::Process;
use crate::trailed;

pub(crate) use turn::Turn;

/// The keys that may change while the gateway runs.
const WHILE_RUNNING: &[&str] = &[
    "gateway.public",
    "gateway.allow",
    "gateway.deny",
    "gateway.trusted_proxies",
    "gateway.client_address",
    "gateway.cors_origins",
    "gateway.cors_credentials",
    "gateway.cors_exposed",
    "gateway.header_bytes",
    "gateway.header_count",
    "gateway.uri_bytes",
    "gateway.header_seconds",
    "gateway.idle_seconds",
    "gateway.client_per_second",
    "gateway.client_burst",
    "gateway.public_per_second",
    "gateway.public_burst",
    "gateway.failures_per_second",
    "gateway.failures_burst",
    "gateway.failures_per_account",
    "gateway.admin_refusals_per_minute",
    "gateway.lockout_seconds",
    "gateway.body_grace_seconds",
    "gateway.body_bytes_per_second",
    "gateway.break_glass_minutes",
    "gateway.connections",
    "gateway.connections_per_address",
    "gateway.requests_per_connection",
    "gateway.http2_streams",
    "gateway.http2_age_seconds",
    "gateway.resolvers",
    "gateway.tls.certificates",
    "gateway.tls.client_certificates",
    "gateway.tls.client_authority_file",
    "gateway.tls.hsts_seconds",
    "lanes.interactive",
    "lanes.system",
    "lanes.bulk",
    "lanes.wait_seconds",
];

/// The sections whose keys are the operator's names, which may change too; routes stand for
/// upstreams as well.
const SECTIONS: &[&str] =
    &["roles", "plans", "gateway.routes", "gateway.issuers", "gateway.certificates"];

/// Why a configuration was not put into force. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// There is nothing to read again.
    #[error("the process was started without --config; there is no file to read again")]
    NoFile,
    /// The file.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Keys that count from the next start on.
    #[error(
        "{} cannot change while the process runs and needs a restart: restart it, or put back what was",
        keys(.0)
    )]
    NeedsRestart(Vec<&'static str>),
    /// The gateway.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    /// The gateway is stopping.
    #[error("the gateway is stopping")]
    Stopping,
}

fn keys(names: &[&'static str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// Reads the configuration again and hands it to the running gateway.
#[derive(Clone)]
pub struct Reloader(Arc<Inner>);

struct Inner {
    flags: Flags,
    gateway: mpsc::Sender<Reload>,
    in_force: Mutex<Config>,
    /// One reload at a time.
    turn: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Reloader {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Reloader").field("flags", &self.0.flags).finish_non_exhaustive()
    }
}

impl Reloader {
    /// For a gateway that was started with this configuration and takes others over `gateway`.
    pub(crate) fn new(flags: Flags, config: Config, gateway: mpsc::Sender<Reload>) -> Self {
        let (in_force, turn) = (Mutex::new(config), tokio::sync::Mutex::default());
        Self(Arc::new(Inner { flags, gateway, in_force, turn }))
    }

    /// Every role there is by now.
    pub(crate) fn roles(&self) -> Arc<Roles> {
        let in_force = self.0.in_force.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&in_force.roles)
    }

    /// Puts into force what the file says by now, made ready for the gateway by `ready`, and says
    /// which keys have changed.
    ///
    /// # Errors
    /// [`ReloadError`]; everything is as before then.
    pub(crate) async fn reload(
        &self,
        ready: impl FnOnce(&Config) -> GatewayConfig,
    ) -> Result<Vec<&'static str>, ReloadError> {
        let turn = self.take_turn().await;
        let (config, changed) = self.read(&turn).await?;
        turn.put_ready(config, Then::Put, ready).await?;
        Ok(changed)
    }

    /// What a reload would change. Files that the configuration names, such as certificates, are
    /// read by a reload alone.
    ///
    /// # Errors
    /// [`ReloadError`], as a reload of the same would be refused with.
    pub(crate) async fn would_change(&self) -> Result<Vec<&'static str>, ReloadError> {
        let turn = self.take_turn().await;
        self.read(&turn).await.map(|(_, changed)| changed)
    }

    /// What the file says by now, and which keys it decides otherwise, all of which may change.
    async fn read(&self, turn: &Turn<'_>) -> Result<(Config, Vec<&'static str>), ReloadError> {
        if self.0.flags.config.is_none() {
            return Err(ReloadError::NoFile);
        }
        let flags = self.0.flags.clone();
        let read = tokio::task::spawn_blocking(move || Config::resolve(&flags)).await;
        let config = read.map_err(|_| ReloadError::Stopping)??;
        let changed = turn.config().difference(&config);
        let fixed = ReloadError::fixed(&changed);
        if !fixed.is_empty() {
            return Err(ReloadError::NeedsRestart(fixed));
        }
        Ok((config, changed))
    }

    /// As [`Self::reload`], on a signal: said in the log, and in the trail.
    pub(crate) async fn reload_and_tell(
        &self,
        registry: &Arc<Registry>,
        ready: impl FnOnce(&Config) -> GatewayConfig,
    ) {
        let doing = trailed::reload(How::Signal, "whoever may signal the process");
        match trailed::reloaded(registry, doing, self.reload(ready)).await {
            Ok(changed) if changed.is_empty() => {
                tracing::info!("the configuration was read again; nothing in it has changed");
            }
            Ok(changed) => {
                let changed = changed.join(", ");
                tracing::info!(changed, "another configuration is in force");
            }
            Err(error) => {
                tracing::error!(error, "the configuration of before stays in force");
            }
        }
    }
}

/// For the admin API, which writes the trail itself.
impl gateway::Reconfigure for Reloader {
    fn reconfigure(&self, dry_run: bool) -> gateway::Reconfiguring<'_> {
        Box::pin(async move {
            let changed = match dry_run {
                true => self.would_change().await,
                false => self.reload(Process::gateway_config).await,
            };
            let changed = changed.map_err(|error| crate::failure::one_line(&error))?;
            Ok(changed.into_iter().map(str::to_owned).collect())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_change_while_running_is_a_key() {
        let known = crate::config::key_names();
        for name in WHILE_RUNNING {
            assert!(known.contains(name), "{name}");
        }
    }

    fn gateway_with(text: &str) -> (tempfile::TempDir, Reloader, mpsc::Receiver<Reload>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("site.toml");
        std::fs::write(&path, text).unwrap();
        let flags = Flags { config: Some(path), ..Flags::default() };
        let config = Config::resolve(&flags).unwrap();
        let (sender, receiver) = mpsc::channel(1);
        (dir, Reloader::new(flags, config, sender), receiver)
    }

    async fn reload(text: &str) -> Result<Vec<&'static str>, String> {
        let (dir, reloader, mut receiver) = gateway_with("[gateway]\npublic_burst = 7\n");
        std::fs::write(dir.path().join("site.toml"), text).unwrap();
        let take = async {
            if let Some(reload) = receiver.recv().await {
                drop(reload.done.send(Ok(())));
            }
        };
        let reloaded = reloader.reload(|_| GatewayConfig::default());
        tokio::select! {
            result = reloaded => result.map_err(|error| crate::failure::one_line(&error)),
            () = async { take.await; std::future::pending().await } => unreachable!(),
        }
    }

    // GW-061
    #[tokio::test]
    async fn what_needs_a_restart_is_said_by_name_and_nothing_is_put_into_force() {
        let one = "[gateway]\npublic_burst = 8\n";
        assert_eq!(reload(one).await.unwrap(), ["gateway.public_burst"]);
        assert_eq!(reload("[gateway]\npublic_burst = 7\n").await.unwrap(), [""; 0]);
        let role = "[roles.lab]\nsays = \"A lab.\"\n\
                    rules = [{ types = [\"*\"], actions = [\"read\"], within = \"all\" }]\n";
        let with_role = format!("[gateway]\npublic_burst = 7\n{role}");
        assert_eq!(reload(&with_role).await.unwrap(), ["roles"]);
        let plan = "[lanes]\nsystem = 7\n[plans.app]\nsays = \"For apps.\"\n";
        let with_plan = format!("[gateway]\npublic_burst = 7\n{plan}");
        assert_eq!(reload(&with_plan).await.unwrap(), ["lanes.system", "plans"]);
        let error = reload("[gateway]\npublic_burst = 8\ndrain_seconds = 1\n").await.unwrap_err();
        assert!(error.contains("`gateway.drain_seconds` cannot change"), "{error}");
        assert!(error.contains("needs a restart"), "{error}");
        assert!(!error.contains("public_burst"), "{error}");
        let error = reload("[gateway]\npublic_burts = 8\n").await.unwrap_err();
        assert!(error.contains("line 2") && error.contains("public_burst"), "{error}");
    }
}
