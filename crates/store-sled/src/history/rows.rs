//! A segment's versions in the order of the log, in memory: 28 bytes for a version that is a
//! commit of its own.

use std::io;

use fhir_core::{Instant, ResourceType};
use store::Head;

use super::InOrder;

/// A row for each version. A commit's rows end where the next one's begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rows {
    base: Head,
    pub(super) instants: Vec<Instant>,
    pub(super) ends: Vec<u32>,
    pub(super) offsets: Vec<u64>,
    pub(super) lengths: Vec<u32>,
    pub(super) types: Vec<TypeRows>,
    /// The type that was pushed last: the next one is often the same.
    last: usize,
}

/// Which rows are of a type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TypeRows {
    pub(super) of: ResourceType,
    pub(super) rows: Vec<u32>,
}

impl Rows {
    /// The rows of a segment that begins after `base`, without a commit.
    pub(crate) fn after(base: Head) -> Self {
        Self {
            base,
            instants: Vec::new(),
            ends: Vec::new(),
            offsets: Vec::new(),
            lengths: Vec::new(),
            types: Vec::new(),
            last: 0,
        }
    }

    /// Adds a version of the commit that [`Rows::end_commit`] ends, whose block lies there.
    pub(crate) fn push(&mut self, of: &str, offset: u64, length: u32) {
        let row = self.count();
        self.offsets.push(offset);
        self.lengths.push(length);
        let is_of = |rows: &TypeRows| rows.of.as_str() == of;
        if !self.types.get(self.last).is_some_and(is_of) {
            self.last = self.types.iter().position(is_of).unwrap_or(self.types.len());
        }
        match self.types.get_mut(self.last) {
            Some(rows) => rows.rows.push(row),
            None => {
                let of = ResourceType::new(of).expect("a version in the log has a type");
                self.types.push(TypeRows { of, rows: vec![row] });
            }
        }
    }

    /// Ends a commit: the versions since the one before are its.
    pub(crate) fn end_commit(&mut self, instant: Instant) {
        self.ends.push(self.count());
        self.instants.push(instant);
    }

    /// Whether these are the rows of the first commits of `other`, and `other` begins where
    /// these do.
    pub(crate) fn begin(&self, other: &Self) -> bool {
        let (commits, rows) = (self.ends.len(), self.offsets.len());
        let same_types = || {
            let of_each = |in_these: &TypeRows| {
                let found = other.types.iter().find(|types| types.of == in_these.of);
                found.is_some_and(|found| found.rows.starts_with(&in_these.rows))
            };
            self.types.iter().all(of_each)
        };
        self.base == other.base
            && other.instants.get(..commits) == Some(&self.instants)
            && other.ends.get(..commits) == Some(&self.ends)
            && other.offsets.get(..rows) == Some(&self.offsets)
            && other.lengths.get(..rows) == Some(&self.lengths)
            && same_types()
    }

    fn count(&self) -> u32 {
        u32::try_from(self.offsets.len()).expect("a segment has fewer than 2^32 versions")
    }

    fn of(&self, of: &ResourceType) -> &[u32] {
        let found = self.types.iter().find(|rows| rows.of == *of);
        found.map_or(&[], |found| &found.rows)
    }
}

impl InOrder for Rows {
    fn base(&self) -> Head {
        self.base
    }

    fn commits(&self) -> u32 {
        u32::try_from(self.ends.len()).expect("a segment has fewer than 2^32 commits")
    }

    fn rows(&self) -> u32 {
        self.count()
    }

    fn rows_of(&self, of: &ResourceType) -> u32 {
        u32::try_from(self.of(of).len()).expect("no more than there are rows")
    }

    fn instant(&self, commit: u32) -> io::Result<Instant> {
        Ok(self.instants[commit as usize])
    }

    fn end(&self, commit: u32) -> io::Result<u32> {
        Ok(self.ends[commit as usize])
    }

    fn place(&self, row: u32) -> io::Result<(u64, u32)> {
        Ok((self.offsets[row as usize], self.lengths[row as usize]))
    }

    fn row_of(&self, of: &ResourceType, number: u32) -> io::Result<u32> {
        Ok(self.of(of)[number as usize])
    }
}
