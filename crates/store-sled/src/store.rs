//! The store itself: appends through the tail, reads through memory and then the state. How a group
//! is encoded is in `writer`.

mod writer;

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use fhir_core::{Instant, ResourceId, ResourceType, VersionId};
use parking_lot::{Mutex, MutexGuard, RwLock};
use store::record;
use store::{
    AppendError, BlobError, BlobId, BlobReference, CloseError, Commit, CommitHash, CommitKind,
    Derive, Head, HistoryOrder, HistoryVersion, IdentifierKey, Location, MalformedGroup, Place,
    ReadError, Store, StoredBody, T, TenantText, VersionEntry, Walked, judge_group, named_blobs,
};

use self::writer::Writer;
use crate::SledStoreOptions;
use crate::applier::Applier;
use crate::blobs::Blobs;
use crate::error::{Damage, Flaw, OpenError};
use crate::history::{Found, Histories};
use crate::keys::{Pointer, bearers_key, version_keys};
use crate::layout::Layout;
use crate::memory::{Memory, Order};
use crate::mend::Mender;
use crate::open::{self, Parts};
use crate::report::OpenReport;
use crate::room;
use crate::segments::Segments;
use crate::slot::Slot;
use crate::state::State;
use crate::tail::{Tail, append_error};

/// What an operator is told while the state is out of use; the log has the reason.
const PUT_RIGHT: &str = "the derived state failed and is being put right from the log";

/// One tenant's store in a directory.
pub struct SledStore {
    pub(crate) tenant: TenantText,
    pub(crate) layout: Layout,
    pub(crate) blobs: Blobs,
    pub(crate) derive: Arc<dyn Derive>,
    options: SledStoreOptions,
    report: OpenReport,
    head: RwLock<Head>,
    writer: Mutex<Writer>,
    segments: Segments,
    pub(crate) histories: Histories,
    pub(crate) memory: Arc<Memory>,
    pub(crate) state: Arc<Slot>,
    applier: Applier,
}

impl SledStore {
    /// Opens the store of `tenant` in `directory` (`data/tenants/NAME`), or makes it. The caller
    /// holds the lock on the data directory. `derive` says what identifiers a stored version
    /// bears.
    ///
    /// # Errors
    /// [`OpenError`]; nothing has then been deleted.
    pub fn open(
        directory: &Path,
        tenant: &str,
        derive: Arc<dyn Derive>,
        options: SledStoreOptions,
    ) -> Result<Self, OpenError> {
        open::open(directory, tenant, derive, options)
    }

    /// Whether nothing was ever stored in `directory`: no store was made there yet, or one without
    /// a commit. Touches nothing, and may be asked while the store is open.
    ///
    /// # Errors
    /// [`OpenError::Io`] when the file system does not tell.
    pub fn holds_nothing(directory: &Path) -> Result<bool, OpenError> {
        Layout::new(directory).holds_nothing()
    }

    /// Has the next open of the store in `directory` rebuild the derived state from the log and
    /// keep nothing of the old one: it may hold identifiers of who was purged. The store may be
    /// open. False when that was noted before.
    ///
    /// # Errors
    /// [`OpenError::Io`] when it cannot be noted.
    pub fn forget_state_at_open(directory: &Path) -> Result<bool, OpenError> {
        Layout::new(directory).mark_state_to_forget()
    }

    /// Takes back what [`SledStore::forget_state_at_open`] noted.
    ///
    /// # Errors
    /// [`OpenError::Io`] when it cannot be taken back.
    pub fn keep_state(directory: &Path) -> Result<(), OpenError> {
        Layout::new(directory).keep_state()
    }

    /// Lets a state go at once that [`SledStore::forget_state_at_open`] marked. The store is not
    /// open.
    ///
    /// # Errors
    /// [`OpenError::Io`] when it cannot be removed.
    pub fn forget_state(directory: &Path) -> Result<(), OpenError> {
        Layout::new(directory).forget_marked_state()
    }

