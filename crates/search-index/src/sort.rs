//! In what order hits come: a document's place among those of its part, by one value that it has.
//!
//! Ascending goes by the least value of each resource, descending by the greatest; those without
//! a value come last both ways. Where nothing else tells, the order is that of the log, which is
//! the same on every node and after every rebuild, and costs nothing.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::ops::Bound;
use std::sync::Arc;

use fhir_search::{Decimal, Direction, Kind, NumberRange};
use parking_lot::RwLock;

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

/// What hits are ordered by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SortValue {
    /// Before all numbers.
    Least,
    Integer(i64),
    Number(Decimal),
    Text(Box<str>),
    /// After all numbers.
    Greatest,
}

/// So many bytes of a text count.
const LONGEST_TEXT: usize = 256;

impl SortValue {
    pub(crate) fn text(text: &str) -> Self {
        Self::Text(text[..text.floor_char_boundary(LONGEST_TEXT)].into())
    }
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

/// The documents of a part in the order of their values, one way.
#[derive(Debug)]
pub(crate) struct SortView {
    direction: Direction,
    /// Place in `values` by document; [`MISSING`] for none.
    ranks: Vec<u32>,
    /// In the order of the view.
    values: Vec<SortValue>,
    /// The documents that have a value, in order, those of one value by number.
    order: Vec<u32>,
}

/// The rank of a document without a value: after all others.
pub(crate) const MISSING: u32 = u32::MAX;

/// Which view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SortViewKey {
    pub(crate) facet: Facet,
    pub(crate) descending: bool,
}

impl SortView {
    /// The view of a parameter's values.
    pub(crate) fn of_facet(
        part: &dyn Part,
        (facet, kind): (Facet, Kind),
        direction: Direction,
        names: &RwLock<Names>,
        meter: &Meter<'_>,
    ) -> Result<Self, SearchError> {
        let by_document = part.by_document(facet);
        let mut places: Vec<u32> = by_document.pairs.iter().map(|(_, place)| *place).collect();
        places.sort_unstable();
        places.dedup();
        let mut valued = Vec::with_capacity(places.len());
        for place in places {
            meter.charge(1)?;
            let key = (by_document.key)(place);
            let value = match kind {
                Kind::Reference => reference_value(key, &names.read()),
                kind => sort_value(kind, direction, key),
            };
            valued.extend(value.map(|value| (value, place)));
        }
        let pairs = by_document.pairs.iter().copied();
        Ok(Self::new(part.documents().len(), direction, valued, pairs))
    }

    /// The view of ids.
    pub(crate) fn of_ids(
        part: &dyn Part,
        direction: Direction,
        id: impl Fn(Ordinal) -> SortValue,
        meter: &Meter<'_>,
    ) -> Result<Self, SearchError> {
        meter.charge(u64::from(part.documents().len()))?;
        let documents = (0..).zip(part.documents().iter());
        let valued = documents.map(|(doc, document)| (id(document.ordinal), doc)).collect();
        let count = part.documents().len();
        Ok(Self::new(count, direction, valued, (0..count).map(|doc| (doc, doc))))
    }

    /// Of values with the places that have them, and documents with their places.
    fn new(
        documents: u32,
        direction: Direction,
        mut valued: Vec<(SortValue, u32)>,
        pairs: impl Iterator<Item = (u32, u32)>,
    ) -> Self {
        valued.sort_unstable_by(|(one, _), (other, _)| compare(direction, Some(one), Some(other)));
        let (mut values, mut rank_of) = (Vec::new(), Vec::with_capacity(valued.len()));
        for (value, place) in valued {
            if values.last() != Some(&value) {
                values.push(value);
            }
            rank_of.push((place, u32::try_from(values.len() - 1).unwrap_or(MISSING)));
        }
        rank_of.sort_unstable();
        let mut ranks = vec![MISSING; documents as usize];
        for (doc, place) in pairs {
            if let Ok(at) = rank_of.binary_search_by_key(&place, |(it, _)| *it) {
                let rank = &mut ranks[doc as usize];
                *rank = (*rank).min(rank_of[at].1);
            }
        }
        let mut order: Vec<u32> =
            (0..documents).filter(|doc| ranks[*doc as usize] != MISSING).collect();
        order.sort_by_key(|doc| ranks[*doc as usize]);
        Self { direction, ranks, values, order }
    }

    /// About how much memory it takes, in bytes.
    pub(crate) fn size(&self) -> usize {
        (self.ranks.len() + self.order.len()) * 4 + self.values.len() * 48
    }

    /// The place of a document's value among all.
    pub(crate) fn rank(&self, doc: u32) -> u32 {
        self.ranks.get(doc as usize).copied().unwrap_or(MISSING)
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

    /// The documents in order.
    pub(crate) fn order(&self) -> &[u32] {
        &self.order
    }
}

/// Views that a part keeps.
pub(crate) type SortViews = HashMap<SortViewKey, Arc<SortView>>;

fn end(bound: Bound<Decimal>, unbounded: SortValue) -> SortValue {
    match bound {
        Bound::Included(number) | Bound::Excluded(number) => SortValue::Number(number),
        Bound::Unbounded => unbounded,
    }
}

fn number(range: &NumberRange, direction: Direction) -> SortValue {
    match direction {
        Direction::Ascending => end(range.low(), SortValue::Least),
        Direction::Descending => end(range.high(), SortValue::Greatest),
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
            let range = quantity.canonical.map_or(quantity.range, |canonical| canonical.range);
            number(&range, direction)
        }
        Kind::String => SortValue::text(&read_string(&mut reader)?.0),
        Kind::Token => SortValue::text(&read_token(&mut reader)?.code?),
        Kind::Uri => SortValue::text(std::str::from_utf8(key).ok()?),
        Kind::Reference | Kind::Composite | Kind::Special => return None,
    })
}

fn reference_value(key: &[u8], names: &Names) -> Option<SortValue> {
    Some(match read_reference_key(key)? {
        ReferenceKey::Local { ordinal, .. } => {
            SortValue::text(&format!("{}/{}", names.type_of(ordinal), names.id_text(ordinal)))
        }
        ReferenceKey::Url(url) | ReferenceKey::Canonical { url, .. } => SortValue::text(&url),
    })
}
