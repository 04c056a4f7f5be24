//! What tells whether two definitions give the same values, also across processes: a hash of all
//! that extraction takes from them.
//!
//! It is FNV-1a with 128 bits (draft-eastlake-fnv), which no library may change under what was
//! written by it. It is no defence against who would make two definitions collide.

use std::fmt;

use super::{Component, Flaw, Kind, Origin, Parameter};

/// Changed when the same definitions come to other values than before.
const FORMAT: u8 = 1;

const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

/// A hash of what the values of a parameter, or of a whole set of them, depend on: for each the
/// type, the code, the kind, the expression, the components, and how long its expression may take.
///
/// Equal ones give the same values from the same resource, by one version of FHIR and one set of
/// value sets, which it says nothing of. Names, texts, modifiers and what else a query alone heeds
/// are not in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(u128);

impl Fingerprint {
    /// Of one parameter.
    pub(super) fn of(
        (resource_type, code): (&str, &str),
        (kind, origin): (Kind, Origin),
        expression: Option<&str>,
        (components, flaw): (&[Component], Option<&Flaw>),
    ) -> Self {
        let mut hash = Hash(OFFSET).byte(FORMAT).text(resource_type).text(code);
        hash = hash.text(kind.as_str()).byte(u8::from(origin == Origin::Posted));
        hash = match expression {
            None => hash.byte(0),
            Some(expression) => hash.byte(1).text(expression),
        };
        hash = hash.byte(u8::from(flaw.is_some()));
        for component in components {
            hash = hash.text(component.kind.as_str()).text(&component.expression);
        }
        Self(hash.0)
    }

    /// Of a set, in whatever order it stands.
    pub(super) fn of_all<'p>(parameters: impl Iterator<Item = &'p Parameter>) -> Self {
        let mut all: Vec<u128> = parameters.map(|parameter| parameter.fingerprint.0).collect();
        all.sort_unstable();
        let hash = Hash(OFFSET).byte(FORMAT);
        Self(all.iter().fold(hash, |hash, one| hash.bytes(&one.to_be_bytes())).0)
    }

    /// As bytes, the greatest first.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// Of bytes as [`Fingerprint::to_bytes`] gives them.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }
}

/// 32 hexadecimal digits.
impl fmt::Display for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}

struct Hash(u128);

impl Hash {
    fn byte(self, byte: u8) -> Self {
        Self((self.0 ^ u128::from(byte)).wrapping_mul(PRIME))
    }

    fn bytes(self, bytes: &[u8]) -> Self {
        bytes.iter().fold(self, |hash, byte| hash.byte(*byte))
    }

    /// A text with its length, so that two texts are not read as one.
    fn text(self, text: &str) -> Self {
        self.bytes(&(text.len() as u64).to_be_bytes()).bytes(text.as_bytes())
    }
}
