//! What all writes share: checking content that comes in alone, committing, answering.

use contract::Instance;
use database::{
    Action, Author, Body, Change, CommitError, Condition, Method, Precondition, Receipt, T,
    Transaction, Written,
};
use fhir_core::json::{Kind, Replacements};
use fhir_core::{Instant, Issue, IssueCode, Resource, ResourceId, ResourceType, VersionId};
use fhir_schema::Schema;
use http::StatusCode;

use crate::bundle::references::conditional;
use crate::bundle::walk::{Place, walk};
use crate::call::{Answer, Call, Deleted, location};
use crate::error::ServerError;
use crate::negotiation::Return;
use crate::validation::NotCommitted;
use crate::{PublicBase, Server, access};

/// Checks the part of a resource that the server writes anew: what a `meta` holds that is no
/// object would be lost.
pub(crate) fn check_meta(resource: &Resource<'_>) -> Result<(), ServerError> {
    let meta = resource.value().get("meta");
    if meta.is_none_or(|meta| meta.kind() == Kind::Object) {
        return Ok(());
    }
    let expression = format!("{}.meta", resource.resource_type());
    let issue = Issue::error(IssueCode::Structure, "meta must be an object").at(expression);
    Err(ServerError::InvalidContent(vec![issue]))
}

/// Checks a resource that is written outside a transaction: references that only a transaction
/// can resolve are refused, never stored as text (HTTP-183).
pub(crate) fn check_alone(
    (schema, base): (&Schema, &PublicBase),
    resource: &Resource<'_>,
) -> Result<(), ServerError> {
    check_meta(resource)?;
    // A conditional reference has a question mark. Few resources have one, or anything escaped
    // that could be one, and the others need no walk.
    let text = resource.value().raw().as_bytes();
    if !text.contains(&b'?') && !text.contains(&b'\\') {
        return Ok(());
    }
    let mut issues = Issues::default();
    walk(schema, resource, &mut |place, value, path| {
        if place != Place::Reference {
            return;
        }
        let Some(text) = value.as_str() else { return };
        if conditional(base, &text).is_some() {
            let text = "a conditional reference is resolved in a transaction only; send the \
                        resource in one, or refer to Type/id";
            issues.note(|| Issue::error(IssueCode::Value, text).at(path.to_string()));
        }
    });
    issues.refuse_any()
}

/// How many issues one answer lists.
const MAX_ISSUES: usize = 50;

/// What is wrong with content, as far as an answer lists it.
#[derive(Debug, Default)]
pub(crate) struct Issues(Vec<Issue>);

impl Issues {
    /// Adds an issue unless there are enough.
    pub(crate) fn note(&mut self, issue: impl FnOnce() -> Issue) {
        if self.0.len() < MAX_ISSUES {
            self.0.push(issue());
        }
    }

    /// Whether no more issues are listed.
    pub(crate) fn is_full(&self) -> bool {
        self.0.len() >= MAX_ISSUES
    }

    /// Content with an issue is refused.
    pub(crate) fn refuse_any(self) -> Result<(), ServerError> {
        if self.0.is_empty() { Ok(()) } else { Err(ServerError::InvalidContent(self.0)) }
    }

    /// Content that the tenant's policy finds an issue with is refused.
    pub(crate) fn refuse_invalid(self) -> Result<(), ServerError> {
        if self.0.is_empty() { Ok(()) } else { Err(ServerError::Invalid(self.0)) }
    }
}

/// A body as it came, but for what is the server's.
pub(crate) fn as_it_came() -> Replacements {
    Replacements::default()
}

/// Commits one change. Says with what became of it where its commit is.
pub(crate) async fn commit_one(
    call: &Call<'_>,
    change: Change,
) -> Result<(T, Written), ServerError> {
    let at = call.database.snapshot(database::Visibility::everything()).at();
    commit(call, change, at, Vec::new()).await
}

/// Commits one change that was prepared as of `at`, where these conditions had those answers.
pub(crate) async fn commit(
    call: &Call<'_>,
    change: Change,
    at: T,
    conditions: Vec<Condition>,
) -> Result<(T, Written), ServerError> {
    let is_patch = matches!(change.action, Action::Write { method: Method::Patch, .. });
    let transaction = Transaction {
        id: database::CommitId(call.server.ids.next()),
        prepared_at: at,
        changes: vec![change],
        conditions,
    };
    let terms = call.terms(&transaction.changes).await?;
    let receipt = call.commit(transaction, terms).await;
    let receipt = receipt.map_err(|error| match refused(error).1 {
        ServerError::VersionConflict { .. } if is_patch => ServerError::PatchedMeanwhile,
        error => error,
    })?;
    Ok((receipt.t, written(&receipt, 0)?))
}

