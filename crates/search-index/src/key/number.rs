//! Numbers: single ones by size, then ranges in no order, which are few.

use fhir_search::{NumberRange, NumberTest, Prefix};

use super::{KeyRange, Reader, Writer};

const POINT: u8 = 0;
const RANGE: u8 = 1;

/// Adds a range of numbers to a key. Rounding to a floating point number keeps the order, and the
/// digits follow.
pub(crate) fn number_key(writer: Writer, range: &NumberRange) -> Writer {
    match range.as_point() {
        Some(number) => writer.byte(POINT).float(number.to_f64()).decimal(number),
        None => writer.byte(RANGE).ends(range),
    }
}

/// The numbers of a key.
pub(crate) fn read_number(reader: &mut Reader<'_>) -> Option<NumberRange> {
    if reader.byte()? == RANGE {
        return reader.ends();
    }
    reader.bytes(8)?;
    reader.decimal().map(NumberRange::point)
}

/// Where the numbers are of which a test may hold, in keys that begin with `prefix`.
pub(crate) fn number_ranges(prefix: &[u8], test: &NumberTest) -> Vec<KeyRange> {
    let key = |byte| Writer::default().bytes(prefix).byte(byte);
    let (value, low, high) = (test.value.to_f64(), test.low.to_f64(), test.high.to_f64());
    // Numbers that are rounded to the same one may lie on either side.
    let rounded_to = |number| KeyRange::prefix(key(POINT).float(number).finish());
    let from = |number| crate::part::after_prefix(&key(POINT).float(number).finish());
    let all = KeyRange::prefix(key(POINT).finish());
    let mut ranges = match test.prefix {
        Prefix::Eq | Prefix::Ap | Prefix::Po if low < high => {
            let below = Some(key(POINT).float(high).finish());
            let between = from(low).map(|first| KeyRange::between(first, below).sure());
            [rounded_to(low), rounded_to(high)].into_iter().chain(between).collect()
        }
        Prefix::Eq | Prefix::Ap | Prefix::Po => vec![rounded_to(low)],
        Prefix::Ne => vec![all],
        Prefix::Gt | Prefix::Ge | Prefix::Sa => {
            let above = from(value).map(|first| KeyRange::between(first, all.high).sure());
            [rounded_to(value)].into_iter().chain(above).collect()
        }
        Prefix::Lt | Prefix::Le | Prefix::Eb => {
            let below = Some(key(POINT).float(value).finish());
            vec![KeyRange::between(all.low, below).sure(), rounded_to(value)]
        }
    };
    ranges.push(KeyRange::prefix(key(RANGE).finish()));
    ranges
}

#[cfg(test)]
mod tests {
    use super::{number_key, number_ranges, read_number};
    use crate::key::{Reader, Writer};
    use fhir_search::{Decimal, NumberRange, NumberTest, Prefix};
    use proptest::prelude::*;
    use std::ops::Bound;

    fn decimal() -> impl Strategy<Value = Decimal> {
        let digits = prop_oneof![-50_i128..50, -10_i128.pow(20)..10_i128.pow(20)];
        (digits, 0_u32..20)
            .prop_map(|(digits, places)| Decimal::from_parts(digits, places).unwrap())
    }

    fn range() -> impl Strategy<Value = NumberRange> {
        prop_oneof![
            decimal().prop_map(NumberRange::point),
            decimal().prop_map(|it| {
                NumberRange::between(Bound::Unbounded, Bound::Excluded(it)).unwrap()
            }),
            (decimal(), decimal()).prop_map(|(one, other)| {
                let (low, high) = (one.min(other), one.max(other));
                NumberRange::between(Bound::Included(low), Bound::Included(high)).unwrap()
            }),
        ]
    }

    proptest! {
        #[test]
        fn every_number_of_which_a_test_holds_is_in_its_ranges(
            stored in range(),
            (one, other, value) in (decimal(), decimal(), decimal()),
        ) {
            let key = number_key(Writer::default().byte(9), &stored).finish();
            let mut reader = Reader::new(&key);
            reader.byte();
            prop_assert_eq!(read_number(&mut reader), Some(stored));
            for prefix in [
                Prefix::Eq, Prefix::Ne, Prefix::Gt, Prefix::Lt, Prefix::Ge, Prefix::Le,
                Prefix::Sa, Prefix::Eb, Prefix::Ap, Prefix::Po,
            ] {
                let test = NumberTest { prefix, value, low: one.min(other), high: one.max(other) };
                let found = number_ranges(&[9], &test).into_iter().find(|range| range.has(&key));
                prop_assert!(found.is_some() || !test.holds(stored), "{:?}", prefix);
                let is_sure = found.is_some_and(|range| range.is_sure);
                prop_assert!(!is_sure || test.holds(stored), "{:?}", prefix);
            }
        }
    }
}
