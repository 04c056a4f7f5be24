//! Dates: by how long they are, then by when they begin.
//!
//! Whether something reaches beyond a moment is a question about its end. Of stretches that are
//! about equally long the end is known well enough from the beginning, so that one order serves
//! every prefix, and a year's and an instant's values do not stand in each other's way.

use fhir_search::{DateRange, DateTest, Prefix};

use super::{KeyRange, Reader, Writer};

/// Stretches of one class are shorter than 64 times the shortest of them.
const BITS_PER_CLASS: u32 = 6;
const CLASSES: u8 = 11;
const NO_START: u8 = CLASSES;
const NO_END: u8 = CLASSES + 1;

fn class(range: DateRange) -> u8 {
    if range.low() == DateRange::BEGINNING {
        return NO_START;
    }
    if range.high() == DateRange::END {
        return NO_END;
    }
    let bits = range.high().abs_diff(range.low()).max(1).ilog2();
    u8::try_from(bits / BITS_PER_CLASS).unwrap_or(CLASSES - 1).min(CLASSES - 1)
}

/// What every stretch of a class is shorter than; `None` where there is no limit.
fn width(class: u8) -> Option<i64> {
    let bits = (u32::from(class) + 1) * BITS_PER_CLASS;
    (class < CLASSES && bits < 63).then(|| 1 << bits)
}

/// The key of a date.
pub(crate) fn date_key(range: DateRange) -> Vec<u8> {
    let writer = Writer::default().byte(class(range));
    writer.integer(range.low()).integer(range.high()).finish()
}

/// The date of a key.
pub(crate) fn read_date(reader: &mut Reader<'_>) -> Option<DateRange> {
    reader.byte()?;
    DateRange::between(reader.integer()?, reader.integer()?)
}

/// Where the dates are of which a test may hold.
pub(crate) fn date_ranges(test: &DateTest) -> Vec<KeyRange> {
    let (low, high) = (test.range.low(), test.range.high());
    let ranges = (0..=NO_END).map(|class| {
        // The earliest beginning of what may end after a moment.
        let reaching = |moment: i64| match width(class) {
            Some(width) => moment.saturating_sub(width),
            None => i64::MIN,
        };
        let (from, to) = match test.prefix {
            Prefix::Eq => (low, high),
            Prefix::Ne => (i64::MIN, i64::MAX),
            Prefix::Gt => (reaching(high), i64::MAX),
            Prefix::Ge => (reaching(high).min(low), i64::MAX),
            Prefix::Lt | Prefix::Eb => (i64::MIN, low),
            Prefix::Le => (i64::MIN, high),
            Prefix::Sa => (high, i64::MAX),
            Prefix::Ap | Prefix::Po => (reaching(low), high),
        };
        let (from, to) = if class == NO_START { (i64::MIN, i64::MAX) } else { (from, to) };
        let end = Writer::default().byte(class).integer(to).finish();
        KeyRange {
            low: Writer::default().byte(class).integer(from).finish(),
            // All that begin at the last moment too.
            high: crate::part::after_prefix(&end),
        }
    });
    ranges.collect()
}

#[cfg(test)]
mod tests {
    use super::{date_key, date_ranges, read_date};
    use crate::key::Reader;
    use fhir_search::{DateRange, DateTest, Prefix};
    use proptest::prelude::*;

    fn range() -> impl Strategy<Value = DateRange> {
        let moment = prop_oneof![
            Just(DateRange::BEGINNING),
            Just(DateRange::END),
            -40_i64..40,
            -4_000_000_i64..4_000_000,
        ];
        (moment.clone(), moment).prop_filter_map("something between", |(low, high)| {
            DateRange::between(low.min(high), low.max(high))
        })
    }

    proptest! {
        #[test]
        fn every_date_of_which_a_test_holds_is_in_its_ranges(value in range(), asked in range()) {
            let key = date_key(value);
            prop_assert_eq!(read_date(&mut Reader::new(&key)), Some(value));
            for prefix in [
                Prefix::Eq, Prefix::Ne, Prefix::Gt, Prefix::Lt, Prefix::Ge, Prefix::Le,
                Prefix::Sa, Prefix::Eb, Prefix::Ap, Prefix::Po,
            ] {
                let test = DateTest { prefix, range: asked };
                let found = date_ranges(&test).iter().any(|range| {
                    range.low <= key && range.high.as_ref().is_none_or(|high| key < *high)
                });
                prop_assert!(found || !test.holds(value), "{:?}", prefix);
            }
        }
    }
}
