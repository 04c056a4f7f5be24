//! Threads of their own for what is written: there small writes are parsed, judged and made ready
//! for their commit. They stand behind the threads that answer requests for a processor, so that a
//! read or a search never stands behind the making ready of all writes that came at the same time.
//!
//! What is large leaves these threads as it leaves the others (`large`).

use std::future::poll_fn;
use std::io;
use std::num::NonZero;
use std::panic::resume_unwind;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{available_parallelism, yield_now};
use std::time::Duration;

use contract::Clock;
use database::priority::{BEHIND_READERS, give_way};
use tokio::runtime::{Builder, Runtime};

use crate::error::ServerError;

/// How long writes give way after a read.
const LATELY: Duration = Duration::from_millis(100);

/// The threads. They end with this.
#[derive(Debug)]
pub(crate) struct Writing {
    /// Taken when it is dropped.
    threads: Option<Runtime>,
    reads: Arc<Reads>,
}

/// Whether anyone reads these days.
struct Reads {
    clock: Arc<dyn Clock>,
    /// When the last read came, in microseconds by the clock that never goes back, and one more:
    /// none has where it is 0.
    last: AtomicU64,
}

impl std::fmt::Debug for Reads {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Reads")
    }
}

impl Reads {
    fn now(&self) -> u64 {
        u64::try_from(self.clock.monotonic().as_micros()).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// Whether one came lately: where its client goes on, the next is not far.
    fn are_there(&self) -> bool {
        let last = self.last.load(Ordering::Relaxed);
        last != 0 && u128::from(self.now().saturating_sub(last)) <= LATELY.as_micros()
    }
}

/// Does the work, and lets whoever waits for a processor go on after each piece of it while there
/// are reads: a thread that has a processor is not put off it for one that goes before it as soon
/// as that one has something to do, but when its slice of some milliseconds is over. Where nobody
/// reads that would only cost those who write.
async fn giving_way<D>(reads: Arc<Reads>, work: impl Future<Output = D>) -> D {
    let mut work = pin!(work);
    poll_fn(|context| {
        let polled = work.as_mut().poll(context);
        if reads.are_there() {
            yield_now();
        }
        polled
    })
    .await
}

impl Writing {
    /// Starts as many as there are processors.
    pub(crate) fn start(clock: Arc<dyn Clock>) -> io::Result<Self> {
        let threads = Builder::new_multi_thread()
            .worker_threads(available_parallelism().map_or(1, NonZero::get))
            .thread_name("hearthgate-writes")
            .on_thread_start(|| give_way(BEHIND_READERS))
            .enable_all()
            .build()?;
        let reads = Arc::new(Reads { clock, last: AtomicU64::new(0) });
        Ok(Self { threads: Some(threads), reads })
    }

    /// A read has come: for a while, writes give way to the next ones.
    pub(crate) fn a_read_came(&self) {
        self.reads.last.store(self.reads.now(), Ordering::Relaxed);
    }

    /// Does the work there, whether or not anyone goes on waiting for it.
    pub(crate) async fn there<D: Send + 'static>(
        &self,
        work: impl Future<Output = Result<D, ServerError>> + Send + 'static,
    ) -> Result<D, ServerError> {
        let Some(threads) = &self.threads else { return work.await };
        let reads = Arc::clone(&self.reads);
        match threads.spawn(giving_way(reads, work)).await.map_err(|error| error.try_into_panic()) {
            Ok(done) => done,
            // It is told where the request is.
            Err(Ok(panic)) => resume_unwind(panic),
            Err(Err(_)) => Err(ServerError::Interrupted),
        }
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        // The last one that has the server may be a write, which cannot wait for its own end.
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::panics::caught;

    /// A clock that somebody moves.
    #[derive(Default)]
    struct Moved(Mutex<Duration>);

    impl Clock for Moved {
        fn now(&self) -> contract::Instant {
            contract::Instant::from_micros(0)
        }

        fn monotonic(&self) -> Duration {
            *self.0.lock().unwrap()
        }
    }

    #[tokio::test]
    async fn writes_give_way_for_a_while_after_a_read_and_come_to_the_same() {
        let clock = Arc::new(Moved::default());
        let writing = Writing::start(Arc::clone(&clock) as _).unwrap();
        assert!(!writing.reads.are_there(), "nobody has read");
        writing.a_read_came();
        for (millis, is_lately) in [(0, true), (100, true), (101, false)] {
            *clock.0.lock().unwrap() = Duration::from_millis(millis);
            assert_eq!(writing.reads.are_there(), is_lately, "{millis}");
            let pieces = async move {
                tokio::task::yield_now().await;
                Ok(millis)
            };
            assert_eq!(writing.there(pieces).await.unwrap(), millis);
        }
        writing.a_read_came();
        assert!(writing.reads.are_there());
    }

    #[tokio::test]
    async fn work_is_done_on_threads_of_its_own_and_its_panic_is_told_where_the_request_is() {
        let writing = Writing::start(Arc::new(Moved::default())).unwrap();
        let name = async { Ok(std::thread::current().name().map(str::to_owned)) };
        let name = writing.there(name).await.unwrap();
        assert_eq!(name.as_deref(), Some("hearthgate-writes"));
        let panics = writing.there::<()>(async { panic!("by a test") });
        assert!(matches!(caught(panics).await, Err(ServerError::Interrupted)));
        assert_eq!(writing.there(async { Ok(1) }).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn work_goes_on_when_nobody_waits_for_it_any_more() {
        let writing = Writing::start(Arc::new(Moved::default())).unwrap();
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let (go, may_go) = tokio::sync::oneshot::channel();
        let (done, is_done) = tokio::sync::oneshot::channel();
        let work = writing.there(async move {
            begun.send(()).unwrap();
            may_go.await.unwrap();
            done.send(7).unwrap();
            Ok(())
        });
        tokio::select! {
            _ = work => panic!("it has not been let go on"),
            begun = has_begun => begun.unwrap(),
        }
        go.send(()).unwrap();
        assert_eq!(is_done.await, Ok(7));
    }
}
