//! Who this half is and whom it believes, as its files say by now.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::pki_types::CertificateDer;

use crate::files::{FilesError, LinkFiles, Loaded, Stamp, stamps};

/// Between two looks at the files.
const LOOK: Duration = Duration::from_secs(1);

/// A half's identity.
#[derive(Debug)]
pub struct Identity {
    files: LinkFiles,
    /// What told the files that were loaded first from others.
    first: Vec<Option<Stamp>>,
    current: ArcSwap<Loaded>,
    /// Grows whenever the files came to be others.
    generation: AtomicU64,
}

impl Identity {
    /// Reads the files.
    ///
    /// # Errors
    /// [`FilesError`] when they cannot be used.
    pub fn load(files: LinkFiles) -> Result<Self, FilesError> {
        // Before they are read: what changes meanwhile is read again.
        let first = stamps(&files);
        let current = ArcSwap::from_pointee(Loaded::read(&files)?);
        Ok(Self { files, first, current, generation: AtomicU64::new(0) })
    }

    /// What the files held when they were last read.
    #[must_use]
    pub fn current(&self) -> Arc<Loaded> {
        self.current.load_full()
    }

    /// How often the files came to be others.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Where the certificates of the other half are held.
    #[must_use]
    pub fn peers_file(&self) -> &Path {
        &self.files.peers
    }

    /// Whether whoever showed this certificate is believed still.
    pub(crate) fn believes(&self, certificate: &CertificateDer<'_>) -> bool {
        self.current.load().peers().iter().any(|peer| peer == certificate)
    }

    /// Keeps to what the files hold, for as long as it is polled: within three seconds of a
    /// change.
    ///
    /// A certificate and its key are two files: while they change nothing is read, so that one is
    /// not taken with the other of before. What cannot be used changes nothing, and is said once.
    pub async fn keep_current(&self) {
        let mut in_force = self.first.clone();
        let mut seen = in_force.clone();
        loop {
            tokio::time::sleep(LOOK).await;
            let found = self.stamps().await;
            let settled = found == seen;
            seen = found;
            if settled && seen != in_force {
                in_force.clone_from(&seen);
                self.reload().await;
            }
        }
    }

    /// Reads the files again, and puts into force what they hold when all of it can be used.
    async fn reload(&self) {
        let files = self.files.clone();
        let read = tokio::task::spawn_blocking(move || Loaded::read(&files)).await;
        match read {
            Ok(Ok(loaded)) => {
                self.current.store(Arc::new(loaded));
                self.generation.fetch_add(1, Ordering::AcqRel);
                tracing::info!("new certificates of the link are in force");
            }
            Ok(Err(error)) => tracing::error!(
                error = &error as &dyn std::error::Error,
                "the link's certificates on disk cannot be used; those of before stay in force"
            ),
            // The runtime ends.
            Err(_) => {}
        }
    }

    async fn stamps(&self) -> Vec<Option<Stamp>> {
        let files = self.files.clone();
        tokio::task::spawn_blocking(move || stamps(&files)).await.unwrap_or_default()
    }
}
