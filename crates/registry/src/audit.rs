//! The change audit: the log's changes as people read them, found through the view.
//!
//! Whatever happens to the view, the answer is the log's: where the view fails it is set aside
//! and built anew, and this answer comes from reading the whole log.

use std::path::{Path, PathBuf};

use contract::Instant;

use crate::change::{Change, Subject};
use crate::files;
use crate::log::{ChangeLog, Entry, Head};
use crate::view::{Shows, View, ViewError};

/// One change as the audit shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedChange {
    /// Its number, counted from 1.
    pub sequence: u64,
    /// When it was made.
    pub instant: Instant,
    /// Who made it.
    pub actor: String,
    /// What it was, in one line.
    pub summary: String,
}

/// What opening did with the view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ViewReport {
    /// It showed the whole log.
    Current,
    /// It was behind, by so many changes.
    CaughtUp(u64),
    /// It was built anew from the log; a view that was there stands aside under this name.
    Rebuilt(Option<PathBuf>),
    /// There is none: the registry is in PostgreSQL.
    NotKept,
}

/// The view and the place it stands in; without one the log is read instead.
pub(crate) struct Audit {
    dir: PathBuf,
    view: Option<View>,
}

impl Audit {
    /// Opens the view in `dir` and brings it to the state of the log.
    pub(crate) fn open(dir: &Path, changes: &[(Entry, Change)]) -> (Self, ViewReport) {
        match open_current(dir, changes) {
            Ok((view, behind)) => {
                let report = match behind {
                    0 => ViewReport::Current,
                    behind => ViewReport::CaughtUp(behind),
                };
                let audit = Self { dir: dir.to_owned(), view: Some(view) };
                (audit, report)
            }
            Err(_) => {
                let mut audit = Self { dir: dir.to_owned(), view: None };
                let aside = audit.rebuild(changes);
                (audit, ViewReport::Rebuilt(aside))
            }
        }
    }

    /// Adds a change just made. The view is derived: its failure never fails the change.
    pub(crate) fn add(&mut self, entry: &Entry, change: &Change) {
        if let Some(view) = &self.view
            && let Err(error) = view.add(&[(entry, change)])
        {
            tracing::warn!(%error, "the registry's view failed and is built anew when it is next asked");
            self.view = None;
        }
    }

    /// Changes of `subject` (of all where `None`) after number `after`, oldest first.
    pub(crate) fn changes(
        &mut self,
        log: &ChangeLog,
        subject: Option<&Subject>,
        after: u64,
        limit: usize,
    ) -> Result<Vec<RecordedChange>, crate::OpenError> {
        if let Some(found) = self.through_view(log, subject, after, limit) {
            return Ok(found);
        }
        let changes = crate::opening::read_changes(log.path(), log.entries()?)?;
        self.rebuild(&changes);
        Ok(changes
            .iter()
            .filter(|(entry, change)| {
                entry.sequence > after
                    && subject.is_none_or(|subject| change.subjects().contains(subject))
            })
            .take(limit)
            .map(|(entry, change)| RecordedChange::of(entry, change))
            .collect())
    }

    fn through_view(
        &self,
        log: &ChangeLog,
        subject: Option<&Subject>,
        after: u64,
        limit: usize,
    ) -> Option<Vec<RecordedChange>> {
        let offsets = self.view.as_ref()?.offsets(subject, after, limit).ok()?;
        offsets
            .into_iter()
            .map(|offset| {
                let entry = log.read_at(offset).ok()?;
                let change: Change = serde_json::from_slice(&entry.change).ok()?;
                let asked = entry.sequence > after
                    && subject.is_none_or(|subject| change.subjects().contains(subject));
                asked.then(|| RecordedChange::of(&entry, &change))
            })
            .collect()
    }

    /// Moves what stands in the view's place aside and builds a new one; its new name.
    fn rebuild(&mut self, changes: &[(Entry, Change)]) -> Option<PathBuf> {
        self.view = None;
        let mut aside = None;
        if self.dir.exists() {
            let target = files::free_name_beside(&self.dir, "aside");
            if let Err(error) = std::fs::rename(&self.dir, &target) {
                tracing::warn!(%error, "the registry's view could not be set aside; the log is read instead");
                return None;
            }
            aside = Some(target);
        }
        match build(&self.dir, changes) {
            Ok(view) => self.view = Some(view),
            Err(error) => {
                tracing::warn!(%error, "the registry's view could not be built; the log is read instead");
            }
        }
        aside
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        if let Some(view) = &self.view
            && let Err(error) = view.flush()
        {
            tracing::warn!(%error, "the registry's view was not flushed; the next open brings it up to date");
        }
    }
}

/// The view in `dir` where it can be trusted, brought up to date; by how many changes.
fn open_current(dir: &Path, changes: &[(Entry, Change)]) -> Result<(View, u64), ViewError> {
    if !dir.exists() {
        return Err(ViewError::Malformed);
    }
    let view = View::open(dir)?;
    let shown = match view.shows()? {
        Shows::UpTo(head) => changes
            .iter()
            .position(|(entry, _)| Head::of(entry) == head)
            .map(|at| at + 1)
            .ok_or(ViewError::Malformed)?,
        Shows::Nothing if changes.is_empty() => 0,
        Shows::Nothing | Shows::Doubtful => return Err(ViewError::Malformed),
    };
    view.add(&pairs(&changes[shown..]))?;
    Ok((view, (changes.len() - shown) as u64))
}

fn build(dir: &Path, changes: &[(Entry, Change)]) -> Result<View, ViewError> {
    let view = View::open(dir)?;
    view.add(&pairs(changes))?;
    view.flush()?;
    Ok(view)
}

fn pairs(changes: &[(Entry, Change)]) -> Vec<(&Entry, &Change)> {
    changes.iter().map(|(entry, change)| (entry, change)).collect()
}

impl RecordedChange {
    pub(crate) fn of(entry: &Entry, change: &Change) -> Self {
        Self {
            sequence: entry.sequence,
            instant: entry.instant,
            actor: entry.actor.clone(),
            summary: change.to_string(),
        }
    }
}
