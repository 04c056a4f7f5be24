//! How segments of the audit log begin, and how groups of events are framed in them. All numbers
//! are little-endian.
//!
//! A segment begins with magic `HGAUDIT1` (8), its number (8), the number of its first event (8),
//! an instant that none of its events is before (8), the hash of the group before (32), the name
//! of the key that its groups are sealed with (16; zeros where they are not), the tenant (1 + n)
//! and CRC-32C of all that (4).
//!
//! A group is magic `HGA1` (4), length of its body (4), number of events (4), number of the first
//! (8), instants of the first and the last (8, 8), the hash of the group before (32), CRC-32C of
//! all that (4); the body; and SHA-256 of all that (32), which is what the next group names. The
//! body, sealed where the tenant has keys, is of each event its length (4) and bytes.

use fhir_core::Instant;
use store::TenantText;
use store::audit::{ChainHash, chain_hash};

const SEGMENT_MAGIC: &[u8; 8] = b"HGAUDIT1";
const SEGMENT_FIXED: usize = 8 + 8 + 8 + 8 + 32 + 16 + 1;
const GROUP_MAGIC: &[u8; 4] = b"HGA1";
const GROUP_HEADER: usize = 4 + 4 + 4 + 8 + 8 + 8 + 32 + CRC;
const CRC: usize = 4;
const HASH: usize = 32;
/// The longest body: far more than waits at once.
const MOST_BODY: usize = 1 << 28;

/// What a segment says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) number: u64,
    pub(super) first: u64,
    pub(super) since: Instant,
    pub(super) before: ChainHash,
    pub(super) key: [u8; 16],
    pub(super) tenant: TenantText,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = SEGMENT_MAGIC.to_vec();
        bytes.extend_from_slice(&self.number.to_le_bytes());
        bytes.extend_from_slice(&self.first.to_le_bytes());
        bytes.extend_from_slice(&self.since.as_micros().to_le_bytes());
        bytes.extend_from_slice(&self.before);
        bytes.extend_from_slice(&self.key);
        let tenant = self.tenant.as_str();
        bytes.push(u8::try_from(tenant.len()).expect("a tenant has at most 64 bytes"));
        bytes.extend_from_slice(tenant.as_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        bytes
    }

    /// The header that these bytes begin with, and its length.
    pub(super) fn decode(bytes: &[u8]) -> Option<(Self, usize)> {
        let tenant = usize::from(*bytes.get(SEGMENT_FIXED - 1)?);
        let end = SEGMENT_FIXED + tenant;
        let (header, rest) = bytes.split_at_checked(end)?;
        let rest = header.strip_prefix(SEGMENT_MAGIC).filter(|_| is_checked(header, rest))?;
        let (number, rest) = u64_of(rest)?;
        let (first, rest) = u64_of(rest)?;
        let (since, rest) = instant_of(rest)?;
        let (before, rest) = rest.split_first_chunk()?;
        let (key, rest) = rest.split_first_chunk()?;
        let tenant = TenantText::new(std::str::from_utf8(rest.get(1..)?).ok()?).ok()?;
        let header = Self { number, first, since, before: *before, key: *key, tenant };
        Some((header, end + CRC))
    }

    /// Whether its groups are sealed.
    pub(super) fn is_sealed(&self) -> bool {
        self.key != [0; 16]
    }
}

/// A group, its body as it lies in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group<'a> {
    pub(super) count: u32,
    pub(super) first: u64,
    pub(super) begins: Instant,
    pub(super) ends: Instant,
    pub(super) before: ChainHash,
    pub(super) body: &'a [u8],
}

impl<'a> Group<'a> {
    /// Its bytes and its hash.
    pub(super) fn encode(&self) -> (Vec<u8>, ChainHash) {
        let mut bytes = Vec::with_capacity(GROUP_HEADER + self.body.len() + HASH);
        bytes.extend_from_slice(GROUP_MAGIC);
        let length = u32::try_from(self.body.len()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&self.count.to_le_bytes());
        bytes.extend_from_slice(&self.first.to_le_bytes());
        bytes.extend_from_slice(&self.begins.as_micros().to_le_bytes());
        bytes.extend_from_slice(&self.ends.as_micros().to_le_bytes());
        bytes.extend_from_slice(&self.before);
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        bytes.extend_from_slice(self.body);
        let hash = chain_hash(&bytes);
        bytes.extend_from_slice(&hash);
        (bytes, hash)
    }

