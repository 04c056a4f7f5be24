//! delete (FHIR R4, 3.1.0.7).

use contract::Instance;
use database::{Action, Change};
use http::StatusCode;

use super::preconditions::expected;
use super::write;
use crate::call::{Answer, Call};
use crate::error::ServerError;

/// Deleting what is not there, or not any more, succeeds and writes nothing (HTTP-131).
pub(crate) async fn delete(call: &Call<'_>, instance: &Instance) -> Result<Answer, ServerError> {
    call.unrestricted()?;
    let change = Change {
        resource_type: instance.resource_type.clone(),
        id: instance.id.clone(),
        action: Action::Delete,
        expect: expected(&call.conditions)?,
    };
    let (_, written) = write::commit_one(call, change).await?;
    let version = written.version.map(|version| (version, written.instant));
    Ok(Answer { version, ..Answer::empty(StatusCode::NO_CONTENT) })
}
