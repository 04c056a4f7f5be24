//! The trail, `trail.jsonl`: who asked the registry or the gateway to change something, by which
//! way, and what came of it; refusals too. The change log says what was changed, this who tried.
//!
//! One line of JSON each, appended and synced. A change leaves two: `begun` before anything is
//! done, so that what cannot be written down is not done, and one of how it ended, before it is
//! answered. A line names the SHA-256 of the line before it, over all files (`chain`), so that
//! what was changed or taken out is missed. That the end was cut off is missed by what is noted
//! beside it (`head`), up to the last start or end; beyond that nothing can tell: whoever verifies
//! it notes the last hash elsewhere. No line holds a secret: of a key that somebody put where its
//! id belongs, the id is kept. It is read line by line, however long it is.

mod anew;
mod chain;
mod head;
mod line;
mod refusals;
#[cfg(test)]
mod tests;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use contract::Clock;
use parking_lot::Mutex;

use self::chain::{Files, walk};
use self::head::Head;
use self::refusals::Refusals;
use self::writer::{Said, Writer};
use crate::error::OpenError;

pub(crate) use self::anew::begin_empty;
pub use self::anew::{BegunAnew, begin_trail_anew};
pub use self::line::{Doing, How, Outcome, TrailLine};

/// The name of the file that is written to, in the registry's directory.
pub const TRAIL: &str = "trail.jsonl";

/// The length at which a file is closed and the next begun: some 25,000 lines.
const LONGEST_FILE: u64 = 16 << 20;

/// Whether there has to be a trail already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Before {
    /// Nothing was ever changed: one is begun where there is none.
    Nothing,
    /// Something was, and every change leaves lines.
    Changes,
}

/// Something that is being done: how it ends is still to be written.
#[derive(Debug)]
#[must_use = "how it ended is to be written down"]
pub struct Begun {
    number: u64,
    doing: Doing,
}

/// Why nothing can be written down.
#[derive(Debug, thiserror::Error)]
pub enum TrailError {
    /// The disk refuses.
    #[error("the trail of changes cannot be written; free space or repair the disk")]
    Io(#[source] io::Error),
    /// The file is another one than was opened, or not as long as was written.
    #[error(
        "the trail of changes at {} is not the file that was written: somebody removed, replaced or cut it, or wrote into it; put back what was there and restart", .0.display()
    )]
    Replaced(PathBuf),
    /// An earlier write failed in a way that only a restart can mend.
    #[error("the trail takes no more after a failed write; repair the disk and restart")]
    Broken,
    /// It cannot be read as it was written.
    #[error(transparent)]
    Unreadable(#[from] OpenError),
}

/// What verifying found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrailReport {
    /// The number of the first line that is kept.
    pub first: u64,
    /// The number of the last one.
    pub lines: u64,
    /// The SHA-256 of the last one, which a line after it would name.
    pub last: String,
    /// Bytes after it that are no whole line: a write that is under way, or that a crash ended.
    pub torn: u64,
}

/// The open trail.
pub struct Trail {
    path: PathBuf,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

/// The trail's end, and what was refused and is not in it yet.
struct State {
    writer: Writer,
    refusals: Refusals,
}

impl Trail {
    /// Opens the trail in `dir` and checks every line, a line at a time; begins one where nothing
    /// is known of one before, and says so in its first line where there were changes: those of
    /// earlier releases, which kept none. What a crash left of an unfinished last line is copied
    /// beside it and cut off.
    pub(crate) fn open(
        dir: &Path,
        before: Before,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        Self::open_with(dir, before, clock, LONGEST_FILE)
    }

    fn open_with(
        dir: &Path,
        before: Before,
        clock: Arc<dyn Clock>,
        longest: u64,
    ) -> Result<Self, OpenError> {
        let path = dir.join(TRAIL);
        let noted = Head::read(dir)?;
        let (is_there, is_noted) = (!Files::find(dir)?.is_empty(), noted.is_some());
        let was_there = noted.as_ref().is_some_and(|head| head.lines > 0);
        if !is_there && (was_there || is_noted && before == Before::Changes) {
            return Err(OpenError::TrailMissing { path });
        }
        if is_there && !is_noted && before == Before::Changes {
            tracing::warn!(
                path = %Head::path(dir).display(),
                "what was noted of the trail of changes is missing: lines cut off its end are not missed"
            );
        }
        let writer = Writer::open(dir, noted, longest)?;
        let state = State { writer, refusals: Refusals::default() };
        let trail = Self { path, clock, state: Mutex::new(state) };
        if !is_there && !is_noted && before == Before::Changes {
            trail.begin_late();
        }
        Ok(trail)
    }

    /// Says, in its first line, that there were changes before it, of which nothing is known here.
    fn begin_late(&self) {
        let path = self.path.display();
        tracing::warn!(%path, "there were changes before, and no trail of them: one begins now");
        let doing = Doing {
            by: "hearthgate".to_owned(),
            from: None,
            how: How::Command,
            operation: "changes.begin".to_owned(),
            object: "there were changes before, and nothing is known of a trail of them".to_owned(),
        };
        // On a full disk a start goes on; nothing can be changed then, which says so.
        if let Err(error) = self.write(&mut self.state.lock(), &doing, Said::plain(Outcome::Done)) {
            tracing::warn!(%error, "that the trail begins late was not written down");
        }
    }

    /// Writes down that something is about to be done; nothing is to be done where this fails.
    ///
    /// # Errors
    /// [`TrailError`] when it is not on the disk.
    pub fn begin(&self, doing: Doing) -> Result<Begun, TrailError> {
        let number = self.write(&mut self.state.lock(), &doing, Said::plain(Outcome::Begun))?;
        Ok(Begun { number, doing })
    }

