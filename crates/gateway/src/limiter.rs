//! Token buckets, exact to the unit: so many requests a second, so many at once.
//!
//! Time is given by the caller, so that a test can count. Nothing is estimated: a bucket holds
//! billionths of a token as an integer and grows by `per_second` of them a nanosecond.
//! Sharing counters between several gateways is not done here.

use std::collections::HashMap;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::time::Duration;

use parking_lot::Mutex;

/// One request, in the unit that a bucket counts.
const TOKEN: u64 = 1_000_000_000;

/// How much a caller may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Requests a second, in the long run.
    pub per_second: NonZeroU32,
    /// Requests at once, after a pause.
    pub burst: NonZeroU32,
}

impl Rate {
    /// `None` when either number is zero.
    #[must_use]
    pub fn new(per_second: u32, burst: u32) -> Option<Self> {
        Some(Self { per_second: NonZeroU32::new(per_second)?, burst: NonZeroU32::new(burst)? })
    }

    fn capacity(self) -> u64 {
        u64::from(self.burst.get()) * TOKEN
    }

    /// How long an empty bucket takes to fill, in whole seconds, rounded up.
    pub(crate) fn window_seconds(self) -> u32 {
        self.burst.get().div_ceil(self.per_second.get())
    }
}

/// What became of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Admitted; so many more could follow at once, and the bucket is full again after so many
    /// seconds (rounded up).
    Admitted { remaining: u32, full_in: u32 },
    /// Refused; one request will be admitted after so many seconds (rounded up, at least 1).
    Refused { retry_after: u32 },
}

/// The state of one bucket.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Level {
    at: Duration,
    units: u64,
}

impl Level {
    /// A full bucket.
    pub(crate) fn full(rate: Rate, now: Duration) -> Self {
        Self { at: now, units: rate.capacity() }
    }

    fn refill(&mut self, rate: Rate, now: Duration) {
        let elapsed = now.saturating_sub(self.at);
        let nanos = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        let grown = nanos.saturating_mul(u64::from(rate.per_second.get()));
        self.units = self.units.saturating_add(grown).min(rate.capacity());
        self.at = self.at.max(now);
    }

    /// Takes one token if there is one.
    pub(crate) fn take(&mut self, rate: Rate, now: Duration) -> Taken {
        self.refill(rate, now);
        if self.units < TOKEN {
            return Taken::Refused {
                retry_after: seconds_to_grow(TOKEN - self.units, rate).max(1),
            };
        }
        self.units -= TOKEN;
        Taken::Admitted {
            remaining: u32::try_from(self.units / TOKEN).unwrap_or(u32::MAX),
            full_in: seconds_to_grow(rate.capacity() - self.units, rate),
        }
    }
}

