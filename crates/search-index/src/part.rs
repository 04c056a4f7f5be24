//! What a settled segment and the tail have in common for whoever reads them.

use std::sync::Arc;

use crate::documents::Documents;
use crate::facet::Facet;
use crate::error::SearchError;
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

    /// The documents of one key.
    fn get(&self, facet: Facet, key: &[u8]) -> Option<Postings<'_>>;

    /// The keys of each document, for sorting and for following references.
    fn by_document(&self, facet: Facet) -> ByDocument<'_>;

    /// A view of the documents in the order of a value: kept, or made by `make`.
    ///
    /// # Errors
    /// Whatever `make` fails with.
    fn sort_view(&self, key: SortViewKey, make: MakeView<'_>) -> Result<Arc<SortView>, SearchError>;
}

/// Makes a view.
pub(crate) type MakeView<'m> = &'m mut dyn FnMut() -> Result<SortView, SearchError>;

/// The keys of a facet by document.
pub(crate) struct ByDocument<'a> {
    /// Document and place in `keys`, ascending.
    pub(crate) pairs: Arc<[(u32, u32)]>,
    /// Gives a key by its place: places ascend as keys do.
    pub(crate) key: Box<dyn Fn(u32) -> &'a [u8] + 'a>,
}

impl<'a> ByDocument<'a> {
    /// The keys of a document, ascending.
    pub(crate) fn of(&self, doc: u32) -> impl Iterator<Item = &'a [u8]> + '_ {
        let start = self.pairs.partition_point(|(it, _)| *it < doc);
        let own = self.pairs[start..].iter().take_while(move |(it, _)| *it == doc);
        own.map(|(_, key)| (self.key)(*key))
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
