//! Quantities: comparing and converting by UCUM, and durations by the calendar (N1 4.1.8, 6.1,
//! 6.6). A year and a month of the calendar have no definite length: they compare with each
//! other and with nothing else.

use std::cmp::Ordering;
use std::fmt;

use octofhir_ucum::{EvalResult, Number, evaluate, parse_expression};

use crate::calendar::CalendarUnit;
use crate::decimal::Decimal;

/// A number with a unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantity {
    /// How many.
    pub value: Decimal,
    /// Of what.
    pub unit: Unit,
}

/// What a quantity counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A duration by the calendar.
    Calendar(CalendarUnit),
    /// A UCUM code, which need not be a valid one. `1` for a plain number.
    Ucum(Box<str>),
    /// Something else, with its system and code.
    Other(Box<str>, Box<str>),
}

impl Unit {
    /// A unit in quotes: a UCUM code. A keyword of the calendar is taken as that.
    #[must_use]
    pub fn from_code(code: &str) -> Self {
        match CalendarUnit::from_keyword(code) {
            Some(unit) => Self::Calendar(unit),
            None => Self::Ucum(code.into()),
        }
    }

    /// The calendar's unit of the same length.
    pub(crate) fn calendar(&self) -> Option<CalendarUnit> {
        match self {
            Self::Calendar(unit) => Some(*unit),
            Self::Ucum(code) => CalendarUnit::from_ucum(code),
            Self::Other(..) => None,
        }
    }

    /// The code in UCUM of exactly this unit.
    fn ucum(&self) -> Option<&str> {
        match self {
            Self::Calendar(unit) => unit.ucum(),
            Self::Ucum(code) => Some(code),
            Self::Other(..) => None,
        }
    }

    /// Steps that finding out what it means is worth.
    pub(crate) fn cost(&self) -> u64 {
        match self {
            Self::Calendar(_) => 0,
            Self::Ucum(code) => code.len().min(LONGEST_CODE) as u64,
            Self::Other(system, code) => (system.len() + code.len()) as u64 / 64,
        }
    }

    /// The code in UCUM, a year and a month of the calendar being means.
    fn nearest_ucum(&self) -> Option<&str> {
        match self {
            Self::Calendar(CalendarUnit::Year) => Some("a"),
            Self::Calendar(CalendarUnit::Month) => Some("mo"),
            _ => self.ucum(),
        }
    }
}

/// Bytes of a code in UCUM that is looked into. A longer one is none.
pub(crate) const LONGEST_CODE: usize = 256;

fn meaning(code: &str) -> Option<EvalResult> {
    if code.len() > LONGEST_CODE {
        return None;
    }
    evaluate(&parse_expression(code).ok()?).ok()
}

pub(crate) fn to_number(decimal: Decimal) -> Option<Number> {
    match (i64::try_from(decimal.digits()), i32::try_from(decimal.places())) {
        (Ok(digits), Ok(places)) => {
            Number::from_i64(digits).checked_mul(Number::power_of_ten(-places))
        }
        _ => Number::parse(&decimal.to_string()),
    }
}

fn to_decimal(number: Number) -> Option<Decimal> {
    let (digits, exponent) = number.to_integer_and_exponent();
    match u32::try_from(-i64::from(exponent)) {
        Ok(places) => Decimal::from_parts(digits, places),
        Err(_) => {
            let factor = 10_i128.checked_pow(exponent.unsigned_abs())?;
            Decimal::from_parts(digits.checked_mul(factor)?, 0)
        }
    }
}

fn convert(value: Decimal, from: Number, to: Number) -> Option<Decimal> {
    to_decimal(to_number(value)?.checked_mul(from)?.checked_div(to)?)
}

/// How two quantities relate.
enum Relation {
    /// Both in one unit: `left` and `right`, and the unit.
    Common(Decimal, Decimal, Unit),
    /// They measure different things.
    Incommensurable,
    /// Nobody can tell: a unit that does not exist, or a year of the calendar and one of UCUM.
    Unknown,
}

