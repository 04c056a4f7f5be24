//! A large body: it stands beside the log, as a blob, and the log has a reference to it.
//!
//! A blob is written once, under an id that is never used twice, and is durable before the commit
//! that names it is appended. The reference says how long it is and its hash, and stands in the
//! record where a body would: the content hash is of the reference, so that the chain of commits
//! vouches for blobs without reading them.

use std::fmt;
use std::io;

use bytes::Bytes;
use ring::digest::{SHA256, digest};

/// Bytes of a chunk as it is stored; the last one of a blob has what is left, and at least one.
pub const BLOB_CHUNK: usize = 1 << 20;

/// A body of more bytes as it is coded is a blob. Up to here it costs the log's one write and one
/// fdatasync, which it shares with its group, less than the three syncs of a file of its own, and
/// holds up the small commits behind it for about a millisecond.
pub const BLOB_FROM: usize = 256 << 10;

/// The name of a blob.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlobId(pub u128);

/// What a version says of its body when that is a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BlobReference {
    /// Which.
    pub id: BlobId,
    /// Bytes of it, as stored.
    pub length: u64,
    /// SHA-256 of it, as stored.
    pub sha256: [u8; 32],
}

impl BlobId {
    /// The id that [`fmt::Display`] wrote so.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let sound = text.len() == 32 && text.bytes().all(digit);
        sound.then(|| u128::from_str_radix(text, 16).ok().map(Self)).flatten()
    }
}

impl BlobReference {
    /// Bytes of a reference.
    pub const LENGTH: usize = 16 + 8 + 32;

    /// The reference to the blob `id` of these bytes.
    #[must_use]
    pub fn of(id: BlobId, bytes: &[u8]) -> Self {
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(digest(&SHA256, bytes).as_ref());
        Self { id, length: bytes.len() as u64, sha256 }
    }

    /// As it stands in a record: id, length (both little-endian), hash.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::LENGTH] {
        let mut bytes = [0; Self::LENGTH];
        bytes[..16].copy_from_slice(&self.id.0.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.length.to_le_bytes());
        bytes[24..].copy_from_slice(&self.sha256);
        bytes
    }

    /// The reference that is all of `bytes`.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (id, rest) = bytes.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let sha256 = rest.try_into().ok()?;
        let length = u64::from_le_bytes(*length);
        (length > 0).then_some(Self { id: BlobId(u128::from_le_bytes(*id)), length, sha256 })
    }

    /// How many chunks the blob has.
    #[must_use]
    pub fn chunks(&self) -> u64 {
        self.length.div_ceil(BLOB_CHUNK as u64)
    }

    /// Whether these bytes are the blob.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn check(&self, bytes: &[u8]) -> Result<(), BlobFlaw> {
        let (expected, found) = (self.length, bytes.len() as u64);
        if expected != found {
            return Err(BlobFlaw::Length { expected, found });
        }
        let is_it = digest(&SHA256, bytes).as_ref() == self.sha256;
        if is_it { Ok(()) } else { Err(BlobFlaw::Hash) }
    }
}

/// What is wrong with a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BlobFlaw {
    /// It is not there.
    #[error("it is missing")]
    Missing,
    /// It is shorter or longer.
    #[error("it has {found} bytes instead of {expected}")]
    Length {
        /// What its reference says.
        expected: u64,
        /// What is there.
        found: u64,
    },
    /// It has other bytes.
    #[error("it does not have the hash that its reference says")]
    Hash,
}

/// Why blobs cannot be listed or removed.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The file system refuses.
    #[error("the folder of blobs cannot be read or changed")]
    Io(#[from] io::Error),
    /// The backend does not answer.
    #[error("the blobs cannot be read or changed: {reason}")]
    Failed {
        /// What failed.
        reason: String,
    },
}

/// Reads a blob for whoever derives something from stored versions.
pub type ReadBlob<'a> = &'a dyn Fn(&BlobReference) -> Result<Bytes, crate::ReadError>;

/// 32 hexadecimal digits.
impl fmt::Display for BlobId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}

impl fmt::Debug for BlobId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::{BLOB_CHUNK, BlobFlaw, BlobId, BlobReference};

    #[test]
    fn a_reference_survives_its_bytes_and_knows_its_blob() {
        let blob = vec![7; BLOB_CHUNK + 1];
        let reference = BlobReference::of(BlobId(1 << 100 | 5), &blob);
        let bytes = reference.to_bytes();
        assert_eq!(BlobReference::from_bytes(&bytes), Some(reference));
        assert_eq!(BlobReference::from_bytes(&bytes[1..]), None);
        assert_eq!(BlobReference::from_bytes(&[&bytes[..], &[0]].concat()), None);
        assert_eq!(reference.chunks(), 2);
        assert_eq!(reference.check(&blob), Ok(()));
        let mut flipped = blob.clone();
        flipped[BLOB_CHUNK] ^= 1;
        assert_eq!(reference.check(&flipped), Err(BlobFlaw::Hash));
        let found = BLOB_CHUNK as u64;
        let short = BlobFlaw::Length { expected: found + 1, found };
        assert_eq!(reference.check(&blob[1..]), Err(short));
        assert_eq!(BlobReference::from_bytes(&BlobReference::of(BlobId(1), b"").to_bytes()), None);
    }

    #[test]
    fn an_id_is_read_as_it_is_written_and_not_otherwise() {
        let id = BlobId(0xabc);
        let text = id.to_string();
        assert_eq!(BlobId::parse(&text), Some(id));
        for wrong in ["", "abc", &text.to_uppercase(), &format!("+{}", &text[1..])] {
            assert_eq!(BlobId::parse(wrong), None, "{wrong}");
        }
    }
}
