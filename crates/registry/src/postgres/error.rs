//! What can keep a registry in PostgreSQL from being opened, followed or changed.

use std::io;
use std::time::Duration;

use tokio_postgres::error::SqlState;

use crate::state::CannotFollow;

/// These are no options to reach a database by. Repeats nothing of what was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidConnection {
    /// Not of the form.
    #[error("the connection is not in libpq's form: host=… user=… dbname=… or postgresql://…")]
    Text,
    /// It does not say where.
    #[error("the connection names no host")]
    NoHost,
    /// Plain bytes to another machine.
    #[error(
        "without TLS only a Unix socket or a loopback address is reached: give the certificate \
         of the authority that signed PostgreSQL's"
    )]
    PlainRemote,
    /// TLS over a Unix socket.
    #[error("PostgreSQL speaks no TLS over a Unix socket: leave the authority out")]
    TlsOverSocket,
    /// The authority's file.
    #[error("the authority's file has no certificate in PEM form, or one that cannot be read")]
    Authority,
}

/// Why a registry in PostgreSQL was not opened, or is not followed any further. Each text names
/// the mend.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// PostgreSQL cannot be reached, refuses, or does not answer in time.
    #[error("PostgreSQL, which holds the registry, does not do what it is asked to")]
    Failed(#[from] Failure),
    /// Tables of a later release.
    #[error(
        "the registry in PostgreSQL has format {found} and this release reads up to {known}; start the release that wrote it or a later one"
    )]
    NewerFormat {
        /// As the tables say.
        found: i32,
        /// The latest that this release reads.
        known: i32,
    },
    /// No change at all, where there must be some.
    #[error(
        "the registry in PostgreSQL is empty although what stands beside it was used with one; restore that database from its backup, or name the right one in `registry.postgres`"
    )]
    Missing,
    /// A row that is not as it was written, or one that is missing.
    #[error(
        "the registry in PostgreSQL is damaged at change {sequence} (hearthgate_registry.changes): {what}; restore that database from its backup and keep this one for inspection"
    )]
    Damaged {
        /// The number of the change.
        sequence: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// A change that this release does not understand.
    #[error(
        "change {sequence} of the registry in PostgreSQL is none that this release knows; start the release that wrote it or a later one"
    )]
    UnknownChange {
        /// Its number.
        sequence: u64,
        /// What the reader said.
        source: serde_json::Error,
    },
    /// A change that contradicts those before it.
    #[error(
        "change {sequence} of the registry in PostgreSQL contradicts those before it; restore that database from its backup"
    )]
    CannotFollow {
        /// Its number.
        sequence: u64,
        /// The contradiction.
        source: CannotFollow,
    },
    /// The database does not go on from what this process knows of it.
    #[error(
        "the registry in PostgreSQL is not the one that this process has read: change {sequence} is another or gone, as after a restore; find out who changed the database, keep what `hearthgate keys list` shows here, restart, and revoke again what it has as revoked"
    )]
    Another {
        /// The last change that this process knows.
        sequence: u64,
    },
    /// The clocks disagree.
    #[error(
        "this machine's clock and that of the registry's PostgreSQL disagree by {seconds} s (at most 60): set both by NTP, then start again"
    )]
    Clocks {
        /// By how much.
        seconds: u64,
    },
    /// The registry that was to be moved there does not fit what is there.
    #[error(
        "the registry in PostgreSQL has other changes than the one that is to be moved there; name an empty database, or use the registry that is in this one"
    )]
    Occupied,
    /// No thread could be begun.
    #[error("no thread could be begun")]
    Threads(#[source] io::Error),
}

/// Why PostgreSQL did not do something.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It said so, or the connection broke.
    #[error("{}", described(.0))]
    Error(#[source] tokio_postgres::Error),
    /// It did not answer.
    #[error("PostgreSQL did not answer within {0:?}")]
    Silent(Duration),
    /// What asked it has ended.
    #[error("the process no longer asks PostgreSQL")]
    Ended,
}

impl PostgresError {
    /// Whether waiting may mend it: PostgreSQL was not heard.
    pub(crate) fn is_away(&self) -> bool {
        matches!(self, Self::Failed(_))
    }
}

impl Failure {
    fn state(&self) -> Option<&SqlState> {
        match self {
            Self::Error(error) => error.code(),
            _ => None,
        }
    }

    /// Whether the statement was undone for the sake of another, and may be tried again.
    pub(crate) fn is_lost_race(&self) -> bool {
        self.state().is_some_and(|state| {
            [&SqlState::T_R_SERIALIZATION_FAILURE, &SqlState::T_R_DEADLOCK_DETECTED]
                .contains(&state)
        })
    }

    /// Whether it is not known what became of what was asked: the connection broke, the server
    /// ended it, or nothing was heard.
    pub(crate) fn is_disconnected(&self) -> bool {
        match self {
            Self::Silent(_) | Self::Ended => true,
            Self::Error(error) => error.as_db_error().is_none_or(|error| {
                // Class 08 is the connection's; 57P0x says that the server ends the session;
                // 40003 that the outcome is not known.
                let code = error.code().code();
                code.starts_with("08") || code.starts_with("57P0") || code == "40003"
            }),
        }
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Error(error)
    }
}

impl From<tokio_postgres::Error> for PostgresError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// PostgreSQL's message without its details, which repeat values.
fn described(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(error) => format!("{} ({})", error.message(), error.code().code()),
        None => "the connection failed".to_owned(),
    }
}
