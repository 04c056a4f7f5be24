//! `hearthgate restore`: makes a data directory from a backup, as it was at one instant.
//!
//! It is made beside its place under another name, verified, and then named: an end in the midst
//! leaves nothing at the place. Every key of a restored registry stands still until it is
//! confirmed: it may have been revoked after the backup.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use contract::{Clock as _, Instant};
use registry::{Actor, Beside, Registry};
use store::TenantText;
use store_sled::{cut_after, extent, holds_sealed, newest_commit};

use super::error::{BackupError, failed};
use super::files::{create, finish, make_directory, sync_parent, write_whole};
use super::manifest::{Manifest, Tenant};
use super::reading::{find_manifest, read_piece};
use super::{audit, blobs};
use crate::definitions;
use crate::doors::{SystemClock, SystemIds};
use crate::key_copies::{self, Folder};
use crate::tenant_key::{KeySource, TenantKeyArgument};

/// What `restore` takes.
#[derive(Debug, Args)]
pub struct Restore {
    /// The backup's directory
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// The data directory to make
    #[arg(long, value_name = "DIR", default_value = "./data")]
    data: PathBuf,
    /// Which backup in the directory; the newest when left out
    #[arg(long, value_name = "N")]
    backup: Option<u64>,
    /// Leave out what was committed after this instant, like 2026-11-23T14:30:00Z
    #[arg(long, value_name = "INSTANT")]
    at: Option<String>,
    /// Where `backup --keys-to` copied the keys
    #[arg(long, value_name = "DIR")]
    keys_from: Option<PathBuf>,
    /// Data directories, or other copies of the keys, whose purges are kept too
    #[arg(long, value_name = "DIR", requires = "keys_from")]
    purges_from: Vec<PathBuf>,
    #[command(flatten)]
    tenant_key: TenantKeyArgument,
}

impl Restore {
    /// Restores. Returns what to print.
    ///
    /// # Errors
    /// [`BackupError`]; there is then no new data directory.
    pub fn run(&self) -> Result<String, BackupError> {
        // Without a slash at its end, which would make its neighbour a child.
        let data: PathBuf = self.data.components().collect();
        if data.symlink_metadata().is_ok() {
            return Err(BackupError::Occupied(data));
        }
        let at = self.at.as_deref().map(instant).transpose()?;
        let manifest = find_manifest(&self.from, self.backup)?;
        check_instant(&manifest, at)?;
        let mut unfinished = data.as_os_str().to_owned();
        unfinished.push(".restoring");
        let unfinished = PathBuf::from(unfinished);
        if unfinished.symlink_metadata().is_ok() {
            return Err(BackupError::Unfinished(unfinished));
        }
        let made = self.make(&unfinished, &manifest, at).and_then(|text| {
            finish(&unfinished, &data).map_err(failed("name", &data))?;
            Ok(format!("{text}Restored to {}\n", data.display()))
        });
        if made.is_err() {
            // It was made here. What cannot be removed is named by the next try.
            drop(fs::remove_dir_all(&unfinished));
        }
        made
    }

    fn make(
        &self,
        into: &Path,
        manifest: &Manifest,
        at: Option<Instant>,
    ) -> Result<String, BackupError> {
        make_directory(into)?;
        let mut text = format!("Backup {} of {}\n", manifest.number, manifest.made);
        for (name, tenant) in &manifest.tenants {
            text.push_str(&self.tenant(into, name, tenant, at)?);
        }
        text.push_str(&self.registry(into, manifest)?);
        Ok(text)
    }

