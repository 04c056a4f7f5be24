//! The judgement of one transaction against the newest state, in the serial step.

use std::collections::HashMap;

use fhir_core::{Instant, ResourceId, ResourceType, VersionId};
use store::{Commit, CommitKind, FhirVersion, IdentifierKey, OwnerKeyId, T, Version, VersionFlags};

use crate::lately::{Lately, MOST_COMPARED};
use crate::recent::Recent;
use crate::seal::Sealing;
use crate::terms::Terms;
use crate::transaction::{Action, Change, Expect, Precondition, Receipt, Transaction, Written};
use crate::{CommitError, Criteria, ReadError, Snapshot};

/// The state of one resource.
#[derive(Debug, Clone, Copy)]
pub(crate) struct State {
    version: VersionId,
    deleted: bool,
    instant: Instant,
}

impl State {
    pub(crate) fn is_deleted(self) -> bool {
        self.deleted
    }
}

/// What commits that are not durable yet make of resources. A group of nothing but new resources
/// is never asked: so they are entered only when one is.
#[derive(Debug, Default)]
pub(crate) struct GroupStates {
    states: HashMap<(ResourceType, ResourceId), State>,
    /// How many commits are entered.
    entered: usize,
}

impl GroupStates {
    /// The states that `commits`, all so far, make.
    fn after(&mut self, commits: &NotDurable<'_>) -> &HashMap<(ResourceType, ResourceId), State> {
        for commit in commits.iter().skip(self.entered) {
            for version in &commit.versions {
                let state = State {
                    version: version.version,
                    deleted: version.flags.is_deleted(),
                    instant: commit.instant,
                };
                let name = (version.resource_type.clone(), version.id.clone());
                self.states.insert(name, state);
            }
        }
        self.entered = commits.before.len() + commits.own.len();
        &self.states
    }
}

/// The commits that are judged good and not durable yet, in their order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NotDurable<'a> {
    /// Those of the group that is being written.
    pub(crate) before: &'a [Commit],
    /// Those of this group.
    pub(crate) own: &'a [Commit],
}

impl<'a> NotDurable<'a> {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &'a Commit> + use<'a> {
        self.before.iter().chain(self.own)
    }
}

/// Everything a judgement looks at.
pub(crate) struct Judge<'a> {
    /// All data at the last durable position.
    pub(crate) durable: &'a Snapshot,
    /// What was judged since.
    pub(crate) commits: NotDurable<'a>,
    /// What they make of resources, as far as that was asked.
    pub(crate) group: &'a mut GroupStates,
    /// What was touched lately, all of those included.
    pub(crate) recent: &'a Recent,
    /// What those of them did to the types that conditions ask for.
    pub(crate) lately: &'a mut Lately,
    /// Whether somebody was purged since a change was sealed.
    pub(crate) sealing: &'a Sealing,
}

/// A transaction judged good: what it writes (unless nothing), and the answer.
#[derive(Debug)]
pub(crate) struct Judged {
    pub(crate) versions: Vec<Version>,
    pub(crate) receipt: Receipt,
}

