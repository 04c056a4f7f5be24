//! Histories of a type and of everything: for each segment of the log its versions in order, all
//! of them and by type, so that a page of a history is found by halving.
//!
//! The newest segment's are in memory (`rows`), filled while commits are appended and while the
//! segment is read at open. When another segment follows, they are written behind it as a file
//! (`run`); one that is missing or harmed is derived from its segment again when it is asked for.
//! Where a version's block lies is all that is kept: the block itself says what it is, and is
//! checked.

mod rows;
mod run;
mod sealed;

use std::io::{self, Read as _};
use std::ops::Range;

use fhir_core::{Instant, ResourceType};
use parking_lot::{Mutex, RwLock};
use store::{Commit, Head, HistoryOrder, Place, ReadError, T, TenantText};

use crate::error::{Damage, Flaw};
use crate::frame::{MAX_SEGMENT_HEADER, SegmentHeader};
use crate::layout::Layout;
use sealed::Sealed;

pub(crate) use rows::Rows;

/// The versions of one segment in the order of the log. A row is a version; commits and rows
/// count from 0.
pub(crate) trait InOrder {
    /// The head of the log before the segment.
    fn base(&self) -> Head;
    fn commits(&self) -> u32;
    fn rows(&self) -> u32;
    /// How many rows are of a type.
    fn rows_of(&self, of: &ResourceType) -> u32;
    fn instant(&self, commit: u32) -> io::Result<Instant>;
    /// How many rows there are up to the end of this commit.
    fn end(&self, commit: u32) -> io::Result<u32>;
    /// Offset and length of a row's block in the segment.
    fn place(&self, row: u32) -> io::Result<(u64, u32)>;
    /// The row of that number among those of a type.
    fn row_of(&self, of: &ResourceType, number: u32) -> io::Result<u32>;
}

/// A version that a history has, before its block is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) place: Place,
    pub(crate) segment: u64,
    /// Where its block lies in the segment.
    pub(crate) offset: u64,
    pub(crate) length: u32,
}

/// What histories are read from.
pub(crate) struct Histories {
    layout: Layout,
    tenant: TenantText,
    newest: RwLock<Newest>,
    sealed: Sealed,
    /// The head of the log before each segment, from the first on, as far as it was asked for.
    bases: Mutex<Vec<Option<Head>>>,
}

/// The segment that is being appended to.
struct Newest {
    segment: u64,
    rows: Rows,
}

impl Histories {
    /// `rows` are those of the newest segment.
    pub(crate) fn new(layout: Layout, tenant: TenantText, segment: u64, rows: Rows) -> Self {
        let sealed = Sealed::new(layout.clone(), tenant.clone());
        let newest = RwLock::new(Newest { segment, rows });
        Self { layout, tenant, newest, sealed, bases: Mutex::default() }
    }

    /// Takes in a group that became durable; `blocks` are where its versions lie in what was
    /// appended at `offset` of the newest segment.
    pub(crate) fn insert(&self, group: &[Commit], blocks: &[Range<usize>], offset: u64) {
        let mut newest = self.newest.write();
        let mut blocks = blocks.iter();
        for commit in group {
            for (version, block) in commit.versions.iter().zip(&mut blocks) {
                let length = u32::try_from(block.len()).expect("a block is below 1 GB");
                let at = offset + block.start as u64;
                newest.rows.push(version.resource_type.as_str(), at, length);
            }
            newest.rows.end_commit(commit.instant);
        }
    }

    /// Another segment begins after `base`.
    pub(crate) fn rotate(&self, segment: u64, base: Head) {
        let mut newest = self.newest.write();
        let rows = std::mem::replace(&mut newest.rows, Rows::after(base));
        let ended = std::mem::replace(&mut newest.segment, segment);
        // Known before it is no longer the newest.
        self.sealed.seal(ended, rows, base);
    }

