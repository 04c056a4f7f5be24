//! Windows of time that quotas count in, and what is counted in them.
//!
//! A window is counted in slices: one slice for a calendar window, and sixty for a rolling one, of
//! which the one that is not over and the sixty before it count. So no rolling window ever has
//! more than the quota, and what was used comes back a sixtieth later at most.

use std::collections::VecDeque;
use std::fmt;

use contract::Instant;
use serde::{Deserialize, Serialize};

/// How long a window is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Span {
    /// 60 s.
    Minute,
    /// 60 minutes.
    Hour,
    /// 24 hours.
    Day,
    /// A month of the calendar, or 30 days where the window rolls.
    Month,
}

/// Whether windows begin with the clock or with each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WindowKind {
    /// At full minutes, hours, days and months, in UTC.
    #[default]
    Calendar,
    /// Whatever time of that length is looked at.
    Rolling,
}

/// A window of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// How long it is.
    pub span: Span,
    /// When it begins.
    pub kind: WindowKind,
}

/// Slices of a rolling window.
const SLICES: i64 = 60;

const DAY: i64 = 86_400;

impl Span {
    /// The word for it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
        }
    }

    const fn seconds(self) -> i64 {
        match self {
            Self::Minute => 60,
            Self::Hour => 3600,
            Self::Day => DAY,
            Self::Month => 30 * DAY,
        }
    }
}

impl Window {
    /// Its length in seconds; of a month of the calendar, 30 days.
    pub(crate) fn nominal_seconds(self) -> i64 {
        self.span.seconds()
    }

    /// The number of the slice that `now` is in.
    pub(crate) fn slice(self, now: Instant) -> i64 {
        let seconds = now.as_seconds();
        match (self.kind, self.span) {
            (WindowKind::Calendar, Span::Month) => {
                let (year, month, _) = date(now);
                year * 12 + month
            }
            (WindowKind::Calendar, span) => seconds.div_euclid(span.seconds()),
            (WindowKind::Rolling, _) => seconds.div_euclid(self.slice_seconds()),
        }
    }

    /// How many slices count, the one that is not over among them.
    pub(crate) fn counted(self) -> i64 {
        match self.kind {
            WindowKind::Calendar => 1,
            WindowKind::Rolling => SLICES + 1,
        }
    }

    /// Seconds until the slice of `now` is over, at least 1.
    pub(crate) fn slice_ends_in(self, now: Instant) -> i64 {
        let seconds = now.as_seconds();
        let left = match (self.kind, self.span) {
            (WindowKind::Calendar, Span::Month) => {
                let (year, month, day) = date(now);
                (days_in_month(year, month) - day + 1) * DAY - seconds.rem_euclid(DAY)
            }
            (WindowKind::Calendar, span) => span.seconds() - seconds.rem_euclid(span.seconds()),
            (WindowKind::Rolling, _) => {
                self.slice_seconds() - seconds.rem_euclid(self.slice_seconds())
            }
        };
        left.max(1)
    }

    /// How long a slice of a rolling window is.
    fn slice_seconds(self) -> i64 {
        self.span.seconds() / SLICES
    }
}

/// The window in words.
impl fmt::Display for Window {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            WindowKind::Calendar => write!(formatter, "a {} of the calendar", self.span.word()),
            WindowKind::Rolling => write!(formatter, "any {}", self.span.word()),
        }
    }
}