impl Judge<'_> {
    /// Judges `transaction`, to be written at `t` and `instant`.
    pub(crate) async fn judge(
        &mut self,
        (transaction, terms): (Transaction, &Terms),
        t: T,
        instant: Instant,
    ) -> Result<Judged, CommitError> {
        if terms.are_judged() {
            self.judge_terms(terms, &transaction).await?;
        }
        let mut compared = MOST_COMPARED;
        for condition in &transaction.conditions {
            let since = transaction.prepared_at;
            let (of, found) = (&condition.resource_type, &condition.found);
            let holds = match &condition.criteria {
                Criteria::Identifier(identifier) => {
                    let same = self.recent.unborne(of, identifier, since)
                        && found.iter().all(|id| self.recent.untouched(of, id, since));
                    same || self.still((of, identifier), found).await?
                }
                Criteria::Search(criteria) => {
                    let judged = (since, T::new(t.get().saturating_sub(1)));
                    self.lately.hold((of, criteria), found, judged, &mut compared)
                }
            };
            if !holds {
                return Err(CommitError::Raced);
            }
        }
        for change in &transaction.changes {
            self.sealing.refuse_purged_since(change)?;
        }
        let mut versions = Vec::with_capacity(transaction.changes.len());
        let mut written = Vec::with_capacity(transaction.changes.len());
        for (index, change) in transaction.changes.into_iter().enumerate() {
            let state = self.state(&change).await.map_err(CommitError::Read)?;
            if let Some(failed) = unmet(&change.expect, state) {
                return Err(CommitError::Precondition { change: index, failed });
            }
            let version = state.map_or(VersionId::FIRST, |state| state.version.next());
            let there = state.is_some_and(|state| !state.deleted);
            if matches!(change.action, Action::Delete) && !there {
                written.push(Written {
                    version: state.map(|state| state.version),
                    instant: state.map_or(instant, |state| state.instant),
                    created: false,
                    changed: false,
                });
                continue;
            }
            written.push(Written {
                version: Some(version),
                instant,
                created: !there,
                changed: true,
            });
            versions.push(stored(change, version));
        }
        // A body is sealed as the one of this number: deletions, of which some are not written,
        // come after.
        versions.sort_by_key(|version: &Version| version.flags.is_deleted());
        Ok(Judged { versions, receipt: Receipt { t, written } })
    }

    /// Asks again at the last durable position whether these bear an identifier. What was touched
    /// since cannot be asked for yet: then the transaction is prepared again, after that is
    /// durable.
    async fn still(
        &mut self,
        (of, identifier): (&ResourceType, &IdentifierKey),
        found: &[ResourceId],
    ) -> Result<bool, CommitError> {
        let at = self.durable.at();
        let states = self.group.after(&self.commits);
        let in_group = !self.recent.unborne(of, identifier, at)
            || found.iter().any(|id| states.contains_key(&(of.clone(), id.clone())));
        if in_group {
            return Ok(false);
        }
        let now = self.durable.identified(of, identifier).await;
        Ok(now.map_err(CommitError::Read)? == found)
    }

    async fn state(&mut self, change: &Change) -> Result<Option<State>, ReadError> {
        if change.expect == Expect::New {
            return Ok(None);
        }
        self.state_of(&change.resource_type, &change.id).await
    }

    /// The state of a resource, with all that is judged good.
    pub(crate) async fn state_of(
        &mut self,
        resource_type: &ResourceType,
        id: &ResourceId,
    ) -> Result<Option<State>, ReadError> {
        let key = (resource_type.clone(), id.clone());
        if let Some(state) = self.group.after(&self.commits).get(&key) {
            return Ok(Some(*state));
        }
        let newest = self.durable.newest(resource_type, id).await?;
        Ok(newest.map(|entry| State {
            version: entry.version,
            deleted: entry.flags.is_deleted(),
            instant: entry.instant,
        }))
    }
}

/// What of `expect` does not hold in `state`.
fn unmet(expect: &Expect, state: Option<State>) -> Option<Precondition> {
    let there = state.filter(|state| !state.deleted);
    match (expect, there) {
        (Expect::Versions(versions), None)
            if state.is_some_and(|state| versions.contains(&state.version)) =>
        {
            None
        }
        (Expect::Never, _) => {
            state.map(|state| Precondition::VersionConflict { newest: state.version })
        }
        (Expect::New | Expect::Any, _) | (Expect::Exists, Some(_)) | (Expect::Absent, None) => None,
        (Expect::Exists | Expect::Versions(_) | Expect::Existing(_), None) => {
            Some(Precondition::Missing)
        }
        (Expect::Absent, Some(_)) => Some(Precondition::Present),
        (Expect::Versions(versions) | Expect::Existing(versions), Some(state)) => (!versions
            .contains(&state.version))
        .then_some(Precondition::VersionConflict { newest: state.version }),
    }
}

fn stored(change: Change, version: VersionId) -> Version {
    let Change { resource_type, id, action, .. } = change;
    let owner = match &action {
        Action::Write { body, .. } => body.stored().owner,
        Action::Delete => OwnerKeyId::NONE,
        Action::Purge { key } => *key,
    };
    match action {
        Action::Write { body, method } => Version {
            resource_type,
            id,
            version,
            flags: match body.stored().is_blob {
                true => VersionFlags::of(method).with_blob(),
                false => VersionFlags::of(method),
            },
            owner,
            dictionary: body.coding,
            content_hash: body.stored().content_hash,
            length: body.length,
            body: body.bytes,
            identifiers: body.identifiers,
        },
        Action::Delete | Action::Purge { .. } => Version {
            resource_type,
            id,
            version,
            flags: VersionFlags::of(store::Method::Delete),
            owner,
            dictionary: store::BodyCoding::AS_IS,
            content_hash: store::ContentHash::of(b""),
            length: 0,
            body: bytes::Bytes::new(),
            identifiers: Vec::new(),
        },
    }
}

/// A judged transaction as the commit that follows: with this id, of this tenant, of resources of
/// this FHIR version.
pub(crate) fn commit(
    (id, tenant, fhir_version): (store::CommitId, store::TenantText, FhirVersion),
    t: T,
    instant: Instant,
    versions: Vec<Version>,
) -> Commit {
    let purges =
        |version: &Version| version.flags.is_deleted() && version.owner != OwnerKeyId::NONE;
    let kind = if versions.iter().any(purges) { CommitKind::Purge } else { CommitKind::Resources };
    Commit { t, instant, id, idempotency: None, tenant, fhir_version, kind, versions }
}
