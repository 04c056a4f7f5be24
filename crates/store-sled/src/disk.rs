//! The door to the disk: every call that changes a file of the store's own, or reads one, is made
//! here, and nowhere else in this crate. What sled keeps under `state/` is derived, and sled's.
//!
//! A [`Watch`] may stand at the door: it sees each call before it is made, and makes it, or makes
//! a part of it, or lets it fail. That is how a disk that loses what was not synced, tears what
//! was written, is full or cannot be read is put under a store, and how a process is killed at any
//! of its calls.
//! Without one the door costs a look at an `Option`.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

/// A call that changes the disk. A file is named by the number that its opening gave it, since a
/// path may come to mean another file, and by the path that it was opened at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Call<'a> {
    /// A directory comes to be; the one above it is there.
    CreateDirectory(&'a Path),
    /// A file comes to be, or is emptied if it is there.
    Create(&'a Path, FileNumber),
    /// A file that is there is opened for writing, which changes nothing yet.
    Open(&'a Path, FileNumber),
    /// Bytes are written at an offset.
    Write(&'a Path, FileNumber, u64, &'a [u8]),
    /// A file is given a length.
    SetLength(&'a Path, FileNumber, u64),
    /// Blocks of the disk are taken for a file of so many bytes, which are zeros.
    Allocate(&'a Path, FileNumber, u64),
    /// Blocks of the disk are taken for a file from an offset up to another, beyond its end; it
    /// stays as long as it is.
    Reserve(&'a Path, FileNumber, u64, u64),
    /// What was written to a file, and its length, become durable.
    Sync(&'a Path, FileNumber),
    /// A name comes to mean the file of another name, which goes.
    Rename(&'a Path, &'a Path),
    /// A name goes.
    Remove(&'a Path),
    /// A directory goes, and all in it.
    RemoveTree(&'a Path),
    /// The names in a directory become durable.
    SyncDirectory(&'a Path),
}

impl Call<'_> {
    /// The path that it is about.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::CreateDirectory(path)
            | Self::Create(path, _)
            | Self::Open(path, _)
            | Self::Write(path, ..)
            | Self::SetLength(path, ..)
            | Self::Allocate(path, ..)
            | Self::Reserve(path, ..)
            | Self::Sync(path, _)
            | Self::Rename(path, _)
            | Self::Remove(path)
            | Self::RemoveTree(path)
            | Self::SyncDirectory(path) => path,
        }
    }
}

/// The number of a file that was opened, one of its own for each time.
pub type FileNumber = u64;

/// Whoever stands at the door.
pub trait Watch: Send + Sync {
    /// Is asked to make `call`, which `make` does, and says what came of it.
    ///
    /// # Errors
    /// What the store then takes for the disk's error.
    fn make(&self, call: &Call<'_>, make: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()>;

    /// Is told that the file at `path` is about to be opened to be read.
    ///
    /// # Errors
    /// What the store then takes for the system's error.
    fn open_to_read(&self, path: &Path) -> io::Result<()> {
        let _ = path;
        Ok(())
    }

    /// Is asked to fill `into` from `offset` of the file at `path`, which `read` does, and says how
    /// many bytes it filled.
    ///
    /// # Errors
    /// What the store then takes for the disk's error.
    fn read(
        &self,
        (path, offset): (&Path, u64),
        into: &mut [u8],
        read: &mut dyn FnMut(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let _ = (path, offset);
        read(into)
    }
}

/// The disk, watched or not.
#[derive(Clone, Default)]
pub struct Disk(Option<Arc<dyn Watch>>);

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Disk(watched)" } else { "Disk" })
    }
}

/// The same when the same one watches, or none does.
impl PartialEq for Disk {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

impl Eq for Disk {}

impl Disk {
    /// The disk with this watch at its door.
    #[must_use]
    pub fn watched(watch: Arc<dyn Watch>) -> Self {
        Self(Some(watch))
    }

    fn make(&self, call: &Call<'_>, mut make: impl FnMut() -> io::Result<()>) -> io::Result<()> {
        match &self.0 {
            None => make(),
            Some(watch) => watch.make(call, &mut make),
        }
    }

    /// Opens with `options`; `call` is told the file's number.
    fn opened<'a>(
        &self,
        path: &'a Path,
        options: &OpenOptions,
        call: impl FnOnce(&'a Path, FileNumber) -> Call<'a>,
    ) -> io::Result<DiskFile> {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let mut opened = None;
        self.make(&call(path, number), || {
            opened = Some(options.open(path)?);
            Ok(())
        })?;
        let file = opened.ok_or_else(|| io::Error::other("the file was not opened"))?;
        let file = self.reading(file, path);
        Ok(DiskFile { file, path: path.to_owned(), number, disk: self.clone() })
    }

    /// Makes a file that is not there, readable to its owner alone.
    pub(crate) fn create_new(&self, path: &Path) -> io::Result<DiskFile> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        self.opened(path, &options, Call::Create)
    }

    /// Makes a file, or empties the one that is there.
    pub(crate) fn create(&self, path: &Path) -> io::Result<DiskFile> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        self.opened(path, &options, Call::Create)
    }

    /// Opens a file that is there.
    pub(crate) fn open(&self, path: &Path) -> io::Result<DiskFile> {
        self.opened(path, OpenOptions::new().read(true).write(true), Call::Open)
    }

    /// Opens a file that is there, to read it.
    pub(crate) fn open_to_read(&self, path: &Path) -> io::Result<Reading> {
        if let Some(watch) = &self.0 {
            watch.open_to_read(path)?;
        }
        Ok(self.reading(File::open(path)?, path))
    }

    fn reading(&self, file: File, path: &Path) -> Reading {
        let watched = self.0.as_ref().map(|watch| (Arc::clone(watch), path.to_owned()));
        Reading { file, watched }
    }

    /// All that a file has, or an error: not a first part of it.
    pub(crate) fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.open_to_read(path)?;
        let mut bytes = Vec::new();
        file.from(0).read_to_end(&mut bytes)?;
        file.ends_by(bytes.len() as u64)?;
        Ok(bytes)
    }

    /// All that a file of text has.
    pub(crate) fn read_to_string(&self, path: &Path) -> io::Result<String> {
        let text = String::from_utf8(self.read(path)?);
        text.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// Makes a directory and those above it, durably; does nothing when it is there.
    pub(crate) fn create_directory(&self, path: &Path) -> io::Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        let make = || DirBuilder::new().mode(0o700).create(path);
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            self.create_directory(parent)?;
            self.make(&Call::CreateDirectory(path), make)?;
            return self.sync_directory(parent);
        }
        self.make(&Call::CreateDirectory(path), make)
    }

    /// Makes a file with these bytes, whole or not at all, durably.
    pub(crate) fn write_whole(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let unfinished = path.with_extension("unfinished");
        let file = self.create(&unfinished)?;
        file.write_all_at(bytes, 0)?;
        file.sync()?;
        self.rename(&unfinished, path)?;
        match path.parent() {
            Some(parent) => self.sync_directory(parent),
            None => Ok(()),
        }
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.make(&Call::Rename(from, to), || fs::rename(from, to))
    }

    pub(crate) fn remove(&self, path: &Path) -> io::Result<()> {
        self.make(&Call::Remove(path), || fs::remove_file(path))
    }

    pub(crate) fn remove_tree(&self, path: &Path) -> io::Result<()> {
        self.make(&Call::RemoveTree(path), || fs::remove_dir_all(path))
    }

    pub(crate) fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.make(&Call::SyncDirectory(path), || File::open(path)?.sync_all())
    }
}

/// A file that is read.
pub(crate) struct Reading {
    file: File,
    watched: Option<(Arc<dyn Watch>, PathBuf)>,
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.file.fmt(f)
    }
}

impl Reading {
    pub(crate) fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Fills `into` from `offset` on, or a first part of it; says how much.
    pub(crate) fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut read = |into: &mut [u8]| self.file.read_at(into, offset);
        match &self.watched {
            None => read(into),
            Some((watch, path)) => watch.read((path, offset), into, &mut read),
        }
    }

    /// Fills `into` from `offset` on.
    pub(crate) fn read_exact_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        let mut at = 0;
        while at < into.len() {
            match self.read_at(&mut into[at..], offset + at as u64) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(more) => at += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Says whether what was read up to `end` is all: a disk may give less than a file has.
    pub(crate) fn ends_by(&self, end: u64) -> io::Result<()> {
        if self.length()? > end {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// What it has from `offset` on.
    pub(crate) fn from(&self, offset: u64) -> Rest<'_> {
        Rest { file: self, offset }
    }
}

/// What a file has from an offset on, read forward.
pub(crate) struct Rest<'a> {
    file: &'a Reading,
    offset: u64,
}

impl io::Read for Rest<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(into, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

/// A file that is written to.
#[derive(Debug)]
pub(crate) struct DiskFile {
    file: Reading,
    path: PathBuf,
    number: FileNumber,
    disk: Disk,
}

impl DiskFile {
    /// The file, to be read.
    pub(crate) fn reader(&self) -> &Reading {
        &self.file
    }

    pub(crate) fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    /// Writes all of `bytes` at `offset`.
    pub(crate) fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let call = Call::Write(&self.path, self.number, offset, bytes);
        self.disk.make(&call, || self.file.file.write_all_at(bytes, offset))
    }

    /// Cuts the file off, or adds zeros.
    pub(crate) fn set_len(&self, length: u64) -> io::Result<()> {
        let call = Call::SetLength(&self.path, self.number, length);
        self.disk.make(&call, || self.file.file.set_len(length))
    }

    /// Takes blocks of the disk for an empty file that is to have this length.
    pub(crate) fn allocate(&self, length: u64) -> io::Result<()> {
        let call = Call::Allocate(&self.path, self.number, length);
        self.disk.make(&call, || {
            let file = &self.file.file;
            match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, length) {
                // A file system that takes blocks by writing alone.
                Err(Errno::OPNOTSUPP) => {
                    let mut zeros = io::repeat(0).take(length);
                    io::copy(&mut zeros, &mut &*file).map(drop)
                }
                taken => Ok(taken?),
            }
        })
    }

    /// Takes blocks of the disk for what will be written from one offset up to another, so that it
    /// fits however full the disk is then. A file system that cannot gives no room, and no error.
    pub(crate) fn reserve(&self, from: u64, to: u64) -> io::Result<()> {
        let call = Call::Reserve(&self.path, self.number, from, to);
        self.disk.make(&call, || {
            let length = to.saturating_sub(from);
            match rustix::fs::fallocate(&self.file.file, FallocateFlags::KEEP_SIZE, from, length) {
                Err(Errno::OPNOTSUPP) => Ok(()),
                taken => Ok(taken?),
            }
        })
    }

    /// Makes what was written durable, and the length.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.disk.make(&Call::Sync(&self.path, self.number), || self.file.file.sync_data())
    }
}
