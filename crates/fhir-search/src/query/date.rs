//! What each prefix asks of two stretches of time (FHIR R4, 3.1.1.4.7 and 3.1.1.4.11).

use super::Prefix;
use crate::DateRange;

/// What is asked of a date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DateTest {
    /// How it is compared.
    pub prefix: Prefix,
    /// What the value searched for says: a year, a day, a second. With `ap` it is widened
    /// already, by a tenth of its distance from now.
    pub range: DateRange,
}

impl DateTest {
    /// Whether it holds of what a value of a resource says.
    ///
    /// `eq` and `ne`: all of it lies within what is searched for, or not. `gt` and `lt`: some of
    /// it, not necessarily all, lies after or before that; `ge` and `le` likewise, or all of it
    /// within. `sa` and `eb`: all of it lies after or before. `ap` and `po`: they overlap.
    #[must_use]
    pub fn holds(&self, value: DateRange) -> bool {
        let (low, high) = (self.range.low(), self.range.high());
        let within = low <= value.low() && value.high() <= high;
        let reaches_above = value.high() > high;
        let reaches_below = value.low() < low;
        match self.prefix {
            Prefix::Eq => within,
            Prefix::Ne => !within,
            Prefix::Gt => reaches_above,
            Prefix::Lt => reaches_below,
            Prefix::Ge => within || reaches_above,
            Prefix::Le => within || reaches_below,
            Prefix::Sa => value.low() >= high,
            Prefix::Eb => value.high() <= low,
            Prefix::Ap | Prefix::Po => low < value.high() && value.low() < high,
        }
    }
}
