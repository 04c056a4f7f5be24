//! A rolling quota that several gateways share, and what becomes of it while their store is silent.
//!
//! The store says how much is left in all. What is used goes out of the window slice by slice, and
//! while the store is silent only this gateway can know when: so what the store says is written
//! down here by the slice it was first seen in. Alone, a gateway may use its share of what is left
//! by that.

use contract::Instant;

use crate::plans::{Slices, Window};

use super::counter::short;

/// What was used of one quota, by slice.
#[derive(Debug, Default)]
pub(super) struct Rolling {
    /// By all, as far as the store has said it.
    known: Slices,
    /// By this gateway since it is alone.
    own: Slices,
    /// As much of that as the store was told of, and has not answered.
    told: Option<u64>,
}

impl Rolling {
    /// From what was written down.
    pub(super) fn restored(kept: Vec<(i64, u64)>) -> Self {
        Self { known: Slices::of(kept), ..Self::default() }
    }

    /// All that is used, by the store's word or this gateway's own.
    pub(super) fn used(&mut self, window: Window, now: Instant) -> u64 {
        self.known.total(window, now) + self.own.total(window, now)
    }

    /// What is used by the store's word.
    pub(super) fn known(&mut self, window: Window, now: Instant) -> u64 {
        self.known.total(window, now)
    }

    /// The store said that so much is used in all: what is more than known is of now.
    pub(super) fn observe(&mut self, used: u64, window: Window, now: Instant) {
        let known = self.known.total(window, now);
        match used.checked_sub(known) {
            Some(0) => {}
            Some(more) => self.known.add(more, window, now),
            // It went out of the store's window a little before.
            None => self.known.forget_oldest(known - used),
        }
    }

    /// What one of so many gateways may use still; without any, in how many seconds there is more.
    pub(super) fn left(
        &mut self,
        most: u64,
        gateways: u32,
        window: Window,
        now: Instant,
    ) -> Result<u64, u32> {
        let left = most.saturating_sub(self.known.total(window, now));
        let share = left.div_ceil(u64::from(gateways.max(1)));
        match share.saturating_sub(self.own.total(window, now)) {
            0 => Err(self.more_in(window, now)),
            left => Ok(left),
        }
    }

    /// Seconds until some of what counts does not any more.
    pub(super) fn more_in(&self, window: Window, now: Instant) -> u32 {
        let own = self.own.less_in(window, now);
        let known = self.known.less_in(window, now);
        short(match (self.known.is_empty(), self.own.is_empty()) {
            (false, false) => own.min(known),
            (false, true) => known,
            (true, _) => own,
        })
    }

    /// Uses so much, alone.
    pub(super) fn take(&mut self, amount: u64, window: Window, now: Instant) {
        self.own.add(amount, window, now);
    }

    /// Gives one back that was used alone; false where none was.
    pub(super) fn take_back(&mut self) -> bool {
        let has_any = !self.own.is_empty();
        self.own.take_back();
        has_any
    }

    /// The store is to be told what was used alone and counts still: as much as this.
    pub(super) fn tell(&mut self, window: Window, now: Instant) -> u64 {
        let told = self.own.total(window, now);
        self.told = Some(told);
        told
    }

    /// The store was told, and has answered: what was used alone is of all from now on. Returns
    /// what was used meanwhile, and is to be told yet.
    pub(super) fn was_told(&mut self, window: Window, now: Instant) -> u64 {
        let Some(told) = self.told.take() else { return 0 };
        let meanwhile = self.own.total(window, now).saturating_sub(told);
        self.known.merge(&std::mem::take(&mut self.own));
        meanwhile
    }

    /// The store did not answer. Returns whether it was to be told of what was used alone.
    pub(super) fn was_not_told(&mut self) -> bool {
        self.told.take().is_some()
    }

    /// What is to be written down.
    pub(super) fn kept(&self) -> Vec<(i64, u64)> {
        let mut all = self.known.clone();
        all.merge(&self.own);
        all.kept().collect()
    }
}
