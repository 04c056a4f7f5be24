//! Metrics of upstreams of others: their checks, their endpoints, and the room that is left.
//! Names of upstreams are the configuration's: as many as it has.

use std::time::Duration;

use prometheus::{Error, IntCounter, IntCounterVec, IntGaugeVec};

use super::Maker;
use crate::upstreams::Upstreams;

/// Of all upstreams.
#[derive(Debug, Clone)]
pub(crate) struct UpstreamMetrics {
    checks: IntCounterVec,
    ejections: IntCounterVec,
    ready: IntGaugeVec,
    endpoints: IntGaugeVec,
    in_flight: IntGaugeVec,
    waiting: IntGaugeVec,
}

/// What is counted of one upstream as it happens.
#[derive(Debug, Clone)]
pub(crate) struct Tallies {
    /// Checks that an endpoint passed.
    pub(crate) passed: IntCounter,
    /// Checks that one did not.
    pub(crate) failed: IntCounter,
    /// Times that failing requests took one out.
    pub(crate) ejections: IntCounter,
}

impl UpstreamMetrics {
    pub(super) fn new(make: &Maker<'_>) -> Result<Self, Error> {
        Ok(Self {
            checks: make.counters(
                "hearthgate_gateway_upstream_checks_total",
                "Checks of an upstream's endpoints, by result.",
                &["upstream", "result"],
            )?,
            ejections: make.counters(
                "hearthgate_gateway_upstream_ejections_total",
                "Times that failing requests took an upstream's endpoint out for a while.",
                &["upstream"],
            )?,
            ready: make.gauges(
                "hearthgate_gateway_upstream_ready",
                "1 while requests may be sent to an upstream, 0 while they may not.",
                &["upstream"],
            )?,
            endpoints: make.gauges(
                "hearthgate_gateway_upstream_endpoints",
                "Endpoints of an upstream, by whether they get requests.",
                &["upstream", "state"],
            )?,
            in_flight: make.gauges(
                "hearthgate_gateway_upstream_requests_in_flight",
                "Requests that are under way at an upstream.",
                &["upstream"],
            )?,
            waiting: make.gauges(
                "hearthgate_gateway_upstream_requests_waiting",
                "Requests that wait for room at an upstream.",
                &["upstream"],
            )?,
        })
    }

    /// The counters of one upstream.
    pub(crate) fn of(&self, upstream: &str) -> Tallies {
        Tallies {
            passed: self.checks.with_label_values(&[upstream, "passed"]),
            failed: self.checks.with_label_values(&[upstream, "failed"]),
            ejections: self.ejections.with_label_values(&[upstream]),
        }
    }

    /// Notes how the upstreams are that there are now.
    pub(crate) fn note(&self, upstreams: &Upstreams, now: Duration) {
        for gauges in [&self.ready, &self.endpoints, &self.in_flight, &self.waiting] {
            gauges.reset();
        }
        for (name, state) in upstreams.states(now) {
            self.ready.with_label_values(&[name]).set(state.is_ready.into());
            let set = |gauges: &IntGaugeVec, labels: &[&str], count: usize| {
                gauges.with_label_values(labels).set(i64::try_from(count).unwrap_or(i64::MAX));
            };
            set(&self.endpoints, &[name, "available"], state.available);
            set(&self.endpoints, &[name, "out"], state.out);
            set(&self.in_flight, &[name], state.in_flight);
            set(&self.waiting, &[name], state.waiting);
        }
    }
}
