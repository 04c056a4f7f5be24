//! Keys of 32 random bytes that this place makes for itself, each in a file of the data directory.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use contract::Ids;

/// Bytes of a key.
pub const LENGTH: usize = 32;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file is not one that was written here.
    #[error(
        "{} is not a key: {LENGTH} bytes, it has {length}; remove it, and a new one is made: \
         {ends} with the old one",
        path.display()
    )]
    NotAKey {
        /// The file.
        path: PathBuf,
        /// How many bytes it has.
        length: usize,
        /// What ends with a key that is lost.
        ends: &'static str,
    },
    /// The file system refused.
    #[error("{} cannot be read or written", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
}

/// The key in a file, `None` where there is no such file.
///
/// # Errors
/// [`KeyFileError`].
pub fn read(path: &Path, ends: &'static str) -> Result<Option<[u8; LENGTH]>, KeyFileError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(KeyFileError::Io { path: path.to_owned(), source }),
    };
    let length = bytes.len();
    let key = bytes.try_into().map_err(|_| {
        let path = path.to_owned();
        KeyFileError::NotAKey { path, length, ends }
    })?;
    Ok(Some(key))
}

/// The key in a file of a directory, both made where they are missing. The data directory's lock
/// is held.
///
/// # Errors
/// [`KeyFileError`].
pub fn open(
    directory: &Path,
    name: &str,
    ends: &'static str,
    ids: &dyn Ids,
) -> Result<[u8; LENGTH], KeyFileError> {
    let path = directory.join(name);
    match read(&path, ends)? {
        Some(key) => Ok(key),
        None => make(directory, &path, ids).map_err(|source| KeyFileError::Io { path, source }),
    }
}

/// Writes a new key, whole or not at all.
fn make(directory: &Path, path: &Path, ids: &dyn Ids) -> io::Result<[u8; LENGTH]> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let mut key = [0; LENGTH];
    ids.fill(&mut key);
    let part = path.with_extension("key.part");
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    file.write_all(&key)?;
    file.sync_all()?;
    fs::rename(&part, path)?;
    File::open(directory)?.sync_all()?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::{KeyFileError, open};
    use crate::doors::SystemIds;

    const NAME: &str = "some.key";
    const ENDS: &str = "what was made with it ends";

    #[test]
    fn a_key_is_made_once_for_its_owner_alone() {
        let data = tempfile::tempdir().unwrap();
        let ids = SystemIds::open().unwrap();
        let folder = data.path().join("folder");
        let made = open(&folder, NAME, ENDS, &ids).unwrap();
        let path = folder.join(NAME);
        assert_eq!(fs::read(&path).unwrap(), made);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(open(&folder, NAME, ENDS, &ids).unwrap(), made);
        assert_ne!(open(data.path(), NAME, ENDS, &ids).unwrap(), made);
    }

    #[test]
    fn what_is_no_key_is_neither_used_nor_replaced() {
        let data = tempfile::tempdir().unwrap();
        let path = data.path().join(NAME);
        fs::write(&path, [1; 31]).unwrap();
        let refused = open(data.path(), NAME, ENDS, &SystemIds::open().unwrap()).unwrap_err();
        assert!(matches!(refused, KeyFileError::NotAKey { length: 31, .. }));
        assert!(refused.to_string().contains("what was made with it ends with the old one"));
        assert_eq!(fs::read(&path).unwrap(), [1; 31]);
    }
}
