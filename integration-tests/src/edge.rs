//! A gateway alone at its edge: HTTPS on a socket that is handed to it, callers by tokens of an
//! issuer, and two endpoints of others behind it.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use contract::Clock as _;
use hearthgate::doors::SystemClock;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::answering::Answering;
use crate::binary::hearthgate;
use crate::process::{Process, Signal};
use crate::readers::Ask;
use crate::waiting::{SOON, until, within};

/// Whom the certificates are for.
pub const NAME: &str = "localhost";
/// What the endpoints are asked for.
pub const READ: &str = "/pair/read";
/// What the program is called, in the place's own folder.
const PROGRAM: &str = "hearthgate";
/// What tokens are for.
const AUDIENCE: &str = "https://ehr.example.org/fhir";
/// How long the token is good, in microseconds: longer than whoever soaks waits.
const GOOD: i64 = 7 * 24 * 3_600_000_000;
/// All clients have one address, which may have more connections than by default.
const CONNECTIONS: u32 = 20_000;
/// Requests of one connection of a client.
const REQUESTS: u32 = 20;
/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// The place. What runs ends with it.
pub struct Edge {
    folder: TempDir,
    socket: TcpListener,
    process: Process,
    starts: u32,
    /// What the gateway passes requests on to.
    pub endpoints: [Answering; 2],
    /// What shows the keys that tokens are signed with.
    pub issuer: Answering,
    authority: CertifiedIssuer<'static, KeyPair>,
    token: String,
}

impl Edge {
    /// A new one that answers.
    ///
    /// # Panics
    /// When it does not come to that.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().expect("the system gives a folder");
        let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let endpoints = [(); 2].map(|()| Answering::start("text/plain", "read"));
        let [one, two] = endpoints;
        let endpoints = [one.await, two.await];
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
        let key = Ed25519KeyPair::from_pkcs8(document.as_ref()).expect("a key");
        let x = URL_SAFE_NO_PAD.encode(key.public_key());
        let shown = json!({"kty": "OKP", "crv": "Ed25519", "kid": "first", "x": x, "use": "sig"});
        let shown = json!({"keys": [shown]}).to_string();
        let issuer = Answering::start("application/json", &shown).await;
        let token = token(&key, &url(&issuer));
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let own = KeyPair::generate().expect("a key");
        let authority = CertifiedIssuer::self_signed(params, own).expect("an authority");
        let _ = certify(&folder, &authority);
        std::fs::write(folder.path().join("edge.toml"), configuration(&issuer, &endpoints))
            .expect("our own folder");
        install(&folder);
        let process = launch(&folder, &socket, 0);
        let edge = Self { folder, socket, process, starts: 1, endpoints, issuer, authority, token };
        edge.answers().await;
        edge
    }

    /// The gateway.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Where clients connect, as the beginning of a URL.
    #[must_use]
    pub fn base(&self) -> String {
        format!("https://{}", self.address())
    }

    /// A client of the issuer's.
    #[must_use]
    pub fn reader(&self) -> Secured {
        let head = format!(
            "GET {READ} HTTP/1.1\r\nhost: {NAME}\r\nauthorization: {}\r\n\r\n",
            self.authorization()
        );
        let connector = self.connector(b"http/1.1");
        Secured::new(connector, self.address(), head)
    }

    /// What the header of that name says of that client.
    #[must_use]
    pub fn authorization(&self) -> String {
        format!("Bearer {}", self.token)
    }

    /// A connection in HTTP/2.
    ///
    /// # Panics
    /// When there is none to be had.
    pub async fn http2(&self) -> TlsStream<TcpStream> {
        let connector = self.connector(b"h2");
        let connecting = connect(&connector, self.address());
        let stream = within("a handshake", SOON, connecting).await.expect("a handshake");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        stream
    }

    /// Puts another certificate in the place of the one of before, and waits until it is shown.
    ///
    /// # Panics
    /// When it never is.
    pub async fn change_certificate(&self) {
        let new = certify(&self.folder, &self.authority);
        let connector = self.connector(b"http/1.1");
        until("the new certificate is shown", SOON, async || {
            let stream = connect(&connector, self.address()).await?;
            let shown = stream.get_ref().1.peer_certificates().and_then(|all| all.first());
            (shown == Some(&new)).then_some(()).ok_or_else(|| "the one of before".to_owned())
        })
        .await;
    }

    /// Puts another program in the place of the one that runs, as a package does it, ends that in
    /// order, and starts the other on the same socket.
    ///
    /// # Panics
    /// When the one does not end so, or the other is not the new one, or does not answer.
    pub async fn upgrade(&mut self) {
        install(&self.folder);
        let installed = inode(&self.folder.path().join(PROGRAM));
        assert_ne!(running(&self.process), installed, "the program was not replaced");
        self.process.signal(Signal::Terminate);
        let status = self.process.ended().await;
        assert!(status.success(), "{status}: {}", self.process.stderr());
        self.process = launch(&self.folder, &self.socket, self.starts);
        self.starts += 1;
        self.answers().await;
        assert_eq!(running(&self.process), installed, "what runs is another program");
    }

    /// Waits until a client is answered.
    async fn answers(&self) {
        let mut reader = self.reader();
        until("the gateway answers", SOON, async || match reader.ask().await {
            Ok(200) => Ok(()),
            other => Err(format!("{other:?}; {}", self.process.stderr())),
        })
        .await;
    }

    fn address(&self) -> SocketAddr {
        self.socket.local_addr().expect("a bound listener has an address")
    }

    fn connector(&self, protocol: &[u8]) -> TlsConnector {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.authority.der().clone()).expect("an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has them")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        TlsConnector::from(Arc::new(config))
    }
}

