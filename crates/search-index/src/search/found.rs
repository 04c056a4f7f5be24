//! What a query found: how many, and page by page in order.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::Arc;

use fhir_search::{Direction, Query, SortBy};
use roaring::RoaringBitmap;
use smallvec::SmallVec;

use super::{Hit, Search};
use crate::cursor::Cursor;
use crate::documents::LogPlace;
use crate::error::SearchError;
use crate::facet::Facet;
use crate::part::Part;
use crate::sort::{MISSING, SortSource, SortValue, SortView, SortViewKey, compare};

/// What a query found.
pub struct Found<'f> {
    search: &'f Search<'f>,
    query: &'f Query,
    /// For each type of the query those of each part.
    docs: Vec<RoaringBitmap>,
}

/// Some of the hits, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The hits.
    pub hits: Vec<Hit>,
    /// Where the next page begins; `None` when this is the last.
    pub next: Option<Cursor>,
}

/// A hit with what it is ordered by.
struct Entry {
    values: SmallVec<[Option<SortValue>; 2]>,
    place: LogPlace,
    part: usize,
    doc: u32,
}

/// What the documents of one part are ordered by.
enum Column {
    /// When they were written.
    Time(Direction),
    /// A value.
    View(Arc<SortView>),
    /// Nothing: none has a value.
    Missing,
}

impl<'f> Found<'f> {
    pub(super) fn new(search: &'f Search<'f>, query: &'f Query, docs: Vec<RoaringBitmap>) -> Self {
        Self { search, query, docs }
    }

    /// How many resources match, exactly.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.docs.iter().map(RoaringBitmap::len).sum()
    }

    /// The first `count` hits after a cursor, in the order that the query asks for.
    ///
    /// # Errors
    /// [`SearchError::InvalidCursor`] for a cursor of another query; [`SearchError`] when sorting
    /// costs too much or was cancelled.
    pub fn page(&self, after: Option<&Cursor>, count: usize) -> Result<Page, SearchError> {
        if after.is_some_and(|cursor| cursor.values.len() != self.query.sort.len()) {
            return Err(SearchError::InvalidCursor);
        }
        let mut entries = Vec::new();
        let parts = self.search.parts.len();
        for part in 0..parts {
            for of in 0..self.query.types.len() {
                let docs = &self.docs[of * parts + part];
                if !docs.is_empty() {
                    self.first_of(of, part, docs, after, count + 1, &mut entries)?;
                }
            }
            // In the order of the log later parts have later hits alone.
            if self.query.sort.is_empty() && entries.len() > count {
                break;
            }
        }
        entries.sort_by(|one, other| self.compare(one, other));
        let has_more = entries.len() > count;
        entries.truncate(count);
        let hits = entries.iter().filter_map(|it| self.search.hit(it.part, it.doc)).collect();
        let last = entries.pop().filter(|_| has_more);
        let next = last.map(|it| Cursor { values: it.values.into_vec(), place: it.place });
        Ok(Page { hits, next })
    }

    fn compare(&self, one: &Entry, other: &Entry) -> Ordering {
        let keys = self.query.sort.iter().zip(one.values.iter().zip(&other.values));
        keys.map(|(key, (one, other))| compare(key.direction, one.as_ref(), other.as_ref()))
            .find(|order| order.is_ne())
            .unwrap_or_else(|| one.place.cmp(&other.place))
    }

    /// Adds the first hits of one type in one part.
    fn first_of(
        &self,
        of: usize,
        part: usize,
        docs: &RoaringBitmap,
        after: Option<&Cursor>,
        count: usize,
        entries: &mut Vec<Entry>,
    ) -> Result<(), SearchError> {
        self.search.parts[part].read(|content| {
            let columns = self.columns(content, of, docs)?;
            let selection = Selection { search: self.search, content, columns, after, count };
            for doc in selection.select(docs)? {
                let values = selection.columns.iter().map(|column| column.value(content, doc));
                let place = content.documents().get(doc).place;
                entries.push(Entry { values: values.collect(), place, part, doc });
            }
            Ok(())
        })
    }

    fn columns(
        &self,
        content: &dyn Part,
        of: usize,
        docs: &RoaringBitmap,
    ) -> Result<Vec<Column>, SearchError> {
        let columns = self.query.sort.iter().map(|key| {
            let SortBy::Parameter(parameters) = &key.by else {
                // How well a resource matches is not told apart.
                return Ok(Column::Missing);
            };
            let Some(parameter) = parameters.get(of) else {
                return Ok(Column::Missing);
            };
            let facet = match parameter.code() {
                "_lastUpdated" => return Ok(Column::Time(key.direction)),
                "_id" => Facet::ID,
                code => match self.search.facet(&parameter.resource_type, code) {
                    Some(facet) => facet,
                    None => return Ok(Column::Missing),
                },
            };
            let descending = key.direction == Direction::Descending;
            let kept = SortViewKey { facet, descending };
            if let Some(view) = content.kept_view(kept) {
                return Ok(Column::View(view));
            }
            let source = SortSource {
                part: content,
                direction: key.direction,
                names: &self.search.index.names,
                meter: &self.search.meter,
            };
            let is_small_share = docs.len() * SHARE < u64::from(content.documents().len());
            if docs.len() <= FEW && (is_small_share || !content.keeps_views()) {
                return Ok(Column::View(Arc::new(match facet {
                    Facet::ID => source.of_some_by_ids(docs)?,
                    facet => source.of_some_by_values(docs, facet, parameter.kind)?,
                })));
            }
            let view = Arc::new(match facet {
                Facet::ID => source.by_ids()?,
                facet => source.by_values(facet, parameter.kind)?,
            });
            content.keep_view(kept, &view);
            Ok(Column::View(view))
        });
        columns.collect()
    }
}

