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
    let mut ranges = Vec::new();
    for class in 0..=NO_END {
        let width = width(class);
        // The earliest beginning of what may end after a moment.
        let reaching = |moment: i64| width.map_or(i64::MIN, |width| moment.saturating_sub(width));
        let ending = |moment: i64| width.and_then(|width| moment.checked_sub(width));
        // Where they may begin, and where it holds of each that begins there.
        let (may, does) = match test.prefix {
            Prefix::Eq => ((low, high), ending(high).map(|last| (low, last))),
            Prefix::Ne => ((i64::MIN, i64::MAX), None),
            Prefix::Gt => {
                ((reaching(high), i64::MAX), high.checked_add(1).map(|first| (first, i64::MAX)))
            }
            Prefix::Ge => ((reaching(high).min(low), i64::MAX), Some((low, i64::MAX))),
            Prefix::Lt => ((i64::MIN, low), low.checked_sub(1).map(|last| (i64::MIN, last))),
            Prefix::Le => ((i64::MIN, high), low.checked_sub(1).map(|last| (i64::MIN, last))),
            Prefix::Sa => ((high, i64::MAX), Some((high, i64::MAX))),
            Prefix::Eb => ((i64::MIN, low), ending(low).map(|last| (i64::MIN, last))),
            Prefix::Ap | Prefix::Po => ((reaching(low), high), None),
        };
        let key = |moment: i64| Writer::default().byte(class).integer(moment).finish();
        let mut push = |from: i64, to: i64, is_sure: bool| {
            if from <= to {
                // All that begin at the last moment too.
                let range = KeyRange::between(key(from), crate::part::after_prefix(&key(to)));
                ranges.push(KeyRange { is_sure, ..range });
            }
        };
        let (from, to) = if class == NO_START { (i64::MIN, i64::MAX) } else { may };
        match does.filter(|(first, last)| class != NO_START && first <= last) {
            None => push(from, to, false),
            Some((first, last)) => {
                let (first, last) = (first.max(from), last.min(to));
                if let Some(before) = first.checked_sub(1) {
                    push(from, before, false);
                }
                push(first, last, true);
                if let Some(after) = last.checked_add(1) {
                    push(after, to, false);
                }
            }
        }
    }
    ranges
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
                let found = date_ranges(&test).into_iter().find(|range| range.has(&key));
                prop_assert!(found.is_some() || !test.holds(value), "{:?}", prefix);
                let is_sure = found.is_some_and(|range| range.is_sure);
                prop_assert!(!is_sure || test.holds(value), "{:?}", prefix);
            }
        }
    }
}
