//! The backup being written: tenants, definitions and the registry, copied piece by piece. In which
//! order, and what the manifest says, is decided above.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use ring::digest::{Context, SHA256};
use store::TenantText;
use store_sled::Reached;

use super::error::{BackupError, failed};
use super::files::{create, finish, make_directory, unfinished, write_whole};
use super::manifest::{LastCommit, Manifest, Piece, Segment, Tenant, hexadecimal};
use super::pace::Pace;
use super::{blobs, digest};
use crate::key_copies::Folder;

/// What is copied is synced after so many bytes: the disk would be busy for long with all of it at
/// once, while others wait for theirs.
const SYNCED_AT_ONCE: u64 = 4 << 20;

/// The backup being written.
pub(super) struct Target<'a> {
    pub(super) backup: &'a Path,
    pub(super) number: u64,
    pub(super) copied: u64,
    pub(super) pace: Pace<'a>,
}

impl Target<'_> {
    /// Copies what of a tenant is not in the backup `before`.
    pub(super) fn tenant(
        &mut self,
        name: &TenantText,
        directory: &Path,
        before: Option<&Tenant>,
    ) -> Result<Tenant, BackupError> {
        let reached = before.and_then(|before| {
            let segment = before.segments.last()?.number;
            Some(Reached { head: before.head.head()?, segment })
        });
        // In this order: what is done when the ledger is read stands in the log by then, or in
        // none.
        let purged = blobs::done_in(&Folder::of_tenant(directory))?;
        let taken = blobs::walk(name, directory, reached.as_ref(), &mut || self.pace.step())?;
        let known = before.map_or_else(Default::default, |before| before.blobs.clone());
        let (taken, blobs) = self.blobs(name, directory, taken, (purged, known))?;
        let format = directory.join("format");
        let store_format = fs::read_to_string(&format).map_err(failed("read", &format))?;
        let mut segments = before.map_or(Vec::new(), |before| before.segments.clone());
        for segment in &taken.segments {
            let mut known = match segments.last() {
                Some(last) if last.number == segment.number => segments.pop().unwrap_or_default(),
                _ => Segment { number: segment.number, pieces: Vec::new() },
            };
            let from = known.length();
            if segment.length > from {
                let file = format!(
                    "tenants/{}/log/{:016}/{from:012}-{:012}",
                    name.as_str(),
                    segment.number,
                    segment.length
                );
                known.pieces.push(self.copy(&segment.path, from..segment.length, file)?);
            }
            segments.push(known);
        }
        let definitions = self.definitions(name, directory, before)?;
        // Last: whoever wrote what is copied is in it.
        let audit =
            self.audit(name, directory, before.map_or(&[][..], |before| before.audit.as_slice()))?;
        let head = LastCommit::of(&taken.head);
        Ok(Tenant { head, store_format, definitions, segments, blobs, audit })
    }

    /// The definitions of the FHIR version that the tenant began with; none where that is R4. They
    /// never change.
    fn definitions(
        &mut self,
        name: &TenantText,
        directory: &Path,
        before: Option<&Tenant>,
    ) -> Result<Option<Piece>, BackupError> {
        if let Some(known) = before.and_then(|before| before.definitions.clone()) {
            return Ok(Some(known));
        }
        let path = directory.join(crate::definitions::FILE);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(failed("read", &path))?,
        };
        let file = format!("tenants/{}/definitions", name.as_str());
        let place = self.place(&file)?;
        write_whole(&place, &bytes).map_err(failed("write", &place))?;
        let length = bytes.len() as u64;
        self.copied += length;
        Ok(Some(Piece { file, length, sha256: digest(&bytes) }))
    }

    /// Copies the registry, where it is not as it was in the `last` backup.
    pub(super) fn registry(
        &mut self,
        directory: &Path,
        last: Option<&Manifest>,
    ) -> Result<Option<Piece>, BackupError> {
        let known = last.and_then(|last| last.registry.as_ref());
        if registry::is_in_postgres(directory) {
            // It is backed up with its database from then on.
            return Ok(None);
        }
        if !directory.join("format").exists() {
            return known.map_or(Ok(None), |_| Err(BackupError::Gone("the registry".to_owned())));
        }
        let changes = registry::whole_changes(directory)?;
        let sha256 = digest(&changes);
        if let Some(piece) = known {
            if piece.sha256 == sha256 {
                return Ok(Some(piece.clone()));
            }
            // Changes are only ever added.
            let before = usize::try_from(piece.length).ok().and_then(|end| changes.get(..end));
            if before.is_none_or(|before| digest(before) != piece.sha256) {
                return Err(BackupError::OtherRegistry(directory.to_owned()));
            }
        }
        let file = format!("registry/changes-{:06}", self.number);
        let path = self.place(&file)?;
        write_whole(&path, &changes).map_err(failed("write", &path))?;
        self.copied += changes.len() as u64;
        Ok(Some(Piece { file, length: changes.len() as u64, sha256 }))
    }

    /// Copies a part of a file that holds it for good.
    pub(super) fn copy(
        &mut self,
        from: &Path,
        range: std::ops::Range<u64>,
        file: String,
    ) -> Result<Piece, BackupError> {
        let path = self.place(&file)?;
        let mut source = File::open(from).map_err(failed("open", from))?;
        source.seek(SeekFrom::Start(range.start)).map_err(failed("read", from))?;
        let length = range.end - range.start;
        let mut source = source.take(length);
        let unfinished = unfinished(&path);
        let mut target = create(&unfinished).map_err(failed("create", &unfinished))?;
        let mut hash = Context::new(&SHA256);
        let mut buffer = vec![0; 1 << 20];
        let (mut copied, mut unsynced) = (0, 0);
        loop {
            let read = source.read(&mut buffer).map_err(failed("read", from))?;
            if read == 0 {
                break;
            }
            hash.update(&buffer[..read]);
            target.write_all(&buffer[..read]).map_err(failed("write", &unfinished))?;
            copied += read as u64;
            unsynced += read as u64;
            if unsynced >= SYNCED_AT_ONCE {
                target.sync_data().map_err(failed("sync", &unfinished))?;
                unsynced = 0;
            }
            self.pace.step();
        }
        if copied != length {
            return Err(failed("read", from)(io::ErrorKind::UnexpectedEof.into()));
        }
        target.sync_all().map_err(failed("sync", &unfinished))?;
        finish(&unfinished, &path).map_err(failed("name", &path))?;
        self.copied += length;
        Ok(Piece { file, length, sha256: hexadecimal(hash.finish().as_ref()) })
    }

    /// Where a file of the backup goes; its directory is there then.
    pub(super) fn place(&self, file: &str) -> Result<PathBuf, BackupError> {
        let path = self.backup.join(file);
        make_directory(path.parent().unwrap_or(self.backup))?;
        Ok(path)
    }
}

impl Default for Segment {
    fn default() -> Self {
        Self { number: 1, pieces: Vec::new() }
    }
}