/// So few documents are sorted by themselves when no order of all is kept.
const FEW: u64 = 512;
/// Where they are more than one of so many of their part, an order of all is made and kept.
const SHARE: u64 = 64;

impl std::fmt::Debug for Found<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Found").field("total", &self.total()).finish_non_exhaustive()
    }
}

impl Column {
    /// A number that sorts the documents of the part as the column does.
    fn rank(&self, content: &dyn Part, doc: u32) -> u64 {
        match self {
            Self::Time(Direction::Ascending) => content.documents().get(doc).place.t.get(),
            Self::Time(Direction::Descending) => !content.documents().get(doc).place.t.get(),
            Self::View(view) => u64::from(view.rank(doc)),
            Self::Missing => u64::from(MISSING),
        }
    }

    fn value(&self, content: &dyn Part, doc: u32) -> Option<SortValue> {
        match self {
            Self::Time(_) => Some(time(content, doc)),
            Self::View(view) => view.value(doc).cloned(),
            Self::Missing => None,
        }
    }

    fn compare(&self, content: &dyn Part, doc: u32, value: Option<&SortValue>) -> Ordering {
        match self {
            Self::Time(direction) => compare(*direction, Some(&time(content, doc)), value),
            Self::View(view) => view.compare(doc, value),
            Self::Missing => compare(Direction::Ascending, None, value),
        }
    }
}

fn time(content: &dyn Part, doc: u32) -> SortValue {
    SortValue::Integer(content.documents().get(doc).place.t.get().cast_signed())
}

/// The first documents of one part in order.
struct Selection<'e> {
    search: &'e Search<'e>,
    content: &'e dyn Part,
    columns: Vec<Column>,
    after: Option<&'e Cursor>,
    count: usize,
}

/// Walking along a sorted view pays when so many steps find all.
const STEPS_PER_HIT: usize = 64;

impl Selection<'_> {
    fn select(&self, docs: &RoaringBitmap) -> Result<Vec<u32>, SearchError> {
        match &*self.columns {
            [] => {
                let documents = self.content.documents();
                let start = self.after.map_or(0, |after| {
                    let first = documents.first_from(after.place);
                    let is_it =
                        first < documents.len() && documents.get(first).place == after.place;
                    if is_it { documents.with_contained(first).end } else { first }
                });
                Ok(docs.range(start..).take(self.count).collect())
            }
            [Column::Time(Direction::Descending)] => self.newest(docs),
            [Column::View(view)] => match self.walk(view, docs)? {
                Some(found) => Ok(found),
                None => self.least(docs),
            },
            _ => self.least(docs),
        }
    }

    /// Whether a document comes after the cursor.
    fn is_after(&self, doc: u32) -> bool {
        let Some(after) = self.after else { return true };
        let values = self.columns.iter().zip(&after.values);
        values
            .map(|(column, value)| column.compare(self.content, doc, value.as_ref()))
            .find(|order| order.is_ne())
            .unwrap_or_else(|| self.content.documents().get(doc).place.cmp(&after.place))
            .is_gt()
    }

    /// The newest ones; those of one commit in its own order.
    fn newest(&self, docs: &RoaringBitmap) -> Result<Vec<u32>, SearchError> {
        let documents = self.content.documents();
        let t = |doc: u32| documents.get(doc).place.t;
        let mut found = Vec::new();
        for doc in docs.iter().rev().filter(|doc| self.is_after(*doc)) {
            self.search.meter.charge(1)?;
            let is_of_another_commit = found.last().is_some_and(|last| t(*last) != t(doc));
            if found.len() >= self.count && is_of_another_commit {
                break;
            }
            found.push(doc);
        }
        found.sort_by_key(|doc| (std::cmp::Reverse(t(*doc)), *doc));
        found.truncate(self.count);
        Ok(found)
    }

    /// Along the view, where enough are found soon.
    fn walk(&self, view: &SortView, docs: &RoaringBitmap) -> Result<Option<Vec<u32>>, SearchError> {
        let value = self.after.and_then(|after| after.values.first());
        let order = match value {
            Some(None) => return Ok(None),
            Some(Some(value)) => view.from(Some(value)),
            None => view.order(),
        };
        let mut found = Vec::with_capacity(self.count);
        for doc in order.iter().take(self.count * STEPS_PER_HIT) {
            if docs.contains(*doc) && self.is_after(*doc) {
                found.push(*doc);
                if found.len() == self.count {
                    self.search.meter.charge(self.count as u64)?;
                    return Ok(Some(found));
                }
            }
        }
        Ok(None)
    }

    /// The least by all columns, of all that come after the cursor.
    fn least(&self, docs: &RoaringBitmap) -> Result<Vec<u32>, SearchError> {
        type Ranks = SmallVec<[u64; 4]>;
        let mut least: BinaryHeap<(Ranks, u32)> = BinaryHeap::with_capacity(self.count + 1);
        for (at, doc) in docs.iter().enumerate() {
            if at % 64 == 0 {
                self.search.meter.charge(8)?;
            }
            let first = self.columns.first().map_or(0, |it| it.rank(self.content, doc));
            let is_full = least.len() == self.count;
            if is_full && least.peek().is_some_and(|(ranks, _)| ranks.first() < Some(&first)) {
                continue;
            }
            if !self.is_after(doc) {
                continue;
            }
            let rest = self.columns.iter().skip(1).map(|it| it.rank(self.content, doc));
            let ranks: Ranks = std::iter::once(first).chain(rest).collect();
            least.push((ranks, doc));
            if least.len() > self.count {
                least.pop();
            }
        }
        Ok(least.into_sorted_vec().into_iter().map(|(_, doc)| doc).collect())
    }
}
