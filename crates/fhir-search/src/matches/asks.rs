//! What a query asks for at all, whatever resources there are.

use super::{Codes, CodesError};
use fhir_core::{ResourceId, ResourceType};

use crate::{Clause, Parameter, Query, ReferenceTest, Test, TokenTest};

/// What no resource has an answer to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unanswerable {
    /// A question about codes.
    #[error(transparent)]
    Codes(#[from] CodesError),
}

/// Whether a clause asks for the words of a resource, which
/// [`super::IndexedResource::with_words`] has.
#[must_use]
pub fn asks_for_words(clauses: &[Clause]) -> bool {
    let mut asks = false;
    visit(clauses, &mut |clause| asks |= matches!(clause, Clause::Text(_) | Clause::Content(_)));
    asks
}

/// Whether what a query finds depends on what a terminology says: by `:in`, `:below` and `:above`
/// of codes.
#[must_use]
pub fn asks_terminology(query: &Query) -> bool {
    let mut asks = false;
    for of in &query.types {
        visit(&of.clauses, &mut |clause| {
            if let Clause::Value(clause) = clause {
                asks |= clause.tests.iter().any(is_of_terminology);
            }
        });
    }
    asks
}

/// A reference that is asked for by its id alone.
#[derive(Debug, Clone, PartialEq)]
pub struct BareId<'q> {
    /// The parameter.
    pub parameter: &'q Parameter,
    /// The id.
    pub id: &'q ResourceId,
    /// The types of the resources that it may be of; empty for every type.
    pub types: &'q [ResourceType],
}

/// The references that a query asks for by an id alone, wherever it does.
#[must_use]
pub fn bare_ids(query: &Query) -> Vec<BareId<'_>> {
    let mut found = Vec::new();
    for of in &query.types {
        visit(&of.clauses, &mut |clause| {
            let Clause::Value(clause) = clause else { return };
            found.extend(clause.tests.iter().filter_map(|test| match test {
                Test::Reference(ReferenceTest::Id { id, types }) => {
                    Some(BareId { parameter: &clause.parameter, id, types })
                }
                _ => None,
            }));
        });
    }
    found
}

fn is_of_terminology(test: &Test) -> bool {
    match test {
        Test::Token(token) => {
            matches!(token, TokenTest::In(_) | TokenTest::Below { .. } | TokenTest::Above { .. })
        }
        Test::Composite(composite) => composite.parts.iter().any(is_of_terminology),
        _ => false,
    }
}

/// Whether all that a query asks can be answered, as far as that does not depend on resources:
/// about codes.
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
pub(crate) fn visit<'q>(clauses: &'q [Clause], each: &mut dyn FnMut(&'q Clause)) {
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
