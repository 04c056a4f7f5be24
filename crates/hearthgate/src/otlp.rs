//! Sends the spans of requests to a collector, a few times a second.
//!
//! Requests never wait for it: spans wait in a bounded queue, and what the collector does not take
//! is counted (`hearthgate_gateway_trace_spans_total`) and thrown away.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use gateway::{AuthorityUnreadable, Collector, CollectorError};
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::sync::watch;
use tokio::task::JoinSet;
use trace::{Tracer, otlp};

use crate::config::Traces;
use crate::doors::{SystemClock, SystemIds};

/// How long spans wait for more of them.
const PAUSE: Duration = Duration::from_millis(250);
/// How long a collector that took nothing is left alone, at first and at most.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);
/// Spans in one request.
const MOST_AT_ONCE: usize = 1024;
/// How long the last spans may take.
const LAST_MOMENT: Duration = Duration::from_secs(2);

/// Why spans cannot be sent as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum OtlpError {
    /// The authorities of the collector's certificate.
    #[error("`traces.authority_file` cannot be used")]
    Authority(#[from] AuthorityUnreadable),
    /// The file of headers cannot be read.
    #[error("cannot read {}, which `traces.headers_file` names", .0.display())]
    Headers(PathBuf, #[source] io::Error),
    /// A line of it is no header.
    #[error("{} line {}: takes `name: value`; correct the line", .0.display(), .1)]
    Header(PathBuf, usize),
}

/// What records requests, and the task that sends what it recorded.
pub(crate) struct Exporting {
    tracer: Arc<Tracer>,
    stop: watch::Sender<bool>,
    task: JoinSet<()>,
}

impl Exporting {
    /// Begins; records nothing where no collector is configured.
    pub(crate) fn start(
        config: &Traces,
        clock: &Arc<SystemClock>,
        ids: &SystemIds,
    ) -> Result<Self, OtlpError> {
        let (stop, stopping) = watch::channel(false);
        let mut task = JoinSet::new();
        let Some(url) = config.endpoint.clone() else {
            return Ok(Self { tracer: Arc::default(), stop, task });
        };
        let headers = read_headers(config.headers_file.as_ref())?;
        let authority = config.authority_file.as_deref();
        let collector = Collector::new(url, headers, authority, config.timeout)?;
        let tracer = Arc::new(Tracer::new(config.sample, clock.clone(), ids));
        let service = config.service_name.as_str().to_owned();
        let sender = Sender { tracer: tracer.clone(), collector, service, is_failing: false };
        task.spawn(sender.send_until(stopping));
        Ok(Self { tracer, stop, task })
    }

    /// What records requests.
    pub(crate) fn tracer(&self) -> Arc<Tracer> {
        self.tracer.clone()
    }

    /// Sends what still waits, as far as that takes a moment.
    pub(crate) async fn finish(mut self) {
        self.stop.send_replace(true);
        let ended = async { while self.task.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_MOMENT, ended).await.is_err() {
            tracing::warn!("the last spans were not sent: the collector is slow");
        }
    }
}

struct Sender {
    tracer: Arc<Tracer>,
    collector: Collector,
    service: String,
    is_failing: bool,
}

impl Sender {
    async fn send_until(mut self, mut stopping: watch::Receiver<bool>) {
        let mut pause = PAUSE;
        loop {
            let is_over = tokio::select! {
                _ = stopping.wait_for(|stop| *stop) => true,
                () = tokio::time::sleep(pause) => false,
            };
            pause = match self.send_what_waits().await {
                Ok(()) => PAUSE,
                Err(()) if pause < AFTER_FAILURE => AFTER_FAILURE,
                Err(()) => (pause * 2).min(LONGEST),
            };
            if is_over {
                return;
            }
        }
    }

    async fn send_what_waits(&mut self) -> Result<(), ()> {
        loop {
            let spans = self.tracer.take(MOST_AT_ONCE);
            if spans.is_empty() {
                return Ok(());
            }
            let resource = [
                ("service.name", self.service.as_str()),
                ("service.version", env!("CARGO_PKG_VERSION")),
            ];
            let sent = self.collector.send(otlp::request(&resource, &spans)).await;
            self.say(sent.as_ref().err());
            if sent.is_err() {
                self.tracer.were_lost(spans.len());
                return Err(());
            }
            self.tracer.were_sent(spans.len());
        }
    }

    /// Says in the log how it stands, when that has changed.
    fn say(&mut self, error: Option<&CollectorError>) {
        if std::mem::replace(&mut self.is_failing, error.is_some()) == error.is_some() {
            return;
        }
        match error {
            Some(error) => tracing::warn!(
                error = error as &dyn std::error::Error,
                "spans are thrown away until the collector takes them again"
            ),
            None => tracing::info!("the collector takes spans again"),
        }
    }
}

/// The headers in a file, a line for each.
fn read_headers(file: Option<&PathBuf>) -> Result<HeaderMap, OtlpError> {
    let mut headers = HeaderMap::new();
    let Some(path) = file else { return Ok(headers) };
    let text =
        std::fs::read_to_string(path).map_err(|source| OtlpError::Headers(path.clone(), source))?;
    for (at, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let header = line.split_once(':').and_then(|(name, value)| {
            let mut value = HeaderValue::from_str(value.trim()).ok()?;
            value.set_sensitive(true);
            Some((name.trim().parse::<HeaderName>().ok()?, value))
        });
        let (name, value) = header.ok_or_else(|| OtlpError::Header(path.clone(), at + 1))?;
        headers.append(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<HeaderMap, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("headers");
        std::fs::write(&path, text).unwrap();
        read_headers(Some(&path))
            .map_err(|error| error.to_string().replace(&*folder.path().to_string_lossy(), ""))
    }

    #[test]
    fn a_file_of_headers_has_one_in_each_line_and_none_is_shown() {
        let headers = read("Authorization: Bearer planted-token\n\nX-Scope:  clinic \n").unwrap();
        assert_eq!(headers["authorization"], "Bearer planted-token");
        assert_eq!(headers["x-scope"], "clinic");
        assert!(!format!("{headers:?}").contains("planted"));
        let refused = read("X-Scope: clinic\nplanted-token\n").unwrap_err();
        assert_eq!(refused, "/headers line 2: takes `name: value`; correct the line");
        assert!(read_headers(None).unwrap().is_empty());
    }
}
