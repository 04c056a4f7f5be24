//! What keeps a search from being answered, over HTTP.

use database::SearchError;
use fhir_core::{Issue, IssueCode, Severity};
use fhir_search::{CodesError, Place, QueryError, QueryProblem};
use http::StatusCode;

use super::{BAD_REQUEST, describe, rebuilding, shorten};
use crate::error::ServerError;

/// A parameter that cannot be used.
pub(super) fn describe_query(error: &QueryError) -> (StatusCode, Vec<Issue>) {
    let status = if is_of_path(error) { StatusCode::NOT_FOUND } else { BAD_REQUEST };
    (status, vec![issue(error)])
}

/// Whether it is about what the URL's path names: such a place is not there.
fn is_of_path(error: &QueryError) -> bool {
    use QueryProblem as P;
    error.place == Place::Name(0)
        && matches!(
            error.problem,
            P::NotInCompartment { .. } | P::UnknownCompartment(_) | P::UnknownType(_)
        )
}

/// What is said beside the matches of parameters that were not used.
pub(crate) fn ignored(error: &QueryError) -> Issue {
    let mut issue = Issue { severity: Severity::Warning, ..issue(error) };
    issue.diagnostics.insert_str(0, "ignored: ");
    shorten(&mut issue.diagnostics);
    issue
}

fn issue(error: &QueryError) -> Issue {
    let issue = Issue::error(code(&error.problem), error.to_string());
    // The parameter of a chain or with a modifier is what stands before them.
    match error.parameter.split([':', '.']).next().unwrap_or_default() {
        "" => issue,
        _ if is_of_path(error) => issue,
        name => issue.at(format!("http.{name}")),
    }
}

fn code(problem: &QueryProblem) -> IssueCode {
    use QueryProblem as P;
    match problem {
        P::UnknownParameter { .. }
        | P::UnknownInChain { .. }
        | P::UnsupportedParameter(_)
        | P::NotOfEveryType { .. }
        | P::UnsupportedModifier { .. }
        | P::UnsupportedPrefix { .. }
        | P::UnsupportedOperator { .. }
        | P::UnknownType(_)
        | P::NotATarget { .. }
        | P::NotAReference { .. }
        | P::NotInChain(_)
        | P::NotInCompartment { .. }
        | P::UnknownCompartment(_)
        | P::UnknownNamedQuery(_)
        | P::TypeOfOneType
        | P::NotSortable { .. } => IssueCode::NotSupported,
        P::AmbiguousChain { .. } => IssueCode::MultipleMatches,
        P::TooMany { .. } => IssueCode::TooCostly,
        P::MissingName
        | P::InvalidEscape
        | P::InvalidJsonEscape
        | P::CompositeParts { .. }
        | P::Repeated
        | P::SummaryTextWithInclude
        | P::InvalidInclude(_)
        | P::Unexpected { .. } => IssueCode::Invalid,
        P::EmptyValue | P::EmptyFilterValue | P::InvalidValue { .. } | P::NothingToCompare => {
            IssueCode::Value
        }
    }
}

/// A query that was understood and has no answer.
pub(super) fn describe_search(error: &SearchError) -> (StatusCode, Vec<Issue>) {
    let bad = |code, text: String| (BAD_REQUEST, vec![Issue::error(code, text)]);
    match error {
        // These are other errors of the server, and become them before they are answered.
        SearchError::Read(_) | SearchError::Abandoned => describe(&ServerError::Interrupted),
        SearchError::Cursor(_) => describe(&ServerError::PageLinkInvalid),
        SearchError::BeforeHorizon => describe(&ServerError::PageLinkExpired),
        SearchError::IndexNotReady => rebuilding(),
        SearchError::TooCostly { budget } => bad(
            IssueCode::TooCostly,
            format!(
                "to answer this, more than {budget} versions of resources would have to be looked \
                 at; search fewer types, or leave out chains, _has and includes"
            ),
        ),
        SearchError::Codes(error @ CodesError::UnknownValueSet(_)) => {
            bad(IssueCode::NotFound, format!("{error}; write the URL of one that is here"))
        }
        SearchError::Codes(error @ CodesError::UnknownHierarchy(_)) => {
            bad(IssueCode::NotFound, format!("{error}; ask for the codes themselves"))
        }
        SearchError::Codes(error @ CodesError::Undecided { .. }) => {
            bad(IssueCode::NotSupported, format!("{error}; ask for the codes themselves"))
        }
        SearchError::FunctionalList(_) => (
            BAD_REQUEST,
            vec![
                Issue::error(
                    IssueCode::NotSupported,
                    format!("{error}, and this server makes none; name a List by its id"),
                )
                .at("http._list"),
            ],
        ),
        SearchError::Contained => (
            BAD_REQUEST,
            vec![
                Issue::error(
                    IssueCode::NotSupported,
                    format!("{error}; leave out _contained, or search by a chain into them"),
                )
                .at("http._contained"),
            ],
        ),
    }
}
