//! Room on the disk that is a purge's own: a file of a tenant's folder whose blocks are taken when
//! there are enough, let go when a purge finds none, and taken again once there is room. Who must
//! be forgotten is, on a disk that others filled to the last byte.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::SledStoreOptions;
use crate::disk::Disk;
use crate::room;
use crate::tail::is_full;

/// A block as `st_blocks` counts them, in bytes.
const BLOCK: u64 = 512;

/// The file.
#[derive(Debug, Clone)]
pub(crate) struct Reserve {
    path: PathBuf,
    disk: Disk,
}

impl Reserve {
    /// That of the tenant in `directory`.
    pub(crate) fn of_tenant(directory: &Path, disk: Disk) -> Self {
        Self { path: directory.join("reserve"), disk }
    }

    /// Takes the room, where it is not taken and the disk has it beside what is kept from
    /// appends. That there is none is no failure.
    pub(crate) fn take(&self, options: &SledStoreOptions) {
        let Err(error) = self.try_to_take(options) else { return };
        if !is_full(&error) {
            tracing::warn!(%error, path = %self.path.display(), "no room is kept for purges");
        }
    }

    fn try_to_take(&self, options: &SledStoreOptions) -> io::Result<()> {
        let above = self.path.parent().unwrap_or(&self.path);
        let bytes = room::of_purges(above, options)?;
        if bytes == 0 || self.is_taken(bytes) || !room::fits(above, options, bytes, 0)? {
            return Ok(());
        }
        let file = self.disk.create(&self.path)?;
        let taken = file.allocate(bytes);
        if taken.is_err() {
            // A part of it would pass for nothing.
            self.disk.remove(&self.path)?;
        }
        taken
    }

    /// Whether the file is there and its blocks are on the disk, which those of a file that was
    /// copied may not be.
    fn is_taken(&self, bytes: u64) -> bool {
        let taken = |file: std::fs::Metadata| file.len() == bytes && file.blocks() * BLOCK >= bytes;
        self.path.symlink_metadata().is_ok_and(taken)
    }

    /// Lets the room go; false where there was none.
    pub(crate) fn release(&self) -> io::Result<bool> {
        match self.disk.remove(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            removed => removed.map(|()| {
                tracing::warn!("the disk is full: a purge goes on with the room kept for it");
                true
            }),
        }
    }
}
