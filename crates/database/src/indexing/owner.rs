//! The place of the search indexes in the database: which ones there are, their threads, and that
//! each commit comes to them before it is visible.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use fhir_search::Extractor;
use store::{Commit, T};

use super::{IndexState, IndexedBy, Indexes, Indexing, Keeping, KeptIndex, ToApply};
use crate::database::Shared;
use crate::{Database, Visibility};

impl Database {
    /// Searches are answered from an index from now on: once it has read what there is, and
    /// before that as without one. Another one is made when the parameters change.
    ///
    /// # Errors
    /// When there is no thread for it: then there is no index.
    pub fn index_by(&self, by: IndexedBy) -> io::Result<()> {
        self.start_index(&mut self.indexers.lock(), by, Place::Current)
    }

    /// Takes values by another extractor from now on, where there is an index. Until the index by
    /// it has read the log, the one that there is answers what asks by parameters that both have,
    /// unless they are of other packages.
    ///
    /// However often they change while the next index is made, that one is made to its end, and
    /// then one by the newest: so nothing is read of the log for those between.
    ///
    /// # Errors
    /// As [`Database::index_by`].
    pub fn index_with(&self, extractor: &Arc<Extractor<'static>>) -> io::Result<()> {
        let mut indexers = self.indexers.lock();
        if self.shared.changes_back(extractor) {
            return Ok(());
        }
        let Indexes { current, next } = self.shared.indexes();
        let queued = self.shared.queued_index.lock().clone();
        // Also where there is none to search, as the thread of the current one ended by a panic.
        let newest = queued.as_ref().or(next.as_ref()).or(current.as_ref());
        let Some(newest) = newest.filter(|newest| !newest.is_by(extractor)) else {
            return Ok(());
        };
        let by = IndexedBy { extractor: Arc::clone(extractor), ..newest.by().clone() };
        let is_of_use = |current: Arc<Indexing>| {
            !current.is_broken.load(Ordering::Acquire)
                && current.by().extractor.is_comparable(extractor)
        };
        let place = match next {
            _ if !current.is_some_and(is_of_use) => Place::Current,
            Some(next) if next.has_begun.load(Ordering::Acquire) => Place::Queued,
            _ => Place::Next,
        };
        self.start_index(&mut indexers, by, place)
    }

    /// Waits until there is an index that has all that is visible, so long at most; whether there
    /// is one then. Blocks.
    #[must_use]
    pub fn wait_for_index(&self, patience: Duration) -> bool {
        self.shared.indexing().is_some_and(|indexing| indexing.wait(patience))
    }

    /// Makes segments of all that is indexed, without waiting until it is enough for one: for when
    /// there is time. Blocks.
    pub fn settle_index(&self) {
        if let Some(indexing) = self.shared.indexing() {
            indexing.index.close_tail();
            indexing.settle_all(&|| self.shared.clock.now());
        }
    }

    /// Keeps the search index in a folder over a restart, from the next one on that is begun. A
    /// second call does nothing.
    #[must_use]
    pub fn keeping_index_in(self, folder: PathBuf) -> Self {
        let store = Arc::clone(&self.shared.store);
        self.shared.kept_index.get_or_init(|| KeptIndex::in_folder(folder, store));
        self
    }

    /// Forgets what is indexed, and begins anew.
    pub(crate) fn index_anew(&self) {
        let mut indexers = self.indexers.lock();
        let Indexes { current, next } = self.shared.indexes();
        let queued = self.shared.queued_index.lock().clone();
        let Some(newest) = queued.or(next).or(current) else { return };
        if let Err(error) = self.start_index(&mut indexers, newest.by().clone(), Place::Current) {
            tracing::error!(%error, "there is no thread for the search index");
        }
    }

