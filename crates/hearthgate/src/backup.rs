//! `hearthgate backup`: copies the logs of a data directory, whether or not a process runs on it.
//!
//! A backup is a directory of pieces, each written once, and a manifest for each time it was
//! made. The first time copies everything; each later time into the same directory copies only
//! what came since. Nobody is asked: what stands in a log never changes, and the walk that finds
//! how far it is whole verifies it. What was acknowledged before the command is in the backup.
//!
//! The derived state is not copied (it is rebuilt), nor locks, sockets and what stands aside.

mod audit;
mod blobs;
mod error;
mod files;
mod manifest;
mod pace;
mod reading;
mod restore;
mod target;
mod verify;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use contract::{Clock as _, Instant};
use ring::digest::SHA256;
use store::TenantText;

pub(crate) use self::blobs::remove as remove_blobs;
pub use self::error::BackupError;
pub use self::restore::Restore;
pub use self::verify::Verify;
pub(crate) use self::verify::{whole_log, whole_with_state};

use self::error::failed;
use self::files::{lock, make_directory, private, write_whole};
use self::manifest::{FORMAT, Manifest, hexadecimal};
use self::pace::Pace;
use self::reading::read_manifest;
use self::target::Target;
use crate::data_directory::DataDirectory;
use crate::doors::SystemClock;
use crate::key_copies::{self, Folder};

/// What `backup` takes.
#[derive(Debug, Args)]
pub struct Backup {
    #[command(flatten)]
    data: DataDirectory,
    /// The backup's directory, best on another disk; made where there is none
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// A directory to copy the keys to, apart from the backup; made where there is none
    #[arg(long, value_name = "DIR")]
    keys_to: Option<PathBuf>,
    /// While a process runs on the data directory (one that was killed counts until the next
    /// start), work so much of the time; pause for the rest
    #[arg(
        long,
        value_name = "PERCENT",
        default_value_t = SHARE,
        value_parser = clap::value_parser!(u8).range(1..=100)
    )]
    share: u8,
}

/// Lets whatever else runs go before what this thread does from now on: a backup has time, and
/// those who write have not.
pub fn behind_all_others() {
    // Where the system refuses it the backup is made all the same.
    let _ = rustix::process::nice(LEAST);
}

/// The least that a thread can ask for of the processors.
const LEAST: i32 = 19;
/// Of a hundred parts of the time a backup works in so many beside a running process.
const SHARE: u8 = 25;
impl Backup {
    /// Makes the backup. Returns what to print.
    ///
    /// # Errors
    /// [`BackupError`]; the backups made before are then as they were.
    pub fn run(&self) -> Result<String, BackupError> {
        let tenants = tenants(&self.data.path)?;
        private(&self.to)?;
        make_directory(&self.to)?;
        let keys_to = self.keys_to.as_deref().map(|to| self.place_of_keys(to)).transpose()?;
        let _lock = lock(&self.to)?;
        let last = match manifest::list(&self.to).map_err(failed("read", &self.to))?.pop() {
            Some((_, path)) => Some(read_manifest(&path)?),
            None => None,
        };
        let number = last.as_ref().map_or(1, |last| last.number + 1);
        if let Some(gone) = last
            .iter()
            .flat_map(|last| last.tenants.keys())
            .find(|known| tenants.iter().all(|tenant| tenant.as_str() != known.as_str()))
        {
            return Err(BackupError::Gone(format!("tenant {gone}")));
        }
        let clock = SystemClock::start();
        let pace = Pace::beside(&self.data.path, self.share, &clock);
        let mut target = Target { backup: &self.to, number, copied: 0, pace };
        // The registry first: a key made while the logs are copied is missing, no commit is.
        let registry = target.registry(&self.data.path.join("registry"), last.as_ref())?;
        let mut manifest = Manifest {
            format: FORMAT,
            number,
            made: clock.now(),
            release: env!("CARGO_PKG_VERSION").to_owned(),
            tenants: std::collections::BTreeMap::new(),
            registry,
        };
        for tenant in &tenants {
            let before = last.as_ref().and_then(|last| last.tenants.get(tenant.as_str()));
            let directory = self.data.path.join("tenants").join(tenant.as_str());
            let copied = target.tenant(tenant, &directory, before)?;
            manifest.tenants.insert(tenant.as_str().to_owned(), copied);
        }
        let copied = target.copied;
        let json = serde_json::to_vec_pretty(&manifest).map_err(io::Error::from);
        let path = self.to.join(Manifest::file_name(number));
        json.and_then(|json| write_whole(&path, &json)).map_err(failed("write", &path))?;
        let mut text = report(&manifest, copied, &self.to);
        if registry::is_in_postgres(&self.data.path.join("registry")) {
            text.push_str(
                "The registry is in PostgreSQL and not in this backup: back that database up too\n",
            );
        }
        for tenant in &tenants {
            text.push_str(&self.keys(tenant, keys_to.as_deref(), manifest.made)?);
        }
        for tenant in &in_postgres(&self.data.path)? {
            text.push_str(&format!(
                "Tenant {tenant} is in PostgreSQL and not in this backup: back that database up \
                 too, and copy tenants/{tenant}/audit\n"
            ));
            text.push_str(&self.keys(tenant, keys_to.as_deref(), manifest.made)?);
        }
        Ok(text)
    }

