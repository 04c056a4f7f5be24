//! The gateway's metrics, in Prometheus' text form.
//!
//! Every label comes from a closed set (routes, methods, kinds of interaction, status classes,
//! reasons), so that no client can make series. A request finds its counters by array index:
//! they are made at the first request that needs them and never looked up by text again.

#[cfg(test)]
mod deployed;
mod limiting;
mod registry;
mod upstreams;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::Method;
use parking_lot::RwLock;
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};
use trace::Counts;

pub(crate) use limiting::{Decisions, LaneMetrics, LimitingMetrics};
pub(crate) use registry::RegistryMetrics;
pub(crate) use upstreams::{Tallies, UpstreamMetrics};

/// Upper bounds of the duration histograms, in seconds.
const BUCKETS: [f64; 13] =
    [0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// The methods that have a label of their own.
const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"];

/// The status classes that have a label, the first digit less one.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Where a request's path led.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) enum RouteLabel {
    /// No route takes the path, or the request was refused before one was looked for.
    #[default]
    None,
    /// A route of the table, by its name.
    Named(Arc<str>),
    /// The gateway's own `/break-glass`.
    BreakGlass,
}

impl RouteLabel {
    /// The label's text.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::None => "none",
            Self::Named(name) => name,
            Self::BreakGlass => "break-glass",
        }
    }
}

/// The upstream that a request was let through to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum UpstreamLabel {
    /// None: the gateway answered.
    None,
    /// The server of ours.
    Server,
    /// One of others, by its name.
    Named(Arc<str>),
}

impl UpstreamLabel {
    /// The label's text.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::None => "none",
            Self::Server => "server",
            Self::Named(name) => name,
        }
    }
}

/// The label of a method; a method that HTTP does not define is "other", whatever it spells.
pub(crate) fn method_label(method: &Method) -> &'static str {
    METHODS[method_index(method)]
}

fn method_index(method: &Method) -> usize {
    let other = METHODS.len() - 1;
    METHODS[..other].iter().position(|known| *known == method.as_str()).unwrap_or(other)
}

