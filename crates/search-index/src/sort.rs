//! In what order hits come: a document's place among those of its part, by one value that it has.
//!
//! Ascending goes by the least value of each resource, descending by the greatest; those without
//! a value come last both ways. Where nothing else tells, the order is that of the log, which is
//! the same on every node and after every rebuild, and costs nothing.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::ops::Bound;

use fhir_search::{Decimal, Direction, Kind, NumberRange, TokenFrom};
use parking_lot::RwLock;
use roaring::RoaringBitmap;

use crate::cost::Meter;
use crate::documents::Ordinal;
use crate::error::SearchError;
use crate::facet::Facet;
use crate::key::{
    Reader, ReferenceKey, read_date, read_number, read_quantity, read_reference_key, read_string,
    read_token,
};
use crate::names::Names;
use crate::part::Part;
use crate::prepare::is_contained;

/// What hits are ordered by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SortValue {
    /// Before all numbers.
    Least,
    Integer(i64),
    /// A number, or just before or after it where a range leaves it out.
    Number(Decimal, Edge),
    Text(Box<str>),
    /// A text, and of the same ones by another value: a quantity's unit and number, the id and
    /// the type that a reference names.
    Within(Box<str>, Box<SortValue>),
    /// After all numbers.
    Greatest,
}

/// Where something stands to a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Edge {
    Before,
    At,
    After,
}

/// So many bytes of a text count.
const LONGEST_TEXT: usize = 256;

impl SortValue {
    pub(crate) fn text(text: &str) -> Self {
        Self::Text(beginning(text))
    }

    fn within(text: &str, value: Self) -> Self {
        Self::Within(beginning(text), Box::new(value))
    }
}

fn beginning(text: &str) -> Box<str> {
    text[..text.floor_char_boundary(LONGEST_TEXT)].into()
}

/// The order of two values; of none of them last.
pub(crate) fn compare(
    direction: Direction,
    one: Option<&SortValue>,
    other: Option<&SortValue>,
) -> Ordering {
    match (one, other) {
        (Some(one), Some(other)) => match direction {
            Direction::Ascending => one.cmp(other),
            Direction::Descending => other.cmp(one),
        },
        (one, other) => other.is_some().cmp(&one.is_some()),
    }
}

/// The documents of a part, or some of them, in the order of their values, one way.
#[derive(Debug)]
pub(crate) struct SortView {
    direction: Direction,
    /// Of what kind the values are; none for ids.
    kind: Option<Kind>,
    ranks: Ranks,
    /// In the order of the view.
    values: Vec<SortValue>,
    /// The documents that have a value, in order, those of one value by number.
    order: Vec<u32>,
}

/// The place of a document's value among all values.
#[derive(Debug)]
enum Ranks {
    /// By document; [`MISSING`] for none.
    All(Vec<u32>),
    /// Those of some documents that have a value, by document.
    Some(Vec<(u32, u32)>),
}

/// The rank of a document without a value: after all others.
pub(crate) const MISSING: u32 = u32::MAX;

/// Which view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SortViewKey {
    pub(crate) facet: Facet,
    pub(crate) descending: bool,
}

/// Values in order, each once, and the rank of each place that has one.
type Ranked = (Vec<SortValue>, Vec<(u32, u32)>);

/// What a view is made of.
#[derive(Clone, Copy)]
pub(crate) struct SortSource<'s> {
    pub(crate) part: &'s dyn Part,
    pub(crate) direction: Direction,
    pub(crate) names: &'s RwLock<Names>,
    pub(crate) meter: &'s Meter<'s>,
}