/// Which of two units a conversion goes to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Towards {
    Finer,
    Coarser,
}

impl Quantity {
    /// A plain number as a quantity.
    #[must_use]
    pub fn plain(value: Decimal) -> Self {
        Self { value, unit: Unit::Ucum("1".into()) }
    }

    fn relate(&self, other: &Self, towards: Towards) -> Relation {
        if self.unit == other.unit {
            return Relation::Common(self.value, other.value, self.unit.clone());
        }
        if let (Unit::Calendar(left), Unit::Calendar(right)) = (&self.unit, &other.unit) {
            let both_are_of_months = left.max(right) <= &CalendarUnit::Month;
            if !both_are_of_months {
                return self.relate_by_ucum(other, towards, Unit::ucum);
            }
            let months = |quantity: &Self| match quantity.unit {
                Unit::Calendar(CalendarUnit::Year) => quantity.value.multiply(Decimal::from(12)),
                _ => Some(quantity.value),
            };
            return match (months(self), months(other)) {
                (Some(left), Some(right)) => {
                    Relation::Common(left, right, Unit::Calendar(CalendarUnit::Month))
                }
                _ => Relation::Unknown,
            };
        }
        self.relate_by_ucum(other, towards, Unit::ucum)
    }

    fn relate_by_ucum(
        &self,
        other: &Self,
        towards: Towards,
        code: impl Fn(&Unit) -> Option<&str>,
    ) -> Relation {
        let (Some(left_code), Some(right_code)) = (code(&self.unit), code(&other.unit)) else {
            return Relation::Unknown;
        };
        if left_code == right_code {
            return Relation::Common(self.value, other.value, self.unit.clone());
        }
        let (Some(left), Some(right)) = (meaning(left_code), meaning(right_code)) else {
            return Relation::Unknown;
        };
        if !left.is_commensurable(&right) {
            return Relation::Incommensurable;
        }
        let common = if left.special.is_some() || right.special.is_some() {
            octofhir_ucum::convert(other.value.to_f64(), right_code, left_code)
                .ok()
                .and_then(Decimal::from_f64)
                .map(|converted| (self.value, converted, self.unit.clone()))
        } else {
            let left_is_finer = left
                .factor
                .checked_sub(right.factor)
                .is_some_and(|difference| difference.abs() != difference);
            if left_is_finer == (towards == Towards::Finer) {
                convert(other.value, right.factor, left.factor)
                    .map(|converted| (self.value, converted, self.unit.clone()))
            } else {
                convert(self.value, left.factor, right.factor)
                    .map(|converted| (converted, other.value, other.unit.clone()))
            }
        };
        match common {
            Some((left, right, unit)) => Relation::Common(left, right, unit),
            None => Relation::Unknown,
        }
    }