/// What the requests of one series have in common: route, upstream, kind of interaction.
type Labels = (RouteLabel, UpstreamLabel, &'static str);

/// All metrics.
#[derive(Debug)]
pub(crate) struct Metrics {
    all: Registry,
    requests: IntCounterVec,
    durations: HistogramVec,
    series: RwLock<HashMap<Labels, Arc<Series>>>,
    pub(crate) upstream_duration: HistogramVec,
    pub(crate) bytes_in: IntCounter,
    pub(crate) bytes_out: IntCounter,
    pub(crate) in_flight: IntGauge,
    pub(crate) refusals: IntCounterVec,
    pub(crate) denials_not_audited: IntCounterVec,
    pub(crate) channel_fetches: IntCounterVec,
    pub(crate) failed_authentications: IntCounterVec,
    pub(crate) lockouts: IntCounterVec,
    pub(crate) token_checks: IntCounterVec,
    pub(crate) issuer_key_fetches: IntCounterVec,
    pub(crate) answers_discarded: IntCounter,
    pub(crate) retries: IntCounter,
    pub(crate) connections: IntCounter,
    pub(crate) connections_open: IntGauge,
    pub(crate) connections_refused: IntCounterVec,
    pub(crate) log_lines_dropped: IntGauge,
    pub(crate) limiting: LimitingMetrics,
    pub(crate) upstreams: UpstreamMetrics,
    pub(crate) authorizer_verdicts: IntCounterVec,
    spans: IntCounterVec,
    pub(crate) lanes: LaneMetrics,
    pub(crate) http2_ended: IntCounterVec,
    pub(crate) tls_handshakes: IntCounterVec,
    pub(crate) tls_loads: IntCounterVec,
    pub(crate) tls_not_after: IntGauge,
    pub(crate) acme_orders: IntCounterVec,
    pub(crate) acme_failures: IntGauge,
    pub(crate) reloads: IntCounterVec,
    pub(crate) registry: RegistryMetrics,
}

/// The counters of one kind of interaction on one route.
#[derive(Debug)]
pub(crate) struct Series {
    route: RouteLabel,
    upstream: UpstreamLabel,
    interaction: &'static str,
    requests: IntCounterVec,
    counters: [[OnceLock<IntCounter>; CLASSES.len()]; METHODS.len()],
    duration: Histogram,
    upstream_duration: Histogram,
}

impl Series {
    /// Counts one finished request.
    pub(crate) fn finished(&self, method: &Method, status: u16, duration: Duration) {
        let method = method_index(method);
        let class = usize::from(status / 100).clamp(1, CLASSES.len()) - 1;
        self.counters[method][class]
            .get_or_init(|| {
                self.requests.with_label_values(&[
                    self.route.text(),
                    self.upstream.text(),
                    METHODS[method],
                    self.interaction,
                    CLASSES[class],
                ])
            })
            .inc();
        self.duration.observe(duration.as_secs_f64());
    }

    /// Notes how long an upstream took to begin its answer.
    pub(crate) fn upstream_took(&self, duration: Duration) {
        self.upstream_duration.observe(duration.as_secs_f64());
    }
}

impl Metrics {
    /// Registers every metric.
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let make = Maker(&registry);
        Ok(Self {
            requests: make.counters(
                "hearthgate_gateway_requests_total",
                "Finished requests.",
                &["route", "upstream", "method", "interaction", "status"],
            )?,
            durations: make.histograms(
                "hearthgate_gateway_request_duration_seconds",
                "Time from a request's whole head to its answer's end.",
                &["route", "upstream", "interaction"],
            )?,
            upstream_duration: make.histograms(
                "hearthgate_gateway_upstream_duration_seconds",
                "Time from a forwarded request's head to its answer's head.",
                &["upstream"],
            )?,
            bytes_in: make.counter(
                "hearthgate_gateway_request_body_bytes_total",
                "Bytes of request bodies read from clients.",
            )?,
            bytes_out: make.counter(
                "hearthgate_gateway_response_body_bytes_total",
                "Bytes of answers' bodies sent to clients.",
            )?,
            in_flight: make.gauge(
                "hearthgate_gateway_requests_in_flight",
                "Requests whose answer has not ended.",
            )?,
            refusals: make.counters(
                "hearthgate_gateway_refusals_total",
                "Requests the gateway answered itself, by reason.",
                &["reason"],
            )?,
            failed_authentications: make.counters(
                "hearthgate_gateway_failed_authentications_total",
                "Wrong credentials, by what they said that they are of.",
                &["of"],
            )?,
            lockouts: make.counters(
                "hearthgate_gateway_lockouts_total",
                "Waits that wrong credentials began, by who has to wait.",
                &["of"],
            )?,
            token_checks: make.counters(
                "hearthgate_gateway_token_checks_total",
                "Tokens of issuers that were looked at, by how they were judged.",
                &["result"],
            )?,
            issuer_key_fetches: make.counters(
                "hearthgate_gateway_issuer_key_fetches_total",
                "Fetches of an issuer's keys, by result.",
                &["issuer", "result"],
            )?,
            denials_not_audited: make.counters(
                "hearthgate_gateway_denials_not_audited_total",
                "Denials that do not come into a tenant's audit log, by reason.",
                &["reason"],
            )?,
            channel_fetches: make.counters(
                "hearthgate_gateway_channel_fetches_total",
                "Readings of the channel secret, by result.",
                &["result"],
            )?,
            answers_discarded: make.counter(
                "hearthgate_gateway_answers_discarded_total",
                "Answers that did not carry their request's nonce.",
            )?,
            retries: make
                .counter("hearthgate_gateway_retries_total", "Requests sent a second time.")?,
            connections: make
                .counter("hearthgate_gateway_connections_total", "Client connections accepted.")?,
            connections_open: make
                .gauge("hearthgate_gateway_connections_open", "Client connections open now.")?,
            connections_refused: make.counters(
                "hearthgate_gateway_connections_refused_total",
                "Client connections closed at once, by reason.",
                &["reason"],
            )?,
            log_lines_dropped: make.gauge(
                "hearthgate_gateway_access_log_lines_dropped",
                "Access log lines that could not be kept or written since the start.",
            )?,
            limiting: LimitingMetrics::new(&make)?,
            upstreams: UpstreamMetrics::new(&make)?,
            authorizer_verdicts: make.counters(
                "hearthgate_gateway_authorizer_verdicts_total",
                "Verdicts of authorizers, by where they came from: kept ones, asked ones, and none.",
                &["result"],
            )?,
            spans: make.counters(
                "hearthgate_gateway_trace_spans_total",
                "Spans of requests, by what became of them.",
                &["result"],
            )?,
            lanes: LaneMetrics::new(&make)?,
            http2_ended: make.counters(
                "hearthgate_gateway_http2_ended_total",
                "Connections of HTTP/2 that the gateway ended, by reason.",
                &["reason"],
            )?,
            tls_handshakes: make.counters(
                "hearthgate_gateway_tls_handshakes_total",
                "TLS handshakes, by result.",
                &["result"],
            )?,
            tls_loads: make.counters(
                "hearthgate_gateway_tls_loads_total",
                "Readings of certificates that were replaced on disk, by result.",
                &["result"],
            )?,
            tls_not_after: make.gauge(
                "hearthgate_gateway_tls_not_after_seconds",
                "When the first of the certificates ends, in Unix time; 0 without TLS.",
            )?,
            acme_orders: make.counters(
                "hearthgate_gateway_acme_orders_total",
                "Orders of certificates by ACME, by result.",
                &["result"],
            )?,
            acme_failures: make.gauge(
                "hearthgate_gateway_acme_failures",
                "Orders of certificates that failed since one succeeded.",
            )?,
            reloads: make.counters(
                "hearthgate_gateway_reloads_total",
                "Configurations that were to be put into force, by result.",
                &["result"],
            )?,
            registry: RegistryMetrics::new(&make)?,
            series: RwLock::default(),
            all: registry,
        })
    }

    /// The counters of one kind of interaction (`interaction` from a closed set).
    pub(crate) fn series(
        &self,
        route: &RouteLabel,
        upstream: UpstreamLabel,
        interaction: &'static str,
    ) -> Arc<Series> {
        let key = (route.clone(), upstream, interaction);
        if let Some(series) = self.series.read().get(&key) {
            return series.clone();
        }
        let upstream = key.1.clone();
        self.series
            .write()
            .entry(key)
            .or_insert_with(|| {
                let labels = [route.text(), upstream.text(), interaction];
                let duration = self.durations.with_label_values(&labels);
                let upstream_duration =
                    self.upstream_duration.with_label_values(&[upstream.text()]);
                Arc::new(Series {
                    route: route.clone(),
                    upstream,
                    interaction,
                    requests: self.requests.clone(),
                    counters: Default::default(),
                    duration,
                    upstream_duration,
                })
            })
            .clone()
    }

    /// Notes what became of spans so far.
    pub(crate) fn note_spans(&self, counts: Counts) {
        let Counts { sent, dropped, failed } = counts;
        for (result, count) in [("sent", sent), ("dropped", dropped), ("failed", failed)] {
            let counter = self.spans.with_label_values(&[result]);
            counter.inc_by(count.saturating_sub(counter.get()));
        }
    }

    /// The text for a scrape.
    pub(crate) fn render(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(16 * 1024);
        // Writing to memory does not fail, and a scrape of nothing says as much as an error.
        let _ = TextEncoder::new().encode(&self.all.gather(), &mut text);
        text
    }
}