impl SortSource<'_> {
    /// All documents by the values of a parameter.
    pub(crate) fn by_values(&self, facet: Facet, kind: Kind) -> Result<SortView, SearchError> {
        let (mut valued, mut pairs) = (Vec::new(), Vec::new());
        for (place, (key, postings)) in (0..).zip(self.part.range(facet, &[], None)) {
            self.meter.charge(1)?;
            if let Some(value) = self.value(kind, key) {
                valued.push((value, place));
                self.meter.pass(postings.len())?;
                postings.for_each(|doc| pairs.push((doc, place)));
            }
        }
        self.view(Some(kind), valued, pairs)
    }

    /// These documents alone by the values of a parameter.
    pub(crate) fn of_some_by_values(
        &self,
        docs: &RoaringBitmap,
        facet: Facet,
        kind: Kind,
    ) -> Result<SortView, SearchError> {
        let by_document = self.part.by_document(facet);
        let valued = docs.iter().filter_map(|doc| {
            let values = by_document.of(doc).into_iter().filter_map(|key| self.value(kind, key));
            let first = values.min_by(|one, other| compare(self.direction, Some(one), Some(other)));
            first.map(|value| (value, doc))
        });
        self.meter.charge(docs.len())?;
        self.view_of_some(Some(kind), valued.collect())
    }

    /// All documents by id.
    pub(crate) fn by_ids(&self) -> Result<SortView, SearchError> {
        let documents = self.part.documents();
        self.meter.charge(u64::from(documents.len()))?;
        let mut valued = Vec::with_capacity(documents.len() as usize);
        for (doc, it) in (0..).zip(documents.iter()) {
            self.meter.pass(1)?;
            valued.push((self.id(it.ordinal), doc));
        }
        let pairs = (0..documents.len()).map(|doc| (doc, doc)).collect();
        self.view(None, valued, pairs)
    }

    /// These documents alone by id.
    pub(crate) fn of_some_by_ids(&self, docs: &RoaringBitmap) -> Result<SortView, SearchError> {
        self.meter.charge(docs.len())?;
        let documents = self.part.documents();
        let valued = docs.iter().map(|doc| (self.id(documents.get(doc).ordinal), doc));
        self.view_of_some(None, valued.collect())
    }

    fn id(&self, ordinal: Ordinal) -> SortValue {
        let names = self.names.read();
        let text = names.id_text(ordinal);
        // Of what is contained that within its container.
        SortValue::text(text.rsplit_once('#').map_or(text, |(_, id)| id))
    }

    /// What of a key counts.
    fn value(&self, kind: Kind, key: &[u8]) -> Option<SortValue> {
        match kind {
            Kind::Reference => reference_value(key, &self.names.read()),
            kind => sort_value(kind, self.direction, key),
        }
    }

    /// Sorts values, each with the place that has it, and gives the rank of each place, in no
    /// order.
    fn rank(&self, valued: Vec<(SortValue, u32)>) -> Result<Ranked, SearchError> {
        let valued = sorted(valued, self.meter, |(one, _), (other, _)| {
            compare(self.direction, Some(one), Some(other))
        })?;
        let (mut values, mut ranks) = (Vec::new(), Vec::with_capacity(valued.len()));
        for (value, place) in valued {
            self.meter.pass(1)?;
            if values.last() != Some(&value) {
                values.push(value);
            }
            ranks.push((place, u32::try_from(values.len() - 1).unwrap_or(MISSING)));
        }
        Ok((values, ranks))
    }

    /// Of values with the places that have them, and documents with their places.
    fn view(
        &self,
        kind: Option<Kind>,
        valued: Vec<(SortValue, u32)>,
        pairs: Vec<(u32, u32)>,
    ) -> Result<SortView, SearchError> {
        let (values, of_places) = self.rank(valued)?;
        let places = of_places.iter().map(|(place, _)| *place as usize + 1).max().unwrap_or(0);
        let mut rank_of = vec![MISSING; places];
        for (place, rank) in of_places {
            rank_of[place as usize] = rank;
        }
        let mut ranks = vec![MISSING; self.part.documents().len() as usize];
        for (doc, place) in pairs {
            self.meter.pass(1)?;
            let rank = &mut ranks[doc as usize];
            *rank = (*rank).min(rank_of[place as usize]);
        }
        // Each document goes where those with a lesser value end.
        let mut starts = vec![0_usize; values.len() + 1];
        let valued = || (0_u32..).zip(&ranks).filter(|(_, rank)| **rank != MISSING);
        for (_, rank) in valued() {
            starts[*rank as usize + 1] += 1;
        }
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let mut order = vec![0; starts.last().copied().unwrap_or(0)];
        for (doc, rank) in valued() {
            self.meter.pass(1)?;
            let next = &mut starts[*rank as usize];
            order[*next] = doc;
            *next += 1;
        }
        Ok(SortView { direction: self.direction, kind, ranks: Ranks::All(ranks), values, order })
    }

    /// Of values with the documents that have them.
    fn view_of_some(
        &self,
        kind: Option<Kind>,
        valued: Vec<(SortValue, u32)>,
    ) -> Result<SortView, SearchError> {
        let (values, mut ranks) = self.rank(valued)?;
        ranks.sort_unstable();
        let mut order = ranks.clone();
        order.sort_by_key(|(_, rank)| *rank);
        let order = order.into_iter().map(|(doc, _)| doc).collect();
        Ok(SortView { direction: self.direction, kind, ranks: Ranks::Some(ranks), values, order })
    }
}

/// So many are sorted without a look whether anyone still waits.
const SORTED_AT_ONCE: usize = 16_384;

