//! What was used of quotas, in a file of its own: a log of lines, each with its checksum.
//!
//! ```text
//! quotas.log
//!   hearthgate quotas 1
//!   89abcdef {"limit":"standard/requests-per-day","key":{"client":"app-1"},"used":[[20594,17]]}
//! ```
//!
//! A line says all that is used of one quota by then, so the last one counts. A line that a crash
//! left short ends the log. The log is written anew at each start, and when it grows long.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};

use super::counter::Counter;
use super::key::Key;

const NAME: &str = "quotas.log";
const NEXT: &str = "quotas.next";
const HEAD: &str = "hearthgate quotas 1\n";
/// Bytes of a log after which it is written anew.
const LONG: u64 = 16 << 20;

/// Why quotas cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file system refused.
    #[error("cannot {doing} {}; quotas are kept there", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// It is none of this release's.
    #[error(
        "{} is no log of quotas that this release reads; start the release that wrote it, or move it away and every quota begins anew",
        path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
    },
}

/// What was used of one quota.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) limit: String,
    pub(super) key: Key,
    pub(super) used: Vec<(i64, u64)>,
}

/// The log, and what is to be written to it.
#[derive(Debug)]
pub(super) struct Ledger {
    changed: Mutex<Vec<Arc<Counter>>>,
    /// Never locked on the way of a request: it waits for the disk.
    file: Mutex<LedgerFile>,
}

/// The file, in the hands of whoever writes.
#[derive(Debug)]
pub(super) struct LedgerFile {
    dir: PathBuf,
    file: File,
    /// Where its last whole line ends.
    end: u64,
    /// Bytes since it was written anew.
    grown: u64,
    /// Something may stand behind its last whole line.
    is_torn: bool,
}

impl Ledger {
    /// Opens the log in `dir`, or begins one, and reads what it says.
    pub(super) fn open(dir: &Path) -> Result<(Self, Vec<Entry>), LedgerError> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(refused("make", dir))?;
        let path = dir.join(NAME);
        let entries = match fs::read(&path) {
            Ok(bytes) => {
                read(&bytes).ok_or_else(|| LedgerError::Unreadable { path: path.clone() })?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(refused("read", &path)(error)),
        };
        let file = open_to_write(&path).map_err(refused("open", &path))?;
        let dir = dir.to_owned();
        let file = LedgerFile { dir, file, end: 0, grown: 0, is_torn: false };
        Ok((Self { changed: Mutex::default(), file: Mutex::new(file) }, entries))
    }

    /// Remembers that a counter is to be written down.
    pub(super) fn changed(&self, counter: Arc<Counter>) {
        self.changed.lock().push(counter);
    }

    /// Those that are, each to be remembered again from now on.
    pub(super) fn take_changed(&self) -> Vec<Arc<Counter>> {
        std::mem::take(&mut *self.changed.lock())
    }

    /// The file, to write to. What is written is taken up while it is held, so that no older
    /// line follows a newer one.
    pub(super) fn to_write(&self) -> MutexGuard<'_, LedgerFile> {
        self.file.lock()
    }
}

impl LedgerFile {
    /// Adds lines and waits until they are on the disk.
    pub(super) fn append(&mut self, lines: &str) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        if self.is_torn {
            self.file.set_len(self.end)?;
        }
        self.is_torn = true;
        self.file.write_all(lines.as_bytes())?;
        self.file.sync_data()?;
        self.is_torn = false;
        self.end += lines.len() as u64;
        self.grown += lines.len() as u64;
        Ok(())
    }

    /// Whether it is worth writing anew.
    pub(super) fn is_long(&self) -> bool {
        self.grown > LONG
    }

    /// Puts a new log in the place of the one there is.
    pub(super) fn rewrite(&mut self, lines: &str) -> Result<(), LedgerError> {
        let (next, path) = (self.dir.join(NEXT), self.dir.join(NAME));
        let write = || -> io::Result<File> {
            match fs::remove_file(&next) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut new = open_to_write(&next)?;
            new.write_all(HEAD.as_bytes())?;
            new.write_all(lines.as_bytes())?;
            new.sync_data()?;
            fs::rename(&next, &path)?;
            File::open(&self.dir)?.sync_all()?;
            Ok(new)
        };
        let file = write().map_err(refused("write", &next))?;
        let end = (HEAD.len() + lines.len()) as u64;
        let dir = std::mem::take(&mut self.dir);
        *self = Self { dir, file, end, grown: 0, is_torn: false };
        Ok(())
    }
}

