//! transaction: all entries or none (FHIR R4, 3.1.0.11.2).

use database::{CommitError, CommitId, Receipt, Snapshot, Transaction, Visibility};
use fhir_core::{Bundle, BundleRequest, ResourceId, ResourceType};
use http::StatusCode;

use super::Context;
use super::allowance::Allowance;
use super::plan::{Plan, Planned, Planner};
use super::respond::{Kind, Response};
use super::target::{Step, Target};
use crate::call::{Answer, Call};
use crate::dispatch::dispatch;
use crate::error::ServerError;
use crate::error_answer::ErrorAnswer;
use crate::interactions::{create, update, write};

/// How often a transaction is planned again when others touched what it looked up.
const TRIES: usize = 16;

pub(crate) async fn transaction(
    context: &Context<'_>,
    bundle: &Bundle<'_>,
    requests: &[&BundleRequest<'_>],
) -> Result<Answer, ServerError> {
    let targets = requests.iter().enumerate().map(|(index, request)| {
        Target::of(context, request).map_err(|error| error.in_entry(index))
    });
    let targets: Vec<Target> = targets.collect::<Result<_, _>>()?;
    for _ in 0..TRIES {
        let snapshot = context.database.snapshot(Visibility::everything());
        let plan = Planner::new(context, &snapshot, bundle, &targets).plan().await?;
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
        match context.database.commit(transaction).await {
            Ok(receipt) => {
                let committed = Committed { snapshot, identities, receipt };
                return respond(context, &targets, &entries, &committed).await;
            }
            Err(CommitError::Raced) => {}
            Err(error) => return Err(failed(context, &targets, &entry_of, error)),
        }
    }
    Err(ServerError::Contended)
}

/// A failed commit, in the entry that failed.
fn failed(
    context: &Context<'_>,
    targets: &[Target],
    entry_of: &[usize],
    error: CommitError,
) -> ServerError {
    let (change, error) = write::refused(error);
    let Some(&entry) = change.and_then(|change| entry_of.get(change)) else {
        return error;
    };
    let target = &targets[entry];
    let error = match &target.interaction {
        contract::Interaction::Update(instance) => {
            match update::may_write(&target.call(context, None), instance) {
                Ok(may_create) => may_create.explain(error, &target.conditions),
                Err(refused) => refused,
            }
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
    targets: &[Target],
    entries: &[Planned],
    committed: &Committed,
) -> Result<Answer, ServerError> {
    let mut response = Response::new(Kind::Transaction, entries.len());
    let mut allowance = Allowance::of(context);
    for (target, planned) in targets.iter().zip(entries) {
        let call = target.call(context, None);
        let answer = match planned {
            Planned::Change(index) => {
                let (of, id) = &committed.identities[*index];
                let written = write::written(&committed.receipt, *index)?;
                if target.step() == Step::Delete {
                    let version = written.version.map(|version| (version, written.instant));
                    Answer { version, ..Answer::empty(StatusCode::NO_CONTENT) }
                } else {
                    write::answer(&call, of, id, (committed.receipt.t, written)).await?
                }
            }
            Planned::Existing(of, id) => create::exists(&call, &committed.snapshot, of, id).await?,
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
        response.answer(&answer, target.head);
    }
    Ok(Answer::of(response.finish()))
}

async fn read(call: Call<'_>, allowance: &mut Allowance) -> Result<Answer, ServerError> {
    allowance.check()?;
    allowance.take(dispatch(call).await?)
}
