//! The digest that ties a grant to one request, and the nonce that ties an answer to it.

use std::fmt;
use std::str::FromStr;

use fhir_core::Ids;
use ring::digest::{Context, SHA256};
use subtle::ConstantTimeEq;

use crate::text;

/// SHA-256 of a request's method, path and query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest([u8; 32]);

/// 128 random bits of one request; its answer must return them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nonce([u8; 16]);

/// The text is not this number of bytes in base64url without padding.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not {0} bytes in base64url without padding")]
pub struct InvalidBytes(pub usize);

/// The digest of a request. Each part is preceded by its length in bytes (64 bits, big-endian),
/// so that no two requests share their framing; the query by a byte first, 0 when there is none
/// (then nothing follows) and 1 when there is one, be it empty.
///
/// `path` is relative to the FHIR base and, like `query`, as it was received.
#[must_use]
pub fn digest(method: &str, path: &str, query: Option<&str>) -> Digest {
    let mut context = Context::new(&SHA256);
    let mut part = |text: &str| {
        context.update(&(text.len() as u64).to_be_bytes());
        context.update(text.as_bytes());
    };
    part(method);
    part(path);
    match query {
        None => context.update(&[0]),
        Some(query) => {
            context.update(&[1]);
            context.update(&(query.len() as u64).to_be_bytes());
            context.update(query.as_bytes());
        }
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    Digest(bytes)
}

impl Nonce {
    /// A new nonce.
    #[must_use]
    pub fn generate(ids: &dyn Ids) -> Self {
        let mut bytes = [0; 16];
        ids.fill(&mut bytes);
        Self(bytes)
    }

    /// The value of [`header::NONCE`](crate::header::NONCE).
    #[must_use]
    pub fn to_header(&self) -> String {
        text::to_base64(&self.0)
    }

    /// Whether the header of an answer is this nonce.
    #[must_use]
    pub fn matches(&self, header: &str) -> bool {
        text::from_base64::<16>(header).is_ok_and(|other| bool::from(self.0.ct_eq(&other)))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&text::to_base64(&self.0))
    }
}

impl FromStr for Digest {
    type Err = InvalidBytes;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text::from_base64(text).map(Self)
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.to_header())
    }
}

impl FromStr for Nonce {
    type Err = InvalidBytes;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text::from_base64(text).map(Self)
    }
}
