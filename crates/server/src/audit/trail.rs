//! What a request shows and does, noted on the way by who shows and does it.

use std::collections::{BTreeSet, HashSet};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use contract::{Clock, Interaction};
use database::Visibility;
use database::audit::{Act, AuditLog, Event, NotKept, Outcome, Shown};
use fhir_core::{Instance, ResourceId, ResourceType, VersionId};
use http::StatusCode;

use super::patients::each_patient;
use super::{Audited, act_of, outcome_of, synced};
use crate::call::{Answer, Call, Deleted};
use crate::error::ServerError;
use crate::error_answer::ErrorAnswer;
use crate::exchange::patches as is_patch;
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
        if let Some(audited) = self.audited.take() {
            let notes = std::mem::take(&mut self.notes);
            let last = notes.acts.last().filter(|_| !audited.is_bundle);
            let status = last.map_or(LEFT, |act| act.status);
            let ended = Ended::of(audited, notes, status);
            if let Err(error) = ended.append() {
                tracing::error!(%error, "a request whose client had left waits for the audit log");
            }
            if ended.at_once {
                // Nobody waits for it, and it is as urgent as with somebody.
                ended.log.sync(Box::new(drop));
            }
        }
    }
}

/// What is written of one request, in the order in which it is.
struct Ended {
    log: Arc<dyn AuditLog>,
    events: Vec<Event>,
    /// Whether it must be durable before anything else is done.
    at_once: bool,
}

impl Ended {
    /// Of a request that was answered with this status, or would have been.
    fn of(audited: Audited, notes: Notes, status: u16) -> Self {
        let Audited { log, mut event, is_bundle } = audited;
        event.act.status = status;
        event.outcome = outcome_of_status(status);
        notes.tell(&mut event, is_bundle);
        name_denied(&mut event);
        let denied = if is_bundle { denied_entries(&event) } else { Vec::new() };
        let at_once =
            event.outcome == Outcome::Denied || event.break_glass.is_some() || !denied.is_empty();
        let events = std::iter::once(event).chain(denied).collect();
        Self { log, events, at_once }
    }

    fn append(&self) -> Result<(), NotKept> {
        // Each is taken, whatever became of those before it.
        let mut kept = Ok(());
        for event in &self.events {
            kept = kept.and(self.log.append(event));
        }
        kept
    }
}

