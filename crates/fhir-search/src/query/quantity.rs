//! Quantities: a number with a unit (FHIR R4, 3.1.1.4.14).

use super::{CanonicalUnit, NumberTest, UCUM};
use crate::{CanonicalQuantity, Quantity};

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
    /// Whether it holds of a quantity: in its own unit, or converted where both are of UCUM.
    #[must_use]
    pub fn holds(&self, value: &Quantity<'_>) -> bool {
        let (system, code) = (value.system.as_deref(), value.code.as_deref());
        let unit_is = match &self.unit {
            UnitTest::Any => true,
            UnitTest::CodeOrUnit(wanted) => {
                code == Some(wanted) || value.unit.as_deref() == Some(wanted)
            }
            UnitTest::System(wanted) => system == Some(wanted),
            UnitTest::Coded { system: wanted, code: wanted_code, canonical } => {
                if let (Some(canonical), Some(value)) = (canonical, &value.canonical) {
                    return holds_canonically(canonical, value);
                }
                system == Some(wanted) && code == Some(wanted_code)
            }
        };
        unit_is && self.number.holds(value.range)
    }
}

fn holds_canonically(test: &(Box<str>, NumberTest), value: &CanonicalQuantity) -> bool {
    *test.0 == *value.unit && test.1.holds(value.range)
}
