//! How much was read to answer one request, for what it costs its caller.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts rows for one request: versions that are listed or whose bodies are read, and what a
/// search looks at. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Rows(Arc<AtomicU64>);

impl Rows {
    /// How many were read so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts some more.
    pub(crate) fn add(&self, rows: u64) {
        self.0.fetch_add(rows, Ordering::Relaxed);
    }
}
