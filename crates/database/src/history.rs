//! Histories of a type and of everything, and the data as of an instant.

use std::ops::Range;

use fhir_core::{Instant, ResourceType, VersionId};
use store::{HistoryOrder, HistoryVersion, Method, Place, T, VersionEntry};

use crate::{ReadError, Snapshot};

/// Versions that are enumerated at once where each is looked at.
const PIECE: usize = 256;

/// Versions of types of which a part is seen that are looked at to be counted.
const MOST_COUNTED: u64 = 10_000;

impl Snapshot {
    /// Versions in the order of the log, of one type or of all: those that are visible here, at
    /// the places in `range`, `most` of them at most.
    ///
    /// # Errors
    /// [`ReadError`] when the store cannot say.
    pub async fn log(
        &self,
        of: Option<&ResourceType>,
        range: Range<Place>,
        order: HistoryOrder,
        most: usize,
    ) -> Result<Vec<HistoryVersion>, ReadError> {
        let range = self.shown(range);
        if self.visibility.is_everything() {
            let found = self.store.history(of, range, order, most).await?;
            self.rows.add(found.len() as u64);
            return Ok(found);
        }
        let types: Vec<_> = self.visibility.some_of().into_iter().flatten().cloned().collect();
        let mut found = Vec::new();
        for of in types.iter().filter(|seen| of.is_none_or(|of| of == *seen)) {
            found.extend(self.log_of_type(of, range.clone(), order, most).await?);
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
    async fn log_of_type(
        &self,
        of: &ResourceType,
        mut range: Range<Place>,
        order: HistoryOrder,
        most: usize,
    ) -> Result<Vec<HistoryVersion>, ReadError> {
        if self.visibility.parts_of(of).is_none() {
            return Ok(self.store.history(Some(of), range, order, most).await?);
        }
        let mut found = Vec::new();
        while found.len() < most && !range.is_empty() {
            let piece = self.store.history(Some(of), range.clone(), order, PIECE).await?;
            let is_last = piece.len() < PIECE;
            for version in piece {
                match order {
                    HistoryOrder::NewestFirst => range.end = version.place,
                    HistoryOrder::OldestFirst => range.start = version.place.next(),
                }
                if found.len() < most && self.sees(&version.entry).await? {
                    found.push(version);
                }
            }
            if is_last {
                break;
            }
        }
        Ok(found)
    }

    /// How many versions [`Snapshot::log`] has in `range`; `None` where each would have to be
    /// looked at, and there are many.
    ///
    /// # Errors
    /// [`ReadError`] when the store cannot say.
    pub async fn count_log(
        &self,
        of: Option<&ResourceType>,
        range: Range<Place>,
    ) -> Result<Option<u64>, ReadError> {
        let range = self.shown(range);
        let Some(types) = self.visibility.some_of() else {
            return Ok(Some(self.store.count_history(of, range).await?));
        };
        let types: Vec<_> = types.into_iter().cloned().collect();
        let (mut count, mut left) = (0, MOST_COUNTED);
        for of in types.iter().filter(|seen| of.is_none_or(|of| of == *seen)) {
            let all = self.store.count_history(Some(of), range.clone()).await?;
            if self.visibility.parts_of(of).is_none() {
                count += all;
                continue;
            }
            left = match left.checked_sub(all) {
                Some(left) => left,
                None => return Ok(None),
            };
            let order = HistoryOrder::OldestFirst;
            count += self.log_of_type(of, range.clone(), order, usize::MAX).await?.len() as u64;
        }
        Ok(Some(count))
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
