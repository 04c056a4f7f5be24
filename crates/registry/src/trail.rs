//! The trail, `trail.jsonl`: who asked the registry or the gateway to change something, by which
//! way, and what came of it; refusals too. The change log says what was changed, this who tried.
//!
//! One line of JSON each, appended and synced. A change leaves two: `begun` before anything is
//! done, so that what cannot be written down is not done, and one of how it ended, before it is
//! answered. A line names the SHA-256 of the line before it, so that what was changed or taken out
//! is missed. That the end was cut off nothing in the file can tell: whoever verifies it notes the
//! last hash elsewhere. No line holds a secret: of a key that somebody put where its id belongs,
//! the id is kept.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use contract::{Clock, Instant};
use parking_lot::Mutex;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::error::OpenError;
use crate::files;
use crate::key;

/// The file's name, in the registry's directory.
pub const TRAIL: &str = "trail.jsonl";

/// Characters of a text in a line that its asker chose; the rest is left out.
const LONGEST_TEXT: usize = 300;
/// What the first line names as the one before it.
const NOTHING_BEFORE: &str = "0000000000000000000000000000000000000000000000000000000000000000";

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
    /// The SHA-256 of the line before, its end of line included.
    pub previous: String,
}

/// Something that is being done: how it ends is still to be written.
#[derive(Debug)]
#[must_use = "how it ended is to be written down"]
pub struct Begun {
    number: u64,
    doing: Doing,
}

/// Why nothing can be written down.
#[derive(Debug, thiserror::Error)]
pub enum TrailError {
    /// The disk refuses.
    #[error("the trail of changes cannot be written; free space or repair the disk")]
    Io(#[source] io::Error),
    /// The file is another one than was opened, or not as long as was written.
    #[error(
        "the trail of changes at {} is not the file that was written: somebody removed, replaced or cut it, or wrote into it; put back what was there and restart", .0.display()
    )]
    Replaced(PathBuf),
    /// An earlier write failed in a way that only a restart can mend.
    #[error("the trail takes no more after a failed write; repair the disk and restart")]
    Broken,
    /// It cannot be read as it was written.
    #[error(transparent)]
    Unreadable(#[from] OpenError),
}

/// What verifying found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrailReport {
    /// How many lines there are.
    pub lines: u64,
    /// The SHA-256 of the last one, which a line after it would name.
    pub last: String,
    /// Bytes after it that are no whole line: a write that is under way, or that a crash ended.
    pub torn: u64,
}

/// The open trail.
pub struct Trail {
    path: PathBuf,
    clock: Arc<dyn Clock>,
    end: Mutex<End>,
}

/// The file, and where it ends.
struct End {
    file: File,
    /// Where each line begins.
    starts: Vec<u64>,
    length: u64,
    last: String,
    at: Instant,
    /// Set when a write left the file in an unknown state.
    broken: bool,
}

impl Trail {
    /// Opens the trail in `dir`, making it where it is missing, and checks every line. What a
    /// crash left of an unfinished last line is copied beside it and cut off.
    pub(crate) fn open(dir: &Path, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let path = dir.join(TRAIL);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(OpenError::io("open", &path))?;
        files::keep_private(&file, 0o600).map_err(OpenError::io("restrict", &path))?;
        files::sync_parent(&path).map_err(OpenError::io("sync the directory of", &path))?;
        let bytes = std::fs::read(&path).map_err(OpenError::io("read", &path))?;
        let read = Chain::read(&path, &bytes)?;
        let length = bytes.len() as u64 - read.torn;
        if read.torn > 0 {
            let kept = usize::try_from(length).unwrap_or(usize::MAX);
            files::write_new_beside(&path, &format!("cut-{length}"), &bytes[kept..])
                .map_err(OpenError::io("keep the torn end of", &path))?;
            file.set_len(length)
                .and_then(|()| file.sync_all())
                .map_err(OpenError::io("cut the torn end of", &path))?;
        }
        let Chain { starts, last, .. } = read;
        let end = End { file, starts, length, last, at: Instant::MIN, broken: false };
        Ok(Self { path, clock, end: Mutex::new(end) })
    }

    /// Writes down that something is about to be done; nothing is to be done where this fails.
    ///
    /// # Errors
    /// [`TrailError`] when it is not on the disk.
    pub fn begin(&self, doing: Doing) -> Result<Begun, TrailError> {
        let number = self.write(None, &doing, Outcome::Begun, None, "")?;
        Ok(Begun { number, doing })
    }

    /// Writes down how it ended.
    ///
    /// # Errors
    /// [`TrailError`] when it is not on the disk: whoever asked is not to be told that all is
    /// well.
    pub fn end(
        &self,
        begun: Begun,
        outcome: Outcome,
        status: Option<u16>,
        why: &str,
    ) -> Result<(), TrailError> {
        self.write(Some(begun.number), &begun.doing, outcome, status, why).map(drop)
    }

    /// Writes down that something was refused before anything of it was done.
    ///
    /// # Errors
    /// [`TrailError`] when it is not on the disk.
    pub fn refused(&self, doing: &Doing, status: Option<u16>, why: &str) -> Result<(), TrailError> {
        self.write(None, doing, Outcome::Refused, status, why).map(drop)
    }