    fn start_index(
        &self,
        indexers: &mut Vec<JoinHandle<()>>,
        by: IndexedBy,
        place: Place,
    ) -> io::Result<()> {
        if !self.shared.line.is_open() {
            return Ok(());
        }
        let keeping = self.shared.kept_index.get().map(|kept| {
            let (tenant, keys) = (self.shared.tenant.clone(), self.shared.sealing.keys().cloned());
            Keeping::of(kept, tenant, keys, &by, self.shared.schema.fhir_version())
        });
        // The next one has its turn when it stands in the place of the current one.
        if let (Some(keeping), Place::Current) = (&keeping, place) {
            keeping.take_turn();
        }
        let indexing =
            Indexing::new(by, self.shared.schema, self.shared.options.index_bytes, keeping);
        let (begin, begins) = mpsc::channel::<()>();
        let (shared, own) = (Arc::clone(&self.shared), Arc::clone(&indexing));
        let indexer =
            std::thread::Builder::new().name("hearthgate-index".into()).spawn(move || {
                let _ends = UntilItEnds { shared: &shared, indexing: &own };
                if begins.recv().is_ok() && shared.wait_for_turn(&own) {
                    let clock = Arc::clone(&shared.clock);
                    own.run(
                        &|| shared.snapshot(Visibility::everything()),
                        &|| clock.now(),
                        &|| shared.promote(&own),
                    );
                }
            });
        let indexing = indexer.is_ok().then_some(indexing);
        // Whatever is in the place of the current one, what was to follow that one is of no use.
        for place in place.after() {
            if let Some(before) = self.shared.put_index(*place, None) {
                before.stop();
            }
        }
        if let Some(before) = self.shared.put_index(place, indexing) {
            before.stop();
        }
        indexers.retain(|indexer| !indexer.is_finished());
        indexers.push(indexer?);
        // Only who is gone does not hear it.
        let _ = begin.send(());
        Ok(())
    }

    /// What there is of the search index, where there is one.
    #[must_use]
    pub fn index_state(&self) -> Option<IndexState> {
        self.shared.indexing().map(|indexing| indexing.state())
    }

    /// Whether there is an index that has all that is visible, so that searches by its parameters
    /// are answered from it.
    #[must_use]
    pub fn is_indexed(&self) -> bool {
        self.shared.indexing().is_some_and(|indexing| indexing.has_caught_up())
    }

    /// Ends the threads of the indexes soon.
    pub(crate) fn stop_indexing(&self) {
        for place in [Place::Queued, Place::Next, Place::Current] {
            if let Some(indexing) = self.shared.put_index(place, None) {
                indexing.stop();
            }
        }
    }
}

/// Which of the indexes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The one that is searched.
    Current,
    /// The one that is being made beside it.
    Next,
    /// The one that is made after that.
    Queued,
}

impl Place {
    /// The places of those that come after whatever stands here.
    fn after(self) -> &'static [Self] {
        match self {
            Self::Current => &[Self::Queued, Self::Next],
            Self::Next => &[Self::Queued],
            Self::Queued => &[],
        }
    }
}

/// Without its thread an index follows nothing: should that end by a panic, there is none.
struct UntilItEnds<'s> {
    shared: &'s Shared,
    indexing: &'s Arc<Indexing>,
}

impl Drop for UntilItEnds<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("the thread of the search index ended by a panic: there is no index");
            let mut indexes = self.shared.indexes.write();
            let mut queued = self.shared.queued_index.lock();
            let Indexes { current, next } = &mut *indexes;
            for place in [current, next, &mut *queued] {
                place.take_if(|it| Arc::ptr_eq(it, self.indexing));
            }
        }
    }
}

impl Shared {
    /// The search index that is asked, where there is one.
    pub(crate) fn indexing(&self) -> Option<Arc<Indexing>> {
        self.indexes.read().current.clone()
    }

    /// Both search indexes.
    pub(crate) fn indexes(&self) -> Indexes {
        self.indexes.read().clone()
    }

