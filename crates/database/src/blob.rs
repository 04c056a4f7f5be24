//! Bodies that are too large for the log: sealed in chunks, written before their commit is put in
//! line, and removed where that is refused.
//!
//! A chunk is sealed as a body is, for its own place alone: the additional data is that of the
//! body, and then the blob's id, the chunk's number and whether it is the last. So no chunk opens
//! in another blob or at another place, and a blob that lost its end does not open.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use fhir_core::{ResourceId, ResourceType};
use store::keys::{SEAL_BYTES, UnsealError};
use store::{
    BLOB_CHUNK, BlobId, BlobReference, CommitId, ContentHash, OwnerKeyId, Store, StoredBody,
    VersionEntry,
};

use crate::seal::{Sealing, place};
use crate::transaction::{Action, Transaction};
use crate::{CommitError, ReadError, quarantine};

/// What the additional data of a chunk begins with.
const SEALED: &[u8] = b"hearthgate blob 1";
/// Bytes of a chunk before it is sealed: sealed it is as long as one that is not.
const PLAIN_CHUNK: usize = BLOB_CHUNK - SEAL_BYTES;

/// A blob that is ready and not written yet.
#[derive(Debug, Clone)]
pub(crate) struct Unwritten {
    pub(crate) id: BlobId,
    pub(crate) bytes: Bytes,
}

/// A body as it lies in the store: neither compared with its hash nor opened.
#[derive(Debug)]
pub(crate) struct Fetched {
    stored: StoredBody,
    blob: Option<(BlobReference, Bytes)>,
}

/// An id that was never given: commits' ids are used once, in one process, but a transaction may
/// be prepared there more than once under its id.
pub(crate) fn new_id(commit: CommitId, ordinal: u32) -> BlobId {
    static PREPARED: AtomicU64 = AtomicU64::new(0);
    let mut named = [0; 16 + 4 + 8];
    named[..16].copy_from_slice(&commit.0.to_le_bytes());
    named[16..20].copy_from_slice(&ordinal.to_le_bytes());
    named[20..].copy_from_slice(&PREPARED.fetch_add(1, Ordering::Relaxed).to_le_bytes());
    let hash = ContentHash::of(&named).0;
    let (id, _) = hash.split_first_chunk().expect("SHA-256 has 32 bytes");
    BlobId(u128::from_le_bytes(*id))
}

/// How many chunks a coded body makes.
pub(crate) fn chunks_of(length: usize) -> u64 {
    length.div_ceil(PLAIN_CHUNK) as u64
}

/// Where a chunk is sealed. What stands behind the place has one length.
fn chunk_place(place: &[u8], id: BlobId, number: usize, last: bool) -> Vec<u8> {
    let mut all = Vec::with_capacity(SEALED.len() + place.len() + 16 + 8 + 1);
    all.extend_from_slice(SEALED);
    all.extend_from_slice(place);
    all.extend_from_slice(&id.0.to_le_bytes());
    all.extend_from_slice(&(number as u64).to_le_bytes());
    all.push(u8::from(last));
    all
}

/// A coded body as the blob of this id, sealed for its place.
pub(crate) fn sealed(
    keys: &store::keys::Keyring,
    owner: OwnerKeyId,
    place: &[u8],
    id: BlobId,
    body: &[u8],
) -> Result<Bytes, store::keys::KeyDestroyed> {
    let chunks = body.chunks(PLAIN_CHUNK);
    let last = chunks.len() - 1;
    let mut blob = Vec::with_capacity(body.len() + chunks.len() * SEAL_BYTES);
    for (number, chunk) in chunks.enumerate() {
        let place = chunk_place(place, id, number, number == last);
        blob.extend_from_slice(&keys.seal(owner, &place, chunk)?);
    }
    Ok(Bytes::from(blob))
}

impl Sealing {
    /// Whether what was sealed with this key can be opened by nobody any more.
    pub(crate) fn is_destroyed(&self, owner: OwnerKeyId) -> bool {
        self.keys().is_some_and(|keys| owner != OwnerKeyId::NONE && keys.is_destroyed(owner))
    }

    /// A blob before it was sealed: `stored` is what its version has of it.
    ///
    /// # Errors
    /// [`ReadError::Purged`] when its key was destroyed.
    pub(crate) fn open_blob(
        &self,
        name: (&ResourceType, &ResourceId),
        stored: &StoredBody,
        reference: &BlobReference,
        blob: Bytes,
    ) -> Result<Bytes, ReadError> {
        if stored.owner == OwnerKeyId::NONE {
            return Ok(blob);
        }
        let (tenant, keys) = self.with_keys()?;
        let place = place(tenant, stored.commit, stored.ordinal, name);
        let chunks = blob.chunks(BLOB_CHUNK);
        let last = chunks.len().saturating_sub(1);
        let mut body = Vec::with_capacity(blob.len());
        for (number, chunk) in chunks.enumerate() {
            let place = chunk_place(&place, reference.id, number, number == last);
            match keys.unseal(stored.owner, &place, chunk) {
                Ok(chunk) => body.extend_from_slice(&chunk),
                Err(UnsealError::KeyDestroyed) => return Err(ReadError::Purged),
                Err(error) => {
                    let reason = format!("chunk {number} of blob {}: {error}", reference.id);
                    return Err(ReadError::UnreadableBody { reason });
                }
            }
        }
        if quarantine::is_of(name.0) {
            return quarantine::out_of_layers(keys, &place, &body);
        }
        Ok(Bytes::from(body))
    }

