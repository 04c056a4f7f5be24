//! A settled segment as a search reads it: what it has looked at stays until it has done, whatever
//! leaves the memory meanwhile.

use std::cell::{Cell, OnceCell};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::dictionary::Dictionary;
use crate::documents::Documents;
use crate::facet::Facet;
use crate::key::unconverted_unit;
use crate::part::{ByDocument, DocumentPlaces, Keys, Part, Units};
use crate::places::filled;
use crate::postings::{Postings, Union};
use crate::segment::{DerivedView, Segment, ViewKey};
use crate::sort::{SortView, SortViewKey};

/// A segment, and the keys of it that are being read.
pub(crate) struct SegmentView<'s> {
    segment: &'s Segment,
    /// When it is read.
    now: u64,
    /// Set when nobody waits any more.
    cancelled: Option<&'s AtomicBool>,
    pins: Pins,
}

/// Keys by the places of their facets. What is added stays where it is.
#[derive(Default)]
struct Pins {
    first: [OnceCell<(usize, Arc<Dictionary>)>; 4],
    more: OnceCell<Box<Pins>>,
}

static NO_KEYS: Dictionary = Dictionary::new();

impl<'s> SegmentView<'s> {
    pub(crate) fn of(segment: &'s Segment) -> Self {
        let (now, pins) = (segment.memory().use_now(), Pins::default());
        Self { segment, now, cancelled: None, pins }
    }

    /// For a search: nothing is read from the disk once nobody waits for it.
    pub(crate) fn until(segment: &'s Segment, cancelled: &'s AtomicBool) -> Self {
        Self { cancelled: Some(cancelled), ..Self::of(segment) }
    }

    /// The keys at a place, which stay for as long as this does.
    fn pinned(&self, at: usize) -> &Dictionary {
        let mut pins = &self.pins;
        loop {
            for pin in &pins.first {
                let (place, keys) = pin.get_or_init(|| {
                    let is_left = || self.is_left();
                    (at, self.segment.keys(at, self.now, &is_left))
                });
                if *place == at {
                    return keys;
                }
            }
            pins = pins.more.get_or_init(Box::default);
        }
    }

    /// Keeps what was made of keys, if they were all there.
    fn keep(&self, key: ViewKey, view: &DerivedView) {
        if !self.is_left() {
            self.segment.keep(key, view, self.now);
        }
    }

    /// The keys of a facet.
    fn keys(&self, facet: Facet) -> &Dictionary {
        self.segment.place(facet).map_or(&NO_KEYS, |at| self.pinned(at))
    }
}

