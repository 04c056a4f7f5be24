//! Which sessions are asked what, in which order, and how long they may take.

use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::connect::Pool;

/// Bytes of a large body that pass in a millisecond at the least: about a MiB a second.
const BYTES_A_MILLISECOND: u64 = 1 << 10;

/// Which sessions are asked. A large body, of so many bytes, has one for itself meanwhile: on a
/// session whatever is asked behind one waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sessions {
    /// Those that answer what is small, to many at once.
    Readers,
    BlobReaders(u64),
    BlobWriters(u64),
}

impl Sessions {
    /// How long an answer may take, connecting included, where one that has no large body may take
    /// as long as `patience`. Others' turns do not count.
    pub(crate) fn limit(self, patience: Duration) -> Duration {
        match self {
            Self::Readers => patience,
            Self::BlobReaders(bytes) | Self::BlobWriters(bytes) => {
                patience + Duration::from_millis(bytes / BYTES_A_MILLISECOND)
            }
        }
    }
}

/// The sessions of a store.
pub(crate) struct Pools {
    readers: Pool,
    blob_readers: Alone,
    blob_writers: Alone,
}

/// A session that is asked one thing at a time.
struct Alone {
    pool: Pool,
    turn: Semaphore,
}

impl Alone {
    fn new() -> Self {
        Self { pool: Pool::new(1), turn: Semaphore::new(1) }
    }
}

impl Pools {
    /// With so many that answer what is small.
    pub(crate) fn new(readers: usize) -> Self {
        let [blob_readers, blob_writers] = [(); 2].map(|()| Alone::new());
        Self { readers: Pool::new(readers), blob_readers, blob_writers }
    }

    pub(crate) fn of(&self, sessions: Sessions) -> &Pool {
        self.alone(sessions).map_or(&self.readers, |alone| &alone.pool)
    }

    fn alone(&self, sessions: Sessions) -> Option<&Alone> {
        match sessions {
            Sessions::Readers => None,
            Sessions::BlobReaders(_) => Some(&self.blob_readers),
            Sessions::BlobWriters(_) => Some(&self.blob_writers),
        }
    }

    /// Waits until it may be asked.
    pub(crate) async fn turn(&self, sessions: Sessions) -> Option<SemaphorePermit<'_>> {
        self.alone(sessions)?.turn.acquire().await.ok()
    }

    /// It did not answer in time: whoever is next does not wait behind that.
    pub(crate) fn give_up(&self, sessions: Sessions) {
        if let Some(alone) = self.alone(sessions) {
            alone.pool.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_body_may_take_as_much_longer_as_it_is_larger() {
        let patience = Duration::from_secs(30);
        assert_eq!(Sessions::Readers.limit(patience), patience);
        assert_eq!(Sessions::BlobReaders(0).limit(patience), patience);
        let most = Sessions::BlobWriters(64 << 20).limit(patience);
        assert_eq!(most, patience + Duration::from_millis(64 << 10));
    }
}
