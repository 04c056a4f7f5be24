//! The key that links to pages of answers are sealed with: 32 random bytes in the data directory,
//! made at the first start, so that links outlive a restart. It is in no backup: after a restore
//! links are given anew.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use contract::Ids;
use server::PageKey;

/// The file's name in the data directory.
pub const FILE: &str = "page-links.key";

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum PageKeyError {
    /// The file is not one that was written here.
    #[error(
        "{} is not a key: {length} bytes, it has {}; remove it, and a new one is made: links to \
         pages that were given out end with the old one",
        path.display(), PageKey::LENGTH
    )]
    NotAKey {
        /// The file.
        path: PathBuf,
        /// How many bytes it has.
        length: usize,
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

/// The key in the data directory, made when there is none.
///
/// # Errors
/// [`PageKeyError`].
pub fn open(data: &Path, ids: &dyn Ids) -> Result<PageKey, PageKeyError> {
    let path = data.join(FILE);
    let failed = |source| PageKeyError::Io { path: path.clone(), source };
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make(data, &path, ids).map_err(failed)?
        }
        Err(error) => return Err(failed(error)),
    };
    let length = bytes.len();
    let key: &[u8; PageKey::LENGTH] =
        bytes.as_slice().try_into().map_err(|_| PageKeyError::NotAKey { path, length })?;
    Ok(PageKey::new(key))
}

/// Writes a new key, whole or not at all. The data directory's lock is held.
fn make(data: &Path, path: &Path, ids: &dyn Ids) -> io::Result<Vec<u8>> {
    let mut key = vec![0; PageKey::LENGTH];
    ids.fill(&mut key);
    let part = path.with_extension("key.part");
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    file.write_all(&key)?;
    file.sync_all()?;
    fs::rename(&part, path)?;
    File::open(data)?.sync_all()?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::{FILE, PageKeyError, open};
    use crate::doors::SystemIds;

    #[test]
    fn a_key_is_made_once_for_its_owner_alone() {
        let data = tempfile::tempdir().unwrap();
        let ids = SystemIds::open().unwrap();
        open(data.path(), &ids).unwrap();
        let path = data.path().join(FILE);
        let first = fs::read(&path).unwrap();
        assert_eq!(first.len(), 32);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        open(data.path(), &ids).unwrap();
        assert_eq!(fs::read(&path).unwrap(), first);
    }

    #[test]
    fn what_is_no_key_is_neither_used_nor_replaced() {
        let data = tempfile::tempdir().unwrap();
        let path = data.path().join(FILE);
        fs::write(&path, [1; 31]).unwrap();
        let refused = open(data.path(), &SystemIds::open().unwrap());
        assert!(matches!(refused, Err(PageKeyError::NotAKey { length: 31, .. })));
        assert_eq!(fs::read(&path).unwrap(), [1; 31]);
    }
}
