//! An OpenTelemetry collector, as far as a test needs one: it reads OTLP over HTTP with
//! OpenTelemetry's own reader, and keeps what came.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span as Sent;
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::waiting::{SOON, until};

/// A span that came.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub(crate) service: String,
    pub(crate) trace: String,
    pub(crate) id: String,
    /// Empty for the first of a trace.
    pub(crate) parent: String,
    pub(crate) name: String,
    /// 1 for work within a process, 2 for answering, 3 for asking.
    pub(crate) kind: i32,
    pub(crate) failed: bool,
    pub(crate) attributes: BTreeMap<String, String>,
}

/// A request's head and its body.
type Request = (String, Vec<u8>);

/// The collector. It ends with its owner.
pub(crate) struct Collector {
    pub(crate) url: String,
    pub(crate) address: SocketAddr,
    came: Arc<Mutex<Vec<Request>>>,
    task: JoinSet<()>,
}

impl Collector {
    pub(crate) async fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap()).await
    }

    /// One at this address, as after one there has stopped.
    pub(crate) async fn start_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let url = format!("http://{address}/v1/traces");
        let came = Arc::<Mutex<Vec<Request>>>::default();
        let mut task = JoinSet::new();
        let keeps = Arc::clone(&came);
        task.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                if let Some(request) = take(stream).await {
                    keeps.lock().unwrap().push(request);
                }
            }
        });
        Self { url, address, came, task }
    }

    /// Takes nothing more: whoever comes is refused. Says how many spans came.
    pub(crate) async fn stop(mut self) -> usize {
        self.task.shutdown().await;
        self.spans().len()
    }

    /// The configuration that sends spans of all requests here.
    pub(crate) fn configuration(&self) -> String {
        format!("[traces]\nendpoint = \"{}\"\nsample = 1\n", self.url)
    }

    /// All bodies that came, as text.
    pub(crate) fn bodies(&self) -> String {
        let came = self.came.lock().unwrap();
        came.iter().map(|(_, body)| String::from_utf8_lossy(body).into_owned()).collect()
    }

    /// All heads that came.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.came.lock().unwrap().iter().map(|(head, _)| head.clone()).collect()
    }

    /// The spans that came.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let came = self.came.lock().unwrap();
        let requests = came.iter().map(|(_, body)| {
            ExportTraceServiceRequest::decode(body.as_slice()).expect("what comes is OTLP")
        });
        let of = requests.flat_map(|request| request.resource_spans);
        of.flat_map(|of| {
            let resource = of.resource.unwrap_or_default();
            let service = attributes(&resource.attributes).remove("service.name").unwrap();
            let spans = of.scope_spans.into_iter().flat_map(|scope| scope.spans);
            spans.map(move |span| Span::of(&service, span)).collect::<Vec<_>>()
        })
        .collect()
    }

    /// The spans of this trace, once `is_whole` says that all are there.
    pub(crate) async fn trace(&self, id: &str, is_whole: impl Fn(&[Span]) -> bool) -> Vec<Span> {
        until("the trace is whole", SOON, async || {
            let mut spans = self.spans();
            spans.retain(|span| span.trace == id);
            if is_whole(&spans) { Ok(spans) } else { Err(format!("{spans:#?}")) }
        })
        .await
    }
}

impl Span {
    fn of(service: &str, span: Sent) -> Self {
        assert!(span.end_time_unix_nano >= span.start_time_unix_nano, "{span:?}");
        Self {
            service: service.to_owned(),
            trace: hex(&span.trace_id),
            id: hex(&span.span_id),
            parent: hex(&span.parent_span_id),
            failed: span.status.as_ref().is_some_and(|status| status.code == 2),
            attributes: attributes(&span.attributes),
            kind: span.kind,
            name: span.name,
        }
    }
}

fn attributes(of: &[opentelemetry_proto::tonic::common::v1::KeyValue]) -> BTreeMap<String, String> {
    let text = |value: Option<Value>| match value {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => panic!("{other:?}"),
    };
    of.iter()
        .map(|of| (of.key.clone(), text(of.value.clone().and_then(|value| value.value))))
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One request, answered.
async fn take(mut stream: TcpStream) -> Option<Request> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let small = head.to_ascii_lowercase();
    let length = small.split("content-length: ").nth(1)?.split("\r\n").next()?.parse().ok()?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.ok()?;
    Some((head, body))
}
