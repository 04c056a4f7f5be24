//! `hearthgate purge`: destroys a patient's key, and says what was destroyed and what is left.
//!
//! Where a server runs on the data directory, it does it (`server_control`); otherwise this process
//! takes the lock and does it itself (`without_server`). What it does is said once, here; what it
//! tells of it is in `certificate`.

mod certificate;
mod without_server;

pub use self::certificate::Certificate;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use contract::Ids as _;
use database::{Database, Obstacle, Purge as Asked, PurgeError, Sealing};
use serde::{Deserialize, Serialize};
use store::TenantText;
use store::keys::PurgeState;

use self::certificate::not_looked_at;
use self::without_server::without_a_server;
use crate::command_socket::is_not_there;
use crate::definitions::DefinitionsError;
use crate::doors::{NoRandomness, SystemIds};
use crate::failure::one_line;
use crate::key_copies::{self, Folder};
use crate::lock::{Half, Lock, LockError};
use crate::server_control;
use crate::storage::{Backend, StorageError, marker};
use crate::tenant_arguments::{InvalidTenantArguments, TenantArguments};
use crate::tenant_key::TenantKeyError;
use crate::traces::Traces;

/// What `purge` takes.
#[derive(Debug, Args)]
pub struct Purge {
    /// Whose data: Patient/ID
    #[arg(value_name = "PATIENT")]
    patient: String,
    /// Why, for the purge ledger
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    tenant: TenantArguments,
    /// Print the certificate as JSON
    #[arg(long)]
    json: bool,
}

