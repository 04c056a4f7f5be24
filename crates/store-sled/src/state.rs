//! The derived state in sled: where each version lies and who bears which identifier, as a few
//! sorted runs of blocks, and a manifest that names them.
//!
//! A table of memory becomes a run; runs that are alike are merged, a little at a time, behind
//! everything else. The manifest is replaced last: a crash leaves what no manifest names, which
//! the next open removes.
//!
//! sled is not trusted: its errors and panics are caught, the state is then out of use until it
//! is rebuilt (a marker file sees to that), each block has a checksum, and the manifest has a
//! count and a sum of each run's keys, so that lost keys are noticed.

mod block;
mod filter;
mod manifest;
mod merge;
mod run;

use std::any::Any;
use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::io;
use std::ops::RangeInclusive;
use std::os::unix::fs::DirBuilderExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use fhir_core::ResourceId;
use parking_lot::{Mutex, RwLock};
use rustix::io::Errno;
use store::T;

use self::filter::Sought;
use self::manifest::{Manifest, RunEntry};
use self::merge::Merge;
use self::run::{Run, RunWriter, Trees};
use crate::SledStoreOptions;
use crate::keys::{Pointer, all_versions, bearer, first_position, position, sought};
use crate::layout::Layout;
use crate::room;
use crate::table::Table;

pub(crate) use self::manifest::Applied;

const MANIFEST: &[u8] = b"manifest";
/// How many values of a run that is no more are removed at once, and how many merged entries
/// that takes as long as.
const REMOVED_AT_ONCE: usize = 64;
const REMOVAL: usize = 512;
/// What a merged entry takes on the disk at most, the old ones still being there.
const MERGED_ENTRY_BYTES: u64 = 200;

/// What sled says when another has its lock. A `sled::Db` of this process that was dropped keeps
/// it until the last of its threads is done, so it is worth waiting for.
const LOCK_HELD: &str = "could not acquire lock";
const LOCK_TRIES: u32 = 400;
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// Why the state's files were not opened.
#[derive(Debug)]
pub(crate) enum Unopened {
    /// Another process has them: nothing may be touched.
    InUse,
    /// The disk takes no writes: that says nothing about them.
    Disk(io::Error),
    /// They are not what they must be: why.
    Unusable(String),
}

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

    /// Calls `found` for each key within `keys`, which are sought by the same, run by run, the
    /// newest run first, until it answers false.
    fn each(
        &self,
        keys: &RangeInclusive<Vec<u8>>,
        mut found: impl FnMut(&[u8], &[u8]) -> Result<bool, String>,
    ) -> Result<(), String> {
        let common = sought(keys.start()).ok_or("what is sought in it is no key")?;
        let common = Sought::of(common);
        let mut more = true;
        for run in self.runs().iter().rev().filter(|run| run.may_hold(common)) {
            run::each(&self.trees, run.entry.number, keys, |key, value| {
                more = found(key, value)?;
                Ok(more)
            })?;
            if !more {
                break;
            }
        }
        Ok(())
    }

    /// The first of these keys, which is the newest version's.
    pub(crate) fn first(
        &self,
        keys: &RangeInclusive<Vec<u8>>,
    ) -> Result<Option<(T, Pointer)>, String> {
        self.find(keys, |_| true)
    }

    /// The first of these keys whose version is wanted.
    pub(crate) fn find(
        &self,
        keys: &RangeInclusive<Vec<u8>>,
        wanted: impl Fn(&Pointer) -> bool,
    ) -> Result<Option<(T, Pointer)>, String> {
        self.guarded(|| {
            let mut wanted_one = None;
            // A newer run has the newer versions.
            self.each(keys, |key, value| {
                let (t, pointer) = version(key, value)?;
                if wanted(&pointer) {
                    wanted_one = Some((t, pointer));
                }
                Ok(wanted_one.is_none())
            })?;
            Ok(wanted_one)
        })
    }

    /// Adds all of these keys, the newest version's first.
    pub(crate) fn all(
        &self,
        keys: &RangeInclusive<Vec<u8>>,
        into: &mut Vec<(T, Pointer)>,
    ) -> Result<(), String> {
        self.guarded(|| {
            self.each(keys, |key, value| {
                into.push(version(key, value)?);
                Ok(true)
            })
        })
    }

    /// Adds the resources whose keys begin with `prefix`, a bearers' key, and that stood there at
    /// `at`.
    pub(crate) fn bearers(
        &self,
        prefix: &[u8],
        at: T,
        into: &mut BTreeSet<ResourceId>,
    ) -> Result<(), String> {
        // No id begins with this byte.
        let end = [prefix, &[u8::MAX]].concat();
        self.guarded(|| {
            self.each(&(prefix.to_vec()..=end), |key, value| {
                let first = first_position(value).ok_or_else(|| malformed("identifier"))?;
                let id = bearer(prefix, key).ok_or_else(|| malformed("bearer"))?;
                if first <= at {
                    into.insert(id);
                }
                Ok(true)
            })
        })
    }

    /// The first position at which the resource of this key bore its identifier.
    pub(crate) fn first_borne(&self, key: &[u8]) -> Result<Option<T>, String> {
        self.guarded(|| {
            let mut first: Option<T> = None;
            self.each(&(key.to_vec()..=key.to_vec()), |_, value| {
                let borne = first_position(value).ok_or_else(|| malformed("identifier"))?;
                first = Some(first.map_or(borne, |first| first.min(borne)));
                Ok(true)
            })?;
            Ok(first)
        })
    }

    /// How many versions up to `at` have a key.
    pub(crate) fn count_versions(&self, at: T) -> Result<u64, String> {
        self.guarded(|| {
            let mut count = 0;
            for run in self.runs().iter() {
                run::each(&self.trees, run.entry.number, &all_versions(), |key, value| {
                    let (t, _) = version(key, value)?;
                    count += u64::from(t <= at);
                    Ok(true)
                })?;
            }
            Ok(count)
        })
    }

    /// Hands everything to the system.
    pub(crate) fn flush(&self) -> Result<(), String> {
        self.guarded(|| self.db.flush().map_err(text).map(|_| ()))
    }

    /// Why the state is out of use, when it is.
    pub(crate) fn failure(&self) -> Option<String> {
        self.failed.lock().clone()
    }

    /// Does `work` unless the state has failed, and notes when it does.
    fn guarded<R>(&self, work: impl FnOnce() -> Result<R, String>) -> Result<R, String> {
        if let Some(reason) = self.failure() {
            return Err(reason);
        }
        caught(work).inspect_err(|reason| self.fail(reason))
    }

    /// Puts the state out of use, also for the next open.
    pub(crate) fn fail(&self, reason: &str) {
        let mut failed = self.failed.lock();
        if failed.is_some() {
            return;
        }
        *failed = Some(reason.to_owned());
        tracing::error!(reason, "the derived state failed");
        let path = self.layout.state_failed();
        let marked = (self.layout.disk().create_new(&path))
            .and_then(|file| file.write_all_at(reason.as_bytes(), 0));
        if let Err(error) = marked {
            tracing::error!(%error, "the derived state cannot be marked as failed");
        }
    }
}

