//! The kinds of values that keys take: how each is read from TOML and written to it.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use contract::{ResourceType, TenantName};
use database::{CheckedReferences, UniqueIdentifier};
use fhir_schema::Schema;
use server::{ACTIONS, Action, DEPTHS, Depth, PolicyRule, RequiredProfile};
use toml::de::DeValue;

use crate::tenant_key::KeySource;

/// One kind of value.
pub(crate) trait Setting: Sized {
    /// What the kind takes, for people.
    const TAKES: &'static str;

    /// Reads it; `None` when the value is of another kind or out of range.
    fn read(value: &DeValue<'_>) -> Option<Self>;

    /// Writes it as TOML.
    fn write(&self) -> String;
}

/// The FHIR base as clients see it: `http` or `https`, a host, a path; no credentials, query,
/// fragment, and no slash at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl(String);

/// How a PostgreSQL database is reached, in libpq's form; holds no password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresConnection(String);

/// What protects the bytes between this machine and PostgreSQL where no authority is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithoutTls {
    /// They go to a Unix socket or a loopback address and nowhere else.
    Local,
    /// Nothing does.
    InsecureAnywhere,
}

const WITHOUT_TLS: [(WithoutTls, &str); 2] =
    [(WithoutTls::Local, "local"), (WithoutTls::InsecureAnywhere, "insecure-anywhere")];

/// From which level on the process logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the usual five")]
pub enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

const LEVELS: [(Level, &str); 5] = [
    (Level::Error, "error"),
    (Level::Warn, "warn"),
    (Level::Info, "info"),
    (Level::Debug, "debug"),
    (Level::Trace, "trace"),
];

impl BaseUrl {
    /// The URL as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for BaseUrl {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = reqwest::Url::parse(text).map_err(|_| ())?;
        let plain = matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
            && !text.ends_with('/')
            && !text.chars().any(|c| c.is_whitespace() || c.is_control());
        plain.then(|| Self(text.to_owned())).ok_or(())
    }
}

impl PostgresConnection {
    /// The connection as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Level {
    /// The level's word.
    #[must_use]
    pub fn word(self) -> &'static str {
        LEVELS.iter().find(|(level, _)| *level == self).map_or("info", |(_, word)| word)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.word())
    }
}

impl Setting for PathBuf {
    const TAKES: &'static str = "a path";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        let text = value.as_str()?;
        (!text.is_empty() && !text.contains('\0')).then(|| Self::from(text))
    }

    fn write(&self) -> String {
        quoted(&self.to_string_lossy())
    }
}

impl Setting for Option<PathBuf> {
    const TAKES: &'static str = "a path, or \"\" for none";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        match value.as_str() {
            Some("") => Some(None),
            _ => PathBuf::read(value).map(Some),
        }
    }

    fn write(&self) -> String {
        self.as_ref().map_or_else(|| quoted(""), Setting::write)
    }
}

impl Setting for KeySource {
    const TAKES: &'static str = "\"file:PATH\", \"env:NAME\" or \"credential:NAME\", or \"\" for a file in the data directory";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        value.as_str()?.parse().ok()
    }

    fn write(&self) -> String {
        quoted(&self.to_string())
    }
}

impl Setting for SocketAddr {
    const TAKES: &'static str = "an address and port like \"127.0.0.1:8080\"";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        value.as_str()?.parse().ok()
    }

    fn write(&self) -> String {
        quoted(&self.to_string())
    }
}

impl Setting for TenantName {
    const TAKES: &'static str = "a tenant's name: lower-case letters, digits and hyphens";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        value.as_str()?.parse().ok()
    }

    fn write(&self) -> String {
        quoted(self.as_str())
    }
}

impl Setting for Option<BaseUrl> {
    const TAKES: &'static str = "a URL like \"https://ehr.example.org/fhir\" without credentials, query or a slash at the end, or \"\" for none";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        match value.as_str()? {
            "" => Some(None),
            text => text.parse().ok().map(Some),
        }
    }

    fn write(&self) -> String {
        quoted(self.as_ref().map_or("", BaseUrl::as_str))
    }
}

impl Setting for Option<PostgresConnection> {
    const TAKES: &'static str = "a connection like \"host=db.example.org user=hearthgate dbname=hearthgate\" without a password, or \"\" for none";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        match value.as_str()? {
            "" => Some(None),
            text => store_postgres::check_connection(text)
                .is_ok()
                .then(|| Some(PostgresConnection(text.to_owned()))),
        }
    }

    fn write(&self) -> String {
        quoted(self.as_ref().map_or("", PostgresConnection::as_str))
    }
}

impl Setting for WithoutTls {
    const TAKES: &'static str = "one of local, insecure-anywhere";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        let word = value.as_str()?;
        WITHOUT_TLS.iter().find(|(_, known)| *known == word).map(|found| found.0)
    }

    fn write(&self) -> String {
        let found = WITHOUT_TLS.iter().find(|(without, _)| without == self);
        quoted(found.map_or("local", |(_, word)| word))
    }
}

impl Setting for Level {
    const TAKES: &'static str = "one of error, warn, info, debug, trace";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        let word = value.as_str()?;
        let found = LEVELS.iter().find(|(_, known)| *known == word)?;
        Some(found.0)
    }

    fn write(&self) -> String {
        quoted(self.word())
    }
}

