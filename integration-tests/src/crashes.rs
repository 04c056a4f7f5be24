//! Crashes of the embedded store at each of its calls to the disk.
//!
//! A seed makes a run: groups appended, with blobs and without, segments begun, key files replaced,
//! the store closed, dropped and opened again, the disk full at some calls, a sync failed. The run is recorded
//! ([`crate::simulated_disk`]); then at calls of every kind what a crash may leave is opened.
//! Everything acknowledged or visible by then must be there, no group in part, and the store must
//! go on. The same runs are made by a process that kills itself at one of its calls.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use store::keys::{KeyFile, KeyStore as _};
use store::suite::block_on;
use store::suite::fixture::{FirstLine, commit, content, put, tenant, with_blob};
use store::{AppendError, BlobId, BlobReference, Commit, Head, Store as _, Version};
use store_sled::disk::{Call, Disk, Watch};
use store_sled::{KeyFolder, SledStore, SledStoreOptions};
use tempfile::TempDir;

use crate::chance::Chance;
use crate::crash_points::{Hits, check_known, point};
use crate::simulated_disk::{Made, SimulatedDisk, Unsynced};

/// What a group was to be: the commits from the first position on, each a resource's name, the
/// number of its version, and its text.
#[derive(Debug, Clone)]
struct Group {
    first: u64,
    commits: Vec<Vec<(String, u64, String)>>,
}

impl Group {
    fn last(&self) -> u64 {
        self.first + self.commits.len() as u64 - 1
    }

    fn versions(&self) -> impl Iterator<Item = &(String, u64, String)> {
        self.commits.iter().flatten()
    }

    /// Its large bodies, which are blobs.
    fn blobs(&self) -> impl Iterator<Item = (BlobReference, Bytes)> {
        let blob = |(name, number, text): &(String, u64, String)| blob(&put(name, *number, text));
        self.versions().filter_map(blob)
    }

    fn to_commits(&self) -> Vec<Commit> {
        let put = |(name, number, text): &(String, u64, String)| {
            let version = put(name, *number, text);
            match blob(&version) {
                Some((reference, _)) => with_blob(version, &reference),
                None => version,
            }
        };
        let versions = |versions: &Vec<_>| versions.iter().map(put).collect();
        (self.first..).zip(&self.commits).map(|(t, of)| commit(t, versions(of))).collect()
    }
}

/// The body of a version that is to be a blob, if it is.
fn blob(version: &Version) -> Option<(BlobReference, Bytes)> {
    if version.resource_type.as_str() != "Binary" {
        return None;
    }
    let body = version.body.clone();
    let named = BlobReference::of(BlobId(0), &body);
    let (id, _) = named.sha256.split_first_chunk()?;
    Some((BlobReference { id: BlobId(u128::from_le_bytes(*id)), ..named }, body))
}

/// A call of the run, and how far it was when it was made.
#[derive(Debug, Clone)]
struct Step {
    made: Made,
    point: String,
    acknowledged: u64,
    visible: u64,
    /// How many groups were begun.
    begun: usize,
    /// The newest of the key files that was acknowledged, and the newest begun.
    keys: (u64, u64),
}

#[derive(Default)]
struct Record {
    steps: Vec<Step>,
    acknowledged: u64,
    visible: u64,
    groups: Vec<Group>,
    keys: (u64, u64),
    /// The call after so many more fails as on a full disk.
    full_after: Option<usize>,
    /// The next sync of the log fails; by chance that follows from this number.
    sync_fails: Option<u64>,
    store: Weak<SledStore>,
}

/// Records what goes through the door.
#[derive(Default)]
struct Recorder {
    record: Mutex<Record>,
}

