//! How far the files of an audit log are whole, for whoever copies them beside a running server.

use std::io;
use std::path::{Path, PathBuf};

use store::TenantText;

use super::segments::{End, Folder};
use crate::disk::Disk;

/// A file of the audit log, and how much of it stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditSegment {
    /// Its number.
    pub number: u64,
    /// Its path.
    pub path: PathBuf,
    /// Bytes up to the end of a whole group; of one that is damaged, all.
    pub length: u64,
    /// Whether something in it is no group, or does not continue what is before it.
    pub is_damaged: bool,
}

/// The files of a tenant's audit log, in order. Those before number `from` are taken as they are,
/// unread. Blocks.
///
/// # Errors
/// When a file cannot be read.
pub fn audit_segments(
    directory: &Path,
    tenant: &TenantText,
    from: u64,
) -> io::Result<Vec<AuditSegment>> {
    let folder = Folder::of_tenant(directory, Disk::default());
    let numbers = folder.numbers()?;
    let last = numbers.last().copied();
    let mut found = Vec::with_capacity(numbers.len());
    for number in numbers {
        let path = folder.segment(number);
        let segment = match number < from {
            true => std::fs::metadata(&path).map(|metadata| (metadata.len(), false)),
            false => folder.load(number, tenant).and_then(|segment| match segment {
                None => Ok((std::fs::metadata(&path)?.len(), true)),
                Some(segment) => {
                    let walked = segment.walk(|_| {});
                    Ok(match walked.end {
                        End::Whole => (walked.offset as u64, false),
                        // Being written now.
                        End::Torn if Some(number) == last => (walked.offset as u64, false),
                        End::Torn | End::Damaged => (segment.bytes.len() as u64, true),
                    })
                }
            }),
        };
        match segment {
            // Older than must be kept, and removed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            segment => {
                let (length, is_damaged) = segment?;
                found.push(AuditSegment { number, path, length, is_damaged });
            }
        }
    }
    Ok(found)
}