    /// The whole group that these bytes begin with, its length and hash; `None` where there is no
    /// such, be it that one is not whole.
    pub(super) fn decode(bytes: &'a [u8]) -> Option<(Self, usize, ChainHash)> {
        let (header, rest) = bytes.split_at_checked(GROUP_HEADER - CRC)?;
        let fields = header.strip_prefix(GROUP_MAGIC).filter(|_| is_checked(header, rest))?;
        let (length, fields) = fields.split_first_chunk()?;
        let (count, fields) = fields.split_first_chunk()?;
        let (first, fields) = u64_of(fields)?;
        let (begins, fields) = instant_of(fields)?;
        let (ends, fields) = instant_of(fields)?;
        let before = fields.try_into().ok()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let end = GROUP_HEADER + length.min(MOST_BODY);
        let body = bytes.get(GROUP_HEADER..end)?;
        let (hash, _) = bytes[end..].split_first_chunk::<HASH>()?;
        if chain_hash(&bytes[..end]) != *hash {
            return None;
        }
        let count = u32::from_le_bytes(*count);
        Some((Self { count, first, begins, ends, before, body }, end + HASH, *hash))
    }

    /// The offset of the first whole group in these bytes.
    pub(super) fn find(bytes: &[u8]) -> Option<usize> {
        let mut places = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(GROUP_MAGIC));
        places.find(|at| Group::decode(&bytes[*at..]).is_some())
    }
}

/// Appends an event to a body.
pub(super) fn put(event: &[u8], body: &mut Vec<u8>) {
    body.extend_from_slice(&u32::try_from(event.len()).unwrap_or(u32::MAX).to_le_bytes());
    body.extend_from_slice(event);
}

/// The events of a body, if it is whole.
pub(super) fn events(body: &[u8]) -> Option<Vec<&[u8]>> {
    let (mut rest, mut events) = (body, Vec::new());
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (event, after) = after.split_at_checked(length)?;
        events.push(event);
        rest = after;
    }
    Some(events)
}

fn is_checked(bytes: &[u8], rest: &[u8]) -> bool {
    rest.first_chunk().is_some_and(|crc| crc32c::crc32c(bytes) == u32::from_le_bytes(*crc))
}

fn u64_of(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u64::from_le_bytes(*number), rest))
}

fn instant_of(bytes: &[u8]) -> Option<(Instant, &[u8])> {
    let (micros, rest) = bytes.split_first_chunk()?;
    Some((Instant::from_micros(i64::from_le_bytes(*micros)), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_group_is_read_as_it_was_written_and_no_flipped_bit_is_overlooked(
            body in prop::collection::vec(any::<u8>(), 0..60),
            (count, first) in (any::<u32>(), any::<u64>()),
            at in any::<prop::sample::Index>(),
        ) {
            let instant = Instant::from_micros(7);
            let group = Group {
                count, first, begins: instant, ends: instant, before: [9; 32], body: &body,
            };
            let (mut bytes, hash) = group.encode();
            let length = bytes.len();
            prop_assert_eq!(Group::decode(&bytes), Some((group.clone(), length, hash)));
            prop_assert_eq!(Group::decode(&bytes[..length - 1]), None);
            bytes[at.index(length)] ^= 1;
            prop_assert_eq!(Group::decode(&bytes), None);
        }

        #[test]
        fn any_bytes_are_a_segments_header_or_none(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let all = [SEGMENT_MAGIC.to_vec(), bytes].concat();
            prop_assert!(SegmentHeader::decode(&all).is_none());
        }
    }

    #[test]
    fn a_segments_header_is_read_as_it_was_written() {
        let header = SegmentHeader {
            number: 3,
            first: 70,
            since: Instant::from_micros(-1),
            before: [4; 32],
            key: [5; 16],
            tenant: TenantText::new("clinic").unwrap(),
        };
        let mut bytes = header.encode();
        let length = bytes.len();
        bytes.extend_from_slice(b"more");
        assert_eq!(SegmentHeader::decode(&bytes), Some((header, length)));
        bytes[length - 1] ^= 1;
        assert_eq!(SegmentHeader::decode(&bytes), None);
    }
}
