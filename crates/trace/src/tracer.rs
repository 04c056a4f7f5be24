//! Whether a request is recorded, and where spans wait to be sent.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fhir_core::{Clock, Ids};
use parking_lot::Mutex;

use crate::span::Place;
use crate::{Context, Finished, Kind, Span, SpanId, TraceId};

/// Spans that wait to be sent before further ones are dropped: some megabytes.
const MOST_WAITING: usize = 16 * 1024;

/// Spans that a request may have below its own.
const MOST_BELOW: u64 = 100;

/// Which part of the requests is recorded, in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample(u32);

/// The number is no part of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidSample;

impl Sample {
    /// All requests.
    pub const ALL: Self = Self(1_000_000);
    /// None but those that a trusted sender records.
    pub const NONE: Self = Self(0);

    /// What a number of 64 random bits is below, for a request that is recorded.
    fn bound(self) -> u128 {
        (u128::from(self.0) << 64) / 1_000_000
    }
}

impl Default for Sample {
    /// One in twenty.
    fn default() -> Self {
        Self(50_000)
    }
}

impl FromStr for Sample {
    type Err = InvalidSample;

    /// Reads a decimal number between 0 and 1, such as `0.05`.
    fn from_str(text: &str) -> Result<Self, InvalidSample> {
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        if part.len() > 6 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(InvalidSample);
        }
        let part: u32 = format!("{part:0<6}").parse().map_err(|_| InvalidSample)?;
        match (whole, part) {
            ("0", part) => Ok(Self(part)),
            ("1", 0) => Ok(Self::ALL),
            _ => Err(InvalidSample),
        }
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000);
        let short = text.trim_end_matches('0');
        // `1.0`, so that it stays a decimal number.
        let padding = if short.ends_with('.') { "0" } else { "" };
        write!(formatter, "{short}{padding}")
    }
}

/// What became of spans.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Taken by the collector.
    pub sent: u64,
    /// Not kept: too many waited.
    pub dropped: u64,
    /// Not taken by the collector.
    pub failed: u64,
}

/// Decides which requests are recorded, and keeps their spans until they are sent.
#[derive(Debug, Default)]
pub struct Tracer(Option<On>);

#[derive(Debug)]
struct On {
    bound: u128,
    recorder: Arc<Recorder>,
}

impl Tracer {
    /// Records this part of the requests.
    #[must_use]
    pub fn new(sample: Sample, clock: Arc<dyn Clock>, ids: &dyn Ids) -> Self {
        let recorder = Arc::new(Recorder {
            clock,
            seed: seed(ids),
            drawn: AtomicU64::new(0),
            waiting: Mutex::default(),
            sent: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        });
        Self(Some(On { bound: sample.bound(), recorder }))
    }

    /// Records nothing, and leaves the trace context of requests alone.
    #[must_use]
    pub const fn off() -> Self {
        Self(None)
    }

    /// Whether anything is recorded at all.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Begins the span of a request, where it is recorded. It continues the trace that the sender
    /// names; whether it is recorded the sender decides where it `is_trusted`, and else chance:
    /// nobody makes themselves recorded by the ids they choose.
    #[must_use]
    pub fn begin(&self, kind: Kind, from: Option<&Context>, is_trusted: bool) -> Option<Span> {
        let On { bound, recorder } = self.0.as_ref()?;
        let is_recorded = match from.filter(|_| is_trusted) {
            Some(context) => context.is_sampled,
            None => u128::from(recorder.draw()) < *bound,
        };
        is_recorded.then(|| Span::root(recorder.clone(), kind, from))
    }

    /// The id of a span that nobody records, for a context that says so.
    #[must_use]
    pub fn unrecorded(&self, of: TraceId) -> Option<Context> {
        let On { recorder, .. } = self.0.as_ref()?;
        Some(Context { trace: of, span: recorder.span_id(), is_sampled: false })
    }

    /// Takes so many of the spans that wait, the oldest first.
    #[must_use]
    pub fn take(&self, most: usize) -> Vec<Finished> {
        let Some(On { recorder, .. }) = &self.0 else { return Vec::new() };
        let mut waiting = recorder.waiting.lock();
        let count = most.min(waiting.len());
        waiting.drain(..count).collect()
    }

    /// So many that were taken were sent.
    pub fn were_sent(&self, spans: usize) {
        self.count(|recorder| &recorder.sent, spans);
    }

    /// So many that were taken could not be sent.
    pub fn were_lost(&self, spans: usize) {
        self.count(|recorder| &recorder.failed, spans);
    }

    fn count(&self, counter: impl Fn(&Recorder) -> &AtomicU64, spans: usize) {
        if let Some(On { recorder, .. }) = &self.0 {
            let spans = u64::try_from(spans).unwrap_or(u64::MAX);
            counter(recorder).fetch_add(spans, Ordering::Relaxed);
        }
    }

    /// What became of all spans so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let Some(On { recorder, .. }) = &self.0 else { return Counts::default() };
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            sent: of(&recorder.sent),
            dropped: of(&recorder.dropped),
            failed: of(&recorder.failed),
        }
    }
}

/// How many spans a request may still have.
#[derive(Debug, Clone, Default)]
pub(crate) struct Allowance(Arc<AtomicU64>);

