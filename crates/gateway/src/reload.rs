//! A changed configuration, put into force while requests pass: all of it or nothing.
//!
//! Everything is made and checked first, certificates too, and swapped at the end. A request keeps
//! what was in force when it came; no connection is closed. What listens, and what was opened at
//! the start, is not looked at: whoever asks for a reload says by name what needs a restart.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::config::GatewayConfig;
use crate::errors::GatewayError;
use crate::metrics::Metrics;
use crate::snapshot::Current;
use crate::tls::Acceptor;

/// A configuration to be put into force.
#[derive(Debug)]
pub struct Reload {
    /// The whole configuration. Of addresses and sockets those of the start stay.
    pub config: GatewayConfig,
    /// Told what came of it; on an error nothing has changed.
    pub done: oneshot::Sender<Result<(), GatewayError>>,
}

/// Puts configurations into force.
pub(crate) struct Reloading {
    pub(crate) current: Arc<Current>,
    pub(crate) tls: Option<Arc<Acceptor>>,
    pub(crate) metrics: Arc<Metrics>,
}

impl Reloading {
    /// Does so, one after the other, for as long as it is polled.
    pub(crate) async fn serve(&self, mut reloads: mpsc::Receiver<Reload>) {
        while let Some(Reload { config, done }) = reloads.recv().await {
            let result = self.apply(config).await;
            let label = if result.is_ok() { "ok" } else { "refused" };
            self.metrics.reloads.with_label_values(&[label]).inc();
            // Whoever asked may have stopped waiting.
            let _ = done.send(result);
        }
        // Nobody can ask any more, which ends nothing.
        std::future::pending().await
    }

    async fn apply(&self, config: GatewayConfig) -> Result<(), GatewayError> {
        config.check()?;
        let snapshot = self.current.take().renewed(&config)?;
        match (&self.tls, config.tls) {
            (None, None) => {}
            (Some(acceptor), Some(tls)) => {
                acceptor.put(Acceptor::prepare(tls).await?);
            }
            _ => return Err(GatewayError::TlsNeedsRestart),
        }
        self.current.put(snapshot);
        Ok(())
    }
}