impl Recorder {
    fn with<R>(&self, change: impl FnOnce(&mut Record) -> R) -> R {
        change(&mut self.record.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Watch for Recorder {
    fn make(&self, call: &Call<'_>, make: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        // One call at a time, so that they are recorded in the order in which they were made.
        self.with(|record| {
            let point = point(call);
            // Only whoever appends writes the log, and it holds the store.
            if point.starts_with("log/segment")
                && let Some(store) = record.store.upgrade()
            {
                record.visible = record.visible.max(store.head().t.get());
            }
            let fails = match (call, &mut record.full_after) {
                (Call::Write(..) | Call::Create(..) | Call::Allocate(..), Some(0)) => {
                    record.full_after = None;
                    true
                }
                (Call::Write(..) | Call::Create(..) | Call::Allocate(..), Some(left)) => {
                    *left -= 1;
                    false
                }
                _ => false,
            };
            let (outcome, made) = match call {
                // A write that finds the disk full may have written a part.
                Call::Write(path, file, offset, bytes) if fails => {
                    let half = &bytes[..bytes.len() / 2];
                    let written = OpenOptions::new().write(true).open(path);
                    let written = written.and_then(|file| file.write_all_at(half, *offset));
                    let made = Made::Write(*file, *offset, half.to_vec());
                    (written.and(Err(io::ErrorKind::StorageFull.into())), made)
                }
                Call::Sync(_, file)
                    if point == "log/segment.sync" && record.sync_fails.is_some() =>
                {
                    let seed = record.sync_fails.take().unwrap_or_default();
                    (Err(io::Error::other("EIO")), Made::SyncFailed(*file, seed))
                }
                _ if fails => (Err(io::ErrorKind::StorageFull.into()), Made::Nothing),
                _ => match make() {
                    Ok(()) => (Ok(()), Made::of(call)),
                    Err(error) => (Err(error), Made::Nothing),
                },
            };
            record.steps.push(Step {
                made,
                point,
                acknowledged: record.acknowledged,
                visible: record.visible,
                begun: record.groups.len(),
                keys: record.keys,
            });
            outcome
        })
    }
}

/// The sizes of a store in these runs.
fn options(segment_bytes: u64, disk: Disk) -> SledStoreOptions {
    SledStoreOptions {
        cache_bytes: 1 << 20,
        flush_every: Duration::from_secs(600),
        segment_bytes,
        purge_bytes: 4096,
        disk,
        ..SledStoreOptions::default()
    }
}

fn open(directory: &Path, segment_bytes: u64, disk: Disk) -> Result<SledStore, String> {
    let options = options(segment_bytes, disk);
    SledStore::open(directory, tenant().as_str(), Arc::new(FirstLine), options)
        .map_err(|error| format!("it does not open: {error}: {error:?}"))
}

/// Bytes of the key files in their state of this number.
fn key_bytes(number: u64) -> Vec<u8> {
    format!("{number:>1200}").into_bytes()
}

/// Who hears what the run was told.
trait Told {
    /// The next group is about to be appended.
    fn begins(&self, group: &Group);
    /// Everything up to here is acknowledged.
    fn acknowledged(&self, t: u64);
    /// The key files of this number are about to be written, or were.
    fn keys(&self, acknowledged: u64, begun: u64);
    /// The store that is in use now.
    fn opened(&self, store: &Arc<SledStore>);
    /// The disk is full at a call that is soon made, where that can be.
    fn fills_the_disk(&self, after: Option<usize>);
    /// The next sync of the log fails, where that can be.
    fn fails_a_sync(&self, seed: u64);
}

impl Told for Recorder {
    fn begins(&self, group: &Group) {
        self.with(|record| record.groups.push(group.clone()));
    }

    fn acknowledged(&self, t: u64) {
        self.with(|record| record.acknowledged = t);
    }

    fn keys(&self, acknowledged: u64, begun: u64) {
        self.with(|record| record.keys = (acknowledged, begun));
    }

    fn opened(&self, store: &Arc<SledStore>) {
        self.with(|record| record.store = Arc::downgrade(store));
    }

    fn fills_the_disk(&self, after: Option<usize>) {
        self.with(|record| record.full_after = after);
    }

    fn fails_a_sync(&self, seed: u64) {
        self.with(|record| record.sync_fails = Some(seed));
    }
}

/// A group that goes on from `head`, with numbers that go on from `versions`.
fn next_group(chance: &mut Chance, head: u64, versions: &BTreeMap<String, u64>) -> Group {
    let mut counted = versions.clone();
    let commits = (0..1 + chance.below(4)).map(|_| {
        let mut names: Vec<usize> = (0..1 + chance.below(3)).map(|_| chance.below(7)).collect();
        names.sort_unstable();
        names.dedup();
        let mut names: Vec<String> =
            names.into_iter().map(|name| format!("Patient/{name}")).collect();
        if chance.below(5) == 0 {
            names.push(format!("Binary/{}", chance.below(3)));
        }
        let version = |name: String| {
            let number = counted.entry(name.clone()).or_default();
            *number += 1;
            let length = [3, 40, 700, 2_500][chance.below(4)];
            // A body may hold what a block that was never written holds.
            let filler = if chance.below(6) == 0 { '\0' } else { 'x' };
            let mut text = format!("{name} {number} of {} ", chance.number());
            text.extend(std::iter::repeat_n(filler, length));
            (name, *number, text)
        };
        names.into_iter().map(version).collect()
    });
    Group { first: head + 1, commits: commits.collect() }
}

/// Runs what `seed` says in `directory` and tells of it as it goes.
fn run(directory: &Path, seed: u64, disk: &Disk, told: &dyn Told) -> Result<(), String> {
    let mut chance = Chance::new(seed);
    let segment_bytes = [200, 1_500, 6_000, 100_000][chance.below(4)];
    let keys = KeyFolder::of_tenant(directory).on(disk.clone());
    let (mut number, mut known) = (0, Vec::<Group>::new());
    let mut store = Arc::new(open(directory, segment_bytes, disk.clone())?);
    told.opened(&store);
    for _ in 0..4 + chance.below(9) {
        let begin = |chance: &mut Chance, known: &[Group], head| {
            let mut versions = BTreeMap::new();
            for (name, number, _) in known.iter().flat_map(Group::versions) {
                versions.insert(name.clone(), *number);
            }
            next_group(chance, head, &versions)
        };
        match chance.below(10) {
            0 => {
                store.close().map_err(|error| format!("it does not close: {error}"))?;
                store = reopened(store, directory, segment_bytes, disk, told)?;
            }
            1 => store = reopened(store, directory, segment_bytes, disk, told)?,
            2 => {
                told.keys(number, number + 1);
                told.fills_the_disk((chance.below(3) == 0).then(|| chance.below(2)));
                match keys.replace(KeyFile::Tree, &key_bytes(number + 1)) {
                    Ok(()) => number += 1,
                    // The room that was kept for it is used up, or was never there.
                    Err(error) if error.kind() == io::ErrorKind::StorageFull => {}
                    Err(error) => return Err(format!("the keys are not replaced: {error}")),
                }
                told.fills_the_disk(None);
                told.keys(number, number);
            }
            action => {
                told.fills_the_disk((action == 3).then(|| chance.below(3)));
                if action == 4 {
                    told.fails_a_sync(chance.number());
                }
                let group = begin(&mut chance, &known, store.head().t.get());
                told.begins(&group);
                match append(&store, &group) {
                    Ok(head) => {
                        told.acknowledged(head.t.get());
                        known.push(group);
                    }
                    Err(AppendError::DiskFull) if action == 3 => {
                        // Nothing names its blobs.
                        for (reference, _) in group.blobs() {
                            let removed = store.remove_blob(reference.id);
                            removed.map_err(|error| format!("a blob stays: {error}"))?;
                        }
                    }
                    Err(AppendError::Poisoned(_)) if action == 3 || action == 4 => {
                        store = reopened(store, directory, segment_bytes, disk, told)?;
                        if store.head().t.get() == group.last() {
                            known.push(group);
                        }
                    }
                    Err(error) => return Err(format!("a group was not taken: {error:?}")),
                }
                told.fills_the_disk(None);
            }
        }
    }
    store.close().map_err(|error| format!("it does not close: {error}"))
}

/// Writes the blobs of a group, then appends it.
fn append(store: &SledStore, group: &Group) -> Result<Head, AppendError> {
    group.blobs().try_for_each(|(reference, blob)| store.write_blob(reference.id, &blob))?;
    store.append(&group.to_commits())
}

/// Lets the store go as it is, and opens it again.
fn reopened(
    store: Arc<SledStore>,
    directory: &Path,
    segment_bytes: u64,
    disk: &Disk,
    told: &dyn Told,
) -> Result<Arc<SledStore>, String> {
    told.fills_the_disk(None);
    drop(Arc::into_inner(store).ok_or("somebody else holds the store")?);
    let store = Arc::new(open(directory, segment_bytes, disk.clone())?);
    told.opened(&store);
    Ok(store)
}

/// What must be there, and what may be.
struct Expected<'a> {
    /// Acknowledged, or visible to readers.
    at_least: u64,
    groups: &'a [Group],
    keys: (u64, u64),
}

impl Expected<'_> {
    /// Opens what a crash left and looks at all of it; then goes on with it.
    fn check(&self, directory: &Path) -> Result<(), String> {
        let keys =
            KeyFolder::of_tenant(directory).read(KeyFile::Tree).map_err(|e| e.to_string())?;
        let known = (self.keys.0..=self.keys.1)
            .any(|number| keys == (number > 0).then(|| key_bytes(number)));
        if !known {
            return Err(format!("the key file is not that of {:?}", self.keys));
        }
        let store = open(directory, 2_000, Disk::default())?;
        let head = store.head().t.get();
        if head < self.at_least {
            let least = self.at_least;
            return Err(format!("{least} were acknowledged or seen, {head} are there"));
        }
        // A later group at a position is the one that came there when the earlier failed.
        let mut commits: BTreeMap<u64, &[(String, u64, String)]> = BTreeMap::new();
        let mut whole = head == 0;
        for group in self.groups {
            whole |= head == group.last();
            for (t, versions) in (group.first..).zip(&group.commits) {
                commits.insert(t, versions);
            }
        }
        if !whole {
            return Err(format!("a group is there in part: {head} commits"));
        }
        let next_numbers = self.compare(&store, head, &commits)?;
        let next = Group {
            first: head + 1,
            commits: vec![vec![("Patient/0".to_owned(), next_numbers + 1, "after".to_owned())]],
        };
        store.append(&next.to_commits()).map_err(|error| format!("it does not go on: {error}"))?;
        let verified = store.verify().map_err(|error| format!("it does not verify: {error}"))?;
        if verified.head.t.get() != head + 1 {
            return Err(format!("verify ends at {}", verified.head.t));
        }
        store.close().map_err(|error| format!("it does not close: {error}"))?;
        drop(store);
        let again = open(directory, 2_000, Disk::default())?;
        let found = block_on(content(&again, "Patient/0", u64::MAX));
        if again.head().t.get() != head + 1 || found.as_deref() != Some("after") {
            return Err(format!("after another commit: {:?}, {found:?}", again.head()));
        }
        Ok(())
    }

    /// Compares every version; returns the number of the newest of `Patient/0`.
    fn compare(
        &self,
        store: &SledStore,
        head: u64,
        commits: &BTreeMap<u64, &[(String, u64, String)]>,
    ) -> Result<u64, String> {
        let mut newest = 0;
        for t in 1..=head {
            let versions = commits.get(&t).ok_or_else(|| format!("commit {t} was never begun"))?;
            for (name, number, text) in *versions {
                let found = block_on(content(store, name, t));
                if found.as_ref() != Some(text) {
                    return Err(format!("{name} at {t} is {found:?}"));
                }
                if name == "Patient/0" {
                    newest = *number;
                }
            }
        }
        let patients = (0..7).map(|name| format!("Patient/{name}"));
        for name in patients.chain((0..3).map(|name| format!("Binary/{name}"))) {
            let of = |t: &u64| commits[t].iter().find(|(of, ..)| *of == name);
            let last = (1..=head).rev().find_map(|t| of(&t));
            let found = block_on(content(store, &name, u64::MAX));
            if found.as_ref() != last.map(|(_, _, text)| text) {
                return Err(format!("the newest {name} is {found:?}"));
            }
        }
        Ok(newest)
    }
}

/// Makes the run of a seed and crashes it: at one call of each kind that it made, before or after
/// the call, and at `more` others.
///
/// # Errors
/// What was lost, half there or could not be opened, with the seed and the call.
pub fn crash(seed: u64, more: usize) -> Result<Hits, String> {
    let folder = TempDir::new().map_err(|error| error.to_string())?;
    let root = folder.path().join("clinic");
    let recorder = Arc::new(Recorder::default());
    let disk = Disk::watched(Arc::clone(&recorder) as _);
    run(&root, seed, &disk, &*recorder).map_err(|error| format!("seed {seed}: {error}"))?;
    let record = recorder.with(std::mem::take);
    let mut chance = Chance::new(!seed);
    let mut kinds: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, step) in record.steps.iter().enumerate() {
        kinds.entry(&step.point).or_default().push(index);
    }
    for kind in kinds.keys() {
        check_known(kind).map_err(|found| format!("seed {seed}: {found}"))?;
    }
    let mut chosen: Vec<usize> =
        kinds.values().map(|steps| steps[chance.below(steps.len())]).collect();
    chosen.extend((0..more).map(|_| chance.below(record.steps.len())));
    chosen.sort_unstable();
    let (mut disk, mut made) = (SimulatedDisk::default(), 0);
    let mut hits = Hits::default();
    for index in chosen {
        let step = &record.steps[index];
        let through = if chance.below(4) == 0 { index } else { index + 1 };
        for step in record.steps.get(made..through).unwrap_or_default() {
            disk.make(&step.made);
        }
        made = made.max(through);
        let unsynced = [Unsynced::Lost, Unsynced::Kept, Unsynced::Torn, Unsynced::Torn];
        let unsynced = unsynced[chance.below(unsynced.len())];
        let left = folder.path().join(format!("crashed-{index}"));
        std::fs::create_dir_all(&left).map_err(|error| error.to_string())?;
        disk.crash((&root, &left), unsynced, &mut chance).map_err(|error| error.to_string())?;
        let expected = Expected {
            at_least: step.acknowledged.max(step.visible),
            groups: &record.groups[..step.begun],
            keys: step.keys,
        };
        let failed = |found| {
            let point = &step.point;
            format!("seed {seed}, call {index} ({point}), not synced {unsynced:?}: {found}")
        };
        hits.count(&step.point);
        let mut left = left;
        // An open has most to do where the log is torn.
        let torn = unsynced == Unsynced::Torn && step.point.starts_with("log/segment.");
        if torn || chance.below(3) == 0 {
            let again = folder.path().join(format!("crashed-again-{index}"));
            let point = crash_the_open(&left, &again, &mut chance).map_err(failed)?;
            hits.count(&format!("open: {point}"));
            std::fs::remove_dir_all(&left).map_err(|error| error.to_string())?;
            left = again;
        }
        // What sled has may be behind the log, ahead of it, or gone.
        if left.join("log").is_dir() && chance.below(2) == 0 {
            copy(&root.join("state"), &left.join("state")).map_err(|error| error.to_string())?;
        }
        expected.check(&left).map_err(failed)?;
        std::fs::remove_dir_all(&left).map_err(|error| error.to_string())?;
    }
    Ok(hits)
}

