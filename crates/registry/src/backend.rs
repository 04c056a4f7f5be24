//! Where the change log is kept: in files of this process alone, or in PostgreSQL, where other
//! gateways add to it too. All that differs between the two is here.

use std::sync::Arc;

use arc_swap::ArcSwap;
use contract::Instant;

use crate::OpenError;
use crate::audit::{Audit, RecordedChange};
use crate::change::{Change, Subject};
use crate::log::{AppendError, ChangeLog, Entry, Head};
use crate::postgres::{self, Database, PostgresError, PostgresLog};
use crate::state::State;

/// A log, and how it is searched.
pub(crate) enum Backend {
    Files { log: ChangeLog, audit: Audit },
    Postgres(PostgresLog),
}

impl Backend {
    /// The last change that is known.
    pub(crate) fn head(&self) -> Head {
        match self {
            Self::Files { log, .. } => log.head(),
            Self::Postgres(log) => log.head(),
        }
    }

    /// Adds a change behind the head, durably. `json` is `change` as the log holds it.
    pub(crate) fn append(
        &mut self,
        instant: Instant,
        actor: &str,
        change: &Change,
        json: &[u8],
    ) -> Result<(), AppendError> {
        match self {
            Self::Files { log, audit } => {
                let entry = log.append(instant, actor, json.to_vec())?;
                audit.add(&entry, change);
            }
            Self::Postgres(log) => drop(log.append(instant, actor, json)?),
        }
        Ok(())
    }

    /// Reads what others have added and publishes what stands after it; how many changes that were.
    /// What stands before one that cannot be followed counts all the same.
    pub(crate) fn catch_up(&mut self, state: &ArcSwap<State>) -> Result<usize, PostgresError> {
        let Self::Postgres(log) = self else { return Ok(0) };
        let mut read = 0;
        loop {
            let later = log.later()?;
            let is_full = later.is_full;
            read += postgres::publish(log, state, later)?;
            if !is_full {
                return Ok(read);
            }
        }
    }

    /// Changes about `subject` (all where `None`) after number `after`, at most `limit`; or where
    /// they are to be read, which takes too long for whoever waits for this.
    pub(crate) fn changes(&mut self, subject: Option<&Subject>, after: u64, limit: usize) -> Found {
        match self {
            Self::Files { log, audit } => Found::Read(audit.changes(log, subject, after, limit)),
            Self::Postgres(log) => Found::Elsewhere(Arc::clone(&log.database)),
        }
    }
}

/// Recorded changes, or the database that has them.
pub(crate) enum Found {
    Read(Result<Vec<RecordedChange>, OpenError>),
    Elsewhere(Arc<Database>),
}

/// What [`Backend::changes`] says, out of PostgreSQL. Blocks.
pub(crate) fn changes_in(
    database: &Database,
    subject: Option<&Subject>,
    after: u64,
    limit: usize,
) -> Result<Vec<RecordedChange>, OpenError> {
    let is_about = |(_, change): &(Entry, Change)| {
        subject.is_none_or(|subject| change.subjects().contains(subject))
    };
    let found = postgres::find(database, after, limit, is_about)?;
    Ok(found.iter().map(|(entry, change)| RecordedChange::of(entry, change)).collect())
}
