//! The suite of the index where some of the settled segments is in memory, and some is read when it is asked for.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod memory {
    pub(crate) use crate::pieces::Pieces;

    /// So many bytes of keys and orders may be in memory; any number where there are none.
    pub(crate) const MEMORY: Option<usize> = Some(20_000);
}

#[path = "../index/checkpoint.rs"]
mod checkpoint;
#[path = "../index/concurrency.rs"]
mod concurrency;
#[path = "../index/includes.rs"]
mod includes;
#[path = "../index/model.rs"]
mod model;
#[path = "../index/pieces.rs"]
mod pieces;
#[path = "../index/purge.rs"]
mod purge;
#[path = "../index/queries.rs"]
mod queries;
#[path = "../index/settling.rs"]
mod settling;
#[path = "../index/support.rs"]
mod support;
#[path = "../index/synthea.rs"]
mod synthea;
#[path = "../index/visibility.rs"]
mod visibility;
