//! The blobs of a backup: each copied once, under its own name, and checked against what the log
//! says of it, which has its length and hash. A blob of whom was purged is nobody's any more.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use store::keys::{Keyring, PurgeState};
use store::{BlobFlaw, BlobId, OwnerKeyId, ReadError, TenantText};
use store_sled::{
    LogExtent, NamedBlob, Reached, blob_path, extent_in_steps, list_blobs, read_blob,
};

use super::digest;
use super::error::{BackupError, failed};
use super::files::write_whole;
use super::manifest::Piece;
use super::reading::read_piece;
use super::target::Target;
use crate::key_copies::Folder;

/// The keys of whom the purge ledger calls purged; empty where there is none.
pub(crate) fn purged_in(keys: &Folder) -> Result<BTreeSet<OwnerKeyId>, BackupError> {
    Ok(keys.ledger()?.into_iter().map(|entry| entry.key).collect())
}

/// Those of them whose purge is done: where the log does not say so, it never will. One that has
/// begun may still get its commit.
pub(super) fn done_in(keys: &Folder) -> Result<BTreeSet<OwnerKeyId>, BackupError> {
    let ledger = keys.ledger()?.into_iter();
    let done = ledger.filter(|entry| entry.state == PurgeState::Done);
    Ok(done.map(|entry| entry.key).collect())
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
    let mut since = Since::new(tenant, directory, log);
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
                if !since.purged(blob.owner)? {
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

/// What the log of a tenant has gained since it was walked through.
struct Since<'a> {
    tenant: &'a TenantText,
    directory: &'a Path,
    /// Where the last walk ended.
    reached: Option<Reached>,
    purged: BTreeSet<OwnerKeyId>,
}

impl<'a> Since<'a> {
    fn new(tenant: &'a TenantText, directory: &'a Path, log: &LogExtent) -> Self {
        Self { tenant, directory, reached: end_of(log), purged: BTreeSet::new() }
    }

    /// Whether this key was destroyed meanwhile. The log is walked through, from where it ended,
    /// only for one that was not found before.
    fn purged(&mut self, owner: OwnerKeyId) -> Result<bool, BackupError> {
        if !is_of_a_patient(owner) {
            return Ok(false);
        }
        if !self.purged.contains(&owner) {
            let log = walk(self.tenant, self.directory, self.reached.as_ref(), &mut || {})?;
            self.reached = end_of(&log).or(self.reached);
            self.purged.extend(log.purged);
        }
        Ok(self.purged.contains(&owner))
    }
}

/// A log, and what it gained behind its end.
fn followed_by(mut log: LogExtent, newer: LogExtent) -> LogExtent {
    let first = newer.segments.first().map(|first| first.number);
    // The segment that it ended in is in both.
    log.segments.retain(|segment| first.is_none_or(|first| segment.number < first));
    log.segments.extend(newer.segments);
    log.head = newer.head;
    log.versions += newer.versions;
    log.unsealed += newer.unsealed;
    log.blobs.extend(newer.blobs);
    log.purged.extend(newer.purged);
    log
}

fn end_of(log: &LogExtent) -> Option<Reached> {
    log.segments.last().map(|last| Reached { head: log.head, segment: last.number })
}

fn is_of_a_patient(owner: OwnerKeyId) -> bool {
    !Keyring::is_of_tenant(owner) && owner != OwnerKeyId::NONE
}

/// Walks through a tenant's log from where an earlier backup ended; `step` is called for each
/// commit.
pub(super) fn walk(
    tenant: &TenantText,
    directory: &Path,
    reached: Option<&Reached>,
    step: &mut dyn FnMut(),
) -> Result<LogExtent, BackupError> {
    extent_in_steps(directory, tenant, reached, step)
        .map_err(|source| BackupError::Log { tenant: tenant.to_string(), source: Box::new(source) })
}

impl Target<'_> {
    /// Copies the blobs that `log` names, which are in no backup before. Where a purge has removed
    /// one meanwhile, the log is taken further, so that it says so: a backup names no blob that it
    /// does not have. Returns the log that goes with them. `purged` are the keys that the ledger
    /// called destroyed before the log was taken.
    pub(super) fn blobs(
        &mut self,
        tenant: &TenantText,
        directory: &Path,
        mut log: LogExtent,
        (mut purged, mut pieces): (BTreeSet<OwnerKeyId>, BTreeMap<String, Piece>),
    ) -> Result<(LogExtent, BTreeMap<String, Piece>), BackupError> {
        while let Some(missing) = self.copy_blobs(tenant, directory, &log, &purged, &mut pieces)? {
            let (blob, source) = missing;
            let newer = walk(tenant, directory, end_of(&log).as_ref(), &mut || self.pace.step())?;
            let is_missing = matches!(source, ReadError::Blob { source: BlobFlaw::Missing, .. });
            if is_of_a_patient(blob.owner) && newer.purged.contains(&blob.owner) {
                log = followed_by(log, newer);
            } else if is_missing && purged_in(&Folder::of_tenant(directory))?.contains(&blob.owner)
            {
                // Of a log that was cut back: it has begun to be purged again. What is there and
                // harmed no purge has removed.
                purged.insert(blob.owner);
            } else {
                return Err(lost(tenant, &blob, source));
            }
        }
        Ok((log, pieces))
    }

    /// Returns the first blob that cannot be read.
    fn copy_blobs(
        &mut self,
        tenant: &TenantText,
        directory: &Path,
        log: &LogExtent,
        purged: &BTreeSet<OwnerKeyId>,
        pieces: &mut BTreeMap<String, Piece>,
    ) -> Result<Option<(NamedBlob, ReadError)>, BackupError> {
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
                Err(source) => return Ok(Some((blob.clone(), source))),
            };
            let file = format!("tenants/{}/blobs/{id}", tenant.as_str());
            let path = self.place(&file)?;
            write_whole(&path, &bytes).map_err(failed("write", &path))?;
            let length = bytes.len() as u64;
            self.copied += length;
            self.pace.step();
            pieces.insert(id, Piece { file, length, sha256: digest(&bytes) });
        }
        Ok(None)
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use store::keys::{LedgerEntry, encode_ledger};
    use store::suite::fixture::{FirstLine, append, commit, delete, put, tenant, with_blob};
    use store::{BlobReference, Commit, CommitId, CommitKind, Store as _};
    use store_sled::{SledStore, SledStoreOptions};

    use super::super::pace::Pace;
    use super::*;
    use crate::doors::SystemClock;

    struct Clinic {
        folder: tempfile::TempDir,
        store: SledStore,
    }

    /// Patients that have a blob each, at commits 1 and on.
    fn clinic(patients: u64) -> Clinic {
        clinic_with(patients, SledStoreOptions::default())
    }

    fn clinic_with(patients: u64, options: SledStoreOptions) -> Clinic {
        let folder = tempfile::tempdir().unwrap();
        let options = SledStoreOptions { cache_bytes: 4 << 20, ..options };
        let path = folder.path().join("clinic");
        let store = SledStore::open(&path, tenant().as_str(), Arc::new(FirstLine), options);
        let clinic = Clinic { folder, store: store.unwrap() };
        (1..=patients).for_each(|t| clinic.write(t, t));
        clinic
    }

    fn key_of(patient: u64) -> OwnerKeyId {
        let key = OwnerKeyId(patient << 8 | 0xf0);
        assert!(is_of_a_patient(key));
        key
    }

    impl Clinic {
        fn directory(&self) -> std::path::PathBuf {
            self.folder.path().join("clinic")
        }

        fn blob(patient: u64) -> BlobId {
            BlobId(u128::from(patient))
        }

        fn write(&self, t: u64, patient: u64) {
            let (id, bytes) = (Self::blob(patient), Bytes::from(format!("\nblob {patient}")));
            self.store.write_blob(id, &bytes).unwrap();
            let reference = BlobReference::of(id, &bytes);
            let mut version = with_blob(put(&format!("Patient/{patient}"), 1, ""), &reference);
            version.owner = key_of(patient);
            append(&self.store, &[commit(t, vec![version])]);
        }

        fn purge(&self, t: u64, patient: u64) {
            let mut version = delete(&format!("Patient/{patient}"), 2);
            version.owner = key_of(patient);
            let purge = Commit { kind: CommitKind::Purge, ..commit(t, vec![version]) };
            append(&self.store, &[purge]);
            self.store.remove_blob(Self::blob(patient)).unwrap();
        }
    }

    #[test]
    fn a_backup_beside_a_purge_has_every_blob_that_its_log_names_or_the_purge() {
        let clinic = clinic(3);
        let (directory, backup) = (clinic.directory(), clinic.folder.path().join("backup"));
        let none = BTreeSet::new();
        let taken = walk(&tenant(), &directory, None, &mut || {}).unwrap();
        // The purge goes by, and something is written, before the blobs are copied.
        clinic.purge(4, 2);
        clinic.write(5, 5);
        let clock = SystemClock::start();
        let pace = Pace::beside(&directory, 100, &clock);
        let mut target = Target { backup: &backup, number: 1, copied: 0, pace };
        let known = (none, BTreeMap::new());
        let (log, pieces) = target.blobs(&tenant(), &directory, taken, known).unwrap();
        assert_eq!(log, walk(&tenant(), &directory, None, &mut || {}).unwrap());
        let ids: Vec<_> = [1, 3, 5].map(|patient| Clinic::blob(patient).to_string()).into();
        assert_eq!(pieces.keys().cloned().collect::<Vec<_>>(), ids);
        assert!(log.purged.contains(&key_of(2)) && log.head.t.get() == 5);
        // Nobody's ledger is needed to restore it.
        let restored = clinic.folder.path().join("restored");
        let logs = (&log, &log);
        let found = restore(&backup, &tenant(), &restored, logs, &pieces, BTreeSet::new());
        assert_eq!(found.unwrap().whole, 3);
    }

    #[test]
    fn a_blob_that_is_missing_without_a_purge_ends_a_backup_by_name() {
        let clinic = clinic(2);
        let (directory, backup) = (clinic.directory(), clinic.folder.path().join("backup"));
        let taken = walk(&tenant(), &directory, None, &mut || {}).unwrap();
        clinic.store.remove_blob(Clinic::blob(2)).unwrap();
        let clock = SystemClock::start();
        let pace = Pace::beside(&directory, 100, &clock);
        let mut target = Target { backup: &backup, number: 1, copied: 0, pace };
        let none = BTreeSet::new();
        let known = (none, BTreeMap::new());
        let lost = target.blobs(&tenant(), &directory, taken.clone(), known).unwrap_err();
        assert!(matches!(lost, BackupError::Blob { t: 2, .. }), "{lost:?}");
        // A purge that was done before, which a log cut back does not know.
        let done = BTreeSet::from([key_of(2)]);
        let known = (done, BTreeMap::new());
        let (log, pieces) = target.blobs(&tenant(), &directory, taken, known).unwrap();
        assert_eq!((log.head.t.get(), pieces.len()), (2, 1));
    }

    #[test]
    fn what_the_log_gained_is_walked_through_and_what_it_had_is_not_again() {
        let options = SledStoreOptions { segment_bytes: 1, ..SledStoreOptions::default() };
        let clinic = clinic_with(4, options);
        let (directory, backup) = (clinic.directory(), clinic.folder.path().join("backup"));
        let taken = walk(&tenant(), &directory, None, &mut || {}).unwrap();
        assert!(taken.segments.len() > 2, "{taken:?}");
        clinic.purge(5, 2);
        clinic.purge(6, 3);
        let whole = walk(&tenant(), &directory, None, &mut || {}).unwrap();
        // Whoever reads it again does not get through.
        let first = &taken.segments[0];
        let mut bytes = fs::read(&first.path).unwrap();
        bytes[first.length as usize / 2] ^= 1;
        fs::write(&first.path, bytes).unwrap();
        walk(&tenant(), &directory, None, &mut || {}).unwrap_err();
        let clock = SystemClock::start();
        let pace = Pace::beside(&directory, 100, &clock);
        let mut target = Target { backup: &backup, number: 1, copied: 0, pace };
        let known = (BTreeSet::new(), BTreeMap::new());
        let (log, pieces) = target.blobs(&tenant(), &directory, taken, known).unwrap();
        assert_eq!((log, pieces.len()), (whole, 2));
    }

    /// The ledger says that a purge of this patient has begun; the log does not.
    fn begin_purge(directory: &Path, patient: u64) {
        let entry = LedgerEntry {
            state: PurgeState::Begun,
            key: key_of(patient),
            commit: CommitId(9),
            instant: contract::Instant::from_micros(1),
            patient: patient.to_string().parse().unwrap(),
            reason: "a test".into(),
            by: "uid 1".into(),
        };
        fs::create_dir_all(directory.join("keys")).unwrap();
        fs::write(directory.join("keys/purges"), encode_ledger(&[entry])).unwrap();
    }

    #[test]
    fn a_harmed_blob_ends_a_backup_also_while_its_patient_is_being_purged() {
        let clinic = clinic(2);
        let (directory, backup) = (clinic.directory(), clinic.folder.path().join("backup"));
        let taken = walk(&tenant(), &directory, None, &mut || {}).unwrap();
        begin_purge(&directory, 2);
        let path = blob_path(&directory, Clinic::blob(2));
        let whole = fs::read(&path).unwrap();
        let clock = SystemClock::start();
        let copied = |log: &LogExtent| {
            let pace = Pace::beside(&directory, 100, &clock);
            let mut target = Target { backup: &backup, number: 1, copied: 0, pace };
            let known = (BTreeSet::new(), BTreeMap::new());
            target.blobs(&tenant(), &directory, log.clone(), known)
        };
        fs::write(&path, &whole[1..]).unwrap();
        let lost = copied(&taken).unwrap_err();
        assert!(matches!(lost, BackupError::Blob { t: 2, .. }), "{lost:?}");
        // One that the purge has removed, of a log that was cut back and says so no more.
        fs::remove_file(&path).unwrap();
        assert_eq!(copied(&taken).unwrap().1.len(), 1);
    }

    #[test]
    fn the_log_is_walked_through_once_for_all_blobs_of_one_purge() {
        let clinic = clinic(2);
        let directory = clinic.directory();
        let tenant = tenant();
        let taken = walk(&tenant, &directory, None, &mut || {}).unwrap();
        clinic.purge(3, 1);
        let mut since = Since::new(&tenant, &directory, &taken);
        assert!(since.purged(key_of(1)).unwrap() && !since.purged(key_of(2)).unwrap());
        std::fs::rename(directory.join("log"), directory.join("log-away")).unwrap();
        assert!(since.purged(key_of(1)).unwrap());
        since.purged(key_of(2)).unwrap_err();
    }
}
