//! Time and ids that a test knows.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use contract::{Clock, Ids, Instant};

/// A clock that stands until it is moved. It begins at 2026-01-02T03:04:05.678901Z.
#[derive(Debug)]
pub(crate) struct HeldClock {
    micros: AtomicI64,
}

impl Default for HeldClock {
    fn default() -> Self {
        let start: Instant = "2026-01-02T03:04:05.678901Z".parse().expect("an instant");
        Self { micros: AtomicI64::new(start.as_micros()) }
    }
}

impl HeldClock {
    pub(crate) fn advance(&self, by: Duration) {
        let by = i64::try_from(by.as_micros()).expect("a short time");
        self.micros.fetch_add(by, Ordering::SeqCst);
    }

    pub(crate) fn back(&self, by: Duration) {
        let by = i64::try_from(by.as_micros()).expect("a short time");
        self.micros.fetch_sub(by, Ordering::SeqCst);
    }
}

impl Clock for HeldClock {
    fn now(&self) -> Instant {
        Instant::from_micros(self.micros.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

/// Ids 1, 2, 3, and bytes that differ each time.
#[derive(Debug, Default)]
pub(crate) struct CountingIds {
    last: AtomicU64,
}

impl CountingIds {
    /// How many were given.
    pub(crate) fn given(&self) -> u64 {
        self.last.load(Ordering::SeqCst)
    }
}

impl Ids for CountingIds {
    fn next(&self) -> u128 {
        u128::from(self.last.fetch_add(1, Ordering::SeqCst) + 1)
    }

    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let number = self.last.fetch_add(1, Ordering::SeqCst) + 1;
            let number = number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes();
            chunk.copy_from_slice(&number[..chunk.len()]);
        }
    }
}
