//! Ranges of exact numbers.

use std::cmp::Ordering;
use std::ops::Bound;

use fhirpath::Decimal;

/// The numbers from one to another; a single number, as most are, from it to itself.
///
/// `<5` is everything below 5 without it: its end is excluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NumberRange {
    low: Bound<Decimal>,
    high: Bound<Decimal>,
}

impl NumberRange {
    /// One number.
    #[must_use]
    pub fn point(number: Decimal) -> Self {
        Self { low: Bound::Included(number), high: Bound::Included(number) }
    }

    /// From `low` to `high`; `None` when nothing is between them, and when neither is given.
    #[must_use]
    pub fn between(low: Bound<Decimal>, high: Bound<Decimal>) -> Option<Self> {
        let holds_something = match (low, high) {
            (Bound::Unbounded, Bound::Unbounded) => false,
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => true,
            (Bound::Included(low), Bound::Included(high)) => low <= high,
            (
                Bound::Included(low) | Bound::Excluded(low),
                Bound::Included(high) | Bound::Excluded(high),
            ) => low < high,
        };
        holds_something.then_some(Self { low, high })
    }

    /// Where it begins.
    #[must_use]
    pub fn low(&self) -> Bound<Decimal> {
        self.low
    }

    /// Where it ends.
    #[must_use]
    pub fn high(&self) -> Bound<Decimal> {
        self.high
    }

    /// The number, where it is a single one.
    #[must_use]
    pub fn as_point(&self) -> Option<Decimal> {
        match (self.low, self.high) {
            (Bound::Included(low), Bound::Included(high)) if low.cmp(&high) == Ordering::Equal => {
                Some(low)
            }
            _ => None,
        }
    }

    /// The same with each end converted; `None` when one cannot be.
    #[must_use]
    pub fn map(&self, convert: impl Fn(Decimal) -> Option<Decimal>) -> Option<Self> {
        let end = |bound| {
            Some(match bound {
                Bound::Unbounded => Bound::Unbounded,
                Bound::Included(number) => Bound::Included(convert(number)?),
                Bound::Excluded(number) => Bound::Excluded(convert(number)?),
            })
        };
        Some(Self { low: end(self.low)?, high: end(self.high)? })
    }
}