/// Sorts, and looks now and then whether anyone still waits. In what order those come that are the
/// same is not told.
fn sorted<V>(
    mut all: Vec<V>,
    meter: &Meter<'_>,
    compare: impl Fn(&V, &V) -> Ordering,
) -> Result<Vec<V>, SearchError> {
    let mut runs = VecDeque::with_capacity(all.len() / SORTED_AT_ONCE + 1);
    while !all.is_empty() {
        meter.pass(SORTED_AT_ONCE as u64)?;
        let mut run = all.split_off(all.len().saturating_sub(SORTED_AT_ONCE));
        run.sort_unstable_by(&compare);
        runs.push_front(run);
    }
    loop {
        match (runs.pop_front(), runs.pop_front()) {
            (Some(one), Some(other)) => runs.push_back(merged(one, other, meter, &compare)?),
            (last, _) => return Ok(last.unwrap_or_default()),
        }
    }
}

/// Two sorted lists as one.
fn merged<V>(
    mut one: Vec<V>,
    mut other: Vec<V>,
    meter: &Meter<'_>,
    compare: impl Fn(&V, &V) -> Ordering,
) -> Result<Vec<V>, SearchError> {
    let follows = |first: &[V], second: &[V]| {
        first.last().zip(second.first()).is_none_or(|(last, first)| compare(last, first).is_le())
    };
    if follows(&one, &other) {
        one.append(&mut other);
        return Ok(one);
    }
    if follows(&other, &one) {
        other.append(&mut one);
        return Ok(other);
    }
    let mut all = Vec::with_capacity(one.len() + other.len());
    let (mut one, mut other) = (one.into_iter().peekable(), other.into_iter().peekable());
    while let (Some(first), Some(second)) = (one.peek(), other.peek()) {
        meter.pass(1)?;
        let next = if compare(first, second).is_le() { one.next() } else { other.next() };
        all.extend(next);
    }
    all.extend(one);
    all.extend(other);
    Ok(all)
}

impl SortView {
    /// About how much memory it takes, in bytes.
    pub(crate) fn size(&self) -> usize {
        let ranks = match &self.ranks {
            Ranks::All(ranks) => ranks.len() * 4,
            Ranks::Some(ranks) => ranks.len() * 8,
        };
        self.order.len() * 4 + ranks + self.values.len() * 48
    }

    /// Of what kind its values are; none for ids.
    pub(crate) fn kind(&self) -> Option<Kind> {
        self.kind
    }

    /// The place of a document's value among all.
    pub(crate) fn rank(&self, doc: u32) -> u32 {
        let rank = match &self.ranks {
            Ranks::All(ranks) => ranks.get(doc as usize).copied(),
            Ranks::Some(ranks) => {
                let at = ranks.binary_search_by_key(&doc, |(it, _)| *it);
                at.ok().map(|at| ranks[at].1)
            }
        };
        rank.unwrap_or(MISSING)
    }

    /// A document's value.
    pub(crate) fn value(&self, doc: u32) -> Option<&SortValue> {
        self.values.get(self.rank(doc) as usize)
    }

    /// How a document's value stands to another.
    pub(crate) fn compare(&self, doc: u32, value: Option<&SortValue>) -> Ordering {
        let rank = self.rank(doc);
        let Some(value) = value else {
            return if rank == MISSING { Ordering::Equal } else { Ordering::Less };
        };
        compare(self.direction, self.values.get(rank as usize), Some(value))
    }

    /// The documents in order, from the first whose value is not before this one.
    pub(crate) fn from(&self, value: Option<&SortValue>) -> &[u32] {
        let start = self.order.partition_point(|doc| self.compare(*doc, value) == Ordering::Less);
        &self.order[start..]
    }

    /// Of documents in this order those whose value is not after one.
    pub(crate) fn not_after<'o>(&self, order: &'o [u32], value: &SortValue) -> &'o [u32] {
        let is_not_after = |doc: &u32| self.compare(*doc, Some(value)) != Ordering::Greater;
        &order[..order.partition_point(is_not_after)]
    }

    /// The rank of the last documents whose value is not after one; those without are after it.
    /// Where there are none it is 0, which the first of the others have.
    pub(crate) fn last_rank(&self, value: &SortValue) -> u32 {
        let is_not_after = |it: &SortValue| !compare(self.direction, Some(it), Some(value)).is_gt();
        let count = self.values.partition_point(is_not_after);
        u32::try_from(count).unwrap_or(MISSING).saturating_sub(1)
    }

    /// The documents in order.
    pub(crate) fn order(&self) -> &[u32] {
        &self.order
    }
}

