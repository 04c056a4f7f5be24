//! Reading the log for the index. Bodies are read, opened and prepared by as many threads as there
//! are processors, which give way to whoever answers requests; what they make is applied by one,
//! in the order of the log, while another makes segments of it, for whose last nobody waits. How
//! much is between them is bounded, in bytes.

use std::collections::VecDeque;
use std::sync::mpsc::TrySendError;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, Scope};

use fhir_core::json::{Document, Replacements};
use fhir_core::{Instant, Resource, ResourceId, ResourceType};
use parking_lot::Mutex;
use search_index::Change;
use store::{HistoryOrder, HistoryVersion, Place, T, VersionEntry, places};

use super::{Indexing, Read};
use crate::compartment::Compartments;
use crate::priority::{BEHIND_ALL, give_way};
use crate::{ReadError, Snapshot};

/// Versions that are read from the log at a time.
const PAGE: usize = 512;
/// Versions that one thread prepares at a time, and the bytes of their JSON; the last of them may
/// be larger.
const BATCH: (usize, usize) = (64, 256 << 10);
/// Batches that are being prepared, or wait to be applied, and the bytes of their JSON; the last of
/// them may be larger.
const MOST_BATCHES: (usize, usize) = (64, 16 << 20);
/// With full tails of so many bytes that wait to be settled nothing more is applied.
const MOST_UNSETTLED: usize = 32 << 20;

/// What a version of the log does to the index.
enum Done {
    /// Nothing: it is of no resource that is searched.
    Nothing,
    Change(Change),
    /// It cannot be read.
    Unreadable(ResourceType, ResourceId),
}

/// Versions in the order of the log, and who waits for what they say.
struct Batch {
    versions: Vec<VersionEntry>,
    answer: SyncSender<Prepared>,
}

/// Who waits for what is prepared of a batch, and the bytes of its JSON.
struct Awaited {
    prepared: Receiver<Prepared>,
    bytes: usize,
}

/// Versions and what each does.
type Prepared = Vec<(VersionEntry, Result<Done, ReadError>)>;

/// The versions of the log after a position, page by page.
struct Pages<'s> {
    all: &'s Snapshot,
    range: std::ops::Range<Place>,
    is_at_end: bool,
}

/// The thread that makes segments while an index is made and kept up to date.
pub(super) struct Merging(SyncSender<()>);

impl Merging {
    /// Starts it; it ends with this.
    pub(super) fn start<'s>(
        scope: &'s Scope<'s, '_>,
        indexing: &'s Indexing,
        now: &'s (dyn Fn() -> Instant + Sync),
    ) -> Self {
        let (wanted, is_wanted) = sync_channel(1);
        let thread = Builder::new().name("hearthgate-merge".into());
        let thread = thread.spawn_scoped(scope, move || {
            while is_wanted.recv().is_ok() {
                indexing.settle_all(now);
            }
        });
        if let Err(error) = thread {
            tracing::warn!(%error, "the search index has no thread of its own for merges");
        }
        Self(wanted)
    }

    /// Whether there is one, which makes segments now of what there is.
    fn is_begun(&self) -> bool {
        // It has one to do already when it does not take another.
        !matches!(self.0.try_send(()), Err(TrySendError::Disconnected(())))
    }
}

impl Pages<'_> {
    /// The next ones; none at the end.
    fn next(&mut self) -> Result<Vec<VersionEntry>, ReadError> {
        let log = self.all.log(None, self.range.clone(), HistoryOrder::OldestFirst, PAGE);
        let page = futures_executor::block_on(log)?;
        if let Some(last) = page.last() {
            self.range.start = last.place.next();
        }
        self.is_at_end = page.len() < PAGE;
        Ok(page.into_iter().map(|HistoryVersion { entry, .. }| entry).collect())
    }
}

