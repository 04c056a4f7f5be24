//! Resources read or written lately, as JSON: what is asked for again need not be read from the
//! log and expanded again.
//!
//! A version never changes, so nothing here grows old; it only makes room. Whether a version
//! exists and may be seen is decided before, by the store and the snapshot.

use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap};
use std::hash::{BuildHasher as _, BuildHasherDefault, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use fhir_core::{Instant, ResourceId, ResourceType, VersionId};
use parking_lot::Mutex;
use store::{BodyCoding, Location, T, VersionEntry, VersionFlags};

use crate::Author;
use crate::names::{Named, Names};
use crate::recent::AsItIs;

/// Parts with a lock of their own.
const SHARDS: usize = 16;
/// What keeping one costs beside its JSON, roughly.
const ENTRY_BYTES: usize = 312;
/// Names that rules may name versions by take at most so many parts less than what is kept, beside
/// it.
const FOR_NAMES: usize = 16;

/// A version: the position of its commit, and which of the commit's resources.
pub(crate) type Key = (T, ResourceType, ResourceId);

/// The JSON of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kept {
    /// As it was before coding, `meta` not filled: most of what is written is not read soon. And
    /// who made it, where that is on record.
    Plain(Bytes, Option<Author>),
    /// `meta` filled.
    Filled(Filled),
}

/// The JSON of a version as it is answered, and what else is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filled {
    pub(crate) json: Bytes,
    pub(crate) known: Known,
    /// Who made it, where that is on record.
    pub(crate) author: Option<Author>,
    /// All that a rule may name it by, where that was asked. It is shared with other versions.
    pub(crate) named: Option<Named>,
}

/// What the store knows of a version besides its key: who has it need not ask the store for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
    instant: Instant,
    version: VersionId,
    flags: VersionFlags,
    dictionary: BodyCoding,
    length: u32,
    location: Location,
}

impl Known {
    pub(crate) fn of(entry: &VersionEntry) -> Self {
        let VersionEntry { instant, version, flags, dictionary, length, location, .. } = *entry;
        Self { instant, version, flags, dictionary, length, location }
    }

    /// The number of the version.
    pub(crate) fn version(&self) -> VersionId {
        self.version
    }

    /// All that the store knows of the version with this key.
    pub(crate) fn entry(self, (t, resource_type, id): Key) -> VersionEntry {
        let Self { instant, version, flags, dictionary, length, location } = self;
        VersionEntry { t, instant, resource_type, id, version, flags, dictionary, length, location }
    }
}

impl Kept {
    fn len(&self) -> usize {
        match self {
            Self::Plain(json, _) | Self::Filled(Filled { json, .. }) => json.len(),
        }
    }
}

/// The JSON of versions, up to a number of bytes: the oldest ones make room.
#[derive(Debug)]
pub(crate) struct Bodies {
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
    /// The most bytes of a shard.
    limit: usize,
    /// What rules may name versions by.
    names: Names,
    /// How often all was forgotten; it changes while all shards are locked.
    forgotten: AtomicU64,
}

/// When something began to be read or written that may be kept in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Begun(u64);

#[derive(Debug, Default)]
struct Shard {
    /// By the hash of their key. Should two share a hash, the first is kept.
    json: HashMap<u64, (Key, Kept), BuildHasherDefault<AsItIs>>,
    order: VecDeque<u64>,
    bytes: usize,
}

impl Bodies {
    /// Keeps about this many bytes; none when 0.
    pub(crate) fn new(bytes: usize) -> Self {
        let mut shards = Vec::new();
        shards.resize_with(SHARDS, Mutex::default);
        let (hasher, forgotten) = (RandomState::new(), AtomicU64::new(0));
        let names = Names::new(bytes / FOR_NAMES);
        Self { shards, hasher, limit: bytes / SHARDS, names, forgotten }
    }

    /// Asked before what is to be kept is read or sealed.
    pub(crate) fn begin(&self) -> Begun {
        Begun(self.forgotten.load(Ordering::Acquire))
    }

    pub(crate) fn get(&self, key: &Key) -> Option<Kept> {
        let hash = self.hasher.hash_one(key);
        let shard = self.shard(hash).lock();
        let (kept, json) = shard.json.get(&hash)?;
        (kept == key).then(|| json.clone())
    }

    /// Keeps `json`, unless it would take the room of very many others, or all was forgotten since
    /// it `began`: it may be of whoever was purged then.
    pub(crate) fn keep(&self, began: Begun, key: Key, json: Kept) {
        let size = json.len() + ENTRY_BYTES;
        if size > self.limit / 8 {
            return;
        }
        let hash = self.hasher.hash_one(&key);
        let mut shard = self.shard(hash).lock();
        if self.begin() != began {
            return;
        }
        let shard = &mut *shard;
        match shard.json.entry(hash) {
            // What is filled takes the place of what was not.
            Entry::Occupied(mut there) => {
                if there.get().0 == key {
                    shard.bytes = shard.bytes + json.len() - there.get().1.len();
                    there.get_mut().1 = json;
                }
            }
            Entry::Vacant(free) => {
                free.insert((key, json));
                shard.order.push_back(hash);
                shard.bytes += size;
            }
        }
        while shard.bytes > self.limit
            && let Some(oldest) = shard.order.pop_front()
        {
            if let Some((_, json)) = shard.json.remove(&oldest) {
                shard.bytes -= json.len() + ENTRY_BYTES;
            }
        }
    }

    /// All that a rule may name a version by that `began` to be read, once for all that are named
    /// alike.
    pub(crate) fn named(&self, began: Begun, names: Vec<(ResourceType, ResourceId)>) -> Named {
        self.names.one_for(names, || self.begin() == began)
    }

