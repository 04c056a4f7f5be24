//! What the server counts of itself, in Prometheus' text form.
//!
//! Every label is from a closed set or a tenant's name, which the configuration has: no request
//! makes a series that others would not, and none holds an id, a path or a query.

#[cfg(test)]
mod deployed;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use database::Load;
use http::StatusCode;
use parking_lot::RwLock;
use prometheus::{
    Encoder as _, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder, core::Collector,
};
use trace::Counts;

use crate::Server;
use crate::admission::NotAdmitted;

/// Upper bounds of the duration histograms, in seconds.
const BUCKETS: [f64; 13] =
    [0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// What became of a request, as a label: the class of its status, or that its client left.
const ENDS: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", ABANDONED];
/// The client left before the answer's head.
const ABANDONED: &str = "abandoned";

/// All metrics.
pub(crate) struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    durations: HistogramVec,
    series: RwLock<HashMap<&'static str, Arc<Series>>>,
    in_flight: IntGauge,
    rows: IntCounter,
    not_admitted: IntCounterVec,
    held: IntGauge,
    spans: IntCounterVec,
    of_tenants: OfTenants,
}

/// What is looked at when somebody asks, by tenant.
struct OfTenants {
    position: IntGaugeVec,
    takes_commits: IntGaugeVec,
    commits_waiting: IntGaugeVec,
    bytes_waiting: IntGaugeVec,
    index_ready: IntGaugeVec,
    index_behind: IntGaugeVec,
    index_documents: IntGaugeVec,
    index_bytes: IntGaugeVec,
    audit_ready: IntGaugeVec,
}

/// The counters of one kind of interaction.
struct Series {
    ends: [IntCounter; ENDS.len()],
    duration: Histogram,
}

/// A request under way. Dropped before it ends, its client left.
pub(crate) struct UnderWay {
    series: Arc<Series>,
    in_flight: IntGauge,
    rows: IntCounter,
    has_ended: bool,
}

impl Metrics {
    /// Registers every metric.
    ///
    /// # Errors
    /// When two have one name, which is ours to mend.
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let make = Maker(&registry);
        Ok(Self {
            requests: make.counters(
                "hearthgate_server_requests_total",
                "Requests that the gateway vouched for, by what became of them.",
                &["interaction", "status"],
            )?,
            durations: make.kept(HistogramVec::new(
                HistogramOpts::new(
                    "hearthgate_server_request_duration_seconds",
                    "Time from a request's head to its answer's, the steps of the clock among it.",
                )
                .buckets(BUCKETS.to_vec()),
                &["interaction"],
            )?)?,
            series: RwLock::default(),
            in_flight: make.gauge(
                "hearthgate_server_requests_in_flight",
                "Requests whose answer is not there yet.",
            )?,
            rows: make.kept(IntCounter::new(
                "hearthgate_server_rows_total",
                "Rows that were looked at to answer requests.",
            )?)?,
            not_admitted: make.counters(
                "hearthgate_server_requests_not_admitted_total",
                "Requests without the gateway's word, by what it lacks.",
                &["reason"],
            )?,
            held: make.gauge(
                "hearthgate_server_held_bytes",
                "Bytes of bodies of requests that are worked on.",
            )?,
            spans: make.counters(
                "hearthgate_server_trace_spans_total",
                "Spans of requests, by what became of them.",
                &["result"],
            )?,
            of_tenants: OfTenants::new(&make)?,
            registry,
        })
    }

    /// A request of this kind (`interaction` from a closed set) begins.
    pub(crate) fn begin(&self, interaction: &'static str) -> UnderWay {
        self.in_flight.inc();
        let series = self.series(interaction);
        let (in_flight, rows) = (self.in_flight.clone(), self.rows.clone());
        UnderWay { series, in_flight, rows, has_ended: false }
    }

    fn series(&self, interaction: &'static str) -> Arc<Series> {
        if let Some(series) = self.series.read().get(interaction) {
            return Arc::clone(series);
        }
        let mut all = self.series.write();
        let made = all.entry(interaction).or_insert_with(|| {
            Arc::new(Series {
                ends: ENDS.map(|end| self.requests.with_label_values(&[interaction, end])),
                duration: self.durations.with_label_values(&[interaction]),
            })
        });
        Arc::clone(made)
    }

    /// A request came that the gateway does not vouch for.
    pub(crate) fn not_admitted(&self, why: &NotAdmitted) {
        self.not_admitted.with_label_values(&[why.code()]).inc();
    }

    /// All of them, after a look at what nobody counts.
    pub(crate) fn render(&self, server: &Server) -> String {
        self.held.set(whole(server.holding.held()));
        let Counts { sent, dropped, failed } = server.tracer.counts();
        for (result, count) in [("sent", sent), ("dropped", dropped), ("failed", failed)] {
            let counter = self.spans.with_label_values(&[result]);
            counter.inc_by(count.saturating_sub(counter.get()));
        }
        for (tenant, database) in &server.databases {
            let audited = server.audit.check(tenant).is_ok();
            let ready = database.takes_commits();
            self.of_tenants.note(tenant.as_str(), &database.load(), ready, audited);
        }
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "the metrics could not be written");
        }
        String::from_utf8(text).unwrap_or_default()
    }
}

