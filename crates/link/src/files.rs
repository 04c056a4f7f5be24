//! What is in a half's files: its own certificate and key, and the certificates of the other.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::{Resumption, WebPkiServerVerifier, danger::ServerCertVerifier as _};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::version::TLS13;
use rustls::{CertificateError, ClientConfig, RootCertStore, ServerConfig};

use crate::verify::{Fingerprint, Held};

/// The rights of other accounts to a file.
const OTHERS: u32 = 0o007;

/// A half's files, all in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkFiles {
    /// The certificate that it shows.
    pub certificate: PathBuf,
    /// Its private key, which other accounts may not read.
    pub key: PathBuf,
    /// The certificates that the other half may show, one after the other: two of them while one
    /// takes the other's place.
    pub peers: PathBuf,
}

/// Why a half's files cannot be used. Names files, never what is in them.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
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
    /// Other accounts may read the key.
    #[error("other accounts may read the key in {}; take their rights with chmod o=", .0.display())]
    KeyReadable(PathBuf),
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
    /// A certificate is none that a half can show.
    #[error(
        "the certificate with the fingerprint {fingerprint} in {} cannot be one of a half: it must \
         be signed by its own key and be no authority's, and not have ended; \
         `hearthgate link create` makes such",
        path.display()
    )]
    Unfit {
        /// The file.
        path: PathBuf,
        /// Which certificate in it.
        fingerprint: Fingerprint,
        /// What the library said.
        #[source]
        source: rustls::Error,
    },
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Setup(#[source] rustls::Error),
}

/// What the files held at one moment.
#[derive(Debug)]
pub struct Loaded {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    peers: Vec<CertificateDer<'static>>,
    pub(crate) client: Arc<ClientConfig>,
    pub(crate) server: Arc<ServerConfig>,
}

impl Loaded {
    /// Reads all files.
    ///
    /// # Errors
    /// [`FilesError`] at the first that cannot be used.
    pub(crate) fn read(files: &LinkFiles) -> Result<Self, FilesError> {
        let provider = Arc::new(ring::default_provider());
        let certificate = CertificateDer::from_pem_file(&files.certificate)
            .map_err(unreadable("a certificate", &files.certificate))?;
        let key = read_key(&files.key)?;
        let peers = peers_in(&files.peers)?;
        fit(&certificate, &files.certificate, &provider)?;
        peers.iter().try_for_each(|peer| fit(peer, &files.peers, &provider))?;
        let held = Arc::new(Held {
            certificates: peers.clone(),
            file: files.peers.clone(),
            provider: provider.clone(),
        });
        let mismatch = |source| {
            let LinkFiles { certificate, key, .. } = files.clone();
            FilesError::Mismatch { certificate, key, source }
        };
        let chain = vec![certificate.clone()];
        let mut client = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13])
            .map_err(FilesError::Setup)?
            .dangerous()
            .with_custom_certificate_verifier(held.clone())
            .with_client_auth_cert(chain.clone(), key.clone_key())
            .map_err(mismatch)?;
        // Each handshake shows certificates: nobody goes on by what was believed before.
        client.resumption = Resumption::disabled();
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(FilesError::Setup)?
            .with_client_cert_verifier(held)
            .with_single_cert(chain, key.clone_key())
            .map_err(mismatch)?;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        let (client, server) = (Arc::new(client), Arc::new(server));
        Ok(Self { certificate, key, peers, client, server })
    }

    /// The certificate that this half shows.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The key of that certificate, as DER.
    #[must_use]
    pub fn key(&self) -> &PrivateKeyDer<'static> {
        &self.key
    }

    /// The certificates that the other half may show.
    #[must_use]
    pub fn peers(&self) -> &[CertificateDer<'static>] {
        &self.peers
    }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, FilesError> {
    if fs::metadata(path).is_ok_and(|metadata| metadata.mode() & OTHERS != 0) {
        return Err(FilesError::KeyReadable(path.to_owned()));
    }
    PrivateKeyDer::from_pem_file(path).map_err(unreadable("a private key", path))
}

fn peers_in(path: &Path) -> Result<Vec<CertificateDer<'static>>, FilesError> {
    let read = || -> Result<Vec<_>, pem::Error> {
        let found: Vec<_> = CertificateDer::pem_file_iter(path)?.collect::<Result<_, _>>()?;
        if found.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(found) }
    };
    read().map_err(unreadable("certificates of the other half", path))
}

/// That a certificate stands by itself, for whoever verifies it by the usual rules too.
fn fit(
    certificate: &CertificateDer<'static>,
    path: &Path,
    provider: &Arc<CryptoProvider>,
) -> Result<(), FilesError> {
    let unfit = |source| FilesError::Unfit {
        path: path.to_owned(),
        fingerprint: Fingerprint::of(certificate),
        source,
    };
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).map_err(unfit)?;
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build();
    let verifier = verifier.map_err(|error| unfit(rustls::Error::General(error.to_string())))?;
    let any_name = ServerName::try_from(ANY_NAME).expect("it is a name");
    match verifier.verify_server_cert(certificate, &[], &any_name, &[], UnixTime::now()) {
        Ok(_) => Ok(()),
        Err(rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => Ok(()),
        Err(error) => Err(unfit(error)),
    }
}

/// Asked for where a name must be: no half is told from another by it.
pub(crate) const ANY_NAME: &str = "hearthgate";

fn unreadable(what: &'static str, path: &Path) -> impl FnOnce(pem::Error) -> FilesError {
    let path = path.to_owned();
    move |source| FilesError::Unreadable { what, path, source }
}

/// What tells that a file is another, or was written to: inode, length, and both times of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// The stamps of all files, in order; `None` for one that is not there.
pub(crate) fn stamps(files: &LinkFiles) -> Vec<Option<Stamp>> {
    let stamp = |path: &PathBuf| {
        let metadata = fs::metadata(path).ok()?;
        Some(Stamp {
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    };
    [&files.certificate, &files.key, &files.peers].map(stamp).into()
}
