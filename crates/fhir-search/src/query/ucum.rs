//! Units of UCUM in the form that all of one dimension can be compared in.

use fhirpath::Decimal;
use octofhir_ucum::{Number, get_canonical_units};

/// The system of UCUM's codes.
pub const UCUM: &str = "http://unitsofmeasure.org";

/// Bytes of a code that is looked into. A longer one is none.
const LONGEST_CODE: usize = 256;

/// Digits that a converted number keeps. UCUM's factors have 28; the last are rounded away, so
/// that what is the same comes out the same whichever unit it was written in.
const DIGITS: u32 = 24;

/// The base units that a unit can be converted to, and how.
#[derive(Debug, Clone)]
pub struct CanonicalUnit {
    /// The code of the base units: `g.m-3`.
    pub code: String,
    factor: Number,
    offset: Number,
}

impl CanonicalUnit {
    /// That of a code of UCUM. None for what is no code, and for scales that are not linear, as pH
    /// and decibels.
    #[must_use]
    pub fn of(code: &str) -> Option<Self> {
        if code.len() > LONGEST_CODE {
            return None;
        }
        let unit = get_canonical_units(code).ok()?;
        Some(Self { code: unit.unit, factor: unit.factor, offset: unit.offset })
    }

    /// A number of the unit as a number of base units, to 24 digits. None when it does not fit.
    #[must_use]
    pub fn convert(&self, number: Decimal) -> Option<Decimal> {
        let number = Number::parse(&number.to_string())?;
        let converted = number.checked_mul(self.factor)?.checked_add(self.offset)?;
        let (digits, exponent) = converted.to_integer_and_exponent();
        rounded(digits, exponent)
    }
}

/// `digits` times ten to the `exponent`, with no more than [`DIGITS`] digits.
fn rounded(digits: i128, exponent: i32) -> Option<Decimal> {
    let surplus =
        digits.unsigned_abs().checked_ilog10().map_or(0, |most| (most + 1).saturating_sub(DIGITS));
    let digits = Decimal::from_parts(digits, surplus)?.rounded_to(0).digits();
    let exponent = exponent.checked_add(i32::try_from(surplus).ok()?)?;
    let parsed = Decimal::parse(&format!("{digits}e{exponent}"))?;
    Some(parsed.normalized())
}
