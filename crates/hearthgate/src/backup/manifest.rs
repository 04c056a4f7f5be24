//! What a backup says of itself: one JSON file for each time it was made, never changed.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use contract::Instant;
use serde::{Deserialize, Serialize};
use store::{CommitHash, Head, T};

/// The format of backups that this release writes.
pub(super) const FORMAT: u32 = 1;

const PREFIX: &str = "backup-";
const SUFFIX: &str = ".json";

/// One time that a backup was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Manifest {
    pub(super) format: u32,
    /// Counted from 1.
    pub(super) number: u64,
    /// When, by the clock of who made it.
    #[serde(with = "instant_text")]
    pub(super) made: Instant,
    /// The release that made it.
    pub(super) release: String,
    pub(super) tenants: BTreeMap<String, Tenant>,
    /// The registry's changes; none where the data directory has no registry.
    pub(super) registry: Option<Piece>,
}

/// A tenant's log up to one position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Tenant {
    pub(super) head: LastCommit,
    /// The file `format` of the tenant's directory.
    pub(super) store_format: String,
    /// The definitions that its resources are of; none where they are of R4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) definitions: Option<Piece>,
    pub(super) segments: Vec<Segment>,
    /// The blobs that the log names, by id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) blobs: BTreeMap<String, Piece>,
    /// The files of the audit log.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) audit: Vec<Segment>,
}

/// The last commit that a backup has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct LastCommit {
    pub(super) t: u64,
    #[serde(with = "instant_text")]
    pub(super) instant: Instant,
    /// In hexadecimal digits.
    pub(super) hash: String,
}

/// A segment of a log, in pieces that follow each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) pieces: Vec<Piece>,
}

/// A file of the backup, written once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Piece {
    /// Its path within the backup.
    pub(super) file: String,
    pub(super) length: u64,
    /// In hexadecimal digits.
    pub(super) sha256: String,
}

impl Segment {
    pub(super) fn length(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.length).sum()
    }
}

impl Tenant {
    /// The bytes of its log, its blobs and its audit log.
    pub(super) fn length(&self) -> u64 {
        let blobs: u64 = self.blobs.values().map(|piece| piece.length).sum();
        self.segments.iter().chain(&self.audit).map(Segment::length).sum::<u64>() + blobs
    }
}

impl Manifest {
    /// The name of its file.
    pub(super) fn file_name(number: u64) -> String {
        format!("{PREFIX}{number:06}{SUFFIX}")
    }
}

impl LastCommit {
    pub(super) fn of(head: &Head) -> Self {
        Self { t: head.t.get(), instant: head.instant, hash: hexadecimal(&head.hash.0) }
    }

    /// The head; `None` when the hash is not one.
    pub(super) fn head(&self) -> Option<Head> {
        let mut hash = CommitHash::ZERO;
        if self.hash.len() != 2 * hash.0.len() || !self.hash.is_ascii() {
            return None;
        }
        for (byte, digits) in hash.0.iter_mut().zip(self.hash.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        Some(Head { t: T::new(self.t), instant: self.instant, hash })
    }
}

/// Instants as FHIR writes them.
mod instant_text {
    use contract::Instant;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        instant: &Instant,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(instant)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Instant, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The manifests in a backup: numbers and paths, the oldest first. Empty where there is none.
pub(super) fn list(backup: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let entries = match std::fs::read_dir(backup) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let digits = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX));
        found.extend(digits.and_then(|digits| Some((digits.parse().ok()?, entry.path()))));
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_survives_its_text() {
        let hash = CommitHash(std::array::from_fn(|at| at as u8 * 7));
        let head = Head { t: T::new(5), instant: Instant::from_micros(9), hash };
        assert_eq!(LastCommit::of(&head).head(), Some(head));
        for wrong in ["", "zz", &"0".repeat(65), &"é".repeat(32)] {
            let commit = LastCommit { hash: wrong.to_owned(), ..LastCommit::of(&head) };
            assert_eq!(commit.head(), None);
        }
    }
}
