//! Where large bodies are sealed and opened: off the threads that answer requests, a few at a
//! time, so that together they leave a processor to the small ones.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;

/// Admits a few at a time: one fewer than there are processors.
#[derive(Debug, Clone)]
pub(crate) struct Few(Arc<Semaphore>);

impl Few {
    pub(crate) fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self::of(processors.saturating_sub(1).max(1))
    }

    fn of(most: usize) -> Self {
        Self(Arc::new(Semaphore::new(most)))
    }

    /// Does the work when its turn comes; `None` when it ended early.
    pub(crate) async fn work<D: Send + 'static>(
        &self,
        runtime: &Handle,
        work: impl FnOnce() -> D + Send + 'static,
    ) -> Option<D> {
        let admitted = Arc::clone(&self.0).acquire_owned().await.ok()?;
        let work = runtime.spawn_blocking(move || {
            // Whoever asked may be gone; the work goes on, and so it counts.
            let _admitted = admitted;
            work()
        });
        work.await.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[test]
    fn large_bodies_are_worked_on_a_few_at_a_time_also_when_who_asked_is_gone() {
        static NOW: AtomicUsize = AtomicUsize::new(0);
        static DONE: AtomicUsize = AtomicUsize::new(0);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let few = Few::of(2);
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
                if number % 2 == 0 { work.await } else { impatient(work).await }
            })
        });
        let works: Vec<_> = works.collect();
        let most = works.into_iter().filter_map(|work| runtime.block_on(work).unwrap()).max();
        assert!(most.is_some_and(|most| most <= 2), "{most:?}");
        assert!(DONE.load(Ordering::SeqCst) >= 3);
    }

    /// Polls it a few times, and lets it go.
    async fn impatient(work: impl Future<Output = Option<usize>>) -> Option<usize> {
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
                ready => ready,
            }
        })
        .await
    }
}
