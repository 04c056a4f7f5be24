//! A client of the gateway, as any app is one.

use bytes::Bytes;
use http::{HeaderMap, Method};
use reqwest::RequestBuilder;
use serde_json::Value;

/// Asks one FHIR base, perhaps with a key.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    key: Option<String>,
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Client {
    /// A client of `base`; without a key it is nobody.
    ///
    /// # Panics
    /// When there is no HTTP client to be had.
    #[must_use]
    pub fn new(base: &str, key: Option<&str>) -> Self {
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .build();
        Self {
            http: http.expect("an HTTP client without TLS needs nothing"),
            base: base.to_owned(),
            key: key.map(str::to_owned),
        }
    }

    /// The FHIR base.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The key.
    ///
    /// # Panics
    /// When it has none.
    #[must_use]
    pub fn key(&self) -> &str {
        self.key.as_deref().expect("this client has a key")
    }

    /// A request for `path` below the base.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    /// A request with a body of FHIR JSON.
    pub fn with_body(&self, method: Method, path: &str, body: impl Into<Bytes>) -> RequestBuilder {
        let request = self.request(method, path);
        request.header(http::header::CONTENT_TYPE, "application/fhir+json").body(body.into())
    }

    /// `GET`
    ///
    /// # Panics
    /// When no answer comes.
    pub async fn get(&self, path: &str) -> Answer {
        sent(self.request(Method::GET, path)).await
    }

    /// `PUT`
    ///
    /// # Panics
    /// When no answer comes.
    pub async fn put(&self, path: &str, body: impl Into<Bytes>) -> Answer {
        sent(self.with_body(Method::PUT, path, body)).await
    }

    /// `POST`
    ///
    /// # Panics
    /// When no answer comes.
    pub async fn post(&self, path: &str, body: impl Into<Bytes>) -> Answer {
        sent(self.with_body(Method::POST, path, body)).await
    }

    /// `DELETE`
    ///
    /// # Panics
    /// When no answer comes.
    pub async fn delete(&self, path: &str) -> Answer {
        sent(self.request(Method::DELETE, path)).await
    }
}

/// The answer to a request.
///
/// # Panics
/// When none comes.
pub async fn sent(request: RequestBuilder) -> Answer {
    try_send(request).await.unwrap_or_else(|why| panic!("no answer came: {why}"))
}

/// The answer to a request, or why none came.
///
/// # Errors
/// What kept it from coming.
pub async fn try_send(request: RequestBuilder) -> Result<Answer, String> {
    let said = |error: reqwest::Error| format!("{error:?}");
    let response = request.send().await.map_err(said)?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = response.bytes().await.map_err(said)?;
    Ok(Answer { status, headers, body })
}

impl Answer {
    /// Checks the status.
    ///
    /// # Panics
    /// When it is another.
    #[track_caller]
    #[must_use = "the answer goes on; drop it where its status was all"]
    pub fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{:?} {}", self.headers, self.start());
        self
    }

    /// Checks that it is an OperationOutcome with this status and issue code.
    ///
    /// # Panics
    /// When it is something else.
    #[track_caller]
    pub fn is_outcome(&self, status: u16, code: &str) {
        assert_eq!(self.status, status, "{:?} {}", self.headers, self.start());
        assert_eq!(self.header("content-type"), Some("application/fhir+json"));
        let outcome = self.json();
        assert_eq!(outcome["resourceType"], "OperationOutcome", "{}", self.start());
        assert_eq!(outcome["issue"][0]["code"], code, "{}", self.start());
    }

    /// The body as text.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("FHIR JSON is UTF-8")
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[track_caller]
    #[must_use]
    pub fn json(&self) -> Value {
        let json = serde_json::from_slice(&self.body);
        json.unwrap_or_else(|error| panic!("{error}: {}", self.start()))
    }

    /// A header that stands once, or `None`.
    ///
    /// # Panics
    /// When it stands twice.
    #[track_caller]
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?;
        assert!(values.next().is_none(), "{name} stands twice: {:?}", self.headers);
        Some(value.to_str().expect("headers are ASCII"))
    }

    /// The `Type/id` in the Location.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    #[must_use]
    pub fn created_at(&self) -> String {
        let location = self.header("location").expect("what was created has a Location");
        instance(location)
    }

    fn start(&self) -> String {
        String::from_utf8_lossy(&self.body[..self.body.len().min(2000)]).into_owned()
    }
}

/// `Type/id` of a URL of a version: `[base/]Type/id/_history/1`.
///
/// # Panics
/// When it is none.
#[track_caller]
#[must_use]
pub fn instance(location: &str) -> String {
    let (url, _) = location.split_once("/_history/").expect("a Location names the version");
    let mut parts = url.rsplit('/');
    let (id, of) = (parts.next(), parts.next());
    format!("{}/{}", of.expect("a type"), id.expect("an id"))
}