/// Makes metrics and registers them.
pub(super) struct Maker<'registry>(&'registry Registry);

impl Maker<'_> {
    fn registered<M: prometheus::core::Collector + Clone + 'static>(
        &self,
        metric: M,
    ) -> Result<M, prometheus::Error> {
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    pub(super) fn counter(&self, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
        self.registered(IntCounter::new(name, help)?)
    }

    pub(super) fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        self.registered(IntGauge::new(name, help)?)
    }

    pub(super) fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntCounterVec, prometheus::Error> {
        self.registered(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    pub(super) fn gauges(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntGaugeVec, prometheus::Error> {
        self.registered(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    fn histograms(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<HistogramVec, prometheus::Error> {
        let options = HistogramOpts::new(name, help).buckets(BUCKETS.to_vec());
        self.registered(HistogramVec::new(options, labels)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(metrics: &Metrics) -> String {
        String::from_utf8(metrics.render()).expect("metrics are text")
    }

    #[test]
    fn a_finished_request_is_counted_under_its_labels() {
        let metrics = Metrics::new().expect("the names are valid");
        let route = RouteLabel::Named("fhir".into());
        metrics.series(&route, UpstreamLabel::Server, "read").finished(
            &Method::GET,
            404,
            Duration::from_millis(3),
        );
        let text = text(&metrics);
        let line = "hearthgate_gateway_requests_total\
                    {interaction=\"read\",method=\"GET\",route=\"fhir\",status=\"4xx\",upstream=\"server\"} 1";
        assert!(text.contains(line), "{text}");
        assert!(text.contains(
            "request_duration_seconds_bucket{interaction=\"read\",route=\"fhir\",upstream=\"server\",le=\"0.005\"} 1"
        ));
    }

    // GW-050
    #[test]
    fn methods_that_clients_invent_share_one_label() {
        let metrics = Metrics::new().expect("the names are valid");
        let series = metrics.series(&RouteLabel::None, UpstreamLabel::None, "none");
        for name in ["BREW", "PATIENT-42", "X"] {
            let method = Method::from_bytes(name.as_bytes()).expect("a token");
            series.finished(&method, 405, Duration::ZERO);
        }
        let text = text(&metrics);
        assert!(
            text.contains("method=\"other\",route=\"none\",status=\"4xx\",upstream=\"none\"} 3"),
            "{text}"
        );
        assert!(!text.contains("PATIENT-42"));
    }
}
