//! The change log in PostgreSQL: opened whole, added to by several gateways.
//!
//! Whoever adds a change says behind which one. Where another was quicker nothing is added, and
//! the caller reads what came and judges again. An answer that was lost is asked for before
//! anything is said: the very same row is sent again, which waits for the first where that is
//! still under way.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use contract::Clock;
use tokio::time::{sleep, timeout};

use super::connect::{Database, Purpose, Sessions};
use super::error::{Failure, PostgresError};
use super::options::PostgresOptions;
use super::rows::{self, ChangeRow, Later};
use super::schema::{self, CHANNEL};
use super::wake::Wake;
use crate::change::Change;
use crate::log::{AppendError, Entry, Head};

/// How long opening or copying may take, connecting aside.
const OPENING: Duration = Duration::from_secs(60);
/// How long a change may take, what became of it included.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long an attempt waits for the next.
const BETWEEN: Duration = Duration::from_millis(200);
/// How far this machine's clock and the database's may be apart.
const MAX_CLOCK_DIFFERENCE: u64 = 60;

/// The log, as far as this process has read it.
pub(crate) struct PostgresLog {
    pub(crate) database: Arc<Database>,
    head: Head,
}

impl PostgresLog {
    /// Opens the log, making its tables where there are none, and reads it whole. `wake` is rung
    /// when there may be something new. Blocks.
    pub(crate) fn open(
        options: &PostgresOptions,
        wake: Arc<Wake>,
        clock: &dyn Clock,
    ) -> Result<(Self, Vec<(Entry, Change)>), PostgresError> {
        let database = Arc::new(Database::new(options, wake)?);
        check_clocks(&database, clock)?;
        let sessions = Arc::clone(&database.sessions);
        database.ask(in_time(async move {
            let session = sessions.session(Purpose::Changing).await?;
            schema::prepare(&session).await
        }))?;
        let mut log = Self { database, head: Head::EMPTY };
        let mut all = Vec::new();
        loop {
            let Later { changes, stop, is_full } = log.later()?;
            if let Some(stop) = stop {
                return Err(stop);
            }
            if let Some((entry, _)) = changes.last() {
                log.advance(entry);
            }
            all.extend(changes);
            if !is_full {
                return Ok((log, all));
            }
        }
    }

    pub(crate) fn head(&self) -> Head {
        self.head
    }

    /// What others have added, one page of it. Blocks.
    pub(crate) fn later(&self) -> Result<Later, PostgresError> {
        later(&self.database, self.head)
    }

    /// `entry`, which follows the head, is the head from now on.
    pub(crate) fn advance(&mut self, entry: &Entry) {
        self.head = Head::of(entry);
    }

    /// Adds a change behind the head, durably, or says that another was quicker. Blocks.
    pub(crate) fn append(
        &mut self,
        instant: contract::Instant,
        actor: &str,
        change: &[u8],
    ) -> Result<Entry, AppendError> {
        let head = self.head;
        let row = ChangeRow::new(head.sequence + 1, instant, actor, change);
        let row = row.ok_or(AppendError::TooLong)?;
        let entry = row.entry().map_err(|_| AppendError::TooLong)?;
        let sessions = Arc::clone(&self.database.sessions);
        let may_stand = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&may_stand);
        let added = self.database.ask(async move {
            let adding = add(&sessions, &row, head, &asked);
            match timeout(PATIENCE, adding).await {
                Ok(added) => added,
                Err(_) => Err(Failure::Silent(PATIENCE)),
            }
        });
        match added {
            Ok(true) => {
                self.advance(&entry);
                Ok(entry)
            }
            Ok(false) => Err(AppendError::Overtaken),
            Err(failure) if may_stand.load(Ordering::Acquire) && failure.is_disconnected() => {
                self.database.sessions.forget(Purpose::Changing);
                Err(AppendError::Unknown(failure))
            }
            Err(failure) => Err(AppendError::Away(failure)),
        }
    }
}

/// What follows `head`, one page of it. Blocks.
pub(crate) fn later(database: &Database, head: Head) -> Result<Later, PostgresError> {
    let sessions = Arc::clone(&database.sessions);
    database.ask(async move { rows::later(&sessions, head).await })
}

/// The changes after number `after` that are wanted, at most `limit`, from the database. Blocks.
pub(crate) fn find(
    database: &Database,
    mut after: u64,
    limit: usize,
    is_wanted: impl Fn(&(Entry, Change)) -> bool,
) -> Result<Vec<(Entry, Change)>, PostgresError> {
    let mut found = Vec::new();
    while found.len() < limit {
        let sessions = Arc::clone(&database.sessions);
        let page = database.ask(async move { rows::after(&sessions, after).await })?;
        let Some((last, _)) = page.last() else { break };
        after = last.sequence;
        let left = limit - found.len();
        found.extend(page.into_iter().filter(&is_wanted).take(left));
    }
    Ok(found)
}

