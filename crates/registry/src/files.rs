//! Files that only this account may read, and that survive a power cut once they are reported.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Creates `dir` (0700) and its parents where they are missing, and takes other accounts' rights
/// from one that is there.
pub(crate) fn private_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    keep_private(&File::open(dir)?, 0o700)?;
    sync_parent(dir)
}

/// Creates the empty file `path` (0600) where it is missing, durable on return.
pub(crate) fn create_private(path: &Path) -> io::Result<()> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?
        .sync_all()?;
    sync_parent(path)
}

/// Whether there is no such file, or one without a byte.
pub(crate) fn is_absent_or_empty(path: &Path) -> bool {
    match fs::metadata(path) {
        Ok(metadata) => metadata.len() == 0,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// Takes from `file` every right beyond `mode`.
pub(crate) fn keep_private(file: &File, mode: u32) -> io::Result<()> {
    let now = file.metadata()?.permissions().mode() & 0o7777;
    if now & !mode == 0 {
        return Ok(());
    }
    file.set_permissions(Permissions::from_mode(now & mode))
}

/// Makes names in the directory that holds `path` durable.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => File::open(".")?.sync_all(),
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// Writes `bytes` to a new file beside `path`, named after it and `suffix` (numbered where that
/// name is taken), durable on return.
pub(crate) fn write_new_beside(path: &Path, suffix: &str, bytes: &[u8]) -> io::Result<PathBuf> {
    let mut target = with_suffix(path, suffix);
    let mut number = 1;
    let mut file = loop {
        match private_new(&target) {
            Ok(file) => break file,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                number += 1;
                target = with_suffix(path, &format!("{suffix}.{number}"));
            }
            Err(error) => return Err(error),
        }
    };
    file.write_all(bytes)?;
    file.sync_all()?;
    sync_parent(&target)?;
    Ok(target)
}

/// Writes `bytes` under the name `path` at once or not at all.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let part = with_suffix(path, "part");
    let _ = fs::remove_file(&part);
    let mut file = private_new(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&part, path)?;
    sync_parent(path)
}

/// Copies the file `path` to `copy`, which is not there, readable by this account alone; durable on
/// return but for its name.
pub(crate) fn copy_private(path: &Path, copy: &Path) -> io::Result<()> {
    let mut file = private_new(copy)?;
    io::copy(&mut File::open(path)?, &mut file)?;
    file.sync_all()
}

/// A name beside `path` that nothing has yet.
pub(crate) fn free_name_beside(path: &Path, suffix: &str) -> PathBuf {
    let mut number = 1_u32;
    loop {
        let target = with_suffix(path, &format!("{suffix}-{number}"));
        if !target.exists() {
            return target;
        }
        number += 1;
    }
}

fn private_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}
