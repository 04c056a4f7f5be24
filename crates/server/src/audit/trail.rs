//! What a request shows and does, noted on the way by who shows and does it.

use std::collections::{BTreeSet, HashSet};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use contract::{Clock, Interaction};
use database::Visibility;
use database::audit::{Act, Event, NotKept, Outcome, Shown};
use fhir_core::{Instance, ResourceId, ResourceType, VersionId};
use http::StatusCode;

use super::patients::each_patient;
use super::{Audited, act_of, outcome_of, synced};
use crate::call::{Answer, Call};
use crate::error::ServerError;
use crate::error_answer::ErrorAnswer;
use crate::negotiation::parameters;

/// The notes of one request, held by all that works on it. Its event is written when it is
/// answered; where nobody waits for the answer any more, when the work on it has ended.
#[derive(Clone, Default)]
pub(crate) struct Trail(Arc<Mutex<Noted>>);

#[derive(Default)]
struct Noted {
    notes: Notes,
    audited: Option<Audited>,
}

/// What a request had done when its client had left is 499, after a convention of proxies.
const LEFT: u16 = 499;

impl Drop for Noted {
    fn drop(&mut self) {
        if let Some(Audited { log, mut event, is_bundle }) = self.audited.take() {
            let notes = std::mem::take(&mut self.notes);
            let last = notes.acts.last().filter(|_| !is_bundle);
            event.act.status = last.map_or(LEFT, |act| act.status);
            event.outcome = outcome_of_status(event.act.status);
            notes.tell(&mut event, is_bundle);
            if let Err(error) = log.append(&event) {
                tracing::error!(%error, "a request whose client had left waits for the audit log");
            }
        }
    }
}

#[derive(Default)]
struct Notes {
    acts: Vec<Act>,
    shown: Vec<Shown>,
    patients: BTreeSet<Box<str>>,
    query: Option<Box<str>>,
}

impl Trail {
    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The event that is written at the end.
    pub(crate) fn begin(&self, audited: Option<Audited>) {
        self.noted().audited = audited;
    }

    /// Writes the event of a request that is answered with this status.
    ///
    /// # Errors
    /// [`ServerError::NotAudited`] when it is not certain to be kept: then the answer is not sent.
    pub(crate) async fn end(
        &self,
        clock: &dyn Clock,
        status: StatusCode,
    ) -> Result<(), ServerError> {
        let (audited, notes) = {
            let mut noted = self.noted();
            (noted.audited.take(), std::mem::take(&mut noted.notes))
        };
        let Some(Audited { log, mut event, is_bundle }) = audited else { return Ok(()) };
        event.instant = clock.now();
        event.act.status = status.as_u16();
        event.outcome = outcome_of(status);
        notes.tell(&mut event, is_bundle);
        name_denied(&mut event);
        let denied = if is_bundle { denied_entries(&event) } else { Vec::new() };
        let at_once =
            event.outcome == Outcome::Denied || event.break_glass.is_some() || !denied.is_empty();
        let mut kept = log.append(&event);
        for entry in &denied {
            kept = kept.and(log.append(entry));
        }
        if at_once && kept.is_ok() {
            kept = synced(&*log).await;
        }
        kept.map_err(|NotKept { reason }| ServerError::NotAudited(reason))
    }

    /// A resource stands in the answer, of which this is the JSON as it is stored.
    pub(crate) fn shown(
        &self,
        (of, id): (&ResourceType, &ResourceId),
        version: VersionId,
        json: Option<&[u8]>,
        base: &str,
    ) {
        let mut noted = self.noted();
        let notes = &mut noted.notes;
        let (resource_type, id) = (Box::from(of.as_str()), Box::from(id.as_str()));
        notes.about(&resource_type, Some(&id), json, base);
        notes.shown.push(Shown { resource_type, id, version: version.get() });
    }
}

/// Whoever asks who was refused a patient's record asks by that patient.
fn name_denied(event: &mut Event) {
    if event.outcome == Outcome::Denied && event.act.resource_type.as_deref() == Some("Patient") {
        event.patients.extend(event.act.id.clone());
    }
}

/// The events of entries that were denied in a batch that was not: each has one of its own, as a
/// request would, so that it is found as a denial.
fn denied_entries(event: &Event) -> Vec<Event> {
    if event.outcome == Outcome::Denied {
        return Vec::new();
    }
    let denied =
        event.entries.iter().filter(|act| outcome_of_status(act.status) == Outcome::Denied);
    let own = denied.map(|act| {
        let mut own = Event {
            act: act.clone(),
            entries: Vec::new(),
            shown: Vec::new(),
            patients: Vec::new(),
            query: None,
            outcome: Outcome::Denied,
            ..event.clone()
        };
        name_denied(&mut own);
        own
    });
    own.collect()
}

fn each_once<T: Clone + Eq + Hash>(list: Vec<T>) -> Vec<T> {
    let mut seen = HashSet::with_capacity(list.len());
    list.into_iter().filter(|it| seen.insert(it.clone())).collect()
}

