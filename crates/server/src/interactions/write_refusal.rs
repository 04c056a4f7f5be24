//! What a create or update would be refused for besides what is wrong with the resource: rights,
//! ids, the tenant's rules. `$validate` tells it in the modes for them. Nothing is written, and
//! what others commit next nobody knows.

use contract::{Instance, Interaction};
use database::{Action, Body, Change, CommitId, Expect, Method, Transaction, Visibility};
use fhir_core::{Issue, Resource};

use super::update::{self, MayCreate};
use super::write;
use crate::access;
use crate::call::Call;
use crate::error::ServerError;
use crate::error_answer::ErrorAnswer;
use crate::validation::{concerns, judged};

/// The write that is asked about.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Write<'w> {
    Create,
    Update(&'w Instance),
}

/// What the write would be answered with, were it refused now; none where it would be done.
///
/// # Errors
/// When that cannot be said.
pub(crate) async fn refusal(
    call: &Call<'_>,
    resource: &Resource<'_>,
    write: Write<'_>,
) -> Result<Vec<Issue>, ServerError> {
    let Err(error) = attempt(call, resource, write).await else { return Ok(Vec::new()) };
    let answer = ErrorAnswer::of(&error);
    if answer.status.is_server_error() { Err(error) } else { Ok(answer.outcome.issues) }
}

async fn attempt(
    call: &Call<'_>,
    resource: &Resource<'_>,
    write: Write<'_>,
) -> Result<(), ServerError> {
    let of = resource.resource_type().clone();
    let interaction = match write {
        Write::Create => Interaction::Create(of.clone()),
        Write::Update(instance) => Interaction::Update(instance.clone()),
    };
    let call = Call { interaction, ..call.clone() };
    let snapshot = call.database.snapshot(Visibility::everything());
    // Whoever may not write learns no more than that.
    let (id, method) = match write {
        Write::Create => {
            call.allowed()?;
            (write::new_id(call.server), Method::Post)
        }
        Write::Update(instance) => {
            let may_create = update::may_write(&call, instance).await?;
            update::check_identity(resource, instance)?;
            let newest = snapshot.newest(&of, &instance.id).await?;
            if may_create == MayCreate::No && newest.is_none_or(|it| it.flags.is_deleted()) {
                return Err(ServerError::MayNotChooseIds);
            }
            (instance.id.clone(), Method::Put)
        }
    };
    access::check_resource(&call, &call.interaction, resource, &id).await?;
    write::check_alone((call.database.schema(), &call.server.base), resource)?;
    let body = Body::of(resource, &id, &write::as_it_came(), call.database.schema());
    let action = Action::Write { body: Box::new(body), method };
    let change = Change { resource_type: of, id, action, expect: Expect::Any };
    let transaction = Transaction {
        id: CommitId(call.server.ids.next()),
        prepared_at: snapshot.at(),
        changes: vec![change],
        conditions: Vec::new(),
    };
    let terms = call.terms(&transaction.changes).await?;
    let checked = call.database.check_rules(&transaction, &terms, &snapshot).await;
    checked.map_err(|error| write::refused(error).1)?;
    let definitions = call.server.validations[&call.grant.tenant].current();
    if let Some(definitions) = definitions.filter(|_| concerns(&transaction.changes)) {
        let judged = judged(&definitions, &transaction.changes).await;
        judged.map_err(|error| write::refused(error).1)?;
    }
    Ok(())
}
