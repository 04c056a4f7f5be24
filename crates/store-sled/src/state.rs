//! The derived state in sled: where each version lies and who bears which identifier, as a few
//! sorted runs of blocks, and a manifest that names them.
//!
//! A table of memory becomes a run; runs that are alike are merged, a little at a time, behind
//! everything else. The manifest is replaced last: a crash leaves what no manifest names, which
//! the next open removes.
//!
//! sled is not trusted: its errors and panics are caught, the state is then out of use until it
//! is rebuilt (a marker file sees to that), each block has a checksum, and the manifest has a
//! count and a sum of each run's keys, so that lost keys are noticed. What becomes of its errors is
//! in `failure`, what is asked of the state in `find`.

mod block;
mod failure;
mod filter;
mod find;
mod manifest;
mod merge;
mod run;

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use self::failure::{caught, text, unopened};
use self::manifest::{Manifest, RunEntry};
use self::merge::Merge;
use self::run::{Run, RunWriter, Trees};
use crate::SledStoreOptions;
use crate::layout::Layout;
use crate::room;
use crate::table::Table;

pub(crate) use self::failure::{Unopened, is_of_the_system, marked_failure};
pub(crate) use self::manifest::Applied;

const MANIFEST: &[u8] = b"manifest";
/// How many values of a run that is no more are removed at once, and how many merged entries
/// that takes as long as.
const REMOVED_AT_ONCE: usize = 64;
const REMOVAL: usize = 512;
/// What a merged entry takes on the disk at most, the old ones still being there.
const MERGED_ENTRY_BYTES: u64 = 200;

/// A `sled::Db` of this process that was dropped keeps its lock until the last of its threads is
/// done, so it is worth waiting for.
const LOCK_TRIES: u32 = 400;
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// The state, open.
#[derive(Debug)]
pub(crate) struct State {
    db: sled::Db,
    trees: Trees,
    layout: Layout,
    /// What readers find, the oldest run first.
    runs: RwLock<Runs>,
    work: Mutex<Work>,
    failed: Mutex<Option<String>>,
    options: SledStoreOptions,
}

type Runs = Arc<Vec<Arc<Run>>>;

/// What writing goes on from.
#[derive(Debug)]
struct Work {
    applied: Applied,
    next_run: u64,
    merge: Option<Merge>,
    /// Runs that were merged; each is removed once no reader has it any more.
    retired: Vec<Arc<Run>>,
    /// Runs that a crash left and no manifest names.
    unnamed: Vec<u64>,
}

impl State {
    /// Opens the state's files, or makes them.
    pub(crate) fn open(layout: &Layout, options: &SledStoreOptions) -> Result<Self, Unopened> {
        for _ in 0..LOCK_TRIES {
            match Self::try_open(layout, options) {
                Err(Unopened::InUse) => thread::sleep(LOCK_PAUSE),
                opened => return opened,
            }
        }
        Err(Unopened::InUse)
    }

    fn try_open(layout: &Layout, options: &SledStoreOptions) -> Result<Self, Unopened> {
        let path = layout.state();
        let flush_every = u64::try_from(options.flush_every.as_millis()).unwrap_or(u64::MAX);
        let config = sled::Config::new()
            .path(&path)
            .cache_capacity(options.cache_bytes)
            .flush_every_ms(Some(flush_every.max(1)));
        let open = || {
            if !path.exists() {
                DirBuilder::new().mode(0o700).create(&path)?;
            }
            let db = config.open()?;
            Ok(Self {
                trees: Trees { blocks: db.open_tree("blocks")?, filters: db.open_tree("filters")? },
                db,
                layout: layout.clone(),
                runs: RwLock::default(),
                work: Mutex::new(Work {
                    applied: Applied::NOTHING,
                    next_run: 1,
                    merge: None,
                    retired: Vec::new(),
                    unnamed: Vec::new(),
                }),
                options: options.clone(),
                failed: Mutex::new(None),
            })
        };
        caught(|| Ok(open())).map_err(Unopened::Unusable)?.map_err(unopened)
    }

    /// Reads the manifest and what it names; what it does not name is tidied away later. Says how
    /// far the state is; `None` when it does not say.
    pub(crate) fn load(&self) -> Result<Option<Applied>, String> {
        self.guarded(|| {
            let Some(stored) = self.db.get(MANIFEST).map_err(text)? else {
                return Ok(None);
            };
            let manifest = Manifest::decode(&stored).ok_or("its manifest is not one")?;
            let named = |number: &u64| manifest.runs.iter().any(|run| run.number == *number);
            let mut unnamed = run::numbers(&self.trees)?;
            unnamed.retain(|number| !named(number));
            // The next run must not be among what is still to be removed.
            let highest = unnamed.iter().max().copied().unwrap_or(0);
            let free = highest.checked_add(1).ok_or("a run in it has an impossible number")?;
            let load = |entry: &RunEntry| Run::load(&self.trees, *entry).map(Arc::new);
            let runs = manifest.runs.iter().map(load).collect::<Result<_, _>>()?;
            *self.runs.write() = Arc::new(runs);
            let mut work = self.work.lock();
            (work.applied, work.next_run) = (manifest.applied, manifest.next_run.max(free));
            work.unnamed = unnamed;
            Ok(Some(manifest.applied))
        })
    }

    /// Begins an empty state.
    pub(crate) fn begin(&self) -> Result<Applied, String> {
        self.guarded(|| {
            self.write_manifest(&self.work.lock(), &[])?;
            self.db.flush().map_err(text)?;
            Ok(Applied::NOTHING)
        })
    }

