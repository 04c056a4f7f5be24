//! An issuer's keys: fetched beside the requests, kept in memory and on the disk.
//!
//! Keys that are known stay known while the issuer cannot be reached, for as long as that takes,
//! and over a restart. Only a token that names another key waits for a fetch, and only one fetch
//! is made in an interval, however many such tokens come.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use contract::Clock;
use prometheus::IntCounterVec;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use smart::{KeySet, KeySetError, LONGEST_KEY_SET};

use super::written::TokenIssuer;
use crate::fetch::{AuthorityUnreadable, FetchError, Fetcher, InvalidIssuerUrl, IssuerUrl};

/// The longest metadata document.
const LONGEST_METADATA: usize = 64 * 1024;
/// Where it stands below an issuer (OpenID Connect Discovery 1.0, section 4).
const OPENID: &str = "/.well-known/openid-configuration";
/// Where it stands before an issuer's path (RFC 8414, section 3).
const OAUTH: &str = "/.well-known/oauth-authorization-server";

/// The keys of one issuer.
pub(crate) struct Keys {
    issuer: TokenIssuer,
    fetcher: Fetcher,
    file: PathBuf,
    current: ArcSwapOption<KeySet>,
    last: tokio::sync::Mutex<Option<Attempt>>,
    clock: Arc<dyn Clock>,
    fetches: IntCounterVec,
}

/// When the keys were last asked for.
#[derive(Clone, Copy)]
struct Attempt {
    at: Duration,
    succeeded: bool,
}

/// What came of asking for a key that is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// There are other keys now.
    Changed,
    /// The issuer shows the same keys.
    Same,
    /// Whether it shows others cannot be known now.
    Unreachable,
}

