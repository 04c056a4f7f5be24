//! What was written into a backup is read again, and compared with what its manifest says. Where it
//! goes is not said here.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use ring::digest::{Context, SHA256};

use super::error::{BackupError, failed};
use super::manifest::{self, FORMAT, Manifest, Piece, hexadecimal};

/// A manifest, of a format that this release reads.
pub(super) fn read_manifest(path: &Path) -> Result<Manifest, BackupError> {
    let bytes = fs::read(path).map_err(failed("read", path))?;
    let unreadable = |reason: String| BackupError::Manifest { path: path.to_owned(), reason };
    let manifest: Manifest =
        serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?;
    if manifest.format != FORMAT {
        return Err(unreadable(format!("it is of format {}, not {FORMAT}", manifest.format)));
    }
    Ok(manifest)
}

/// The manifest of this number, or the newest.
pub(super) fn find_manifest(backup: &Path, number: Option<u64>) -> Result<Manifest, BackupError> {
    let mut found = manifest::list(backup).map_err(failed("read", backup))?;
    let Some(number) = number else {
        let (_, path) = found.pop().ok_or_else(|| BackupError::NoBackup(backup.to_owned()))?;
        return read_manifest(&path);
    };
    match found.iter().find(|(known, _)| *known == number) {
        Some((_, path)) => read_manifest(path),
        None if found.is_empty() => Err(BackupError::NoBackup(backup.to_owned())),
        None => {
            let known: Vec<String> = found.iter().map(|(known, _)| known.to_string()).collect();
            let (backup, known) = (backup.to_owned(), known.join(", "));
            Err(BackupError::NoSuchNumber { backup, number, known })
        }
    }
}

/// Hands the bytes of a piece on, having compared all of them with what the manifest says.
pub(super) fn read_piece(
    backup: &Path,
    piece: &Piece,
    mut take: impl FnMut(&[u8]) -> Result<(), BackupError>,
) -> Result<(), BackupError> {
    let named = Path::new(&piece.file);
    let inside = named.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    let path = backup.join(named);
    let plain = fs::symlink_metadata(&path).map_err(failed("open", &path))?.is_file();
    if !inside || !plain {
        return Err(BackupError::Elsewhere(piece.file.clone()));
    }
    let file = File::open(&path).map_err(failed("open", &path))?;
    // One more than there may be, to notice that there is more.
    let mut file = file.take(piece.length.saturating_add(1));
    let (mut hash, mut length) = (Context::new(&SHA256), 0);
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer).map_err(failed("read", &path))?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
        length += read as u64;
        take(&buffer[..read])?;
    }
    let found = hexadecimal(hash.finish().as_ref());
    if (length, &found) == (piece.length, &piece.sha256) {
        return Ok(());
    }
    Err(BackupError::Piece {
        path,
        found: format!("{length} bytes of SHA-256 {found}"),
        expected: format!("{} of {}", piece.length, piece.sha256),
    })
}
