//! What can keep a database from committing or reading.

use store::AppendError;

/// Why a transaction was not committed: nothing of it was.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// A change expects another state than there is.
    #[error("change {change} does not meet the resource in the state it expects")]
    Precondition {
        /// The index of the change.
        change: usize,
        /// What does not hold.
        failed: crate::Precondition,
    },
    /// A change breaks a rule of the tenant.
    #[error("change {change} breaks a rule of the tenant")]
    Rule {
        /// The index of the change.
        change: usize,
        /// What it breaks.
        broken: crate::Broken,
    },
    /// A commit that answers a request of the same name may be there by now: look it up again.
    #[error("a request of the same name may have been answered meanwhile")]
    Repeated,
    /// What was looked up while preparing has changed since: prepare again.
    #[error("what the transaction was prepared with has changed since")]
    Raced,
    /// Too much is waiting: nothing was written.
    #[error("too many transactions are waiting")]
    Overloaded,
    /// The clock stands so far behind the newest data that one of them is wrong: nothing is
    /// written until they agree.
    #[error("the clock says {now}, the newest data is of {newest}: one of them is wrong")]
    ClockBehind {
        /// What the clock says.
        now: fhir_core::Instant,
        /// The instant of the newest data.
        newest: fhir_core::Instant,
    },
    /// The database is closing: nothing was written.
    #[error("the database is closing")]
    Closed,
    /// The store did not take it.
    #[error("the store did not take the commit")]
    Store(#[source] std::sync::Arc<AppendError>),
    /// It is data of a patient who was purged: nothing of theirs is stored any more.
    #[error("a resource belongs to a patient who was purged")]
    OwnerPurged,
    /// What the judgement needs cannot be read.
    #[error("what the transaction depends on cannot be read")]
    Read(#[source] ReadError),
    /// It is unknown whether it was committed: the writer ended, or the disk failed, while it was
    /// being written.
    #[error("the outcome of the commit is unknown")]
    OutcomeUnknown,
}

impl CommitError {
    /// Whether it was for lack of room: it may pass without a restart.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Store(error) if matches!(**error, AppendError::DiskFull))
    }
}

impl ReadError {
    /// Whether the store is putting itself right: it may pass without a restart.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Store(store::ReadError::StateFailed { .. }))
    }
}

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The store cannot read it.
    #[error("the store cannot read it")]
    Store(#[from] store::ReadError),
    /// So many large bodies are being read that its turn did not come.
    #[error("too many large bodies are being read")]
    Overloaded,
    /// Its key was destroyed when its patient was purged: nobody can read it any more.
    #[error("the patient whose data it was has been purged")]
    Purged,
    /// More would have to be looked at than may be.
    #[error("more than {rows} rows would have to be looked at")]
    TooCostly {
        /// So many may be.
        rows: u64,
    },
    /// Nobody waits for the answer any more.
    #[error("nobody waits for what is read any more")]
    Abandoned,
    /// The stored body is not what this version of the program writes.
    #[error("a stored body cannot be understood: {reason}")]
    UnreadableBody {
        /// What is wrong with it.
        reason: String,
    },
}
