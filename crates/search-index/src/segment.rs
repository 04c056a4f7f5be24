//! A settled part of the index: it is read without a lock. What it says of its documents stays in
//! memory; the keys of each facet are there as long as there is room, and are read again when a
//! search needs them, if the segment is kept somewhere.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use fhir_search::Direction;
use parking_lot::RwLock;

use crate::SearchError;
use crate::dictionary::{Dictionary, Summary};
use crate::documents::{Document, Documents};
use crate::facet::Facet;
use crate::memory::{Evictable, Memory};
use crate::part::{DocumentPlaces, Part, Units};
use crate::segment_view::SegmentView;
use crate::sort::{SortSource, SortView, SortViewKey};
use crate::source::{Kept, SourceError};

/// An immutable part of the index.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) documents: Documents,
    /// Ascending by facet.
    facets: Box<[FacetSlot]>,
    /// What was made of keys when it was first asked for.
    derived: RwLock<HashMap<ViewKey, ViewSlot>>,
    /// Where the keys can be read again.
    kept: OnceLock<Kept>,
    memory: Arc<Memory>,
    /// How many bytes of keys and views are in memory.
    held: AtomicUsize,
    /// How many bytes of keys cannot leave the memory while it is not kept.
    unkept: usize,
    /// Why keys could not be read.
    failure: OnceLock<SourceError>,
}

/// The keys of a facet, where they are in memory.
#[derive(Debug)]
struct FacetSlot {
    facet: Facet,
    summary: Summary,
    keys: RwLock<Option<Arc<Dictionary>>>,
    /// When they were used last.
    used: AtomicU64,
}

/// Which view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum ViewKey {
    /// The keys of each document.
    ByDocument(Facet),
    /// Codes of quantities that are not known in base units.
    Unconverted(Facet),
    /// Documents in the order of a value.
    Sorted(SortViewKey),
}

/// Something that was made of keys.
#[derive(Debug, Clone)]
pub(crate) enum DerivedView {
    ByDocument(DocumentPlaces),
    Unconverted(Units),
    Sorted(Arc<SortView>),
}

#[derive(Debug)]
struct ViewSlot {
    view: DerivedView,
    bytes: usize,
    used: AtomicU64,
}

/// What can leave the memory.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Unit {
    /// The keys of a facet, by its place.
    Keys(usize),
    View(ViewKey),
}

/// A facet of a new segment: what is known of its keys, and they, unless they are kept.
pub(crate) type FacetOf = (Facet, Summary, Option<Dictionary>);

impl DerivedView {
    fn size(&self) -> usize {
        match self {
            Self::ByDocument(pairs) => pairs.len() * 8,
            Self::Unconverted(units) => units.iter().map(|unit| unit.len() + 32).sum(),
            Self::Sorted(view) => view.size(),
        }
    }
}

impl Segment {
    /// A segment of documents in the order of the log and their facets, ascending.
    pub(crate) fn new(
        documents: Vec<Document>,
        facets: Vec<FacetOf>,
        kept: Option<Kept>,
        memory: &Arc<Memory>,
    ) -> Self {
        let mut held = 0;
        let now = memory.use_now();
        let slots = facets.into_iter().map(|(facet, summary, keys)| {
            held += keys.as_ref().map_or(0, Dictionary::size);
            let keys = RwLock::new(keys.map(Arc::new));
            FacetSlot { facet, summary, keys, used: AtomicU64::new(now) }
        });
        let facets = slots.collect();
        memory.hold(held);
        let unkept = if kept.is_some() { 0 } else { held };
        memory.fix(unkept);
        Self {
            documents: documents.into(),
            facets,
            derived: RwLock::default(),
            kept: kept.map_or_else(OnceLock::new, OnceLock::from),
            memory: Arc::clone(memory),
            held: AtomicUsize::new(held),
            unkept,
            failure: OnceLock::new(),
        }
    }

    /// It can be read from a source from now on, so that its keys need not stay in memory.
    pub(crate) fn keep_in(&self, kept: Kept) {
        // What it is kept in stays the same.
        if self.kept.set(kept).is_ok() {
            self.memory.unfix(self.unkept);
        }
    }

    /// Whether its keys can be read again.
    pub(crate) fn is_kept(&self) -> bool {
        self.kept.get().is_some()
    }

