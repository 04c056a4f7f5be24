//! Where the registry is, in the data directory or in PostgreSQL, and how it is opened and moved.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use contract::{Clock, Ids};
use registry::{
    Beside, InvalidConnection, OpenError, Opened, PostgresOptions, Registry, Transport,
};

use crate::config::{self, Config, ConfigError, WithoutTls};
use crate::data_directory::DataDirectory;
use crate::doors::SystemClock;
use crate::lock::{Half, Lock, LockError};
use crate::storage::{self, StorageError};

/// Why the registry was not opened or moved.
#[derive(Debug, thiserror::Error)]
pub enum RegistryPlaceError {
    /// It does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// PostgreSQL cannot be reached as configured.
    #[error("PostgreSQL cannot be reached as `registry` says")]
    Connection(#[from] InvalidConnection),
    /// A file that the configuration names.
    #[error(transparent)]
    File(Box<StorageError>),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// There is nowhere to move it to.
    #[error(
        "the configuration {} names no `registry.postgres` that the registry could be moved to; add it",
        .0.display()
    )]
    NoPostgres(PathBuf),
    /// Somebody else has the registry.
    #[error(transparent)]
    Lock(#[from] LockError),
}

/// What is done with a registry as a whole.
#[derive(Debug, Subcommand)]
pub enum RegistryCommand {
    /// Move the registry of a data directory into PostgreSQL, where several gateways share it
    Move(Move),
}

/// `hearthgate registry move`.
#[derive(Debug, Args)]
pub struct Move {
    #[command(flatten)]
    data: DataDirectory,
    /// The configuration file whose `registry.postgres` says where to
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

impl RegistryCommand {
    /// Carries it out, and says what to print.
    ///
    /// # Errors
    /// [`RegistryPlaceError`]; the registry in the data directory is then as it was.
    pub fn run(self) -> Result<String, RegistryPlaceError> {
        let Self::Move(Move { data, config: file }) = self;
        let config = resolve(&file)?;
        let options = options(&config)?.ok_or(RegistryPlaceError::NoPostgres(file))?;
        let dir = data.path.join("registry");
        // Taking the lock makes the directory: what is not there has nothing to move.
        if !dir.is_dir() {
            return Err(OpenError::LogMissing { path: dir.join("changes.log") }.into());
        }
        let _lock = Lock::take(&data.path, Half::Gateway, "registry move")?;
        let moved = registry::move_into_postgres(&dir, &options, &SystemClock::start())?;
        let there = if moved.was_there { "were there already" } else { "are there now" };
        Ok(format!(
            "The registry is in PostgreSQL: {} changes {there}. The log that counts no more: {}\n",
            moved.changes,
            moved.set_aside.display()
        ))
    }
}

/// The configuration that a command names.
pub(crate) fn resolve(file: &Path) -> Result<Config, ConfigError> {
    let config = Some(file.to_owned());
    Config::resolve(&config::Flags { config, ..config::Flags::default() })
}

/// How the registry's PostgreSQL is reached; `None` where the data directory holds it.
pub(crate) fn options(config: &Config) -> Result<Option<PostgresOptions>, RegistryPlaceError> {
    let from = &config.registry;
    let Some(connection) = &from.postgres else { return Ok(None) };
    let file = |error| RegistryPlaceError::File(Box::new(error));
    let password = |path| storage::password("registry.postgres_password_file", path);
    let password = from.password_file.as_deref().map(password).transpose().map_err(file)?;
    let transport = match (&from.authority_file, from.without_tls) {
        (Some(path), _) => {
            let key = "registry.postgres_authority_file";
            Transport::verified_by(&storage::authority(key, path).map_err(file)?)?
        }
        (None, WithoutTls::Local) => Transport::Local,
        (None, WithoutTls::InsecureAnywhere) => Transport::InsecurePlain,
    };
    Ok(Some(PostgresOptions::new(connection.as_str(), password, transport)?))
}

/// Opens the registry that belongs to `data`, wherever `config` says that it is. Blocks.
pub(crate) fn open(
    config: &Config,
    data: &Path,
    beside: Beside,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
) -> Result<Opened, RegistryPlaceError> {
    let dir = data.join("registry");
    Ok(match options(config)? {
        Some(options) => Registry::open_in_postgres(&dir, &options, beside, clock, ids)?,
        None => Registry::open(&dir, beside, clock, ids)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moving(data: &Path, config: &str) -> String {
        let file = data.join("hearthgate.toml");
        std::fs::write(&file, config).unwrap();
        let data = DataDirectory { path: data.to_owned() };
        let error = RegistryCommand::Move(Move { data, config: file }).run().unwrap_err();
        crate::failure::one_line(&error)
    }

    // GW-064
    #[test]
    fn a_registry_that_cannot_be_moved_is_said_so_with_the_mend() {
        let data = tempfile::tempdir().unwrap();
        let told = moving(data.path(), "");
        assert!(told.contains("names no `registry.postgres`") && told.contains("add it"), "{told}");
        let told = moving(data.path(), "registry.postgres = \"host=db.example\"");
        assert!(told.contains("as `registry` says") && told.contains("authority"), "{told}");
        let told = moving(
            data.path(),
            "[registry]\npostgres = \"host=localhost\"\npostgres_password_file = \"/absent\"",
        );
        assert!(told.contains("`registry.postgres_password_file`"), "{told}");
        let told = moving(data.path(), "registry.postgres = \"host=/nowhere\"");
        assert!(told.contains("changes.log is missing"), "{told}");
        assert!(!data.path().join("registry").exists());
    }
}
