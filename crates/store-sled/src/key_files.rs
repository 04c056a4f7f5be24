//! A tenant's keys as files in a folder: `keys/` of the tenant, and every copy of it.
//!
//! A file appears or is replaced whole: written beside its place, synced, renamed, the folder
//! synced. The one that it replaces is overwritten with zeros before it is let go, so that a
//! destroyed key does not stay behind in blocks that nobody names any more. A medium that writes
//! elsewhere than where it is told (flash, copy on write) keeps such blocks for a while all the
//! same; what is in them is wrapped by the tenant's key.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use store::keys::{FirstKeys, KeyFile, KeyStore};

use crate::error::OpenError;
use crate::layout::{Layout, sync_directory};

/// The key files in a folder.
#[derive(Debug, Clone)]
pub struct KeyFolder {
    path: PathBuf,
}

impl KeyFolder {
    /// The key files in `path`, which is made when the first is written.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Those of the tenant in `directory` (`data/tenants/NAME`).
    #[must_use]
    pub fn of_tenant(directory: &Path) -> Self {
        Self { path: directory.join("keys") }
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

    fn make(&self) -> io::Result<()> {
        if self.path.is_dir() {
            return Ok(());
        }
        DirBuilder::new().recursive(true).mode(0o700).create(&self.path)?;
        // Each name on the way may be new.
        for folder in self.path.ancestors().skip(1).filter(|path| !path.as_os_str().is_empty()) {
            sync_directory(folder)?;
        }
        Ok(())
    }
}

impl KeyStore for KeyFolder {
    fn read(&self, file: KeyFile) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.file(file)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some),
        }
    }

    fn replace(&self, file: KeyFile, bytes: &[u8]) -> io::Result<()> {
        self.make()?;
        let path = self.file(file);
        let unfinished = path.with_extension("unfinished");
        let replaced = OpenOptions::new().write(true).open(&path).ok();
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut written = options.open(&unfinished)?;
        written.write_all(bytes)?;
        written.sync_all()?;
        fs::rename(&unfinished, &path)?;
        sync_directory(&self.path)?;
        match replaced {
            Some(replaced) => overwrite(replaced),
            None => Ok(()),
        }
    }

    fn place(&self) -> String {
        self.path.display().to_string()
    }
}

/// Writes zeros over a file that has no name any more.
fn overwrite(mut file: File) -> io::Result<()> {
    let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    file.write_all(&vec![0; length])?;
    file.sync_all()
}
