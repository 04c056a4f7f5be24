//! Numbers, exact to the digit, and what each prefix asks of one (FHIR R4, 3.1.1.4.7 and
//! 3.1.1.4.10).

use std::ops::Bound;

use fhirpath::Decimal;

use super::Prefix;
use crate::NumberRange;

/// What is asked of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NumberTest {
    /// How it is compared.
    pub prefix: Prefix,
    /// The number searched for.
    pub value: Decimal,
    /// The least that its digits may stand for, or with `ap` that is near enough: 99.5 for `100`.
    pub low: Decimal,
    /// What it must stay below, or with `ap` may still be: 100.5 for `100`.
    pub high: Decimal,
}

impl NumberTest {
    /// Whether it holds of what a value of a resource says.
    ///
    /// `eq` and `ne` go by the digits: all of it lies within what they may stand for, or not. `gt`,
    /// `lt`, `ge` and `le` go by the number itself: some of it lies there. `sa` and `eb`: all of it
    /// lies there. `ap`: some of it is near enough.
    #[must_use]
    pub fn holds(&self, value: NumberRange) -> bool {
        let (low, high) = (value.low(), value.high());
        let within = || starts_from(low, self.low) && ends_before(high, self.high);
        match self.prefix {
            Prefix::Eq => within(),
            Prefix::Ne => !within(),
            Prefix::Gt => match high {
                Bound::Unbounded => true,
                Bound::Included(high) | Bound::Excluded(high) => high > self.value,
            },
            Prefix::Ge => reaches_up_to(high, self.value),
            Prefix::Lt => match low {
                Bound::Unbounded => true,
                Bound::Included(low) | Bound::Excluded(low) => low < self.value,
            },
            Prefix::Le => reaches_down_to(low, self.value),
            Prefix::Sa => match low {
                Bound::Unbounded => false,
                Bound::Included(low) => low > self.value,
                Bound::Excluded(low) => low >= self.value,
            },
            Prefix::Eb => ends_before(high, self.value),
            Prefix::Ap => reaches_up_to(high, self.low) && reaches_down_to(low, self.high),
            Prefix::Po => reaches_up_to(high, self.low) && !starts_from(low, self.high),
        }
    }
}

/// Whether nothing lies below `number`.
fn starts_from(low: Bound<Decimal>, number: Decimal) -> bool {
    match low {
        Bound::Unbounded => false,
        Bound::Included(low) | Bound::Excluded(low) => low >= number,
    }
}

/// Whether everything lies below `number`.
fn ends_before(high: Bound<Decimal>, number: Decimal) -> bool {
    match high {
        Bound::Unbounded => false,
        Bound::Included(high) => high < number,
        Bound::Excluded(high) => high <= number,
    }
}

/// Whether something is `number` or above it.
fn reaches_up_to(high: Bound<Decimal>, number: Decimal) -> bool {
    match high {
        Bound::Unbounded => true,
        Bound::Included(high) => high >= number,
        Bound::Excluded(high) => high > number,
    }
}

/// Whether something is `number` or below it.
fn reaches_down_to(low: Bound<Decimal>, number: Decimal) -> bool {
    match low {
        Bound::Unbounded => true,
        Bound::Included(low) => low <= number,
        Bound::Excluded(low) => low < number,
    }
}
