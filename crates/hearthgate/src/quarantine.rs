//! `hearthgate quarantine`: what a tenant set apart as invalid.
//!
//! Where a server runs on the data directory, it does it (`server_control`); otherwise this process
//! takes the lock and does it itself. A release alone takes the server, since it is judged by the
//! policy that the server has.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use contract::ResourceId;
use database::{Database, Options};
use fhir_core::{Issue, Severity};
use serde::{Deserialize, Serialize};
use server::{Asked, Listed, Outcome, PublicBase, Quarantine, Validation, WritePolicy};
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

/// The longest text in a column.
const LONGEST_CELL: usize = 60;
/// The most items that are listed.
const MOST_LISTED: usize = 10_000;

/// What `quarantine` takes.
#[derive(Debug, Subcommand)]
pub enum QuarantineCommand {
    /// List what is quarantined, the newest first
    List(List),
    /// Count what is most often wrong with it, and who sent it
    Defects(Defects),
    /// Judge items anew, and store those that are valid now; takes the running server
    Release(Items),
    /// Throw items away
    Discard(Items),
}

/// What `quarantine list` takes.
#[derive(Debug, Args)]
pub struct List {
    /// What this client sent, alone
    #[arg(long, value_name = "CLIENT")]
    sender: Option<String>,
    /// Resources of this type alone
    #[arg(long = "type", value_name = "TYPE")]
    resource_type: Option<String>,
    /// So many at most
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    count: usize,
    #[command(flatten)]
    tenant: TenantArguments,
}

/// What `quarantine defects` takes.
#[derive(Debug, Args)]
pub struct Defects {
    /// What this client sent, alone
    #[arg(long, value_name = "CLIENT")]
    sender: Option<String>,
    #[command(flatten)]
    tenant: TenantArguments,
}

/// What `quarantine release` and `discard` take.
#[derive(Debug, Args)]
pub struct Items {
    /// The items, as `quarantine list` shows them
    #[arg(value_name = "ITEM", required = true)]
    items: Vec<String>,
    #[command(flatten)]
    tenant: TenantArguments,
}

