//! The server's own sockets, spoken to as the gateway's side would (docs/contract.md), or as
//! someone would who got past it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use contract::{Interaction, digest, header};
use serde_json::{Value, json};
use tokio::net::UnixStream;

use crate::raw::{RawAnswer, exchange};
use crate::site::Site;

/// The nonce of every request that a test makes.
pub const NONCE: &str = "AAECAwQFBgcICQoLDA0ODw";

/// A request for the server's socket.
#[derive(Debug, Clone)]
pub struct Request {
    method: &'static str,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl Request {
    /// A request without any header of the contract.
    #[must_use]
    pub fn new(method: &'static str, path: &str) -> Self {
        Self { method, path: path.to_owned(), headers: Vec::new(), body: String::new() }
    }

    /// With a body.
    #[must_use]
    pub fn with_body(mut self, body: &str) -> Self {
        self.headers.push(("content-type", "application/fhir+json".to_owned()));
        self.headers.push(("content-length", body.len().to_string()));
        body.clone_into(&mut self.body);
        self
    }

    /// With one more header.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// With the contract's version and a grant of this request that has these members as well.
    #[must_use]
    pub fn granted(self, members: Value) -> Self {
        let grant = self.grant(members);
        self.with(header::CONTRACT, contract::VERSION.to_string()).with(header::GRANT, grant)
    }

    /// A grant of this request with these members as well, as the header's value.
    ///
    /// # Panics
    /// When the request is none that a gateway would pass on.
    #[must_use]
    pub fn grant(&self, members: Value) -> String {
        let (path, query) = match self.path.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (self.path.as_str(), None),
        };
        let inner = path.strip_prefix("/fhir").expect("a path below the base");
        let interaction = Interaction::classify(self.method, inner, query).expect("an interaction");
        let mut grant = json!({
            "tenant": "default",
            "lane": "interactive",
            "budget": 1_000_000,
            "notAfter": "2099-12-31T23:59:59.000000Z",
            "interaction": interaction.code(),
            "digest": digest(self.method, path, query).to_header(),
            "nonce": NONCE,
        });
        let members = members.as_object().expect("members of a grant").clone();
        grant.as_object_mut().expect("an object").extend(members);
        URL_SAFE_NO_PAD.encode(grant.to_string())
    }

    /// Its bytes, with the wish that the connection end after it.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let first = format!("{} {} HTTP/1.1\r\nhost: server\r\n", self.method, self.path);
        self.bytes_behind(&first)
    }

    /// The same behind another beginning.
    #[must_use]
    pub fn bytes_behind(&self, beginning: &str) -> Vec<u8> {
        let mut text = beginning.to_owned();
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("connection: close\r\n\r\n");
        text.push_str(&self.body);
        text.into_bytes()
    }

    /// Writes it to the socket that carries clients' requests.
    ///
    /// # Panics
    /// When nobody answers.
    pub async fn send(&self, site: &Site) -> RawAnswer {
        exchange(connect(site, "server.sock").await, &self.bytes()).await
    }
}

/// Members of a grant that permits everything.
#[must_use]
pub fn everything() -> Value {
    json!({"client": "owner", "rules": [{"types": ["*"], "actions": ["*"], "within": "all"}]})
}

/// The channel's secret, fetched as the gateway does.
///
/// # Panics
/// When it is not given.
pub async fn channel_secret(site: &Site) -> String {
    let request = b"GET /channel HTTP/1.1\r\nhost: server\r\nconnection: close\r\n\r\n";
    let answer = exchange(connect(site, "channel.sock").await, request).await;
    assert_eq!(answer.status(), Some(200), "{answer:?}");
    let document: Value = serde_json::from_str(&answer.text()).expect("the channel document");
    document["secret"].as_str().expect("a secret").to_owned()
}

async fn connect(site: &Site, name: &str) -> UnixStream {
    let path = site.data().join("run").join(name);
    UnixStream::connect(&path).await.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
