//! Contained resources as matches (`_contained`, FHIR R4 3.1.1.5.8): looked for in every resource
//! that may be seen, whatever its type. A match stands for itself, or for what contains it; that is
//! one match then, which stands where the first of those in it does.

use std::collections::BTreeMap;
use std::sync::Arc;

use fhir_core::{ResourceId, ResourceType};
use fhir_search::{
    Contained, ContainedMatch, IndexedResource, SortPosition, TypeQuery, matches_contained,
};
use store::VersionEntry;

use super::candidates::Newest;
use super::indexed::{CURSOR_OF_SCAN, cursor};
use super::scan::Scan;
use super::{Page, SearchError, cut};

/// A match: a version, and which of the resources that it contains.
type Match = (VersionEntry, Option<usize>);

/// Where matches stand, by what is one match.
type Best = BTreeMap<(ResourceType, ResourceId, Option<usize>), (SortPosition, Match)>;

impl Scan<'_> {
    /// The matches after a position, and how many there are in all.
    pub(super) async fn contained(
        &mut self,
        after: Option<&SortPosition>,
    ) -> Result<(Page, u64), SearchError> {
        let (mut best, query) = (Best::new(), self.query);
        let types = self.types();
        for container_type in types {
            let mut newest = Newest::of(&container_type, self.snapshot.at());
            while let Some((entry, resource)) = newest.next(self).await? {
                self.add_matches(&entry, &resource, &mut best).await?;
            }
        }
        let total = best.len() as u64;
        let positions = best.into_values().filter(|(it, _)| after.is_none_or(|after| it > after));
        let mut first: BTreeMap<SortPosition, Match> = positions.collect();
        let most = self.asked.most;
        let next = cut(&mut first, most);
        let next = next.map(|at| cursor(CURSOR_OF_SCAN, query, self.asked, &at));
        let matches = first.into_values().take(most);
        let (matches, contained) = matches.unzip();
        Ok((Page { matches, contained, next }, total))
    }

    /// The types of which there may be resources that contain others.
    fn types(&self) -> Vec<ResourceType> {
        let all = self.snapshot.schema().resource_types();
        all.filter_map(|name| ResourceType::new(name).ok()).collect()
    }

    /// Adds what matches of a resource and of those that it contains.
    async fn add_matches(
        &mut self,
        entry: &VersionEntry,
        resource: &Arc<IndexedResource>,
        best: &mut Best,
    ) -> Result<(), SearchError> {
        let query = self.query;
        let place = (entry.t.get(), entry.location.ordinal);
        for (at, of) in query.types.iter().enumerate() {
            if query.answer.contained == Contained::Both && self.matches(of, resource).await? {
                let position = SortPosition::new(query, at, place, resource);
                add(best, position, (entry.clone(), None));
            }
            for (inner, contained) in resource.contained().iter().enumerate() {
                if !self.matches_within(of, (resource, inner)).await? {
                    continue;
                }
                let position = SortPosition::new(query, at, place, contained);
                let (position, inner) = match query.answer.contained_match {
                    ContainedMatch::Container => (position, None),
                    ContainedMatch::Contained => (position.contained(inner), Some(inner)),
                };
                add(best, position, (entry.clone(), inner));
            }
        }
        Ok(())
    }

    /// Whether a contained resource matches. What it lacks for that is looked up on the way.
    async fn matches_within(
        &mut self,
        of: &TypeQuery,
        contained: (&IndexedResource, usize),
    ) -> Result<bool, SearchError> {
        self.begin_match(&of.clauses).await;
        loop {
            match matches_contained(self.query, of, contained, &self.known) {
                Ok(matches) => return Ok(matches),
                Err(lacking) => self.provide(lacking).await?,
            }
        }
    }
}

fn add(best: &mut Best, position: SortPosition, (entry, inner): Match) {
    let key = (entry.resource_type.clone(), entry.id.clone(), inner);
    let is_first = best.get(&key).is_none_or(|(known, _)| position < *known);
    if is_first {
        best.insert(key, (position, (entry, inner)));
    }
}
