//! Whether an audit log is whole: checksums, and the chain of hashes by which what was taken out
//! of it is missed. It takes no keys: what is sealed stays so.

use std::io;
use std::path::Path;

use fhir_core::Instant;
use store::TenantText;
use store::audit::ChainHash;

use super::segments::{End, Folder};
use crate::disk::Disk;

/// What an audit log was found to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditVerified {
    /// Files.
    pub segments: usize,
    /// Whole groups of events.
    pub groups: u64,
    /// Events in them.
    pub events: u64,
    /// The number of the first event that is kept, and an instant that it is not before.
    pub first: Option<(u64, Instant)>,
    /// The instant of the newest event.
    pub newest: Option<Instant>,
    /// The hash that the chain ends with: noted elsewhere, it tells whether the end was cut off.
    pub hash: ChainHash,
    /// Bytes of a group at the end that is not whole: being written now, or left by a process that
    /// was killed.
    pub unfinished: u64,
    /// What is wrong, in words.
    pub flaws: Vec<String>,
}

/// Reads a tenant's audit log and says whether it is whole. Blocks. A server may be writing to it.
///
/// # Errors
/// When a file cannot be read.
pub fn verify_audit(directory: &Path, tenant: &TenantText) -> io::Result<AuditVerified> {
    let folder = Folder::of_tenant(directory, Disk::default());
    let numbers = folder.numbers()?;
    let mut found = AuditVerified {
        segments: numbers.len(),
        groups: 0,
        events: 0,
        first: None,
        newest: None,
        hash: [0; 32],
        unfinished: 0,
        flaws: Vec::new(),
    };
    let mut expected: Option<(u64, u64)> = None;
    let last = numbers.last().copied();
    for number in numbers {
        let name = format!("{number:016}.log");
        let Some(segment) = folder.load(number, tenant)? else {
            found.flaws.push(format!("{name} does not begin as a segment of this tenant does"));
            continue;
        };
        let header = &segment.header;
        if let Some((next_number, next_event)) = expected {
            if next_number != number {
                found.flaws.push(format!("segments {next_number} to {} are missing", number - 1));
            }
            if next_event != header.first {
                let (from, to) = (next_event, header.first);
                found.flaws.push(format!("{name} begins with event {to}, not {from}"));
            } else if found.hash != header.before {
                found.flaws.push(format!("{name} does not continue what is before it"));
            }
        }
        found.first = found.first.or(Some((header.first, header.since)));
        let (mut groups, mut events, mut newest) = (0, 0, None);
        let walked = segment.walk(|group| {
            groups += 1;
            events += u64::from(group.count);
            newest = Some(group.ends);
        });
        found.groups += groups;
        found.events += events;
        found.newest = newest.or(found.newest);
        found.hash = walked.hash;
        expected = Some((number + 1, walked.next));
        let left = (segment.bytes.len() - walked.offset) as u64;
        match walked.end {
            End::Whole => {}
            End::Torn if Some(number) == last => found.unfinished = left,
            End::Torn => found.flaws.push(format!(
                "{name} ends with {left} bytes from offset {} on that are no group",
                walked.offset
            )),
            End::Damaged => found.flaws.push(format!(
                "{name}: what stands at offset {} does not continue what is before it; {left} \
                 bytes from there on are not looked at",
                walked.offset
            )),
        }
    }
    Ok(found)
}
