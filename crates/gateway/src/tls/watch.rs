//! Files that are replaced on disk: looked at once a second, read once they have been the same
//! for a second, and in force for the connections after that.

use std::time::Duration;

use super::Acceptor;
use super::files::{Stamp, stamps};

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
        let result = match Self::prepare(self.current.load().tls.clone()).await {
            Ok(prepared) => {
                self.put(prepared);
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
        let tls = self.current.load().tls.clone();
        tokio::task::spawn_blocking(move || stamps(&tls)).await.unwrap_or_default()
    }
}
