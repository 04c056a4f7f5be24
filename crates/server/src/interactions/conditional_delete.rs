//! conditional delete (FHIR R4, 3.1.0.7.1): what criteria match is deleted, one resource, or as
//! many at most as the configuration allows, all or none.

use contract::Instance;
use database::{Action, Change, CommitError, CommitId, Expect, Snapshot, Transaction, Visibility};
use fhir_core::{ResourceId, ResourceType};
use http::StatusCode;

use super::preconditions::expected;
use super::retries::Retries;
use super::update::MayCreate;
use super::write;
use crate::access::{self, Reach};
use crate::call::{Answer, Call};
use crate::criteria::Criteria;
use crate::error::ServerError;
use crate::validation::NotCommitted;

/// Deleting what nothing matches succeeds and writes nothing (HTTP-136).
pub(crate) async fn conditional_delete(
    call: &Call<'_>,
    of: &ResourceType,
) -> Result<Answer, ServerError> {
    call.allowed()?;
    let most = call.server.limits.conditional_deletes.saturating_add(1);
    let mut retries = Retries::new(&*call.server.clock);
    loop {
        let snapshot = call.snapshot(Visibility::everything());
        // Read after that, so that what codes mean is no older.
        let criteria = Criteria::read(call, of, call.query).await?;
        let found = criteria.find(call, &snapshot, most).await?;
        let expect = expectation(call, &found)?;
        if found.is_empty() && call.named.is_none() {
            return Ok(Answer::empty(StatusCode::NO_CONTENT));
        }
        let pinned = pinned(call, &snapshot, (of, &found), &expect).await;
        let (is_pinned, pinned) = match pinned? {
            Some(pinned) => (true, pinned),
            None => (false, vec![expect; found.len()]),
        };
        let delete = |(id, expect): (&ResourceId, Expect)| Change {
            resource_type: of.clone(),
            id: id.clone(),
            action: Action::Delete,
            expect,
        };
        let transaction = Transaction {
            id: CommitId(call.server.ids.next()),
            prepared_at: snapshot.at(),
            changes: found.iter().zip(pinned).map(delete).collect(),
            conditions: vec![criteria.condition(found.clone())],
        };
        let terms = call.terms(&transaction.changes).await?;
        match call.commit(transaction, terms).await {
            Ok(receipt) => {
                let instance = |id| Instance { resource_type: of.clone(), id };
                let gone = found.into_iter().map(instance).zip(receipt.written);
                return Ok(write::deleted(call, gone.collect()).await);
            }
            Err(NotCommitted::Commit(CommitError::Raced)) => retries.again().await?,
            Err(NotCommitted::Commit(CommitError::Precondition { .. })) if is_pinned => {
                retries.again().await?;
            }
            Err(error) => return Err(write::refused(error).1),
        }
    }
}

/// What is expected of each match where the caller sees a part of the type alone: that version,
/// which was seen to be within it. `None` where it sees all.
///
/// # Errors
/// When another version was expected, or one of them is of somebody else too.
pub(crate) async fn pinned(
    call: &Call<'_>,
    snapshot: &Snapshot,
    (of, found): (&ResourceType, &[ResourceId]),
    expect: &Expect,
) -> Result<Option<Vec<Expect>>, ServerError> {
    if access::reach(call, &call.interaction, of)? == Reach::Whole {
        return Ok(None);
    }
    let changeable = call.unaccounted(access::visibility(call, &call.interaction, of).await?);
    let mut pinned = Vec::with_capacity(found.len());
    for id in found {
        let newest = snapshot.newest(of, id).await?.ok_or(ServerError::Interrupted)?;
        access::check_replaced(&changeable, &newest).await?;
        pinned.push(MayCreate::Seen(newest.version).narrow(expect.clone())?);
    }
    Ok(Some(pinned))
}

/// What is expected of each of the matches.
///
/// # Errors
/// When there are more than may be deleted at once, or none of the version that is asked for.
pub(crate) fn expectation(call: &Call<'_>, found: &[ResourceId]) -> Result<Expect, ServerError> {
    let criteria = || call.query.to_owned();
    let expect = expected(&call.conditions)?;
    // A version is that of one resource.
    let limit = match expect {
        Expect::Any => call.server.limits.conditional_deletes,
        _ => 1,
    };
    match found.len() {
        0 if call.conditions.if_match.is_some() => {
            Err(ServerError::VersionConflict { newest: None })
        }
        matches if matches > limit && limit <= 1 => {
            Err(ServerError::MultipleMatches { criteria: criteria() })
        }
        matches if matches > limit => {
            Err(ServerError::TooManyMatches { criteria: criteria(), limit })
        }
        _ => Ok(expect),
    }
}
