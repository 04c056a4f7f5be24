//! One request over the socket and its answer, with what every answer must be checked on the way.

use std::path::Path;

use bytes::Bytes;
use contract::{Grant, GrantFields, Interaction, Nonce, digest, header};
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Access, Answer, PATIENCE, Site};

/// A request to be sent.
pub(crate) struct Ask<'a> {
    site: &'a Site,
    method: &'a str,
    target: &'a str,
    access: Access,
    headers: Vec<(String, String)>,
    body: Bytes,
}

/// The nonce of every request; the answer must return it.
const NONCE: &str = "AAECAwQFBgcICQoLDA0ODw";

impl<'a> Ask<'a> {
    pub(crate) fn new(site: &'a Site, method: &'a str, target: &'a str) -> Self {
        Self {
            site,
            method,
            target,
            access: Access::owner(),
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    pub(crate) fn by(mut self, access: &Access) -> Self {
        self.access = access.clone();
        self
    }

    pub(crate) fn header(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    /// A body of FHIR JSON.
    pub(crate) fn body(self, body: impl ToString) -> Self {
        self.bytes("application/fhir+json", body.to_string())
    }

    /// Any body.
    pub(crate) fn bytes(mut self, media_type: &str, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        if media_type.is_empty() {
            return self;
        }
        self.header("content-type", media_type)
    }

    fn path_and_query(&self) -> (String, Option<&str>) {
        let (path, query) = match self.target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (self.target, None),
        };
        let slash = if path.is_empty() || path.starts_with('/') { "" } else { "/" };
        (format!("{slash}{path}"), query)
    }

    /// The grant as the gateway's side makes it for this request.
    pub(crate) fn grant(&self) -> GrantFields {
        let (inner, query) = self.path_and_query();
        let interaction = Interaction::classify(self.method, &inner, query).expect("FHIR");
        let request = GrantFields::of_request(
            self.access.tenant.parse().expect("a tenant's name"),
            &interaction,
            digest(self.method, &format!("/fhir{inner}"), query),
            NONCE.parse::<Nonce>().expect("a nonce"),
            contract::Clock::now(&*self.site.clock),
        );
        self.access.fields(request)
    }

    /// The head as bytes, vouched for by `grant`, with `lines` added.
    pub(crate) fn head(&self, grant: &str, lines: &str) -> String {
        let (inner, query) = self.path_and_query();
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        format!(
            "{} /fhir{inner}{query} HTTP/1.1\r\nhost: h\r\n{}: 1\r\n{}: {}\r\n{}: {grant}\r\n\
             {lines}\r\n",
            self.method,
            header::CONTRACT,
            header::CHANNEL,
            self.site.secret,
            header::GRANT,
        )
    }

    /// Sends it and checks what every answer must be.
    pub(crate) async fn send(self) -> Answer {
        let (inner, query) = self.path_and_query();
        let uri = match query {
            Some(query) => format!("/fhir{inner}?{query}"),
            None => format!("/fhir{inner}"),
        };
        let grant = Grant::new(self.grant()).expect("a grant");
        let mut request = Request::builder()
            .method(self.method)
            .uri(uri)
            .header("host", "evil.example")
            .header(header::CONTRACT, contract::VERSION.to_string())
            .header(header::CHANNEL, &self.site.secret)
            .header(header::GRANT, grant.encode().expect("a short grant"));
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(self.body)).expect("a request");
        let method = self.method.to_owned();
        let answer = timeout(PATIENCE, send(&self.site.socket, request));
        let answer = answer.await.expect("an answer in time");
        check(&method, &answer);
        answer
    }
}

async fn send(socket: &Path, request: Request<Full<Bytes>>) -> Answer {
    let stream = UnixStream::connect(socket).await.expect("a connection");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
    let mut driving = JoinSet::new();
    driving.spawn(connection);
    let answer = sender.send_request(request).await.expect("an answer");
    let (head, body) = answer.into_parts();
    let body = body.collect().await.expect("a whole body").to_bytes();
    Answer::new(head.status, head.headers, body)
}

/// What holds of every answer (HTTP-005, HTTP-202): the nonce comes back, and a refusal has an
/// OperationOutcome with severity, code and text.
#[track_caller]
fn check(method: &str, answer: &Answer) {
    assert_eq!(answer.header(header::NONCE), Some(NONCE), "{answer:?}");
    let cost = answer.header(header::COST).and_then(contract::Cost::from_header);
    assert!(cost.is_some(), "{answer:?}");
    assert!(answer.header("date").is_some(), "{answer:?}");
    if answer.status < 400 || method == "HEAD" {
        return;
    }
    let media_type = answer.header("content-type").unwrap_or_default();
    let outcome = answer.json();
    assert_eq!(media_type.contains("xml"), answer.body.starts_with(b"<"), "{answer:?}");
    assert_eq!(outcome["resourceType"], "OperationOutcome", "{answer:?}");
    check_issues(&outcome);
}

/// Every issue of an OperationOutcome has what R4 asks.
#[track_caller]
pub(crate) fn check_issues(outcome: &serde_json::Value) {
    let issues = outcome["issue"].as_array().expect("issues");
    assert!(!issues.is_empty(), "{outcome}");
    for issue in issues {
        assert!(
            ["fatal", "error", "warning", "information"]
                .contains(&issue["severity"].as_str().unwrap_or_default()),
            "{outcome}"
        );
        assert!(CODES.contains(&issue["code"].as_str().unwrap_or_default()), "{outcome}");
        assert!(!issue["diagnostics"].as_str().unwrap_or_default().is_empty(), "{outcome}");
    }
}

/// The codes of R4's value set issue-type.
const CODES: [&str; 31] = [
    "invalid",
    "structure",
    "required",
    "value",
    "invariant",
    "security",
    "login",
    "unknown",
    "expired",
    "forbidden",
    "suppressed",
    "processing",
    "not-supported",
    "duplicate",
    "multiple-matches",
    "not-found",
    "deleted",
    "too-long",
    "code-invalid",
    "extension",
    "too-costly",
    "business-rule",
    "conflict",
    "transient",
    "lock-error",
    "no-store",
    "exception",
    "timeout",
    "incomplete",
    "throttled",
    "informational",
];

/// Writes bytes and reads until the server closes the connection.
pub(crate) async fn raw(socket: &Path, request: &[u8]) -> String {
    let talk = async {
        let mut stream = UnixStream::connect(socket).await.expect("a connection");
        stream.write_all(request).await.expect("written");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("read to the end");
        String::from_utf8(answer).expect("UTF-8")
    };
    match timeout(PATIENCE, talk).await {
        Ok(answer) => answer,
        Err(_) => {
            panic!("the server neither answered nor closed: {}", String::from_utf8_lossy(request))
        }
    }
}
