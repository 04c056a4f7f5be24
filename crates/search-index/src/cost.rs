//! What a search may cost, counted in keys and documents that are looked at, and whether anyone
//! still waits for it.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::SearchError;

/// What one search may still cost.
#[derive(Debug)]
pub(crate) struct Meter<'c> {
    limit: u64,
    spent: Cell<u64>,
    cancelled: &'c AtomicBool,
}

/// A search looks up so often whether it was cancelled: after so many units of cost.
const BETWEEN_LOOKS: u64 = 4096;
/// Documents of a bitmap that cost as much as a key that is looked at.
const DOCUMENTS_PER_UNIT: u64 = 64;

impl<'c> Meter<'c> {
    pub(crate) fn new(limit: u64, cancelled: &'c AtomicBool) -> Self {
        Self { limit, spent: Cell::new(0), cancelled }
    }

    /// Counts keys or documents that are looked at one by one.
    pub(crate) fn charge(&self, count: u64) -> Result<(), SearchError> {
        let before = self.spent.get();
        let after = before.saturating_add(count);
        self.spent.set(after);
        if after > self.limit {
            return Err(SearchError::TooCostly { limit: self.limit });
        }
        if before / BETWEEN_LOOKS != after / BETWEEN_LOOKS {
            self.look()?;
        }
        Ok(())
    }

    /// Counts documents that are taken over many at a time.
    pub(crate) fn charge_set(&self, documents: u64) -> Result<(), SearchError> {
        self.charge(1 + documents / DOCUMENTS_PER_UNIT)
    }

    /// Stops when nobody waits any more.
    pub(crate) fn look(&self) -> Result<(), SearchError> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(SearchError::Cancelled);
        }
        Ok(())
    }

    /// One that counts nothing.
    pub(crate) fn unlimited(&self) -> Self {
        Self::new(u64::MAX, self.cancelled)
    }

    /// What was spent so far.
    pub(crate) fn spent(&self) -> u64 {
        self.spent.get()
    }
}
