//! What one gateway may give out of a counter that several share, until it asks the store again.
//!
//! The store hands out tokens ahead, as many as this gateway expects to need until the next time.
//! Beyond them it gives out a part of what it knows to be left, on account, and tells the store
//! when it next speaks to it. What is on account is taken off what all get after it, so that a
//! rate is kept to in the long run whatever the gateways do, and a quota of requests is passed by
//! a hundredth of it at most.

use std::time::Duration;

use contract::Instant;

use crate::limiter::{Rate, whole_seconds};
use crate::plans::{Window, WindowKind};

use super::Now;
use super::counter::{Outcome, seconds_for, short};
use super::store::Granted;
use super::sync::{INTERVAL, Mode};

/// The part of a quota that all gateways together may give out on account.
const ON_ACCOUNT: u64 = 100;

#[derive(Debug)]
pub(super) struct Lease {
    /// Given by the store and not given out; below zero, what was given out on account.
    tokens: i64,
    /// What the store had left for all when it last answered.
    left: i64,
    /// When that was.
    at: Duration,
    /// Requests since then.
    asked: u64,
    /// The slice of the window that all this is of; `None` for a rate, and before the first.
    slice: Option<i64>,
}

impl Lease {
    fn new(left: u64) -> Self {
        let left = i64::try_from(left).unwrap_or(i64::MAX);
        Self { tokens: 0, left, at: Duration::ZERO, asked: 0, slice: None }
    }

    pub(super) fn of_rate(rate: Rate) -> Self {
        Self::new(rate.burst.get().into())
    }

    pub(super) fn of_quota(most: u64) -> Self {
        Self::new(most)
    }

    /// Of a quota of which so much was used, by slice.
    pub(super) fn restored(most: u64, used: &[(i64, u64)]) -> Self {
        let total = used.iter().map(|(_, used)| used).sum();
        let newest = used.iter().map(|(slice, _)| *slice).max();
        Self { slice: newest, ..Self::new(most.saturating_sub(total)) }
    }

    /// The quota is another from now on; what is used of it stays.
    pub(super) fn most_is(&mut self, most: u64, before: u64) {
        let signed = |number| i64::try_from(number).unwrap_or(i64::MAX);
        self.left = self.left.saturating_add(signed(most)).saturating_sub(signed(before));
    }

    /// What is used of a quota as the store has it, by what it last said.
    pub(super) fn used(&self, most: u64) -> u64 {
        most.saturating_sub(self.left.max(0).unsigned_abs())
    }

    /// What all may have now by what the store last said.
    fn left_of(&self, rate: Rate, now: &Now) -> i64 {
        let grown = rate.grown_in(now.monotonic.saturating_sub(self.at));
        let grown = i64::try_from(grown).unwrap_or(i64::MAX);
        self.left.saturating_add(grown).min(rate.burst.get().into())
    }

    /// Takes one of a rate.
    pub(super) fn take_rate(
        &mut self,
        rate: Rate,
        delay: Duration,
        gateways: u32,
        now: &Now,
    ) -> Result<Outcome, u32> {
        self.asked += 1;
        let gateways = gateways.max(1);
        let share = rate.share(gateways);
        let left = self.left_of(rate, now);
        let on_account = left.max(0).unsigned_abs().div_ceil(gateways.into());
        let on_account = i64::try_from(on_account).unwrap_or(i64::MAX);
        let ahead = i64::try_from(share.grown_in(delay)).unwrap_or(i64::MAX);
        if self.tokens - 1 < -on_account.saturating_add(ahead) {
            let lacking = 1 + left.min(0).unsigned_abs();
            return Err(seconds_for(rate, lacking));
        }
        self.tokens -= 1;
        let beyond = (-self.tokens).saturating_sub(on_account).max(0).unsigned_abs();
        let wait = if beyond > 0 { share.time_for(beyond) } else { Duration::ZERO };
        let (remaining, seconds) = self.look_rate(rate, now);
        Ok(Outcome { remaining, seconds: Some(seconds), wait })
    }

    /// What is left of a rate, and in how many seconds all of it is.
    pub(super) fn look_rate(&self, rate: Rate, now: &Now) -> (u64, u32) {
        let burst = i64::from(rate.burst.get());
        let remaining = self.left_of(rate, now).saturating_add(self.tokens).clamp(0, burst);
        let lacking = (burst - remaining).unsigned_abs();
        (remaining.unsigned_abs(), whole_seconds(rate.time_for(lacking)))
    }

    /// Begins a new window where one began.
    pub(super) fn roll(&mut self, most: u64, window: Window, now: Instant) {
        let slice = window.slice(now);
        let newer = self.slice.is_none_or(|before| before < slice);
        if !newer {
            return;
        }
        let is_over = match (self.slice, window.kind) {
            (None, _) => false,
            (Some(_), WindowKind::Calendar) => true,
            (Some(before), WindowKind::Rolling) => slice - before >= window.counted(),
        };
        if is_over {
            *self = Self { at: self.at, asked: self.asked, ..Self::new(most) };
        }
        self.slice = Some(slice);
    }

