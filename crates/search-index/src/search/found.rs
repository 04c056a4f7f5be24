//! What a query found: how many, and page by page in order.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use fhir_search::{Contained, ContainedMatch, Direction, Query, SortBy};
use roaring::RoaringBitmap;
use smallvec::SmallVec;

use super::{Hit, Search};
use crate::cursor::Cursor;
use crate::documents::{DocumentOf, Documents, LogPlace};
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
    /// For each part the resources that contain one of these, or are one, where those are the
    /// hits.
    containers: Option<Vec<RoaringBitmap>>,
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
    /// As in [`Cursor::within`].
    within: u32,
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
    /// What a query found, by its documents.
    ///
    /// # Errors
    /// [`SearchError`] when finding containers costs too much or was cancelled.
    pub(super) fn new(
        search: &'f Search<'f>,
        query: &'f Query,
        docs: Vec<RoaringBitmap>,
    ) -> Result<Self, SearchError> {
        let containers = hits_are_containers(query).then(|| containers(search, query, &docs));
        let containers = containers.transpose()?;
        Ok(Self { search, query, docs, containers })
    }

    /// How many resources match, exactly.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.containers.as_ref().unwrap_or(&self.docs).iter().map(RoaringBitmap::len).sum()
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
        // As `least` counts what it orders.
        let orders = self.query.sort.len() as u64;
        self.search.meter.count_set(self.total().saturating_mul(8 * orders))?;
        let mut entries = match self.containers {
            Some(_) => self.containers_after(after)?,
            None => self.first(after, count + 1)?,
        };
        entries.sort_by(|one, other| self.compare(one, other));
        let has_more = entries.len() > count;
        entries.truncate(count);
        let hits = entries.iter().filter_map(|it| self.search.hit(it.part, it.doc)).collect();
        let last = entries.pop().filter(|_| has_more);
        let next = last.map(|it| Cursor {
            values: it.values.into_vec(),
            place: it.place,
            within: it.within,
        });
        self.search.require_whole()?;
        Ok(Page { hits, next })
    }

    /// The first hits after a cursor, of each type in each part: once there are enough of some
    /// parts, of the others none that comes after them.
    fn first(&self, after: Option<&Cursor>, count: usize) -> Result<Vec<Entry>, SearchError> {
        let mut entries: Vec<Entry> = Vec::new();
        let parts = self.search.parts.len();
        let is_as_logged = self.is_as_logged();
        // By time the newest first: the last parts have them.
        let is_newest_first =
            self.query.sort.first().is_some_and(|key| {
                key.direction == Direction::Descending && self.is_by_time(&key.by)
            });
        for at in 0..parts {
            let part = if is_newest_first { parts - 1 - at } else { at };
            for of in 0..self.query.types.len() {
                let docs = &self.docs[of * parts + part];
                if docs.is_empty() {
                    continue;
                }
                let known = entries.len();
                let last = if known >= count { entries.last() } else { None };
                let found = self.first_of(of, part, docs, (after, count, last))?;
                if found.is_empty() {
                    continue;
                }
                entries.extend(found);
                if entries.len() >= count {
                    entries.sort_by(|one, other| self.compare(one, other));
                    entries.truncate(count);
                }
            }
            // In the order of the log later parts have later hits alone.
            if is_as_logged && entries.len() >= count {
                break;
            }
        }
        Ok(entries)
    }

    /// Whether a key of the order is when something was written, for all types.
    fn is_by_time(&self, by: &SortBy) -> bool {
        let SortBy::Parameter(parameters) = by else { return false };
        parameters.len() == self.query.types.len()
            && parameters.iter().all(|it| it.code() == "_lastUpdated")
    }

    /// Whether hits come in the order of the log: when nothing else is asked for, and by the time
    /// that they were written.
    fn is_as_logged(&self) -> bool {
        let sort = &self.query.sort;
        let by_time = sort
            .iter()
            .all(|key| key.direction == Direction::Ascending && self.is_by_time(&key.by));
        sort.is_empty() || (by_time && self.query.answer.contained == Contained::False)
    }

    /// The containers that come after a cursor: each stands where the first of what matches in it
    /// does.
    fn containers_after(&self, after: Option<&Cursor>) -> Result<Vec<Entry>, SearchError> {
        let mut best: BTreeMap<(usize, u32), Entry> = BTreeMap::new();
        let parts = self.search.parts.len();
        for (at, docs) in self.docs.iter().enumerate().filter(|(_, docs)| !docs.is_empty()) {
            let (of, part) = (at / parts, at % parts);
            self.search.meter.charge_seen(docs.len())?;
            self.search.read(part, |content| {
                let columns = self.columns(content, of, docs)?;
                for doc in docs {
                    let container = content.documents().container(doc);
                    let entry =
                        Entry { within: 0, doc: container, ..entry(content, part, doc, &columns) };
                    let known = best.get(&(part, container));
                    if known.is_none_or(|known| self.compare(&entry, known).is_lt()) {
                        best.insert((part, container), entry);
                    }
                }
                Ok::<_, SearchError>(())
            })?;
        }
        let is_after = |entry: &Entry| after.is_none_or(|after| self.stands_after(entry, after));
        Ok(best.into_values().filter(is_after).collect())
    }

    fn stands_after(&self, entry: &Entry, after: &Cursor) -> bool {
        let keys = self.query.sort.iter().zip(entry.values.iter().zip(&after.values));
        keys.map(|(key, (one, other))| compare(key.direction, one.as_ref(), other.as_ref()))
            .find(|order| order.is_ne())
            .unwrap_or_else(|| entry.place.cmp(&after.place))
            .is_gt()
    }

    fn compare(&self, one: &Entry, other: &Entry) -> Ordering {
        let keys = self.query.sort.iter().zip(one.values.iter().zip(&other.values));
        keys.map(|(key, (one, other))| compare(key.direction, one.as_ref(), other.as_ref()))
            .find(|order| order.is_ne())
            .unwrap_or_else(|| (one.place, one.within).cmp(&(other.place, other.within)))
    }

    /// The first hits of one type in one part; where there is a `last` one, only those that may
    /// come before it.
    fn first_of(
        &self,
        of: usize,
        part: usize,
        docs: &RoaringBitmap,
        (after, count, last): (Option<&Cursor>, usize, Option<&Entry>),
    ) -> Result<Vec<Entry>, SearchError> {
        self.search.read(part, |content| {
            let columns = self.columns(content, of, docs)?;
            let all_have_times = self.query.answer.contained == Contained::False;
            let selection = Selection {
                search: self.search,
                content,
                columns,
                after,
                count,
                last,
                all_have_times,
            };
            let found = selection.select(docs)?;
            let entries =
                found.into_iter().map(|doc| entry(content, part, doc, &selection.columns));
            Ok(entries
                .filter(|it| last.is_none_or(|last| self.compare(it, last).is_lt()))
                .collect())
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

/// Whether what is found is answered by what contains it.
fn hits_are_containers(query: &Query) -> bool {
    query.answer.contained != Contained::False
        && query.answer.contained_match == ContainedMatch::Container
}

/// For each part the resources that contain one of these documents, or are one.
fn containers(
    search: &Search<'_>,
    query: &Query,
    docs: &[RoaringBitmap],
) -> Result<Vec<RoaringBitmap>, SearchError> {
    search.meter.charge_seen(docs.iter().map(RoaringBitmap::len).sum())?;
    let parts = search.parts.iter().enumerate();
    let each = parts.map(|(at, part)| {
        let of_part = (0..query.types.len()).map(|of| &docs[of * search.parts.len() + at]);
        part.read(|content| {
            let documents = content.documents();
            of_part.flatten().map(|doc| documents.container(doc)).collect()
        })
    });
    Ok(each.collect())
}

fn entry(content: &dyn Part, part: usize, doc: u32, columns: &[Column]) -> Entry {
    let documents = content.documents();
    let values = columns.iter().map(|column| column.value(content, doc)).collect();
    Entry { values, place: documents.get(doc).place, within: within(documents, doc), part, doc }
}

/// Which of the resources that its container contains a document is for, as [`Cursor::within`].
fn within(documents: &Documents, doc: u32) -> u32 {
    doc - documents.container(doc)
}

/// So few documents are sorted by themselves when no order of all is kept.
pub(super) const FEW: u64 = 512;
/// Where they are more than one of so many of their part, an order of all is made and kept.
pub(super) const SHARE: u64 = 64;

impl std::fmt::Debug for Found<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Found").field("total", &self.total()).finish_non_exhaustive()
    }
}

impl Column {
    /// A number that sorts the documents of the part as the column does.
    fn rank(&self, content: &dyn Part, doc: u32) -> u64 {
        match self {
            Self::Time(direction) => match (time(content, doc), direction) {
                (None, _) => u64::MAX,
                (Some(_), Direction::Ascending) => content.documents().get(doc).place.t.get(),
                (Some(_), Direction::Descending) => !content.documents().get(doc).place.t.get(),
            },
            Self::View(view) => u64::from(view.rank(doc)),
            Self::Missing => u64::from(MISSING),
        }
    }

    /// The rank of the last documents that may come before another part's with a value; of those
    /// without one all may.
    fn last_rank(&self, value: Option<&SortValue>) -> u64 {
        match (self, value) {
            (_, None) | (Self::Missing, _) => u64::MAX,
            (Self::View(view), Some(value)) => u64::from(view.last_rank(value)),
            (Self::Time(direction), Some(SortValue::Integer(t))) => match direction {
                Direction::Ascending => t.cast_unsigned(),
                Direction::Descending => !t.cast_unsigned(),
            },
            (Self::Time(_), Some(_)) => u64::MAX,
        }
    }

    fn value(&self, content: &dyn Part, doc: u32) -> Option<SortValue> {
        match self {
            Self::Time(_) => time(content, doc),
            Self::View(view) => view.value(doc).cloned(),
            Self::Missing => None,
        }
    }

    fn compare(&self, content: &dyn Part, doc: u32, value: Option<&SortValue>) -> Ordering {
        match self {
            Self::Time(direction) => compare(*direction, time(content, doc).as_ref(), value),
            Self::View(view) => view.compare(doc, value),
            Self::Missing => compare(Direction::Ascending, None, value),
        }
    }
}

/// When a document was written; what is contained has no time of its own.
fn time(content: &dyn Part, doc: u32) -> Option<SortValue> {
    let document = content.documents().get(doc);
    (document.of == DocumentOf::Resource)
        .then(|| SortValue::Integer(document.place.t.get().cast_signed()))
}

/// The first documents of one part in order.
struct Selection<'e> {
    search: &'e Search<'e>,
    content: &'e dyn Part,
    columns: Vec<Column>,
    after: Option<&'e Cursor>,
    count: usize,
    /// The last of enough hits of other parts.
    last: Option<&'e Entry>,
    /// Whether none of the documents is for something contained.
    all_have_times: bool,
}

