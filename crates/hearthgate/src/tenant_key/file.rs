//! The file that holds a tenant's key: read unless others may read it too, and made durably. Where
//! it is, its source says.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use store::keys::TenantKey;

use super::{TenantKeyError, io_error};

/// The bits of a file's mode by which other accounts read it. A group's are its owner's choice:
/// systemd gives a service its credentials so.
const OTHERS: u32 = 0o007;

/// More than a key needs, in bytes.
const LONGEST_KEY: u64 = 1024;

/// A key's text, unless others may read it too.
pub(super) fn read_file(path: &Path) -> Result<Option<String>, TenantKeyError> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(io_error("read", path))?,
    };
    let metadata = file.metadata().map_err(io_error("read", path))?;
    if metadata.mode() & OTHERS != 0 {
        return Err(TenantKeyError::ReadableByOthers(path.to_owned()));
    }
    let mut text = String::new();
    // What is no text is no key; nor is anything long.
    let read = (&mut file).take(LONGEST_KEY).read_to_string(&mut text);
    match read {
        Err(error) if error.kind() != io::ErrorKind::InvalidData => {
            Err(io_error("read", path)(error))
        }
        _ => Ok(Some(text)),
    }
}

/// Makes the file of a key, durably. There was none a moment ago.
pub(super) fn write_key(path: &Path, key: &TenantKey) -> io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if !parent.is_dir() {
        DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        if let Some(above) = parent.parent().filter(|above| !above.as_os_str().is_empty()) {
            File::open(above)?.sync_all()?;
        }
    }
    // A start that ended in the midst left no key, and nothing that is read as one.
    let unfinished = path.with_extension("part");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&unfinished)?;
    writeln!(file, "{}", key.to_text())?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    File::open(parent)?.sync_all()
}
