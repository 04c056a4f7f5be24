//! The end of the trail: one line after the other, each synced, into files of a bounded length.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use contract::Instant;

use super::chain::{Files, Lines, Place, closed_name, walk};
use super::head::Head;
use super::line::{Doing, Outcome, TrailLine, hash, line_of, shortened};
use super::{TRAIL, TrailError};
use crate::error::OpenError;
use crate::files;

/// Every so many lines it is kept where one begins.
const BETWEEN_MARKS: u64 = 1000;

/// The open trail's end.
pub(super) struct Writer {
    dir: PathBuf,
    path: PathBuf,
    pub(super) file: File,
    /// The number of the first line of that file.
    first: u64,
    /// Its length in bytes.
    length: u64,
    /// At which length it is closed and another begun.
    longest: u64,
    /// Where some of the lines begin, the first of each file among them.
    marks: Vec<Place>,
    /// The number of the last line.
    lines: u64,
    /// Its hash.
    last: String,
    at: Instant,
    /// What is noted beside the trail.
    noted: Head,
    /// Set when a write left the file in an unknown state.
    broken: bool,
}

/// What a line says beside what was asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Said<'a> {
    pub(super) of: Option<u64>,
    pub(super) outcome: Outcome,
    pub(super) status: Option<u16>,
    pub(super) why: &'a str,
    pub(super) more: Option<u64>,
}

impl Said<'_> {
    pub(super) fn plain(outcome: Outcome) -> Self {
        Self { of: None, outcome, status: None, why: "", more: None }
    }
}

impl Writer {
    /// Opens the trail in `dir`, in which there is one, and checks every line. What a crash left
    /// of an unfinished last line is copied beside it and cut off.
    pub(super) fn open(dir: &Path, noted: Option<Head>, longest: u64) -> Result<Self, OpenError> {
        let path = dir.join(TRAIL);
        let head = noted.clone().unwrap_or_default();
        let mut marks = Vec::new();
        let walked = walk(dir, Files::find(dir)?, &head, &mut |_, place| mark(&mut marks, place))?;
        let file = open_private(&path).map_err(OpenError::io("open", &path))?;
        files::keep_private(&file, 0o600).map_err(OpenError::io("restrict", &path))?;
        files::sync_parent(&path).map_err(OpenError::io("sync the directory of", &path))?;
        if !walked.torn.is_empty() {
            files::write_new_beside(&path, &format!("cut-{}", walked.length), &walked.torn)
                .map_err(OpenError::io("keep the torn end of", &path))?;
            file.set_len(walked.length)
                .and_then(|()| file.sync_all())
                .map_err(OpenError::io("cut the torn end of", &path))?;
        }
        let is_noted = noted.is_some();
        let mut writer = Self {
            dir: dir.to_owned(),
            path,
            file,
            first: walked.file,
            length: walked.length,
            longest,
            marks,
            lines: walked.lines,
            last: walked.last,
            at: Instant::MIN,
            noted: head,
            broken: false,
        };
        let noting = if is_noted { writer.note() } else { writer.note_anew() };
        if let Err(error) = noting {
            // On a full disk a start goes on; nothing can be changed then, which says so.
            tracing::warn!(%error, "how far the trail of changes goes was not noted beside it");
        }
        Ok(writer)
    }

    /// Adds a line; its number.
    pub(super) fn write(
        &mut self,
        now: Instant,
        doing: &Doing,
        said: Said<'_>,
    ) -> Result<u64, TrailError> {
        if self.broken {
            return Err(TrailError::Broken);
        }
        if !self.is_in_place() {
            return Err(TrailError::Replaced(self.path.clone()));
        }
        if self.length >= self.longest {
            self.close_file().map_err(TrailError::Io)?;
        }
        self.at = self.at.max(now);
        let number = self.lines + 1;
        let bytes = line(number, self.at, doing, said, &self.last).map_err(TrailError::Io)?;
        if let Err(error) = self.file.write_all_at(&bytes, self.length) {
            // Nothing was answered: take the part back. If even that fails, stop.
            self.broken = self.file.set_len(self.length).is_err();
            return Err(TrailError::Io(error));
        }
        if let Err(error) = self.file.sync_data() {
            // After a failed sync nobody knows what the disk holds.
            self.broken = true;
            return Err(TrailError::Io(error));
        }
        mark(&mut self.marks, Place { number, file: self.first, offset: self.length });
        self.lines = number;
        self.length += bytes.len() as u64;
        self.last = hash(&bytes);
        Ok(number)
    }

