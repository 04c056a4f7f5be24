//! Where large bodies are sealed and opened: off the threads that answer requests, a few at a
//! time, so that together they leave a processor to the small ones.
//!
//! A turn is for the processor: what a body waits for, the network or the disk, it has waited for
//! before it takes one.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};
use tokio::time::timeout;

/// How long a body waits for its turn.
const PATIENCE: Duration = Duration::from_secs(30);

/// So many more are fetched than are opened: each has a thread while it waits for its bytes, and
/// then holds these.
const FETCHED_BEYOND: usize = 16;

/// Admits a few at a time.
#[derive(Debug, Clone)]
pub(crate) struct Few {
    permits: Arc<Semaphore>,
    patience: Duration,
}

/// Why work was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotDone {
    /// Its turn did not come.
    Busy,
    /// The runtime ended.
    Ended,
}

/// Where large bodies are read.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    /// Those whose bytes are waited for, and those that have them and wait to be opened.
    fetching: Few,
    opening: Few,
}

impl Reading {
    pub(crate) fn new() -> Self {
        let opening = Few::new();
        let fetched = opening.permits.available_permits() + FETCHED_BEYOND;
        Self { fetching: Few::of(fetched, PATIENCE), opening }
    }

    /// Fetches, then opens what was fetched, each where no request waits for it.
    pub(crate) async fn read<F: Send + 'static, D: Send + 'static>(
        &self,
        runtime: &Handle,
        fetch: impl FnOnce() -> F + Send + 'static,
        open: impl FnOnce(F) -> D + Send + 'static,
    ) -> Result<D, NotDone> {
        let turn = self.fetching.turn().await?;
        let (turn, fetched) = aside(runtime, move || (turn, fetch())).await?;
        self.opening
            .work(runtime, move || {
                let _turn = turn;
                open(fetched)
            })
            .await
    }

    /// Works on what was read, where no request waits for it.
    pub(crate) async fn work<D: Send + 'static>(
        &self,
        runtime: &Handle,
        work: impl FnOnce() -> D + Send + 'static,
    ) -> Result<D, NotDone> {
        self.opening.work(runtime, work).await
    }
}

impl Few {
    /// One fewer than there are processors.
    pub(crate) fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self::of(processors.saturating_sub(1).max(1), PATIENCE)
    }

    fn of(most: usize, patience: Duration) -> Self {
        Self { permits: Arc::new(Semaphore::new(most)), patience }
    }

    /// Waits for a turn, for as long as there is patience.
    async fn turn(&self) -> Result<OwnedSemaphorePermit, NotDone> {
        match Arc::clone(&self.permits).try_acquire_owned() {
            Ok(turn) => Ok(turn),
            Err(TryAcquireError::Closed) => Err(NotDone::Ended),
            Err(TryAcquireError::NoPermits) => {
                let turn = timeout(self.patience, Arc::clone(&self.permits).acquire_owned());
                turn.await.map_err(|_| NotDone::Busy)?.map_err(|_| NotDone::Ended)
            }
        }
    }

    /// Does the work when its turn comes.
    pub(crate) async fn work<D: Send + 'static>(
        &self,
        runtime: &Handle,
        work: impl FnOnce() -> D + Send + 'static,
    ) -> Result<D, NotDone> {
        let turn = self.turn().await?;
        let work = move || {
            // Whoever asked may be gone; the work goes on, and so it counts.
            let _turn = turn;
            work()
        };
        aside(runtime, work).await
    }
}

/// Does the work on a thread that no request waits for.
async fn aside<D: Send + 'static>(
    runtime: &Handle,
    work: impl FnOnce() -> D + Send + 'static,
) -> Result<D, NotDone> {
    runtime.spawn_blocking(work).await.map_err(|_| NotDone::Ended)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn large_bodies_are_worked_on_a_few_at_a_time_also_when_who_asked_is_gone() {
        static NOW: AtomicUsize = AtomicUsize::new(0);
        static DONE: AtomicUsize = AtomicUsize::new(0);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let few = Few::of(2, PATIENCE);
        let works = (0..6).map(|number| {
            let (few, handle) = (few.clone(), runtime.handle().clone());
            runtime.spawn(async move {
                let work = few.work(&handle, || {
                    let at_once = NOW.fetch_add(1, Ordering::SeqCst) + 1;
                    std::thread::sleep(Duration::from_millis(40));
                    NOW.fetch_sub(1, Ordering::SeqCst);
                    DONE.fetch_add(1, Ordering::SeqCst);
                    at_once
                });
                // Some go soon after their work began.
                if number % 2 == 0 { work.await.ok() } else { impatient(work).await }
            })
        });
        let works: Vec<_> = works.collect();
        let most = works.into_iter().filter_map(|work| runtime.block_on(work).unwrap()).max();
        assert!(most.is_some_and(|most| most <= 2), "{most:?}");
        assert!(DONE.load(Ordering::SeqCst) >= 3);
    }

    #[tokio::test]
    async fn a_large_body_whose_turn_does_not_come_is_told_so() {
        let few = Few::of(1, Duration::from_millis(50));
        let held = few.turn().await.unwrap();
        let runtime = Handle::current();
        let work = few.work(&runtime, || ());
        assert_eq!(timeout(PATIENCE, work).await, Ok(Err(NotDone::Busy)));
        drop(held);
        assert_eq!(few.work(&runtime, || ()).await, Ok(()));
    }

    /// Polls it a few times, and lets it go.
    async fn impatient(work: impl Future<Output = Result<usize, NotDone>>) -> Option<usize> {
        let mut work = std::pin::pin!(work);
        let mut polls = 0;
        std::future::poll_fn(|context| {
            polls += 1;
            match work.as_mut().poll(context) {
                std::task::Poll::Pending if polls < 3 => {
                    context.waker().wake_by_ref();
                    std::task::Poll::Pending
                }
                std::task::Poll::Pending => std::task::Poll::Ready(None),
                std::task::Poll::Ready(done) => std::task::Poll::Ready(done.ok()),
            }
        })
        .await
    }
}
