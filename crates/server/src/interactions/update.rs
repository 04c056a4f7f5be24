//! update (FHIR R4, 3.1.0.4) with update-as-create (3.1.0.4.1).

use contract::Instance;
use database::{Action, Change, Expect, Method, Visibility};
use fhir_core::json::{Kind, Value};
use fhir_core::{Resource, ResourceType, VersionId};

use super::patch::has_raced;
use super::preconditions::expected;
use super::retries::Retries;
use super::write;
use crate::access::{self, Reach};
use crate::call::{Answer, Call, Conditions};
use crate::error::ServerError;
use crate::quarantine::{Request, Wanted, check_expected, set_apart};
use crate::validation::{Judged, Judgement};

pub(crate) async fn update(call: &Call<'_>, instance: &Instance) -> Result<Answer, ServerError> {
    let mut retries = Retries::new(&*call.server.clock);
    loop {
        let done = attempt(call, instance).await;
        if !has_raced(&done) {
            return done;
        }
        retries.again().await?;
    }
}

async fn attempt(call: &Call<'_>, instance: &Instance) -> Result<Answer, ServerError> {
    let of = &instance.resource_type;
    let may_create = may_write(call, instance).await?;
    let resource = call.resource.as_ref().ok_or(ServerError::BodyMissing)?;
    let expect = may_create.narrow(expected(&call.conditions)?)?;
    check_identity(resource, instance)?;
    access::check_resource(call, &call.interaction, resource, &instance.id).await?;
    let judged = match judged(call, instance, resource)? {
        Judgement::MayBeWritten(judged) => judged,
        Judgement::IsSetApart(issues) => {
            let snapshot = call.database.snapshot(Visibility::everything());
            let newest = snapshot.newest(of, &instance.id).await?;
            check_expected(&expect, newest.as_ref())
                .map_err(|error| may_create.explain(error, &call.conditions))?;
            let newest = newest.map(|newest| newest.version);
            let request = Request::Update { instance: instance.clone(), newest };
            return set_apart(call, Wanted { resource, request }, issues).await;
        }
    };
    let change = change(call, (instance, resource), &judged, Method::Put, expect).await?;
    let written = write::commit_one(call, change).await;
    let written = written.map_err(|error| may_create.explain(error, &call.conditions))?;
    Ok(Answer { told: judged.told, ..write::answer(call, of, &instance.id, written).await? })
}

/// What the tenant's policy says of `resource`, whether it was sent or is what a patch left.
///
/// # Errors
/// When it is not the resource of the URL, or breaks a rule for what is written.
pub(crate) fn judged(
    call: &Call<'_>,
    instance: &Instance,
    resource: &Resource<'_>,
) -> Result<Judgement, ServerError> {
    check_identity(resource, instance)?;
    write::check_alone((call.database.schema(), &call.server.base), resource)?;
    call.judge(resource)
}

/// The change that makes `resource` the newest version.
///
/// # Errors
/// When who made it cannot be read.
pub(crate) async fn change(
    call: &Call<'_>,
    (instance, resource): (&Instance, &Resource<'_>),
    judged: &Judged,
    method: Method,
    expect: Expect,
) -> Result<Change, ServerError> {
    let schema = call.database.schema();
    let body = judged.body(resource, &instance.id, &write::as_it_came(), schema);
    let name = (&instance.resource_type, &instance.id);
    let body = write::kept_on_record(call, name, body).await?;
    Ok(Change {
        resource_type: instance.resource_type.clone(),
        id: instance.id.clone(),
        action: Action::Write { body: Box::new(body), method },
        expect,
    })
}

/// Whether an update may create what is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MayCreate {
    Yes,
    No,
    /// No; and the caller may replace this version alone, which it was seen to be allowed to.
    Seen(VersionId),
}

