//! What is in the log and not yet in the derived state: found here first, copied behind the
//! commit path by the applier, and bounded, since an append waits while there is too much.
//!
//! Commits go into the filling table. The applier takes that table away whole, to write it, and
//! another fills meanwhile; readers see both, the older until the state has it.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use fhir_core::ResourceId;
use parking_lot::{Condvar, Mutex, MutexGuard, RwLock, RwLockWriteGuard};
use store::T;

use crate::SledStoreOptions;
use crate::keys::{Pointer, bearer};
use crate::state::Applied;
use crate::table::{Table, Unit};

/// A table with so many keys is worth a run of its own.
pub(crate) const KEYS_OF_A_RUN: usize = 16_384;

/// How long the applier lets fewer keys become more.
const GATHER: Duration = Duration::from_millis(500);

/// How many keys readers wait for at most while those of a large group are entered.
const ENTERED_AT_ONCE: usize = 256;

/// The tables and how far the applier is. Who needs several locks takes them in this order.
#[derive(Debug)]
pub(crate) struct Memory {
    /// Held while a unit is entered, in pieces: a table that is taken away has all of it or none.
    entering: Mutex<()>,
    tables: RwLock<Tables>,
    progress: Mutex<Progress>,
    /// Rung when the applier has something to do.
    work: Condvar,
    /// Rung when the applier has done something, or has failed.
    done: Condvar,
    lag_versions: usize,
    lag_bytes: usize,
}

#[derive(Debug)]
struct Tables {
    filling: Table,
    /// What the applier is writing.
    full: Option<Arc<Table>>,
}

impl Tables {
    /// The newer first.
    fn each(&self) -> impl Iterator<Item = &Table> {
        std::iter::once(&self.filling).chain(self.full.as_deref())
    }
}

#[derive(Debug)]
struct Progress {
    /// In both tables.
    versions: usize,
    bytes: usize,
    /// In the filling table.
    keys: usize,
    /// Whether the applier has a table that the state has not.
    full: Held,
    applied: T,
    newest: T,
    order: Order,
    pace: Pace,
    failed: Option<String>,
}

/// Whether there is a full table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    No,
    Yes,
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
    Idle,
    Failed,
}

/// What the applier has to do.
#[derive(Debug)]
pub(crate) enum Work {
    /// Take this into the state.
    Apply(Arc<Table>),
    /// Tidy the state: there is nothing to take into it yet.
    Tidy,
    /// Put the state right, which has failed.
    Mend,
}

/// Whether the state has something to tidy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tidiness {
    Tidy,
    Untidy,
}

/// Whether the applier may let commits gather.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    Gather,
    /// Somebody waits for it.
    Hurry,
}

