//! What is in the log and not yet in the derived state: found here first, copied behind the
//! commit path by the applier, and bounded, since an append waits while there is too much.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use fhir_core::ResourceId;
use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};
use store::T;

use crate::SledStoreOptions;
use crate::keys::{Pointer, bearer, position};
use crate::unit::{Key, Unit};

/// How many keys go to the state before the position they reach is noted and memory trimmed.
/// Inserted one by one: a batch would hold readers up.
const KEYS_AT_ONCE: usize = 256;

/// How long the applier lets few commits become more: each round costs it a key of its own and
/// the committing thread a wake-up.
const GATHER: Duration = Duration::from_millis(20);

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
    keys: usize,
    applied: T,
    order: Order,
    pace: Pace,
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

/// Whether the state can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    Sound,
    Failed,
}

/// What the applier has to do.
#[derive(Debug)]
pub(crate) enum Work {
    /// Take these into the state.
    Apply(Vec<Arc<Unit>>),
    /// Put the state right, which has failed.
    Mend,
}

/// Whether the applier may let commits gather.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    Gather,
    /// Somebody waits for it.
    Hurry,
}

impl Memory {
    pub(crate) fn new(options: &SledStoreOptions, applied: T) -> Self {
        Self {
            table: RwLock::default(),
            progress: Mutex::new(Progress {
                versions: 0,
                bytes: 0,
                units: 0,
                keys: 0,
                applied,
                order: Order::Run,
                pace: Pace::Gather,
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
            self.hurry(&mut progress);
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
            self.hurry(&mut progress);
        }
    }

    /// Waits until the applier, which now lets nothing gather, has done something.
    fn hurry(&self, progress: &mut MutexGuard<'_, Progress>) {
        progress.pace = Pace::Hurry;
        self.work.notify_one();
        self.done.wait(progress);
    }

    /// Makes the versions of durable commits findable, all at once.
    pub(crate) fn insert(&self, unit: Unit) {
        let (versions, bytes, keys) = (unit.versions.len(), unit.bytes(), unit.keys());
        {
            let mut table = self.table.write();
            for (key, pointer) in &unit.versions {
                table.versions.insert(Arc::clone(key), *pointer);
            }
            for (key, t) in &unit.identifiers {
                table.identifiers.entry(Arc::clone(key)).or_insert(*t);
            }
            table.queue.push_back(Arc::new(unit));
        }
        let mut progress = self.progress.lock();
        progress.versions += versions;
        progress.bytes += bytes;
        progress.keys += keys;
        progress.units += 1;
        if progress.units == 1 || progress.keys >= KEYS_AT_ONCE {
            self.work.notify_one();
        }
    }

    /// The next commits for the state, of at most about [`KEYS_AT_ONCE`] keys; waits for them.
    /// `None` when there is nothing more to do.
    pub(crate) fn take(&self) -> Option<Work> {
        if let Condition::Failed = self.wait_for_work()? {
            return Some(Work::Mend);
        }
        let table = self.table.read();
        let mut taken = Vec::new();
        let mut keys = 0;
        for unit in &table.queue {
            if !taken.is_empty() && keys + unit.keys() > KEYS_AT_ONCE {
                break;
            }
            keys += unit.keys();
            taken.push(Arc::clone(unit));
        }
        Some(Work::Apply(taken))
    }

    fn wait_for_work(&self) -> Option<Condition> {
        let mut progress = self.progress.lock();
        let mut gathered = false;
        loop {
            if progress.failed.is_some() {
                return (progress.order == Order::Run).then_some(Condition::Failed);
            }
            let few = progress.keys < KEYS_AT_ONCE && progress.pace == Pace::Gather;
            match progress.order {
                Order::Stop => return None,
                Order::Drain if progress.units == 0 => return None,
                Order::Run if progress.units == 0 => self.work.wait(&mut progress),
                Order::Run if few && !gathered => {
                    gathered = self.work.wait_for(&mut progress, GATHER).timed_out();
                }
                Order::Run | Order::Drain => break,
            }
        }
        progress.pace = Pace::Gather;
        Some(Condition::Sound)
    }

    /// Waits that long, or until there is something else to do than run.
    pub(crate) fn pause(&self, pause: Duration) {
        let mut progress = self.progress.lock();
        while progress.order == Order::Run {
            if self.work.wait_for(&mut progress, pause).timed_out() {
                return;
            }
        }
    }

    /// Whether the applier was told to end.
    pub(crate) fn is_stopping(&self) -> bool {
        self.progress.lock().order != Order::Run
    }

    /// Bytes of memory that wait for the state.
    pub(crate) fn lag(&self) -> usize {
        self.progress.lock().bytes
    }

    /// Forgets commits that the state has now.
    pub(crate) fn trim(&self, units: &[Arc<Unit>]) {
        {
            let mut table = self.table.write();
            for unit in units {
                for (key, _) in &unit.versions {
                    table.versions.remove(key);
                }
                for (key, t) in &unit.identifiers {
                    if table.identifiers.get(key) == Some(t) {
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
            progress.keys -= unit.keys();
            progress.applied = unit.t;
        }
        self.done.notify_all();
    }

    /// Says that the state takes nothing until it has been put right.
    pub(crate) fn fail(&self, reason: &str) {
        let mut progress = self.progress.lock();
        // Rung once: whoever asks again would begin the pause between two tries anew.
        if progress.failed.is_none() {
            progress.failed = Some(reason.to_owned());
            self.done.notify_all();
            self.work.notify_all();
        }
    }

    /// Says that the state is right again.
    pub(crate) fn mended(&self) {
        self.progress.lock().failed = None;
        self.done.notify_all();
    }

    /// Why the state takes nothing now, when it does not.
    pub(crate) fn failure(&self) -> Option<String> {
        self.progress.lock().failed.clone()
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
        let from = (std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded);
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
        let bounds = (std::ops::Bound::Included(start), std::ops::Bound::Included(end));
        self.versions
            .range::<[u8], _>(bounds)
            .filter_map(|(key, pointer)| Some((position(key)?, *pointer)))
    }
}