impl Setting for Vec<String> {
    const TAKES: &'static str = "a list of texts";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        let texts = value.as_array()?.iter();
        texts.map(|text| text.get_ref().as_str().map(str::to_owned)).collect()
    }

    fn write(&self) -> String {
        let texts: Vec<String> = self.iter().map(|text| quoted(text)).collect();
        format!("[{}]", texts.join(", "))
    }
}

impl Setting for Vec<UniqueIdentifier> {
    const TAKES: &'static str = "a list of texts like \"Patient https://hospital.example/mrn\": a type that has identifiers, and a system";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        let rules: Self = parsed(value)?;
        let known = |rule: &UniqueIdentifier| {
            !Schema::r4().identifier_paths(rule.resource_type().as_str()).is_empty()
        };
        rules.iter().all(known).then_some(rules)
    }

    fn write(&self) -> String {
        self.iter().map(ToString::to_string).collect::<Vec<_>>().write()
    }
}

impl Setting for Vec<CheckedReferences> {
    const TAKES: &'static str =
        "a list of texts: \"*\", a type, or an element like \"Observation.subject\"";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        let rules: Self = parsed(value)?;
        let known = |rule: &CheckedReferences| {
            rule.resource_type().is_none_or(|of| Schema::r4().is_resource_type(of))
        };
        rules.iter().all(known).then_some(rules)
    }

    fn write(&self) -> String {
        self.iter().map(ToString::to_string).collect::<Vec<_>>().write()
    }
}

impl Setting for BTreeSet<ResourceType> {
    const TAKES: &'static str = "a list of types like \"Patient\"";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        let types: Vec<ResourceType> = parsed(value)?;
        let are_known = types.iter().all(|of| Schema::r4().is_resource_type(of.as_str()));
        are_known.then(|| types.into_iter().collect())
    }

    fn write(&self) -> String {
        self.iter().map(ToString::to_string).collect::<Vec<_>>().write()
    }
}

/// The word among those of a table, read as what it stands for.
pub(super) fn word_of_table<T: Copy>(table: &[(T, &str)], value: &DeValue<'_>) -> Option<T> {
    let word = value.as_str()?;
    table.iter().find(|(_, known)| *known == word).map(|(of, _)| *of)
}

pub(super) fn written_word<T: PartialEq>(table: &[(T, &str)], of: &T) -> String {
    quoted(table.iter().find(|(known, _)| known == of).map_or("", |(_, word)| word))
}

impl Setting for Depth {
    const TAKES: &'static str = "one of parse, base, invariants, profiles, terminology";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        word_of_table(&DEPTHS, value)
    }

    fn write(&self) -> String {
        written_word(&DEPTHS, self)
    }
}

impl Setting for Action {
    const TAKES: &'static str = "one of enforce, warn, quarantine";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        word_of_table(&ACTIONS, value)
    }

    fn write(&self) -> String {
        written_word(&ACTIONS, self)
    }
}

impl Setting for Vec<PolicyRule> {
    const TAKES: &'static str = "a list of texts like \"Observation terminology warn\": a type or the URL of a profile, a depth, an action";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        let rules: Self = parsed(value)?;
        let known = |rule: &PolicyRule| {
            rule.resource_type().is_none_or(|of| Schema::r4().is_resource_type(of.as_str()))
        };
        rules.iter().all(known).then_some(rules)
    }

    fn write(&self) -> String {
        self.iter().map(ToString::to_string).collect::<Vec<_>>().write()
    }
}

impl Setting for Vec<RequiredProfile> {
    const TAKES: &'static str =
        "a list of texts like \"Patient http://profiles.example/patient\": a type and a profile";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        let rules: Self = parsed(value)?;
        let known =
            |rule: &RequiredProfile| Schema::r4().is_resource_type(rule.resource_type().as_str());
        rules.iter().all(known).then_some(rules)
    }

    fn write(&self) -> String {
        self.iter().map(ToString::to_string).collect::<Vec<_>>().write()
    }
}

/// A list of texts, each read as what it is.
pub(super) fn parsed<T: FromStr>(value: &DeValue<'_>) -> Option<Vec<T>> {
    Vec::<String>::read(value)?.iter().map(|text| text.parse().ok()).collect()
}

impl Setting for Duration {
    const TAKES: &'static str = "seconds, at least 1";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        // A day is longer than anything here waits, and keeps sums of durations in range.
        let seconds = number(value)?;
        (1..=86_400).contains(&seconds).then(|| Self::from_secs(seconds))
    }

    fn write(&self) -> String {
        self.as_secs().to_string()
    }
}

impl Setting for bool {
    const TAKES: &'static str = "true or false";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        value.as_bool()
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

impl Setting for Option<u32> {
    const TAKES: &'static str = "a whole number, 0 for none";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        let number = u32::try_from(number(value)?).ok()?;
        Some((number > 0).then_some(number))
    }

    fn write(&self) -> String {
        self.unwrap_or(0).to_string()
    }
}

macro_rules! counts {
    ($($kind:ty),*) => {$(
        impl Setting for $kind {
            const TAKES: &'static str = "a whole number, at least 1";

            fn read(value: &DeValue<'_>) -> Option<Self> {
                <$kind>::try_from(number(value)?).ok().filter(|number| *number > 0)
            }

            fn write(&self) -> String {
                self.to_string()
            }
        }
    )*};
}

counts!(u32, u64, usize);

fn number(value: &DeValue<'_>) -> Option<u64> {
    let number = value.as_integer()?;
    let signed = i64::from_str_radix(number.as_str(), number.radix()).ok()?;
    u64::try_from(signed).ok()
}

/// A basic string of TOML.
pub(super) fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}