    /// What happened while the store was opened.
    #[must_use]
    pub fn report(&self) -> &OpenReport {
        &self.report
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "called once, by open, which has made each of them"
    )]
    pub(crate) fn assemble(
        tenant: TenantText,
        segments: Segments,
        histories: Histories,
        layout: Layout,
        blobs: Blobs,
        derive: Arc<dyn Derive>,
        options: SledStoreOptions,
        parts: Parts,
        tail: Tail,
        report: OpenReport,
    ) -> Self {
        parts.applier.mend_by(Mender {
            layout: layout.clone(),
            tenant: tenant.clone(),
            derive: Arc::clone(&derive),
            options: options.clone(),
        });
        Self {
            tenant,
            layout,
            blobs,
            derive,
            options,
            head: RwLock::new(report.head),
            report,
            writer: Mutex::new(Writer {
                tail,
                buffer: Vec::new(),
                blocks: Vec::new(),
                hashes: Vec::new(),
                starts: Vec::new(),
            }),
            segments,
            histories,
            memory: parts.memory,
            state: parts.state,
            applier: parts.applier,
        }
    }

    /// Begins a new segment when the newest is long enough.
    fn rotate(&self, writer: &mut Writer, head: Head) -> Result<(), AppendError> {
        if writer.tail.length() < self.options.segment_bytes {
            return Ok(());
        }
        writer.tail.finish()?;
        let number = writer.tail.segment() + 1;
        let path = self.layout.segment(number);
        let opened = self
            .layout
            .create_segment(number, &self.tenant, head)
            .and_then(|()| Ok(path.metadata()?.len()))
            .and_then(|length| {
                Tail::open(self.layout.disk(), &path, number, length, self.options.segment_bytes)
            });
        match opened {
            Ok(tail) => {
                writer.tail = tail;
                self.histories.rotate(number, head);
                Ok(())
            }
            // The new segment stands there and says that it continues this head: nothing may be
            // appended to the one before it any more.
            Err(error) if path.symlink_metadata().is_ok() => Err(writer.tail.poison(error)),
            Err(error) => Err(append_error(error)),
        }
    }

    /// Asks the derived state. One that fails is put right behind this.
    pub(crate) fn in_state<R>(
        &self,
        ask: impl FnOnce(&State) -> Result<R, String>,
    ) -> Result<R, ReadError> {
        let failed = |reason| ReadError::StateFailed { reason };
        let state = self.state.get().map_err(failed)?;
        ask(&state).map_err(|reason| {
            if state.failure().is_some()
                && self.state.get().is_ok_and(|now| Arc::ptr_eq(&now, &state))
            {
                self.memory.fail(&reason);
            }
            failed(reason)
        })
    }

    /// Refuses what leaves too little room on the disk.
    fn check_room(&self, length: usize) -> Result<(), AppendError> {
        match room::fits(&self.layout.log(), &self.options, length as u64, self.memory.lag()) {
            Ok(true) => Ok(()),
            Ok(false) => Err(AppendError::DiskFull),
            Err(error) => Err(append_error(error)),
        }
    }

    /// Lets the room go that is a purge's own; false where there is none.
    fn release(&self) -> Result<bool, AppendError> {
        self.layout.reserve().release().map_err(append_error)
    }

    /// Refuses a group that names a blob which is not there.
    fn check_blobs(&self, group: &[Commit]) -> Result<(), AppendError> {
        for (t, BlobReference { id: blob, length, .. }) in named_blobs(group) {
            if self.blobs.length(blob).map_err(append_error)? != Some(length) {
                return Err(AppendError::Malformed(MalformedGroup::BlobMissing { t, blob }));
            }
        }
        Ok(())
    }

    fn read_version(&self, entry: &VersionEntry) -> Result<StoredBody, ReadError> {
        let name = || {
            let (resource_type, id) = (&entry.resource_type, &entry.id);
            format!("{resource_type}/{id} version {}", entry.version)
        };
        let damaged = |flaw| {
            ReadError::from(Damage {
                segment: entry.location.segment,
                offset: entry.location.offset,
                lost: name(),
                flaw,
            })
        };
        let (commit, block) = self.segments.read_with_commit(&entry.location, name)?;
        let version = record::decode_block(&block, self.tenant.as_str(), entry.t)
            .map_err(|error| damaged(Flaw::Record(error)))?;
        let found = (&version.resource_type, &version.id, version.version);
        if found != (&entry.resource_type, &entry.id, entry.version) {
            return Err(damaged(Flaw::OtherVersion));
        }
        let (owner, ordinal, bytes) = (version.owner, entry.location.ordinal, version.body);
        Ok(StoredBody { owner, commit, ordinal, bytes })
    }

    /// What a history found, as the state knows it: one of this type, when one is asked for.
    fn history_version(
        &self,
        found: &Found,
        of: Option<&ResourceType>,
    ) -> Result<HistoryVersion, ReadError> {
        let &Found { place, segment, offset, length } = found;
        let name = || format!("version {} of commit {}", place.ordinal, place.t);
        let damaged = |flaw| ReadError::from(Damage { segment, offset, lost: name(), flaw });
        let block = self.segments.read(segment, offset, length as usize, name)?;
        let version = record::decode_block(&block, self.tenant.as_str(), place.t)
            .map_err(|error| damaged(Flaw::Record(error)))?;
        let keys = version_keys(&version.resource_type, &version.id, place.t);
        let known = match self.memory.first(&keys) {
            None => self.in_state(|state| state.first(&keys))?,
            known => known,
        };
        let entry = known.map(|(t, pointer)| pointer.entry(&version.resource_type, &version.id, t));
        let entry = entry.filter(|entry| {
            let at = entry.location;
            (entry.t, at.ordinal) == (place.t, place.ordinal)
                && (at.segment, at.offset, at.length) == (segment, offset, length)
                && of.is_none_or(|of| entry.resource_type == *of)
        });
        let entry = entry.ok_or_else(|| damaged(Flaw::OtherVersion))?;
        Ok(HistoryVersion { place, entry })
    }

    #[cfg(test)]
    pub(crate) fn wrap_log(
        &self,
        wrap: impl FnOnce(Box<dyn crate::tail::LogFile>) -> Box<dyn crate::tail::LogFile>,
    ) {
        self.writer.lock().tail.wrap(wrap);
    }
}