fn url(issuer: &Answering) -> String {
    format!("http://{}", issuer.address())
}

/// A token of the client `app` that may read.
fn token(key: &Ed25519KeyPair, issuer: &str) -> String {
    let now = SystemClock::start().now().as_micros();
    let (from, to) = (now / 1_000_000, (now + GOOD) / 1_000_000);
    let header = json!({"alg": "EdDSA", "kid": "first", "typ": "at+jwt"});
    let claims = json!({
        "iss": issuer, "aud": AUDIENCE, "exp": to, "iat": from, "azp": "app", "sub": "u-1",
        "jti": "t-1", "scope": "user/*.rs",
    });
    let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    let signed = format!("{header}.{claims}");
    let signature = URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

/// Writes a new certificate and its key where the gateway has them.
fn certify(
    folder: &TempDir,
    authority: &CertifiedIssuer<'static, KeyPair>,
) -> CertificateDer<'static> {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec![NAME.to_owned()]).expect("a name");
    let certificate = params.signed_by(&key, authority).expect("a certificate");
    for (name, text) in [("own.pem", certificate.pem()), ("own.key", key.serialize_pem())] {
        // As whoever renews certificates does it: never half a file.
        let path = folder.path().join(name);
        let beside = path.with_extension("new");
        std::fs::write(&beside, text).expect("our own folder");
        std::fs::rename(&beside, &path).expect("our own folder");
    }
    certificate.der().clone()
}

fn configuration(issuer: &Answering, endpoints: &[Answering; 2]) -> String {
    let [one, two] = endpoints.each_ref().map(Answering::address);
    let issuer = url(issuer);
    format!(
        "[gateway]\nserver = false\nconnections_per_address = {CONNECTIONS}\n\
         [[gateway.tls.certificates]]\ncertificate = \"own.pem\"\nkey = \"own.key\"\n\
         [gateway.issuers.hospital]\nissuer = \"{issuer}\"\naudience = \"{AUDIENCE}\"\n\
         jwks_url = \"{issuer}/keys\"\nalgorithms = [\"EdDSA\"]\nrefresh_seconds = 1\n\
         fetch_seconds = 1\n\
         [gateway.issuers.hospital.clients.app]\nrole = \"reader\"\n\
         [[gateway.routes]]\nname = \"pair\"\npath = \"/pair\"\nupstream = \"pair\"\n\
         content = \"other\"\n\
         [gateway.upstreams.pair]\nenforces = \"none\"\n\
         endpoints = [{{ address = \"{one}\" }}, {{ address = \"{two}\" }}]\n"
    )
}

