//! The threads on which what is written is worked on: others than those that answer requests, and
//! behind them for a processor. Whoever reads or searches does not stand in line with many who
//! write, and writes have all that is left.

use std::future::poll_fn;
use std::io;
use std::panic::resume_unwind;
use std::pin::pin;

use database::priority::{BEHIND_REQUESTS, give_way, let_others_go};
use tokio::runtime::{Builder, Runtime};

use crate::error::ServerError;
use crate::large::{Turns, where_it_belongs};

/// As many as there are processors, and those beside them for work that blocks. They end with it.
#[derive(Debug)]
pub(crate) struct Behind(Option<Runtime>);

impl Behind {
    /// Starts them.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub(crate) fn start() -> io::Result<Self> {
        let mut threads = Builder::new_multi_thread();
        threads.thread_name("hearthgate-write").on_thread_start(|| give_way(BEHIND_REQUESTS));
        Ok(Self(Some(threads.enable_all().build()?)))
    }

    /// Does the work on a body of `length` bytes there, as [`where_it_belongs`]; it goes on when
    /// nobody waits for it any more.
    ///
    /// # Errors
    /// Those of the work, and when the threads have ended.
    pub(crate) async fn work<D: Send + 'static>(
        &self,
        length: usize,
        turns: &Turns,
        work: impl Future<Output = Result<D, ServerError>> + Send + 'static,
    ) -> Result<D, ServerError> {
        let threads = self.0.as_ref().ok_or(ServerError::Interrupted)?;
        let turns = turns.clone();
        let work = async move { where_it_belongs(length, &turns, between_others(work)).await };
        let done = threads.spawn(work).await;
        done.unwrap_or_else(|error| match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            Err(error) => {
                tracing::error!(%error, "the work on a body ended early");
                Err(ServerError::Interrupted)
            }
        })
    }
}

/// Its last owner may be a request, which must not wait for threads to end.
impl Drop for Behind {
    fn drop(&mut self) {
        if let Some(threads) = self.0.take() {
            threads.shutdown_background();
        }
    }
}

/// The work, piece by piece, before each of which whoever waits for the processor has it.
async fn between_others<W: Future>(work: W) -> W::Output {
    let mut work = pin!(work);
    poll_fn(|context| {
        let_others_go();
        work.as_mut().poll(context)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::Behind;
    use crate::error::ServerError;
    use crate::large::{LARGE, Turns};

    fn name() -> Option<String> {
        std::thread::current().name().map(str::to_owned)
    }

    #[tokio::test]
    async fn what_is_written_is_worked_on_by_threads_of_its_own_also_where_it_blocks() {
        let behind = Behind::start().unwrap();
        for length in [0, LARGE, LARGE + 1] {
            let work = async {
                let aside = tokio::task::spawn_blocking(name).await;
                Ok([name(), aside.map_err(|_| ServerError::Interrupted)?])
            };
            let names = behind.work(length, &Turns::new(), work).await.unwrap();
            assert_eq!(names.map(|it| it.unwrap()), ["hearthgate-write"; 2]);
        }
    }

    #[tokio::test]
    async fn work_goes_on_when_nobody_waits_for_it() {
        let behind = Behind::start().unwrap();
        let (done, is_done) = tokio::sync::oneshot::channel();
        let (begin, begins) = tokio::sync::oneshot::channel::<()>();
        let (begun, is_begun) = tokio::sync::oneshot::channel::<()>();
        let turns = Turns::new();
        let work = behind.work(0, &turns, async move {
            drop(begun);
            let _ = begins.await;
            done.send(()).map_err(|()| ServerError::Interrupted)
        });
        {
            let mut work = std::pin::pin!(work);
            tokio::select! {
                _ = &mut work => panic!("it has not begun"),
                _ = is_begun => {}
            }
        }
        begin.send(()).unwrap();
        is_done.await.unwrap();
    }

    #[tokio::test]
    async fn a_panic_is_that_of_whoever_waits() {
        let behind = Behind::start().unwrap();
        let turns = Turns::new();
        let work = behind.work::<()>(0, &turns, async { panic!("by a test") });
        assert!(matches!(crate::panics::caught(work).await, Err(ServerError::Interrupted)));
    }
}
