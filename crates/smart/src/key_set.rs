//! The public keys of an issuer (RFC 7517): what of a JSON Web Key Set can check signatures here.
//!
//! Each key has one algorithm, fixed when the set is read: a token's header chooses a key and
//! never how that key is used. What is no key for signatures that are taken here (shared secrets,
//! keys to encrypt with, other curves, RSA below 2048 bits) is left out and counted.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{RsaPublicKeyComponents, UnparsedPublicKey};
use serde::Deserialize;

use crate::algorithm::Algorithm;

/// The longest key set, in bytes.
pub const LONGEST_KEY_SET: usize = 256 * 1024;
/// The most keys in one.
const MOST_KEYS: usize = 100;
/// The shortest modulus of RSA, in bytes.
const SHORTEST_MODULUS: usize = 256;

/// Keys that check signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySet {
    keys: Vec<Key>,
    left_out: usize,
}

/// One key with its one algorithm.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Key {
    id: Option<String>,
    pub(crate) algorithm: Algorithm,
    material: Material,
}

#[derive(Clone, PartialEq, Eq)]
enum Material {
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// A point as the algorithm's curve writes it.
    Point(Vec<u8>),
}

/// A key that checked a signature, to be known again.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey(Key);

impl SigningKey {
    pub(crate) fn of(key: &Key) -> Self {
        Self(key.clone())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Why a text is no key set.
#[derive(Debug, thiserror::Error)]
pub enum KeySetError {
    /// It is longer than [`LONGEST_KEY_SET`].
    #[error("the key set has {0} bytes, more than {LONGEST_KEY_SET}")]
    TooLong(usize),
    /// It is not the JSON of one.
    #[error("the key set is not the JSON of RFC 7517")]
    NotJson(#[source] serde_json::Error),
    /// It has more keys than are looked at.
    #[error("the key set has {0} keys, more than {MOST_KEYS}")]
    TooMany(usize),
    /// No token could be checked with it.
    #[error("the key set has {0} keys, and none is for a signature algorithm that is accepted")]
    NoKey(usize),
}

#[derive(Deserialize)]
struct WrittenSet {
    keys: Vec<serde_json::Value>,
}

/// The members that are read; a private key's others are not.
#[derive(Deserialize)]
struct WrittenKey {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// Reads a key set. A key that names no algorithm gets the first of `accepted` that its kind
    /// can have; one that names another than those is left out.
    ///
    /// # Errors
    /// [`KeySetError`] when no key is left.
    pub fn parse(text: &[u8], accepted: &[Algorithm]) -> Result<Self, KeySetError> {
        if text.len() > LONGEST_KEY_SET {
            return Err(KeySetError::TooLong(text.len()));
        }
        let written: WrittenSet = serde_json::from_slice(text).map_err(KeySetError::NotJson)?;
        let all = written.keys.len();
        if all > MOST_KEYS {
            return Err(KeySetError::TooMany(all));
        }
        let keys: Vec<Key> = written
            .keys
            .into_iter()
            .filter_map(|key| serde_json::from_value::<WrittenKey>(key).ok()?.read(accepted))
            .collect();
        if keys.is_empty() {
            return Err(KeySetError::NoKey(all));
        }
        Ok(Self { left_out: all - keys.len(), keys })
    }

    /// How many keys it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether it has none, which a set that was read never is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// How many keys beside them are of no use here.
    #[must_use]
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// Whether the key is one of these, with the same id and for the same algorithm.
    #[must_use]
    pub fn shows(&self, key: &SigningKey) -> bool {
        self.keys.contains(&key.0)
    }

    /// The key of this id; of a token that names none, the only key of its algorithm.
    pub(crate) fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<&Key> {
        let Some(id) = id else {
            let mut of_algorithm = self.keys.iter().filter(|key| key.algorithm == algorithm);
            let only = of_algorithm.next()?;
            return of_algorithm.next().is_none().then_some(only);
        };
        // Two keys of one id are of two kinds (RFC 7517, section 4.5).
        let named = || self.keys.iter().filter(|key| key.id.as_deref() == Some(id));
        named().find(|key| key.algorithm == algorithm).or_else(|| named().next())
    }
}

impl Key {
    /// Whether `signature` is this key's of `signed`.
    pub(crate) fn has_signed(&self, signed: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Rsa { modulus, exponent } => self.algorithm.of_rsa().is_some_and(|rsa| {
                let key = RsaPublicKeyComponents { n: modulus, e: exponent };
                key.verify(rsa, signed, signature).is_ok()
            }),
            Material::Point(point) => self.algorithm.of_curve().is_some_and(|curve| {
                UnparsedPublicKey::new(curve, point).verify(signed, signature).is_ok()
            }),
        }
    }
}

impl WrittenKey {
    fn read(self, accepted: &[Algorithm]) -> Option<Key> {
        let to_verify = self.purpose.as_deref().is_none_or(|purpose| purpose == "sig")
            && self.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        if !to_verify {
            return None;
        }
        let fitting: &[Algorithm] = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => &[Algorithm::Rs256, Algorithm::Rs384],
            ("EC", Some("P-256")) => &[Algorithm::Es256],
            ("EC", Some("P-384")) => &[Algorithm::Es384],
            ("OKP", Some("Ed25519")) => &[Algorithm::EdDsa],
            _ => return None,
        };
        let named = match self.alg.as_deref() {
            // The name that RFC 9864 gives to EdDSA with this curve.
            Some("Ed25519") => Some(Algorithm::EdDsa),
            Some(name) => Some(name.parse().ok()?),
            None => None,
        };
        let algorithm = *accepted.iter().find(|algorithm| {
            fitting.contains(algorithm) && named.is_none_or(|named| named == **algorithm)
        })?;
        let material = match algorithm {
            Algorithm::Rs256 | Algorithm::Rs384 => {
                let (modulus, exponent) =
                    (number(self.n.as_deref()?)?, number(self.e.as_deref()?)?);
                if modulus.len() < SHORTEST_MODULUS {
                    return None;
                }
                Material::Rsa { modulus, exponent }
            }
            Algorithm::Es256 => point_of(32, &self)?,
            Algorithm::Es384 => point_of(48, &self)?,
            Algorithm::EdDsa => Material::Point(bytes(self.x.as_deref()?, 32)?),
        };
        Some(Key { id: self.kid, algorithm, material })
    }
}

/// The uncompressed point of a curve whose coordinates have this many bytes.
fn point_of(length: usize, key: &WrittenKey) -> Option<Material> {
    let (x, y) = (bytes(key.x.as_deref()?, length)?, bytes(key.y.as_deref()?, length)?);
    Some(Material::Point([&[4], x.as_slice(), &y].concat()))
}

fn bytes(text: &str, length: usize) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok().filter(|bytes| bytes.len() == length)
}

/// A number without leading zeros.
fn number(text: &str) -> Option<Vec<u8>> {
    let mut bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.drain(..zeros);
    (!bytes.is_empty()).then_some(bytes)
}

/// Public, and of no use in a log.
impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Key({:?}, {})", self.id, self.algorithm)
    }
}
