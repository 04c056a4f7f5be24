//! Something that many wait for and one does: the others take what it came to, a failure too, and
//! that it panicked.
//!
//! It is done in a task of its own, which goes on when whoever began it leaves, and ends with its
//! owner. No lock is held while anybody waits.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// For how long it holds that it panicked: nobody begins meanwhile what would panic again.
const LOST_HOLDS: Duration = Duration::from_secs(1);

/// What is done once for all who wait for it.
#[derive(Debug)]
pub(crate) struct Together<T> {
    doing: Mutex<Doing<T>>,
    lost_holds: Duration,
}

#[derive(Debug)]
struct Doing<T> {
    /// What was begun last; its sender is there as long as that is under way or holds.
    latest: Option<watch::Receiver<End<T>>>,
    task: JoinSet<()>,
}

/// How it ended.
#[derive(Debug, Clone)]
enum End<T> {
    /// It goes on.
    Open,
    CameTo(T),
    /// It panicked.
    Lost,
}

/// One that waits.
#[derive(Debug)]
pub(crate) struct Joined<T>(watch::Receiver<End<T>>);

impl<T> Default for Together<T> {
    fn default() -> Self {
        Self::with(LOST_HOLDS)
    }
}

impl<T> Together<T> {
    fn with(lost_holds: Duration) -> Self {
        Self { doing: Mutex::new(Doing { latest: None, task: JoinSet::new() }), lost_holds }
    }
}

impl<T: Clone + Send + Sync + 'static> Together<T> {
    /// Joins what is under way, or still holds; begins it otherwise. Its end says what it came to,
    /// and for how long that holds for whoever comes later. That it panicked holds for a second.
    pub(crate) fn join<F>(&self, begin: impl FnOnce() -> F) -> Joined<T>
    where
        F: Future<Output = (T, Duration)> + Send + 'static,
    {
        let mut doing = self.doing.lock();
        if let Some(latest) = &doing.latest
            && latest.has_changed().is_ok()
        {
            return Joined(latest.clone());
        }
        let (tell, latest) = watch::channel(End::Open);
        let (work, lost_holds) = (AssertUnwindSafe(begin()), self.lost_holds);
        while doing.task.try_join_next().is_some() {}
        doing.task.spawn(async move {
            // The panic was told of as every one is; of the work nothing is used after it.
            let (end, holds) = match work.catch_unwind().await {
                Ok((outcome, holds)) => (End::CameTo(outcome), holds),
                Err(_) => (End::Lost, lost_holds),
            };
            tell.send_replace(end);
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
        match &*self.0.wait_for(|end| !matches!(end, End::Open)).await.ok()? {
            End::CameTo(outcome) => Some(outcome.clone()),
            End::Open | End::Lost => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::Notify;
    use tokio::time::Instant;

    use super::*;

    #[expect(clippy::disallowed_methods, reason = "what holds does so for real time")]
    fn real_now() -> Instant {
        Instant::now()
    }

    /// Longer than any test takes.
    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn what_one_came_to_is_everybodys_for_as_long_as_it_holds() {
        let (together, go) = (Together::<u32>::default(), Arc::new(Notify::new()));
        let begun = Arc::new(AtomicU32::new(0));
        let join = |together: &Together<u32>, holds| {
            let (go, begun) = (go.clone(), begun.clone());
            together.join(move || async move {
                let number = begun.fetch_add(1, Ordering::SeqCst);
                go.notified().await;
                (number, holds)
            })
        };
        // The first leaves, and the others have what it began.
        drop(join(&together, LONG));
        let waiting: Vec<_> = (0..10).map(|_| join(&together, LONG)).collect();
        go.notify_one();
        for joined in waiting {
            assert_eq!(joined.outcome().await, Some(0));
        }
        assert_eq!(join(&together, LONG).outcome().await, Some(0), "it still holds");
        // What holds for a time holds no longer, and what does not hold is begun anew.
        let together = Together::default();
        let asked = real_now();
        for (number, holds) in [(1, Duration::from_millis(30)), (2, Duration::ZERO)] {
            go.notify_one();
            while join(&together, holds).outcome().await != Some(number) {
                tokio::task::yield_now().await;
            }
        }
        assert!(asked.elapsed() >= Duration::from_millis(30), "it held for its time");
        assert_eq!(begun.load(Ordering::SeqCst), 3);
    }

    // A work that panics is not begun anew by each of many who need it.
    #[tokio::test]
    async fn that_it_panicked_is_everybodys_and_holds_for_its_time_too() {
        let begun = Arc::new(AtomicU32::new(0));
        let join = |together: &Together<u32>| {
            let begun = begun.clone();
            together.join(move || async move {
                assert!(begun.fetch_add(1, Ordering::SeqCst) > 0, "the first panics");
                (7, LONG)
            })
        };
        let together = Together::with(LONG);
        for _ in 0..10 {
            assert_eq!(join(&together).outcome().await, None);
        }
        assert_eq!(begun.load(Ordering::SeqCst), 1);
        // Once that holds no more it is begun again.
        begun.store(0, Ordering::SeqCst);
        let together = Together::with(Duration::from_millis(1));
        assert_eq!(join(&together).outcome().await, None);
        while join(&together).outcome().await != Some(7) {
            tokio::task::yield_now().await;
        }
        assert_eq!(begun.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn whoever_waits_is_told_that_its_owner_is_gone() {
        let together = Together::<u32>::default();
        let joined = together.join(std::future::pending);
        drop(together);
        assert_eq!(joined.outcome().await, None);
    }
}