impl OfTenants {
    fn new(make: &Maker<'_>) -> Result<Self, prometheus::Error> {
        let of_tenant = |name, help| make.gauges(name, help, &["tenant"]);
        Ok(Self {
            position: of_tenant(
                "hearthgate_server_position",
                "The position of the newest commit, which grows by one with each.",
            )?,
            takes_commits: of_tenant(
                "hearthgate_server_takes_commits",
                "1 while the store takes commits, 0 while it does not.",
            )?,
            commits_waiting: of_tenant(
                "hearthgate_server_commits_waiting",
                "Commits that wait for their turn.",
            )?,
            bytes_waiting: make.gauges(
                "hearthgate_server_commit_bytes_waiting",
                "Bytes of bodies that wait to be written, in the log and beside it.",
                &["tenant", "place"],
            )?,
            index_ready: of_tenant(
                "hearthgate_server_index_ready",
                "1 while searches are answered from the index, 0 while it is being made.",
            )?,
            index_behind: of_tenant(
                "hearthgate_server_index_behind",
                "Commits that the search index does not have yet.",
            )?,
            index_documents: of_tenant(
                "hearthgate_server_index_documents",
                "Versions of resources in the search index.",
            )?,
            index_bytes: of_tenant(
                "hearthgate_server_index_bytes",
                "Bytes of memory that the search index takes, about.",
            )?,
            audit_ready: of_tenant(
                "hearthgate_server_audit_ready",
                "1 while the audit log can be written, 0 while it cannot.",
            )?,
        })
    }

    fn note(&self, tenant: &str, load: &Load, takes_commits: bool, audited: bool) {
        let set = |gauge: &IntGaugeVec, value| gauge.with_label_values(&[tenant]).set(value);
        set(&self.position, whole(load.position));
        set(&self.takes_commits, takes_commits.into());
        set(&self.commits_waiting, whole(load.commits_waiting));
        for (place, bytes) in [("log", load.log_bytes), ("beside", load.beside_bytes)] {
            self.bytes_waiting.with_label_values(&[tenant, place]).set(whole(bytes));
        }
        set(&self.index_behind, whole(load.index_behind));
        let index = load.index.as_ref();
        set(&self.index_ready, index.is_some_and(|index| index.has_caught_up).into());
        set(&self.index_documents, index.map_or(0, |index| whole(index.documents)));
        set(&self.index_bytes, index.map_or(0, |index| whole(index.bytes)));
        set(&self.audit_ready, audited.into());
    }
}

impl UnderWay {
    /// The answer's head is there.
    pub(crate) fn end(mut self, status: StatusCode, taken: Duration, rows: u64) {
        self.has_ended = true;
        let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
        self.series.ends[class].inc();
        self.series.duration.observe(taken.as_secs_f64());
        self.rows.inc_by(rows);
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.in_flight.dec();
        if !self.has_ended {
            self.series.ends[ENDS.len() - 1].inc();
        }
    }
}

/// As a gauge has it.
fn whole(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}

/// Makes metrics and registers them.
struct Maker<'registry>(&'registry Registry);

impl Maker<'_> {
    fn kept<M: Collector + Clone + 'static>(&self, metric: M) -> Result<M, prometheus::Error> {
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        self.kept(IntGauge::new(name, help)?)
    }

    fn gauges(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntGaugeVec, prometheus::Error> {
        self.kept(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntCounterVec, prometheus::Error> {
        self.kept(IntCounterVec::new(Opts::new(name, help), labels)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // GW-050
    #[test]
    fn a_request_is_counted_once_however_it_ends() {
        let metrics = Metrics::new().unwrap();
        let ended = metrics.begin("read");
        let left = metrics.begin("read");
        assert_eq!(metrics.in_flight.get(), 2);
        ended.end(StatusCode::NOT_FOUND, Duration::from_millis(3), 7);
        drop(left);
        assert_eq!(metrics.in_flight.get(), 0);
        assert_eq!(metrics.rows.get(), 7);
        let count = |end| metrics.requests.with_label_values(&["read", end]).get();
        assert_eq!(ENDS.map(count), [0, 0, 0, 1, 0, 1]);
        assert_eq!(metrics.durations.with_label_values(&["read"]).get_sample_count(), 1);
    }
}
