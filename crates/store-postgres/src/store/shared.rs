//! What the store and its tasks share: the sessions that are asked in turn, the lease that is asked
//! with each of them, and whether commits are taken still. What is asked is the port's.

use std::future::Future;
use std::sync::Arc;

use futures_util::future::join;
use parking_lot::{Mutex, RwLock};
use store::{AppendError, BlobReference, Head, T, TenantText};
use tokio::time::timeout;

use crate::append::{Appending, HeadElsewhere, Writer};
use crate::connect::{Connector, Pool, Session};
use crate::error::{Failure, LeaseLost};
use crate::lease::{Hold, Lease};
use crate::options::PostgresOptions;
use crate::rows::Rows;
use crate::sessions::{Pools, Sessions};

/// Said where nobody is known to have taken over, and anybody may.
pub(super) const LEASE_EXPIRED: &str = "PostgreSQL was not reached in time to renew the lease: another \
                             server may have the tenant by now";

pub(crate) struct Shared {
    pub(crate) tenant: TenantText,
    pub(crate) options: PostgresOptions,
    pub(crate) connector: Arc<Connector>,
    pub(crate) lease: Arc<Lease>,
    pools: Pools,
    writer: Mutex<Option<Writer>>,
    pub(super) head: RwLock<Head>,
    pub(super) ended: Mutex<Ended>,
}

/// Whether commits are taken no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    No,
    /// What became of a commit is unknown.
    Poisoned,
    /// The head is not where this server left it.
    HeadElsewhere,
    Closed,
}

impl Shared {
    /// What an opened store has, where the log ends at `head`.
    pub(crate) fn new(
        tenant: TenantText,
        options: PostgresOptions,
        connector: Arc<Connector>,
        lease: Lease,
        head: Head,
    ) -> Self {
        Self {
            tenant,
            pools: Pools::new(options.read_connections),
            options,
            connector,
            lease: Arc::new(lease),
            writer: Mutex::new(None),
            head: RwLock::new(head),
            ended: Mutex::new(Ended::No),
        }
    }

    /// Asks when it may, for as long as that may take.
    pub(super) async fn ask_in_turn<R, F>(
        &self,
        sessions: Sessions,
        question: impl Fn(Arc<Session>) -> F,
    ) -> Result<(R, Hold), Failure>
    where
        F: Future<Output = Result<R, Failure>>,
    {
        let _turn = self.pools.turn(sessions).await;
        let limit = sessions.limit(self.options.patience);
        let asked = timeout(limit, self.ask(sessions, question)).await;
        asked.unwrap_or_else(|_| {
            self.pools.give_up(sessions);
            Err(Failure::Silent(limit))
        })
    }

    async fn ask<R, F>(
        &self,
        sessions: Sessions,
        question: impl Fn(Arc<Session>) -> F,
    ) -> Result<(R, Hold), Failure>
    where
        F: Future<Output = Result<R, Failure>>,
    {
        let pool = self.pools.of(sessions);
        match self.ask_once(pool, &question).await {
            Err(failure) if failure.is_disconnected() || failure.is_lost_race() => {
                self.ask_once(pool, &question).await
            }
            answer => answer,
        }
    }

    /// Asks, and right behind it, without waiting in between, whether the lease is held: what was
    /// read while it was ours is all that was ever acknowledged.
    async fn ask_once<R, F>(
        &self,
        pool: &Pool,
        question: &impl Fn(Arc<Session>) -> F,
    ) -> Result<(R, Hold), Failure>
    where
        F: Future<Output = Result<R, Failure>>,
    {
        let session = pool.session(&self.connector).await?;
        let (answer, hold) = join(question(Arc::clone(&session)), self.lease.held(&session)).await;
        Ok((answer?, hold?))
    }

    /// Whether what was read may be shown. A closed store shows what it had.
    pub(super) fn judge_hold(&self, hold: Hold) -> Result<(), String> {
        match hold {
            Hold::Held => Ok(()),
            _ if *self.ended.lock() == Ended::Closed => Ok(()),
            Hold::Lost => Err(LeaseLost.to_string()),
            Hold::Expired => Err(LEASE_EXPIRED.to_owned()),
        }
    }

    /// Appends rows behind the head. After some errors, no more is taken.
    pub(super) async fn append(
        &self,
        rows: &Rows,
        blobs: &[(T, BlobReference)],
    ) -> Result<Head, AppendError> {
        let appending = Appending {
            tenant: self.tenant.as_str(),
            blobs,
            lease: &self.lease,
            connector: &self.connector,
            patience: self.options.patience,
            outcome_patience: self.options.outcome_patience,
        };
        let mut session = self.writer.lock().take();
        let appended = appending.append(&mut session, rows).await;
        *self.writer.lock() = session;
        match &appended {
            Err(AppendError::Poisoned(_)) => drop(self.end(Ended::Poisoned)),
            Err(error) if is_head_elsewhere(error) => drop(self.end(Ended::HeadElsewhere)),
            _ => {}
        }
        appended?;
        *self.head.write() = rows.after;
        Ok(rows.after)
    }

    /// Takes commits no more. Says whether that is new.
    pub(super) fn end(&self, how: Ended) -> bool {
        let mut ended = self.ended.lock();
        let is_new = *ended != Ended::Closed && *ended != how;
        if is_new {
            *ended = how;
        }
        is_new
    }
}

fn is_head_elsewhere(error: &AppendError) -> bool {
    matches!(error, AppendError::Io(error)
        if error.get_ref().is_some_and(|inner| inner.is::<HeadElsewhere>()))
}