impl Memory {
    pub(crate) fn new(options: &SledStoreOptions, applied: Applied) -> Self {
        Self {
            entering: Mutex::default(),
            tables: RwLock::new(Tables { filling: Table::after(applied), full: None }),
            progress: Mutex::new(Progress {
                versions: 0,
                bytes: 0,
                keys: 0,
                full: Held::No,
                applied: applied.t,
                newest: applied.t,
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

    /// Makes the versions of durable commits findable. Nobody asks for their positions before the
    /// last is, so they are entered in pieces, between which readers go.
    pub(crate) fn insert(&self, mut unit: Unit) {
        let (versions, bytes, t) = (unit.versions, unit.bytes, unit.through.t);
        let _entering = self.entering.lock();
        let mut tables = self.tables.write();
        while unit.entries.len() > ENTERED_AT_ONCE {
            let rest = unit.entries.len() - ENTERED_AT_ONCE;
            tables.filling.enter(unit.entries.drain(rest..));
            RwLockWriteGuard::bump(&mut tables);
        }
        tables.filling.insert(unit);
        let keys = tables.filling.keys();
        let mut progress = self.progress.lock();
        drop(tables);
        let before = progress.keys;
        progress.versions += versions;
        progress.bytes += bytes;
        progress.newest = t;
        progress.keys = keys;
        if before == 0 || (before < KEYS_OF_A_RUN && keys >= KEYS_OF_A_RUN) {
            self.work.notify_one();
        }
    }

    /// What to do next; waits for it. `None` when there is nothing more to do.
    pub(crate) fn take(&self, tidiness: Tidiness) -> Option<Work> {
        match self.wait_for_work(tidiness)? {
            Condition::Failed => return Some(Work::Mend),
            Condition::Idle => return Some(Work::Tidy),
            Condition::Sound => {}
        }
        let _entering = self.entering.lock();
        let mut tables = self.tables.write();
        if let Some(full) = &tables.full {
            // It was not taken in before the state failed.
            return Some(Work::Apply(Arc::clone(full)));
        }
        let next = Table::after(tables.filling.through());
        let full = Arc::new(std::mem::replace(&mut tables.filling, next));
        tables.full = Some(Arc::clone(&full));
        let mut progress = self.progress.lock();
        progress.keys = 0;
        progress.full = Held::Yes;
        Some(Work::Apply(full))
    }

    fn wait_for_work(&self, tidiness: Tidiness) -> Option<Condition> {
        let mut progress = self.progress.lock();
        let mut gathered = false;
        loop {
            if progress.failed.is_some() {
                return (progress.order == Order::Run).then_some(Condition::Failed);
            }
            let nothing = progress.applied == progress.newest && progress.full == Held::No;
            let few = progress.keys < KEYS_OF_A_RUN
                && progress.pace == Pace::Gather
                && progress.full == Held::No;
            match progress.order {
                Order::Stop => return None,
                Order::Drain if nothing => return None,
                Order::Run if nothing || (few && !gathered) => {
                    if tidiness == Tidiness::Untidy {
                        return Some(Condition::Idle);
                    }
                    if nothing {
                        self.work.wait(&mut progress);
                    } else {
                        gathered = self.work.wait_for(&mut progress, GATHER).timed_out();
                    }
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

    /// Forgets the table that the state has now.
    pub(crate) fn applied(&self, table: Arc<Table>) {
        // Dropped when no lock is held: it takes as long as it has keys.
        let mut tables = self.tables.write();
        let full = tables.full.take();
        let mut progress = self.progress.lock();
        drop(tables);
        progress.versions -= table.versions();
        progress.bytes -= table.bytes();
        progress.full = Held::No;
        progress.applied = table.through().t;
        self.done.notify_all();
        drop(progress);
        drop((full, table));
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
        self.tables.read().each().find_map(|table| table.versions_of(keys).next())
    }

    /// All of these keys, the newest version's first.
    pub(crate) fn all(&self, keys: &RangeInclusive<Vec<u8>>) -> Vec<(T, Pointer)> {
        self.tables.read().each().flat_map(|table| table.versions_of(keys)).collect()
    }

    /// Adds the resources whose keys begin with `prefix` and that stood there at `at`.
    pub(crate) fn bearers(&self, prefix: &[u8], at: T, into: &mut BTreeSet<ResourceId>) {
        for table in self.tables.read().each() {
            let bearers = table.bearers_of(prefix).filter(|(_, first)| *first <= at);
            into.extend(bearers.filter_map(|(key, _)| bearer(prefix, key)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{Key, Value};

    /// A group at `t` with these keys, the first of which it has once more at its end.
    fn unit(keys: std::ops::Range<u32>, t: u64) -> Unit {
        let key = |number: u32| Key::from(number.to_be_bytes().as_slice());
        let versions = keys.len();
        let all = keys.clone().chain([keys.start]).zip(t..);
        let entries: Vec<_> =
            all.map(|(number, t)| (key(number), Value::Bearer(T::new(t)))).collect();
        let through = Applied { t: T::new(t), ..Applied::NOTHING };
        Unit { entries, through, versions, bytes: 1 }
    }

    /// What the applier takes away while a group is entered has all of it.
    #[test]
    fn a_large_group_is_entered_in_pieces_and_taken_away_whole() {
        let keys = 40 * u32::try_from(ENTERED_AT_ONCE).unwrap();
        for _ in 0..20 {
            let memory = Memory::new(&SledStoreOptions::default(), Applied::NOTHING);
            memory.order(Order::Drain);
            memory.insert(unit(0..1, 1));
            let work = std::thread::scope(|scope| {
                let taker = scope.spawn(|| {
                    while memory.tables.read().filling.keys() == 1 {
                        std::thread::yield_now();
                    }
                    memory.take(Tidiness::Tidy)
                });
                memory.insert(unit(1..keys, 2));
                taker.join().unwrap()
            });
            let Some(Work::Apply(table)) = work else { panic!("there was work") };
            assert_eq!((table.keys(), table.through().t), (keys as usize, T::new(2)));
            // Of a bearer's key the first position counts, in whatever order it was entered.
            let first = table.bearers_of(&1_u32.to_be_bytes()).next().map(|(_, first)| first);
            assert_eq!(first, Some(T::new(2)));
        }
    }
}
