//! A Binary is as secret as the resource that its `securityContext` names (FHIR R4, Binary): whoever
//! may read that may read the Binary, of whatever type it is. A Binary in a patient's own context is
//! of that patient's part of the data already, for searches and histories too; by any other it is
//! read by its id and version alone.

use contract::{Clause, Instance, Interaction};
use database::{ReadError, Snapshot, StoredVersion, VersionEntry, Visibility, where_it_may_last};
use fhir_core::json::Document;
use fhir_core::{ResourceId, ResourceType, VersionId};

use super::members::named;
use super::{Reach, reach, visibility};
use crate::call::Call;
use crate::error::ServerError;

/// What the caller of a read or vread sees of a Binary for its security context, where it sees
/// nothing of it otherwise: the newest version, or this one. What the newest says counts for all
/// of them.
///
/// # Errors
/// When that cannot be told.
pub(crate) async fn by_context(
    call: &Call<'_>,
    instance: &Instance,
    version: Option<VersionId>,
) -> Result<Option<StoredVersion>, ServerError> {
    let of = &instance.resource_type;
    if of.as_str() != "Binary" {
        return Ok(None);
    }
    // What any rule says of the content of Binaries themselves, their context does not set aside.
    let is_plain = |it: &Clause| it.filter.is_none() && it.without_labels.is_empty();
    match reach(call, &call.interaction, of)? {
        Reach::Within(clauses) if clauses.iter().all(is_plain) => {}
        _ => return Ok(None),
    }
    // What is looked at and not shown is not counted, as what is not there is not.
    let all = call.unaccounted(Visibility::everything());
    let newest = there(all.read(of, &instance.id).await)?;
    let Some(newest) = newest.filter(|newest| !newest.entry.flags.is_deleted()) else {
        return Ok(None);
    };
    if !sees_context(call, &all, &newest).await? {
        return Ok(None);
    }
    call.snapshot(Visibility::everything()).newest(of, &instance.id).await?;
    let Some(version) = version.filter(|version| *version != newest.entry.version) else {
        return Ok(Some(newest));
    };
    match there(all.vread(of, &instance.id, version).await)? {
        Some(older) if sees_context(call, &all, &older).await? => Ok(Some(older)),
        _ => Ok(None),
    }
}

/// What was read; what was purged is not there.
fn there(
    read: Result<Option<StoredVersion>, ReadError>,
) -> Result<Option<StoredVersion>, ServerError> {
    match read {
        Err(ReadError::Purged) => Ok(None),
        read => Ok(read?),
    }
}

/// Whether the caller may read what a version names as its context, as that is at the same instant.
async fn sees_context(
    call: &Call<'_>,
    all: &Snapshot,
    version: &StoredVersion,
) -> Result<bool, ServerError> {
    let Some(json) = &version.json else { return Ok(false) };
    let named = where_it_may_last(json.len(), || context_of(json, call.server.base.as_str()))?;
    match named {
        // No chain of Binaries: each names what is no Binary, or nobody.
        Some((of, id)) if of.as_str() != "Binary" => sees(call, all, (&of, &id)).await,
        _ => Ok(false),
    }
}

/// What the JSON of a Binary names as its context.
fn context_of(json: &[u8], base: &str) -> Result<Option<(ResourceType, ResourceId)>, ServerError> {
    let document = Document::parse(json).map_err(ServerError::InvalidJson)?;
    let context = document.root().get("securityContext");
    let reference = context.and_then(|context| context.get("reference")?.as_str());
    Ok(reference.and_then(|text| named(&text, base)))
}

/// Whether a resource is there and the caller may read it.
async fn sees(
    call: &Call<'_>,
    all: &Snapshot,
    (of, id): (&ResourceType, &ResourceId),
) -> Result<bool, ServerError> {
    let read = Interaction::Read(Instance { resource_type: of.clone(), id: id.clone() });
    let seen = match visibility(call, &read, of).await {
        Err(ServerError::Denied(_)) => return Ok(false),
        seen => seen?,
    };
    let newest = call.database.snapshot_at(all.at(), seen).newest(of, id).await?;
    Ok(newest.is_some_and(|it: VersionEntry| !it.flags.is_deleted()))
}
