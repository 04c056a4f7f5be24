//! How fast a backup goes: beside a process that works on the same data it pauses after each bit of
//! work, so that those who write hardly notice it.

use std::path::Path;
use std::time::Duration;

use contract::Clock;

use crate::lock::{Half, is_named};

/// It works for so long at least between two pauses.
const AT_ONCE: Duration = Duration::from_millis(20);
const WHOLE: u32 = 100;

/// Work that pauses now and then.
pub(super) struct Pace<'a> {
    clock: &'a dyn Clock,
    pause: fn(Duration),
    data: &'a Path,
    /// Of a hundred parts of the time it works in so many while a process runs there.
    share: u32,
    /// When it last began to work.
    since: Duration,
}

impl<'a> Pace<'a> {
    /// That of a backup of `data`, which works in `share` of a hundred parts of the time while a
    /// process runs there, and all the time while none does.
    pub(super) fn beside(data: &'a Path, share: u8, clock: &'a dyn Clock) -> Self {
        let share = share.clamp(1, 100).into();
        Self { clock, pause: std::thread::sleep, data, share, since: clock.monotonic() }
    }

    /// A bit of work is done: pauses, once there was enough of it.
    pub(super) fn step(&mut self) {
        let worked = self.clock.monotonic().saturating_sub(self.since);
        if worked < AT_ONCE {
            return;
        }
        // One may have started, or ended, since it was last asked.
        if is_named(self.data, Half::Server) {
            (self.pause)(worked * (WHOLE - self.share) / self.share);
        }
        self.since = self.clock.monotonic();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicU64, Ordering};

    use contract::Instant;

    use super::*;
    use crate::lock::Lock;

    thread_local! {
        static PAUSED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    }

    /// Time that passes by itself alone: so many milliseconds.
    struct Passing(AtomicU64);

    impl Clock for Passing {
        fn now(&self) -> Instant {
            Instant::from_micros(0)
        }

        fn monotonic(&self) -> Duration {
            Duration::from_millis(self.0.load(Ordering::Relaxed))
        }
    }

    /// How long a backup pauses that works for these milliseconds.
    fn paused(data: &Path, share: u8, steps: &[u64]) -> Duration {
        PAUSED.set(Duration::ZERO);
        let clock = Passing(AtomicU64::new(0));
        let mut pace = Pace::beside(data, share, &clock);
        pace.pause = |pause| PAUSED.set(PAUSED.get() + pause);
        for millis in steps {
            clock.0.fetch_add(*millis, Ordering::Relaxed);
            pace.step();
        }
        PAUSED.get()
    }

    #[test]
    fn a_backup_pauses_in_proportion_to_its_work_while_a_process_runs_on_the_data() {
        let data = tempfile::tempdir().unwrap();
        assert_eq!(paused(data.path(), 25, &[20, 40]), Duration::ZERO);
        let lock = Lock::take(data.path(), Half::Server, "serve").unwrap();
        // What is little is counted with what follows.
        assert_eq!(paused(data.path(), 25, &[20, 10, 5, 15]), Duration::from_millis(3 * 50));
        assert_eq!(paused(data.path(), 50, &[19]), Duration::ZERO);
        assert_eq!(paused(data.path(), 100, &[1000]), Duration::ZERO);
        drop(lock);
        assert_eq!(paused(data.path(), 25, &[1000]), Duration::ZERO);
    }

    #[test]
    fn a_process_that_starts_or_ends_while_a_backup_is_made_is_noticed() {
        let data = tempfile::tempdir().unwrap();
        PAUSED.set(Duration::ZERO);
        let clock = Passing(AtomicU64::new(0));
        let mut pace = Pace::beside(data.path(), 25, &clock);
        pace.pause = |pause| PAUSED.set(PAUSED.get() + pause);
        let mut work = || {
            clock.0.fetch_add(20, Ordering::Relaxed);
            pace.step();
            PAUSED.take()
        };
        assert_eq!(work(), Duration::ZERO);
        let lock = Lock::take(data.path(), Half::Server, "serve").unwrap();
        assert_eq!(work(), Duration::from_millis(60));
        drop(lock);
        assert_eq!(work(), Duration::ZERO);
    }
}
