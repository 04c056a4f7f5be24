//! Why a backup was not made, restored or verified.

use std::io;
use std::path::{Path, PathBuf};

use store_sled::VerifyError;

use crate::key_copies::KeyCopyError;
use crate::tenant_key::TenantKeyError;

/// Why a backup was not made, restored or verified.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is nothing to back up.
    #[error("{} holds no tenant; name the data directory with --data", .0.display())]
    NoTenant(PathBuf),
    /// What was backed up before is not there any more.
    #[error(
        "{0} is in the backup and not in the data directory any more; look for it, or begin a backup in another directory"
    )]
    Gone(String),
    /// The registry is not the one backed up before.
    #[error("{} is not the registry that was backed up before; begin a backup in another directory", .0.display())]
    OtherRegistry(PathBuf),
    /// Others may write to the backup.
    #[error("other accounts may write to {}; take that right from them: chmod go-w", .0.display())]
    WritableByOthers(PathBuf),
    /// The audit log is not the one backed up before.
    #[error(
        "{} is shorter or other than it was backed up before: somebody changed the audit log; look into it, keep the backup, and begin one in another directory",
        .0.display()
    )]
    OtherAudit(PathBuf),
    /// A manifest names a file that is none of the backup's.
    #[error("the backup's manifest names {0}, which is no file of the backup")]
    Elsewhere(String),
    /// The derived state was not whole.
    #[error(
        "the derived state of tenant {tenant} was not whole and has been rebuilt from the log: {reason}; verify again, and look at the disk"
    )]
    Rebuilt {
        /// Whose.
        tenant: String,
        /// Why.
        reason: String,
    },
    /// A directory under `tenants/` has no tenant's name.
    #[error("{} is no tenant's name; move it out of the data directory", .0.display())]
    TenantName(PathBuf),
    /// A log is not whole, or not the one backed up before.
    #[error("the log of tenant {tenant} was not taken")]
    Log {
        /// Whose.
        tenant: String,
        /// What is wrong.
        #[source]
        source: Box<VerifyError>,
    },
    /// A blob that the log names is not there, or not as it was written.
    #[error("{resource}, written by commit {t} of tenant {tenant}, is lost")]
    Blob {
        /// Whose.
        tenant: String,
        /// Type and id.
        resource: String,
        /// The position of the commit.
        t: u64,
        /// What is wrong.
        #[source]
        source: Box<store::ReadError>,
    },
    /// The registry in PostgreSQL is not whole, or cannot be read.
    #[error(transparent)]
    SharedRegistry(Box<crate::registry_place::RegistryPlaceError>),
    /// The registry is not whole.
    #[error(transparent)]
    Registry(#[from] registry::OpenError),
    /// Keys were not copied.
    #[error(transparent)]
    KeyCopy(#[from] KeyCopyError),
    /// The tenant's keys.
    #[error(transparent)]
    Keys(#[from] TenantKeyError),
    /// Keys beside what they open.
    #[error(
        "{} is in the backup, and whoever has keys and backup can read it; name another directory with --keys-to",
        .0.display()
    )]
    KeysInBackup(PathBuf),
    /// Somebody else writes there.
    #[error("another process is writing to the backup {}; wait for it", .0.display())]
    InUse(PathBuf),
    /// There is no backup.
    #[error("{} holds no backup; name the directory that `hearthgate backup --to` was given", .0.display())]
    NoBackup(PathBuf),
    /// There is none of that number.
    #[error("there is no backup {number} in {}; its numbers are {known}", backup.display())]
    NoSuchNumber {
        /// Where.
        backup: PathBuf,
        /// Which.
        number: u64,
        /// Which there are.
        known: String,
    },
    /// A manifest is none that this release reads.
    #[error("{} is no manifest that this release reads: {reason}; a newer release may", path.display())]
    Manifest {
        /// Which.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A piece is not what its manifest says.
    #[error("{} is not what the backup's manifest says: {found} instead of {expected}; restore another backup, and look at the disk", path.display())]
    Piece {
        /// Which.
        path: PathBuf,
        /// What is there.
        found: String,
        /// What must be there.
        expected: String,
    },
    /// The restored log ends elsewhere.
    #[error(
        "the log of tenant {tenant} as restored ends at commit {found}, not at {expected}; restore another backup"
    )]
    OtherHead {
        /// Whose.
        tenant: String,
        /// Where it ends.
        found: u64,
        /// Where it should.
        expected: u64,
    },
    /// The place for the data is taken.
    #[error("{} is there already; name a directory that is not, with --data", .0.display())]
    Occupied(PathBuf),
    /// An earlier restore did not come to its end.
    #[error("{} is what an earlier restore left; look at it, remove it, and restore again", .0.display())]
    Unfinished(PathBuf),
    /// The instant is none.
    #[error("{0} is no instant; write it like 2026-11-23T14:30:00Z")]
    Instant(String),
    /// The instant is after the backup.
    #[error("the backup ends at {last}; name no later instant, or leave --at out")]
    BeyondBackup {
        /// The last instant of it.
        last: String,
    },
    /// What verifying found in PostgreSQL.
    #[error("the data of tenant {tenant} in PostgreSQL is not whole, or cannot be read")]
    NotWholeInPostgres {
        /// Whose.
        tenant: String,
        /// What is wrong.
        #[source]
        source: Box<store_postgres::VerifyError>,
    },
    /// PostgreSQL cannot be reached as configured.
    #[error(transparent)]
    Storage(#[from] crate::storage::StorageError),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// What verifying found.
    #[error("the data of tenant {tenant} is not whole")]
    NotWhole {
        /// Whose.
        tenant: String,
        /// What is wrong.
        #[source]
        source: Box<VerifyError>,
    },
    /// A store does not open.
    #[error(transparent)]
    Store(Box<store_sled::OpenError>),
    /// A store does not close.
    #[error(transparent)]
    Close(#[from] store::CloseError),
    /// Restored keys could not be suspended.
    #[error(transparent)]
    Change(#[from] registry::ChangeError),
    /// The definitions that the resources are of.
    #[error(transparent)]
    Definitions(#[from] crate::definitions::DefinitionsError),
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] crate::doors::NoRandomness),
    /// A lock could not be tried.
    #[error(transparent)]
    Lock(#[from] crate::lock::LockError),
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

/// What the file system refused, and on which path.
pub(super) fn failed(
    doing: &'static str,
    path: &Path,
) -> impl FnOnce(io::Error) -> BackupError + use<> {
    let path = path.to_owned();
    move |source| BackupError::Io { doing, path, source }
}
