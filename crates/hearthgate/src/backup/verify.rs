//! `hearthgate verify`: reads everything of a data directory or of a backup and says whether it is
//! whole. Where no server runs on the directory, also that the derived state finds every version.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use database::DeriveFromBody;
use fhir_schema::Schema;
use store::{Store as _, TenantText};
use store_sled::{SledStore, SledStoreOptions, extent};

use super::{BackupError, find_manifest, read_piece, tenants};
use crate::lock::{Half, Lock, LockError};

/// What `verify` takes.
#[derive(Debug, Args)]
pub struct Verify {
    /// The data directory
    #[arg(long, value_name = "DIR", default_value = "./data", conflicts_with = "backup")]
    data: PathBuf,
    /// A backup's directory instead
    #[arg(long, value_name = "DIR")]
    backup: Option<PathBuf>,
}

impl Verify {
    /// Verifies. Returns what to print.
    ///
    /// # Errors
    /// [`BackupError`] for the first thing found wrong.
    pub fn run(&self) -> Result<String, BackupError> {
        match &self.backup {
            Some(backup) => verify_backup(backup),
            None => verify_data(&self.data),
        }
    }
}

fn verify_backup(backup: &Path) -> Result<String, BackupError> {
    let mut text = String::new();
    for (number, _) in super::manifest::list(backup).map_err(super::failed("read", backup))? {
        let manifest = find_manifest(backup, Some(number))?;
        let mut pieces = 0;
        for tenant in manifest.tenants.values() {
            for piece in tenant.segments.iter().flat_map(|segment| &segment.pieces) {
                read_piece(backup, piece, |_| Ok(()))?;
                pieces += 1;
            }
        }
        if let Some(piece) = &manifest.registry {
            read_piece(backup, piece, |_| Ok(()))?;
            pieces += 1;
        }
        text.push_str(&format!(
            "Backup {number} of {}: {pieces} pieces are whole\n",
            manifest.made
        ));
    }
    if text.is_empty() {
        return Err(BackupError::NoBackup(backup.to_owned()));
    }
    Ok(text)
}

fn verify_data(data: &Path) -> Result<String, BackupError> {
    let tenants = tenants(data)?;
    let mut text = String::new();
    let lock = match Lock::take(data, Half::Server, "verify") {
        Ok(lock) => Some(lock),
        Err(LockError::Held { holder, .. }) => {
            text.push_str(&format!(
                "The derived state is not read: {holder} uses it. Stop that process to verify it too.\n"
            ));
            None
        }
        Err(error) => return Err(error.into()),
    };
    for tenant in tenants {
        let directory = data.join("tenants").join(tenant.as_str());
        let (versions, t) = match lock {
            Some(_) => with_state(&tenant, &directory)?,
            None => log_alone(&tenant, &directory)?,
        };
        let what = if lock.is_some() { "log and derived state" } else { "log" };
        text.push_str(&format!(
            "Tenant {}: {versions} versions up to commit {t}: {what} are whole\n",
            tenant.as_str()
        ));
    }
    for tenant in crate::storage::in_postgres(data).map_err(super::failed("read", data))? {
        text.push_str(&format!(
            "Tenant {tenant}: is in PostgreSQL and is not read here; `hearthgate doctor --config \
             FILE` says how it stands\n"
        ));
    }
    let registry = data.join("registry");
    if registry.join("format").exists() {
        let changes = registry::whole_changes(&registry)?;
        text.push_str(&format!("Registry: {} bytes of changes are whole\n", changes.len()));
    }
    Ok(text)
}

/// Opening a store mends what it can: what it mended is said, and was not whole.
fn with_state(tenant: &TenantText, directory: &Path) -> Result<(u64, u64), BackupError> {
    check_format(directory)?;
    // A restore leaves none: it is made now, and nothing was wrong with it.
    let had_state = directory.join("state").exists();
    let derive = Arc::new(DeriveFromBody::new(Schema::r4()));
    let options = SledStoreOptions::default();
    let store = SledStore::open(directory, tenant.as_str(), derive, options);
    let store = store.map_err(|error| BackupError::Store(Box::new(error)))?;
    let verified = store.verify();
    let report = store.report().clone();
    store.close()?;
    let tenant = tenant.as_str().to_owned();
    if let Some(rebuilt) = report.rebuilt.filter(|_| had_state) {
        return Err(BackupError::Rebuilt { tenant, reason: rebuilt.reason });
    }
    if let Some(cut) = report.cut {
        let (bytes, copied_to) = (cut.bytes, cut.copied_to);
        return Err(BackupError::Cut { tenant, bytes, copied_to });
    }
    let verified =
        verified.map_err(|source| BackupError::NotWhole { tenant, source: Box::new(source) })?;
    Ok((verified.versions, verified.head.t.get()))
}

/// Where the file is gone a store would begin an empty one.
fn check_format(directory: &Path) -> Result<(), BackupError> {
    let format = directory.join("format");
    std::fs::metadata(&format).map_err(super::failed("read", &format)).map(|_| ())
}

fn log_alone(tenant: &TenantText, directory: &Path) -> Result<(u64, u64), BackupError> {
    check_format(directory)?;
    let found = extent(directory, tenant, None);
    let tenant = tenant.as_str().to_owned();
    let found =
        found.map_err(|source| BackupError::NotWhole { tenant, source: Box::new(source) })?;
    Ok((found.versions, found.head.t.get()))
}
