//! `hearthgate verify`: reads everything of a data directory or of a backup and says whether it is
//! whole. Where no server runs on the directory, also that the derived state finds every version. A
//! tenant in PostgreSQL is read where the configuration says how, a server running or not.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use database::{DeriveFromBody, Sealing};
use registry::Beside;
use store::{Store as _, TenantText};
use store_postgres::Verified;
use store_sled::{Cut, SledStore, SledStoreOptions, extent};

use super::blobs::{self, Blobs};
use super::error::BackupError;
use super::reading::{find_manifest, read_piece};
use super::{in_postgres, tenants};
use crate::config::{Config, Flags};
use crate::doors::{SystemClock, SystemIds};
use crate::failure::one_line;
use crate::key_copies::Folder;
use crate::lock::{Half, Lock, LockError};
use crate::registry_place;
use crate::tenant_key::TenantKeyArgument;

/// What `verify` takes.
#[derive(Debug, Args)]
pub struct Verify {
    /// The data directory [default: the configuration's, or ./data]
    #[arg(long, value_name = "DIR", conflicts_with = "backup")]
    data: Option<PathBuf>,
    /// A backup's directory instead
    #[arg(long, value_name = "DIR")]
    backup: Option<PathBuf>,
    /// The configuration file, where the data is in PostgreSQL
    #[arg(long, value_name = "FILE", conflicts_with = "backup")]
    config: Option<PathBuf>,
    #[command(flatten)]
    tenant_key: TenantKeyArgument,
}

impl Verify {
    /// Verifies. Returns what to print.
    ///
    /// # Errors
    /// [`BackupError`] for the first thing found wrong.
    pub fn run(&self) -> Result<String, BackupError> {
        match &self.backup {
            Some(backup) => verify_backup(backup),
            None => {
                let flags = Flags {
                    data: self.data.clone(),
                    config: self.config.clone(),
                    ..Flags::default()
                };
                let config = self.config.as_ref().map(|_| Config::resolve(&flags)).transpose()?;
                let data = match &config {
                    Some(config) => config.data.clone(),
                    None => flags.data.unwrap_or(Config::default().data),
                };
                verify_data(&data, config.as_ref(), &self.tenant_key)
            }
        }
    }
}

