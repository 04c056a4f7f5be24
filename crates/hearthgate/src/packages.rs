//! `hearthgate packages`: the FHIR packages of a tenant, whose profiles and value sets it
//! validates by.
//!
//! Where a server runs on the data directory, it does it (`server_control`), and they count from
//! then on; otherwise this process takes the lock and does it itself. The archives go over the
//! socket whole: the server may not be able to read the files of whoever asks.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use contract::Ids;
use database::{Database, Options};
use serde::{Deserialize, Serialize};
use server::{Archive, Validation, WritePolicy};
use store::TenantText;

use crate::command::columns;
use crate::command_socket::is_not_there;
use crate::config::Config;
use crate::doors::{NoRandomness, SystemClock, SystemIds};
use crate::failure::one_line;
use crate::lock::{Half, Lock, LockError};
use crate::server_control;
use crate::storage::{self, StorageError, marker};
use crate::tenant_arguments::{InvalidTenantArguments, TenantArguments};

/// Bytes of all archives that one command adds.
const MOST_BYTES: u64 = 64 << 20;
/// The longest request on the control socket: archives of that many bytes, in base64.
pub(crate) const LONGEST_REQUEST: u64 = MOST_BYTES / 3 * 4 + (64 << 10);

/// What `packages` takes.
#[derive(Debug, Subcommand)]
pub enum Packages {
    /// Add packages: all of them, or none when one cannot be used
    Add(Add),
    /// List the packages
    List(List),
    /// Take a package out again
    Remove(Remove),
}

/// What `packages add` takes.
#[derive(Debug, Args)]
pub struct Add {
    /// The packages' archives (.tgz), those that they depend on among them
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    tenant: TenantArguments,
}

/// What `packages list` takes.
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    tenant: TenantArguments,
}

/// What `packages remove` takes.
#[derive(Debug, Args)]
pub struct Remove {
    /// The package, as `packages list` shows it
    #[arg(value_name = "NAME#VERSION")]
    package: String,
    #[command(flatten)]
    tenant: TenantArguments,
}

