//! The place of the search index in the database: which one there is, its thread, and that each
//! commit comes to it before it is visible.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use fhir_search::Extractor;
use store::{Commit, T};

use super::{IndexState, IndexedBy, Indexing, KeptIndex, ToApply};
use crate::database::Shared;
use crate::{Database, Visibility};

impl Database {
    /// Searches are answered from an index from now on: once it has read what there is, and
    /// before that as without one. Another one is made when the parameters change.
    ///
    /// # Errors
    /// When there is no thread for it: then there is no index.
    pub fn index_by(&self, by: IndexedBy) -> io::Result<()> {
        self.replace_index(&mut self.indexers.lock(), by)
    }

    /// Takes values by another extractor from now on, where there is an index.
    ///
    /// # Errors
    /// As [`Database::index_by`].
    pub fn index_with(&self, extractor: &Arc<Extractor<'static>>) -> io::Result<()> {
        let mut indexers = self.indexers.lock();
        match self.shared.indexing() {
            Some(indexing) if !indexing.is_by(extractor) => {
                let extractor = Arc::clone(extractor);
                let by = IndexedBy { extractor, ..indexing.by().clone() };
                self.replace_index(&mut indexers, by)
            }
            _ => Ok(()),
        }
    }

    /// Waits until there is an index that has all that is visible, so long at most; whether there
    /// is one then. Blocks.
    #[must_use]
    pub fn wait_for_index(&self, patience: Duration) -> bool {
        self.shared.indexing().is_some_and(|indexing| indexing.wait(patience))
    }

    /// Keeps the search index in a folder over a restart, from the next one on that is begun. A
    /// second call does nothing.
    #[must_use]
    pub fn keeping_index_in(self, folder: PathBuf) -> Self {
        self.shared.kept_index.get_or_init(|| KeptIndex::in_folder(folder));
        self
    }

    /// Forgets what is indexed, and begins anew.
    pub(crate) fn index_anew(&self) {
        let mut indexers = self.indexers.lock();
        let Some(indexing) = self.shared.indexing() else { return };
        if let Err(error) = self.replace_index(&mut indexers, indexing.by().clone()) {
            tracing::error!(%error, "there is no thread for the search index");
        }
    }

    fn replace_index(&self, indexers: &mut Vec<JoinHandle<()>>, by: IndexedBy) -> io::Result<()> {
        if !self.shared.line.is_open() {
            return Ok(());
        }
        let keeping = self.shared.kept_index.get().map(|kept| {
            let (tenant, keys) = (self.shared.tenant.clone(), self.shared.sealing.keys().cloned());
            kept.begin(tenant, keys, &by, self.shared.schema.fhir_version())
        });
        let indexing =
            Indexing::new(by, self.shared.schema, self.shared.options.index_bytes, keeping);
        let (begin, begins) = mpsc::channel::<()>();
        let (shared, own) = (Arc::clone(&self.shared), Arc::clone(&indexing));
        let indexer =
            std::thread::Builder::new().name("hearthgate-index".into()).spawn(move || {
                let _ends = UntilItEnds { shared: &shared, indexing: &own };
                if begins.recv().is_ok() {
                    let clock = Arc::clone(&shared.clock);
                    own.run(&|| shared.snapshot(Visibility::everything()), &|| clock.now());
                }
            });
        let indexing = indexer.is_ok().then_some(indexing);
        if let Some(before) = self.shared.put_index(indexing) {
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

    /// Ends the thread of the index soon.
    pub(crate) fn stop_indexing(&self) {
        if let Some(indexing) = self.shared.put_index(None) {
            indexing.stop();
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
            let mut indexing = self.shared.indexing.write();
            if indexing.as_ref().is_some_and(|it| Arc::ptr_eq(it, self.indexing)) {
                *indexing = None;
            }
        }
    }
}

impl Shared {
    /// The search index, where there is one.
    pub(crate) fn indexing(&self) -> Option<Arc<Indexing>> {
        self.indexing.read().clone()
    }

    /// Puts another index, or none, in the place of the one that there was.
    fn put_index(&self, indexing: Option<Arc<Indexing>>) -> Option<Arc<Indexing>> {
        let _publishing = self.publishing.lock();
        std::mem::replace(&mut *self.indexing.write(), indexing)
    }

    /// Makes commits that are durable visible, the index first: who sees them finds them.
    pub(crate) fn publish(&self, head: T, commits: &[Commit], to_apply: Vec<Option<ToApply>>) {
        // An index that is put here meanwhile would miss them: it reads what is visible.
        let _publishing = self.publishing.lock();
        if let Some(indexing) = self.indexing() {
            for (commit, to_apply) in commits.iter().zip(to_apply) {
                indexing.follow(commit.t, commit.instant, to_apply);
            }
        }
        self.published.store(head.get(), Ordering::Release);
    }
}
