//! What was revoked in the registry, told to the server's half over the channel, wherever it is
//! (docs/contract.md, "The way back"). No request waits for that.
//!
//! The server says each time where it is to go on, so that what it did not hear it is told again:
//! after a restart, and once the way to it is there again.

use std::sync::Arc;
use std::time::Duration;

use contract::{Ids, RevocationFeed};
use http::StatusCode;
use registry::Registry;
use serde::{Deserialize, Serialize};

use crate::channel::ChannelKeeper;
use crate::socket_client::{self, ChannelAskError, ChannelPlace};

/// Between two looks at whether something was revoked, and before what failed is tried again.
const LOOK: Duration = Duration::from_millis(250);
/// How long the server may take to hear a page.
const LIMIT: Duration = Duration::from_secs(2);
/// Entries of one page.
const PAGE: usize = 1000;

/// What the server is told.
#[derive(Debug, Serialize)]
struct Told<'feed> {
    feed: &'feed str,
    #[serde(skip_serializing_if = "Option::is_none")]
    page: Option<&'feed RevocationFeed>,
}

/// What it answers: the cursor that the next page is to follow.
#[derive(Debug, Deserialize)]
struct Asked {
    after: u64,
}

/// Why the server was not told.
#[derive(Debug, thiserror::Error)]
enum NotTold {
    #[error("the server's channel gives no answer")]
    Silent(#[from] ChannelAskError),
    #[error("the server's channel answers with status {0}")]
    Status(StatusCode),
    #[error("what the server's channel answers cannot be read")]
    Unreadable(#[source] serde_json::Error),
    #[error("a page has no text")]
    Unwritable(#[source] serde_json::Error),
    #[error("the server does not go on where it was told to")]
    Unmoved,
}

/// Tells the server.
pub(crate) struct ToldRevocations {
    registry: Arc<Registry>,
    channel: Arc<ChannelKeeper>,
    place: ChannelPlace,
    feed: String,
}

impl ToldRevocations {
    /// What this registry revokes, towards the server that has its channel there.
    pub(crate) fn new(
        registry: Arc<Registry>,
        channel: Arc<ChannelKeeper>,
        place: ChannelPlace,
        ids: &dyn Ids,
    ) -> Self {
        // Another with each start: the registry may be another one by then.
        Self { registry, channel, place, feed: format!("{:032x}", ids.next()) }
    }

    /// Tells for as long as it is polled: within a second of a change, or of the server's being
    /// there again.
    pub(crate) async fn keep_told(&self) {
        let mut told = None;
        let mut is_failing = false;
        loop {
            // A server that was restarted has another secret, and has forgotten what it heard.
            if let Some(channel) = self.channel.current() {
                let sequence = self.registry.sequence();
                let is_told = told
                    .as_ref()
                    .is_some_and(|(to, known)| Arc::ptr_eq(to, &channel) && *known == sequence);
                if !is_told {
                    match self.tell().await {
                        Ok(()) => {
                            told = Some((channel, sequence));
                            is_failing = false;
                        }
                        Err(error) => {
                            if !std::mem::replace(&mut is_failing, true) {
                                tracing::warn!(
                                    error = &error as &dyn std::error::Error,
                                    "the server is not told what was revoked; it is tried again"
                                );
                            }
                        }
                    }
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Tells everything that the server has not heard.
    async fn tell(&self) -> Result<(), NotTold> {
        let mut page: Option<RevocationFeed> = None;
        let mut went_back = false;
        loop {
            let expected = page.as_ref().map(|page| page.cursor);
            let Some(Asked { after }) = self.say(page.as_ref()).await? else {
                // A server of before: nothing it does lasts.
                return Ok(());
            };
            // It may find once that something is missing, and goes back to the start.
            if expected.is_some_and(|expected| expected != after)
                && std::mem::replace(&mut went_back, true)
            {
                return Err(NotTold::Unmoved);
            }
            let next = self.registry.revocations(after, PAGE);
            if (next.after, next.cursor) == (after, after) {
                return Ok(());
            }
            page = Some(next);
        }
    }

    /// Says one page; `None` where the server takes none.
    async fn say(&self, page: Option<&RevocationFeed>) -> Result<Option<Asked>, NotTold> {
        let told = Told { feed: &self.feed, page };
        let body = serde_json::to_vec(&told).map_err(NotTold::Unwritable)?;
        let (status, body) = socket_client::post(&self.place, "/revocations", body, LIMIT).await?;
        match status {
            StatusCode::OK => serde_json::from_slice(&body).map(Some).map_err(NotTold::Unreadable),
            StatusCode::NOT_FOUND => Ok(None),
            status => Err(NotTold::Status(status)),
        }
    }
}
