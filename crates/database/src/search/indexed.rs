//! Searches that the index answers. What it finds is what looking at every resource finds; the
//! order of what is not sorted is that of the log.

use std::sync::Arc;

use fhir_search::{Contained, InvalidSortPosition, NoCodes, Query, asks_for_words};
use search_index::{Context, Cursor, Hit, Included, Page, Plan, Search, Visible};
use store::{HistoryVersion, VersionEntry};

use super::explain::{costliest, costliest_by_form};
use super::scan::Scan;
use super::{Asked, Found, SearchError};
use crate::aside::aside;
use crate::indexing::Indexing;
use crate::seen::note_hidden_late;
use crate::{Filter, Snapshot};

/// Cursors of the index begin with this.
pub(super) const CURSOR: u8 = b'i';
/// Those of a scan begin with this.
pub(super) const CURSOR_OF_SCAN: u8 = b's';

/// So many keys and documents of the index cost what a version costs that is looked at: a row.
pub(crate) const KEYS_FOR_A_VERSION: u64 = 64;

/// A plan counts by averages: a search is refused by it where it would cost so many times what it
/// may. Where it costs less it is made, and stops at its budget.
const PLANS_ERR_BY: u64 = 2;

/// Why a search looks at the resources themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoIndex {
    /// There is none, or it has not all that is asked about yet.
    #[error("the index is being made")]
    NotReady,
    /// The index is by other search parameters.
    #[error("the index is being made anew, by other search parameters")]
    OtherParameters,
    /// `_text` or `_content` is asked.
    #[error("the words of _text and _content are in no index")]
    Words,
    /// A condition that the index cannot answer.
    #[error("a condition asks for what is in no index")]
    Condition,
}

/// Whether a page before was answered by the index.
pub(super) fn is_cursor(bytes: &[u8]) -> bool {
    bytes.first() == Some(&CURSOR)
}

/// Where a page ended, with what its matches and their order depend on besides the data.
pub(super) fn cursor(by: u8, query: &Query, asked: &Asked<'_>, place: &[u8]) -> Vec<u8> {
    let order = query.fingerprint_of_order(asked.extractor.parameters());
    [&[by][..], &order, place].concat()
}

/// The place of a cursor, which must be of a page by the same definitions of parameters.
pub(super) fn place_of<'c>(
    by: u8,
    query: &Query,
    asked: &Asked<'_>,
    cursor: &'c [u8],
) -> Result<&'c [u8], SearchError> {
    let invalid = SearchError::Cursor(InvalidSortPosition);
    let Some((first, rest)) = cursor.split_first() else { return Err(invalid) };
    let Some((order, place)) = rest.split_first_chunk::<8>() else { return Err(invalid) };
    if *first != by {
        return Err(invalid);
    }
    if *order != query.fingerprint_of_order(asked.extractor.parameters()) {
        return Err(SearchError::ParametersChanged);
    }
    Ok(place)
}

impl Snapshot {
    /// The index, if it can answer.
    pub(super) fn index_for(
        &self,
        query: &Query,
        asked: &Asked<'_>,
    ) -> Result<Arc<Indexing>, NoIndex> {
        if query.types.iter().any(|of| asks_for_words(&of.clauses)) {
            return Err(NoIndex::Words);
        }
        let ready =
            self.indexes.current.as_ref().filter(|indexing| {
                indexing.index.head() >= self.at() && indexing.is_ready(asked.zone)
            });
        let Some(indexing) = ready else { return Err(NoIndex::NotReady) };
        let lacks = |filter: &Filter| {
            let lacking = indexing.lacks(&filter.query, &filter.by.extractor);
            !lacking.is_some_and(|lacking| lacking.is_empty())
        };
        if self.visibility.filters().any(lacks) {
            return Err(NoIndex::OtherParameters);
        }
        if self
            .visibility
            .filters()
            .any(|it| it.query.types.iter().any(|of| asks_for_words(&of.clauses)))
        {
            return Err(NoIndex::Words);
        }
        match indexing.lacks(query, asked.extractor) {
            Some(lacking) if lacking.is_empty() => Ok(Arc::clone(indexing)),
            _ => Err(NoIndex::OtherParameters),
        }
    }

    /// What the index finds.
    pub(super) async fn search_index(
        &self,
        indexing: &Indexing,
        query: &Query,
        asked: &Asked<'_>,
    ) -> Result<Found, SearchError> {
        let after = match asked.after {
            None => None,
            Some(after) => Some(Cursor::decode(place_of(CURSOR, query, asked, after)?)?),
        };
        let visible = self.visibility.as_visible();
        // What is kept of what may be seen costs nothing, and is not to tell that it is kept.
        if asked.budget == 0 && *visible != Visible::Everything {
            return Err(too_costly(query, None, asked));
        }
        let budget = asked.budget.saturating_mul(KEYS_FOR_A_VERSION);
        let look = || {
            let cancelled = self.abandoned.flag();
            let context = Context { codes: asked.codes, base: asked.base, budget, cancelled };
            let search = indexing.index.search(self.at(), visible, context)?;
            // A plan counts all keys, and is not to refuse for what its caller may not see.
            let plan = match visible {
                Visible::Everything => Some(search.plan(query, asked.most, asked.most_included)?),
                Visible::Any(_) => None,
            };
            if plan.as_ref().is_some_and(|plan| plan.cost / PLANS_ERR_BY > budget) {
                return Err(too_costly(query, plan.as_ref(), asked));
            }
            let looked = look_up(&search, query, asked, after.as_ref());
            self.rows.add(search.cost().div_ceil(KEYS_FOR_A_VERSION));
            looked.map_err(|error| match error {
                search_index::SearchError::TooCostly { .. } => {
                    too_costly(query, plan.as_ref(), asked)
                }
                error => error.into(),
            })
        };
        let (total, page, included) = aside(look)?;
        let mut found = Found { total, ..Found::default() };
        if let Some(page) = page {
            found.next = page.next.map(|it| cursor(CURSOR, query, asked, &it.encode()));
            (found.matches, found.contained) = self.entries(page.hits).await?;
            if query.answer.contained == Contained::False {
                found.contained.clear();
            }
        }
        match included {
            None => {}
            // The index does not have all versions, and the store does.
            Some(included) if included.lacks_a_version => {
                let mut scan = Scan::new(self, query, asked);
                (found.included, found.included_cut) =
                    scan.included(&found.matches, &found.contained).await?;
            }
            Some(included) => {
                found.included_cut = included.is_cut;
                (found.included, _) = self.entries(included.hits).await?;
            }
        }
        Ok(found)
    }

