//! One counter of one limit: a bucket, a number of requests that have not ended, or what was used
//! of a quota.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use contract::Instant;
use parking_lot::Mutex;

use crate::limiter::{Level, Rate, Taken, whole_seconds};
use crate::plans::{Kind, Limit, Slices, Unit, Window, WindowKind};

use super::Now;
use super::key::Key;
use super::lease::Lease;
use super::ledger::Entry;
use super::rolling::Rolling;
use super::store::{Granted, Report, Reported};
use super::sync::Mode;

/// A counter, behind a lock that is held for a few nanoseconds.
#[derive(Debug)]
pub(crate) struct Counter {
    /// The id of its limit, which stays over a reload.
    pub(crate) limit: String,
    pub(crate) key: Key,
    /// Whether it waits to be written down.
    pub(crate) to_keep: AtomicBool,
    /// Whether it waits to be told to the store.
    pub(crate) to_share: AtomicBool,
    held: Mutex<Held>,
}

/// What was counted, and the numbers that it is held to, which a reload may change.
#[derive(Debug)]
struct Held {
    kind: Kind,
    state: State,
}

impl Held {
    fn parts(&mut self) -> (&mut State, Kind) {
        (&mut self.state, self.kind)
    }
}

#[derive(Debug)]
enum State {
    /// Absent until the first request.
    Rate {
        level: Option<Level>,
        lease: Lease,
    },
    AtOnce(u32),
    Quota {
        used: Slices,
        lease: Lease,
        /// Of a window that rolls, where others count too.
        rolling: Rolling,
    },
}

/// What taking one left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) remaining: u64,
    /// When there is more; absent where no time says it.
    pub(crate) seconds: Option<u32>,
    /// How long the request has to wait for its turn.
    pub(crate) wait: Duration,
}

impl Outcome {
    const fn at_once(remaining: u64, seconds: Option<u32>) -> Self {
        Self { remaining, seconds, wait: Duration::ZERO }
    }
}

impl Counter {
    /// Of which nothing was counted.
    pub(crate) fn of(limit: &Limit, key: Key) -> Self {
        let state = match limit.kind {
            Kind::Rate { rate, .. } => State::Rate { level: None, lease: Lease::of_rate(rate) },
            Kind::AtOnce { .. } => State::AtOnce(0),
            Kind::Quota { most, .. } => {
                let (used, rolling) = (Slices::default(), Rolling::default());
                State::Quota { used, lease: Lease::of_quota(most), rolling }
            }
        };
        let flag = || AtomicBool::new(false);
        let (limit, kind) = (limit.id.clone(), limit.kind);
        let held = Mutex::new(Held { kind, state });
        Self { limit, key, to_keep: flag(), to_share: flag(), held }
    }

    pub(crate) fn is_quota(&self) -> bool {
        matches!(self.held.lock().kind, Kind::Quota { .. })
    }

    /// Holds it to other numbers from now on. What was counted stays counted: what is used of a
    /// quota, who has not ended, and how full a bucket is, up to its new burst.
    pub(crate) fn hold_to(&self, limit: &Limit) {
        let held = &mut *self.held.lock();
        if let (State::Quota { lease, .. }, Kind::Quota { most: before, .. }) = held.parts()
            && let Kind::Quota { most, .. } = limit.kind
        {
            lease.most_is(most, before);
        }
        held.kind = limit.kind;
    }