/// Makes the run of a seed in `directory` and, at its call of this number, kills this process as
/// kill -9 does, before the call or after it. Says on `told` what the run was told, a line each.
///
/// # Errors
/// When the run fails, or has no call of that number.
pub fn run_to_a_kill(
    directory: &Path,
    seed: u64,
    call: usize,
    told: Box<dyn io::Write + Send>,
) -> Result<(), String> {
    let kill = Arc::new(Kill { left: AtomicUsize::new(call), told: Mutex::new(told) });
    run(directory, seed, &Disk::watched(Arc::clone(&kill) as _), &*kill)?;
    Err(format!("the run of seed {seed} has no call {call}"))
}

/// Ends the process at a call.
struct Kill {
    left: AtomicUsize,
    told: Mutex<Box<dyn io::Write + Send>>,
}

impl Kill {
    fn say(&self, line: std::fmt::Arguments<'_>) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(told, "{line}").and_then(|()| told.flush()).expect("the parent listens");
    }

    fn die(&self, call: &Call<'_>) {
        self.say(format_args!("killed {}", point(call)));
        // The signal is there before kill() returns; the loop ends with the process.
        let process = rustix::process::getpid();
        rustix::process::kill_process(process, rustix::process::Signal::KILL)
            .expect("a process may kill itself");
        loop {
            std::thread::park();
        }
    }
}

