//! The access log: one JSON line a request, written by a thread of its own.
//!
//! A line says who asked what kind of thing, how it ended and what it cost. It never holds a
//! path, an id of a resource, a query, a header or a body: a path can name a patient. Lines are
//! collected in a bounded buffer and written ten times a second or when it is half full; what
//! does not fit is dropped and counted, because a full disk must not stop the requests.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use contract::{Cost, Instant};
use parking_lot::{Condvar, Mutex};
use trace::TraceId;

/// Bytes that wait to be written before lines are dropped.
const MOST_WAITING: usize = 4 * 1024 * 1024;
/// How long a line may wait to be written.
const LONGEST_WAIT: Duration = Duration::from_millis(100);
/// How long the last lines may take. Whoever reads them may have stopped reading for ever.
const LAST_MOMENT: Duration = Duration::from_secs(1);

/// Where the access log goes.
#[derive(Default)]
pub enum AccessLog {
    /// The process's standard output.
    #[default]
    Stdout,
    /// A file, or whatever a test reads back.
    Writer(Box<dyn Write + Send>),
    /// Nowhere.
    Off,
}

impl std::fmt::Debug for AccessLog {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Stdout => "Stdout",
            Self::Writer(_) => "Writer",
            Self::Off => "Off",
        })
    }
}

/// What a line says. Every text is either from a closed set of ours or already checked.
#[derive(Debug)]
pub(crate) struct Line<'line> {
    pub(crate) time: Instant,
    pub(crate) request_id: &'line str,
    /// The client's id; none for a request without a caller.
    pub(crate) client: Option<&'line str>,
    /// The pseudonym of whom it asks for; none for an app that asks for itself.
    pub(crate) subject: Option<&'line str>,
    pub(crate) method: &'static str,
    pub(crate) route: &'line str,
    /// Where it was let through to; none for what was answered by the gateway itself.
    pub(crate) upstream: Option<&'line str>,
    /// The trace that it belongs to.
    pub(crate) trace_id: Option<TraceId>,
    pub(crate) interaction: &'static str,
    pub(crate) status: u16,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) duration: Duration,
    pub(crate) upstream_took: Option<Duration>,
    /// Rows read and microseconds spent, as the server says.
    pub(crate) cost: Option<Cost>,
    /// What the limits decided; none for a request that none was asked about.
    pub(crate) limit: Option<LimitDecision<'line>>,
    pub(crate) refusal: Option<&'static str>,
}

/// What limits decided about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LimitDecision<'line> {
    /// `admitted`, `delayed` or `refused`.
    pub(crate) decision: &'static str,
    /// The caller's plan, where it has one and was held to it.
    pub(crate) plan: Option<&'line str>,
    /// Which limit refused it.
    pub(crate) by: Option<&'line str>,
    /// How long it had to wait for its turn.
    pub(crate) wait: Duration,
}

#[derive(Debug)]
struct Waiting {
    bytes: Vec<u8>,
    closed: bool,
    /// All is written.
    done: bool,
}

#[derive(Debug)]
struct Shared {
    waiting: Mutex<Waiting>,
    wake: Condvar,
    ended: Condvar,
    dropped: AtomicU64,
}

/// The requests' end of the log.
#[derive(Debug, Clone)]
pub(crate) struct Lines(Option<Arc<Shared>>);

/// The owner of the thread: when dropped, waits for the last lines to be written, but not for ever.
#[derive(Debug)]
pub(crate) struct LogThread {
    shared: Option<Arc<Shared>>,
    thread: Option<JoinHandle<()>>,
}

/// Starts the thread.
pub(crate) fn start(log: AccessLog) -> std::io::Result<(Lines, LogThread)> {
    let writer: Box<dyn Write + Send> = match log {
        AccessLog::Off => {
            let thread = LogThread { shared: None, thread: None };
            return Ok((Lines(None), thread));
        }
        AccessLog::Stdout => Box::new(std::io::stdout()),
        AccessLog::Writer(writer) => writer,
    };
    let shared = Arc::new(Shared {
        waiting: Mutex::new(Waiting {
            bytes: Vec::with_capacity(64 * 1024),
            closed: false,
            done: false,
        }),
        wake: Condvar::new(),
        ended: Condvar::new(),
        dropped: AtomicU64::new(0),
    });
    let for_thread = shared.clone();
    let thread = std::thread::Builder::new()
        .name("access-log".to_owned())
        .spawn(move || write_until_closed(&for_thread, writer))?;
    let thread = LogThread { shared: Some(shared.clone()), thread: Some(thread) };
    Ok((Lines(Some(shared)), thread))
}

