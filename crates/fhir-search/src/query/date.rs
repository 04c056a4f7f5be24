//! Dates: intervals of time, and what each prefix asks of two (FHIR R4, 3.1.1.4.7 and 3.1.1.4.11).

use super::Prefix;

/// A zone by its distance from UTC, in minutes to the east.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offset(pub i16);

/// A stretch of time: from `low`, and up to `high` but not including it, in microseconds since
/// 1970 in UTC. A point in time is one microsecond long. `i64::MIN` and `i64::MAX` stand for no
/// bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Interval {
    /// The first microsecond.
    pub low: i64,
    /// The first microsecond after it.
    pub high: i64,
}

impl Interval {
    /// Whether the other lies within it.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.low <= other.low && other.high <= self.high
    }

    /// Whether the two have a microsecond in common.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.low < other.high && other.low < self.high
    }
}

/// What is asked of a date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DateTest {
    /// How it is compared.
    pub prefix: Prefix,
    /// What the value searched for says: a year, a day, a second. With `ap` it is widened
    /// already, by a tenth of its distance from now.
    pub interval: Interval,
}

impl DateTest {
    /// Whether it holds of what a value of a resource says.
    #[must_use]
    pub fn holds(self, value: Interval) -> bool {
        let within = self.interval.contains(value);
        // Some part of it, not necessarily all, lies beyond what is searched for.
        let reaches_above = value.high > self.interval.high;
        let reaches_below = value.low < self.interval.low;
        match self.prefix {
            Prefix::Eq => within,
            Prefix::Ne => !within,
            Prefix::Gt => reaches_above,
            Prefix::Lt => reaches_below,
            Prefix::Ge => within || reaches_above,
            Prefix::Le => within || reaches_below,
            Prefix::Sa => value.low >= self.interval.high,
            Prefix::Eb => value.high <= self.interval.low,
            Prefix::Ap | Prefix::Po => self.interval.overlaps(value),
        }
    }
}
