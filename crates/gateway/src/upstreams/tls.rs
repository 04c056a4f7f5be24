//! TLS to an upstream: whom the gateway believes, under what name, and what it shows itself.
//!
//! Files are read and checked here, at load: pingora would find their faults at the first
//! connection, and panic at some. Certificates and names are always verified.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pingora::tls::ServerName;
use pingora::upstreams::peer::HttpPeer;
use pingora::utils::tls::{CertKey, WrappedX509, parse_x509};
use rustls::RootCertStore;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::balance::{hash, scatter};
use super::written::{Scheme, UpstreamConfig};

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that cannot be used.
    #[error("{} holds no {what} that can be used", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// Without a name nothing is verified.
    #[error("TLS needs the name that the certificate is for; set `name` in `tls`")]
    NoName,
}

/// What of a peer is the same for all endpoints of an upstream.
#[derive(Debug, Clone)]
pub(crate) struct Tls {
    name: String,
    authorities: Option<Arc<[WrappedX509]>>,
    own: Option<Arc<CertKey>>,
    /// Keeps apart the connections of upstreams that believe others, or show another certificate.
    group: u64,
}

impl Tls {
    /// Reads the files that the configuration names; none without TLS.
    pub(crate) fn load(upstream: &str, config: &UpstreamConfig) -> Result<Option<Self>, TlsError> {
        if config.scheme == Scheme::Http {
            return Ok(None);
        }
        let tls = &config.tls;
        let first = config.endpoints.first().map(|endpoint| endpoint.host.clone());
        let name = tls.name.clone().or(first).ok_or(TlsError::NoName)?;
        // An address is no name that pingora sends, and without one it verifies nothing.
        let named = matches!(ServerName::try_from(name.as_str()), Ok(ServerName::DnsName(_)));
        if !named {
            return Err(TlsError::NoName);
        }
        // Of the very bytes: a file may hold others by the next reload.
        let mut group = hash(upstream.as_bytes());
        let authorities = match tls.authority_file.as_deref() {
            Some(path) => Some(read_authorities(path, &mut group)?),
            None => None,
        };
        let own = match (&tls.certificate_file, &tls.key_file) {
            (Some(certificate), Some(key)) => {
                Some(Arc::new(read_own(certificate, key, &mut group)?))
            }
            _ => None,
        };
        Ok(Some(Self { name, authorities, own, group }))
    }

    /// The name that the certificate is for.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Sets a peer up.
    pub(crate) fn dress(&self, peer: &mut HttpPeer) {
        peer.options.ca.clone_from(&self.authorities);
        peer.client_cert_key.clone_from(&self.own);
        peer.group_key = self.group;
    }
}

/// Adds to a group what tells these certificates from others.
fn add_to(group: &mut u64, certificates: &[CertificateDer<'_>]) {
    for certificate in certificates {
        *group = scatter(*group ^ hash(certificate));
    }
}

fn read_authorities(path: &Path, group: &mut u64) -> Result<Arc<[WrappedX509]>, TlsError> {
    let certificates = read_certificates(path)?;
    add_to(group, &certificates);
    let mut store = RootCertStore::empty();
    for certificate in &certificates {
        let unusable = |_| TlsError::File { path: path.to_owned(), what: "authority" };
        store.add(certificate.clone()).map_err(unusable)?;
    }
    let wrapped = certificates.into_iter().map(|der| WrappedX509::new(der.to_vec(), parse_x509));
    Ok(wrapped.collect())
}

fn read_own(certificate: &Path, key: &Path, group: &mut u64) -> Result<CertKey, TlsError> {
    let certificates = read_certificates(certificate)?;
    add_to(group, &certificates);
    let unusable = || TlsError::File { path: key.to_owned(), what: "key" };
    let key = PrivateKeyDer::from_pem_file(key).map_err(|_| unusable())?;
    any_supported_type(&key).map_err(|_| unusable())?;
    let chain = certificates.iter().map(|der| der.to_vec()).collect();
    Ok(CertKey::new(chain, key.secret_der().to_vec()))
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unusable = || TlsError::File { path: path.to_owned(), what: "certificate" };
    let read = CertificateDer::pem_file_iter(path).map_err(|_| unusable())?;
    let certificates: Vec<_> = read.collect::<Result<_, _>>().map_err(|_| unusable())?;
    // What rustls takes, its other reader takes too: this one panics where it does not.
    let sound = |der: &CertificateDer<'_>| rustls::server::ParsedCertificate::try_from(der).is_ok();
    match certificates.is_empty() || !certificates.iter().all(sound) {
        true => Err(unusable()),
        false => Ok(certificates),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstreams::WrittenUpstream;

    #[test]
    fn connections_of_other_authorities_are_not_shared_though_their_file_is_the_same() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("ca.pem");
        let group = || {
            let written: WrittenUpstream = serde_json::from_value(serde_json::json!({
                "endpoints": [{"address": "lab.example:443"}], "enforces": "none",
                "scheme": "https", "tls": {"authority_file": path},
            }))
            .expect("an upstream");
            let config = written.check().expect("a sound one");
            Tls::load("lab", &config).expect("files").expect("TLS").group
        };
        let write = || {
            let made = rcgen::generate_simple_self_signed(["ca".to_owned()]).expect("one");
            std::fs::write(&path, made.cert.pem()).expect("a file");
        };
        write();
        let before = group();
        assert_eq!(group(), before);
        write();
        assert_ne!(group(), before);
    }
}