impl Allowance {
    /// Takes one, if there is one.
    pub(crate) fn take(&self) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed) < MOST_BELOW
    }

    /// How many were asked for in vain.
    pub(crate) fn left_out(&self) -> u64 {
        self.0.load(Ordering::Relaxed).saturating_sub(MOST_BELOW)
    }
}

/// What all spans of a tracer share.
pub(crate) struct Recorder {
    clock: Arc<dyn Clock>,
    seed: u64,
    drawn: AtomicU64,
    waiting: Mutex<VecDeque<Finished>>,
    sent: AtomicU64,
    dropped: AtomicU64,
    failed: AtomicU64,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Recorder").finish_non_exhaustive()
    }
}

impl Recorder {
    /// 64 bits that look random: as good as ids and sampling need, without a call of the system.
    fn draw(&self) -> u64 {
        let turn = self.drawn.fetch_add(1, Ordering::Relaxed);
        mixed(self.seed.wrapping_add(turn.wrapping_mul(GOLDEN)))
    }

    pub(crate) fn trace_id(&self) -> TraceId {
        let number = u128::from(self.draw()) << 64 | u128::from(self.draw());
        TraceId(number.max(1).to_be_bytes())
    }

    pub(crate) fn span_id(&self) -> SpanId {
        SpanId(self.draw().max(1).to_be_bytes())
    }

    /// Places for a part of what stands at these.
    pub(crate) fn below(&self, places: &[Place]) -> Vec<Place> {
        let below = |above: &Place| Place {
            trace: above.trace,
            id: self.span_id(),
            parent: Some(above.id),
        };
        places.iter().map(below).collect()
    }

    pub(crate) fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }

    /// Nanoseconds since 1970, and the time that durations are measured by.
    pub(crate) fn now(&self) -> (u64, Duration) {
        let micros = u64::try_from(self.clock.now().as_micros()).unwrap_or(0);
        (micros.saturating_mul(1000), self.clock.monotonic())
    }

    /// Keeps a span until it is sent, unless too many wait.
    pub(crate) fn keep(&self, span: Finished) {
        let mut waiting = self.waiting.lock();
        if waiting.len() < MOST_WAITING {
            waiting.push_back(span);
        } else {
            drop(waiting);
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finalizer of SplitMix64: every bit of the input is in every bit of the output.
fn mixed(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// A beginning of its own for each process, so that two never draw the same ids.
fn seed(ids: &dyn Ids) -> u64 {
    let mut bytes = [0; 8];
    ids.fill(&mut bytes);
    u64::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ended, tracer};

    fn check(text: &str, written: Option<&str>) {
        let sample = text.parse::<Sample>().ok().map(|sample| sample.to_string());
        assert_eq!(sample.as_deref(), written, "{text}");
    }

    #[test]
    fn a_sample_is_a_decimal_number_up_to_one() {
        check("0.05", Some("0.05"));
        check("0", Some("0.0"));
        check("0.000001", Some("0.000001"));
        check("1", Some("1.0"));
        check("1.000", Some("1.0"));
        for bad in ["", "1.1", "-0.1", "2", ".5", "0.0000001", "5%", "0.5x", "NaN"] {
            check(bad, None);
        }
        assert_eq!(Sample::default().to_string(), "0.05");
    }

    #[test]
    fn as_many_are_recorded_as_the_sample_says() {
        let tracer = tracer(Sample(50_000));
        let recorded =
            (0..100_000).filter(|_| tracer.begin(Kind::Server, None, false).is_some()).count();
        assert!((4_500..5_500).contains(&recorded), "{recorded}");
    }

    // GW-051
    #[test]
    fn a_senders_word_on_sampling_counts_where_it_is_trusted_and_its_trace_goes_on_anyway() {
        let (all, none) = (tracer(Sample::ALL), tracer(Sample::NONE));
        let context = |is_sampled| {
            let trace = TraceId([7; 16]);
            Context { trace, span: SpanId([9; 8]), is_sampled }
        };
        for (tracer, is_trusted, is_sampled, recorded) in [
            (&all, true, false, false),
            (&all, true, true, true),
            (&all, false, false, true),
            (&none, false, true, false),
            (&none, true, true, true),
        ] {
            let from = context(is_sampled);
            let span = tracer.begin(Kind::Server, Some(&from), is_trusted);
            assert_eq!(span.is_some(), recorded, "{is_trusted} {is_sampled}");
            if let Some(span) = span {
                assert_eq!(span.context().trace, from.trace);
                drop(span);
                let [span] = ended(tracer).try_into().expect("one span");
                assert_eq!(span.parent, Some(from.span));
                assert!(span.parent_is_remote);
            }
        }
        assert!(Tracer::off().begin(Kind::Server, Some(&context(true)), true).is_none());
    }

    // GW-051
    #[test]
    fn spans_beyond_the_bound_are_dropped_and_counted() {
        let tracer = tracer(Sample::ALL);
        for _ in 0..MOST_WAITING + 10 {
            drop(tracer.begin(Kind::Server, None, false));
        }
        assert_eq!(tracer.counts(), Counts { dropped: 10, ..Counts::default() });
        assert_eq!(tracer.take(100).len(), 100);
        tracer.were_sent(60);
        tracer.were_lost(40);
        assert_eq!(tracer.counts(), Counts { sent: 60, dropped: 10, failed: 40 });
        assert_eq!(ended(&tracer).len(), MOST_WAITING - 100);
    }
}
