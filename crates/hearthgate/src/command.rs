//! The command line: which commands there are, and what they print.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::audit::{AuditCommand, AuditCommandError};
use crate::backup::{Backup, BackupError, Restore, Verify};
use crate::changes::{ChangesCommand, ChangesError};
use crate::compact::{Compact, CompactError};
use crate::config::{self, Config, ConfigError};
use crate::control::{Answer, CreateKey, ListedKey, PowerName, Request};
use crate::data_directory::{DataDirectory, WhichRegistry};
use crate::demo_data::{self, DemoData};
use crate::denials::{self, DenialsError};
use crate::doctor::{self, Doctor, Grade};
use crate::gitops::{ConfigCommand, FilesError};
use crate::import::{self, Import};
use crate::keys::{self, KeysError};
use crate::limits::{ClientsCommand, LimitsCommand};
use crate::link_files::{LinkCommand, LinkFilesError};
use crate::operators::{OperatorOutput, OperatorsCommand};
use crate::packages::{Packages, PackagesCommandError};
use crate::purge::{Purge, PurgeCommandError};
use crate::quarantine::{QuarantineCommand, QuarantineCommandError};
use crate::registry_place::{RegistryCommand, RegistryPlaceError};
use crate::roles;
use crate::serve::{Halves, ServeError, serve};
use crate::subject_key::{Pseudonym, PseudonymError};
use crate::tokens::TokensCommand;
use crate::validate::{Validate, ValidateError};

/// How long work that blocks a thread may go on once the halves have ended.
const LAST_MOMENT: Duration = Duration::from_secs(1);

/// Open FHIR R4 server and healthcare API gateway
#[derive(Debug, Parser)]
#[command(name = "hearthgate", version, arg_required_else_help = true)]
pub struct Command {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run a clinic: gateway and server in one process
    Serve(config::Flags),
    /// Run the gateway's half alone
    Gateway(config::Flags),
    /// Run the server's half alone, for a gateway beside it or gateways on other hosts
    Server(config::Flags),
    /// Make the certificates with which halves on two hosts know each other
    #[command(subcommand)]
    Link(LinkCommand),
    /// Send files of FHIR resources to a server, over HTTP
    Import(Import),
    /// Say what is wrong with files of FHIR resources; needs no server
    Validate(Validate),
    /// Make, list and revoke API keys
    #[command(subcommand)]
    Keys(Keys),
    /// Revoke tokens of issuers before they expire
    #[command(subcommand)]
    Tokens(TokensCommand),
    /// List the roles that keys can have, in plain words
    Roles(RolesCommand),
    /// Give clients plans: how much they may ask
    #[command(subcommand)]
    Clients(ClientsCommand),
    /// Make, list and revoke operators: who may use the admin API
    #[command(subcommand)]
    Operators(OperatorsCommand),
    /// List what was asked to be changed, and by whom, and check that nothing of it was taken out
    #[command(subcommand)]
    Changes(ChangesCommand),
    /// Say how much a client may still ask
    #[command(subcommand)]
    Limits(LimitsCommand),
    /// Say why a request was denied
    #[command(subcommand)]
    Denials(DenialsCommand),
    /// Say by which pseudonym the access log names somebody
    Pseudonym(Pseudonym),
    /// List the wider rights that were taken in an emergency, with who, for whom and why
    BreakGlass(WhichRegistry),
    /// Move the registry to where several gateways share it
    #[command(subcommand)]
    Registry(RegistryCommand),
    /// Have a running gateway read its configuration again: all of it, or nothing
    Reload(DataDirectory),
    /// Keep configuration and clients as files: compare them with a running gateway, and apply them
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Copy the data to a backup, also while the server runs; later times copy what came since
    Backup(Backup),
    /// Make a data directory from a backup, as it was at one instant
    Restore(Restore),
    /// Read everything and say whether it is whole
    Verify(Verify),
    /// Destroy a patient's key: nobody can read any of their data any more
    Purge(Purge),
    /// Add, list and remove FHIR packages: profiles and value sets to validate by
    #[command(subcommand)]
    Packages(Packages),
    /// List, release and discard what was set apart as invalid
    #[command(subcommand)]
    Quarantine(QuarantineCommand),
    /// Export what was recorded of who saw what, and check that it is whole
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Give back room on the disk that holds nothing any more
    Compact(Compact),
    /// Look at disk, clock, permissions and limits, and say what will hurt
    Doctor(Doctor),
    /// Print made-up patients as transaction Bundles, one a line
    DemoData(DemoData),
    /// Check a configuration and print everything it decides
    CheckConfig(CheckConfig),
}