    /// Keeps nothing of what was kept until now, nor of what began to be read or written until
    /// now: nobody finds any of it when this returns.
    pub(crate) fn forget_all(&self) {
        let mut all: Vec<_> = self.shards.iter().map(Mutex::lock).collect();
        self.forgotten.fetch_add(1, Ordering::AcqRel);
        let forgotten: Vec<Shard> =
            all.iter_mut().map(|shard| std::mem::take(&mut **shard)).collect();
        drop(all);
        self.names.forget_all();
        // Whoever reads does not wait until it is taken apart.
        drop(forgotten);
    }

    fn shard(&self, hash: u64) -> &Mutex<Shard> {
        // The remainder of a division by 16 is below 16. These bits are not those by which the
        // map of a shard finds a place.
        let number = (hash >> 32) % SHARDS as u64;
        &self.shards[number as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::{Bodies, ENTRY_BYTES, Filled, Kept, Key, Known, SHARDS};
    use bytes::Bytes;
    use fhir_core::{Instant, VersionId};
    use store::{BodyCoding, Location, Method, T, VersionFlags};

    fn key(t: u64) -> Key {
        (T::new(t), "Patient".parse().unwrap(), "1".parse().unwrap())
    }

    fn filled(length: usize) -> Kept {
        let location = Location { segment: 1, offset: 2, length: 3, ordinal: 0, into_commit: 4 };
        let known = Known {
            instant: Instant::from_micros(5),
            version: VersionId::new(6).unwrap(),
            flags: VersionFlags::of(Method::Put),
            dictionary: BodyCoding::AS_IS,
            length: 7,
            location,
        };
        let json = Bytes::from(vec![b'x'; length]);
        Kept::Filled(Filled { json, known, author: None, named: None })
    }

    fn kept(bodies: &Bodies, keys: std::ops::Range<u64>) -> usize {
        keys.filter(|t| bodies.get(&key(*t)).is_some()).count()
    }

    #[test]
    fn the_oldest_make_room_for_the_newest() {
        let json = filled(1000);
        let bodies = Bodies::new(SHARDS * 10 * (1000 + ENTRY_BYTES));
        for t in 0..1000 {
            bodies.keep(bodies.begin(), key(t), json.clone());
            assert_eq!(bodies.get(&key(t)), Some(json.clone()));
        }
        // Shards fill unevenly, yet each is full with ten.
        assert_eq!(kept(&bodies, 0..1000), SHARDS * 10);
        assert_eq!(kept(&bodies, 0..500), 0);
    }

    #[test]
    fn what_is_kept_twice_takes_room_once() {
        let json = filled(1000);
        let bodies = Bodies::new(SHARDS * 10 * (1000 + ENTRY_BYTES));
        for _ in 0..100 {
            for t in 0..5 {
                bodies.keep(bodies.begin(), key(t), json.clone());
            }
        }
        assert_eq!(kept(&bodies, 0..5), 5);
    }

    #[test]
    fn what_is_filled_takes_the_place_of_what_was_not() {
        let plain = Bytes::from(vec![b'x'; 900]);
        let bodies = Bodies::new(SHARDS * 10 * (1000 + ENTRY_BYTES));
        for t in 0..1000 {
            bodies.keep(bodies.begin(), key(t), Kept::Plain(plain.clone(), None));
            bodies.keep(bodies.begin(), key(t), filled(1000));
            assert_eq!(bodies.get(&key(t)), Some(filled(1000)));
        }
        assert_eq!(kept(&bodies, 0..1000), SHARDS * 10);
    }

    #[test]
    fn what_the_store_knows_of_a_version_is_kept_with_it() {
        let bodies = Bodies::new(SHARDS * 10 * (1000 + ENTRY_BYTES));
        bodies.keep(bodies.begin(), key(1), filled(1000));
        let Some(Kept::Filled(filled)) = bodies.get(&key(1)) else { panic!("it is kept") };
        let entry = filled.known.entry(key(1));
        assert_eq!((entry.t, entry.resource_type, entry.id), key(1));
        assert_eq!((entry.version.get(), entry.location.offset, entry.length), (6, 2, 7));
    }

    #[test]
    fn what_is_very_large_is_not_kept_and_without_room_nothing_is() {
        let bodies = Bodies::new(SHARDS * 80_000);
        bodies.keep(bodies.begin(), key(1), Kept::Plain(Bytes::from(vec![b'x'; 10_000]), None));
        bodies.keep(bodies.begin(), key(2), Kept::Plain(Bytes::from(vec![b'x'; 9_000]), None));
        assert_eq!((kept(&bodies, 1..2), kept(&bodies, 2..3)), (0, 1));
        let none = Bodies::new(0);
        none.keep(none.begin(), key(1), Kept::Plain(Bytes::from_static(b"{}"), None));
        assert_eq!(kept(&none, 1..2), 0);
    }

    /// Whoever was purged is found by nobody once that is answered, however late a reader or a
    /// writer comes who began before.
    #[test]
    fn what_began_before_all_was_forgotten_is_not_kept() {
        let (bodies, plain) = (Bodies::new(1 << 20), Kept::Plain(Bytes::from_static(b"{}"), None));
        let began = bodies.begin();
        bodies.keep(began, key(1), plain.clone());
        assert_eq!(kept(&bodies, 1..2), 1);
        bodies.forget_all();
        (1..100).for_each(|t| bodies.keep(began, key(t), plain.clone()));
        assert_eq!(kept(&bodies, 1..100), 0);
        (1..100).for_each(|t| bodies.keep(bodies.begin(), key(t), plain.clone()));
        assert_eq!(kept(&bodies, 1..100), 99);
    }
}