    /// All facets, ascending, each with what is known of its keys.
    pub(crate) fn facets(&self) -> impl Iterator<Item = (Facet, Summary)> + '_ {
        self.facets.iter().map(|slot| (slot.facet, slot.summary))
    }

    /// The place of a facet, if some document has a key of it.
    pub(crate) fn place(&self, facet: Facet) -> Option<usize> {
        self.facets.binary_search_by_key(&facet, |slot| slot.facet).ok()
    }

    /// What is known of the keys of the facet at a place.
    pub(crate) fn summary(&self, at: usize) -> &Summary {
        &self.facets[at].summary
    }

    /// The keys of the facet at a place, for a search. Where they cannot be read there are none,
    /// and the segment is harmed, which whoever asks is to look at before it answers. There are
    /// none either where `is_left` says, while they are read, that nobody waits for them.
    pub(crate) fn keys(&self, at: usize, now: u64, is_left: &dyn Fn() -> bool) -> Arc<Dictionary> {
        let slot = &self.facets[at];
        slot.used.store(now, Ordering::Relaxed);
        if let Some(keys) = &*slot.keys.read() {
            return Arc::clone(keys);
        }
        let keys = {
            // Who wants the same waits until it was read once.
            let mut held = slot.keys.write();
            if let Some(keys) = &*held {
                return Arc::clone(keys);
            }
            match self.read(slot, is_left) {
                Ok(None) => return Arc::default(),
                Ok(Some(keys)) => {
                    let keys = Arc::new(keys);
                    // What could not stay would have to go at once.
                    if !self.memory.has_no_room() {
                        *held = Some(Arc::clone(&keys));
                        self.hold(keys.size());
                    }
                    keys
                }
                Err(error) => {
                    self.fail(error);
                    return Arc::default();
                }
            }
        };
        self.memory.keep_within_budget();
        keys
    }

    /// The keys of a facet for who reads them once: they do not stay in memory for that.
    pub(crate) fn keys_once(&self, facet: Facet) -> Result<Option<Arc<Dictionary>>, Harmed> {
        let Some(at) = self.place(facet) else { return Ok(None) };
        let slot = &self.facets[at];
        let held = slot.keys.read().clone();
        match held {
            Some(keys) => Ok(Some(keys)),
            None => match self.read(slot, &|| false) {
                Ok(keys) => Ok(keys.map(Arc::new)),
                Err(error) => {
                    self.fail(error);
                    Err(Harmed)
                }
            },
        }
    }

    /// Reads what there is room for, so that no search needs to. Says whether there was room for
    /// all.
    pub(crate) fn load(&self, is_stopped: &dyn Fn() -> bool) -> Result<bool, Harmed> {
        for (at, slot) in self.facets.iter().enumerate() {
            let bytes = usize::try_from(slot.summary.bytes).unwrap_or(usize::MAX);
            let is_held = slot.keys.read().is_some();
            if !is_held && (is_stopped() || self.memory.is_full_with(bytes)) {
                return Ok(false);
            }
            self.keys(at, self.memory.use_now(), is_stopped);
            if self.failure.get().is_some() {
                return Err(Harmed);
            }
        }
        Ok(true)
    }

    /// Reads keys; none when nobody waits for them any more.
    fn read(
        &self,
        slot: &FacetSlot,
        is_left: &dyn Fn() -> bool,
    ) -> Result<Option<Dictionary>, SourceError> {
        let Some(kept) = self.kept.get() else {
            let nowhere = "what is not written down is not in memory";
            return Err(SourceError::Unreadable(nowhere.into()));
        };
        let keys = kept.load(slot.facet, &slot.summary, self.documents.len(), is_left)?;
        if keys.is_some() {
            self.memory.count_loaded();
        }
        Ok(keys)
    }

    fn fail(&self, error: SourceError) {
        let _is_first = self.failure.set(error);
        self.memory.is_harmed.store(true, Ordering::Release);
    }

    /// Why some of its keys could not be read: nothing that was found by it may be answered.
    pub(crate) fn failure(&self) -> Option<&SourceError> {
        self.failure.get()
    }

    fn hold(&self, bytes: usize) {
        self.held.fetch_add(bytes, Ordering::AcqRel);
        self.memory.hold(bytes);
    }

    fn let_go(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::AcqRel);
        self.memory.let_go(bytes);
    }

    /// A view, if it is there.
    pub(crate) fn view(&self, key: ViewKey, now: u64) -> Option<DerivedView> {
        let derived = self.derived.read();
        let slot = derived.get(&key)?;
        slot.used.store(now, Ordering::Relaxed);
        Some(slot.view.clone())
    }

    /// Keeps a view as long as there is room. What was made of keys that could not be read is
    /// no view.
    pub(crate) fn keep(&self, key: ViewKey, view: &DerivedView, now: u64) {
        if self.failure.get().is_some() || self.memory.has_no_room() {
            return;
        }
        let bytes = view.size();
        let slot = ViewSlot { view: view.clone(), bytes, used: AtomicU64::new(now) };
        self.hold(bytes);
        let before = self.derived.write().insert(key, slot);
        if let Some(before) = before {
            self.let_go(before.bytes);
        }
        self.memory.keep_within_budget();
    }

    /// Gives everything that can leave the memory: views, and keys that can be read again.
    pub(crate) fn evictable(&self, each: &mut dyn FnMut(Evictable<Unit>)) {
        for (key, slot) in &*self.derived.read() {
            let used = slot.used.load(Ordering::Relaxed);
            each(Evictable { used, unit: Unit::View(*key) });
        }
        if !self.is_kept() {
            return;
        }
        for (at, slot) in self.facets.iter().enumerate() {
            // One that is being read is in use.
            if slot.keys.try_read().is_some_and(|keys| keys.is_some()) {
                let used = slot.used.load(Ordering::Relaxed);
                each(Evictable { used, unit: Unit::Keys(at) });
            }
        }
    }

    /// Lets go of something. Whether it was there.
    pub(crate) fn evict(&self, unit: Unit) -> bool {
        let bytes = match unit {
            Unit::View(key) => self.derived.write().remove(&key).map(|slot| slot.bytes),
            Unit::Keys(at) => {
                let keys = self.facets[at].keys.try_write().and_then(|mut keys| keys.take());
                keys.map(|keys| keys.size())
            }
        };
        if let Some(bytes) = bytes {
            self.let_go(bytes);
        }
        bytes.is_some()
    }

    /// Makes by itself what was made of another when it was asked for, so that whoever asks next
    /// need not wait for it; as long as there is room.
    pub(crate) fn make_as(&self, other: &Self, source: &SortSource<'_>) -> Result<(), SearchError> {
        let wanted: Vec<(ViewKey, DerivedView)> =
            other.derived.read().iter().map(|(key, slot)| (*key, slot.view.clone())).collect();
        let own = SegmentView::of(self);
        for (key, view) in wanted {
            if self.memory.is_full_with(view.size()) {
                return Ok(());
            }
            match (key, view) {
                (ViewKey::ByDocument(facet), _) => drop(own.by_document(facet)),
                (ViewKey::Unconverted(facet), _) => drop(own.unconverted(facet)),
                (ViewKey::Sorted(key), DerivedView::Sorted(view)) => {
                    if own.kept_view(key).is_some() {
                        continue;
                    }
                    let direction = match key.descending {
                        true => Direction::Descending,
                        false => Direction::Ascending,
                    };
                    let source = SortSource { direction, ..*source };
                    let view = match view.kind() {
                        None => source.by_ids()?,
                        Some(kind) => source.by_values(key.facet, kind)?,
                    };
                    own.keep_view(key, &Arc::new(view));
                }
                (ViewKey::Sorted(_), _) => {}
            }
        }
        Ok(())
    }

    /// How many documents it has.
    pub(crate) fn documents_len(&self) -> u32 {
        self.documents.len()
    }

    /// How many bytes its keys have, and how many all of them take in memory, with their
    /// documents.
    pub(crate) fn key_bytes(&self) -> (u64, u64) {
        let all = self.facets.iter().map(|slot| slot.summary);
        all.fold((0, 0), |(keys, bytes), it| (keys + it.key_bytes, bytes + it.bytes))
    }

    /// About how many bytes of memory its documents take.
    pub(crate) fn documents_size(&self) -> usize {
        self.documents.len() as usize * (size_of::<Document>() + 8)
    }

    /// About how much memory it takes, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.documents_size() + self.held.load(Ordering::Acquire)
    }

    /// What its uses are counted by.
    pub(crate) fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        if !self.is_kept() {
            self.memory.unfix(self.unkept);
        }
        self.memory.let_go(*self.held.get_mut());
    }
}

/// Keys could not be read; the segment says why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Harmed;
