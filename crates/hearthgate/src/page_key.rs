//! The key that links to pages of answers are sealed with: 32 random bytes in the data directory,
//! made at the first start, so that links outlive a restart. It is in no backup: after a restore
//! links are given anew.

use std::path::Path;

use contract::Ids;
use server::PageKey;

use crate::key_file::{self, KeyFileError};

/// The file's name in the data directory.
pub const FILE: &str = "page-links.key";

/// What ends with a key that is lost.
const ENDS: &str = "links to pages that were given out end";

const _: () = assert!(PageKey::LENGTH == key_file::LENGTH);

/// The key in the data directory, made when there is none.
///
/// # Errors
/// [`KeyFileError`].
pub fn open(data: &Path, ids: &dyn Ids) -> Result<PageKey, KeyFileError> {
    Ok(PageKey::new(&key_file::open(data, FILE, ENDS, ids)?))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{FILE, open};
    use crate::doors::SystemIds;

    #[test]
    fn the_key_is_in_its_file_and_another_length_is_none() {
        let data = tempfile::tempdir().unwrap();
        let ids = SystemIds::open().unwrap();
        open(data.path(), &ids).unwrap();
        let path = data.path().join(FILE);
        assert_eq!(fs::read(&path).unwrap().len(), 32);
        fs::write(&path, [1; 31]).unwrap();
        let refused = open(data.path(), &ids).unwrap_err().to_string();
        assert!(refused.contains("links to pages that were given out end"), "{refused}");
    }
}
