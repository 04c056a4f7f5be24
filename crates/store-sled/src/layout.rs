//! Where a tenant's files are, and how they come to be: directories 0700, files 0600, and every
//! new name is on the disk before anything relies on it.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use store::{Head, T, TenantText};

use crate::disk::{Disk, Reading};
use crate::error::{Damage, Flaw, OpenError};
use crate::frame::{MAX_SEGMENT_HEADER, SegmentHeader};
use crate::reserve::Reserve;

/// The format of the directory that this release writes. 1 has no sealed bodies, 2 no records of
/// format 2 and no blobs; the first open makes either 3.
const FORMAT: u32 = 3;
/// The last one whose bodies are all readable.
const UNSEALED: u32 = 1;
const FORMAT_WORDS: &str = "hearthgate store ";
const FIRST_SEGMENT: u64 = 1;
/// Bytes read at a time.
const PIECE: u64 = 1 << 16;

/// A tenant's directory.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: PathBuf,
    disk: Disk,
}

impl Layout {
    pub(crate) fn new(root: &Path) -> Self {
        Self::on(root, Disk::default())
    }

    /// The directory on this disk.
    pub(crate) fn on(root: &Path, disk: Disk) -> Self {
        Self { root: root.to_owned(), disk }
    }

    /// The room on it that is a purge's own.
    pub(crate) fn reserve(&self) -> Reserve {
        Reserve::of_tenant(&self.root, self.disk.clone())
    }

