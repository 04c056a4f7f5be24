//! API keys: `hg_` + key id + `_` + 256-bit secret as base64url.
//!
//! Only the SHA-256 of the secret is kept. A slow, salted hash guards what people choose and can
//! be guessed; 256 bits from the system's source cannot be, whatever the hash costs, and this one
//! is computed for every request. The text has only letters, digits, `_` and `-`, so that it
//! needs no quoting in a shell or a header.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use contract::{Ids, Instant, Redacted};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::client::ClientId;

const PREFIX: &str = "hg_";
/// What an operator's token begins with, which is no key and is written as one.
pub(crate) const OPERATOR_PREFIX: &str = "hgo_";
const ID_BYTES: usize = 8;
const SECRET_BYTES: usize = 32;
const SECRET_TEXT: usize = 43;
/// What an authorization id of an API key begins with.
const AUTHORIZATION: &str = "key:";

/// A key's id: 16 lower-case hexadecimal digits. Not secret: it stands in lists and logs.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyId(Arc<str>);

/// The text is no key id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a key id has 16 digits of 0-9 a-f")]
pub struct InvalidKeyId;

/// A key as lists show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Its id.
    pub id: KeyId,
    /// Whose it is.
    pub client: ClientId,
    /// What it is for, in its maker's words; may be empty.
    pub label: String,
    /// When it was made.
    pub created: Instant,
    /// When it was revoked.
    pub revoked: Option<Instant>,
    /// Since when it waits to be confirmed, its registry having come out of a backup.
    pub suspended: Option<Instant>,
    /// From when on it authenticates nobody, another key having taken its place.
    pub expires: Option<Instant>,
}

/// A key just made: the only moment at which its text exists.
#[derive(Debug, Clone)]
pub struct CreatedKey {
    /// Its id.
    pub key_id: KeyId,
    /// The whole text of the key, to be shown once.
    pub secret: Redacted<String>,
}

/// SHA-256 of a secret. Its `Debug` prints nothing: a hash is no business of a log either.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct SecretHash(pub(crate) [u8; 32]);

impl KeyId {
    /// Reads a key id.
    ///
    /// # Errors
    /// [`InvalidKeyId`] when the text is not one.
    pub fn new(text: &str) -> Result<Self, InvalidKeyId> {
        if is_key_id(text) { Ok(Self(Arc::from(text))) } else { Err(InvalidKeyId) }
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id of the authorization that this key is, for grants: `key:ID`.
    #[must_use]
    pub fn authorization(&self) -> String {
        [AUTHORIZATION, self.as_str()].concat()
    }

    /// The key that an authorization id names.
    #[must_use]
    pub fn from_authorization(authorization: &str) -> Option<Self> {
        Self::new(authorization.strip_prefix(AUTHORIZATION)?).ok()
    }
}

fn is_key_id(text: &str) -> bool {
    text.len() == 2 * ID_BYTES
        && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// Draws an id.
pub(crate) fn draw_id(ids: &dyn Ids) -> KeyId {
    let mut bytes = [0; ID_BYTES];
    ids.fill(&mut bytes);
    KeyId(Arc::from(hexadecimal(&bytes)))
}

/// Draws a secret for the key `id`: the key's text and the hash to keep.
pub(crate) fn draw_secret(ids: &dyn Ids, id: &KeyId) -> (Redacted<String>, SecretHash) {
    draw(PREFIX, ids, id)
}

/// Draws a secret for an operator's token.
pub(crate) fn draw_operator_secret(ids: &dyn Ids, id: &KeyId) -> (Redacted<String>, SecretHash) {
    draw(OPERATOR_PREFIX, ids, id)
}

fn draw(prefix: &str, ids: &dyn Ids, id: &KeyId) -> (Redacted<String>, SecretHash) {
    let mut secret = [0; SECRET_BYTES];
    ids.fill(&mut secret);
    let text = [prefix, id.as_str(), "_", &URL_SAFE_NO_PAD.encode(secret)].concat();
    (Redacted::new(text), SecretHash::of(&secret))
}

/// Whether a text is written as a key is, or as an operator's token, whatever it is worth: it is
/// for nobody else to see.
#[must_use]
pub fn is_key(text: &str) -> bool {
    text.starts_with(PREFIX) || text.starts_with(OPERATOR_PREFIX)
}

/// The text with what is behind the id left out of every key and operator's token in it.
pub(crate) fn without_secrets(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    let begins = |text: &str| {
        let found = [PREFIX, OPERATOR_PREFIX].into_iter();
        found.filter_map(|prefix| Some((text.find(prefix)?, prefix.len()))).min()
    };
    while let Some((at, prefix)) = begins(rest) {
        let id = at + prefix;
        let of_key = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-".contains(byte);
        let length = rest[id..].bytes().take_while(|byte| of_key(byte)).count();
        let told = length.min(2 * ID_BYTES);
        kept.push_str(&rest[..id + told]);
        if length > told {
            kept.push_str("_[redacted]");
        }
        rest = &rest[id + length..];
    }
    kept + rest
}

/// Takes a presented key apart: its id and the hash of its secret; `None` when it has not a
/// key's form.
pub(crate) fn read_presented(presented: &str) -> Option<(&str, SecretHash)> {
    read(PREFIX, presented)
}

/// The same of an operator's token.
pub(crate) fn read_operator_token(presented: &str) -> Option<(&str, SecretHash)> {
    read(OPERATOR_PREFIX, presented)
}

fn read<'text>(prefix: &str, presented: &'text str) -> Option<(&'text str, SecretHash)> {
    let (id, secret) = presented.strip_prefix(prefix)?.split_once('_')?;
    if !is_key_id(id) || secret.len() != SECRET_TEXT {
        return None;
    }
    let mut bytes = [0; SECRET_BYTES];
    let length = URL_SAFE_NO_PAD.decode_slice(secret, &mut bytes).ok()?;
    (length == SECRET_BYTES).then(|| (id, SecretHash::of(&bytes)))
}

impl SecretHash {
    fn of(secret: &[u8; SECRET_BYTES]) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, secret).as_ref());
        Self(hash)
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl From<SecretHash> for String {
    fn from(hash: SecretHash) -> Self {
        hexadecimal(&hash.0)
    }
}

