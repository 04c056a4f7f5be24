//! The thread that copies from memory into the derived state, behind the commit path, and puts
//! that right when it has failed.

use std::io;
use std::sync::{Arc, OnceLock};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;

use crate::memory::{Memory, Order, Work};
use crate::mend::Mender;
use crate::slot::Slot;
use crate::state::Applied;

/// How long to wait before a state is tried to be put right again.
const PAUSE: Duration = Duration::from_secs(1);

/// The thread and its owner's hold on it: dropping this ends it.
pub(crate) struct Applier {
    memory: Arc<Memory>,
    mender: Arc<OnceLock<Mender>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Applier {
    /// Begins to apply to the state in `slot`, which is as `applied` says.
    pub(crate) fn start(
        memory: &Arc<Memory>,
        slot: &Arc<Slot>,
        applied: Applied,
    ) -> io::Result<Self> {
        let mender = Arc::new(OnceLock::new());
        let thread = Thread {
            memory: Arc::clone(memory),
            slot: Arc::clone(slot),
            mender: Arc::clone(&mender),
            applied,
        };
        let thread = Builder::new().name("store-applier".to_owned()).spawn(|| thread.run())?;
        Ok(Self { memory: Arc::clone(memory), mender, thread: Mutex::new(Some(thread)) })
    }

    /// From now on a state that fails is put right. (Before, the store is being opened, which
    /// has its own way.)
    pub(crate) fn mend_by(&self, mender: Mender) {
        // It is given once, by the store that has just been opened.
        drop(self.mender.set(mender));
    }

    /// Ends the thread as `order` says and waits for its end.
    pub(crate) fn end(&self, order: Order) {
        self.memory.order(order);
        if let Some(thread) = self.thread.lock().take() {
            // It catches what the state throws; a panic of its own has been printed.
            drop(thread.join());
        }
    }
}

impl Drop for Applier {
    fn drop(&mut self) {
        self.end(Order::Stop);
    }
}

struct Thread {
    memory: Arc<Memory>,
    slot: Arc<Slot>,
    mender: Arc<OnceLock<Mender>>,
    /// How far the state is that memory has been trimmed to.
    applied: Applied,
}

impl Thread {
    fn run(mut self) {
        while let Some(work) = self.memory.take() {
            match work {
                Work::Apply(units) => {
                    let mut applied = self.applied;
                    let state = self.slot.get();
                    match state.and_then(|state| state.apply(&units, &mut applied)) {
                        Ok(()) => {
                            self.applied = applied;
                            self.memory.trim(&units);
                        }
                        Err(reason) => self.memory.fail(&reason),
                    }
                }
                Work::Mend => {
                    let Some(mender) = self.mender.get() else {
                        return;
                    };
                    match mender.mend(&self.slot, &self.memory, &self.applied) {
                        Ok(applied) => {
                            self.applied = applied;
                            self.memory.mended();
                        }
                        Err(reason) => {
                            tracing::error!(reason, "the derived state is not usable yet");
                            self.memory.pause(PAUSE);
                        }
                    }
                }
            }
        }
    }
}
