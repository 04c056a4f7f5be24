//! A little terminology: enough that codes are above, below, and in value sets.

use fhir_search::{Codes, CodesError};

/// Of one system it knows which code subsumes which, and of one value set what is in it.
pub(super) struct FewCodes;

/// The value set that is known.
pub(super) const VALUE_SET: &str = "http://a.example/codes";
/// The system that is known: it tells case apart.
pub(super) const HIERARCHY: &str = "http://snomed.info/sct";
/// From the top down.
const LINE: [&str; 3] = ["8480-6", "73211009", "aB"];

impl Codes for FewCodes {
    fn check_value_set(&self, value_set: &str) -> Result<(), CodesError> {
        match value_set {
            VALUE_SET => Ok(()),
            _ => Err(CodesError::UnknownValueSet(value_set.into())),
        }
    }

    fn check_hierarchy(&self, system: &str) -> Result<(), CodesError> {
        match system {
            HIERARCHY => Ok(()),
            _ => Err(CodesError::UnknownHierarchy(system.into())),
        }
    }

    fn is_member(
        &self,
        value_set: &str,
        system: Option<&str>,
        code: &str,
    ) -> Result<bool, CodesError> {
        self.check_value_set(value_set)?;
        let is_of = |known: &str| system.is_none_or(|system| system == known);
        Ok((is_of("http://loinc.org") && code.starts_with("84"))
            || (is_of("urn:s") && code == "Ab"))
    }

    fn subsumes(&self, system: &str, above: &str, below: &str) -> Result<bool, CodesError> {
        self.check_hierarchy(system)?;
        let place = |code: &str| LINE.iter().position(|it| *it == code);
        Ok(above == below || place(above).zip(place(below)).is_some_and(|(a, b)| a < b))
    }

    fn is_case_sensitive(&self, system: &str) -> bool {
        system == HIERARCHY
    }
}