/// Copies a whole log into a database that has none, and says whether it was there already. Blocks.
pub(crate) fn copy(
    options: &PostgresOptions,
    entries: &[Entry],
    clock: &dyn Clock,
) -> Result<bool, PostgresError> {
    let (log, there) = PostgresLog::open(options, Arc::default(), clock)?;
    let same = |there: &[(Entry, Change)]| {
        let is_same =
            |(found, ours): (&(Entry, Change), &Entry)| Head::of(&found.0) == Head::of(ours);
        there.len() >= entries.len() && there.iter().zip(entries).all(is_same)
    };
    if !there.is_empty() {
        return if same(&there) { Ok(true) } else { Err(PostgresError::Occupied) };
    }
    let row = |entry: &Entry| {
        ChangeRow::new(entry.sequence, entry.instant, &entry.actor, &entry.change).ok_or(
            PostgresError::Damaged {
                sequence: entry.sequence,
                what: "it is longer than any change can be",
            },
        )
    };
    let rows = entries.iter().map(row).collect::<Result<Vec<_>, _>>()?;
    let sessions = Arc::clone(&log.database.sessions);
    log.database.ask(in_time(async move {
        let session = sessions.session(Purpose::Changing).await?;
        Ok(rows::copy(&session, &rows).await?)
    }))?;
    // Another may have been quicker: what counts is what stands there now.
    let (_, there) = PostgresLog::open(options, Arc::default(), clock)?;
    if same(&there) { Ok(false) } else { Err(PostgresError::Occupied) }
}

/// Adds the row; false when another stands in its place, or the one before it is another.
async fn add(
    sessions: &Sessions,
    row: &ChangeRow,
    head: Head,
    may_stand: &AtomicBool,
) -> Result<bool, Failure> {
    loop {
        let session = match sessions.session(Purpose::Changing).await {
            Ok(session) => session,
            Err(failure) if may_stand.load(Ordering::Acquire) && failure.is_disconnected() => {
                sleep(BETWEEN).await;
                continue;
            }
            Err(failure) => return Err(failure),
        };
        // A session may be one that broke since: then nothing of this was heard, or all of it.
        let asked_before = may_stand.swap(true, Ordering::AcqRel);
        let added = match rows::append(&session, row, head).await {
            // One that is the same to the letter is another gateway's, where this was never sent.
            Ok(0) if !asked_before => Ok(false),
            Ok(0) => rows::standing(&session, row).await.map(|found| found.as_ref() == Some(row)),
            Ok(_) => Ok(true),
            Err(failure) => Err(failure),
        };
        match added {
            Ok(true) => {
                let told = format!("NOTIFY {CHANNEL}");
                if let Err(error) = session.batch_execute(&told).await {
                    tracing::debug!(%error, "PostgreSQL does not tell of the change");
                }
                return Ok(true);
            }
            Ok(false) => return Ok(false),
            Err(failure) if failure.is_disconnected() => sessions.forget(Purpose::Changing),
            // Nothing was added by this.
            Err(failure) if failure.is_lost_race() => {
                may_stand.store(asked_before, Ordering::Release);
            }
            Err(failure) => {
                // PostgreSQL answered: this time nothing was added.
                may_stand.store(asked_before, Ordering::Release);
                return Err(failure);
            }
        }
        sleep(BETWEEN).await;
    }
}

fn check_clocks(database: &Database, clock: &dyn Clock) -> Result<(), PostgresError> {
    let sessions = Arc::clone(&database.sessions);
    let theirs: i64 = database.ask(in_time(async move {
        let session = sessions.session(Purpose::Changing).await?;
        let asked = "SELECT (extract(epoch FROM now()) * 1000000)::bigint";
        Ok(session.query_one(asked, &[]).await?.try_get(0)?)
    }))?;
    let seconds = clock.now().as_micros().abs_diff(theirs) / 1_000_000;
    if seconds > MAX_CLOCK_DIFFERENCE {
        return Err(PostgresError::Clocks { seconds });
    }
    Ok(())
}

async fn in_time<T>(
    question: impl Future<Output = Result<T, PostgresError>>,
) -> Result<T, PostgresError> {
    match timeout(OPENING, question).await {
        Ok(answer) => answer,
        Err(_) => Err(Failure::Silent(OPENING).into()),
    }
}
