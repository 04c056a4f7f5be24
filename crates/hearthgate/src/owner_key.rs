//! The owner's key: made at the first start, kept in the operator's file before anybody is owner.
//!
//! Three steps: the key is written to `FILE.part` and synced; the registry makes the owner; the
//! part takes the file's name. A process that dies between two of them leaves either no owner, and
//! the next start makes one, or an owner whose key is in the part, and the next start finishes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use registry::{Actor, ChangeError, CreatedKey, Registry};

/// Why the owner's key was not made or not kept.
#[derive(Debug, thiserror::Error)]
pub enum OwnerKeyError {
    /// The owner could not be made.
    #[error("the owner's key could not be made")]
    Change(#[from] ChangeError),
    /// Something stands where the key should be written: it may be the key of another clinic.
    #[error(
        "{} is there already, and the owner's key is written over nothing; move it away, or name another file",
        .0.display()
    )]
    Taken(PathBuf),
    /// The file system refused.
    #[error("the owner's key cannot be written to {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
}

/// Makes the owner, unless there is one, and gives the key to be shown once.
///
/// # Errors
/// [`OwnerKeyError`]; where the file cannot take the key, no owner was made.
pub fn make(
    registry: &Registry,
    by: &Actor,
    file: Option<&Path>,
) -> Result<Option<CreatedKey>, OwnerKeyError> {
    let Some(path) = file else {
        return Ok(registry.owner(by)?);
    };
    let created = registry.owner_kept(by, |created| write_part(path, created))?;
    if created.is_some() {
        publish(path)?;
    }
    Ok(created)
}

/// Finishes what an earlier start was kept from: gives the part that holds a key of `registry` its
/// name. Any other part is left alone.
///
/// # Errors
/// [`OwnerKeyError`] when the file system refuses, or something stands at the name.
pub fn finish(registry: &Registry, path: &Path) -> Result<(), OwnerKeyError> {
    match fs::read_to_string(part(path)) {
        Ok(key) if registry.authenticate(key.trim_end()).is_some() => {
            check_free(path)?;
            publish(path)
        }
        // Not ours to judge: whatever it is, it keeps nobody from serving.
        _ => Ok(()),
    }
}

fn part(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    PathBuf::from(name)
}

/// An empty file holds nothing that could be lost, so it counts as none.
fn check_free(path: &Path) -> Result<(), OwnerKeyError> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() && found.len() == 0 => Ok(()),
        Ok(_) => Err(OwnerKeyError::Taken(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(path)(error)),
    }
}

fn write_part(path: &Path, created: &CreatedKey) -> Result<(), OwnerKeyError> {
    check_free(path)?;
    let part = part(path);
    let write = || {
        match fs::remove_file(&part) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
        writeln!(file, "{}", created.secret.expose())?;
        file.sync_all()?;
        sync_directory(path)
    };
    write().map_err(failed(path))
}

fn publish(path: &Path) -> Result<(), OwnerKeyError> {
    fs::rename(part(path), path).and_then(|()| sync_directory(path)).map_err(failed(path))
}

/// Makes the names beside `path` durable.
fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(directory)?.sync_all()
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> OwnerKeyError {
    let path = path.to_owned();
    move |source| OwnerKeyError::Write { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::Arc;

    use crate::doors::{SystemClock, SystemIds};

    struct Clinic {
        dir: tempfile::TempDir,
        registry: Registry,
    }

    impl Clinic {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let registry = Self::open(dir.path());
            Self { dir, registry }
        }

        fn open(dir: &Path) -> Registry {
            let (clock, ids) = (SystemClock::start(), SystemIds::open().unwrap());
            let beside = registry::Beside::NoTenant;
            let opened =
                Registry::open(&dir.join("registry"), beside, Arc::new(clock), Arc::new(ids));
            opened.unwrap().registry
        }

        fn file(&self) -> PathBuf {
            self.dir.path().join("owner.key")
        }

        fn make(&self) -> Result<Option<CreatedKey>, OwnerKeyError> {
            make(&self.registry, &Actor::first_start(), Some(&self.file()))
        }

        /// The file holds the one key there is, and nothing is left beside it.
        fn check_kept(&self) {
            let key = fs::read_to_string(self.file()).unwrap();
            let caller = self.registry.authenticate(key.strip_suffix('\n').unwrap());
            assert_eq!(caller.unwrap().client.id.as_str(), registry::OWNER);
            assert_eq!(self.registry.keys().len(), 1);
            assert_eq!(fs::metadata(self.file()).unwrap().permissions().mode() & 0o777, 0o600);
            assert!(!part(&self.file()).exists());
        }
    }

    #[test]
    fn the_first_start_keeps_the_key_in_a_file_for_this_account_alone() {
        let clinic = Clinic::new();
        assert!(clinic.make().unwrap().is_some());
        clinic.check_kept();
        assert!(clinic.make().unwrap().is_none());
        clinic.check_kept();
    }

    #[test]
    fn a_start_that_died_before_there_was_an_owner_is_a_first_start_again() {
        let clinic = Clinic::new();
        let died = clinic.registry.owner_kept(&Actor::first_start(), |created| {
            write_part(&clinic.file(), created)?;
            Err(OwnerKeyError::Taken(PathBuf::from("died here")))
        });
        assert!(died.is_err() && part(&clinic.file()).exists());
        assert!(clinic.registry.keys().is_empty());
        finish(&clinic.registry, &clinic.file()).unwrap();
        assert!(!clinic.file().exists());
        assert!(clinic.make().unwrap().is_some());
        clinic.check_kept();
    }

    #[test]
    fn a_start_that_died_once_there_was_an_owner_is_finished_by_the_next() {
        let clinic = Clinic::new();
        let file = clinic.file();
        let made: Result<_, OwnerKeyError> =
            clinic.registry.owner_kept(&Actor::first_start(), |created| write_part(&file, created));
        assert!(made.unwrap().is_some() && !file.exists());
        finish(&clinic.registry, &file).unwrap();
        clinic.check_kept();
        finish(&clinic.registry, &file).unwrap();
        clinic.check_kept();
    }

    #[test]
    fn an_empty_file_is_taken_for_the_key_and_any_other_is_left_as_it_is() {
        let clinic = Clinic::new();
        fs::write(clinic.file(), "another clinic's").unwrap();
        assert!(matches!(clinic.make(), Err(OwnerKeyError::Taken(_))));
        assert_eq!(fs::read_to_string(clinic.file()).unwrap(), "another clinic's");

        fs::remove_file(clinic.file()).unwrap();
        let target = clinic.dir.path().join("target");
        fs::write(&target, "").unwrap();
        std::os::unix::fs::symlink(&target, clinic.file()).unwrap();
        assert!(matches!(clinic.make(), Err(OwnerKeyError::Taken(_))));
        assert!(fs::symlink_metadata(clinic.file()).unwrap().is_symlink());
        assert!(clinic.registry.keys().is_empty(), "a refused file costs no owner");

        fs::remove_file(clinic.file()).unwrap();
        fs::write(clinic.file(), "").unwrap();
        assert!(clinic.make().unwrap().is_some());
        clinic.check_kept();
    }

    #[test]
    fn a_taken_file_is_said_in_one_line_with_its_mend() {
        let line = crate::failure::one_line(&OwnerKeyError::Taken(PathBuf::from("owner.key")));
        assert!(
            line.starts_with("owner.key is there already") && line.contains("; move"),
            "{line}"
        );
    }
}