fn write_until_closed(shared: &Shared, mut writer: Box<dyn Write + Send>) {
    let mut batch = Vec::new();
    loop {
        let closed = {
            let mut waiting = shared.waiting.lock();
            if !waiting.closed {
                shared.wake.wait_for(&mut waiting, LONGEST_WAIT);
            }
            std::mem::swap(&mut waiting.bytes, &mut batch);
            waiting.closed
        };
        if !batch.is_empty() {
            if writer.write_all(&batch).and_then(|()| writer.flush()).is_err() {
                let lines = batch.iter().filter(|byte| **byte == b'\n').count();
                shared.dropped.fetch_add(lines.try_into().unwrap_or(u64::MAX), Ordering::Relaxed);
            }
            batch.clear();
        }
        if closed {
            shared.waiting.lock().done = true;
            shared.ended.notify_one();
            return;
        }
    }
}

impl Lines {
    /// Whether lines go anywhere.
    pub(crate) fn are_kept(&self) -> bool {
        self.0.is_some()
    }

    /// Adds a line, or counts it as dropped when the writer cannot keep up.
    pub(crate) fn write(&self, line: &Line<'_>) {
        let Some(shared) = &self.0 else { return };
        let mut waiting = shared.waiting.lock();
        if waiting.bytes.len() >= MOST_WAITING {
            drop(waiting);
            shared.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let before = waiting.bytes.len();
        render(line, &mut waiting.bytes);
        let after = waiting.bytes.len();
        drop(waiting);
        if before < MOST_WAITING / 2 && after >= MOST_WAITING / 2 {
            shared.wake.notify_one();
        }
    }

    /// Lines that could not be kept or written.
    pub(crate) fn dropped(&self) -> u64 {
        self.0.as_ref().map_or(0, |shared| shared.dropped.load(Ordering::Relaxed))
    }
}

impl Drop for LogThread {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            let mut waiting = shared.waiting.lock();
            waiting.closed = true;
            shared.wake.notify_one();
            shared.ended.wait_while_for(&mut waiting, |waiting| !waiting.done, LAST_MOMENT);
            if !waiting.done {
                return;
            }
        }
        if let Some(thread) = self.thread.take() {
            // A panic of the writer has nothing to tell us any more.
            let _ = thread.join();
        }
    }
}

fn render(line: &Line<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"time\":\"");
    out.extend_from_slice(&line.time.text());
    out.extend_from_slice(b"\",\"requestId\":\"");
    put_text(line.request_id, out);
    out.extend_from_slice(b"\",\"traceId\":");
    let trace_id = line.trace_id.map(|id| id.text());
    put_optional(trace_id.as_ref().and_then(|id| str::from_utf8(id).ok()), out);
    out.extend_from_slice(b",\"client\":");
    put_optional(line.client, out);
    out.extend_from_slice(b",\"subject\":");
    put_optional(line.subject, out);
    out.extend_from_slice(b",\"method\":\"");
    put_text(line.method, out);
    out.extend_from_slice(b"\",\"route\":\"");
    put_text(line.route, out);
    out.extend_from_slice(b"\",\"upstream\":");
    put_optional(line.upstream, out);
    out.extend_from_slice(b",\"interaction\":\"");
    put_text(line.interaction, out);
    out.extend_from_slice(b"\",\"status\":");
    put_number(u64::from(line.status), out);
    out.extend_from_slice(b",\"bytesIn\":");
    put_number(line.bytes_in, out);
    out.extend_from_slice(b",\"bytesOut\":");
    put_number(line.bytes_out, out);
    out.extend_from_slice(b",\"durationMicros\":");
    put_number(micros(line.duration), out);
    out.extend_from_slice(b",\"upstreamMicros\":");
    match line.upstream_took {
        Some(upstream) => put_number(micros(upstream), out),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"cost\":");
    match line.cost {
        Some(cost) => {
            out.extend_from_slice(b"{\"rows\":");
            put_number(cost.rows.into(), out);
            out.extend_from_slice(b",\"micros\":");
            put_number(cost.micros.into(), out);
            out.push(b'}');
        }
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"limit\":");
    match &line.limit {
        Some(limit) => {
            out.extend_from_slice(b"{\"decision\":\"");
            put_text(limit.decision, out);
            out.extend_from_slice(b"\",\"plan\":");
            put_optional(limit.plan, out);
            out.extend_from_slice(b",\"by\":");
            put_optional(limit.by, out);
            out.extend_from_slice(b",\"waitMicros\":");
            put_number(micros(limit.wait), out);
            out.push(b'}');
        }
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"refusal\":");
    put_optional(line.refusal, out);
    out.extend_from_slice(b"}\n");
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn put_optional(text: Option<&str>, out: &mut Vec<u8>) {
    match text {
        Some(text) => {
            out.push(b'"');
            put_text(text, out);
            out.push(b'"');
        }
        None => out.extend_from_slice(b"null"),
    }
}

