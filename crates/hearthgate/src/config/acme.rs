//! The keys of `[gateway.acme]`: where a certificate is had from, for which names, and how those are
//! proven.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use gateway::{Acme, AcmeChallenge, IssuerUrl};
use toml::de::DeValue;

use super::Gateway;
use super::setting::{BaseUrl, Setting, parsed, word_of_table, written_word};

/// The keys of `[gateway.acme]`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table says it of each key, for the operator too")]
pub struct AcmeKeys {
    pub directory: Option<BaseUrl>,
    pub names: Vec<DnsName>,
    pub contacts: Vec<String>,
    pub terms_agreed: bool,
    pub challenge: AcmeChallenge,
    pub authority_file: Option<PathBuf>,
}

/// A name of a host, in small letters: `ehr.example.org`. No wildcard can be proven here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsName(String);

const CHALLENGES: [(AcmeChallenge, &str); 2] =
    [(AcmeChallenge::Http01, "http-01"), (AcmeChallenge::TlsAlpn01, "tls-alpn-01")];

impl Default for AcmeKeys {
    fn default() -> Self {
        Self {
            directory: None,
            names: Vec::new(),
            contacts: Vec::new(),
            terms_agreed: false,
            challenge: AcmeChallenge::Http01,
            authority_file: None,
        }
    }
}

impl FromStr for DnsName {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let of_label = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(of_label)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let is_address = text.parse::<std::net::IpAddr>().is_ok();
        let sound = text.len() <= 253 && text.split('.').all(is_label) && !is_address;
        sound.then(|| Self(text.to_ascii_lowercase())).ok_or(())
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Setting for Vec<DnsName> {
    const TAKES: &'static str =
        "a list of names of hosts like \"ehr.example.org\", without wildcards";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        parsed(value)
    }

    fn write(&self) -> String {
        self.iter().map(ToString::to_string).collect::<Vec<_>>().write()
    }
}

impl Setting for AcmeChallenge {
    const TAKES: &'static str = "one of http-01, tls-alpn-01";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        word_of_table(&CHALLENGES, value)
    }

    fn write(&self) -> String {
        written_word(&CHALLENGES, self)
    }
}

impl Gateway {
    /// What the gateway is told about ACME, which keeps what it needs in `data`; nothing where no
    /// directory is named.
    #[must_use]
    pub fn acme(&self, data: &Path) -> Option<Acme> {
        let keys = &self.acme;
        Some(Acme {
            directory: directory(keys.directory.as_ref()?)?,
            names: keys.names.iter().map(ToString::to_string).collect(),
            contacts: keys.contacts.clone(),
            challenge: keys.challenge,
            authority_file: keys.authority_file.clone(),
            dir: data.join("acme"),
        })
    }

    /// What the keys of ACME cannot say together, and beside the others.
    pub(super) fn acme_contradiction(&self) -> Option<&'static str> {
        let keys = &self.acme;
        let Some(named) = &keys.directory else {
            return (*keys != AcmeKeys::default()).then_some(
                "`gateway.acme` says nothing without `gateway.acme.directory`: name the \
                 authority's directory or leave the section out",
            );
        };
        if directory(named).is_none() {
            Some("`gateway.acme.directory` is asked by https, or by http on this machine alone")
        } else if keys.names.is_empty() {
            Some("`gateway.acme.names` is empty: name the hosts that the certificate is for")
        } else if !keys.terms_agreed {
            Some(
                "`gateway.acme.terms_agreed` is not true: read the authority\'s terms of service, \
                 and say so when you agree to them",
            )
        } else if keys.challenge == AcmeChallenge::Http01 && self.redirect_listen.is_none() {
            Some(
                "`gateway.acme.challenge` is http-01, which is answered where plain HTTP is: name \
                 `gateway.redirect_listen`, or say tls-alpn-01",
            )
        } else {
            None
        }
    }
}

fn directory(named: &BaseUrl) -> Option<IssuerUrl> {
    IssuerUrl::new(named.as_str()).ok()
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Flags};

    const ALL: &str = "[gateway]\nlisten = \"0.0.0.0:443\"\nredirect_listen = \"0.0.0.0:80\"\n\
        [gateway.acme]\ndirectory = \"https://acme.example/directory\"\n\
        names = [\"EHR.example.org\", \"api.example.org\"]\nterms_agreed = true\n";

    fn resolved(text: &str) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hearthgate.toml");
        std::fs::write(&path, text).unwrap();
        let flags = Flags { config: Some(path), ..Flags::default() };
        Config::resolve(&flags).map_err(|error| error.to_string())
    }

    #[test]
    fn a_certificate_by_acme_is_one_of_those_that_tls_reads() {
        // GW-029, GW-060
        let config = resolved(ALL).unwrap();
        assert_eq!(resolved(&config.to_toml()).unwrap(), config);
        let acme = config.gateway.acme(&config.data).unwrap();
        assert_eq!(acme.names, ["ehr.example.org", "api.example.org"]);
        assert_eq!(config.gateway.scheme(), "https");
        let tls = config.gateway.tls(&config.data).unwrap();
        assert_eq!(tls.certificates, [acme.files()]);
        assert!(resolved("").unwrap().gateway.acme(&config.data).is_none());
    }

    #[test]
    fn what_cannot_be_ordered_is_refused_and_says_why() {
        // GW-060
        for (from, to, part) in [
            ("terms_agreed = true", "", "terms_agreed"),
            ("https://acme", "http://acme", "https"),
            ("redirect_listen = \"0.0.0.0:80\"", "", "redirect_listen"),
            ("EHR.example.org", "*.example.org", "wildcards"),
            ("directory = \"https://acme.example/directory\"", "", "directory"),
            ("names = [\"EHR.example.org\", \"api.example.org\"]", "", "names"),
        ] {
            let error = resolved(&ALL.replace(from, to)).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