fn seconds_to_grow(units: u64, rate: Rate) -> u32 {
    let seconds = units.div_ceil(u64::from(rate.per_second.get()) * TOKEN);
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

/// One bucket behind a lock that is held for a few nanoseconds.
#[derive(Debug)]
pub(crate) struct Bucket(Mutex<Level>);

impl Bucket {
    /// A full bucket.
    pub(crate) fn full(rate: Rate, now: Duration) -> Self {
        Self(Mutex::new(Level::full(rate, now)))
    }

    /// Takes one token if there is one. A changed rate holds from now on.
    pub(crate) fn take(&self, rate: Rate, now: Duration) -> Taken {
        self.0.lock().take(rate, now)
    }
}

/// A bucket for each of a bounded number of keys that clients choose (addresses).
#[derive(Debug)]
pub(crate) struct Buckets<Key> {
    rate: Rate,
    most: usize,
    kept: Mutex<Kept<Key>>,
}

#[derive(Debug)]
struct Kept<Key> {
    levels: HashMap<Key, Level>,
    /// When full buckets were last looked for: all of them, so not for every new key.
    swept: Option<Duration>,
}

/// How long the places that a sweep left taken stay taken.
const BETWEEN_SWEEPS: Duration = Duration::from_secs(1);

impl<Key: Eq + Hash> Buckets<Key> {
    /// Buckets for at most `most` keys at a time.
    pub(crate) fn new(rate: Rate, most: usize) -> Self {
        let kept = Kept { levels: HashMap::new(), swept: None };
        Self { rate, most, kept: Mutex::new(kept) }
    }

    /// The rate that each is held to.
    pub(crate) fn rate(&self) -> Rate {
        self.rate
    }

    /// Takes one token of this key's bucket if there is one.
    ///
    /// When every place is taken by a bucket that is not full, a new key is refused: whoever
    /// comes from that many addresses at once must not be able to push the others' state out.
    pub(crate) fn take(&self, key: Key, now: Duration) -> Taken {
        let rate = self.rate;
        let Kept { levels, swept } = &mut *self.kept.lock();
        if levels.len() >= self.most && !levels.contains_key(&key) {
            if swept.is_none_or(|swept| now.saturating_sub(swept) >= BETWEEN_SWEEPS) {
                *swept = Some(now);
                levels.retain(|_, level| {
                    level.refill(rate, now);
                    level.units < rate.capacity()
                });
            }
            if levels.len() >= self.most {
                return Taken::Refused { retry_after: 1 };
            }
        }
        levels.entry(key).or_insert_with(|| Level::full(rate, now)).take(rate, now)
    }

    /// After how many seconds this key's bucket has a token, where it has none now. Takes none.
    pub(crate) fn empty_for(&self, key: &Key, now: Duration) -> Option<u32> {
        let mut level = *self.kept.lock().levels.get(key)?;
        match level.take(self.rate, now) {
            Taken::Admitted { .. } => None,
            Taken::Refused { retry_after } => Some(retry_after),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(per_second: u32, burst: u32) -> Rate {
        Rate::new(per_second, burst).expect("both are above zero")
    }

    /// How many of `requests`, spread evenly over `seconds`, are admitted.
    fn admitted(rate: Rate, requests: u64, seconds: u64) -> u64 {
        let bucket = Bucket::full(rate, Duration::ZERO);
        let step = Duration::from_secs(seconds).as_nanos() / u128::from(requests);
        (0..requests)
            .filter(|number| {
                let at = u64::try_from(u128::from(*number) * step).expect("fits");
                matches!(bucket.take(rate, Duration::from_nanos(at)), Taken::Admitted { .. })
            })
            .count() as u64
    }

    // GW-040
    #[test]
    fn ten_thousand_requests_in_ten_seconds_at_100_a_second_and_20_at_once_admit_1019() {
        // 20 at once, then one each 10 ms: the last of the 10 s comes just after the last request.
        assert_eq!(admitted(rate(100, 20), 10_000, 10), 1019);
    }

    #[test]
    fn a_rate_that_does_not_divide_a_second_loses_nothing_to_rounding() {
        let rate = rate(7, 2);
        let bucket = Bucket::full(rate, Duration::ZERO);
        let admitted = (0..=1_000_000_u64)
            .filter(|millis| {
                let at = Duration::from_millis(*millis);
                matches!(bucket.take(rate, at), Taken::Admitted { .. })
            })
            .count();
        assert_eq!(admitted, 2 + 7 * 1000);
    }

    #[test]
    fn a_refusal_says_when_to_come_back_and_then_admits() {
        let rate = rate(1, 2);
        let bucket = Bucket::full(rate, Duration::ZERO);
        let at = |seconds| bucket.take(rate, Duration::from_secs(seconds));
        assert_eq!(at(0), Taken::Admitted { remaining: 1, full_in: 1 });
        assert_eq!(at(0), Taken::Admitted { remaining: 0, full_in: 2 });
        assert_eq!(at(0), Taken::Refused { retry_after: 1 });
        assert_eq!(at(1), Taken::Admitted { remaining: 0, full_in: 2 });
    }

    #[test]
    fn a_clock_that_stands_or_steps_back_gives_no_tokens() {
        let rate = rate(10, 1);
        let bucket = Bucket::full(rate, Duration::from_secs(5));
        let at = |seconds| bucket.take(rate, Duration::from_secs(seconds));
        assert!(matches!(at(5), Taken::Admitted { .. }));
        assert!(matches!(at(4), Taken::Refused { .. }));
        assert!(matches!(at(5), Taken::Refused { .. }));
    }

    #[test]
    fn a_long_pause_fills_the_bucket_and_no_more() {
        let rate = rate(u32::MAX, 3);
        let bucket = Bucket::full(rate, Duration::ZERO);
        let later = Duration::from_secs(10 * 365 * 24 * 3600);
        let admitted =
            (0..10).filter(|_| matches!(bucket.take(rate, later), Taken::Admitted { .. })).count();
        assert_eq!(admitted, 3);
    }

    #[test]
    fn keys_are_bounded_and_forget_only_those_that_are_full_again() {
        let buckets = Buckets::new(rate(1, 1), 2);
        let now = Duration::ZERO;
        assert!(matches!(buckets.take("a", now), Taken::Admitted { .. }));
        assert!(matches!(buckets.take("b", now), Taken::Admitted { .. }));
        assert!(matches!(buckets.take("c", now), Taken::Refused { .. }));
        let later = Duration::from_secs(1);
        assert!(matches!(buckets.take("c", later), Taken::Admitted { .. }));
        assert_eq!(buckets.kept.lock().levels.len(), 1);
    }

    #[test]
    fn a_crowd_of_new_keys_is_refused_without_looking_at_every_bucket_each_time() {
        let buckets = Buckets::new(rate(2, 1), 1);
        let at = Duration::from_millis;
        assert!(matches!(buckets.take(0, at(0)), Taken::Admitted { .. }));
        // Not yet full: looked for, in vain. Full half a second later, and not looked for.
        assert!(matches!(buckets.take(1, at(100)), Taken::Refused { .. }));
        assert!(matches!(buckets.take(2, at(600)), Taken::Refused { .. }));
        assert!(matches!(buckets.take(3, at(1100)), Taken::Admitted { .. }));
    }
}