/// Puts a new copy of the program where it is started from, never half of it.
fn install(folder: &TempDir) {
    let path = folder.path().join(PROGRAM);
    let beside = path.with_extension("new");
    let _ = std::fs::copy(hearthgate(), &beside).expect("our own folder");
    std::fs::rename(&beside, &path).expect("our own folder");
}

/// Which file a process runs, also where another has its name since.
fn running(process: &Process) -> u64 {
    inode(Path::new(&format!("/proc/{}/exe", process.id())))
}

fn inode(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(path).expect("a file that is there").ino()
}

/// Starts the gateway on the socket, as systemd does.
fn launch(folder: &TempDir, socket: &TcpListener, number: u32) -> Process {
    let script = r#"LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@" 3<&0 </dev/null"#;
    let mut command = Command::new("sh");
    command.current_dir(folder.path()).args(["-c", script]).arg(folder.path().join(PROGRAM));
    command.args(["gateway", "--config", "edge.toml", "--data", "data"]);
    command.args(["--admin", "127.0.0.1:0", "--owner-key-file", "owner.key"]);
    let socket = socket.try_clone().expect("the system gives another descriptor");
    let socket = Stdio::from(OwnedFd::from(socket));
    Process::start_on(socket, command, folder.path(), &format!("{number}-gateway"))
}

pub(crate) async fn connect(
    connector: &TlsConnector,
    address: SocketAddr,
) -> Result<TlsStream<TcpStream>, String> {
    let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    let name = ServerName::try_from(NAME).expect("a name");
    connector.connect(name, stream).await.map_err(|error| format!("{error:?}"))
}

/// A client in TLS that opens another connection every so many requests.
pub struct Secured {
    connector: TlsConnector,
    address: SocketAddr,
    head: String,
    stream: Option<TlsStream<TcpStream>>,
    asked: u32,
}

impl Ask for Secured {
    async fn ask(&mut self) -> Result<u16, String> {
        if self.asked.is_multiple_of(REQUESTS) {
            self.stream = None;
        }
        self.asked += 1;
        let asking = self.ask_for_long();
        tokio::time::timeout(PATIENCE, asking).await.map_err(|_| "no answer came".to_owned())?
    }
}

impl Secured {
    /// One that asks this at this address.
    pub(crate) fn new(connector: TlsConnector, address: SocketAddr, head: String) -> Self {
        Self { connector, address, head, stream: None, asked: 0 }
    }

    async fn ask_for_long(&mut self) -> Result<u16, String> {
        if let Some(stream) = self.stream.take() {
            match self.exchange(stream).await {
                // The other side may have ended it while nothing was asked. A read is then asked
                // for on another (RFC 9112, 9.3.1).
                Err(Unanswered { began: false, .. }) => {}
                answered => return answered.map_err(|unanswered| unanswered.why),
            }
        }
        let stream = connect(&self.connector, self.address).await?;
        self.exchange(stream).await.map_err(|unanswered| unanswered.why)
    }

    /// Asks on this connection, which stays where it may.
    async fn exchange(&mut self, mut stream: TlsStream<TcpStream>) -> Result<u16, Unanswered> {
        let mut read = Vec::new();
        let unanswered = |began: bool, why: &str| Unanswered { began, why: why.to_owned() };
        if let Err(error) = stream.write_all(self.head.as_bytes()).await {
            return Err(unanswered(false, &error.to_string()));
        }
        loop {
            match stream.read_buf(&mut read).await {
                Ok(0) => return Err(unanswered(!read.is_empty(), "the connection ended")),
                Err(error) => return Err(unanswered(!read.is_empty(), &error.to_string())),
                Ok(_) => {}
            }
            let text = String::from_utf8_lossy(&read).to_ascii_lowercase();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let status = head.get(9..12).and_then(|status| status.parse().ok());
            let Some(status) = status else { return Err(unanswered(true, head)) };
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let Some(length) = length.and_then(|length| length.trim().parse().ok()) else {
                return Ok(status);
            };
            if body.len() >= length {
                let ends = head.lines().any(|line| line == "connection: close");
                self.stream = (!ends).then_some(stream);
                return Ok(status);
            }
        }
    }
}

/// Why there is no answer, and whether one had begun.
struct Unanswered {
    began: bool,
    why: String,
}
