//! Token buckets, exact to the unit: so many requests a second, so many at once.
//!
//! Time is given by the caller, so that a test can count. Nothing is estimated: a token is as
//! many integer units as its period has nanoseconds, and a bucket grows by `count` of them a
//! nanosecond. Sharing counters between several gateways is not done here.

use std::collections::HashMap;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::time::Duration;

use parking_lot::Mutex;

/// How much a caller may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Requests in each `per`, in the long run.
    pub count: NonZeroU32,
    /// The time in which so many may come; never zero.
    pub per: Duration,
    /// Requests at once, after a pause.
    pub burst: NonZeroU32,
}

impl Rate {
    /// So many a second. `None` when either number is zero.
    #[must_use]
    pub fn new(per_second: u32, burst: u32) -> Option<Self> {
        Self::every(per_second, Duration::from_secs(1), burst)
    }

    /// So many in each `per`. `None` when a number or the time is zero.
    #[must_use]
    pub fn every(count: u32, per: Duration, burst: u32) -> Option<Self> {
        let (count, burst) = (NonZeroU32::new(count)?, NonZeroU32::new(burst)?);
        (!per.is_zero()).then_some(Self { count, per, burst })
    }

    /// One request, in the unit that a bucket counts.
    fn token(self) -> i128 {
        i128::try_from(self.per.as_nanos()).unwrap_or(i128::MAX)
    }

    fn capacity(self) -> i128 {
        i128::from(self.burst.get()).saturating_mul(self.token())
    }

    /// What one of `gateways` admits when all of them together keep to the rate.
    pub(crate) fn share(self, gateways: u32) -> Self {
        let gateways = gateways.max(1);
        let burst = self.burst.get().div_ceil(gateways);
        let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
        Self { per: self.per * gateways, burst, ..self }
    }

    /// How many whole tokens grow in `time`.
    pub(crate) fn grown_in(self, time: Duration) -> u64 {
        let grown = time.as_nanos().saturating_mul(u128::from(self.count.get()));
        u64::try_from(grown / self.per.as_nanos()).unwrap_or(u64::MAX)
    }

    /// How long so many tokens take to grow.
    pub(crate) fn time_for(self, tokens: u64) -> Duration {
        let nanos = self.per.as_nanos().saturating_mul(u128::from(tokens));
        let nanos = nanos.div_ceil(u128::from(self.count.get()));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// How long an empty bucket takes to fill, in whole seconds, rounded up.
    pub(crate) fn window_seconds(self) -> u32 {
        whole_seconds(self.time_for(self.burst.get().into()))
    }
}

/// Whole seconds, rounded up.
pub(crate) fn whole_seconds(time: Duration) -> u32 {
    let more = u64::from(time.subsec_nanos() > 0);
    u32::try_from(time.as_secs().saturating_add(more)).unwrap_or(u32::MAX)
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
    units: i128,
}

impl Level {
    /// A full bucket.
    pub(crate) fn full(rate: Rate, now: Duration) -> Self {
        Self { at: now, units: rate.capacity() }
    }

    fn refill(&mut self, rate: Rate, now: Duration) {
        let elapsed = now.saturating_sub(self.at);
        let nanos = i128::try_from(elapsed.as_nanos()).unwrap_or(i128::MAX);
        let grown = nanos.saturating_mul(rate.count.get().into());
        self.units = self.units.saturating_add(grown).min(rate.capacity());
        self.at = self.at.max(now);
    }

    /// Takes one token if there is one.
    pub(crate) fn take(&mut self, rate: Rate, now: Duration) -> Taken {
        self.take_within(rate, Duration::ZERO, now).0
    }

