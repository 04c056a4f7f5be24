//! `meta.versionId`: the number of a version of one resource.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

/// Counts 1, 2, 3 per resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VersionId(NonZeroU64);

/// The text is no version number of this server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a version id of this server is a whole number from 1, without leading zeros")]
pub struct InvalidVersionId;

impl VersionId {
    /// The first version of every resource.
    pub const FIRST: Self = Self(NonZeroU64::MIN);

    /// The version with this number; `None` for 0.
    #[must_use]
    pub const fn new(number: u64) -> Option<Self> {
        match NonZeroU64::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0.get()
    }

    /// The version after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl FromStr for VersionId {
    type Err = InvalidVersionId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let canonical = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
        let number = text.parse().ok().filter(|_| canonical);
        number.map(Self).ok_or(InvalidVersionId)
    }
}

impl fmt::Display for VersionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::VersionId;

    #[test]
    fn version_ids_are_read_only_in_their_canonical_form() {
        // HTTP-066
        assert_eq!("12".parse::<VersionId>().unwrap().get(), 12);
        for bad in ["", "0", "01", "+1", "-1", "abc", "1.0", "99999999999999999999"] {
            assert!(bad.parse::<VersionId>().is_err(), "{bad}");
        }
        assert_eq!(VersionId::FIRST.next().to_string(), "2");
    }
}
