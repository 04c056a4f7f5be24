//! What a settled segment and the tail have in common for whoever reads them.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::dictionary::Dictionary;
use crate::documents::Documents;
use crate::facet::Facet;
use crate::postings::Postings;
use crate::sort::{SortView, SortViewKey};

/// Keys of a facet in ascending order, each with its documents.
pub(crate) type Keys<'a> = Box<dyn Iterator<Item = (&'a [u8], Postings<'a>)> + 'a>;

/// A part of the index: the documents of a stretch of the log.
pub(crate) trait Part {
    /// The documents.
    fn documents(&self) -> &Documents;

    /// The keys of a facet from `low` on, those below `high` alone if it is given.
    fn range<'a>(&'a self, facet: Facet, low: &[u8], high: Option<&[u8]>) -> Keys<'a>;

    /// About how many keys of a facet are in a range.
    fn count_keys(&self, facet: Facet, low: &[u8], high: Option<&[u8]>) -> usize;

    /// About how many documents they have.
    fn count_documents(&self, facet: Facet, low: &[u8], high: Option<&[u8]>) -> u64;

    /// The documents of one key.
    fn get(&self, facet: Facet, key: &[u8]) -> Option<Postings<'_>>;

    /// The keys of each document, for sorting and for following references.
    fn by_document(&self, facet: Facet) -> ByDocument<'_>;

    /// The documents in the order of a value, if that is kept.
    fn kept_view(&self, key: SortViewKey) -> Option<Arc<SortView>>;

    /// Keeps an order of the documents, where they do not change any more.
    fn keep_view(&self, key: SortViewKey, view: &Arc<SortView>);
}

/// A key and its facet.
pub(crate) type FacetKey = (Facet, Arc<[u8]>);

/// Documents, each with the place of a key in a dictionary, ascending.
pub(crate) type DocumentPlaces = Arc<[(u32, u32)]>;

/// The keys of a facet by document.
pub(crate) enum ByDocument<'a> {
    /// Of a segment.
    Sorted {
        /// Document and place of a key, ascending.
        pairs: DocumentPlaces,
        /// Where the keys are.
        dictionary: &'a Dictionary,
    },
    /// Of a tail.
    Listed {
        /// The facet.
        facet: Facet,
        /// The keys of each document, of every facet.
        keys: &'a [Vec<FacetKey>],
    },
}

impl<'a> ByDocument<'a> {
    /// The keys of a document, in no order.
    pub(crate) fn of(&self, doc: u32) -> SmallVec<[&'a [u8]; 4]> {
        match self {
            Self::Sorted { pairs, dictionary } => {
                let start = pairs.partition_point(|(it, _)| *it < doc);
                let own = pairs[start..].iter().take_while(|(it, _)| *it == doc);
                own.map(|(_, place)| dictionary.key(*place)).collect()
            }
            Self::Listed { facet, keys } => {
                let all = keys.get(doc as usize).into_iter().flatten();
                all.filter(|(it, _)| it == facet).map(|(_, key)| &**key).collect()
            }
        }
    }
}

/// The least key that is greater than every key beginning with `prefix`; `None` when there is
/// none.
pub(crate) fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut next = prefix.to_vec();
    while let Some(last) = next.pop() {
        if last < u8::MAX {
            next.push(last + 1);
            return Some(next);
        }
    }
    None
}
