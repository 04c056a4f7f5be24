//! A line of the trail: what it says, how it is read, and what of an asker's words it keeps.

use std::path::Path;

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::error::OpenError;
use crate::key;

/// Characters of a text in a line that its asker chose; the rest is left out.
const LONGEST_TEXT: usize = 300;
/// Bytes of a line, its end included: what is longer no release wrote.
pub(super) const LONGEST_LINE: usize = 64 << 10;
/// What the first line names as the one before it.
pub(super) const NOTHING_BEFORE: &str =
    "0000000000000000000000000000000000000000000000000000000000000000";

/// What somebody asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doing {
    /// Who: `operator anna`, `uid 1000`, `nobody known`.
    pub by: String,
    /// From which address, where it came over the network.
    pub from: Option<String>,
    /// By which way.
    pub how: How,
    /// What is to be done, in one word: `keys.create`.
    pub operation: String,
    /// With what: `client app`. Empty where the word says it.
    pub object: String,
}

/// By which way something is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// By the admin API.
    Api,
    /// By a command on this machine.
    Command,
    /// By a signal to the process.
    Signal,
}

/// What came of it, or that it is not known yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It is about to be done. Where no other line says how it ended, the process did before.
    Begun,
    /// It is done.
    Done,
    /// It was not done.
    Refused,
}

/// A line of the trail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct TrailLine {
    /// Its number, counted from 1.
    pub number: u64,
    /// When it was written.
    pub at: String,
    /// The number of the line that says `begun` of the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<u64>,
    /// Who asked.
    pub by: String,
    /// From which address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// By which way.
    pub how: How,
    /// What was asked for.
    pub operation: String,
    /// With what.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub object: String,
    /// What came of it.
    pub outcome: Outcome,
    /// With which status of HTTP it was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// Of so many requests that were refused this speaks, none of which has a line of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub more: Option<u64>,
    /// The SHA-256 of the line before, its end of line included.
    pub previous: String,
}

/// The line of this number, as its bytes have it.
pub(super) fn line_of(
    path: &Path,
    offset: u64,
    number: u64,
    bytes: &[u8],
) -> Result<TrailLine, OpenError> {
    match serde_json::from_slice::<TrailLine>(bytes) {
        Ok(line) if line.number == number => Ok(line),
        Ok(_) => Err(damaged(path, offset, number, "a line is out of sequence")),
        Err(_) => Err(damaged(path, offset, number, "a line is not what this release writes")),
    }
}

/// What is wrong with the line of this number, which begins there.
pub(super) fn damaged(path: &Path, offset: u64, number: u64, what: &'static str) -> OpenError {
    OpenError::TrailDamaged { path: path.to_owned(), offset, after: number.saturating_sub(1), what }
}

/// What the next line names.
pub(super) fn hash(line: &[u8]) -> String {
    digest(&SHA256, line).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A text without its end where it is long, and without secrets that its asker put into it.
pub(super) fn shortened(text: &str) -> String {
    let text = key::without_secrets(text);
    match text.char_indices().nth(LONGEST_TEXT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