    /// Waits for what is being written behind.
    pub(crate) fn settle(&self) {
        self.sealed.settle();
    }

    /// The versions in `range`, `most` of them at most.
    pub(crate) fn find(
        &self,
        of: Option<&ResourceType>,
        range: &Range<Place>,
        order: HistoryOrder,
        most: usize,
    ) -> Result<Vec<Found>, ReadError> {
        let mut found = Vec::new();
        if range.is_empty() || most == 0 {
            return Ok(found);
        }
        let (first, last) = self.segments(range)?;
        let mut left = first..=last;
        let mut next = || match order {
            HistoryOrder::NewestFirst => left.next_back(),
            HistoryOrder::OldestFirst => left.next(),
        };
        while let Some(segment) = next() {
            let rest = most - found.len();
            let part = self.within(segment, |rows| {
                let numbers = numbers(rows, of, range)?;
                let take = rest.min(numbers.len());
                let mut near = None;
                let one = |number| one(rows, of, segment, number, &mut near);
                match order {
                    HistoryOrder::NewestFirst => numbers.rev().take(take).map(one).collect(),
                    HistoryOrder::OldestFirst => numbers.take(take).map(one).collect(),
                }
            });
            let part: Vec<_> = part?;
            found.extend(part);
            if found.len() == most {
                break;
            }
        }
        Ok(found)
    }

    /// How many versions are in `range`.
    pub(crate) fn count(
        &self,
        of: Option<&ResourceType>,
        range: &Range<Place>,
    ) -> Result<u64, ReadError> {
        if range.is_empty() {
            return Ok(0);
        }
        let (first, last) = self.segments(range)?;
        let mut count = 0;
        for segment in first..=last {
            // A segment that lies within the range whole is not looked into.
            let whole = if first < segment && segment < last {
                self.sealed.versions(segment, of, || self.ends(segment))?
            } else {
                None
            };
            count += match whole {
                Some(versions) => versions,
                None => self.within(segment, |rows| Ok(numbers(rows, of, range)?.len() as u64))?,
            };
        }
        Ok(count)
    }

    /// The position of the last commit at or before `instant`.
    pub(crate) fn position_at(&self, instant: Instant) -> Result<T, ReadError> {
        let newest = self.newest.read().segment;
        let segment = self.last_where(newest, |base| base.instant <= instant)?;
        self.within(segment, |rows| {
            let commits = partition(rows.commits(), |commit| Ok(rows.instant(commit)? <= instant))?;
            Ok(T::new(rows.base().t.get() + u64::from(commits)))
        })
    }

    /// Compares what is kept of a segment with `rows`, which were read from it: all of it, or as
    /// far as they go in the newest one.
    pub(crate) fn agrees(&self, segment: u64, rows: &Rows) -> Result<bool, ReadError> {
        let newest = self.newest.read();
        if newest.segment == segment {
            return Ok(rows.begin(&newest.rows));
        }
        drop(newest);
        self.sealed.agrees(segment, rows, || self.ends(segment))
    }

    /// The segments that `range` touches: the first and the last.
    fn segments(&self, range: &Range<Place>) -> Result<(u64, u64), ReadError> {
        let newest = self.newest.read().segment;
        let holding = |t: T| self.last_where(newest, |base| base.t < t);
        Ok((holding(range.start.t)?, holding(range.end.t)?))
    }

