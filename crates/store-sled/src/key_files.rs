//! A tenant's keys as files in a folder: `keys/` of the tenant, and every copy of it.
//!
//! A file appears or is replaced whole: written beside its place, synced, renamed, the folder
//! synced. The one that it replaces is overwritten with zeros before it is let go, so that a
//! destroyed key does not stay behind in blocks that nobody names any more. A medium that writes
//! elsewhere than where it is told (flash, copy on write) keeps such blocks for a while all the
//! same; what is in them is wrapped by the tenant's key.

use std::io;
use std::path::{Path, PathBuf};

use store::keys::{FirstKeys, KeyFile, KeyStore};

use crate::disk::{Disk, DiskFile};
use crate::error::OpenError;
use crate::layout::Layout;
use crate::reserve::Reserve;
use crate::tail::is_full;

/// The key files in a folder.
#[derive(Debug, Clone)]
pub struct KeyFolder {
    path: PathBuf,
    disk: Disk,
    /// What is let go when there is no room for a file.
    reserve: Option<PathBuf>,
}

impl KeyFolder {
    /// The key files in `path`, which is made when the first is written.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), disk: Disk::default(), reserve: None }
    }

    /// Those of the tenant in `directory` (`data/tenants/NAME`).
    #[must_use]
    pub fn of_tenant(directory: &Path) -> Self {
        Self { reserve: Some(directory.to_owned()), ..Self::at(&directory.join("keys")) }
    }

    /// The same files on this disk.
    #[must_use]
    pub fn on(self, disk: Disk) -> Self {
        Self { disk, ..self }
    }

    /// Whether the keys of the tenant in `directory` may be made: nothing is stored there yet, or
    /// it was stored by a release that sealed nothing.
    ///
    /// # Errors
    /// [`OpenError`] when the directory cannot be read or is of a later release.
    pub fn first_keys(directory: &Path) -> Result<FirstKeys, OpenError> {
        let layout = Layout::new(directory);
        let sealed = layout.may_be_sealed()? && !layout.holds_nothing()?;
        Ok(if sealed { FirstKeys::MustBeThere } else { FirstKeys::MayBeMade })
    }

    /// Whether there are keys.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        self.file(KeyFile::Tree).symlink_metadata().is_ok()
    }

    fn file(&self, file: KeyFile) -> PathBuf {
        self.path.join(file.name())
    }
}

impl KeyStore for KeyFolder {
    fn read(&self, file: KeyFile) -> io::Result<Option<Vec<u8>>> {
        match self.disk.read(&self.file(file)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some),
        }
    }

    fn replace(&self, file: KeyFile, bytes: &[u8]) -> io::Result<()> {
        let replaced = self.try_to_replace(file, bytes);
        match (&replaced, &self.reserve) {
            (Err(error), Some(tenant)) if is_full(error) => {
                let reserve = Reserve::of_tenant(tenant, self.disk.clone());
                if reserve.release()? { self.try_to_replace(file, bytes) } else { replaced }
            }
            _ => replaced,
        }
    }

    fn place(&self) -> String {
        self.path.display().to_string()
    }
}

impl KeyFolder {
    fn try_to_replace(&self, file: KeyFile, bytes: &[u8]) -> io::Result<()> {
        self.disk.create_directory(&self.path)?;
        let path = self.file(file);
        let replaced = self.disk.open(&path).ok();
        self.disk.write_whole(&path, bytes)?;
        replaced.map_or(Ok(()), |replaced| overwrite(&replaced))
    }
}

/// Writes zeros over a file that has no name any more.
fn overwrite(file: &DiskFile) -> io::Result<()> {
    let length = usize::try_from(file.length()?).map_err(io::Error::other)?;
    file.write_all_at(&vec![0; length], 0)?;
    file.sync()
}
