//! What may be written, and what whoever wrote may be told of it.

use contract::{Instance, Interaction};
use database::{
    Author, Body, Broken, Change, Maker, Required, Rows, Snapshot, VersionEntry, Visibility,
};
use fhir_core::{Resource, ResourceId, ResourceType, VersionId};

use super::{Reach, author_of, reach, visibility};
use crate::call::Call;
use crate::error::ServerError;
use crate::interactions::write::as_it_came;

/// Who writes, for the record.
pub(crate) fn author(call: &Call<'_>) -> Option<Author> {
    author_of(call.grant.client.as_deref(), call.grant.user.as_deref())
}

/// Whom what the caller writes there has on record: who made what is there, and if nothing is, the
/// caller.
///
/// # Errors
/// When that cannot be read.
pub(crate) async fn maker(
    call: &Call<'_>,
    of: &ResourceType,
    id: &ResourceId,
) -> Result<Option<Author>, ServerError> {
    Ok(match call.snapshot(Visibility::everything()).maker(of, id).await? {
        Maker::Writer => author(call),
        Maker::Author(author) => Some(author),
        Maker::Nobody => None,
    })
}

/// Checks that content that `interaction` writes is within a rule for it, and of nobody else.
///
/// # Errors
/// [`ServerError::OutsideAccess`] when it is not.
pub(crate) async fn check_body(
    call: &Call<'_>,
    interaction: &Interaction,
    (of, id): (&ResourceType, &ResourceId),
    body: &Body,
) -> Result<(), ServerError> {
    if reach(call, interaction, of)? == Reach::Whole {
        return Ok(());
    }
    let snapshot = call.snapshot(visibility(call, interaction, of).await?);
    match snapshot.may_be_written((of, id), body).await? {
        true => Ok(()),
        false => Err(ServerError::OutsideAccess),
    }
}

/// The same of a resource that is not made ready to be stored yet.
///
/// # Errors
/// As [`check_body`].
pub(crate) async fn check_resource(
    call: &Call<'_>,
    interaction: &Interaction,
    resource: &Resource<'_>,
    id: &ResourceId,
) -> Result<(), ServerError> {
    let of = resource.resource_type();
    if reach(call, interaction, of)? == Reach::Whole {
        return Ok(());
    }
    let body = Body::of(resource, id, &as_it_came(), call.database.schema());
    let body = match maker(call, of, id).await? {
        Some(author) => body.written_by(author),
        None => body,
    };
    check_body(call, interaction, (of, id), &body).await
}

/// Checks that what is there, in what an interaction may change of the data, may be taken away or
/// another version put in its place: it is within a rule, and of nobody else.
///
/// # Errors
/// [`ServerError::OutsideAccess`] when it is not.
pub(crate) async fn check_replaced(
    snapshot: &Snapshot,
    there: &VersionEntry,
) -> Result<(), ServerError> {
    // What is looked at to judge counts for nobody.
    match snapshot.clone().counted(&Rows::default()).may_be_replaced(there).await? {
        true => Ok(()),
        false => Err(ServerError::OutsideAccess),
    }
}

/// Whether the caller may read a version.
///
/// # Errors
/// When that cannot be told.
pub(crate) async fn reads(
    call: &Call<'_>,
    (of, id): (&ResourceType, &ResourceId),
    version: VersionId,
) -> Result<bool, ServerError> {
    let read = Interaction::Read(Instance { resource_type: of.clone(), id: id.clone() });
    match reach(call, &read, of) {
        Ok(Reach::Whole) => Ok(true),
        Ok(Reach::Within(_)) => {
            let snapshot = call.snapshot(visibility(call, &read, of).await?);
            Ok(snapshot.vread(of, id, version).await?.is_some())
        }
        Err(ServerError::Denied(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Checks that what must be there for these changes is there for the caller too: a reference to
/// what it may not see leads to nothing.
///
/// # Errors
/// The rule that is broken, with the index of the change.
pub(crate) async fn check_references(
    call: &Call<'_>,
    changes: &[Change],
    required: &[Required],
) -> Result<(), (usize, ServerError)> {
    for Required { change, element, resource_type: of, id } in required {
        let is_written = |it: &Change| it.resource_type == *of && it.id == *id;
        if changes.iter().any(is_written) {
            continue;
        }
        let is_there = is_there(call, of, id).await.map_err(|error| (*change, error))?;
        if !is_there {
            let (element, reference) = (element.clone(), format!("{of}/{id}"));
            let broken = Broken::Dangling { element, reference };
            return Err((*change, ServerError::Rule(broken)));
        }
    }
    Ok(())
}

/// Whether a resource is there for the caller, or may be: what it sees whole, the commit judges.
async fn is_there(
    call: &Call<'_>,
    of: &ResourceType,
    id: &ResourceId,
) -> Result<bool, ServerError> {
    let read = Interaction::Read(Instance { resource_type: of.clone(), id: id.clone() });
    match reach(call, &read, of) {
        Ok(Reach::Whole) => Ok(true),
        Ok(Reach::Within(_)) => {
            let snapshot = call.snapshot(visibility(call, &read, of).await?);
            let newest = snapshot.newest(of, id).await?;
            Ok(newest.is_some_and(|entry: VersionEntry| !entry.flags.is_deleted()))
        }
        Err(ServerError::Denied(_)) => Ok(false),
        Err(error) => Err(error),
    }
}
