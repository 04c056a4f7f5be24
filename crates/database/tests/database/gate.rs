//! A store between the database and a backend: a test can hold, fail and count its appends, and
//! hold its blobs.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fhir_core::{Instant, ResourceId, ResourceType, VersionId};
use parking_lot::{Condvar, Mutex};
use store::{
    AppendError, BlobError, BlobId, BlobReference, CloseError, Commit, CommitHash, CommitKind,
    Head, HistoryOrder, HistoryVersion, IdentifierKey, Place, ReadError, Store, StoredBody, T,
    VersionEntry, Walked,
};

/// How long a test waits for the writer before it says what it waits for.
const LIMIT: Duration = Duration::from_secs(20);

/// Passes everything on to the backend, appends as the test says.
pub(crate) struct Gate {
    backend: Arc<dyn Store>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    hold: Option<Hold>,
    /// The most that are held; the others pass.
    most_held: usize,
    /// So many pass before those that are held.
    passing: usize,
    held: usize,
    is_full_for_others: bool,
    /// What comes of the next appends; those after them pass.
    outcomes: VecDeque<Outcome>,
    groups: Vec<usize>,
    keeps_blobs: bool,
    gives_no_blobs: bool,
    /// So often more there is room beside the log, when it is said.
    room: Option<usize>,
}

/// Where an append, or a blob, waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// Before the backend has it.
    Before,
    /// When the backend has made it durable, before the database learns of it.
    After,
    /// Before the backend has a blob.
    Blob,
    /// Before a blob is read, on the thread that asks for it.
    Reading,
    /// Before versions are enumerated.
    History,
}

/// What comes of an append.
#[derive(Debug)]
pub(crate) enum Outcome {
    Passes,
    Fails(AppendError),
    Panics,
}

impl Gate {
    pub(crate) fn new(backend: Arc<dyn Store>) -> Self {
        Self { backend, state: Mutex::default(), changed: Condvar::new() }
    }

    /// Holds what comes there next until [`Gate::release`].
    pub(crate) fn hold(&self, at: Hold) {
        self.hold_most(at, usize::MAX);
    }

    /// Holds so many of those that come there next; who comes after them passes.
    pub(crate) fn hold_most(&self, at: Hold, most: usize) {
        let mut state = self.state.lock();
        (state.hold, state.most_held) = (Some(at), most);
    }

    /// Lets so many pass that come there next, and holds the one after them.
    pub(crate) fn hold_one_after(&self, passing: usize, at: Hold) {
        self.state.lock().passing = passing;
        self.hold_most(at, 1);
    }

    /// Waits until something is held.
    pub(crate) fn wait_until_held(&self) {
        self.wait_until_so_many_are_held(1);
    }

    pub(crate) fn wait_until_so_many_are_held(&self, many: usize) {
        let mut state = self.state.lock();
        while state.held < many {
            let timeout = self.changed.wait_for(&mut state, LIMIT).timed_out();
            assert!(!timeout, "nothing came: {state:?}");
        }
    }

    /// Lets the held append and all after it go on.
    pub(crate) fn release(&self) {
        self.state.lock().hold = None;
        self.changed.notify_all();
    }

    /// Has every append fail for lack of room but those of purges.
    pub(crate) fn be_full_for_others(&self) {
        self.state.lock().is_full_for_others = true;
    }

    /// Says what comes of the next appends.
    pub(crate) fn next(&self, outcomes: impl IntoIterator<Item = Outcome>) {
        self.state.lock().outcomes = outcomes.into_iter().collect();
    }

    /// Has every removal of a blob fail from now on, or none.
    pub(crate) fn keep_blobs(&self, keep: bool) {
        self.state.lock().keeps_blobs = keep;
    }

    /// Has every reading of a blob fail from now on, or none.
    pub(crate) fn give_no_blobs(&self, none: bool) {
        self.state.lock().gives_no_blobs = none;
    }

    /// Says how often more there is room beside the log.
    pub(crate) fn have_room(&self, times: usize) {
        self.state.lock().room = Some(times);
    }

    /// How many commits each append had since this was last asked.
    pub(crate) fn groups(&self) -> Vec<usize> {
        std::mem::take(&mut self.state.lock().groups)
    }

    fn pass(&self, at: Hold) {
        let mut state = self.state.lock();
        if state.hold != Some(at) || state.held >= state.most_held {
            return;
        }
        if state.passing > 0 {
            state.passing -= 1;
            return;
        }
        state.held += 1;
        while state.hold == Some(at) {
            self.changed.notify_all();
            self.changed.wait(&mut state);
        }
        state.held -= 1;
    }
}

