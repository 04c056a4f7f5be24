//! The port of a store in which several gateways share their counters.

use std::fmt;

use async_trait::async_trait;

use crate::limiter::Rate;
use crate::plans::Window;

/// A store that several gateways share. Each exchange is one step for all: what one gateway is
/// granted no other is.
#[async_trait]
pub trait CounterStore: Send + Sync + fmt::Debug {
    /// Tells the store what was given out on account or is given back, and asks it for more.
    /// `gateway` is this gateway's own id: whoever spoke within the last 5 s counts as there.
    ///
    /// # Errors
    /// [`StoreError`] when it does not answer as it should; whether it took up what it was told
    /// is then not known.
    async fn exchange(&self, gateway: &str, reports: &[Report]) -> Result<Exchanged, StoreError>;
}

/// What is told of one counter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Names the counter among those of all gateways. It tells nothing of whose it is.
    pub key: String,
    /// What is counted.
    pub of: Reported,
    /// Tokens given back; below zero, given out on account.
    pub give: i64,
    /// Tokens asked for.
    pub want: u64,
}

/// What a counter counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reported {
    /// A token bucket.
    Rate(Rate),
    /// So much in a window.
    Quota {
        /// How much.
        most: u64,
        /// In which window.
        window: Window,
        /// The slice of the window that counts now.
        slice: i64,
        /// What this gateway knows to be used: taken up where the store knows nothing.
        used: u64,
    },
}

/// What the store answers about one counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Granted {
    /// Tokens given.
    pub tokens: u64,
    /// What is left for all after that; below zero, what was given out on account beyond it.
    pub left: i64,
}

/// What the store answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchanged {
    /// Gateways that spoke to it within the last 5 s, this one among them.
    pub gateways: u32,
    /// One answer for each report, in their order.
    pub granted: Vec<Granted>,
}

/// The store did not answer as it should.
#[derive(Debug, thiserror::Error)]
#[error("the store of shared counters did not answer: {0}")]
pub struct StoreError(pub String);