    /// The last segment up to `newest` whose base is as asked, which those before it are too;
    /// the first when none is.
    fn last_where(&self, newest: u64, is: impl Fn(&Head) -> bool) -> Result<u64, ReadError> {
        let (mut low, mut high) = (1, newest);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            if is(&self.base(middle)?) {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        Ok(low)
    }

    fn within<R>(
        &self,
        segment: u64,
        ask: impl Fn(&dyn InOrder) -> io::Result<R>,
    ) -> Result<R, ReadError> {
        {
            let newest = self.newest.read();
            if newest.segment == segment {
                let unreadable = |source| ReadError::Io { segment, offset: 0, source };
                return ask(&newest.rows).map_err(unreadable);
            }
        }
        self.sealed.within(segment, || self.ends(segment), ask)
    }

    /// The heads of the log before and after a segment that another one follows.
    fn ends(&self, segment: u64) -> Result<(Head, Head), ReadError> {
        Ok((self.base(segment)?, self.base(segment + 1)?))
    }

    /// The head of the log before a segment: what its header says.
    fn base(&self, segment: u64) -> Result<Head, ReadError> {
        if segment == 1 {
            return Ok(Head::EMPTY);
        }
        let index = usize::try_from(segment).unwrap_or(usize::MAX);
        if let Some(Some(head)) = self.bases.lock().get(index) {
            return Ok(*head);
        }
        let mut bytes = Vec::new();
        let file = self.layout.disk().open_to_read(&self.layout.segment(segment));
        file.and_then(|file| file.from(0).take(MAX_SEGMENT_HEADER as u64).read_to_end(&mut bytes))
            .map_err(|source| ReadError::Io { segment, offset: 0, source })?;
        let damaged = |flaw| {
            let lost = "the history of what it holds".to_owned();
            ReadError::from(Damage { segment, offset: 0, lost, flaw })
        };
        let (header, _) = SegmentHeader::decode(&bytes).map_err(damaged)?;
        if header.number != segment || header.tenant != self.tenant {
            return Err(damaged(Flaw::Field("segment's header")));
        }
        let mut bases = self.bases.lock();
        if bases.len() <= index {
            bases.resize(index + 1, None);
        }
        bases[index] = Some(header.base);
        Ok(header.base)
    }
}

/// The numbers in `range`: of rows, or of rows of a type among those.
fn numbers(
    rows: &dyn InOrder,
    of: Option<&ResourceType>,
    range: &Range<Place>,
) -> io::Result<Range<u32>> {
    let (start, end) = (row_at(rows, range.start)?, row_at(rows, range.end)?);
    let Some(of) = of else {
        return Ok(start..end.max(start));
    };
    let before = |row| partition(rows.rows_of(of), |number| Ok(rows.row_of(of, number)? < row));
    let (start, end) = (before(start)?, before(end)?);
    Ok(start..end.max(start))
}

/// The first row at or after `place`.
fn row_at(rows: &dyn InOrder, place: Place) -> io::Result<u32> {
    let Some(commit) = place.t.get().checked_sub(rows.base().t.get() + 1) else {
        return Ok(0);
    };
    let Some(commit) = u32::try_from(commit).ok().filter(|commit| *commit < rows.commits()) else {
        return Ok(rows.rows());
    };
    let first = first_row(rows, commit)?;
    Ok(first.saturating_add(place.ordinal).min(rows.end(commit)?))
}

fn first_row(rows: &dyn InOrder, commit: u32) -> io::Result<u32> {
    commit.checked_sub(1).map_or(Ok(0), |before| rows.end(before))
}

/// A commit of a segment, and which rows are its versions.
#[derive(Debug, Clone)]
struct CommitRows {
    commit: u32,
    rows: Range<u32>,
}

/// The version of that number; `near` is where the one asked for before it was found.
fn one(
    rows: &dyn InOrder,
    of: Option<&ResourceType>,
    segment: u64,
    number: u32,
    near: &mut Option<CommitRows>,
) -> io::Result<Found> {
    let row = of.map_or(Ok(number), |of| rows.row_of(of, number))?;
    let found = match near.take() {
        Some(near) => near_to(rows, row, near)?,
        None => None,
    };
    let found = match found {
        Some(found) => found,
        None => {
            let commit = partition(rows.commits(), |commit| Ok(rows.end(commit)? <= row))?;
            CommitRows { commit, rows: first_row(rows, commit)?..rows.end(commit)? }
        }
    };
    let (commit, ordinal) = (found.commit, row - found.rows.start);
    *near = Some(found);
    let t = T::new(rows.base().t.get() + 1 + u64::from(commit));
    let (offset, length) = rows.place(row)?;
    Ok(Found { place: Place { t, ordinal }, segment, offset, length })
}

/// The commit of a row, if it is this one or the one before or after it: a page asks for one row
/// after the other.
fn near_to(rows: &dyn InOrder, row: u32, near: CommitRows) -> io::Result<Option<CommitRows>> {
    let CommitRows { commit, rows: own } = &near;
    let next = commit + 1;
    if row >= own.end && next < rows.commits() {
        let next = CommitRows { commit: next, rows: own.end..rows.end(next)? };
        return Ok(Some(next).filter(|it| it.rows.contains(&row)));
    }
    if row < own.start
        && let Some(before) = commit.checked_sub(1)
    {
        let before = CommitRows { commit: before, rows: first_row(rows, before)?..own.start };
        return Ok(Some(before).filter(|it| it.rows.contains(&row)));
    }
    Ok(Some(near).filter(|it| it.rows.contains(&row)))
}

/// How many of the numbers below `count` are as asked, which stand before all others.
fn partition(count: u32, is: impl Fn(u32) -> io::Result<bool>) -> io::Result<u32> {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if is(middle)? {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io;

    use fhir_core::{Instant, ResourceType};
    use store::{Head, Place, T};

    use super::{InOrder, Rows, numbers, one};

    /// Counts what is looked at.
    struct Counted<'a>(&'a Rows, Cell<u32>);

    impl Counted<'_> {
        fn count(&self) -> &Rows {
            self.1.set(self.1.get() + 1);
            self.0
        }
    }

