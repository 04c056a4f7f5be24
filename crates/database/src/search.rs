//! What a search finds as of a snapshot, a page of it, by looking at every resource that could
//! match: there is no index here, and this is what one must find.
//!
//! What the snapshot does not show does not exist: it is no match, no target of a chain, refers
//! to nothing, is not included and not counted.

mod abandoned;
mod candidates;
mod contained;
mod explain;
mod ids;
mod include;
mod indexed;
mod known;
mod older;
mod scan;

use std::collections::BTreeMap;
use std::sync::Arc;

use fhir_core::ResourceId;
use fhir_search::{
    Codes, CodesError, Contained, Extractor, InvalidSortPosition, Query, SortPosition,
    Unanswerable, Zone, check_answerable,
};
use store::VersionEntry;

use crate::{BeingIndexed, ReadError, Rows, Snapshot};
pub use explain::{ClauseExplained, Costly, Explained, ResourceExplained, Valued};
pub use indexed::NoIndex;
pub(crate) use indexed::{IndexNow, KEYS_FOR_A_VERSION};
pub(crate) use scan::Scan;

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
    /// Rows that may be looked at: versions, each for as much as 64 keys and documents of the
    /// index.
    pub budget: u64,
}

/// A page of what a search finds.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// The matches, in their order.
    pub matches: Vec<VersionEntry>,
    /// Which of the resources that a match contains is meant, by its place among them; none for
    /// itself. One for each match where contained resources are answered; empty elsewhere.
    pub contained: Vec<Option<usize>>,
    /// Whether a match refers to an older version of what the query chains through: it was the
    /// present one that was asked.
    pub follows_older: bool,
    /// What is included, each once; no match of this page is. Where a reference names a version
    /// it is that one.
    pub included: Vec<VersionEntry>,
    /// Whether more would have been included than was to be.
    pub included_cut: bool,
    /// How many matches there are on all pages, if that was wanted.
    pub total: Option<u64>,
    /// What the next page is asked for with; none on the last page. It holds values of resources.
    pub next: Option<Vec<u8>>,
    /// What of the query is still being indexed, where that is why resources were looked at.
    pub being_indexed: Option<BeingIndexed>,
}

