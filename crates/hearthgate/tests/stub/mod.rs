//! A server that answers as a test tells it to, and remembers what it was sent.

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// One request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) line: String,
    pub(crate) authorization: Option<String>,
    pub(crate) content_type: Option<String>,
    pub(crate) body: String,
}

/// What to answer.
pub(crate) enum Answer {
    /// Status, `Retry-After`, body.
    With(u16, Option<&'static str>, String),
    /// Nothing: the connection ends after the request was read.
    BreakOff,
}

pub(crate) type Script = Arc<dyn Fn(usize, &Sent) -> Answer + Send + Sync>;

pub(crate) struct Stub {
    pub(crate) url: String,
    sent: Arc<Mutex<Vec<Sent>>>,
    _tasks: JoinSet<()>,
    _runtime: tokio::runtime::Runtime,
}

impl Stub {
    /// A server on a port of its own; `script` is given the number of the request, from 0. It may
    /// block: each connection has a thread to wait in.
    pub(crate) fn start(script: Script) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(8)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}/fhir", listener.local_addr().unwrap());
        let sent = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        tasks.spawn_on(accept(listener, script, sent.clone()), runtime.handle());
        Self { url, sent, _tasks: tasks, _runtime: runtime }
    }

    pub(crate) fn sent(&self) -> Vec<Sent> {
        self.sent.lock().unwrap().clone()
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.sent().into_iter().map(|sent| sent.line).collect()
    }
}

async fn accept(listener: TcpListener, script: Script, sent: Arc<Mutex<Vec<Sent>>>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (script, sent) = (script.clone(), sent.clone());
        connections.spawn(async move {
            let service = service_fn(move |request| answer(request, script.clone(), sent.clone()));
            let io = TokioIo::new(stream);
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    script: Script,
    all: Arc<Mutex<Vec<Sent>>>,
) -> Result<Response<Full<Bytes>>, io::Error> {
    let header = |name: &str| {
        let value = request.headers().get(name)?;
        Some(value.to_str().unwrap().to_owned())
    };
    let line = format!("{} {}", request.method(), request.uri());
    let (authorization, content_type) = (header("authorization"), header("content-type"));
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let sent =
        Sent { line, authorization, content_type, body: String::from_utf8(body.to_vec()).unwrap() };
    let number = {
        let mut all = all.lock().unwrap();
        all.push(sent.clone());
        all.len() - 1
    };
    let answer = tokio::task::spawn_blocking(move || script(number, &sent)).await.unwrap();
    match answer {
        Answer::BreakOff => Err(io::Error::other("broken off")),
        Answer::With(status, retry_after, body) => {
            let mut response = Response::builder().status(status);
            if let Some(retry_after) = retry_after {
                response = response.header("retry-after", retry_after);
            }
            let response = response.body(Full::new(Bytes::from(body)));
            Ok::<_, Infallible>(response.unwrap()).map_err(|never| match never {})
        }
    }
}

/// The answer to a transaction: `status` for each of `entries`.
pub(crate) fn answered(statuses: &[&str]) -> Answer {
    let entries: Vec<String> = statuses
        .iter()
        .map(|status| format!("{{\"response\":{{\"status\":\"{status}\"}}}}"))
        .collect();
    let body = format!(
        "{{\"resourceType\":\"Bundle\",\"type\":\"transaction-response\",\"entry\":[{}]}}",
        entries.join(",")
    );
    Answer::With(200, None, body)
}

/// An OperationOutcome with one error.
pub(crate) fn outcome(status: u16, text: &str) -> Answer {
    let body = serde_json::json!({
        "resourceType": "OperationOutcome",
        "issue": [{ "severity": "error", "code": "invalid", "diagnostics": text }]
    });
    Answer::With(status, None, body.to_string())
}