    /// The number of the last line.
    pub(super) fn lines(&self) -> u64 {
        self.lines
    }

    /// The lines from number `from` on, oldest first, at most `limit`.
    pub(super) fn read(&self, from: u64, limit: usize) -> Result<Vec<TrailLine>, OpenError> {
        let from = from.max(self.noted.first);
        let mut found = Vec::new();
        let before = self.marks.partition_point(|mark| mark.number <= from);
        let Some(mut place) = before.checked_sub(1).and_then(|at| self.marks.get(at)).copied()
        else {
            return Ok(found);
        };
        while found.len() < limit && place.number <= self.lines {
            let is_open = place.file == self.first;
            let (closed, path);
            let (file, path, end) = if is_open {
                (&self.file, &self.path, self.length)
            } else {
                path = self.dir.join(closed_name(place.file));
                closed = File::open(&path).map_err(OpenError::io("open", &path))?;
                (&closed, &path, u64::MAX)
            };
            let mut lines = Lines::from(path, file, place.offset, end)?;
            let mut number = place.number;
            while found.len() < limit
                && let Some(line) = lines.next(number)?
            {
                if number >= from {
                    found.push(line_of(path, line.offset, number, line.bytes)?);
                }
                number += 1;
            }
            if is_open || number == place.number {
                break;
            }
            place = Place { number, file: number, offset: 0 };
        }
        Ok(found)
    }

    /// Notes beside the trail how far it goes, so that its end is missed where somebody cuts it.
    pub(super) fn note(&mut self) -> io::Result<()> {
        if self.noted.lines == self.lines { Ok(()) } else { self.note_anew() }
    }

    fn note_anew(&mut self) -> io::Result<()> {
        let head = Head { lines: self.lines, last: self.last.clone(), ..self.noted.clone() };
        head.write(&self.dir)?;
        self.noted = head;
        Ok(())
    }

    /// Whether the file of that name is the one that is written to, and ends where that ended.
    pub(super) fn is_in_place(&self) -> bool {
        let is_same = |(named, open): (Metadata, Metadata)| {
            (named.dev(), named.ino(), named.len()) == (open.dev(), open.ino(), self.length)
        };
        let both =
            std::fs::metadata(&self.path).and_then(|named| Ok((named, self.file.metadata()?)));
        both.is_ok_and(is_same)
    }

    /// Closes the file and begins the next. A crash in the midst leaves no open file, and nothing
    /// of the lines is missing then.
    fn close_file(&mut self) -> io::Result<()> {
        self.note()?;
        let closed = self.dir.join(closed_name(self.first));
        std::fs::rename(&self.path, &closed)?;
        let begun = open_private(&self.path);
        let begun = begun.and_then(|file| files::sync_parent(&self.path).map(|()| file));
        match begun {
            Ok(file) => self.file = file,
            Err(error) => {
                // Its name back: the next line tries again.
                self.broken = std::fs::rename(&closed, &self.path).is_err();
                return Err(error);
            }
        }
        (self.first, self.length) = (self.lines + 1, 0);
        Ok(())
    }
}

/// The bytes of a line, its end included.
pub(super) fn line(
    number: u64,
    at: Instant,
    doing: &Doing,
    said: Said<'_>,
    previous: &str,
) -> io::Result<Vec<u8>> {
    let line = TrailLine {
        number,
        at: at.to_string(),
        of: said.of,
        by: shortened(&doing.by),
        from: doing.from.clone(),
        how: doing.how,
        operation: shortened(&doing.operation),
        object: shortened(&doing.object),
        outcome: said.outcome,
        status: said.status,
        why: shortened(said.why),
        more: said.more,
        previous: previous.to_owned(),
    };
    let mut bytes = serde_json::to_vec(&line).map_err(io::Error::other)?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn mark(marks: &mut Vec<Place>, place: Place) {
    let is_apart =
        |last: &Place| place.file != last.file || place.number >= last.number + BETWEEN_MARKS;
    if marks.last().is_none_or(is_apart) {
        marks.push(place);
    }
}

fn open_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}