impl Indexing {
    /// Applies all commits after a position that a snapshot shows.
    pub(super) fn read_log(
        &self,
        all: &Snapshot,
        after: T,
        now: &(dyn Fn() -> Instant + Sync),
        merging: &Merging,
    ) -> Result<(), ReadError> {
        let mut pages = Pages { all, range: places(after, all.at()), is_at_end: false };
        let first = pages.next()?;
        let mut commit = None;
        if pages.is_at_end {
            let read = first.into_iter().map(|entry| self.read(all, entry)).collect();
            self.apply_versions(read, &mut commit)?;
        } else {
            self.read_by_many(pages, first, &mut commit, &|| self.settle_beside(merging, now))?;
        }
        if self.is_stopped() {
            return Ok(());
        }
        if let Some(commit) = commit {
            self.apply_read(commit);
        }
        self.advance(all.at());
        Ok(())
    }

    fn read_by_many(
        &self,
        mut pages: Pages<'_>,
        first: Vec<VersionEntry>,
        commit: &mut Option<Read>,
        settle: &dyn Fn(),
    ) -> Result<(), ReadError> {
        let all = pages.all;
        let (jobs, of_jobs) = sync_channel::<Batch>(MOST_BATCHES.0);
        let of_jobs = Mutex::new(of_jobs);
        std::thread::scope(|scope| {
            // They end when nobody gives them anything any more.
            let jobs = jobs;
            let workers = self.start_workers(scope, all, &of_jobs);
            let mut waiting: VecDeque<Awaited> = VecDeque::new();
            let mut waiting_bytes = 0;
            let mut page = first.into_iter();
            loop {
                if self.is_stopped() {
                    return Ok(());
                }
                if waiting.len() < MOST_BATCHES.0 && waiting_bytes < MOST_BATCHES.1 {
                    if page.len() == 0 && !pages.is_at_end {
                        page = pages.next()?.into_iter();
                    }
                    let (versions, bytes) = batch(&mut page);
                    if !versions.is_empty() {
                        let (answer, prepared) = sync_channel(1);
                        waiting.push_back(Awaited { prepared, bytes });
                        waiting_bytes += bytes;
                        match workers {
                            0 => self.work(all, Batch { versions, answer }),
                            // They are there until `jobs` is gone.
                            _ => drop(jobs.send(Batch { versions, answer })),
                        }
                        continue;
                    }
                }
                let Some(Awaited { prepared, bytes }) = waiting.pop_front() else { return Ok(()) };
                // A thread ended by a panic: so does this one, when all have ended.
                let Ok(prepared) = prepared.recv() else { return Ok(()) };
                waiting_bytes -= bytes;
                self.apply_versions(prepared, commit)?;
                settle();
            }
        })
    }

    /// Lets segments be made, and makes them here where that does not keep up.
    fn settle_beside(&self, merging: &Merging, now: &(dyn Fn() -> Instant + Sync)) {
        if !merging.is_begun() || self.index.unsettled_bytes() > MOST_UNSETTLED {
            self.settle_all(now);
        }
    }