impl Notes {
    /// Adds to an event what was noted; that of a Bundle has what its entries did.
    fn tell(self, event: &mut Event, is_bundle: bool) {
        let notes = self;
        if is_bundle {
            // A transaction is planned before it is done, and what it reads is read for both.
            event.entries = each_once(notes.acts);
        } else if let Some(act) = notes.acts.into_iter().next_back() {
            if event.outcome == Outcome::Done {
                event.outcome = outcome_of_status(act.status);
            }
            event.act = Act { status: event.act.status, ..act };
        }
        event.shown = if is_bundle { each_once(notes.shown) } else { notes.shown };
        event.patients = notes.patients.into_iter().collect();
        event.query = notes.query;
    }

    /// A resource was shown or written.
    fn about(&mut self, of: &str, id: Option<&str>, json: Option<&[u8]>, base: &str) {
        let patients = &mut self.patients;
        let mut add = |id: &str| {
            if !patients.contains(id) {
                patients.insert(id.into());
            }
        };
        if let Some(id) = id.filter(|_| of == "Patient") {
            add(id);
        }
        if let Some(json) = json {
            each_patient(json, base, &mut add);
        }
    }
}

/// What a resource that is written was sent as: its JSON, where it was sent.
pub(crate) type Sent<'a> = Option<&'a str>;

/// Notes what came of a call: a request's own, or an entry's of a Bundle.
pub(crate) async fn note(call: &Call<'_>, sent: Sent<'_>, done: Result<&Answer, &ServerError>) {
    if !call.server.audit.logs.contains_key(&call.grant.tenant) {
        return;
    }
    let mut act = act_of(&call.interaction);
    act.status = match done {
        Ok(answer) => answer.status.as_u16(),
        Err(error) => ErrorAnswer::of(error).status.as_u16(),
    };
    let mut before = None;
    if let Ok(answer) = done {
        if let Some((version, _)) = answer.version {
            act.version = Some(version.get());
        } else if matches!(call.interaction, Interaction::Delete(_)) {
            // It is answered like any other, and deleted nothing that the caller sees.
            act.status = StatusCode::NOT_FOUND.as_u16();
        }
        let written = answer.location.as_deref().and_then(written);
        if let Some(Instance { resource_type, id }) = written {
            act.resource_type = Some(resource_type.as_str().into());
            act.id = Some(id.as_str().into());
        }
        if says_nothing(&call.interaction) && sent.is_none() && answer.body.is_none() {
            before = version_before(call, &act).await;
        }
    }
    let query = searches(&call.interaction).then(|| query_of(call));
    let base = call.server.base.as_str();
    let mut noted = call.trail.noted();
    let notes = &mut noted.notes;
    if let Ok(answer) = done
        && is_about_one(&call.interaction)
    {
        let of = act.resource_type.as_deref().unwrap_or_default();
        // What a write answers is what was sent, but for a patch.
        let json = sent.map(str::as_bytes).or(answer.body.as_deref()).or(before.as_deref());
        notes.about(of, act.id.as_deref(), json, base);
    }
    if let Some(query) = query {
        notes.query = Some(match notes.query.take() {
            // Several entries of a Bundle search.
            Some(others) => [&*others, " ", &*query].concat().into(),
            None => query,
        });
    }
    notes.acts.push(act);
}

fn outcome_of_status(status: u16) -> Outcome {
    outcome_of(StatusCode::from_u16(status).unwrap_or_default())
}

/// `Type/id/_history/version`, relative to the base.
fn written(location: &str) -> Option<Instance> {
    location.split_once("/_history/").and_then(|(instance, _)| instance.parse().ok())
}

/// Whether what it does is about one resource, whose content it reads, writes or deletes.
fn is_about_one(interaction: &Interaction) -> bool {
    !searches(interaction)
        && !matches!(
            interaction,
            Interaction::HistoryType(_) | Interaction::HistorySystem | Interaction::Capabilities
        )
}

/// Whether neither request nor answer need say what the resource held.
fn says_nothing(interaction: &Interaction) -> bool {
    matches!(
        interaction,
        Interaction::Delete(_)
            | Interaction::ConditionalDelete(_)
            | Interaction::Patch(_)
            | Interaction::ConditionalPatch(_)
    )
}

fn searches(interaction: &Interaction) -> bool {
    matches!(
        interaction,
        Interaction::SearchType(_)
            | Interaction::SearchSystem
            | Interaction::SearchCompartment(..)
            | Interaction::ConditionalUpdate(_)
            | Interaction::ConditionalPatch(_)
            | Interaction::ConditionalDelete(_)
    )
}

/// The names of the query's parameters, as `name=&birthdate=`; with their values where those are
/// kept.
fn query_of(call: &Call<'_>) -> Box<str> {
    if call.server.audit.query_values {
        return call.query.into();
    }
    let names: Vec<String> = parameters(call.query).map(|(name, _)| format!("{name}=")).collect();
    names.join("&").into()
}

/// The JSON of the version before the one that a deletion made.
async fn version_before(call: &Call<'_>, act: &Act) -> Option<bytes::Bytes> {
    let version = VersionId::new(act.version?.checked_sub(1)?)?;
    let of = ResourceType::new(act.resource_type.as_deref()?).ok()?;
    let id = ResourceId::new(act.id.as_deref()?).ok()?;
    // For the log, which is not the caller's.
    let snapshot = call.database.snapshot(Visibility::everything());
    snapshot.vread(&of, &id, version).await.ok().flatten()?.json
}
