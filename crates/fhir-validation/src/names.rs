//! Maps by the names that definitions have. What is asked for comes from outside, what is in them
//! does not, so that nobody can make them slow: a fast hash will do.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map by names.
pub(crate) type Names<K, V> = HashMap<K, V, BuildHasherDefault<NameHasher>>;

/// FNV-1a over words of eight bytes.
#[derive(Default)]
pub(crate) struct NameHasher(u64);

const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

impl Hasher for NameHasher {
    fn write(&mut self, bytes: &[u8]) {
        let mut hash = self.0 ^ OFFSET;
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            let word = word.try_into().map_or(0, u64::from_le_bytes);
            hash = (hash ^ word).wrapping_mul(PRIME).rotate_left(23);
        }
        for byte in words.remainder() {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(PRIME);
        }
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        // The map takes its seven bits from the top, and its place from the bottom.
        self.0 ^ (self.0 >> 29)
    }
}