    /// Puts another index, or none, in the place of the one that there was.
    fn put_index(&self, place: Place, indexing: Option<Arc<Indexing>>) -> Option<Arc<Indexing>> {
        let _publishing = self.publishing.lock();
        let mut indexes = self.indexes.write();
        match place {
            Place::Current => std::mem::replace(&mut indexes.current, indexing),
            Place::Next => std::mem::replace(&mut indexes.next, indexing),
            Place::Queued => std::mem::replace(&mut *self.queued_index.lock(), indexing),
        }
    }

    /// Where an index by an extractor is there, or is being made, lets none be made after it.
    /// Whether it is.
    fn changes_back(&self, extractor: &Extractor<'static>) -> bool {
        // No index takes the place of another between the look and what follows from it.
        let publishing = self.publishing.lock();
        let mut indexes = self.indexes.write();
        let mut queued = self.queued_index.lock();
        let is_by = |it: &Option<Arc<Indexing>>| it.as_ref().is_some_and(|it| it.is_by(extractor));
        let of_no_use = if is_by(&indexes.current) {
            [indexes.next.take(), queued.take()]
        } else if is_by(&indexes.next) {
            [None, queued.take()]
        } else {
            return false;
        };
        drop((queued, indexes, publishing));
        of_no_use.into_iter().flatten().for_each(|it| it.stop());
        true
    }

    /// Waits until an index may be made: one after the other, since each takes a processor.
    /// Whether it is still wanted then.
    fn wait_for_turn(&self, own: &Arc<Indexing>) -> bool {
        const PATIENCE: Duration = Duration::from_millis(100);
        while !own.is_stopped() {
            if self.is_turn_of(own) {
                return !own.is_stopped();
            }
            own.pause(PATIENCE);
        }
        false
    }

    /// Whether an index may be made now. One that is queued is the next one then.
    fn is_turn_of(&self, own: &Arc<Indexing>) -> bool {
        // Nothing is published meanwhile.
        let _publishing = self.publishing.lock();
        let mut indexes = self.indexes.write();
        let mut queued = self.queued_index.lock();
        let is_own = |it: &Arc<Indexing>| Arc::ptr_eq(it, own);
        let is_free = indexes.current.as_ref().is_none_or(|current| {
            is_own(current) || current.has_caught_up() || current.is_stopped()
        });
        if is_free && indexes.next.is_none() && queued.as_ref().is_some_and(is_own) {
            indexes.next = queued.take();
        }
        let is_turn = is_free && !queued.as_ref().is_some_and(is_own);
        if is_turn {
            own.has_begun.store(true, Ordering::Release);
        }
        is_turn
    }

    /// Lets the next index be the one that is searched, now that it has all that is visible.
    fn promote(&self, own: &Arc<Indexing>) {
        // Nothing is published meanwhile.
        let publishing = self.publishing.lock();
        let mut indexes = self.indexes.write();
        let is_next = indexes.next.as_ref().is_some_and(|next| Arc::ptr_eq(next, own));
        if is_next && own.has_caught_up() {
            let before = indexes.current.take();
            indexes.current = indexes.next.take();
            drop((indexes, publishing));
            // It writes files from now on, and nobody who commits waits for them.
            if let Some(keeping) = &own.keeping {
                keeping.take_turn();
            }
            if let Some(before) = before {
                before.stop();
            }
        }
    }

    /// Makes commits that are durable visible, the index first: who sees them finds them.
    pub(crate) fn publish(&self, head: T, commits: &[Commit], mut to_apply: Vec<Option<ToApply>>) {
        // An index that is put here meanwhile would miss them: it reads what is visible.
        let _publishing = self.publishing.lock();
        for indexing in self.indexes().all() {
            for (commit, to_apply) in commits.iter().zip(&mut to_apply) {
                let own = to_apply.as_mut().and_then(|it| it.take(indexing));
                indexing.follow(commit.t, commit.instant, own);
            }
        }
        self.published.store(head.get(), Ordering::Release);
    }
}
