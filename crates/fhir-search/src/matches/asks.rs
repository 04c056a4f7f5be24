//! What a query asks for at all, whatever resources there are.

use super::{Codes, CodesError};
use crate::{Clause, List, Query, Test, TokenTest};

/// What no resource has an answer to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unanswerable {
    /// A question about codes.
    #[error(transparent)]
    Codes(#[from] CodesError),
    /// What is on a list that the server would have to make.
    #[error("there is no list ${0}")]
    FunctionalList(Box<str>),
}

/// Whether a clause asks for the words of a resource, which
/// [`super::IndexedResource::with_words`] has.
#[must_use]
pub fn asks_for_words(clauses: &[Clause]) -> bool {
    let mut asks = false;
    visit(clauses, &mut |clause| asks |= matches!(clause, Clause::Text(_) | Clause::Content(_)));
    asks
}

/// Whether all that a query asks can be answered, as far as that does not depend on resources:
/// about codes, and that no list is asked for which nobody makes.
///
/// # Errors
/// [`Unanswerable`] for the first question that cannot.
pub fn check_answerable(query: &Query, codes: &dyn Codes) -> Result<(), Unanswerable> {
    let mut found = Ok(());
    for of in &query.types {
        visit(&of.clauses, &mut |clause| {
            if found.is_ok() {
                found = check_clause(clause, codes);
            }
        });
    }
    found
}

fn check_clause(clause: &Clause, codes: &dyn Codes) -> Result<(), Unanswerable> {
    match clause {
        Clause::Value(clause) => {
            let mut tests = clause.tests.iter();
            Ok(tests.try_for_each(|test| check_test(test, codes))?)
        }
        Clause::List(List::Functional(name)) => Err(Unanswerable::FunctionalList(name.clone())),
        _ => Ok(()),
    }
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

/// Visits clauses and all that are within them, also those on other resources.
pub(crate) fn visit(clauses: &[Clause], each: &mut dyn FnMut(&Clause)) {
    for clause in clauses {
        each(clause);
        match clause {
            Clause::All(clauses) | Clause::Any(clauses) => visit(clauses, each),
            Clause::Not(clause) => visit(std::slice::from_ref(clause), each),
            Clause::Has(has) => visit(std::slice::from_ref(&has.clause), each),
            Clause::Chain(chain) => {
                for (_, clause) in &chain.targets {
                    visit(std::slice::from_ref(clause), each);
                }
            }
            Clause::Value(_)
            | Clause::Missing { .. }
            | Clause::Text(_)
            | Clause::Content(_)
            | Clause::List(_) => {}
        }
    }
}