impl TryFrom<String> for SecretHash {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const REFUSED: &str = "a hash has 64 hexadecimal digits";
        if text.len() != 64 || !text.is_ascii() {
            return Err(REFUSED);
        }
        let mut hash = [0; 32];
        for (at, byte) in hash.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|_| REFUSED)?;
        }
        Ok(Self(hash))
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[redacted]")
    }
}

impl std::borrow::Borrow<str> for KeyId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyId {
    type Err = InvalidKeyId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

impl TryFrom<String> for KeyId {
    type Error = InvalidKeyId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(&text)
    }
}

impl From<KeyId> for String {
    fn from(id: KeyId) -> Self {
        id.as_str().to_owned()
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counting;

    impl Ids for Counting {
        fn next(&self) -> u128 {
            1
        }

        fn fill(&self, bytes: &mut [u8]) {
            for (number, byte) in (0xf0..=u8::MAX).cycle().zip(bytes) {
                *byte = number;
            }
        }
    }

    #[test]
    fn a_presented_key_is_read_back_to_its_id_and_hash() {
        let id = draw_id(&Counting);
        assert_eq!(id.as_str(), "f0f1f2f3f4f5f6f7");
        let (secret, hash) = draw_secret(&Counting, &id);
        let text = secret.expose();
        assert!(
            text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)),
            "{text}"
        );
        assert_eq!(read_presented(text), Some((id.as_str(), hash)));
    }

    #[test]
    fn what_has_not_a_keys_form_is_no_key() {
        let id = draw_id(&Counting);
        let (secret, _) = draw_secret(&Counting, &id);
        let text = secret.expose().as_str();
        let upper = text.replace("f0f1", "F0F1");
        for bad in ["", "hg_", "hg__", &text[1..], &text[..text.len() - 1], &upper] {
            assert!(read_presented(bad).is_none(), "{bad}");
        }
        assert!(read_presented(&format!("{text}A")).is_none());
        assert!(read_presented(&text.replace('f', "é")).is_none());
    }

    #[test]
    fn a_hash_survives_its_text_and_never_prints() {
        let hash = SecretHash([0xab; 32]);
        let text = String::from(hash);
        assert_eq!(SecretHash::try_from(text.clone()), Ok(hash));
        assert_eq!(format!("{hash:?}"), "[redacted]");
        assert!(SecretHash::try_from(text[1..].to_owned()).is_err());
        assert!(SecretHash::try_from("é".repeat(32)).is_err());
    }

    #[test]
    fn an_authorization_names_its_key() {
        let id = draw_id(&Counting);
        assert_eq!(KeyId::from_authorization(&id.authorization()), Some(id));
        for bad in ["", "key:", "key:xyz", "token:f0f1f2f3f4f5f6f7"] {
            assert_eq!(KeyId::from_authorization(bad), None, "{bad}");
        }
    }
}