    impl InOrder for Counted<'_> {
        fn base(&self) -> Head {
            self.0.base()
        }
        fn commits(&self) -> u32 {
            self.0.commits()
        }
        fn rows(&self) -> u32 {
            self.0.rows()
        }
        fn rows_of(&self, of: &ResourceType) -> u32 {
            self.0.rows_of(of)
        }
        fn instant(&self, commit: u32) -> io::Result<Instant> {
            self.count().instant(commit)
        }
        fn end(&self, commit: u32) -> io::Result<u32> {
            self.count().end(commit)
        }
        fn place(&self, row: u32) -> io::Result<(u64, u32)> {
            self.count().place(row)
        }
        fn row_of(&self, of: &ResourceType, number: u32) -> io::Result<u32> {
            self.count().row_of(of, number)
        }
    }

    #[test]
    fn a_page_of_a_million_versions_looks_at_a_few_for_each_entry() {
        let mut rows = Rows::after(Head::EMPTY);
        for t in 1..=1_000_000 {
            rows.push(if t % 1000 == 0 { "Patient" } else { "Observation" }, t, 100);
            rows.end_commit(Instant::from_micros(t.cast_signed()));
        }
        let counted = Counted(&rows, Cell::new(0));
        let patient: ResourceType = "Patient".parse().unwrap();
        let range = Place::first_of(T::new(3))..Place::first_of(T::new(700_001));
        // Halving a million takes twenty; the next one in the log is looked for nowhere.
        for (of, step, looks) in [(None, 1, 3), (Some(&patient), 1000, 30)] {
            counted.1.set(0);
            let numbers = numbers(&counted, of, &range).unwrap();
            let mut near = None;
            let mut one = |number| one(&counted, of, 1, number, &mut near).unwrap();
            let page = numbers.rev().take(50).map(&mut one);
            let found: Vec<_> = page.map(|found| found.place.t.get()).collect();
            let expected = (0..50).map(|back| 700_000 - back * step);
            assert_eq!(found, expected.collect::<Vec<_>>());
            assert!(counted.1.get() < 50 * looks + 100, "{}", counted.1.get());
        }
    }
}
