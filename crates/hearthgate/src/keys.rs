//! `hearthgate keys`: asks the running gateway half, or opens the registry itself when none runs.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gateway::{Plans, Roles};
use registry::Actor;

use crate::command_socket;
use crate::config::{self, Config};
use crate::control::{self, Answer, Request, Site};
use crate::doors::{NoRandomness, SystemClock, SystemIds};
use crate::lock::{Half, Lock, LockError};
use crate::registry_place::{self, RegistryPlaceError};

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// There is nothing to command: the first start makes the owner, and has not been.
    #[error("no registry was started in {}; start the server once, or name the data directory with --data", data.display())]
    NoRegistry {
        /// The data directory.
        data: PathBuf,
    },
    /// Somebody has the registry and does not answer.
    #[error("{holder}, and its control socket does not answer; wait for it or stop it")]
    Silent {
        /// What the lock says.
        holder: String,
        /// What the socket said.
        source: io::Error,
    },
    /// The lock could not be tried.
    #[error(transparent)]
    Lock(LockError),
    /// The registry does not open, or is elsewhere and cannot be reached there.
    #[error(transparent)]
    Place(#[from] RegistryPlaceError),
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// The file system refused.
    #[error("cannot read {}", path.display())]
    Io {
        /// On which path.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// The command was understood and refused.
    #[error("{0}")]
    Refused(String),
}

/// Carries out `request` on the registry of `data`. `roles` and `plans` are those there are where
/// no gateway half runs; one that runs has its own.
///
/// # Errors
/// [`KeysError`]; a refusal is one too.
pub async fn run(
    data: &Path,
    request: Request,
    roles: Arc<Roles>,
    plans: Arc<Plans>,
) -> Result<Answer, KeysError> {
    run_with(data, None, request, roles, plans).await
}

/// The same, with the configuration file that says where the registry is where no gateway half
/// runs.
///
/// # Errors
/// [`KeysError`]; a refusal is one too.
pub async fn run_with(
    data: &Path,
    config: Option<&Path>,
    request: Request,
    roles: Arc<Roles>,
    plans: Arc<Plans>,
) -> Result<Answer, KeysError> {
    let no_registry = || KeysError::NoRegistry { data: data.to_owned() };
    let config = config.map(registry_place::resolve).transpose();
    let config = config.map_err(RegistryPlaceError::from)?.unwrap_or_default();
    if config.registry.postgres.is_none() && !data.join("registry").is_dir() {
        return Err(no_registry());
    }
    let answer = match Lock::take(data, Half::Gateway, "keys") {
        Ok(lock) => {
            let answer = alone(data, &config, request, roles, plans)?.ok_or_else(no_registry)?;
            drop(lock);
            answer
        }
        Err(held @ LockError::Held { .. }) => ask(data, &request, &held).await?,
        Err(error) => return Err(KeysError::Lock(error)),
    };
    match answer {
        Answer::Refused(why) => Err(KeysError::Refused(why)),
        done => Ok(done),
    }
}

/// With the lock in hand; `None` where nothing was started yet.
fn alone(
    data: &Path,
    config: &Config,
    request: Request,
    roles: Arc<Roles>,
    plans: Arc<Plans>,
) -> Result<Option<Answer>, KeysError> {
    let failed = |source| KeysError::Io { path: data.to_owned(), source };
    let beside = config::beside(data).map_err(failed)?;
    let uid = command_socket::own_uid().map_err(failed)?;
    let clock = Arc::new(SystemClock::start());
    let ids = Arc::new(SystemIds::open()?);
    let opened = registry_place::open(config, data, beside, clock, ids)?;
    if opened.first_start {
        return Ok(None);
    }
    let by = Actor::local_user(uid);
    let site = Site { roles, denials: None, plans, counted: None, reloader: None };
    Ok(Some(control::execute(&opened.registry, &site, request, &by)))
}

async fn ask(data: &Path, request: &Request, held: &LockError) -> Result<Answer, KeysError> {
    control::ask(data, request).await.map_err(|source| {
        let holder = held.to_string();
        let holder = holder.split(';').next().unwrap_or_default().to_owned();
        KeysError::Silent { holder, source }
    })
}

/// Another release answered on the control socket.
pub(crate) fn unexpected(answer: &Answer) -> KeysError {
    KeysError::Refused(format!(
        "the running process answered something else ({answer:?}); use its own release of this command"
    ))
}
