//! Histories of a type and of everything, and the data as of an instant.

use std::ops::Range;

use fhir_core::{Instant, ResourceType, VersionId};
use store::{HistoryOrder, HistoryVersion, Method, Place, T, VersionEntry};

use crate::{ReadError, Snapshot};

impl Snapshot {
    /// Versions in the order of the log, of one type or of all: those that are visible here, at
    /// the places in `range`, `most` of them at most.
    ///
    /// Where the visibility names resources, a place's ordinal is the resource's number among
    /// those of that visibility.
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
        let mut found = match self.visibility.types() {
            Some(types) => {
                let mut found = Vec::new();
                for of in types.iter().filter(|seen| of.is_none_or(|of| of == *seen)) {
                    let range = range.clone();
                    found.extend(self.store.history(Some(of), range, order, most).await?);
                }
                found.sort_unstable_by_key(|version| version.place);
                found
            }
            None => self.log_of_visible(of, &range).await?,
        };
        if order == HistoryOrder::NewestFirst {
            found.reverse();
        }
        found.truncate(most);
        self.rows.add(found.len() as u64);
        Ok(found)
    }

    /// How many versions [`Snapshot::log`] has in `range`.
    ///
    /// # Errors
    /// [`ReadError`] when the store cannot say.
    pub async fn count_log(
        &self,
        of: Option<&ResourceType>,
        range: Range<Place>,
    ) -> Result<u64, ReadError> {
        let range = self.shown(range);
        if self.visibility.is_everything() {
            return Ok(self.store.count_history(of, range).await?);
        }
        if let Some(types) = self.visibility.types() {
            let mut count = 0;
            for of in types.iter().filter(|seen| of.is_none_or(|of| of == *seen)) {
                count += self.store.count_history(Some(of), range.clone()).await?;
            }
            return Ok(count);
        }
        Ok(self.log_of_visible(of, &range).await?.len() as u64)
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

    /// The versions of the resources that the visibility names, the oldest first.
    async fn log_of_visible(
        &self,
        of: Option<&ResourceType>,
        range: &Range<Place>,
    ) -> Result<Vec<HistoryVersion>, ReadError> {
        let mut found = Vec::new();
        for (ordinal, (resource_type, id)) in (0..).zip(self.visibility.named()) {
            if of.is_some_and(|of| *of != resource_type) {
                continue;
            }
            for entry in self.history(&resource_type, &id).await? {
                let place = Place { t: entry.t, ordinal };
                if range.contains(&place) {
                    found.push(HistoryVersion { place, entry });
                }
            }
        }
        found.sort_unstable_by_key(|version| version.place);
        Ok(found)
    }
}
