//! The newest part of the index, into which commits write. It is bounded, so that evaluating it
//! under its lock is soon done, and the writer soon goes on.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::documents::{Document, Documents};
use crate::error::SearchError;
use crate::facet::Facet;
use crate::part::{ByDocument, Keys, MakeView, Part};
use crate::postings::Postings;
use crate::sort::{SortView, SortViewKey};

type KeyMap = BTreeMap<Box<[u8]>, SmallVec<[u32; 4]>>;

/// The documents of the latest commits.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    documents: Documents,
    facets: HashMap<Facet, KeyMap>,
    bytes: usize,
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
    pub(crate) fn push(&mut self, document: Document, keys: Vec<(Facet, Box<[u8]>)>) {
        let doc = self.documents.push(document);
        for (facet, key) in keys {
            self.bytes += key.len();
            let docs = self.facets.entry(facet).or_default().entry(key).or_default();
            if docs.last() != Some(&doc) {
                docs.push(doc);
            }
        }
    }

    /// Its keys, for a new segment.
    pub(crate) fn keys(&self) -> Box<dyn Iterator<Item = (Facet, &[u8], Postings<'_>)> + '_> {
        let mut facets: Vec<_> = self.facets.iter().collect();
        facets.sort_by_key(|(facet, _)| **facet);
        Box::new(facets.into_iter().flat_map(|(facet, keys)| {
            keys.iter().map(|(key, docs)| (*facet, &**key, Postings::Few(docs)))
        }))
    }

    /// About how much memory it takes, in bytes.
    pub(crate) fn size(&self) -> usize {
        let keys: usize = self.facets.values().map(BTreeMap::len).sum();
        self.bytes + keys * 64 + self.documents.len() as usize * (size_of::<Document>() + 8)
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

    fn get(&self, facet: Facet, key: &[u8]) -> Option<Postings<'_>> {
        self.facets.get(&facet)?.get(key).map(|docs| Postings::Few(docs))
    }

    fn by_document(&self, facet: Facet) -> ByDocument<'_> {
        let (mut keys, mut pairs) = (Vec::new(), Vec::new());
        for (key, docs) in self.facets.get(&facet).into_iter().flatten() {
            let place = u32::try_from(keys.len()).unwrap_or(u32::MAX);
            keys.push(&**key);
            pairs.extend(docs.iter().map(|doc| (*doc, place)));
        }
        pairs.sort_unstable();
        let pairs: Arc<[_]> = pairs.into();
        ByDocument { pairs, key: Box::new(move |place| keys[place as usize]) }
    }

    fn sort_view(&self, _: SortViewKey, make: MakeView<'_>) -> Result<Arc<SortView>, SearchError> {
        make().map(Arc::new)
    }
}