#[async_trait]
impl Store for SledStore {
    fn head(&self) -> Head {
        *self.head.read()
    }

    fn append(&self, group: &[Commit]) -> Result<Head, AppendError> {
        let mut writer = self.writer.lock();
        let head = self.head();
        writer.tail.ready()?;
        judge_group(&head, &self.tenant, group)?;
        self.check_blobs(group)?;
        let Some(first) = group.first() else {
            return Ok(head);
        };
        let length = writer.encode(first.t, head, group)?;
        // What the file has already needs no more room; a purge is what the rest is kept for, and
        // not for who comes with it.
        let purges = group.iter().all(|commit| commit.kind == CommitKind::Purge);
        if writer.tail.growth(length) > 0 && !purges {
            self.check_room(length)?;
            self.layout.reserve().take(&self.options);
        }
        let room = self.memory.wait_for_room();
        room.map_err(|reason| AppendError::StateFailed { reason })?;
        match self.rotate(&mut writer, head) {
            Err(AppendError::DiskFull) if purges && self.release()? => {
                self.rotate(&mut writer, head)?;
            }
            rotated => rotated?,
        }
        let offset = writer.tail.length();
        let Writer { tail, buffer, .. } = &mut *writer;
        match tail.append(&buffer[..length]) {
            Err(AppendError::DiskFull) if purges && self.release()? => {
                tail.append(&buffer[..length])?;
            }
            appended => appended?,
        }
        let unit = writer.unit(group, offset);
        let last = group.last().expect("the group has a first commit");
        let head = Head {
            t: last.t,
            instant: last.instant,
            hash: *writer.hashes.last().expect("encode() hashed every commit"),
        };
        self.histories.insert(group, &writer.blocks, offset);
        self.memory.insert(unit);
        *self.head.write() = head;
        writer.tidy();
        Ok(head)
    }

    fn write_blob(&self, id: BlobId, bytes: &Bytes) -> Result<(), AppendError> {
        self.check_room(bytes.len())?;
        self.blobs.write(id, bytes).map_err(append_error)
    }

    async fn fetch_blob(&self, reference: &BlobReference) -> Result<Bytes, ReadError> {
        self.blobs.fetch(reference)
    }

    fn remove_blob(&self, id: BlobId) -> Result<bool, BlobError> {
        self.blobs.remove(id)
    }

    fn blobs(&self) -> Result<Vec<BlobId>, BlobError> {
        self.blobs.list()
    }

    fn takes_commits(&self) -> bool {
        // A writer at work may be waiting for the disk, and is well.
        let ready = |writer: MutexGuard<'_, Writer>| writer.tail.ready().is_ok();
        self.writer.try_lock().is_none_or(ready) && self.memory.failure().is_none()
    }

    fn fits(&self, bytes: u64) -> bool {
        let lag = self.options.lag_bytes;
        room::fits(&self.layout.log(), &self.options, bytes, lag).unwrap_or(false)
    }

    fn trouble(&self) -> Option<String> {
        match self.writer.try_lock()?.tail.ready() {
            Err(error @ AppendError::Poisoned(_)) => {
                Some(format!("{error}: look at the disk, then start anew"))
            }
            Err(_) => None,
            Ok(()) => self.memory.failure().map(|_| PUT_RIGHT.to_owned()),
        }
    }

