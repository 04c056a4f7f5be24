//! How this crate's types stand in JSON: most as the text that `Display` writes and `FromStr`
//! reads, bytes as base64url without padding.

use std::fmt::{self, Display};
use std::marker::PhantomData;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{Deserializer, Error, Visitor};
use serde::ser::Serializer;

use crate::digest::InvalidBytes;

pub(crate) fn to_base64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads exactly `N` bytes: no padding, no stray bits, nothing before or after.
pub(crate) fn from_base64<const N: usize>(text: &str) -> Result<[u8; N], InvalidBytes> {
    let mut bytes = [0; N];
    // A longer text finds no room, a shorter one leaves some.
    match URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) {
        Ok(length) if length == N => Ok(bytes),
        _ => Err(InvalidBytes(N)),
    }
}

/// Whether `text` may stand where the contract carries names it does not read: 1 to 1,024 bytes,
/// no control characters.
pub(crate) fn is_plain(text: &str) -> bool {
    (1..=1024).contains(&text.len()) && !text.chars().any(char::is_control)
}

pub(crate) fn serialize<T: Display, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}

pub(crate) fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
where
    T: FromStr<Err: Display>,
    D: Deserializer<'de>,
{
    from.deserialize_str(TextVisitor(PhantomData))
}

struct TextVisitor<T>(PhantomData<T>);

impl<T: FromStr<Err: Display>> Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a string")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

/// For members that may be absent; when present they are text, never null.
pub(crate) mod optional {
    use super::{Deserializer, Display, FromStr, Serializer};

    pub(crate) fn serialize<T: Display, S: Serializer>(
        value: &Option<T>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            None => to.serialize_none(),
            Some(value) => to.collect_str(value),
        }
    }

    pub(crate) fn deserialize<'de, T, D>(from: D) -> Result<Option<T>, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        super::deserialize(from).map(Some)
    }
}

/// Lists the types that stand in JSON as their text.
macro_rules! stand_as_text {
    ($($name:ty),+ $(,)?) => {$(
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                crate::text::serialize(self, to)
            }
        }
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                crate::text::deserialize(from)
            }
        }
    )+};
}

stand_as_text!(
    crate::Action,
    crate::Digest,
    crate::Instance,
    crate::Nonce,
    crate::TenantName,
    crate::Within,
);
