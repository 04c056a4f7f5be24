//! The log in its order: what histories of a type and of everything are read by.

use std::ops::Range;

use crate::{T, VersionEntry};

/// Where a version stands in the log: which of its commit's versions it is, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The position of its commit.
    pub t: T,
    /// The number of versions before it in that commit.
    pub ordinal: u32,
}

impl Place {
    /// Where the commit at `t` begins.
    #[must_use]
    pub const fn first_of(t: T) -> Self {
        Self { t, ordinal: 0 }
    }

    /// The place after this one in the same commit.
    #[must_use]
    pub const fn next(self) -> Self {
        Self { t: self.t, ordinal: self.ordinal.saturating_add(1) }
    }
}

/// The places of the commits after `after` up to `through`, both positions of commits.
#[must_use]
pub const fn places(after: T, through: T) -> Range<Place> {
    Place::first_of(after.next())..Place::first_of(through.next())
}

/// From which end of the log versions come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HistoryOrder {
    /// The last place first.
    NewestFirst,
    /// The first place first.
    OldestFirst,
}

/// A version and where it stands in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryVersion {
    /// Where it stands.
    pub place: Place,
    /// What is known about it.
    pub entry: VersionEntry,
}
