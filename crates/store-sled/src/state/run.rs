//! A run: keys with their values in the order of the keys, written once, in blocks, and never
//! changed. In sled a block's key is the run's number (8 bytes, big-endian) and the block's last
//! key, so that the first block at or after a key is the one that may have it.

use std::ops::{Bound, RangeInclusive};

use super::block::{BlockReader, BlockWriter};
use super::filter::{Filter, Sought};
use super::manifest::RunEntry;
use super::text;
use crate::keys::sought;

/// Bytes of a filter in one value of sled's.
const FILTER_CHUNK: usize = 4096;
const NUMBER: usize = 8;

/// sled's trees that runs lie in.
#[derive(Debug, Clone)]
pub(crate) struct Trees {
    pub(crate) blocks: sled::Tree,
    pub(crate) filters: sled::Tree,
}

/// A run that can be read.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) entry: RunEntry,
    filter: Filter,
}

impl Run {
    /// The run that the manifest names.
    pub(crate) fn load(trees: &Trees, entry: RunEntry) -> Result<Self, String> {
        let mut bytes = Vec::new();
        for chunk in trees.filters.scan_prefix(entry.number.to_be_bytes()) {
            let (_, chunk) = chunk.map_err(text)?;
            bytes.extend_from_slice(&chunk);
        }
        let whole = bytes.len() as u64 == entry.filter_words.saturating_mul(8)
            && crc32c::crc32c(&bytes) == entry.filter_checksum;
        let filter = Filter::from_bytes(&bytes).filter(|_| whole);
        let filter = filter.ok_or("a filter of it is not whole")?;
        Ok(Self { entry, filter })
    }

    /// Whether a key that is sought so may be here; `false` is certain.
    pub(crate) fn may_hold(&self, sought: Sought) -> bool {
        self.filter.may_hold(sought)
    }
}

/// The entries of a run from a key on, one after the other.
#[derive(Debug)]
pub(crate) struct Cursor {
    blocks: sled::Tree,
    number: u64,
    place: sled::IVec,
    block: BlockReader,
}

impl Cursor {
    /// Goes to the first entry at or after `start`; `None` when there is none.
    pub(crate) fn seek(trees: &Trees, number: u64, start: &[u8]) -> Result<Option<Self>, String> {
        let place = place(number, start);
        let first = (Bound::Included(place.as_slice()), Bound::Unbounded);
        let Some((place, block)) = block(&trees.blocks, number, first)? else {
            return Ok(None);
        };
        let mut cursor = Self { blocks: trees.blocks.clone(), number, place, block };
        // The block's last key is not before `start`.
        Ok(cursor.block.seek(start)?.then_some(cursor))
    }

    /// Goes to the next entry; says whether there is one.
    pub(crate) fn advance(&mut self) -> Result<bool, String> {
        while !self.block.advance()? {
            if self.block.key() != &self.place[NUMBER..] {
                return Err("a block of it stands at another key".to_owned());
            }
            let after = (Bound::Excluded(&*self.place), Bound::Unbounded);
            let Some((place, block)) = block(&self.blocks, self.number, after)? else {
                return Ok(false);
            };
            (self.place, self.block) = (place, block);
        }
        Ok(true)
    }

    pub(crate) fn key(&self) -> &[u8] {
        self.block.key()
    }

    pub(crate) fn value(&self) -> &[u8] {
        self.block.value()
    }
}

/// The first block of the run within `range`.
fn block(
    blocks: &sled::Tree,
    number: u64,
    range: (Bound<&[u8]>, Bound<&[u8]>),
) -> Result<Option<(sled::IVec, BlockReader)>, String> {
    let Some(found) = blocks.range::<&[u8], _>(range).next() else {
        return Ok(None);
    };
    let (place, bytes) = found.map_err(text)?;
    if !place.starts_with(&number.to_be_bytes()) {
        return Ok(None);
    }
    let block = BlockReader::new(&place, bytes)?;
    Ok(Some((place, block)))
}

/// Calls `found` for each entry of the run within `keys` until it answers false.
pub(crate) fn each(
    trees: &Trees,
    number: u64,
    keys: &RangeInclusive<Vec<u8>>,
    mut found: impl FnMut(&[u8], &[u8]) -> Result<bool, String>,
) -> Result<(), String> {
    let Some(mut cursor) = Cursor::seek(trees, number, keys.start())? else {
        return Ok(());
    };
    while cursor.key() <= keys.end().as_slice() {
        if !found(cursor.key(), cursor.value())? || !cursor.advance()? {
            break;
        }
    }
    Ok(())
}