    /// Writes down how it ended.
    ///
    /// # Errors
    /// [`TrailError`] when it is not on the disk: whoever asked is not to be told that all is
    /// well.
    pub fn end(
        &self,
        begun: Begun,
        outcome: Outcome,
        status: Option<u16>,
        why: &str,
    ) -> Result<(), TrailError> {
        let Begun { number, doing } = begun;
        let state = &mut *self.state.lock();
        let said = Said { of: Some(number), status, why, ..Said::plain(outcome) };
        self.write(state, &doing, said)?;
        if outcome == Outcome::Refused {
            state.refusals.tell(&doing, self.clock.monotonic());
        }
        Ok(())
    }

    /// Writes down that something was refused before anything of it was done. Of whoever had
    /// `most` refusals within a minute, those beyond are counted, and told in one line once the
    /// minute has passed or the trail is closed.
    ///
    /// # Errors
    /// [`TrailError`] when it is not on the disk.
    pub fn refused(
        &self,
        doing: &Doing,
        status: Option<u16>,
        why: &str,
        most: u32,
    ) -> Result<(), TrailError> {
        let state = &mut *self.state.lock();
        let now = self.clock.monotonic();
        if state.refusals.wait(&doing.by, most, now).is_some() {
            state.refusals.count(doing, now);
            return Ok(());
        }
        self.write(state, doing, Said { status, why, ..Said::plain(Outcome::Refused) })?;
        state.refusals.tell(doing, now);
        Ok(())
    }

    /// For how long nothing that `by` asks for has a line of its own when it is refused, since
    /// `most` had one within a minute.
    #[must_use]
    pub fn waits(&self, by: &str, most: u32) -> Option<Duration> {
        self.state.lock().refusals.wait(by, most, self.clock.monotonic())
    }

    /// Tells of what was refused and counted in minutes that have passed.
    ///
    /// # Errors
    /// [`TrailError`] when it is not on the disk; it is told of later then.
    pub fn tell_refused(&self) -> Result<(), TrailError> {
        self.tell(&mut self.state.lock(), Some(self.clock.monotonic()))
    }

    /// The lines after number `after`, oldest first, at most `limit`.
    ///
    /// # Errors
    /// [`TrailError::Unreadable`] when the file is not what was written.
    pub fn lines(&self, after: u64, limit: usize) -> Result<Vec<TrailLine>, TrailError> {
        Ok(self.state.lock().writer.read(after.saturating_add(1), limit)?)
    }

    /// The lines before number `before` and after `after`, newest first, at most `limit`.
    ///
    /// # Errors
    /// [`TrailError::Unreadable`] when the file is not what was written.
    pub fn lines_before(
        &self,
        before: u64,
        after: u64,
        limit: usize,
    ) -> Result<Vec<TrailLine>, TrailError> {
        let state = self.state.lock();
        let end = before.min(state.writer.lines().saturating_add(1));
        let from = end.saturating_sub(limit as u64).max(after.saturating_add(1));
        let count = usize::try_from(end.saturating_sub(from)).unwrap_or(usize::MAX);
        let mut lines = state.writer.read(from, count)?;
        lines.retain(|line| line.number < end);
        lines.reverse();
        Ok(lines)
    }

    /// Adds a line, and before it what is to be told by now.
    fn write(&self, state: &mut State, doing: &Doing, said: Said<'_>) -> Result<u64, TrailError> {
        self.tell(state, Some(self.clock.monotonic()))?;
        state.writer.write(self.clock.now(), doing, said)
    }

    fn tell(&self, state: &mut State, now: Option<Duration>) -> Result<(), TrailError> {
        while let Some(untold) = state.refusals.untold(now) {
            let why = untold.why();
            let more = Some(untold.more);
            let said = Said { why: &why, more, ..Said::plain(Outcome::Refused) };
            state.writer.write(self.clock.now(), &untold.doing, said)?;
            state.refusals.told(&untold.doing.by);
        }
        Ok(())
    }
}

/// What was refused and counted is told, and how far the trail goes is noted beside it.
impl Drop for Trail {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        if let Err(error) = self.tell(&mut state, None) {
            let count = state.refusals.count_untold();
            tracing::error!(%error, count, "refused requests are not in the trail of changes");
        }
        // Of a trail that somebody took away nothing is known any more.
        if state.writer.is_in_place()
            && let Err(error) = state.writer.note()
        {
            tracing::warn!(%error, "how far the trail of changes goes was not noted beside it");
        }
    }
}

/// Reads the trail in `dir`, which a process may be writing to, checks its chain, and hands each
/// line to `each`. One line is in memory at a time.
///
/// # Errors
/// [`OpenError`] when it cannot be read, or a line was changed, taken out or put in.
pub fn verify_trail(dir: &Path, mut each: impl FnMut(TrailLine)) -> Result<TrailReport, OpenError> {
    // First: what is noted there was written before.
    let head = Head::read(dir)?.unwrap_or_default();
    let files = Files::find(dir)?;
    if files.is_empty() {
        return Err(OpenError::TrailMissing { path: dir.join(TRAIL) });
    }
    let walked = walk(dir, files, &head, &mut |line, _| each(line))?;
    let torn = walked.torn.len() as u64;
    Ok(TrailReport { first: head.first, lines: walked.lines, last: walked.last, torn })
}

impl std::fmt::Debug for Trail {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Trail").field("path", &self.path).finish_non_exhaustive()
    }
}