    /// Which is less; `None` when they measure different things or nobody can tell.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        match self.relate(other, Towards::Finer) {
            Relation::Common(left, right, _) => Some(left.cmp(&right)),
            Relation::Incommensurable | Relation::Unknown => None,
        }
    }

    /// Whether they are the same; `None` when nobody can tell.
    #[must_use]
    pub fn equal(&self, other: &Self) -> Option<bool> {
        match self.relate(other, Towards::Finer) {
            Relation::Common(left, right, _) => Some(left == right),
            Relation::Incommensurable => Some(false),
            Relation::Unknown => None,
        }
    }

    /// Whether they are the same to the digits of the coarser. A year of the calendar is one of
    /// UCUM here.
    #[must_use]
    pub fn equivalent(&self, other: &Self) -> bool {
        let mut relation = self.relate(other, Towards::Coarser);
        if matches!(relation, Relation::Unknown) {
            relation = self.relate_by_ucum(other, Towards::Coarser, Unit::nearest_ucum);
        }
        match relation {
            Relation::Common(left, right, _) => equivalent_decimals(left, right),
            Relation::Incommensurable | Relation::Unknown => false,
        }
    }

    /// Whether one can be converted to the other.
    #[must_use]
    pub fn comparable(&self, other: &Self) -> bool {
        matches!(self.relate(other, Towards::Finer), Relation::Common(..))
    }

    /// The same in another unit, if it can be converted.
    #[must_use]
    pub fn to_unit(&self, unit: Unit) -> Option<Self> {
        if self.unit == unit {
            return Some(self.clone());
        }
        if let (Unit::Calendar(CalendarUnit::Year), Unit::Calendar(CalendarUnit::Month)) =
            (&self.unit, &unit)
        {
            return Some(Self { value: self.value.multiply(Decimal::from(12))?, unit });
        }
        let (from_code, to_code) = (self.unit.ucum()?, unit.ucum()?);
        let (from, to) = (meaning(from_code)?, meaning(to_code)?);
        if !from.is_commensurable(&to) {
            return None;
        }
        let value = if from.special.is_some() || to.special.is_some() {
            let converted = octofhir_ucum::convert(self.value.to_f64(), from_code, to_code).ok()?;
            Decimal::from_f64(converted)?
        } else {
            convert(self.value, from.factor, to.factor)?
        };
        Some(Self { value, unit })
    }

    /// `self + other` in the finer of the two units.
    #[must_use]
    pub fn add(&self, other: &Self) -> Option<Self> {
        match self.relate(other, Towards::Finer) {
            Relation::Common(left, right, unit) => Some(Self { value: left.add(right)?, unit }),
            Relation::Incommensurable | Relation::Unknown => None,
        }
    }

    /// The same with the other sign.
    #[must_use]
    pub fn negated(&self) -> Self {
        Self { value: self.value.negated(), unit: self.unit.clone() }
    }

    /// `self * other`.
    #[must_use]
    pub fn multiply(&self, other: &Self) -> Option<Self> {
        let value = self.value.multiply(other.value)?;
        self.combined(other, value, '.')
    }

    /// `self / other`.
    #[must_use]
    pub fn divide(&self, other: &Self) -> Option<Self> {
        let value = self.value.divide(other.value)?;
        self.combined(other, value, '/')
    }

    fn combined(&self, other: &Self, value: Decimal, operator: char) -> Option<Self> {
        let (left, right) = (self.unit.nearest_ucum()?, other.unit.nearest_ucum()?);
        if right == "1" {
            return Some(Self { value, unit: self.unit.clone() });
        }
        if left == right && operator == '/' {
            return Some(Self::plain(value));
        }
        if left == "1" && operator == '.' {
            return Some(Self { value, unit: other.unit.clone() });
        }
        if left.len() + right.len() > LONGEST_CODE {
            return None;
        }
        let code = if right.contains(['.', '/']) {
            format!("{left}{operator}({right})")
        } else {
            format!("{left}{operator}{right}")
        };
        meaning(&code)?;
        Some(Self { value, unit: Unit::Ucum(code.into()) })
    }

    /// Reads a quantity as `toQuantity()` does: `1`, `1.5 'mg'`, `4 days`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let end = text
            .find(|character: char| !character.is_ascii_digit() && !"+-.".contains(character))
            .unwrap_or(text.len());
        let value = Decimal::parse(&text[..end])?;
        let rest = text[end..].trim_start();
        if rest.is_empty() {
            return Some(Self::plain(value));
        }
        if let Some(code) = rest.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
            let valid = !code.is_empty() && !code.contains('\'');
            return valid.then(|| Self { value, unit: Unit::from_code(code) });
        }
        // A keyword needs a space before it.
        let unit = CalendarUnit::from_keyword(rest).filter(|_| rest.len() < text.len() - end)?;
        Some(Self { value, unit: Unit::Calendar(unit) })
    }
}

/// Equal when rounded to the digits of the coarser of the two (N1 6.1.2).
pub(crate) fn equivalent_decimals(left: Decimal, right: Decimal) -> bool {
    let (left, right) = (left.normalized(), right.normalized());
    let places = left.places().min(right.places());
    left.rounded_to(places) == right.rounded_to(places)
}

