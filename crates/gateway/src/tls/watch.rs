//! Files that are replaced on disk: looked at once a second, read once they have been the same
//! for a second, and in force for the connections after that.

use std::sync::Arc;
use std::time::Duration;

use super::files::{Loaded, Stamp, stamps};
use super::{Acceptor, TlsError};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);

impl Acceptor {
    /// Keeps to what the files hold, for as long as it is polled.
    ///
    /// A certificate and its key are two files: while they change nothing is read, so that one is
    /// not taken with the other of before. What cannot be used changes nothing, and is said once.
    pub(crate) async fn keep_current(&self) {
        let mut in_force = self.stamps().await;
        let mut seen = in_force.clone();
        loop {
            tokio::time::sleep(LOOK).await;
            let found = self.stamps().await;
            if found == in_force {
                seen = found;
                continue;
            }
            if found != seen {
                seen = found;
                continue;
            }
            in_force = found;
            self.reload().await;
        }
    }

    /// Reads the files again, and puts into force what they hold when all of it can be used.
    async fn reload(&self) {
        let tls = self.tls.clone();
        let loaded = tokio::task::spawn_blocking(move || Loaded::read(&tls)).await;
        let loaded: Result<Loaded, TlsError> = match loaded {
            Ok(loaded) => loaded,
            // Of a runtime that ends.
            Err(_) => return,
        };
        let result = match loaded {
            Ok(loaded) => {
                self.metrics.tls_not_after.set(loaded.not_after);
                self.current.store(Arc::new(loaded));
                tracing::info!("new certificates are in force");
                "ok"
            }
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the certificates on disk cannot be used; those of before stay in force"
                );
                "failed"
            }
        };
        self.metrics.tls_loads.with_label_values(&[result]).inc();
    }

    async fn stamps(&self) -> Vec<Option<Stamp>> {
        let tls = self.tls.clone();
        tokio::task::spawn_blocking(move || stamps(&tls)).await.unwrap_or_default()
    }
}
