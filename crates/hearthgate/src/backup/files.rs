//! Files of backups and of what is restored: this account's own (directories 0700, files 0600),
//! whole or not there, and on the disk before anything relies on them.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::{BackupError, failed};

/// Keeps others from writing to the backup; let go when dropped.
pub(super) fn lock(backup: &Path) -> Result<File, BackupError> {
    let path = backup.join("lock");
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = file.map_err(failed("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(BackupError::InUse(backup.to_owned())),
        Err(fs::TryLockError::Error(source)) => Err(failed("lock", &path)(source)),
    }
}

/// Makes a directory and those above it (0700), durably.
pub(super) fn make_directory(path: &Path) -> Result<(), BackupError> {
    if path.is_dir() || path.as_os_str().is_empty() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        make_directory(parent)?;
    }
    let made = DirBuilder::new().mode(0o700).create(path).and_then(|()| sync_parent(path));
    made.map_err(failed("create", path))
}

/// Writes a file at once or not at all, durably. What an earlier try left is overwritten: no
/// manifest names it.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let unfinished = unfinished(path);
    let mut file = create(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    finish(&unfinished, path)
}

pub(super) fn finish(unfinished: &Path, path: &Path) -> io::Result<()> {
    fs::rename(unfinished, path)?;
    sync_parent(path)
}

pub(super) fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".unfinished");
    PathBuf::from(name)
}

/// Makes a file that is this account's own; what an earlier try left there goes.
pub(super) fn create(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => OpenOptions::new().write(true).create_new(true).mode(0o600).open(path),
    }
}

/// Refuses a directory that others may write to: what they plant there would be trusted.
pub(super) fn private(path: &Path) -> Result<(), BackupError> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.mode() & 0o022 != 0 => {
            Err(BackupError::WritableByOthers(path.to_owned()))
        }
        _ => Ok(()),
    }
}

pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}
