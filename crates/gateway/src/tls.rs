//! TLS for client connections (RFC 8446, RFC 5246): which certificate is shown, whose certificates
//! are asked for, and files that are replaced while connections are open.
//!
//! This module alone names the TLS library. A connection keeps what was in force when it was
//! accepted; the next one gets what the files say by then. Which client a certificate stands for
//! is not decided here.

mod files;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::pki_types::pem;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor};

use crate::acme::{Challenges, PROTOCOL};
use crate::certificates::PeerCertificate;
use crate::metrics::Metrics;
use files::Loaded;

pub(crate) use files::check;

/// What an operator decides about TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The certificates, at least one. Whoever names a host gets the first that is valid for it,
    /// whoever names none, or another, gets the first of all.
    pub certificates: Vec<CertificateFiles>,
    /// Whether clients show certificates.
    pub clients: ClientCertificates,
    /// For how many seconds browsers are told to use HTTPS alone (RFC 6797); not told when absent.
    pub hsts_seconds: Option<u32>,
}

/// A certificate with its key, in PEM.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CertificateFiles {
    /// The certificate, and those of the authorities between it and a root.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Whether clients show certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientCertificates {
    /// They are not asked to.
    Unasked,
    /// They are asked to; one that is shown must be by an authority in this file.
    Requested(PathBuf),
    /// Who shows none by an authority in this file gets no connection.
    Required(PathBuf),
}

/// Why certificates cannot be used. Names files, never what is in them.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// There is none.
    #[error("TLS needs a certificate; name its files in gateway.tls.certificates")]
    NoCertificates,
    /// A file cannot be read, or has nothing of what it should hold.
    #[error("cannot read {what} from {}; it must be there, in PEM, for this account", path.display())]
    Unreadable {
        /// What it should hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the reader said.
        #[source]
        source: pem::Error,
    },
    /// Certificate and key do not fit, or the key is of a kind that is not supported.
    #[error(
        "the key in {} does not go with the certificate in {}; replace both",
        key.display(), certificate.display()
    )]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What the library said.
        #[source]
        source: rustls::Error,
    },
    /// The certificate cannot be read as one.
    #[error("what is in {} is no X.509 certificate", .0.display())]
    NotX509(PathBuf),
    /// The authorities for client certificates cannot be used.
    #[error("the authorities in {} cannot be used for client certificates", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// What the library said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No version of TLS is left.
    #[error("TLS cannot be set up")]
    Setup(#[source] rustls::Error),
}

/// A protocol that was agreed on in the handshake (RFC 7301).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

const HTTP_2: &[u8] = b"h2";
const HTTP_1: &[u8] = b"http/1.1";

/// Accepts TLS connections, with what the files hold by then.
pub(crate) struct Acceptor {
    current: ArcSwap<InForce>,
    /// None for the admin listener: what is counted is clients' connections.
    metrics: Option<Arc<Metrics>>,
    /// What proves names to an authority (`acme`).
    challenges: Arc<Challenges>,
}

/// What was decided, with what the files held.
pub(crate) struct InForce {
    tls: Tls,
    loaded: Loaded,
}

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Acceptor").finish_non_exhaustive()
    }
}