    /// Takes one; otherwise says after how many seconds there may be one, at least 1.
    pub(crate) fn take(&self, mode: Mode, now: &Now) -> Result<Outcome, u32> {
        match self.held.lock().parts() {
            (State::Rate { level, lease }, Kind::Rate { rate, delay }) => match mode {
                Mode::Own => take_of(level, rate, delay, now),
                Mode::Alone { gateways } => take_of(level, rate.share(gateways), delay, now),
                Mode::Shared { gateways } => lease.take_rate(rate, delay, gateways, now),
            },
            (State::AtOnce(held), Kind::AtOnce { most }) => {
                if *held >= most {
                    return Err(1);
                }
                *held += 1;
                Ok(Outcome::at_once((most - *held).into(), None))
            }
            (State::Quota { used, lease, rolling }, Kind::Quota { of, most, window }) => {
                let taking = u64::from(of == Unit::Requests);
                match mode {
                    Mode::Own => take_own(used, taking, most, window, now.wall),
                    Mode::Alone { gateways } if rolls(window) => {
                        absorb(lease, rolling, most, window, now.wall);
                        lease.touch();
                        let left = rolling.left(most, gateways, window, now.wall)?;
                        rolling.take(taking, window, now.wall);
                        let seconds = Some(rolling.more_in(window, now.wall));
                        Ok(Outcome::at_once(left - taking, seconds))
                    }
                    Mode::Shared { .. } | Mode::Alone { .. } => {
                        lease.take_quota(taking, most, window, mode, now)
                    }
                }
            }
            // The state is made of the kind.
            _ => Err(1),
        }
    }

    /// Gives one back that came to nothing.
    pub(crate) fn give_back(&self, mode: Mode) {
        match (self.held.lock().parts(), mode) {
            ((State::Rate { lease, .. }, _), Mode::Shared { .. }) => lease.give_back(),
            ((State::Rate { level: Some(level), .. }, Kind::Rate { rate, .. }), Mode::Own) => {
                level.give_back(rate);
            }
            (
                (State::Rate { level: Some(level), .. }, Kind::Rate { rate, .. }),
                Mode::Alone { gateways },
            ) => level.give_back(rate.share(gateways)),
            ((State::Quota { used, .. }, _), Mode::Own) => used.take_back(),
            ((State::Quota { lease, rolling, .. }, Kind::Quota { window, .. }), mode) => {
                let is_alone = matches!(mode, Mode::Alone { .. }) && rolls(window);
                if !(is_alone && rolling.take_back()) {
                    lease.give_back();
                }
            }
            _ => {}
        }
    }

    /// Ends one of those at once.
    pub(crate) fn leave(&self) {
        if let State::AtOnce(held) = &mut self.held.lock().state {
            *held = held.saturating_sub(1);
        }
    }

    /// Adds what a request turned out to have used of a quota.
    pub(crate) fn charge(&self, amount: u64, mode: Mode, now: Instant) {
        if let (State::Quota { used, lease, rolling }, Kind::Quota { most, window, .. }) =
            self.held.lock().parts()
        {
            match mode {
                Mode::Own => used.add(amount, window, now),
                Mode::Alone { .. } if rolls(window) => rolling.take(amount, window, now),
                _ => lease.charge(amount, most, window, now),
            }
        }
    }

    /// What is left, and when there is more, without taking any.
    pub(crate) fn look(&self, mode: Mode, now: &Now) -> (u64, Option<u32>) {
        match self.held.lock().parts() {
            (State::Rate { level, lease }, Kind::Rate { rate, .. }) => {
                let rate = match mode {
                    Mode::Shared { .. } => {
                        let (remaining, seconds) = lease.look_rate(rate, now);
                        return (remaining, Some(seconds));
                    }
                    Mode::Alone { gateways } => rate.share(gateways),
                    Mode::Own => rate,
                };
                let level = level.get_or_insert_with(|| Level::full(rate, now.monotonic));
                let (remaining, seconds) = level.look(rate, now.monotonic);
                (remaining.into(), Some(seconds))
            }
            (State::AtOnce(held), Kind::AtOnce { most }) => {
                (most.saturating_sub(*held).into(), None)
            }
            (State::Quota { used, lease, rolling }, Kind::Quota { most, window, .. }) => match mode
            {
                Mode::Alone { gateways } if rolls(window) => {
                    absorb(lease, rolling, most, window, now.wall);
                    let left = rolling.left(most, gateways, window, now.wall).unwrap_or(0);
                    (left, Some(rolling.more_in(window, now.wall)))
                }
                Mode::Own => {
                    let remaining = most.saturating_sub(used.total(window, now.wall));
                    (remaining, Some(short(used.less_in(window, now.wall))))
                }
                _ => {
                    let remaining = lease.look_quota(most, window, now.wall);
                    (remaining, Some(short(window.slice_ends_in(now.wall))))
                }
            },
            _ => (0, None),
        }
    }