/// The inside of a JSON string. Our texts need no escape; one that did would be blunted, so that
/// no input can ever forge a line.
fn put_text(text: &str, out: &mut Vec<u8>) {
    out.extend(text.bytes().map(|byte| match byte {
        b'"' | b'\\' | 0..=0x1f => b'_',
        other => other,
    }));
}

fn put_number(mut number: u64, out: &mut Vec<u8>) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line<'static> {
        Line {
            time: Instant::from_micros(0),
            request_id: "r-1",
            client: Some("owner"),
            subject: Some("5f0c"),
            method: "GET",
            route: "fhir",
            upstream: Some("server"),
            trace_id: None,
            interaction: "read",
            status: 200,
            bytes_in: 0,
            bytes_out: 1234,
            duration: Duration::from_micros(56),
            upstream_took: None,
            cost: Some(Cost { rows: 1, micros: 20 }),
            limit: Some(LimitDecision {
                decision: "delayed",
                plan: Some("clinic"),
                by: None,
                wait: Duration::from_millis(2),
            }),
            refusal: None,
        }
    }

    /// A writer that a test reads back.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_is_one_json_object_with_every_field() {
        let mut out = Vec::new();
        render(&line(), &mut out);
        assert_eq!(out.last(), Some(&b'\n'));
        let parsed: serde_json::Value = serde_json::from_slice(&out).expect("a line is JSON");
        let expected = serde_json::json!({
            "time": "1970-01-01T00:00:00.000000Z", "requestId": "r-1", "traceId": null, "client": "owner",
            "subject": "5f0c", "method": "GET", "route": "fhir", "upstream": "server", "interaction": "read", "status": 200,
            "bytesIn": 0, "bytesOut": 1234, "durationMicros": 56, "upstreamMicros": null,
            "cost": {"rows": 1, "micros": 20},
            "limit": {"decision": "delayed", "plan": "clinic", "by": null, "waitMicros": 2000},
            "refusal": null,
        });
        assert_eq!(parsed, expected);
    }

    #[test]
    fn no_text_can_end_its_string_or_its_line() {
        let mut out = Vec::new();
        let forged = Line { request_id: "a\"}\n{\\", ..line() };
        render(&forged, &mut out);
        assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1);
        let parsed: serde_json::Value = serde_json::from_slice(&out).expect("a line is JSON");
        assert_eq!(parsed["requestId"], "a_}_{_");
    }

    #[test]
    fn what_waits_is_written_when_the_owner_goes() {
        let kept = Kept::default();
        let (lines, thread) =
            start(AccessLog::Writer(Box::new(kept.clone()))).expect("the thread starts");
        for _ in 0..1000 {
            lines.write(&line());
        }
        drop(thread);
        let written = kept.0.lock();
        assert_eq!(written.iter().filter(|byte| **byte == b'\n').count(), 1000);
        assert_eq!(lines.dropped(), 0);
    }

    /// A disk that never answers.
    struct Stuck(Arc<Mutex<()>>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _held = self.0.lock();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_writer_that_is_stuck_for_ever_keeps_nobody_from_stopping() {
        let gate = Arc::new(Mutex::new(()));
        let _held = gate.lock();
        let (lines, thread) =
            start(AccessLog::Writer(Box::new(Stuck(gate.clone())))).expect("the thread starts");
        lines.write(&line());
        drop(thread);
    }

    #[test]
    fn lines_beyond_the_bound_are_dropped_and_counted() {
        let gate = Arc::new(Mutex::new(()));
        let held = gate.lock();
        let (lines, thread) =
            start(AccessLog::Writer(Box::new(Stuck(gate.clone())))).expect("the thread starts");
        let mut one = Vec::new();
        render(&line(), &mut one);
        // Twice the bound fits at most: once in the stuck writer's hands, once waiting.
        for _ in 0..(2 * MOST_WAITING / one.len() + 10) {
            lines.write(&line());
        }
        assert!(lines.dropped() > 0);
        drop(held);
        drop(thread);
    }
}