    async fn newest(
        &self,
        resource_type: &ResourceType,
        id: &ResourceId,
        at: T,
    ) -> Result<Option<VersionEntry>, ReadError> {
        let keys = version_keys(resource_type, id, at);
        // Memory first: what leaves it is in the state before it does.
        let found = match self.memory.first(&keys) {
            None => self.in_state(|state| state.first(&keys))?,
            found => found,
        };
        Ok(found.map(|(t, pointer)| pointer.entry(resource_type, id, t)))
    }

    async fn version(
        &self,
        resource_type: &ResourceType,
        id: &ResourceId,
        version: VersionId,
        at: T,
    ) -> Result<Option<VersionEntry>, ReadError> {
        let keys = version_keys(resource_type, id, at);
        let wanted = |pointer: &Pointer| pointer.version == version;
        let mut in_memory = self.memory.all(&keys).into_iter();
        let found = match in_memory.find(|(_, pointer)| wanted(pointer)) {
            None => self.in_state(|state| state.find(&keys, wanted))?,
            found => found,
        };
        Ok(found.map(|(t, pointer)| pointer.entry(resource_type, id, t)))
    }

    async fn versions(
        &self,
        resource_type: &ResourceType,
        id: &ResourceId,
        at: T,
    ) -> Result<Vec<VersionEntry>, ReadError> {
        let keys = version_keys(resource_type, id, at);
        let mut found = self.memory.all(&keys);
        // Memory has the newest ones without a gap; the state goes on where it ends.
        let older = found.last().map_or(at, |(t, _)| T::new(t.get() - 1));
        let keys = version_keys(resource_type, id, older);
        self.in_state(|state| state.all(&keys, &mut found))?;
        let entry = |(t, pointer): (T, Pointer)| pointer.entry(resource_type, id, t);
        Ok(found.into_iter().map(entry).collect())
    }

    async fn stored(&self, entry: &VersionEntry) -> Result<StoredBody, ReadError> {
        self.read_version(entry)
    }

    async fn walk(
        &self,
        at: T,
        each: &mut (dyn for<'a> FnMut(Walked<'a>) + Send),
    ) -> Result<(), ReadError> {
        self.walk_log(at.min(self.head().t), each)
    }

    async fn identified(
        &self,
        resource_type: &ResourceType,
        identifier: &IdentifierKey,
        at: T,
    ) -> Result<Vec<ResourceId>, ReadError> {
        let prefix = bearers_key(resource_type, identifier);
        let mut bearers = BTreeSet::new();
        self.memory.bearers(&prefix, at, &mut bearers);
        self.in_state(|state| state.bearers(&prefix, at, &mut bearers))?;
        Ok(bearers.into_iter().collect())
    }

    async fn history(
        &self,
        of: Option<&ResourceType>,
        range: Range<Place>,
        order: HistoryOrder,
        most: usize,
    ) -> Result<Vec<HistoryVersion>, ReadError> {
        let found = self.histories.find(of, &range, order, most)?;
        found.iter().map(|found| self.history_version(found, of)).collect()
    }

    async fn count_history(
        &self,
        of: Option<&ResourceType>,
        range: Range<Place>,
    ) -> Result<u64, ReadError> {
        self.histories.count(of, &range)
    }

    async fn position_at(&self, instant: Instant) -> Result<T, ReadError> {
        self.histories.position_at(instant)
    }

    async fn hash_of_commit(&self, entry: &VersionEntry) -> Result<Option<CommitHash>, ReadError> {
        let name = || format!("commit {}", entry.t);
        let record = self.segments.commit_at(&entry.location, name)?;
        let damaged = |flaw| {
            let Location { segment, offset, .. } = entry.location;
            ReadError::from(Damage { segment, offset, lost: name(), flaw })
        };
        let head = record::check(&record).map_err(|error| damaged(Flaw::Record(error)))?;
        match head.t == entry.t {
            true => Ok(Some(head.hash)),
            false => Err(damaged(Flaw::OtherVersion)),
        }
    }

    fn close(&self) -> Result<(), CloseError> {
        self.writer.lock().tail.close();
        self.histories.settle();
        self.applier.end(Order::Drain);
        let flushed = self.state.get().and_then(|state| state.flush());
        flushed.map_err(|reason| CloseError::StateFailed { reason })
    }
}

impl fmt::Debug for SledStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SledStore")
            .field("tenant", &self.tenant)
            .field("head", &self.head())
            .finish_non_exhaustive()
    }
}
