//! One question to an issuer over HTTP/1.1, by TLS where its URL says so: its documents and its
//! introspection. No redirect is followed, no proxy used, no answer longer than it may be read.
//!
//! A connection is opened for each question; questions are rare. Client requests never come here.

use std::fmt;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Body;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long a question may take, name, connection and answer together.
const LIMIT: Duration = Duration::from_secs(5);

/// How long a request of another kind may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where an issuer is asked: `https`, or `http` on this machine.
#[derive(Clone, PartialEq, Eq)]
pub struct IssuerUrl {
    text: String,
    host: String,
    port: u16,
    tls: bool,
    target: String,
}

/// The text is no URL that an issuer is asked at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "an issuer is asked at an https URL without user and fragment, or at http on a loopback address"
)]
pub struct InvalidIssuerUrl;

impl IssuerUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// [`InvalidIssuerUrl`].
    pub fn new(text: &str) -> Result<Self, InvalidIssuerUrl> {
        Self::read(text, is_loopback)
    }

    /// Reads a URL at which others than issuers are asked: in plain HTTP wherever `may_be_plain`
    /// says so of the host.
    pub(crate) fn read(
        text: &str,
        may_be_plain: impl Fn(&str) -> bool,
    ) -> Result<Self, InvalidIssuerUrl> {
        let uri: Uri = text.parse().map_err(|_| InvalidIssuerUrl)?;
        let authority = uri.authority().ok_or(InvalidIssuerUrl)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") if may_be_plain(host) => false,
            _ => return Err(InvalidIssuerUrl),
        };
        if authority.as_str().contains('@') || text.contains('#') || host.is_empty() {
            return Err(InvalidIssuerUrl);
        }
        Ok(Self {
            text: text.to_owned(),
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            tls,
            target: uri.path_and_query().map_or("/", |target| target.as_str()).to_owned(),
        })
    }

    /// The URL as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether what is sent there can be read on the way: in plain HTTP to another machine.
    pub(crate) fn is_readable_on_the_way(&self) -> bool {
        !self.tls && !is_loopback(&self.host)
    }

    /// Its path and query.
    pub(crate) fn target(&self) -> &str {
        &self.target
    }

    /// The value of `Host`.
    pub(crate) fn host_field(&self) -> Option<HeaderValue> {
        let uri: Uri = self.text.parse().ok()?;
        HeaderValue::from_str(uri.authority()?.as_str()).ok()
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

impl fmt::Debug for IssuerUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// Why a question got no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("no answer within {LIMIT:?}")]
    TimedOut,
    #[error("the connection cannot be made")]
    Unreachable(#[source] std::io::Error),
    #[error("the host cannot be named in TLS")]
    Host,
    #[error("the connection failed")]
    Connection(#[from] hyper::Error),
    #[error("the answer is {0}")]
    Status(StatusCode),
    #[error("the answer's body failed or is too long")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the request cannot be written")]
    Request(#[from] http::Error),
}

/// The authorities of an issuer's certificate cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the authority file {} holds no certificate in PEM; name the file that does", .0.display())]
pub struct AuthorityUnreadable(PathBuf);

/// Asks issuers.
#[derive(Clone)]
pub(crate) struct Fetcher {
    authority: Option<Arc<Path>>,
    /// The file of authorities that it was made of by now, and how TLS is spoken by it.
    current: Arc<ArcSwap<(Option<Stamp>, TlsConnector)>>,
}

/// What tells that a file is another, or was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    length: u64,
    changed: (i64, i64),
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    let changed = (metadata.ctime(), metadata.ctime_nsec());
    Some(Stamp { inode: metadata.ino(), length: metadata.len(), changed })
}

/// What is sent beside a question's URL.
pub(crate) struct Form {
    pub(crate) body: String,
    pub(crate) authorization: HeaderValue,
}

impl Fetcher {
    /// With the authorities in this file and no others, or else those of the system.
    pub(crate) fn new(authority: Option<&Path>) -> Result<Self, AuthorityUnreadable> {
        let read = (authority.and_then(stamp), connector(authority)?);
        let current = Arc::new(ArcSwap::from_pointee(read));
        Ok(Self { authority: authority.map(Arc::from), current })
    }

    /// How TLS is spoken, by what the file of authorities holds by now. One that cannot be used
    /// changes nothing.
    async fn tls(&self) -> TlsConnector {
        let Some(authority) = self.authority.clone() else { return self.current.load().1.clone() };
        let before = self.current.load().0;
        let read = tokio::task::spawn_blocking(move || {
            let found = stamp(&authority);
            (found != before && found.is_some()).then(|| (found, connector(Some(&authority))))
        });
        match read.await.ok().flatten() {
            Some((found, Ok(connector))) => self.current.store(Arc::new((found, connector))),
            Some((_, Err(error))) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "the authorities of before are believed on");
            }
            None => {}
        }
        self.current.load().1.clone()
    }

    /// `GET` of a JSON document of at most so many bytes.
    pub(crate) async fn get(&self, url: &IssuerUrl, longest: usize) -> Result<Bytes, FetchError> {
        self.within_limit(url, None, longest).await
    }

    /// `POST` of a form, answered by a JSON document of at most so many bytes.
    pub(crate) async fn post(
        &self,
        url: &IssuerUrl,
        form: Form,
        longest: usize,
    ) -> Result<Bytes, FetchError> {
        self.within_limit(url, Some(form), longest).await
    }

    /// Any request to a URL that may be asked, whatever the answer's status.
    pub(crate) async fn send<B>(
        &self,
        request: Request<B>,
        longest: usize,
    ) -> Result<Response<Bytes>, FetchError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: std::error::Error + Send + Sync,
    {
        let sent = async {
            let url = IssuerUrl::new(&request.uri().to_string()).map_err(|_| FetchError::Host)?;
            let (mut head, body) = request.into_parts();
            head.uri = url.target.parse().map_err(|_| FetchError::Host)?;
            head.headers.insert(header::HOST, url.host_field().ok_or(FetchError::Host)?);
            let request = Request::from_parts(head, body);
            self.exchange_with(&url, request, longest).await
        };
        tokio::time::timeout(PATIENCE, sent).await.unwrap_or(Err(FetchError::TimedOut))
    }

    async fn within_limit(
        &self,
        url: &IssuerUrl,
        form: Option<Form>,
        longest: usize,
    ) -> Result<Bytes, FetchError> {
        let asked = self.ask(url, form, longest);
        tokio::time::timeout(LIMIT, asked).await.unwrap_or(Err(FetchError::TimedOut))
    }

    async fn ask(
        &self,
        url: &IssuerUrl,
        form: Option<Form>,
        longest: usize,
    ) -> Result<Bytes, FetchError> {
        self.send_to(url, question(url, form)?, longest).await
    }

    /// Sends a request there, and reads an answer of at most so many bytes.
    pub(crate) async fn send_to(
        &self,
        url: &IssuerUrl,
        request: Request<Full<Bytes>>,
        longest: usize,
    ) -> Result<Bytes, FetchError> {
        let answer = self.exchange_with(url, request, longest).await?;
        match answer.status() {
            StatusCode::OK => Ok(answer.into_body()),
            status => Err(FetchError::Status(status)),
        }
    }

    async fn exchange_with<B>(
        &self,
        url: &IssuerUrl,
        request: Request<B>,
        longest: usize,
    ) -> Result<Response<Bytes>, FetchError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: std::error::Error + Send + Sync,
    {
        let address = (url.host.as_str(), url.port);
        let stream = TcpStream::connect(address).await.map_err(FetchError::Unreachable)?;
        if !url.tls {
            return exchange(stream, request, longest).await;
        }
        let name = ServerName::try_from(url.host.clone()).map_err(|_| FetchError::Host)?;
        let stream = self.tls().await.connect(name, stream).await;
        exchange(stream.map_err(FetchError::Unreachable)?, request, longest).await
    }
}

