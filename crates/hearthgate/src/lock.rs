//! Who has the data directory: a lock for each half, with the holder's name in it.
//!
//! The server half holds `DATA/lock`, the gateway half `DATA/registry/lock`; `serve` holds both.
//! The kernel releases a lock with its process, however that ends, so a lock file that stays
//! behind means nothing.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// A held lock; let go when dropped.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

/// Which half of a data directory a lock is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// Resources: everything but `registry/`.
    Server,
    /// `registry/`.
    Gateway,
}

/// Why a lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error(
        "{} is held by {holder}; stop that process, or name another directory with --data",
        dir.display()
    )]
    Held {
        /// The directory.
        dir: PathBuf,
        /// What the holder wrote about itself.
        holder: String,
    },
    /// The file system refused.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
}

const UNNAMED: &str = "another process";
/// More than a pid and a verb need; less than would fill a line if the file were something else.
const LONGEST_HOLDER: u64 = 100;

impl Half {
    /// The directory that a lock of this half is about.
    #[must_use]
    pub fn dir(self, data: &Path) -> PathBuf {
        match self {
            Self::Server => data.to_owned(),
            Self::Gateway => data.join("registry"),
        }
    }
}

impl Lock {
    /// Takes the lock of `half` in `data` for `verb`, at once or not at all. The directory is
    /// made (0700) where it is missing.
    ///
    /// # Errors
    /// [`LockError::Held`] names the holder.
    pub fn take(data: &Path, half: Half, verb: &str) -> Result<Self, LockError> {
        let dir = half.dir(data);
        let failed = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| LockError::Io { doing, path, source }
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .map_err(failed("create", &dir))?;
        let path = dir.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(failed("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = holder(&mut file);
                return Err(LockError::Held { dir, holder });
            }
            Err(TryLockError::Error(source)) => {
                return Err(failed("lock", &path)(source));
            }
        }
        let name = format!("pid {} ({verb})\n", std::process::id());
        file.set_len(0)
            .and_then(|()| file.write_all(name.as_bytes()))
            .map_err(failed("write", &path))?;
        Ok(Self { file })
    }
}

/// Whether somebody wrote a name into the lock of `half`: a process that runs there, or one that was
/// killed there. The lock is not tried, so that whoever takes it at this moment gets it.
pub(crate) fn is_named(data: &Path, half: Half) -> bool {
    half.dir(data).join("lock").metadata().is_ok_and(|metadata| metadata.len() > 0)
}

/// What the holder of `file` wrote about itself; it may be just about to.
fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.rewind().and_then(|()| file.take(LONGEST_HOLDER).read_to_string(&mut text));
    let line = text.lines().next().unwrap_or_default();
    if read.is_err() || line.is_empty() || line.chars().any(char::is_control) {
        return UNNAMED.to_owned();
    }
    line.to_owned()
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The name goes with the lock. What cannot be erased is only untidy: it is read by
        // nobody while the lock is free.
        let _ = self.file.set_len(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_taker_is_refused_at_once_and_told_by_whom() {
        let data = tempfile::tempdir().unwrap();
        let lock = Lock::take(data.path(), Half::Server, "serve").unwrap();
        let error = Lock::take(data.path(), Half::Server, "server").unwrap_err();
        let line = crate::failure::one_line(&error);
        let holder = format!("pid {} (serve)", std::process::id());
        assert!(line.contains(&holder) && line.contains("--data"), "{line}");
        assert!(!line.contains('\n'));
        drop(lock);
        Lock::take(data.path(), Half::Server, "server").unwrap();
    }

    #[test]
    fn the_halves_are_locked_apart() {
        let data = tempfile::tempdir().unwrap();
        let _server = Lock::take(data.path(), Half::Server, "server").unwrap();
        let _gateway = Lock::take(data.path(), Half::Gateway, "gateway").unwrap();
        assert!(data.path().join("lock").exists());
        assert!(data.path().join("registry/lock").exists());
    }

    #[test]
    fn a_lock_file_left_behind_means_nothing() {
        let data = tempfile::tempdir().unwrap();
        std::fs::write(data.path().join("lock"), "pid 1 (serve)\n").unwrap();
        let _lock = Lock::take(data.path(), Half::Server, "serve").unwrap();
        let error = Lock::take(data.path(), Half::Server, "serve").unwrap_err();
        assert!(!error.to_string().contains("pid 1 "), "{error}");
    }

    #[test]
    fn a_place_that_cannot_be_a_directory_is_said_with_its_name() {
        let data = tempfile::tempdir().unwrap();
        let file = data.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = Lock::take(&file, Half::Server, "serve").unwrap_err();
        let line = crate::failure::one_line(&error);
        assert!(line.contains(file.to_str().unwrap()) && line.contains(';'), "{line}");
    }
}
