//! A store that can be told to fail.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use fhir_core::{Instant, ResourceId, ResourceType, VersionId};
use store::{
    AppendError, BlobError, BlobId, BlobReference, CloseError, Commit, Head, HistoryOrder,
    HistoryVersion, IdentifierKey, Place, ReadError, Store, StoredBody, T, VersionEntry, Walked,
};

/// How a store fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    DiskFull,
    /// The disk is full after so many appends.
    FullAfter(usize),
    Poisoned,
    BodiesUnreadable,
    /// The disk does not give the body that was written at this position.
    NotGivenAt(u64),
    /// The file system was mounted anew, to be read alone.
    ReadOnly,
    StateFailed,
    /// An append waits for another fault, or for none.
    Held,
}

/// What no client may be told.
const INSIDE: &str = "/srv/data: not what was stored";

/// What an operator is told.
pub(crate) const TROUBLE: &str = "the disk failed; look at it, then start anew";

pub(crate) struct FailingStore {
    inner: Arc<dyn Store>,
    fault: Mutex<Fault>,
}

impl FailingStore {
    pub(crate) fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, fault: Mutex::new(Fault::None) }
    }

    /// Fails in this way from now on.
    pub(crate) fn fail(&self, fault: Fault) {
        *self.fault.lock().expect("no test panicked") = fault;
    }

    fn fault(&self) -> Fault {
        *self.fault.lock().expect("no test panicked")
    }
}

#[async_trait]
impl Store for FailingStore {
    fn head(&self) -> Head {
        self.inner.head()
    }

    fn append(&self, group: &[Commit]) -> Result<Head, AppendError> {
        while self.fault() == Fault::Held {
            std::thread::yield_now();
        }
        match self.fault() {
            Fault::DiskFull | Fault::FullAfter(0) => Err(AppendError::DiskFull),
            Fault::FullAfter(appends) => {
                self.fail(Fault::FullAfter(appends - 1));
                self.inner.append(group)
            }
            Fault::Poisoned => Err(AppendError::Poisoned(None)),
            Fault::StateFailed => Err(AppendError::StateFailed { reason: INSIDE.to_owned() }),
            Fault::ReadOnly => Err(AppendError::ReadOnly),
            Fault::None | Fault::BodiesUnreadable | Fault::NotGivenAt(_) | Fault::Held => {
                self.inner.append(group)
            }
        }
    }

    fn takes_commits(&self) -> bool {
        self.fault() != Fault::StateFailed
    }

    fn trouble(&self) -> Option<String> {
        (self.fault() == Fault::Poisoned).then(|| TROUBLE.to_owned())
    }

    fn write_blob(&self, id: BlobId, bytes: &Bytes) -> Result<(), AppendError> {
        self.inner.write_blob(id, bytes)
    }

    async fn fetch_blob(&self, reference: &BlobReference) -> Result<Bytes, ReadError> {
        self.inner.fetch_blob(reference).await
    }

    fn remove_blob(&self, id: BlobId) -> Result<bool, BlobError> {
        self.inner.remove_blob(id)
    }

    fn blobs(&self) -> Result<Vec<BlobId>, BlobError> {
        self.inner.blobs()
    }

    async fn newest(
        &self,
        resource_type: &ResourceType,
        id: &ResourceId,
        at: T,
    ) -> Result<Option<VersionEntry>, ReadError> {
        if self.fault() == Fault::StateFailed {
            return Err(ReadError::StateFailed { reason: INSIDE.to_owned() });
        }
        self.inner.newest(resource_type, id, at).await
    }

    async fn version(
        &self,
        resource_type: &ResourceType,
        id: &ResourceId,
        version: VersionId,
        at: T,
    ) -> Result<Option<VersionEntry>, ReadError> {
        self.inner.version(resource_type, id, version, at).await
    }

    async fn versions(
        &self,
        resource_type: &ResourceType,
        id: &ResourceId,
        at: T,
    ) -> Result<Vec<VersionEntry>, ReadError> {
        self.inner.versions(resource_type, id, at).await
    }

    async fn stored(&self, entry: &VersionEntry) -> Result<StoredBody, ReadError> {
        match self.fault() {
            Fault::BodiesUnreadable => {
                let stored = self.inner.stored(entry).await?;
                Ok(StoredBody { bytes: Bytes::from_static(INSIDE.as_bytes()), ..stored })
            }
            Fault::NotGivenAt(t) if entry.t.get() == t => {
                let source = io::Error::other(INSIDE);
                Err(ReadError::Io { segment: 1, offset: 4096, source })
            }
            _ => self.inner.stored(entry).await,
        }
    }

    async fn walk(
        &self,
        at: T,
        each: &mut (dyn for<'a> FnMut(Walked<'a>) + Send),
    ) -> Result<(), ReadError> {
        self.inner.walk(at, each).await
    }

    async fn identified(
        &self,
        resource_type: &ResourceType,
        identifier: &IdentifierKey,
        at: T,
    ) -> Result<Vec<ResourceId>, ReadError> {
        self.inner.identified(resource_type, identifier, at).await
    }

    async fn history(
        &self,
        of: Option<&ResourceType>,
        range: Range<Place>,
        order: HistoryOrder,
        most: usize,
    ) -> Result<Vec<HistoryVersion>, ReadError> {
        self.inner.history(of, range, order, most).await
    }

    async fn count_history(
        &self,
        of: Option<&ResourceType>,
        range: Range<Place>,
    ) -> Result<u64, ReadError> {
        self.inner.count_history(of, range).await
    }

    async fn position_at(&self, instant: Instant) -> Result<T, ReadError> {
        self.inner.position_at(instant).await
    }

    fn close(&self) -> Result<(), CloseError> {
        self.inner.close()
    }
}

/// The disk of the audit logs, which takes nothing while it is full.
#[derive(Debug, Default)]
pub(crate) struct AuditDisk {
    pub(crate) is_full: std::sync::atomic::AtomicBool,
    /// The tenant whose log has room all the same.
    pub(crate) spared: Mutex<Option<&'static str>>,
}

impl store_sled::disk::Watch for AuditDisk {
    fn make(
        &self,
        call: &store_sled::disk::Call<'_>,
        make: &mut dyn FnMut() -> std::io::Result<()>,
    ) -> std::io::Result<()> {
        let spared = *self.spared.lock().expect("no test panicked");
        let is_spared = spared.is_some_and(|of| call.path().iter().any(|part| part == of));
        let is_full = self.is_full.load(std::sync::atomic::Ordering::SeqCst) && !is_spared;
        match call {
            store_sled::disk::Call::Write(..) if is_full => {
                Err(std::io::ErrorKind::StorageFull.into())
            }
            _ => make(),
        }
    }
}
