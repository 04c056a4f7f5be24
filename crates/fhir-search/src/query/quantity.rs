//! Quantities: a number with a unit (FHIR R4, 3.1.1.4.14).

use std::ops::Bound;

use fhirpath::Decimal;

use super::{CanonicalUnit, NumberTest, UCUM};

/// What is asked of a quantity.
#[derive(Debug, Clone, PartialEq)]
pub struct QuantityTest {
    /// What is asked of the number, in the unit of the request.
    pub number: NumberTest,
    /// What is asked of the unit.
    pub unit: UnitTest,
}

/// What is asked of a unit.
#[derive(Debug, Clone, PartialEq)]
pub enum UnitTest {
    /// Nothing.
    Any,
    /// `number||code`: the code, whatever its system, or the unit's text.
    CodeOrUnit(Box<str>),
    /// `number|system|`: any code of the system.
    System(Box<str>),
    /// `number|system|code`.
    Coded {
        /// The system.
        system: Box<str>,
        /// The code.
        code: Box<str>,
        /// With UCUM: the unit that all of its dimension can be converted to, and what is asked
        /// of the number there. None for a code that UCUM does not know, or that has no such unit
        /// (as pH), or when the number does not fit.
        canonical: Option<Box<(Box<str>, NumberTest)>>,
    },
}

impl UnitTest {
    /// Of a code in a system, its canonical form worked out.
    #[must_use]
    pub fn coded(system: &str, code: &str, number: &NumberTest) -> Self {
        let canonical = (system == UCUM).then(|| canonical(code, number)).flatten().map(Box::new);
        Self::Coded { system: system.into(), code: code.into(), canonical }
    }
}

fn canonical(code: &str, number: &NumberTest) -> Option<(Box<str>, NumberTest)> {
    let unit = CanonicalUnit::of(code)?;
    let number = NumberTest {
        prefix: number.prefix,
        value: unit.convert(number.value)?,
        low: unit.convert(number.low)?,
        high: unit.convert(number.high)?,
    };
    Some((unit.code.into(), number))
}

impl QuantityTest {
    /// Whether it holds of a quantity as it is written: bounds of its number, and system, code
    /// and text of its unit. What [`UnitTest::Coded::canonical`] allows beyond that is
    /// [`QuantityTest::holds_canonically`].
    #[must_use]
    pub fn holds(
        &self,
        number: (Bound<Decimal>, Bound<Decimal>),
        system: Option<&str>,
        code: Option<&str>,
        unit: Option<&str>,
    ) -> bool {
        let unit_is = match &self.unit {
            UnitTest::Any => true,
            UnitTest::CodeOrUnit(text) => [code, unit].contains(&Some(text)),
            UnitTest::System(wanted) => system == Some(wanted),
            UnitTest::Coded { system: wanted, code: wanted_code, .. } => {
                system == Some(wanted) && code == Some(wanted_code)
            }
        };
        unit_is && self.number.holds(number)
    }

    /// Whether it holds of a quantity in UCUM: bounds of its number in the canonical unit, and
    /// that unit.
    #[must_use]
    pub fn holds_canonically(
        &self,
        number: (Bound<Decimal>, Bound<Decimal>),
        canonical_unit: &str,
    ) -> bool {
        match &self.unit {
            UnitTest::Coded { canonical: Some(canonical), .. } => {
                *canonical.0 == *canonical_unit && canonical.1.holds(number)
            }
            _ => false,
        }
    }
}
