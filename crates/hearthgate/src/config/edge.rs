//! The keys of the gateway's edge: how connections are protected, and where plain HTTP may be.

use std::net::SocketAddr;
use std::path::PathBuf;

use gateway::{CertificateFiles, ClientCertificates, Tls};
use toml::de::DeValue;

use super::Gateway;
use super::setting::{Setting, quoted, word_of_table, written_word};

/// The keys of `[gateway.tls]`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table says it of each key, for the operator too")]
pub struct TlsKeys {
    pub certificates: Vec<CertificateFiles>,
    pub client_certificates: ClientCertificateUse,
    pub client_authority_file: Option<PathBuf>,
    pub hsts_seconds: Option<u32>,
}

/// Whether clients show certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCertificateUse {
    /// They are not asked to.
    None,
    /// They are asked to.
    Request,
    /// They must.
    Require,
}

const USES: [(ClientCertificateUse, &str); 3] = [
    (ClientCertificateUse::None, "none"),
    (ClientCertificateUse::Request, "request"),
    (ClientCertificateUse::Require, "require"),
];

/// Where clients may be spoken to in plain HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InsecureHttp {
    /// On a loopback address.
    Loopback,
    /// Anywhere.
    Anywhere,
}

const PLACES: [(InsecureHttp, &str); 2] =
    [(InsecureHttp::Loopback, "loopback"), (InsecureHttp::Anywhere, "anywhere")];

impl Default for TlsKeys {
    fn default() -> Self {
        Self {
            certificates: Vec::new(),
            client_certificates: ClientCertificateUse::None,
            client_authority_file: None,
            // A year.
            hsts_seconds: Some(31_536_000),
        }
    }
}

impl Gateway {
    /// `https` or `http`.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        if self.tls.certificates.is_empty() { "http" } else { "https" }
    }

    /// What the gateway is told about TLS; nothing without a certificate.
    #[must_use]
    pub fn tls(&self) -> Option<Tls> {
        let TlsKeys { certificates, client_certificates, client_authority_file, hsts_seconds } =
            self.tls.clone();
        let clients = match (client_certificates, client_authority_file) {
            (ClientCertificateUse::Request, Some(file)) => ClientCertificates::Requested(file),
            (ClientCertificateUse::Require, Some(file)) => ClientCertificates::Required(file),
            _ => ClientCertificates::Unasked,
        };
        (!certificates.is_empty()).then_some(Tls { certificates, clients, hsts_seconds })
    }

    /// What these keys cannot say together.
    pub(super) fn contradiction(&self) -> Option<&'static str> {
        let TlsKeys { certificates, client_certificates, client_authority_file, .. } = &self.tls;
        let asks = *client_certificates != ClientCertificateUse::None;
        let is_plain = certificates.is_empty();
        if is_plain && (asks || client_authority_file.is_some()) {
            Some(
                "`gateway.tls.client_certificates` and `gateway.tls.client_authority_file` say \
                 nothing without `gateway.tls.certificates`: name a certificate or leave them out",
            )
        } else if asks != client_authority_file.is_some() {
            Some(
                "`gateway.tls.client_certificates` other than none and \
                 `gateway.tls.client_authority_file` go together: set both or neither",
            )
        } else if is_plain && self.redirect_listen.is_some() {
            Some(
                "`gateway.redirect_listen` sends on to HTTPS, and there is no \
                 `gateway.tls.certificates`: name a certificate or leave it out",
            )
        } else if is_plain
            && !self.listen.ip().is_loopback()
            && self.insecure_http == InsecureHttp::Loopback
        {
            Some(
                "`gateway.listen` is no loopback address, and keys and patients' data would leave \
                 this machine readable: name `gateway.tls.certificates`, listen on loopback, or \
                 say `gateway.insecure_http = \"anywhere\"`",
            )
        } else {
            None
        }
    }
}

impl Setting for Vec<CertificateFiles> {
    const TAKES: &'static str =
        "a list of tables like { certificate = \"PATH\", key = \"PATH\" }, both in PEM";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        value.as_array()?.iter().map(|files| certificate_files(files.get_ref())).collect()
    }

    fn write(&self) -> String {
        let written = self.iter().map(|files| {
            let (certificate, key) = (files.certificate.write(), files.key.write());
            format!("{{ certificate = {certificate}, key = {key} }}")
        });
        format!("[{}]", written.collect::<Vec<_>>().join(", "))
    }
}

fn certificate_files(value: &DeValue<'_>) -> Option<CertificateFiles> {
    let (mut certificate, mut key) = (None, None);
    for (name, value) in value.as_table()? {
        let path = match name.get_ref().as_ref() {
            "certificate" => &mut certificate,
            "key" => &mut key,
            _ => return None,
        };
        *path = Some(PathBuf::read(value.get_ref())?);
    }
    Some(CertificateFiles { certificate: certificate?, key: key? })
}

impl Setting for ClientCertificateUse {
    const TAKES: &'static str = "one of none, request, require";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        word_of_table(&USES, value)
    }

    fn write(&self) -> String {
        written_word(&USES, self)
    }
}

impl Setting for InsecureHttp {
    const TAKES: &'static str = "one of loopback, anywhere";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        word_of_table(&PLACES, value)
    }

    fn write(&self) -> String {
        written_word(&PLACES, self)
    }
}

impl Setting for Option<SocketAddr> {
    const TAKES: &'static str = "an address and port like \"0.0.0.0:80\", or \"\" for none";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        match value.as_str()? {
            "" => Some(None),
            text => text.parse().ok().map(Some),
        }
    }

    fn write(&self) -> String {
        quoted(&self.map(|address| address.to_string()).unwrap_or_default())
    }
}
