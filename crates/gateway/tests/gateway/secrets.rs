//! Nothing that a client sends, and nothing that the server answers, comes into any log.

use std::fmt::{Debug, Write as _};
use std::sync::{Mutex, Once};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::harness::{request, start};
use crate::stub::Script;

/// All that was said to `tracing` and `log`, at every level, by every test of this binary.
static SAID: Mutex<String> = Mutex::new(String::new());
static LISTEN: Once = Once::new();

/// Begins to listen, once.
pub(crate) fn capture_logs() {
    LISTEN.call_once(|| {
        log::set_logger(&Everything).expect("no other logger");
        log::set_max_level(log::LevelFilter::Trace);
        tracing::subscriber::set_global_default(Everything).expect("no other subscriber");
    });
}

/// All that any test's gateway logged so far.
pub(crate) fn captured_logs() -> String {
    SAID.lock().expect("no panic").clone()
}

struct Everything;

impl log::Log for Everything {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &log::Record<'_>) {
        let mut said = SAID.lock().expect("no panic");
        writeln!(said, "{}: {}", record.target(), record.args()).expect("text");
    }
    fn flush(&self) {}
}

impl Subscriber for Everything {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        attributes.record(&mut Writing);
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut Writing);
    }
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        event.record(&mut Writing);
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct Writing;

impl Visit for Writing {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut said = SAID.lock().expect("no panic");
        writeln!(said, "{field}={value:?}").expect("text");
    }
}

// GW-052
#[tokio::test]
async fn planted_secrets_stand_in_no_log() {
    let (running, stub) = start().await;
    let key = running.owner_key.clone();
    let body = "{\"family\": \"planted-body\"}";
    let plain = running.request("POST", "/fhir/Patient?x=planted-query", &[], body);
    let fields = [("X-Secret", "planted-header"), ("Cookie", "planted-cookie")];
    let read = running.request("GET", "/fhir/Patient/planted-id?name=planted-query", &fields, "");
    let own_method = running.request("PLANTED-METHOD", "/fhir/Patient/planted-id", &[], "");
    let requests = [
        plain.clone(),
        read.clone(),
        own_method,
        // Refused at each stage.
        running.request("GET", "/planted-route/x", &[], ""),
        running.request("GET", "/fhir/planted-id/x/y/z", &[], ""),
        running.request("GET", "/fhir/Patient/planted_id", &[], ""),
        request("GET", "/fhir/Patient/planted-id", &[("Authorization", "Bearer planted-key")], ""),
        request("GET", "/fhir/Patient/planted-id", &[], ""),
        "GET /fhir/planted-id HTTP/1.1\r\nHost: planted-host\r\nX\u{1}planted-header\r\n\r\n"
            .to_owned(),
        "POST /fhir/planted-id HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n"
            .to_owned(),
        read.replace("Host: localhost\r\n", "Host: planted-host\r\nHost: planted-host\r\n"),
    ];
    for bytes in &requests {
        running.send(bytes).await;
    }
    // And when the server fails in each of its ways.
    for script in [
        Script::Hangup,
        Script::Misdirected,
        Script::Nonces(vec!["planted-nonce".to_owned()]),
        Script::Status(500, "planted-answer"),
        Script::Status(404, "planted-answer"),
    ] {
        for bytes in [&plain, &read] {
            stub.script([script.clone()]);
            running.send(bytes).await;
        }
    }
    stub.script([Script::BreakOff]);
    let mut connection = running.connect().await;
    connection.write(read.as_bytes()).await;
    connection.read_head().await;
    connection.read_exact(9).await;
    assert!(connection.is_closed().await);
    drop(stub);
    running.until_readyz(503).await;
    running.send(&plain).await;

    let log = running.stop().await.text();
    assert!(log.lines().count() > 15, "{log}");
    for line in log.lines() {
        serde_json::from_str::<serde_json::Value>(line).expect("each line is JSON");
    }
    let said = SAID.lock().expect("no panic").clone();
    assert!(said.contains("an answer without its request's nonce"), "the capture works");
    for text in [&log, &said] {
        let lower = text.to_lowercase();
        if let Some(at) = lower.find("planted") {
            panic!("{}", &text[at.saturating_sub(200)..(at + 100).min(text.len())]);
        }
        assert!(!text.contains(&key));
        assert!(!text.contains("localhost"));
    }
}
