//! What a code system or value set says of a code: whoever asks the index knows.

/// Questions about codes that a query asks and the index cannot answer.
pub trait Codes {
    /// Whether the case of a code counts in a system, or with none. Where that is not known it
    /// does not, so that nothing is missed (FHIR R4 3.1.1.4.12).
    fn case_counts(&self, system: Option<&str>) -> bool;

    /// Whether a code is in a value set, named by canonical URL or relative reference.
    ///
    /// # Errors
    /// [`CodesError`] when that cannot be told.
    fn is_in(&self, value_set: &str, system: Option<&str>, code: &str) -> Result<bool, CodesError>;

    /// Whether a code is `above` or is subsumed by it.
    ///
    /// # Errors
    /// [`CodesError`] when that cannot be told.
    fn subsumes(&self, system: &str, above: &str, code: &str) -> Result<bool, CodesError>;
}

/// A question about codes cannot be answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodesError {
    /// There is no such value set here.
    #[error("the value set {0} is not known")]
    UnknownValueSet(Box<str>),
    /// There is no such code system here, or its hierarchy is not known.
    #[error("the hierarchy of the code system {0} is not known")]
    UnknownCodeSystem(Box<str>),
    /// It cannot be worked out.
    #[error("the value set {0} cannot be expanded: {1}")]
    NotExpandable(Box<str>, Box<str>),
}

/// Knows no value set and no hierarchy; case counts nowhere.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoCodes;

impl Codes for NoCodes {
    fn case_counts(&self, _system: Option<&str>) -> bool {
        false
    }

    fn is_in(&self, value_set: &str, _: Option<&str>, _: &str) -> Result<bool, CodesError> {
        Err(CodesError::UnknownValueSet(value_set.into()))
    }

    fn subsumes(&self, system: &str, _: &str, _: &str) -> Result<bool, CodesError> {
        Err(CodesError::UnknownCodeSystem(system.into()))
    }
}