impl MayCreate {
    /// What to expect of the resource when `expect` is all that the request says.
    ///
    /// # Errors
    /// When the request insists on creating and may not.
    pub(crate) fn narrow(self, expect: Expect) -> Result<Expect, ServerError> {
        match (self, expect) {
            (Self::Seen(_), Expect::Absent | Expect::Never) => Err(ServerError::AlreadyThere),
            (Self::Seen(seen), Expect::Versions(versions) | Expect::Existing(versions))
                if !versions.contains(&seen) =>
            {
                Err(ServerError::VersionConflict { newest: Some(seen) })
            }
            (Self::Seen(seen), _) => Ok(Expect::Existing(vec![seen])),
            (Self::No, Expect::Absent | Expect::Never) => Err(ServerError::MayNotChooseIds),
            (Self::No, Expect::Any) => Ok(Expect::Exists),
            // The version of a deletion brings back what was deleted, which is creating.
            (Self::No, Expect::Versions(versions)) => Ok(Expect::Existing(versions)),
            (_, expect) => Ok(expect),
        }
    }

    /// The error to show for `error` of a narrowed update.
    pub(crate) fn explain(self, error: ServerError, conditions: &Conditions) -> ServerError {
        match error {
            // Whether the caller may write what came between is judged anew.
            ServerError::VersionConflict { .. } if matches!(self, Self::Seen(_)) => {
                ServerError::PatchedMeanwhile
            }
            ServerError::VersionConflict { newest: None }
                if self == Self::No && conditions.if_match.is_none() =>
            {
                ServerError::MayNotChooseIds
            }
            error => error,
        }
    }
}

/// Whether the caller may write under this id. An id the caller cannot see is answered as if it
/// did not exist, whether it does or not (contract, Existence).
///
/// # Errors
/// When it may not.
pub(crate) async fn may_write(
    call: &Call<'_>,
    instance: &Instance,
) -> Result<MayCreate, ServerError> {
    let of = &instance.resource_type;
    if access::reach(call, &call.interaction, of)? == Reach::Whole {
        return may_write_any(call, of);
    }
    let snapshot = call.snapshot(access::visibility(call, &call.interaction, of).await?);
    match snapshot.newest(of, &instance.id).await? {
        Some(newest) if !newest.flags.is_deleted() => {
            access::check_replaced(&snapshot, &newest).await?;
            Ok(MayCreate::Seen(newest.version))
        }
        _ => Err(ServerError::NotFound),
    }
}

/// Whether the caller may write under any id of a type.
///
/// # Errors
/// When it may not.
pub(crate) fn may_write_any(call: &Call<'_>, of: &ResourceType) -> Result<MayCreate, ServerError> {
    match access::reach(call, &call.interaction, of)? {
        Reach::Within(_) => Err(ServerError::TakesAll),
        // Under a rule within all the caller sees every id of the type; creating under one takes
        // the right to create as well.
        Reach::Whole if contract::may_choose_ids(call.grant, of) => Ok(MayCreate::Yes),
        Reach::Whole => Ok(MayCreate::No),
    }
}

/// Checks that the body is the resource of the URL (HTTP-075, HTTP-091).
pub(crate) fn check_identity(
    resource: &Resource<'_>,
    instance: &Instance,
) -> Result<(), ServerError> {
    if *resource.resource_type() != instance.resource_type {
        return Err(ServerError::TypeDiffers {
            expected: instance.resource_type.clone(),
            found: resource.resource_type().clone(),
        });
    }
    match resource.value().get_str("id") {
        Some(id) if id == instance.id.as_str() => check_whole(resource),
        found => Err(ServerError::IdDiffers { found: found.map(|id| id.into_owned()) }),
    }
}

/// Checks that the body is no part of a resource, which would replace the whole (HTTP-098).
pub(crate) fn check_whole(resource: &Resource<'_>) -> Result<(), ServerError> {
    const SYSTEM: &str = "http://terminology.hl7.org/CodeSystem/v3-ObservationValue";
    let meta = resource.value().get("meta").filter(|meta| meta.kind() == Kind::Object);
    let tags = meta.and_then(|meta| meta.get("tag")).filter(|tags| tags.kind() == Kind::Array);
    let subsetted = |tag: Value<'_>| {
        tag.kind() == Kind::Object
            && tag.get_str("code").is_some_and(|code| code == "SUBSETTED")
            && tag.get_str("system").is_some_and(|system| system == SYSTEM)
    };
    match tags.is_some_and(|tags| tags.items().any(subsetted)) {
        true => Err(ServerError::Subsetted),
        false => Ok(()),
    }
}
