//! Which patients a closed segment names, so that what is asked of one patient does not open the
//! segments that name others alone. It is made of what the segments hold and may be missing: then
//! the segment is read.
//!
//! The file beside a segment, `NUMBER.patients`, is magic `HGAUDPT1` (8), CRC-32C of the rest (4),
//! and the hash of each patient's id (8, little-endian, ascending), sealed as the segment's groups
//! are. A hash may be another id's too: then the segment is read for nothing.

use std::collections::HashSet;
use std::io;

use super::frame::SegmentHeader;
use super::segments::Segment;
use super::{Shared, frame};

const MAGIC: &[u8; 8] = b"HGAUDPT1";
const SEALED: &[u8] = b"hearthgate audit patients 1";

/// The hash that a patient's id stands for here: FNV-1a, which is quick and hides nothing.
pub(super) fn hash_of(patient: &str) -> u64 {
    let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    patient.bytes().fold(0xcbf2_9ce4_8422_2325, fold)
}

impl Shared {
    /// Writes down whom a segment names that no more is written to. That it cannot be is nobody's
    /// loss but of time.
    pub(super) fn close_patients(&self, header: &SegmentHeader, patients: &HashSet<u64>) {
        let mut hashes: Vec<u64> = patients.iter().copied().collect();
        hashes.sort_unstable();
        let body: Vec<u8> = hashes.iter().flat_map(|hash| hash.to_le_bytes()).collect();
        let written = self.sealed_with(header, &additional(header), &body).and_then(|body| {
            let crc = crc32c::crc32c(&body).to_le_bytes();
            let bytes = [&MAGIC[..], &crc, &body].concat();
            self.folder.disk().write_whole(&self.folder.patients(header.number), &bytes)
        });
        if let Err(error) = written {
            let number = header.number;
            tracing::warn!(number, %error, "the patients of a segment of the audit log could not be written down");
        }
    }

    /// The bytes of the file that says that a segment does not name this patient; `None` where it
    /// may.
    pub(super) fn without(&self, header: &SegmentHeader, patient: u64) -> Option<u64> {
        let bytes = self.folder.disk().read(&self.folder.patients(header.number)).ok()?;
        let (crc, body) = bytes.strip_prefix(MAGIC)?.split_first_chunk()?;
        if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
            return None;
        }
        let body = self.unsealed_with(header, &additional(header), body).ok()?;
        let (hashes, []) = body.as_chunks::<8>() else { return None };
        let found = hashes.binary_search_by_key(&patient, |hash| u64::from_le_bytes(*hash));
        found.is_err().then_some(bytes.len() as u64)
    }

    /// Whom a segment names that is written on; `None` where it cannot be read now.
    pub(super) fn patients_of(&self, segment: &Segment) -> Option<HashSet<u64>> {
        let mut groups = Vec::new();
        segment.walk(|group| groups.push(group));
        let mut patients = HashSet::new();
        for group in groups {
            let body = self.unsealed(&segment.header, &group).ok()?;
            for event in frame::events(&body)? {
                let event = store::audit::decode(event).ok()?;
                patients.extend(event.patients.iter().map(|patient| hash_of(patient)));
            }
        }
        Some(patients)
    }

    /// Removes what was said of a segment that is written on.
    pub(super) fn forget_patients(&self, number: u64) -> io::Result<()> {
        match self.folder.disk().remove(&self.folder.patients(number)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }
}

fn additional(header: &SegmentHeader) -> Vec<u8> {
    let mut bytes = SEALED.to_vec();
    bytes.extend_from_slice(header.tenant.as_str().as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(&header.number.to_le_bytes());
    bytes
}
