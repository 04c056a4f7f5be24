//! Which versions of a history a page shows, and where the pages beside it begin. All of it goes
//! into their links, so that they show the data as of the same position.

use std::ops::Range;

use database::{HistoryOrder, HistoryVersion, Place, Snapshot, T, places};
use fhir_core::Instant;

use super::Of;
use super::query::First;
use crate::error::ServerError;
use crate::internal::{self, is_internal};

/// How many versions are looked at for a page at most: with `_at` many may not be shown, and then
/// a page has fewer entries than asked for, and a next one.
const MOST_LOOKED_AT: usize = 10_000;

/// A page of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Window {
    /// The position that all pages show.
    pub(super) at: T,
    /// The places that the history has.
    pub(super) range: Range<Place>,
    /// Of the versions up to this position only those that were the newest there.
    pub(super) current: Option<T>,
    pub(super) count: usize,
    pub(super) total: Option<u64>,
    pub(super) side: Side,
}

/// Where a page begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// The newest versions before this place.
    Before(Place),
    /// The oldest versions from this place on.
    From(Place),
}

/// What a page shows, the newest first.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) versions: Vec<HistoryVersion>,
    /// Where the page of the newer ones is.
    pub(super) previous: Option<Side>,
    /// Where the page of the older ones is.
    pub(super) next: Option<Side>,
}

impl Window {
    /// The first page.
    pub(super) async fn first(
        snapshot: &Snapshot,
        of: Of<'_>,
        asked: &First,
    ) -> Result<Self, ServerError> {
        let before = |instant: Instant| Instant::from_micros(instant.as_micros() - 1);
        let mut range = places(T::ZERO, snapshot.at());
        if let Some(since) = asked.since {
            let earlier = snapshot.position_at(before(since)).await?;
            range.start = Place::first_of(earlier.next());
        }
        let mut current = None;
        if let Some(period) = asked.at {
            range.end = Place::first_of(snapshot.position_at(period.last).await?.next());
            current = Some(snapshot.position_at(period.first).await?);
        }
        let side = Side::Before(range.end);
        let mut window =
            Self { at: snapshot.at(), range, current, count: asked.count, total: None, side };
        window.total = window.count(snapshot, of).await?;
        Ok(window)
    }

    /// How many versions all pages have; `None` where `_at` asks which were current then.
    async fn count(&self, snapshot: &Snapshot, of: Of<'_>) -> Result<Option<u64>, ServerError> {
        match (of, self.current) {
            (Of::Instance(_), _) => {
                let mut total = 0;
                for version in of
                    .log(snapshot, self.range.clone(), HistoryOrder::OldestFirst, usize::MAX)
                    .await?
                {
                    total += u64::from(self.shows(snapshot, &version).await?);
                }
                Ok(Some(total))
            }
            (_, Some(_)) => Ok(None),
            (_, None) => {
                let all = snapshot.count_log(of.resource_type(), self.range.clone()).await?;
                let mut internal = 0;
                if matches!(of, Of::Everything) {
                    for own in internal::types() {
                        let own = snapshot.count_log(Some(&own), self.range.clone()).await?;
                        internal += own;
                    }
                }
                Ok(Some(all.saturating_sub(internal)))
            }
        }
    }

