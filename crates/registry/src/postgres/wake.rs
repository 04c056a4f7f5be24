//! What wakes whoever follows a registry: a word from PostgreSQL, the time, or the end.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// A bell that rings once for however many pulled it.
#[derive(Default)]
pub(crate) struct Wake {
    pulled: Mutex<Pulled>,
    bell: Condvar,
}

#[derive(Default)]
struct Pulled {
    rung: bool,
    ended: bool,
}

impl Wake {
    /// There may be something new.
    pub(crate) fn ring(&self) {
        self.pulled.lock().rung = true;
        self.bell.notify_all();
    }

    /// There is nothing to wait for any more.
    pub(crate) fn end(&self) {
        self.pulled.lock().ended = true;
        self.bell.notify_all();
    }

    /// Waits until it rings, and for so long at most; false once it is at its end.
    pub(crate) fn wait(&self, limit: Duration) -> bool {
        let mut pulled = self.pulled.lock();
        if !pulled.rung && !pulled.ended {
            // Waking without a reason costs one question too many.
            let _ = self.bell.wait_for(&mut pulled, limit);
        }
        pulled.rung = false;
        !pulled.ended
    }
}
