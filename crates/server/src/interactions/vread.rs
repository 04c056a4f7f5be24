//! vread (FHIR R4, 3.1.0.2).

use contract::Instance;
use fhir_core::{ResourceId, VersionId};
use http::StatusCode;

use super::preconditions::not_modified;
use crate::access;
use crate::call::{Answer, Call};
use crate::error::ServerError;

pub(crate) async fn vread(
    call: &Call<'_>,
    instance: &Instance,
    version: &ResourceId,
) -> Result<Answer, ServerError> {
    let visibility = call.visibility(&instance.resource_type).await?;
    // What is no number of ours is a version that never was.
    let version: VersionId = version.as_str().parse().map_err(|_| ServerError::VersionNotFound)?;
    let snapshot = call.snapshot(visibility);
    let found = snapshot.vread(&instance.resource_type, &instance.id, version).await?;
    let found = match found {
        None => access::by_context(call, instance, Some(version)).await?,
        found => found,
    };
    let found = found.ok_or(ServerError::VersionNotFound)?;
    if found.entry.flags.is_deleted() {
        return Err(ServerError::Deleted { version: found.entry.version });
    }
    let unchanged = not_modified(&call.conditions, found.entry.version, found.entry.instant);
    let mut answer = Answer::version(StatusCode::OK, found);
    if unchanged {
        answer.status = StatusCode::NOT_MODIFIED;
        answer.body = None;
    }
    Ok(answer)
}