    /// Whether a new counter would say the same.
    pub(crate) fn is_as_new(&self, mode: Mode, now: &Now) -> bool {
        match self.held.lock().parts() {
            (State::Rate { level, lease }, Kind::Rate { rate, .. }) => {
                let rate_here = match mode {
                    Mode::Alone { gateways } => rate.share(gateways),
                    _ => rate,
                };
                let is_full = |level: &mut Level| level.is_full(rate_here, now.monotonic);
                level.as_mut().is_none_or(is_full) && lease.is_idle(rate, now)
            }
            (State::AtOnce(held), _) => *held == 0,
            (State::Quota { used, lease, rolling }, Kind::Quota { most, window, .. }) => {
                used.total(window, now.wall) == 0
                    && rolling.used(window, now.wall) == 0
                    && lease.look_quota(most, window, now.wall) >= most
            }
            _ => true,
        }
    }

    /// Takes up what was written down.
    pub(crate) fn restore(&self, kept: Vec<(i64, u64)>) {
        if let (State::Quota { used, lease, rolling }, Kind::Quota { most, .. }) =
            self.held.lock().parts()
        {
            *lease = Lease::restored(most, &kept);
            *rolling = Rolling::restored(kept.clone());
            *used = Slices::of(kept);
        }
    }

    /// What is to be written down.
    pub(crate) fn entry(&self, mode: Mode, now: Instant) -> Option<Entry> {
        let held = &mut *self.held.lock();
        let (State::Quota { used, lease, rolling }, Kind::Quota { most, window, .. }) =
            held.parts()
        else {
            return None;
        };
        if mode != Mode::Own && rolls(window) {
            *used = Slices::of(rolling.kept());
            used.add(lease.debt(), window, now);
        } else if mode != Mode::Own {
            let total = most.saturating_sub(lease.look_quota(most, window, now));
            *used = Slices::of(vec![(window.slice(now), total)]);
        }
        used.total(window, now);
        Some(self.entry_of(used))
    }

    /// What was written down last, or would have been; `None` when none of it counts at `now`.
    pub(crate) fn kept_entry(&self, now: Instant) -> Option<Entry> {
        let held = &mut *self.held.lock();
        let (State::Quota { used, .. }, Kind::Quota { window, .. }) = held.parts() else {
            return None;
        };
        if used.total(window, now) == 0 {
            return None;
        }
        Some(self.entry_of(used))
    }

    fn entry_of(&self, used: &Slices) -> Entry {
        Entry { limit: self.limit.clone(), key: self.key.clone(), used: used.kept().collect() }
    }

    /// What the store is to be told, and asked for; `None` for what is not shared.
    pub(crate) fn report(&self, key: String, now: &Now) -> Option<Report> {
        let (of, lease) = match self.held.lock().parts() {
            (State::Rate { lease, .. }, Kind::Rate { rate, .. }) => {
                (Reported::Rate(rate), lease.report(now, u64::from(rate.burst.get())))
            }
            (State::Quota { lease, rolling, .. }, Kind::Quota { of, most, window }) => {
                lease.roll(most, window, now.wall);
                let ahead = if of == Unit::Requests { most } else { 0 };
                let used = match rolls(window) {
                    true => rolling.known(window, now.wall) + lease.given(),
                    false => lease.used(most),
                };
                let reported =
                    Reported::Quota { most, window, slice: window.slice(now.wall), used };
                (reported, lease.report(now, ahead))
            }
            _ => return None,
        };
        Some(Report { key, of, give: lease.0, want: lease.1 })
    }