/// What an error of sled's at open says about the state.
fn unopened(error: sled::Error) -> Unopened {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    match error {
        sled::Error::Io(error) if error.to_string().contains(LOCK_HELD) => Unopened::InUse,
        sled::Error::Io(error) => match error.kind() {
            StorageFull | QuotaExceeded | ReadOnlyFilesystem | PermissionDenied => {
                Unopened::Disk(error)
            }
            _ if is_of_the_system(&error.to_string()) => Unopened::Disk(error),
            _ => Unopened::Unusable(error.to_string()),
        },
        other => Unopened::Unusable(other.to_string()),
    }
}

/// Whether it is the disk that cannot be read (EIO), or descriptors or memory that are used up.
/// Of some errors sled keeps the text alone.
pub(crate) fn is_of_the_system(reason: &str) -> bool {
    [Errno::IO, Errno::MFILE, Errno::NFILE, Errno::NOMEM]
        .iter()
        .any(|errno| reason.contains(&format!("(os error {})", errno.raw_os_error())))
}

/// Why the last use of the state put it out of use, when it did.
pub(crate) fn marked_failure(layout: &Layout) -> Option<String> {
    let path = layout.state_failed();
    path.symlink_metadata().ok()?;
    Some(fs::read_to_string(path).unwrap_or_default())
}

fn entries(runs: &[Arc<Run>]) -> Vec<RunEntry> {
    runs.iter().map(|run| run.entry).collect()
}

/// Whether no reader has the run any more, nor will again.
fn is_unread(run: &Arc<Run>) -> bool {
    Arc::strong_count(run) == 1
}

fn version(key: &[u8], value: &[u8]) -> Result<(T, Pointer), String> {
    let t = position(key).ok_or_else(|| malformed("key"))?;
    let pointer = Pointer::decode(value).ok_or_else(|| malformed("pointer"))?;
    Ok((t, pointer))
}

/// Does `work` and turns a panic into an error.
fn caught<R>(work: impl FnOnce() -> Result<R, String>) -> Result<R, String> {
    // Nothing of ours is left half done: what `work` changes is either sled's, which is not used
    // again after a panic, or thrown away with the error.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(panic_text(panic.as_ref())))
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("panicked: {}", text.unwrap_or("without a message"))
}

#[expect(clippy::needless_pass_by_value, reason = "given to map_err, which hands the error over")]
fn text(error: sled::Error) -> String {
    error.to_string()
}

fn malformed(what: &str) -> String {
    format!("a {what} in it is not one")
}

#[cfg(test)]
mod tests {
    use std::io::{self, ErrorKind};

    use super::{Unopened, unopened};

    /// G8: a state is not given up for what is no fault of its files.
    #[test]
    fn a_disk_that_takes_no_writes_or_gives_no_bytes_is_no_reason_to_rebuild_the_state() {
        let opened = |kind: ErrorKind| unopened(sled::Error::Io(kind.into()));
        for kind in [
            ErrorKind::StorageFull,
            ErrorKind::QuotaExceeded,
            ErrorKind::ReadOnlyFilesystem,
            ErrorKind::PermissionDenied,
        ] {
            let found = opened(kind);
            assert!(matches!(&found, Unopened::Disk(error) if error.kind() == kind));
        }
        for number in [5, 24] {
            let bare = io::Error::from_raw_os_error(number);
            let in_words = io::Error::other(format!("cannot read: {bare}"));
            for error in [bare, in_words] {
                let found = unopened(sled::Error::Io(error));
                assert!(matches!(found, Unopened::Disk(_)), "{found:?}");
            }
        }
        assert!(matches!(opened(ErrorKind::InvalidData), Unopened::Unusable(_)));
        let corrupt = sled::Error::Corruption { at: None, bt: () };
        assert!(matches!(unopened(corrupt), Unopened::Unusable(_)));
        let held = io::Error::other("could not acquire lock on \"db\"");
        assert!(matches!(unopened(sled::Error::Io(held)), Unopened::InUse));
    }
}
