//! What proves that names are ours, while an authority looks: a text over plain HTTP (RFC 8555,
//! section 8.3), or a certificate over TLS (RFC 8737).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

/// Where texts are, with the token behind it.
const PATH: &str = "/.well-known/acme-challenge/";
/// The protocol that is agreed on to look at a certificate (RFC 8737, section 3).
pub(crate) const PROTOCOL: &[u8] = b"acme-tls/1";

/// What is to be shown now.
#[derive(Debug, Default)]
pub(crate) struct Challenges {
    texts: RwLock<HashMap<String, String>>,
    certificates: RwLock<HashMap<String, Arc<ServerConfig>>>,
    /// Whether there is any certificate: asked at every connection.
    has_certificates: AtomicBool,
}

impl Challenges {
    /// The text at this path.
    pub(crate) fn text(&self, path: &str) -> Option<String> {
        self.texts.read().get(path.strip_prefix(PATH)?).cloned()
    }

    /// Whether a connection may be one that looks at a certificate.
    pub(crate) fn has_certificates(&self) -> bool {
        self.has_certificates.load(Ordering::Acquire)
    }

    /// How TLS is spoken with who looks at the certificate of this name.
    pub(crate) fn certificate(&self, name: &str) -> Option<Arc<ServerConfig>> {
        self.certificates.read().get(&name.to_ascii_lowercase()).cloned()
    }

    pub(super) fn show_text(&self, token: &str, text: &str) {
        self.texts.write().insert(token.to_owned(), text.to_owned());
    }

    /// Shows a certificate that has the digest of what is to be proven.
    pub(super) fn show_certificate(&self, name: &str, digest: &[u8]) -> Result<(), rcgen::Error> {
        let config = proving(name, digest)?;
        self.certificates.write().insert(name.to_ascii_lowercase(), Arc::new(config));
        self.has_certificates.store(true, Ordering::Release);
        Ok(())
    }

    /// Shows nothing any more.
    pub(super) fn clear(&self) {
        self.has_certificates.store(false, Ordering::Release);
        self.certificates.write().clear();
        self.texts.write().clear();
    }
}

fn proving(name: &str, digest: &[u8]) -> Result<ServerConfig, rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut made = CertificateParams::new([name.to_owned()])?;
    made.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let certificate = made.self_signed(&key)?;
    let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let unusable = |_| rcgen::Error::CouldNotParseKeyPair;
    let key = ring::sign::any_supported_type(&der).map_err(unusable)?;
    // Not looked at before it is shown: its critical extension is one that nobody else knows.
    let shown = CertifiedKey::new(vec![certificate.der().clone()], key);
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(shown)));
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_shown_at_its_own_path_for_as_long_as_it_is_needed() {
        let challenges = Challenges::default();
        challenges.show_text("token", "token.thumb");
        assert_eq!(
            challenges.text("/.well-known/acme-challenge/token").as_deref(),
            Some("token.thumb")
        );
        for other in ["/.well-known/acme-challenge/", "/token", "/.well-known/acme-challenge/tok"] {
            assert_eq!(challenges.text(other), None);
        }
        challenges.show_certificate("EHR.example", &[7; 32]).expect("a certificate");
        assert!(challenges.certificate("ehr.example").is_some());
        challenges.clear();
        assert_eq!(challenges.text("/.well-known/acme-challenge/token"), None);
        assert!(challenges.certificate("ehr.example").is_none() && !challenges.has_certificates());
    }
}
