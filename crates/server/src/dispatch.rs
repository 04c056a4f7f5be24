//! From an interaction to the file that does it.

use contract::Interaction;

use crate::audit;
use crate::call::{Answer, Call};
use crate::error::ServerError;
use crate::exchange::patches;
use crate::interactions::{
    capabilities, conditional_delete, conditional_update, create, delete, history, operation,
    patch, read, search, update, vread,
};
use crate::table;

/// Carries out any interaction but a batch or transaction, which is made of these, and notes for
/// the audit what came of it.
pub(crate) async fn dispatch(call: Call<'_>) -> Result<Answer, ServerError> {
    let done = carry_out(&call).await;
    let sent = call.resource.as_ref().filter(|_| !patches(&call.interaction));
    audit::note(&call, sent.map(|resource| resource.value().raw()), done.as_ref()).await;
    done
}

async fn carry_out(call: &Call<'_>) -> Result<Answer, ServerError> {
    audit::check_not_written(&call.interaction)?;
    delete::check_deletable(call.server, &call.interaction)?;
    if let Some(of) = call.interaction.resource_type() {
        call.known(of)?;
    }
    if let contract::Decision::Deny(reason) = contract::decide(call.grant, &call.interaction) {
        return Err(ServerError::Denied(reason));
    }
    let code = call.interaction.code();
    if !table::is_there(&call.interaction) {
        return Err(ServerError::NotThereYet(code));
    }
    match call.interaction.clone() {
        Interaction::Capabilities => capabilities::capabilities(call).await,
        Interaction::Read(instance) => match audit::read(call, &instance).await? {
            Some(event) => Ok(event),
            None => read::read(call, &instance).await,
        },
        Interaction::Vread(instance, version) => vread::vread(call, &instance, &version).await,
        Interaction::HistoryInstance(instance) => history::history_instance(call, &instance).await,
        Interaction::HistoryType(of) => history::history_type(call, &of).await,
        Interaction::HistorySystem => history::history_system(call).await,
        Interaction::Create(of) => create::create(call, &of).await,
        Interaction::Update(instance) => update::update(call, &instance).await,
        Interaction::Operation(name, level) => operation::invoke(call, &name, &level).await,
        Interaction::Delete(instance) => delete::delete(call, &instance).await,
        Interaction::Patch(instance) => patch::patch(call, &instance).await,
        Interaction::ConditionalPatch(of) => patch::conditional_patch(call, &of).await,
        Interaction::SearchType(of) if of.as_str() == audit::AUDIT_EVENT => {
            audit::search(call).await
        }
        Interaction::SearchType(of) => search::search(call, Some(&of), None).await,
        Interaction::SearchSystem => search::search(call, None, None).await,
        Interaction::SearchCompartment(within, of) => {
            search::search(call, of.as_ref(), Some(&within)).await
        }
        Interaction::ConditionalUpdate(of) => {
            conditional_update::conditional_update(call, &of).await
        }
        Interaction::ConditionalDelete(of) => {
            conditional_delete::conditional_delete(call, &of).await
        }
        Interaction::BatchOrTransaction => Err(ServerError::NotThereYet(code)),
    }
}
