//! What was revoked in the registry, told to the server's half over the channel, wherever it is
//! (docs/contract.md, "The way back"). No request waits for that.
//!
//! The server says each time where it is to go on, so that what it did not hear it is told again:
//! after a restart, and once the way to it is there again.

use std::sync::Arc;
use std::time::Duration;

use contract::{Clock, RevocationFeed};
use http::StatusCode;
use prometheus::IntGauge;
use registry::Registry;
use serde::{Deserialize, Serialize};

use crate::channel::{Channel, ChannelKeeper};
use crate::socket_client::{self, ChannelAskError, ChannelPlace};

/// Between two looks at whether something was revoked, and before what failed is tried again.
const LOOK: Duration = Duration::from_millis(250);
/// How long the server may take to say where it is to go on.
const LIMIT: Duration = Duration::from_secs(2);
/// How long it may take to hear a page.
const PAGE_LIMIT: Duration = Duration::from_secs(10);
/// Entries of one page.
const PAGE: usize = 1000;

/// The longest pause, in looks, before it is tried again what will not be mended by trying, or what
/// took the server too long.
const LONGEST_PAUSE: u32 = 120;

/// What is said to the server.
#[derive(Debug, Serialize)]
struct Saying<'feed> {
    feed: &'feed str,
    #[serde(skip_serializing_if = "Option::is_none")]
    page: Option<&'feed RevocationFeed>,
}

/// What it answers: the cursor that the next page is to follow.
#[derive(Debug, Deserialize)]
struct Next {
    after: u64,
}

