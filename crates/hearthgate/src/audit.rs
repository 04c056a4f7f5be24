//! The audit log of a tenant where the process meets it: opened beside the store, and `hearthgate
//! audit`: events exported, and the log's files verified.

use std::io::{self, Write as _};
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use contract::{Clock as _, Instant};
use database::audit::{AuditLog, Extent, Reached, Unreadable};
use database::keys::Keyring;
use serde::{Deserialize, Serialize};
use store::TenantText;
use store_sled::{AuditFiles, AuditOptions, AuditVerified, OpenAuditError, verify_audit};

use crate::command_socket::is_not_there;
use crate::config::Config;
use crate::doors::{NoRandomness, SystemClock, SystemIds};
use crate::lock::{Half, Lock, LockError};
use crate::server_control;
use crate::tenant_arguments::{InvalidTenantArguments, TenantArguments};
use crate::tenant_key::{TenantKeyError, TenantKeys};

/// Events that are asked for at a time.
const PAGE: usize = 200;
/// Bytes of the log that are looked at for a page.
const PAGE_BYTES: u64 = 64 << 20;

/// What `audit` takes.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Print events as AuditEvents, one a line, the newest first
    Export(Export),
    /// Say whether the audit log is whole; needs neither keys nor a stopped server
    Verify(TenantOnly),
}

/// What `audit verify` takes.
#[derive(Debug, Args)]
pub struct TenantOnly {
    #[command(flatten)]
    tenant: TenantArguments,
}

/// What `audit export` takes.
#[derive(Debug, Args)]
pub struct Export {
    /// From this instant or day (UTC) on
    #[arg(long, value_name = "INSTANT")]
    from: Option<String>,
    /// Before this instant or day (UTC)
    #[arg(long, value_name = "INSTANT")]
    to: Option<String>,
    #[command(flatten)]
    tenant: TenantArguments,
}

