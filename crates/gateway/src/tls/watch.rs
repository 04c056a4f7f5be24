//! Files that are replaced on disk: looked at once a second, read once they have been the same
//! for a second, and in force for the connections after that.

use std::sync::Arc;
use std::time::Duration;

use super::files::{Stamp, stamps};
use super::{Acceptor, InForce};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);

impl Acceptor {
    /// Keeps to what the files hold, for as long as it is polled.
    ///
    /// A certificate and its key are two files: while they change nothing is read, so that one is
    /// not taken with the other of before. What cannot be used changes nothing, and is said once.
    pub(crate) async fn keep_current(&self) {
        let mut seen = None;
        let mut refused = None;
        loop {
            tokio::time::sleep(LOOK).await;
            let current = self.current.load_full();
            let found = Some(stamps_of(current.clone()).await);
            let is_known = found.as_ref() == Some(&current.loaded.stamps) || found == refused;
            if is_known || found != seen {
                seen = found;
                continue;
            }
            if !self.reload(&current).await {
                refused = found;
            }
        }
    }

    /// Reads the files again, and puts into force what they hold when all of it can be used.
    /// Returns false when it cannot. Where something else was decided meanwhile, that stays: its
    /// files were read by whoever decided it.
    pub(super) async fn reload(&self, current: &Arc<InForce>) -> bool {
        let (result, usable) = match Self::prepare(current.tls.clone()).await {
            Ok(prepared) => {
                let not_after = prepared.loaded.not_after;
                let before = self.current.compare_and_swap(current, Arc::new(prepared));
                if !Arc::ptr_eq(&before, current) {
                    return true;
                }
                if let Some(metrics) = &self.metrics {
                    metrics.tls_not_after.set(not_after);
                }
                tracing::info!("new certificates are in force");
                ("ok", true)
            }
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the certificates on disk cannot be used; those of before stay in force"
                );
                ("failed", false)
            }
        };
        if let Some(metrics) = &self.metrics {
            metrics.tls_loads.with_label_values(&[result]).inc();
        }
        usable
    }
}

async fn stamps_of(current: Arc<InForce>) -> Vec<Option<Stamp>> {
    tokio::task::spawn_blocking(move || stamps(&current.tls)).await.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::{CertificateFiles, ClientCertificates, Tls};
    use super::*;
    use crate::metrics::Metrics;

    fn tls(dir: &std::path::Path, hsts_seconds: u32) -> Tls {
        let files = CertificateFiles { certificate: dir.join("a.pem"), key: dir.join("a.key") };
        let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).expect("one");
        std::fs::write(&files.certificate, made.cert.pem()).expect("a file");
        std::fs::write(&files.key, made.signing_key.serialize_pem()).expect("a file");
        let clients = ClientCertificates::Unasked;
        Tls { certificates: vec![files], clients, hsts_seconds: Some(hsts_seconds) }
    }

    #[tokio::test]
    async fn files_that_are_read_again_never_undo_what_was_decided_meanwhile() {
        let dir = tempfile::tempdir().expect("a directory");
        let metrics = Arc::new(Metrics::new().expect("names are valid"));
        let acceptor = Acceptor::load(tls(dir.path(), 1), metrics, Arc::default()).expect("files");
        let before = acceptor.current.load_full();
        let other = tls(dir.path(), 2);
        acceptor.put(Acceptor::prepare(other.clone()).await.expect("files"));
        assert!(acceptor.reload(&before).await);
        assert_eq!(acceptor.hsts_seconds(), Some(2));
        let now = acceptor.current.load_full();
        assert!(acceptor.reload(&now).await);
        assert_eq!(acceptor.hsts_seconds(), Some(2));
        // What was written after the files were read is found, though nobody looked in between.
        let written = tls(dir.path(), 2);
        assert_ne!(stamps(&written), acceptor.current.load().loaded.stamps);
    }
}
