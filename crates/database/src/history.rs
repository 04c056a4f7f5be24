//! Histories of a type and of everything, and the data as of an instant.

use std::collections::HashMap;
use std::ops::Range;

use fhir_core::{Instant, ResourceId, ResourceType, VersionId};
use store::{HistoryOrder, HistoryVersion, Method, Place, T, VersionEntry};

use crate::search::{IndexNow, KEYS_FOR_A_VERSION};
use crate::seen::Following;
use crate::visibility::Seen;
use crate::{ReadError, SearchError, Snapshot};

/// Versions that are enumerated at once where each is looked at.
const PIECE: usize = 256;

/// Versions that are looked at for one answer, of types of which a part is seen: as rows of a
/// search, each for as much as 64 that are passed over without their bodies.
const MOST_ROWS: u64 = 20_000;

/// Resources of which it is remembered whether their present content is shown.
const MOST_KNOWN: usize = 100_000;

/// Checks that no more versions of one resource, of which the caller sees the present content, are
/// to be looked at one by one than for any other answer.
///
/// # Errors
/// [`ReadError::TooCostly`].
pub(crate) fn check_to_be_judged(versions: usize) -> Result<(), ReadError> {
    match versions as u64 > MOST_ROWS {
        true => Err(ReadError::TooCostly { rows: MOST_ROWS }),
        false => Ok(()),
    }
}

/// What is looked at for one answer.
#[derive(Default)]
struct Looked<'s> {
    spent: u64,
    /// Whether the present content of resources is shown.
    present: HashMap<(ResourceType, ResourceId), bool>,
    /// What the index shows, once it was asked, where it can tell.
    index: Option<Option<IndexNow<'s>>>,
}

/// Why the index was to tell what is shown, and the answer has an end with it.
fn unanswered(error: SearchError) -> ReadError {
    match error {
        SearchError::Abandoned => ReadError::Abandoned,
        _ => ReadError::TooCostly { rows: MOST_ROWS },
    }
}

impl<'s> Looked<'s> {
    fn spend(&mut self, keys: u64) -> Result<(), ReadError> {
        self.spent = self.spent.saturating_add(keys);
        match self.left() {
            None => Err(ReadError::TooCostly { rows: MOST_ROWS }),
            Some(_) => Ok(()),
        }
    }

    /// How many keys and documents may still be looked at.
    fn left(&self) -> Option<u64> {
        (MOST_ROWS * KEYS_FOR_A_VERSION).checked_sub(self.spent)
    }

    /// Of the resources of these versions, whether the index shows each as it is now; `None` where
    /// it cannot tell, or not any more. It is made ready once for one answer.
    fn shown_by_index(
        &mut self,
        snapshot: &'s Snapshot,
        versions: &[HistoryVersion],
    ) -> Result<Option<Vec<bool>>, ReadError> {
        if self.index.is_none() {
            let index = snapshot.index_now(self.left().unwrap_or_default());
            let index = index.map_err(unanswered)?;
            self.spend(index.as_ref().map_or(0, IndexNow::cost))?;
            self.index = Some(index);
        }
        let Some(Some(index)) = &self.index else { return Ok(None) };
        let shown = index.shows(versions).map_err(unanswered)?;
        if shown.is_none() {
            // What it could not read is not hidden for that: the resources are looked at.
            self.index = Some(None);
        }
        Ok(shown)
    }
}

impl Snapshot {
    /// Versions in the order of the log, of one type or of all: those that are visible here, at
    /// the places in `range`, `most` of them at most.
    ///
    /// # Errors
    /// [`ReadError`] when the store cannot say; [`ReadError::TooCostly`] when a part of a type may
    /// be seen and too many versions would have to be looked at to tell which, and
    /// [`ReadError::Abandoned`] when nobody waits for that any more.
    pub async fn log(
        &self,
        of: Option<&ResourceType>,
        range: Range<Place>,
        order: HistoryOrder,
        most: usize,
    ) -> Result<Vec<HistoryVersion>, ReadError> {
        let _history = trace::child("history");
        let range = self.shown(range);
        if self.visibility.is_everything() {
            let found = self.store.history(of, range, order, most).await?;
            self.rows.add(found.len() as u64);
            return Ok(found);
        }
        let types: Vec<_> = self.visibility.some_of().into_iter().flatten().cloned().collect();
        let (mut found, mut looked) = (Vec::new(), Looked::default());
        for of in types.iter().filter(|seen| of.is_none_or(|of| of == *seen)) {
            found.extend(self.log_of_type(of, range.clone(), (order, most), &mut looked).await?);
        }
        found.sort_unstable_by_key(|version| version.place);
        if order == HistoryOrder::NewestFirst {
            found.reverse();
        }
        found.truncate(most);
        self.rows.add(found.len() as u64);
        Ok(found)
    }

