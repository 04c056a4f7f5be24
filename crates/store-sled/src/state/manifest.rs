//! The manifest: how far the state is and which runs it has, as one value that is replaced whole.
//!
//! Format (1 byte), then little-endian: `t` (8), the commit's hash (32), its segment (8), the
//! number of the next run (8), how many runs follow (4), for each its number, entries, sum of
//! checksums, words of its filter (8 each) and the filter's CRC-32C (4), the oldest run first;
//! at the end the CRC-32C of all that.

use store::{CommitHash, T};

const FORMAT: u8 = 3;

/// How far the state has followed the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Applied {
    /// The last commit whose keys are all in the state.
    pub(crate) t: T,
    pub(crate) hash: CommitHash,
    /// The segment that commit lies in.
    pub(crate) segment: u64,
}

impl Applied {
    /// Before the first commit.
    pub(crate) const NOTHING: Self = Self { t: T::ZERO, hash: CommitHash::ZERO, segment: 1 };
}

/// What is known of a run without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RunEntry {
    pub(crate) number: u64,
    pub(crate) entries: u64,
    /// The sum of its entries' checksums.
    pub(crate) sum: u64,
    pub(crate) filter_words: u64,
    pub(crate) filter_checksum: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) applied: Applied,
    pub(crate) next_run: u64,
    /// The oldest first.
    pub(crate) runs: Vec<RunEntry>,
}

impl Manifest {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![FORMAT];
        bytes.extend_from_slice(&self.applied.t.get().to_le_bytes());
        bytes.extend_from_slice(&self.applied.hash.0);
        bytes.extend_from_slice(&self.applied.segment.to_le_bytes());
        bytes.extend_from_slice(&self.next_run.to_le_bytes());
        let runs = u32::try_from(self.runs.len()).expect("there are some dozens of runs");
        bytes.extend_from_slice(&runs.to_le_bytes());
        for run in &self.runs {
            for number in [run.number, run.entries, run.sum, run.filter_words] {
                bytes.extend_from_slice(&number.to_le_bytes());
            }
            bytes.extend_from_slice(&run.filter_checksum.to_le_bytes());
        }
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (content, checksum) = bytes.split_last_chunk()?;
        if crc32c::crc32c(content) != u32::from_le_bytes(*checksum) {
            return None;
        }
        let mut rest = Bytes(content);
        let [FORMAT] = rest.take()? else {
            return None;
        };
        let t = T::new(rest.eight()?);
        let applied = Applied { t, hash: CommitHash(rest.take()?), segment: rest.eight()? };
        let next_run = rest.eight()?;
        let runs = u32::from_le_bytes(rest.take()?);
        let mut run = || {
            Some(RunEntry {
                number: rest.eight()?,
                entries: rest.eight()?,
                sum: rest.eight()?,
                filter_words: rest.eight()?,
                filter_checksum: u32::from_le_bytes(rest.take()?),
            })
        };
        let runs = (0..runs).map(|_| run()).collect::<Option<_>>()?;
        rest.0.is_empty().then_some(Self { applied, next_run, runs })
    }
}

/// What is left to read.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn eight(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_manifest_survives_its_bytes_and_no_flipped_bit_does(
            (t, hash, segment, next_run) in any::<(u64, [u8; 32], u64, u64)>(),
            runs in prop::collection::vec(any::<(u64, u64, u64, u64, u32)>(), 0..4),
            flip in any::<prop::sample::Index>(),
        ) {
            let run = |(number, entries, sum, filter_words, filter_checksum)| RunEntry {
                number, entries, sum, filter_words, filter_checksum,
            };
            let manifest = Manifest {
                applied: Applied { t: T::new(t), hash: CommitHash(hash), segment },
                next_run,
                runs: runs.into_iter().map(run).collect(),
            };
            let mut bytes = manifest.encode();
            prop_assert_eq!(Manifest::decode(&bytes), Some(manifest));
            let bit = flip.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(Manifest::decode(&bytes), None);
        }

        #[test]
        fn any_bytes_are_a_manifest_or_none(mut bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            let checksum = crc32c::crc32c(&bytes);
            bytes.extend_from_slice(&checksum.to_le_bytes());
            drop(Manifest::decode(&bytes));
        }
    }
}