/// What became of one change.
pub(crate) fn written(receipt: &Receipt, index: usize) -> Result<Written, ServerError> {
    receipt.written.get(index).copied().ok_or(ServerError::Interrupted)
}

/// A failed commit as an error, with the index of the change that failed.
pub(crate) fn refused(error: impl Into<NotCommitted>) -> (Option<usize>, ServerError) {
    let error = match error.into() {
        NotCommitted::Commit(error) => error,
        NotCommitted::SearchParameter { change, issue } => {
            return (Some(change), ServerError::SearchParameter(issue));
        }
        NotCommitted::Interrupted => return (None, ServerError::Interrupted),
        NotCommitted::NotAudited(reason) => return (None, ServerError::NotAudited(reason)),
    };
    match error {
        CommitError::Precondition { change, failed } => {
            let error = match failed {
                Precondition::Missing => ServerError::VersionConflict { newest: None },
                Precondition::VersionConflict { newest } => {
                    ServerError::VersionConflict { newest: Some(newest) }
                }
                Precondition::Present => ServerError::AlreadyThere,
            };
            (Some(change), error)
        }
        CommitError::Rule { change, broken } => (Some(change), ServerError::Rule(broken)),
        other => (None, ServerError::Commit(other)),
    }
}

/// The body of a new resource with who makes it on record.
pub(crate) fn on_record(call: &Call<'_>, body: Body) -> Body {
    by(access::author(call), body)
}

/// The body of a resource that may be there with who made it on record.
///
/// # Errors
/// When that cannot be read.
pub(crate) async fn kept_on_record(
    call: &Call<'_>,
    (of, id): (&ResourceType, &ResourceId),
    body: Body,
) -> Result<Body, ServerError> {
    Ok(by(access::maker(call, of, id).await?, body))
}

fn by(author: Option<Author>, body: Body) -> Body {
    match author {
        Some(author) => body.written_by(author),
        None => body,
    }
}

/// The answer to a create or update, whose version the commit at `t` made. Whoever may not read it
/// learns of what it created where that is, and of nothing else (LEAK-13).
pub(crate) async fn answer(
    call: &Call<'_>,
    of: &fhir_core::ResourceType,
    id: &fhir_core::ResourceId,
    (t, written): (T, Written),
) -> Result<Answer, ServerError> {
    let version = written.version.ok_or(ServerError::Interrupted)?;
    let status = if written.created { StatusCode::CREATED } else { StatusCode::OK };
    let is_read = access::reads(call, (of, id), version).await?;
    if !is_read && !written.created {
        return Ok(Answer::empty(status));
    }
    let mut answer = Answer {
        version: Some((version, written.instant)),
        location: Some(location(of, id, version)),
        ..Answer::empty(status)
    };
    if is_read && matches!(call.preference, Return::Representation | Return::Default) {
        let snapshot = call.snapshot(database::Visibility::everything());
        answer.body = snapshot.written(of, id, t, (version, written.instant)).await?;
    }
    Ok(answer)
}

/// The answer to a deletion of these, in the versions that the commit made. Which version a
/// deletion is, it tells whoever may read what was deleted (LEAK-13).
pub(crate) async fn deleted(call: &Call<'_>, gone: Vec<(Instance, Written)>) -> Answer {
    let version = match gone.as_slice() {
        [(instance, written)] => told(call, instance, written).await,
        _ => None,
    };
    let deleted = gone.into_iter().filter(|(_, written)| written.changed);
    let deleted = deleted.filter_map(|(instance, written)| {
        written.version.map(|version| Deleted { instance, version })
    });
    Answer { version, deleted: deleted.collect(), ..Answer::empty(StatusCode::NO_CONTENT) }
}

/// The version of a deletion, for who may read what it deleted.
async fn told(
    call: &Call<'_>,
    instance: &Instance,
    written: &Written,
) -> Option<(VersionId, Instant)> {
    let version = written.version?;
    let content = VersionId::new(version.get().checked_sub(1)?)?;
    let of = (&instance.resource_type, &instance.id);
    // It is done: what cannot be told now is left out, and no error.
    let is_read = access::reads(call, of, content).await.unwrap_or(false);
    is_read.then_some((version, written.instant))
}

/// A new id of the server's.
pub(crate) fn new_id(server: &Server) -> fhir_core::ResourceId {
    fhir_core::ResourceId::from_uuid(server.ids.next())
}