#[derive(Debug, Subcommand)]
enum Keys {
    /// Make a key, and its client where --role says how
    Create(Create),
    /// List the keys; never their secrets
    List(WhichRegistry),
    /// Revoke a key: it is refused from now on
    Revoke(Revoke),
    /// Make a key in the place of another, which is good for some hours more
    Rotate(Rotate),
    /// Make a key good again that a restore made stand still
    Confirm(Confirm),
}

#[derive(Debug, Args)]
struct Create {
    #[command(flatten)]
    data: DataDirectory,
    /// The client the key is for
    #[arg(long, value_name = "ID")]
    client: String,
    /// What the key is for, in your words
    #[arg(long, value_name = "TEXT", default_value = "")]
    label: String,
    /// Makes the client, with this role; `hearthgate roles` lists them
    #[arg(long)]
    role: Option<String>,
    /// The patient, for a role that is for one
    #[arg(long, value_name = "ID")]
    patient: Option<String>,
    /// The person who asks, as a resource: Practitioner/7
    #[arg(long, value_name = "REF")]
    user: Option<String>,
    /// The configuration that defines the role, or where the registry is, where no gateway runs
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How much the new client may ask: a section [plans.NAME] of the configuration
    #[arg(long)]
    plan: Option<String>,
    /// What the client may beside its role
    #[arg(long, value_name = "POWER")]
    power: Vec<PowerName>,
    /// Print the key alone on the last line of stdout, for scripts
    #[arg(long)]
    print_key: bool,
}

#[derive(Debug, Args)]
struct Revoke {
    #[command(flatten)]
    which: WhichRegistry,
    /// The key's id, as `keys list` shows it
    key: String,
}

#[derive(Debug, Args)]
struct Rotate {
    #[command(flatten)]
    which: WhichRegistry,
    /// The key's id, as `keys list` shows it
    key: String,
    /// For how many hours both keys are good
    #[arg(long, value_name = "HOURS", default_value_t = 24)]
    overlap: u32,
    /// Print the key alone on the last line of stdout, for scripts
    #[arg(long)]
    print_key: bool,
}

#[derive(Debug, Args)]
struct Confirm {
    #[command(flatten)]
    which: WhichRegistry,
    /// The key's id, as `keys list` shows it
    key: String,
}

#[derive(Debug, Args)]
struct RolesCommand {
    /// The configuration file, for the roles that it defines
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the page that documents the built-in roles instead
    #[arg(long)]
    reference: bool,
}

#[derive(Debug, Subcommand)]
enum DenialsCommand {
    /// Which rule, role or limit denied a request, and what would allow it
    Show(ShowDenials),
}

#[derive(Debug, Args)]
struct ShowDenials {
    #[command(flatten)]
    data: DataDirectory,
    /// The request's id: X-Request-Id of the answer, or the end of its OperationOutcome
    id: String,
}

