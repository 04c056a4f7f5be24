//! What can go wrong: opening a registry and changing it.

use std::io;
use std::path::{Path, PathBuf};

use crate::postgres::{Failure, PostgresError};
use crate::state::CannotFollow;

/// Why a registry was not opened. Each text names the mend.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Data without the registry that belongs to it: a first start here would give a new owner's
    /// key to data that has another owner.
    #[error(
        "the registry in {} is missing or empty although a tenant's data stands beside it; put the registry back from the same backup as the data",
        dir.display()
    )]
    RegistryMissing {
        /// Where the registry should be.
        dir: PathBuf,
    },
    /// Written by a later release.
    #[error(
        "the registry in {} has format {found} and this release reads up to {supported}; start the release that wrote it or a later one",
        dir.display()
    )]
    NewerFormat {
        /// Where the registry is.
        dir: PathBuf,
        /// Its format.
        found: u32,
        /// The latest format this release reads.
        supported: u32,
    },
    /// The format file is missing beside a log, or is not one.
    #[error(
        "{} does not say which format the registry has; put the file back from a backup of the registry",
        path.display()
    )]
    FormatUnreadable {
        /// The format file.
        path: PathBuf,
    },
    /// The format file stands alone.
    #[error("{} is missing; put it back from a backup of the registry", path.display())]
    LogMissing {
        /// The change log.
        path: PathBuf,
    },
    /// Bytes that were written whole are not what was written.
    #[error(
        "{} is damaged at byte {offset}, after change {after}: {what}; put the file back from a backup of the registry and keep this one for inspection",
        path.display()
    )]
    Damaged {
        /// The change log.
        path: PathBuf,
        /// Where the damaged change begins.
        offset: u64,
        /// The number of the last change before it.
        after: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// A whole change that this release does not understand.
    #[error(
        "change {sequence} at byte {offset} of {} is none that this release knows; start the release that wrote it or a later one",
        path.display()
    )]
    UnknownChange {
        /// The change log.
        path: PathBuf,
        /// Where the change begins.
        offset: u64,
        /// Its number.
        sequence: u64,
        /// What the reader said.
        source: serde_json::Error,
    },
    /// A whole change that contradicts those before it.
    #[error(
        "change {sequence} at byte {offset} of {} contradicts those before it; put the file back from a backup of the registry",
        path.display()
    )]
    CannotFollow {
        /// The change log.
        path: PathBuf,
        /// Where the change begins.
        offset: u64,
        /// Its number.
        sequence: u64,
        /// The contradiction.
        source: CannotFollow,
    },
    /// A line of the trail is not what was written, or is not there.
    #[error(
        "the trail of changes is damaged: {} at byte {offset}, after line {after}: {what}; put back what was there, or where it is lost begin another, which says so, with `hearthgate changes begin-anew`",
        path.display()
    )]
    TrailDamaged {
        /// The file.
        path: PathBuf,
        /// Where the line begins.
        offset: u64,
        /// The number of the last line before it.
        after: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// Changes were made, and what was asked for is not there.
    #[error(
        "the trail of changes at {} is missing, although there was one; put it back, or where it is lost begin another, which says so, with `hearthgate changes begin-anew`",
        path.display()
    )]
    TrailMissing {
        /// Where it should be.
        path: PathBuf,
    },
    /// The trail had more lines when a process last opened or closed it.
    #[error(
        "the trail of changes at {} ends with line {found}, and had {known}: somebody cut it; put back what was there, or where it is lost begin another, which says so, with `hearthgate changes begin-anew`",
        path.display()
    )]
    TrailCut {
        /// Where it is.
        path: PathBuf,
        /// The number of its last line.
        found: u64,
        /// The number of the last line that there was.
        known: u64,
    },
    /// The registry was moved, or begun elsewhere.
    #[error(
        "{} says that the registry is in PostgreSQL; name it by `registry.postgres` in the configuration (--config), or remove that file where the registry in the directory is to count",
        marker.display()
    )]
    InPostgres {
        /// The file that says so.
        marker: PathBuf,
    },
    /// PostgreSQL is named, and the registry is here.
    #[error(
        "{} holds a registry, and `registry.postgres` names another place; move it there with `hearthgate registry move`, or move the directory away to use what is there",
        dir.display()
    )]
    InFiles {
        /// Where it is.
        dir: PathBuf,
    },
    /// The registry in PostgreSQL does not open.
    #[error(transparent)]
    Postgres(Box<PostgresError>),
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

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// It cannot follow the changes so far.
    #[error(transparent)]
    Refused(#[from] CannotFollow),
    /// It is larger than a change may be.
    #[error("the change is longer than 1 MiB")]
    TooLong,
    /// It cannot be written as JSON.
    #[error("the change cannot be written down")]
    Form(#[source] serde_json::Error),
    /// Writing or syncing failed; whether the change stands is known after a restart.
    #[error("the change log could not be written; free space or repair the disk")]
    Io(#[source] io::Error),
    /// An earlier write failed in a way that only a restart can mend.
    #[error(
        "the change log takes no more changes after a failed write; repair the disk and restart"
    )]
    Broken,
    /// PostgreSQL was not reached, or refused.
    #[error(
        "PostgreSQL, which holds the registry, did not take the change, and nothing was changed; try again once it answers"
    )]
    Away(#[source] Failure),
    /// PostgreSQL was lost in the midst.
    #[error(
        "PostgreSQL, which holds the registry, was lost before it said whether the change stands; once it answers, look whether it does before you try again"
    )]
    Unknown(#[source] Failure),
    /// What others changed cannot be read, so that nothing can be judged by it.
    #[error("nothing was changed, since what other gateways changed cannot be read")]
    Behind(#[source] Box<PostgresError>),
    /// Somebody else changed the registry after whoever asks for this had looked at it.
    #[error(
        "the registry was changed after it was looked at, and nothing was changed by this; look again"
    )]
    Overtaken,
    /// Other gateways were quicker each time.
    #[error(
        "other gateways change the registry at the same time, and nothing was changed; try again"
    )]
    Contended,
}

impl From<PostgresError> for OpenError {
    fn from(error: PostgresError) -> Self {
        Self::Postgres(Box::new(error))
    }
}

impl From<PostgresError> for ChangeError {
    fn from(error: PostgresError) -> Self {
        match error {
            PostgresError::Failed(failure) => Self::Away(failure),
            error => Self::Behind(Box::new(error)),
        }
    }
}

impl OpenError {
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { doing, path: path.clone(), source }
    }
}
