//! What can keep a store in PostgreSQL from opening, and how PostgreSQL's errors become the
//! port's.

use std::io;
use std::time::Duration;

use fhir_core::Instant;
use store::{AppendError, InvalidTenant, T};
use tokio_postgres::error::SqlState;

/// These are no options to reach a database by. Repeats nothing of what was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidConnection {
    /// Not of the form.
    #[error("the connection is not in libpq's form: host=… user=… dbname=… or postgresql://…")]
    Text,
    /// It holds a password.
    #[error("the connection holds a password: put that into a file of its own")]
    Password,
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

/// Why the store was not opened. Nothing was then changed but a schema that was missing.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Not a tenant's name.
    #[error(transparent)]
    Tenant(#[from] InvalidTenant),
    /// PostgreSQL cannot be reached, refuses, or does not answer in time.
    #[error("PostgreSQL does not do what it is asked to")]
    Postgres(#[source] Failure),
    /// Tables of a newer program.
    #[error(
        "the tables have format {found}, this program knows {known}: run the newer program that \
         made them"
    )]
    NewerFormat {
        /// As the tables say.
        found: i32,
        /// The newest this program knows.
        known: i32,
    },
    /// Another server holds the tenant.
    #[error(
        "{holder} holds tenant {tenant} since {since} and must renew that within {left:?}: stop \
         it there, or, if it is gone, wait until then or take over at once"
    )]
    Held {
        /// Whose log.
        tenant: String,
        /// Who holds it.
        holder: String,
        /// Since when, by the database's clock.
        since: String,
        /// How long the lease lasts unless it is renewed.
        left: Duration,
    },
    /// The clocks disagree.
    #[error(
        "this machine's clock and the database's disagree by {seconds} s (at most 60): set both \
         by NTP, then start again"
    )]
    Clocks {
        /// By how much.
        seconds: u64,
    },
    /// The head is not the last commit's.
    #[error("the log of the tenant is damaged at commit {t}: {condition}")]
    Damaged {
        /// Where.
        t: T,
        /// What is wrong.
        condition: &'static str,
    },
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
    /// It gave an answer that cannot be.
    #[error("PostgreSQL gave an impossible {0}")]
    Impossible(&'static str),
}

impl Failure {
    /// The same as an error of I/O, which is how the port takes it.
    pub(crate) fn into_io(self) -> io::Error {
        let kind = match &self {
            Self::Silent(_) => io::ErrorKind::TimedOut,
            Self::Impossible(_) => io::ErrorKind::InvalidData,
            Self::Error(error) if error.as_db_error().is_none() => io::ErrorKind::BrokenPipe,
            Self::Error(_) => io::ErrorKind::Other,
        };
        io::Error::new(kind, self)
    }

    fn state(&self) -> Option<&SqlState> {
        match self {
            Self::Error(error) => error.code(),
            _ => None,
        }
    }

    /// Whether the transaction was undone for the sake of another, and may be tried again.
    pub(crate) fn is_lost_race(&self) -> bool {
        self.state().is_some_and(|state| {
            [&SqlState::T_R_SERIALIZATION_FAILURE, &SqlState::T_R_DEADLOCK_DETECTED]
                .contains(&state)
        })
    }

    /// Whether the session is gone: the connection broke, the server ended it, or is ending.
    pub(crate) fn is_disconnected(&self) -> bool {
        match self {
            Self::Silent(_) => true,
            Self::Impossible(_) => false,
            Self::Error(error) => error.as_db_error().is_none_or(|error| {
                // Class 08 is the connection's; 57P0x says that the server ends the session.
                let code = error.code().code();
                code.starts_with("08") || code.starts_with("57P0")
            }),
        }
    }

    /// Whether a COMMIT that failed so is known to have undone everything.
    pub(crate) fn is_undone_commit(&self) -> bool {
        // 40003 says that it is not known.
        !self.is_disconnected()
            && self
                .state()
                .is_some_and(|state| *state != SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN)
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Error(error)
    }
}

impl From<Failure> for OpenError {
    fn from(failure: Failure) -> Self {
        Self::Postgres(failure)
    }
}

/// The error of an append of which nothing was kept.
pub(crate) fn append_error(failure: Failure) -> AppendError {
    match failure.state() {
        Some(state) if *state == SqlState::DISK_FULL => AppendError::DiskFull,
        Some(state) if *state == SqlState::READ_ONLY_SQL_TRANSACTION => AppendError::ReadOnly,
        _ => AppendError::Io(failure.into_io()),
    }
}

/// Another server took the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("another server took this tenant over: this one writes and reads nothing more of it")]
pub(crate) struct LeaseLost;

/// PostgreSQL's message without its details, which repeat values: patients' data.
fn described(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(error) => format!("{} ({})", error.message(), error.code().code()),
        None => "the connection failed".to_owned(),
    }
}

/// An instant as FHIR writes it.
pub(crate) fn instant_text(instant: Instant) -> String {
    String::from_utf8_lossy(&instant.text()).into_owned()
}
