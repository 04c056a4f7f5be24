//! When an index is written down, and that it goes on from what is kept.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::Builder;
use std::time::Duration;

use fhir_core::Instant;
use store::T;

use super::{Indexing, Outcome};
use crate::Snapshot;

/// What there is of a search index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexState {
    /// Versions of resources, the older ones that can still be searched among them, and what they
    /// contain.
    pub documents: u64,
    /// About how many bytes of memory it takes.
    pub bytes: usize,
    /// How many of those are keys and orders of documents, which are read again from the disk when
    /// they have left the memory.
    pub held: usize,
    /// How many bytes those may take.
    pub budget: usize,
    /// How often keys of one view of a parameter were read from the disk.
    pub loaded: u64,
    /// How often such keys, or an order, left the memory.
    pub evicted: u64,
    /// Whether it has all that is visible, so that searches are answered from it.
    pub has_caught_up: bool,
    /// Up to which position it was read from the disk when it began.
    pub restored: Option<T>,
}

/// After so many documents more it is written down again.
const DOCUMENTS_BETWEEN: u64 = 50_000;
/// It is also when segments of so many bytes are not kept, as after merges.
const BYTES_BETWEEN: usize = 256 << 20;
/// After so many documents more those bytes are counted again.
const DOCUMENTS_BETWEEN_LOOKS: u64 = 4096;
/// Of what keys and orders may take, one part in so many is not written down at most.
const UNWRITTEN_SHARE: usize = 8;
/// While it is written, it is looked so often whether a tail is full.
const BETWEEN_SETTLES: Duration = Duration::from_millis(100);
/// When it could not be written it is tried again after so many rounds, which take up to a second.
const ROUNDS_BETWEEN: u32 = 60;
/// At the end of a database it is written for so long at most: the log has all of it.
const LONGEST_AT_THE_END: Duration = Duration::from_secs(10);

impl Indexing {
    /// Takes what is kept, if it can be used.
    pub(super) fn restore(&self, all: &Snapshot) {
        let opened = self.opened.lock().take();
        let (Some(keeping), Some(opened)) = (&self.keeping, opened) else { return };
        if let Some((t, instant)) = keeping.restore(opened, &self.index, all, &self.stop) {
            *self.restored.lock() = Some(t);
            self.last.store(instant.as_micros(), Ordering::Release);
            let documents = self.index.documents();
            tracing::info!(documents, "the search index is there up to position {t} of the log");
        }
    }

    /// What there is of it.
    pub(crate) fn state(&self) -> IndexState {
        let size = self.index.size();
        IndexState {
            documents: size.documents,
            bytes: size.bytes,
            held: size.held,
            budget: self.budget,
            loaded: size.loaded,
            evicted: size.evicted,
            has_caught_up: self.has_caught_up(),
            restored: *self.restored.lock(),
        }
    }

    /// Writes it down when there is much that is not, or much less.
    pub(super) fn keep_if_due(
        &self,
        due: &mut Due,
        snapshot: &dyn Fn() -> Snapshot,
        now: &(dyn Fn() -> Instant + Sync),
    ) {
        let documents = self.index.documents();
        if self.is_stopped() || !due.look(documents, &|| self.unwritten()) {
            return;
        }
        match self.while_settling(now, || self.keep(snapshot, &self.stop)) {
            true => *due = Due::after(documents),
            false => due.rounds = ROUNDS_BETWEEN,
        }
    }

    /// Does something that may take seconds, and meanwhile makes segments of tails that fill:
    /// searches read those under their locks.
    fn while_settling<R>(&self, now: &(dyn Fn() -> Instant + Sync), work: impl FnOnce() -> R) -> R {
        let (done, is_done) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            let settling = Builder::new().name("hearthgate-settle".into());
            let settling = settling.spawn_scoped(scope, move || {
                while is_done.recv_timeout(BETWEEN_SETTLES) == Err(RecvTimeoutError::Timeout) {
                    self.settle_all(now);
                }
            });
            if let Err(error) = settling {
                tracing::warn!(%error, "no segments are made while the search index is kept");
            }
            let worked = work();
            drop(done);
            worked
        })
    }

    /// About how many bytes of segments are not kept, and should be.
    fn unwritten(&self) -> usize {
        self.keeping.as_ref().map_or(0, |_| self.index.unkept_bytes())
    }

    /// Writes segments down where they take more memory than they may, so that they need not.
    pub(super) fn make_room(&self) {
        let Some(keeping) = self.keeping.as_ref().filter(|it| it.is_its_turn()) else { return };
        let is_much = || self.index.unkept_bytes() >= self.budget / UNWRITTEN_SHARE;
        if !self.index.is_over_budget() || !is_much() {
            return;
        }
        match keeping.write_segments(&self.index, &self.stop) {
            Ok(bytes) => {
                self.cannot_make_room.store(false, Ordering::Release);
                tracing::debug!(bytes, "segments of the search index were written down");
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) if self.cannot_make_room.swap(true, Ordering::AcqRel) => {
                tracing::debug!(%error, "the search index still takes more memory than it may");
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(
                    error,
                    "the search index takes more memory than it may: it cannot be written to the \
                     disk"
                );
            }
        }
    }

    /// Begins anew where something of it cannot be read from the disk any more. Until it has read
    /// the log, searches look at the resources. Whether it does.
    pub(super) fn begin_anew_if_harmed(&self) -> bool {
        if !self.index.may_be_harmed() {
            return false;
        }
        let Some(why) = self.index.harm() else { return false };
        tracing::error!(
            why,
            "the search index cannot be read from the disk: it is built from the log"
        );
        {
            // From now on commits wait, and none of them for a merge to end: nothing is applied.
            let mut behind = self.behind.lock();
            self.has_caught_up.store(false, Ordering::Release);
            behind.get_or_insert_default();
        }
        self.index.forget_all();
        *self.restored.lock() = None;
        self.last.store(i64::MIN, Ordering::Release);
        if let Some(keeping) = &self.keeping {
            keeping.throw_away();
        }
        true
    }

    /// Writes it down when its database is closed, unless that takes too long.
    pub(super) fn keep_at_the_end(&self, snapshot: &dyn Fn() -> Snapshot) {
        if self.keeping.is_none() || !self.has_caught_up() {
            return;
        }
        let stop = AtomicBool::new(false);
        let (written, is_written) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            let stop = &stop;
            let limit = Builder::new().name("hearthgate-limit".into());
            let limit = limit.spawn_scoped(scope, move || {
                if is_written.recv_timeout(LONGEST_AT_THE_END) == Err(RecvTimeoutError::Timeout) {
                    tracing::info!("the search index is not kept as it is: it takes too long");
                    stop.store(true, Ordering::Release);
                }
            });
            match limit {
                Ok(_) => {
                    self.keep(snapshot, stop);
                }
                Err(error) => tracing::warn!(%error, "the search index is not kept as it is"),
            }
            drop(written);
        });
    }

    /// Writes it down, if it can be now. Whether it did.
    fn keep(&self, snapshot: &dyn Fn() -> Snapshot, stop: &AtomicBool) -> bool {
        let Some(keeping) = &self.keeping else { return false };
        let is_all = self.is_whole.load(Ordering::Acquire)
            && !self.is_broken.load(Ordering::Acquire)
            && !self.index.may_be_harmed()
            && self.index.head() > T::ZERO
            && keeping.is_its_turn();
        if !is_all {
            return false;
        }
        match keeping.write(&self.index, snapshot, stop) {
            Ok(Outcome::Written(t, bytes)) => {
                tracing::info!(bytes, "the search index is kept up to position {t} of the log");
                return true;
            }
            Ok(Outcome::Nothing) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(
                    error,
                    "the search index cannot be kept on disk: after a restart more of it is \
                     built from the log"
                );
            }
        }
        false
    }
}

