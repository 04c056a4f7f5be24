//! The sections `[gateway.certificates.CLIENT]`: which certificates stand for which client of the
//! registry. The clients are the operator's, so they stand in no table of keys.

use std::collections::BTreeMap;
use std::path::Path;

use gateway::{CertificateClients, WrittenCertificate};
use registry::ClientId;
use serde::{Deserialize, Serialize};
use toml::de::DeTable;

use super::file::{ConfigError, line_of, refused};
use super::{Config, issuers};

/// The section that they stand in.
pub(super) const SECTION: &str = "gateway.certificates";

/// Certificates as they are written, by client.
pub(crate) type Written = BTreeMap<ClientId, WrittenCertificate>;

/// The file as far as it speaks of certificates of clients.
#[derive(Default, Deserialize, Serialize)]
struct OfFile {
    #[serde(default)]
    gateway: OfGateway,
}

#[derive(Default, Deserialize, Serialize)]
struct OfGateway {
    #[serde(default)]
    certificates: Written,
}

/// Reads them into `config`.
pub(super) fn read(
    path: &Path,
    text: &str,
    table: &DeTable<'_>,
    config: &mut Config,
) -> Result<(), ConfigError> {
    let wrong = |line, problem| ConfigError::Issuer { path: path.to_owned(), line, problem };
    let Some(written) = issuers::section(table, "certificates") else { return Ok(()) };
    let read: OfFile = toml::from_str(text).map_err(|error| {
        let (line, problem) = refused(text, &error);
        wrong(line, problem)
    })?;
    config.written_certificates = read.gateway.certificates;
    let checked = CertificateClients::check(&config.written_certificates);
    config.certificates = checked.map_err(|(client, error)| {
        let key = written.keys().find(|key| key.get_ref() == client.as_str());
        let line = key.map_or(1, |key| line_of(text, &key.span()));
        wrong(line, format!("the certificate of {client}: {error}"))
    })?;
    Ok(())
}

/// The certificates as a file that names the same.
pub(super) fn to_toml(written: &Written) -> String {
    let gateway = OfGateway { certificates: written.clone() };
    toml::to_string(&OfFile { gateway }).expect("what was TOML is TOML")
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Flags};

    const TLS: &str = "[gateway.tls]\nclient_certificates = \"request\"\n\
         client_authority_file = \"/ca.pem\"\n\
         certificates = [{ certificate = \"/a.pem\", key = \"/a.key\" }]\n";

    fn resolved(text: &str) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hearthgate.toml");
        std::fs::write(&path, text).unwrap();
        let flags = Flags { config: Some(path), ..Flags::default() };
        Config::resolve(&flags).map_err(|error| error.to_string())
    }

    #[test]
    fn certificates_of_clients_are_read_and_printed_as_they_were_written() {
        // GW-060
        let text = format!("{TLS}[gateway.certificates.\"lab.1\"]\ndns = \"lab.example.org\"\n");
        let config = resolved(&text).unwrap();
        let printed = config.to_toml();
        assert_eq!(resolved(&printed).unwrap(), config, "{printed}");
        assert_ne!(config.certificates, resolved(TLS).unwrap().certificates);
    }

    #[test]
    fn a_certificate_that_names_nothing_or_is_never_asked_for_is_refused() {
        // GW-060
        for (text, part) in [
            (format!("{TLS}[gateway.certificates.lab]\n"), "line 5"),
            (format!("{TLS}[gateway.certificates.lab]\nsha256 = \"ab\"\n"), "64 hexadecimal"),
            (format!("{TLS}[gateway.certificates.lab]\nsubject = \"ab\"\n"), "subject"),
            ("[gateway.certificates.lab]\ndns = \"a\"\n".to_owned(), "client_certificates"),
            ("[gateway]\ncertificates = 1\n".to_owned(), "gateway.certificates"),
        ] {
            let error = resolved(&text).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