/// Why nobody was purged.
#[derive(Debug, thiserror::Error)]
pub enum PurgeCommandError {
    /// The argument names no patient.
    #[error("{0} names no patient; write it like Patient/123")]
    Patient(String),
    /// What the resources are of.
    #[error(transparent)]
    Definitions(#[from] DefinitionsError),
    /// The name of the tenant is none.
    #[error(transparent)]
    Tenant(#[from] store::InvalidTenant),
    /// The ledger is to say why.
    #[error("the reason is empty; say in a few words why, for the purge ledger")]
    Reason,
    /// It is not here.
    #[error(
        "the tenant {0} is in PostgreSQL, and no server runs on the data directory: say with --config FILE how to reach it"
    )]
    InPostgres(String),
    /// Which tenant.
    #[error(transparent)]
    Which(#[from] InvalidTenantArguments),
    /// The store does not open.
    #[error(transparent)]
    Opened(#[from] StorageError),
    /// Nothing of that tenant is there.
    #[error("{} is not there; name the data directory with --data", .0.display())]
    NoTenant(PathBuf),
    /// The purge was refused or is not finished.
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
    /// The store does not open.
    #[error(transparent)]
    Store(#[from] store_sled::OpenError),
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

/// A purge, as it is asked for on the control socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PurgeRequest {
    /// The tenant.
    pub tenant: String,
    /// The patient's id.
    pub patient: String,
    /// Why.
    pub reason: String,
}

/// A tenant's database and what a purge needs beside it.
#[derive(Clone)]
pub(crate) struct Tenant {
    pub(crate) name: TenantText,
    /// `data/tenants/NAME`.
    pub(crate) directory: PathBuf,
    pub(crate) backend: Backend,
    pub(crate) sealing: Sealing,
    pub(crate) database: Arc<Database>,
    pub(crate) ids: Arc<SystemIds>,
    /// Purges wait for each other.
    pub(crate) turn: Arc<tokio::sync::Mutex<()>>,
}

impl Tenant {
    fn traces(&self) -> Traces<'_> {
        Traces {
            directory: &self.directory,
            backend: &self.backend,
            sealing: &self.sealing,
            schema: self.database.schema(),
        }
    }
}

impl Purge {
    /// Purges. Returns what to print.
    ///
    /// # Errors
    /// [`PurgeCommandError`], in one line or, where versions are in the way, with their list.
    pub async fn run(self) -> Result<String, PurgeCommandError> {
        let id = self.patient.strip_prefix("Patient/");
        let id = id.filter(|id| contract::ResourceId::is_valid(id));
        let id = id.ok_or_else(|| PurgeCommandError::Patient(self.patient.clone()))?;
        if self.reason.trim().is_empty() {
            return Err(PurgeCommandError::Reason);
        }
        let config = self.tenant.configuration()?;
        let name = TenantText::new(config.tenant.as_str())?;
        let directory = config.data.join("tenants").join(name.as_str());
        if !directory.join("format").exists() && !marker(&config.data, name.as_str()).exists() {
            return Err(PurgeCommandError::NoTenant(directory));
        }
        let request = PurgeRequest {
            tenant: name.to_string(),
            patient: id.to_owned(),
            reason: self.reason.clone(),
        };
        let certificate = match Lock::take(&config.data, Half::Server, "purge") {
            Ok(lock) => without_a_server(config, name, directory, request, lock).await?,
            Err(held @ LockError::Held { .. }) => {
                let request = server_control::Request::Purge(request);
                match server_control::ask(&config.data, &request).await {
                    Ok(answer) => answer.map_err(PurgeCommandError::Refused)?,
                    // Another command holds the lock, or a server that is not up yet.
                    Err(error) if is_not_there(&error) => return Err(held.into()),
                    Err(error) => return Err(PurgeCommandError::Socket(error)),
                }
            }
            Err(error) => return Err(error.into()),
        };
        if self.json {
            let json = serde_json::to_string_pretty(&certificate);
            return Ok(json.unwrap_or_default() + "\n");
        }
        Ok(certificate.text())
    }
}

/// Who asks, for the ledger.
pub(crate) fn by(uid: u32) -> String {
    format!("uid {uid}")
}

/// Purges, tells the copies of the keys, and writes the certificate.
///
/// # Errors
/// Why not, for the operator.
pub(crate) async fn carry_out(
    tenant: &Tenant,
    request: PurgeRequest,
    by: String,
) -> Result<Certificate, String> {
    let patient = request.patient.parse().map_err(|_| "the id is none".to_owned())?;
    let asked = Asked {
        patient,
        reason: request.reason,
        by,
        commit: database::CommitId(tenant.ids.next()),
    };
    let _turn = tenant.turn.lock().await;
    let (tenant, runtime) = (tenant.clone(), tokio::runtime::Handle::current());
    // It reads the whole log, and waits for the disk.
    let purged = tokio::task::spawn_blocking(move || purge(&tenant, asked, &runtime)).await;
    purged.map_err(|error| error.to_string())?
}

fn purge(
    tenant: &Tenant,
    asked: Asked,
    runtime: &tokio::runtime::Handle,
) -> Result<Certificate, String> {
    // First: what ends in the midst is finished by the next start, which then forgets, too.
    let traces = tenant.traces();
    let noted = traces.note();
    if let (Err(error), true) = (&noted, traces.are_promised()) {
        return Err(format!(
            "nothing is purged now: without that note identifiers of Patient/{} could stay in \
             PostgreSQL for ever: {}",
            asked.patient,
            one_line(error)
        ));
    }
    let purged = runtime.block_on(tenant.database.purge(asked)).map_err(|error| {
        if !matches!(error, PurgeError::Begun(_)) && matches!(noted, Ok(true)) {
            // What stays noted costs the next start some work, and nothing else.
            drop(traces.keep());
        }
        refusal(&error)
    })?;
    let mut left = traces.left(noted, purged.bytes);
    left.extend(not_looked_at(&purged.not_looked_at));
    left.push(
        "exports, answers that left the server before, and copies of keys and data that were made \
         by other means than `hearthgate backup`"
            .to_owned(),
    );
    let (copies_told, copies_not_told) = tell(tenant);
    Ok(Certificate {
        tenant: tenant.name.to_string(),
        patient: format!("Patient/{}", purged.entry.patient),
        reason: purged.entry.reason.to_string(),
        by: purged.entry.by.to_string(),
        asked: purged.entry.instant.to_string(),
        commit: purged.t.get(),
        key: format!("{:016x}", purged.entry.key.0),
        versions: purged.versions,
        sealed_bytes_in_log: purged.bytes,
        blobs_removed: purged.blobs,
        blob_bytes_removed: purged.blob_bytes,
        copies_told,
        copies_not_told,
        left,
    })
}

/// Tells the copies of the keys: which of them hold the destroyed key no more, and which may.
fn tell(tenant: &Tenant) -> (Vec<String>, Vec<String>) {
    let told = match key_copies::tell(&Folder::of_tenant(&tenant.directory), &tenant.name) {
        Ok(told) => told,
        Err(error) => return (Vec::new(), vec![one_line(&error)]),
    };
    let place = |copy: &key_copies::Copied| copy.place.display().to_string();
    let not_told = told.not_told.iter();
    (
        told.told.iter().map(place).collect(),
        not_told
            .map(|(copy, why)| format!("{}, made {}: {}", place(copy), copy.made, one_line(why)))
            .collect(),
    )
}

/// Finishes the purges that had begun when the process last ended, and tells the copies of the
/// keys of every purge they may not know. Blocks.
///
/// # Errors
/// [`PurgeError::Begun`] when one cannot be finished now either.
pub(crate) fn finish(tenant: &Tenant, runtime: &tokio::runtime::Handle) -> Result<(), PurgeError> {
    let folder = Folder::of_tenant(&tenant.directory);
    let ledger = folder.ledger().map_err(|error| PurgeError::Begun(Box::new(error)))?;
    if ledger.is_empty() {
        return Ok(());
    }
    if ledger.iter().any(|entry| entry.state == PurgeState::Begun) {
        // The embedded store's open just now made the state while the key was there. First, so that no moment
        // leaves a purge done and the state unmarked.
        tenant.traces().note().map_err(|error| PurgeError::Begun(Box::new(error)))?;
    }
    for entry in runtime.block_on(tenant.database.finish_purges())? {
        let key = format!("{:016x}", entry.key.0);
        tracing::warn!(key, "a purge that had begun when the process last ended was finished");
    }
    if let Err(error) = tenant.traces().finish() {
        let error = one_line(&error);
        tracing::error!(error, "identifiers of who was purged stay until the next start");
    }
    for copy in tell(tenant).1 {
        tracing::warn!(copy, "a copy of the keys may hold keys of who was purged");
    }
    Ok(())
}

/// Why not, for the operator; with the list where versions are in the way.
fn refusal(error: &PurgeError) -> String {
    match error {
        PurgeError::Refused { patient, count, obstacles } => {
            let line = |of: &Obstacle| {
                format!("\n  {}/{} version {}: {}", of.resource_type, of.id, of.version, of.why)
            };
            let mut text = format!(
                "Patient/{patient} was not purged and nothing was changed: {count} versions would \
                 stay readable, or another's would be lost"
            );
            text.extend(obstacles.iter().map(line));
            let more = count.saturating_sub(obstacles.len() as u64);
            if more > 0 {
                text.push_str(&format!("\n  and {more} more"));
            }
            text.push_str(
                "\nThe log is never rewritten, so these versions stay as they are. What is left to \
                 do: import what may be kept into a new data directory, and destroy this one with \
                 its keys and backups.",
            );
            text
        }
        other => one_line(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fhir_schema::Schema;
    use store::keys::LedgerEntry;
    use store_sled::SledStore;

    use super::without_server::embedded;
    use crate::doors::SystemClock;
    use crate::tenant_key::tests::{Place, write};

    /// A process that ends once the ledger says that a purge has begun: the next start finishes
    /// it, tells the copies of the keys, and has the state forgotten that it derived meanwhile.
    #[test]
    fn a_start_finishes_what_had_begun_and_forgets_what_it_derived_before() {
        let place = Place::new();
        let name = TenantText::new("default").unwrap();
        let directory = place.data().join("tenants/default");
        let keyring = || place.open(&Default::default()).unwrap().keyring;
        let keys = keyring();
        write(&place, "Patient/1", Sealing::with(name.clone(), Arc::clone(&keys)));
        let copies = place.data().join("copies");
        std::fs::create_dir(&copies).unwrap();
        let folder = Folder::of_tenant(&directory);
        key_copies::copy(&folder, &copies, &name, contract::Instant::from_micros(1)).unwrap();
        let patient: contract::ResourceId = "1".parse().unwrap();
        let key = keys.of_patient(&patient);
        let entry = LedgerEntry {
            state: PurgeState::Begun,
            key,
            commit: database::CommitId(7),
            instant: contract::Instant::from_micros(1),
            patient,
            reason: "a test".into(),
            by: "uid 1".into(),
        };
        SledStore::forget_state_at_open(&directory).unwrap();
        keys.begin_purge(entry).unwrap();
        drop(keys);

        let sealing = Sealing::with(name.clone(), keyring());
        let store = embedded(&name, &directory, Schema::r4(), sealing.clone()).unwrap();
        let (clock, options) = (Arc::new(SystemClock::start()), database::Options::default());
        let opened = Database::open_sealed(
            store,
            name.clone(),
            Schema::r4(),
            clock,
            options,
            sealing.clone(),
        );
        let (database, backend) = (Arc::new(opened.unwrap()), Backend::Embedded);
        let (ids, turn) = (Arc::new(SystemIds::open().unwrap()), Arc::default());
        let name_ = name.clone();
        let tenant = Tenant { name: name_, directory, backend, sealing, database, ids, turn };
        let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
        // What comes first is there when the rest fails.
        let obstacle = tenant.directory.join("keys/purges.unfinished");
        std::fs::create_dir(&obstacle).unwrap();
        assert!(matches!(finish(&tenant, runtime.handle()), Err(PurgeError::Begun(_))));
        assert!(!SledStore::forget_state_at_open(&tenant.directory).unwrap(), "it is not marked");
        std::fs::remove_dir(&obstacle).unwrap();
        finish(&tenant, runtime.handle()).unwrap();
        tenant.database.close().unwrap();
        assert_eq!(keyring().ledger()[0].state, PurgeState::Done);
        assert!(keyring().is_closed(key));
        let told = Folder::copied(&copies, &name).ledger().unwrap();
        assert_eq!(told[0].state, PurgeState::Done);
        let forgotten = SledStore::forget_state_at_open(&tenant.directory).unwrap();
        assert!(!forgotten, "it was marked, since it was derived while the key was there");
    }
}