impl fmt::Display for Quantity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.unit {
            Unit::Calendar(unit) => {
                let one = self.value.abs() == Decimal::from(1);
                let plural = if one { "" } else { "s" };
                write!(formatter, "{} {}{plural}", self.value, unit.keyword())
            }
            Unit::Ucum(code) | Unit::Other(_, code) => {
                write!(formatter, "{} '{code}'", self.value)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Quantity;
    use std::cmp::Ordering::Less;

    fn quantity(text: &str) -> Quantity {
        Quantity::parse(text).unwrap()
    }

    #[test]
    fn units_of_one_dimension_are_converted_exactly() {
        let equal = |left, right| quantity(left).equal(&quantity(right));
        assert_eq!(equal("4 'g'", "4000 'mg'"), Some(true));
        assert_eq!(equal("1 '[in_i]'", "2.54 'cm'"), Some(true));
        assert_eq!(equal("7 days", "1 week"), Some(true));
        assert_eq!(equal("7 days", "1 'wk'"), Some(true));
        assert_eq!(equal("12 months", "1 year"), Some(true));
        assert_eq!(equal("25 'Cel'", "298.15 'K'"), Some(true));
        assert_eq!(quantity("6 days").compare(&quantity("1 week")), Some(Less));
    }

    #[test]
    fn what_cannot_be_compared_has_no_answer() {
        let equal = |left, right| quantity(left).equal(&quantity(right));
        assert_eq!(equal("1 'g'", "1 'm'"), Some(false));
        assert_eq!(equal("1 year", "1 'a'"), None);
        assert_eq!(equal("1 month", "30 days"), None);
        assert_eq!(equal("1 'no-unit'", "1 'm'"), None);
        assert_eq!(quantity("1 'g'").compare(&quantity("1 'm'")), None);
        assert!(quantity("1 year").equivalent(&quantity("1 'a'")));
    }

    #[test]
    fn equivalence_is_to_the_digits_of_the_coarser() {
        assert!(quantity("4 'g'").equivalent(&quantity("4040 'mg'")));
        assert!(quantity("4040 'mg'").equivalent(&quantity("4 'g'")));
        assert!(!quantity("4.00 'g'").equivalent(&quantity("5040 'mg'")));
    }

    #[test]
    fn units_are_multiplied_and_divided() {
        let product = quantity("2.0 'cm'").multiply(&quantity("2.0 'm'")).unwrap();
        assert_eq!(product.equal(&quantity("0.040 'm2'")), Some(true));
        let quotient = quantity("4 'g'").divide(&quantity("2 'm/s'")).unwrap();
        assert_eq!(quotient.to_string(), "2 'g/(m/s)'");
        assert_eq!(quantity("1 'm'").divide(&quantity("1 'm'")).unwrap().to_string(), "1 '1'");
        assert!(quantity("1 'm'").divide(&quantity("0 'm'")).is_none());
    }

    #[test]
    fn a_unit_that_is_longer_than_any_is_none() {
        let mut quantity = quantity("1 'm/m'");
        let mut times = 0;
        while let Some(product) = quantity.multiply(&quantity) {
            quantity = product;
            times += 1;
        }
        assert!(times > 2 && quantity.to_string().len() <= super::LONGEST_CODE + 4);
        let long = Quantity::parse(&format!("1 'm{}'", ".m".repeat(200))).unwrap();
        assert_eq!(long.equal(&Quantity::plain(1.into())), None);
    }

    #[test]
    fn only_what_is_a_quantity_is_read_as_one() {
        for text in ["1 wk", "1.a", "", "'mg'", "1 ''", "1day", "1 'm", "1 'm''"] {
            assert!(Quantity::parse(text).is_none(), "{text}");
        }
        assert_eq!(quantity("1 day").to_string(), "1 day");
        assert_eq!(quantity("2 days").to_string(), "2 days");
    }
}
