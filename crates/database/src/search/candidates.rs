//! The resources that may match, one after the other: those with the ids that are asked for, or
//! all of a type.

use std::collections::{HashSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use fhir_core::{ResourceId, ResourceType};
use fhir_search::{Clause, IndexedResource, Sense, SystemTest, Test, TokenTest, TypeQuery};
use store::{HistoryOrder, Place, T, VersionEntry, places};

use super::SearchError;
use super::scan::Scan;
use crate::Visibility;

/// Versions that are enumerated at once.
const PIECE: usize = 256;

/// A resource as it is now, and what is indexed of it.
type Candidate = (VersionEntry, Arc<IndexedResource>);

/// The resources of a type that may match.
pub(super) enum Candidates {
    /// Those with these ids.
    Ids(ResourceType, VecDeque<ResourceId>),
    /// All.
    Newest(Newest),
}

impl Candidates {
    pub(super) fn of(of: &TypeQuery, at: T) -> Self {
        match of.clauses.iter().find_map(ids) {
            Some(ids) => Self::Ids(of.resource_type.clone(), ids),
            None => Self::Newest(Newest::of(&of.resource_type, at)),
        }
    }

    /// The next one that is there and can be read.
    pub(super) async fn next(
        &mut self,
        scan: &mut Scan<'_>,
    ) -> Result<Option<Candidate>, SearchError> {
        match self {
            Self::Newest(newest) => newest.next(scan).await,
            Self::Ids(of, ids) => {
                while let Some(id) = ids.pop_front() {
                    if let Some(found) = scan.read(of, &id).await? {
                        return Ok(Some(found));
                    }
                }
                Ok(None)
            }
        }
    }
}

/// The ids that a resource must have one of for a clause to hold, where it says so; each once.
fn ids(clause: &Clause) -> Option<VecDeque<ResourceId>> {
    let Clause::Value(clause) = clause else { return None };
    if clause.parameter.code() != "_id" || clause.sense != Sense::SomeHolds {
        return None;
    }
    let mut ids = VecDeque::new();
    for test in &*clause.tests {
        let Test::Token(TokenTest::Code { system: SystemTest::Any, code }) = test else {
            return None;
        };
        // What is no id is that of nothing.
        if let Ok(id) = ResourceId::new(code)
            && !ids.contains(&id)
        {
            ids.push_back(id);
        }
    }
    Some(ids)
}

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
    ) -> Result<Option<Candidate>, SearchError> {
        loop {
            let Some(entry) = self.piece.pop_front() else {
                if !self.fill(scan).await? {
                    return Ok(None);
                }
                continue;
            };
            let is_part = scan.snapshot.visibility.parts_of(&self.of).is_some();
            // Of what may not be seen nothing is told, by no cost either.
            if !is_part {
                scan.spend(1)?;
            }
            if !self.met.insert(entry.id.clone()) {
                continue;
            }
            if is_part {
                if !scan.snapshot.sees(&entry).await? {
                    scan.pass_over().await?;
                    continue;
                }
                scan.spend(1)?;
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
        if !scan.snapshot.visibility.shows_some_of(&self.of) {
            self.rest.end = self.rest.start;
            return Ok(false);
        }
        // The newest of what may be seen is not the newest that is there.
        let all = scan.snapshot.seen_by(Visibility::everything());
        let found = all.log(Some(&self.of), range, order, PIECE).await?;
        self.rest.end = match found.last() {
            Some(last) if found.len() == PIECE => last.place,
            _ => self.rest.start,
        };
        self.piece.extend(found.into_iter().map(|version| version.entry));
        Ok(!self.piece.is_empty())
    }
}
