//! `hearthgate config diff`, `apply` and `export`: the configuration and the clients as files of one
//! directory, compared with what a running gateway has, and put in its place (docs/gitops.md).
//!
//! This side reads and writes the files and prints. What they mean is judged by the running
//! gateway's own release (`carry_out`), over the control socket.

mod carry_out;
mod clients;
mod difference;
mod files;
mod place;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};

use crate::command::CommandError;
use crate::control::{Answer, Request};
use crate::data_directory::DataDirectory;
use crate::keys;

pub(crate) use carry_out::carry_out;
pub(crate) use difference::Difference;
pub use files::FilesError;
pub(crate) use files::{ConfigurationText, Files};

/// The exit status of `config diff` where something differs.
const DIFFERS: u8 = 2;

/// What is done with configuration and clients as files.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Say what applying a directory would change: status 0 nothing, 2 something, 1 an error
    Diff(Diff),
    /// Put a directory's configuration and clients into force: all of it, or nothing
    Apply(Apply),
    /// Write the present configuration and clients into a new directory
    Export(Export),
}

/// `hearthgate config diff`.
#[derive(Debug, Args)]
pub struct Diff {
    #[command(flatten)]
    data: DataDirectory,
    /// The directory, with hearthgate.toml and clients/ID.toml
    directory: PathBuf,
    /// Count clients that no file names as to be disabled
    #[arg(long)]
    prune: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// `hearthgate config apply`.
#[derive(Debug, Args)]
pub struct Apply {
    #[command(flatten)]
    data: DataDirectory,
    /// The directory, with hearthgate.toml and clients/ID.toml
    directory: PathBuf,
    /// Disable clients that no file names
    #[arg(long)]
    prune: bool,
    /// Check everything, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// `hearthgate config export`.
#[derive(Debug, Args)]
pub struct Export {
    #[command(flatten)]
    data: DataDirectory,
    /// The directory to make
    directory: PathBuf,
}

/// What a running gateway is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub enum Asked {
    /// What these files would change.
    Diff(Files),
    /// To take them.
    Apply(Files),
    /// Whether it would take them.
    TryOut(Files),
    /// What it has, as files.
    Export,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answered {
    /// What differs, or differed.
    Differs(Difference),
    /// What it has.
    Has(Exported),
}

/// The present state as files.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Exported {
    /// The configuration file; absent where the process has none.
    pub(crate) configuration: Option<String>,
    /// Ids of clients, and their files.
    pub(crate) clients: Vec<(String, String)>,
}

/// Files name patients.
impl std::fmt::Debug for Exported {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Exported({})", self.clients.len())
    }
}

impl ConfigCommand {
    /// Carries it out, and says what to print and how to end.
    ///
    /// # Errors
    /// [`CommandError`], to be said in one line.
    pub async fn run(self) -> Result<(String, ExitCode), CommandError> {
        match self {
            Self::Diff(asked) => {
                let files = Files::read(&asked.directory, asked.prune)?;
                let difference = differs(&asked.data.path, Asked::Diff(files)).await?;
                let status = match difference.is_none() {
                    true => ExitCode::SUCCESS,
                    false => ExitCode::from(DIFFERS),
                };
                Ok((shown(&difference, asked.json, "differ"), status))
            }
            Self::Apply(asked) => {
                let files = Files::read(&asked.directory, asked.prune)?;
                let (request, did) = match asked.dry_run {
                    true => (Asked::TryOut(files), "would be changed"),
                    false => (Asked::Apply(files), "are changed, and in force"),
                };
                let difference = differs(&asked.data.path, request).await?;
                Ok((shown(&difference, asked.json, did), ExitCode::SUCCESS))
            }
            Self::Export(asked) => {
                let target = files::new_directory(&asked.directory)?;
                match ask(&asked.data.path, Asked::Export).await? {
                    Answered::Has(exported) => {
                        target.write(&exported)?;
                        Ok((exported.told(&asked.directory), ExitCode::SUCCESS))
                    }
                    other => Err(unexpected(other)),
                }
            }
        }
    }
}

impl Exported {
    fn told(&self, directory: &Path) -> String {
        let configuration = match self.configuration {
            Some(_) => "the configuration",
            None => "no configuration, since the process was started without --config,",
        };
        let clients = match self.clients.len() {
            1 => "1 client".to_owned(),
            count => format!("{count} clients"),
        };
        format!("Wrote {configuration} and {clients} to {}.\n", directory.display())
    }
}

fn shown(difference: &Difference, json: bool, did: &str) -> String {
    match json {
        true => difference.to_json(),
        false => difference.in_words(did),
    }
}

async fn differs(data: &Path, asked: Asked) -> Result<Difference, CommandError> {
    match ask(data, asked).await? {
        Answered::Differs(difference) => Ok(difference),
        other => Err(unexpected(other)),
    }
}

async fn ask(data: &Path, asked: Asked) -> Result<Answered, CommandError> {
    let request = Request::Config(asked);
    match keys::run(data, request, Arc::default(), Arc::default()).await? {
        Answer::Config(answered) => Ok(answered),
        other => Err(keys::unexpected(&other).into()),
    }
}

fn unexpected(answered: Answered) -> CommandError {
    keys::unexpected(&Answer::Config(answered)).into()
}