impl Part for SegmentView<'_> {
    fn documents(&self) -> &Documents {
        &self.segment.documents
    }

    fn range<'a>(&'a self, facet: Facet, low: &[u8], high: Option<&[u8]>) -> Keys<'a> {
        self.keys(facet).range(low, high)
    }

    fn count_keys(&self, facet: Facet, low: &[u8], high: Option<&[u8]>) -> usize {
        match self.segment.place(facet) {
            None => 0,
            Some(at) if low.is_empty() && high.is_none() => self.segment.summary(at).keys as usize,
            Some(at) => self.pinned(at).within(low, high).len(),
        }
    }

    /// As many as any keys of the facet have.
    fn count_documents(&self, facet: Facet, low: &[u8], high: Option<&[u8]>) -> u64 {
        let Some(at) = self.segment.place(facet) else { return 0 };
        let all = *self.segment.summary(at);
        let keys = self.count_keys(facet, low, high) as u64;
        keys * all.documents / u64::from(all.keys).max(1)
    }

    fn unite<'a>(
        &'a self,
        facet: Facet,
        (low, high): (&[u8], Option<&[u8]>),
        union: &mut Union<'a>,
    ) -> (u64, u64) {
        let keys = self.keys(facet);
        let places = keys.within(low, high);
        (places.len() as u64, keys.unite(places, union))
    }

    fn is_single(&self, facet: Facet) -> bool {
        self.segment.place(facet).is_some_and(|at| self.segment.summary(at).is_single)
    }

    fn unconverted(&self, facet: Facet) -> Option<Units> {
        let key = ViewKey::Unconverted(facet);
        if let Some(DerivedView::Unconverted(units)) = self.segment.view(key, self.now) {
            return Some(units);
        }
        let mut units: HashSet<Box<[u8]>> = HashSet::new();
        for unit in self.keys(facet).keys().filter_map(unconverted_unit) {
            if !units.contains(unit) {
                units.insert(unit.into());
            }
        }
        let units: Units = units.into();
        self.keep(key, &DerivedView::Unconverted(Arc::clone(&units)));
        Some(units)
    }

    fn get(&self, facet: Facet, key: &[u8]) -> Option<Postings<'_>> {
        self.keys(facet).get(key)
    }

    fn by_document(&self, facet: Facet) -> ByDocument<'_> {
        let dictionary = self.keys(facet);
        let key = ViewKey::ByDocument(facet);
        let at = self.segment.place(facet);
        if at.is_some_and(|at| self.segment.summary(at).keys != dictionary.len()) {
            // They could not be read, though the view may be there: nothing is found, and the
            // search is refused before it is answered.
            let pairs = Arc::from([]);
            return ByDocument::Sorted { pairs, dictionary, last: Cell::new(0) };
        }
        let pairs = match self.segment.view(key, self.now) {
            Some(DerivedView::ByDocument(pairs)) => pairs,
            _ => {
                let documents = self.segment.documents.len();
                let pairs: DocumentPlaces =
                    filled(dictionary.by_document(documents), documents).into();
                let view = DerivedView::ByDocument(Arc::clone(&pairs));
                self.keep(key, &view);
                pairs
            }
        };
        ByDocument::Sorted { pairs, dictionary, last: Cell::new(0) }
    }

    fn kept_view(&self, key: SortViewKey) -> Option<Arc<SortView>> {
        match self.segment.view(ViewKey::Sorted(key), self.now)? {
            DerivedView::Sorted(view) => Some(view),
            _ => None,
        }
    }

    fn is_left(&self) -> bool {
        self.cancelled.is_some_and(|cancelled| cancelled.load(Ordering::Acquire))
    }

    fn keeps_views(&self) -> bool {
        true
    }

    fn keep_view(&self, key: SortViewKey, view: &Arc<SortView>) {
        self.keep(ViewKey::Sorted(key), &DerivedView::Sorted(Arc::clone(view)));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use fhir_core::{Instant, VersionId};
    use store::T;

    use super::SegmentView;
    use crate::checkpoint::Damaged;
    use crate::dictionary::DictionaryBuilder;
    use crate::documents::{Document, DocumentOf, LogPlace, Ordinal};
    use crate::facet::{Facet, Number, View};
    use crate::memory::Memory;
    use crate::part::Part;
    use crate::segment::{Segment, Unit};
    use crate::source::{Kept, SegmentSource, SourceError};

    /// What was there once.
    #[derive(Debug)]
    struct Gone;

    impl SegmentSource for Gone {
        fn facet(
            &self,
            _: u32,
            _: &mut dyn FnMut(&[u8]) -> Result<(), Damaged>,
        ) -> Result<(), SourceError> {
            Err(SourceError::Unreadable("it was removed".into()))
        }
    }

    fn segment(facet: Facet) -> Segment {
        let mut keys = DictionaryBuilder::default();
        keys.push(b"a", &[0, 2]);
        keys.push(b"b", &[1]);
        let (summary, keys) = keys.finish().unwrap();
        let documents = (0..3_u32).map(|at| Document {
            ordinal: Ordinal(at),
            place: LogPlace { t: T::new(1), change: at },
            version: VersionId::FIRST,
            instant: Instant::from_micros(1),
            of: DocumentOf::Resource,
        });
        let facets = vec![(facet, summary, Some(keys))];
        let segment = Segment::new(documents.collect(), facets, None, &Memory::of(usize::MAX));
        segment.keep_in(Kept { source: Arc::new(Gone), names: 3, references: Arc::from([]) });
        segment
    }

    #[test]
    fn of_keys_that_cannot_be_read_a_document_has_none_also_where_their_places_are_kept() {
        let facet = Facet::of(Number(20), View::Value);
        let segment = segment(facet);
        let of = |doc| SegmentView::of(&segment).by_document(facet).of(doc).len();
        assert_eq!((0..4).map(of).collect::<Vec<_>>(), [1, 1, 1, 0]);
        assert!(segment.failure().is_none() && segment.evict(Unit::Keys(0)));
        assert_eq!((0..4).map(of).collect::<Vec<_>>(), [0; 4]);
        let view = SegmentView::of(&segment);
        view.by_document(facet).each_of(0..3, |key| panic!("{key:?} was read"));
        assert!(segment.failure().is_some());
    }

    #[test]
    fn what_nobody_waits_for_is_not_read_and_harms_nothing() {
        let facet = Facet::of(Number(20), View::Value);
        let (segment, left) = (segment(facet), AtomicBool::new(true));
        let view = SegmentView::until(&segment, &left);
        assert!(view.is_left() && view.get(facet, b"a").is_some());
        segment.evict(Unit::Keys(0));
        let view = SegmentView::until(&segment, &left);
        assert!(view.get(facet, b"a").is_none() && segment.failure().is_none());
        // Somebody waits.
        assert!(SegmentView::of(&segment).get(facet, b"a").is_none());
        assert!(segment.failure().is_some());
    }
}
