//! Metrics of the registry: of what several gateways share, and of what the server is told.

use prometheus::{Error, IntGauge};
use registry::{Registry, Standing};

use super::Maker;

/// How it stands with what others change.
#[derive(Debug)]
pub(crate) struct RegistryMetrics {
    current: IntGauge,
    behind: IntGauge,
    changes: IntGauge,
    /// Set by whoever tells the server.
    pub(crate) untold: IntGauge,
}

impl RegistryMetrics {
    pub(super) fn new(make: &Maker<'_>) -> Result<Self, Error> {
        Ok(Self {
            current: make.gauge(
                "hearthgate_gateway_registry_current",
                "1 while what other gateways change in the registry is seen here, 0 while it is not.",
            )?,
            behind: make.gauge(
                "hearthgate_gateway_registry_behind_seconds",
                "For how long that has not been seen; 0 while it is.",
            )?,
            untold: make.gauge(
                "hearthgate_gateway_revocations_untold_seconds",
                "For how long the server has not been told something that was revoked; 0 while it was told all.",
            )?,
            changes: make.gauge(
                "hearthgate_gateway_registry_changes",
                "Changes of the registry that this gateway knows: the same number at all that share one.",
            )?,
        })
    }

    /// Notes how it stands.
    pub(crate) fn note(&self, registry: &Registry) {
        let standing = registry.standing();
        self.current.set(i64::from(matches!(standing, Standing::Alone | Standing::Current)));
        self.behind.set(i64::try_from(standing.behind().as_secs()).unwrap_or(i64::MAX));
        self.changes.set(i64::try_from(registry.sequence()).unwrap_or(i64::MAX));
    }
}
