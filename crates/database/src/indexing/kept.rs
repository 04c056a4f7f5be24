//! When an index is written down, and that it goes on from what is kept.

use std::sync::atomic::{AtomicBool, Ordering};

use store::T;

use super::{Indexing, Outcome};
use crate::Snapshot;

/// What there is of a search index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexState {
    /// Versions of resources, the older ones that can still be searched among them, and what they
    /// contain.
    pub documents: u64,
    /// About how many bytes of memory it takes.
    pub bytes: usize,
    /// How many it may take before the log says that it takes more.
    pub budget: usize,
    /// Whether it took more when that was last looked at.
    pub is_over_budget: bool,
    /// Whether it has all that is visible, so that searches are answered from it.
    pub has_caught_up: bool,
    /// Up to which position it was read from the disk when it began.
    pub restored: Option<T>,
}

/// After so many documents more it is written down again.
const DOCUMENTS_BETWEEN: u64 = 50_000;

impl Indexing {
    /// Takes what is kept, if it can be used.
    pub(super) fn restore(&self, all: &Snapshot) {
        let opened = self.opened.lock().take();
        let (Some(keeping), Some(opened)) = (&self.keeping, opened) else { return };
        if let Some((t, instant)) = keeping.restore(opened, &self.index, all, &self.stop) {
            *self.restored.lock() = Some(t);
            self.last.store(instant.as_micros(), Ordering::Release);
            let documents = self.index.documents();
            tracing::info!(documents, "the search index is there up to position {t} of the log");
        }
    }

    /// What there is of it.
    pub(crate) fn state(&self) -> IndexState {
        let size = self.index.size();
        IndexState {
            documents: size.documents,
            bytes: size.bytes,
            budget: self.budget.bytes,
            is_over_budget: self.budget.is_passed(),
            has_caught_up: self.has_caught_up(),
            restored: *self.restored.lock(),
        }
    }

    /// Writes it down when there is much more, or less, than `before`.
    pub(super) fn keep_if_due(&self, before: &mut u64, snapshot: &dyn Fn() -> Snapshot) {
        let documents = self.index.documents();
        if documents.abs_diff(*before) >= DOCUMENTS_BETWEEN && !self.is_stopped() {
            self.keep(&snapshot(), &self.stop);
            *before = documents;
        }
    }

    /// Writes it down when its database is closed.
    pub(super) fn keep_at_the_end(&self, snapshot: &dyn Fn() -> Snapshot) {
        if self.has_caught_up() {
            self.keep(&snapshot(), &AtomicBool::new(false));
        }
    }

    fn keep(&self, all: &Snapshot, stop: &AtomicBool) {
        let Some(keeping) = &self.keeping else { return };
        let is_all = self.is_whole.load(Ordering::Acquire)
            && !self.is_broken.load(Ordering::Acquire)
            && self.index.head() > T::ZERO
            && keeping.is_its_turn();
        if !is_all {
            return;
        }
        match keeping.write(&self.index, all, stop) {
            Ok(Outcome::Written(t, bytes)) => {
                tracing::info!(bytes, "the search index is kept up to position {t} of the log");
            }
            Ok(Outcome::Nothing) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(
                    error,
                    "the search index cannot be kept on disk: after a restart more of it is \
                     built from the log"
                );
            }
        }
    }
}
