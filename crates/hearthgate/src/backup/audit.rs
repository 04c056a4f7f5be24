//! The files of a tenant's audit log in a backup: copied up to a whole group of events, each time
//! what came since, and put back as they were.
//!
//! Files that are older than must be kept are gone from the data directory, and from the backups
//! made after that. What is damaged is copied all the same, and anew each time: it is evidence.
//! Which patients a file names is not copied (`store-sled`, `audit/patients.rs`).

use std::fs::File;
use std::io::{Read, Write as _};
use std::path::Path;

use store::TenantText;
use store_sled::{AuditSegment, audit_segments};

use super::digest;
use super::error::{BackupError, failed};
use super::files::{create, make_directory, sync_parent};
use super::manifest::Segment;
use super::reading::read_piece;
use super::target::Target;

impl Target<'_> {
    /// Copies what is not in the backup before, whose files are `known`.
    pub(super) fn audit(
        &mut self,
        tenant: &TenantText,
        directory: &Path,
        known: &[Segment],
    ) -> Result<Vec<Segment>, BackupError> {
        let from = known.last().map_or(0, |last| last.number);
        let found = audit_segments(directory, tenant, from);
        let found = found.map_err(failed("read", &directory.join("audit")))?;
        if let Some(last) = known.last().filter(|last| last.length() > 0)
            && found.last().is_none_or(|newest| newest.number < last.number)
        {
            return Err(BackupError::OtherAudit(directory.join("audit")));
        }
        let mut segments = Vec::with_capacity(found.len());
        for segment in &found {
            let before = known.iter().find(|known| known.number == segment.number);
            segments.push(self.audit_segment(tenant, segment, before)?);
        }
        Ok(segments)
    }

    fn audit_segment(
        &mut self,
        tenant: &TenantText,
        segment: &AuditSegment,
        before: Option<&Segment>,
    ) -> Result<Segment, BackupError> {
        let AuditSegment { number, path, length, is_damaged } = segment;
        let place = format!("tenants/{}/audit/{number:016}", tenant.as_str());
        if *is_damaged {
            let file = format!("{place}/damaged-{:06}", self.number);
            let piece = self.copy(path, 0..*length, file)?;
            return Ok(Segment { number: *number, pieces: vec![piece] });
        }
        let mut copied = match before {
            Some(before) => before.clone(),
            None => Segment { number: *number, pieces: Vec::new() },
        };
        let from = copied.length();
        if *length < from {
            return Err(BackupError::OtherAudit(path.clone()));
        }
        if *length > from {
            check_known(path, &copied)?;
            let file = format!("{place}/{from:012}-{length:012}");
            copied.pieces.push(self.copy(path, from..*length, file)?);
        }
        Ok(copied)
    }
}

/// Checks that a file begins with what was copied of it before.
fn check_known(path: &Path, known: &Segment) -> Result<(), BackupError> {
    let mut file = File::open(path).map_err(failed("open", path))?;
    for piece in &known.pieces {
        let mut part = Vec::new();
        let read = Read::by_ref(&mut file).take(piece.length).read_to_end(&mut part);
        read.map_err(failed("read", path))?;
        if digest(&part) != piece.sha256 {
            return Err(BackupError::OtherAudit(path.to_owned()));
        }
    }
    Ok(())
}

/// Puts the files back into a tenant's directory.
pub(super) fn restore(
    backup: &Path,
    directory: &Path,
    segments: &[Segment],
) -> Result<(), BackupError> {
    let audit = directory.join("audit");
    for segment in segments {
        make_directory(&audit)?;
        let path = audit.join(format!("{:016}.log", segment.number));
        let mut file = create(&path).map_err(failed("create", &path))?;
        for piece in &segment.pieces {
            read_piece(backup, piece, |bytes| {
                file.write_all(bytes).map_err(failed("write", &path))
            })?;
        }
        file.sync_all().and_then(|()| sync_parent(&path)).map_err(failed("sync", &path))?;
    }
    Ok(())
}
