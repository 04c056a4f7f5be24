//! Where the derived state stands while it can be used, and the reason while it cannot.

use std::sync::Arc;

use parking_lot::RwLock;

use crate::state::State;

/// The derived state, replaced by another when it has failed.
#[derive(Debug)]
pub(crate) struct Slot(RwLock<Result<Arc<State>, String>>);

impl Slot {
    pub(crate) fn of(state: State) -> Self {
        Self(RwLock::new(Ok(Arc::new(state))))
    }

    /// The state, for one use: whoever keeps it keeps its files open.
    pub(crate) fn get(&self) -> Result<Arc<State>, String> {
        self.0.read().clone()
    }

    /// Gives the state up for `reason`; its files are closed once nobody uses it.
    pub(crate) fn clear(&self, reason: &str) {
        *self.0.write() = Err(reason.to_owned());
    }

    pub(crate) fn put(&self, state: State) {
        *self.0.write() = Ok(Arc::new(state));
    }
}