fn verify_backup(backup: &Path) -> Result<String, BackupError> {
    let mut text = String::new();
    // A piece that later backups name too is read once; one that they name otherwise, again.
    let mut read = BTreeSet::new();
    for (number, _) in super::manifest::list(backup).map_err(super::failed("read", backup))? {
        let manifest = find_manifest(backup, Some(number))?;
        let mut pieces = 0;
        let segments = manifest.tenants.values().flat_map(|tenant| &tenant.segments);
        let of_logs = segments.flat_map(|segment| &segment.pieces);
        let definitions =
            manifest.tenants.values().filter_map(|tenant| tenant.definitions.as_ref());
        let of_blobs = manifest.tenants.values().flat_map(|tenant| tenant.blobs.values());
        let audits = manifest.tenants.values().flat_map(|tenant| &tenant.audit);
        let of_audits = audits.flat_map(|segment| &segment.pieces);
        let of_logs = of_logs.chain(of_audits);
        for piece in of_logs.chain(definitions).chain(of_blobs).chain(&manifest.registry) {
            pieces += 1;
            if read.insert((piece.file.clone(), piece.length, piece.sha256.clone())) {
                read_piece(backup, piece, |_| Ok(()))?;
            }
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

fn verify_data(
    data: &Path,
    config: Option<&Config>,
    key: &TenantKeyArgument,
) -> Result<String, BackupError> {
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
        let sealing = match &lock {
            Some(_) => match key.sealing(data, &tenant) {
                Ok(sealing) => Some(sealing),
                Err(error) if error.is_missing() => {
                    text.push_str(&format!(
                        "Tenant {tenant}: only checksums are compared, no body is opened and the \
                         derived state is not read: {}\n",
                        one_line(&error)
                    ));
                    None
                }
                Err(error) => return Err(error.into()),
            },
            None => None,
        };
        let with_state = sealing.is_some();
        let Whole { versions, unsealed, t, cut, blobs } = match sealing {
            Some(sealing) => whole_with_state(&tenant, &directory, sealing)?,
            None => whole_log(&tenant, &directory)?,
        };
        if let Some(Cut { bytes, copied_to, .. }) = cut {
            text.push_str(&format!(
                "Tenant {}: {bytes} bytes of an unfinished group ended the log, were cut off and \
                 kept in {}; nothing acknowledged is lost by that\n",
                tenant.as_str(),
                copied_to.display()
            ));
        }
        let what = if with_state { "log and derived state are" } else { "the log is" };
        text.push_str(&format!(
            "Tenant {}: {versions} versions up to commit {t}: {what} whole\n",
            tenant.as_str()
        ));
        if blobs.whole > 0 {
            text.push_str(&format!(
                "Tenant {tenant}: {} blobs of {} bytes are whole\n",
                blobs.whole, blobs.bytes
            ));
        }
        if !blobs.unnamed.is_empty() {
            text.push_str(&format!(
                "Tenant {tenant}: nothing that can be read names {} blobs; with no server running, \
                 `hearthgate compact` removes what is left of them\n",
                blobs.unnamed.len()
            ));
        }
        text.push_str(&told_of_unsealed(&tenant, unsealed));
    }
    let read = match config {
        Some(config) => verify_postgres(config, key, &mut text)?,
        None => None,
    };
    for tenant in in_postgres(data)? {
        if read.as_ref() != Some(&tenant) {
            text.push_str(&format!(
                "Tenant {tenant}: is in PostgreSQL and was not read; `hearthgate verify --config \
                 FILE` reads it\n"
            ));
        }
    }
    let registry = data.join("registry");
    if registry::is_in_postgres(&registry) {
        text.push_str(&verify_shared(data, config)?);
    } else if registry.join("format").exists() {
        let changes = registry::whole_changes(&registry)?;
        text.push_str(&format!("Registry: {} bytes of changes are whole\n", changes.len()));
    }
    Ok(text)
}

/// Verifies the registry that is in PostgreSQL, where the configuration says where.
fn verify_shared(data: &Path, config: Option<&Config>) -> Result<String, BackupError> {
    let Some(config) = config.filter(|config| config.registry.postgres.is_some()) else {
        return Ok(
            "Registry: is in PostgreSQL and was not read; `hearthgate verify --config FILE` \
                   reads it\n"
                .to_owned(),
        );
    };
    let (clock, ids) = (Arc::new(SystemClock::start()), Arc::new(SystemIds::open()?));
    let opened = registry_place::open(config, data, Beside::ExistingTenant, clock, ids);
    let changes = opened.map_err(|error| BackupError::SharedRegistry(Box::new(error)))?;
    Ok(format!("Registry: {} changes in PostgreSQL are whole\n", changes.report.changes))
}

/// Verifies the tenant that the configuration puts into PostgreSQL, and says which one that is.
fn verify_postgres(
    config: &Config,
    key: &TenantKeyArgument,
    text: &mut String,
) -> Result<Option<TenantText>, BackupError> {
    if config.storage.postgres.is_none() {
        return Ok(None);
    }
    let Ok(tenant) = TenantText::new(config.tenant.as_str()) else {
        return Err(BackupError::TenantName(config.data.join(config.tenant.as_str())));
    };
    let directory = config.data.join("tenants").join(tenant.as_str());
    let sealing = if Folder::of_tenant(&directory).has_keys() {
        key.sealing_of(config, &tenant)
    } else {
        // Where something is sealed, reading it will say so.
        Ok(Sealing::none())
    };
    let sealing = match sealing {
        Ok(sealing) => Some(sealing),
        Err(error) if error.is_missing() => {
            text.push_str(&format!(
                "Tenant {tenant}: only hashes are compared, no body is opened and no identifier \
                 compared: {}\n",
                one_line(&error)
            ));
            None
        }
        Err(error) => return Err(error.into()),
    };
    let Some(verified) = crate::storage::verify(config, sealing)? else { return Ok(None) };
    let verified = verified.map_err(|source| BackupError::NotWholeInPostgres {
        tenant: tenant.to_string(),
        source: Box::new(source),
    })?;
    let Verified { head, versions, unsealed, identifiers } = verified;
    let found = match identifiers {
        Some(identifiers) => format!(" and {identifiers} identifiers"),
        None => String::new(),
    };
    text.push_str(&format!(
        "Tenant {tenant}: {versions} versions up to commit {}{found} are whole in PostgreSQL\n",
        head.t.get()
    ));
    text.push_str(&told_of_unsealed(&tenant, unsealed));
    Ok(Some(tenant))
}

/// What there is to say of bodies that are not sealed.
fn told_of_unsealed(tenant: &TenantText, unsealed: u64) -> String {
    if unsealed == 0 {
        return String::new();
    }
    format!(
        "Tenant {tenant}: {unsealed} of them are not sealed: they were stored before there were \
         keys, and whoever has the log reads them\n"
    )
}

/// What is whole.
pub(crate) struct Whole {
    versions: u64,
    unsealed: u64,
    t: u64,
    /// A torn tail, which was never acknowledged.
    cut: Option<Cut>,
    pub(crate) blobs: Blobs,
}

/// Verifies a tenant's log and derived state, opening every body that is sealed. Opening a store mends what it can: a state that was
/// mended was not whole.
pub(crate) fn whole_with_state(
    tenant: &TenantText,
    directory: &Path,
    sealing: Sealing,
) -> Result<Whole, BackupError> {
    check_format(directory)?;
    // What a purge has marked is let go by any open, and nothing is wrong with that.
    SledStore::forget_state(directory).map_err(|error| BackupError::Store(Box::new(error)))?;
    // A restore leaves none: it is made now, and nothing was wrong with it.
    let had_state = directory.join("state").exists();
    let schema = crate::definitions::of(directory, crate::storage::of_log(directory, tenant)?)?;
    let derive = Arc::new(DeriveFromBody::sealed(schema, sealing));
    let options = SledStoreOptions::default();
    let store = SledStore::open(directory, tenant.as_str(), derive, options);
    let store = store.map_err(|error| BackupError::Store(Box::new(error)))?;
    let verified = store.verify();
    let report = store.report().clone();
    store.close()?;
    let name = tenant;
    let tenant = tenant.as_str().to_owned();
    if let Some(rebuilt) = report.rebuilt.filter(|_| had_state) {
        return Err(BackupError::Rebuilt { tenant, reason: rebuilt.reason });
    }
    let verified =
        verified.map_err(|source| BackupError::NotWhole { tenant, source: Box::new(source) })?;
    let (versions, unsealed) = (verified.versions, verified.unsealed);
    let blobs = whole_log(name, directory)?.blobs;
    Ok(Whole { versions, unsealed, t: verified.head.t.get(), cut: report.cut, blobs })
}

/// Where the file is gone a store would begin an empty one.
fn check_format(directory: &Path) -> Result<(), BackupError> {
    let format = directory.join("format");
    std::fs::metadata(&format).map_err(super::failed("read", &format)).map(|_| ())
}

/// Verifies a tenant's log, beside a running server too.
pub(crate) fn whole_log(tenant: &TenantText, directory: &Path) -> Result<Whole, BackupError> {
    check_format(directory)?;
    // Listed first: a blob that is named after that is no orphan.
    let listed = blobs::listed(directory)?;
    let found = extent(directory, tenant, None).map_err(|source| BackupError::NotWhole {
        tenant: tenant.to_string(),
        source: Box::new(source),
    })?;
    let purged = blobs::purged_in(&Folder::of_tenant(directory))?;
    let blobs = blobs::check(tenant, directory, &found, &purged, &listed)?;
    let (versions, unsealed) = (found.versions, found.unsealed);
    Ok(Whole { versions, unsealed, t: found.head.t.get(), cut: None, blobs })
}