impl Watch for Kill {
    fn make(&self, call: &Call<'_>, make: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        // Twice for each call: before it and after it.
        if self.left.fetch_sub(1, Ordering::SeqCst) == 0 {
            self.die(call);
        }
        let made = make();
        if self.left.fetch_sub(1, Ordering::SeqCst) == 0 {
            self.die(call);
        }
        made
    }
}

impl Told for Kill {
    fn begins(&self, _: &Group) {
        self.say(format_args!("begins"));
    }

    fn acknowledged(&self, t: u64) {
        self.say(format_args!("acknowledged {t}"));
    }

    fn keys(&self, acknowledged: u64, begun: u64) {
        self.say(format_args!("keys {acknowledged} {begun}"));
    }

    fn opened(&self, _: &Arc<SledStore>) {}

    /// A run that is killed has a disk with room.
    fn fills_the_disk(&self, _: Option<usize>) {}

    fn fails_a_sync(&self, _: u64) {}
}

/// What a run without a full disk is made of.
#[derive(Default)]
struct Plan {
    groups: Mutex<Vec<Group>>,
    calls: AtomicUsize,
}

impl Watch for Plan {
    fn make(&self, _: &Call<'_>, make: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        make()
    }
}

impl Told for Plan {
    fn begins(&self, group: &Group) {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner).push(group.clone());
    }

    fn acknowledged(&self, _: u64) {}

    fn keys(&self, _: u64, _: u64) {}

    fn opened(&self, _: &Arc<SledStore>) {}

    fn fills_the_disk(&self, _: Option<usize>) {}

    fn fails_a_sync(&self, _: u64) {}
}

