//! `hearthgate compact`: gives room on the disk back that holds nothing any more.
//!
//! What was set aside and never looked at (torn tails of the log, states that could not be used)
//! is removed, and where no server runs on the directory the derived state is written anew, since
//! sled gives no room back by itself. Only beside a log that is whole: everything is verified
//! first, and the new state before the old one goes. The log itself is never rewritten
//! (docs/adr/0011).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use database::Sealing;
use store::TenantText;
use store_sled::{SledStoreOptions, room};

use crate::backup::{BackupError, remove_blobs, tenants, whole_log, whole_with_state};
use crate::data_directory::DataDirectory;
use crate::lock::{Half, Lock, LockError};
use crate::tenant_key::{TenantKeyArgument, TenantKeyError};

/// What `compact` takes.
#[derive(Debug, Args)]
pub struct Compact {
    #[command(flatten)]
    data: DataDirectory,
    #[command(flatten)]
    tenant_key: TenantKeyArgument,
}

/// Why nothing, or not everything, was given back. What was removed before was of no use.
#[derive(Debug, thiserror::Error)]
pub enum CompactError {
    /// Something is not whole: beside it nothing is removed.
    #[error("nothing was removed beside what is not whole")]
    NotWhole(#[from] BackupError),
    /// Without its keys the state cannot be written anew.
    #[error(transparent)]
    Keys(#[from] TenantKeyError),
    /// A lock could not be tried.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The file system refused.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CompactError + use<> {
    let path = path.to_owned();
    move |source| CompactError::Io { doing, path, source }
}

/// Where the state stands while another is made: a start that finds no state makes one.
const REPLACED: &str = "state.replaced";

impl Compact {
    /// Gives room back. Returns what to print.
    ///
    /// # Errors
    /// [`CompactError`]
    pub fn run(&self) -> Result<String, CompactError> {
        let tenants = tenants(&self.data.path)?;
        let (lock, holder) = match Lock::take(&self.data.path, Half::Server, "compact") {
            Ok(lock) => (Some(lock), String::new()),
            Err(LockError::Held { holder, .. }) => (None, holder),
            Err(error) => return Err(error.into()),
        };
        let mut text = String::new();
        for tenant in tenants {
            let directory = self.data.path.join("tenants").join(tenant.as_str());
            text.push_str(&format!("Tenant {}\n", tenant.as_str()));
            let sealing = match &lock {
                Some(_) => Some(self.tenant_key.sealing(&self.data.path, &tenant)?),
                None => None,
            };
            let whole = match &sealing {
                Some(sealing) => whole_with_state(&tenant, &directory, sealing.clone())?,
                None => whole_log(&tenant, &directory)?,
            };
            text.push_str(&remove_set_aside(&directory)?);
            // A server at work may be about to name them.
            if sealing.is_some() && !whole.blobs.unnamed.is_empty() {
                let bytes = remove_blobs(&directory, &whole.blobs.unnamed)?;
                let count = whole.blobs.unnamed.len();
                text.push_str(&format!(
                    "  blobs: {count} that nothing names, {bytes} bytes given back\n"
                ));
            }
            text.push_str(&match sealing {
                Some(sealing) => rewrite_state(&tenant, &directory, sealing)?,
                None => format!(
                    "  state: left as it is, {holder} uses it; stop that process to write it anew\n"
                ),
            });
        }
        Ok(text)
    }
}

/// Removes what was kept to be looked at. The log is whole without it.
fn remove_set_aside(directory: &Path) -> Result<String, CompactError> {
    let mut text = String::new();
    for (folder, beginnings) in [
        (directory.join("log"), &["cut-"][..]),
        (directory.to_owned(), &["state.damaged-", REPLACED]),
    ] {
        for path in named(&folder, beginnings)? {
            let bytes = size(&path)?;
            remove(&path)?;
            let name = path.strip_prefix(directory).unwrap_or(&path).display();
            text.push_str(&format!("  {name}: {bytes} bytes given back\n"));
        }
    }
    Ok(text)
}

/// Makes the state anew from the log beside the old one, which goes once the new one is verified.
fn rewrite_state(
    tenant: &TenantText,
    directory: &Path,
    sealing: Sealing,
) -> Result<String, CompactError> {
    let (state, replaced) = (directory.join("state"), directory.join(REPLACED));
    let before = size(&state)?;
    let room =
        room(directory, &SledStoreOptions::default()).map_err(failed("look at", directory))?;
    if room.free < room.reserve.saturating_add(before) {
        let (free, needed) = (room.free, room.reserve + before);
        return Ok(format!(
            "  state: left as it is, writing it anew takes {needed} free bytes and {free} are\n"
        ));
    }
    rename(&state, &replaced)?;
    if let Err(error) = whole_with_state(tenant, directory, sealing) {
        // The old one was whole a moment ago.
        remove(&state)?;
        rename(&replaced, &state)?;
        return Err(error.into());
    }
    remove(&replaced)?;
    let after = size(&state)?;
    Ok(format!("  state: written anew, {before} bytes before, {after} now\n"))
}

fn named(folder: &Path, beginnings: &[&str]) -> Result<Vec<PathBuf>, CompactError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed("read", folder))? {
        let entry = entry.map_err(failed("read", folder))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if beginnings.iter().any(|beginning| name.starts_with(beginning)) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// Bytes of a file, or of all files of a directory; none where nothing is.
fn size(path: &Path) -> Result<u64, CompactError> {
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        metadata => metadata.map_err(failed("look at", path))?,
    };
    if !metadata.is_dir() {
        return Ok(metadata.len());
    }
    let mut bytes = 0;
    for entry in fs::read_dir(path).map_err(failed("read", path))? {
        bytes += size(&entry.map_err(failed("read", path))?.path())?;
    }
    Ok(bytes)
}

fn remove(path: &Path) -> Result<(), CompactError> {
    let removed = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => Err(error),
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
    };
    removed.map_err(failed("remove", path))
}

fn rename(from: &Path, to: &Path) -> Result<(), CompactError> {
    let parent = to.parent().unwrap_or(to);
    let renamed = fs::rename(from, to).and_then(|()| fs::File::open(parent)?.sync_all());
    renamed.map_err(failed("rename", from))
}