#[async_trait]
impl Store for Gate {
    fn head(&self) -> Head {
        self.backend.head()
    }

    fn append(&self, group: &[Commit]) -> Result<Head, AppendError> {
        self.state.lock().groups.push(group.len());
        self.pass(Hold::Before);
        let of_purges = group.iter().all(|commit| commit.kind == CommitKind::Purge);
        if self.state.lock().is_full_for_others && !of_purges {
            return Err(AppendError::DiskFull);
        }
        let outcome = self.state.lock().outcomes.pop_front();
        let appended = match outcome {
            None | Some(Outcome::Passes) => self.backend.append(group),
            Some(Outcome::Fails(error)) => Err(error),
            Some(Outcome::Panics) => panic!("this append panics, as the test asked"),
        };
        self.pass(Hold::After);
        appended
    }

    fn takes_commits(&self) -> bool {
        self.backend.takes_commits()
    }

    fn fits(&self, bytes: u64) -> bool {
        match &mut self.state.lock().room {
            Some(0) => return false,
            Some(left) => *left -= 1,
            None => {}
        }
        self.backend.fits(bytes)
    }

    fn write_blob(&self, id: BlobId, bytes: &Bytes) -> Result<(), AppendError> {
        self.pass(Hold::Blob);
        self.backend.write_blob(id, bytes)
    }

    async fn fetch_blob(&self, reference: &BlobReference) -> Result<Bytes, ReadError> {
        self.pass(Hold::Reading);
        if self.state.lock().gives_no_blobs {
            let source = std::io::Error::other("the disk refuses");
            return Err(ReadError::BlobIo { id: reference.id, source });
        }
        self.backend.fetch_blob(reference).await
    }

    fn remove_blob(&self, id: BlobId) -> Result<bool, BlobError> {
        if self.state.lock().keeps_blobs {
            return Err(std::io::Error::other("the disk refuses").into());
        }
        self.backend.remove_blob(id)
    }

    fn blobs(&self) -> Result<Vec<BlobId>, BlobError> {
        self.backend.blobs()
    }

    async fn newest(
        &self,
        resource_type: &ResourceType,
        id: &ResourceId,
        at: T,
    ) -> Result<Option<VersionEntry>, ReadError> {
        self.backend.newest(resource_type, id, at).await
    }

    async fn version(
        &self,
        resource_type: &ResourceType,
        id: &ResourceId,
        version: VersionId,
        at: T,
    ) -> Result<Option<VersionEntry>, ReadError> {
        self.backend.version(resource_type, id, version, at).await
    }

    async fn versions(
        &self,
        resource_type: &ResourceType,
        id: &ResourceId,
        at: T,
    ) -> Result<Vec<VersionEntry>, ReadError> {
        self.backend.versions(resource_type, id, at).await
    }

    async fn stored(&self, entry: &VersionEntry) -> Result<StoredBody, ReadError> {
        self.backend.stored(entry).await
    }

    async fn walk(
        &self,
        at: T,
        each: &mut (dyn for<'a> FnMut(Walked<'a>) + Send),
    ) -> Result<(), ReadError> {
        self.backend.walk(at, each).await
    }

    async fn identified(
        &self,
        resource_type: &ResourceType,
        identifier: &IdentifierKey,
        at: T,
    ) -> Result<Vec<ResourceId>, ReadError> {
        self.backend.identified(resource_type, identifier, at).await
    }

    async fn history(
        &self,
        of: Option<&ResourceType>,
        range: Range<Place>,
        order: HistoryOrder,
        most: usize,
    ) -> Result<Vec<HistoryVersion>, ReadError> {
        self.pass(Hold::History);
        self.backend.history(of, range, order, most).await
    }

    async fn count_history(
        &self,
        of: Option<&ResourceType>,
        range: Range<Place>,
    ) -> Result<u64, ReadError> {
        self.backend.count_history(of, range).await
    }

    async fn position_at(&self, instant: Instant) -> Result<T, ReadError> {
        self.backend.position_at(instant).await
    }

    async fn hash_of_commit(&self, entry: &VersionEntry) -> Result<Option<CommitHash>, ReadError> {
        self.backend.hash_of_commit(entry).await
    }

    fn close(&self) -> Result<(), CloseError> {
        self.backend.close()
    }
}