    /// The lines after number `after`, oldest first, at most `limit`.
    ///
    /// # Errors
    /// [`TrailError::Unreadable`] when the file is not what was written.
    pub fn lines(&self, after: u64, limit: usize) -> Result<Vec<TrailLine>, TrailError> {
        let end = self.end.lock();
        let from = usize::try_from(after).unwrap_or(usize::MAX).min(end.starts.len());
        let to = from.saturating_add(limit).min(end.starts.len());
        let start = end.starts.get(from).copied().unwrap_or(end.length);
        let stop = end.starts.get(to).copied().unwrap_or(end.length);
        let mut bytes = vec![0; usize::try_from(stop - start).unwrap_or(0)];
        let read = OpenError::io("read", &self.path);
        end.file.read_exact_at(&mut bytes, start).map_err(read)?;
        drop(end);
        let mut number = from as u64;
        let lines = bytes.split_inclusive(|&byte| byte == b'\n').map(|line| {
            number += 1;
            line_of(&self.path, start, number, line)
        });
        Ok(lines.collect::<Result<_, _>>()?)
    }

    fn write(
        &self,
        of: Option<u64>,
        doing: &Doing,
        outcome: Outcome,
        status: Option<u16>,
        why: &str,
    ) -> Result<u64, TrailError> {
        let end = &mut *self.end.lock();
        if end.broken {
            return Err(TrailError::Broken);
        }
        if !end.is_at(&self.path) {
            return Err(TrailError::Replaced(self.path.clone()));
        }
        end.at = end.at.max(self.clock.now());
        let number = end.starts.len() as u64 + 1;
        let line = TrailLine {
            number,
            at: end.at.to_string(),
            of,
            by: shortened(&doing.by),
            from: doing.from.clone(),
            how: doing.how,
            operation: shortened(&doing.operation),
            object: shortened(&doing.object),
            outcome,
            status,
            why: shortened(why),
            previous: end.last.clone(),
        };
        let mut bytes =
            serde_json::to_vec(&line).map_err(|error| TrailError::Io(io::Error::other(error)))?;
        bytes.push(b'\n');
        if let Err(error) = end.file.write_all_at(&bytes, end.length) {
            // Nothing was answered: take the part back. If even that fails, stop.
            end.broken = end.file.set_len(end.length).is_err();
            return Err(TrailError::Io(error));
        }
        if let Err(error) = end.file.sync_data() {
            // After a failed sync nobody knows what the disk holds.
            end.broken = true;
            return Err(TrailError::Io(error));
        }
        end.starts.push(end.length);
        end.length += bytes.len() as u64;
        end.last = hash(&bytes);
        Ok(number)
    }
}

impl End {
    /// Whether the file of that name is the one that is written to, and ends where that ended.
    fn is_at(&self, path: &Path) -> bool {
        let is_same = |(named, open): (Metadata, Metadata)| {
            (named.dev(), named.ino(), named.len()) == (open.dev(), open.ino(), self.length)
        };
        let both = std::fs::metadata(path).and_then(|named| Ok((named, self.file.metadata()?)));
        both.is_ok_and(is_same)
    }
}

/// Reads the trail in `dir`, which a process may be writing to, checks its chain, and hands each
/// line to `each`.
///
/// # Errors
/// [`OpenError`] when it cannot be read, or a line was changed, taken out or put in.
pub fn verify_trail(dir: &Path, mut each: impl FnMut(TrailLine)) -> Result<TrailReport, OpenError> {
    let path = dir.join(TRAIL);
    let bytes = std::fs::read(&path).map_err(OpenError::io("read", &path))?;
    let chain = Chain::read_each(&path, &bytes, &mut each)?;
    Ok(TrailReport { lines: chain.starts.len() as u64, last: chain.last, torn: chain.torn })
}

/// The whole lines of a file.
struct Chain {
    starts: Vec<u64>,
    last: String,
    /// Bytes at the end that are no whole line.
    torn: u64,
}

impl Chain {
    fn read(path: &Path, bytes: &[u8]) -> Result<Self, OpenError> {
        Self::read_each(path, bytes, &mut |_| {})
    }

    fn read_each(
        path: &Path,
        bytes: &[u8],
        each: &mut dyn FnMut(TrailLine),
    ) -> Result<Self, OpenError> {
        let mut chain = Self { starts: Vec::new(), last: NOTHING_BEFORE.to_owned(), torn: 0 };
        let mut start = 0;
        for bytes in bytes.split_inclusive(|&byte| byte == b'\n') {
            if bytes.last() != Some(&b'\n') {
                chain.torn = bytes.len() as u64;
                break;
            }
            let number = chain.starts.len() as u64 + 1;
            let line = line_of(path, start, number, bytes)?;
            if line.previous != chain.last {
                let what = "a line does not name the one before it";
                return Err(damaged(path, start, number, what));
            }
            each(line);
            chain.last = hash(bytes);
            chain.starts.push(start);
            start += bytes.len() as u64;
        }
        Ok(chain)
    }
}

fn line_of(path: &Path, offset: u64, number: u64, bytes: &[u8]) -> Result<TrailLine, OpenError> {
    match serde_json::from_slice::<TrailLine>(bytes) {
        Ok(line) if line.number == number => Ok(line),
        Ok(_) => Err(damaged(path, offset, number, "a line is out of sequence")),
        Err(_) => Err(damaged(path, offset, number, "a line is not what this release writes")),
    }
}

fn damaged(path: &Path, offset: u64, number: u64, what: &'static str) -> OpenError {
    OpenError::Damaged { path: path.to_owned(), offset, after: number - 1, what }
}

fn hash(line: &[u8]) -> String {
    digest(&SHA256, line).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A text without its end where it is long, and without secrets that its asker put into it.
fn shortened(text: &str) -> String {
    let text = key::without_secrets(text);
    match text.char_indices().nth(LONGEST_TEXT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

impl std::fmt::Debug for Trail {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Trail").field("path", &self.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
