//! The newest part of the index, into which commits write. It is bounded, so that evaluating it
//! under its lock is soon done, and the writer soon goes on.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::documents::{Document, Documents};
use crate::facet::{Facet, FacetHash};
use crate::part::{ByDocument, FacetKey, Keys, Part, Units};
use crate::postings::{Postings, Union};
use crate::sort::{SortView, SortViewKey};

type KeyMap = BTreeMap<Arc<[u8]>, SmallVec<[u32; 4]>>;

/// The documents of the latest commits.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    documents: Documents,
    facets: HashMap<Facet, KeyMap, FacetHash>,
    /// The keys of each document.
    keys: Vec<Vec<FacetKey>>,
    /// Of all keys.
    bytes: usize,
    /// How many they are, each counted once for each of its documents.
    listed: usize,
}

/// A tail with so many documents is full.
const MOST_DOCUMENTS: u32 = 4096;
/// A tail with so many bytes of keys is full.
const MOST_BYTES: usize = 64 << 20;

impl Tail {
    /// Whether the next commit goes to another.
    pub(crate) fn is_full(&self) -> bool {
        self.documents.len() >= MOST_DOCUMENTS || self.bytes >= MOST_BYTES
    }

    /// Adds the next document of the log with its keys.
    pub(crate) fn push(&mut self, document: Document, keys: Vec<FacetKey>) {
        let doc = self.documents.push(document);
        for (facet, key) in &keys {
            self.bytes += key.len();
            let docs = self.facets.entry(*facet).or_default();
            let docs = docs.entry(Arc::clone(key)).or_default();
            if docs.last() != Some(&doc) {
                docs.push(doc);
            }
        }
        self.listed += keys.len();
        self.keys.push(keys);
    }

    /// The facets of which it has keys, in no order.
    pub(crate) fn facets(&self) -> impl Iterator<Item = Facet> + '_ {
        self.facets.keys().copied()
    }

    /// About how much memory it takes, in bytes.
    pub(crate) fn size(&self) -> usize {
        let keys: usize = self.facets.values().map(BTreeMap::len).sum();
        let documents = self.documents.len() as usize * (size_of::<Document>() + 8);
        self.bytes + keys * 96 + self.listed * size_of::<FacetKey>() + documents
    }
}

impl Part for Tail {
    fn documents(&self) -> &Documents {
        &self.documents
    }

    fn range<'a>(&'a self, facet: Facet, low: &[u8], high: Option<&[u8]>) -> Keys<'a> {
        let Some(keys) = self.facets.get(&facet).filter(|_| high.is_none_or(|it| low < it)) else {
            return Box::new(std::iter::empty());
        };
        let high = high.map_or(Bound::Unbounded, Bound::Excluded);
        let range = keys.range::<[u8], _>((Bound::Included(low), high));
        Box::new(range.map(|(key, docs)| (&**key, Postings::Few(docs))))
    }

    fn count_keys(&self, facet: Facet, _low: &[u8], _high: Option<&[u8]>) -> usize {
        self.facets.get(&facet).map_or(0, BTreeMap::len)
    }

    fn count_documents(&self, facet: Facet, low: &[u8], high: Option<&[u8]>) -> u64 {
        self.count_keys(facet, low, high) as u64
    }

    fn unite<'a>(
        &'a self,
        facet: Facet,
        (low, high): (&[u8], Option<&[u8]>),
        union: &mut Union<'a>,
    ) -> (u64, u64) {
        let (mut keys, mut documents) = (0, 0);
        for (_, postings) in self.range(facet, low, high) {
            keys += 1;
            documents += postings.len();
            union.add(postings);
        }
        (keys, documents)
    }

    fn is_single(&self, _: Facet) -> bool {
        false
    }

    fn unconverted(&self, _: Facet) -> Option<Units> {
        None
    }

    fn get(&self, facet: Facet, key: &[u8]) -> Option<Postings<'_>> {
        self.facets.get(&facet)?.get(key).map(|docs| Postings::Few(docs))
    }

    fn by_document(&self, facet: Facet) -> ByDocument<'_> {
        ByDocument::Listed { facet, keys: &self.keys }
    }

    fn kept_view(&self, _: SortViewKey) -> Option<Arc<SortView>> {
        None
    }

    fn is_left(&self) -> bool {
        false
    }

    fn keeps_views(&self) -> bool {
        false
    }

    fn keep_view(&self, _: SortViewKey, _: &Arc<SortView>) {}
}
