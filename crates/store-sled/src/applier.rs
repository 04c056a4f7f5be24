//! The thread that copies from memory into the derived state, behind the commit path.

use std::io;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use parking_lot::Mutex;

use crate::memory::{Memory, Order};
use crate::state::{Applied, State};

/// The thread and its owner's hold on it: dropping this ends it.
#[derive(Debug)]
pub(crate) struct Applier {
    memory: Arc<Memory>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Applier {
    /// Begins to apply to `state`, which is as `applied` says.
    pub(crate) fn start(
        memory: &Arc<Memory>,
        state: &Arc<State>,
        applied: Applied,
    ) -> io::Result<Self> {
        let (from, to) = (Arc::clone(memory), Arc::clone(state));
        let thread = Builder::new()
            .name("store-applier".to_owned())
            .spawn(move || apply(&from, &to, applied))?;
        Ok(Self { memory: Arc::clone(memory), thread: Mutex::new(Some(thread)) })
    }

    /// Ends the thread as `order` says and waits for its end.
    pub(crate) fn end(&self, order: Order) {
        self.memory.order(order);
        if let Some(thread) = self.thread.lock().take() {
            // `apply` catches what the state throws; a panic of its own has been printed.
            drop(thread.join());
        }
    }
}

impl Drop for Applier {
    fn drop(&mut self) {
        self.end(Order::Stop);
    }
}

fn apply(memory: &Memory, state: &State, mut applied: Applied) {
    while let Some(units) = memory.take() {
        match state.apply(&units, &mut applied) {
            Ok(()) => memory.trim(&units),
            Err(reason) => {
                memory.fail(&reason);
                return;
            }
        }
    }
}
