//! delete (FHIR R4, 3.1.0.7).

use contract::{Instance, Interaction};
use database::{Action, Change, Expect};
use http::StatusCode;

use super::preconditions::expected;
use super::retries::Retries;
use super::update::MayCreate;
use super::write;
use crate::Server;
use crate::access::{self, Reach};
use crate::call::{Answer, Call};
use crate::error::ServerError;

/// What else than a deletion a resource takes, and what a type does with criteria.
const OF_INSTANCE: &str = "GET, HEAD, PUT, PATCH";
const OF_TYPE: &str = "GET, HEAD, POST, PUT, PATCH";

/// Refuses to delete resources of a type that the configuration says are not (HTTP-133).
///
/// # Errors
/// [`ServerError::NotDeletable`].
pub(crate) fn check_deletable(
    server: &Server,
    interaction: &Interaction,
) -> Result<(), ServerError> {
    let (of, allow) = match interaction {
        Interaction::Delete(instance) => (&instance.resource_type, OF_INSTANCE),
        Interaction::ConditionalDelete(of) => (of, OF_TYPE),
        _ => return Ok(()),
    };
    match server.not_deletable.contains(of) {
        true => Err(ServerError::NotDeletable { resource_type: of.clone(), allow }),
        false => Ok(()),
    }
}

/// Deleting what is not there, or not any more, succeeds and writes nothing (HTTP-131).
pub(crate) async fn delete(call: &Call<'_>, instance: &Instance) -> Result<Answer, ServerError> {
    if access::reach(call, &call.interaction, &instance.resource_type)? == Reach::Whole {
        return commit(call, instance, expected(&call.conditions)?).await;
    }
    let mut retries = Retries::new(&*call.server.clock);
    loop {
        let Some(expect) = seen(call, instance).await? else {
            return Ok(Answer::empty(StatusCode::NO_CONTENT));
        };
        match commit(call, instance, expect).await {
            // Whether the caller may delete what came between is judged anew.
            Err(ServerError::VersionConflict { .. }) => retries.again().await?,
            done => return done,
        }
    }
}

/// What to expect of a resource of which the caller sees a part alone; `None` where there is
/// nothing to delete for it: what is deleted already, or never was there to be seen.
///
/// # Errors
/// When the request expects what is not so, or that cannot be told.
pub(crate) async fn seen(
    call: &Call<'_>,
    instance: &Instance,
) -> Result<Option<Expect>, ServerError> {
    let of = &instance.resource_type;
    let snapshot = call.snapshot(access::visibility(call, &call.interaction, of).await?);
    let newest = snapshot.newest(of, &instance.id).await?;
    let expect = expected(&call.conditions)?;
    match newest.filter(|newest| !newest.flags.is_deleted()) {
        Some(newest) => {
            access::check_replaced(&snapshot, &newest).await?;
            MayCreate::Seen(newest.version).narrow(expect).map(Some)
        }
        None => match expect {
            Expect::Any | Expect::Absent | Expect::Never | Expect::New => Ok(None),
            Expect::Exists | Expect::Versions(_) | Expect::Existing(_) => {
                Err(ServerError::VersionConflict { newest: None })
            }
        },
    }
}

async fn commit(
    call: &Call<'_>,
    instance: &Instance,
    expect: Expect,
) -> Result<Answer, ServerError> {
    let change = Change {
        resource_type: instance.resource_type.clone(),
        id: instance.id.clone(),
        action: Action::Delete,
        expect,
    };
    let (_, written) = write::commit_one(call, change).await?;
    Ok(write::deleted(call, vec![(instance.clone(), written)]).await)
}
