//! What is in the log and not yet in the derived state: found here first, copied behind the
//! commit path by the applier, and bounded, since an append waits while there is too much.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::RangeInclusive;
use std::sync::Arc;

use fhir_core::ResourceId;
use parking_lot::{Condvar, Mutex, RwLock};
use store::{Commit, CommitHash, T};

use crate::SledStoreOptions;
use crate::keys::{Pointer, bearer, bearer_key, position, version_key};

pub(crate) type Key = Arc<[u8]>;

/// What a key and its value cost here beside the key's bytes, roughly.
const ENTRY_BYTES: usize = 160;

/// The keys of one commit.
#[derive(Debug)]
pub(crate) struct Unit {
    pub(crate) t: T,
    pub(crate) hash: CommitHash,
    pub(crate) segment: u64,
    pub(crate) versions: Vec<(Key, Pointer)>,
    pub(crate) identifiers: Vec<Key>,
}

impl Unit {
    /// The keys of `commit`, whose versions lie at `places`: offset and length.
    pub(crate) fn new(
        commit: &Commit,
        hash: CommitHash,
        segment: u64,
        places: impl Iterator<Item = (u64, u32)>,
    ) -> Self {
        let mut versions = Vec::with_capacity(commit.versions.len());
        let mut identifiers = Vec::new();
        for (version, (offset, length)) in commit.versions.iter().zip(places) {
            let key = version_key(&version.resource_type, &version.id, commit.t);
            let pointer = Pointer {
                segment,
                offset,
                length,
                ordinal: 0,
                version: version.version,
                flags: version.flags,
                dictionary: version.dictionary,
                json_length: version.length,
                instant: commit.instant,
            };
            versions.push((Key::from(key), pointer));
            for identifier in &version.identifiers {
                let key = bearer_key(&version.resource_type, identifier, &version.id);
                identifiers.push(Key::from(key));
            }
        }
        // The state counts each key once.
        identifiers.sort_unstable();
        identifiers.dedup();
        Self {
            t: commit.t,
            hash,
            segment,
            versions,
            identifiers,
        }
    }

    pub(crate) fn keys(&self) -> usize {
        self.versions.len() + self.identifiers.len()
    }

    fn bytes(&self) -> usize {
        let versions = self.versions.iter().map(|(key, _)| key.len());
        let identifiers = self.identifiers.iter().map(|key| key.len());
        ENTRY_BYTES * (self.keys() + 1) + versions.chain(identifiers).sum::<usize>()
    }
}

/// The table and how far the applier is.
#[derive(Debug)]
pub(crate) struct Memory {
    table: RwLock<Table>,
    progress: Mutex<Progress>,
    /// Rung when the applier has something to do.
    work: Condvar,
    /// Rung when the applier has done something, or has failed.
    done: Condvar,
    lag_versions: usize,
    lag_bytes: usize,
}

#[derive(Debug, Default)]
struct Table {
    versions: BTreeMap<Key, Pointer>,
    /// The first position since the state's at which a resource bore an identifier.
    identifiers: BTreeMap<Key, T>,
    queue: VecDeque<Arc<Unit>>,
}

#[derive(Debug)]
struct Progress {
    versions: usize,
    bytes: usize,
    units: usize,
    applied: T,
    order: Order,
    failed: Option<String>,
}

/// What the applier is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Apply, and wait for more.
    Run,
    /// Apply what there is, then end.
    Drain,
    /// End at once.
    Stop,
}

impl Memory {
    pub(crate) fn new(options: &SledStoreOptions, applied: T) -> Self {
        Self {
            table: RwLock::default(),
            progress: Mutex::new(Progress {
                versions: 0,
                bytes: 0,
                units: 0,
                applied,
                order: Order::Run,
                failed: None,
            }),
            work: Condvar::new(),
            done: Condvar::new(),
            lag_versions: options.lag_versions,
            lag_bytes: options.lag_bytes,
        }
    }

    /// Waits until there is room for more; `Err` says why there never will be.
    pub(crate) fn wait_for_room(&self) -> Result<(), String> {
        let mut progress = self.progress.lock();
        loop {
            if let Some(reason) = &progress.failed {
                return Err(reason.clone());
            }
            if progress.versions <= self.lag_versions && progress.bytes <= self.lag_bytes {
                return Ok(());
            }
            self.done.wait(&mut progress);
        }
    }

