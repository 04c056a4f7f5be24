//! Release: an item is judged anew, and where it is valid now it is written as the resource that
//! it was sent as; the same commit takes it out of the quarantine. And discarding it.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use database::{
    Action, Author, Change, CommitError, CommitId, Condition, Expect, Maker, Method, Precondition,
    Snapshot, T, Terms, Transaction, Visibility, quarantine,
};
use fhir_core::json::Document;
use fhir_core::{Instance, Issue, IssueCode, Lines, Resource, ResourceId, VersionId};
use fhir_validation::SentIn;

use super::{Found, Item, Quarantine, QuarantineError, Request};
use crate::call::location;
use crate::criteria::{Criteria, IF_NONE_EXIST};
use crate::error::ServerError;
use crate::error_answer::ErrorAnswer;
use crate::interactions::search::SeenCodes;
use crate::interactions::update::MayCreate;
use crate::interactions::write;
use crate::negotiation::Return;
use crate::validation::{Judgement, NotCommitted, Sent, commit_here, judge};
use crate::{internal, references_exist, representation, terminology};

/// What became of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is the resource version at this place.
    Released(String),
    /// It is quarantined still, for these reasons.
    Kept(Vec<Issue>),
    /// It is gone.
    Discarded,
    /// There is none of that id.
    Unknown,
    /// It is quarantined still, and cannot be read.
    Unreadable,
    /// A fault of the server ended the request here or before, for these reasons: ask again.
    NotDone(Vec<Issue>),
}

/// The newest versions before and after what this request released.
type Moved = HashMap<Instance, (Option<VersionId>, VersionId)>;