/// Where a range begins, or ends.
fn number(range: &NumberRange, direction: Direction) -> SortValue {
    let (bound, unbounded, excluded) = match direction {
        Direction::Ascending => (range.low(), SortValue::Least, Edge::After),
        Direction::Descending => (range.high(), SortValue::Greatest, Edge::Before),
    };
    match bound {
        Bound::Included(number) => SortValue::Number(number, Edge::At),
        Bound::Excluded(number) => SortValue::Number(number, excluded),
        Bound::Unbounded => unbounded,
    }
}

/// What of a key counts for sorting one way.
fn sort_value(kind: Kind, direction: Direction, key: &[u8]) -> Option<SortValue> {
    let mut reader = Reader::new(key);
    Some(match kind {
        Kind::Date => {
            let range = read_date(&mut reader)?;
            SortValue::Integer(match direction {
                Direction::Ascending => range.low(),
                Direction::Descending => range.high(),
            })
        }
        Kind::Number => number(&read_number(&mut reader)?, direction),
        Kind::Quantity => {
            let quantity = read_quantity(&mut reader)?;
            match quantity.canonical {
                Some(canonical) => {
                    SortValue::within(&canonical.unit, number(&canonical.range, direction))
                }
                None => {
                    let unit = quantity.code.or(quantity.unit).unwrap_or_default();
                    SortValue::within(&unit, number(&quantity.range, direction))
                }
            }
        }
        Kind::String => SortValue::text(&read_string(&mut reader)?.0),
        Kind::Token => {
            let token = read_token(&mut reader)?;
            // Ids and URIs are other ones in another case.
            match (token.from, token.code?) {
                (TokenFrom::Uri, code) => SortValue::text(&code),
                (_, code) => SortValue::text(&code.to_lowercase()),
            }
        }
        Kind::Uri => SortValue::text(std::str::from_utf8(key).ok()?),
        Kind::Reference | Kind::Composite | Kind::Special => return None,
    })
}

fn reference_value(key: &[u8], names: &Names) -> Option<SortValue> {
    Some(match read_reference_key(key)? {
        ReferenceKey::Local { ordinal, .. } => {
            let (of, id) = (names.type_of(ordinal).as_str(), names.id_text(ordinal));
            // What is contained has no address.
            if is_contained(id) {
                return None;
            }
            SortValue::within(id, SortValue::text(of))
        }
        ReferenceKey::Url(url) | ReferenceKey::Canonical { url, .. } => {
            SortValue::within(&url, SortValue::text(""))
        }
        ReferenceKey::Nowhere => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use fhir_core::{Instant, VersionId};
    use fhir_search::{Direction, Kind};
    use parking_lot::RwLock;
    use proptest::prelude::*;
    use store::T;

    use super::{SORTED_AT_ONCE, SortSource, sorted};
    use crate::SearchError;
    use crate::cost::{Counts, Meter};
    use crate::documents::{Document, DocumentOf, LogPlace, Ordinal};
    use crate::facet::{Facet, Number, View};
    use crate::names::Names;
    use crate::tail::Tail;

    #[test]
    fn an_order_of_many_documents_with_one_value_is_broken_off_when_nobody_waits() {
        let (facet, cancelled) = (Facet::of(Number(20), View::Value), AtomicBool::new(false));
        let key: Arc<[u8]> = b"http://a".as_slice().into();
        let mut tail = Tail::default();
        for at in 0..20_000 {
            let place = LogPlace { t: T::new(1), change: at };
            let (version, instant) = (VersionId::FIRST, Instant::from_micros(1));
            let of = DocumentOf::Resource;
            let document = Document { ordinal: Ordinal(at), place, version, instant, of };
            tail.push(document, vec![(facet, Arc::clone(&key))]);
        }
        let names = RwLock::new(Names::default());
        let view = || {
            let meter = Meter::new(u64::MAX, Counts::LookedAt, &cancelled);
            let (part, direction) = (&tail, Direction::Ascending);
            SortSource { part, direction, names: &names, meter: &meter }.by_values(facet, Kind::Uri)
        };
        assert_eq!(view().unwrap().order().len(), 20_000);
        cancelled.store(true, Ordering::Relaxed);
        assert_eq!(view().err(), Some(SearchError::Cancelled));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn what_is_sorted_in_runs_is_sorted(
            mut all in proptest::collection::vec(any::<u16>(), 0..5 * SORTED_AT_ONCE),
            is_sorted_before in any::<bool>(),
        ) {
            let goes_on = AtomicBool::new(false);
            let meter = Meter::new(u64::MAX, Counts::LookedAt, &goes_on);
            if is_sorted_before {
                all.sort_unstable_by(|one, other| other.cmp(one));
            }
            let found = sorted(all.clone(), &meter, u16::cmp).unwrap();
            all.sort_unstable();
            prop_assert_eq!(found, all);
        }
    }
}