/// Why a command about the quarantine failed.
#[derive(Debug, thiserror::Error)]
pub enum QuarantineCommandError {
    /// Which tenant.
    #[error(transparent)]
    Tenant(#[from] InvalidTenantArguments),
    /// Nothing of that tenant is there.
    #[error("{} is not there; name the data directory with --data", .0.display())]
    NoTenant(PathBuf),
    /// The text names no item.
    #[error("\"{0}\" is no item; `hearthgate quarantine list` shows them")]
    NoItem(String),
    /// It is the server that judges.
    #[error("no server runs on the data directory, by whose policy items are judged; start it")]
    NoServer,
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

/// A command about the quarantine, as it is asked for on the control socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct QuarantineRequest {
    pub(crate) tenant: String,
    command: Command,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Command {
    List { sender: Option<String>, resource_type: Option<String>, count: usize },
    Defects { sender: Option<String> },
    Release(Vec<String>),
    Discard(Vec<String>),
}

/// What came of it: rows of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum QuarantineAnswer {
    Listed(Vec<[String; 6]>),
    Defects { rows: Vec<[String; 5]>, unreadable: usize, looked_at: usize, total: usize },
    Done(Vec<[String; 3]>),
}

impl QuarantineCommand {
    /// Carries the command out. Returns what to print.
    ///
    /// # Errors
    /// [`QuarantineCommandError`], in one line.
    pub async fn run(self) -> Result<String, QuarantineCommandError> {
        let (tenant, command) = match self {
            Self::List(List { sender, resource_type, count, tenant }) => {
                (tenant, Command::List { sender, resource_type, count })
            }
            Self::Defects(Defects { sender, tenant }) => (tenant, Command::Defects { sender }),
            Self::Release(Items { items, tenant }) => (tenant, Command::Release(checked(items)?)),
            Self::Discard(Items { items, tenant }) => (tenant, Command::Discard(checked(items)?)),
        };
        let config = tenant.configuration()?;
        let name = config.tenant.as_str();
        let directory = config.data.join("tenants").join(name);
        if !directory.join("format").exists() && !marker(&config.data, name).exists() {
            return Err(QuarantineCommandError::NoTenant(directory));
        }
        let request = QuarantineRequest { tenant: name.to_owned(), command };
        let answer = match Lock::take(&config.data, Half::Server, "quarantine") {
            Ok(lock) => without_a_server(config, request, lock).await?,
            Err(held @ LockError::Held { .. }) => {
                let request = server_control::Request::Quarantine(request);
                match server_control::ask(&config.data, &request).await {
                    Ok(answer) => answer.map_err(QuarantineCommandError::Refused)?,
                    // Another command holds the lock, or a server that is not up yet.
                    Err(error) if is_not_there(&error) => return Err(held.into()),
                    Err(error) => return Err(QuarantineCommandError::Socket(error)),
                }
            }
            Err(error) => return Err(error.into()),
        };
        Ok(answer.text())
    }
}

fn checked(items: Vec<String>) -> Result<Vec<String>, QuarantineCommandError> {
    match items.iter().find(|id| !ResourceId::is_valid(id)) {
        Some(other) => Err(QuarantineCommandError::NoItem(cell(other))),
        None => Ok(items),
    }
}

impl QuarantineAnswer {
    fn text(&self) -> String {
        match self {
            Self::Listed(rows) => {
                columns(&["ITEM", "RECEIVED", "SENDER", "REQUEST", "BYTES", "WRONG"], rows)
            }
            Self::Defects { rows, unreadable, looked_at, total } => {
                let mut text = columns(&["ITEMS", "RULE", "ELEMENT", "SENDERS", "EXAMPLE"], rows);
                if *unreadable > 0 {
                    text += &format!("{unreadable} of them cannot be read.\n");
                }
                if looked_at < total {
                    text += &format!("Of the newest {looked_at} of {total} items.\n");
                }
                text
            }
            Self::Done(rows) => columns(&["ITEM", "OUTCOME", "WHERE OR WHY"], rows),
        }
    }
}

async fn without_a_server(
    config: Config,
    request: QuarantineRequest,
    _lock: Lock,
) -> Result<QuarantineAnswer, QuarantineCommandError> {
    if matches!(request.command, Command::Release(_)) {
        return Err(QuarantineCommandError::NoServer);
    }
    let system = |doing| move |source| QuarantineCommandError::System { doing, source };
    let ids = Arc::new(SystemIds::open()?);
    let clock = Arc::new(SystemClock::start());
    let base = config.base_url().parse::<PublicBase>();
    let base = base.map_err(|error| QuarantineCommandError::Refused(one_line(&error)))?;
    let doors = (Arc::clone(&ids), Arc::clone(&clock));
    let opened = tokio::task::spawn_blocking(move || open(&config, doors)).await;
    let opened = opened.map_err(io::Error::other).map_err(system("open the data"))?;
    let database = Arc::new(opened?);
    let validation = Validation::new(WritePolicy::default(), database.schema().fhir_version());
    let quarantine = Quarantine::new((&database, &validation), &base, &*ids, &*clock);
    let done = carry_out(&quarantine, request).await;
    let closed = tokio::task::spawn_blocking(move || database.close()).await;
    // What was acknowledged is in the log; the next start has more to replay.
    drop(closed);
    done.map_err(QuarantineCommandError::Refused)
}

/// Opens the tenant, wherever it is. Blocks.
fn open(
    config: &Config,
    (ids, clock): (Arc<SystemIds>, Arc<SystemClock>),
) -> Result<Database, QuarantineCommandError> {
    let opened = storage::open(config, clock.clone(), ids)?;
    let system = |source| QuarantineCommandError::System { doing: "start the writer", source };
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
    quarantine: &Quarantine<'_>,
    request: QuarantineRequest,
) -> Result<QuarantineAnswer, String> {
    let refused = |error| one_line(&error);
    let ids = |items: Vec<String>| {
        let ids = items.iter().map(|id| ResourceId::new(id).map_err(|error| error.to_string()));
        ids.collect::<Result<Vec<_>, _>>()
    };
    match request.command {
        Command::List { sender, resource_type, count } => {
            let asked = Asked { sender, resource_type };
            let listed = quarantine.newest(&asked, count.min(MOST_LISTED)).await;
            Ok(QuarantineAnswer::Listed(listed.map_err(refused)?.iter().map(row).collect()))
        }
        Command::Defects { sender } => {
            let found = quarantine.defects(sender.as_deref()).await.map_err(refused)?;
            let row = |defect: &server::Defect| {
                let senders: Vec<_> = defect.senders.iter().map(String::as_str).collect();
                [
                    defect.items.to_string(),
                    cell(&defect.rule),
                    cell(&defect.expression),
                    cell(&senders.join(", ")),
                    defect.example.to_string(),
                ]
            };
            let rows = found.defects.iter().take(MOST_LISTED).map(row).collect();
            let server::Defects { unreadable, looked_at, total, .. } = found;
            Ok(QuarantineAnswer::Defects { rows, unreadable, looked_at, total })
        }
        Command::Release(items) => {
            let outcomes = quarantine.release(&ids(items)?).await.map_err(refused)?;
            Ok(QuarantineAnswer::Done(outcomes.iter().map(outcome).collect()))
        }
        Command::Discard(items) => {
            let outcomes = quarantine.discard(&ids(items)?).await.map_err(refused)?;
            Ok(QuarantineAnswer::Done(outcomes.iter().map(outcome).collect()))
        }
    }
}

fn row(listed: &Listed) -> [String; 6] {
    let item = match listed {
        Listed::Item(item) => item,
        Listed::Unreadable { id, received } => {
            let [sender, request, bytes] = [(); 3].map(|()| String::new());
            let why = "it cannot be read".to_owned();
            return [id.to_string(), received.to_string(), sender, request, bytes, why];
        }
    };
    let (received, bytes) = (item.received.to_string(), item.bytes.to_string());
    let wrong = wrong(&item.issues);
    [item.id.to_string(), received, cell(&item.sender), cell(&item.request), bytes, wrong]
}

fn outcome((id, outcome): &(ResourceId, Outcome)) -> [String; 3] {
    let (how, detail) = match outcome {
        Outcome::Released(place) => ("released", place.clone()),
        Outcome::Kept(issues) => ("kept", wrong(issues)),
        Outcome::Discarded => ("discarded", String::new()),
        Outcome::Unknown => ("unknown", String::new()),
        Outcome::Unreadable => ("unreadable", "the server's log has the reason".to_owned()),
        Outcome::NotDone(issues) => ("not-done", wrong(issues)),
    };
    [id.to_string(), how.to_owned(), detail]
}

/// The first error, and how many more there are.
fn wrong(issues: &[Issue]) -> String {
    let mut errors = issues.iter().filter(|issue| issue.severity >= Severity::Error);
    let Some(first) = errors.next() else { return String::new() };
    let place = first.expression.first().map_or("", String::as_str);
    let text = match &first.rule {
        Some(rule) => format!("{rule} {place}"),
        None => first.diagnostics.clone(),
    };
    match errors.count() {
        0 => cell(&text),
        more => format!("{} (+{more})", cell(&text)),
    }
}

/// A text that a sender may have written, for a terminal: on one line, without what moves the
/// cursor or turns the writing round.
fn cell(text: &str) -> String {
    let hides = |it: char| {
        it.is_control()
            || matches!(it, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let shown = |it| if hides(it) { '\u{fffd}' } else { it };
    let mut cell: String = text.chars().take(LONGEST_CELL).map(shown).collect();
    if text.chars().nth(LONGEST_CELL).is_some() {
        cell.push('…');
    }
    cell
}

#[cfg(test)]
mod tests {
    use super::*;
    use fhir_core::IssueCode;

    #[test]
    fn what_a_sender_wrote_moves_no_cursor() {
        assert_eq!(cell("a\u{1b}[31mb\nc\u{202e}d"), "a\u{fffd}[31mb\u{fffd}c\u{fffd}d");
        assert_eq!(cell(&"ä".repeat(61)), "ä".repeat(60) + "…");
    }

    #[test]
    fn the_first_error_is_told_and_how_many_more_there_are() {
        let issue = |rule: Option<&str>| Issue {
            rule: rule.map(str::to_owned),
            ..Issue::error(IssueCode::Structure, "wrong").at("Patient.colour")
        };
        assert_eq!(wrong(&[]), "");
        assert_eq!(wrong(&[Issue::information("x"), issue(Some("r"))]), "r Patient.colour");
        assert_eq!(wrong(&[issue(None), issue(None), issue(None)]), "wrong (+2)");
    }
}
