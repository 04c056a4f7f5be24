//! Moving a registry from its files into PostgreSQL.
//!
//! Every change is copied as it is, number, instant and actor included, in one statement, and read
//! again; then it is noted in the directory that the registry is there, and last the files are set
//! aside. A move that was cut off before the note is finished by the next; after it the files
//! count no more.

use std::path::{Path, PathBuf};

use contract::Clock;

use crate::error::OpenError;
use crate::files;
use crate::format;
use crate::log;
use crate::opening::{LOG, read_changes};
use crate::postgres::{self, PostgresOptions};

/// In the directory of a gateway whose registry is in PostgreSQL.
const MARKER: &str = "postgres";

/// The file that says that the registry of `dir` is in PostgreSQL.
pub(crate) fn marker(dir: &Path) -> PathBuf {
    dir.join(MARKER)
}

/// Whether it is noted in `dir` that its registry is in PostgreSQL.
#[must_use]
pub fn is_in_postgres(dir: &Path) -> bool {
    marker(dir).exists()
}

/// Notes it, so that no start without PostgreSQL begins an empty registry, and none in an empty
/// database.
pub(crate) fn note_in_postgres(dir: &Path) -> Result<(), OpenError> {
    let path = marker(dir);
    if path.exists() {
        return Ok(());
    }
    let text = "The registry is in PostgreSQL: `registry.postgres` in the configuration names it.\n\
                While this file is here, no start begins an empty one.\n";
    files::write_atomically(&path, text.as_bytes()).map_err(OpenError::io("write", &path))
}

/// What became of a registry that was moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// How many changes it has.
    pub changes: u64,
    /// They were there already: of a move that was cut off.
    pub was_there: bool,
    /// The log that counts no more.
    pub set_aside: PathBuf,
}

/// Moves the registry in `dir`, whose lock the caller holds, into the PostgreSQL that `options`
/// reach, where there is none yet. Blocks.
///
/// # Errors
/// [`OpenError`] when the one does not open or the other does not take it; the files are then as
/// they were.
pub fn move_into_postgres(
    dir: &Path,
    options: &PostgresOptions,
    clock: &dyn Clock,
) -> Result<Moved, OpenError> {
    let path = dir.join(LOG);
    if format::found(dir)?.is_none() || !path.exists() {
        return Err(OpenError::LogMissing { path });
    }
    let entries = log::entries_of(dir)?;
    // What this release cannot read it moves nowhere.
    read_changes(&path, entries.clone())?;
    let was_there = postgres::copy(options, &entries, clock)?;
    note_in_postgres(dir)?;
    let set_aside = files::free_name_beside(&path, "moved");
    std::fs::rename(&path, &set_aside)
        .and_then(|()| format::end(dir))
        .and_then(|()| files::sync_parent(&path))
        .map_err(OpenError::io("set aside", &path))?;
    Ok(Moved { changes: entries.len() as u64, was_there, set_aside })
}
