//! Positions in the log, and the ids and hashes that name what stands there.

use std::fmt;

use fhir_core::Instant;
use ring::digest::{SHA256, digest};

/// A position in the log: the first commit has 1, each later one the next number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct T(u64);

impl T {
    /// The position of an empty log, before the first commit.
    pub const ZERO: Self = Self(0);

    /// The position with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The position after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for T {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// A commit's unique id, chosen before it is appended: what an unknown outcome is asked for by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CommitId(pub u128);

/// SHA-256 over the hash of the commit before and everything the record says but the bodies,
/// which stand in it by their [`ContentHash`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CommitHash(pub [u8; 32]);

impl CommitHash {
    /// What the first commit has as the hash before it.
    pub const ZERO: Self = Self([0; 32]);
}

/// SHA-256 of a body as stored: coded, and sealed where it is sealed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentHash(pub [u8; 32]);

impl ContentHash {
    /// The hash of this body.
    #[must_use]
    pub fn of(body: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, body).as_ref());
        Self(bytes)
    }
}

/// Where the log ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The position of the last commit.
    pub t: T,
    /// Its instant.
    pub instant: Instant,
    /// Its hash.
    pub hash: CommitHash,
}

impl Head {
    /// The head of a log without commits.
    pub const EMPTY: Self = Self { t: T::ZERO, instant: Instant::MIN, hash: CommitHash::ZERO };
}

impl fmt::Debug for CommitHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        hexadecimal(&self.0, formatter)
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        hexadecimal(&self.0, formatter)
    }
}

fn hexadecimal(bytes: &[u8], formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
}