    /// What the index shows of resources as they are now, for which it may look at so many keys and
    /// documents; `None` where it cannot tell.
    ///
    /// # Errors
    /// [`SearchError::TooCostly`] when it would have to look at more, [`SearchError::Abandoned`]
    /// when nobody waits any more.
    pub(crate) fn index_now(&self, budget: u64) -> Result<Option<IndexNow<'_>>, SearchError> {
        let Some(indexing) = &self.indexes.current else { return Ok(None) };
        let by = indexing.by();
        let is_ready = indexing.index.head() >= self.head() && indexing.is_ready(by.zone);
        if !is_ready || self.visibility.filters().next().is_some() {
            return Ok(None);
        }
        let visible = self.visibility.as_visible();
        let cancelled = self.abandoned.flag();
        let context = Context { codes: &NoCodes, base: &by.base, budget, cancelled };
        let search = aside(|| indexing.index.search(self.head(), visible, context));
        match search {
            Ok(search) => Ok(Some(IndexNow(search))),
            Err(error) => unless_unreadable(error),
        }
    }

    /// What the store knows of the versions of hits, and which of the resources in them are meant.
    async fn entries(
        &self,
        hits: Vec<Hit>,
    ) -> Result<(Vec<VersionEntry>, Vec<Option<usize>>), SearchError> {
        let (mut entries, mut places) = (Vec::with_capacity(hits.len()), Vec::new());
        for Hit { resource_type, id, version, t, contained } in hits {
            let name = (resource_type.clone(), id);
            if let Some((entry, named)) = self.entry(name, t, version).await? {
                // The last look: what is not seen was no match to the index.
                if !self.sees_found(&entry, named).await? {
                    note_hidden_late(&resource_type);
                    continue;
                }
                entries.push(entry);
                places.push(contained.map(|at| at as usize));
            }
        }
        Ok((entries, places))
    }
}

/// Without an answer of the index the resources themselves are looked at, unless that would cost too
/// much too, or is for nobody.
fn unless_unreadable<A>(error: search_index::SearchError) -> Result<Option<A>, SearchError> {
    use search_index::SearchError as E;
    match error {
        error @ (E::TooCostly { .. } | E::Cancelled) => Err(error.into()),
        _ => Ok(None),
    }
}

/// Tells of resources whether they may be seen as they are now.
pub(crate) struct IndexNow<'s>(Search<'s>);

impl IndexNow<'_> {
    /// Of the resources of these versions, whether each is shown; `None` where the index cannot tell
    /// any more. What was deleted is not shown.
    ///
    /// # Errors
    /// [`SearchError::Abandoned`] when nobody waits any more.
    pub(crate) fn shows(
        &self,
        versions: &[HistoryVersion],
    ) -> Result<Option<Vec<bool>>, SearchError> {
        let names = versions.iter().map(|it| (&it.entry.resource_type, &it.entry.id));
        match aside(|| self.0.shows_resources(names)) {
            Ok(shown) => Ok(Some(shown)),
            Err(error) => unless_unreadable(error),
        }
    }

    /// How many keys and documents were looked at for it.
    pub(crate) fn cost(&self) -> u64 {
        self.0.cost()
    }
}

/// The total, a page and what is included on it, each where it is asked for.
type Looked = (Option<u64>, Option<Page>, Option<Included>);

fn look_up(
    search: &Search<'_>,
    query: &Query,
    asked: &Asked<'_>,
    after: Option<&Cursor>,
) -> Result<Looked, search_index::SearchError> {
    let found = search.find(query)?;
    let total = asked.count.then(|| found.total());
    if asked.most == 0 {
        return Ok((total, None, None));
    }
    let page = found.page(after, asked.most)?;
    let included = match query.includes.is_empty() {
        true => None,
        false => Some(search.include(&page.hits, &query.includes, asked.most_included)?),
    };
    Ok((total, Some(page), included))
}

/// Refuses what costs too much, and says what of it does.
pub(super) fn too_costly(query: &Query, plan: Option<&Plan>, asked: &Asked<'_>) -> SearchError {
    let estimated = plan.map(|plan| plan.cost.div_ceil(KEYS_FOR_A_VERSION));
    let most = match plan {
        Some(plan) => Some(costliest(query, plan)),
        None => costliest_by_form(query),
    };
    SearchError::TooCostly {
        budget: asked.budget,
        estimated: estimated.filter(|it| *it > asked.budget),
        most: most.map(Box::new),
    }
}
