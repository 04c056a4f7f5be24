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
    /// Reads a number. Its digits say how exact it is: `100` is from 99.5 to 100.5. One with an
    /// exponent and no point is read as if `.0` stood there, so `1e2` is from 95 to 105, as the
    /// specification has it. None for what is no number or has more than 38 digits.
    #[must_use]
    pub fn parse(prefix: Prefix, text: &str) -> Option<Self> {
        let value = Decimal::parse(text)?;
        let mut around = half_of_last_digit(text)?;
        if prefix == Prefix::Ap {
            let tenth = value.abs().multiply(Decimal::from_parts(1, 1)?)?;
            around = around.max(tenth);
        }
        let (low, high) = (value.subtract(around)?, value.add(around)?);
        Some(Self { prefix, value, low, high })
    }

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

/// Half of what a one in the last digit of a number stands for.
fn half_of_last_digit(text: &str) -> Option<Decimal> {
    let (digits, exponent) = match text.split_once(['e', 'E']) {
        Some((digits, exponent)) => (digits, Some(exponent.parse::<i32>().ok()?)),
        None => (text, None),
    };
    let places = match digits.split_once('.') {
        Some((_, fraction)) => i32::try_from(fraction.len()).ok()?,
        None => i32::from(exponent.is_some()),
    };
    let places = places.checked_sub(exponent.unwrap_or(0))?.checked_add(1)?;
    match u32::try_from(places) {
        Ok(places) => Decimal::from_parts(5, places),
        Err(_) => {
            let ten = 10_i128.checked_pow(places.unsigned_abs())?;
            Decimal::from_parts(ten.checked_mul(5)?, 0)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Bound::{Excluded, Included, Unbounded};

    use fhirpath::Decimal;

    use super::NumberTest;
    use crate::{NumberRange, Prefix};

    fn decimal(text: &str) -> Decimal {
        Decimal::parse(text).unwrap()
    }

    fn test(text: &str) -> NumberTest {
        let (prefix, number) = Prefix::split(text);
        NumberTest::parse(prefix, number).unwrap()
    }

    fn check(text: &str, found: &[&str], not_found: &[&str]) {
        let holds = |stored: &str| test(text).holds(NumberRange::point(decimal(stored)));
        for stored in found {
            assert!(holds(stored), "{text} {stored}");
        }
        for stored in not_found {
            assert!(!holds(stored), "{text} {stored}");
        }
    }

    #[test]
    fn the_digits_of_a_number_say_how_exact_it_is() {
        // SRCH-050, SRCH-051, SRCH-056, SRCH-136
        check("100", &["99.5", "100.49"], &["99.49", "100.5"]);
        check("ne100", &["99.49", "100.5"], &["99.5", "100.49"]);
        check("100.00", &["99.995", "100.004"], &["99.99", "100.005"]);
        check("1e2", &["95", "104.9"], &["94.9", "105"]);
        check("5.40e-3", &["0.005395", "0.0054049"], &["0.00539", "0.005405"]);
    }

    #[test]
    fn greater_and_less_go_by_the_number_itself() {
        // SRCH-052
        check("gt100", &["100.0001"], &["100", "99.9"]);
        check("ge100", &["100", "100.0001"], &["99.9"]);
        check("lt100", &["99.9999"], &["100", "100.1"]);
        check("le100", &["100", "99.9"], &["100.1"]);
        check("gt70", &["71"], &["70"]);
    }

    #[test]
    fn near_enough_is_a_tenth_or_what_the_digits_say() {
        // SRCH-054
        check("ap100", &["90", "110"], &["89.9", "110.1"]);
        check("ap-100", &["-90", "-110"], &["-89", "-111"]);
        check("ap1", &["0.5", "1.5"], &["0.4", "1.6"]);
    }

    #[test]
    fn numbers_are_read_as_they_are_written() {
        // SRCH-055, SRCH-057
        check("0.1", &["0.1", "0.05"], &["0.15", "0.04"]);
        check("0.10", &["0.10", "0.104"], &["0.105", "0.094"]);
        check("1e-7", &["0.0000001"], &["0.0000002", "0"]);
        check("-007", &["-7", "-7.5"], &["7", "-6.5"]);
        check("+5", &["5"], &["6"]);
        check("2", &["2"], &["1", "3"]);
        check("2.5", &[], &["2", "3"]);
        for none in ["", "abc", "1.", ".5", "1e", "1e99", "--1", " 1", "1e-2147483648"] {
            assert_eq!(NumberTest::parse(Prefix::Eq, none), None, "{none}");
        }
    }

    #[test]
    fn a_range_is_compared_by_its_ends() {
        // SRCH-053, SRCH-133, SRCH-134
        let check = |low, high, found: &[&str], not_found: &[&str]| {
            let range = NumberRange::between(low, high).unwrap();
            for text in found {
                assert!(test(text).holds(range), "{text} {range:?}");
            }
            for text in not_found {
                assert!(!test(text).holds(range), "{text} {range:?}");
            }
        };
        let number = |text| Included(decimal(text));
        check(
            number("2"),
            number("3"),
            &["gt2.5", "lt2.5", "ge3", "le2", "sa1", "eb4", "ap3", "ne2.5"],
            &["gt3", "lt2", "sa2", "eb3", "2.5", "ge3.1"],
        );
        let below_five = || (Unbounded, Excluded(decimal("5")));
        let (low, high) = below_five();
        check(
            low,
            high,
            &["lt10", "lt1", "gt4.9", "le5", "eb5"],
            &["gt5", "ge5", "sa1", "eb4", "3"],
        );
        check(Excluded(decimal("5")), Unbounded, &["gt10", "ge5", "sa5"], &["lt5", "le5", "sa6"]);
    }
}
