//! The thread that copies from memory into the derived state, behind the commit path, and puts
//! that right when it has failed.

use std::io;
use std::sync::{Arc, OnceLock};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;

use crate::memory::{Memory, Order, Tidiness, Work};
use crate::mend::Mender;
use crate::slot::Slot;
use crate::state::Applied;

/// How long to wait before a state is tried to be put right again.
const PAUSE: Duration = Duration::from_secs(1);

/// How many entries are merged before it is asked what else there is to do: a millisecond or so.
pub(crate) const TIDIED_AT_ONCE: usize = 4096;
/// How many entries are merged for each that is taken in, when there are so many: more than each
/// is merged on its way to the largest run, so that merging keeps up.
pub(crate) const TIDIED_FOR_EACH: usize = 8;

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
        while let Some(work) = self.memory.take(self.tidiness()) {
            match work {
                Work::Apply(table) => {
                    let keys = table.keys();
                    let applied = self.slot.get().and_then(|state| state.apply(&table));
                    match applied {
                        Ok(()) => {
                            self.applied = table.through();
                            self.memory.applied(table);
                            self.tidy(keys * TIDIED_FOR_EACH);
                        }
                        Err(reason) => self.memory.fail(&reason),
                    }
                }
                Work::Tidy => self.tidy(TIDIED_AT_ONCE),
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

    fn tidiness(&self) -> Tidiness {
        match self.slot.get() {
            Ok(state) if state.is_untidy() => Tidiness::Untidy,
            _ => Tidiness::Tidy,
        }
    }

    /// Tidies the state by about so many entries.
    fn tidy(&self, mut entries: usize) {
        while entries > 0 && self.tidiness() == Tidiness::Untidy && !self.memory.is_stopping() {
            match self.slot.get().and_then(|state| state.tidy(TIDIED_AT_ONCE)) {
                Ok(took) => entries = entries.saturating_sub(took),
                Err(reason) => return self.memory.fail(&reason),
            }
        }
    }
}
