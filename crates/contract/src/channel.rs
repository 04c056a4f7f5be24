//! The channel: a secret that a request smuggled in by a client cannot know.

use std::fmt;

use fhir_core::Ids;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use crate::{Versions, digest::InvalidBytes, text};

/// 256 random bits, made by the server at each start and fetched by the gateway over a socket
/// that never carries clients' requests.
#[derive(Clone)]
pub struct ChannelSecret([u8; 32]);

impl ChannelSecret {
    /// A new secret.
    #[must_use]
    pub fn generate(ids: &dyn Ids) -> Self {
        let mut bytes = [0; 32];
        ids.fill(&mut bytes);
        Self(bytes)
    }

    /// The value of [`header::CHANNEL`](crate::header::CHANNEL).
    #[must_use]
    pub fn to_header(&self) -> String {
        text::to_base64(&self.0)
    }

    /// Reads a secret fetched from the server.
    ///
    /// # Errors
    /// [`InvalidBytes`] when the text is not 32 bytes in base64url without padding.
    pub fn from_header(header: &str) -> Result<Self, InvalidBytes> {
        text::from_base64(header).map(Self)
    }

    /// Whether `header` is this secret; takes the same time wherever they differ.
    #[must_use]
    pub fn matches(&self, header: &str) -> bool {
        Self::from_header(header).is_ok_and(|other| bool::from(self.0.ct_eq(&other.0)))
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
    #[serde(serialize_with = "write_secret", deserialize_with = "read_secret")]
    pub secret: ChannelSecret,
    /// The versions of the contract that the server speaks.
    pub versions: Versions,
}

fn write_secret<S: serde::Serializer>(
    secret: &ChannelSecret,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&secret.to_header())
}

fn read_secret<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<ChannelSecret, D::Error> {
    let header = String::deserialize(deserializer)?;
    ChannelSecret::from_header(&header).map_err(serde::de::Error::custom)
}
