//! How much of a tenant's work waits, for whoever watches it.

use std::sync::atomic::Ordering;

use crate::{Database, IndexState};

/// What a tenant's data is at, and what waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    /// The position of the newest commit.
    pub position: u64,
    /// Commits that wait for their turn.
    pub commits_waiting: usize,
    /// Bytes of bodies that wait for the log.
    pub log_bytes: usize,
    /// Bytes of those that wait to stand beside it.
    pub beside_bytes: usize,
    /// The search index, where there is one.
    pub index: Option<IndexState>,
    /// Commits that it does not have.
    pub index_behind: u64,
}

impl Database {
    /// How much waits now. It costs a look at the index, so it is for whoever asks now and then.
    #[must_use]
    pub fn load(&self) -> Load {
        let indexing = self.shared.indexing();
        // In this order: what it has cannot be ahead of what there is.
        let indexed = indexing.as_ref().map(|it| it.index.head().get());
        let position = self.shared.published.load(Ordering::Acquire);
        let (log_bytes, beside_bytes) = self.shared.waiting.bytes();
        Load {
            position,
            commits_waiting: self.shared.line.waiting(),
            log_bytes,
            beside_bytes,
            index: indexing.map(|it| it.state()),
            index_behind: indexed.map_or(0, |indexed| position.saturating_sub(indexed)),
        }
    }
}
