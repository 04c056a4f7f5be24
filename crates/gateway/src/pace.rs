//! How fast a body comes that goes to an upstream of others: one that trickles would hold its place
//! for as long as it likes. The server of ours bounds that itself.

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

#[cfg(test)]
mod tests {
    use super::*;

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