/// Writes a run whose entries come in the order of their keys.
#[derive(Debug)]
pub(crate) struct RunWriter {
    trees: Trees,
    number: u64,
    block: BlockWriter,
    entries: u64,
    sum: u64,
    filter: Filter,
}

impl RunWriter {
    /// Begins the run with this number, of at most about `entries`.
    pub(crate) fn new(trees: &Trees, number: u64, entries: u64) -> Self {
        Self {
            trees: trees.clone(),
            number,
            block: BlockWriter::default(),
            entries: 0,
            sum: 0,
            filter: Filter::new(entries),
        }
    }

    pub(crate) fn push(&mut self, key: &[u8], value: &[u8]) -> Result<(), String> {
        self.filter.add(Sought::of(sought(key).ok_or("a key in it is not one")?));
        self.entries += 1;
        self.sum = self.sum.wrapping_add(checksum(key, value));
        self.block.push(key, value);
        if self.block.is_full() { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<(), String> {
        let place = place(self.number, self.block.last());
        let written = self.trees.blocks.insert(&place, self.block.finish(&place));
        self.block.clear();
        written.map_err(text).map(|_| ())
    }

    /// Ends the run. It counts once a manifest names it.
    pub(crate) fn finish(mut self) -> Result<Run, String> {
        if !self.block.is_empty() {
            self.write()?;
        }
        let filter = self.filter.to_bytes();
        for (number, chunk) in (0_u32..).zip(filter.chunks(FILTER_CHUNK)) {
            let mut key = self.number.to_be_bytes().to_vec();
            key.extend_from_slice(&number.to_be_bytes());
            self.trees.filters.insert(key, chunk).map_err(text)?;
        }
        let entry = RunEntry {
            number: self.number,
            entries: self.entries,
            sum: self.sum,
            filter_words: filter.len() as u64 / 8,
            filter_checksum: crc32c::crc32c(&filter),
        };
        Ok(Run { entry, filter: self.filter })
    }
}

/// Compares the run with what the manifest says of it.
pub(crate) fn check(trees: &Trees, run: &RunEntry) -> Result<(), String> {
    let (mut entries, mut sum) = (0_u64, 0_u64);
    let mut before = Vec::new();
    let everything = vec![]..=vec![u8::MAX];
    each(trees, run.number, &everything, |key, value| {
        if entries > 0 && before.as_slice() >= key {
            return Err("its keys are not in order".to_owned());
        }
        before.clear();
        before.extend_from_slice(key);
        entries += 1;
        sum = sum.wrapping_add(checksum(key, value));
        Ok(true)
    })?;
    if (entries, sum) == (run.entries, run.sum) {
        return Ok(());
    }
    Err(format!(
        "{entries} keys with sum {sum:016x} are there, {} with sum {:016x} must be",
        run.entries, run.sum
    ))
}

/// Removes at most `most` values of a run that nothing names any more; says whether any is left.
pub(crate) fn remove(trees: &Trees, number: u64, most: usize) -> Result<bool, String> {
    let mut removed = 0;
    for tree in [&trees.blocks, &trees.filters] {
        while removed < most {
            let Some(found) = tree.scan_prefix(number.to_be_bytes()).keys().next() else {
                break;
            };
            tree.remove(found.map_err(text)?).map_err(text)?;
            removed += 1;
        }
    }
    Ok(removed == most)
}

/// The numbers of all runs of which anything is there, also of those that no manifest names.
pub(crate) fn numbers(trees: &Trees) -> Result<Vec<u64>, String> {
    let mut numbers = Vec::new();
    for tree in [&trees.blocks, &trees.filters] {
        let mut from = 0_u64;
        while let Some(found) = tree.range(from.to_be_bytes()..).keys().next() {
            let key = found.map_err(text)?;
            let (number, _) = key.split_first_chunk().ok_or("a key in it is not one")?;
            let number = u64::from_be_bytes(*number);
            numbers.push(number);
            let Some(next) = number.checked_add(1) else {
                break;
            };
            from = next;
        }
    }
    Ok(numbers)
}

fn place(number: u64, key: &[u8]) -> Vec<u8> {
    let mut place = Vec::with_capacity(NUMBER + key.len());
    place.extend_from_slice(&number.to_be_bytes());
    place.extend_from_slice(key);
    place
}

fn checksum(key: &[u8], value: &[u8]) -> u64 {
    let high = crc32c::crc32c(key);
    let low = crc32c::crc32c_append(high, value);
    (u64::from(high) << 32) | u64::from(low)
}
