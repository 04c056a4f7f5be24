//! create (FHIR R4, 3.1.0.8) and conditional create (3.1.0.8.1).

use contract::Instance;
use database::{
    Action, Change, Condition, Expect, Method, Snapshot, T, Transaction, Visibility, Written,
};
use fhir_core::{Issue, ResourceId, ResourceType};

use super::retries::Retries;
use super::write;
use crate::access;
use crate::call::{Answer, Call};
use crate::criteria::{Criteria, IF_NONE_EXIST, standing_at};
use crate::error::ServerError;
use crate::negotiation;
use crate::quarantine::{Request, Wanted, set_apart};
use crate::validation::{Judgement, NotCommitted};

pub(crate) async fn create(call: &Call<'_>, of: &ResourceType) -> Result<Answer, ServerError> {
    call.allowed()?;
    refuse_search(call.query)?;
    let resource = call.resource.as_ref().ok_or(ServerError::BodyMissing)?;
    if resource.resource_type() != of {
        let found = resource.resource_type().clone();
        return Err(ServerError::TypeDiffers { expected: of.clone(), found });
    }
    let schema = call.database.schema();
    write::check_alone((schema, &call.server.base), resource)?;
    let id = write::new_id(call.server);
    access::check_resource(call, &call.interaction, resource, &id).await?;
    let judged = call.judge(resource);
    // Where there is a match, what was sent is of no concern (HTTP-082).
    let looked = match &call.conditions.if_none_exist {
        None => None,
        Some(text) => match look(call, of, text).await? {
            Looked::Existing(answer) => return Ok(answer),
            Looked::Nothing(at, condition) => Some((&**text, at, condition)),
        },
    };
    let judged = match judged? {
        Judgement::MayBeWritten(judged) => judged,
        Judgement::IsSetApart(issues) => {
            let if_none_exist = call.conditions.if_none_exist.clone();
            let instance = Instance { resource_type: of.clone(), id };
            let request = Request::Create { instance, if_none_exist };
            return set_apart(call, Wanted { resource, request }, issues).await;
        }
    };
    let body = judged.body(resource, &id, &write::as_it_came(), schema);
    let body = write::on_record(call, body);
    let change = Change {
        resource_type: of.clone(),
        id: id.clone(),
        action: Action::Write { body: Box::new(body), method: Method::Post },
        expect: Expect::New,
    };
    let told = judged.told;
    match looked {
        None => {
            let written = write::commit_one(call, change).await?;
            Ok(Answer { told, ..write::answer(call, of, &id, written).await? })
        }
        Some(looked) => if_none_exist(call, (change, told), looked).await,
    }
}

/// Some clients send the criteria of a conditional create in its URL, where FHIR has none: whoever
/// passed over them would store the resource once more each time.
pub(crate) fn refuse_search(query: &str) -> Result<(), ServerError> {
    let mut names = negotiation::parameters(query).map(|(name, _)| name);
    match names.find(|name| !name.starts_with('_')) {
        Some(name) => Err(ServerError::CreateWithSearch(name)),
        None => Ok(()),
    }
}

/// What is there of what a conditional create looks for.
enum Looked {
    /// The answer about the one match.
    Existing(Answer),
    /// As of this position nothing, and on this condition still nothing.
    Nothing(T, Condition),
}

/// Looks for what the criteria of a conditional create match now. They are read after the snapshot
/// was taken, so that what codes mean is no older than that.
///
/// # Errors
/// When they cannot be used, or match several.
async fn look(call: &Call<'_>, of: &ResourceType, text: &str) -> Result<Looked, ServerError> {
    let snapshot = call.snapshot(Visibility::everything());
    let criteria = Criteria::if_none_exist(call, of, text).await?;
    let found = criteria.find(call, &snapshot, 2).await;
    match found.map_err(standing_at(IF_NONE_EXIST))?.as_slice() {
        [] => Ok(Looked::Nothing(snapshot.at(), criteria.condition(Vec::new()))),
        [existing] => exists(call, &snapshot, of, existing).await.map(Looked::Existing),
        _ => {
            let criteria = text.to_owned();
            Err(ServerError::MultipleMatches { criteria }.at(IF_NONE_EXIST))
        }
    }
}

async fn if_none_exist(
    call: &Call<'_>,
    (change, told): (Change, Vec<Issue>),
    (text, mut at, mut condition): (&str, T, Condition),
) -> Result<Answer, ServerError> {
    let of = change.resource_type.clone();
    let mut retries = Retries::new(&*call.server.clock);
    loop {
        let transaction = Transaction {
            id: database::CommitId(call.server.ids.next()),
            prepared_at: at,
            changes: vec![change.clone()],
            conditions: vec![condition],
        };
        let terms = call.terms(&transaction.changes).await?;
        match call.commit(transaction, terms).await {
            Ok(receipt) => {
                let written = (receipt.t, write::written(&receipt, 0)?);
                return Ok(Answer { told, ..write::answer(call, &of, &change.id, written).await? });
            }
            Err(NotCommitted::Commit(database::CommitError::Raced)) => retries.again().await?,
            Err(error) => return Err(write::refused(error).1),
        }
        (at, condition) = match look(call, &of, text).await? {
            Looked::Existing(answer) => return Ok(answer),
            Looked::Nothing(at, condition) => (at, condition),
        };
    }
}

/// One match in `snapshot`: nothing is written, and the answer is about that resource (HTTP-082).
/// Whoever may not read it learns of nothing but the match (LEAK-13).
pub(crate) async fn exists(
    call: &Call<'_>,
    snapshot: &Snapshot,
    of: &ResourceType,
    id: &ResourceId,
) -> Result<Answer, ServerError> {
    let found = snapshot.newest(of, id).await?.ok_or(ServerError::Interrupted)?;
    let existing = Written {
        version: Some(found.version),
        instant: found.instant,
        created: false,
        changed: false,
    };
    write::answer(call, of, id, (found.t, existing)).await
}