/// TLS by the authorities in this file, or else by those of the system.
fn connector(authority: Option<&Path>) -> Result<TlsConnector, AuthorityUnreadable> {
    let mut roots = RootCertStore::empty();
    match authority {
        Some(path) => {
            let unreadable = || AuthorityUnreadable(path.to_owned());
            let found = CertificateDer::pem_file_iter(path).map_err(|_| unreadable())?;
            for certificate in found {
                let certificate = certificate.map_err(|_| unreadable())?;
                roots.add(certificate).map_err(|_| unreadable())?;
            }
            if roots.is_empty() {
                return Err(unreadable());
            }
        }
        // A system without any trusts nobody: each question then says that it failed.
        None => {
            let system = rustls_native_certs::load_native_certs().unwrap_or_default();
            roots.add_parsable_certificates(system);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

fn question(url: &IssuerUrl, form: Option<Form>) -> Result<Request<Full<Bytes>>, FetchError> {
    let host = url.host_field().ok_or(FetchError::Host)?;
    let request = Request::builder()
        .uri(url.target.as_str())
        .header(header::HOST, host)
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, "hearthgate");
    let request = match form {
        None => request.body(Full::default())?,
        Some(form) => request
            .method(Method::POST)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::AUTHORIZATION, form.authorization)
            .body(Full::from(form.body))?,
    };
    Ok(request)
}

async fn exchange<B>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: Request<B>,
    longest: usize,
) -> Result<Response<Bytes>, FetchError>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: std::error::Error + Send + Sync,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let asked = async move {
        let answer = sender.send_request(request).await?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, longest).collect().await;
        Ok(Response::from_parts(head, body.map_err(FetchError::Body)?.to_bytes()))
    };
    tokio::pin!(asked, connection);
    // The connection is driven here, not in a task of its own: it ends with the question.
    tokio::select! {
        answer = &mut asked => answer,
        ended = &mut connection => {
            ended?;
            asked.await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<(&str, u16, &str)>) {
        let read = IssuerUrl::new(text).ok();
        let read = read.as_ref().map(|url| (url.host.as_str(), url.port, url.target.as_str()));
        assert_eq!(read, expected, "{text}");
    }

    #[test]
    fn an_issuer_is_asked_by_tls_or_on_this_machine() {
        check("https://id.example.org/keys?x=1", Some(("id.example.org", 443, "/keys?x=1")));
        check("https://id.example.org:8443", Some(("id.example.org", 8443, "/")));
        check("http://127.0.0.1:8081/keys", Some(("127.0.0.1", 8081, "/keys")));
        check("http://[::1]:8081/keys", Some(("::1", 8081, "/keys")));
        check("http://localhost/keys", Some(("localhost", 80, "/keys")));
        for bad in [
            "http://id.example.org/keys",
            "http://127.0.0.1.example.org/keys",
            "ftp://id.example.org/",
            "https://user:word@id.example.org/",
            "https://id.example.org/#a",
            "/keys",
            "",
        ] {
            check(bad, None);
        }
    }

    #[tokio::test]
    async fn authorities_that_are_replaced_are_believed_from_the_next_question_on() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("ca.pem");
        let write = |text: &str| std::fs::write(&path, text).expect("a file");
        let made =
            || rcgen::generate_simple_self_signed(["ca".to_owned()]).expect("one").cert.pem();
        write(&made());
        let fetcher = Fetcher::new(Some(&path)).expect("authorities");
        let by_now = async || {
            fetcher.tls().await;
            fetcher.current.load_full()
        };
        let first = by_now().await;
        assert!(Arc::ptr_eq(&first, &by_now().await));
        write("no certificate");
        assert!(Arc::ptr_eq(&first, &by_now().await));
        write(&(made() + &made()));
        assert!(!Arc::ptr_eq(&first, &by_now().await));
    }
}
