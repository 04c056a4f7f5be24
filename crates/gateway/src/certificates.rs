//! Clients by the certificate that they show: from its bytes to a client of the registry.
//!
//! Whoever listens with TLS has verified the certificate's chain and its dates before; here it is
//! asked whose it is, by one of its names or by its fingerprint, each to the letter (DNS names in
//! any case). A certificate that more than one client has a claim to is nobody's.

use std::collections::BTreeMap;

use registry::ClientId;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

use crate::tokens::TokenDigest;

/// By what a certificate is a client's, as the configuration writes it. All that is named must be
/// the certificate's.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenCertificate {
    /// A DNS name among its alternative names; no wildcard stands for another name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<String>,
    /// A URI among its alternative names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// The one common name of its subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub common_name: Option<String>,
    /// The SHA-256 of the whole certificate, as 64 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// What is wrong with a client's certificate as it is written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// It names nothing.
    #[error("a client's certificate is named by dns, uri, common_name or sha256; name one")]
    NamesNothing,
    /// The fingerprint is none.
    #[error(
        "sha256 has 64 hexadecimal digits, as openssl x509 -fingerprint -sha256 prints without colons"
    )]
    Fingerprint,
}

/// Which certificates are whose.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CertificateClients(Vec<(ClientId, WrittenCertificate)>);

/// The certificate that a connection was begun with, verified by whoever listens.
pub(crate) struct PeerCertificate {
    der: Vec<u8>,
    digest: TokenDigest,
}

impl PeerCertificate {
    pub(crate) fn new(der: &[u8]) -> Self {
        Self { der: der.to_vec(), digest: TokenDigest::of(der) }
    }

    pub(crate) fn der(&self) -> &[u8] {
        &self.der
    }

    pub(crate) fn digest(&self) -> &TokenDigest {
        &self.digest
    }
}

/// It names somebody.
impl std::fmt::Debug for PeerCertificate {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("PeerCertificate")
    }
}

/// What a certificate says of its holder.
struct Holder {
    dns: Vec<String>,
    uris: Vec<String>,
    common_name: Option<String>,
    sha256: String,
}

impl CertificateClients {
    /// Checks what is written.
    ///
    /// # Errors
    /// [`CertificateError`] with the client it is about.
    pub fn check(
        written: &BTreeMap<ClientId, WrittenCertificate>,
    ) -> Result<Self, (ClientId, CertificateError)> {
        let mut clients = Vec::with_capacity(written.len());
        for (client, certificate) in written {
            let wrong = |error| (client.clone(), error);
            if *certificate == WrittenCertificate::default() {
                return Err(wrong(CertificateError::NamesNothing));
            }
            let digits = |text: &String| {
                text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
            };
            if !certificate.sha256.as_ref().is_none_or(digits) {
                return Err(wrong(CertificateError::Fingerprint));
            }
            clients.push((client.clone(), certificate.clone()));
        }
        Ok(Self(clients))
    }

    /// Whether a certificate could be this client's.
    pub(crate) fn names(&self, client: &str) -> bool {
        self.0.iter().any(|(id, _)| id.as_str() == client)
    }

    /// The client whose certificate this is, given in DER and verified before; `None` where it is
    /// nobody's or more than one's.
    #[must_use]
    pub fn client_of(&self, der: &[u8]) -> Option<&ClientId> {
        let holder = Holder::read(der)?;
        let mut found = self.0.iter().filter(|(_, written)| holder.is(written));
        let (client, _) = found.next()?;
        found.next().is_none().then_some(client)
    }
}

impl Holder {
    fn read(der: &[u8]) -> Option<Self> {
        let (rest, certificate) = X509Certificate::from_der(der).ok()?;
        if !rest.is_empty() {
            return None;
        }
        let mut holder = Self {
            dns: Vec::new(),
            uris: Vec::new(),
            common_name: only_common_name(&certificate),
            sha256: digest(&SHA256, der)
                .as_ref()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
        };
        if let Some(names) = certificate.subject_alternative_name().ok()? {
            for name in &names.value.general_names {
                match name {
                    GeneralName::DNSName(name) => holder.dns.push((*name).to_owned()),
                    GeneralName::URI(name) => holder.uris.push((*name).to_owned()),
                    _ => {}
                }
            }
        }
        Some(holder)
    }

