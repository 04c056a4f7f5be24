//! read (FHIR R4, 3.1.0.1) and conditional read (3.1.0.1.2).

use contract::Instance;
use http::StatusCode;

use super::preconditions::not_modified;
use crate::access;
use crate::call::{Answer, Call};
use crate::error::ServerError;

pub(crate) async fn read(call: &Call<'_>, instance: &Instance) -> Result<Answer, ServerError> {
    let visibility = call.visibility(&instance.resource_type).await?;
    let snapshot = call.snapshot(visibility);
    let version = snapshot.read(&instance.resource_type, &instance.id).await?;
    let version = match version {
        None => access::by_context(call, instance, None).await?,
        version => version,
    };
    let version = version.ok_or(ServerError::NotFound)?;
    if version.entry.flags.is_deleted() {
        return Err(ServerError::Deleted { version: version.entry.version });
    }
    let unchanged = not_modified(&call.conditions, version.entry.version, version.entry.instant);
    let mut answer = Answer::version(StatusCode::OK, version);
    if unchanged {
        answer.status = StatusCode::NOT_MODIFIED;
        answer.body = None;
    }
    Ok(answer)
}
