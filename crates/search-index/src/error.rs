//! Why a search has no answer.

use store::T;

use fhir_search::CodesError;

/// A search has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SearchError {
    /// It would look at more than it may.
    #[error("the search looks at more than {limit} keys and documents")]
    TooCostly {
        /// The most it may look at.
        limit: u64,
    },
    /// Whoever asked has left.
    #[error("the search was cancelled")]
    Cancelled,
    /// It is of a time of which not everything is there any more.
    #[error("searches go back to position {oldest} of the log alone")]
    BeforeHorizon {
        /// The least `t` that can be searched.
        oldest: T,
    },
    /// It is of a time that is still to come.
    #[error("the index ends before position {t} of the log")]
    Ahead {
        /// The `t` that was asked for.
        t: T,
    },
    /// It asks for something that the index does not have.
    #[error("{0} is not supported")]
    Unsupported(Unsupported),
    /// Some of what it depends on was to be read from where it is kept, and could not be.
    #[error("the search index cannot be read")]
    Unreadable,
    /// The cursor is not one of this query.
    #[error("the page link does not belong to this search")]
    InvalidCursor,
    /// It asks something about codes that nobody knows.
    #[error(transparent)]
    Codes(#[from] CodesError),
}

/// What the index does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsupported {
    /// `_text`.
    #[error("_text")]
    Text,
    /// `_content`.
    #[error("_content")]
    Content,
    /// A value that differs in what `:text`, `:of-type` and `:identifier` look at, or as a
    /// composite.
    #[error("a difference in text, type of identifier, identifier of a reference or composite")]
    Difference,
}
