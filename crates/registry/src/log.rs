//! The change log: `changes.log`, append-only, synced before a change is acknowledged.
//!
//! It is the truth about clients and keys and at the same time the audit of who changed them.
//! The whole log is read at every open and every frame is checked; at a few hundred bytes a
//! change that is milliseconds. Only what a crash leaves behind is repaired (a last frame that
//! is short or zero-filled, copied aside first); anything else is an error for a person.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use contract::Instant;

use crate::OpenError;
use crate::files;
use crate::frame::{self, Scanned};
use crate::postgres::Failure;

/// The open log, positioned behind its last whole frame.
pub(crate) struct ChangeLog {
    file: File,
    path: PathBuf,
    end: u64,
    head: Head,
    /// Set when a write left the file in an unknown state: nothing more is acknowledged.
    broken: bool,
}

/// The last frame: names the log's state when the view is compared with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) sequence: u64,
    pub(crate) instant: Instant,
    pub(crate) checksum: u32,
}

/// One change as the log holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) sequence: u64,
    pub(crate) instant: Instant,
    pub(crate) actor: String,
    pub(crate) change: Vec<u8>,
    pub(crate) offset: u64,
    pub(crate) checksum: u32,
}

/// A torn end that was cut off when the log was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// Where the log ends now, in bytes.
    pub offset: u64,
    /// How many bytes were cut.
    pub bytes: u64,
    /// Where they are kept.
    pub copy: PathBuf,
}