/// Walking along a sorted view pays when so many steps find all.
pub(super) const STEPS_PER_HIT: usize = 64;

impl Selection<'_> {
    fn select(&self, docs: &RoaringBitmap) -> Result<Vec<u32>, SearchError> {
        match &*self.columns {
            [] => Ok(self.as_logged(docs)),
            [Column::Time(Direction::Ascending)] if self.all_have_times => Ok(self.as_logged(docs)),
            [Column::Time(Direction::Descending)] if self.all_have_times => self.newest(docs),
            [Column::View(view), others @ ..] => match self.walk(view, docs)? {
                Some(found) if others.is_empty() => Ok(found),
                Some(found) => self.least(found.into_iter()),
                None => self.least(docs.iter()),
            },
            _ => self.least(docs.iter()),
        }
    }

    /// In the order of the log, which is that of the documents.
    fn as_logged(&self, docs: &RoaringBitmap) -> Vec<u32> {
        let documents = self.content.documents();
        let start = self.after.map_or(0, |after| {
            let first = documents.first_from(after.place);
            let is_it = first < documents.len() && documents.get(first).place == after.place;
            if is_it { first.saturating_add(after.within).saturating_add(1) } else { first }
        });
        docs.range(start..).take(self.count).collect()
    }

    /// Whether a document comes after the cursor.
    fn is_after(&self, doc: u32) -> bool {
        let Some(after) = self.after else { return true };
        let values = self.columns.iter().zip(&after.values);
        values
            .map(|(column, value)| column.compare(self.content, doc, value.as_ref()))
            .find(|order| order.is_ne())
            .unwrap_or_else(|| {
                let documents = self.content.documents();
                let own = (documents.get(doc).place, within(documents, doc));
                own.cmp(&(after.place, after.within))
            })
            .is_gt()
    }

    /// The newest ones; those of one commit in its own order.
    fn newest(&self, docs: &RoaringBitmap) -> Result<Vec<u32>, SearchError> {
        let documents = self.content.documents();
        let t = |doc: u32| documents.get(doc).place.t;
        let mut found = Vec::new();
        let end = self.after.map_or(documents.len(), |after| documents.up_to(after.place.t));
        for doc in docs.range(..end).rev().filter(|doc| self.is_after(*doc)) {
            self.search.meter.charge(1)?;
            let is_of_another_commit = found.last().is_some_and(|last| t(*last) != t(doc));
            let is_too_late = self.last.is_some_and(|last| t(doc) < last.place.t);
            if is_too_late || (found.len() >= self.count && is_of_another_commit) {
                break;
            }
            found.push(doc);
        }
        found.sort_by_key(|doc| (std::cmp::Reverse(t(*doc)), *doc));
        found.truncate(self.count);
        Ok(found)
    }

    /// Along the view of the first column, where enough are found soon: the first ones and, where
    /// there are other columns, those too that are like the last of them by the first alone.
    fn walk(&self, view: &SortView, docs: &RoaringBitmap) -> Result<Option<Vec<u32>>, SearchError> {
        let value = self.after.and_then(|after| after.values.first());
        let order = match value {
            Some(None) => return Ok(None),
            Some(Some(value)) => view.from(Some(value)),
            None => view.order(),
        };
        let steps = self.count * STEPS_PER_HIT;
        let last_value = self.last.and_then(|last| last.values.first()?.as_ref());
        let order = match last_value {
            Some(last) => view.not_after(order, last),
            None => order,
        };
        if last_value.is_some() && order.len() <= steps {
            // All that may come before the last of other parts.
            let found = order.iter().copied().filter(|doc| docs.contains(*doc));
            let mut found: Vec<u32> = found.filter(|doc| self.is_after(*doc)).collect();
            if self.columns.len() == 1 {
                found.truncate(self.count);
            }
            self.search.meter.charge(found.len() as u64)?;
            return Ok(Some(found));
        }
        let (mut found, mut last) = (Vec::with_capacity(self.count), None);
        // Those that have no value come after all that have one.
        let mut is_whole = self.columns.len() == 1 || order.len() <= steps;
        for doc in order.iter().take(steps) {
            if last.is_some_and(|last| self.columns.len() == 1 || view.rank(*doc) != last) {
                is_whole = true;
                break;
            }
            if docs.contains(*doc) && self.is_after(*doc) {
                found.push(*doc);
                if found.len() == self.count {
                    last = Some(view.rank(*doc));
                }
            }
        }
        if last.is_none() || !is_whole {
            return Ok(None);
        }
        self.search.meter.charge(found.len() as u64)?;
        Ok(Some(found))
    }

    /// The least by all columns, of all that come after the cursor.
    fn least(&self, docs: impl Iterator<Item = u32>) -> Result<Vec<u32>, SearchError> {
        type Ranks = SmallVec<[u64; 4]>;
        let mut least: BinaryHeap<(Ranks, u32)> = BinaryHeap::with_capacity(self.count + 1);
        let last_rank = match (self.columns.first(), self.last) {
            (Some(column), Some(last)) => {
                column.last_rank(last.values.first().and_then(Option::as_ref))
            }
            _ => u64::MAX,
        };
        for (at, doc) in docs.enumerate() {
            if at % 64 == 0 {
                self.search.meter.charge(8)?;
            }
            let first = self.columns.first().map_or(0, |it| it.rank(self.content, doc));
            let is_full = least.len() == self.count;
            let is_late =
                is_full && least.peek().is_some_and(|(ranks, _)| ranks.first() < Some(&first));
            if is_late || first > last_rank {
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
