//! Quantities: a number with a unit (FHIR R4, 3.1.1.4.14).

use fhirpath::CanonicalUnit;

use super::NumberTest;
use crate::{CanonicalQuantity, Quantity};

/// The system of UCUM's codes.
pub const UCUM: &str = "http://unitsofmeasure.org";

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
    Some(((**unit.unit()).into(), number))
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

#[cfg(test)]
mod tests {
    use fhirpath::{CanonicalUnit, Decimal};

    use super::{QuantityTest, UCUM, UnitTest};
    use crate::{CanonicalQuantity, NumberRange, NumberTest, Prefix, Quantity};

    fn test(text: &str, system: &str, code: &str) -> QuantityTest {
        let (prefix, number) = Prefix::split(text);
        let number = NumberTest::parse(prefix, number).unwrap();
        let unit = match (system, code) {
            ("", "") => UnitTest::Any,
            ("", code) => UnitTest::CodeOrUnit(code.into()),
            (system, "") => UnitTest::System(system.into()),
            (system, code) => UnitTest::coded(system, code, &number),
        };
        QuantityTest { number, unit }
    }

    fn stored(number: &str, system: &'static str, code: &'static str) -> Quantity<'static> {
        let range = NumberRange::point(Decimal::parse(number).unwrap());
        let unit = (system == UCUM).then(|| CanonicalUnit::of(code)).flatten();
        let canonical = unit.and_then(|unit| {
            let range = range.map(|number| unit.convert(number))?;
            Some(CanonicalQuantity { range, unit: unit.unit().clone() })
        });
        Quantity {
            range,
            system: Some(system.into()),
            code: Some(code.into()),
            unit: Some("a unit".into()),
            canonical,
        }
    }

    #[test]
    fn a_unit_is_asked_by_code_or_with_its_system_or_not_at_all() {
        // SRCH-130, SRCH-135
        let mass = stored("5.4", UCUM, "mg");
        for (system, code) in [("", ""), ("", "mg"), ("", "a unit"), (UCUM, "mg"), (UCUM, "")] {
            assert!(test("5.4", system, code).holds(&mass), "{system}|{code}");
        }
        for (system, code) in [("", "g"), ("http://loinc.org", "mg"), ("http://loinc.org", "")] {
            assert!(!test("5.4", system, code).holds(&mass), "{system}|{code}");
        }
        assert!(!test("5.3", UCUM, "mg").holds(&mass));
    }

    #[test]
    fn units_of_ucum_are_converted_with_the_digits_of_the_request() {
        // SRCH-131, SRCH-132
        let found = [
            ("5.4", "g", "5400", "mg"),
            ("5.4", "g", "5350", "mg"),
            ("5", "mmol/L", "5", "mol/m3"),
            ("37", "Cel", "98.6", "[degF]"),
            ("ge98.6", "[degF]", "37", "Cel"),
            ("gt1", "h", "61", "min"),
            ("7.4", "[pH]", "7.4", "[pH]"),
        ];
        for (number, code, stored_number, stored_code) in found {
            let stored = stored(stored_number, UCUM, stored_code);
            assert!(test(number, UCUM, code).holds(&stored), "{number} {code} {stored:?}");
        }
        let not_found = [
            ("5.4", "g", "5450", "mg"),
            ("5.4", "g", "5.4", "mg"),
            ("5.4", "g", "5.4", "m"),
            ("gt98.6", "[degF]", "37", "Cel"),
            ("5", "no-unit", "5", "g"),
        ];
        for (number, code, stored_number, stored_code) in not_found {
            let stored = stored(stored_number, UCUM, stored_code);
            assert!(!test(number, UCUM, code).holds(&stored), "{number} {code} {stored:?}");
        }
    }
}
