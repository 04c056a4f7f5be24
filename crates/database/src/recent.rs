//! What was changed lately, so that a condition that nothing touched need not be asked again.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher as _, BuildHasherDefault, Hasher, RandomState};

use fhir_core::{ResourceId, ResourceType};
use store::{Commit, IdentifierKey, T};

/// How many touched things are remembered: many times what waits in the queue, and few enough
/// for a processor's cache.
const LIMIT: usize = 1 << 16;

/// A resource or an identifier, hashed with a key drawn at start. Should two share a hash, one
/// may seem touched that is not, and is asked again: never the other way round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Touched(u64);

/// When each resource and identifier was last touched, for the newest commits.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    /// Everything after this position is remembered.
    floor: T,
    hasher: RandomState,
    last: HashMap<Touched, T, BuildHasherDefault<AsItIs>>,
    order: VecDeque<(T, Touched)>,
}

/// What is a hash already needs no other.
#[derive(Debug, Default)]
pub(crate) struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Recent {
    /// Remembers from `floor` on.
    pub(crate) fn since(floor: T) -> Self {
        Self { floor, ..Self::default() }
    }

    /// Remembers what `commit` touches.
    pub(crate) fn note(&mut self, commit: &Commit) {
        for version in &commit.versions {
            let of = &version.resource_type;
            self.touch(commit.t, self.resource(of, &version.id));
            for identifier in &version.identifiers {
                self.touch(commit.t, self.identifier(of, identifier));
            }
        }
        while self.order.len() > LIMIT {
            if let Some((t, touched)) = self.order.pop_front() {
                self.floor = self.floor.max(t);
                if self.last.get(&touched) == Some(&t) {
                    self.last.remove(&touched);
                }
            }
        }
    }

    fn touch(&mut self, t: T, touched: Touched) {
        self.last.insert(touched, t);
        self.order.push_back((t, touched));
    }

    fn resource(&self, of: &ResourceType, id: &ResourceId) -> Touched {
        Touched(self.hasher.hash_one((0_u8, of, id)))
    }

    fn identifier(&self, of: &ResourceType, key: &IdentifierKey) -> Touched {
        Touched(self.hasher.hash_one((1_u8, of, key)))
    }

    /// Whether it is certain that this resource was not changed after `since`.
    pub(crate) fn untouched(&self, of: &ResourceType, id: &ResourceId, since: T) -> bool {
        self.before(self.resource(of, id), since)
    }

    /// Whether it is certain that no resource got this identifier after `since`.
    pub(crate) fn unborne(&self, of: &ResourceType, key: &IdentifierKey, since: T) -> bool {
        self.before(self.identifier(of, key), since)
    }

    fn before(&self, touched: Touched, since: T) -> bool {
        since >= self.floor && self.last.get(&touched).is_none_or(|&last| last <= since)
    }
}
