//! The view: where the change log speaks of a client or a key, so that their history is read
//! without reading the whole log. Kept in sled, wholly derived from the log.
//!
//! sled loses its last writes in a crash, opens a damaged file as an empty one and panics on
//! others, at once or later. So the view says which state of the log it shows and how many
//! entries it has, every call into sled is fenced, and at any doubt the caller sets the view
//! aside and builds another.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use contract::Instant;

use crate::change::{Change, Subject};
use crate::log::{Entry, Head};

/// The open view.
pub(crate) struct View {
    db: sled::Db,
}

/// The view cannot be trusted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ViewError {
    #[error("sled failed")]
    Sled(#[from] sled::Error),
    #[error("sled panicked")]
    Panicked,
    #[error("an entry has an impossible form")]
    Malformed,
}

/// Which part of the log a view shows.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Shows {
    Nothing,
    UpTo(Head),
    /// It is not whole: entries are missing or too many.
    Doubtful,
}

const META: &[u8] = b"meta";
const CACHE_BYTES: u64 = 8 << 20;

impl View {
    pub(crate) fn open(dir: &Path) -> Result<Self, ViewError> {
        fenced(|| {
            let db = sled::Config::new()
                .path(dir)
                .cache_capacity(CACHE_BYTES)
                .flush_every_ms(None)
                .open()?;
            Ok(Self { db })
        })
    }

    /// What the view shows; reads all of it, to count.
    pub(crate) fn shows(&self) -> Result<Shows, ViewError> {
        fenced(|| {
            let Some(meta) = self.db.get(META)? else {
                return Ok(if self.db.is_empty() { Shows::Nothing } else { Shows::Doubtful });
            };
            let (head, entries) = read_meta(&meta)?;
            let mut found = 0_u64;
            for entry in self.db.iter() {
                entry?;
                found += 1;
            }
            Ok(if found == entries + 1 { Shows::UpTo(head) } else { Shows::Doubtful })
        })
    }

    /// Adds changes that follow what the view shows.
    pub(crate) fn add(&self, changes: &[(&Entry, &Change)]) -> Result<(), ViewError> {
        fenced(|| {
            let mut entries = match self.db.get(META)? {
                Some(meta) => read_meta(&meta)?.1,
                None => 0,
            };
            for (entry, change) in changes {
                let mut batch = sled::Batch::default();
                let value = entry.offset.to_be_bytes();
                let mut insert = |key: Vec<u8>| {
                    batch.insert(key, &value);
                    entries += 1;
                };
                insert(key_of(None, entry.sequence));
                for subject in change.subjects() {
                    insert(key_of(Some(&subject), entry.sequence));
                }
                batch.insert(META, write_meta(&Head::of(entry), entries));
                self.db.apply_batch(batch)?;
            }
            Ok(())
        })
    }

    /// Offsets in the log of changes of `subject` (of all where `None`) after number `after`.
    pub(crate) fn offsets(
        &self,
        subject: Option<&Subject>,
        after: u64,
        limit: usize,
    ) -> Result<Vec<u64>, ViewError> {
        fenced(|| {
            let from = key_of(subject, after.saturating_add(1));
            let to = key_of(subject, u64::MAX);
            let mut offsets = Vec::new();
            for entry in self.db.range(from..=to).take(limit) {
                let (_, value) = entry?;
                let value: [u8; 8] = value.as_ref().try_into().map_err(|_| ViewError::Malformed)?;
                offsets.push(u64::from_be_bytes(value));
            }
            Ok(offsets)
        })
    }

    pub(crate) fn flush(&self) -> Result<(), ViewError> {
        fenced(|| {
            self.db.flush()?;
            Ok(())
        })
    }
}

/// Runs `work` so that a panic inside sled is an error like another. Nothing of ours is changed
/// within, and a view that failed is dropped, so no broken state is seen afterwards.
fn fenced<T>(work: impl FnOnce() -> Result<T, ViewError>) -> Result<T, ViewError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(ViewError::Panicked))
}

/// `a` + number, `b` + number, `c` + client id + NUL + number, `k` + key id + NUL + number: an id has no NUL, so
/// no id is another's prefix.
fn key_of(subject: Option<&Subject>, sequence: u64) -> Vec<u8> {
    let (kind, id) = match subject {
        None => (b'a', ""),
        Some(Subject::BreakGlass) => (b'b', ""),
        Some(Subject::Client(id)) => (b'c', id.as_str()),
        Some(Subject::Key(id)) => (b'k', id.as_str()),
    };
    let mut key = vec![kind];
    key.extend_from_slice(id.as_bytes());
    key.push(0);
    key.extend_from_slice(&sequence.to_be_bytes());
    key
}

fn write_meta(head: &Head, entries: u64) -> Vec<u8> {
    [
        &head.sequence.to_be_bytes()[..],
        &head.instant.as_micros().to_be_bytes(),
        &head.checksum.to_be_bytes(),
        &entries.to_be_bytes(),
    ]
    .concat()
}

fn read_meta(meta: &[u8]) -> Result<(Head, u64), ViewError> {
    let (sequence, rest) = meta.split_first_chunk().ok_or(ViewError::Malformed)?;
    let (micros, rest) = rest.split_first_chunk().ok_or(ViewError::Malformed)?;
    let (checksum, rest) = rest.split_first_chunk().ok_or(ViewError::Malformed)?;
    let entries = rest.try_into().map_err(|_| ViewError::Malformed)?;
    let head = Head {
        sequence: u64::from_be_bytes(*sequence),
        instant: Instant::from_micros(i64::from_be_bytes(*micros)),
        checksum: u32::from_be_bytes(*checksum),
    };
    Ok((head, u64::from_be_bytes(entries)))
}
