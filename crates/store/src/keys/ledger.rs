//! The purge ledger: whose keys were destroyed, when and why. Kept with the keys and with every
//! copy of them, so that a copy made before a purge can be told what to forget.
//!
//! Magic `HGPURGES` (8 bytes), then for each purge: length of what follows the checksum (4),
//! CRC-32C of length and what follows (4), state (1: begun, 2: done), the key (8), the commit's id
//! (16), instant (8), then as text with its length in two bytes: patient, reason, by whom. Numbers
//! are little-endian.

use fhir_core::{Instant, ResourceId};

use crate::{CommitId, OwnerKeyId};

const MAGIC: &[u8; 8] = b"HGPURGES";
/// The longest text.
const LONGEST: usize = u16::MAX as usize;

/// A purge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerEntry {
    /// How far it is.
    pub state: PurgeState,
    /// The key that is destroyed.
    pub key: OwnerKeyId,
    /// The commit that says it in the log.
    pub commit: CommitId,
    /// When it was asked for.
    pub instant: Instant,
    /// Whose.
    pub patient: ResourceId,
    /// Why, in the operator's words; cut to what the ledger takes.
    pub reason: Box<str>,
    /// Who asked for it.
    pub by: Box<str>,
}

/// How far a purge is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum PurgeState {
    /// Asked for: it will be finished, also after a crash.
    Begun = 1,
    /// The commit is durable and the key is destroyed.
    Done = 2,
}

/// A ledger that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the purge ledger is damaged at byte {offset}")]
pub struct LedgerError {
    /// Where, in bytes.
    pub offset: usize,
}

/// A ledger's bytes.
#[must_use]
pub fn encode(entries: &[LedgerEntry]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    for entry in entries {
        let mut content = vec![entry.state as u8];
        content.extend_from_slice(&entry.key.0.to_le_bytes());
        content.extend_from_slice(&entry.commit.0.to_le_bytes());
        content.extend_from_slice(&entry.instant.as_micros().to_le_bytes());
        for text in [entry.patient.as_str(), &entry.reason, &entry.by] {
            let text = &text[..text.floor_char_boundary(LONGEST)];
            let length = u16::try_from(text.len()).expect("it was cut to that");
            content.extend_from_slice(&length.to_le_bytes());
            content.extend_from_slice(text.as_bytes());
        }
        let length = u32::try_from(content.len()).expect("three texts of at most 64 KB");
        let length = length.to_le_bytes();
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&length), &content);
        bytes.extend_from_slice(&length);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes.extend_from_slice(&content);
    }
    bytes
}

/// The purges in a ledger's bytes, in the order they were begun.
///
/// # Errors
/// [`LedgerError`] when it is not what [`encode`] wrote.
pub fn decode(bytes: &[u8]) -> Result<Vec<LedgerEntry>, LedgerError> {
    let mut rest = bytes.strip_prefix(MAGIC).ok_or(LedgerError { offset: 0 })?;
    let mut entries = Vec::new();
    while !rest.is_empty() {
        let offset = bytes.len() - rest.len();
        entries.push(entry(&mut rest).ok_or(LedgerError { offset })?);
    }
    Ok(entries)
}

fn entry(rest: &mut &[u8]) -> Option<LedgerEntry> {
    let length: [u8; 4] = take(rest)?;
    let checksum: [u8; 4] = take(rest)?;
    let (content, after) = rest.split_at_checked(u32::from_le_bytes(length) as usize)?;
    *rest = after;
    let computed = crc32c::crc32c_append(crc32c::crc32c(&length), content);
    if computed != u32::from_le_bytes(checksum) {
        return None;
    }
    let mut content = content;
    let content = &mut content;
    let state = match take(content)? {
        [1] => PurgeState::Begun,
        [2] => PurgeState::Done,
        _ => return None,
    };
    let key = OwnerKeyId(u64::from_le_bytes(take(content)?));
    let commit = CommitId(u128::from_le_bytes(take(content)?));
    let instant = Instant::from_micros(i64::from_le_bytes(take(content)?));
    let patient = ResourceId::new(text(content)?).ok()?;
    let (reason, by) = (text(content)?.into(), text(content)?.into());
    content.is_empty().then_some(LedgerEntry { state, key, commit, instant, patient, reason, by })
}

fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let length = u16::from_le_bytes(take(rest)?);
    let (text, after) = rest.split_at_checked(usize::from(length))?;
    *rest = after;
    std::str::from_utf8(text).ok()
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn purge(number: u64) -> LedgerEntry {
        LedgerEntry {
            state: if number.is_multiple_of(2) { PurgeState::Begun } else { PurgeState::Done },
            key: OwnerKeyId(number),
            commit: CommitId(number.into()),
            instant: Instant::from_micros(1_800_000_000_000_000),
            patient: format!("p{number}").parse().unwrap(),
            reason: "asked for by letter".into(),
            by: "uid 1000".into(),
        }
    }

    #[test]
    fn a_ledger_survives_its_bytes_and_every_changed_byte_is_damage() {
        let entries = [purge(1), purge(2)];
        let bytes = encode(&entries);
        assert_eq!(decode(&bytes).unwrap(), entries);
        assert_eq!(decode(&encode(&[])).unwrap(), []);
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x08;
            assert!(decode(&changed).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_reason_beyond_what_the_ledger_takes_is_cut_between_two_characters() {
        let long = LedgerEntry { reason: "ä".repeat(40_000).into(), ..purge(1) };
        let read = decode(&encode(&[long])).unwrap();
        assert_eq!(read[0].reason.len(), 65_534);
    }
}