/// Why a change was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AppendError {
    #[error("the change is too long to be written")]
    TooLong,
    #[error("the change log could not be written")]
    Io(#[from] io::Error),
    #[error("an earlier write failed")]
    Broken,
    /// Another gateway was quicker.
    #[error("another change stands in its place")]
    Overtaken,
    #[error("PostgreSQL did not take the change")]
    Away(#[source] Failure),
    #[error("PostgreSQL was lost before it said whether the change stands")]
    Unknown(#[source] Failure),
}

impl ChangeLog {
    /// Opens (or creates) the log at `path` and reads it whole.
    pub(crate) fn open(path: &Path) -> Result<(Self, Vec<Entry>, Option<Cut>), OpenError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(OpenError::io("open", path))?;
        files::keep_private(&file, 0o600).map_err(OpenError::io("restrict", path))?;
        files::sync_parent(path).map_err(OpenError::io("sync the directory of", path))?;
        let bytes = std::fs::read(path).map_err(OpenError::io("read", path))?;
        let (entries, end) = read_all(path, &bytes)?;
        let mut log = Self {
            file,
            path: path.to_owned(),
            end: end as u64,
            head: entries.last().map_or(Head::EMPTY, Head::of),
            broken: false,
        };
        let cut = log.cut_torn_end(&bytes[end..])?;
        Ok((log, entries, cut))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn head(&self) -> Head {
        self.head
    }

    /// Writes one change and syncs it; `now` is moved forward where the clock stood still.
    pub(crate) fn append(
        &mut self,
        now: Instant,
        actor: &str,
        change: Vec<u8>,
    ) -> Result<Entry, AppendError> {
        if self.broken {
            return Err(AppendError::Broken);
        }
        let sequence = self.head.sequence + 1;
        let instant = self.next_instant(now);
        let bytes = frame::encode(sequence, instant.as_micros(), actor, &change)
            .ok_or(AppendError::TooLong)?;
        let offset = self.end;
        if let Err(error) = self.file.write_all_at(&bytes, offset) {
            // Nothing was acknowledged: take the part back. If even that fails, stop.
            self.broken = self.file.set_len(offset).is_err();
            return Err(error.into());
        }
        if let Err(error) = self.file.sync_data() {
            // After a failed sync nobody knows what the disk holds: only a reopen can tell.
            self.broken = true;
            return Err(error.into());
        }
        self.end += bytes.len() as u64;
        let entry = Entry {
            sequence,
            instant,
            actor: actor.to_owned(),
            change,
            offset,
            checksum: crc32c::crc32c(&bytes[frame::HEAD..]),
        };
        self.head = Head::of(&entry);
        Ok(entry)
    }

    /// The instant the next change will carry.
    pub(crate) fn next_instant(&self, now: Instant) -> Instant {
        self.head.next_instant(now)
    }

    /// The change at `offset`; an error when no whole frame stands there.
    pub(crate) fn read_at(&self, offset: u64) -> io::Result<Entry> {
        let left = usize::try_from(self.end.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; left.min(frame::HEAD)];
        self.file.read_exact_at(&mut bytes, offset)?;
        if let Some(length) = bytes.first_chunk::<4>() {
            let whole = frame::HEAD + u32::from_le_bytes(*length) as usize;
            bytes.resize(left.min(whole), 0);
            self.file.read_exact_at(&mut bytes, offset)?;
        }
        match frame::scan(&bytes, 0) {
            Scanned::Whole(frame) => Ok(Entry::of(&frame, offset)),
            _ => Err(io::Error::from(io::ErrorKind::InvalidData)),
        }
    }

    /// Every change, read anew.
    pub(crate) fn entries(&self) -> Result<Vec<Entry>, OpenError> {
        let bytes = std::fs::read(&self.path).map_err(OpenError::io("read", &self.path))?;
        let end = usize::try_from(self.end).unwrap_or(usize::MAX);
        read_all(&self.path, &bytes[..end.min(bytes.len())]).map(|(entries, _)| entries)
    }

    fn cut_torn_end(&mut self, torn: &[u8]) -> Result<Option<Cut>, OpenError> {
        if torn.is_empty() {
            return Ok(None);
        }
        let copy = files::write_new_beside(&self.path, &format!("cut-{}", self.end), torn)
            .map_err(OpenError::io("keep the torn end of", &self.path))?;
        self.file
            .set_len(self.end)
            .and_then(|()| self.file.sync_all())
            .map_err(OpenError::io("cut the torn end of", &self.path))?;
        Ok(Some(Cut { offset: self.end, bytes: torn.len() as u64, copy }))
    }
}

/// The whole changes of the log in `dir`, which another process may be adding to, as they stand
/// in it, verified.
///
/// # Errors
/// [`OpenError`] when the log cannot be read or is damaged.
pub fn whole_changes(dir: &Path) -> Result<Vec<u8>, OpenError> {
    let path = dir.join(crate::opening::LOG);
    let mut bytes = std::fs::read(&path).map_err(OpenError::io("read", &path))?;
    let (_, end) = read_all(&path, &bytes)?;
    bytes.truncate(end);
    Ok(bytes)
}

/// The changes of the log in `dir`, verified, for a registry that takes its place.
pub(crate) fn entries_of(dir: &Path) -> Result<Vec<Entry>, OpenError> {
    let path = dir.join(crate::opening::LOG);
    let bytes = std::fs::read(&path).map_err(OpenError::io("read", &path))?;
    read_all(&path, &bytes).map(|(entries, _)| entries)
}

/// Makes in `dir`, where there is no registry, one whose log is `changes`, durably.
///
/// # Errors
/// [`OpenError`] when it cannot be written.
pub fn write_whole_changes(dir: &Path, changes: &[u8]) -> Result<(), OpenError> {
    files::private_dir(dir).map_err(OpenError::io("create", dir))?;
    let path = dir.join(crate::opening::LOG);
    crate::format::begin(dir, &path)?;
    // What was asked for elsewhere is told there: here a trail begins.
    crate::trail::begin_empty(dir)?;
    files::write_atomically(&path, changes).map_err(OpenError::io("write", &path))
}

/// The whole frames of `bytes` and where they end.
fn read_all(path: &Path, bytes: &[u8]) -> Result<(Vec<Entry>, usize), OpenError> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut offset = 0;
    loop {
        let damaged = |what| OpenError::Damaged {
            path: path.to_owned(),
            offset: offset as u64,
            after: entries.last().map_or(0, |entry| entry.sequence),
            what,
        };
        match frame::scan(bytes, offset) {
            Scanned::End | Scanned::Torn => return Ok((entries, offset)),
            Scanned::Damaged(what) => return Err(damaged(what)),
            Scanned::Whole(frame) => {
                let head = entries.last().map_or(Head::EMPTY, Head::of);
                if frame.sequence != head.sequence + 1 {
                    return Err(damaged("a change is out of sequence"));
                }
                if !entries.is_empty() && frame.micros <= head.instant.as_micros() {
                    return Err(damaged("a change is dated before the one it follows"));
                }
                entries.push(Entry::of(&frame, offset as u64));
                offset += frame.length;
            }
        }
    }
}

impl Head {
    pub(crate) const EMPTY: Self = Self { sequence: 0, instant: Instant::MIN, checksum: 0 };

    pub(crate) fn of(entry: &Entry) -> Self {
        Self { sequence: entry.sequence, instant: entry.instant, checksum: entry.checksum }
    }

    /// The instant the next change will carry: instants strictly increase with the sequence.
    pub(crate) fn next_instant(&self, now: Instant) -> Instant {
        if *self == Self::EMPTY {
            return now;
        }
        now.max(Instant::from_micros(self.instant.as_micros() + 1))
    }
}

impl Entry {
    fn of(frame: &frame::Frame<'_>, offset: u64) -> Self {
        Self {
            sequence: frame.sequence,
            instant: Instant::from_micros(frame.micros),
            actor: frame.actor.to_owned(),
            change: frame.change.to_vec(),
            offset,
            checksum: frame.checksum,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGES: [&[u8]; 3] = [br#"{"n":1}"#, br#"{"n":"two"}"#, br#"{"n":[3]}"#];

    /// A log of three changes: its directory, its path, its bytes and where each frame ends.
    fn written() -> (tempfile::TempDir, PathBuf, Vec<u8>, Vec<usize>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("changes.log");
        let (mut log, entries, cut) = ChangeLog::open(&path).unwrap();
        assert!(entries.is_empty() && cut.is_none());
        let mut ends = vec![0];
        for change in CHANGES {
            log.append(Instant::from_micros(5), "test", change.to_vec()).unwrap();
            ends.push(usize::try_from(log.end).unwrap());
        }
        let bytes = std::fs::read(&path).unwrap();
        (dir, path, bytes, ends)
    }

    fn contents(entries: &[Entry]) -> Vec<&[u8]> {
        entries.iter().map(|entry| entry.change.as_slice()).collect()
    }

    #[test]
    fn a_log_reopens_with_every_change_in_order_and_strictly_later_instants() {
        let (_dir, path, _, _) = written();
        let (log, entries, cut) = ChangeLog::open(&path).unwrap();
        assert_eq!(contents(&entries), CHANGES);
        assert_eq!(cut, None);
        let micros: Vec<i64> = entries.iter().map(|e| e.instant.as_micros()).collect();
        assert_eq!(micros, [5, 6, 7]);
        assert_eq!(log.entries().unwrap(), entries);
        for entry in &entries {
            assert_eq!(&log.read_at(entry.offset).unwrap(), entry);
        }
        assert!(log.read_at(3).is_err());
    }

    #[test]
    fn a_log_cut_at_any_byte_opens_with_its_whole_changes_and_keeps_a_copy_of_the_rest() {
        let (dir, path, bytes, ends) = written();
        for cut_at in 0..=bytes.len() {
            std::fs::write(&path, &bytes[..cut_at]).unwrap();
            let whole = ends.iter().filter(|&&end| end <= cut_at).count() - 1;
            let (mut log, entries, cut) = ChangeLog::open(&path).unwrap();
            assert_eq!(contents(&entries), CHANGES[..whole], "cut at {cut_at}");
            let torn = &bytes[ends[whole]..cut_at];
            match cut {
                None => assert!(torn.is_empty(), "cut at {cut_at}"),
                Some(cut) => {
                    assert_eq!(std::fs::read(&cut.copy).unwrap(), torn);
                    assert_eq!(cut.bytes as usize, torn.len());
                }
            }
            // And the log goes on where it was cut.
            log.append(Instant::from_micros(9), "test", b"{}".to_vec()).unwrap();
            assert_eq!(log.entries().unwrap().len(), whole + 1);
        }
        assert!(dir.path().read_dir().unwrap().count() > 10);
    }

    #[test]
    fn any_flipped_bit_is_an_error_that_names_the_offset_and_changes_nothing() {
        let (_dir, path, bytes, ends) = written();
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            std::fs::write(&path, &flipped).unwrap();
            let frame_start = ends.iter().rfind(|&&end| end <= at).unwrap();
            match ChangeLog::open(&path) {
                Err(OpenError::Damaged { offset, .. }) => {
                    assert_eq!(offset as usize, *frame_start, "byte {at}");
                }
                Err(other) => panic!("byte {at}: {other}"),
                Ok(_) => panic!("byte {at}: opened"),
            }
            assert_eq!(std::fs::read(&path).unwrap(), flipped, "byte {at}");
        }
    }

    #[test]
    fn a_frame_moved_or_repeated_is_damage() {
        let (_dir, path, bytes, ends) = written();
        let repeated = [&bytes[..], &bytes[ends[2]..]].concat();
        let missing = [&bytes[..ends[1]], &bytes[ends[2]..]].concat();
        for broken in [repeated, missing] {
            std::fs::write(&path, broken).unwrap();
            assert!(matches!(ChangeLog::open(&path), Err(OpenError::Damaged { .. })));
        }
    }
}
