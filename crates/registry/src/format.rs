//! `format`: which layout the directory has, so that an older program never reads a newer one.

use std::io;
use std::path::Path;

use crate::error::OpenError;
use crate::files;

/// The layout this release writes.
pub(crate) const VERSION: u32 = 1;

const NAME: &str = "format";
const WORDS: &str = "hearthgate registry ";

/// The directory's format; `None` where none is written.
pub(crate) fn found(dir: &Path) -> Result<Option<u32>, OpenError> {
    let path = dir.join(NAME);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(OpenError::io("read", &path)(error)),
    };
    match read(&bytes) {
        None => Err(OpenError::FormatUnreadable { path }),
        Some(version) if version > VERSION => {
            Err(OpenError::NewerFormat { dir: dir.to_owned(), found: version, supported: VERSION })
        }
        known => Ok(known),
    }
}

/// Makes a directory without a format one of this release, unless a log stands in it.
pub(crate) fn begin(dir: &Path, log: &Path) -> Result<(), OpenError> {
    let path = dir.join(NAME);
    if !files::is_absent_or_empty(log) {
        return Err(OpenError::FormatUnreadable { path });
    }
    // The log first: a format beside no log says that a log was lost.
    files::create_private(log).map_err(OpenError::io("create", log))?;
    let text = format!("{WORDS}{VERSION}\n");
    files::write_atomically(&path, text.as_bytes()).map_err(OpenError::io("write", &path))
}

/// The directory has no registry any more.
pub(crate) fn end(dir: &Path) -> io::Result<()> {
    std::fs::remove_file(dir.join(NAME))
}

fn read(bytes: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(bytes).ok()?.strip_suffix('\n')?;
    let number = text.strip_prefix(WORDS)?;
    let version = number.parse().ok()?;
    (version > 0 && number == format!("{version}")).then_some(version)
}
