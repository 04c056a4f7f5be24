//! What was verified, by the digest of its text: a bounded number of entries in two generations.
//!
//! An entry that is used passes into the young generation; when that is full it becomes the old
//! one, and the old one is forgotten. So what is used stays, and nothing is ever searched through
//! to make room.

use std::collections::HashMap;

use parking_lot::RwLock;
use ring::digest::{SHA256, digest};

/// SHA-256 of a token, or of a certificate: what is kept instead of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TokenDigest([u8; 32]);

impl TokenDigest {
    pub(crate) fn of(token: impl AsRef<[u8]>) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, token.as_ref()).as_ref());
        Self(bytes)
    }
}

/// Values by the digest of a token.
pub(crate) struct Cache<Value> {
    /// Entries of one generation.
    most: usize,
    generations: RwLock<Generations<Value>>,
}

struct Generations<Value> {
    young: HashMap<TokenDigest, Value>,
    old: HashMap<TokenDigest, Value>,
}

impl<Value: Clone> Cache<Value> {
    /// For at most so many entries, and at least half as many.
    pub(crate) fn new(most: usize) -> Self {
        let generations = Generations { young: HashMap::new(), old: HashMap::new() };
        Self { most: (most / 2).max(1), generations: RwLock::new(generations) }
    }

    pub(crate) fn get(&self, digest: &TokenDigest) -> Option<Value> {
        let (value, is_old) = {
            let generations = self.generations.read();
            match generations.young.get(digest) {
                Some(value) => (value.clone(), false),
                None => (generations.old.get(digest)?.clone(), true),
            }
        };
        if is_old {
            self.put(*digest, value.clone());
        }
        Some(value)
    }

    pub(crate) fn put(&self, digest: TokenDigest, value: Value) {
        let generations = &mut *self.generations.write();
        if generations.young.len() >= self.most && !generations.young.contains_key(&digest) {
            generations.old = std::mem::take(&mut generations.young);
        }
        generations.young.insert(digest, value);
    }

    pub(crate) fn remove(&self, digest: &TokenDigest) {
        let generations = &mut *self.generations.write();
        generations.young.remove(digest);
        generations.old.remove(digest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // GW-034
    #[test]
    fn what_is_used_stays_and_no_more_than_so_many_are_kept() {
        let cache = Cache::new(8);
        let of = |number: u32| TokenDigest::of(number.to_string());
        cache.put(of(0), 0);
        for number in 1..1000 {
            cache.put(of(number), number);
            assert_eq!(cache.get(&of(0)), Some(0));
        }
        let kept = (0..1000).filter(|number| cache.get(&of(*number)).is_some()).count();
        assert!((4..=8).contains(&kept), "{kept}");
        cache.remove(&of(0));
        assert_eq!(cache.get(&of(0)), None);
    }
}
