//! Threads of their own for what is written: there small writes are parsed, judged and made ready
//! for their commit. They stand behind the threads that answer requests for a processor, so that a
//! read or a search never stands behind the making ready of all writes that came at the same time.
//!
//! What is large leaves these threads as it leaves the others (`large`).

use std::io;
use std::num::NonZero;
use std::panic::resume_unwind;
use std::thread::available_parallelism;

use database::priority::{BEHIND_READERS, give_way};
use tokio::runtime::{Builder, Runtime};

use crate::error::ServerError;

/// The threads. They end with this.
#[derive(Debug)]
pub(crate) struct Writing {
    /// Taken when it is dropped.
    threads: Option<Runtime>,
}

impl Writing {
    /// Starts as many as there are processors.
    pub(crate) fn start() -> io::Result<Self> {
        let threads = Builder::new_multi_thread()
            .worker_threads(available_parallelism().map_or(1, NonZero::get))
            .thread_name("hearthgate-writes")
            .on_thread_start(|| give_way(BEHIND_READERS))
            .enable_all()
            .build()?;
        Ok(Self { threads: Some(threads) })
    }

    /// Does the work there, whether or not anyone goes on waiting for it.
    pub(crate) async fn there<D: Send + 'static>(
        &self,
        work: impl Future<Output = Result<D, ServerError>> + Send + 'static,
    ) -> Result<D, ServerError> {
        let Some(threads) = &self.threads else { return work.await };
        match threads.spawn(work).await.map_err(|error| error.try_into_panic()) {
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
    use super::*;
    use crate::panics::caught;

    #[tokio::test]
    async fn work_is_done_on_threads_of_its_own_and_its_panic_is_told_where_the_request_is() {
        let writing = Writing::start().unwrap();
        let name = async { Ok(std::thread::current().name().map(str::to_owned)) };
        let name = writing.there(name).await.unwrap();
        assert_eq!(name.as_deref(), Some("hearthgate-writes"));
        let panics = writing.there::<()>(async { panic!("by a test") });
        assert!(matches!(caught(panics).await, Err(ServerError::Interrupted)));
        assert_eq!(writing.there(async { Ok(1) }).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn work_goes_on_when_nobody_waits_for_it_any_more() {
        let writing = Writing::start().unwrap();
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
