//! The sections `[gateway.issuers.NAME]`: whose tokens are accepted. Their names are the
//! operator's, so they stand in no table of keys.

use std::collections::BTreeMap;
use std::path::Path;

use gateway::WrittenIssuer;
use serde::{Deserialize, Serialize};
use toml::de::{DeTable, DeValue};

use super::Config;
use super::file::{ConfigError, line_of, refused};

/// The section that they stand in.
pub(super) const SECTION: &str = "gateway.issuers";

/// Issuers as they are written, by name.
pub(crate) type Written = BTreeMap<String, WrittenIssuer>;

/// The file as far as it names issuers.
#[derive(Default, Deserialize, Serialize)]
struct OfFile {
    #[serde(default)]
    gateway: OfGateway,
}

#[derive(Default, Deserialize, Serialize)]
struct OfGateway {
    #[serde(default)]
    issuers: Written,
}

/// Reads the issuers into `config`, whose roles are read already.
pub(super) fn read(
    path: &Path,
    text: &str,
    table: &DeTable<'_>,
    config: &mut Config,
) -> Result<(), ConfigError> {
    let wrong = |line, problem| ConfigError::Issuer { path: path.to_owned(), line, problem };
    let Some(written) = section(table, "issuers") else { return Ok(()) };
    let read: OfFile = toml::from_str(text).map_err(|error| {
        let (line, problem) = refused(text, &error);
        wrong(line, problem)
    })?;
    config.written_issuers = read.gateway.issuers;
    let mut issuers = Vec::new();
    let (mut urls, mut introspecting) = (BTreeMap::new(), None);
    for (name, issuer) in &config.written_issuers {
        let key = written.keys().find(|key| key.get_ref() == name);
        let line = key.map_or(1, |key| line_of(text, &key.span()));
        if let Some(other) = urls.insert(&issuer.issuer, name) {
            let problem = format!("the issuers {other} and {name} are one; leave one out");
            return Err(wrong(line, problem));
        }
        if issuer.introspection.is_some()
            && let Some(other) = introspecting.replace(name)
        {
            let problem = format!(
                "the issuers {other} and {name} both have an introspection, and an opaque token \
                 does not say whose it is; leave one out"
            );
            return Err(wrong(line, problem));
        }
        let checked = issuer.check(name, &config.roles);
        issuers.push(checked.map_err(|error| wrong(line, error.to_string()))?);
    }
    config.issuers = issuers;
    Ok(())
}

/// The issuers as a file that names the same.
pub(super) fn to_toml(written: &Written) -> String {
    let gateway = OfGateway { issuers: written.clone() };
    toml::to_string(&OfFile { gateway }).expect("what was TOML is TOML")
}

/// A section of the gateway's whose keys are names of the operator's.
pub(super) fn section<'table, 'text>(
    table: &'table DeTable<'text>,
    name: &str,
) -> Option<&'table DeTable<'text>> {
    let below = |table: &'table DeTable<'text>, name: &str| match table.get(name)?.get_ref() {
        DeValue::Table(inner) => Some(inner),
        _ => None,
    };
    below(below(table, "gateway")?, name)
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Flags};

    const ISSUER: &str = "[gateway.issuers.hospital]\n\
         issuer = \"https://id.example.org\"\n\
         audience = \"https://ehr.example.org/fhir\"\n\
         [gateway.issuers.hospital.clients.app]\nrole = \"reader\"\n";

    fn resolved(text: &str) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hearthgate.toml");
        std::fs::write(&path, text).unwrap();
        let flags = Flags { config: Some(path), ..Flags::default() };
        Config::resolve(&flags).map_err(|error| error.to_string())
    }

    #[test]
    fn an_issuer_is_read_and_printed_as_it_was_written() {
        // GW-060
        let text = format!(
            "[gateway]\nidle_seconds = 9\n{ISSUER}\
             [gateway.issuers.hospital.introspection]\nurl = \"https://id.example.org/i\"\n\
             client_id = \"gate\"\nsecret_file = \"/run/secret\"\n[log]\nlevel = \"warn\"\n"
        );
        let config = resolved(&text).unwrap();
        assert_eq!(config.issuers.len(), 1);
        let printed = config.to_toml();
        assert_eq!(resolved(&printed).unwrap(), config, "{printed}");
    }

    #[test]
    fn a_wrong_issuer_is_refused_with_its_line_and_the_mend() {
        // GW-060
        let other = ISSUER.replace("hospital", "other");
        let unknown = ISSUER.replace("audience", "audiences");
        let role = ISSUER.replace("reader", "none-such");
        for (text, line, part) in [
            (unknown, "line 3", "audiences"),
            (role, "line 1", "there is no role none-such"),
            (format!("{ISSUER}{other}"), "line 6", "are one"),
            (format!("\n{}", ISSUER.replace("https://id", "http://id")), "line 2", "https URL"),
        ] {
            let error = resolved(&text).unwrap_err();
            assert!(error.contains(line) && error.contains(part), "{error}");
        }
        let error = resolved("[gateway]\nissuers = 1\n").unwrap_err();
        assert!(error.contains("gateway.issuers") && error.contains("line 2"), "{error}");
    }
}
