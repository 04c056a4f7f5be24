//! Searches that the index answers. What it finds is what looking at every resource finds; the
//! order of what is not sorted is that of the log.

use std::sync::Arc;

use fhir_search::{InvalidSortPosition, Query, asks_for_words};
use search_index::{Context, Cursor, Hit, Visible, VisiblePart, VisibleTypes, VisibleWithin};
use store::VersionEntry;
use tokio::runtime::{Handle, RuntimeFlavor};

use super::scan::Scan;
use super::{Asked, Found, SearchError};
use crate::Snapshot;
use crate::indexing::Indexing;

/// Cursors of the index begin with this.
const CURSOR: u8 = b'i';
/// Those of a scan begin with this.
pub(super) const CURSOR_OF_SCAN: u8 = b's';

/// So many keys and documents of the index cost what a version costs that is looked at.
const KEYS_FOR_A_VERSION: u64 = 64;

/// Whether a page before was answered by the index.
pub(super) fn is_cursor(bytes: &[u8]) -> bool {
    bytes.first() == Some(&CURSOR)
}

impl Snapshot {
    /// The index, if it can answer.
    pub(super) fn index_for(&self, query: &Query, asked: &Asked<'_>) -> Option<Arc<Indexing>> {
        let indexing = self.indexing.as_ref()?;
        let is_asked_for_words = query.types.iter().any(|of| asks_for_words(&of.clauses));
        let answers = !is_asked_for_words
            && indexing.index.head() >= self.at()
            && self.as_visible().is_some()
            && indexing.answers(asked.extractor.parameters(), asked.zone);
        answers.then(|| Arc::clone(indexing))
    }

    /// What the visibility is to the index; `None` when the index does not know such.
    fn as_visible(&self) -> Option<Visible> {
        if self.visibility.is_everything() {
            return Some(Visible::Everything);
        }
        let types = self.visibility.types()?.iter();
        let types = VisibleTypes::These(types.map(|of| (of.clone(), Vec::new())).collect());
        Some(Visible::Any(vec![VisiblePart { types, within: VisibleWithin::Anywhere }]))
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
            Some([CURSOR, cursor @ ..]) => Some(Cursor::decode(cursor)?),
            Some(_) => return Err(SearchError::Cursor(InvalidSortPosition)),
        };
        let visible = self.as_visible().ok_or(SearchError::IndexNotReady)?;
        let budget = asked.budget.saturating_mul(KEYS_FOR_A_VERSION);
        let look = || {
            let cancelled = self.abandoned.flag();
            let context = Context { codes: asked.codes, base: asked.base, budget, cancelled };
            let search = indexing.index.search(self.at(), &visible, context)?;
            let found = search.find(query)?;
            let total = asked.count.then(|| found.total());
            if asked.most == 0 {
                return Ok::<_, SearchError>((total, None, None));
            }
            let page = found.page(after.as_ref(), asked.most)?;
            let included = match query.includes.is_empty() {
                true => None,
                false => Some(search.include(&page.hits, &query.includes, asked.most_included)?),
            };
            Ok((total, Some(page), included))
        };
        let (total, page, included) = match where_it_may_last(look) {
            Err(SearchError::TooCostly { .. }) => {
                return Err(SearchError::TooCostly { budget: asked.budget });
            }
            looked => looked?,
        };
        let mut found = Found { total, ..Found::default() };
        if let Some(page) = page {
            found.next = page.next.map(|cursor| [&[CURSOR][..], &cursor.encode()].concat());
            found.matches = self.entries(page.hits).await?;
        }
        if included.as_ref().is_some_and(|included| included.may_lack_versions) {
            // The store has every version.
            let mut scan = Scan::new(self, query, asked);
            (found.included, found.included_cut) = scan.included(&found.matches).await?;
        } else if let Some(included) = included {
            found.included_cut = included.is_cut;
            found.included = self.entries(included.hits).await?;
        }
        Ok(found)
    }

    async fn entries(&self, hits: Vec<Hit>) -> Result<Vec<VersionEntry>, SearchError> {
        let mut entries = Vec::with_capacity(hits.len());
        for Hit { resource_type, id, version, .. } in hits {
            if !self.visibility.shows(&resource_type, &id) {
                continue;
            }
            let entry = self.store.version(&resource_type, &id, version, self.at()).await;
            entries.extend(entry.map_err(crate::ReadError::from)?);
        }
        Ok(entries)
    }
}

/// Does what may take some milliseconds of a processor, while others go on elsewhere where there
/// is an elsewhere.
fn where_it_may_last<R>(work: impl FnOnce() -> R) -> R {
    let flavor = Handle::try_current().map(|runtime| runtime.runtime_flavor());
    match flavor {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}
