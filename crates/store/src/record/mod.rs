//! The record: a commit as bytes.
//!
//! All numbers are little-endian. A frame, from its first byte:
//!
//! | bytes | field |
//! |---|---|
//! | 4 | length of what follows the checksum |
//! | 4 | CRC-32C over the length and what follows the checksum |
//! | 1 | format: 2, or 1 |
//! | 1 | kind |
//! | 1 | FHIR version |
//! | 1 | reserved: 0 |
//! | 8 | `t` |
//! | 8 | instant, microseconds since 1970, signed |
//! | 16 | commit id |
//! | 32 | hash of the commit before |
//! | 1 + n | tenant |
//! | 1 | idempotency: 0, or 1 and then the next three |
//! | 2 + n, 2 + n, 32 | client, key, digest of the request |
//! | 4 | number of versions |
//!
//! and then per version a block:
//!
//! | bytes | field |
//! |---|---|
//! | 4 | length of what follows the checksum |
//! | 4 | CRC-32C over tenant (with its length), `t`, the length and what follows the checksum |
//! | 1 + n | type |
//! | 1 + n | id; in format 2, one that is a UUID in lower case: 0, then its 16 bytes |
//! | 8 | version number |
//! | 1 | flags |
//! | 8 | owner key id |
//! | 4 | dictionary |
//! | 32 | content hash |
//! | 4 | length of the JSON before coding |
//! | 4 + n | body; a reference of 56 bytes where the flags say that the body is a blob |
//!
//! A block carries a checksum of its own so that one version can be read and verified without
//! the rest of its commit. A commit's hash is SHA-256 over everything after the frame's checksum
//! but the blocks' lengths, checksums and bodies, in format 1, whatever the record's own is: so
//! it does not depend on where and how a commit is kept.
//!
//! A format has one way to write a commit: what decodes encodes to the same bytes. Records of
//! format 1 were written before there was 2; all that are written have 2.

mod decode;
mod encode;

pub use decode::{Decoded, RecordHead, check, check_each, decode, decode_block};
pub use encode::{encode, encode_in, length};

use fhir_core::ResourceId;

use crate::CommitId;

/// The format of a record, by the number it has there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Every id is text.
    One = 1,
    /// An id that is a UUID is its 16 bytes.
    Two = 2,
}

impl Format {
    /// The one that is written.
    pub const NEWEST: Self = Self::Two;

    /// The format with this number in the record.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::One),
            2 => Some(Self::Two),
            _ => None,
        }
    }

    /// The number that stands for this id.
    fn packed(self, id: &ResourceId) -> Option<u128> {
        match self {
            Self::One => None,
            Self::Two => id.as_uuid(),
        }
    }
}

/// In place of an id's length: the bytes of a UUID follow. No id is empty.
const PACKED: u8 = 0;
/// So many.
const UUID_BYTES: usize = 16;

/// Bytes before the part of a frame or block that its length counts.
pub const FRAME_HEADER: usize = 8;

/// Bytes at the beginning of a record that hold its commit's id.
pub const ID_END: usize = FRAME_HEADER + 4 + 8 + 8 + 16;

/// The longest record, in bytes.
pub const MAX_LENGTH: usize = 1 << 30;

/// The id of the commit whose record begins with `bytes`, without a look at anything else: whoever
/// reads one version of a large commit need not read all of it. `None` when there are fewer than
/// [`ID_END`].
#[must_use]
pub fn commit_id(bytes: &[u8]) -> Option<CommitId> {
    let id = bytes.get(ID_END - 16..ID_END)?;
    Some(CommitId(u128::from_le_bytes(id.try_into().ok()?)))
}

/// How long the record is whose frame begins with `bytes`. `None` when there are fewer than
/// [`FRAME_HEADER`], or no record is so long.
#[must_use]
pub fn length_of_frame(bytes: &[u8]) -> Option<usize> {
    let (length, _) = bytes.get(..FRAME_HEADER)?.split_first_chunk()?;
    let length = FRAME_HEADER + usize::try_from(u32::from_le_bytes(*length)).ok()?;
    (length <= MAX_LENGTH).then_some(length)
}

/// A field of a commit does not fit the record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A field is longer than its length can say.
    #[error("{field} has {length} bytes, the record takes {limit}")]
    FieldTooLong {
        /// The field.
        field: &'static str,
        /// Its length in bytes.
        length: usize,
        /// The most that is taken.
        limit: usize,
    },
    /// A version whose body is said to be a blob, and is no reference to one.
    #[error("the body of a version with a blob is a reference to it")]
    NoBlobReference,
    /// A deletion with a body.
    #[error("a deleted version has no body and no length")]
    BodyOfDeleted,
}

/// These bytes are no record, or no longer the one that was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} at byte {offset} of the record: {condition}")]
pub struct DecodeError {
    /// Where the field begins, in bytes from the first decoded.
    pub offset: usize,
    /// The field.
    pub field: &'static str,
    /// What is wrong with it.
    pub condition: Condition,
}

/// What is wrong with a field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Condition {
    /// The bytes end before the field does.
    #[error("{needed} bytes needed, {available} there")]
    Short {
        /// Bytes that the field needs.
        needed: usize,
        /// Bytes that are there.
        available: usize,
    },
    /// The bytes are not those the checksum was made of.
    #[error("checksum {stored:08x} stored, {computed:08x} computed")]
    Checksum {
        /// As stored.
        stored: u32,
        /// Of the bytes that are there.
        computed: u32,
    },
    /// A number that this codec does not know.
    #[error("{0} is not known")]
    Unknown(u64),
    /// A number outside what the field can say.
    #[error("{0} is out of range")]
    OutOfRange(i128),
    /// Not text of the form the field has.
    #[error("not of the form it must have")]
    Malformed,
    /// Bytes after the last field.
    #[error("{0} bytes too many")]
    Trailing(usize),
}
