//! What of the gateway may change while it runs: one value, swapped whole.
//!
//! A request takes the value of its moment once, before it is judged, and keeps it to its end, so
//! that no request sees half of a change.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::callers::Callers;
use crate::config::{Cors, Limits};
use crate::routes::Table;
use crate::upstreams::Upstreams;

/// Everything that is decided anew when the configuration is.
pub(crate) struct Snapshot {
    /// Where requests go.
    pub(crate) table: Table,
    /// Upstreams that are not the server of ours.
    pub(crate) upstreams: Upstreams,
    /// Who is calling, what they may, and how often.
    pub(crate) callers: Arc<Callers>,
    /// The interactions open to requests without credentials.
    pub(crate) public_open: Vec<String>,
    /// Which web pages of other origins may ask what the gateway answers itself.
    pub(crate) cors: Option<Cors>,
    /// Sizes and times of requests. What counts connections was taken at the start.
    pub(crate) limits: Limits,
    /// For how many minutes a break-glass is in force.
    pub(crate) break_glass_minutes: u32,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Snapshot").field("table", &self.table).finish_non_exhaustive()
    }
}

/// The snapshot that requests take from now on.
#[derive(Debug)]
pub(crate) struct Current(ArcSwap<Snapshot>);

impl Current {
    /// Begins with this one.
    pub(crate) fn new(snapshot: Snapshot) -> Self {
        Self(ArcSwap::from_pointee(snapshot))
    }

    /// The snapshot of this moment.
    pub(crate) fn take(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }
}
