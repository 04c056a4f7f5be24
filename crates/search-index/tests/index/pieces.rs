//! Pieces of a segment in a list, for what is kept on a disk elsewhere.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use search_index::{Damaged, SegmentSource, SourceError};

/// Numbers of facets and pieces, in order.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    pieces: Vec<(u32, Vec<u8>)>,
    /// Nothing can be read any more.
    pub(crate) is_gone: AtomicBool,
    /// How many facets were read.
    pub(crate) read: AtomicUsize,
    /// Which ones.
    pub(crate) facets: Mutex<BTreeSet<u32>>,
    /// Set as soon as something is read: nobody waits any more then.
    pub(crate) leaves: Mutex<Option<Arc<AtomicBool>>>,
}

impl Pieces {
    pub(crate) fn of(pieces: impl IntoIterator<Item = (u32, Vec<u8>)>) -> Self {
        Self { pieces: pieces.into_iter().collect(), ..Self::default() }
    }
}

impl SegmentSource for Pieces {
    fn facet(
        &self,
        facet: u32,
        take: &mut dyn FnMut(&[u8]) -> Result<(), Damaged>,
    ) -> Result<(), SourceError> {
        if self.is_gone.load(Ordering::Acquire) {
            return Err(SourceError::Unreadable("it was removed".into()));
        }
        self.read.fetch_add(1, Ordering::AcqRel);
        self.facets.lock().unwrap().insert(facet);
        if let Some(leaves) = &*self.leaves.lock().unwrap() {
            leaves.store(true, Ordering::Release);
        }
        let own = self.pieces.iter().filter(|(of, _)| *of == facet);
        own.map(|(_, piece)| piece).try_for_each(|piece| Ok(take(piece)?))
    }
}
