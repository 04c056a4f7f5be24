//! transaction: all entries or none (FHIR R4, 3.1.0.11.2).

use std::collections::BTreeMap;

use contract::{Instance, Interaction};
use database::{CommitError, CommitId, Receipt, Snapshot, Transaction, Visibility};
use fhir_core::{Bundle, BundleRequest, Issue, ResourceId, ResourceType};
use http::StatusCode;

use super::Context;
use super::allowance::Allowance;
use super::patches::Patches;
use super::plan::{Plan, Planned, Planner};
use super::respond::{Kind, Response};
use super::target::{Step, Target};
use crate::access;
use crate::audit;
use crate::call::{Answer, Call, commit, terms};
use crate::dispatch::dispatch;
use crate::error::ServerError;
use crate::error_answer::ErrorAnswer;
use crate::exchange::patches;
use crate::interactions::retries::Retries;
use crate::interactions::{conditional_update, create, update, write};
use crate::validation::{Judged, NotCommitted};

pub(crate) async fn transaction(
    context: &Context<'_>,
    bundle: &Bundle<'_>,
    requests: &[&BundleRequest<'_>],
) -> Result<Answer, ServerError> {
    let targets = targets(context, requests)?;
    let mut judged = BTreeMap::new();
    let mut retries = Retries::new(&*context.server.clock);
    loop {
        let snapshot = context.counted(context.database.snapshot(Visibility::everything()));
        let patches = match Patches::of(context, &snapshot, bundle, &targets).await {
            // Of who sees a part alone what is seen is looked up after the snapshot was taken.
            Err(error) if is_overtaken(&error) => {
                retries.again().await?;
                continue;
            }
            patches => patches?,
        };
        let documents = patches.documents()?;
        let patched = patches.resources(&documents)?;
        let planner = Planner::new(context, &snapshot, bundle, &targets, (&patched, &mut judged));
        let plan = planner.plan().await?;
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
        if let Some(target) = targets.first() {
            let call = target.call(context, None);
            let (changes, required) = (&transaction.changes, &terms.required);
            let checked = access::check_references(&call, changes, required).await;
            checked.map_err(|(change, error)| error.in_entry(entry_of[change]))?;
        }
        match commit((context.server, &context.grant.tenant), transaction, terms).await {
            Ok(receipt) => {
                let committed = Committed { snapshot, identities, receipt };
                let whole = (bundle, &*targets);
                return respond(context, whole, (&entries, &judged), &committed).await;
            }
            Err(NotCommitted::Commit(CommitError::Raced)) => retries.again().await?,
            // What is patched is the newest version; which one is expected, the plan judges.
            Err(NotCommitted::Commit(CommitError::Precondition { change, .. }))
                if is_patch(&targets, &entry_of, change)
                    || is_in_part(context, &targets, &entry_of, change) =>
            {
                retries.again().await?;
            }
            Err(error) => return Err(failed(context, &targets, &entry_of, error).await),
        }
    }
}

/// What the entries ask for.
pub(super) fn targets(
    context: &Context<'_>,
    requests: &[&BundleRequest<'_>],
) -> Result<Vec<Target>, ServerError> {
    let targets = requests.iter().enumerate().map(|(index, request)| {
        Target::of(context, request).map_err(|error| error.in_entry(index))
    });
    targets.collect()
}

/// Whether an entry patches what another request changed after the snapshot was taken.
fn is_overtaken(error: &ServerError) -> bool {
    match error {
        ServerError::InEntry { source, .. } => is_overtaken(source),
        error => matches!(error, ServerError::PatchedMeanwhile),
    }
}

/// Whether the change with this index is a patch.
fn is_patch(targets: &[Target], entry_of: &[usize], change: usize) -> bool {
    let target = entry_of.get(change).and_then(|entry| targets.get(*entry));
    target.is_some_and(|target| patches(&target.interaction))
}

/// Whether the change with this index is of one who sees a part of the type alone: what came
/// between is judged anew.
fn is_in_part(
    context: &Context<'_>,
    targets: &[Target],
    entry_of: &[usize],
    change: usize,
) -> bool {
    let target = entry_of.get(change).and_then(|entry| targets.get(*entry));
    target.is_some_and(|target| target.call(context, None).unrestricted().is_err())
}

/// A failed commit, in the entry that failed.
async fn failed(
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
            match update::may_write(&target.call(context, None), instance).await {
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
pub(super) struct Committed {
    /// What it was planned against; what it found there by conditions is still so.
    pub(super) snapshot: Snapshot,
    /// What each change is about.
    pub(super) identities: Vec<(ResourceType, ResourceId)>,
    pub(super) receipt: Receipt,
}

pub(super) async fn respond(
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
                    write::deleted(&call, vec![(instance(of, id), written)]).await
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
                let mut gone = Vec::with_capacity(changes.len());
                for index in changes {
                    let (of, id) = &committed.identities[*index];
                    gone.push((instance(of, id), write::written(&committed.receipt, *index)?));
                }
                write::deleted(&call, gone).await
            }
            Planned::Existing(of, id) => {
                not_sent.keep(create::exists(&call, &committed.snapshot, of, id).await?)
            }
            Planned::Untold => {
                let text = "when this was carried out, the criteria matched a resource; which one \
                            cannot be told any more";
                let told = vec![Issue::information(text)];
                Answer { told, ..Answer::empty(StatusCode::OK) }
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

fn instance(of: &ResourceType, id: &ResourceId) -> Instance {
    Instance { resource_type: of.clone(), id: id.clone() }
}

async fn read(call: Call<'_>, allowance: &mut Allowance) -> Result<Answer, ServerError> {
    allowance.check()?;
    allowance.take(dispatch(call).await?)
}
