//! A settled part of the index: it is read without a lock.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use fhir_search::Direction;
use parking_lot::RwLock;

use crate::SearchError;
use crate::dictionary::Dictionary;
use crate::documents::{Document, Documents};
use crate::facet::Facet;
use crate::key::unconverted_unit;
use crate::part::{ByDocument, DocumentPlaces, Keys, Part, Units};
use crate::postings::{Postings, Union};
use crate::sort::{SortSource, SortView, SortViewKey};

/// An immutable part of the index.
#[derive(Debug)]
pub(crate) struct Segment {
    documents: Documents,
    dictionary: Dictionary,
    /// Keys by document, made when first asked for.
    by_document: RwLock<HashMap<Facet, DocumentPlaces>>,
    /// Codes of quantities that are not known in base units, made when first asked for.
    unconverted: RwLock<HashMap<Facet, Units>>,
    /// Documents in the order of a value, made when first asked for.
    sorted: RwLock<HashMap<SortViewKey, Arc<SortView>>>,
}

/// What a new segment is made of: keys of one part in order, and what becomes of its documents.
pub(crate) struct Source<'a> {
    /// Facets, keys and documents, ascending.
    pub(crate) keys: Box<dyn Iterator<Item = (Facet, &'a [u8], Postings<'a>)> + 'a>,
    /// The new number of each document; [`DROPPED`] for those that are left out.
    pub(crate) numbers: &'a [u32],
}

/// No document has this number.
pub(crate) const DROPPED: u32 = u32::MAX;

/// A merge looks up so often whether it goes on: after so many keys.
const BETWEEN_LOOKS: u64 = 4096;

impl Segment {
    /// Puts the keys of `sources`, whose documents follow one another, into one segment. Every few
    /// milliseconds `goes_on` is asked; `None` when it says no.
    pub(crate) fn build(
        documents: Vec<Document>,
        sources: Vec<Source<'_>>,
        goes_on: &dyn Fn() -> bool,
    ) -> Option<Self> {
        Some(Self::new(documents, merge(sources, goes_on)?))
    }

    /// A segment of documents in the order of the log and their keys.
    pub(crate) fn new(documents: Vec<Document>, dictionary: Dictionary) -> Self {
        Self {
            documents: documents.into(),
            dictionary,
            by_document: RwLock::default(),
            unconverted: RwLock::default(),
            sorted: RwLock::default(),
        }
    }

    /// Its keys, for a new segment.
    pub(crate) fn keys(&self) -> Box<dyn Iterator<Item = (Facet, &[u8], Postings<'_>)> + '_> {
        let dictionary = &self.dictionary;
        Box::new(dictionary.facets().flat_map(move |facet| {
            let place = dictionary.places(facet);
            place.map(move |it| (facet, dictionary.key(it), dictionary.postings(it)))
        }))
    }

    /// Makes by itself what was made of another when it was asked for, so that whoever asks next
    /// need not wait for it.
    pub(crate) fn make_as(&self, other: &Self, source: &SortSource<'_>) -> Result<(), SearchError> {
        let facets: Vec<Facet> = other.by_document.read().keys().copied().collect();
        facets.into_iter().for_each(|facet| drop(self.by_document(facet)));
        let facets: Vec<Facet> = other.unconverted.read().keys().copied().collect();
        facets.into_iter().for_each(|facet| drop(self.unconverted(facet)));
        let views: Vec<_> =
            other.sorted.read().iter().map(|(key, view)| (*key, view.kind())).collect();
        for (key, kind) in views {
            let direction =
                if key.descending { Direction::Descending } else { Direction::Ascending };
            let source = SortSource { direction, ..*source };
            if self.kept_view(key).is_none() {
                let view = match kind {
                    None => source.by_ids()?,
                    Some(kind) => source.by_values(key.facet, kind)?,
                };
                self.keep_view(key, &Arc::new(view));
            }
        }
        Ok(())
    }

    /// How many documents it has.
    pub(crate) fn documents_len(&self) -> u32 {
        self.documents.len()
    }

    /// How many bytes its keys have.
    pub(crate) fn key_bytes(&self) -> usize {
        self.dictionary.key_bytes()
    }

    /// About how much memory it takes, in bytes.
    pub(crate) fn size(&self) -> usize {
        let views = self.by_document.read();
        let views: usize = views.values().map(|pairs| pairs.len() * 8).sum();
        let sorted: usize = self.sorted.read().values().map(|view| view.size()).sum();
        let documents = self.documents.len() as usize * (size_of::<Document>() + 8);
        self.dictionary.size() + documents + views + sorted
    }
}

impl Part for Segment {
    fn documents(&self) -> &Documents {
        &self.documents
    }

