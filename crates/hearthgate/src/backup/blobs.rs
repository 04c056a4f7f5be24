//! The blobs of a backup: each copied once, under its own name, and checked against what the log
//! says of it, which has its length and hash. A blob of whom was purged is nobody's any more.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use store::keys::Keyring;
use store::{BlobFlaw, BlobId, OwnerKeyId, ReadError, TenantText};
use store_sled::{LogExtent, NamedBlob, blob_path, extent, list_blobs, read_blob};

use super::files::write_whole;
use super::manifest::Piece;
use super::{BackupError, Target, digest, failed, read_piece};
use crate::key_copies::Folder;

/// The keys of whom the purge ledger calls purged; empty where there is none.
pub(crate) fn purged_in(keys: &Folder) -> Result<BTreeSet<OwnerKeyId>, BackupError> {
    Ok(keys.ledger()?.into_iter().map(|entry| entry.key).collect())
}

/// What was found of the blobs that a log names.
#[derive(Debug, Default)]
pub(crate) struct Blobs {
    /// How many it names that must be there, and are.
    pub(crate) whole: u64,
    /// Bytes of them.
    pub(crate) bytes: u64,
    /// Those that nothing names, or that nobody can open any more.
    pub(crate) unnamed: Vec<BlobId>,
}

fn lost(tenant: &TenantText, blob: &NamedBlob, source: ReadError) -> BackupError {
    let (tenant, resource) = (tenant.to_string(), blob.resource.clone());
    BackupError::Blob { tenant, resource, t: blob.t.get(), source: Box::new(source) }
}

/// Reads every blob that a log names, and lists those that it does not. `purged` are the keys that
/// the ledger calls destroyed: their blobs may be gone though the log does not say so, after a
/// restore to a moment before.
pub(crate) fn check(
    tenant: &TenantText,
    directory: &Path,
    log: &LogExtent,
    purged: &BTreeSet<OwnerKeyId>,
    listed: &BTreeSet<BlobId>,
) -> Result<Blobs, BackupError> {
    let mut found = Blobs::default();
    let mut named = BTreeSet::new();
    for blob in &log.blobs {
        if log.purged.contains(&blob.owner) || purged.contains(&blob.owner) {
            continue;
        }
        match read_blob(directory, &blob.reference) {
            Ok(bytes) => {
                found.whole += 1;
                found.bytes += bytes.len() as u64;
            }
            Err(source) => {
                // A purge that runs at this moment removes them once its commit is durable.
                if !is_purged_by_now(tenant, directory, blob.owner)? {
                    return Err(lost(tenant, blob, source));
                }
            }
        }
        named.insert(blob.reference.id);
    }
    found.unnamed = listed.iter().filter(|id| !named.contains(id)).copied().collect();
    Ok(found)
}

/// Every blob in a tenant's directory.
pub(crate) fn listed(directory: &Path) -> Result<BTreeSet<BlobId>, BackupError> {
    list_blobs(directory)
        .map_err(|error| failed("list", &directory.join("blobs"))(io::Error::other(error)))
}

fn is_purged_by_now(
    tenant: &TenantText,
    directory: &Path,
    owner: OwnerKeyId,
) -> Result<bool, BackupError> {
    if Keyring::is_of_tenant(owner) || owner == OwnerKeyId::NONE {
        return Ok(false);
    }
    let log = extent(directory, tenant, None).map_err(|source| BackupError::Log {
        tenant: tenant.to_string(),
        source: Box::new(source),
    })?;
    Ok(log.purged.contains(&owner))
}

impl Target<'_> {
    /// Copies the blobs that `log` names, which are in no backup before.
    pub(super) fn blobs(
        &mut self,
        tenant: &TenantText,
        directory: &Path,
        log: &LogExtent,
        known: BTreeMap<String, Piece>,
    ) -> Result<BTreeMap<String, Piece>, BackupError> {
        let mut pieces = known;
        let purged = purged_in(&Folder::of_tenant(directory))?;
        for blob in &log.blobs {
            let id = blob.reference.id.to_string();
            if log.purged.contains(&blob.owner)
                || purged.contains(&blob.owner)
                || pieces.contains_key(&id)
            {
                continue;
            }
            let bytes = match read_blob(directory, &blob.reference) {
                Ok(bytes) => bytes,
                Err(_) if is_purged_by_now(tenant, directory, blob.owner)? => continue,
                Err(source) => return Err(lost(tenant, blob, source)),
            };
            let file = format!("tenants/{}/blobs/{id}", tenant.as_str());
            let path = self.place(&file)?;
            write_whole(&path, &bytes).map_err(failed("write", &path))?;
            let length = bytes.len() as u64;
            self.copied += length;
            pieces.insert(id, Piece { file, length, sha256: digest(&bytes) });
        }
        Ok(pieces)
    }
}

/// Puts the blobs back that the restored log names, but those of whom was purged, and checks that
/// all are there. `whole` is the log before it was cut back.
pub(super) fn restore(
    backup: &Path,
    tenant: &TenantText,
    directory: &Path,
    (whole, log): (&LogExtent, &LogExtent),
    pieces: &BTreeMap<String, Piece>,
    mut purged: BTreeSet<OwnerKeyId>,
) -> Result<Blobs, BackupError> {
    purged.extend(&whole.purged);
    for blob in &log.blobs {
        if purged.contains(&blob.owner) {
            continue;
        }
        let id = blob.reference.id;
        let missing = || lost(tenant, blob, ReadError::Blob { id, source: BlobFlaw::Missing });
        let piece = pieces.get(&id.to_string()).ok_or_else(missing)?;
        let mut bytes = Vec::new();
        read_piece(backup, piece, |part| {
            bytes.extend_from_slice(part);
            Ok(())
        })?;
        let path = blob_path(directory, id);
        super::make_directory(path.parent().unwrap_or(directory))?;
        write_whole(&path, &bytes).map_err(failed("write", &path))?;
    }
    check(tenant, directory, log, &purged, &BTreeSet::new())
}

/// Removes blobs that nothing names. Returns their bytes.
pub(crate) fn remove(directory: &Path, blobs: &[BlobId]) -> Result<u64, BackupError> {
    let mut bytes = 0;
    for id in blobs {
        let path = blob_path(directory, *id);
        bytes += fs::metadata(&path).map_err(failed("look at", &path))?.len();
        store_sled::remove_blob(directory, *id)
            .map_err(|error| failed("remove", &path)(io::Error::other(error)))?;
    }
    Ok(bytes)
}
