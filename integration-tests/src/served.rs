//! The whole product in one process that is spoken to in HTTPS, where HTTP/2 can be had.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::binary::hearthgate;
use crate::edge::{NAME, Secured, connect};
use crate::process::Process;
use crate::waiting::{SOON, until, within};

/// The place. What runs ends with it.
pub struct Served {
    _folder: TempDir,
    process: Process,
    address: SocketAddr,
    certificate: CertificateDer<'static>,
    key: String,
}

impl Served {
    /// A new one that answers, with this in its configuration.
    ///
    /// # Panics
    /// When it does not come to that.
    pub async fn start(configuration: &str) -> Self {
        let folder = tempfile::tempdir().expect("the system gives a folder");
        let write = |name: &str, text: String| {
            std::fs::write(folder.path().join(name), text).expect("our own folder");
        };
        let made = rcgen::generate_simple_self_signed(vec![NAME.to_owned()]).expect("a name");
        write("own.pem", made.cert.pem());
        write("own.key", made.signing_key.serialize_pem());
        let tls = "[[gateway.tls.certificates]]\ncertificate = \"own.pem\"\nkey = \"own.key\"\n";
        write("site.toml", format!("{tls}{configuration}"));
        let mut command = Command::new(hearthgate());
        command.current_dir(folder.path()).args(["serve", "--config", "site.toml"]);
        command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        command.args(["--owner-key-file", "owner.key"]);
        let mut process = Process::start(command, folder.path(), "serve");
        let address = until("the process answers", SOON, async || {
            let stderr = process.stderr();
            if let Some(status) = process.end_so_far() {
                panic!("it ended with {status}: {stderr}");
            }
            let said = stderr.split_once("answers at https://").map(|(_, rest)| rest);
            let address = said.and_then(|rest| rest.split_once('/')?.0.parse().ok());
            address.ok_or(stderr)
        })
        .await;
        let key = std::fs::read_to_string(folder.path().join("owner.key"));
        let key = key.expect("the first start wrote it").trim_end().to_owned();
        let certificate = made.cert.der().clone();
        let served = Self { _folder: folder, process, address, certificate, key };
        let mut reader = served.reader("/fhir/metadata");
        until("it is ready", SOON, async || match crate::readers::Ask::ask(&mut reader).await {
            Ok(200) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
        served
    }

    /// The process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// What the header of that name says of the owner.
    #[must_use]
    pub fn authorization(&self) -> String {
        format!("Bearer {}", self.key)
    }

    /// Somebody with the owner's key who reads this, in HTTP/1.1.
    #[must_use]
    pub fn reader(&self, path: &str) -> Secured {
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: {NAME}\r\nauthorization: {}\r\n\r\n",
            self.authorization()
        );
        Secured::new(self.connector(b"http/1.1"), self.address, head)
    }

    /// A connection in HTTP/1.1.
    ///
    /// # Panics
    /// When there is none to be had.
    pub async fn http1(&self) -> TlsStream<TcpStream> {
        let connector = self.connector(b"http/1.1");
        let connecting = connect(&connector, self.address);
        within("a handshake", SOON, connecting).await.expect("a handshake")
    }

    /// A connection in HTTP/2.
    ///
    /// # Panics
    /// When there is none to be had.
    pub async fn http2(&self) -> TlsStream<TcpStream> {
        let connector = self.connector(b"h2");
        let connecting = connect(&connector, self.address);
        within("a handshake", SOON, connecting).await.expect("a handshake")
    }

    fn connector(&self, protocol: &[u8]) -> TlsConnector {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("a certificate");
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
