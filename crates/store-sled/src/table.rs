//! The keys of commits that are in the log and not yet in the state: of those that became durable
//! together, and, gathered, those that memory holds.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::{Bound, RangeInclusive};

use store::{Commit, CommitHash, T};

use crate::keys::{Key, Pointer, Value, put_bearer_key, put_version_key};
use crate::state::Applied;

/// What a key and its value cost in memory beside the key's bytes, roughly.
const ENTRY_BYTES: usize = 160;

/// The keys of consecutive commits.
#[derive(Debug)]
pub(crate) struct Unit {
    pub(crate) entries: Vec<(Key, Value)>,
    /// The last commit.
    pub(crate) through: Applied,
    pub(crate) versions: usize,
    /// Bytes of memory they take, roughly.
    pub(crate) bytes: usize,
}

/// Gathers the keys of consecutive commits.
#[derive(Debug)]
pub(crate) struct UnitBuilder {
    unit: Unit,
    scratch: Vec<u8>,
}

impl UnitBuilder {
    /// Begins with none. The commits lie in `segment` and have about `versions` versions.
    pub(crate) fn new(segment: u64, versions: usize) -> Self {
        Self {
            unit: Unit {
                entries: Vec::with_capacity(2 * versions),
                through: Applied { segment, ..Applied::NOTHING },
                versions: 0,
                bytes: 0,
            },
            scratch: Vec::new(),
        }
    }

    /// Adds the keys of `commit`, whose record begins at `start` and whose versions lie at
    /// `places`: offset and length.
    pub(crate) fn add(
        &mut self,
        commit: &Commit,
        hash: CommitHash,
        start: u64,
        places: impl Iterator<Item = (u64, u32)>,
    ) {
        let segment = self.unit.through.segment;
        self.unit.through = Applied { t: commit.t, hash, segment };
        if let Some((of, name, bearer)) = commit.answers() {
            let put = |key: &mut Vec<u8>| put_bearer_key(&of, &name, &bearer, key);
            self.push(put, Value::Bearer(commit.t));
        }
        for (ordinal, (version, (offset, length))) in (0..).zip(commit.versions.iter().zip(places))
        {
            let pointer = Pointer {
                segment,
                offset,
                length,
                ordinal,
                into_commit: u32::try_from(offset - start)
                    .expect("a version lies within its commit's record, which is below 1 GB"),
                version: version.version,
                flags: version.flags,
                dictionary: version.dictionary,
                json_length: version.length,
                instant: commit.instant,
            };
            let (resource_type, id) = (&version.resource_type, &version.id);
            let put = |key: &mut Vec<u8>| put_version_key(resource_type, id, commit.t, key);
            self.push(put, Value::Version(pointer));
            self.unit.versions += 1;
            for identifier in &version.identifiers {
                let put = |key: &mut Vec<u8>| put_bearer_key(resource_type, identifier, id, key);
                self.push(put, Value::Bearer(commit.t));
            }
        }
    }

    pub(crate) fn finish(self) -> Unit {
        self.unit
    }

    fn push(&mut self, put: impl FnOnce(&mut Vec<u8>), value: Value) {
        self.scratch.clear();
        put(&mut self.scratch);
        self.unit.bytes += ENTRY_BYTES + self.scratch.len();
        self.unit.entries.push((Key::from(self.scratch.as_slice()), value));
    }
}

/// The keys of consecutive commits, in order.
#[derive(Debug)]
pub(crate) struct Table {
    entries: BTreeMap<Key, Value>,
    through: Applied,
    versions: usize,
    bytes: usize,
}

impl Table {
    /// The table of no commit, after those up to `through`.
    pub(crate) fn after(through: Applied) -> Self {
        Self { entries: BTreeMap::new(), through, versions: 0, bytes: 0 }
    }

    /// Takes in some keys of the commits that follow, before [`Self::insert`] takes the rest. Of a
    /// bearer's key the first position counts.
    pub(crate) fn enter(&mut self, entries: impl Iterator<Item = (Key, Value)>) {
        for (key, value) in entries {
            match self.entries.entry(key) {
                Entry::Vacant(free) => {
                    free.insert(value);
                }
                Entry::Occupied(mut there) => {
                    if let (Value::Bearer(first), Value::Bearer(other)) = (there.get_mut(), value) {
                        *first = (*first).min(other);
                    }
                }
            }
        }
    }

    /// Takes in the commits that follow.
    pub(crate) fn insert(&mut self, unit: Unit) {
        self.enter(unit.entries.into_iter());
        self.through = unit.through;
        self.versions += unit.versions;
        self.bytes += unit.bytes;
    }

    /// The last commit whose keys are here.
    pub(crate) fn through(&self) -> Applied {
        self.through
    }

    pub(crate) fn keys(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn versions(&self) -> usize {
        self.versions
    }

    /// Bytes of memory the keys take, roughly.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// All keys, in order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&[u8], &Value)> {
        self.entries.iter().map(|(key, value)| (&**key, value))
    }

    /// The versions of these keys.
    pub(crate) fn versions_of(
        &self,
        keys: &RangeInclusive<Vec<u8>>,
    ) -> impl Iterator<Item = (T, Pointer)> {
        let bounds = (Bound::Included(&**keys.start()), Bound::Included(&**keys.end()));
        self.entries.range::<[u8], _>(bounds).filter_map(|(key, value)| match value {
            Value::Version(pointer) => Some((crate::keys::position(key)?, *pointer)),
            Value::Bearer(_) => None,
        })
    }

    /// The bearers' keys that begin with `prefix`, and the first position of each.
    pub(crate) fn bearers_of(&self, prefix: &[u8]) -> impl Iterator<Item = (&[u8], T)> {
        let bounds = (Bound::Included(prefix), Bound::Unbounded);
        let entries = self.entries.range::<[u8], _>(bounds);
        let entries = entries.take_while(move |(key, _)| key.starts_with(prefix));
        entries.filter_map(|(key, value)| match value {
            Value::Bearer(first) => Some((&**key, *first)),
            Value::Version(_) => None,
        })
    }
}