/// Why the server was not told.
#[derive(Debug, thiserror::Error)]
enum NotTold {
    #[error("the server's channel gives no answer")]
    Silent(#[source] ChannelAskError),
    #[error("the server does not hear a page of what was revoked in time")]
    Slow(#[source] ChannelAskError),
    #[error("the server's channel answers with status {0}")]
    Status(StatusCode),
    #[error("what the server's channel answers cannot be read")]
    Unreadable(#[source] serde_json::Error),
    #[error("a page has no text")]
    Unwritable(#[source] serde_json::Error),
    #[error("the server does not go on where it was told to")]
    Unmoved,
}

impl NotTold {
    /// Why there was no answer. A server that said where it is to go on is there: what it hears too
    /// slowly it would be brought without end. One that says nothing at all is asked at each look,
    /// in a few bytes, so that it is told as soon as it is back.
    fn unanswered(error: ChannelAskError, is_page: bool) -> Self {
        match error {
            ChannelAskError::TimedOut(_) if is_page => Self::Slow(error),
            error => Self::Silent(error),
        }
    }

    /// Whether the same will come of it until somebody does something.
    fn stays(&self) -> bool {
        match self {
            Self::Status(status) => status.is_client_error(),
            Self::Unreadable(_) | Self::Unwritable(_) | Self::Unmoved => true,
            Self::Silent(_) | Self::Slow(_) => false,
        }
    }
}

/// Tells the server.
pub(crate) struct ToldRevocations {
    pub(crate) registry: Arc<Registry>,
    pub(crate) channel: Arc<ChannelKeeper>,
    /// Where the server has its channel.
    pub(crate) place: ChannelPlace,
    /// What the registry's feed is called there.
    pub(crate) feed: Arc<str>,
    pub(crate) clock: Arc<dyn Clock>,
    /// For how many seconds something has been untold.
    pub(crate) untold: IntGauge,
}

/// Tries that came to nothing, one after the other.
#[derive(Debug, Default)]
struct Failing {
    /// Looks before the next try, now and after that one.
    wait: u32,
    pause: u32,
    is_said: bool,
    /// Whether it was said that it stays so.
    stay_is_said: bool,
}

impl Failing {
    /// Whether it is time for a try.
    fn is_due(&mut self) -> bool {
        self.wait = self.wait.saturating_sub(1);
        self.wait == 0
    }

    fn again(&mut self, error: &NotTold) {
        let cause = error as &dyn std::error::Error;
        if error.stays() || matches!(error, NotTold::Slow(_)) {
            self.pause = (self.pause * 2).clamp(2, LONGEST_PAUSE);
            self.wait = self.pause;
        }
        if error.stays() {
            if !std::mem::replace(&mut self.stay_is_said, true) {
                tracing::error!(
                    error = cause,
                    "the server is not told what was revoked, and takes it no better the next time: \
                     what it works on under something revoked goes on; restart or upgrade it"
                );
            }
        } else if !std::mem::replace(&mut self.is_said, true) {
            tracing::warn!(
                error = cause,
                "the server is not told what was revoked; it is tried again"
            );
        }
    }
}

impl ToldRevocations {
    /// Tells for as long as it is polled: within a second of a change, or of the server's being
    /// there again with another secret. What it will not take, or takes too long for, is brought
    /// less and less often.
    pub(crate) async fn keep_told(&self) {
        // To whom, and up to which change.
        let mut told = None;
        let mut failing = Failing::default();
        let mut failing_at = None;
        let mut untold_since = None;
        loop {
            let channel = self.channel.current();
            let sequence = self.registry.sequence();
            let is = |one: &Option<Arc<Channel>>| match (one, &channel) {
                (Some(one), Some(channel)) => Arc::ptr_eq(one, channel),
                _ => false,
            };
            if !is(&failing_at) {
                // Another server, or the same anew.
                failing = Failing { is_said: failing.is_said, ..Failing::default() };
                failing_at.clone_from(&channel);
            }
            // A server that was restarted has another secret, and has forgotten what it heard.
            let heard = |told: &Option<(Option<Arc<Channel>>, u64)>| {
                told.as_ref().filter(|(to, _)| is(to)).map(|(_, known)| *known)
            };
            if channel.is_some() && heard(&told) != Some(sequence) && failing.is_due() {
                match self.tell().await {
                    Ok(()) => {
                        told = Some((channel.clone(), sequence));
                        failing = Failing::default();
                    }
                    Err(error) => failing.again(&error),
                }
            }
            let now = self.clock.monotonic();
            let after = heard(&told).unwrap_or(0);
            let is_untold = !self.registry.revocations(after, 1).entries.is_empty();
            let since = match is_untold {
                true => *untold_since.get_or_insert(now),
                false => {
                    untold_since = None;
                    now
                }
            };
            let seconds = now.saturating_sub(since).as_secs();
            self.untold.set(i64::try_from(seconds).unwrap_or(i64::MAX));
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Tells everything that the server has not heard.
    async fn tell(&self) -> Result<(), NotTold> {
        let mut page: Option<RevocationFeed> = None;
        let mut went_back = false;
        loop {
            let expected = page.as_ref().map(|page| page.cursor);
            let Some(Next { after }) = self.say(page.as_ref()).await? else {
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
    async fn say(&self, page: Option<&RevocationFeed>) -> Result<Option<Next>, NotTold> {
        let saying = Saying { feed: &self.feed, page };
        let body = serde_json::to_vec(&saying).map_err(NotTold::Unwritable)?;
        let limit = if page.is_some() { PAGE_LIMIT } else { LIMIT };
        let asked = socket_client::post(&self.place, "/revocations", body, limit).await;
        let (status, body) = asked.map_err(|error| NotTold::unanswered(error, page.is_some()))?;
        match status {
            StatusCode::OK => serde_json::from_slice(&body).map(Some).map_err(NotTold::Unreadable),
            StatusCode::NOT_FOUND => Ok(None),
            status => Err(NotTold::Status(status)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At which of so many looks it is tried, where each try ends like this.
    fn tried(looks: u32, error: impl Fn() -> NotTold) -> Vec<u32> {
        let mut failing = Failing::default();
        let tries = (0..looks).filter(|_| {
            let is_due = failing.is_due();
            if is_due {
                failing.again(&error());
            }
            is_due
        });
        tries.collect()
    }

    fn timed_out(is_page: bool) -> NotTold {
        NotTold::unanswered(ChannelAskError::TimedOut(LIMIT), is_page)
    }

    // GW-034
    #[test]
    fn what_is_not_taken_or_takes_too_long_is_brought_less_and_less_often() {
        let less_often = [0, 2, 6, 14, 30, 62, 126, 246, 366, 486];
        assert_eq!(tried(500, || NotTold::Status(StatusCode::PAYLOAD_TOO_LARGE)), less_often);
        assert_eq!(tried(500, || NotTold::Unmoved), less_often);
        assert_eq!(tried(500, || timed_out(true)), less_often);
        // Whoever is away is told as soon as it is back.
        let each: Vec<u32> = (0..500).collect();
        assert_eq!(tried(500, || timed_out(false)), each);
        assert_eq!(tried(500, || NotTold::Status(StatusCode::SERVICE_UNAVAILABLE)), each);
        let gone = || ChannelAskError::Unreachable(std::io::ErrorKind::NotFound.into());
        assert_eq!(tried(500, || NotTold::unanswered(gone(), true)), each);
    }

    // GW-034
    #[test]
    fn a_server_that_is_away_between_two_slow_pages_is_asked_at_each_look_and_brought_it_later() {
        let mut failing = Failing::default();
        for wait in [2, 4] {
            assert!(failing.is_due());
            failing.again(&timed_out(false));
            assert!(failing.is_due());
            failing.again(&timed_out(true));
            let waited = (0..).take_while(|_| !failing.is_due()).count();
            assert_eq!(waited + 1, wait);
        }
    }
}