/// Why a command about packages failed.
#[derive(Debug, thiserror::Error)]
pub enum PackagesCommandError {
    /// Which tenant.
    #[error(transparent)]
    Tenant(#[from] InvalidTenantArguments),
    /// Nothing of that tenant is there.
    #[error("{} is not there; name the data directory with --data", .0.display())]
    NoTenant(PathBuf),
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// More than one command takes.
    #[error("the packages have more than {MOST_BYTES} bytes; add them a few at a time")]
    TooLarge,
    /// It was not done.
    #[error("{0}")]
    Refused(String),
    /// The running server does not answer.
    #[error("the server that runs on the data directory does not answer on its control socket")]
    Socket(#[source] io::Error),
    /// The data directory is held by something that takes no commands.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The store does not open.
    #[error(transparent)]
    Store(#[from] StorageError),
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// What the system refused.
    #[error("cannot {doing}")]
    System {
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// A command about packages, as it is asked for on the control socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct PackagesRequest {
    pub(crate) tenant: String,
    command: Command,
}

impl PackagesRequest {
    /// What it changes, in a word or two for the audit; nothing when it lists.
    pub(crate) fn change(&self) -> Option<String> {
        match &self.command {
            Command::Add(archives) => Some(format!("add {}", archives.len())),
            Command::Remove(package) => Some(format!("remove {package}")),
            Command::List => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Command {
    Add(Vec<SentArchive>),
    List,
    Remove(String),
}

/// An archive in a line of JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct SentArchive {
    file: String,
    base64: String,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum PackagesAnswer {
    #[serde(rename_all = "camelCase")]
    Added {
        packages: Vec<String>,
        unmet: Vec<String>,
        left_out: Vec<String>,
    },
    Listed(Vec<ListedPackage>),
    Removed(String),
}

/// A package in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ListedPackage {
    package: String,
    bytes: usize,
    added: String,
}

impl Packages {
    /// Carries the command out. Returns what to print.
    ///
    /// # Errors
    /// [`PackagesCommandError`], in one line.
    pub async fn run(self) -> Result<String, PackagesCommandError> {
        let (tenant, command) = match self {
            Self::Add(add) => (add.tenant, Command::Add(read(&add.files)?)),
            Self::List(list) => (list.tenant, Command::List),
            Self::Remove(remove) => (remove.tenant, Command::Remove(remove.package)),
        };
        let config = tenant.configuration()?;
        let name = config.tenant.as_str();
        let directory = config.data.join("tenants").join(name);
        if !directory.join("format").exists() && !marker(&config.data, name).exists() {
            return Err(PackagesCommandError::NoTenant(directory));
        }
        let request = PackagesRequest { tenant: name.to_owned(), command };
        let answer = match Lock::take(&config.data, Half::Server, "packages") {
            Ok(lock) => without_a_server(config, request, lock).await?,
            Err(held @ LockError::Held { .. }) => {
                let request = server_control::Request::Packages(request);
                match server_control::ask(&config.data, &request).await {
                    Ok(answer) => answer.map_err(PackagesCommandError::Refused)?,
                    // Another command holds the lock, or a server that is not up yet.
                    Err(error) if is_not_there(&error) => return Err(held.into()),
                    Err(error) => return Err(PackagesCommandError::Socket(error)),
                }
            }
            Err(error) => return Err(error.into()),
        };
        Ok(answer.text())
    }
}

impl PackagesAnswer {
    fn text(&self) -> String {
        let mut text = String::new();
        match self {
            Self::Added { packages, unmet, left_out } => {
                for package in packages {
                    text += &format!("Added {package}.\n");
                }
                for unmet in unmet {
                    text += &format!("Not there: {unmet}. What needs it is not checked.\n");
                }
                for left_out in left_out {
                    text += &format!("Not searched by: {left_out}.\n");
                }
            }
            Self::Listed(packages) => {
                let row = |listed: &ListedPackage| {
                    [listed.package.clone(), listed.bytes.to_string(), listed.added.clone()]
                };
                let rows: Vec<_> = packages.iter().map(row).collect();
                text = columns(&["PACKAGE", "BYTES", "ADDED"], &rows);
            }
            Self::Removed(package) => text += &format!("Removed {package}.\n"),
        }
        text
    }
}

fn read(files: &[PathBuf]) -> Result<Vec<SentArchive>, PackagesCommandError> {
    let mut left = MOST_BYTES;
    let mut read = Vec::with_capacity(files.len());
    for path in files {
        let unreadable = |source| PackagesCommandError::Unreadable { path: path.clone(), source };
        let length = std::fs::metadata(path).map_err(unreadable)?.len();
        left = left.checked_sub(length).ok_or(PackagesCommandError::TooLarge)?;
        let bytes = std::fs::read(path).map_err(unreadable)?;
        let file = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        read.push(SentArchive { file, base64: STANDARD.encode(bytes) });
    }
    Ok(read)
}

async fn without_a_server(
    config: Config,
    request: PackagesRequest,
    _lock: Lock,
) -> Result<PackagesAnswer, PackagesCommandError> {
    let system = |doing| move |source| PackagesCommandError::System { doing, source };
    let ids = Arc::new(SystemIds::open()?);
    let own = Arc::clone(&ids);
    let opened = tokio::task::spawn_blocking(move || open(&config, own)).await;
    let opened = opened.map_err(io::Error::other).map_err(system("open the data"))?;
    let database = Arc::new(opened?);
    let validation = Validation::new(WritePolicy::default(), database.schema().fhir_version());
    let done = carry_out(&database, &validation, &*ids, request).await;
    let closed = tokio::task::spawn_blocking(move || database.close()).await;
    // What was acknowledged is in the log; the next start has more to replay.
    drop(closed);
    done.map_err(PackagesCommandError::Refused)
}

/// Opens the tenant, wherever it is. Blocks.
fn open(config: &Config, ids: Arc<SystemIds>) -> Result<Database, PackagesCommandError> {
    let clock = Arc::new(SystemClock::start());
    let opened = storage::open(config, clock.clone(), ids)?;
    let system = |source| PackagesCommandError::System { doing: "start the writer", source };
    let name = TenantText::new(config.tenant.as_str()).map_err(StorageError::from)?;
    let (schema, options) = (opened.schema, Options::default());
    Database::open_sealed(opened.store, name, schema, clock, options, opened.sealing)
        .map_err(system)
}

/// Does what was asked.
///
/// # Errors
/// Why not, for the operator.
pub(crate) async fn carry_out(
    database: &Database,
    validation: &Validation,
    ids: &dyn Ids,
    request: PackagesRequest,
) -> Result<PackagesAnswer, String> {
    let refused = |error| one_line(&error);
    match request.command {
        Command::Add(sent) => {
            let mut archives = Vec::with_capacity(sent.len());
            for SentArchive { file, base64 } in sent {
                let bytes = STANDARD.decode(base64).map_err(|error| error.to_string())?;
                archives.push(Archive { file, bytes });
            }
            let added = validation.add(database, ids, archives).await.map_err(refused)?;
            let server::AddedPackages { packages, unmet, left_out } = added;
            Ok(PackagesAnswer::Added { packages, unmet, left_out })
        }
        Command::List => {
            let listed = server::packages(database).await.map_err(refused)?;
            let listed = listed.into_iter().map(|listed| ListedPackage {
                package: format!("{}#{}", listed.name, listed.version),
                bytes: listed.bytes,
                added: listed.added.to_string(),
            });
            Ok(PackagesAnswer::Listed(listed.collect()))
        }
        Command::Remove(package) => {
            validation.remove(database, ids, &package).await.map_err(refused)?;
            Ok(PackagesAnswer::Removed(package))
        }
    }
}
