//! The keys of `[traces]`: where spans are sent, and of how many requests.

use std::path::PathBuf;
use std::time::Duration;

use gateway::CollectorUrl;
use toml::de::DeValue;
use trace::Sample;

use super::setting::{Setting, quoted};

/// The keys of `[traces]`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table says it of each key, for the operator too")]
pub struct Traces {
    pub endpoint: Option<CollectorUrl>,
    pub sample: Sample,
    pub service_name: ServiceName,
    pub headers_file: Option<PathBuf>,
    pub authority_file: Option<PathBuf>,
    pub timeout: Duration,
}

/// What spans are said to be of: 1 to 100 visible characters of ASCII.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceName(String);

impl ServiceName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Traces {
    fn default() -> Self {
        Self {
            endpoint: None,
            sample: Sample::default(),
            service_name: ServiceName("hearthgate".to_owned()),
            headers_file: None,
            authority_file: None,
            timeout: Duration::from_secs(10),
        }
    }
}

impl Traces {
    /// What cannot be beside what, in words for the operator.
    pub(super) fn contradiction(&self) -> Option<&'static str> {
        match &self.endpoint {
            None if self.headers_file.is_some() || self.authority_file.is_some() => Some(
                "`traces.headers_file` and `traces.authority_file` say nothing without \
                 `traces.endpoint`: name the collector or leave them out",
            ),
            Some(url) if self.headers_file.is_some() && url.is_readable_on_the_way() => Some(
                "`traces.headers_file` would be sent readable: name the collector with https, or \
                 one on this machine",
            ),
            _ => None,
        }
    }
}

impl Setting for Option<CollectorUrl> {
    const TAKES: &'static str =
        "a whole URL like \"http://127.0.0.1:4318/v1/traces\", or \"\" for none";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        match value.as_str()? {
            "" => Some(None),
            text => CollectorUrl::new(text).ok().map(Some),
        }
    }

    fn write(&self) -> String {
        quoted(self.as_ref().map_or("", CollectorUrl::as_str))
    }
}

impl Setting for Sample {
    const TAKES: &'static str = "a number from 0 to 1 with at most six decimals, like 0.05";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        let text = match value {
            DeValue::Float(number) => number.as_str(),
            DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
            _ => return None,
        };
        text.parse().ok()
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

impl Setting for ServiceName {
    const TAKES: &'static str = "1 to 100 visible characters of ASCII";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        let text = value.as_str()?;
        let is_visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        ((1..=100).contains(&text.len()) && is_visible).then(|| Self(text.to_owned()))
    }

    fn write(&self) -> String {
        quoted(&self.0)
    }
}