impl Acceptor {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`] when they cannot be used.
    pub(crate) fn load(
        tls: Tls,
        metrics: Arc<Metrics>,
        challenges: Arc<Challenges>,
    ) -> Result<Self, TlsError> {
        let loaded = Loaded::read(&tls)?;
        metrics.tls_not_after.set(loaded.not_after);
        let current = ArcSwap::from_pointee(InForce { tls, loaded });
        Ok(Self { current, metrics: Some(metrics), challenges })
    }

    /// Reads the files of the admin listener.
    ///
    /// # Errors
    /// [`TlsError`] when they cannot be used.
    pub(crate) fn for_operators(tls: Tls) -> Result<Self, TlsError> {
        let loaded = Loaded::read(&tls)?;
        let current = ArcSwap::from_pointee(InForce { tls, loaded });
        Ok(Self { current, metrics: None, challenges: Arc::default() })
    }

    /// Shakes hands with an operator, who is spoken to in HTTP/1.1 alone.
    pub(crate) async fn accept_operator(
        &self,
        stream: TcpStream,
        limit: Duration,
    ) -> Option<TlsStream<TcpStream>> {
        let mut config = ServerConfig::clone(&self.current.load().loaded.config);
        config.alpn_protocols = vec![HTTP_1.to_vec()];
        let handshake = TlsAcceptor::from(Arc::new(config)).accept(stream);
        tokio::time::timeout(limit, handshake).await.ok()?.ok()
    }

    /// Reads the files of another decision, without putting it into force.
    ///
    /// # Errors
    /// [`TlsError`] when they cannot be used.
    pub(crate) async fn prepare(tls: Tls) -> Result<InForce, TlsError> {
        let read = move || Loaded::read(&tls).map(|loaded| InForce { tls, loaded });
        let read = tokio::task::spawn_blocking(read).await;
        // Of a runtime that ends, or a panic that was said already.
        read.unwrap_or_else(|_| Err(TlsError::NoCertificates))
    }

    /// Puts into force what was prepared, for connections from now on.
    pub(crate) fn put(&self, prepared: InForce) {
        if let Some(metrics) = &self.metrics {
            metrics.tls_not_after.set(prepared.loaded.not_after);
        }
        self.current.store(Arc::new(prepared));
    }

    /// Shakes hands, which may take `limit`. `None` when that came to nothing: there is nobody to
    /// tell, and it is counted.
    pub(crate) async fn accept(
        &self,
        stream: TcpStream,
        limit: Duration,
    ) -> Option<TlsStream<TcpStream>> {
        let config: Arc<ServerConfig> = self.current.load().loaded.config.clone();
        let handshake = self.shake_hands(stream, config);
        let (result, stream) = match tokio::time::timeout(limit, handshake).await {
            Ok(Ok(Some(stream))) => ("ok", Some(stream)),
            Ok(Ok(None)) => ("proven", None),
            Ok(Err(_)) => ("failed", None),
            Err(_) => ("too-slow", None),
        };
        if let Some(metrics) = &self.metrics {
            metrics.tls_handshakes.with_label_values(&[result]).inc();
        }
        stream
    }

    /// `None` when somebody only looked at the certificate that proves a name.
    async fn shake_hands(
        &self,
        stream: TcpStream,
        config: Arc<ServerConfig>,
    ) -> std::io::Result<Option<TlsStream<TcpStream>>> {
        if !self.challenges.has_certificates() {
            return TlsAcceptor::from(config).accept(stream).await.map(Some);
        }
        let start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await?;
        let hello = start.client_hello();
        let looks = hello.alpn().is_some_and(|mut protocols| {
            protocols.next() == Some(PROTOCOL) && protocols.next().is_none()
        });
        let name = hello.server_name().filter(|_| looks);
        match name.and_then(|name| self.challenges.certificate(name)) {
            Some(proving) => {
                let mut shown = start.into_stream(proving).await?;
                // Whoever looked may be gone already.
                let _ = shown.shutdown().await;
                Ok(None)
            }
            None => start.into_stream(config).await.map(Some),
        }
    }

    /// For how many seconds browsers are told to use HTTPS alone.
    pub(crate) fn hsts_seconds(&self) -> Option<u32> {
        self.current.load().tls.hsts_seconds
    }
}

/// The certificate that a client showed, verified in the handshake.
pub(crate) fn peer_certificate(stream: &TlsStream<TcpStream>) -> Option<PeerCertificate> {
    let shown = stream.get_ref().1.peer_certificates()?.first()?;
    Some(PeerCertificate::new(shown))
}

/// What was agreed on with a client.
pub(crate) fn protocol(stream: &TlsStream<TcpStream>) -> Protocol {
    match stream.get_ref().1.alpn_protocol() {
        Some(HTTP_2) => Protocol::Http2,
        _ => Protocol::Http1,
    }
}
