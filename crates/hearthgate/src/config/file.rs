//! Reads the file: every key must be in the table, every value one it takes.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use registry::RoleName;
use serde::Deserialize;
use toml::de::{DeTable, DeValue};

use super::Config;
use super::plans::{self, PLANS};
use super::table::{Key, keys};
use super::{certificates, issuers, routing};
use crate::roles;

/// Why a configuration file was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It could not be read.
    #[error("cannot read the configuration file {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// It is not TOML.
    #[error("{} line {line}: {message}; mend the syntax there", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where, counted from 1.
        line: usize,
        /// What the reader said.
        message: String,
    },
    /// A key that is not in the table.
    #[error("{} line {line}: there is no key `{key}`; {mend}", path.display())]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// Where, counted from 1.
        line: usize,
        /// The key, with its section.
        key: String,
        /// The nearest known key, or where they all stand.
        mend: String,
    },
    /// A role that is wrong in itself.
    #[error("{} line {line}: {problem}; mend it there, as docs/roles.md says", path.display())]
    Role {
        /// The file.
        path: PathBuf,
        /// Where, counted from 1.
        line: usize,
        /// What is wrong, with the role and the place in it.
        problem: String,
    },
    /// An issuer of tokens, or a certificate of a client, that is wrong in itself.
    #[error("{} line {line}: {problem}; mend it there, as docs/tokens.md says", path.display())]
    Issuer {
        /// The file.
        path: PathBuf,
        /// Where, counted from 1.
        line: usize,
        /// What is wrong, with whose and which key.
        problem: String,
    },
    /// A plan that is wrong in itself, or beside another.
    #[error("{} line {line}: {problem}; mend it there, as docs/limits.md says", path.display())]
    Plan {
        /// The file.
        path: PathBuf,
        /// Where, counted from 1.
        line: usize,
        /// What is wrong, with the plan and the place in it.
        problem: String,
    },
    /// Routes or upstreams that are wrong in themselves.
    #[error("{} line {line}: {problem}; mend it there, as docs/configuration.md says", path.display())]
    Routing {
        /// The file.
        path: PathBuf,
        /// Where, counted from 1.
        line: usize,
        /// What is wrong, with its place.
        problem: String,
    },
    /// Routes that do not go with the gateway's other keys.
    #[error(transparent)]
    Gateway(Box<gateway::GatewayError>),
    /// Two values that cannot both be.
    #[error("{0}")]
    Contradiction(&'static str),
    /// A plan is for a role that is not there.
    #[error(
        "a plan is for the role {role}, which is not defined; define [roles.{role}], or take it out of the plan"
    )]
    RoleOfPlan {
        /// The role.
        role: String,
    },
    /// A value that its key does not take.
    #[error("{} line {line}: `{key}` takes {takes}; correct the value", path.display())]
    WrongValue {
        /// The file.
        path: PathBuf,
        /// Where, counted from 1.
        line: usize,
        /// The key, with its section.
        key: String,
        /// What it takes.
        takes: &'static str,
    },
}

/// Reads `path` into `config`.
pub(crate) fn read(path: &Path, config: &mut Config) -> Result<(), ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    read_text(path, &text, config)
}

/// Reads a text into `config`; what is wrong with it is said of `path`.
pub(crate) fn read_text(path: &Path, text: &str, config: &mut Config) -> Result<(), ConfigError> {
    let table = DeTable::parse(text).map_err(|error| {
        let (line, message) = refused(text, &error);
        ConfigError::Syntax { path: path.to_owned(), line, message }
    })?;
    let reader = Reader { path, text, keys: keys() };
    reader.section("", table.get_ref(), config)?;
    certificates::read(path, text, table.get_ref(), config)?;
    issuers::read(path, text, table.get_ref(), config)?;
    reader.routing(table.get_ref(), config)
}

/// The section that roles are defined in.
pub(super) const ROLES: &str = "roles";

/// The file as far as it defines roles.
#[derive(Deserialize)]
struct OfRoles {
    roles: roles::Written,
}

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    keys: Vec<Key>,
}

