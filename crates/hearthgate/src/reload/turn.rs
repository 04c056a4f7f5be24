//! Changes of the configuration one after the other: whoever has the turn sees what is in force and
//! may put another in its place.

use gateway::{GatewayConfig, Plans, Reload, Then};
use std::sync::{Arc, PoisonError};
use tokio::sync::{MutexGuard, oneshot};

use super::{ReloadError, Reloader, SECTIONS, WHILE_RUNNING};
use crate::config::{Config, Flags};
use crate::serve::Process;

/// The turn. Nothing else changes the configuration while it is held.
pub(crate) struct Turn<'a> {
    reloader: &'a Reloader,
    _turn: MutexGuard<'a, ()>,
}

impl Reloader {
    /// Waits for its turn.
    pub(crate) async fn take_turn(&self) -> Turn<'_> {
        Turn { reloader: self, _turn: self.0.turn.lock().await }
    }

    /// Every plan there is by now.
    pub(crate) fn plans(&self) -> Arc<Plans> {
        let in_force = self.0.in_force.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::new(in_force.plans())
    }
}

impl ReloadError {
    /// Those of these keys that cannot change while the process runs.
    pub(crate) fn fixed(changed: &[&'static str]) -> Vec<&'static str> {
        let may_change = |name: &&str| WHILE_RUNNING.contains(name) || SECTIONS.contains(name);
        changed.iter().filter(|name| !may_change(name)).copied().collect()
    }
}

impl Turn<'_> {
    /// The configuration in force.
    pub(crate) fn config(&self) -> Config {
        self.reloader.0.in_force.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the process was started with.
    pub(crate) fn flags(&self) -> &Flags {
        &self.reloader.0.flags
    }

    /// Does with a configuration what `then` says, or nothing at all.
    ///
    /// # Errors
    /// [`ReloadError`]; everything is as before then.
    pub(crate) async fn put(&self, config: Config, then: Then) -> Result<(), ReloadError> {
        self.put_ready(config, then, Process::gateway_config).await
    }

    pub(super) async fn put_ready(
        &self,
        config: Config,
        then: Then,
        ready: impl FnOnce(&Config) -> GatewayConfig,
    ) -> Result<(), ReloadError> {
        let inner = &self.reloader.0;
        let (done, outcome) = oneshot::channel();
        let is_put = !matches!(then, Then::Nothing);
        let reload = Reload { config: ready(&config), then, done };
        inner.gateway.send(reload).await.map_err(|_| ReloadError::Stopping)?;
        outcome.await.map_err(|_| ReloadError::Stopping)??;
        if is_put {
            *inner.in_force.lock().unwrap_or_else(PoisonError::into_inner) = config;
        }
        Ok(())
    }
}
