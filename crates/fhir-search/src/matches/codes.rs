//! What must be known of codes: value sets, what subsumes what, and whether case counts.

use crate::UCUM;

/// Knows code systems and value sets.
pub trait Codes: Send + Sync {
    /// Whether a value set is known, so that members of it can be looked for.
    ///
    /// # Errors
    /// [`CodesError`] when not.
    fn check_value_set(&self, value_set: &str) -> Result<(), CodesError>;

    /// Whether it is known of a code system which codes subsume which.
    ///
    /// # Errors
    /// [`CodesError`] when not.
    fn check_hierarchy(&self, system: &str) -> Result<(), CodesError>;

    /// Whether a code is in the value set with this canonical URL, version included, or at this
    /// relative reference. A code without a system is in it when it is so with some system.
    ///
    /// # Errors
    /// [`CodesError`] when that cannot be told.
    fn is_member(
        &self,
        value_set: &str,
        system: Option<&str>,
        code: &str,
    ) -> Result<bool, CodesError>;

    /// Whether a code subsumes another one of the same system.
    ///
    /// # Errors
    /// [`CodesError`] when that cannot be told.
    fn subsumes(&self, system: &str, above: &str, below: &str) -> Result<bool, CodesError>;

    /// Whether a code system, or a system of identifiers, is known to tell apart what differs in
    /// case alone.
    fn is_case_sensitive(&self, system: &str) -> bool;

    /// As [`Codes::is_member`] where that is known already, without anything being looked up;
    /// `None` where it is not. Others may wait for the answer.
    fn is_member_at_hand(&self, _: &str, _: Option<&str>, _: &str) -> Option<bool> {
        None
    }

    /// As [`Codes::subsumes`], likewise.
    fn subsumes_at_hand(&self, _: &str, _: &str, _: &str) -> Option<bool> {
        None
    }

    /// As [`Codes::is_case_sensitive`], likewise.
    fn is_case_sensitive_at_hand(&self, _: &str) -> Option<bool> {
        None
    }
}

/// Why a question about codes has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodesError {
    /// The value set is nowhere to be found.
    #[error("the value set {0} is not known")]
    UnknownValueSet(Box<str>),
    /// The code system is nowhere to be found, or not all of it.
    #[error("of the code system {0} it is not known which codes subsume which")]
    UnknownHierarchy(Box<str>),
    /// Whether a code is a member depends on what is not known.
    #[error("what is in the value set {value_set} cannot be told: {reason}")]
    Undecided {
        /// The value set.
        value_set: Box<str>,
        /// What is in the way.
        reason: Box<str>,
    },
}

/// Knows nothing: for whoever has no terminology.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoCodes;

impl Codes for NoCodes {
    fn check_value_set(&self, value_set: &str) -> Result<(), CodesError> {
        Err(CodesError::UnknownValueSet(value_set.into()))
    }

    fn check_hierarchy(&self, system: &str) -> Result<(), CodesError> {
        Err(CodesError::UnknownHierarchy(system.into()))
    }

    fn is_member(&self, value_set: &str, _: Option<&str>, _: &str) -> Result<bool, CodesError> {
        Err(CodesError::UnknownValueSet(value_set.into()))
    }

    fn subsumes(&self, system: &str, _: &str, _: &str) -> Result<bool, CodesError> {
        Err(CodesError::UnknownHierarchy(system.into()))
    }

    fn is_case_sensitive(&self, _: &str) -> bool {
        false
    }
}

/// Whether case counts in the codes of a system. Where that is not known it does not: finding too
/// much does less harm than finding too little (FHIR R4, 3.1.1.4.12).
#[must_use]
pub fn case_counts(system: Option<&str>, codes: &dyn Codes) -> bool {
    system.is_some_and(|system| system == UCUM || codes.is_case_sensitive(system))
}
