//! The bytes of bodies that wait to be written: those for the log, and apart from them those that
//! stand beside it, so that whoever writes a large body keeps out no small one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::terms::Terms;
use crate::transaction::{Action, Change, Transaction};

/// How many bytes one transaction, or all of them, keep in memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Of what the log takes.
    pub(crate) log: usize,
    /// Of bodies that have a blob, that among them.
    pub(crate) beside: usize,
}

impl Kept {
    /// What a sealed transaction keeps while it waits.
    pub(crate) fn of(transaction: &Transaction, terms: &Terms) -> Self {
        let mut kept = Self { log: terms.held(), beside: 0 };
        for Change { action, .. } in &transaction.changes {
            let Action::Write { body, .. } = action else { continue };
            let plain = &body.plain;
            // As it is, it is there once.
            let once = |stored: &bytes::Bytes| {
                if stored.as_ptr() == plain.as_ptr() { 0 } else { stored.len() }
            };
            match &body.blob {
                Some(blob) => {
                    kept.log += body.bytes.len();
                    kept.beside += plain.len() + once(&blob.bytes);
                }
                None => kept.log += plain.len() + once(&body.bytes),
            }
        }
        kept
    }
}

/// All that wait.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    log: AtomicUsize,
    beside: AtomicUsize,
}

impl Waiting {
    /// Bytes that wait for the log, and to stand beside it.
    pub(crate) fn bytes(&self) -> (usize, usize) {
        (self.log.load(Ordering::Acquire), self.beside.load(Ordering::Acquire))
    }
}

/// What one transaction keeps of all that wait; given back when it goes.
#[derive(Debug)]
pub(crate) struct Held {
    waiting: Arc<Waiting>,
    kept: Kept,
}

impl Held {
    /// Counts a transaction in, unless of what it has as many bytes as may wait do already.
    pub(crate) fn take(waiting: &Arc<Waiting>, kept: Kept, most: usize) -> Option<Self> {
        let log = waiting.log.fetch_add(kept.log, Ordering::AcqRel);
        let beside = waiting.beside.fetch_add(kept.beside, Ordering::AcqRel);
        let held = Self { waiting: Arc::clone(waiting), kept };
        (log < most && (kept.beside == 0 || beside < most)).then_some(held)
    }

    /// The blobs are written: beside the log no more than this is kept.
    pub(crate) fn lower_beside(&mut self, to: usize) {
        let by = self.kept.beside.saturating_sub(to);
        self.kept.beside -= by;
        self.waiting.beside.fetch_sub(by, Ordering::AcqRel);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.waiting.log.fetch_sub(self.kept.log, Ordering::AcqRel);
        self.waiting.beside.fetch_sub(self.kept.beside, Ordering::AcqRel);
    }
}
