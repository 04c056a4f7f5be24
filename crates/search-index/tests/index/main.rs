//! The index as its users see it: resources go in as JSON, queries as URLs.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod memory {
    pub(crate) use crate::pieces::Pieces;

    /// So many bytes of keys and orders may be in memory; any number where there are none.
    pub(crate) const MEMORY: Option<usize> = None;
}

mod budget;
mod checkpoint;
mod concurrency;
mod cost;
mod hidden;
mod includes;
mod model;
mod pieces;
mod plan;
mod purge;
mod queries;
mod settling;
mod support;
mod synthea;
mod visibility;