    /// Waits until everything up to `t` is in the state; `Err` says why it never will be.
    pub(crate) fn wait_for(&self, t: T) -> Result<(), String> {
        let mut progress = self.progress.lock();
        loop {
            if let Some(reason) = &progress.failed {
                return Err(reason.clone());
            }
            if progress.applied >= t {
                return Ok(());
            }
            self.done.wait(&mut progress);
        }
    }

    /// Makes the versions of durable commits findable, all at once.
    pub(crate) fn insert(&self, units: Vec<Unit>) {
        let (mut versions, mut bytes) = (0, 0);
        let count = units.len();
        {
            let mut table = self.table.write();
            for unit in units {
                versions += unit.versions.len();
                bytes += unit.bytes();
                for (key, pointer) in &unit.versions {
                    table.versions.insert(Arc::clone(key), *pointer);
                }
                for key in &unit.identifiers {
                    table.identifiers.entry(Arc::clone(key)).or_insert(unit.t);
                }
                table.queue.push_back(Arc::new(unit));
            }
        }
        let mut progress = self.progress.lock();
        progress.versions += versions;
        progress.bytes += bytes;
        progress.units += count;
        self.work.notify_one();
    }

    /// The next commits for the state, of at most about `keys` keys; waits for them. `None` when
    /// there is nothing more to do.
    pub(crate) fn take(&self, keys: usize) -> Option<Vec<Arc<Unit>>> {
        {
            let mut progress = self.progress.lock();
            loop {
                match progress.order {
                    Order::Stop => return None,
                    _ if progress.units > 0 => break,
                    Order::Drain => return None,
                    Order::Run => self.work.wait(&mut progress),
                }
            }
        }
        let table = self.table.read();
        let mut taken = Vec::new();
        let mut count = 0;
        for unit in &table.queue {
            if !taken.is_empty() && count + unit.keys() > keys {
                break;
            }
            count += unit.keys();
            taken.push(Arc::clone(unit));
        }
        Some(taken)
    }

    /// Forgets commits that the state has now.
    pub(crate) fn trim(&self, units: &[Arc<Unit>]) {
        {
            let mut table = self.table.write();
            for unit in units {
                for (key, _) in &unit.versions {
                    table.versions.remove(key);
                }
                for key in &unit.identifiers {
                    if table.identifiers.get(key) == Some(&unit.t) {
                        table.identifiers.remove(key);
                    }
                }
            }
            table.queue.drain(..units.len());
        }
        let mut progress = self.progress.lock();
        for unit in units {
            progress.versions -= unit.versions.len();
            progress.bytes -= unit.bytes();
            progress.units -= 1;
            progress.applied = unit.t;
        }
        self.done.notify_all();
    }

    /// Says that the state takes nothing more.
    pub(crate) fn fail(&self, reason: &str) {
        self.progress.lock().failed = Some(reason.to_owned());
        self.done.notify_all();
    }

    /// Tells the applier what to do.
    pub(crate) fn order(&self, order: Order) {
        self.progress.lock().order = order;
        self.work.notify_all();
    }

    /// The first of these keys, which is the newest version's.
    pub(crate) fn first(&self, keys: &RangeInclusive<Vec<u8>>) -> Option<(T, Pointer)> {
        let table = self.table.read();
        table.range(keys).next()
    }

    /// All of these keys, the newest version's first.
    pub(crate) fn all(&self, keys: &RangeInclusive<Vec<u8>>) -> Vec<(T, Pointer)> {
        let table = self.table.read();
        table.range(keys).collect()
    }

    /// Adds the resources whose keys begin with `prefix` and that stood there at `at`.
    pub(crate) fn bearers(&self, prefix: &[u8], at: T, into: &mut BTreeSet<ResourceId>) {
        let table = self.table.read();
        let from = (
            std::ops::Bound::Included(prefix),
            std::ops::Bound::Unbounded,
        );
        for (key, first) in table.identifiers.range::<[u8], _>(from) {
            if !key.starts_with(prefix) {
                return;
            }
            into.extend(bearer(prefix, key).filter(|_| *first <= at));
        }
    }
}

impl Table {
    fn range(&self, keys: &RangeInclusive<Vec<u8>>) -> impl Iterator<Item = (T, Pointer)> + '_ {
        let (start, end) = (keys.start().as_slice(), keys.end().as_slice());
        let bounds = (
            std::ops::Bound::Included(start),
            std::ops::Bound::Included(end),
        );
        self.versions
            .range::<[u8], _>(bounds)
            .filter_map(|(key, pointer)| Some((position(key)?, *pointer)))
    }
}