    /// The directory for the keys, made and by its whole name.
    fn place_of_keys(&self, to: &Path) -> Result<PathBuf, BackupError> {
        private(to)?;
        make_directory(to)?;
        let whole = |path: &Path| fs::canonicalize(path).map_err(failed("find", path));
        let (keys, backup) = (whole(to)?, whole(&self.to)?);
        if keys.starts_with(&backup) || backup.starts_with(&keys) {
            return Err(BackupError::KeysInBackup(to.to_owned()));
        }
        Ok(keys)
    }

    /// Copies a tenant's keys where the operator wants them, and says so.
    fn keys(
        &self,
        tenant: &TenantText,
        to: Option<&Path>,
        made: Instant,
    ) -> Result<String, BackupError> {
        let directory = self.data.path.join("tenants").join(tenant.as_str());
        let keys = Folder::of_tenant(&directory);
        let Some(to) = to else {
            return Ok(match keys.has_keys() {
                true => format!(
                    "The keys of tenant {tenant} are not in it: --keys-to DIR copies them, apart\n"
                ),
                false => String::new(),
            });
        };
        if !keys.has_keys() {
            return Ok(format!("Tenant {tenant} has no keys: nothing of it is sealed\n"));
        }
        key_copies::copy(&keys, to, tenant, made)?;
        Ok(format!(
            "Keys of tenant {tenant} in {}, good with the tenant's own key, which is not in it: \
             keep that apart too\n",
            to.display()
        ))
    }
}

fn report(manifest: &Manifest, copied: u64, backup: &Path) -> String {
    let mut text = format!("Backup {} in {}\n", manifest.number, backup.display());
    for (name, tenant) in &manifest.tenants {
        text.push_str(&format!(
            "  tenant {name}: up to commit {} of {}, {} bytes\n",
            tenant.head.t,
            tenant.head.instant,
            tenant.length()
        ));
    }
    let registry = match &manifest.registry {
        Some(piece) => format!("{} bytes", piece.length),
        None => "none in this data directory; back up the gateway's".to_owned(),
    };
    text.push_str(&format!("  registry: {registry}\n  copied now: {copied} bytes\n"));
    text
}

/// The tenants that are in PostgreSQL and have their keys here, by name.
pub(crate) fn in_postgres(data: &Path) -> Result<Vec<TenantText>, BackupError> {
    let names = crate::storage::in_postgres(data).map_err(failed("read", data))?;
    let named =
        |name: String| TenantText::new(&name).map_err(|_| BackupError::TenantName(data.join(name)));
    names.into_iter().map(named).collect()
}

/// The tenants whose logs are in a data directory, by name.
pub(crate) fn tenants(data: &Path) -> Result<Vec<TenantText>, BackupError> {
    let directory = data.join("tenants");
    let entries = match fs::read_dir(&directory) {
        // A gateway's own directory has a registry alone.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let elsewhere = || in_postgres(data).is_ok_and(|tenants| !tenants.is_empty());
            let registry = data.join("registry");
            let has_registry =
                registry.join("format").exists() || registry::is_in_postgres(&registry);
            return match has_registry || elsewhere() {
                true => Ok(Vec::new()),
                false => Err(BackupError::NoTenant(data.to_owned())),
            };
        }
        entries => entries.map_err(failed("read", &directory))?,
    };
    let mut tenants = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed("read", &directory))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let tenant = name.and_then(|name| TenantText::new(name).ok());
        tenants.push(tenant.ok_or(BackupError::TenantName(path))?);
    }
    let elsewhere = in_postgres(data)?;
    tenants.retain(|tenant| !elsewhere.contains(tenant));
    tenants.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    Ok(tenants)
}

fn digest(bytes: &[u8]) -> String {
    hexadecimal(ring::digest::digest(&SHA256, bytes).as_ref())
}
