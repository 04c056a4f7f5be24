//! Another trail in the place of one that was lost: somebody decides it, and the first line of the
//! new one says so.

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use contract::Clock;

use super::chain::Files;
use super::head::Head;
use super::line::{Doing, How, Outcome, hash};
use super::writer::{self, Said};
use super::{TRAIL, TrailError, TrailReport, verify_trail};
use crate::change::Actor;
use crate::error::OpenError;
use crate::files;

/// The operation of the first line.
const OPERATION: &str = "changes.begin-anew";
/// What the directory is called that has what was there, with a number.
const ASIDE: &str = "aside";

/// A trail that was begun anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BegunAnew {
    /// How many lines the one before had, where that is known.
    pub lines: Option<u64>,
    /// Where the files of the one before are, where there were some.
    pub aside: Option<PathBuf>,
}

/// Begins the trail in `dir` anew, whose lock the caller holds. What is there of one is set aside,
/// and the first line says who did it and what is known of the one before.
///
/// Wherever it ends before its end, by a full disk or with the process, no start goes on but with a
/// trail whose first line is that one: the line takes the place of what was there in one step, and
/// does not fit what is noted of the one before until that is set aside too.
///
/// # Errors
/// [`TrailError`] when the file system refuses; the same again goes on from there.
pub fn begin_trail_anew(
    dir: &Path,
    by: &Actor,
    clock: Arc<dyn Clock>,
) -> Result<BegunAnew, TrailError> {
    begin_in_steps(dir, by, clock.as_ref(), &mut || Ok(()))
}

/// The same; `go_on` says after each step whether another follows.
fn begin_in_steps(
    dir: &Path,
    by: &Actor,
    clock: &dyn Clock,
    go_on: &mut dyn FnMut() -> Result<(), TrailError>,
) -> Result<BegunAnew, TrailError> {
    let (path, noted) = (dir.join(TRAIL), Head::path(dir));
    // What cannot be read is set aside all the same.
    let known = match verify_trail(dir, drop) {
        Ok(TrailReport { lines, last, .. }) => {
            // Noted for whoever has to go on from there, when it cannot be verified any more.
            let head = Head { lines, last, ..Head::read(dir)?.unwrap_or_default() };
            head.write(dir).map_err(OpenError::io("write", &noted))?;
            go_on()?;
            Some(head)
        }
        Err(_) => Head::read(dir).ok().flatten(),
    };
    let before = match &known {
        Some(Head { lines, last, .. }) => {
            format!("one of {lines} lines, whose last hash was {last}")
        }
        None => "nothing is known of one before".to_owned(),
    };
    let doing = Doing {
        by: by.as_str().to_owned(),
        from: None,
        how: How::Command,
        operation: OPERATION.to_owned(),
        object: before,
    };
    let mut head = Head::default();
    let said = Said::plain(Outcome::Done);
    let line = writer::line(1, clock.now(), &doing, said, &head.last).map_err(TrailError::Io)?;
    (head.lines, head.last) = (1, hash(&line));

    let found = Files::find(dir)?;
    let mut aside = None;
    if !found.is_empty() || noted.exists() {
        let target = files::free_name_beside(&path, ASIDE);
        files::private_dir(&target).map_err(OpenError::io("create", &target))?;
        aside = Some(target);
        go_on()?;
    }
    let aside_as = |path: &Path| Some(aside.as_ref()?.join(path.file_name()?));
    let replace = |path: &Path, bytes: &[u8]| -> Result<(), OpenError> {
        if let Some(target) = aside_as(path).filter(|_| path.exists()) {
            // What stands there is not read, which may be what fails; where the file system has no
            // second names, it has to be.
            std::fs::hard_link(path, &target)
                .or_else(|_| files::copy_private(path, &target))
                .and_then(|()| files::sync_parent(&target))
                .map_err(OpenError::io("set aside", path))?;
        }
        files::write_atomically(path, bytes).map_err(OpenError::io("write", path))
    };
    replace(&path, &line)?;
    go_on()?;
    for path in found.closed.into_values() {
        if let Some(target) = aside_as(&path) {
            std::fs::rename(&path, target).map_err(OpenError::io("set aside", &path))?;
        }
        go_on()?;
    }
    if let Some(target) = aside_as(&path) {
        files::sync_parent(&target).map_err(OpenError::io("sync", &target))?;
    }
    // Last: until it is another one, the trail is not what it says, or one is missed.
    replace(&noted, &head.bytes().map_err(TrailError::Io)?)?;
    Ok(BegunAnew { lines: known.map(|head| head.lines), aside })
}

/// Begins an empty trail in `dir`, in which there is none, for a registry whose changes came from
/// elsewhere.
pub(crate) fn begin_empty(dir: &Path) -> Result<(), OpenError> {
    let path = dir.join(TRAIL);
    files::create_private(&path).map_err(OpenError::io("create", &path))?;
    let head = Head::path(dir);
    Head::default().write(dir).map_err(OpenError::io("write", &head))
}