    /// Starts as many threads as there are processors. Says how many could be.
    fn start_workers<'s>(
        &'s self,
        scope: &'s Scope<'s, '_>,
        all: &'s Snapshot,
        jobs: &'s Mutex<Receiver<Batch>>,
    ) -> usize {
        let wanted = std::thread::available_parallelism().map_or(1, usize::from);
        let started = (0..wanted).map_while(|_| {
            let worker = Builder::new().name("hearthgate-prepare".into());
            let worker = worker.spawn_scoped(scope, move || {
                give_way(BEHIND_ALL);
                loop {
                    let next = jobs.lock().recv();
                    let Ok(batch) = next else { return };
                    if !self.is_stopped() {
                        self.work(all, batch);
                    }
                }
            });
            worker.inspect_err(|error| tracing::warn!(%error, "the log is read by fewer")).ok()
        });
        started.count()
    }

    fn work(&self, all: &Snapshot, batch: Batch) {
        let prepared = batch.versions.into_iter().map(|entry| self.read(all, entry)).collect();
        // Who has stopped does not wait for it.
        drop(batch.answer.send(prepared));
    }

    /// Applies every commit that is known whole; the last one stays behind, since there may be
    /// more of it.
    fn apply_versions(
        &self,
        versions: Prepared,
        commit: &mut Option<Read>,
    ) -> Result<(), ReadError> {
        for (VersionEntry { t, instant, .. }, done) in versions {
            if let Some(before) = commit.take_if(|before| before.t != t) {
                self.apply_read(before);
            }
            let new = || Read { t, instant, changes: Vec::new(), unreadable: Vec::new() };
            let commit = commit.get_or_insert_with(new);
            match done? {
                Done::Nothing => {}
                Done::Change(change) => commit.changes.push(change),
                Done::Unreadable(resource_type, id) => {
                    commit.unreadable.push((resource_type.clone(), id.clone()));
                    commit.changes.push(Change::Delete { resource_type, id });
                }
            }
        }
        Ok(())
    }

    /// What a version of the log does.
    fn read(&self, all: &Snapshot, entry: VersionEntry) -> (VersionEntry, Result<Done, ReadError>) {
        let done = self.done_by(all, &entry);
        (entry, done)
    }

    fn done_by(&self, all: &Snapshot, entry: &VersionEntry) -> Result<Done, ReadError> {
        let (of, id, version) = (&entry.resource_type, &entry.id, entry.version);
        if !self.concerns(of) {
            return Ok(Done::Nothing);
        }
        let json = match futures_executor::block_on(all.load_authored(entry)) {
            Ok(json) => json,
            // Who was purged is found by nothing.
            Err(ReadError::Purged) => None,
            // It will be read another time.
            Err(
                error @ (ReadError::Overloaded
                | ReadError::Store(store::ReadError::StateFailed { .. })),
            ) => {
                return Err(error);
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(
                    error,
                    "what {of}/{id} says in version {version} cannot be read: while that is its \
                     newest, searches look at the resources instead of the index"
                );
                return Ok(Done::Unreadable(of.clone(), id.clone()));
            }
        };
        let prepared = json.and_then(|(json, author)| {
            let document = Document::parse(&json).ok()?;
            let resource = Resource::new(document.root()).ok()?;
            let of_whom = Compartments::of(&resource, id, &Replacements::default(), self.schema);
            let of_whom = Compartments { author, ..of_whom };
            self.prepared_of((of, id), &document, &of_whom)
        });
        Ok(Done::Change(match prepared {
            Some(prepared) => Change::Put { prepared, version },
            None => Change::Delete { resource_type: of.clone(), id: id.clone() },
        }))
    }
}

/// The next versions that one thread prepares, and the bytes of their JSON.
fn batch(page: &mut impl Iterator<Item = VersionEntry>) -> (Vec<VersionEntry>, usize) {
    let (mut versions, mut bytes) = (Vec::with_capacity(BATCH.0), 0);
    while versions.len() < BATCH.0 && bytes < BATCH.1 {
        let Some(version) = page.next() else { break };
        bytes += version.length as usize;
        versions.push(version);
    }
    (versions, bytes)
}

#[cfg(test)]
mod tests {
    use super::{BATCH, batch};
    use fhir_core::{Instant, VersionId};
    use store::{BodyCoding, Location, Method, T, VersionEntry, VersionFlags};

    fn version(length: usize) -> VersionEntry {
        VersionEntry {
            t: T::new(1),
            instant: Instant::from_micros(1),
            resource_type: "Binary".parse().unwrap(),
            id: "1".parse().unwrap(),
            version: VersionId::FIRST,
            flags: VersionFlags::of(Method::Put),
            dictionary: BodyCoding::AS_IS,
            length: u32::try_from(length).unwrap(),
            location: Location { segment: 1, offset: 0, length: 0, ordinal: 0, into_commit: 0 },
        }
    }

    #[test]
    fn a_batch_has_a_bound_in_versions_and_in_bytes() {
        for (length, count) in [(0, BATCH.0), (1000, BATCH.0), (100 << 10, 3), (10 << 20, 1)] {
            let mut page = std::iter::repeat_n(version(length), 512);
            let (versions, bytes) = batch(&mut page);
            assert_eq!((versions.len(), bytes), (count, count * length));
            assert_eq!(page.len(), 512 - count);
        }
        assert_eq!(batch(&mut std::iter::empty()).0.len(), 0);
    }
}
