//! Where the store of shared counters is.

use toml::de::DeValue;

use super::setting::{Setting, quoted};

/// `redis://HOST:PORT/NUMBER` or `unix:///PATH`, without a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreUrl(String);

impl StoreUrl {
    /// The URL as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Setting for Option<StoreUrl> {
    const TAKES: &'static str = "a URL like \"redis://127.0.0.1:6379/0\" or \"unix:///run/redis.sock\" without a password, or \"\" for none";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        match value.as_str()? {
            "" => Some(None),
            text => gateway::RedisStore::new(text, None)
                .is_ok()
                .then(|| Some(StoreUrl(text.to_owned()))),
        }
    }

    fn write(&self) -> String {
        quoted(self.as_ref().map_or("", StoreUrl::as_str))
    }
}
