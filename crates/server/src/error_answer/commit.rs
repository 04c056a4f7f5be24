//! What each error of a commit is over HTTP. Errors that no commit has are not here.

use database::{CommitError, ReadError};
use fhir_core::{Issue, IssueCode, Severity};
use http::StatusCode;

use super::{describe, rebuilding};
use crate::error::ServerError;

/// Status and issues of an error of a commit.
pub(super) fn describe_commit(error: &CommitError) -> (StatusCode, Vec<Issue>) {
    let later = |text: &str| {
        let issue = Issue::error(IssueCode::Transient, text);
        (StatusCode::SERVICE_UNAVAILABLE, vec![issue])
    };
    match error {
        CommitError::Overloaded => {
            later("too much is waiting to be written; nothing was written, try again later")
        }
        CommitError::ClockBehind { now, newest } => later(&format!(
            "the server's clock says {now}, its newest data is of {newest}, and no more than a \
             minute may be between them; nothing was written: the operator must set the clock \
             right, and writes are taken again when it has passed that less a minute"
        )),
        CommitError::Closed => later("the server is stopping; nothing was written"),
        CommitError::Store(_) if error.is_disk_full() => {
            later("the server's disk is full; nothing was written")
        }
        CommitError::Store(_) => later("the server cannot write now; nothing was acknowledged"),
        CommitError::Rule { broken, .. } => describe(&ServerError::Rule(broken.clone())),
        CommitError::Precondition { .. } | CommitError::Raced | CommitError::Repeated => {
            describe(&ServerError::Contended)
        }
        CommitError::OwnerPurged => (
            StatusCode::UNPROCESSABLE_ENTITY,
            vec![Issue::error(
                IssueCode::BusinessRule,
                "nothing is stored for this patient any more; if that was not meant, give the \
                 patient a new id",
            )],
        ),
        CommitError::Read(ReadError::Overloaded) => describe(&ServerError::TooManyLarge),
        CommitError::Read(error) if error.is_passing() => rebuilding(),
        CommitError::Read(_) => describe(&ServerError::Interrupted),
        CommitError::OutcomeUnknown => (
            StatusCode::INTERNAL_SERVER_ERROR,
            vec![Issue {
                severity: Severity::Fatal,
                ..Issue::error(
                    IssueCode::Exception,
                    "it is unknown whether this was written; read it before sending it again",
                )
            }],
        ),
    }
}
