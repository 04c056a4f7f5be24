//! One endpoint of an upstream at one address: how it is reached, and whether it is well.
//!
//! Two things say that it is not: checks of its own (`health`), and requests that fail one after
//! the other. What failing requests took out comes back by itself after a time, which doubles
//! each time it is taken out again before a request succeeded.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use pingora::upstreams::peer::HttpPeer;

/// An endpoint at an address.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) weight: u32,
    pub(crate) peer: HttpPeer,
    state: Arc<State>,
}

/// What is known of an endpoint, however it is reached: it outlives a reload.
#[derive(Debug)]
pub(crate) struct State {
    in_flight: AtomicU32,
    /// A [`Checked`].
    checked: AtomicU8,
    /// Checks in a row that said other than `checked`.
    contrary: AtomicU32,
    /// Until when it is taken out, in nanoseconds of the monotonic clock; 0 when it is not.
    out_until: AtomicU64,
    of_requests: Mutex<Failures>,
    of_copies: Mutex<Failures>,
}

/// Which failures follow each other: those of requests, or those of copies, whose answers nobody
/// waits for. An answer to one says nothing of the other's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Row {
    Requests,
    Copies,
}

#[derive(Debug, Default)]
struct Failures {
    in_a_row: u32,
    /// How often it was taken out since a request succeeded.
    times_out: u32,
}

/// What the last checks said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Checked {
    Well,
    Ill,
}

/// When failing requests take an endpoint out, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ejection {
    /// So many failures in a row.
    pub failures: u32,
    /// For how long the first time.
    pub first: Duration,
    /// For how long at most.
    pub longest: Duration,
}

/// A request on its way to a target, counted for as long as it is.
#[derive(Debug)]
pub(crate) struct OnTheWay(Arc<Target>);

impl OnTheWay {
    pub(crate) fn target(&self) -> &Arc<Target> {
        &self.0
    }
}

