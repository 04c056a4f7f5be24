//! patch (FHIR R4, 3.1.0.6) and conditional patch (3.1.0.6.1): JSON Patch and
//! FHIRPath Patch, applied to the newest version; the result goes the way of an update's body.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use contract::Instance;
use database::{Condition, Expect, Method, Snapshot, Visibility};
use fhir_core::json::{Document, Value};
use fhir_core::{Resource, ResourceType, VersionId};
use fhir_patch::{FhirPathPatch, JsonPatch, PatchError, check_kept};

use super::preconditions::expected;
use super::retries::Retries;
use super::update::MayCreate;
use super::{update, write};
use crate::access;
use crate::call::{Answer, Call};
use crate::criteria::Criteria;
use crate::error::ServerError;
use crate::holding::Share;
use crate::negotiation::JSON_PATCH;
use crate::validation::Judgement;

/// A resource as a patch leaves it, and the version that was patched.
#[derive(Debug)]
pub(crate) struct Patched {
    pub(crate) json: Vec<u8>,
    pub(crate) version: VersionId,
    /// Its bytes among those of all requests, as if it had been sent.
    _room: Share,
}

pub(crate) async fn patch(call: &Call<'_>, instance: &Instance) -> Result<Answer, ServerError> {
    let mut retries = Retries::new(&*call.server.clock);
    loop {
        let snapshot = call.snapshot(Visibility::everything());
        let done = attempt(call, instance, &snapshot, Vec::new()).await;
        if !has_raced(&done) {
            return done;
        }
        retries.again().await?;
    }
}

/// Patches the one match; without one there is nothing to patch (HTTP-126).
pub(crate) async fn conditional_patch(
    call: &Call<'_>,
    of: &ResourceType,
) -> Result<Answer, ServerError> {
    let mut retries = Retries::new(&*call.server.clock);
    loop {
        let snapshot = call.snapshot(Visibility::everything());
        let (instance, criteria) = one_match(call, of, &snapshot).await?;
        let condition = criteria.condition(vec![instance.id.clone()]);
        let done = attempt(call, &instance, &snapshot, vec![condition]).await;
        if !has_raced(&done) {
            return done;
        }
        retries.again().await?;
    }
}

/// The one resource that the criteria of a conditional patch match in the snapshot, and these.
///
/// # Errors
/// When the caller may not search, the criteria cannot be used, or match none or several.
pub(crate) async fn one_match(
    call: &Call<'_>,
    of: &ResourceType,
    snapshot: &Snapshot,
) -> Result<(Instance, Criteria), ServerError> {
    let criteria = Criteria::read(call, of, call.query).await?;
    let found = criteria.find(call, snapshot, 2).await?;
    match found.as_slice() {
        [id] => Ok((Instance { resource_type: of.clone(), id: id.clone() }, criteria)),
        [] => Err(ServerError::NotFound),
        _ => Err(ServerError::MultipleMatches { criteria: call.query.to_owned() }),
    }
}

async fn attempt(
    call: &Call<'_>,
    instance: &Instance,
    snapshot: &Snapshot,
    conditions: Vec<Condition>,
) -> Result<Answer, ServerError> {
    let patched = patched(call, instance, snapshot).await?;
    let document = Document::parse(&patched.json).map_err(ServerError::InvalidJson)?;
    let resource = Resource::new(document.root()).map_err(ServerError::InvalidResource)?;
    let expect = Expect::Versions(vec![patched.version]);
    update::check_identity(&resource, instance)?;
    access::check_resource(call, &call.interaction, &resource, &instance.id).await?;
    let judged = match update::judged(call, instance, &resource)? {
        Judgement::MayBeWritten(judged) => judged,
        // What it makes nobody sent: whoever patches has the resource as it was.
        Judgement::IsSetApart(issues) => return Err(ServerError::Invalid(issues)),
    };
    let name = (instance, &resource);
    let change = update::change(call, name, &judged, Method::Patch, expect).await?;
    let written = write::commit(call, change, snapshot.at(), conditions).await?;
    let answer = write::answer(call, &instance.resource_type, &instance.id, written).await?;
    Ok(Answer { told: judged.told, ..answer })
}

/// Whether others wrote between the snapshot and the commit. What the request itself expects of
/// the version is judged on the snapshot, so that is judged anew.
pub(crate) fn has_raced(done: &Result<Answer, ServerError>) -> bool {
    use database::CommitError::Raced;
    matches!(done, Err(ServerError::PatchedMeanwhile | ServerError::Commit(Raced)))
}

