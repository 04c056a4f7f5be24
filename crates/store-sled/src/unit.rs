//! The keys of commits that became durable together, on their way to memory and the state.

use std::sync::Arc;

use store::{Commit, CommitHash, T};

use crate::keys::{Pointer, put_bearer_key, put_version_key};

pub(crate) type Key = Arc<[u8]>;

/// What a key and its value cost in memory beside the key's bytes, roughly.
const ENTRY_BYTES: usize = 160;

/// The keys of consecutive commits, of which the state has all or, for all it says, none.
#[derive(Debug)]
pub(crate) struct Unit {
    /// The last commit's position and hash.
    pub(crate) t: T,
    pub(crate) hash: CommitHash,
    pub(crate) segment: u64,
    pub(crate) versions: Vec<(Key, Pointer)>,
    /// Who bears an identifier, and from which position on; each once.
    pub(crate) identifiers: Vec<(Key, T)>,
    bytes: usize,
}

impl Unit {
    /// How many keys there are.
    pub(crate) fn keys(&self) -> usize {
        self.versions.len() + self.identifiers.len()
    }

    /// How many bytes of memory they take, roughly.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
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
                t: T::ZERO,
                hash: CommitHash::ZERO,
                segment,
                versions: Vec::with_capacity(versions),
                identifiers: Vec::with_capacity(versions),
                bytes: ENTRY_BYTES,
            },
            scratch: Vec::new(),
        }
    }

    /// Adds the keys of `commit`, whose versions lie at `places`: offset and length.
    pub(crate) fn add(
        &mut self,
        commit: &Commit,
        hash: CommitHash,
        places: impl Iterator<Item = (u64, u32)>,
    ) {
        (self.unit.t, self.unit.hash) = (commit.t, hash);
        for (version, (offset, length)) in commit.versions.iter().zip(places) {
            let pointer = Pointer {
                segment: self.unit.segment,
                offset,
                length,
                ordinal: 0,
                version: version.version,
                flags: version.flags,
                dictionary: version.dictionary,
                json_length: version.length,
                instant: commit.instant,
            };
            let (resource_type, id) = (&version.resource_type, &version.id);
            let key = self.key(|key| put_version_key(resource_type, id, commit.t, key));
            self.unit.versions.push((key, pointer));
            for identifier in &version.identifiers {
                let key = self.key(|key| put_bearer_key(resource_type, identifier, id, key));
                self.unit.identifiers.push((key, commit.t));
            }
        }
    }

    pub(crate) fn finish(mut self) -> Unit {
        // The state counts each key once; the first position is the one that counts.
        self.unit.identifiers.sort_unstable();
        self.unit.identifiers.dedup_by(|later, first| later.0 == first.0);
        self.unit
    }

    fn key(&mut self, put: impl FnOnce(&mut Vec<u8>)) -> Key {
        self.scratch.clear();
        put(&mut self.scratch);
        self.unit.bytes += ENTRY_BYTES + self.scratch.len();
        Key::from(self.scratch.as_slice())
    }
}