    /// The body of a version before it was sealed, wherever it is stored.
    ///
    /// # Errors
    /// [`ReadError::Purged`] when its key was destroyed.
    pub(crate) async fn read(
        &self,
        store: &dyn Store,
        entry: &VersionEntry,
    ) -> Result<Bytes, ReadError> {
        let fetched = self.fetch(store, entry).await?;
        self.open((&entry.resource_type, &entry.id), fetched)
    }

    /// The body of a version as it lies in the store.
    ///
    /// # Errors
    /// As [`Sealing::read`].
    pub(crate) async fn fetch(
        &self,
        store: &dyn Store,
        entry: &VersionEntry,
    ) -> Result<Fetched, ReadError> {
        let stored = store.stored(entry).await?;
        if entry.flags.is_blob() {
            return self.fetch_blob(store, stored).await;
        }
        Ok(Fetched { stored, blob: None })
    }

    /// What was fetched, compared with its hash and opened. Takes a processor for as long as the
    /// body is large.
    ///
    /// # Errors
    /// As [`Sealing::read`].
    pub(crate) fn open(
        &self,
        name: (&ResourceType, &ResourceId),
        Fetched { stored, blob }: Fetched,
    ) -> Result<Bytes, ReadError> {
        let Some((reference, blob)) = blob else { return self.open_named(name, stored) };
        if let Err(source) = reference.check(&blob) {
            // Whose it was may have been purged since it was fetched.
            if self.is_destroyed(stored.owner) {
                return Err(ReadError::Purged);
            }
            return Err(store::ReadError::Blob { id: reference.id, source }.into());
        }
        self.open_blob(name, &stored, &reference, blob)
    }

    /// The body of a version that has a blob.
    ///
    /// # Errors
    /// As [`Sealing::read`].
    pub(crate) async fn read_blob(
        &self,
        store: &dyn Store,
        name: (&ResourceType, &ResourceId),
        stored: StoredBody,
    ) -> Result<Bytes, ReadError> {
        let fetched = self.fetch_blob(store, stored).await?;
        self.open(name, fetched)
    }

    async fn fetch_blob(
        &self,
        store: &dyn Store,
        stored: StoredBody,
    ) -> Result<Fetched, ReadError> {
        let reference = reference(&stored.bytes)?;
        if self.is_destroyed(stored.owner) {
            return Err(ReadError::Purged);
        }
        match store.fetch_blob(&reference).await {
            Ok(blob) => Ok(Fetched { stored, blob: Some((reference, blob)) }),
            // It was removed by a purge at this moment.
            Err(_) if self.is_destroyed(stored.owner) => Err(ReadError::Purged),
            Err(error) => Err(error.into()),
        }
    }
}

/// The reference that a version has for its body.
pub(crate) fn reference(body: &[u8]) -> Result<BlobReference, ReadError> {
    BlobReference::from_bytes(body).ok_or_else(|| ReadError::UnreadableBody {
        reason: "it is no reference to a blob".to_owned(),
    })
}

/// The blobs of a transaction that are not written yet.
pub(crate) fn take(transaction: &mut Transaction) -> Vec<Unwritten> {
    let blob = |action: &mut Action| match action {
        Action::Write { body, .. } => body.blob.take().map(|blob| *blob),
        Action::Delete | Action::Purge { .. } => None,
    };
    transaction.changes.iter_mut().filter_map(|change| blob(&mut change.action)).collect()
}

/// Bytes before coding of the bodies that have a blob: they stay when it is written.
pub(crate) fn plain_bytes(transaction: &Transaction) -> usize {
    let plain = |action: &Action| match action {
        Action::Write { body, .. } if body.stored().is_blob => body.plain.len(),
        Action::Write { .. } | Action::Delete | Action::Purge { .. } => 0,
    };
    transaction.changes.iter().map(|change| plain(&change.action)).sum()
}

/// Writes blobs, all or none of them. Returns which there are now. Blocks.
pub(crate) fn write(
    store: &Arc<dyn Store>,
    blobs: Vec<Unwritten>,
) -> Result<Vec<BlobId>, CommitError> {
    let mut written = Vec::with_capacity(blobs.len());
    for Unwritten { id, bytes } in blobs {
        if let Err(error) = store.write_blob(id, &bytes) {
            // PostgreSQL may have it though its answer was lost.
            written.push(id);
            discard(store, &written);
            return Err(CommitError::Store(Arc::new(error)));
        }
        written.push(id);
    }
    Ok(written)
}

/// Removes blobs that no commit names and none will. What stays, `hearthgate compact` removes, in
/// PostgreSQL the next open.
/// Blocks.
pub(crate) fn discard(store: &Arc<dyn Store>, blobs: &[BlobId]) {
    for blob in blobs {
        if let Err(error) = store.remove_blob(*blob) {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, %blob, "a blob that no commit names was not removed");
        }
    }
}
