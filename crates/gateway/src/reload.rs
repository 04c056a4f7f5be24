//! A changed configuration, put into force while requests pass: all of it or nothing.
//!
//! Everything is made and checked first, certificates too, and swapped at the end. A request keeps
//! what was in force when it came; no connection is closed. What listens, and what was opened at
//! the start, is not looked at: whoever asks for a reload says by name what needs a restart.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use registry::Registry;
use tokio::sync::{mpsc, oneshot};

use crate::config::GatewayConfig;
use crate::errors::GatewayError;
use crate::lanes::Lanes;
use crate::limiting::Limiting;
use crate::metrics::Metrics;
use crate::plans::Plans;
use crate::roles::Roles;
use crate::snapshot::Current;
use crate::tls::Acceptor;

/// A configuration to be put into force.
#[derive(Debug)]
pub struct Reload {
    /// The whole configuration. Of addresses and sockets those of the start stay, and of
    /// `limiting` the plans alone are taken.
    pub config: GatewayConfig,
    /// What is done once it is known that it can be put into force.
    pub then: Then,
    /// Told what came of it; on an error nothing has changed.
    pub done: oneshot::Sender<Result<(), GatewayError>>,
}

/// What is done with a configuration that can be put into force.
pub enum Then {
    /// It is put into force.
    Put,
    /// The same, but only once this has been done. It may block.
    PutAfter(Box<dyn FnOnce() -> Result<(), NotDone> + Send>),
    /// Nothing: it was only to be known.
    Nothing,
}

/// Why what was to be done before a configuration is put into force was not.
pub type NotDone = Box<dyn Error + Send + Sync>;

impl fmt::Debug for Then {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Put => "Put",
            Self::PutAfter(_) => "PutAfter",
            Self::Nothing => "Nothing",
        })
    }
}

/// Puts configurations into force.
pub(crate) struct Reloading {
    pub(crate) current: Arc<Current>,
    pub(crate) limiting: Arc<Limiting>,
    pub(crate) lanes: Arc<Lanes>,
    pub(crate) tls: Option<Arc<Acceptor>>,
    pub(crate) metrics: Arc<Metrics>,
}

impl Reloading {
    /// Does so, one after the other, for as long as it is polled.
    pub(crate) async fn serve(&self, mut reloads: mpsc::Receiver<Reload>) {
        while let Some(Reload { config, then, done }) = reloads.recv().await {
            if matches!(then, Then::Nothing) {
                let _ = done.send(self.apply(config, then).await);
                continue;
            }
            let result = self.apply(config, then).await;
            let label = if result.is_ok() { "ok" } else { "refused" };
            self.metrics.reloads.with_label_values(&[label]).inc();
            // Whoever asked may have stopped waiting.
            let _ = done.send(result);
        }
        // Nobody can ask any more, which ends nothing.
        std::future::pending().await
    }

    async fn apply(&self, config: GatewayConfig, then: Then) -> Result<(), GatewayError> {
        config.check()?;
        let snapshot = self.current.take().renewed(&config)?;
        let tls = match (&self.tls, config.tls) {
            (None, None) => None,
            (Some(acceptor), Some(tls)) => Some((acceptor, Acceptor::prepare(tls).await?)),
            _ => return Err(GatewayError::TlsNeedsRestart),
        };
        match then {
            Then::Nothing => return Ok(()),
            Then::Put => {}
            Then::PutAfter(first) => {
                let done = tokio::task::spawn_blocking(first).await;
                done.map_err(|error| GatewayError::NotDoneFirst(error.into()))?
                    .map_err(GatewayError::NotDoneFirst)?;
            }
        }
        // From here on nothing fails.
        if let Some((acceptor, prepared)) = tls {
            acceptor.put(prepared);
        }
        let plans = config.limiting.plans();
        tell_of_clients(&snapshot.callers.registry(), &config.roles, &plans);
        self.limiting.put(plans);
        self.lanes.put(config.lanes);
        self.current.put(snapshot);
        Ok(())
    }
}

/// Says in the log which clients have a role that gives them nothing, or a plan that is not there.
pub(crate) fn tell_of_clients(registry: &Registry, roles: &Roles, plans: &Plans) {
    for client in registry.clients() {
        if let Err(problem) = roles.rights_of(&client) {
            tracing::warn!(
                client = client.id.as_str(),
                error = &problem as &dyn Error,
                "keys of the client are refused"
            );
        }
        if let Some(plan) = client.plan.as_ref().filter(|plan| !plans.has(plan)) {
            tracing::warn!(
                client = client.id.as_str(),
                plan = plan.as_str(),
                "the client's plan is not defined: its role's or the default one holds"
            );
        }
    }
}
