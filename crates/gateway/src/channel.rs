//! The gateway's end of the channel: the server's secret and the version both sides speak.
//!
//! Read from the channel (a socket, or the link's second port) when the gateway starts, and again
//! whenever the server may have been restarted: when it said (421) that it does not know the
//! secret, and until it is there once it could not be reached.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use contract::{ChannelDocument, Clock, Instant, Versions, negotiate};
use http::{HeaderValue, StatusCode};
use link::ConnectError;
use prometheus::IntCounterVec;
use tokio::sync::Notify;

use crate::socket_client::{self, ChannelAskError, ChannelPlace};
use crate::together::Together;

/// How long one reading may take.
const LONGEST_READING: Duration = Duration::from_secs(2);
/// Pauses between readings while the server is not there. A request whose body was sent is not
/// sent again once it is refused for a stale secret, so such requests may fail for as long as the
/// longest of them after a restart.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// For how long nobody reads after a reading for requests failed: they take what it came to.
const FAILURE_HOLDS: Duration = Duration::from_millis(100);
/// Pause after a server was heard that no version is shared with, or that does not believe this
/// gateway: somebody has to do something first.
const PAUSE_FOR_PEOPLE: Duration = Duration::from_secs(2);

/// From so much on it is told that the clocks of gateway and server differ.
const CLOCKS_DIFFER: Duration = Duration::from_secs(5);
/// As far as they may: a grant is good for a minute, and its request is some seconds on its way.
const CLOCKS_DIFFER_AT_MOST: Duration = Duration::from_secs(55);

/// What a request needs to be heard by the server.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) secret: HeaderValue,
    pub(crate) version: HeaderValue,
}

impl Channel {
    fn is(&self, other: &Self) -> bool {
        self.secret == other.secret && self.version == other.version
    }
}

/// Why the secret cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChannelError {
    #[error("the server's channel gives no answer")]
    Silent(#[from] ChannelAskError),
    #[error("the server's channel answers with status {0}")]
    Status(StatusCode),
    #[error("the channel document cannot be read")]
    Unreadable,
    #[error("the reading of the server's channel ended without saying how")]
    Lost,
    #[error(
        "the gateway speaks the contract's versions {} to {}, the server {} to {}: upgrade the older \
         one, so that they have one in common",
        .0.0.oldest, .0.0.newest, .0.1.oldest, .0.1.newest
    )]
    Version(contract::NoCommonVersion),
}

impl ChannelError {
    /// Whether it stays so until somebody does something.
    fn is_for_people(&self) -> bool {
        matches!(
            self,
            Self::Version(_)
                | Self::Silent(
                    ChannelAskError::Refused { .. }
                        | ChannelAskError::Link(ConnectError::NotBelieved(..),)
                )
        )
    }

    /// All that it says, in one line.
    fn in_words(&self) -> String {
        let mut words = self.to_string();
        let mut next = std::error::Error::source(self);
        while let Some(error) = next {
            words.push_str(": ");
            words.push_str(&error.to_string());
            next = error.source();
        }
        words
    }
}

/// The secret, as it stands, and how to read it again.
pub(crate) struct ChannelKeeper {
    place: ChannelPlace,
    clock: Arc<dyn Clock>,
    /// Whether it was said that the clocks differ.
    differ_is_said: AtomicBool,
    current: Arc<ArcSwapOption<Channel>>,
    /// Why it could not be read the last time; absent once it was.
    failure: ArcSwapOption<String>,
    /// The reading that requests wait for.
    replacing: Together<Result<(), Arc<ChannelError>>>,
    doubted: Notify,
    fetches: IntCounterVec,
}

impl std::fmt::Debug for ChannelKeeper {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ChannelKeeper").field("place", &self.place).finish_non_exhaustive()
    }
}

impl ChannelKeeper {
    pub(crate) fn new(place: ChannelPlace, clock: Arc<dyn Clock>, fetches: IntCounterVec) -> Self {
        Self {
            place,
            clock,
            differ_is_said: AtomicBool::new(false),
            current: Arc::default(),
            failure: ArcSwapOption::empty(),
            replacing: Together::default(),
            doubted: Notify::new(),
            fetches,
        }
    }

    /// The channel, once the server was heard.
    pub(crate) fn current(&self) -> Option<Arc<Channel>> {
        self.current.load_full()
    }

    /// Whether the channel is held, and the last reading of it succeeded.
    pub(crate) fn is_there(&self) -> bool {
        self.current.load().is_some() && self.failure.load().is_none()
    }

