//! transaction: all entries or none (FHIR R4, 3.1.0.11.2).

use std::collections::BTreeMap;

use contract::Interaction;
use database::{
    Action, Answered, Change, CommitError, CommitId, Expect, Receipt, Snapshot, Transaction,
    VersionEntry, Visibility, Written,
};
use fhir_core::{Bundle, BundleRequest, ResourceId, ResourceType};
use http::StatusCode;

use super::Context;
use super::allowance::Allowance;
use super::patches::Patches;
use super::plan::{Plan, Planned, Planner};
use super::respond::{Kind, Response};
use super::target::{Step, Target};
use crate::audit;
use crate::call::{Answer, Call, terms};
use crate::dispatch::dispatch;
use crate::error::ServerError;
use crate::error_answer::ErrorAnswer;
use crate::exchange::patches;
use crate::interactions::{conditional_update, create, update, write};
use crate::validation::{self, Judged, NotCommitted};

/// How often a transaction is planned again when others touched what it looked up.
const TRIES: usize = 16;

pub(crate) async fn transaction(
    context: &Context<'_>,
    bundle: &Bundle<'_>,
    requests: &[&BundleRequest<'_>],
) -> Result<Answer, ServerError> {
    let targets = targets(context, requests)?;
    let mut judged = BTreeMap::new();
    for _ in 0..TRIES {
        let snapshot = context.counted(context.database.snapshot(Visibility::everything()));
        let patches = Patches::of(context, &snapshot, bundle, &targets).await?;
        let documents = patches.documents()?;
        let patched = patches.resources(&documents)?;
        let planner = Planner::new(context, &snapshot, bundle, &targets, &patched);
        let plan = planner.judged(&mut judged).plan().await?;
        let Plan { changes, entry_of, conditions, entries } = plan;
        let identities: Vec<_> = changes
            .iter()
            .map(|change| (change.resource_type.clone(), change.id.clone()))
            .collect();
        let transaction = Transaction {
            id: CommitId(context.server.ids.next()),
            prepared_at: snapshot.at(),
            changes,
            conditions,
        };
        let terms = terms(context.server, context.database, context.named, &transaction.changes)?;
        let tenant = &context.grant.tenant;
        let (database, validation) =
            (&context.server.databases[tenant], &context.server.validations[tenant]);
        match validation::commit(database, validation, transaction, terms).await {
            Ok(receipt) => {
                let committed = Committed { snapshot, identities, receipt };
                let whole = (bundle, &*targets);
                return respond(context, whole, (&entries, &judged), &committed).await;
            }
            Err(NotCommitted::Commit(CommitError::Raced)) => {}
            // What is patched is the newest version; which one is expected, the plan judges.
            Err(NotCommitted::Commit(CommitError::Precondition { change, .. }))
                if is_patch(&targets, &entry_of, change) => {}
            Err(error) => return Err(failed(context, &targets, &entry_of, error)),
        }
    }
    Err(ServerError::Contended)
}

fn targets(
    context: &Context<'_>,
    requests: &[&BundleRequest<'_>],
) -> Result<Vec<Target>, ServerError> {
    let targets = requests.iter().enumerate().map(|(index, request)| {
        Target::of(context, request).map_err(|error| error.in_entry(index))
    });
    targets.collect()
}

/// The answer to a transaction that was carried out: planned again on the data it was judged by,
/// it comes to the same changes, each of which the commit has a version of unless it deleted
/// what was not there.
pub(crate) async fn replay(
    context: &Context<'_>,
    bundle: &Bundle<'_>,
    requests: &[&BundleRequest<'_>],
    answered: Answered,
) -> Result<Answer, ServerError> {
    let targets = targets(context, requests)?;
    let snapshot = context.counted(answered.before);
    let patches = Patches::of(context, &snapshot, bundle, &targets).await?;
    let documents = patches.documents()?;
    let patched = patches.resources(&documents)?;
    let plan = Planner::new(context, &snapshot, bundle, &targets, &patched).plan().await?;
    // What was written and what was deleted stand each in their order, and not in one.
    let deletes = |entry: &VersionEntry| entry.flags.is_deleted();
    let (deleted, made): (Vec<_>, Vec<_>) =
        answered.versions.into_iter().partition(|(entry, _)| deletes(entry));
    let (mut deleted, mut made) = (deleted.into_iter().peekable(), made.into_iter().peekable());
    let mut identities = Vec::with_capacity(plan.changes.len());
    let mut written = Vec::with_capacity(plan.changes.len());
    for change in plan.changes {
        let versions =
            if matches!(change.action, Action::Delete) { &mut deleted } else { &mut made };
        if let Some((entry, version)) = versions.next_if(|(entry, _)| is_of(entry, &change)) {
            identities.push((entry.resource_type, entry.id));
            written.push(version);
            continue;
        }
        let newest = snapshot.newest(&change.resource_type, &change.id).await?;
        let nothing = Written {
            version: newest.as_ref().map(|newest| newest.version),
            instant: newest.map_or(context.server.clock.now(), |newest| newest.instant),
            created: false,
            changed: false,
        };
        identities.push((change.resource_type, change.id));
        written.push(nothing);
    }
    let receipt = Receipt { t: answered.t, written };
    let committed = Committed { snapshot, identities, receipt };
    let judged = BTreeMap::new();
    respond(context, (bundle, &targets), (&plan.entries, &judged), &committed).await
}

/// Whether this version is the one that such a change, a deletion or not as it is, makes.
fn is_of(entry: &VersionEntry, change: &Change) -> bool {
    entry.resource_type == change.resource_type
        && (change.expect == Expect::New || entry.id == change.id)
}

/// Whether the change with this index is a patch.
fn is_patch(targets: &[Target], entry_of: &[usize], change: usize) -> bool {
    let target = entry_of.get(change).and_then(|entry| targets.get(*entry));
    target.is_some_and(|target| patches(&target.interaction))
}

/// A failed commit, in the entry that failed.
fn failed(
    context: &Context<'_>,
    targets: &[Target],
    entry_of: &[usize],
    error: NotCommitted,
) -> ServerError {
    let (change, error) = write::refused(error);
    let Some(&entry) = change.and_then(|change| entry_of.get(change)) else {
        return error;
    };
    let target = &targets[entry];
    let error = match &target.interaction {
        Interaction::Update(instance) => {
            match update::may_write(&target.call(context, None), instance) {
                Ok(may_create) => may_create.explain(error, &target.conditions),
                Err(refused) => refused,
            }
        }
        // A match is expected not to be absent, but by If-None-Match.
        Interaction::ConditionalUpdate(_) if target.conditions.if_none_match.is_none() => {
            conditional_update::id_taken(error, &[])
        }
        _ => error,
    };
    error.in_entry(entry)
}

/// A committed plan.
struct Committed {
    /// What it was planned against; what it found there by conditions is still so.
    snapshot: Snapshot,
    /// What each change is about.
    identities: Vec<(ResourceType, ResourceId)>,
    receipt: Receipt,
}

async fn respond(
    context: &Context<'_>,
    (bundle, targets): (&Bundle<'_>, &[Target]),
    (entries, judged): (&[Planned], &BTreeMap<usize, Judged>),
    committed: &Committed,
) -> Result<Answer, ServerError> {
    let mut response = Response::new(Kind::Transaction, entries.len());
    let mut allowance = Allowance::of(context);
    let mut not_sent = Allowance::of(context);
    for (entry, (target, planned)) in targets.iter().zip(entries).enumerate() {
        let call = target.call(context, target.parameters(&bundle.entries[entry]));
        let answer = match planned {
            Planned::Change(index) => {
                let (of, id) = &committed.identities[*index];
                let written = write::written(&committed.receipt, *index)?;
                if target.step() == Step::Delete {
                    let version = written.version.map(|version| (version, written.instant));
                    Answer { version, ..Answer::empty(StatusCode::NO_CONTENT) }
                } else {
                    let told = judged.get(&entry).map(|judged| judged.told.clone());
                    let answer =
                        write::answer(&call, of, id, (committed.receipt.t, written)).await?;
                    let answer = Answer { told: told.unwrap_or_default(), ..answer };
                    match patches(&target.interaction) {
                        true => not_sent.keep(answer),
                        false => answer,
                    }
                }
            }
            Planned::Deleted(changes) => {
                let version = match changes.as_slice() {
                    [one] => {
                        let written = write::written(&committed.receipt, *one)?;
                        written.version.map(|version| (version, written.instant))
                    }
                    _ => None,
                };
                Answer { version, ..Answer::empty(StatusCode::NO_CONTENT) }
            }
            Planned::Existing(of, id) => {
                not_sent.keep(create::exists(&call, &committed.snapshot, of, id).await?)
            }
            Planned::Read => match read(call, &mut allowance).await {
                Ok(answer) => answer,
                // It was there a moment ago, and no longer than may be; another request has
                // changed that since.
                Err(error) => {
                    response.error(&ErrorAnswer::of(&error));
                    continue;
                }
            },
        };
        if !matches!(planned, Planned::Read) {
            let sent = bundle.entries[entry].resource.as_ref();
            let sent = sent.filter(|_| !patches(&target.interaction));
            let sent = sent.map(|resource| resource.value().raw());
            audit::note(&target.call(context, None), sent, Ok(&answer)).await;
        }
        response.answer(&answer, target.head);
    }
    Ok(Answer::of(response.finish()))
}

async fn read(call: Call<'_>, allowance: &mut Allowance) -> Result<Answer, ServerError> {
    allowance.check()?;
    allowance.take(dispatch(call).await?)
}