/// Why the keys were not had.
#[derive(Debug, thiserror::Error)]
enum KeysError {
    #[error("{} cannot be fetched", .0.as_str())]
    Fetch(IssuerUrl, #[source] FetchError),
    #[error("the metadata is not that of the issuer")]
    Metadata,
    #[error("the place of the keys in the metadata cannot be asked")]
    Place(#[from] InvalidIssuerUrl),
    #[error(transparent)]
    KeySet(#[from] KeySetError),
}

#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: String,
}

/// The file: whose keys, from where, and the key set as it was fetched.
#[derive(Serialize, Deserialize)]
struct Kept {
    issuer: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    jwks_url: Option<String>,
    keys: Box<RawValue>,
}

impl Keys {
    /// The keys that the disk has of the issuer, if any.
    pub(crate) fn open(
        issuer: &TokenIssuer,
        dir: &Path,
        clock: Arc<dyn Clock>,
        fetches: IntCounterVec,
    ) -> Result<Self, AuthorityUnreadable> {
        let file = dir.join(format!("{}.json", issuer.name));
        let keys = Self {
            fetcher: Fetcher::new(issuer.authority_file.as_deref())?,
            issuer: issuer.clone(),
            current: ArcSwapOption::new(read(&file, issuer).map(Arc::new)),
            file,
            last: tokio::sync::Mutex::default(),
            clock,
            fetches,
        };
        Ok(keys)
    }

    /// Whoever asks the issuer.
    pub(crate) fn fetcher(&self) -> &Fetcher {
        &self.fetcher
    }

    /// The keys that are known.
    pub(crate) fn current(&self) -> Option<Arc<KeySet>> {
        self.current.load_full()
    }

    /// Fetches the keys now and then, for as long as it is polled.
    pub(crate) async fn keep_current(&self) {
        loop {
            let succeeded = {
                let mut last = self.last.lock().await;
                self.fetch(&mut last).await
            };
            let pause = if succeeded { self.issuer.refresh } else { self.issuer.fetch_interval };
            tokio::time::sleep(pause).await;
        }
    }

    /// Asks for other keys than those seen, unless that was done within the interval.
    pub(crate) async fn other_than(&self, seen: Option<&Arc<KeySet>>) -> Asked {
        let mut last = self.last.lock().await;
        if !self.still(seen) {
            return Asked::Changed;
        }
        let recent = last.filter(|attempt| {
            self.clock.monotonic().saturating_sub(attempt.at) < self.issuer.fetch_interval
        });
        let succeeded = match recent {
            Some(attempt) => attempt.succeeded,
            None => self.fetch(&mut last).await,
        };
        match (succeeded, self.still(seen)) {
            (_, false) => Asked::Changed,
            (true, true) => Asked::Same,
            (false, true) => Asked::Unreachable,
        }
    }

    fn still(&self, seen: Option<&Arc<KeySet>>) -> bool {
        match (self.current.load().as_ref(), seen) {
            (Some(current), Some(seen)) => Arc::ptr_eq(current, seen),
            (current, seen) => current.is_none() && seen.is_none(),
        }
    }

    /// Fetches once; whoever gives up meanwhile leaves a failure behind, so that the next waits.
    async fn fetch(&self, last: &mut Option<Attempt>) -> bool {
        let at = self.clock.monotonic();
        *last = Some(Attempt { at, succeeded: false });
        let (succeeded, result) = match self.fetched().await {
            Ok((text, keys)) => {
                self.take(&text, keys).await;
                (true, "fetched")
            }
            Err(error) => {
                tracing::warn!(
                    issuer = self.issuer.name,
                    error = &error as &dyn std::error::Error,
                    "the issuer's keys cannot be fetched; those that are known stay"
                );
                (false, "failed")
            }
        };
        self.fetches.with_label_values(&[self.issuer.name.as_str(), result]).inc();
        *last = Some(Attempt { at, succeeded });
        succeeded
    }

    async fn fetched(&self) -> Result<(bytes::Bytes, KeySet), KeysError> {
        let url = match &self.issuer.jwks_url {
            Some(url) => url.clone(),
            None => self.discovered().await?,
        };
        let text = self.fetcher.get(&url, LONGEST_KEY_SET).await;
        let text = text.map_err(|error| KeysError::Fetch(url, error))?;
        let keys = KeySet::parse(&text, &self.issuer.algorithms)?;
        Ok((text, keys))
    }

    /// Where the issuer says that its keys are.
    async fn discovered(&self) -> Result<IssuerUrl, KeysError> {
        let [openid, oauth] = metadata_urls(&self.issuer.expected.issuer);
        let openid = IssuerUrl::new(&openid)?;
        let text = match self.fetcher.get(&openid, LONGEST_METADATA).await {
            Ok(text) => text,
            Err(FetchError::Status(_)) => {
                let oauth = IssuerUrl::new(&oauth)?;
                let asked = self.fetcher.get(&oauth, LONGEST_METADATA).await;
                asked.map_err(|error| KeysError::Fetch(oauth, error))?
            }
            Err(error) => return Err(KeysError::Fetch(openid, error)),
        };
        let metadata: Metadata = serde_json::from_slice(&text).map_err(|_| KeysError::Metadata)?;
        if metadata.issuer != self.issuer.expected.issuer {
            return Err(KeysError::Metadata);
        }
        Ok(IssuerUrl::new(&metadata.jwks_uri)?)
    }

    /// Takes fetched keys, where they are others.
    async fn take(&self, text: &[u8], keys: KeySet) {
        if self.current.load().as_deref() == Some(&keys) {
            return;
        }
        tracing::info!(
            issuer = self.issuer.name,
            keys = keys.len(),
            left_out = keys.left_out(),
            "the issuer shows other keys"
        );
        self.current.store(Some(Arc::new(keys)));
        let (file, issuer) = (self.file.clone(), &self.issuer);
        let kept = serde_json::from_slice(text).ok().and_then(|keys| {
            let issuer_text = issuer.expected.issuer.clone();
            let jwks_url = issuer.jwks_url.as_ref().map(|url| url.as_str().to_owned());
            serde_json::to_vec(&Kept { issuer: issuer_text, jwks_url, keys }).ok()
        });
        let Some(kept) = kept else { return };
        let written = tokio::task::spawn_blocking(move || write(&file, &kept)).await;
        if let Ok(Err(error)) = written {
            tracing::warn!(
                issuer = self.issuer.name,
                error = &error as &dyn std::error::Error,
                "the issuer's keys cannot be kept on the disk; a restart will have to fetch them"
            );
        }
    }
}

/// Where an issuer's metadata may be.
fn metadata_urls(issuer: &str) -> [String; 2] {
    let issuer = issuer.trim_end_matches('/');
    let after_host = issuer.find("://").map_or(0, |at| at + 3);
    let path = issuer[after_host..].find('/').map_or(issuer.len(), |at| after_host + at);
    [format!("{issuer}{OPENID}"), format!("{}{OAUTH}{}", &issuer[..path], &issuer[path..])]
}

/// The keys in the file, where they are of this issuer and this place.
fn read(file: &Path, issuer: &TokenIssuer) -> Option<KeySet> {
    let kept: Kept = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
    let place = issuer.jwks_url.as_ref().map(IssuerUrl::as_str);
    let same = kept.issuer == issuer.expected.issuer && kept.jwks_url.as_deref() == place;
    same.then(|| KeySet::parse(kept.keys.get().as_bytes(), &issuer.algorithms).ok()).flatten()
}

/// Writes the file, whole or not at all, for this account alone.
fn write(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = file.parent().ok_or(io::ErrorKind::InvalidInput)?;
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let part = file.with_extension("json.part");
    let mut options = OpenOptions::new();
    let mut open = options.write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    open.write_all(bytes)?;
    open.sync_all()?;
    fs::rename(&part, file)?;
    fs::File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::metadata_urls;

    #[test]
    fn metadata_is_looked_for_where_both_standards_put_it() {
        assert_eq!(
            metadata_urls("https://id.example.org/realms/a"),
            [
                "https://id.example.org/realms/a/.well-known/openid-configuration",
                "https://id.example.org/.well-known/oauth-authorization-server/realms/a",
            ]
        );
        assert_eq!(
            metadata_urls("https://id.example.org/"),
            [
                "https://id.example.org/.well-known/openid-configuration",
                "https://id.example.org/.well-known/oauth-authorization-server",
            ]
        );
    }
}
