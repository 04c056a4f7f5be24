//! A store that notes how many commits each group had, and passes everything on.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use fhir_core::{Instant, ResourceId, ResourceType, VersionId};
use store::{
    AppendError, BlobError, BlobId, BlobReference, CloseError, Commit, Head, HistoryOrder,
    HistoryVersion, IdentifierKey, Place, ReadError, Store, StoredBody, T, VersionEntry, Walked,
};

/// The store, and the sizes of its groups.
pub(crate) struct Traced {
    store: Arc<dyn Store>,
    groups: Mutex<Vec<usize>>,
}

impl Traced {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, groups: Mutex::default() }
    }

    /// The sizes of the groups since this was last asked.
    pub(crate) fn groups(&self) -> Vec<usize> {
        std::mem::take(&mut *self.groups.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Store for Traced {
    fn head(&self) -> Head {
        self.store.head()
    }

    fn append(&self, group: &[Commit]) -> Result<Head, AppendError> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner).push(group.len());
        self.store.append(group)
    }

    fn takes_commits(&self) -> bool {
        self.store.takes_commits()
    }

    fn write_blob(&self, id: BlobId, bytes: &Bytes) -> Result<(), AppendError> {
        self.store.write_blob(id, bytes)
    }

    async fn fetch_blob(&self, reference: &BlobReference) -> Result<Bytes, ReadError> {
        self.store.fetch_blob(reference).await
    }

    fn remove_blob(&self, id: BlobId) -> Result<bool, BlobError> {
        self.store.remove_blob(id)
    }

    fn blobs(&self) -> Result<Vec<BlobId>, BlobError> {
        self.store.blobs()
    }

    async fn newest(
        &self,
        resource_type: &ResourceType,
        id: &ResourceId,
        at: T,
    ) -> Result<Option<VersionEntry>, ReadError> {
        self.store.newest(resource_type, id, at).await
    }

    async fn version(
        &self,
        resource_type: &ResourceType,
        id: &ResourceId,
        version: VersionId,
        at: T,
    ) -> Result<Option<VersionEntry>, ReadError> {
        self.store.version(resource_type, id, version, at).await
    }

    async fn versions(
        &self,
        resource_type: &ResourceType,
        id: &ResourceId,
        at: T,
    ) -> Result<Vec<VersionEntry>, ReadError> {
        self.store.versions(resource_type, id, at).await
    }

    async fn stored(&self, entry: &VersionEntry) -> Result<StoredBody, ReadError> {
        self.store.stored(entry).await
    }

    async fn walk(
        &self,
        at: T,
        each: &mut (dyn for<'a> FnMut(Walked<'a>) + Send),
    ) -> Result<(), ReadError> {
        self.store.walk(at, each).await
    }

    async fn identified(
        &self,
        resource_type: &ResourceType,
        identifier: &IdentifierKey,
        at: T,
    ) -> Result<Vec<ResourceId>, ReadError> {
        self.store.identified(resource_type, identifier, at).await
    }

    async fn history(
        &self,
        of: Option<&ResourceType>,
        range: Range<Place>,
        order: HistoryOrder,
        most: usize,
    ) -> Result<Vec<HistoryVersion>, ReadError> {
        self.store.history(of, range, order, most).await
    }

    async fn count_history(
        &self,
        of: Option<&ResourceType>,
        range: Range<Place>,
    ) -> Result<u64, ReadError> {
        self.store.count_history(of, range).await
    }

    async fn position_at(&self, instant: Instant) -> Result<T, ReadError> {
        self.store.position_at(instant).await
    }

    fn close(&self) -> Result<(), CloseError> {
        self.store.close()
    }
}
