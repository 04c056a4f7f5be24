//! Puts the text of a configuration in the place of the file that the process was started with, so
//! that its next start decides the same.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// A configuration's new text, written beside the file whose place it takes.
#[derive(Debug)]
pub(super) struct Placing {
    target: PathBuf,
    beside: PathBuf,
    before: Option<String>,
}

/// The file system refused, and everything is as before.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot write {}, from which the process reads its configuration; give its account the right to it, or start the process with the directory's own file",
    path.display()
)]
pub(super) struct NotWritable {
    path: PathBuf,
    source: io::Error,
}

impl Placing {
    /// Writes the text beside the file, on the disk.
    ///
    /// # Errors
    /// [`NotWritable`] when the file system refuses.
    pub(super) fn prepare(target: &Path, text: &str) -> Result<Self, NotWritable> {
        let refused = |source| NotWritable { path: target.to_owned(), source };
        // What a link leads to is replaced, and not the link.
        let target = target.canonicalize().map_err(refused)?;
        let refused = |source| NotWritable { path: target.clone(), source };
        let before = fs::read_to_string(&target).map_err(refused)?;
        let beside = target.with_extension("toml.next");
        let mode = fs::metadata(&target).map_err(refused)?.permissions().mode() & 0o777;
        let placing = Self { target: target.clone(), beside, before: Some(before) };
        placing.write(text, mode).map_err(refused)?;
        Ok(placing)
    }

    fn write(&self, text: &str, mode: u32) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(mode);
        let mut file = options.open(&self.beside)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    }

    /// Puts it in the file's place.
    ///
    /// # Errors
    /// [`NotWritable`] when the file system refuses.
    pub(super) fn place(&self) -> Result<(), NotWritable> {
        let placed = fs::rename(&self.beside, &self.target).and_then(|()| self.sync());
        placed.map_err(|source| NotWritable { path: self.target.clone(), source })
    }

    fn sync(&self) -> io::Result<()> {
        match self.target.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    }

    /// Puts back what was there.
    pub(super) fn put_back(mut self) {
        let Some(before) = self.before.take() else { return };
        let mode = fs::metadata(&self.target).map_or(0o600, |file| file.permissions().mode());
        let back = self.write(&before, mode & 0o777).and_then(|()| {
            fs::rename(&self.beside, &self.target)?;
            self.sync()
        });
        if let Err(error) = back {
            tracing::error!(
                %error,
                file = %self.target.display(),
                "the configuration of before could not be put back into its file; put it back by hand"
            );
        }
    }
}

impl Drop for Placing {
    fn drop(&mut self) {
        // Placed, it is not there.
        let _ = fs::remove_file(&self.beside);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // GW-061
    #[test]
    fn a_text_takes_the_place_of_the_file_and_can_be_put_back() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("site.toml"), dir.path().join("link.toml"));
        fs::write(&file, "before").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let read = || fs::read_to_string(&file).unwrap();
        let placing = Placing::prepare(&link, "after").unwrap();
        assert_eq!(read(), "before");
        placing.place().unwrap();
        assert_eq!(read(), "after");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
        placing.put_back();
        assert_eq!(read(), "before");
        // One that is not placed leaves nothing.
        drop(Placing::prepare(&link, "after").unwrap());
        assert_eq!(read(), "before");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        assert!(Placing::prepare(&dir.path().join("none.toml"), "").is_err());
    }
}
