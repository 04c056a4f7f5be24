//! What a purge leaves readable beside the log: identifiers, by which versions are found. In the
//! embedded store they go with the derived state, at the next open; in PostgreSQL their rows are
//! deleted at once. Whichever it is, it is noted on the disk first, so that a purge that ends in
//! the midst does not leave them.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use database::{DeriveFromBody, Sealing};
use fhir_schema::Schema;
use store::OwnerKeyId;
use store::keys::{LedgerEntry, PurgeState};
use store_postgres::PostgresStore;
use store_sled::SledStore;

use crate::failure::one_line;
use crate::key_copies::{Folder, KeyCopyError};
use crate::storage::Backend;

/// The note that identifiers in PostgreSQL are still to be deleted, in the tenant's directory.
const NOTE: &str = "identifiers.forget";

/// Said of the embedded store, whose state is let go at once where no server runs.
pub(crate) const STATE_LEFT: &str = "state/ of the tenant: identifiers of the purged data, \
                                     readable, until the next start of the server rebuilds it";

/// Why it could not be noted, taken back or done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TracesError {
    /// The embedded store.
    #[error(transparent)]
    Embedded(#[from] store_sled::OpenError),
    /// PostgreSQL.
    #[error(transparent)]
    Postgres(#[from] store_postgres::ForgetError),
    /// PostgreSQL does not say what it has.
    #[error("PostgreSQL does not do what it is asked to")]
    Asked(#[from] store_postgres::Failure),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] KeyCopyError),
    /// The note.
    #[error("cannot write {}", .0.display())]
    Note(PathBuf, #[source] io::Error),
}

/// Where a tenant's traces are.
pub(crate) struct Traces<'a> {
    pub(crate) directory: &'a Path,
    pub(crate) backend: &'a Backend,
    pub(crate) sealing: &'a Sealing,
    /// What the resources are of.
    pub(crate) schema: &'static Schema,
}

impl Traces<'_> {
    /// Notes that there will be some to forget. False when that was noted before.
    pub(crate) fn note(&self) -> Result<bool, TracesError> {
        match self.backend {
            Backend::Embedded => Ok(SledStore::forget_state_at_open(self.directory)?),
            Backend::Postgres(_) => {
                let path = self.directory.join(NOTE);
                write_note(&path, self.directory).map_err(|source| TracesError::Note(path, source))
            }
        }
    }

    /// Whether the certificate promises that the next start deletes what cannot be deleted now: then
    /// nothing is purged without the note that makes it do so.
    pub(crate) fn are_promised(&self) -> bool {
        matches!(self.backend, Backend::Postgres(_))
    }

    /// Takes the note back: nothing was purged.
    pub(crate) fn keep(&self) -> Result<(), TracesError> {
        match self.backend {
            Backend::Embedded => Ok(SledStore::keep_state(self.directory)?),
            Backend::Postgres(_) => {
                let path = self.directory.join(NOTE);
                fs::remove_file(&path).map_err(|source| TracesError::Note(path, source))
            }
        }
    }

    /// What is left of a purge that was done, for the certificate; what can go now goes.
    pub(crate) fn left(&self, noted: Result<bool, TracesError>, bytes: u64) -> Vec<String> {
        let mut left = Vec::new();
        match self.backend {
            Backend::Embedded => {
                left.push(format!(
                    "log/ of the tenant and every backup of it: {bytes} bytes sealed with the \
                     destroyed key, and for each version its type, id, number and instant, readable"
                ));
                left.push(match noted {
                    Ok(_) => STATE_LEFT.to_owned(),
                    Err(error) => format!(
                        "state/ of the tenant: identifiers of the purged data, readable; remove \
                         the folder while no server runs, it is rebuilt ({})",
                        one_line(&error)
                    ),
                });
                left.extend(self.damaged_states());
            }
            Backend::Postgres(store) => {
                left.push(format!(
                    "the database, its WAL, its standbys and every dump of it: {bytes} bytes \
                     sealed with the destroyed key, and for each version its type, id, number and \
                     instant, readable"
                ));
                left.push(match self.forget(store) {
                    Ok(_) => "identifiers of the purged data: their rows are deleted, and \
                              readable still in the table's file until PostgreSQL writes over \
                              them (VACUUM FULL hearthgate.identifiers writes it anew), in its \
                              WAL until that is recycled, in standbys until they have followed, \
                              and in every dump, base backup and archived WAL of before"
                        .to_owned(),
                    Err(error) => format!(
                        "hearthgate.identifiers: identifiers of the purged data, readable, until \
                         the next start of the server deletes them ({})",
                        one_line(&error)
                    ),
                });
            }
        }
        left
    }

    /// Does what was noted and not done when the process last ended, or what a restored database
    /// has brought back. In the embedded store the open has done it.
    pub(crate) fn finish(&self) -> Result<(), TracesError> {
        let Backend::Postgres(store) = self.backend else { return Ok(()) };
        let mut noted = self.directory.join(NOTE).exists();
        for entry in self.done()? {
            if !noted && !store.has_commit(entry.commit)? {
                tracing::warn!("the database is of before a purge: its identifiers are deleted");
                noted = true;
            }
        }
        if noted {
            let rows = self.forget(store)?;
            tracing::info!(rows, "identifiers of who was purged are deleted");
        }
        Ok(())
    }

    fn done(&self) -> Result<Vec<LedgerEntry>, KeyCopyError> {
        let mut ledger = Folder::of_tenant(self.directory).ledger()?;
        ledger.retain(|entry| entry.state == PurgeState::Done);
        Ok(ledger)
    }

    /// Deletes what is borne under a destroyed key.
    fn forget(&self, store: &PostgresStore) -> Result<u64, TracesError> {
        let keys: Vec<OwnerKeyId> = self.done()?.iter().map(|entry| entry.key).collect();
        let derive = DeriveFromBody::sealed(self.schema, self.sealing.clone());
        let rows = store.forget_identifiers(&keys, Arc::new(derive))?;
        let path = self.directory.join(NOTE);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(TracesError::Note(path, error))
            }
            _ => Ok(rows),
        }
    }

    /// States that were set aside, which may hold identifiers.
    fn damaged_states(&self) -> Option<String> {
        let entries = fs::read_dir(self.directory).ok()?;
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let names: Vec<_> = names.filter(|name| name.starts_with("state.damaged-")).collect();
        (!names.is_empty()).then(|| {
            format!(
                "{}: may hold identifiers, readable; look at them and remove them",
                names.join(", ")
            )
        })
    }
}

/// Makes the note, durably. False when it was there: whoever made it may have failed before it was
/// durable.
fn write_note(path: &Path, directory: &Path) -> io::Result<bool> {
    let (file, is_new) = match File::create_new(path) {
        Ok(file) => (file, true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => (File::open(path)?, false),
        Err(error) => return Err(error),
    };
    file.sync_all()?;
    File::open(directory)?.sync_all()?;
    Ok(is_new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_that_is_there_is_made_durable_before_it_is_relied_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NOTE);
        assert!(write_note(&path, folder.path()).unwrap());
        assert!(!write_note(&path, folder.path()).unwrap());
        // What is there and cannot be made durable is relied on by nobody.
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        write_note(&path, folder.path()).unwrap_err();
    }
}