    /// The disk that it is on.
    pub(crate) fn disk(&self) -> &Disk {
        &self.disk
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    pub(crate) fn segment(&self, number: u64) -> PathBuf {
        self.log().join(format!("{number:016}.log"))
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.root.join("state")
    }

    /// Where bodies are that are too large for the log.
    pub(crate) fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    /// A file whose presence says that the state failed while it was in use.
    pub(crate) fn state_failed(&self) -> PathBuf {
        self.root.join("state.failed")
    }

    /// The history of a segment that another one follows.
    pub(crate) fn history(&self, number: u64) -> PathBuf {
        self.root.join("history").join(format!("{number:016}.run"))
    }

    /// Writes the history of a segment, whole or not at all.
    pub(crate) fn write_history(&self, number: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk.create_directory(&self.root.join("history"))?;
        self.disk.write_whole(&self.history(number), bytes)
    }

    fn format(&self) -> PathBuf {
        self.root.join("format")
    }

    /// Makes what a new tenant's directory has, or checks an old one's format.
    pub(crate) fn prepare(&self, tenant: &TenantText) -> Result<(), OpenError> {
        self.disk.create_directory(&self.root).map_err(io_error(&self.root))?;
        match self.disk.read_to_string(&self.format()) {
            Ok(text) if self.check_format(&text)? < FORMAT => self.write_format()?,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.create(tenant)?,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                self.check_format("")?;
            }
            Err(error) => return Err(io_error(&self.format())(error)),
        }
        // A process that was killed between giving a file its name and syncing its directory left
        // a name that is not on the disk: nothing is appended behind such a name (G2).
        let above = self.root.parent().filter(|above| !above.as_os_str().is_empty());
        for directory in
            above.map(Path::to_owned).into_iter().chain([self.root.clone(), self.log()])
        {
            match self.disk.sync_directory(&directory) {
                // A log that is not there is said where its segments are looked for.
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(io_error(&directory)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether its format is one in which bodies are sealed.
    pub(crate) fn may_be_sealed(&self) -> Result<bool, OpenError> {
        match self.disk.read_to_string(&self.format()) {
            Ok(text) => Ok(self.check_format(&text)? > UNSEALED),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) => Err(io_error(&self.format())(error)),
        }
    }

    /// Whether nothing was ever stored here: the log is absent and with it all that is made after
    /// it, or the log is the first segment's header alone, be it that zeros were written ahead.
    pub(crate) fn holds_nothing(&self) -> Result<bool, OpenError> {
        match self.listed_segments()?.as_slice() {
            [] => Ok(!self.format().exists() && !self.state().exists()),
            [FIRST_SEGMENT] => {
                let path = self.segment(FIRST_SEGMENT);
                let alone = self.disk.open_to_read(&path).and_then(|file| is_header_alone(&file));
                alone.map_err(io_error(&path))
            }
            _ => Ok(false),
        }
    }

    /// The numbers of the log's segments, without a gap from the first.
    pub(crate) fn segments(&self) -> Result<Vec<u64>, OpenError> {
        let mut numbers = self.listed_segments()?;
        numbers.sort_unstable();
        let missing = |segment| {
            OpenError::from(Damage {
                segment,
                offset: 0,
                lost: "all of it".to_owned(),
                flaw: Flaw::SegmentMissing,
            })
        };
        if numbers.is_empty() {
            return Err(missing(FIRST_SEGMENT));
        }
        for (number, expected) in numbers.iter().zip(FIRST_SEGMENT..) {
            if *number != expected {
                return Err(missing(expected));
            }
        }
        Ok(numbers)
    }

    /// Makes a segment with nothing but its header, durably.
    pub(crate) fn create_segment(
        &self,
        number: u64,
        tenant: &TenantText,
        base: Head,
    ) -> io::Result<()> {
        let header = SegmentHeader { number, base, tenant: tenant.clone() };
        self.disk.write_whole(&self.segment(number), &header.encode())
    }

    /// Moves the state aside and returns where to; `None` when there is none.
    pub(crate) fn move_state_aside(&self) -> Result<Option<PathBuf>, OpenError> {
        let state = self.state();
        let mut moved = None;
        if state.symlink_metadata().is_ok() {
            let aside = unused(|number| self.root.join(format!("state.damaged-{number}")));
            self.disk.rename(&state, &aside).map_err(io_error(&state))?;
            moved = Some(aside);
        }
        self.unmark_state().map_err(io_error(&self.state_failed()))?;
        self.disk.sync_directory(&self.root).map_err(io_error(&self.root))?;
        Ok(moved)
    }

    /// A file whose presence says that the state holds what must not be kept.
    fn state_to_forget(&self) -> PathBuf {
        self.root.join("state.forget")
    }

    /// Marks the state as one that the next open lets go, durably; false when it was marked.
    pub(crate) fn mark_state_to_forget(&self) -> Result<bool, OpenError> {
        let mark = self.state_to_forget();
        if mark.symlink_metadata().is_ok() {
            // Whoever made it may have failed before it was durable.
            self.disk.sync_directory(&self.root).map_err(io_error(&self.root))?;
            return Ok(false);
        }
        self.disk.write_whole(&mark, b"").map_err(io_error(&mark))?;
        Ok(true)
    }

    /// Takes that mark away.
    pub(crate) fn keep_state(&self) -> Result<(), OpenError> {
        let mark = self.state_to_forget();
        match self.disk.remove(&mark) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error(&mark)(error)),
            _ => self.disk.sync_directory(&self.root).map_err(io_error(&self.root)),
        }
    }

    /// Lets a marked state go: everything in it stands in the log but what was purged.
    pub(crate) fn forget_marked_state(&self) -> Result<(), OpenError> {
        if self.state_to_forget().symlink_metadata().is_err() {
            return Ok(());
        }
        let state = self.state();
        match self.disk.remove_tree(&state) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io_error(&state)(error));
            }
            _ => self.disk.sync_directory(&self.root).map_err(io_error(&self.root))?,
        }
        self.keep_state()
    }

    /// Takes away the mark of a state that failed.
    pub(crate) fn unmark_state(&self) -> io::Result<()> {
        match self.disk.remove(&self.state_failed()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Keeps bytes that are about to be cut off after commit `t`, durably; returns where, and how
    /// many they are.
    pub(crate) fn keep_cut(&self, t: T, mut from: impl io::Read) -> io::Result<(PathBuf, u64)> {
        let path = unused(|number| match number {
            1 => self.log().join(format!("cut-{t}")),
            _ => self.log().join(format!("cut-{t}-{number}")),
        });
        let file = self.disk.create_new(&path)?;
        let (mut bytes, mut written) = (Vec::new(), 0);
        while from.by_ref().take(PIECE).read_to_end(&mut bytes)? > 0 {
            file.write_all_at(&bytes, written)?;
            written += bytes.len() as u64;
            bytes.clear();
        }
        file.sync()?;
        self.disk.sync_directory(&self.log())?;
        Ok((path, written))
    }

    fn create(&self, tenant: &TenantText) -> Result<(), OpenError> {
        let log = self.log();
        self.disk.create_directory(&log).map_err(io_error(&log))?;
        // `format` is written last: without it the directory was never in use, and the log can
        // have no more than the first segment's header.
        let first = self.segment(FIRST_SEGMENT);
        let header =
            SegmentHeader { number: FIRST_SEGMENT, base: Head::EMPTY, tenant: tenant.clone() };
        match self.listed_segments()?.as_slice() {
            [] => self.disk.write_whole(&first, &header.encode()).map_err(io_error(&first))?,
            [FIRST_SEGMENT]
                if self.disk.read(&first).map_err(io_error(&first))? == header.encode() => {}
            _ => {
                return Err(OpenError::FormatMissing { path: self.format() });
            }
        }
        self.write_format()
    }

    fn write_format(&self) -> Result<(), OpenError> {
        let format = format!("{FORMAT_WORDS}{FORMAT}\n");
        self.disk.write_whole(&self.format(), format.as_bytes()).map_err(io_error(&self.format()))
    }

    fn check_format(&self, text: &str) -> Result<u32, OpenError> {
        let number = text
            .strip_prefix(FORMAT_WORDS)
            .and_then(|rest| rest.trim_end_matches('\n').parse().ok());
        match number {
            Some(known @ 1..=FORMAT) => Ok(known),
            Some(found) if found > FORMAT => {
                Err(OpenError::NewerFormat { path: self.root.clone(), found, known: FORMAT })
            }
            _ => Err(OpenError::FormatUnreadable { path: self.format() }),
        }
    }

    fn listed_segments(&self) -> Result<Vec<u64>, OpenError> {
        let log = self.log();
        let entries = match fs::read_dir(&log) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(io_error(&log))?,
        };
        let mut numbers = Vec::new();
        for entry in entries {
            let name = entry.map_err(io_error(&log))?.file_name();
            let digits = name.to_str().and_then(|name| name.strip_suffix(".log"));
            numbers.extend(digits.and_then(|digits| digits.parse::<u64>().ok()));
        }
        Ok(numbers)
    }
}

/// Turns the system's error about `path` into one that names it.
pub(crate) fn io_error(path: &Path) -> impl Fn(io::Error) -> OpenError + use<> {
    let path = path.to_owned();
    move |source| OpenError::Io { path: path.clone(), source }
}

/// Whether a segment is its header, and zeros at most.
fn is_header_alone(file: &Reading) -> io::Result<bool> {
    let mut rest = file.from(0);
    let mut bytes = Vec::new();
    let mut end = rest.by_ref().take(MAX_SEGMENT_HEADER as u64).read_to_end(&mut bytes)?;
    let Ok((_, length)) = SegmentHeader::decode(&bytes) else {
        return Ok(false);
    };
    bytes.drain(..length);
    loop {
        if bytes.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        bytes.clear();
        let more = rest.by_ref().take(PIECE).read_to_end(&mut bytes)?;
        if more == 0 {
            return file.ends_by(end as u64).map(|()| true);
        }
        end += more;
    }
}

/// The first of the numbered paths at which nothing is.
fn unused(path: impl Fn(u64) -> PathBuf) -> PathBuf {
    (1..)
        .map(path)
        .find(|path| path.symlink_metadata().is_err())
        .expect("a directory holds fewer than 2^64 names")
}
