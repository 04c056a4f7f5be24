//! How fast bodies pass: one that trickles would hold its place for as long as it likes.
//!
//! A [`Pace`] is of a body that goes to an upstream of others; the server of ours bounds its own.
//! A [`Taking`] is of an answer, whoever made it.

use std::time::Duration;

use crate::config::Limits;

/// The pace of one body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// When it was last looked at.
    at: Duration,
    /// For how long the client was waited for, so far.
    waited: Duration,
    /// How often the client was late by then.
    late: u64,
}

impl Pace {
    pub(crate) fn begin(now: Duration) -> Self {
        Self { at: now, waited: Duration::ZERO, late: 0 }
    }

    /// Whether so many bytes are too few by now. Only time in which the client was waited for
    /// counts, as far as that is known: `late` says how often it was, where that can be told. An
    /// upstream that takes its time is no fault of the client's.
    pub(crate) fn is_too_slow(
        &mut self,
        passed: u64,
        late: Option<u64>,
        now: Duration,
        limits: &Limits,
    ) -> bool {
        if late.is_none_or(|late| late != self.late) {
            self.waited += now.saturating_sub(self.at);
        }
        self.at = now;
        self.late = late.unwrap_or(0);
        let beyond = self.waited.saturating_sub(limits.body_grace);
        let expected = beyond.as_millis().saturating_mul(limits.body_rate.into()) / 1000;
        u128::from(passed) < expected
    }
}

/// What a client must take of an answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Least {
    grace: Duration,
    rate: u32,
}

impl Least {
    /// What these limits say.
    pub(crate) fn of(limits: &Limits) -> Self {
        Self { grace: limits.answer_grace, rate: limits.answer_rate.max(1) }
    }
}

/// How fast one answer is taken.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Taking {
    taken: u64,
    /// For how long the client was waited for, so far.
    waited: Duration,
}

impl Taking {
    pub(crate) fn took(&mut self, bytes: usize) {
        self.taken = self.taken.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    pub(crate) fn waited(&mut self, time: Duration) {
        self.waited = self.waited.saturating_add(time);
    }

    /// For how much longer the client may be waited for. Time in which the answer's maker takes its
    /// own does not count.
    pub(crate) fn left(&self, least: Least) -> Duration {
        let earned = self.taken.saturating_mul(1000) / u64::from(least.rate);
        let earned = Duration::from_millis(earned);
        least.grace.saturating_add(earned).saturating_sub(self.waited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // GW-022
    #[test]
    fn a_client_may_be_waited_for_as_long_as_what_it_took_is_worth() {
        let limits =
            Limits { answer_grace: Duration::from_secs(10), answer_rate: 100, ..Limits::default() };
        let least = Least::of(&limits);
        let mut taking = Taking::default();
        assert_eq!(taking.left(least), Duration::from_secs(10));
        taking.took(250);
        taking.waited(Duration::from_secs(4));
        assert_eq!(taking.left(least), Duration::from_millis(8500));
        taking.waited(Duration::from_secs(60));
        assert_eq!(taking.left(least), Duration::ZERO);
        // What it takes after that is worth as much as before.
        taking.took(10_000);
        assert_eq!(taking.left(least), Duration::from_millis(48_500));
    }

    // GW-022
    #[test]
    fn a_body_that_trickles_is_too_slow_and_an_upstream_that_takes_its_time_is_not_held_against_it()
    {
        let limits =
            Limits { body_grace: Duration::from_secs(10), body_rate: 100, ..Limits::default() };
        let at = Duration::from_secs;
        let mut pace = Pace::begin(at(0));
        assert!(!pace.is_too_slow(1, Some(1), at(10), &limits));
        assert!(!pace.is_too_slow(200, Some(2), at(12), &limits));
        // The client was never late in an hour.
        assert!(!pace.is_too_slow(201, Some(2), at(3600), &limits));
        assert!(pace.is_too_slow(299, Some(3), at(3601), &limits));
        let mut pace = Pace::begin(at(0));
        assert!(pace.is_too_slow(99, None, at(11), &limits));
    }
}