    fn range<'a>(&'a self, facet: Facet, low: &[u8], high: Option<&[u8]>) -> Keys<'a> {
        self.dictionary.range(facet, low, high)
    }

    fn count_keys(&self, facet: Facet, low: &[u8], high: Option<&[u8]>) -> usize {
        self.dictionary.within(facet, low, high).len()
    }

    fn count_documents(&self, facet: Facet, low: &[u8], high: Option<&[u8]>) -> u64 {
        self.dictionary.count_documents(facet, low, high)
    }

    fn unite<'a>(
        &'a self,
        facet: Facet,
        (low, high): (&[u8], Option<&[u8]>),
        union: &mut Union<'a>,
    ) -> (u64, u64) {
        let places = self.dictionary.within(facet, low, high);
        (places.len() as u64, self.dictionary.unite(places, union))
    }

    fn is_single(&self, facet: Facet) -> bool {
        self.dictionary.is_single(facet)
    }

    fn unconverted(&self, facet: Facet) -> Option<Units> {
        let known = self.unconverted.read().get(&facet).cloned();
        Some(known.unwrap_or_else(|| {
            let keys = self.dictionary.places(facet).map(|place| self.dictionary.key(place));
            let mut units: HashSet<Box<[u8]>> = HashSet::new();
            for unit in keys.filter_map(unconverted_unit) {
                if !units.contains(unit) {
                    units.insert(unit.into());
                }
            }
            let units: Units = units.into();
            self.unconverted.write().insert(facet, Arc::clone(&units));
            units
        }))
    }

    fn get(&self, facet: Facet, key: &[u8]) -> Option<Postings<'_>> {
        self.dictionary.get(facet, key)
    }

    fn by_document(&self, facet: Facet) -> ByDocument<'_> {
        let known = self.by_document.read().get(&facet).cloned();
        let pairs = known.unwrap_or_else(|| {
            let mut pairs = Vec::new();
            for place in self.dictionary.places(facet) {
                self.dictionary.postings(place).for_each(|doc| pairs.push((doc, place)));
            }
            pairs.sort_unstable();
            let pairs: DocumentPlaces = pairs.into();
            self.by_document.write().insert(facet, Arc::clone(&pairs));
            pairs
        });
        ByDocument::Sorted { pairs, dictionary: &self.dictionary, last: Cell::new(0) }
    }

    fn kept_view(&self, key: SortViewKey) -> Option<Arc<SortView>> {
        self.sorted.read().get(&key).cloned()
    }

    fn keeps_views(&self) -> bool {
        true
    }

    fn keep_view(&self, key: SortViewKey, view: &Arc<SortView>) {
        self.sorted.write().insert(key, Arc::clone(view));
    }
}

/// Merges sorted keys. Of a key that several sources have, the documents come in the order of the
/// sources, which is ascending.
fn merge(sources: Vec<Source<'_>>, goes_on: &dyn Fn() -> bool) -> Option<Dictionary> {
    let mut dictionary = Dictionary::default();
    let mut sources: Vec<_> =
        sources.into_iter().map(|source| (source.keys.peekable(), source.numbers)).collect();
    let mut docs = Vec::new();
    for looked_at in 0_u64.. {
        if looked_at.is_multiple_of(BETWEEN_LOOKS) && !goes_on() {
            return None;
        }
        let least = sources.iter_mut().filter_map(|(keys, _)| {
            let (facet, key, _) = keys.peek()?;
            Some((*facet, *key))
        });
        let Some((facet, key)) = least.min() else { break };
        docs.clear();
        for (keys, numbers) in &mut sources {
            let own =
                keys.next_if(|(its_facet, its_key, _)| (*its_facet, *its_key) == (facet, key));
            if let Some((_, _, postings)) = own {
                postings.for_each(|doc| {
                    let number = numbers[doc as usize];
                    if number != DROPPED {
                        docs.push(number);
                    }
                });
            }
        }
        dictionary.push(facet, key, &docs);
    }
    dictionary.shrink();
    Some(dictionary)
}