    fn tenant(
        &self,
        into: &Path,
        name: &str,
        tenant: &Tenant,
        at: Option<Instant>,
    ) -> Result<String, BackupError> {
        let directory = into.join("tenants").join(name);
        let text = TenantText::new(name);
        let text = text.map_err(|_| BackupError::TenantName(directory.clone()))?;
        let log = directory.join("log");
        make_directory(&log)?;
        for segment in &tenant.segments {
            let path = log.join(format!("{:016}.log", segment.number));
            let mut file = create(&path).map_err(failed("create", &path))?;
            for piece in &segment.pieces {
                read_piece(&self.from, piece, |bytes| {
                    file.write_all(bytes).map_err(failed("write", &path))
                })?;
            }
            file.sync_all().and_then(|()| sync_parent(&path)).map_err(failed("sync", &path))?;
        }
        let format = directory.join("format");
        let written = write_whole(&format, tenant.store_format.as_bytes());
        written.map_err(failed("write", &format))?;
        if let Some(piece) = &tenant.definitions {
            let (path, mut bytes) = (directory.join(definitions::FILE), Vec::new());
            read_piece(&self.from, piece, |part| {
                bytes.extend_from_slice(part);
                Ok(())
            })?;
            write_whole(&path, &bytes).map_err(failed("write", &path))?;
        }
        let not_whole =
            |source| BackupError::NotWhole { tenant: name.to_owned(), source: Box::new(source) };
        let whole = extent(&directory, &text, None).map_err(not_whole)?;
        if tenant.head.head() != Some(whole.head) {
            let (found, expected) = (whole.head.t.get(), tenant.head.t);
            return Err(BackupError::OtherHead { tenant: name.to_owned(), found, expected });
        }
        let head = match at {
            Some(at) => cut_after(&directory, &text, at).map_err(not_whole)?,
            None => whole.head,
        };
        let found = newest_commit(&directory, &text).map_err(not_whole)?;
        if found != head {
            let (found, expected) = (found.t.get(), head.t.get());
            return Err(BackupError::OtherHead { tenant: name.to_owned(), found, expected });
        }
        let keys = self.keys(into, &text, &directory)?;
        let purged = blobs::purged_in(&Folder::of_tenant(&directory))?;
        let log = extent(&directory, &text, None).map_err(not_whole)?;
        let logs = (&whole, &log);
        blobs::restore(&self.from, &text, &directory, logs, &tenant.blobs, purged)?;
        audit::restore(&self.from, &directory, &tenant.audit)?;
        Ok(format!("  tenant {name}: up to commit {} of {}\n{keys}", head.t, head.instant))
    }

    /// Puts a tenant's keys back, and what was purged since with them. Where the tenant's own key
    /// is at hand they are opened, and what was purged is destroyed in them at once; else the
    /// first start does it.
    fn keys(
        &self,
        into: &Path,
        tenant: &TenantText,
        directory: &Path,
    ) -> Result<String, BackupError> {
        let Some(place) = &self.keys_from else {
            let not_whole = |source| BackupError::NotWhole {
                tenant: tenant.to_string(),
                source: Box::new(source),
            };
            return Ok(match holds_sealed(directory, tenant).map_err(not_whole)? {
                true => "  keys: none, and what is sealed cannot be read without them; restore \
                         with --keys-from\n"
                    .to_owned(),
                false => String::new(),
            });
        };
        let from = Folder::copied(place, tenant);
        let others = self.purges_from.iter().map(|place| {
            let directory = place.join("tenants").join(tenant.as_str());
            match directory.is_dir() {
                true => Folder::of_tenant(&directory),
                false => Folder::copied(place, tenant),
            }
        });
        let others: Vec<_> = others.collect();
        let now = SystemClock::start().now();
        let purges = key_copies::restore((place, &from), &others, directory, now)?;
        let mut text = format!("  keys: restored, {purges} purges are kept\n");
        if self.tenant_key.is_given() {
            self.tenant_key.keyring(into, tenant)?;
        } else {
            let path = KeySource::DataDirectory.path(&self.data, tenant).unwrap_or_default();
            text.push_str(&format!(
                "  tenant's key: put it into {}, or name it with `tenant_key`\n",
                path.display()
            ));
        }
        Ok(text)
    }

    fn registry(&self, into: &Path, manifest: &Manifest) -> Result<String, BackupError> {
        let Some(piece) = &manifest.registry else {
            return Ok("  registry: none in this backup; restore the gateway's\n".to_owned());
        };
        let mut changes = Vec::new();
        read_piece(&self.from, piece, |bytes| {
            changes.extend_from_slice(bytes);
            Ok(())
        })?;
        let directory = into.join("registry");
        registry::write_whole_changes(&directory, &changes)?;
        let (clock, ids) = (Arc::new(SystemClock::start()), Arc::new(SystemIds::open()?));
        let registry = Registry::open(&directory, Beside::NoTenant, clock, ids)?.registry;
        // Made a moment ago by this account.
        let made = fs::metadata(&directory).map_err(failed("read", &directory))?;
        registry.suspend_keys(&Actor::local_user(made.uid()))?;
        let suspended = registry.keys().iter().filter(|key| key.suspended.is_some()).count();
        Ok(format!(
            "  registry: {suspended} keys stand still until `hearthgate keys confirm` names them\n"
        ))
    }
}

fn instant(text: &str) -> Result<Instant, BackupError> {
    text.parse().map_err(|_| BackupError::Instant(text.to_owned()))
}

/// Refuses an instant of which the backup does not know all.
fn check_instant(manifest: &Manifest, at: Option<Instant>) -> Result<(), BackupError> {
    // The clock may have been set back between the last commit and the backup.
    let heads = manifest.tenants.values().map(|tenant| tenant.head.instant);
    let last = heads.fold(manifest.made, Instant::max);
    match at {
        Some(at) if at > last => Err(BackupError::BeyondBackup { last: last.to_string() }),
        _ => Ok(()),
    }
}