    /// Takes so much of a quota; nothing is taken of what is charged later, but some must be left.
    pub(super) fn take_quota(
        &mut self,
        taking: u64,
        most: u64,
        window: Window,
        mode: Mode,
        now: &Now,
    ) -> Result<Outcome, u32> {
        self.roll(most, window, now.wall);
        self.asked += 1;
        let left = self.left.max(0).unsigned_abs();
        let (gateways, bound) = match mode {
            Mode::Shared { gateways } if taking > 0 => {
                let gateways = u64::from(gateways.max(1));
                (gateways, (most / (ON_ACCOUNT * gateways)).max(1))
            }
            // What is charged later is all on account.
            Mode::Shared { .. } | Mode::Own => (1, u64::MAX),
            Mode::Alone { gateways } => (gateways.max(1).into(), u64::MAX),
        };
        let on_account = i64::try_from(left.div_ceil(gateways).min(bound)).unwrap_or(i64::MAX);
        if self.tokens <= -on_account {
            return Err(short(window.slice_ends_in(now.wall)));
        }
        self.tokens -= i64::try_from(taking).unwrap_or(i64::MAX);
        let remaining = self.look_quota(most, window, now.wall);
        Ok(Outcome {
            remaining,
            seconds: Some(short(window.slice_ends_in(now.wall))),
            wait: Duration::ZERO,
        })
    }

    /// What is left of a quota.
    pub(super) fn look_quota(&mut self, most: u64, window: Window, now: Instant) -> u64 {
        self.roll(most, window, now);
        self.left.saturating_add(self.tokens).max(0).unsigned_abs().min(most)
    }

    /// Adds what a request turned out to have used.
    pub(super) fn charge(&mut self, amount: u64, most: u64, window: Window, now: Instant) {
        self.roll(most, window, now);
        self.tokens = self.tokens.saturating_sub(i64::try_from(amount).unwrap_or(i64::MAX));
    }

    /// Gives one back that came to nothing.
    pub(super) fn give_back(&mut self) {
        self.tokens = self.tokens.saturating_add(1);
    }

    /// What the store gets back, or is owed (below zero), and what it is asked for: as much as
    /// comes in twice the usual interval, and never more than `ahead`.
    pub(super) fn report(&mut self, now: &Now, ahead: u64) -> (i64, u64) {
        let since = now.monotonic.saturating_sub(self.at).max(Duration::from_millis(1));
        let usual = u128::from(self.asked) * 2 * INTERVAL.as_millis();
        let expected = usual.div_ceil(since.max(INTERVAL).as_millis().max(1));
        let expected = u64::try_from(expected).unwrap_or(u64::MAX).min(ahead);
        let expected = i64::try_from(expected).unwrap_or(i64::MAX);
        self.asked = 0;
        self.at = now.monotonic;
        let give = if self.tokens < 0 { self.tokens } else { (self.tokens - expected).max(0) };
        self.tokens -= give;
        (give, (expected - self.tokens).max(0).unsigned_abs())
    }

    /// Takes up what the store answered.
    pub(super) fn granted(&mut self, granted: Granted, now: &Now) {
        let tokens = i64::try_from(granted.tokens).unwrap_or(i64::MAX);
        self.tokens = self.tokens.saturating_add(tokens);
        self.left = granted.left;
        self.at = now.monotonic;
    }

    /// The store was not told of it.
    pub(super) fn not_told(&mut self, give: i64) {
        self.tokens = self.tokens.saturating_add(give);
    }

    pub(super) fn has_to_share(&self) -> bool {
        self.asked > 0 || self.tokens != 0
    }

    pub(super) fn is_idle(&self, rate: Rate, now: &Now) -> bool {
        !self.has_to_share() && self.left_of(rate, now) >= i64::from(rate.burst.get())
    }

    /// Counts a question.
    pub(super) fn touch(&mut self) {
        self.asked += 1;
    }

    /// What the store has given, and was not given out.
    pub(super) fn given(&self) -> u64 {
        self.tokens.max(0).unsigned_abs()
    }

    /// What was given out on account and not told.
    pub(super) fn debt(&self) -> u64 {
        self.tokens.min(0).unsigned_abs()
    }

    /// The same, which is owed no more.
    pub(super) fn take_debt(&mut self) -> u64 {
        let debt = self.debt();
        self.forget_debt();
        debt
    }

    pub(super) fn forget_debt(&mut self) {
        self.tokens = self.tokens.max(0);
    }

    /// So much more is owed.
    pub(super) fn owes(&mut self, amount: u64) {
        self.tokens = self.tokens.saturating_sub(i64::try_from(amount).unwrap_or(i64::MAX));
    }

    /// Owes nothing and has nothing.
    pub(super) fn forget(&mut self) {
        self.tokens = 0;
    }
}