    /// Reads the secret until the server gives it, and anew at every [`Self::doubt`].
    pub(crate) async fn keep_current(&self) {
        loop {
            let mut pause = FIRST_PAUSE;
            while let Err(error) = self.refresh().await {
                self.tell(&error);
                let wait = if error.is_for_people() { PAUSE_FOR_PEOPLE } else { pause };
                tokio::time::sleep(wait).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            if self.failure.swap(None).is_some() {
                tracing::info!("the server's channel is there");
            }
            self.doubted.notified().await;
        }
    }

    /// Says why the channel is not there, once for each reason.
    fn tell(&self, error: &ChannelError) {
        let words = error.in_words();
        let is_new = self.failure.load().as_ref().is_none_or(|told| **told != words);
        if is_new {
            tracing::warn!(reason = words, "the server's channel is not there");
            self.failure.store(Some(Arc::new(words)));
        }
    }

    /// Waits until the server was heard.
    pub(crate) async fn until_current(&self) {
        while self.current.load().is_none() {
            tokio::time::sleep(FIRST_PAUSE).await;
        }
    }

    /// Says that the server was away: when it is back it may have another secret.
    pub(crate) fn doubt(&self) {
        self.doubted.notify_one();
    }

    /// Reads the secret, and takes it when it is another one.
    async fn refresh(&self) -> Result<(), ChannelError> {
        let before = self.current();
        let read = read(&self.place).await?;
        let known = before.as_ref().is_some_and(|before| before.is(&read));
        if !known {
            self.fetches.with_label_values(&["read"]).inc();
            // What was read for requests meanwhile is newer.
            self.current.compare_and_swap(&before, Some(Arc::new(read)));
        }
        Ok(())
    }

    /// Reads the secret again because the server did not know `stale`. Of many requests that
    /// find this out together, one reads and the others take what it came to, a failure too, which
    /// is logged once.
    pub(crate) async fn replace(&self, stale: &Arc<Channel>) -> Result<(), Arc<ChannelError>> {
        if self.current.load().as_ref().is_some_and(|current| !Arc::ptr_eq(current, stale)) {
            return Ok(());
        }
        let joined = self.replacing.join(|| {
            let (place, current) = (self.place.clone(), self.current.clone());
            let fetches = self.fetches.clone();
            async move {
                let read = read(&place).await;
                let result = if read.is_ok() { "read" } else { "failed" };
                fetches.with_label_values(&[result]).inc();
                match read {
                    Ok(read) => {
                        current.store(Some(Arc::new(read)));
                        (Ok(()), Duration::ZERO)
                    }
                    Err(error) => {
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            "the server does not know the channel's secret, and gives no other"
                        );
                        (Err(Arc::new(error)), FAILURE_HOLDS)
                    }
                }
            }
        });
        joined.outcome().await.unwrap_or_else(|| Err(Arc::new(ChannelError::Lost)))
    }

    /// Whether the server says that it can answer, and what it says of why not.
    pub(crate) async fn server_readiness(&self) -> ServerReadiness {
        #[derive(Default, serde::Deserialize)]
        struct Said {
            reason: Option<String>,
            time: Option<String>,
        }
        let asking = async {
            let before = self.clock.now();
            let said = socket_client::get(&self.place, "/ready", LONGEST_READING).await;
            (said, (before, self.clock.now()))
        };
        let ((said, asked), link) = tokio::join!(asking, self.takes_requests());
        let read = |body: &[u8]| serde_json::from_slice::<Said>(body).unwrap_or_default();
        let (ready, mut reason, time) = match said {
            Ok((status, body)) => {
                let Said { reason, time } = read(&body);
                let ready = status == StatusCode::OK;
                (ready, reason.filter(|_| !ready), time)
            }
            Err(error) => (false, self.reason(error), None),
        };
        let clocks = time.and_then(|time| Some(Apart::of(time.parse().ok()?, asked)));
        self.say_of_clocks(clocks);
        if let Some(Err(error)) = &link {
            reason.get_or_insert_with(|| error.clone());
        }
        // What keeps the channel away says more than what comes of that.
        reason = self.failure.load().as_deref().cloned().or(reason);
        let requests = link.map(|link| link.is_ok());
        // On one host there is one clock, and nothing to say of it.
        let says = |apart: &Apart| requests.is_some() || apart.is_told();
        ServerReadiness { ready, requests, reason, clocks: clocks.filter(says) }
    }

    /// Says in the log, once, that the clocks differ, and once that they do no more.
    fn say_of_clocks(&self, clocks: Option<Apart>) {
        let Some(apart) = clocks else { return };
        let differ = apart.in_words();
        match (&differ, self.differ_is_said.swap(differ.is_some(), Ordering::Relaxed)) {
            (Some(words), false) => tracing::warn!("{words}"),
            (None, true) => tracing::info!("the clocks of gateway and server agree"),
            _ => {}
        }
    }

