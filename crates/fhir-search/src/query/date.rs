//! What each prefix asks of two stretches of time (FHIR R4, 3.1.1.4.7 and 3.1.1.4.11).

use fhir_core::Instant;

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
    /// Of a date, as it is written. What `ap` takes for near enough depends on how far away from
    /// now the date is.
    #[must_use]
    pub fn new(prefix: Prefix, date: DateRange, now: Instant) -> Self {
        let range = match prefix {
            Prefix::Ap => widened(date, now.as_micros()),
            _ => date,
        };
        Self { prefix, range }
    }

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

/// A date with a tenth of its distance from now before and after it.
fn widened(date: DateRange, now: i64) -> DateRange {
    let distance = date.low().saturating_sub(now).max(now.saturating_sub(date.high())).max(0);
    let more = distance / 10;
    let (low, high) = (date.low().saturating_sub(more), date.high().saturating_add(more));
    DateRange::between(low, high).unwrap_or(date)
}

#[cfg(test)]
mod tests {
    use super::DateTest;
    use crate::{DateRange, Prefix, Zone};
    use fhir_core::Instant;

    fn range(text: &str) -> DateRange {
        DateRange::parse(text, Zone::UTC).unwrap()
    }

    fn test(text: &str, now: &str) -> DateTest {
        let (prefix, date) = Prefix::split(text);
        DateTest::new(prefix, range(date), now.parse().unwrap())
    }

    /// Whether each date searched for is found in the date that is stored.
    fn check(stored: DateRange, found: &[&str], not_found: &[&str]) {
        let holds = |text: &str| test(text, "2020-01-01T00:00:00Z").holds(stored);
        for text in found {
            assert!(holds(text), "{text} {stored:?}");
        }
        for text in not_found {
            assert!(!holds(text), "{text} {stored:?}");
        }
    }

    #[test]
    fn a_date_is_equal_when_it_lies_within_what_is_searched_for() {
        // SRCH-062, SRCH-063, SRCH-074
        let time = range("2013-01-14T10:00:00Z");
        check(time, &["2013-01-14", "2013", "ne2013-01-15"], &["ne2013-01-14", "2013-01-15"]);
        check(range("2013-01"), &["2013-01", "ne2013-01-14"], &["2013-01-14"]);
        let instant = DateRange::parse_instant("2013-01-14T10:00:00.123Z", Zone::UTC).unwrap();
        check(instant, &["2013-01-14T10:00:00Z", "le2013-01-14"], &["2013-01-14T10:00:01Z"]);
    }

    #[test]
    fn a_date_is_greater_or_less_when_some_of_it_reaches_beyond() {
        // SRCH-064, SRCH-065
        let day = range("2013-01-14");
        check(day, &["lt2013-01-14T10:00Z", "gt2013-01-14T10:00Z"], &["gt2013-01-14"]);
        check(range("2013-01-14T10:00:00Z"), &["ge2013-01-14", "le2013-01-14"], &["gt2013-01-14"]);
        check(range("2013-03-14"), &["ge2013-03-14", "ge2013-03", "le2013"], &["lt2013-03-14"]);
    }

    #[test]
    fn a_date_starts_after_or_ends_before_as_a_whole() {
        // SRCH-066, SRCH-068
        let from = |low: &str| DateRange::between(range(low).low(), DateRange::END).unwrap();
        check(from("2013-03-14T12:00:00Z"), &["gt2013-03-14", "gt9999"], &["sa2013-03-14", "9999"]);
        check(from("2013-03-15"), &["sa2013-03-14"], &["eb2014", "eq2013"]);
        check(range("2012"), &["eb2013"], &["sa2013", "eb2012-06"]);
    }

    #[test]
    fn a_date_is_near_when_it_overlaps_a_tenth_of_the_distance_to_now() {
        // SRCH-067
        let now = "2020-01-01T00:00:00Z";
        let near = |text: &str, stored: &str| test(text, now).holds(range(stored));
        // Ten years ago, so a year to both sides.
        assert!(near("ap2009", "2008-02") && near("ap2009", "2010-12"));
        assert!(!near("ap2009", "2007") && !near("ap2009", "2011-02"));
        // Today is what it is.
        assert!(!near("ap2020-01-01", "2019-12-31"));
        let far = DateRange::between(i64::MIN, i64::MAX).unwrap();
        let all = DateTest::new(Prefix::Ap, far, Instant::from_micros(0));
        assert!(all.holds(range("0001")) && all.holds(range("9999")));
    }
}