/// Year, month and day in UTC, as the instant's text has them.
fn date(now: Instant) -> (i64, i64, i64) {
    let text = now.text();
    let digits = |range: std::ops::Range<usize>| {
        text[range].iter().fold(0, |number, byte| number * 10 + i64::from(byte - b'0'))
    };
    (digits(0..4), digits(5..7), digits(8..10))
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// What was used, by slice, oldest first. Slices in which nothing was used are not there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Slices(VecDeque<(i64, u64)>);

impl Slices {
    /// From what was kept of them.
    pub(crate) fn of(mut kept: Vec<(i64, u64)>) -> Self {
        kept.sort_unstable();
        Self(kept.into())
    }

    /// What is to be kept of them.
    pub(crate) fn kept(&self) -> impl Iterator<Item = (i64, u64)> {
        self.0.iter().copied()
    }

    /// All that counts at `now`; what does not any more goes.
    pub(crate) fn total(&mut self, window: Window, now: Instant) -> u64 {
        let oldest = window.slice(now) - window.counted();
        while self.0.front().is_some_and(|(slice, _)| *slice <= oldest) {
            self.0.pop_front();
        }
        self.0.iter().map(|(_, used)| used).sum()
    }

    /// Adds to the slice of `now`. A clock that stepped back adds to the newest.
    pub(crate) fn add(&mut self, amount: u64, window: Window, now: Instant) {
        let slice = window.slice(now);
        match self.0.back_mut() {
            Some((newest, used)) if *newest >= slice => *used = used.saturating_add(amount),
            _ => self.0.push_back((slice, amount)),
        }
    }

    /// Whether nothing was used, or nothing of it is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|(_, used)| *used == 0)
    }

    /// Adds what was used elsewhere, slice by slice.
    pub(crate) fn merge(&mut self, other: &Self) {
        let mut by_slice: std::collections::BTreeMap<i64, u64> = self.kept().collect();
        for (slice, used) in other.kept() {
            let all = by_slice.entry(slice).or_default();
            *all = all.saturating_add(used);
        }
        self.0 = by_slice.into_iter().collect();
    }

    /// Forgets so much of what is oldest.
    pub(crate) fn forget_oldest(&mut self, mut amount: u64) {
        while let Some((_, used)) = self.0.front_mut()
            && amount > 0
        {
            let forgotten = amount.min(*used);
            *used -= forgotten;
            amount -= forgotten;
            if *used == 0 {
                self.0.pop_front();
            }
        }
    }

    /// Takes one back from the newest slice.
    pub(crate) fn take_back(&mut self) {
        if let Some((_, used)) = self.0.back_mut() {
            *used = used.saturating_sub(1);
        }
    }

    /// Seconds until some of what counts does not any more.
    pub(crate) fn less_in(&self, window: Window, now: Instant) -> i64 {
        let oldest = self.0.front().map_or(0, |(slice, _)| *slice);
        let slices = (oldest + window.counted() - 1 - window.slice(now)).max(0);
        match window.kind {
            WindowKind::Calendar => window.slice_ends_in(now),
            WindowKind::Rolling => window.slice_ends_in(now) + slices * window.slice_seconds(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Instant {
        text.parse().expect("an instant")
    }

    fn window(span: Span, kind: WindowKind) -> Window {
        Window { span, kind }
    }

    #[test]
    fn calendar_windows_end_where_the_calendar_has_it() {
        let now = at("2028-02-28T23:59:30Z");
        for (span, seconds) in [
            (Span::Minute, 30),
            (Span::Hour, 30),
            (Span::Day, 30),
            // A leap year: one day more.
            (Span::Month, 30 + DAY),
        ] {
            let window = window(span, WindowKind::Calendar);
            assert_eq!(window.slice_ends_in(now), seconds, "{span:?}");
            let later = Instant::from_micros(now.as_micros() + seconds * 1_000_000);
            let before = Instant::from_micros(later.as_micros() - 1);
            assert_eq!(window.slice(before), window.slice(now), "{span:?}");
            assert_eq!(window.slice(later), window.slice(now) + 1, "{span:?}");
        }
        let december = at("2026-12-31T12:00:00Z");
        let month = window(Span::Month, WindowKind::Calendar);
        assert_eq!(month.slice(at("2027-01-01T00:00:00Z")), month.slice(december) + 1);
    }

    // GW-041
    #[test]
    fn no_rolling_window_has_more_than_the_quota() {
        let window = window(Span::Minute, WindowKind::Rolling);
        let start = at("2026-05-01T10:00:00.5Z").as_micros();
        let (quota, mut slices) = (10, Slices::default());
        let mut admitted = Vec::new();
        for tenth in 0..3000_i64 {
            let now = Instant::from_micros(start + tenth * 100_000);
            if slices.total(window, now) < quota {
                slices.add(1, window, now);
                admitted.push(tenth);
            }
        }
        for first in &admitted {
            let within = admitted.iter().filter(|at| (*first..first + 600).contains(*at)).count();
            assert!(within <= 10, "{within} within the minute from {first}");
        }
        // And hardly less: each comes back after 61 s at most.
        assert!(admitted.len() >= 10 * 5 - 10, "{}", admitted.len());
    }

    #[test]
    fn what_a_rolling_window_says_comes_back_does_so() {
        let window = window(Span::Hour, WindowKind::Rolling);
        let now = at("2026-05-01T10:00:30Z");
        let mut slices = Slices::default();
        slices.add(5, window, now);
        let seconds = slices.less_in(window, now);
        let later = |by: i64| Instant::from_micros(now.as_micros() + by * 1_000_000);
        assert_eq!(slices.total(window, later(seconds - 1)), 5);
        assert_eq!(slices.total(window, later(seconds)), 0);
    }

    #[test]
    fn a_clock_that_steps_back_gives_nothing_back() {
        let window = window(Span::Day, WindowKind::Calendar);
        let mut slices = Slices::default();
        slices.add(3, window, at("2026-05-02T00:00:01Z"));
        slices.add(1, window, at("2026-05-01T23:59:59Z"));
        assert_eq!(slices.total(window, at("2026-05-02T00:00:02Z")), 4);
    }
}
