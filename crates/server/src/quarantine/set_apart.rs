//! What an invalid create or update comes to: an item, and an answer that says so.

use std::borrow::Cow;

use database::{
    Action, Body, Change, CommitId, Expect, Method, Terms, Transaction, VersionEntry, Visibility,
    quarantine,
};
use fhir_core::json::{Document, Replacements};
use fhir_core::{Issue, Resource, ResourceId, VersionId};
use http::StatusCode;

use super::weed::weed;
use super::{Item, Request};
use crate::call::{Answer, Call};
use crate::error::ServerError;
use crate::holding::Share;
use crate::interactions::write;
use crate::internal;
use crate::negotiation::Encoding;

/// What was to be written.
pub(crate) struct Wanted<'w, 'a> {
    pub(crate) resource: &'w Resource<'a>,
    pub(crate) request: Request,
}

/// Sets what was to be written apart. Where there is no room for it, it is refused.
pub(crate) async fn set_apart(
    call: &Call<'_>,
    wanted: Wanted<'_, '_>,
    mut issues: Vec<Issue>,
) -> Result<Answer, ServerError> {
    let mut refused = |why: String| {
        issues.insert(0, Issue::information(why));
        Err(ServerError::Invalid(std::mem::take(&mut issues)))
    };
    if is_full(call).await? {
        return refused("not stored and not quarantined: the quarantine is full".to_owned());
    }
    let patients = quarantine::patients_named(wanted.resource, &wanted.request.instance().id);
    if patients.len() > quarantine::MOST_PATIENTS {
        let most = quarantine::MOST_PATIENTS;
        return refused(format!(
            "not stored and not quarantined: it names more than {most} patients, and what is \
             quarantined may name no more"
        ));
    }
    // Its bytes among those of all requests, beside those of the body as it came.
    let (change, issues, _room) = prepared(call, wanted, (&patients, issues))?;
    let id = change.id.clone();
    let transaction = Transaction {
        id: CommitId(call.server.ids.next()),
        prepared_at: call.database.snapshot(Visibility::everything()).at(),
        changes: vec![change],
        conditions: Vec::new(),
    };
    let named = call.named.map(|named| Box::new(named.clone()));
    let terms = Terms { required: Vec::new(), named };
    let committed = call.database.commit_under(transaction, terms).await;
    committed.map_err(|error| write::refused(error).1)?;
    Ok(answer(&id, &issues))
}

/// The change that sets it apart, what is wrong with it, and the room that it takes until it is
/// committed. All else that it was made from is gone then.
fn prepared(
    call: &Call<'_>,
    wanted: Wanted<'_, '_>,
    (patients, issues): (&[ResourceId], Vec<Issue>),
) -> Result<(Change, Vec<Issue>, Share), ServerError> {
    let (body, encoding) = match call.original {
        Some((body, encoding)) => (body, encoding),
        None => (wanted.resource.value().raw().as_bytes(), Encoding::Json),
    };
    // In base64 it is longer by a third; the rest of an item is short.
    let room = call.server.holding.room(body.len().div_ceil(3) * 4)?;
    let item = Item {
        id: write::new_id(call.server),
        received: call.server.clock.now(),
        sender: call.grant.client.clone().unwrap_or_default(),
        user: call.grant.user.clone(),
        request_id: Some(call.request_id.to_owned()).filter(|id| !id.is_empty()),
        request: wanted.request,
        encoding,
        body: Cow::Borrowed(body),
        issues,
    };
    let json = item.written(patients);
    let document = Document::parse(&json).map_err(ServerError::InvalidJson)?;
    let resource = Resource::new(document.root()).map_err(ServerError::InvalidResource)?;
    let schema = call.database.schema();
    let stored = Body::of(&resource, &item.id, &Replacements::default(), schema);
    let change = Change {
        resource_type: internal::of(quarantine::TYPE),
        id: item.id,
        action: Action::Write { body: Box::new(stored), method: Method::Post },
        expect: Expect::New,
    };
    Ok((change, item.issues, room))
}

/// Whether the quarantine holds all that it may.
async fn is_full(call: &Call<'_>) -> Result<bool, ServerError> {
    let validation = &call.server.validations[&call.grant.tenant];
    let (shelf, limits) = (&validation.shelf, &call.server.limits);
    shelf.follow(call.database).await?;
    let is_full = || shelf.is_full(limits.quarantine_items, limits.quarantine_bytes);
    if !is_full() {
        return Ok(false);
    }
    weed(&call.server.databases[&call.grant.tenant], validation).await?;
    Ok(is_full())
}

/// The answer to a request that was answered by setting its resource apart.
pub(crate) async fn answered(call: &Call<'_>, entry: &VersionEntry) -> Result<Answer, ServerError> {
    let snapshot = call.database.snapshot(Visibility::everything());
    let (of, id) = (&entry.resource_type, &entry.id);
    let version = snapshot.vread(of, id, VersionId::FIRST).await?;
    let item = Item::read(&version.ok_or(ServerError::Interrupted)?)?;
    let newest = snapshot.newest(of, id).await?;
    Ok(match newest.is_some_and(|newest| newest.flags.is_deleted()) {
        true => {
            let mend = "It was released or discarded since: ask for the resource first";
            answer_of(&item.id, &item.issues, mend)
        }
        false => answer(&item.id, &item.issues),
    })
}

fn answer(id: &ResourceId, issues: &[Issue]) -> Answer {
    let mend = "Mend it and send it again, or ask whoever runs this server to release it when it \
                has become valid";
    answer_of(id, issues, mend)
}

fn answer_of(id: &ResourceId, issues: &[Issue], mend: &str) -> Answer {
    let text =
        format!("not stored as a resource: it is invalid, and was quarantined as {id}. {mend}");
    let mut told = vec![Issue::information(text)];
    told.extend(issues.iter().cloned());
    Answer {
        location: Some(format!("$quarantine?item={id}")),
        told,
        ..Answer::empty(StatusCode::ACCEPTED)
    }
}

/// Judges what an update expects of the newest version, before it is set apart.
///
/// # Errors
/// As the commit would.
pub(crate) fn check_expected(
    expect: &Expect,
    newest: Option<&VersionEntry>,
) -> Result<(), ServerError> {
    let there = newest.filter(|newest| !newest.flags.is_deleted());
    let conflict = || ServerError::VersionConflict { newest: there.map(|newest| newest.version) };
    let is_met = match expect {
        Expect::New | Expect::Any => true,
        Expect::Absent if there.is_some() => return Err(ServerError::AlreadyThere),
        Expect::Absent => true,
        Expect::Never => newest.is_none(),
        Expect::Exists => there.is_some(),
        Expect::Versions(versions) => newest.is_some_and(|it| versions.contains(&it.version)),
        Expect::Existing(versions) => there.is_some_and(|it| versions.contains(&it.version)),
    };
    if is_met { Ok(()) } else { Err(conflict()) }
}
