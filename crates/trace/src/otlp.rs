//! Spans as OTLP sends them: an `ExportTraceServiceRequest` in protocol buffers (OpenTelemetry
//! Protocol 1.x, opentelemetry/proto/trace/v1/trace.proto).
//!
//! Written by hand: it is six messages, of which nothing is ever read here.

use crate::{Finished, Kind, Value};

/// The type of the body.
pub const CONTENT_TYPE: &str = "application/x-protobuf";

/// The name of what makes the spans.
const SCOPE: &str = "hearthgate";

/// The wire type of a varint, and of bytes with their length before them, and of fixed numbers.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;
const FIXED32: u64 = 5;

/// The flags of a span say whether its parent is remote (trace.proto, `SpanFlags`).
const KNOWS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;
const SAMPLED: u32 = 1;

/// `STATUS_CODE_ERROR`
const ERROR: u64 = 2;

/// One request with these spans, of the process that `resource` describes.
#[must_use]
pub fn request(resource: &[(&str, &str)], spans: &[Finished]) -> Vec<u8> {
    let mut out = Vec::with_capacity(spans.len() * 256 + 256);
    message(&mut out, 1, |out| {
        message(out, 1, |out| {
            for (name, value) in resource {
                attribute(out, 1, name, &Value::Text((*value).to_owned().into()));
            }
        });
        message(out, 2, |out| {
            message(out, 1, |out| {
                bytes(out, 1, SCOPE.as_bytes());
                bytes(out, 2, env!("CARGO_PKG_VERSION").as_bytes());
            });
            for span in spans {
                message(out, 2, |out| put(out, span));
            }
        });
    });
    out
}

fn put(out: &mut Vec<u8>, span: &Finished) {
    bytes(out, 1, &span.trace.0);
    bytes(out, 2, &span.id.0);
    if let Some(parent) = &span.parent {
        bytes(out, 4, &parent.0);
    }
    bytes(out, 5, span.name.as_bytes());
    let kind = match span.kind {
        Kind::Internal => 1,
        Kind::Server => 2,
        Kind::Client => 3,
    };
    number(out, 6, kind);
    fixed64(out, 7, span.start);
    fixed64(out, 8, span.end);
    for (name, value) in &span.attributes {
        attribute(out, 9, name, value);
    }
    if span.failed {
        message(out, 15, |out| number(out, 3, ERROR));
    }
    let remote = if span.parent_is_remote { IS_REMOTE } else { 0 };
    fixed32(out, 16, SAMPLED | KNOWS_REMOTE | remote);
}

/// A `KeyValue`.
fn attribute(out: &mut Vec<u8>, field: u64, name: &str, value: &Value) {
    message(out, field, |out| {
        bytes(out, 1, name.as_bytes());
        message(out, 2, |out| match value {
            Value::Text(text) => bytes(out, 1, text.as_bytes()),
            // As two's complement: what is below zero takes ten bytes.
            Value::Number(value) => number(out, 3, value.cast_unsigned()),
        });
    });
}

fn message(out: &mut Vec<u8>, field: u64, write: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    write(&mut inner);
    bytes(out, field, &inner);
}

fn bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    varint(out, field << 3 | BYTES);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn number(out: &mut Vec<u8>, field: u64, value: u64) {
    varint(out, field << 3 | VARINT);
    varint(out, value);
}

fn fixed64(out: &mut Vec<u8>, field: u64, value: u64) {
    varint(out, field << 3 | FIXED64);
    out.extend_from_slice(&value.to_le_bytes());
}

fn fixed32(out: &mut Vec<u8>, field: u64, value: u32) {
    varint(out, field << 3 | FIXED32);
    out.extend_from_slice(&value.to_le_bytes());
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::common::v1::any_value::Value as Read;
    use prost::Message as _;

    use super::*;
    use crate::testing::{ended, tracer};
    use crate::{Context, Sample};

    // GW-051
    #[test]
    fn opentelemetrys_own_reader_reads_what_is_written() {
        let tracer = tracer(Sample::ALL);
        let from = Context::parse(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        let mut request_span = tracer.begin(Kind::Server, from.as_ref(), true).expect("recorded");
        request_span.rename("GET /fhir/{type}/{id}");
        request_span.set("http.response.status_code", 503_u16);
        request_span.set("http.route", "/fhir/{type}/{id}");
        request_span.set("below.zero", Value::Number(-5));
        request_span.fail();
        drop(request_span.child(Kind::Client, "GET"));
        let started = request_span.context();
        drop(request_span);
        let spans = ended(&tracer);
        let sent = request(&[("service.name", "clinic"), ("service.version", "1")], &spans);

        let read = ExportTraceServiceRequest::decode(sent.as_slice()).expect("it is OTLP");
        let [of] = read.resource_spans.as_slice() else { panic!("{read:?}") };
        let resource = of.resource.as_ref().expect("a resource");
        assert_eq!(resource.attributes[0].key, "service.name");
        let [scope] = of.scope_spans.as_slice() else { panic!("{of:?}") };
        assert_eq!(scope.scope.as_ref().expect("a scope").name, "hearthgate");
        let [client, server] = scope.spans.as_slice() else { panic!("{scope:?}") };
        assert_eq!((client.name.as_str(), client.kind), ("GET", 3));
        assert_eq!(client.parent_span_id, server.span_id);
        assert_eq!(client.flags, 0x101);
        assert_eq!((server.name.as_str(), server.kind), ("GET /fhir/{type}/{id}", 2));
        assert_eq!(server.span_id, started.span.0);
        assert_eq!(server.trace_id, from.expect("read").trace.0);
        assert_eq!(server.parent_span_id, from.expect("read").span.0);
        assert_eq!(server.flags, 0x301);
        assert_eq!(server.status.as_ref().expect("a status").code, 2);
        assert_eq!(client.status, None);
        assert_eq!(server.start_time_unix_nano / 1_000_000_000, 1_700_000_000);
        assert!(server.end_time_unix_nano > server.start_time_unix_nano);
        let value = |key: &str| {
            let mut all = server.attributes.iter();
            let found = all.find(|attribute| attribute.key == key).expect("it is there");
            found.value.clone().and_then(|value| value.value).expect("it has a value")
        };
        assert_eq!(value("http.response.status_code"), Read::IntValue(503));
        assert_eq!(value("http.route"), Read::StringValue("/fhir/{type}/{id}".to_owned()));
        assert_eq!(value("below.zero"), Read::IntValue(-5));
    }
}
