//! Bytes that stand in headers as base64url without padding: the digest that ties a grant to one
//! request, and the nonce that ties an answer to it.

use std::fmt;
use std::str::FromStr;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use fhir_core::Ids;
use ring::digest::{Context, SHA256};
use subtle::ConstantTimeEq;

/// `N` bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes<const N: usize>([u8; N]);

/// SHA-256 of a request's method, path and query.
pub type Digest = Bytes<32>;

/// 128 random bits of one request; its answer must return them.
pub type Nonce = Bytes<16>;

/// The text is not this number of bytes in base64url without padding.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not {0} bytes in base64url without padding")]
pub struct InvalidBytes(pub usize);

/// The digest of a request. Each part is preceded by its length in bytes (64 bits, big-endian),
/// so that no two requests share their framing; the query by a byte first, 0 when there is none
/// (then nothing follows) and 1 when there is one, be it empty.
///
/// `path` is the whole path of the request line, the base included; it and `query` as received.
#[must_use]
pub fn digest(method: &str, path: &str, query: Option<&str>) -> Digest {
    let mut context = Context::new(&SHA256);
    let part = |context: &mut Context, text: &str| {
        context.update(&(text.len() as u64).to_be_bytes());
        context.update(text.as_bytes());
    };
    part(&mut context, method);
    part(&mut context, path);
    context.update(&[u8::from(query.is_some())]);
    if let Some(query) = query {
        part(&mut context, query);
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    Bytes(bytes)
}

impl<const N: usize> Bytes<N> {
    /// New bytes from the cryptographic source.
    #[must_use]
    pub fn generate(ids: &dyn Ids) -> Self {
        let mut bytes = [0; N];
        ids.fill(&mut bytes);
        Self(bytes)
    }

    /// The value of a header.
    #[must_use]
    pub fn to_header(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// Whether `header` is these bytes; takes the same time wherever they differ.
    #[must_use]
    pub fn matches(&self, header: &str) -> bool {
        header.parse().is_ok_and(|other: Self| self.0.ct_eq(&other.0).into())
    }
}

/// Exactly `N` bytes: no padding, no stray bits, nothing before or after.
impl<const N: usize> FromStr for Bytes<N> {
    type Err = InvalidBytes;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; N];
        // A longer text finds no room, a shorter one leaves some.
        match URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) {
            Ok(length) if length == N => Ok(Self(bytes)),
            _ => Err(InvalidBytes(N)),
        }
    }
}

impl<const N: usize> fmt::Display for Bytes<N> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.to_header())
    }
}