    /// Takes up what the store answered.
    pub(crate) fn granted(&self, granted: Granted, now: &Now) {
        match self.held.lock().parts() {
            (State::Quota { lease, rolling, .. }, Kind::Quota { most, window, .. })
                if rolls(window) =>
            {
                lease.granted(granted, now);
                let meanwhile = rolling.was_told(window, now.wall);
                let used = lease.used(most).saturating_sub(lease.given());
                rolling.observe(used, window, now.wall);
                lease.owes(meanwhile);
            }
            (State::Rate { lease, .. } | State::Quota { lease, .. }, _) => {
                lease.granted(granted, now);
            }
            (State::AtOnce(_), _) => {}
        }
    }

    /// The store did not answer: what it was to be told is still to be told.
    pub(crate) fn not_told(&self, report: &Report) {
        match &mut self.held.lock().state {
            State::Quota { lease, rolling, .. } => {
                lease.not_told(report.give);
                if rolling.was_not_told() {
                    // It is written down by slice still.
                    lease.forget_debt();
                }
            }
            State::Rate { lease, .. } => lease.not_told(report.give),
            State::AtOnce(_) => {}
        }
    }

    /// Whether the store has something to be told, or would like back.
    pub(crate) fn has_to_share(&self) -> bool {
        match &self.held.lock().state {
            State::Rate { lease, .. } | State::Quota { lease, .. } => lease.has_to_share(),
            State::AtOnce(_) => false,
        }
    }

    /// The store may be back. What went by of a rate meanwhile was this gateway's own share; of a
    /// quota that rolls what counts still is owed.
    pub(crate) fn store_is_back(&self, now: &Now) {
        match self.held.lock().parts() {
            (State::Rate { lease, .. }, _) => lease.forget(),
            (State::Quota { lease, rolling, .. }, Kind::Quota { most, window, .. })
                if rolls(window) =>
            {
                absorb(lease, rolling, most, window, now.wall);
                lease.owes(rolling.tell(window, now.wall));
            }
            _ => {}
        }
    }
}

fn rolls(window: Window) -> bool {
    window.kind == WindowKind::Rolling
}

/// What was given out on account before the store fell silent, and was never told, is this
/// gateway's own.
fn absorb(lease: &mut Lease, rolling: &mut Rolling, most: u64, window: Window, now: Instant) {
    lease.roll(most, window, now);
    let debt = lease.take_debt();
    if debt > 0 {
        rolling.take(debt, window, now);
    }
}

fn take_of(
    level: &mut Option<Level>,
    rate: Rate,
    delay: Duration,
    now: &Now,
) -> Result<Outcome, u32> {
    let level = level.get_or_insert_with(|| Level::full(rate, now.monotonic));
    match level.take_within(rate, delay, now.monotonic) {
        (Taken::Admitted { remaining, full_in }, wait) => {
            Ok(Outcome { remaining: remaining.into(), seconds: Some(full_in), wait })
        }
        (Taken::Refused { retry_after }, _) => Err(retry_after),
    }
}

fn take_own(
    used: &mut Slices,
    taking: u64,
    most: u64,
    window: Window,
    now: Instant,
) -> Result<Outcome, u32> {
    let total = used.total(window, now);
    if total >= most {
        return Err(short(used.less_in(window, now)));
    }
    if taking > 0 {
        used.add(taking, window, now);
    }
    Ok(Outcome::at_once(most - total - taking, Some(short(used.less_in(window, now)))))
}

/// Seconds as headers have them.
pub(super) fn short(seconds: i64) -> u32 {
    u32::try_from(seconds.max(1)).unwrap_or(u32::MAX)
}

/// Seconds until so many tokens have grown, at least 1.
pub(super) fn seconds_for(rate: Rate, tokens: u64) -> u32 {
    whole_seconds(rate.time_for(tokens)).max(1)
}
