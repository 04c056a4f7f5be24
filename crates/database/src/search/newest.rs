//! The resources of a type as they are now, one after the other.

use std::collections::{HashSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use fhir_core::{ResourceId, ResourceType};
use fhir_search::IndexedResource;
use store::{HistoryOrder, Place, T, VersionEntry, places};

use super::SearchError;
use super::scan::Scan;

/// Versions that are enumerated at once.
const PIECE: usize = 256;

/// Goes through a type's versions, the newest first: the first one of each resource is its newest.
pub(super) struct Newest {
    of: ResourceType,
    rest: Range<Place>,
    piece: VecDeque<VersionEntry>,
    met: HashSet<ResourceId>,
}

impl Newest {
    /// Through all versions of a type up to a position.
    pub(super) fn of(of: &ResourceType, at: T) -> Self {
        let (of, rest) = (of.clone(), places(T::ZERO, at));
        Self { of, rest, piece: VecDeque::new(), met: HashSet::new() }
    }

    /// The next resource that is there and can be read.
    pub(super) async fn next(
        &mut self,
        scan: &mut Scan<'_>,
    ) -> Result<Option<(VersionEntry, Arc<IndexedResource>)>, SearchError> {
        loop {
            let Some(entry) = self.piece.pop_front() else {
                if !self.fill(scan).await? {
                    return Ok(None);
                }
                continue;
            };
            scan.spend(1)?;
            if !self.met.insert(entry.id.clone()) {
                continue;
            }
            if let Some(resource) = scan.load(&entry).await? {
                return Ok(Some((entry, resource)));
            }
        }
    }

    /// Enumerates more versions; false when there are none.
    async fn fill(&mut self, scan: &Scan<'_>) -> Result<bool, SearchError> {
        if self.rest.is_empty() {
            return Ok(false);
        }
        let (range, order) = (self.rest.clone(), HistoryOrder::NewestFirst);
        let found = scan.snapshot.log(Some(&self.of), range, order, PIECE).await?;
        self.rest.end = match found.last() {
            Some(last) if found.len() == PIECE => last.place,
            _ => self.rest.start,
        };
        self.piece.extend(found.into_iter().map(|version| version.entry));
        Ok(!self.piece.is_empty())
    }
}
