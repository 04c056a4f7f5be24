//! Units in the base units of UCUM (UCUM 18), so that quantities in different units of one
//! dimension compare by their numbers.

use std::sync::Arc;

use octofhir_ucum::{Number, get_canonical_units};

use crate::decimal::Decimal;
use crate::quantity::{LONGEST_CODE, to_number};

/// What a unit is in base units: `unit` times a factor, of a temperature also moved by an offset.
#[derive(Clone, Debug)]
pub struct CanonicalUnit {
    unit: Arc<str>,
    factor: Number,
    /// The factor again, of a unit that needs no more than it, where it has few enough digits.
    exact: Option<Decimal>,
    offset: Number,
}

impl CanonicalUnit {
    /// Of a code of UCUM. `None` for what is no code of UCUM, and for units on a scale that no
    /// factor converts, such as pH.
    #[must_use]
    pub fn of(code: &str) -> Option<Self> {
        if code.len() > LONGEST_CODE {
            return None;
        }
        let canonical = get_canonical_units(code).ok()?;
        let exact = exactly(canonical.factor).filter(|_| canonical.offset.is_zero());
        Some(Self {
            unit: canonical.unit.as_str().into(),
            factor: canonical.factor,
            exact,
            offset: canonical.offset,
        })
    }

    /// The base units, such as `g.m-3`; the same for every unit of one dimension.
    #[must_use]
    pub fn unit(&self) -> &Arc<str> {
        &self.unit
    }

    /// So many of this unit in base units, exactly or to 24 digits. `None` for a number that is
    /// too large or has too many digits.
    #[must_use]
    pub fn convert(&self, value: Decimal) -> Option<Decimal> {
        if let Some(product) = self.exact.and_then(|factor| value.multiply(factor)) {
            return Some(product);
        }
        let product = to_number(value)?.checked_mul(self.factor)?;
        nearest(if self.offset.is_zero() { product } else { product.checked_add(self.offset)? })
    }
}

/// Places behind the point that a decimal has at most.
const MOST_PLACES: u32 = 38;

fn exactly(number: Number) -> Option<Decimal> {
    let (_, exponent) = number.to_integer_and_exponent();
    let has_places = i64::from(exponent) >= -i64::from(MOST_PLACES);
    has_places.then(|| placed(number)).flatten()
}

/// Digits of what is not exact. The factors have 28; the last of these are rounded away, so that
/// what is the same is the same, whichever unit it comes from.
const DIGITS: u32 = 24;

/// To so many digits.
fn nearest(number: Number) -> Option<Decimal> {
    let (digits, exponent) = number.to_integer_and_exponent();
    let given = digits.unsigned_abs().checked_ilog10().map_or(1, |power| power + 1);
    let surplus = given.saturating_sub(DIGITS);
    let digits = Decimal::from_parts(digits, surplus)?.rounded_to(0).digits();
    at(digits, exponent.checked_add(i32::try_from(surplus).ok()?)?)
}

fn placed(number: Number) -> Option<Decimal> {
    let (digits, exponent) = number.to_integer_and_exponent();
    at(digits, exponent)
}

/// Digits times a power of ten, without the last where they stand behind more places than a decimal
/// has.
fn at(digits: i128, exponent: i32) -> Option<Decimal> {
    match u32::try_from(exponent) {
        Ok(zeros) => Decimal::from_parts(digits.checked_mul(10_i128.checked_pow(zeros)?)?, 0),
        Err(_) => {
            let places = exponent.unsigned_abs();
            let beyond = places.saturating_sub(MOST_PLACES);
            let digits = digits / 10_i128.checked_pow(beyond)?;
            Decimal::from_parts(digits, places - beyond)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::CanonicalUnit;
    use crate::decimal::Decimal;

    fn canonical(value: &str, code: &str) -> Option<(String, String)> {
        let unit = CanonicalUnit::of(code)?;
        let value = unit.convert(Decimal::parse(value)?)?;
        Some((value.normalized().to_string(), unit.unit().to_string()))
    }

    #[test]
    fn units_of_one_dimension_meet_in_one_unit() {
        // SRCH-132
        for (one, other) in [
            (("5.4", "g"), ("5400", "mg")),
            (("5", "mmol/L"), ("5", "mol/m3")),
            (("37", "Cel"), ("310.15", "K")),
            (("37", "Cel"), ("98.6", "[degF]")),
            (("7.2", "10*3/uL"), ("7.2", "10*9/L")),
            (("120", "mm[Hg]"), ("12", "cm[Hg]")),
            (("40", "U/L"), ("0.04", "kU/L")),
            (("3", "[IU]/mL"), ("3000", "[IU]/L")),
        ] {
            let (one, other) = (canonical(one.0, one.1), canonical(other.0, other.1));
            assert!(one.is_some() && one == other, "{one:?} {other:?}");
        }
        assert_ne!(canonical("1", "g").unwrap().1, canonical("1", "m").unwrap().1);
    }

    #[test]
    fn what_no_factor_converts_has_no_base_unit() {
        for code in ["[pH]", "B", "no-unit", "", &"m.".repeat(200)] {
            assert!(CanonicalUnit::of(code).is_none(), "{code}");
        }
        assert_eq!(canonical("99999999999999999999999999999999999999", "Ym"), None);
        assert!(canonical("0.00000000000000000001", "yg").is_some());
    }
}
