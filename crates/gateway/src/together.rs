//! Something that many wait for and one does: the others take what it came to, a failure too.
//!
//! It is done in a task of its own, which goes on when whoever began it leaves, and ends with its
//! owner. No lock is held while anybody waits.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// For how long a panic is what it came to.
const PANIC_HOLDS: Duration = Duration::from_secs(1);

/// What is done once for all who wait for it.
#[derive(Debug)]
pub(crate) struct Together<T>(Mutex<Doing<T>>);

#[derive(Debug)]
struct Doing<T> {
    /// What was begun last; its sender is there as long as that is under way or holds.
    latest: Option<watch::Receiver<Told<T>>>,
    task: JoinSet<()>,
}

/// What it came to, once it has.
type Told<T> = Option<Result<T, Panicked>>;

/// It came to nothing.
#[derive(Debug, Clone, Copy)]
struct Panicked;

/// One that waits.
#[derive(Debug)]
pub(crate) struct Joined<T>(watch::Receiver<Told<T>>);

impl<T> Default for Together<T> {
    fn default() -> Self {
        Self(Mutex::new(Doing { latest: None, task: JoinSet::new() }))
    }
}

impl<T: Clone + Send + Sync + 'static> Together<T> {
    /// Joins what is under way, or still holds; begins it otherwise. Its end says what it came to,
    /// and for how long that holds for whoever comes later.
    pub(crate) fn join<F>(&self, begin: impl FnOnce() -> F) -> Joined<T>
    where
        F: Future<Output = (T, Duration)> + Send + 'static,
    {
        let mut doing = self.0.lock();
        if let Some(latest) = &doing.latest
            && latest.has_changed().is_ok()
        {
            return Joined(latest.clone());
        }
        let (tell, latest) = watch::channel(None);
        let work = begin();
        while doing.task.try_join_next().is_some() {}
        doing.task.spawn(async move {
            let holds = match AssertUnwindSafe(work).catch_unwind().await {
                Ok((outcome, holds)) => {
                    tell.send_replace(Some(Ok(outcome)));
                    holds
                }
                // The panic was logged. What panics must not be begun for each request anew.
                Err(_) => {
                    tell.send_replace(Some(Err(Panicked)));
                    PANIC_HOLDS
                }
            };
            if !holds.is_zero() {
                tokio::time::sleep(holds).await;
            }
            drop(tell);
        });
        doing.latest = Some(latest.clone());
        Joined(latest)
    }
}

impl<T: Clone> Joined<T> {
    /// What it came to; `None` where it ended without: it panicked, or its owner is gone.
    pub(crate) async fn outcome(mut self) -> Option<T> {
        let told = self.0.wait_for(Option::is_some).await.ok()?.clone();
        told.and_then(Result::ok)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_one_came_to_is_everybodys_for_as_long_as_it_holds() {
        let (together, go) = (Together::<u32>::default(), Arc::new(Notify::new()));
        let begun = Arc::new(AtomicU32::new(0));
        let join = |holds| {
            let (go, begun) = (go.clone(), begun.clone());
            together.join(move || async move {
                let number = begun.fetch_add(1, Ordering::SeqCst);
                go.notified().await;
                (number, holds)
            })
        };
        let long = Duration::from_millis(500);
        // The first leaves, and the others have what it began.
        drop(join(long));
        let waiting: Vec<_> = (0..10).map(|_| join(long)).collect();
        go.notify_one();
        for joined in waiting {
            assert_eq!(joined.outcome().await, Some(0));
        }
        assert_eq!(join(long).outcome().await, Some(0), "it still holds");
        tokio::time::sleep(2 * long).await;
        go.notify_one();
        assert_eq!(join(Duration::ZERO).outcome().await, Some(1), "it held for its time");
        // What does not hold is begun anew.
        go.notify_one();
        while join(Duration::ZERO).outcome().await == Some(1) {
            tokio::task::yield_now().await;
        }
        assert_eq!(begun.load(Ordering::SeqCst), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_is_what_it_came_to_for_a_while() {
        let together = Together::<u32>::default();
        let panics = || together.join(|| async { panic!("by a test") });
        assert_eq!(panics().outcome().await, None);
        let joined = together.join(|| async { (7, Duration::ZERO) }).outcome();
        let joined = tokio::time::timeout(PANIC_HOLDS / 2, joined).await;
        assert_eq!(joined, Ok(None), "nothing is begun, and nothing waited for");
        tokio::time::sleep(PANIC_HOLDS + Duration::from_millis(1)).await;
        let good = together.join(|| async { (7, Duration::ZERO) });
        assert_eq!(good.outcome().await, Some(7));
    }

    #[tokio::test]
    async fn whoever_waits_is_told_that_its_owner_is_gone() {
        let together = Together::<u32>::default();
        let joined = together.join(std::future::pending);
        drop(together);
        assert_eq!(joined.outcome().await, None);
    }
}