impl Reader<'_> {
    fn section(
        &self,
        section: &str,
        table: &DeTable<'_>,
        config: &mut Config,
    ) -> Result<(), ConfigError> {
        for (name, value) in table {
            let key = match section {
                "" => name.get_ref().to_string(),
                section => format!("{section}.{}", name.get_ref()),
            };
            let line = line_of(self.text, &name.span());
            if routing::SECTIONS.contains(&key.as_str()) {
                continue;
            }
            if key == ROLES {
                match value.get_ref() {
                    DeValue::Table(written) => self.roles(written, config)?,
                    _ => return Err(self.wrong_value(line, key, "a section of keys")),
                }
                continue;
            }
            if key == issuers::SECTION || key == certificates::SECTION {
                // Read after the roles that they name.
                match value.get_ref() {
                    DeValue::Table(_) => continue,
                    _ => return Err(self.wrong_value(line, key, "a section of sections")),
                }
            }
            if key == PLANS {
                let DeValue::Table(written) = value.get_ref() else {
                    return Err(self.wrong_value(line, key, "a section of keys"));
                };
                config.written_plans = plans::read(self.text, written).map_err(|wrong| {
                    let (path, (line, problem)) = (self.path.to_owned(), wrong);
                    ConfigError::Plan { path, line, problem }
                })?;
                continue;
            }
            if let Some(known) = self.keys.iter().find(|known| known.name == key) {
                if !(known.decide)(config, value.get_ref()) {
                    return Err(self.wrong_value(line, key, known.takes));
                }
            } else if self.is_section(&key) {
                match value.get_ref() {
                    DeValue::Table(inner) => self.section(&key, inner, config)?,
                    _ => return Err(self.wrong_value(line, key, "a section of keys")),
                }
            } else {
                let mend = self.mend(&key);
                return Err(ConfigError::UnknownKey {
                    path: self.path.to_owned(),
                    line,
                    key,
                    mend,
                });
            }
        }
        Ok(())
    }

    /// Roles have names of the operator's, so they stand in no table of keys.
    fn roles(&self, written: &DeTable<'_>, config: &mut Config) -> Result<(), ConfigError> {
        let wrong = |line, problem| {
            let path = self.path.to_owned();
            ConfigError::Role { path, line, problem }
        };
        for name in written.keys() {
            let line = line_of(self.text, &name.span());
            let named: Result<RoleName, _> = name.get_ref().parse();
            let named = named.map_err(|error| wrong(line, error.to_string()))?;
            if roles::FIXED.contains(&named.as_str()) {
                return Err(wrong(line, format!("the role {named} stays as it is")));
            }
        }
        let read: OfRoles = toml::from_str(self.text).map_err(|error| {
            let (line, problem) = refused(self.text, &error);
            wrong(line, problem)
        })?;
        config.written_roles = read.roles;
        let checked = roles::all(&config.written_roles).map_err(|error| {
            let section = written.keys().find(|name| name.get_ref() == error.role.as_str());
            let line = section.map_or(1, |name| line_of(self.text, &name.span()));
            wrong(line, error.to_string())
        })?;
        config.roles = Arc::new(checked);
        Ok(())
    }

    /// Routes and upstreams are read together, and out of the whole file.
    fn routing(&self, file: &DeTable<'_>, config: &mut Config) -> Result<(), ConfigError> {
        let there = |gateway: &DeValue<'_>| match gateway {
            DeValue::Table(gateway) => {
                gateway.contains_key("routes") || gateway.contains_key("upstreams")
            }
            _ => false,
        };
        if !file.get("gateway").is_some_and(|gateway| there(gateway.get_ref())) {
            return Ok(());
        }
        let read = routing::Written::read(self.text, file);
        let (written, routing) = read.map_err(|wrong| ConfigError::Routing {
            path: self.path.to_owned(),
            line: wrong.line,
            problem: wrong.problem,
        })?;
        config.written_routing = written;
        config.routing = routing;
        Ok(())
    }

    fn wrong_value(&self, line: usize, key: String, takes: &'static str) -> ConfigError {
        ConfigError::WrongValue { path: self.path.to_owned(), line, key, takes }
    }

    fn is_section(&self, key: &str) -> bool {
        self.sections().any(|section| section == key)
    }

    fn sections(&self) -> impl Iterator<Item = &'static str> {
        let keys = self.keys.iter();
        keys.filter_map(|key| Some(key.name.rsplit_once('.')?.0))
    }

    /// Points to the nearest known key, where one is near.
    fn mend(&self, key: &str) -> String {
        let split = |key: &'static str| key.rsplit_once('.').unwrap_or(("", key));
        let (section, name) = key.rsplit_once('.').unwrap_or(("", key));
        let near = |known: &'static str| {
            let (known_section, known_name) = split(known);
            let by_letters = strsim::jaro_winkler(known_name, name);
            // `listen_adress` is `listen` with a word too many, however near others are.
            let goes_on = |long: &str, short: &str| {
                long.strip_prefix(short).is_some_and(|rest| rest.starts_with('_'))
            };
            let goes_on = goes_on(name, known_name) || goes_on(known_name, name);
            let by_name = if goes_on { by_letters.max(0.95) } else { by_letters };
            if known_section == section {
                return by_name;
            }
            // The right name in the wrong section is nearer than any misspelling.
            strsim::jaro_winkler(known, key).min(0.9).max(by_name * 0.95)
        };
        let known = self.keys.iter().map(|key| key.name).chain(self.sections());
        // Its own section is where it stands already.
        let known = known.filter(|known| *known != section);
        // Of several as near, the one that is shortest: it is the one that most files have.
        let nearest = known
            .map(|known| (near(known), known))
            .max_by(|one, other| one.0.total_cmp(&other.0).then(other.1.len().cmp(&one.1.len())));
        match nearest {
            Some((nearness, known)) if nearness > 0.75 => format!("did you mean `{known}`?"),
            _ => "docs/configuration.md lists the keys".to_owned(),
        }
    }
}

/// The line, counted from 1, and the words of what the reader of TOML refused, in one line.
pub(crate) fn refused(text: &str, error: &toml::de::Error) -> (usize, String) {
    let words: Vec<&str> = error.message().split_whitespace().collect();
    (line_of(text, &error.span().unwrap_or(0..0)), words.join(" "))
}

/// The line, counted from 1, in which a span begins.
pub(crate) fn line_of(text: &str, span: &Range<usize>) -> usize {
    let before = &text.as_bytes()[..span.start.min(text.len())];
    1 + before.iter().filter(|&&byte| byte == b'\n').count()
}