    fn is(&self, written: &WrittenCertificate) -> bool {
        let dns = |name: &String| self.dns.iter().any(|own| own.eq_ignore_ascii_case(name));
        written.dns.as_ref().is_none_or(dns)
            && written.uri.as_ref().is_none_or(|uri| self.uris.contains(uri))
            && written
                .common_name
                .as_ref()
                .is_none_or(|name| self.common_name.as_ref() == Some(name))
            && written.sha256.as_ref().is_none_or(|hash| hash.eq_ignore_ascii_case(&self.sha256))
    }
}

/// Two common names would let whoever signs the second one name anybody.
fn only_common_name(certificate: &X509Certificate<'_>) -> Option<String> {
    let mut names = certificate.subject().iter_common_name();
    let name = names.next()?.as_str().ok()?;
    names.next().is_none().then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A certificate in DER, made by openssl.
    fn certificate(subject: &str, names: &str) -> Vec<u8> {
        let dir = tempfile::tempdir().expect("a directory");
        let (key, path) = (dir.path().join("key.pem"), dir.path().join("cert.der"));
        let made = std::process::Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ed25519", "-nodes", "-days", "2"])
            .args(["-subj", subject, "-addext", &format!("subjectAltName={names}")])
            .args(["-outform", "DER", "-keyout"])
            .arg(key)
            .arg("-out")
            .arg(&path)
            .output()
            .expect("openssl is installed");
        assert!(made.status.success(), "{made:?}");
        std::fs::read(path).expect("a certificate")
    }

    fn clients(written: &[(&str, WrittenCertificate)]) -> CertificateClients {
        let id = |id: &str| ClientId::new(id).expect("an id");
        let written = written.iter().map(|(client, written)| (id(client), written.clone()));
        CertificateClients::check(&written.collect()).expect("clients")
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    // GW-031
    #[test]
    fn a_certificate_is_the_clients_whose_names_it_has() {
        let der = certificate("/O=Lab/CN=analyser", "DNS:lab.example.org,URI:spiffe://x/lab");
        let hash: String =
            digest(&SHA256, &der).as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
        let none = WrittenCertificate::default;
        for (written, expected) in [
            (WrittenCertificate { dns: some("LAB.example.org"), ..none() }, true),
            (WrittenCertificate { dns: some("example.org"), ..none() }, false),
            (WrittenCertificate { dns: some("*.example.org"), ..none() }, false),
            (WrittenCertificate { uri: some("spiffe://x/lab"), ..none() }, true),
            (WrittenCertificate { uri: some("spiffe://x/LAB"), ..none() }, false),
            (WrittenCertificate { common_name: some("analyser"), ..none() }, true),
            (WrittenCertificate { common_name: some("Lab"), ..none() }, false),
            (WrittenCertificate { sha256: Some(hash.clone()), ..none() }, true),
            (WrittenCertificate { sha256: Some("0".repeat(64)), ..none() }, false),
            (
                WrittenCertificate { dns: some("lab.example.org"), uri: some("x:y"), ..none() },
                false,
            ),
        ] {
            let clients = clients(&[("lab", written.clone())]);
            let found = clients.client_of(&der).map(ClientId::as_str);
            assert_eq!(found, expected.then_some("lab"), "{written:?}");
        }
        let dns = WrittenCertificate { dns: some("lab.example.org"), ..none() };
        let name = WrittenCertificate { common_name: some("analyser"), ..none() };
        assert_eq!(clients(&[("lab", dns.clone()), ("other", name)]).client_of(&der), None);
        let lab = clients(&[("lab", dns)]);
        assert_eq!(lab.client_of(&der[..der.len() - 1]), None);
        assert_eq!(lab.client_of(&[der.as_slice(), b"x"].concat()), None);
        assert_eq!(lab.client_of(b""), None);
        let two = certificate("/CN=analyser/CN=owner", "DNS:other.example.org");
        let owner = WrittenCertificate { common_name: some("owner"), ..none() };
        assert_eq!(clients(&[("owner", owner)]).client_of(&two), None);
    }

    #[test]
    fn what_names_nothing_is_refused() {
        let id = ClientId::new("lab").expect("an id");
        let check = |written| {
            CertificateClients::check(&[(id.clone(), written)].into()).map_err(|(_, error)| error)
        };
        let short = WrittenCertificate { sha256: some("ab"), ..WrittenCertificate::default() };
        assert_eq!(check(WrittenCertificate::default()), Err(CertificateError::NamesNothing));
        assert_eq!(check(short), Err(CertificateError::Fingerprint));
    }
}
