//! Commands and signals that change something, with the trail before and after.

use std::sync::Arc;

use registry::{Actor, Doing, How, Outcome, Registry};

use crate::control::{Answer, Request, Tokens};
use crate::failure::one_line;
use crate::gitops::Asked;
use crate::operators::OperatorRequest;
use crate::reload::ReloadError;

/// What the trail says of a request; `None` where it changes nothing. Operations are called as the
/// admin API calls them.
pub(crate) fn doing(request: &Request, by: &Actor) -> Option<Doing> {
    let (operation, object) = match request {
        Request::CreateKey(asked) => {
            let role = asked.role.as_ref().map(|role| format!(", role {role}"));
            ("keys.create", format!("client {}{}", asked.client, role.unwrap_or_default()))
        }
        Request::RevokeKey(key) => ("keys.revoke", format!("key {key}")),
        Request::RotateKey { key, .. } => ("keys.rotate", format!("key {key}")),
        Request::ConfirmKey(key) => ("keys.confirm", format!("key {key}")),
        Request::RevokeTokens(tokens) => {
            let object = match tokens {
                Tokens::Jti { issuer, .. } => format!("kind jti, issuer {issuer}"),
                Tokens::Authorization(id) => format!("kind authorization, id {id}"),
                Tokens::Client(id) => format!("kind client, id {id}"),
                Tokens::User(id) => format!("kind user, id {id}"),
            };
            ("token-revocations.create", object)
        }
        Request::SetPlan { client, plan } => {
            let plan = plan.as_deref().map(|plan| format!(", plan {plan}"));
            ("clients.set-plan", format!("client {client}{}", plan.unwrap_or_default()))
        }
        Request::DisableClient(client) => ("clients.disable", format!("client {client}")),
        Request::EnableClient(client) => ("clients.enable", format!("client {client}")),
        Request::Operators(request) => match request {
            OperatorRequest::List => return None,
            OperatorRequest::Create { name, role, .. } => {
                ("operators.create", format!("name {name}, role {role}"))
            }
            OperatorRequest::Rotate { name, .. } => {
                ("operators.rotate", format!("operator {name}"))
            }
            OperatorRequest::Revoke(name) => ("operators.revoke", format!("operator {name}")),
            OperatorRequest::Confirm(name) => ("operators.confirm", format!("operator {name}")),
        },
        Request::Reload => ("reload", String::new()),
        Request::Config(Asked::Apply(files)) => {
            ("config.apply", if files.prune { "with prune" } else { "" }.to_owned())
        }
        Request::Config(_) => return None,
        Request::ListKeys
        | Request::ShowDenials(_)
        | Request::ListBreakGlasses
        | Request::ShowLimits(_) => return None,
    };
    Some(Doing {
        by: by.as_str().to_owned(),
        from: None,
        how: How::Command,
        operation: operation.to_owned(),
        object,
    })
}

/// Carries a command out; where the trail cannot be written nothing is done.
pub(crate) fn done(
    registry: &Registry,
    doing: Doing,
    carry_out: impl FnOnce() -> Answer,
) -> Answer {
    let trail = registry.trail();
    let begun = match trail.begin(doing) {
        Ok(begun) => begun,
        Err(error) => return Answer::Refused(one_line(&error)),
    };
    let done = match carry_out() {
        Answer::Refused(why) => Err(why),
        answer => Ok(answer),
    };
    let ended = match &done {
        Ok(_) => trail.end(begun, Outcome::Done, None, ""),
        Err(why) => trail.end(begun, Outcome::Refused, None, why),
    };
    told(done, ended.map_err(|error| one_line(&error))).unwrap_or_else(Answer::Refused)
}

/// What the trail says of a reload.
pub(crate) fn reload(how: How, by: &str) -> Doing {
    Doing {
        by: by.to_owned(),
        from: None,
        how,
        operation: "reload".to_owned(),
        object: String::new(),
    }
}

/// Carries a reload out; which keys have changed, or why it was not done.
pub(crate) async fn reloaded(
    registry: &Arc<Registry>,
    doing: Doing,
    reload: impl Future<Output = Result<Vec<&'static str>, ReloadError>>,
) -> Result<Vec<String>, String> {
    let reload = async { reload.await.map_err(|error| one_line(&error)) };
    let changed = ended(registry, doing, reload).await?;
    Ok(changed.into_iter().map(str::to_owned).collect())
}

/// Carries out what waits for others; where the trail cannot be written nothing is done.
pub(crate) async fn ended<D>(
    registry: &Arc<Registry>,
    doing: Doing,
    work: impl Future<Output = Result<D, String>>,
) -> Result<D, String> {
    let writing = Arc::clone(registry);
    let begun = tokio::task::spawn_blocking(move || writing.trail().begin(doing)).await;
    let begun = begun.map_err(|error| one_line(&error))?.map_err(|error| one_line(&error))?;
    let done = work.await;
    let (outcome, why) = match &done {
        Ok(_) => (Outcome::Done, String::new()),
        Err(why) => (Outcome::Refused, why.clone()),
    };
    let writing = Arc::clone(registry);
    let end = move || writing.trail().end(begun, outcome, None, &why);
    let ended = tokio::task::spawn_blocking(end).await;
    let ended = ended.map_err(|error| one_line(&error));
    told(done, ended.and_then(|ended| ended.map_err(|error| one_line(&error))))
}

/// What whoever asked is told: what was done and could not be written down is done all the same.
fn told<D>(done: Result<D, String>, ended: Result<(), String>) -> Result<D, String> {
    match (done, ended) {
        (Ok(_), Err(error)) => Err(format!(
            "it is done, but could not be written down; look before you ask again: {error}"
        )),
        (done, _) => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // GW-063
    #[test]
    fn whoever_asked_is_told_what_was_done_though_it_could_not_be_written_down() {
        let full = || Err("the disk is full".to_owned());
        assert_eq!(told(Ok(7), Ok(())), Ok(7));
        let done = told(Ok(7), full()).unwrap_err();
        assert!(done.starts_with("it is done") && done.contains("the disk is full"), "{done}");
        let refused = || Err("no such plan".to_owned());
        assert_eq!(told::<u8>(refused(), Ok(())), refused());
        assert_eq!(told::<u8>(refused(), full()), refused());
    }
}