/// Has `process` make the run of a seed until it kills itself at one of its calls, and looks at
/// what is left. `process` is given the directory and the number for [`run_to_a_kill`], and
/// returns what it told.
///
/// # Errors
/// What was lost, half there or could not be opened, with the seed and the call.
pub fn kill(
    seed: u64,
    process: impl Fn(&Path, usize) -> io::Result<String>,
) -> Result<Hits, String> {
    let folder = TempDir::new().map_err(|error| error.to_string())?;
    let plan = Arc::new(Plan::default());
    run(&folder.path().join("plan"), seed, &Disk::watched(Arc::clone(&plan) as _), &*plan)?;
    let calls = plan.calls.load(Ordering::SeqCst);
    // Histories are written behind, so that the number of calls before a moment varies a little.
    let at = Chance::new(!seed).below(2 * calls * 9 / 10);
    let killed = folder.path().join("killed");
    let told = process(&killed, at).map_err(|error| error.to_string())?;
    let groups = plan.groups.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let (mut begun, mut acknowledged, mut keys, mut hit) = (0, 0, (0, 0), String::new());
    for line in told.lines() {
        let mut words = line.split(' ');
        let kind = words.next().unwrap_or_default();
        let mut number = || words.next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
        match kind {
            "begins" => begun += 1,
            "acknowledged" => acknowledged = number(),
            "keys" => keys = (number(), number()),
            "killed" => hit = line.trim_start_matches("killed ").to_owned(),
            other => return Err(format!("seed {seed}: the process said {other:?}")),
        }
    }
    if hit.is_empty() {
        return Err(format!("seed {seed}: the process was not killed at {at} of {calls}"));
    }
    let groups = groups.get(..begun).ok_or("more groups were begun than the run has")?;
    let expected = Expected { at_least: acknowledged, groups, keys };
    expected
        .check(&killed)
        .map_err(|found| format!("seed {seed}, killed at {at} ({hit}): {found}"))?;
    check_known(&hit)?;
    let mut hits = Hits::default();
    hits.count(&hit);
    Ok(hits)
}

