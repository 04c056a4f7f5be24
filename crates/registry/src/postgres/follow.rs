//! Following what other gateways change.
//!
//! A thread of its own asks for changes behind the last one it knows: when PostgreSQL says that
//! there is one, and each second all the same, since what it says may be lost. What a change
//! means counts here from the moment it is published. While PostgreSQL is away the thread asks on,
//! ever less often up to every two seconds, and what is known stands.

use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use arc_swap::ArcSwap;
use contract::Clock;
use parking_lot::Mutex;

use super::connect::Database;
use super::error::PostgresError;
use super::log::{PostgresLog, later};
use super::rows::Later;
use super::wake::Wake;
use crate::backend::Backend;
use crate::state::State;

/// How long it is waited for word of a change before it is asked for.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long it is waited after a question that failed, at first and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(2));
/// What is older may lack what others changed, whatever was heard since.
const CURRENT: Duration = Duration::from_secs(5);

/// What is kept up to date.
pub(crate) struct Followed {
    pub(crate) state: Arc<ArcSwap<State>>,
    pub(crate) writer: Arc<Mutex<Backend>>,
}

/// The thread that follows; it ends with this.
pub(crate) struct Follower {
    wake: Arc<Wake>,
    seen: Arc<Mutex<Seen>>,
    clock: Arc<dyn Clock>,
    thread: Option<JoinHandle<()>>,
}

/// Whether what other gateways change is seen here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Nobody else changes it: the registry is in files.
    Alone,
    /// It is, within seconds.
    Current,
    /// PostgreSQL does not answer: what was known stands, and nothing can be changed.
    Away {
        /// Since when nothing was read.
        since: Duration,
        /// Why, for the log.
        reason: String,
    },
    /// What others changed cannot be followed, as long as nobody mends it.
    Stuck {
        /// Since when nothing was read.
        since: Duration,
        /// Why, and the mend.
        reason: String,
    },
}

/// What came of the last question.
struct Seen {
    /// When the last question that was answered was asked.
    answered: Duration,
    trouble: Option<Trouble>,
}

struct Trouble {
    is_away: bool,
    reason: String,
}

impl Standing {
    /// The word that operators are shown.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Alone => "alone",
            Self::Current => "current",
            Self::Away { .. } => "away",
            Self::Stuck { .. } => "stuck",
        }
    }

    /// How long ago everything was known that others had changed.
    #[must_use]
    pub fn behind(&self) -> Duration {
        match self {
            Self::Alone | Self::Current => Duration::ZERO,
            Self::Away { since, .. } | Self::Stuck { since, .. } => *since,
        }
    }
}

impl Follower {
    pub(crate) fn start(
        database: Arc<Database>,
        followed: Followed,
        wake: Arc<Wake>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, PostgresError> {
        let seen = Seen { answered: clock.monotonic(), trouble: None };
        let seen = Arc::new(Mutex::new(seen));
        let (told, notes, time) = (Arc::clone(&wake), Arc::clone(&seen), Arc::clone(&clock));
        let follow = move || follow(&database, &followed, &told, &notes, time.as_ref());
        let thread = Builder::new().name("registry-follows".to_owned()).spawn(follow);
        let thread = Some(thread.map_err(PostgresError::Threads)?);
        Ok(Self { wake, seen, clock, thread })
    }

    pub(crate) fn standing(&self) -> Standing {
        let seen = self.seen.lock();
        let since = self.clock.monotonic().saturating_sub(seen.answered);
        match &seen.trouble {
            None if since <= CURRENT => Standing::Current,
            None => {
                let reason = "no answer has come for longer than one may take".to_owned();
                Standing::Away { since, reason }
            }
            Some(Trouble { is_away, reason }) => {
                let reason = reason.clone();
                if *is_away {
                    Standing::Away { since, reason }
                } else {
                    Standing::Stuck { since, reason }
                }
            }
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.wake.end();
        if let Some(thread) = self.thread.take() {
            // It ends within one question; that it panicked was said already.
            let _ = thread.join();
        }
    }
}

fn follow(
    database: &Database,
    followed: &Followed,
    wake: &Wake,
    seen: &Mutex<Seen>,
    clock: &dyn Clock,
) {
    let mut wait = INTERVAL;
    while wake.wait(wait) {
        let asked = clock.monotonic();
        let outcome = catch_up(database, followed);
        wait = match &outcome {
            Ok(()) => INTERVAL,
            Err(_) if wait >= INTERVAL && seen.lock().trouble.is_none() => BACKOFF.0,
            Err(_) => (2 * wait).min(BACKOFF.1),
        };
        note(&mut seen.lock(), asked, outcome);
    }
}

/// Reads and publishes what others have changed. A change that is being made meanwhile is not
/// waited for while it is asked.
fn catch_up(database: &Database, followed: &Followed) -> Result<(), PostgresError> {
    loop {
        let head = followed.writer.lock().head();
        let read = later(database, head)?;
        let is_full = read.is_full;
        if !read.changes.is_empty() || read.stop.is_some() {
            let mut writer = followed.writer.lock();
            if let Backend::Postgres(log) = &mut *writer {
                publish(log, &followed.state, read)?;
            }
        }
        if !is_full {
            return Ok(());
        }
    }
}

/// Publishes what stands after `read`, as far as it can be followed; how many changes were new.
pub(crate) fn publish(
    log: &mut PostgresLog,
    state: &ArcSwap<State>,
    read: Later,
) -> Result<usize, PostgresError> {
    let known = log.head().sequence;
    let new = read.changes.iter().skip_while(|(entry, _)| entry.sequence <= known);
    let new: Vec<_> = new.collect();
    let before = state.load_full();
    let after = |count: usize| {
        let mut next = (*before).clone();
        for (done, (entry, change)) in new.iter().take(count).enumerate() {
            let applied = next.apply(change, entry.sequence, entry.instant);
            applied.map_err(|source| (done, source))?;
        }
        Ok(next)
    };
    let (next, count, stop) = match after(new.len()) {
        Ok(next) => (Some(next), new.len(), read.stop),
        Err((done, source)) => {
            let sequence = new.get(done).map_or(known, |(entry, _)| entry.sequence);
            // What stands before it counts.
            let stop = PostgresError::CannotFollow { sequence, source };
            (after(done).ok(), done, Some(stop))
        }
    };
    if let Some(next) = next.filter(|_| count > 0) {
        if let Some((entry, _)) = new.get(count - 1) {
            log.advance(entry);
        }
        state.store(Arc::new(next));
    }
    stop.map_or(Ok(count), Err)
}

/// Notes what came of a question, and says so once when that is another thing than before.
fn note(seen: &mut Seen, asked: Duration, outcome: Result<(), PostgresError>) {
    match outcome {
        Ok(()) => {
            if seen.trouble.take().is_some() {
                tracing::info!("the registry in PostgreSQL is followed again");
            }
            seen.answered = asked;
        }
        Err(error) => {
            let is_away = error.is_away();
            let is_new = seen.trouble.as_ref().is_none_or(|before| before.is_away != is_away);
            if is_new && is_away {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the registry in PostgreSQL does not answer: callers that are known go on, \
                     and nothing can be changed"
                );
            } else if is_new {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the registry in PostgreSQL cannot be followed: what others revoke is not \
                     known here"
                );
            }
            let reason = error.to_string();
            seen.trouble = Some(Trouble { is_away, reason });
        }
    }
}
