//! The answer to a transaction that was carried out before, from the commit that did it
//! (docs/storage.md, "Idempotency keys"): which versions it made and deleted says which entry came
//! to what, whatever its criteria would match by today's search parameters and codes.
//!
//! One thing no commit says: which resource a conditional create found, where it made none. That
//! alone is looked up again, in the data as they were; where it cannot be, the entry is answered
//! without naming it.

use std::collections::{BTreeMap, HashMap, VecDeque};

use contract::{Instance, Interaction};
use database::{Answered, Receipt, Snapshot, VersionEntry, Written};
use fhir_core::{Bundle, BundleRequest, ResourceId, ResourceType};

use super::Context;
use super::all_or_none::{Committed, respond, targets};
use super::plan::{Identity, Planned};
use super::target::Target;
use crate::call::{Answer, Call};
use crate::criteria::Criteria;
use crate::error::ServerError;
use crate::idempotency;

/// Answers a transaction that this commit carried out.
///
/// # Errors
/// When the caller may not do now what was done then, or the data cannot be read.
pub(crate) async fn replay(
    context: &Context<'_>,
    bundle: &Bundle<'_>,
    requests: &[&BundleRequest<'_>],
    answered: Answered,
) -> Result<Answer, ServerError> {
    let targets = targets(context, requests)?;
    for (index, target) in targets.iter().enumerate() {
        let allowed = allowed(&target.call(context, None)).await;
        allowed.map_err(|error| error.in_entry(index))?;
    }
    let Answered { t, before, versions } = answered;
    let snapshot = context.counted(before);
    let mut replay =
        Replay { context, targets: &targets, snapshot: &snapshot, done: Done::new(versions) };
    let entries = replay.entries().await?;
    let Done { identities, written, .. } = replay.done;
    let committed = Committed { snapshot, identities, receipt: Receipt { t, written } };
    respond(context, (bundle, &targets), (&entries, &BTreeMap::new()), &committed).await
}

/// Whether the caller may ask for it now.
async fn allowed(call: &Call<'_>) -> Result<(), ServerError> {
    let Some(of) = call.interaction.resource_type() else { return Ok(()) };
    call.known(of)?;
    match (&call.interaction, &call.conditions.if_none_exist) {
        (Interaction::Create(_), None)
        | (Interaction::Update(_) | Interaction::Patch(_) | Interaction::Delete(_), _) => {}
        (Interaction::Create(_), Some(_))
        | (
            Interaction::ConditionalUpdate(_)
            | Interaction::ConditionalPatch(_)
            | Interaction::ConditionalDelete(_),
            _,
        ) => Criteria::may_be_asked(call, of)?,
        // What is read is judged as it is read.
        _ => return Ok(()),
    }
    idempotency::allowed(call).await.map(drop)
}

/// What a commit made and deleted, each until an entry is known to have done it.
struct Done {
    /// What each of its versions is of.
    identities: Vec<Identity>,
    /// The versions, by the same indexes.
    written: Vec<Written>,
    /// Both by what they are of.
    at: HashMap<Identity, usize>,
    /// What was made of each type, in the order of the entries.
    made: BTreeMap<ResourceType, VecDeque<usize>>,
    /// What was deleted of each type, likewise.
    deleted: BTreeMap<ResourceType, VecDeque<usize>>,
}

impl Done {
    fn new(versions: Vec<(VersionEntry, Written)>) -> Self {
        let mut done = Self {
            identities: Vec::with_capacity(versions.len()),
            written: Vec::with_capacity(versions.len()),
            at: HashMap::with_capacity(versions.len()),
            made: BTreeMap::new(),
            deleted: BTreeMap::new(),
        };
        for (entry, written) in versions {
            let index = done.push((entry.resource_type.clone(), entry.id.clone()), written);
            let of_kind = match entry.flags.is_deleted() {
                true => &mut done.deleted,
                false => &mut done.made,
            };
            of_kind.entry(entry.resource_type.clone()).or_default().push_back(index);
            done.at.insert((entry.resource_type, entry.id), index);
        }
        done
    }

    fn push(&mut self, identity: Identity, written: Written) -> usize {
        self.identities.push(identity);
        self.written.push(written);
        self.identities.len() - 1
    }

    /// Keeps what these entries, which name what they write, have done from all others.
    fn keep_named(&mut self, named: &[Option<usize>]) {
        let named: std::collections::HashSet<usize> = named.iter().flatten().copied().collect();
        for queue in self.made.values_mut().chain(self.deleted.values_mut()) {
            queue.retain(|index| !named.contains(index));
        }
    }

    fn made_of(&self, of: &ResourceType) -> usize {
        self.made.get(of).map_or(0, VecDeque::len)
    }

    fn next_made(&mut self, of: &ResourceType) -> Option<usize> {
        self.made.get_mut(of)?.pop_front()
    }
}

/// What a conditional create may have come upon.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Found {
    Nothing,
    /// It cannot be told.
    Untold,
    One(ResourceId),
}