    /// Whether the server takes connections for requests; `None` on this host, where that is one
    /// with answering at all.
    async fn takes_requests(&self) -> Option<Result<(), String>> {
        match &self.place {
            ChannelPlace::Socket(_) => None,
            ChannelPlace::Link(link) => {
                let taken = link.takes_requests().await;
                Some(taken.map_err(|error| ChannelError::Silent(error.into()).in_words()))
            }
        }
    }

    /// Why the server gave no answer, where that says more than that it is not there.
    fn reason(&self, error: ChannelAskError) -> Option<String> {
        match &self.place {
            ChannelPlace::Socket(_) => None,
            ChannelPlace::Link(_) => Some(ChannelError::Silent(error).in_words()),
        }
    }
}

/// How far the server's clock is from the gateway's, at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Apart {
    micros: i64,
}

impl Apart {
    /// By what the server's said between two readings of the gateway's.
    fn of(theirs: Instant, (before, after): (Instant, Instant)) -> Self {
        let [theirs, before, after] = [theirs, before, after].map(Instant::as_micros);
        Self { micros: theirs.saturating_sub(theirs.clamp(before.min(after), after)) }
    }

    fn by(self) -> Duration {
        Duration::from_micros(self.micros.unsigned_abs())
    }

    fn is_told(&self) -> bool {
        self.by() >= CLOCKS_DIFFER
    }

    /// The seconds, where they are to be told.
    pub(crate) fn seconds(self) -> Option<u64> {
        self.is_told().then(|| self.by().as_secs())
    }

    /// Whether the grants of requests are good when they come.
    pub(crate) fn is_borne(self) -> bool {
        self.by() < CLOCKS_DIFFER_AT_MOST
    }

    /// The same for an operator.
    pub(crate) fn in_words(self) -> Option<String> {
        let seconds = self.seconds()?;
        let side = if self.micros > 0 { "ahead of" } else { "behind" };
        let most = CLOCKS_DIFFER_AT_MOST.as_secs();
        Some(format!(
            "the server's clock is {seconds} s {side} the gateway's: set both by NTP; from {most} s \
             on the gateway is not ready"
        ))
    }
}

/// What the server says of itself.
#[derive(Debug)]
pub(crate) struct ServerReadiness {
    /// How far its clock is from the gateway's, where it is on another host or that is too far.
    pub(crate) clocks: Option<Apart>,
    pub(crate) ready: bool,
    /// Whether it takes connections for requests, where it is on another host.
    pub(crate) requests: Option<bool>,
    /// For the operator.
    pub(crate) reason: Option<String>,
}

async fn read(place: &ChannelPlace) -> Result<Channel, ChannelError> {
    let Versions { newest, oldest } = Versions::HERE;
    // For the server's log, where they have none in common.
    let target = format!("/channel?newest={newest}&oldest={oldest}");
    let (status, body) = socket_client::get(place, &target, LONGEST_READING).await?;
    if status != StatusCode::OK {
        return Err(ChannelError::Status(status));
    }
    // The reason is not passed on: it could quote the secret.
    let document: ChannelDocument =
        serde_json::from_slice(&body).map_err(|_| ChannelError::Unreadable)?;
    let version = negotiate(Versions::HERE, document.versions).map_err(ChannelError::Version)?;
    let mut secret =
        HeaderValue::try_from(document.secret.to_header()).map_err(|_| ChannelError::Unreadable)?;
    secret.set_sensitive(true);
    Ok(Channel { secret, version: HeaderValue::from(version) })
}

#[cfg(test)]
mod tests {
    use super::*;

    // Clocks are told apart by no more than is certain, in either direction.
    #[test]
    fn clocks_differ_by_what_the_time_of_asking_does_not_explain() {
        let at = |seconds: i64| Instant::from_micros(seconds * 1_000_000);
        let apart = |theirs| Apart::of(at(theirs), (at(100), at(102)));
        for (theirs, seconds, is_borne) in [
            (101, None, true),
            (104, None, true),
            (107, Some(5), true),
            (156, Some(54), true),
            (157, Some(55), false),
            (96, None, true),
            (95, Some(5), true),
            (45, Some(55), false),
        ] {
            let apart = apart(theirs);
            assert_eq!((apart.seconds(), apart.is_borne()), (seconds, is_borne), "{theirs}");
        }
        assert!(apart(157).in_words().is_some_and(|words| words.contains("55 s ahead of")));
        assert!(apart(45).in_words().is_some_and(|words| words.contains("55 s behind")));
        // A clock that was set back between the two readings is believed.
        assert_eq!(Apart::of(at(101), (at(102), at(100))).seconds(), None);
    }
}