/// Whether whoever asks may write what an item asks for, and create by it what is not there.
pub(crate) type MayWrite<'a> = &'a (dyn Fn(&Item<'_>) -> Result<MayCreate, ServerError> + Sync);

impl Quarantine<'_> {
    /// Releases these items, those that were sent first first, by the power of the operator.
    ///
    /// # Errors
    /// [`QuarantineError`] when the log cannot be read or written.
    pub async fn release(
        &self,
        ids: &[ResourceId],
    ) -> Result<Vec<(ResourceId, Outcome)>, QuarantineError> {
        Ok(self.release_as(ids, &|_| Ok(MayCreate::Yes)).await?)
    }

    /// As [`Self::release`], as far as whoever asks may write.
    pub(crate) async fn release_as(
        &self,
        ids: &[ResourceId],
        may_write: MayWrite<'_>,
    ) -> Result<Vec<(ResourceId, Outcome)>, ServerError> {
        self.validation.shelf.follow(self.database).await?;
        let mut ids = ids.to_vec();
        ids.sort_by_key(|id| self.validation.shelf.get(id));
        let (mut moved, mut outcomes) = (Moved::new(), Vec::with_capacity(ids.len()));
        for (at, id) in ids.iter().enumerate() {
            match self.release_one(id, may_write, &mut moved).await {
                Ok(outcome) => outcomes.push((id.clone(), outcome)),
                Err(error) => {
                    end_at(error, &ids[at..], &mut outcomes)?;
                    break;
                }
            }
        }
        Ok(outcomes)
    }

    async fn release_one(
        &self,
        id: &ResourceId,
        may_write: MayWrite<'_>,
        moved: &mut Moved,
    ) -> Result<Outcome, ServerError> {
        let item = match self.item(id).await? {
            Found::Item(item) => item,
            Found::Unreadable { .. } => return Ok(Outcome::Unreadable),
            Found::Nothing => return Ok(Outcome::Unknown),
        };
        match self.try_to_release(&item, may_write, moved).await {
            Ok(outcome) => Ok(outcome),
            Err(error) => kept(error),
        }
    }

    /// Takes these items out; nothing becomes of them.
    ///
    /// # Errors
    /// [`QuarantineError`] when the log cannot be read or written.
    pub async fn discard(
        &self,
        ids: &[ResourceId],
    ) -> Result<Vec<(ResourceId, Outcome)>, QuarantineError> {
        Ok(self.discard_all(ids).await?)
    }

    pub(crate) async fn discard_all(
        &self,
        ids: &[ResourceId],
    ) -> Result<Vec<(ResourceId, Outcome)>, ServerError> {
        let mut outcomes = Vec::with_capacity(ids.len());
        for (at, id) in ids.iter().enumerate() {
            match self.discard_one(id).await {
                Ok(outcome) => outcomes.push((id.clone(), outcome)),
                Err(error) => {
                    end_at(error, &ids[at..], &mut outcomes)?;
                    break;
                }
            }
        }
        Ok(outcomes)
    }

    async fn discard_one(&self, id: &ResourceId) -> Result<Outcome, ServerError> {
        self.validation.shelf.follow(self.database).await?;
        if self.validation.shelf.get(id).is_none() {
            return Ok(Outcome::Unknown);
        }
        let at = self.database.snapshot(Visibility::everything()).at();
        let transaction = self.transaction(at, vec![taken_out(id)], Vec::new());
        match self.database.commit(transaction).await {
            Ok(_) => Ok(Outcome::Discarded),
            // Somebody else was quicker.
            Err(CommitError::Precondition { .. }) => Ok(Outcome::Unknown),
            Err(error) => Err(write::refused(error).1),
        }
    }

    async fn try_to_release(
        &self,
        item: &Item<'_>,
        may_write: MayWrite<'_>,
        moved: &mut Moved,
    ) -> Result<Outcome, ServerError> {
        let may_create = may_write(item)?;
        let schema = self.database.schema();
        let body = Bytes::copy_from_slice(&item.body);
        let (json, places) = representation::as_json(&body, item.encoding, schema)?;
        let document = Document::parse(&json).map_err(ServerError::InvalidJson)?;
        let resource = Resource::new(document.root()).map_err(ServerError::InvalidResource)?;
        write::check_alone((schema, self.base), &resource)?;
        let lines = Lines::new();
        let sent = places.as_ref().map_or(Sent::Json(&json, &lines), Sent::Xml);
        let now = self.clock.now();
        let judged =
            judge(self.validation, &resource, (sent, SentIn::Itself), Return::Default, now);
        let judged = match judged {
            Ok(Judgement::MayBeWritten(judged)) => judged,
            Ok(Judgement::IsSetApart(issues)) | Err(issues) => return Ok(Outcome::Kept(issues)),
        };
        let instance = item.request.instance();
        let snapshot = self.database.snapshot(Visibility::everything());
        let (expect, method, conditions) = match &item.request {
            Request::Create { if_none_exist, .. } => {
                let criteria = if_none_exist.as_deref();
                let conditions = self.conditions(&snapshot, instance, criteria).await?;
                (Expect::New, Method::Post, conditions)
            }
            Request::Update { newest, .. } => {
                // What this very request released before it is no change by others.
                let newest = match moved.get(instance) {
                    Some((before, after)) if before == newest => Some(*after),
                    _ => *newest,
                };
                let expect = newest.map_or(Expect::Never, |newest| Expect::Versions(vec![newest]));
                (may_create.narrow(expect)?, Method::Put, Vec::new())
            }
        };
        let stored = judged.body(&resource, &instance.id, &write::as_it_came(), schema);
        let maker = match snapshot.maker(&instance.resource_type, &instance.id).await? {
            // Whoever sent it made it, and not whoever released it.
            Maker::Writer if !item.sender.is_empty() => {
                Some(Author::of(&item.sender, item.user.as_deref()))
            }
            Maker::Author(author) => Some(author),
            Maker::Writer | Maker::Nobody => None,
        };
        let stored = match maker {
            Some(maker) => stored.written_by(maker),
            None => stored,
        };
        let change = Change {
            resource_type: instance.resource_type.clone(),
            id: instance.id.clone(),
            action: Action::Write { body: Box::new(stored), method },
            expect,
        };
        let changes = vec![change, taken_out(&item.id)];
        let required = references_exist::required(self.database, self.base, &changes)?;
        let transaction = self.transaction(snapshot.at(), changes, conditions);
        let terms = Terms { required, named: None };
        let committed = commit_here(self.database, self.validation, transaction, terms);
        let receipt = match committed.await {
            Ok(receipt) => receipt,
            // It is not there, or it is deleted.
            Err(NotCommitted::Commit(CommitError::Precondition {
                change: 0,
                failed: Precondition::Missing,
            })) if may_create == MayCreate::No => {
                return Err(ServerError::MayNotChooseIds);
            }
            Err(NotCommitted::Commit(CommitError::Precondition { change: 0, .. })) => {
                return Ok(Outcome::Kept(vec![changed_since(instance)]));
            }
            Err(NotCommitted::Commit(CommitError::Precondition { .. })) => {
                return Ok(Outcome::Unknown);
            }
            Err(NotCommitted::SearchParameter { issue, .. }) => {
                return Ok(Outcome::Kept(vec![*issue]));
            }
            Err(error) => return Err(write::refused(error).1),
        };
        let version = write::written(&receipt, 0)?.version.ok_or(ServerError::Interrupted)?;
        if let Request::Update { newest, .. } = &item.request {
            let before = moved.get(instance).map_or(*newest, |(before, _)| *before);
            moved.insert(instance.clone(), (before, version));
        }
        let place = location(&instance.resource_type, &instance.id, version);
        Ok(Outcome::Released(place))
    }

    /// What a conditional create looked for, and still does not find.
    async fn conditions(
        &self,
        snapshot: &Snapshot,
        instance: &Instance,
        if_none_exist: Option<&str>,
    ) -> Result<Vec<Condition>, ServerError> {
        let Some(text) = if_none_exist else { return Ok(Vec::new()) };
        let of = &instance.resource_type;
        let definitions = self.validation.current();
        let with = (self.database.schema(), self.base);
        let now = self.clock.now();
        // Read after the snapshot was taken, so that what codes mean is no older.
        let state = terminology::of(self.validation, self.database).await?;
        let codes = Arc::new(SeenCodes::all(state, self.base));
        let definitions = definitions.as_deref();
        let criteria = Criteria::of_release(with, definitions, now, (of, text), codes)?;
        let found = criteria.find_within(self.database, snapshot, (1, u64::MAX)).await?;
        if !found.is_empty() {
            let text = "what its If-None-Exist asks for is there by now; discard it";
            let issue = Issue::error(IssueCode::Duplicate, text).at(IF_NONE_EXIST);
            return Err(ServerError::Invalid(vec![issue]));
        }
        Ok(vec![criteria.condition(found)])
    }

    /// A transaction that was prepared as of this position.
    fn transaction(
        &self,
        prepared_at: T,
        changes: Vec<Change>,
        conditions: Vec<Condition>,
    ) -> Transaction {
        Transaction { id: CommitId(self.ids.next()), prepared_at, changes, conditions }
    }
}

/// Takes an item out of the quarantine.
fn taken_out(id: &ResourceId) -> Change {
    Change {
        resource_type: internal::of(quarantine::TYPE),
        id: id.clone(),
        action: Action::Delete,
        expect: Expect::Exists,
    }
}

/// An update that would undo what was written after it.
fn changed_since(instance: &Instance) -> Issue {
    let text = format!(
        "{instance} was changed after this was sent, and would lose that; let the sender send it \
         anew, and discard this"
    );
    Issue::error(IssueCode::Conflict, text)
}

/// Why an item stays, unless the fault is ours.
fn kept(error: ServerError) -> Result<Outcome, ServerError> {
    let answer = ErrorAnswer::of(&error);
    match answer.status.is_server_error() {
        true => Err(error),
        false => Ok(Outcome::Kept(answer.outcome.issues)),
    }
}

/// Says of these items that they were not done, so that what became of those before is not lost;
/// of the first of them it may be unknown.
///
/// # Errors
/// `error`, where there are none before.
fn end_at(
    error: ServerError,
    ids: &[ResourceId],
    outcomes: &mut Vec<(ResourceId, Outcome)>,
) -> Result<(), ServerError> {
    if outcomes.is_empty() {
        return Err(error);
    }
    tracing::error!(%error, "what was asked of the quarantine is done in part");
    let first = ErrorAnswer::of(&error).outcome.issues;
    let text = "an item before it could not be done; ask for this one again";
    let later = vec![Issue::error(IssueCode::Transient, text)];
    for (at, id) in ids.iter().enumerate() {
        let why = if at == 0 { first.clone() } else { later.clone() };
        outcomes.push((id.clone(), Outcome::NotDone(why)));
    }
    Ok(())
}
