//! Which items there are, without their bodies. It follows the log: who asks at a position first
//! reads what was committed up to it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use database::{Database, ReadError, T, VersionEntry, Visibility, quarantine};
use fhir_core::ResourceId;

use crate::internal;
use crate::terminology::changed;

/// Where an item stands among the others: by when it was committed.
pub(crate) type Key = (T, ResourceId);

/// The items of one tenant.
#[derive(Debug, Default)]
pub(crate) struct Shelf(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    at: T,
    /// With the bytes of each.
    items: BTreeMap<Key, usize>,
    by_id: HashMap<ResourceId, T>,
    bytes: usize,
    was_full: bool,
    weeding: Weeding,
}

/// How far it was looked through for what nobody can read any more.
#[derive(Debug, Default)]
struct Weeding {
    /// How often keys were destroyed when that began.
    purges: u64,
    /// The item that was looked at last; the newest come first.
    before: Option<Key>,
    /// Somebody is at it, or it is done.
    rests: bool,
}

impl Shelf {
    /// Reads what the log has since it was read last.
    ///
    /// # Errors
    /// [`ReadError`] when it cannot be read.
    pub(crate) async fn follow(&self, database: &Database) -> Result<(), ReadError> {
        let of = internal::of(quarantine::TYPE);
        loop {
            let after = self.state().at;
            let snapshot = database.snapshot(Visibility::everything());
            if snapshot.at() <= after {
                return Ok(());
            }
            let changed = changed(&snapshot, &of, after).await?;
            let mut state = self.state();
            // Somebody else may have read on meanwhile.
            if state.at == after {
                changed.into_values().for_each(|entry| state.put(entry));
                state.at = snapshot.at();
                return Ok(());
            }
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.state().items.len()
    }

    /// Whether there are so many items, or bytes of them before they are compressed. The log says
    /// when that begins and ends.
    pub(crate) fn is_full(&self, items: usize, bytes: usize) -> bool {
        let mut state = self.state();
        let is_full = state.items.len() >= items || state.bytes >= bytes;
        if is_full != state.was_full {
            match is_full {
                true => tracing::warn!("the quarantine is full: what is invalid is refused"),
                false => tracing::info!("there is room in the quarantine again"),
            }
            state.was_full = is_full;
        }
        is_full
    }

    /// The newest item, or the newest before this one, and its bytes.
    pub(crate) fn newest_before(&self, key: Option<&Key>) -> Option<(Key, usize)> {
        let state = self.state();
        let found = match key {
            Some(key) => state.items.range(..key).next_back(),
            None => state.items.last_key_value(),
        };
        found.map(|(key, bytes)| (key.clone(), *bytes))
    }

    /// Where the item of this id stands, if there is one.
    pub(crate) fn get(&self, id: &ResourceId) -> Option<Key> {
        self.state().by_id.get(id).map(|t| (*t, id.clone()))
    }

    /// Takes out what nobody can read any more.
    pub(crate) fn forget(&self, id: &ResourceId) {
        self.state().take(id);
    }

    /// Begins to look for what nobody can read any more, or goes on, where keys were destroyed so
    /// often: behind which item. `None` where nothing is left to do, or somebody does it.
    pub(crate) fn begin_weeding(&self, purges: u64) -> Option<Option<Key>> {
        let mut state = self.state();
        let weeding = &mut state.weeding;
        if weeding.purges != purges {
            *weeding = Weeding { purges, ..Weeding::default() };
        }
        if purges == 0 || weeding.rests {
            return None;
        }
        weeding.rests = true;
        Some(weeding.before.clone())
    }

    /// Says how far that got: behind which item it goes on, if it does.
    pub(crate) fn end_weeding(&self, purges: u64, before: Option<Key>) {
        let weeding = &mut self.state().weeding;
        if weeding.purges == purges {
            *weeding = Weeding { purges, rests: before.is_none(), before };
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn put(&mut self, entry: VersionEntry) {
        self.take(&entry.id);
        if !entry.flags.is_deleted() {
            let bytes = entry.length as usize;
            self.bytes += bytes;
            self.by_id.insert(entry.id.clone(), entry.t);
            self.items.insert((entry.t, entry.id), bytes);
        }
    }

    fn take(&mut self, id: &ResourceId) {
        let key = self.by_id.remove(id).map(|t| (t, id.clone()));
        if let Some(bytes) = key.and_then(|key| self.items.remove(&key)) {
            self.bytes -= bytes;
        }
    }
}
