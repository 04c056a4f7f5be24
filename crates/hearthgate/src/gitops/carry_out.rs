//! The running gateway's part: compares files with what is in force, and takes them, all or nothing.
//!
//! Files are checked whole first: the configuration, the clients against it, and whether the
//! gateway can be put onto it. Then the configuration takes the place of the process's file, the
//! registry takes the clients in one change, and the gateway goes over, which cannot fail any more.

use std::path::Path;
use std::sync::Arc;

use gateway::{NotDone, Then};
use registry::{Actor, ChangeError, Client, Registry};

use super::clients::{self, ClientFileError};
use super::difference::{ClientChanges, Difference};
use super::place::{NotWritable, Placing};
use super::{Answered, Asked, ConfigurationText, Exported, Files};
use crate::config::{Config, ConfigError};
use crate::reload::{ReloadError, Reloader, Turn};

/// Why files were not taken, or not compared. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Configuration(#[from] ConfigError),
    #[error(transparent)]
    Client(#[from] ClientFileError),
    #[error(transparent)]
    Reload(#[from] ReloadError),
    #[error(transparent)]
    NotWritable(#[from] NotWritable),
    #[error(transparent)]
    Registry(NotDone),
    #[error(transparent)]
    RegistryBehind(#[from] ChangeError),
    #[error(
        "there is no client's file, and --prune would disable every client; add the files, or leave --prune out"
    )]
    PrunesEverything,
    #[error(
        "every client would be disabled, and nobody could ask anything any more; let one file say that its client is enabled"
    )]
    LeavesNobody,
    #[error("the files cannot be looked at: the gateway is stopping")]
    Stopping,
}

/// What files come to.
struct Compared {
    difference: Difference,
    wanted: Config,
    fixed: Vec<&'static str>,
    clients: ClientChanges,
    /// The clients that the files were compared with.
    standing: Vec<Arc<Client>>,
    /// The configuration changes.
    is_other: bool,
}

/// Does what is asked; in words why not.
///
/// # Errors
/// A line that says why it was refused. Nothing has changed then.
pub(crate) async fn carry_out(
    registry: Arc<Registry>,
    reloader: &Reloader,
    asked: Asked,
    by: Actor,
) -> Result<Answered, String> {
    let turn = reloader.take_turn().await;
    let done = match asked {
        Asked::Export => export(registry, &turn).await.map(Answered::Has),
        Asked::Diff(files) => {
            let compared = compare(&registry, &turn, files).await;
            compared.map(|(compared, _)| Answered::Differs(compared.difference))
        }
        Asked::TryOut(files) => take(registry, &turn, files, None).await,
        Asked::Apply(files) => take(registry, &turn, files, Some(by)).await,
    };
    done.map_err(|refusal| crate::failure::one_line(&refusal))
}

async fn compare(
    registry: &Arc<Registry>,
    turn: &Turn<'_>,
    files: Files,
) -> Result<(Compared, Option<ConfigurationText>), Refusal> {
    let (registry, in_force, flags) = (registry.clone(), turn.config(), turn.flags().clone());
    // Many files take their time.
    let comparing = move || {
        let wanted = match &files.configuration {
            None => in_force.clone(),
            Some(_) if flags.config.is_none() => return Err(ReloadError::NoFile.into()),
            Some(file) => Config::resolve_text(&flags, &file.path, &file.text)?,
        };
        if files.prune && files.clients.as_ref().is_none_or(Vec::is_empty) {
            return Err(Refusal::PrunesEverything);
        }
        let read = files.clients.as_deref();
        if read.is_some() {
            // What other gateways did counts.
            registry.catch_up()?;
        }
        let read = read.map(|files| clients::read_all(files, &wanted, &registry)).transpose()?;
        let standing = registry.clients();
        let clients = ClientChanges::of(&standing, read, files.prune);
        if clients.leaves_nobody(&standing) {
            return Err(Refusal::LeavesNobody);
        }
        let changed = in_force.difference(&wanted);
        let fixed = ReloadError::fixed(&changed);
        let difference = Difference::of(&in_force, &wanted, &fixed, &clients);
        let is_other = !changed.is_empty();
        let compared = Compared { difference, wanted, fixed, clients, standing, is_other };
        Ok((compared, files.configuration))
    };
    tokio::task::spawn_blocking(comparing).await.map_err(|_| Refusal::Stopping)?
}