    /// Those of a type of which something may be seen.
    async fn log_of_type<'s>(
        &'s self,
        of: &ResourceType,
        mut range: Range<Place>,
        (order, most): (HistoryOrder, usize),
        looked: &mut Looked<'s>,
    ) -> Result<Vec<HistoryVersion>, ReadError> {
        let Some(parts) = self.visibility.parts_of(of) else {
            return Ok(self.store.history(Some(of), range, order, most).await?);
        };
        let mut found = Vec::new();
        while found.len() < most && !range.is_empty() {
            let piece = self.store.history(Some(of), range.clone(), order, PIECE).await?;
            let is_last = piece.len() < PIECE;
            looked.spend(piece.len() as u64)?;
            let by_index = looked.shown_by_index(self, &piece)?;
            for (at, version) in piece.into_iter().enumerate() {
                self.check_awaited()?;
                match order {
                    HistoryOrder::NewestFirst => range.end = version.place,
                    HistoryOrder::OldestFirst => range.start = version.place.next(),
                }
                let by_index = by_index.as_ref().map(|shown| shown[at]);
                let is_wanted = found.len() < most;
                if is_wanted
                    && self
                        .is_present_shown(&version.entry, parts, (by_index, &mut *looked))
                        .await?
                    && self.is_shown_itself(&version.entry, parts, looked).await?
                {
                    found.push(version);
                }
            }
            if is_last {
                break;
            }
        }
        Ok(found)
    }

    /// Whether the present content of a version's resource may be seen: as the index says, where it
    /// can, or else by its body. It is judged once of each.
    async fn is_present_shown(
        &self,
        entry: &VersionEntry,
        parts: &[Seen],
        (by_index, looked): (Option<bool>, &mut Looked<'_>),
    ) -> Result<bool, ReadError> {
        let name = (entry.resource_type.clone(), entry.id.clone());
        if let Some(known) = looked.present.get(&name) {
            return Ok(*known);
        }
        let is_hidden = match by_index {
            Some(true) => return Ok(true),
            // What was deleted is not in the index.
            Some(false) => {
                let present = self.store.newest(&name.0, &name.1, self.head()).await?;
                present.is_some_and(|present| !present.flags.is_deleted())
            }
            None => false,
        };
        let is_shown = !is_hidden && {
            looked.spend(KEYS_FOR_A_VERSION)?;
            self.shows_present(entry, parts).await?
        };
        if looked.present.len() < MOST_KNOWN {
            looked.present.insert(name, is_shown);
        }
        Ok(is_shown)
    }

    /// Whether a version may be seen, if the present content of its resource may be.
    async fn is_shown_itself(
        &self,
        entry: &VersionEntry,
        parts: &[Seen],
        looked: &mut Looked<'_>,
    ) -> Result<bool, ReadError> {
        looked.spend(KEYS_FOR_A_VERSION)?;
        self.shows_content(entry.clone(), parts, Following::Is).await
    }

    /// How many versions [`Snapshot::log`] has in `range`.
    ///
    /// # Errors
    /// As [`Snapshot::log`]: a count that is left out where there is much that is hidden would
    /// tell that there is.
    pub async fn count_log(
        &self,
        of: Option<&ResourceType>,
        range: Range<Place>,
    ) -> Result<u64, ReadError> {
        let range = self.shown(range);
        let Some(types) = self.visibility.some_of() else {
            return Ok(self.store.count_history(of, range).await?);
        };
        let types: Vec<_> = types.into_iter().cloned().collect();
        let (mut count, mut looked) = (0, Looked::default());
        for of in types.iter().filter(|seen| of.is_none_or(|of| of == *seen)) {
            if self.visibility.parts_of(of).is_none() {
                count += self.store.count_history(Some(of), range.clone()).await?;
                continue;
            }
            let all = (HistoryOrder::OldestFirst, usize::MAX);
            count += self.log_of_type(of, range.clone(), all, &mut looked).await?.len() as u64;
        }
        Ok(count)
    }

    /// The position of the last commit at or before `instant` that this shows: as of then, the
    /// data are those of [`Snapshot::as_of`] it.
    ///
    /// # Errors
    /// [`ReadError`] when the store cannot say.
    pub async fn position_at(&self, instant: Instant) -> Result<T, ReadError> {
        Ok(self.store.position_at(instant).await?.min(self.at()))
    }

    /// Whether this version brought its resource into being: it follows none, or a deletion.
    ///
    /// # Errors
    /// [`ReadError`] when the store cannot say.
    pub async fn brought_into_being(&self, entry: &VersionEntry) -> Result<bool, ReadError> {
        let before = VersionId::new(entry.version.get() - 1);
        let before = match (entry.flags.method(), before) {
            (Method::Delete, _) => return Ok(false),
            (Method::Post, _) | (_, None) => return Ok(true),
            (_, Some(before)) => before,
        };
        let (of, id) = (&entry.resource_type, &entry.id);
        let before = self.store.version(of, id, before, self.at()).await?;
        Ok(before.is_none_or(|before| before.flags.is_deleted()))
    }

    /// The part of `range` that this shows.
    fn shown(&self, range: Range<Place>) -> Range<Place> {
        range.start..range.end.min(Place::first_of(self.at().next()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_versions_are_looked_at_for_one_answer_and_no_more() {
        let mut looked = Looked::default();
        looked.spend(MOST_ROWS * KEYS_FOR_A_VERSION).unwrap();
        let refused = looked.spend(1);
        assert!(matches!(refused, Err(ReadError::TooCostly { rows: MOST_ROWS })));
        let most = usize::try_from(MOST_ROWS).unwrap();
        check_to_be_judged(most).unwrap();
        let refused = check_to_be_judged(most + 1);
        assert!(matches!(refused, Err(ReadError::TooCostly { rows: MOST_ROWS })));
    }
}
