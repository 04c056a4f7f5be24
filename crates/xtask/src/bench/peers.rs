//! The peers: a bare handler that answers, one that writes to a raw log, a server that only
//! speaks the contract's channel, and a bare proxy.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use contract::{ChannelDocument, ChannelSecret, Grant, Versions, header};
use hearthgate::doors::SystemIds;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use pingora::apps::HttpServerOptions;
use pingora::listeners::ListenerConfig;
use pingora::listeners::tls::TlsSettings;
use pingora::protocols::l4::stream::L4BufferSettings;
use pingora::proxy::{ProxyHttp, Session, http_proxy_service};
use pingora::server::Server;
use pingora::server::configuration::ServerConf;
use pingora::upstreams::peer::HttpPeer;
use tokio::net::UnixListener;

use super::raw_log::RawLog;
use super::{Failure, child, product};

/// Headers of an answer of the server's, beside its length and date.
const HEADERS: [(&str, &str); 7] = [
    ("content-type", "application/fhir+json;charset=utf-8"),
    ("cache-control", "private, no-cache"),
    ("vary", "Accept, Accept-Language, Prefer, Authorization"),
    ("etag", "W/\"1\""),
    ("last-modified", "Mon, 23 Nov 2026 19:00:00 GMT"),
    ("hearthgate-nonce", "AAAAAAAAAAAAAAAAAAAAAA"),
    ("hearthgate-cost", "rows=0;micros=100"),
];

/// Answers the bytes of a file to everything.
pub(crate) async fn bare_reader(socket: &Path, answer: &Path) -> Result<(), Failure> {
    let answer = Bytes::from(std::fs::read(answer)?);
    let router = Router::new().fallback(bare_answer).with_state(answer);
    serve(socket, router).await
}

async fn bare_answer(State(answer): State<Bytes>) -> Response {
    let mut response = Response::new(Body::from(answer));
    dress(response.headers_mut());
    response
}

fn dress(headers: &mut HeaderMap) {
    for (name, value) in HEADERS {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
}

/// Writes every body to a raw log and answers 201.
pub(crate) async fn bare_writer(socket: &Path, log: &Path) -> Result<(), Failure> {
    let log = Arc::new(RawLog::open(log)?);
    let router = Router::new().fallback(bare_write).with_state(log);
    serve(socket, router).await
}

async fn bare_write(State(log): State<Arc<RawLog>>, body: Bytes) -> Response {
    let written = log.append(body).await;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = match written {
        Ok(()) => StatusCode::CREATED,
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    dress(response.headers_mut());
    response
}

async fn serve(socket: &Path, router: Router) -> Result<(), Failure> {
    let listener = UnixListener::bind(socket)?;
    child::ready("")?;
    tokio::select! {
        served = axum::serve(listener, router) => Ok(served?),
        () = child::end() => Ok(()),
    }
}

struct Stub {
    answer: Bytes,
    channel: Vec<u8>,
}

/// Speaks the contract's channel, and answers the bytes of a file to everything, with the nonce
/// of the request's grant where it has one.
pub(crate) async fn stub(directory: &Path, answer: &Path) -> Result<(), Failure> {
    let secret = ChannelSecret::generate(&SystemIds::open()?);
    let document = ChannelDocument { secret, versions: Versions::HERE };
    let stub = Arc::new(Stub {
        answer: Bytes::from(std::fs::read(answer)?),
        channel: serde_json::to_vec(&document)?,
    });
    let channel = Router::new()
        .route("/channel", get(|State(stub): State<Arc<Stub>>| async move { stub.channel.clone() }))
        .route("/ready", get(|| async { "{}" }))
        .with_state(Arc::clone(&stub));
    let channel_listener = UnixListener::bind(product::channel_socket(directory))?;
    let requests = Router::new().fallback(stub_answer).with_state(stub);
    let socket = product::server_socket(directory);
    tokio::select! {
        served = axum::serve(channel_listener, channel) => Ok(served?),
        served = serve(&socket, requests) => served,
    }
}

async fn stub_answer(State(stub): State<Arc<Stub>>, headers: HeaderMap) -> Response {
    let mut response = Response::new(Body::from(stub.answer.clone()));
    dress(response.headers_mut());
    let grant =
        headers.get(header::GRANT).and_then(|grant| Grant::decode(grant.to_str().ok()?).ok());
    let nonce = grant.and_then(|grant| HeaderValue::try_from(grant.nonce.to_string()).ok());
    if let Some(nonce) = nonce {
        response.headers_mut().insert(HeaderName::from_static(header::NONCE), nonce);
    }
    response
}

/// A proxy that does nothing but pass on.
struct BareProxy {
    peer: HttpPeer,
}

#[async_trait]
impl ProxyHttp for BareProxy {
    type CTX = ();

    fn new_ctx(&self) -> Self::CTX {}

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        _context: &mut Self::CTX,
    ) -> pingora::Result<Box<HttpPeer>> {
        Ok(Box::new(self.peer.clone()))
    }
}

/// Starts a bare proxy before a socket; says where it listens. It ends with the process.
pub(crate) fn start_bare_proxy(upstream: &Path) -> Result<SocketAddr, Failure> {
    let upstream = upstream.to_str().ok_or("the socket's path is not text")?;
    start_proxy(HttpPeer::new_uds(upstream, false, String::new())?, None)
}

/// The same before an upstream over TCP, in TLS to clients where a directory with `certificate.pem`
/// and `key.pem` is named.
pub(crate) fn start_bare_tcp_proxy(
    upstream: SocketAddr,
    certificate: Option<&Path>,
) -> Result<SocketAddr, Failure> {
    start_proxy(HttpPeer::new(upstream, false, String::new()), certificate)
}

/// With pingora's own accept loop and the buffers that were found best for it.
fn start_proxy(peer: HttpPeer, certificate: Option<&Path>) -> Result<SocketAddr, Failure> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    // pingora does not tell which port it got: this one was free a moment ago.
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let conf = ServerConf { threads, ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    let mut service = http_proxy_service(&server.configuration, BareProxy { peer });
    if let Some(logic) = service.app_logic_mut() {
        logic.server_options = Some(HttpServerOptions::default());
    }
    let buffers = L4BufferSettings::new(8 * 1024, 1460);
    let mut listener = ListenerConfig::tcp(address.to_string()).l4_buffer(buffers);
    if let Some(directory) = certificate {
        let file = |name: &str| directory.join(name).display().to_string();
        let settings = TlsSettings::intermediate(&file("certificate.pem"), &file("key.pem"))?;
        listener = listener.tls(settings);
    }
    service.add_listener(listener);
    server.add_service(service);
    std::thread::Builder::new()
        .name("bare-proxy".to_owned())
        .spawn(move || server.run(pingora::server::RunArgs::default()))?;
    for _ in 0..500 {
        if std::net::TcpStream::connect(address).is_ok() {
            return Ok(address);
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    Err("the bare proxy does not listen".into())
}