/// When an index is written down next.
#[derive(Debug)]
pub(super) struct Due {
    /// How many documents it had when it was.
    documents: u64,
    /// How many it had when it was last looked at.
    looked_at: u64,
    /// For so many rounds it is not tried again.
    rounds: u32,
}

impl Due {
    /// Of an index of which so many documents are kept.
    pub(super) fn after(documents: u64) -> Self {
        Self { documents, looked_at: documents, rounds: 0 }
    }

    /// Whether it is time; `unwritten` tells how many bytes are not kept.
    fn look(&mut self, documents: u64, unwritten: &dyn Fn() -> usize) -> bool {
        if self.rounds > 0 {
            self.rounds -= 1;
            return false;
        }
        if documents.abs_diff(self.documents) >= DOCUMENTS_BETWEEN {
            return true;
        }
        if documents.abs_diff(self.looked_at) < DOCUMENTS_BETWEEN_LOOKS {
            return false;
        }
        self.looked_at = documents;
        unwritten() >= BYTES_BETWEEN
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fhir_core::VersionId;
    use fhir_core::json::Document;
    use fhir_schema::{DefinitionSet, Schema};
    use fhir_search::{Extractor, Parameters, Zone};
    use fhir_terminology::Terminology;
    use search_index::Change;

    use super::super::IndexedBy;
    use super::*;
    use crate::compartment::Compartments;

    #[test]
    fn tails_are_settled_while_the_index_is_written() {
        let (schema, set) = (Schema::r4(), DefinitionSet::r4());
        let parameters = Arc::new(Parameters::new(set, schema));
        let extractor =
            Arc::new(Extractor::new(schema, parameters, set.clone(), Terminology::r4()));
        let by = IndexedBy { extractor, base: "http://own/fhir".into(), zone: Zone::UTC };
        let indexing = Indexing::new(by, schema, usize::MAX, None);
        let document = Document::parse(br#"{"resourceType":"Patient","id":"1"}"#).unwrap();
        let (of, id) = ("Patient".parse().unwrap(), "1".parse().unwrap());
        let prepared = indexing.prepared_of((&of, &id), &document, &Compartments::default());
        let change = Change::Put { prepared: prepared.unwrap(), version: VersionId::FIRST };
        indexing.apply(T::new(1), Instant::from_micros(1), vec![change]);
        indexing.index.close_tail();
        let is_settled = || indexing.index.unsettled_bytes() == 0;
        assert!(!is_settled());
        let settled = indexing.while_settling(&|| Instant::from_micros(2), || {
            (0..2000).any(|_| {
                std::thread::sleep(Duration::from_millis(10));
                is_settled()
            })
        });
        assert!(settled);
    }

    #[test]
    fn an_index_is_due_by_documents_or_by_bytes_and_not_at_once_after_it_failed() {
        let mut due = Due::after(100_000);
        let (none, many) = (|| 0, || BYTES_BETWEEN);
        assert!(!due.look(149_999, &none));
        assert!(due.look(150_000, &none) && due.look(50_000, &none));
        let mut due = Due::after(100_000);
        assert!(!due.look(100_000 + DOCUMENTS_BETWEEN_LOOKS - 1, &many));
        assert!(due.look(100_000 + DOCUMENTS_BETWEEN_LOOKS, &many));
        let mut due = Due { rounds: 2, ..Due::after(0) };
        assert_eq!([(); 3].map(|()| due.look(150_000, &none)), [false, false, true]);
    }
}