struct Replay<'r, 'a> {
    context: &'r Context<'a>,
    targets: &'r [Target],
    /// The data just before the commit.
    snapshot: &'r Snapshot,
    done: Done,
}

impl Replay<'_, '_> {
    /// What each entry came to.
    async fn entries(&mut self) -> Result<Vec<Planned>, ServerError> {
        let named: Vec<Option<usize>> =
            self.targets.iter().map(|target| self.done.at.get(&named(target)?).copied()).collect();
        self.done.keep_named(&named);
        let existing = self.existing().await?;
        let deletions = self.deletions().await?;
        let mut entries = Vec::with_capacity(self.targets.len());
        for (index, target) in self.targets.iter().enumerate() {
            entries.push(match &target.interaction {
                Interaction::Create(of)
                | Interaction::ConditionalUpdate(of)
                | Interaction::ConditionalPatch(of) => match existing.get(&index) {
                    Some(Found::One(id)) => Planned::Existing(of.clone(), id.clone()),
                    Some(_) => Planned::Untold,
                    None => match self.done.next_made(of) {
                        Some(made) => Planned::Change(made),
                        None => return Err(ServerError::Interrupted.in_entry(index)),
                    },
                },
                Interaction::ConditionalDelete(_) => {
                    Planned::Deleted(deletions.get(&index).cloned().unwrap_or_default())
                }
                Interaction::Update(instance)
                | Interaction::Patch(instance)
                | Interaction::Delete(instance) => Planned::Change(match named[index] {
                    Some(done) => done,
                    None => self.nothing(instance).await?,
                }),
                _ => Planned::Read,
            });
        }
        Ok(entries)
    }

    /// What became of a resource that the commit has no version of: it was not there to be
    /// deleted.
    async fn nothing(&mut self, instance: &Instance) -> Result<usize, ServerError> {
        let Instance { resource_type, id } = instance.clone();
        let newest = self.snapshot.newest(&resource_type, &id).await?;
        let nothing = Written {
            version: newest.as_ref().map(|newest| newest.version),
            instant: newest.map_or(self.context.server.clock.now(), |newest| newest.instant),
            created: false,
            changed: false,
        };
        Ok(self.done.push((resource_type, id), nothing))
    }

    /// The conditional creates that made nothing, by their indexes: of each type as many as the
    /// commit has too few versions. Which they are, what was there before says.
    async fn existing(&self) -> Result<BTreeMap<usize, Found>, ServerError> {
        let mut creates: BTreeMap<&ResourceType, (usize, Vec<usize>)> = BTreeMap::new();
        for (index, target) in self.targets.iter().enumerate() {
            let (Interaction::Create(of)
            | Interaction::ConditionalUpdate(of)
            | Interaction::ConditionalPatch(of)) = &target.interaction
            else {
                continue;
            };
            let (makes, may_make) = creates.entry(of).or_default();
            match &target.conditions.if_none_exist {
                Some(_) if matches!(target.interaction, Interaction::Create(_)) => {
                    may_make.push(index);
                }
                _ => *makes += 1,
            }
        }
        let mut existing = BTreeMap::new();
        for (of, (makes, may_make)) in creates {
            let made = self.done.made_of(of).saturating_sub(makes);
            if made >= may_make.len() {
                continue;
            }
            let mut found = Vec::with_capacity(may_make.len());
            for index in may_make {
                let looked = self.look(index, of).await;
                found.push((looked.map_err(|error| error.in_entry(index))?, index));
            }
            // Those that came upon nothing are the ones that made something.
            found.sort();
            existing.extend(found.into_iter().skip(made).map(|(found, index)| (index, found)));
        }
        Ok(existing)
    }

