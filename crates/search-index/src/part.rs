//! What a settled segment and the tail have in common for whoever reads them.

use std::cell::Cell;
use std::collections::HashSet;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::dictionary::Dictionary;
use crate::documents::Documents;
use crate::facet::Facet;
use crate::places::{NO_KEY, first_of};
use crate::postings::{Postings, Union};
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

    /// Adds the documents of all keys of a range. Gives how many keys they were and how many
    /// documents, each counted once for each key.
    fn unite<'a>(
        &'a self,
        facet: Facet,
        range: (&[u8], Option<&[u8]>),
        union: &mut Union<'a>,
    ) -> (u64, u64);

    /// Whether it is known that no document has two keys of a facet.
    fn is_single(&self, facet: Facet) -> bool;

    /// Of a facet of quantities the codes of all those of which nothing is known in base units, if
    /// that is known.
    fn unconverted(&self, facet: Facet) -> Option<Units>;

    /// The documents of one key.
    fn get(&self, facet: Facet, key: &[u8]) -> Option<Postings<'_>>;

    /// The keys of each document, for sorting and for following references.
    fn by_document(&self, facet: Facet) -> ByDocument<'_>;

    /// The documents in the order of a value, if that is kept.
    fn kept_view(&self, key: SortViewKey) -> Option<Arc<SortView>>;

    /// Whether nobody waits for what is read: keys may be missing, so that nothing that was made
    /// of them may be kept or answered.
    fn is_left(&self) -> bool;

    /// Whether orders of the documents are kept.
    fn keeps_views(&self) -> bool;

    /// Keeps an order of the documents, where they do not change any more.
    fn keep_view(&self, key: SortViewKey, view: &Arc<SortView>);
}

/// A key and its facet.
pub(crate) type FacetKey = (Facet, Arc<[u8]>);

/// Codes of units, as the keys of quantities have them.
pub(crate) type Units = Arc<HashSet<Box<[u8]>>>;

/// Documents, each with the place of a key in a dictionary, ascending; as [`crate::places::filled`]
/// has them.
pub(crate) type DocumentPlaces = Arc<[(u32, u32)]>;

/// The keys of a facet by document.
pub(crate) enum ByDocument<'a> {
    /// Of a segment.
    Sorted {
        /// Document and place of a key, ascending.
        pairs: DocumentPlaces,
        /// Where the keys are.
        dictionary: &'a Dictionary,
        /// Where the last document that was asked for was found: most ask for one after the other.
        last: Cell<usize>,
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
            Self::Sorted { pairs, dictionary, last } => {
                places_of(pairs, last, doc).map(|place| dictionary.key(place)).collect()
            }
            Self::Listed { facet, keys } => {
                let all = keys.get(doc as usize).into_iter().flatten();
                all.filter(|(it, _)| it == facet).map(|(_, key)| &**key).collect()
            }
        }
    }

    /// Calls with each key that one of these documents has: of neighbours that have the same one,
    /// as what is about one patient mostly stands together, once.
    pub(crate) fn each_of(&self, docs: impl Iterator<Item = u32>, mut each: impl FnMut(&'a [u8])) {
        let Self::Sorted { pairs, dictionary, last } = self else {
            docs.for_each(|doc| self.of(doc).into_iter().for_each(&mut each));
            return;
        };
        let mut before = NO_KEY;
        for doc in docs {
            for place in places_of(pairs, last, doc) {
                if place != before {
                    each(dictionary.key(place));
                    before = place;
                }
            }
        }
    }
}

/// The places of a document's keys.
fn places_of<'p>(
    pairs: &'p [(u32, u32)],
    last: &Cell<usize>,
    doc: u32,
) -> impl Iterator<Item = u32> + 'p {
    let start = first_of(pairs, last.get(), doc);
    last.set(start);
    let own = pairs[start..].iter().take_while(move |(it, _)| *it == doc);
    own.map(|(_, place)| *place).filter(|place| *place != NO_KEY)
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
