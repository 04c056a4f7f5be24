//! What a search finds as of a snapshot, a page of it, by looking at every resource that could
//! match: there is no index here, and this is what one must find.
//!
//! What the snapshot does not show does not exist: it is no match, no target of a chain, refers
//! to nothing, is not included and not counted.

mod abandoned;
mod candidates;
mod include;
mod indexed;
mod known;
mod scan;

use std::collections::BTreeMap;
use std::sync::Arc;

use fhir_search::{
    Codes, CodesError, Contained, Extractor, InvalidSortPosition, Query, SortPosition,
    Unanswerable, Zone, check_answerable,
};
use store::VersionEntry;

use crate::{ReadError, Snapshot};
use scan::Scan;

pub use abandoned::Abandoned;

/// How a page is asked for.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// Takes values from resources, by the parameters that the query was read with.
    pub extractor: &'a Arc<Extractor<'static>>,
    /// What is known of codes.
    pub codes: &'a dyn Codes,
    /// The server's own base URL, without its last slash.
    pub base: &'a str,
    /// What a time without an offset is read in, as in the query.
    pub zone: Zone,
    /// Where the page before ended, as its [`Found::next`] says; none for the first page.
    pub after: Option<&'a [u8]>,
    /// Matches on the page at most. With nought there is nothing but the total.
    pub most: usize,
    /// Whether the total is wanted.
    pub count: bool,
    /// Included resources at most.
    pub most_included: usize,
    /// Versions that may be looked at.
    pub budget: u64,
}

/// A page of what a search finds.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// The matches, in their order.
    pub matches: Vec<VersionEntry>,
    /// What is included, each once; no match of this page is. Where a reference names a version
    /// it is that one.
    pub included: Vec<VersionEntry>,
    /// Whether more would have been included than was to be.
    pub included_cut: bool,
    /// How many matches there are on all pages, if that was wanted.
    pub total: Option<u64>,
    /// What the next page is asked for with; none on the last page. It holds values of resources.
    pub next: Option<Vec<u8>>,
}

/// Why a search was not answered.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// Something could not be read.
    #[error("what the search depends on cannot be read")]
    Read(#[from] ReadError),
    /// More would have to be looked at than may be.
    #[error("the search would have to look at more than {budget} versions of resources")]
    TooCostly {
        /// So many might be looked at.
        budget: u64,
    },
    /// What the page is asked for with is not what a page before gave.
    #[error("this is not where a page ended")]
    Cursor(#[from] InvalidSortPosition),
    /// Nobody waits for the answer any more.
    #[error("nobody waits for what the search finds any more")]
    Abandoned,
    /// It goes on with a page of an index that is being made anew.
    #[error("the search index is being made; the page can be had when it is there")]
    IndexNotReady,
    /// It is of a time of which not everything can be searched any more.
    #[error("what was replaced so long ago cannot be searched any more")]
    BeforeHorizon,
    /// A question about codes has no answer.
    #[error(transparent)]
    Codes(#[from] CodesError),
    /// `_list` names a list that the server would have to make.
    #[error("there is no list ${0}")]
    FunctionalList(Box<str>),
    /// `_contained` asks for contained resources, which are not searched.
    #[error("contained resources are not searched by themselves")]
    Contained,
}

impl From<search_index::SearchError> for SearchError {
    fn from(error: search_index::SearchError) -> Self {
        use search_index::{SearchError as E, Unsupported};
        match error {
            E::TooCostly { limit } => Self::TooCostly { budget: limit },
            E::BeforeHorizon { .. } => Self::BeforeHorizon,
            E::Codes(error) => Self::Codes(error),
            E::InvalidCursor => Self::Cursor(InvalidSortPosition),
            E::Unsupported(Unsupported::FunctionalList(name)) => Self::FunctionalList(name),
            E::Unsupported(Unsupported::Contained) => Self::Contained,
            E::Cancelled => Self::Abandoned,
            // The resources themselves are looked at instead.
            E::Ahead { .. } | E::Unsupported(_) => Self::IndexNotReady,
        }
    }
}

impl From<Unanswerable> for SearchError {
    fn from(error: Unanswerable) -> Self {
        match error {
            Unanswerable::Codes(error) => Self::Codes(error),
            Unanswerable::FunctionalList(name) => Self::FunctionalList(name),
        }
    }
}

impl Snapshot {
    /// What a query finds as of this snapshot, a page of it.
    ///
    /// # Errors
    /// [`SearchError`]; nothing is answered in part.
    pub async fn search(&self, query: &Query, asked: &Asked<'_>) -> Result<Found, SearchError> {
        if query.answer.contained != Contained::False {
            return Err(SearchError::Contained);
        }
        check_answerable(query, asked.codes)?;
        let goes_on_in_index = asked.after.is_some_and(indexed::is_cursor);
        if let Some(indexing) = self.index_for(query, asked)
            && (asked.after.is_none() || goes_on_in_index)
        {
            match self.search_index(&indexing, query, asked).await {
                // It is for the resources themselves to say.
                Err(SearchError::IndexNotReady) if !goes_on_in_index => {}
                answered => return answered,
            }
        }
        if goes_on_in_index {
            return Err(SearchError::IndexNotReady);
        }
        let after = match asked.after {
            None => None,
            Some([indexed::CURSOR_OF_SCAN, position @ ..]) => {
                Some(SortPosition::from_bytes(position)?)
            }
            Some(_) => return Err(SearchError::Cursor(InvalidSortPosition)),
        };
        let mut scan = Scan::new(self, query, asked);
        let (page, total) = self.page(&mut scan, after.as_ref()).await?;
        let mut found = Found { total: asked.count.then_some(total), ..Found::default() };
        found.next = page.next;
        (found.included, found.included_cut) = scan.included(&page.matches).await?;
        found.matches = page.matches;
        Ok(found)
    }

    /// The matches after a position, and how many there are in all.
    async fn page(
        &self,
        scan: &mut Scan<'_>,
        after: Option<&SortPosition>,
    ) -> Result<(Page, u64), SearchError> {
        let (query, asked) = (scan.query, scan.asked);
        let mut total = 0;
        // The first ones, and one more to know whether there are more.
        let mut first: BTreeMap<SortPosition, VersionEntry> = BTreeMap::new();
        for (at, of) in query.types.iter().enumerate() {
            let mut candidates = scan.candidates(of);
            while let Some((entry, resource)) = candidates.next(scan).await? {
                if !scan.matches(of, &resource).await? {
                    continue;
                }
                total += 1;
                let place = (entry.t.get(), entry.location.ordinal);
                let position = SortPosition::new(query, at, place, &resource);
                if asked.most == 0 || after.is_some_and(|after| position <= *after) {
                    continue;
                }
                first.insert(position, entry);
                if first.len() > asked.most.saturating_add(1) {
                    first.pop_last();
                }
            }
        }
        let has_more = first.len() > asked.most && asked.most > 0;
        if has_more {
            first.pop_last();
        }
        let last = first.last_key_value().filter(|_| has_more);
        let tagged = |position: Vec<u8>| [&[indexed::CURSOR_OF_SCAN][..], &position].concat();
        let next = last.map(|(position, _)| tagged(position.to_bytes()));
        Ok((Page { matches: first.into_values().collect(), next }, total))
    }
}

/// The matches of a page and where the next one begins.
struct Page {
    matches: Vec<VersionEntry>,
    next: Option<Vec<u8>>,
}