    /// What a conditional create came upon, as far as that can be told now.
    async fn look(&self, index: usize, of: &ResourceType) -> Result<Found, ServerError> {
        let target = &self.targets[index];
        let call = target.call(self.context, None);
        let text = target.conditions.if_none_exist.as_deref().unwrap_or_default();
        let found = match Criteria::if_none_exist(&call, of, text).await {
            Ok(criteria) => criteria.find(&call, self.snapshot, 2).await,
            Err(error) => Err(error),
        };
        match found.as_deref() {
            Ok([]) => Ok(Found::Nothing),
            Ok([one]) => Ok(Found::One(one.clone())),
            Ok(_) => Ok(Found::Untold),
            Err(error) if cannot_be_told(error) => Ok(Found::Untold),
            Err(_) => found.map(|_| Found::Untold),
        }
    }

    /// What each conditional delete deleted, by its index; nothing of one of several of a type,
    /// where that cannot be told apart.
    async fn deletions(&mut self) -> Result<BTreeMap<usize, Vec<usize>>, ServerError> {
        let mut of_type: BTreeMap<&ResourceType, Vec<usize>> = BTreeMap::new();
        for (index, target) in self.targets.iter().enumerate() {
            if let Interaction::ConditionalDelete(of) = &target.interaction {
                of_type.entry(of).or_default().push(index);
            }
        }
        let mut deletions = BTreeMap::new();
        for (of, entries) in of_type {
            let deleted: Vec<usize> = self.done.deleted.remove(of).unwrap_or_default().into();
            match entries.as_slice() {
                _ if deleted.is_empty() => {}
                [one] => drop(deletions.insert(*one, deleted)),
                several => {
                    for index in several {
                        let target = &self.targets[*index];
                        let call = target.call(self.context, None);
                        let most = self.context.server.limits.conditional_deletes;
                        let found = match Criteria::read(&call, of, call.query).await {
                            Ok(criteria) => criteria.find(&call, self.snapshot, most).await,
                            Err(error) => Err(error),
                        };
                        let found = match found {
                            Err(error) if cannot_be_told(&error) => continue,
                            found => found.map_err(|error| error.in_entry(*index))?,
                        };
                        let own = deleted
                            .iter()
                            .filter(|done| found.contains(&self.done.identities[**done].1));
                        deletions.insert(*index, own.copied().collect());
                    }
                }
            }
        }
        Ok(deletions)
    }
}

/// What an entry writes, where it names it.
fn named(target: &Target) -> Option<Identity> {
    match &target.interaction {
        Interaction::Update(instance)
        | Interaction::Patch(instance)
        | Interaction::Delete(instance) => {
            Some((instance.resource_type.clone(), instance.id.clone()))
        }
        _ => None,
    }
}

/// Whether criteria that were good once cannot be used any more, and not just now.
fn cannot_be_told(error: &ServerError) -> bool {
    use database::SearchError as S;
    match error {
        ServerError::AtExpression { source, .. } => cannot_be_told(source),
        ServerError::CriteriaNotSupported { .. }
        | ServerError::Criteria { .. }
        | ServerError::PageLinkExpired
        | ServerError::Search(
            S::TooCostly { .. } | S::Codes(_) | S::AmbiguousId { .. } | S::ParametersChanged,
        ) => true,
        _ => false,
    }
}