#[derive(Default)]
struct Notes {
    acts: Vec<Act>,
    /// What criteria deleted, where that was several.
    deleted: Vec<Act>,
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
        let Some(mut audited) = audited else { return Ok(()) };
        audited.event.instant = clock.now();
        let ended = Ended::of(audited, notes, status.as_u16());
        let mut kept = ended.append();
        if ended.at_once && kept.is_ok() {
            kept = synced(&*ended.log).await;
        }
        kept.map_err(|NotKept { reason, .. }| ServerError::NotAudited(reason))
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
    if event.outcome != Outcome::Denied {
        return;
    }
    let entries = event.entries.iter();
    let denied = entries.filter(|act| outcome_of_status(act.status) == Outcome::Denied);
    let of_patients = std::iter::once(&event.act)
        .chain(denied)
        .filter(|act| act.resource_type.as_deref() == Some("Patient"));
    for id in of_patients.filter_map(|act| act.id.clone()) {
        if !event.patients.contains(&id) {
            event.patients.push(id);
        }
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
            event.entries = each_once([notes.acts, notes.deleted].concat());
        } else if let Some(act) = notes.acts.into_iter().next_back() {
            if event.outcome == Outcome::Done {
                event.outcome = outcome_of_status(act.status);
            }
            event.act = Act { status: event.act.status, ..act };
            event.entries = notes.deleted;
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
    let deleted = match done {
        Ok(answer) => deletions(call, answer).await,
        Err(_) => Vec::new(),
    };
    if let Ok(answer) = done {
        if let [(one, _)] = deleted.as_slice() {
            act = Act { kind: act.kind, status: act.status, ..one.clone() };
        } else if let Some((version, _)) = answer.version {
            act.version = Some(version.get());
        }
        if deleted.is_empty() && matches!(call.interaction, Interaction::Delete(_)) {
            // It is answered like any other, and deleted nothing that the caller sees.
            act.status = StatusCode::NOT_FOUND.as_u16();
        }
        let written = answer.location.as_deref().and_then(written);
        if let Some(Instance { resource_type, id }) = written {
            act.resource_type = Some(resource_type.as_str().into());
            act.id = Some(id.as_str().into());
        }
        if is_patch(&call.interaction) && answer.body.is_none() {
            before = version_before(call, &act).await;
        }
    }
    let query = searches(&call.interaction).then(|| query_of(call));
    let base = call.server.base.as_str();
    let mut noted = call.trail.noted();
    let notes = &mut noted.notes;
    for (act, json) in &deleted {
        let of = act.resource_type.as_deref().unwrap_or_default();
        notes.about(of, act.id.as_deref(), json.as_deref(), base);
    }
    if deleted.len() > 1 {
        notes.deleted.extend(deleted.into_iter().map(|(act, _)| act));
    }
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

/// What was deleted, each with what it held before.
async fn deletions(call: &Call<'_>, answer: &Answer) -> Vec<(Act, Option<bytes::Bytes>)> {
    let mut deletions = Vec::with_capacity(answer.deleted.len());
    for Deleted { instance, version } in &answer.deleted {
        let deletion = act_of(&Interaction::Delete(instance.clone()));
        let status = answer.status.as_u16();
        let act = Act { version: Some(version.get()), status, ..deletion };
        let before = version_before(call, &act).await;
        deletions.push((act, before));
    }
    deletions
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use database::audit::{Extent, Reached, Synced, Unreadable, Visit};

    use super::*;
    use crate::audit::plain_act;

    /// Keeps what it is given, and counts how often it was to be made durable at once.
    #[derive(Default)]
    struct Kept {
        events: Mutex<Vec<Event>>,
        syncs: AtomicUsize,
    }

    impl AuditLog for Kept {
        fn append(&self, event: &Event) -> Result<(), NotKept> {
            self.events.lock().unwrap().push(event.clone());
            Ok(())
        }

        fn sync(&self, synced: Synced) {
            self.syncs.fetch_add(1, Ordering::SeqCst);
            synced(Ok(()));
        }

        fn trouble(&self) -> Option<NotKept> {
            None
        }

        fn read(&self, _: &Extent, _: &mut Visit<'_>) -> Result<Reached, Unreadable> {
            Ok(Reached::Beginning)
        }
    }

    /// What an event says became of which kind of act, with which status, and of whose data.
    type Told = (String, u16, Vec<Box<str>>);

    /// The events of a request whose client left when these were its acts, and how often they were
    /// to be durable at once.
    fn left(kind: &str, acts: &[(&str, u16)]) -> (Vec<Told>, usize) {
        let log = Arc::new(Kept::default());
        let trail = Trail::default();
        let event = Event {
            instant: fhir_core::Instant::from_micros(0),
            occurred: None,
            told_as: None,
            request_id: "r".into(),
            client: Some("app".into()),
            user: None,
            fhir_user: None,
            role: None,
            purpose: None,
            break_glass: None,
            act: plain_act(kind),
            entries: Vec::new(),
            shown: Vec::new(),
            patients: Vec::new(),
            query: None,
            outcome: Outcome::Done,
            restricted: false,
        };
        let is_bundle = kind == "batch-or-transaction";
        trail.begin(Some(Audited { log: Arc::clone(&log) as _, event, is_bundle }));
        for (id, status) in acts {
            let (resource_type, id) = (Some("Patient".into()), Some(Box::from(*id)));
            let act = Act { resource_type, id, status: *status, ..plain_act("read") };
            trail.noted().notes.acts.push(act);
        }
        drop(trail);
        let events = log.events.lock().unwrap().drain(..).collect::<Vec<_>>();
        let told = events.into_iter().map(|event| {
            (
                format!("{:?} {}", event.outcome, event.act.kind.code()),
                event.act.status,
                event.patients,
            )
        });
        (told.collect(), log.syncs.load(Ordering::SeqCst))
    }

    #[test]
    fn a_denial_whose_client_left_is_on_record_and_at_once() {
        let of = |what: &str, status, patients: &[&str]| {
            (what.to_owned(), status, patients.iter().map(|id| Box::from(*id)).collect())
        };
        assert_eq!(left("read", &[("a", 200)]), (vec![of("Done read", 200, &[])], 0));
        assert_eq!(left("read", &[("a", 403)]), (vec![of("Denied read", 403, &["a"])], 1));
        assert_eq!(left("read", &[]), (vec![of("Refused read", LEFT, &[])], 0));
        let bundle = left("batch-or-transaction", &[("a", 200), ("b", 403)]);
        let whole = of("Refused batch-or-transaction", LEFT, &[]);
        assert_eq!(bundle, (vec![whole, of("Denied read", 403, &["b"])], 1));
    }
}
