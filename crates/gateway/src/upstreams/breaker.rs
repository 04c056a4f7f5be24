//! How many requests of an upstream may be under way, and how many may wait for that.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The caps of one upstream.
#[derive(Debug)]
pub(crate) struct Breaker {
    in_flight: Arc<Semaphore>,
    waiting: AtomicUsize,
    most_waiting: usize,
}

/// No room: neither among the requests under way nor among those that wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

/// One that waits, counted for as long as it does.
struct Waiting<'breaker>(&'breaker AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Breaker {
    pub(crate) fn new(in_flight: usize, most_waiting: usize) -> Self {
        let in_flight = Arc::new(Semaphore::new(in_flight));
        Self { in_flight, waiting: AtomicUsize::new(0), most_waiting }
    }

    /// For how many more requests there is room.
    pub(crate) fn room(&self) -> usize {
        self.in_flight.available_permits()
    }

    /// How many wait for it.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Room for one request, at once or before `limit` is over.
    pub(crate) async fn enter(
        &self,
        limit: impl Future<Output = ()>,
    ) -> Result<OwnedSemaphorePermit, Full> {
        if let Ok(permit) = self.in_flight.clone().try_acquire_owned() {
            return Ok(permit);
        }
        let waiting = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        if waiting >= self.most_waiting {
            return Err(Full);
        }
        tokio::select! {
            biased;
            permit = self.in_flight.clone().acquire_owned() => permit.map_err(|_| Full),
            () = limit => Err(Full),
        }
    }
}