impl Drop for OnTheWay {
    fn drop(&mut self) {
        self.0.state.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl State {
    fn failures(&self, row: Row) -> &Mutex<Failures> {
        match row {
            Row::Requests => &self.of_requests,
            Row::Copies => &self.of_copies,
        }
    }
}

impl Default for State {
    /// Nothing bad is known.
    fn default() -> Self {
        Self {
            in_flight: AtomicU32::new(0),
            checked: AtomicU8::new(Checked::Well as u8),
            contrary: AtomicU32::new(0),
            out_until: AtomicU64::new(0),
            of_requests: Mutex::default(),
            of_copies: Mutex::default(),
        }
    }
}

impl Target {
    /// An endpoint of which this is known.
    pub(crate) fn new(address: SocketAddr, weight: u32, peer: HttpPeer, state: Arc<State>) -> Self {
        Self { address, weight, peer, state }
    }

    /// What is known of it.
    pub(crate) fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// Counts a request that is sent to it.
    pub(crate) fn begin(self: &Arc<Self>) -> OnTheWay {
        self.state.in_flight.fetch_add(1, Ordering::Relaxed);
        OnTheWay(self.clone())
    }

    /// Requests that are on their way to it.
    pub(crate) fn in_flight(&self) -> u32 {
        self.state.in_flight.load(Ordering::Relaxed)
    }

    /// Requests on their way for its weight, in a unit that only compares.
    pub(crate) fn load(&self) -> u64 {
        u64::from(self.state.in_flight.load(Ordering::Relaxed)) * 1_000_000
            / u64::from(self.weight.max(1))
    }

    /// Whether requests may be sent to it.
    pub(crate) fn is_available(&self, now: Duration) -> bool {
        self.state.checked.load(Ordering::Relaxed) == Checked::Well as u8
            && nanos(now) >= self.state.out_until.load(Ordering::Relaxed)
    }

    /// Why no requests may be sent to it, for an operator; `None` where they may.
    pub(crate) fn why_not(&self, now: Duration) -> Option<&'static str> {
        if self.state.checked.load(Ordering::Relaxed) != Checked::Well as u8 {
            Some("its health checks fail")
        } else if nanos(now) < self.state.out_until.load(Ordering::Relaxed) {
            Some("too many requests in a row failed; it is tried again in a while")
        } else {
            None
        }
    }

    /// A check of its own ended. So many in a row change what is thought of it: `up` that it is
    /// well, `down` that it is not. Returns whether it changed.
    pub(crate) fn checked(&self, well: bool, up: u32, down: u32) -> bool {
        let thought = self.state.checked.load(Ordering::Relaxed) == Checked::Well as u8;
        if well {
            // Whatever failed before: it answers now.
            self.state.out_until.store(0, Ordering::Relaxed);
        }
        if well == thought {
            self.state.contrary.store(0, Ordering::Relaxed);
            return false;
        }
        let in_a_row = self.state.contrary.fetch_add(1, Ordering::Relaxed) + 1;
        let changes = in_a_row >= if well { up } else { down };
        if changes {
            let checked = if well { Checked::Well } else { Checked::Ill };
            self.state.checked.store(checked as u8, Ordering::Relaxed);
            self.state.contrary.store(0, Ordering::Relaxed);
        }
        changes
    }

    /// A request to it succeeded.
    pub(crate) fn succeeded(&self, row: Row) {
        let mut failures = self.state.failures(row).lock();
        if failures.in_a_row > 0 || failures.times_out > 0 {
            *failures = Failures::default();
        }
    }

    /// A request to it failed. Returns for how long it is taken out by that, if it is; never when
    /// it is the last one, for that would help nobody.
    pub(crate) fn failed(
        &self,
        row: Row,
        ejection: &Ejection,
        now: Duration,
        is_last: bool,
    ) -> Option<Duration> {
        let mut failures = self.state.failures(row).lock();
        failures.in_a_row = failures.in_a_row.saturating_add(1);
        if failures.in_a_row < ejection.failures || is_last {
            return None;
        }
        let times = failures.times_out.min(16);
        let out = ejection.first.saturating_mul(1 << times).min(ejection.longest);
        failures.times_out += 1;
        failures.in_a_row = 0;
        self.state.out_until.store(nanos(now + out), Ordering::Relaxed);
        Some(out)
    }

    #[cfg(test)]
    pub(crate) fn for_test(address: SocketAddr, weight: u32) -> Self {
        let peer = HttpPeer::new(address, false, String::new());
        Self::new(address, weight, peer, Arc::default())
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Target {
        Target::for_test("127.0.0.1:80".parse().expect("an address"), 1)
    }

    const EJECTION: Ejection =
        Ejection { failures: 2, first: Duration::from_secs(1), longest: Duration::from_secs(3) };

    // GW-005
    #[test]
    fn failures_in_a_row_take_it_out_for_a_growing_time_and_it_comes_back_by_itself() {
        let target = target();
        let at = Duration::from_secs;
        let mut now = at(10);
        for out in [1, 2, 3, 3] {
            assert_eq!(target.failed(Row::Requests, &EJECTION, now, false), None);
            assert_eq!(target.failed(Row::Requests, &EJECTION, now, false), Some(at(out)));
            assert!(!target.is_available(now));
            assert!(!target.is_available(now + at(out) - Duration::from_nanos(1)));
            now += at(out);
            assert!(target.is_available(now));
        }
        target.succeeded(Row::Requests);
        target.failed(Row::Requests, &EJECTION, now, false);
        assert_eq!(target.failed(Row::Requests, &EJECTION, now, false), Some(at(1)));
    }

    #[test]
    fn a_success_between_failures_keeps_it_in() {
        let target = target();
        for _ in 0..10 {
            assert_eq!(target.failed(Row::Requests, &EJECTION, Duration::ZERO, false), None);
            target.succeeded(Row::Requests);
        }
        for _ in 0..10 {
            assert_eq!(
                target.failed(Row::Requests, &EJECTION, Duration::ZERO, true),
                None,
                "it is the last one"
            );
        }
    }

    // GW-005, GW-009
    #[test]
    fn copies_have_a_row_of_their_own() {
        let target = target();
        let now = Duration::ZERO;
        assert_eq!(target.failed(Row::Requests, &EJECTION, now, false), None);
        assert_eq!(target.failed(Row::Copies, &EJECTION, now, false), None);
        target.succeeded(Row::Copies);
        assert_eq!(target.failed(Row::Copies, &EJECTION, now, false), None);
        assert!(target.failed(Row::Requests, &EJECTION, now, false).is_some());
    }

    // GW-005
    #[test]
    fn checks_in_a_row_change_what_is_thought_of_it() {
        let target = target();
        let now = Duration::ZERO;
        assert!(!target.checked(false, 1, 2));
        assert!(!target.checked(true, 1, 2));
        assert!(!target.checked(false, 1, 2));
        assert!(target.is_available(now));
        assert!(target.checked(false, 1, 2));
        assert!(!target.is_available(now));
        assert!(target.checked(true, 1, 2));
        assert!(target.is_available(now));
    }

    #[test]
    fn a_good_check_ends_what_failing_requests_began() {
        let target = target();
        target.failed(Row::Requests, &EJECTION, Duration::ZERO, false);
        target.failed(Row::Requests, &EJECTION, Duration::ZERO, false);
        assert!(!target.is_available(Duration::ZERO));
        target.checked(true, 1, 1);
        assert!(target.is_available(Duration::ZERO));
    }
}
