//! Time and chance as the system gives them: the only place that asks it.

use std::cell::RefCell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use contract::{Clock, Ids, Instant};
use ring::rand::{SecureRandom as _, SystemRandom};
use uuid::Builder;

/// The system's clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: std::time::Instant,
}

impl SystemClock {
    /// Clocks whose monotonic time counts from now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is where the system's time comes in")]
    pub fn start() -> Self {
        Self { start: std::time::Instant::now() }
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is where the system's time comes in")]
    fn now(&self) -> Instant {
        let now = SystemTime::now();
        let micros = match now.duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |m| -m),
        };
        Instant::from_micros(micros)
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

/// The random bytes of one id.
const OF_ID: usize = 10;
/// What is longer than a nonce is a secret that is kept: the system is asked for each of those.
const OF_NONCE: usize = 16;

thread_local! {
    static DRAWN: RefCell<Drawn> = const { RefCell::new(Drawn::none()) };
}

/// Random bytes that the system gave for many ids and nonces at once: asking it for each costs
/// more than all else that one takes. They are forgotten as they are taken.
struct Drawn {
    bytes: [u8; 64 * OF_ID],
    left: usize,
}

impl Drawn {
    const fn none() -> Self {
        Self { bytes: [0; 64 * OF_ID], left: 0 }
    }

    /// The next bytes, at most as many as a nonce has; `fill` draws when there are too few.
    fn take(&mut self, into: &mut [u8], fill: &dyn Fn(&mut [u8])) {
        if self.left < into.len() {
            fill(&mut self.bytes);
            self.left = self.bytes.len();
        }
        self.left -= into.len();
        let taken = &mut self.bytes[self.left..][..into.len()];
        into.copy_from_slice(taken);
        taken.fill(0);
    }
}

/// The system's cryptographic source, and UUIDs of version 7 from it.
#[derive(Debug)]
pub struct SystemIds {
    random: SystemRandom,
}

/// The system has no source of randomness: nothing secret can be made.
#[derive(Debug, thiserror::Error)]
#[error("the system gives no random bytes; nothing can be kept secret without them")]
pub struct NoRandomness;

impl SystemIds {
    /// The system's source, tried once, so that it works from then on.
    ///
    /// # Errors
    /// [`NoRandomness`].
    pub fn open() -> Result<Self, NoRandomness> {
        let random = SystemRandom::new();
        random.fill(&mut [0; 32]).map_err(|_| NoRandomness)?;
        Ok(Self { random })
    }

    fn draw(&self, bytes: &mut [u8]) {
        self.random
            .fill(bytes)
            .expect("the system's source gives bytes for ever once it gave some");
    }
}

impl Ids for SystemIds {
    #[expect(clippy::disallowed_methods, reason = "this is where the system's time comes in")]
    fn next(&self) -> u128 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let mut chance = [0; OF_ID];
        self.fill(&mut chance);
        Builder::from_unix_timestamp_millis(millis, &chance).into_uuid().as_u128()
    }

    fn fill(&self, bytes: &mut [u8]) {
        if bytes.len() <= OF_NONCE {
            DRAWN.with_borrow_mut(|drawn| drawn.take(bytes, &|bytes| self.draw(bytes)));
        } else {
            self.draw(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_and_is_of_this_century() {
        let clock = SystemClock::start();
        let (first, second) = (clock.monotonic(), clock.monotonic());
        assert!(first <= second);
        assert!(clock.now().as_seconds() > 1_767_225_600);
    }

    #[test]
    fn what_was_drawn_is_given_once_and_forgotten() {
        let draws = std::cell::Cell::new(0_u8);
        let fill = |bytes: &mut [u8]| {
            draws.set(draws.get() + 1);
            let numbers = (0..u32::MAX).flat_map(u32::to_be_bytes);
            bytes.iter_mut().zip(numbers).for_each(|(byte, number)| *byte = number ^ draws.get());
        };
        let mut drawn = Drawn::none();
        let mut given = std::collections::HashSet::new();
        for length in std::iter::repeat_n([OF_ID, OF_NONCE], 24).flatten() {
            let mut bytes = vec![0; length];
            drawn.take(&mut bytes, &fill);
            assert!(given.insert(bytes[..OF_ID].to_vec()), "{bytes:?} was given before");
        }
        assert_eq!((drawn.left, draws.get()), (16, 1));
        assert!(drawn.bytes[16..].iter().all(|byte| *byte == 0), "nothing given is kept");
        drawn.take(&mut [0; OF_NONCE], &fill);
        assert_eq!((drawn.left, draws.get()), (0, 1));
        drawn.take(&mut [0; 1], &fill);
        assert_eq!((drawn.left, draws.get()), (639, 2));
    }

    #[test]
    fn ids_are_version_7_uuids_and_all_different() {
        let ids = SystemIds::open().unwrap();
        let drawn: std::collections::HashSet<u128> = (0..1000).map(|_| ids.next()).collect();
        assert_eq!(drawn.len(), 1000);
        assert!(drawn.iter().all(|id| id >> 76 & 0xf == 7));
        let (mut one, mut other) = ([0; 32], [0; 32]);
        ids.fill(&mut one);
        ids.fill(&mut other);
        assert!(one != other && one != [0; 32]);
    }
}
