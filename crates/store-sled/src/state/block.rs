//! A block: some dozens of neighbouring keys with their values, as one value of sled's.
//!
//! Each entry is the number of bytes its key shares with the one before, the number of bytes
//! that follow those, the length of its value (varints), then those bytes and the value. At the
//! end stands the CRC-32C of the block's own key in sled and of what is before it.
//!
//! Why blocks: an insert costs sled about the same whether it is of 50 bytes or of 4,000, and it
//! keeps at most sixteen entries to a page. A page of blocks stays below the 128 KB from which
//! sled would put it into a file of its own, which it never reclaims.

use std::ops::Range;

use crate::varint;

/// A block that has this many bytes is full.
const FULL: usize = 4096;
const CHECKSUM: usize = 4;

/// Gathers entries, in the order of their keys, into one block.
#[derive(Debug, Default)]
pub(crate) struct BlockWriter {
    bytes: Vec<u8>,
    last: Vec<u8>,
}

impl BlockWriter {
    /// Appends an entry whose key comes after all before.
    pub(crate) fn push(&mut self, key: &[u8], value: &[u8]) {
        let shared = self.last.iter().zip(key).take_while(|(a, b)| a == b).count();
        for number in [shared, key.len() - shared, value.len()] {
            varint::put(number as u64, &mut self.bytes);
        }
        self.bytes.extend_from_slice(&key[shared..]);
        self.bytes.extend_from_slice(value);
        self.last.truncate(shared);
        self.last.extend_from_slice(&key[shared..]);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() >= FULL
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The key of the last entry.
    pub(crate) fn last(&self) -> &[u8] {
        &self.last
    }

    /// The bytes of the block that stands at `place` in sled; begins another.
    pub(crate) fn finish(&mut self, place: &[u8]) -> &[u8] {
        let checksum = checksum(place, &self.bytes);
        self.bytes.extend_from_slice(&checksum.to_le_bytes());
        &self.bytes
    }

    /// Begins the next block.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.last.clear();
    }
}

/// The entries of a block, one after the other.
#[derive(Debug)]
pub(crate) struct BlockReader {
    bytes: sled::IVec,
    at: usize,
    key: Vec<u8>,
    value: Range<usize>,
}

impl BlockReader {
    /// Reads the block that stands at `place`, once its checksum holds.
    pub(crate) fn new(place: &[u8], bytes: sled::IVec) -> Result<Self, String> {
        let content = bytes.split_last_chunk::<CHECKSUM>();
        let whole = content.is_some_and(|(content, stored)| {
            checksum(place, content) == u32::from_le_bytes(*stored)
        });
        if whole {
            Ok(Self { bytes, at: 0, key: Vec::with_capacity(128), value: 0..0 })
        } else {
            Err("a block of it has another checksum".to_owned())
        }
    }

    /// Goes to the next entry; says whether there is one.
    pub(crate) fn advance(&mut self) -> Result<bool, String> {
        let end = self.bytes.len() - CHECKSUM;
        if self.at == end {
            return Ok(false);
        }
        let entry = self.entry(end).filter(|(shared, ..)| *shared <= self.key.len());
        let (shared, key, value) = entry.ok_or("a block of it is not one")?;
        self.key.truncate(shared);
        self.key.extend_from_slice(&self.bytes[key]);
        self.at = value.end;
        self.value = value;
        Ok(true)
    }

    /// Goes to the first entry whose key is `start` or comes after it, from before the first one;
    /// says whether there is one.
    pub(crate) fn seek(&mut self, start: &[u8]) -> Result<bool, String> {
        let end = self.bytes.len() - CHECKSUM;
        // How much of `start` the last key passed over has. That key comes before `start`, so one
        // that shares more with it does too, and one that shares less comes after.
        let mut matched = 0;
        while self.at < end {
            let entry = self.entry(end).filter(|(shared, ..)| self.at > 0 || *shared == 0);
            let (shared, key, value) = entry.ok_or("a block of it is not one")?;
            self.at = value.end;
            if shared > matched {
                continue;
            }
            let (rest, sought) = (&self.bytes[key], &start[shared..]);
            if shared < matched || rest >= sought {
                self.key.clear();
                self.key.extend_from_slice(&start[..shared]);
                self.key.extend_from_slice(rest);
                self.value = value;
                return Ok(true);
            }
            matched += rest.iter().zip(sought).take_while(|(a, b)| a == b).count();
        }
        Ok(false)
    }

    /// How much of its key the next entry shares, and where the rest and the value stand.
    fn entry(&self, end: usize) -> Option<(usize, Range<usize>, Range<usize>)> {
        let mut rest = self.bytes.get(self.at..end)?;
        let mut next = || varint::take(&mut rest).and_then(|number| usize::try_from(number).ok());
        let (shared, key, value) = (next()?, next()?, next()?);
        let begin = end - rest.len();
        let middle = begin.checked_add(key)?;
        let value = middle..middle.checked_add(value)?;
        (value.end <= end).then_some((shared, begin..middle, value))
    }

    /// The key of the entry gone to.
    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    /// The value of the entry gone to.
    pub(crate) fn value(&self) -> &[u8] {
        &self.bytes[self.value.clone()]
    }
}

fn checksum(place: &[u8], content: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(place), content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

    fn read(place: &[u8], bytes: &[u8]) -> Result<Entries, String> {
        let mut reader = BlockReader::new(place, bytes.into())?;
        let mut entries = Entries::new();
        while reader.advance()? {
            entries.insert(reader.key().to_vec(), reader.value().to_vec());
        }
        Ok(entries)
    }

    proptest! {
        #[test]
        fn entries_survive_a_block_and_no_flipped_bit_does(
            entries in prop::collection::btree_map("[ab]{0,6}", "[a-z]{0,5}", 0..20),
            flip in any::<prop::sample::Index>(),
        ) {
            let entries: Entries =
                entries.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
            let mut writer = BlockWriter::default();
            for (key, value) in &entries {
                writer.push(key, value);
            }
            let mut bytes = writer.finish(b"here").to_vec();
            prop_assert_eq!(read(b"here", &bytes), Ok(entries));
            prop_assert!(read(b"there", &bytes).is_err());
            let bit = flip.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(read(b"here", &bytes).is_err());
        }

        #[test]
        fn a_seek_finds_what_reading_in_order_finds(
            entries in prop::collection::btree_map("[ab]{0,6}", "[a-z]{0,5}", 1..30),
            start in "[abc]{0,6}",
        ) {
            let mut writer = BlockWriter::default();
            for (key, value) in &entries {
                writer.push(key.as_bytes(), value.as_bytes());
            }
            let bytes = writer.finish(b"here").to_vec();
            let mut reader = BlockReader::new(b"here", bytes.as_slice().into()).unwrap();
            let mut there = reader.seek(start.as_bytes()).unwrap();
            for (key, value) in entries.range(start.clone()..) {
                prop_assert!(there);
                prop_assert_eq!((reader.key(), reader.value()), (key.as_bytes(), value.as_bytes()));
                there = reader.advance().unwrap();
            }
            prop_assert!(!there);
        }

        #[test]
        fn any_content_with_a_right_checksum_is_a_block_or_an_error(
            mut bytes in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let checksum = checksum(b"here", &bytes);
            bytes.extend_from_slice(&checksum.to_le_bytes());
            drop(read(b"here", &bytes));
            for start in [&b""[..], b"a", b"ab"] {
                let mut reader = BlockReader::new(b"here", bytes.as_slice().into()).unwrap();
                drop(reader.seek(start));
            }
        }
    }
}