#[derive(Debug, Args)]
struct CheckConfig {
    #[command(flatten)]
    flags: config::Flags,
    /// Print the page that documents every key instead
    #[arg(long)]
    reference: bool,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Serving.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// A command for the registry.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// A registry that was not moved.
    #[error(transparent)]
    Registry(#[from] RegistryPlaceError),
    /// A trail that cannot be read, or is not whole.
    #[error(transparent)]
    Changes(#[from] ChangesError),
    /// Denials that cannot be looked up.
    #[error(transparent)]
    Denials(#[from] DenialsError),
    /// A pseudonym that cannot be told.
    #[error(transparent)]
    Pseudonym(#[from] PseudonymError),
    /// A directory of configuration and clients that cannot be read or written.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// Certificates that could not be made.
    #[error(transparent)]
    Link(#[from] LinkFilesError),
    /// An import that could not go on at all.
    #[error(transparent)]
    Import(#[from] import::ImportError),
    /// A validation that could not be done.
    #[error(transparent)]
    Validate(#[from] ValidateError),
    /// A backup, a restore or what verifying found.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// A purge that was refused or not finished.
    #[error(transparent)]
    Purge(#[from] Box<PurgeCommandError>),
    /// Packages that cannot be added, listed or removed.
    #[error(transparent)]
    Packages(#[from] PackagesCommandError),
    /// What is quarantined cannot be listed, released or discarded.
    #[error(transparent)]
    Quarantine(#[from] QuarantineCommandError),
    /// The audit log cannot be read, or is not whole.
    #[error(transparent)]
    Audit(#[from] AuditCommandError),
    /// Room that could not be given back.
    #[error(transparent)]
    Compact(#[from] CompactError),
    /// A data directory that is not there.
    #[error("cannot look at the data directory; name it with --data")]
    Doctor(#[source] io::Error),
    /// Sample patients that could not be written.
    #[error(transparent)]
    DemoData(#[from] demo_data::DemoDataError),
    /// The answer could not be printed.
    #[error("cannot print")]
    Print(#[source] io::Error),
    /// The process got no threads.
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
}

impl CommandError {
    /// 2 for a wrong configuration and a validation that could not be done, 1 for the rest.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Config(_) | Self::Validate(_) => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        }
    }
}

impl Command {
    /// Reads the command line.
    ///
    /// # Errors
    /// The status to end with, once it is said what is wrong or what was asked for: 2 for what is
    /// wrong, but of `config diff`, by whose 2 scripts know that something differs, 1.
    pub fn read() -> Result<Self, ExitCode> {
        Self::try_parse().map_err(|error| {
            // Where there is nobody to tell, the status still says it.
            let _ = error.print();
            let words: Vec<_> = std::env::args().skip(1).take(2).collect();
            match error.use_stderr() {
                false => ExitCode::SUCCESS,
                true if words == ["config", "diff"] => ExitCode::FAILURE,
                true => ExitCode::from(2),
            }
        })
    }

    /// Carries the command out.
    ///
    /// # Errors
    /// [`CommandError`], to be said in one line.
    pub fn run(self) -> Result<ExitCode, CommandError> {
        match self.verb {
            Verb::Serve(flags) => run_halves(&flags, Halves::Both),
            Verb::Gateway(flags) => run_halves(&flags, Halves::Gateway),
            Verb::Server(flags) => run_halves(&flags, Halves::Server),
            Verb::Link(command) => print(&command.run()?),
            Verb::Import(import) => {
                let complete = runtime()?.block_on(import.run())?;
                Ok(if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
            }
            Verb::Validate(validate) => {
                let passes = validate.run()?;
                Ok(if passes { ExitCode::SUCCESS } else { ExitCode::FAILURE })
            }
            Verb::Keys(command) => run_keys(command),
            Verb::Tokens(command) => print(&runtime()?.block_on(command.run())?),
            Verb::Roles(command) if command.reference => print(&roles::reference()),
            Verb::Roles(command) => print(&roles::list(&config_of(command.config)?.roles)),
            Verb::Clients(command) => print(&runtime()?.block_on(command.run())?),
            Verb::Operators(command) => {
                let OperatorOutput { note, token, alone } = runtime()?.block_on(command.run())?;
                match token {
                    Some(token) => print_made(&note, &token, alone),
                    None => print(&note),
                }
            }
            Verb::Changes(command) => {
                // Whose account this is, is asked of a socket.
                let runtime = runtime()?;
                let _inside = runtime.enter();
                let mut out = io::BufWriter::new(io::stdout().lock());
                command.run(&mut out)?;
                out.flush().map_err(CommandError::Print)?;
                Ok(ExitCode::SUCCESS)
            }
            Verb::Limits(command) => print(&runtime()?.block_on(command.run())?),
            Verb::Denials(DenialsCommand::Show(asked)) => {
                print(&runtime()?.block_on(denials::show(&asked.data.path, &asked.id))?)
            }
            Verb::Pseudonym(asked) => print(&asked.run()?),
            Verb::Registry(command) => print(&command.run()?),
            Verb::BreakGlass(which) => match asked(&which, Request::ListBreakGlasses)? {
                Answer::BreakGlasses(taken) => {
                    let line =
                        |(time, what): &(String, String)| format!("{} {what}\n", seconds(time));
                    print(&taken.iter().map(line).collect::<String>())
                }
                other => unexpected(&other),
            },
            Verb::Reload(data) => {
                match runtime()?.block_on(keys::run(
                    &data.path,
                    Request::Reload,
                    Arc::default(),
                    Arc::default(),
                ))? {
                    Answer::Reloaded(changed) if changed.is_empty() => {
                        print("Nothing in the configuration has changed.\n")
                    }
                    Answer::Reloaded(changed) => {
                        print(&format!("In force from now on: {}\n", changed.join(", ")))
                    }
                    other => unexpected(&other),
                }
            }
            Verb::Config(command) => {
                let (text, status) = runtime()?.block_on(command.run())?;
                print(&text)?;
                Ok(status)
            }
            Verb::Backup(backup) => {
                crate::backup::behind_all_others();
                print(&backup.run()?)
            }
            Verb::Restore(restore) => print(&restore.run()?),
            Verb::Verify(verify) => print(&verify.run()?),
            Verb::Purge(purge) => print(&runtime()?.block_on(purge.run()).map_err(Box::new)?),
            Verb::Packages(packages) => print(&runtime()?.block_on(packages.run())?),
            Verb::Quarantine(quarantine) => print(&runtime()?.block_on(quarantine.run())?),
            Verb::Audit(audit) => print(&runtime()?.block_on(audit.run())?),
            Verb::Compact(compact) => print(&compact.run()?),
            Verb::Doctor(doctor) => {
                let findings = doctor.run().map_err(CommandError::Doctor)?;
                print(&doctor::report(&findings))?;
                let bad = findings.iter().any(|finding| finding.grade == Grade::Bad);
                Ok(if bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
            }
            Verb::DemoData(demo) => {
                demo.run()?;
                Ok(ExitCode::SUCCESS)
            }
            Verb::CheckConfig(check) => {
                let text = if check.reference {
                    config::reference()
                } else {
                    Config::resolve(&check.flags)?.to_toml()
                };
                print(&text)
            }
        }
    }
}

fn run_halves(flags: &config::Flags, halves: Halves) -> Result<ExitCode, CommandError> {
    let config = Config::resolve(flags)?;
    crate::logging::start(config.log_level);
    let runtime = runtime()?;
    let served = runtime.block_on(serve(config, flags.clone(), halves));
    // A log that is being opened cannot be told to stop; it may be left at any time.
    runtime.shutdown_timeout(LAST_MOMENT);
    served?;
    Ok(ExitCode::SUCCESS)
}

fn run_keys(command: Keys) -> Result<ExitCode, CommandError> {
    match command {
        Keys::Create(create) => {
            let request = Request::CreateKey(CreateKey {
                client: create.client.clone(),
                label: create.label,
                role: create.role,
                patient: create.patient,
                user: create.user,
                plan: create.plan,
                powers: create.power,
            });
            let config = config_of(create.config.clone())?;
            let (roles, plans) = (Arc::clone(&config.roles), Arc::new(config.plans()));
            match runtime()?.block_on(keys::run_with(
                &create.data.path,
                create.config.as_deref(),
                request,
                roles,
                plans,
            ))? {
                Answer::Created { key, secret, with_client } => {
                    let made = if with_client { "new client" } else { "client" };
                    let note = format!(
                        "Key {key} of the {made} {}. It is shown this once:\n",
                        create.client
                    );
                    print_made(&note, &secret, create.print_key)
                }
                other => unexpected(&other),
            }
        }
        Keys::List(which) => match asked(&which, Request::ListKeys)? {
            Answer::Keys(keys) => print(&table_of(&keys)),
            Answer::KnownKeys(keys, why) => {
                let note = format!("As this gateway knows them: {why}\n");
                let _ = io::stderr().write_all(note.as_bytes());
                print(&table_of(&keys))
            }
            other => unexpected(&other),
        },
        Keys::Revoke(revoke) => {
            let request = Request::RevokeKey(revoke.key.clone());
            match asked(&revoke.which, request)? {
                Answer::Revoked => print(&format!("Key {} is revoked.\n", revoke.key)),
                other => unexpected(&other),
            }
        }
        Keys::Rotate(rotate) => {
            let request = Request::RotateKey { key: rotate.key.clone(), hours: rotate.overlap };
            match asked(&rotate.which, request)? {
                Answer::Created { key, secret, .. } => {
                    let note = format!(
                        "Key {key} in the place of {}, which is good for {} h more. It is shown \
                         this once:\n",
                        rotate.key, rotate.overlap
                    );
                    print_made(&note, &secret, rotate.print_key)
                }
                other => unexpected(&other),
            }
        }
        Keys::Confirm(confirm) => {
            let request = Request::ConfirmKey(confirm.key.clone());
            match asked(&confirm.which, request)? {
                Answer::Confirmed => print(&format!("Key {} is good again.\n", confirm.key)),
                other => unexpected(&other),
            }
        }
    }
}

/// What comes of a request that needs no role and no plan.
fn asked(which: &WhichRegistry, request: Request) -> Result<Answer, CommandError> {
    let (data, config) = (&which.data.path, which.config.as_deref());
    let asking = keys::run_with(data, config, request, Arc::default(), Arc::default());
    Ok(runtime()?.block_on(asking)?)
}

/// Prints a key that was just made, alone on stdout where a script reads it.
fn print_made(note: &str, secret: &str, alone: bool) -> Result<ExitCode, CommandError> {
    if alone {
        let _ = io::stderr().write_all(note.as_bytes());
        return print(&format!("{secret}\n"));
    }
    print(&format!("{note}\n{secret}\n"))
}

/// The roles and plans there are where no server runs.
fn config_of(config: Option<PathBuf>) -> Result<Config, ConfigError> {
    Config::resolve(&config::Flags { config, ..config::Flags::default() })
}

/// Another release answered on the control socket.
fn unexpected(answer: &Answer) -> Result<ExitCode, CommandError> {
    Err(keys::unexpected(answer).into())
}

fn table_of(keys: &[ListedKey]) -> String {
    let state = |key: &ListedKey| match (&key.revoked, &key.suspended, &key.expires) {
        (Some(revoked), ..) => format!("revoked {}", seconds(revoked)),
        (None, Some(since), _) => format!("suspended {}", seconds(since)),
        (None, None, Some(until)) => format!("replaced, until {}", seconds(until)),
        (None, None, None) => "good".to_owned(),
    };
    let rows: Vec<[String; 6]> = keys
        .iter()
        .map(|key| {
            [
                key.id.clone(),
                key.client.clone(),
                key.role.clone().unwrap_or_else(|| "(rules of its own)".to_owned()),
                seconds(&key.created),
                state(key),
                key.label.clone(),
            ]
        })
        .collect();
    columns(&["KEY", "CLIENT", "ROLE", "CREATED", "STATE", "LABEL"], &rows)
}

/// An instant without its fraction.
pub(crate) fn seconds(instant: &str) -> String {
    let whole = instant.split_once('.').map_or(instant, |(whole, _)| whole);
    format!("{whole}Z")
}

/// Rows under a head, each column as wide as its widest text.
pub(crate) fn columns<const N: usize>(head: &[&str; N], rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        let texts = rows.iter().map(|row| row[column].chars().count());
        texts.chain([head[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    let head = head.map(str::to_owned);
    for row in std::iter::once(&head).chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn print(text: &str) -> Result<ExitCode, CommandError> {
    let mut stdout = io::stdout();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(CommandError::Print)?;
    Ok(ExitCode::SUCCESS)
}

fn runtime() -> Result<tokio::runtime::Runtime, CommandError> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(CommandError::Runtime)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        Command::command().debug_assert();
    }

    #[test]
    fn a_table_lines_up_its_columns() {
        let rows = [["a".to_owned(), "xyz".to_owned()], ["bbbb".to_owned(), String::new()]];
        assert_eq!(columns(&["K", "L"], &rows), "K     L\na     xyz\nbbbb\n");
    }
}
