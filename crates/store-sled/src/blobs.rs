//! `blobs/`: the bodies that are too large for the log, a file each.
//!
//! A file is written beside its place, synced, named, and its name synced, before the commit that
//! names it is appended. It never changes. What a file holds is checked against its reference at
//! every read: a part of it is never given.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use parking_lot::Mutex;
use store::{BlobError, BlobFlaw, BlobId, BlobReference, OwnerKeyId, ReadError, T};

use crate::disk::Disk;
use crate::layout::Layout;

/// What a file that is not written to its end is called behind its name.
const UNFINISHED: &str = ".unfinished";

/// The blobs of a tenant's folder.
#[derive(Debug)]
pub(crate) struct Blobs {
    layout: Layout,
    /// Whether the folder's own name is known to be on the disk.
    is_durable: Mutex<bool>,
}

impl Blobs {
    pub(crate) fn new(layout: Layout) -> Self {
        Self { layout, is_durable: Mutex::new(false) }
    }

    /// Where a blob is.
    fn path(&self, id: BlobId) -> PathBuf {
        self.layout.blobs().join(id.to_string())
    }

    /// Writes a blob, durably.
    pub(crate) fn write(&self, id: BlobId, bytes: &[u8]) -> io::Result<()> {
        self.make_folder()?;
        let path = self.path(id);
        if path.symlink_metadata().is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let written = self.layout.disk().write_whole(&path, bytes);
        if written.is_err() {
            // What of it is there, nobody knows; no commit names it. What stays, an open or
            // `compact` removes.
            drop(self.layout.disk().remove(&path.with_extension("unfinished")));
            drop(self.layout.disk().remove(&path));
        }
        written
    }

    /// Makes the folder, once in a process: whoever made it before may not have synced its name.
    fn make_folder(&self) -> io::Result<()> {
        let mut is_durable = self.is_durable.lock();
        if !*is_durable {
            let folder = self.layout.blobs();
            self.layout.disk().create_directory(&folder)?;
            if let Some(above) = folder.parent() {
                self.layout.disk().sync_directory(above)?;
            }
            *is_durable = true;
        }
        Ok(())
    }

    /// What is there of a blob, of the right length and not compared with its hash.
    pub(crate) fn fetch(&self, reference: &BlobReference) -> Result<Bytes, ReadError> {
        fetch(self.layout.disk(), &self.path(reference.id), reference)
    }

    pub(crate) fn read(&self, reference: &BlobReference) -> Result<Bytes, ReadError> {
        read(self.layout.disk(), &self.path(reference.id), reference)
    }

    /// How many bytes stand there, if any do.
    pub(crate) fn length(&self, id: BlobId) -> io::Result<Option<u64>> {
        match self.path(id).metadata() {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn remove(&self, id: BlobId) -> Result<bool, BlobError> {
        match self.layout.disk().remove(&self.path(id)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        self.layout.disk().sync_directory(&self.layout.blobs())?;
        Ok(true)
    }

    pub(crate) fn list(&self) -> Result<Vec<BlobId>, BlobError> {
        Ok(names(&self.layout)?.iter().filter_map(|name| BlobId::parse(name)).collect())
    }

    /// Removes what was not written to its end when a process ended: nothing can name it.
    pub(crate) fn remove_unfinished(&self) -> io::Result<()> {
        for name in names(&self.layout)? {
            let of = name.strip_suffix(UNFINISHED).and_then(BlobId::parse);
            if of.is_some() {
                self.layout.disk().remove(&self.layout.blobs().join(name))?;
            }
        }
        Ok(())
    }
}

fn names(layout: &Layout) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(layout.blobs()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

/// Reads the file at `path`, which must be the blob that the reference was made of.
fn read(disk: &Disk, path: &Path, reference: &BlobReference) -> Result<Bytes, ReadError> {
    let found = fetch(disk, path, reference)?;
    let damaged = |source| ReadError::Blob { id: reference.id, source };
    reference.check(&found).map_err(damaged)?;
    Ok(found)
}

/// Reads the file at `path`, which must have the length that the reference says.
fn fetch(disk: &Disk, path: &Path, reference: &BlobReference) -> Result<Bytes, ReadError> {
    let id = reference.id;
    let unreadable = |source| ReadError::BlobIo { id, source };
    let damaged = |source| ReadError::Blob { id, source };
    let opened = disk.open_to_read(path).and_then(|file| Ok((file.length()?, file)));
    let (length, file) = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(damaged(BlobFlaw::Missing));
        }
        opened => opened.map_err(unreadable)?,
    };
    if length != reference.length {
        // Before room for it is reserved.
        let expected = reference.length;
        return Err(damaged(BlobFlaw::Length { expected, found: length }));
    }
    let too_long = |_| unreadable(io::ErrorKind::FileTooLarge.into());
    let mut bytes = vec![0; usize::try_from(length).map_err(too_long)?];
    file.read_exact_at(&mut bytes, 0).map_err(unreadable)?;
    Ok(Bytes::from(bytes))
}

/// A version of the log whose body is a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedBlob {
    /// The position of its commit.
    pub t: T,
    /// The key that it is sealed with.
    pub owner: OwnerKeyId,
    /// Type and id.
    pub resource: String,
    /// The blob.
    pub reference: BlobReference,
}

/// Where the blob of this id is in a tenant's directory.
#[must_use]
pub fn blob_path(directory: &Path, id: BlobId) -> PathBuf {
    Blobs::new(Layout::new(directory)).path(id)
}

/// Every blob in a tenant's directory, in the order of ids.
///
/// # Errors
/// [`BlobError`] when the folder cannot be read.
pub fn list_blobs(directory: &Path) -> Result<BTreeSet<BlobId>, BlobError> {
    Ok(Blobs::new(Layout::new(directory)).list()?.into_iter().collect())
}

/// Reads a blob in a tenant's directory: also while the store is open in another process.
///
/// # Errors
/// [`ReadError::Blob`] when it is not the one that the reference was made of.
pub fn read_blob(directory: &Path, reference: &BlobReference) -> Result<Bytes, ReadError> {
    read(&Disk::default(), &blob_path(directory, reference.id), reference)
}

/// Removes a blob in a tenant's directory, of which no store is open. Says whether it was there.
///
/// # Errors
/// [`BlobError`] when it may still be there.
pub fn remove_blob(directory: &Path, id: BlobId) -> Result<bool, BlobError> {
    Blobs::new(Layout::new(directory)).remove(id)
}
