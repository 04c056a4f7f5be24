//! What keeps a search from being answered, over HTTP.

use database::{Costly, SearchError};
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

/// A parameter that cannot be used in criteria, wherever those stand.
pub(super) fn describe_criteria(criteria: &str, error: &QueryError) -> (StatusCode, Vec<Issue>) {
    let text = format!("the criteria \"{criteria}\" cannot be used: {error}");
    (BAD_REQUEST, vec![Issue::error(code(&error.problem), text)])
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
        | P::UnknownList { .. }
        | P::NotOnList { .. }
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

/// A search that would look at too much: what of it costs most, and how to ask for less.
fn too_costly(budget: u64, estimated: Option<u64>, most: Option<&Costly>) -> Issue {
    let about = estimated.map(|rows| format!(", about {rows}")).unwrap_or_default();
    let text = format!("to answer this, more than {budget} rows would have to be looked at{about}");
    let (name, mend) = match most {
        None => (None, "search fewer types, or leave out chains, _has and includes"),
        Some(Costly { parameter, mend }) => (parameter.as_deref(), *mend),
    };
    let Some(name) = name else {
        return Issue::error(IssueCode::TooCostly, format!("{text}; {mend}"));
    };
    let text = format!("{text}; {name} costs most of it: {mend}");
    let code = name.split([':', '.']).next().unwrap_or_default();
    Issue::error(IssueCode::TooCostly, text).at(format!("http.{code}"))
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
        SearchError::ParametersChanged => (
            StatusCode::GONE,
            vec![Issue::error(
                IssueCode::Expired,
                "search parameters that this search asks by were defined anew since the page \
                 before, so that its matches and their order are others; search again from the \
                 first page",
            )],
        ),
        SearchError::TooCostly { budget, estimated, most } => {
            (BAD_REQUEST, vec![too_costly(*budget, *estimated, most.as_deref())])
        }
        SearchError::ContainedUnexplained => {
            bad(IssueCode::NotSupported, format!("{error}; leave _contained or _explain out"))
        }
        SearchError::Codes(error @ CodesError::UnknownValueSet(_)) => {
            bad(IssueCode::NotFound, format!("{error}; write the URL of one that is here"))
        }
        SearchError::Codes(error @ CodesError::UnknownHierarchy(_)) => {
            bad(IssueCode::NotFound, format!("{error}; ask for the codes themselves"))
        }
        SearchError::Codes(error @ CodesError::Undecided { .. }) => {
            bad(IssueCode::NotSupported, format!("{error}; ask for the codes themselves"))
        }
        SearchError::AmbiguousId { parameter, .. } => (
            BAD_REQUEST,
            vec![
                Issue::error(
                    IssueCode::MultipleMatches,
                    format!("{error}; write the type before the id, as Type/id"),
                )
                .at(format!("http.{parameter}")),
            ],
        ),
    }
}
