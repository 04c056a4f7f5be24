//! The derived state in sled: where each version lies and who bears which identifier.
//!
//! sled is not trusted: its errors and panics are caught, the state is then out of use until it
//! is rebuilt at the next open (a marker file sees to that), and a count and a sum of its keys
//! stand beside the position it has reached, so that lost keys are noticed.

use std::any::Any;
use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::ops::RangeInclusive;
use std::os::unix::fs::DirBuilderExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use fhir_core::ResourceId;
use parking_lot::Mutex;
use store::{CommitHash, T};

use crate::SledStoreOptions;
use crate::keys::{Pointer, bearer, first_position, position};
use crate::layout::{Layout, create_file};
use crate::unit::Unit;

const APPLIED: &[u8] = b"applied";
/// Bytes of [`Applied`].
const APPLIED_BYTES: usize = 8 + 32 + 8 + 8 + 8;

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

/// How far the state has followed the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Applied {
    /// The last commit whose keys are all in the state.
    pub(crate) t: T,
    pub(crate) hash: CommitHash,
    /// The segment that commit lies in.
    pub(crate) segment: u64,
    /// How many keys there are up to `t`, and the sum of their checksums.
    pub(crate) keys: u64,
    pub(crate) sum: u64,
}

/// The state, open.
#[derive(Debug)]
pub(crate) struct State {
    db: sled::Db,
    versions: sled::Tree,
    identifiers: sled::Tree,
    layout: Layout,
    failed: Mutex<Option<String>>,
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
                versions: db.open_tree("versions")?,
                identifiers: db.open_tree("identifiers")?,
                db,
                layout: layout.clone(),
                failed: Mutex::new(None),
            })
        };
        caught(|| Ok(open())).map_err(Unopened::Unusable)?.map_err(unopened)
    }

    /// How far the state is; `None` when it does not say.
    pub(crate) fn applied(&self) -> Result<Option<Applied>, String> {
        self.guarded(|| {
            let stored = self.db.get(APPLIED).map_err(text)?;
            stored.map_or(Ok(None), |bytes| {
                let applied = Applied::decode(&bytes);
                applied.map(Some).ok_or_else(|| malformed("position"))
            })
        })
    }

    /// Begins an empty state.
    pub(crate) fn begin(&self) -> Result<Applied, String> {
        let applied = Applied { t: T::ZERO, hash: CommitHash::ZERO, segment: 1, keys: 0, sum: 0 };
        self.guarded(|| {
            self.db.insert(APPLIED, applied.encode().as_slice()).map_err(text)?;
            self.db.flush().map_err(text).map(|_| ())
        })?;
        Ok(applied)
    }

    /// Compares the keys with what `applied` says of them. Returns the newest position in a key.
    pub(crate) fn check(&self, applied: &Applied) -> Result<T, String> {
        self.guarded(|| {
            let (mut keys, mut sum, mut newest) = (0_u64, 0_u64, T::ZERO);
            let mut note = |key: &[u8], value: &[u8], t: Option<T>| {
                let t = t.ok_or_else(|| malformed("key"))?;
                newest = newest.max(t);
                if t <= applied.t {
                    keys += 1;
                    sum = sum.wrapping_add(key_sum(key, value));
                }
                Ok::<(), String>(())
            };
            for entry in &self.versions {
                let (key, value) = entry.map_err(text)?;
                note(&key, &value, position(&key))?;
            }
            for entry in &self.identifiers {
                let (key, value) = entry.map_err(text)?;
                note(&key, &value, first_position(&value))?;
            }
            if (keys, sum) == (applied.keys, applied.sum) {
                return Ok(newest);
            }
            Err(format!(
                "{keys} keys with sum {sum:016x} are there, {} with sum {:016x} must be",
                applied.keys, applied.sum
            ))
        })
    }

    /// Takes in the keys of the commits after `applied`, then notes that it has them.
    pub(crate) fn apply(&self, units: &[Arc<Unit>], applied: &mut Applied) -> Result<(), String> {
        self.guarded(|| {
            for unit in units {
                for (key, pointer) in &unit.versions {
                    let value = pointer.encode();
                    self.versions.insert(key, value.as_slice()).map_err(text)?;
                    applied.count(key, &value);
                }
                for (key, t) in &unit.identifiers {
                    self.apply_identifier(key, *t, applied)?;
                }
                (applied.t, applied.hash, applied.segment) = (unit.t, unit.hash, unit.segment);
            }
            let applied = self.db.insert(APPLIED, applied.encode().as_slice());
            applied.map_err(text).map(|_| ())
        })
    }

    /// Keeps the first position at which a resource bore an identifier. A key of this very `t`
    /// is there when a crash forgot that its commit had been applied.
    fn apply_identifier(&self, key: &[u8], t: T, applied: &mut Applied) -> Result<(), String> {
        let value = t.get().to_le_bytes();
        let absent = None::<&[u8]>;
        let placed = self.identifiers.compare_and_swap(key, absent, Some(value.as_slice()));
        if let Err(there) = placed.map_err(text)? {
            let first = there.current.as_deref().and_then(first_position);
            if first.ok_or_else(|| malformed("identifier"))? < t {
                return Ok(());
            }
            let placed = self.identifiers.insert(key, value.as_slice());
            placed.map_err(text)?;
        }
        applied.count(key, &value);
        Ok(())
    }

    /// The first of these keys, which is the newest version's.
    pub(crate) fn first(
        &self,
        keys: &RangeInclusive<Vec<u8>>,
    ) -> Result<Option<(T, Pointer)>, String> {
        self.guarded(|| {
            let mut entries = self.versions.range(bounds(keys));
            entries.next().map(version_entry).transpose()
        })
    }

    /// The first of these keys whose version is wanted.
    pub(crate) fn find(
        &self,
        keys: &RangeInclusive<Vec<u8>>,
        wanted: impl Fn(&Pointer) -> bool,
    ) -> Result<Option<(T, Pointer)>, String> {
        self.guarded(|| {
            for entry in self.versions.range(bounds(keys)) {
                let (t, pointer) = version_entry(entry)?;
                if wanted(&pointer) {
                    return Ok(Some((t, pointer)));
                }
            }
            Ok(None)
        })
    }

    /// Adds all of these keys, the newest version's first.
    pub(crate) fn all(
        &self,
        keys: &RangeInclusive<Vec<u8>>,
        into: &mut Vec<(T, Pointer)>,
    ) -> Result<(), String> {
        self.guarded(|| {
            for entry in self.versions.range(bounds(keys)) {
                into.push(version_entry(entry)?);
            }
            Ok(())
        })
    }

    /// Adds the resources whose keys begin with `prefix` and that stood there at `at`.
    pub(crate) fn bearers(
        &self,
        prefix: &[u8],
        at: T,
        into: &mut BTreeSet<ResourceId>,
    ) -> Result<(), String> {
        self.guarded(|| {
            for entry in self.identifiers.scan_prefix(prefix) {
                let (key, value) = entry.map_err(text)?;
                let first = first_position(&value).ok_or_else(|| malformed("identifier"))?;
                let id = bearer(prefix, &key).ok_or_else(|| malformed("bearer"))?;
                if first <= at {
                    into.insert(id);
                }
            }
            Ok(())
        })
    }

    /// The first position at which the resource of this key bore its identifier.
    pub(crate) fn first_borne(&self, key: &[u8]) -> Result<Option<T>, String> {
        self.guarded(|| {
            let stored = self.identifiers.get(key).map_err(text)?;
            Ok(stored.and_then(|value| first_position(&value)))
        })
    }

    /// How many versions up to `at` have a key.
    pub(crate) fn count_versions(&self, at: T) -> Result<u64, String> {
        self.guarded(|| {
            let mut count = 0;
            for entry in &self.versions {
                let (t, _) = version_entry(entry)?;
                count += u64::from(t <= at);
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
        let marked = create_file(&path).and_then(|mut file| file.write_all(reason.as_bytes()));
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
            _ => Unopened::Unusable(error.to_string()),
        },
        other => Unopened::Unusable(other.to_string()),
    }
}

/// Why the last use of the state put it out of use, when it did.
pub(crate) fn marked_failure(layout: &Layout) -> Option<String> {
    let path = layout.state_failed();
    path.symlink_metadata().ok()?;
    Some(fs::read_to_string(path).unwrap_or_default())
}

impl Applied {
    fn count(&mut self, key: &[u8], value: &[u8]) {
        self.keys += 1;
        self.sum = self.sum.wrapping_add(key_sum(key, value));
    }

    fn encode(&self) -> [u8; APPLIED_BYTES] {
        let mut bytes = [0; APPLIED_BYTES];
        bytes[0..8].copy_from_slice(&self.t.get().to_le_bytes());
        bytes[8..40].copy_from_slice(&self.hash.0);
        bytes[40..48].copy_from_slice(&self.segment.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.keys.to_le_bytes());
        bytes[56..64].copy_from_slice(&self.sum.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; APPLIED_BYTES] = bytes.try_into().ok()?;
        let eight = |at: usize| bytes[at..at + 8].try_into().map(u64::from_le_bytes).ok();
        Some(Self {
            t: T::new(eight(0)?),
            hash: CommitHash(bytes[8..40].try_into().ok()?),
            segment: eight(40)?,
            keys: eight(48)?,
            sum: eight(56)?,
        })
    }
}

fn key_sum(key: &[u8], value: &[u8]) -> u64 {
    let high = crc32c::crc32c(key);
    let low = crc32c::crc32c_append(high, value);
    (u64::from(high) << 32) | u64::from(low)
}

type Entry = sled::Result<(sled::IVec, sled::IVec)>;

fn version_entry(entry: Entry) -> Result<(T, Pointer), String> {
    let (key, value) = entry.map_err(text)?;
    let t = position(&key).ok_or_else(|| malformed("key"))?;
    let pointer = Pointer::decode(&value).ok_or_else(|| malformed("pointer"))?;
    Ok((t, pointer))
}

fn bounds(keys: &RangeInclusive<Vec<u8>>) -> RangeInclusive<&[u8]> {
    keys.start().as_slice()..=keys.end().as_slice()
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
    fn a_disk_that_takes_no_writes_is_no_reason_to_rebuild_the_state() {
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
        assert!(matches!(opened(ErrorKind::InvalidData), Unopened::Unusable(_)));
        let corrupt = sled::Error::Corruption { at: None, bt: () };
        assert!(matches!(unopened(corrupt), Unopened::Unusable(_)));
        let held = io::Error::other("could not acquire lock on \"db\"");
        assert!(matches!(unopened(sled::Error::Io(held)), Unopened::InUse));
    }
}
