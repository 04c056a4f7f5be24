//! What is in the files of certificates, keys and authorities, ready to shake hands with.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};

use super::{CertificateFiles, ClientCertificates, HTTP_1, HTTP_2, Tls, TlsError};

/// What the files held at one moment.
pub(super) struct Loaded {
    pub(super) config: Arc<ServerConfig>,
    /// When the first of the certificates ends, in seconds of Unix time.
    pub(super) not_after: i64,
    /// The files' stamps from before they were read: what is written meanwhile differs from them.
    pub(super) stamps: Vec<Option<Stamp>>,
}

impl Loaded {
    /// Reads all files.
    pub(super) fn read(tls: &Tls) -> Result<Self, TlsError> {
        let stamps = stamps(tls);
        let provider = Arc::new(ring::default_provider());
        let certificates = tls.certificates.iter().map(|files| certified(files, &provider));
        let certificates = certificates.collect::<Result<Vec<_>, _>>()?;
        let ends = certificates.iter().map(|(_, not_after)| *not_after);
        let not_after = ends.min().ok_or(TlsError::NoCertificates)?;
        let by_name = ByName(certificates.into_iter().map(|(key, _)| Arc::new(key)).collect());
        let mut config = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Setup)?
            .with_client_cert_verifier(verifier(&tls.clients, provider)?)
            .with_cert_resolver(Arc::new(by_name));
        config.alpn_protocols = vec![HTTP_2.to_vec(), HTTP_1.to_vec()];
        Ok(Self { config: Arc::new(config), not_after, stamps })
    }
}

/// Chooses among several certificates by the name that a client asks for (RFC 6066, section 3).
#[derive(Debug)]
struct ByName(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let asked = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let valid = asked.and_then(|name| self.0.iter().find(|key| is_valid_for(key, &name)));
        valid.or(self.0.first()).cloned()
    }
}

fn is_valid_for(key: &CertifiedKey, name: &ServerName<'_>) -> bool {
    key.end_entity_cert()
        .and_then(ParsedCertificate::try_from)
        .and_then(|certificate| verify_server_name(&certificate, name))
        .is_ok()
}

/// Whether certificate and key can be used together.
///
/// # Errors
/// [`TlsError`] when they cannot.
pub(crate) fn check(files: &CertificateFiles) -> Result<(), TlsError> {
    certified(files, &ring::default_provider()).map(drop)
}

/// A certificate with its key, and when it ends.
fn certified(
    files: &CertificateFiles,
    provider: &CryptoProvider,
) -> Result<(CertifiedKey, i64), TlsError> {
    let chain = certificates_in("a certificate", &files.certificate)?;
    let not_after = match chain.first().map(|own| x509_parser::parse_x509_certificate(own)) {
        Some(Ok((_, own))) => own.validity().not_after.timestamp(),
        _ => return Err(TlsError::NotX509(files.certificate.clone())),
    };
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(unreadable("a private key", &files.key))?;
    let key = CertifiedKey::from_der(chain, key, provider).map_err(|source| {
        let CertificateFiles { certificate, key } = files.clone();
        TlsError::Mismatch { certificate, key, source }
    })?;
    Ok((key, not_after))
}

fn verifier(
    clients: &ClientCertificates,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let path = match clients {
        ClientCertificates::Unasked => return Ok(WebPkiClientVerifier::no_client_auth()),
        ClientCertificates::Requested(path) | ClientCertificates::Required(path) => path,
    };
    let mut roots = RootCertStore::empty();
    for authority in certificates_in("an authority's certificate", path)? {
        roots
            .add(authority)
            .map_err(|source| TlsError::Authority { path: path.clone(), source: source.into() })?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let verifier = match clients {
        ClientCertificates::Required(_) => verifier,
        _ => verifier.allow_unauthenticated(),
    };
    verifier
        .build()
        .map_err(|source| TlsError::Authority { path: path.clone(), source: source.into() })
}

/// The certificates in a file; there is at least one.
fn certificates_in(
    what: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = || -> Result<Vec<_>, pem::Error> {
        let found: Vec<_> = CertificateDer::pem_file_iter(path)?.collect::<Result<_, _>>()?;
        if found.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(found) }
    };
    read().map_err(unreadable(what, path))
}

fn unreadable(what: &'static str, path: &Path) -> impl FnOnce(pem::Error) -> TlsError {
    let path = path.to_owned();
    move |source| TlsError::Unreadable { what, path, source }
}

/// What tells that a file is another, or was written to: inode, length, and both times of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// The stamps of all files, in order; `None` for one that is not there.
pub(super) fn stamps(tls: &Tls) -> Vec<Option<Stamp>> {
    let stamp = |path: &PathBuf| {
        let metadata = fs::metadata(path).ok()?;
        Some(Stamp {
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    };
    let authority = match &tls.clients {
        ClientCertificates::Unasked => None,
        ClientCertificates::Requested(path) | ClientCertificates::Required(path) => Some(path),
    };
    let own = tls.certificates.iter().flat_map(|files| [&files.certificate, &files.key]);
    own.chain(authority).map(stamp).collect()
}
