//! Another trail in the place of one that was lost: somebody decides it, and the first line of the
//! new one says so.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use contract::Clock;

use super::chain::Files;
use super::head::Head;
use super::line::{Doing, How, Outcome};
use super::writer::Said;
use super::{Before, TRAIL, Trail, TrailError, verify_trail};
use crate::change::Actor;
use crate::error::OpenError;
use crate::files;

/// The operation of the first line.
const OPERATION: &str = "changes.begin-anew";
/// What the directory is called that has what was there, with a number.
const ASIDE: &str = "aside";
/// The directory in which the new trail is made until it takes its place.
const MADE_IN: &str = "trail.anew";

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
/// # Errors
/// [`TrailError`] when the file system refuses. The trail is missed as before then, or the new one is
/// there with its first line; the same again goes on from there.
pub fn begin_trail_anew(
    dir: &Path,
    by: &Actor,
    clock: Arc<dyn Clock>,
) -> Result<BegunAnew, TrailError> {
    // What cannot be read is set aside all the same.
    let known = match verify_trail(dir, drop) {
        Ok(report) => Some((report.lines, report.last)),
        Err(_) => Head::read(dir).ok().flatten().map(|head| (head.lines, head.last)),
    };
    let before = match &known {
        Some((lines, last)) => format!("one of {lines} lines, whose last hash was {last}"),
        None => "nothing is known of one before".to_owned(),
    };
    let doing = Doing {
        by: by.as_str().to_owned(),
        from: None,
        how: How::Command,
        operation: OPERATION.to_owned(),
        object: before,
    };
    let made = make_beside(dir, &doing, clock)?;
    let aside = set_aside(dir)?;
    // What is noted of the one before goes last: until then a trail is missed that is not there, or
    // is not the one that it speaks of.
    for (from, to) in [(made.join(TRAIL), dir.join(TRAIL)), (Head::path(&made), Head::path(dir))] {
        std::fs::rename(&from, &to).map_err(OpenError::io("move", &from))?;
        files::sync_parent(&to).map_err(OpenError::io("sync", dir))?;
    }
    std::fs::remove_dir_all(&made).map_err(OpenError::io("remove", &made))?;
    Ok(BegunAnew { lines: known.map(|(lines, _)| lines), aside })
}

/// Makes the new trail, of one line, where nobody looks for one.
fn make_beside(dir: &Path, doing: &Doing, clock: Arc<dyn Clock>) -> Result<PathBuf, TrailError> {
    let made = dir.join(MADE_IN);
    match std::fs::remove_dir_all(&made) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(OpenError::io("remove", &made)(error).into());
        }
        _ => {}
    }
    files::private_dir(&made).map_err(OpenError::io("create", &made))?;
    let trail = Trail::open(&made, Before::Nothing, clock)?;
    trail.write(&mut trail.state.lock(), doing, Said::plain(Outcome::Done))?;
    Ok(made)
}

/// Moves the files of the trail in `dir` into a directory of their own, with a copy of what is noted
/// of it; `None` where there is nothing.
fn set_aside(dir: &Path) -> Result<Option<PathBuf>, TrailError> {
    let (path, head) = (dir.join(TRAIL), Head::path(dir));
    let found = Files::find(dir)?;
    let mut there: Vec<PathBuf> = found.closed.into_values().collect();
    there.extend(found.open.map(|_| path.clone()));
    if there.is_empty() && !head.exists() {
        return Ok(None);
    }
    let target = files::free_name_beside(&path, ASIDE);
    files::private_dir(&target).map_err(OpenError::io("create", &target))?;
    if head.exists() {
        let name = head.file_name().unwrap_or_default();
        std::fs::copy(&head, target.join(name)).map_err(OpenError::io("copy", &head))?;
    }
    for path in there {
        let name = path.file_name().unwrap_or_default();
        std::fs::rename(&path, target.join(name)).map_err(OpenError::io("set aside", &path))?;
    }
    files::sync_parent(&target.join(TRAIL)).map_err(OpenError::io("sync", &target))?;
    Ok(Some(target))
}

/// Begins an empty trail in `dir`, in which there is none, for a registry whose changes came from
/// elsewhere.
pub(crate) fn begin_empty(dir: &Path) -> Result<(), OpenError> {
    let path = dir.join(TRAIL);
    files::create_private(&path).map_err(OpenError::io("create", &path))?;
    let head = Head::path(dir);
    Head::default().write(dir).map_err(OpenError::io("write", &head))
}
