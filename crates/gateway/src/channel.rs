//! The gateway's end of the channel: the server's secret and the version both sides speak.
//!
//! Read from the channel socket when the gateway starts, and again whenever the server may have
//! been restarted: when it said (421) that it does not know the secret, and until it is there
//! once it could not be reached.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use contract::{ChannelDocument, Versions, negotiate};
use http::{HeaderValue, StatusCode};
use prometheus::IntCounterVec;
use tokio::sync::{Mutex, Notify};

use crate::socket_client::{self, AskError};

/// How long one reading may take.
const LONGEST_READING: Duration = Duration::from_secs(2);
/// Pauses between readings while the server is not there. A request whose body was sent is not
/// sent again once it is refused for a stale secret, so such requests may fail for as long as the
/// longest of them after a restart.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

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
    #[error("the channel socket gives no answer")]
    Silent(#[from] AskError),
    #[error("the channel socket answers with status {0}")]
    Status(StatusCode),
    #[error("the channel document cannot be read")]
    Unreadable,
    #[error("the two sides have no version of the contract in common")]
    Version(#[from] contract::NoCommonVersion),
}

/// The secret, as it stands, and how to read it again.
#[derive(Debug)]
pub(crate) struct ChannelKeeper {
    socket: PathBuf,
    current: ArcSwapOption<Channel>,
    reading: Mutex<()>,
    doubted: Notify,
    fetches: IntCounterVec,
}

impl ChannelKeeper {
    pub(crate) fn new(socket: PathBuf, fetches: IntCounterVec) -> Self {
        Self {
            socket,
            current: ArcSwapOption::empty(),
            reading: Mutex::new(()),
            doubted: Notify::new(),
            fetches,
        }
    }

    /// The channel, once the server was heard.
    pub(crate) fn current(&self) -> Option<Arc<Channel>> {
        self.current.load_full()
    }

    /// Reads the secret until the server gives it, and anew at every [`Self::doubt`].
    pub(crate) async fn keep_current(&self) {
        loop {
            let mut pause = FIRST_PAUSE;
            while let Err(error) = self.refresh().await {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "the server's channel is not there"
                );
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            self.doubted.notified().await;
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
        let _reading = self.reading.lock().await;
        let read = self.read().await?;
        let known = self.current.load().as_ref().is_some_and(|current| current.is(&read));
        if !known {
            self.fetches.with_label_values(&["read"]).inc();
            self.current.store(Some(Arc::new(read)));
        }
        Ok(())
    }

    /// Reads the secret again because the server did not know `stale`. Of many requests that
    /// find this out together, one reads and the others take what it found.
    pub(crate) async fn replace(&self, stale: &Arc<Channel>) -> Result<(), ChannelError> {
        let _reading = self.reading.lock().await;
        if self.current.load().as_ref().is_some_and(|current| !Arc::ptr_eq(current, stale)) {
            return Ok(());
        }
        let read = self.read().await;
        let result = if read.is_ok() { "read" } else { "failed" };
        self.fetches.with_label_values(&[result]).inc();
        self.current.store(Some(Arc::new(read?)));
        Ok(())
    }

    async fn read(&self) -> Result<Channel, ChannelError> {
        let (status, body) = socket_client::get(&self.socket, "/channel", LONGEST_READING).await?;
        if status != StatusCode::OK {
            return Err(ChannelError::Status(status));
        }
        // The reason is not passed on: it could quote the secret.
        let document: ChannelDocument =
            serde_json::from_slice(&body).map_err(|_| ChannelError::Unreadable)?;
        let version = negotiate(Versions::HERE, document.versions)?;
        let mut secret = HeaderValue::try_from(document.secret.to_header())
            .map_err(|_| ChannelError::Unreadable)?;
        secret.set_sensitive(true);
        Ok(Channel { secret, version: HeaderValue::from(version) })
    }

    /// Whether the server says that it can answer, and what it says of why not.
    pub(crate) async fn server_readiness(&self) -> ServerReadiness {
        #[derive(serde::Deserialize)]
        struct Said {
            reason: Option<String>,
        }
        match socket_client::get(&self.socket, "/ready", LONGEST_READING).await {
            Ok((StatusCode::OK, _)) => ServerReadiness { ready: true, reason: None },
            Ok((_, body)) => {
                let said = serde_json::from_slice::<Said>(&body).ok();
                ServerReadiness { ready: false, reason: said.and_then(|said| said.reason) }
            }
            Err(_) => ServerReadiness { ready: false, reason: None },
        }
    }
}

/// What the server says of itself.
#[derive(Debug)]
pub(crate) struct ServerReadiness {
    pub(crate) ready: bool,
    /// For the operator.
    pub(crate) reason: Option<String>,
}
