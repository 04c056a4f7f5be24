//! What a settled segment and the tail have in common for whoever reads them.

use std::cell::Cell;
use std::collections::HashSet;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::dictionary::Dictionary;
use crate::documents::Documents;
use crate::facet::Facet;
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

    /// Whether orders of the documents are kept.
    fn keeps_views(&self) -> bool;

    /// Keeps an order of the documents, where they do not change any more.
    fn keep_view(&self, key: SortViewKey, view: &Arc<SortView>);
}

/// A key and its facet.
pub(crate) type FacetKey = (Facet, Arc<[u8]>);

/// Codes of units, as the keys of quantities have them.
pub(crate) type Units = Arc<HashSet<Box<[u8]>>>;

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
                let start = first_from(pairs, last.get(), doc);
                last.set(start);
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

/// The first pair whose document is not below `doc`, which is near `last` if it is after that.
fn first_from(pairs: &[(u32, u32)], last: usize, doc: u32) -> usize {
    let is_below = |(it, _): &(u32, u32)| *it < doc;
    if last > 0 && !pairs.get(last - 1).is_some_and(is_below) {
        return pairs[..last.min(pairs.len())].partition_point(is_below);
    }
    let (mut from, mut step) = (last, 1);
    while pairs.get(from + step - 1).is_some_and(is_below) {
        from += step;
        step *= 2;
    }
    let end = (from + step).min(pairs.len());
    from + pairs[from.min(end)..end].partition_point(is_below)
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

#[cfg(test)]
mod tests {
    use super::first_from;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn from_wherever_it_begins_the_first_is_found(
            mut pairs in proptest::collection::vec((0_u32..60, 0_u32..3), 0..80),
            asked in proptest::collection::vec(0_u32..64, 1..20),
        ) {
            pairs.sort_unstable();
            let mut last = 0;
            for doc in asked {
                last = first_from(&pairs, last, doc);
                prop_assert_eq!(last, pairs.partition_point(|(it, _)| *it < doc));
            }
        }
    }
}