    /// Takes one token that is there, or will be `within` that time: then with how long to wait.
    pub(crate) fn take_within(
        &mut self,
        rate: Rate,
        within: Duration,
        now: Duration,
    ) -> (Taken, Duration) {
        self.refill(rate, now);
        let ahead = i128::try_from(within.as_nanos()).unwrap_or(i128::MAX);
        let lowest = ahead.saturating_mul(rate.count.get().into());
        let lacking = rate.token() - lowest - self.units;
        if lacking > 0 {
            let retry_after = whole_seconds(time_to_grow(lacking, rate)).max(1);
            return (Taken::Refused { retry_after }, Duration::ZERO);
        }
        self.units -= rate.token();
        let remaining = self.units.max(0) / rate.token();
        let taken = Taken::Admitted {
            remaining: u32::try_from(remaining).unwrap_or(u32::MAX),
            full_in: whole_seconds(time_to_grow(rate.capacity() - self.units, rate)),
        };
        (taken, time_to_grow(-self.units, rate))
    }

    /// Puts a token back that came to nothing.
    pub(crate) fn give_back(&mut self, rate: Rate) {
        self.units = (self.units + rate.token()).min(rate.capacity());
    }

    /// Whole tokens that are there, and after how many seconds it is full.
    pub(crate) fn look(&mut self, rate: Rate, now: Duration) -> (u32, u32) {
        self.refill(rate, now);
        let remaining = u32::try_from(self.units.max(0) / rate.token()).unwrap_or(u32::MAX);
        (remaining, whole_seconds(time_to_grow(rate.capacity() - self.units, rate)))
    }

    /// Whether it is as if it had never been asked.
    pub(crate) fn is_full(&mut self, rate: Rate, now: Duration) -> bool {
        self.refill(rate, now);
        self.units >= rate.capacity()
    }
}

/// How long so many units take to grow; none at all when there are none.
fn time_to_grow(units: i128, rate: Rate) -> Duration {
    let count = u128::from(rate.count.get());
    let nanos = u128::try_from(units).unwrap_or(0).div_ceil(count);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
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

    /// Puts a token back that came to nothing.
    pub(crate) fn give_back(&self, rate: Rate) {
        self.0.lock().give_back(rate);
    }

    /// Whether it is as if it had never been asked, by the rate that it was last asked with.
    pub(crate) fn is_full(&self, rate: Rate, now: Duration) -> bool {
        self.0.lock().is_full(rate, now)
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
                levels.retain(|_, level| !level.is_full(rate, now));
            }
            if levels.len() >= self.most {
                return Taken::Refused { retry_after: 1 };
            }
        }
        levels.entry(key).or_insert_with(|| Level::full(rate, now)).take(rate, now)
    }

    /// Puts a token of this key's back that came to nothing.
    pub(crate) fn give_back(&self, key: &Key) {
        if let Some(level) = self.kept.lock().levels.get_mut(key) {
            level.give_back(self.rate);
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
    fn a_minutes_rate_grows_evenly_within_the_minute() {
        let rate = Rate::every(30, Duration::from_secs(60), 2).expect("a rate");
        // Two at once, then one each 2 s.
        assert_eq!(admitted(rate, 12_000, 60), 2 + 29);
        assert_eq!(rate.window_seconds(), 4);
    }

    #[test]
    fn who_may_wait_is_told_how_long_and_no_more_wait_than_may() {
        let rate = rate(10, 1);
        let mut level = Level::full(rate, Duration::ZERO);
        let within = Duration::from_millis(250);
        let mut take = || level.take_within(rate, within, Duration::ZERO);
        for wait in [0, 100, 200] {
            let (taken, waits) = take();
            assert!(matches!(taken, Taken::Admitted { .. }));
            assert_eq!(waits, Duration::from_millis(wait));
        }
        // Its turn would come after 300 ms.
        assert_eq!(take().0, Taken::Refused { retry_after: 1 });
    }

    #[test]
    fn shares_of_a_rate_make_up_the_rate() {
        let whole = rate(100, 20);
        let share = whole.share(3);
        assert_eq!((share.count.get(), share.per), (100, Duration::from_secs(3)));
        assert_eq!(share.burst.get(), 7);
        assert_eq!(whole.grown_in(Duration::from_millis(105)), 10);
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