fn open_to_write(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

fn refused(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LedgerError {
    let path = path.to_owned();
    move |source| LedgerError::Io { doing, path, source }
}

/// Writes one line.
pub(super) fn write_line(entry: &Entry, lines: &mut String) {
    let Ok(json) = serde_json::to_string(entry) else { return };
    // A String takes every text.
    let _ = writeln!(lines, "{:08x} {json}", crc32c::crc32c(json.as_bytes()));
}

/// The last entry of each quota; `None` when it is no log of ours.
fn read(bytes: &[u8]) -> Option<Vec<Entry>> {
    let Some(lines) = bytes.strip_prefix(HEAD.as_bytes()) else {
        // A crash may have left the very first start short.
        return HEAD.as_bytes().starts_with(bytes).then(Vec::new);
    };
    let mut last: HashMap<(String, Key), Entry> = HashMap::new();
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        let Some(entry) = read_line(line) else {
            tracing::warn!("the log of quotas ends in an unfinished line, which is left out");
            break;
        };
        last.insert((entry.limit.clone(), entry.key.clone()), entry);
    }
    Some(last.into_values().collect())
}

fn read_line(line: &[u8]) -> Option<Entry> {
    let line = std::str::from_utf8(line.strip_suffix(b"\n")?).ok()?;
    let (sum, json) = line.split_once(' ')?;
    let is_whole = u32::from_str_radix(sum, 16).ok()? == crc32c::crc32c(json.as_bytes());
    if is_whole { serde_json::from_str(json).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(client: &str, used: u64) -> Entry {
        let key = serde_json::json!({ "client": client });
        Entry {
            limit: "standard/requests-per-day".to_owned(),
            key: serde_json::from_value(key).expect("a key"),
            used: vec![(20_594, used)],
        }
    }

    fn log(entries: &[Entry]) -> String {
        let mut log = HEAD.to_owned();
        entries.iter().for_each(|entry| write_line(entry, &mut log));
        log
    }

    #[test]
    fn the_last_line_of_a_quota_counts() {
        let log = log(&[entry("a", 1), entry("b", 7), entry("a", 2)]);
        let mut read = read(log.as_bytes()).expect("a log");
        read.sort_by_key(|entry| entry.used[0].1);
        assert_eq!(read, [entry("a", 2), entry("b", 7)]);
    }

    // GW-041
    #[test]
    fn a_log_that_a_crash_left_short_holds_every_whole_line() {
        let whole = log(&[entry("a", 1), entry("a", 2)]);
        let second = log(&[entry("a", 1)]).len();
        for length in 0..=whole.len() {
            let found = read(&whole.as_bytes()[..length]).expect("a log");
            let expected = match length {
                _ if length == whole.len() => vec![entry("a", 2)],
                _ if length >= second => vec![entry("a", 1)],
                _ => vec![],
            };
            assert_eq!(found, expected, "{length}");
        }
        // A changed byte is no line either.
        let changed = whole.replace("20594,2", "20594,9");
        assert_eq!(read(changed.as_bytes()), Some(vec![entry("a", 1)]));
    }

    #[test]
    fn what_a_failed_write_left_is_no_end_of_the_log() {
        let dir = tempfile::tempdir().expect("a directory");
        let (ledger, _) = Ledger::open(dir.path()).expect("it opens");
        let line = |entry: &Entry| {
            let mut line = String::new();
            write_line(entry, &mut line);
            line
        };
        let mut file = ledger.to_write();
        file.rewrite(&line(&entry("a", 1))).expect("it is written");
        file.append(&line(&entry("a", 2))).expect("it is written");
        // As a full disk leaves it: half a line, and an error.
        file.file.write_all(b"01234567 {").expect("it is written");
        file.is_torn = true;
        file.append(&line(&entry("a", 3))).expect("it is written");
        drop(file);
        assert_eq!(Ledger::open(dir.path()).expect("it opens").1, [entry("a", 3)]);
    }

    #[test]
    fn what_is_no_log_of_ours_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(NAME);
        fs::write(&path, "hearthgate quotas 2\n").expect("a file");
        let error = Ledger::open(dir.path()).expect_err("another release's");
        assert!(error.to_string().contains("move it away"), "{error}");
        assert_eq!(fs::read(&path).expect("it is there"), b"hearthgate quotas 2\n");
    }
}
