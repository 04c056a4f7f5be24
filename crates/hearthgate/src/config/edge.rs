//! The keys of the gateway's edge: how connections are protected, and where plain HTTP may be.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use gateway::{AddressBlock, CertificateFiles, ClientCertificates, Tls, ToldBy};
use toml::de::DeValue;

use super::Gateway;
use super::setting::{Setting, parsed, quoted, word_of_table, written_word};

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

/// An origin of web pages: `https://app.example.org`, or `https://*.example.org` for those with
/// one label more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorsOrigin(String);

/// A name of a header, in small letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderName(String);

const TOLD_BY: [(ToldBy, &str); 4] = [
    (ToldBy::Nothing, "connection"),
    (ToldBy::XForwardedFor, "x-forwarded-for"),
    (ToldBy::Forwarded, "forwarded"),
    (ToldBy::ProxyProtocol, "proxy-protocol"),
];

impl FromStr for CorsOrigin {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let exact = text.replacen("//*.", "//any.", 1);
        let url = reqwest::Url::parse(&exact).map_err(|_| ())?;
        let plain = matches!(url.scheme(), "http" | "https")
            && url.origin().ascii_serialization() == exact
            && !exact.contains('*');
        plain.then(|| Self(text.to_owned())).ok_or(())
    }
}

impl fmt::Display for CorsOrigin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for HeaderName {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        let plain = !text.is_empty() && text.bytes().all(of_name);
        plain.then(|| Self(text.to_ascii_lowercase())).ok_or(())
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
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
        if self.speaks_tls() { "https" } else { "http" }
    }

    /// Whether clients are spoken to in HTTPS.
    fn speaks_tls(&self) -> bool {
        !self.tls.certificates.is_empty() || self.acme.directory.is_some()
    }

    /// Whether clients may be spoken to there, as these keys are.
    #[must_use]
    pub fn may_listen_on(&self, address: SocketAddr) -> bool {
        self.speaks_tls()
            || address.ip().is_loopback()
            || self.insecure_http == InsecureHttp::Anywhere
    }

    /// What the gateway is told about TLS, where `data` is the data directory; nothing without a
    /// certificate.
    #[must_use]
    pub fn tls(&self, data: &Path) -> Option<Tls> {
        let TlsKeys { mut certificates, client_certificates, client_authority_file, hsts_seconds } =
            self.tls.clone();
        let clients = match (client_certificates, client_authority_file) {
            (ClientCertificateUse::Request, Some(file)) => ClientCertificates::Requested(file),
            (ClientCertificateUse::Require, Some(file)) => ClientCertificates::Required(file),
            _ => ClientCertificates::Unasked,
        };
        certificates.extend(self.acme(data).map(|acme| acme.files()));
        (!certificates.is_empty()).then_some(Tls { certificates, clients, hsts_seconds })
    }

    /// What the gateway is told about addresses.
    #[must_use]
    pub fn addresses(&self) -> gateway::Addresses {
        gateway::Addresses {
            allow: self.allow.clone(),
            deny: self.deny.clone(),
            trusted_proxies: self.trusted_proxies.clone(),
            told_by: self.client_address,
        }
    }

    /// What the gateway is told about web pages; nothing where none may ask.
    #[must_use]
    pub fn cors(&self) -> Option<gateway::Cors> {
        (!self.cors_origins.is_empty()).then(|| gateway::Cors {
            origins: self.cors_origins.iter().map(ToString::to_string).collect(),
            credentials: self.cors_credentials,
            exposed: self.cors_exposed.iter().map(ToString::to_string).collect(),
        })
    }

    /// What these keys cannot say together.
    pub(super) fn contradiction(&self) -> Option<&'static str> {
        if let Some(contradiction) = self.acme_contradiction() {
            return Some(contradiction);
        }
        if let Some(contradiction) = self.admin_contradiction() {
            return Some(contradiction);
        }
        let TlsKeys { client_certificates, client_authority_file, .. } = &self.tls;
        let asks = *client_certificates != ClientCertificateUse::None;
        let is_plain = !self.speaks_tls();
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
        } else if (self.client_address == ToldBy::Nothing) != self.trusted_proxies.is_empty() {
            Some(
                "`gateway.client_address` other than connection and `gateway.trusted_proxies` go \
                 together: name them both or leave them out",
            )
        } else if is_plain && self.redirect_listen.is_some() {
            Some(
                "`gateway.redirect_listen` sends on to HTTPS, and there is no \
                 `gateway.tls.certificates`: name a certificate or leave it out",
            )
        } else if !self.may_listen_on(self.listen) {
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

impl Setting for ToldBy {
    const TAKES: &'static str = "one of connection, x-forwarded-for, forwarded, proxy-protocol";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        word_of_table(&TOLD_BY, value)
    }

    fn write(&self) -> String {
        written_word(&TOLD_BY, self)
    }
}

macro_rules! lists {
    ($($kind:ty => $takes:literal,)*) => {$(
        impl Setting for Vec<$kind> {
            const TAKES: &'static str = $takes;

            fn read(value: &DeValue<'_>) -> Option<Self> {
                parsed(value)
            }

            fn write(&self) -> String {
                self.iter().map(ToString::to_string).collect::<Vec<_>>().write()
            }
        }
    )*};
}

lists! {
    AddressBlock => "a list of addresses and blocks of them, like \"192.0.2.7\" and \"2001:db8::/32\"",
    SocketAddr => "a list of addresses with ports, like \"192.0.2.53:53\"",
    CorsOrigin => "a list of origins like \"https://app.example.org\" or \"https://*.example.org\"",
    HeaderName => "a list of names of headers",
}
