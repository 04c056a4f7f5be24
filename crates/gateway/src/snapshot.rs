//! What of the gateway may change while it runs: one value, swapped whole.
//!
//! A request takes the value of its moment once, before it is judged, and keeps it to its end, so
//! that no request sees half of a change.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::addresses::Addresses;
use crate::callers::Callers;
use crate::config::{Cors, GatewayConfig, Limits};
use crate::errors::GatewayError;
use crate::roles::Roles;
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
    /// Who may connect, and whom to believe about others.
    pub(crate) addresses: Addresses,
    /// What clients may that have a role.
    pub(crate) roles: Arc<Roles>,
    /// Sizes and times of requests; a connection keeps those of its own for what concerns it whole.
    pub(crate) limits: Limits,
    /// For how many minutes a break-glass is in force.
    pub(crate) break_glass_minutes: u32,
}

impl Snapshot {
    /// What the configuration decides, with these callers and upstreams.
    pub(crate) fn new(
        config: &GatewayConfig,
        callers: Callers,
        upstreams: Upstreams,
    ) -> Result<Self, GatewayError> {
        Ok(Self {
            table: config.table()?,
            upstreams,
            callers: Arc::new(callers),
            public_open: config.public_open.clone(),
            cors: config.cors.clone(),
            addresses: config.addresses.clone(),
            roles: config.roles.clone(),
            limits: config.limits.clone(),
            break_glass_minutes: config.break_glass_minutes,
        })
    }

    /// What another configuration decides. What callers used up of their limits stays used up, and
    /// upstreams that stay as they are keep what is known of their endpoints.
    pub(crate) fn renewed(&self, config: &GatewayConfig) -> Result<Self, GatewayError> {
        let callers = self.callers.renewed(config)?;
        let upstreams = self.upstreams.renewed(config).map_err(GatewayError::Upstream)?;
        Self::new(config, callers, upstreams)
    }
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

    /// Puts another into force: requests that come from now on take it.
    pub(crate) fn put(&self, snapshot: Snapshot) {
        self.0.store(Arc::new(snapshot));
    }

    /// The snapshot of this moment.
    pub(crate) fn take(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }
}