/// Why a search was not answered.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// Something could not be read.
    #[error("what the search depends on cannot be read")]
    Read(#[from] ReadError),
    /// More would have to be looked at than may be.
    #[error("the search would have to look at more than {budget} rows")]
    TooCostly {
        /// So many rows might be looked at.
        budget: u64,
        /// About how many would have to be, where that was told before.
        estimated: Option<u64>,
        /// What of it costs most, where that is known.
        most: Option<Box<Costly>>,
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
    /// It goes on with a page of a search whose parameters were defined anew since.
    #[error("the parameters of the search were defined anew since the page before")]
    ParametersChanged,
    /// It is of a time of which not everything can be searched any more.
    #[error("what was replaced so long ago cannot be searched any more")]
    BeforeHorizon,
    /// A question about codes has no answer.
    #[error(transparent)]
    Codes(#[from] CodesError),
    /// It is to be explained, and asks for contained resources.
    #[error("searches of contained resources are not explained")]
    ContainedUnexplained,
    /// A reference is asked for by an id that resources of several types have.
    #[error("several resources have the id {id}: {names}")]
    AmbiguousId {
        /// The parameter.
        parameter: Box<str>,
        /// The id.
        id: ResourceId,
        /// Some of those resources, `Type/id`.
        names: Box<str>,
    },
}

impl From<search_index::SearchError> for SearchError {
    fn from(error: search_index::SearchError) -> Self {
        use search_index::SearchError as E;
        match error {
            E::TooCostly { limit } => {
                Self::TooCostly { budget: limit, estimated: None, most: None }
            }
            E::BeforeHorizon { .. } => Self::BeforeHorizon,
            E::Codes(error) => Self::Codes(error),
            E::InvalidCursor => Self::Cursor(InvalidSortPosition),
            E::Cancelled => Self::Abandoned,
            // The resources themselves are looked at instead.
            E::Ahead { .. } | E::Unsupported(_) | E::Unreadable => Self::IndexNotReady,
        }
    }
}

impl From<Unanswerable> for SearchError {
    fn from(error: Unanswerable) -> Self {
        match error {
            Unanswerable::Codes(error) => Self::Codes(error),
        }
    }
}

impl Snapshot {
    /// What a query finds as of this snapshot, a page of it.
    ///
    /// # Errors
    /// [`SearchError`]; nothing is answered in part.
    pub async fn search(&self, query: &Query, asked: &Asked<'_>) -> Result<Found, SearchError> {
        let _search = trace::child("search");
        let found = self.find(query, asked).await?;
        let follows_older = self.follows_older(query, asked, &found).await?;
        Ok(Found { follows_older, ..found })
    }

    async fn find(&self, query: &Query, asked: &Asked<'_>) -> Result<Found, SearchError> {
        check_answerable(query, asked.codes)?;
        let goes_on_in_index = asked.after.is_some_and(indexed::is_cursor);
        if let Ok(indexing) = self.index_for(query, asked)
            && (asked.after.is_none() || goes_on_in_index)
        {
            match self.search_index(&indexing, query, asked).await {
                // It is for the resources themselves to say.
                Err(SearchError::IndexNotReady) if !goes_on_in_index => {}
                answered => return answered,
            }
        }
        if goes_on_in_index {
            let after = asked.after.unwrap_or_default();
            indexed::place_of(indexed::CURSOR, query, asked, after)?;
            return Err(SearchError::IndexNotReady);
        }
        let after = match asked.after {
            None => None,
            Some(after) => {
                let position = indexed::place_of(indexed::CURSOR_OF_SCAN, query, asked, after)?;
                Some(SortPosition::from_bytes(position)?)
            }
        };
        // What is looked at is counted once, as the budget counts it.
        let uncounted = self.clone().counted(&Rows::default());
        let mut scan = Scan::new(&uncounted, query, asked);
        let found = self.scanned(&mut scan, after.as_ref()).await;
        self.rows.add(scan.spent());
        found
    }

    /// What looking at every resource finds.
    async fn scanned(
        &self,
        scan: &mut Scan<'_>,
        after: Option<&SortPosition>,
    ) -> Result<Found, SearchError> {
        let (query, asked) = (scan.query, scan.asked);
        let (page, total) = match query.answer.contained {
            Contained::False => self.page(scan, after).await?,
            Contained::True | Contained::Both => scan.contained(after).await?,
        };
        let mut found = Found { total: asked.count.then_some(total), ..Found::default() };
        found.next = page.next;
        found.being_indexed =
            self.indexes.being_indexed(query, asked.extractor, (asked.zone, self.at()));
        (found.included, found.included_cut) =
            scan.included(&page.matches, &page.contained).await?;
        found.matches = page.matches;
        found.contained = page.contained;
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
        let next = cut(&mut first, asked.most);
        let next = next.map(|at| indexed::cursor(indexed::CURSOR_OF_SCAN, query, asked, &at));
        let matches = first.into_values().collect();
        Ok((Page { matches, contained: Vec::new(), next }, total))
    }
}

/// Leaves so many of the first matches, and one more if it is there; says where the next page
/// begins if it was.
fn cut<M>(first: &mut BTreeMap<SortPosition, M>, most: usize) -> Option<Vec<u8>> {
    if first.len() <= most || most == 0 {
        return None;
    }
    while first.len() > most {
        first.pop_last();
    }
    let (position, _) = first.last_key_value()?;
    Some(position.to_bytes())
}

/// The matches of a page and where the next one begins.
struct Page {
    matches: Vec<VersionEntry>,
    /// As in [`Found::contained`].
    contained: Vec<Option<usize>>,
    next: Option<Vec<u8>>,
}
