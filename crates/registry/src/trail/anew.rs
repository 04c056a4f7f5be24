//! Another trail in the place of one that was lost: somebody decides it, and the first line of the
//! new one says so.

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
/// [`TrailError`] when the file system refuses; the same again goes on from there.
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
    let found = Files::find(dir)?;
    let path = dir.join(TRAIL);
    let mut there: Vec<PathBuf> = found.closed.into_values().collect();
    there.extend(found.open.map(|_| path.clone()));
    // Last: until it is gone, a trail is missed that is not there.
    there.extend(Some(Head::path(dir)).filter(|path| path.exists()));
    let mut aside = None;
    if !there.is_empty() {
        let target = files::free_name_beside(&path, ASIDE);
        files::private_dir(&target).map_err(OpenError::io("create", &target))?;
        for path in there {
            let name = path.file_name().unwrap_or_default();
            std::fs::rename(&path, target.join(name)).map_err(OpenError::io("set aside", &path))?;
        }
        files::sync_parent(&target.join(TRAIL)).map_err(OpenError::io("sync", &target))?;
        aside = Some(target);
    }
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
    let trail = Trail::open(dir, Before::Nothing, clock)?;
    trail.write(&mut trail.state.lock(), &doing, Said::plain(Outcome::Done))?;
    Ok(BegunAnew { lines: known.map(|(lines, _)| lines), aside })
}

/// Begins an empty trail in `dir`, in which there is none, for a registry whose changes came from
/// elsewhere.
pub(crate) fn begin_empty(dir: &Path) -> Result<(), OpenError> {
    let path = dir.join(TRAIL);
    files::create_private(&path).map_err(OpenError::io("create", &path))?;
    let head = Head::path(dir);
    Head::default().write(dir).map_err(OpenError::io("write", &head))
}