    /// How many keys there are.
    pub(crate) fn keys(&self) -> u64 {
        self.runs().iter().map(|run| run.entry.entries).sum()
    }

    /// Compares the keys with what the manifest says of them.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.guarded(|| {
            let runs = self.runs();
            runs.iter().try_for_each(|run| run::check(&self.trees, &run.entry))
        })
    }

    /// Takes in the keys of a table, then notes that it has them.
    pub(crate) fn apply(&self, table: &Table) -> Result<(), String> {
        self.guarded(|| {
            let mut work = self.work.lock();
            let mut runs = Vec::clone(&self.runs());
            if table.keys() > 0 {
                let number = work.next_run;
                let mut writer = RunWriter::new(&self.trees, number, table.keys() as u64);
                let mut bytes = Vec::new();
                for (key, value) in table.entries() {
                    bytes.clear();
                    value.put(&mut bytes);
                    writer.push(key, &bytes)?;
                }
                runs.push(Arc::new(writer.finish()?));
                work.next_run += 1;
            }
            work.applied = table.through();
            self.publish(&work, runs)
        })
    }

    /// Whether there is something to tidy.
    pub(crate) fn is_untidy(&self) -> bool {
        let work = self.work.lock();
        if !work.unnamed.is_empty() || work.retired.iter().any(is_unread) {
            return true;
        }
        if work.merge.is_some() { self.fits(0) } else { self.next_merge().is_some() }
    }

    /// The runs to merge next, where the disk has room for what becomes of them.
    fn next_merge(&self) -> Option<Vec<RunEntry>> {
        let entries = entries(&self.runs());
        let range = merge::next(&entries)?;
        let merged = entries[range].to_vec();
        let written = merged.iter().map(|run| run.entries).sum::<u64>();
        self.fits(written.saturating_mul(MERGED_ENTRY_BYTES)).then_some(merged)
    }

    /// Whether so many bytes fit the disk beside what memory may still hand over. Where the
    /// system does not tell, nothing is merged.
    fn fits(&self, bytes: u64) -> bool {
        room::fits(&self.layout.log(), &self.options, bytes, self.options.lag_bytes)
            .unwrap_or(false)
    }

    /// Merges some runs further, by about so many entries, or removes a part of those that are no
    /// more. Returns what that took, in merged entries.
    pub(crate) fn tidy(&self, entries: usize) -> Result<usize, String> {
        self.guarded(|| {
            let mut work = self.work.lock();
            if let Some(number) = work.unnamed.last() {
                if !run::remove(&self.trees, *number, REMOVED_AT_ONCE)? {
                    work.unnamed.pop();
                }
                return Ok(REMOVAL);
            }
            if let Some(at) = work.retired.iter().position(is_unread) {
                let number = work.retired[at].entry.number;
                if !run::remove(&self.trees, number, REMOVED_AT_ONCE)? {
                    work.retired.remove(at);
                }
                return Ok(REMOVAL);
            }
            let merge = match work.merge.take() {
                Some(merge) => Some(merge),
                None => self.start_merge(&mut work)?,
            };
            let Some(mut merge) = merge else {
                return Ok(entries);
            };
            if merge.step(entries)? {
                work.merge = Some(merge);
            } else {
                self.end_merge(&mut work, merge)?;
            }
            Ok(entries)
        })
    }

    fn start_merge(&self, work: &mut Work) -> Result<Option<Merge>, String> {
        let Some(runs) = self.next_merge() else {
            return Ok(None);
        };
        let number = work.next_run;
        work.next_run += 1;
        Merge::start(&self.trees, number, &runs).map(Some)
    }

    fn end_merge(&self, work: &mut Work, merge: Merge) -> Result<(), String> {
        let mut runs = Vec::clone(&self.runs());
        let first = runs.iter().position(|run| merge.of.first() == Some(&run.entry.number));
        let first = first.expect("only a merge takes runs away, and there is one at a time");
        let range = first..first + merge.of.len();
        let merged = merge.finish()?;
        work.retired.extend(runs.splice(range, [Arc::new(merged)]));
        self.publish(work, runs)
    }

    /// Makes these the runs there are.
    fn publish(&self, work: &Work, runs: Vec<Arc<Run>>) -> Result<(), String> {
        self.write_manifest(work, &runs)?;
        *self.runs.write() = Arc::new(runs);
        Ok(())
    }

    fn write_manifest(&self, work: &Work, runs: &[Arc<Run>]) -> Result<(), String> {
        let (applied, next_run) = (work.applied, work.next_run);
        let manifest = Manifest { applied, next_run, runs: entries(runs) };
        self.db.insert(MANIFEST, manifest.encode()).map_err(text).map(|_| ())
    }

    /// The runs, for one use: what was merged meanwhile stays until it ends.
    fn runs(&self) -> Runs {
        Arc::clone(&self.runs.read())
    }

    /// Hands everything to the system.
    pub(crate) fn flush(&self) -> Result<(), String> {
        self.guarded(|| self.db.flush().map_err(text).map(|_| ()))
    }
}

fn entries(runs: &[Arc<Run>]) -> Vec<RunEntry> {
    runs.iter().map(|run| run.entry).collect()
}

/// Whether no reader has the run any more, nor will again.
fn is_unread(run: &Arc<Run>) -> bool {
    Arc::strong_count(run) == 1
}