/// Why a command about the audit log failed.
#[derive(Debug, thiserror::Error)]
pub enum AuditCommandError {
    /// Which tenant.
    #[error(transparent)]
    Tenant(#[from] InvalidTenantArguments),
    /// The name of the tenant is none.
    #[error(transparent)]
    Name(#[from] store::InvalidTenant),
    /// Nothing of that tenant is there.
    #[error("{} is not there; name the data directory with --data", .0.display())]
    NoLog(PathBuf),
    /// Not an instant.
    #[error("\"{0}\" is no instant; write 2026-05-01 or 2026-05-01T08:00:00Z")]
    NoInstant(String),
    /// The log is not whole.
    #[error("{0}")]
    NotWhole(String),
    /// It was not done.
    #[error("{0}")]
    Refused(String),
    /// The running server does not answer.
    #[error("the server that runs on the data directory does not answer on its control socket")]
    Socket(#[source] io::Error),
    /// The data directory is held by something that takes no commands.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The tenant's keys.
    #[error(transparent)]
    Keys(#[from] TenantKeyError),
    /// The log does not open.
    #[error(transparent)]
    Open(#[from] OpenAuditError),
    /// The log cannot be read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// A file cannot be read, or the output cannot be written.
    #[error("cannot {doing}")]
    System {
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// A page of events, as it is asked for on the control socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct AuditRequest {
    pub(crate) tenant: String,
    from: i64,
    to: i64,
    before: Option<u64>,
}

/// Events as lines of JSON, and the number that those of the next page come before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AuditAnswer {
    lines: Vec<String>,
    next: Option<u64>,
}

/// Opens the audit log in a tenant's directory.
///
/// # Errors
/// [`OpenAuditError`].
pub(crate) fn open(
    config: &Config,
    directory: &Path,
    tenant: &TenantText,
    keys: Option<Arc<Keyring>>,
    now: Instant,
) -> Result<Arc<AuditFiles>, OpenAuditError> {
    let keep_days = config.audit.keep_days;
    let options = AuditOptions { keep_days, ..AuditOptions::default() };
    AuditFiles::open(directory, tenant, keys, now, options).map(Arc::new)
}

/// A page of an export. Blocks.
///
/// # Errors
/// [`Unreadable`].
pub(crate) fn page(
    log: &dyn AuditLog,
    request: &AuditRequest,
    base: &str,
) -> Result<AuditAnswer, Unreadable> {
    let instants = Instant::from_micros(request.from)..Instant::from_micros(request.to);
    let (mut lines, mut next) = (Vec::new(), None);
    let before = request.before;
    let extent = Extent { instants, before, patient: None, most_bytes: PAGE_BYTES };
    let reached = log.read(&extent, &mut |number, event| {
        let resource = server::audit_event((number, &event), None, (base, &request.tenant));
        lines.push(resource.to_string());
        if lines.len() < PAGE {
            return ControlFlow::Continue(());
        }
        next = Some(number);
        ControlFlow::Break(())
    })?;
    if let Reached::Number(number) = reached {
        next = Some(number);
    }
    Ok(AuditAnswer { lines, next })
}

impl AuditCommand {
    /// Carries the command out. Returns what to print beside what an export has printed.
    ///
    /// # Errors
    /// [`AuditCommandError`], in one line or, where the log is not whole, with what is wrong.
    pub async fn run(self) -> Result<String, AuditCommandError> {
        match self {
            Self::Export(export) => export.run().await.map(|()| String::new()),
            Self::Verify(TenantOnly { tenant }) => verify(&tenant),
        }
    }
}

fn place(tenant: &TenantArguments) -> Result<(Config, TenantText, PathBuf), AuditCommandError> {
    let config = tenant.configuration()?;
    let name = TenantText::new(config.tenant.as_str())?;
    let directory = config.data.join("tenants").join(name.as_str());
    if !directory.join("audit").exists() {
        return Err(AuditCommandError::NoLog(directory.join("audit")));
    }
    Ok((config, name, directory))
}

fn verify(tenant: &TenantArguments) -> Result<String, AuditCommandError> {
    let (_, name, directory) = place(tenant)?;
    let system = |source| AuditCommandError::System { doing: "read the audit log", source };
    let found = verify_audit(&directory, &name).map_err(system)?;
    let text = described(&found);
    if found.flaws.is_empty() { Ok(text) } else { Err(AuditCommandError::NotWhole(text)) }
}

fn described(found: &AuditVerified) -> String {
    let mut text = String::new();
    for flaw in &found.flaws {
        text += &format!("{flaw}\n");
    }
    text +=
        &format!("{} events in {} groups, {} files", found.events, found.groups, found.segments);
    if let Some((number, since)) = found.first {
        text += &format!(", from event {number} of {since} on");
    }
    if let Some(newest) = found.newest {
        text += &format!(" until {newest}");
    }
    if found.unfinished > 0 {
        text += &format!("; {} bytes at the end are not finished", found.unfinished);
    }
    let hash: String = found.hash.iter().map(|byte| format!("{byte:02x}")).collect();
    text += &format!("\nThe chain ends with {hash}\n");
    text += match found.flaws.is_empty() {
        true => "The audit log is whole.\n",
        false => "The audit log is not whole.\n",
    };
    text
}

/// Where events come from.
enum Source {
    Server(PathBuf),
    /// The lock is held as long as they are read.
    Files(Arc<AuditFiles>, #[expect(dead_code, reason = "it is held")] Box<Lock>),
}

impl Source {
    async fn page(
        &self,
        request: AuditRequest,
        base: &str,
    ) -> Result<AuditAnswer, AuditCommandError> {
        match self {
            Self::Files(log, _) => Ok(page(&**log, &request, base)?),
            Self::Server(data) => {
                let request = server_control::Request::Audit(request);
                let answer = server_control::ask(data, &request).await;
                answer.map_err(AuditCommandError::Socket)?.map_err(AuditCommandError::Refused)
            }
        }
    }
}

impl Export {
    async fn run(self) -> Result<(), AuditCommandError> {
        let (config, name, directory) = place(&self.tenant)?;
        let Range { start, end } = self.range()?;
        let base = config.base_url();
        let source = match Lock::take(&config.data, Half::Server, "audit") {
            Ok(lock) => {
                let (data, source) = (&config.data, &config.tenant_key);
                let keys = TenantKeys { data, tenant: &name, source };
                let keys = keys.open(Arc::new(SystemIds::open()?))?;
                let log = open(&config, &directory, &name, keys, SystemClock::start().now())?;
                Source::Files(log, Box::new(lock))
            }
            Err(LockError::Held { .. }) => Source::Server(config.data.clone()),
            Err(error) => return Err(error.into()),
        };
        let (from, to) = (start.as_micros(), end.as_micros());
        let mut request = AuditRequest { tenant: name.to_string(), from, to, before: None };
        loop {
            let answer = match source.page(request.clone(), &base).await {
                // Another command holds the lock, or a server that is not up yet.
                Err(AuditCommandError::Socket(error)) if is_not_there(&error) => {
                    let why = "something else holds the data directory; try again".to_owned();
                    return Err(AuditCommandError::Refused(why));
                }
                answer => answer?,
            };
            let system = |source| AuditCommandError::System { doing: "print", source };
            let mut stdout = io::stdout().lock();
            for line in &answer.lines {
                writeln!(stdout, "{line}").map_err(system)?;
            }
            stdout.flush().map_err(system)?;
            match answer.next {
                Some(next) => request.before = Some(next),
                None => return Ok(()),
            }
        }
    }

    fn range(&self) -> Result<Range<Instant>, AuditCommandError> {
        let read = |text: &Option<String>, other: Instant| match text {
            None => Ok(other),
            Some(text) => instant(text).ok_or_else(|| AuditCommandError::NoInstant(text.clone())),
        };
        Ok(read(&self.from, Instant::MIN)?..read(&self.to, Instant::from_micros(i64::MAX))?)
    }
}

/// An instant, or the beginning of a day in UTC.
fn instant(text: &str) -> Option<Instant> {
    text.parse().or_else(|_| format!("{text}T00:00:00Z").parse()).ok()
}
