//! A settled segment as a search reads it: what it has looked at stays until it has done, whatever
//! leaves the memory meanwhile.

use std::cell::{Cell, OnceCell};
use std::collections::HashSet;
use std::sync::Arc;

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
        Self { segment, now: segment.memory().use_now(), pins: Pins::default() }
    }

    /// The keys at a place, which stay for as long as this does.
    fn pinned(&self, at: usize) -> &Dictionary {
        let mut pins = &self.pins;
        loop {
            for pin in &pins.first {
                let (place, keys) = pin.get_or_init(|| (at, self.segment.keys(at, self.now)));
                if *place == at {
                    return keys;
                }
            }
            pins = pins.more.get_or_init(Box::default);
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
        self.segment.keep(key, &DerivedView::Unconverted(Arc::clone(&units)), self.now);
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
                self.segment.keep(key, &view, self.now);
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

    fn keeps_views(&self) -> bool {
        true
    }

    fn keep_view(&self, key: SortViewKey, view: &Arc<SortView>) {
        self.segment.keep(ViewKey::Sorted(key), &DerivedView::Sorted(Arc::clone(view)), self.now);
    }
}
