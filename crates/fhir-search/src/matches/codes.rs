//! What must be known of codes: value sets, what subsumes what, and whether case counts.

use crate::{Clause, Query, Test, TokenTest, UCUM};

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

    /// Whether a code system is known to tell codes apart by case alone.
    fn is_case_sensitive(&self, system: &str) -> bool;
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
pub(super) fn case_counts(system: Option<&str>, codes: &dyn Codes) -> bool {
    system.is_some_and(|system| system == UCUM || codes.is_case_sensitive(system))
}

/// Whether all that a query asks about codes can be answered, whatever resources there are.
///
/// # Errors
/// [`CodesError`] for the first question that cannot.
pub fn check_codes(query: &Query, codes: &dyn Codes) -> Result<(), CodesError> {
    query.types.iter().try_for_each(|of| check_clauses(&of.clauses, codes))
}

fn check_clauses(clauses: &[Clause], codes: &dyn Codes) -> Result<(), CodesError> {
    clauses.iter().try_for_each(|clause| match clause {
        Clause::Value(clause) => clause.tests.iter().try_for_each(|test| check_test(test, codes)),
        Clause::Chain(chain) => {
            let mut targets = chain.targets.iter();
            targets.try_for_each(|(_, clause)| check_clauses(std::slice::from_ref(clause), codes))
        }
        Clause::Has(has) => check_clauses(std::slice::from_ref(&has.clause), codes),
        Clause::All(clauses) | Clause::Any(clauses) => check_clauses(clauses, codes),
        Clause::Not(clause) => check_clauses(std::slice::from_ref(clause), codes),
        Clause::Missing { .. } | Clause::Text(_) | Clause::Content(_) | Clause::List(_) => Ok(()),
    })
}

fn check_test(test: &Test, codes: &dyn Codes) -> Result<(), CodesError> {
    match test {
        Test::Token(TokenTest::In(value_set)) => codes.check_value_set(value_set),
        Test::Token(TokenTest::Below { system, .. } | TokenTest::Above { system, .. }) => {
            codes.check_hierarchy(system)
        }
        Test::Composite(composite) => {
            composite.parts.iter().try_for_each(|part| check_test(part, codes))
        }
        _ => Ok(()),
    }
}
