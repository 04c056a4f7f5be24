//! The channel: a secret that a request smuggled in by a client cannot know.

use std::fmt;

use fhir_core::Ids;
use serde::{Deserialize, Serialize};

use crate::{Bytes, Versions, json};

/// 256 random bits, made by the server at each start and fetched by the gateway over a socket
/// that never carries clients' requests.
#[derive(Clone, Serialize, Deserialize)]
pub struct ChannelSecret(#[serde(with = "json")] Bytes<32>);

impl ChannelSecret {
    /// A new secret.
    #[must_use]
    pub fn generate(ids: &dyn Ids) -> Self {
        Self(Bytes::generate(ids))
    }

    /// The value of [`header::CHANNEL`](crate::header::CHANNEL).
    #[must_use]
    pub fn to_header(&self) -> String {
        self.0.to_header()
    }

    /// Whether `header` is this secret; takes the same time wherever they differ.
    #[must_use]
    pub fn matches(&self, header: &str) -> bool {
        self.0.matches(header)
    }
}

impl fmt::Debug for ChannelSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ChannelSecret([redacted])")
    }
}

/// What the server answers over the second socket, as JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ChannelDocument {
    /// The secret.
    pub secret: ChannelSecret,
    /// The versions of the contract that the server speaks.
    pub versions: Versions,
}