/// Takes the files in the name of `by`; where that is nobody, only finds out whether it could.
async fn take(
    registry: Arc<Registry>,
    turn: &Turn<'_>,
    files: Files,
    by: Option<Actor>,
) -> Result<Answered, Refusal> {
    let (compared, text) = compare(&registry, turn, files).await?;
    let Compared { difference, wanted, fixed, clients, standing, is_other } = compared;
    if !fixed.is_empty() {
        return Err(ReloadError::NeedsRestart(fixed).into());
    }
    let file = turn.flags().config.clone();
    let prepare = move || {
        let text = text.filter(|text| is_elsewhere(file.as_deref(), text));
        let placing = file.zip(text).map(|(file, text)| Placing::prepare(&file, &text.text));
        placing.transpose()
    };
    let placing = tokio::task::spawn_blocking(prepare).await.map_err(|_| Refusal::Stopping)??;
    let then = match by {
        None => Then::Nothing,
        Some(by) => {
            Then::PutAfter(Box::new(move || commit(&registry, placing, clients, &standing, &by)))
        }
    };
    match (is_other, then) {
        (true, then) => turn.put(wanted, then).await?,
        (false, Then::PutAfter(first)) => {
            let done = tokio::task::spawn_blocking(first).await.map_err(|_| Refusal::Stopping)?;
            done.map_err(Refusal::Registry)?;
        }
        (false, _) => {}
    }
    Ok(Answered::Differs(difference))
}

/// Whether the text is another than the process's own file has.
fn is_elsewhere(own: Option<&Path>, text: &ConfigurationText) -> bool {
    let Some(own) = own else { return false };
    let is_own = own.canonicalize().is_ok_and(|own| own == text.place);
    !is_own && std::fs::read_to_string(own).ok().as_ref() != Some(&text.text)
}

/// The configuration's file, then the clients; where these are not taken, the file is as before.
/// They are not where somebody else changed one since the files were compared with `standing`.
fn commit(
    registry: &Registry,
    placing: Option<Placing>,
    clients: ClientChanges,
    standing: &[Arc<Client>],
    by: &Actor,
) -> Result<(), NotDone> {
    if let Some(placing) = &placing {
        placing.place()?;
    }
    if clients.is_none() {
        return Ok(());
    }
    let put = registry.put_clients_as_judged(clients.put, clients.disable, standing, by);
    put.map_err(|error| {
        if let Some(placing) = placing {
            placing.put_back();
        }
        error.into()
    })
}

async fn export(registry: Arc<Registry>, turn: &Turn<'_>) -> Result<Exported, Refusal> {
    let (in_force, flags) = (turn.config(), turn.flags().clone());
    let exporting = move || {
        registry.catch_up()?;
        let configuration = flags.config.as_deref().map(|file| {
            // Its own text has comments; but it counts only as long as it says what is in force.
            let text = std::fs::read_to_string(file).ok();
            let says = |text: &String| {
                Config::resolve_text(&flags, file, text).is_ok_and(|config| config == in_force)
            };
            text.filter(says).unwrap_or_else(|| in_force.to_toml())
        });
        let clients = registry.clients().into_iter().map(|client| {
            let file = clients::to_file(&client.to_new(), client.disabled.is_some());
            (client.id.to_string(), file)
        });
        Ok(Exported { configuration, clients: clients.collect() })
    };
    tokio::task::spawn_blocking(exporting).await.map_err(|_| Refusal::Stopping)?
}

#[cfg(test)]
mod tests;
