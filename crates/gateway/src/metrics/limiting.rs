//! Metrics of plans, of their counters, and of lanes. Names of plans and limits are the
//! configuration's: as many as it has.

use prometheus::{Error, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::Maker;
use crate::plans::Limit;

/// Of plans and their counters.
#[derive(Debug)]
pub(crate) struct LimitingMetrics {
    decisions: IntCounterVec,
    pub(crate) writes: IntCounterVec,
    pub(crate) exchanges: IntCounterVec,
    pub(crate) shared: IntGauge,
    pub(crate) gateways: IntGauge,
}

/// How often one limit decided what.
#[derive(Debug)]
pub(crate) struct Decisions {
    pub(crate) admitted: IntCounter,
    pub(crate) delayed: IntCounter,
    pub(crate) refused: IntCounter,
}

/// Of lanes.
#[derive(Debug)]
pub(crate) struct LaneMetrics {
    pub(crate) in_flight: IntGaugeVec,
    pub(crate) waiting: IntGaugeVec,
}

impl LimitingMetrics {
    pub(super) fn new(make: &Maker<'_>) -> Result<Self, Error> {
        Ok(Self {
            decisions: make.counters(
                "hearthgate_gateway_limit_decisions_total",
                "Requests that a plan's limit admitted, delayed or refused.",
                &["plan", "limit", "decision"],
            )?,
            writes: make.counters(
                "hearthgate_gateway_quota_writes_total",
                "Times that quotas were written down, by result.",
                &["result"],
            )?,
            exchanges: make.counters(
                "hearthgate_gateway_counter_exchanges_total",
                "Times that the store of shared counters was spoken to, by result.",
                &["result"],
            )?,
            shared: make.gauge(
                "hearthgate_gateway_counters_shared",
                "1 while counters are shared with other gateways, 0 while this one keeps to its share or shares none.",
            )?,
            gateways: make.gauge(
                "hearthgate_gateway_counter_gateways",
                "Gateways that shared their counters when the store last answered.",
            )?,
        })
    }

    /// The counters of one limit.
    pub(crate) fn decisions_of(&self, limit: &Limit) -> Decisions {
        let of = |decision| {
            self.decisions.with_label_values(&[limit.plan.as_str(), &limit.name, decision])
        };
        Decisions { admitted: of("admitted"), delayed: of("delayed"), refused: of("refused") }
    }
}

impl LaneMetrics {
    pub(super) fn new(make: &Maker<'_>) -> Result<Self, Error> {
        Ok(Self {
            in_flight: make.gauges(
                "hearthgate_gateway_lane_in_flight",
                "Requests of a lane that the server works on.",
                &["lane"],
            )?,
            waiting: make.gauges(
                "hearthgate_gateway_lane_waiting",
                "Requests of a lane that wait for a place.",
                &["lane"],
            )?,
        })
    }
}
