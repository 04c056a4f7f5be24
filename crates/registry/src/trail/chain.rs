//! The files of a trail, read line by line: no more of it than one line is in memory at a time.
//!
//! `trail.jsonl` is written to. Once it is long it is closed and gets the number of its first line
//! into its name, `trail.000000000001.jsonl`; the first line of the next one names its last.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::TRAIL;
use super::head::Head;
use super::line::{LONGEST_LINE, TrailLine, damaged, hash, line_of};
use crate::error::OpenError;

/// How often it is looked for the open file anew, which the process is just about to close.
const MOST_LOOKS: u32 = 100;

/// The files of a trail.
pub(super) struct Files {
    /// Those that are closed, by the number of their first line.
    pub(super) closed: BTreeMap<u64, PathBuf>,
    /// The one that is written to; where a crash came while it was closed there is none.
    pub(super) open: Option<File>,
}

/// Where a line begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) number: u64,
    /// The number of the first line of its file.
    pub(super) file: u64,
    pub(super) offset: u64,
}

/// What walking over all lines found.
pub(super) struct Walked {
    /// The number of the last line.
    pub(super) lines: u64,
    /// Its hash.
    pub(super) last: String,
    /// The number of the first line of the open file.
    pub(super) file: u64,
    /// Bytes of the whole lines of the open file.
    pub(super) length: u64,
    /// Bytes behind them.
    pub(super) torn: Vec<u8>,
}

/// The name of a closed file.
pub(super) fn closed_name(first: u64) -> String {
    format!("trail.{first:012}.jsonl")
}

impl Files {
    /// Those in `dir`, which a process may be writing to.
    pub(super) fn find(dir: &Path) -> Result<Self, OpenError> {
        let path = dir.join(TRAIL);
        for _ in 0..MOST_LOOKS {
            let open = match File::open(&path) {
                Ok(file) => Some(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(OpenError::io("open", &path)(error)),
            };
            let closed = closed(dir).map_err(OpenError::io("list", dir))?;
            // It may have been closed in between: then it is among them.
            let same = |file: &File, path: &Path| {
                let (open, named) = (file.metadata()?, std::fs::metadata(path)?);
                Ok::<_, io::Error>((open.dev(), open.ino()) == (named.dev(), named.ino()))
            };
            let is_closed = match (&open, closed.last_key_value()) {
                (Some(file), Some((_, path))) => {
                    same(file, path).map_err(OpenError::io("look at", path))?
                }
                _ => false,
            };
            if !is_closed {
                return Ok(Self { closed, open });
            }
        }
        Err(OpenError::io("find the end of", &path)(io::ErrorKind::ResourceBusy.into()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.closed.is_empty() && self.open.is_none()
    }
}

fn closed(dir: &Path) -> io::Result<BTreeMap<u64, PathBuf>> {
    let mut closed = BTreeMap::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let number = name.strip_prefix("trail.").and_then(|name| name.strip_suffix(".jsonl"));
        if let Some(first) = number.and_then(|number| number.parse().ok())
            && name == closed_name(first)
        {
            closed.insert(first, path);
        }
    }
    Ok(closed)
}

/// Checks every line of `files`, and hands each with its place to `each`. `head` says where they
/// begin, and how far they have to go.
pub(super) fn walk(
    dir: &Path,
    files: Files,
    head: &Head,
    each: &mut dyn FnMut(TrailLine, Place),
) -> Result<Walked, OpenError> {
    let path = dir.join(TRAIL);
    let mut walk = Walk { head, next: head.first, last: head.before.clone(), each };
    for (&first, path) in &files.closed {
        if first != walk.next {
            let what = "the lines before it are missing: the file that had them is not there";
            return Err(damaged(path, 0, walk.next, what));
        }
        let file = File::open(path).map_err(OpenError::io("open", path))?;
        let (length, torn) = walk.file(path, &file)?;
        if !torn.is_empty() {
            return Err(damaged(path, length, walk.next, "its last line is cut off"));
        }
    }
    let file = walk.next;
    let (length, torn) = match &files.open {
        Some(file) => walk.file(&path, file)?,
        None => (0, Vec::new()),
    };
    let lines = walk.next - 1;
    if lines < head.lines {
        return Err(OpenError::TrailCut { path, found: lines, known: head.lines });
    }
    Ok(Walked { lines, last: walk.last, file, length, torn })
}

struct Walk<'a> {
    head: &'a Head,
    /// The number of the line to come.
    next: u64,
    /// The hash of the one before.
    last: String,
    each: &'a mut dyn FnMut(TrailLine, Place),
}

impl Walk<'_> {
    /// The lines of one file; where they end, and what stands behind them.
    fn file(&mut self, path: &Path, file: &File) -> Result<(u64, Vec<u8>), OpenError> {
        let first = self.next;
        let mut lines = Lines::from(path, file, 0, u64::MAX)?;
        while let Some(bytes) = lines.next(self.next)? {
            let (number, offset) = (self.next, bytes.offset);
            let line = line_of(path, offset, number, bytes.bytes)?;
            if line.previous != self.last {
                let what = "a line does not name the one before it";
                return Err(damaged(path, offset, number, what));
            }
            self.last = hash(bytes.bytes);
            if number == self.head.lines && self.last != self.head.last {
                let what = "a line is another one than was written";
                return Err(damaged(path, offset, number, what));
            }
            (self.each)(line, Place { number, file: first, offset });
            self.next += 1;
        }
        Ok((lines.offset, lines.bytes))
    }
}

/// The lines of a file, one at a time.
pub(super) struct Lines<'a> {
    path: &'a Path,
    reader: BufReader<io::Take<&'a File>>,
    /// Where the next one begins.
    offset: u64,
    /// The one that was read last, or what stands behind the last whole one.
    bytes: Vec<u8>,
}

/// A whole line.
pub(super) struct WholeLine<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) offset: u64,
}

impl<'a> Lines<'a> {
    /// Those between two offsets of `file`.
    pub(super) fn from(
        path: &'a Path,
        mut file: &'a File,
        offset: u64,
        end: u64,
    ) -> Result<Self, OpenError> {
        file.seek(SeekFrom::Start(offset)).map_err(OpenError::io("read", path))?;
        let reader = BufReader::new(file.take(end.saturating_sub(offset)));
        Ok(Self { path, reader, offset, bytes: Vec::new() })
    }

    /// The next one, which has this number; `None` behind the last whole one.
    pub(super) fn next(&mut self, number: u64) -> Result<Option<WholeLine<'_>>, OpenError> {
        self.bytes.clear();
        let most = LONGEST_LINE as u64 + 1;
        let read = self.reader.by_ref().take(most).read_until(b'\n', &mut self.bytes);
        let length = read.map_err(OpenError::io("read", self.path))?;
        if length > LONGEST_LINE {
            let what = "a line is longer than any that is written";
            return Err(damaged(self.path, self.offset, number, what));
        }
        if self.bytes.last() != Some(&b'\n') {
            return Ok(None);
        }
        let offset = self.offset;
        self.offset += length as u64;
        Ok(Some(WholeLine { bytes: &self.bytes, offset }))
    }
}