/// Opens what a crash left, crashes that at one of its calls, and puts what is left then into
/// `again`. Returns the call.
fn crash_the_open(left: &Path, again: &Path, chance: &mut Chance) -> Result<String, String> {
    let text = |error: io::Error| error.to_string();
    let mut disk = SimulatedDisk::holding(left).map_err(text)?;
    let recorder = Arc::new(Recorder::default());
    drop(open(left, 2_000, Disk::watched(Arc::clone(&recorder) as _))?);
    let steps = recorder.with(|record| std::mem::take(&mut record.steps));
    // The rarer kinds of calls come no less often than those that every open makes.
    let mut kinds: Vec<&str> = steps.iter().map(|step| step.point.as_str()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds.iter().try_for_each(|kind| check_known(&format!("open: {kind}")))?;
    // Few opens make these.
    let seldom = ["log/cut.", "log/new-segment.", "log.create-directory", "blobs/"];
    let rare = |kind: &&str| seldom.iter().any(|begin| kind.starts_with(begin));
    if kinds.iter().any(rare) && chance.below(4) > 0 {
        kinds.retain(rare);
    }
    let kind = kinds[chance.below(kinds.len())];
    let last = steps.iter().rposition(|step| step.point == kind).unwrap_or_default();
    steps[..=last].iter().for_each(|step| disk.make(&step.made));
    std::fs::create_dir_all(again).map_err(text)?;
    disk.crash((left, again), Unsynced::Torn, chance).map_err(text)?;
    Ok(kind.to_owned())
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target: PathBuf = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
