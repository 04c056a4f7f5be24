//! Sends spans to an OpenTelemetry collector: OTLP over HTTP, in protocol buffers (OpenTelemetry
//! Protocol, "OTLP/HTTP"). When, and what becomes of spans that it does not take, is the binary's.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request};
use http_body_util::Full;

use crate::fetch::{AuthorityUnreadable, FetchError, Fetcher, InvalidIssuerUrl, IssuerUrl};

/// The longest answer that is read, in bytes: it says next to nothing.
const LONGEST_ANSWER: usize = 64 * 1024;

/// Where a collector takes spans: the whole URL, such as `http://127.0.0.1:4318/v1/traces`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectorUrl(IssuerUrl);

/// The text is no URL of a collector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a collector is at an http or https URL without user and fragment")]
pub struct InvalidCollectorUrl(#[from] InvalidIssuerUrl);

impl CollectorUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// [`InvalidCollectorUrl`].
    pub fn new(text: &str) -> Result<Self, InvalidCollectorUrl> {
        Ok(Self(IssuerUrl::read(text, |_| true)?))
    }

    /// The URL as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Whether what is sent there can be read on the way: in plain HTTP to another machine.
    #[must_use]
    pub fn is_readable_on_the_way(&self) -> bool {
        self.0.is_readable_on_the_way()
    }
}

/// Why a collector did not take spans.
#[derive(Debug, thiserror::Error)]
pub enum CollectorError {
    /// It took too long.
    #[error("the collector does not answer within {0:?}")]
    TimedOut(Duration),
    /// It could not be asked, or refused.
    #[error("the collector does not take spans")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A collector.
pub struct Collector {
    fetcher: Fetcher,
    url: CollectorUrl,
    headers: HeaderMap,
    limit: Duration,
}

/// Its headers may hold what it knows us by.
impl fmt::Debug for Collector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Collector({})", self.url.as_str())
    }
}

impl Collector {
    /// The collector at `url`, which is sent `headers` too and may take `limit` for each answer.
    /// Over TLS it shows a certificate by an authority in this file, or else by one of the system.
    ///
    /// # Errors
    /// [`AuthorityUnreadable`].
    pub fn new(
        url: CollectorUrl,
        headers: HeaderMap,
        authority: Option<&Path>,
        limit: Duration,
    ) -> Result<Self, AuthorityUnreadable> {
        Ok(Self { fetcher: Fetcher::new(authority)?, url, headers, limit })
    }

    /// Sends one OTLP request.
    ///
    /// # Errors
    /// [`CollectorError`]: nothing of it may be counted as taken.
    pub async fn send(&self, body: Vec<u8>) -> Result<(), CollectorError> {
        let failed = |error: FetchError| CollectorError::Failed(error.into());
        let request = self.request(body).map_err(failed)?;
        let sent = self.fetcher.send_to(&self.url.0, request, LONGEST_ANSWER);
        let answered = tokio::time::timeout(self.limit, sent).await;
        answered.map_err(|_| CollectorError::TimedOut(self.limit))?.map_err(failed)?;
        Ok(())
    }

    fn request(&self, body: Vec<u8>) -> Result<Request<Full<Bytes>>, FetchError> {
        let host = self.url.0.host_field().ok_or(FetchError::Host)?;
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(self.url.0.target())
            .body(Full::from(body))?;
        let headers = request.headers_mut();
        headers.extend(self.headers.clone());
        headers.insert(HOST, host);
        let form = HeaderValue::from_static(trace::otlp::CONTENT_TYPE);
        headers.insert(CONTENT_TYPE, form.clone());
        headers.insert(ACCEPT, form);
        headers.insert(USER_AGENT, HeaderValue::from_static("hearthgate"));
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256,
    };
    use rustls::ServerConfig;
    use rustls::pki_types::PrivatePkcs8KeyDer;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    /// An authority and what a collector on this machine shows, by it.
    fn authority() -> (String, Arc<ServerConfig>) {
        let key = || KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, key()).expect("an authority");
        let own = key();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        let certificate = params.signed_by(&own, &authority).expect("a certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivatePkcs8KeyDer::from(own.serialize_der()).into(),
            );
        (authority.pem(), Arc::new(config.expect("a key that fits")))
    }

    // GW-051
    #[tokio::test]
    async fn a_collector_is_reached_by_tls_and_by_who_it_should_be_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, pem: &str| -> PathBuf {
            let path = folder.path().join(name);
            std::fs::write(&path, pem).expect("a file");
            path
        };
        let (pem, shown) = authority();
        let (right, wrong) = (write("right", &pem), write("wrong", &authority().0));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let url = CollectorUrl::new(&format!("https://localhost:{port}/v1/traces"));
        let url = url.expect("a URL");
        let headers: HeaderMap = [(http::header::AUTHORIZATION, "Bearer word")]
            .map(|(name, value)| (name, HeaderValue::from_static(value)))
            .into_iter()
            .collect();
        let limit = Duration::from_secs(20);
        let answering = async {
            let acceptor = TlsAcceptor::from(shown);
            let mut heads = Vec::new();
            for status in ["200 OK", "503 Service Unavailable", "-"] {
                let (stream, _) = listener.accept().await.expect("a connection");
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\nspans") {
                    head.push(stream.read_u8().await.expect("a byte"));
                }
                heads.push(String::from_utf8(head).expect("text"));
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.expect("it is read");
                stream.shutdown().await.expect("it ends in order");
            }
            heads
        };
        let sending = async {
            let collector = |authority: &Path| {
                Collector::new(url.clone(), headers.clone(), Some(authority), limit)
            };
            let known = collector(&right).expect("it can be read");
            known.send(b"spans".to_vec()).await.expect("it takes them");
            known.send(b"spans".to_vec()).await.expect_err("it says that it does not");
            let other = collector(&wrong).expect("it can be read");
            other.send(b"spans".to_vec()).await.expect_err("somebody else answers");
            assert!(!format!("{other:?}").contains("word"));
        };
        let (heads, ()) = tokio::join!(answering, sending);
        assert_eq!(heads.len(), 2, "nothing was said to who it was not");
        assert!(heads[0].starts_with("POST /v1/traces HTTP/1.1\r\n"), "{}", heads[0]);
        assert!(heads[0].contains("authorization: Bearer word\r\n"), "{}", heads[0]);
    }

    fn check(text: &str, readable: Option<bool>) {
        let url = CollectorUrl::new(text).ok();
        let found = url.as_ref().map(CollectorUrl::is_readable_on_the_way);
        assert_eq!(found, readable, "{text}");
    }

    #[test]
    fn a_collector_may_be_anywhere_and_it_is_known_who_can_read_along() {
        check("http://127.0.0.1:4318/v1/traces", Some(false));
        check("http://collector:4318/v1/traces", Some(true));
        check("https://collector.example.org/v1/traces", Some(false));
        for bad in ["collector:4318", "grpc://collector:4317", "http://user@collector/", ""] {
            check(bad, None);
        }
    }
}