    /// What the page shows; its resources have `bytes` at most, or it has one.
    pub(super) async fn page(
        &self,
        snapshot: &Snapshot,
        of: Of<'_>,
        bytes: usize,
    ) -> Result<Page, ServerError> {
        let (order, mut left) = match self.side {
            Side::Before(place) => (HistoryOrder::NewestFirst, self.range.start..place),
            Side::From(place) => (HistoryOrder::OldestFirst, place..self.range.end),
        };
        let (mut versions, mut length, mut looked_at) = (Vec::new(), 0, 0);
        let mut more = None;
        'page: while more.is_none() && self.count > 0 {
            // One beyond the page, to know whether there is a next one.
            let most = self.count - versions.len() + 1;
            let found = of.log(snapshot, left.clone(), order, most).await?;
            let exhausted = found.len() < most;
            for version in found {
                let place = version.place;
                let full = looked_at == MOST_LOOKED_AT;
                looked_at += 1;
                if full || self.shows(snapshot, &version).await? {
                    length += version.entry.length as usize;
                    let fits = versions.is_empty() || length <= bytes;
                    if full || versions.len() == self.count || !fits {
                        more = Some(place);
                        break 'page;
                    }
                    versions.push(version);
                }
                match order {
                    HistoryOrder::NewestFirst => left.end = place,
                    HistoryOrder::OldestFirst => left.start = place.next(),
                }
            }
            if exhausted {
                break;
            }
        }
        Ok(self.beside(versions, order, more))
    }

    /// The page, when the one after it in the order in which it was read begins with `more`.
    fn beside(
        &self,
        mut versions: Vec<HistoryVersion>,
        order: HistoryOrder,
        more: Option<Place>,
    ) -> Page {
        let (Side::Before(begin) | Side::From(begin)) = self.side;
        // Without an entry its neighbours meet where it begins.
        let first = versions.first().map(|version| version.place);
        match order {
            HistoryOrder::NewestFirst => {
                let newer = Side::From(first.map_or(begin, Place::next));
                let previous = (begin < self.range.end).then_some(newer);
                let next = more.map(|place| Side::Before(place.next()));
                Page { versions, previous, next }
            }
            HistoryOrder::OldestFirst => {
                versions.reverse();
                // There is an older one: it was come from there.
                let next = Some(Side::Before(first.unwrap_or(begin)));
                Page { versions, previous: more.map(Side::From), next }
            }
        }
    }

    /// Whether the history has this version, which stands in its range.
    async fn shows(
        &self,
        snapshot: &Snapshot,
        version: &HistoryVersion,
    ) -> Result<bool, ServerError> {
        if is_internal(&version.entry.resource_type) {
            return Ok(false);
        }
        let Some(current) = self.current.filter(|current| version.entry.t <= *current) else {
            return Ok(true);
        };
        let entry = &version.entry;
        let newest = snapshot.as_of(current).newest(&entry.resource_type, &entry.id).await?;
        Ok(newest.is_some_and(|newest| newest.t == entry.t))
    }

    /// The page of the same history that begins there.
    pub(super) fn at_side(&self, side: Side) -> Self {
        Self { side, ..self.clone() }
    }

    /// What a link to this page says.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(80);
        let (kind, side) = match self.side {
            Side::Before(place) => (0_u8, place),
            Side::From(place) => (1, place),
        };
        bytes.push(kind);
        // One more than the number, so that 0 is none.
        let current = self.current.map_or(0, |t| t.get() + 1);
        let total = self.total.map_or(0, |total| total + 1);
        for number in [self.at.get(), current, total, self.count as u64] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        for place in [side, self.range.start, self.range.end] {
            bytes.extend_from_slice(&place.t.get().to_be_bytes());
            bytes.extend_from_slice(&place.ordinal.to_be_bytes());
        }
        bytes
    }

    /// The page that these bytes of a link say.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, mut rest) = bytes.split_first()?;
        let mut number = || {
            let (number, left) = rest.split_first_chunk()?;
            rest = left;
            Some(u64::from_be_bytes(*number))
        };
        let (at, current, total, count) = (number()?, number()?, number()?, number()?);
        let mut place = || {
            let (t, left) = rest.split_first_chunk()?;
            let (ordinal, left) = left.split_first_chunk()?;
            rest = left;
            let t = T::new(u64::from_be_bytes(*t));
            Some(Place { t, ordinal: u32::from_be_bytes(*ordinal) })
        };
        let (side, start, end) = (place()?, place()?, place()?);
        let side = match kind {
            0 => Side::Before(side),
            1 => Side::From(side),
            _ => return None,
        };
        rest.is_empty().then_some(Self {
            at: T::new(at),
            range: start..end,
            current: current.checked_sub(1).map(T::new),
            count: usize::try_from(count).ok()?,
            total: total.checked_sub(1),
            side,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Side, Window};
    use database::{Place, T, places};

    #[test]
    fn a_link_says_its_page_and_nothing_else() {
        let place = Place { t: T::new(7), ordinal: 3 };
        for (side, current, total) in [
            (Side::Before(place), None, Some(0)),
            (Side::From(place), Some(T::ZERO), None),
            (Side::From(place), Some(T::new(5)), Some(9)),
        ] {
            let range = places(T::new(2), T::new(8));
            let window = Window { at: T::new(8), range, current, count: 50, total, side };
            let bytes = window.encode();
            assert_eq!(Window::decode(&bytes), Some(window));
            for length in 0..bytes.len() {
                assert_eq!(Window::decode(&bytes[..length]), None);
            }
            assert_eq!(Window::decode(&[&bytes[..], &[0]].concat()), None);
        }
    }
}
