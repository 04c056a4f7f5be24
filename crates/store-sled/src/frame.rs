//! How segments begin and how groups are framed within them. All numbers are little-endian.
//!
//! A segment begins with its header: magic `HGATELOG` (8), format 1 (4), length of the header
//! (4), number of the segment (8), and where the log stood when it began: `t` (8), instant (8),
//! hash (32); then the tenant (1 + n) and CRC-32C of all that (4).
//!
//! A group begins with its header: magic `HGG1` (4), number of commits (4), length of the whole
//! group (8), first `t` (8), reserved zero (4), CRC-32C of all that (4); then come the records,
//! then the trailer: the header's checksum again (4) and the magic `HGE1` (4). The last byte of a
//! whole group is therefore never zero, which is how a tail that is zero-filled is told from a
//! group that is damaged.

use fhir_core::Instant;
use store::{CommitHash, Head, T, TenantText};

use crate::error::Flaw;

/// Bytes of a group's header.
pub(crate) const GROUP_HEADER: usize = 32;
/// Bytes of a group's trailer.
pub(crate) const GROUP_TRAILER: usize = 8;
/// The most bytes a segment's header can have.
pub(crate) const MAX_SEGMENT_HEADER: usize = SEGMENT_FIXED + TenantText::MAX_LENGTH + CRC;

const SEGMENT_MAGIC: &[u8; 8] = b"HGATELOG";
const SEGMENT_FORMAT: u32 = 1;
/// Up to and including the length of the tenant.
const SEGMENT_FIXED: usize = 8 + 4 + 4 + 8 + 8 + 8 + 32 + 1;
const GROUP_MAGIC: &[u8; 4] = b"HGG1";
/// The most commits of a group.
pub(crate) const MAX_GROUP_COMMITS: usize = 1 << 16;
/// What a group's trailer ends with.
pub(crate) const TRAILER_MAGIC: &[u8; 4] = b"HGE1";
const CRC: usize = 4;

/// What a segment says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) number: u64,
    /// The head of the log when the segment began.
    pub(crate) base: Head,
    pub(crate) tenant: TenantText,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let tenant = self.tenant.as_str();
        let length = SEGMENT_FIXED + tenant.len() + CRC;
        let mut bytes = Vec::with_capacity(length);
        bytes.extend_from_slice(SEGMENT_MAGIC);
        bytes.extend_from_slice(&SEGMENT_FORMAT.to_le_bytes());
        bytes.extend_from_slice(&(length as u32).to_le_bytes());
        bytes.extend_from_slice(&self.number.to_le_bytes());
        bytes.extend_from_slice(&self.base.t.get().to_le_bytes());
        bytes.extend_from_slice(&self.base.instant.as_micros().to_le_bytes());
        bytes.extend_from_slice(&self.base.hash.0);
        bytes.push(tenant.len() as u8);
        bytes.extend_from_slice(tenant.as_bytes());
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// The header that `bytes` begins with, and its length.
    pub(crate) fn decode(bytes: &[u8]) -> Result<(Self, usize), Flaw> {
        const WHAT: &str = "segment's header";
        let short =
            |needed: usize| Flaw::Short { needed: needed as u64, available: bytes.len() as u64 };
        if bytes.len() < SEGMENT_FIXED {
            return Err(short(SEGMENT_FIXED));
        }
        if &bytes[..8] != SEGMENT_MAGIC {
            return Err(Flaw::Magic(WHAT));
        }
        let length = SEGMENT_FIXED + usize::from(bytes[SEGMENT_FIXED - 1]) + CRC;
        let header = bytes.get(..length).ok_or_else(|| short(length))?;
        verify_checksum(WHAT, header)?;
        if number_4(&header[8..]) != SEGMENT_FORMAT || number_4(&header[12..]) as usize != length {
            return Err(Flaw::Field("segment's format"));
        }
        let tenant = std::str::from_utf8(&header[SEGMENT_FIXED..length - CRC]).ok();
        let tenant = tenant.and_then(|text| TenantText::new(text).ok());
        let mut hash = CommitHash::ZERO;
        hash.0.copy_from_slice(&header[40..72]);
        let header = Self {
            number: number_8(&header[16..]),
            base: Head {
                t: T::new(number_8(&header[24..])),
                instant: Instant::from_micros(number_8(&header[32..]) as i64),
                hash,
            },
            tenant: tenant.ok_or(Flaw::Field("segment's tenant"))?,
        };
        Ok((header, length))
    }
}

/// What a group says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GroupHeader {
    pub(crate) commits: u32,
    /// Of header, records and trailer.
    pub(crate) length: u64,
    pub(crate) first: T,
}

impl GroupHeader {
    pub(crate) fn encode(&self) -> [u8; GROUP_HEADER] {
        let mut bytes = [0; GROUP_HEADER];
        bytes[0..4].copy_from_slice(GROUP_MAGIC);
        bytes[4..8].copy_from_slice(&self.commits.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.length.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.first.get().to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[..GROUP_HEADER - CRC]);
        bytes[GROUP_HEADER - CRC..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Flaw> {
        const WHAT: &str = "group's header";
        if bytes.len() < GROUP_HEADER {
            return Err(Flaw::Short { needed: GROUP_HEADER as u64, available: bytes.len() as u64 });
        }
        let header = &bytes[..GROUP_HEADER];
        if &header[..4] != GROUP_MAGIC {
            return Err(Flaw::Magic(WHAT));
        }
        verify_checksum(WHAT, header)?;
        let group = Self {
            commits: number_4(&header[4..]),
            length: number_8(&header[8..]),
            first: T::new(number_8(&header[16..])),
        };
        let framing = (GROUP_HEADER + GROUP_TRAILER) as u64;
        if group.commits == 0 || group.length < framing || number_4(&header[24..]) != 0 {
            return Err(Flaw::Field(WHAT));
        }
        Ok(group)
    }

    /// What the group ends with.
    pub(crate) fn trailer(&self) -> [u8; GROUP_TRAILER] {
        let mut bytes = [0; GROUP_TRAILER];
        bytes[..CRC].copy_from_slice(&self.encode()[GROUP_HEADER - CRC..]);
        bytes[CRC..].copy_from_slice(TRAILER_MAGIC);
        bytes
    }
}

/// Verifies the checksum that `bytes` ends with.
fn verify_checksum(what: &'static str, bytes: &[u8]) -> Result<(), Flaw> {
    let (covered, checksum) = bytes.split_at(bytes.len() - CRC);
    let (stored, computed) = (number_4(checksum), crc32c::crc32c(covered));
    if stored == computed {
        return Ok(());
    }
    Err(Flaw::Checksum { what, stored, computed })
}

fn number_4(bytes: &[u8]) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[..4]);
    u32::from_le_bytes(number)
}

fn number_8(bytes: &[u8]) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[..8]);
    u64::from_le_bytes(number)
}
