//! What a search may cost, counted in keys and documents that are looked at, and whether anyone
//! still waits for it.
//!
//! Of who may not see everything another count is taken. What is looked at depends on what is
//! hidden: how long lists of documents are, which keys there are, how many parts the index has.
//! So it is not counted; instead it is told where documents are found or asked that may be seen
//! ([`Meter::count`]), in numbers that the query and what may be seen determine alone.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::SearchError;

/// What one search may still cost.
#[derive(Debug)]
pub(crate) struct Meter<'c> {
    limit: u64,
    spent: Cell<u64>,
    /// What of a unit was told, where what is seen is counted.
    rest: Cell<u64>,
    /// What was looked at.
    looked_at: Cell<u64>,
    counts: Cell<Counts>,
    cancelled: &'c AtomicBool,
}

/// What counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counts {
    /// What is looked at.
    LookedAt,
    /// What may be seen of it.
    Seen,
    /// Nothing for now: it would be told twice, or is no part of what was asked.
    Nothing,
}

/// A search looks up so often whether it was cancelled: after so many units of cost.
const BETWEEN_LOOKS: u64 = 4096;
/// Documents of a bitmap that cost as much as a key that is looked at.
const DOCUMENTS_PER_UNIT: u64 = 64;

impl<'c> Meter<'c> {
    pub(crate) fn new(limit: u64, counts: Counts, cancelled: &'c AtomicBool) -> Self {
        let (spent, rest, looked_at) = (Cell::new(0), Cell::new(0), Cell::new(0));
        Self { limit, spent, rest, looked_at, counts: Cell::new(counts), cancelled }
    }

    /// Counts keys or documents that are looked at one by one.
    pub(crate) fn charge(&self, count: u64) -> Result<(), SearchError> {
        if self.counts.get() == Counts::LookedAt {
            self.spend(count)?;
        }
        self.pass(count)
    }

    /// Looks now and then whether anyone still waits, when so much more was done that costs
    /// nothing.
    pub(crate) fn pass(&self, count: u64) -> Result<(), SearchError> {
        let before = self.looked_at.get();
        let after = before.saturating_add(count);
        self.looked_at.set(after);
        if before / BETWEEN_LOOKS != after / BETWEEN_LOOKS {
            self.look()?;
        }
        Ok(())
    }

    /// Counts documents that are taken over many at a time.
    pub(crate) fn charge_set(&self, documents: u64) -> Result<(), SearchError> {
        self.charge(1 + documents / DOCUMENTS_PER_UNIT)
    }

    /// Counts documents that may be seen and are looked at one by one, for whoever sees everything
    /// as for others.
    pub(crate) fn charge_seen(&self, documents: u64) -> Result<(), SearchError> {
        self.charge(documents)?;
        self.count(documents)
    }

    /// Counts documents that may be seen and are looked at one by one, where what is seen counts.
    pub(crate) fn count(&self, documents: u64) -> Result<(), SearchError> {
        self.count_set(documents.saturating_mul(DOCUMENTS_PER_UNIT))
    }

    /// Counts documents that may be seen and are taken over many at a time, where what is seen
    /// counts. The sum is the same however they are shared among parts.
    pub(crate) fn count_set(&self, documents: u64) -> Result<(), SearchError> {
        if self.counts.get() != Counts::Seen {
            return Ok(());
        }
        let rest = self.rest.get().saturating_add(documents);
        self.rest.set(rest % DOCUMENTS_PER_UNIT);
        self.spend(rest / DOCUMENTS_PER_UNIT)
    }

    fn spend(&self, count: u64) -> Result<(), SearchError> {
        let spent = self.spent.get().saturating_add(count);
        // By how much it is too much depends on how much is looked at at once.
        self.spent.set(spent.min(self.limit.saturating_add(1)));
        if spent > self.limit {
            return Err(SearchError::TooCostly { limit: self.limit });
        }
        Ok(())
    }

    /// Whether what may be seen is counted, and not all that is looked at.
    pub(crate) fn counts_what_is_seen(&self) -> bool {
        self.counts.get() != Counts::LookedAt
    }

    /// Does something of which nothing that is seen is counted.
    pub(crate) fn uncounted<R>(&self, work: impl FnOnce() -> R) -> R {
        let counts = self.counts.get();
        if counts == Counts::Seen {
            self.counts.set(Counts::Nothing);
        }
        let done = work();
        self.counts.set(counts);
        done
    }

    /// Stops when nobody waits any more.
    pub(crate) fn look(&self) -> Result<(), SearchError> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(SearchError::Cancelled);
        }
        Ok(())
    }

    /// What is set when nobody waits any more.
    pub(crate) fn cancelled(&self) -> &'c AtomicBool {
        self.cancelled
    }

    /// One that counts nothing.
    pub(crate) fn unlimited(&self) -> Self {
        Self::new(u64::MAX, Counts::Nothing, self.cancelled)
    }

    /// What was spent so far.
    pub(crate) fn spent(&self) -> u64 {
        self.spent.get()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::{Counts, Meter};
    use crate::SearchError;

    #[test]
    fn of_who_sees_a_part_what_is_seen_counts_however_it_is_shared_among_parts() {
        let goes_on = AtomicBool::new(false);
        for shares in [&[200_u64][..], &[1; 200], &[63, 65, 7, 65]] {
            let meter = Meter::new(3, Counts::Seen, &goes_on);
            meter.charge(1_000_000).unwrap();
            meter.uncounted(|| meter.count(1_000)).unwrap();
            shares.iter().for_each(|share| meter.count_set(*share).unwrap());
            assert_eq!(meter.spent(), 3);
            assert_eq!(meter.count_set(56), Err(SearchError::TooCostly { limit: 3 }));
        }
    }

    #[test]
    fn of_who_sees_everything_what_is_looked_at_counts() {
        let goes_on = AtomicBool::new(false);
        let meter = Meter::new(11, Counts::LookedAt, &goes_on);
        meter.count(1_000_000).unwrap();
        meter.charge_set(640).unwrap();
        assert_eq!(meter.spent(), 11);
    }
}