/// The resource as the call's patch leaves it, from what the snapshot has.
///
/// # Errors
/// When the caller may not update it, it is not there, another version was expected, the patch
/// cannot be read or applied, or others hold too much for what it makes.
pub(crate) async fn patched(
    call: &Call<'_>,
    instance: &Instance,
    snapshot: &Snapshot,
) -> Result<Patched, ServerError> {
    let may_create = update::may_write(call, instance).await?;
    let newest = snapshot.newest(&instance.resource_type, &instance.id).await?;
    let newest = newest.ok_or(ServerError::NotFound)?;
    let version = newest.version;
    if newest.flags.is_deleted() {
        return Err(ServerError::Deleted { version });
    }
    if matches!(may_create, MayCreate::Seen(seen) if seen != version) {
        return Err(ServerError::PatchedMeanwhile);
    }
    match expected(&call.conditions)? {
        Expect::Absent => return Err(ServerError::AlreadyThere),
        Expect::Versions(versions) if !versions.contains(&version) => {
            return Err(ServerError::VersionConflict { newest: Some(version) });
        }
        _ => {}
    }
    let stored = snapshot.load(newest).await?.json.ok_or(ServerError::Interrupted)?;
    let (json, room) = apply(call, &stored)?;
    Ok(Patched { json, version, _room: room })
}

/// The stored resource as the call's patch leaves it, and the room that it takes.
fn apply(call: &Call<'_>, stored: &[u8]) -> Result<(Vec<u8>, Share), ServerError> {
    let target = Document::parse(stored).map_err(ServerError::InvalidJson)?;
    let target = target.root();
    let (json, mut room) = match (call.json_patch, &call.resource) {
        (Some(patch), _) => json_patch(call, patch, target)?,
        (None, None) => return Err(ServerError::BodyMissing),
        (None, Some(binary)) if binary.resource_type().as_str() == "Binary" => {
            let text = in_binary(binary)?;
            let patch = Document::parse(&text)
                .map_err(|error| ServerError::InvalidJson(error).at("Binary.data"))?;
            json_patch(call, patch.root(), target)?
        }
        (None, Some(parameters)) => {
            let patch = FhirPathPatch::read(parameters).map_err(refused)?;
            let schema = call.database.schema();
            let (limits, room) = room(call, target, (parameters.value(), 0))?;
            (patch.apply(schema, target, &limits).map_err(refused)?, room)
        }
    };
    let result = Document::parse(&json).map_err(ServerError::InvalidJson)?;
    check_kept(target, result.root()).map_err(refused)?;
    room.shrink(json.len());
    Ok((json, room))
}

fn json_patch(
    call: &Call<'_>,
    patch: Value<'_>,
    target: Value<'_>,
) -> Result<(Vec<u8>, Share), ServerError> {
    let sent = patch;
    let patch = JsonPatch::read(patch).map_err(refused)?;
    let (limits, room) = room(call, target, (sent, patch.copies()))?;
    Ok((patch.apply(target, &limits).map_err(refused)?, room))
}

/// Room for the most that a patch can make of `target`: both together, with a `null` for each item
/// of a list whose extensions may stand beside it, twice that with each copy, and no more than what
/// an update may bring.
fn room(
    call: &Call<'_>,
    target: Value<'_>,
    (patch, copies): (Value<'_>, usize),
) -> Result<(fhir_patch::Limits, Share), ServerError> {
    let longest = call.server.limits.body_bytes;
    let items = |of: Value<'_>| 1 + of.raw().bytes().filter(|byte| *byte == b',').count();
    let nulls = "null,".len() * (items(target) + items(patch));
    let together = target.raw().len() + patch.raw().len() + nulls;
    let doubled = u32::try_from(copies).ok().and_then(|copies| 2_usize.checked_pow(copies));
    let bytes = doubled
        .and_then(|times| together.checked_mul(times))
        .map_or(longest, |most| most.min(longest));
    Ok((fhir_patch::Limits { bytes }, call.server.holding.room(bytes)?))
}

fn refused(error: PatchError) -> ServerError {
    ServerError::Patch(Box::new(error))
}

/// The JSON Patch in a Binary: an entry of a Bundle has no other place for it (HTTP-127).
fn in_binary(binary: &Resource<'_>) -> Result<Vec<u8>, ServerError> {
    let invalid = |element: &str, text: &str| {
        let issue = fhir_core::Issue::error(fhir_core::IssueCode::Value, text).at(element);
        ServerError::InvalidContent(vec![issue])
    };
    if binary.value().get_str("contentType").as_deref() != Some(JSON_PATCH) {
        let text = format!("a Binary is taken as a patch when its contentType is {JSON_PATCH}");
        return Err(invalid("Binary.contentType", &text));
    }
    let data = binary.value().get_str("data").unwrap_or_default();
    let data: String = data.split_ascii_whitespace().collect();
    STANDARD.decode(data).map_err(|_| invalid("Binary.data", "the patch must be in base64"))
}
