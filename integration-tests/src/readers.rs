//! Readers who go on whatever others do, and what they were answered.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use contract::Clock as _;
use hearthgate::doors::SystemClock;
use http::Method;
use tokio::task::JoinSet;

use crate::client::{Client, try_send};

/// Between an answer and the next request.
const PAUSE: Duration = Duration::from_millis(2);

/// What all readers together saw in some time.
#[derive(Debug, Clone, Default)]
pub struct Reads {
    /// Those that were answered with 200.
    pub answered: usize,
    /// Those that were answered otherwise, or not at all.
    pub failed: usize,
    /// Why the last of those failed.
    pub why: Option<String>,
    took: Vec<Duration>,
}

impl Reads {
    /// The 99th of 100 answers; nothing where there was none.
    #[must_use]
    pub fn hundredth(&self) -> Duration {
        hundredth(self.took.clone())
    }

    /// These and those.
    #[must_use]
    pub fn with(mut self, others: Self) -> Self {
        self.answered += others.answered;
        self.failed += others.failed;
        self.why = self.why.or(others.why);
        self.took.extend(others.took);
        self
    }

    fn note(&mut self, status: Result<u16, String>, took: Duration) {
        match status {
            Ok(200) => {
                self.answered += 1;
                self.took.push(took);
            }
            Ok(other) => self.fail(format!("status {other}")),
            Err(why) => self.fail(why),
        }
    }

    fn fail(&mut self, why: String) {
        self.failed += 1;
        self.why = Some(why);
    }
}

/// The 99th of 100; nothing where there is none.
#[must_use]
pub fn hundredth(mut took: Vec<Duration>) -> Duration {
    took.sort_unstable();
    let place = (took.len() * 99 / 100).min(took.len().saturating_sub(1));
    took.get(place).copied().unwrap_or_default()
}

/// Somebody who asks, over and over.
pub trait Ask: Send + 'static {
    /// Asks once; the status, or why there was none.
    fn ask(&mut self) -> impl Future<Output = Result<u16, String>> + Send;
}

/// A client that reads a path.
struct Reading(Client, &'static str);

impl Ask for Reading {
    async fn ask(&mut self) -> Result<u16, String> {
        let Self(client, path) = self;
        try_send(client.request(Method::GET, path)).await.map(|answer| answer.status)
    }
}

/// The readers. They end with [`Readers::end`], or when this is dropped.
#[derive(Debug)]
pub struct Readers {
    tasks: JoinSet<()>,
    over: Arc<AtomicBool>,
    seen: Arc<Mutex<Reads>>,
}

impl Readers {
    /// Starts so many, who all read `path`.
    #[must_use]
    pub fn start(client: &Client, path: &'static str, number: usize) -> Self {
        Self::of((0..number).map(|_| Reading(client.clone(), path)))
    }

    /// Starts these.
    pub fn of<A: Ask>(askers: impl IntoIterator<Item = A>) -> Self {
        let mut readers =
            Self { tasks: JoinSet::new(), over: Arc::default(), seen: Arc::default() };
        for mut asker in askers {
            let (seen, over) = (Arc::clone(&readers.seen), Arc::clone(&readers.over));
            readers.tasks.spawn(async move {
                let clock = SystemClock::start();
                while !over.load(Ordering::Relaxed) {
                    let began = clock.monotonic();
                    let status = asker.ask().await;
                    let took = clock.monotonic().saturating_sub(began);
                    seen.lock().unwrap_or_else(PoisonError::into_inner).note(status, took);
                    tokio::time::sleep(PAUSE).await;
                }
            });
        }
        readers
    }

    /// What was seen since this was last asked.
    #[must_use]
    pub fn take(&self) -> Reads {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until each has its last answer.
    pub async fn end(self) {
        self.over.store(true, Ordering::Relaxed);
        self.tasks.join_all().await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Reads;

    #[test]
    fn failures_are_counted_and_do_not_count_as_fast_answers() {
        let mut reads = Reads::default();
        for millis in 1..=100 {
            reads.note(Ok(200), Duration::from_millis(millis));
        }
        reads.note(Ok(503), Duration::ZERO);
        reads.note(Err("reset".to_owned()), Duration::ZERO);
        assert_eq!((reads.answered, reads.failed), (100, 2));
        assert_eq!(reads.why.as_deref(), Some("reset"));
        assert_eq!(reads.hundredth(), Duration::from_millis(100));
        assert_eq!(Reads::default().hundredth(), Duration::ZERO);
    }
}
