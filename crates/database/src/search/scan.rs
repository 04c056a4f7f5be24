//! Looks at resources one by one, within a budget, and lets others run in between.

use std::sync::Arc;

use fhir_core::json::Document;
use fhir_core::{ResourceId, ResourceType};
use fhir_search::{
    IndexedResource, Options, Query, TypeQuery, Unanswered, asks_for_words, matches,
};
use store::VersionEntry;

use super::known::{Known, References};
use super::newest::Newest;
use super::{Asked, SearchError};
use crate::{ReadError, Snapshot};

/// Bytes of JSON that are understood before others run. That takes less than half a millisecond.
const BYTES_AT_ONCE: usize = 16 << 10;

/// A search under way.
pub(super) struct Scan<'s> {
    pub(super) snapshot: &'s Snapshot,
    pub(super) query: &'s Query,
    pub(super) asked: &'s Asked<'s>,
    pub(super) known: Known<'s>,
    /// Whether words of resources are asked for.
    words: bool,
    left: u64,
    /// Bytes understood since others ran.
    bytes: usize,
}

impl<'s> Scan<'s> {
    pub(super) fn new(snapshot: &'s Snapshot, query: &'s Query, asked: &'s Asked<'s>) -> Self {
        Self {
            snapshot,
            query,
            asked,
            known: Known::new(asked),
            words: query.types.iter().any(|of| asks_for_words(&of.clauses)),
            left: asked.budget,
            bytes: 0,
        }
    }

    /// The resources of a type, each as it is now.
    pub(super) fn newest_of(&self, of: &ResourceType) -> Newest {
        Newest::of(of, self.snapshot.at())
    }

    /// Takes from the budget.
    pub(super) fn spend(&mut self, versions: u64) -> Result<(), SearchError> {
        let too_costly = SearchError::TooCostly { budget: self.asked.budget };
        self.left = self.left.checked_sub(versions).ok_or(too_costly)?;
        Ok(())
    }

    /// What is indexed of a version; none of a deletion, or when nobody can read it any more.
    pub(super) async fn load(
        &mut self,
        entry: &VersionEntry,
    ) -> Result<Option<Arc<IndexedResource>>, SearchError> {
        let json = match self.snapshot.load(entry.clone()).await {
            // Who was purged is found by nothing.
            Err(ReadError::Purged) => None,
            version => version?.json,
        };
        let Some(json) = json else { return Ok(None) };
        self.bytes += json.len();
        if self.bytes > BYTES_AT_ONCE {
            self.bytes = 0;
            tokio::task::yield_now().await;
        }
        let document = Document::parse(&json)
            .map_err(|error| ReadError::UnreadableBody { reason: error.to_string() })?;
        let options = Options {
            base: Some(self.asked.base),
            zone: self.asked.zone,
            last_updated: Some(entry.instant),
        };
        let root = document.root();
        let resource = IndexedResource::of(root, self.asked.extractor, &options);
        let resource = if self.words { resource.with_words(root) } else { resource };
        Ok(Some(Arc::new(resource)))
    }

    /// The resource with this type and id as it is now.
    pub(super) async fn read(
        &mut self,
        resource_type: &ResourceType,
        id: &ResourceId,
    ) -> Result<Option<(VersionEntry, Arc<IndexedResource>)>, SearchError> {
        self.spend(1)?;
        let Some(entry) = self.snapshot.newest(resource_type, id).await? else { return Ok(None) };
        let resource = self.load(&entry).await?;
        Ok(resource.map(|resource| (entry, resource)))
    }

    /// Whether a resource matches. What it lacks for that is looked up on the way.
    pub(super) async fn matches(
        &mut self,
        of: &TypeQuery,
        resource: &IndexedResource,
    ) -> Result<bool, SearchError> {
        self.known.make_room();
        loop {
            match matches(self.query, of, resource, &self.known) {
                Ok(matches) => return Ok(matches),
                Err(Unanswered::Resource { resource_type, id }) => {
                    self.know(&resource_type, &id).await?;
                }
                Err(Unanswered::Referrers { parameter, resource_type, id }) => {
                    self.know_references(&parameter.resource_type).await?;
                    for referrer in self.known.referring(&parameter, &resource_type, &id) {
                        if !self.known.has(&parameter.resource_type, referrer.as_str()) {
                            self.know(&parameter.resource_type, referrer.as_str()).await?;
                        }
                    }
                }
                Err(Unanswered::Codes(error)) => return Err(error.into()),
                Err(Unanswered::FunctionalList(name)) => {
                    return Err(SearchError::FunctionalList(name));
                }
            }
        }
    }

    /// Looks a resource up.
    async fn know(&mut self, resource_type: &str, id: &str) -> Result<(), SearchError> {
        let found = match (ResourceType::new(resource_type), ResourceId::new(id)) {
            (Ok(of), Ok(id)) => self.read(&of, &id).await?,
            // There is none of such a name.
            _ => None,
        };
        self.known.add(resource_type, id, found.map(|(_, resource)| resource));
        Ok(())
    }

    /// Looks up what the resources of a type refer to.
    pub(super) async fn know_references(&mut self, of: &str) -> Result<(), SearchError> {
        if self.known.has_references(of) {
            return Ok(());
        }
        let mut references = References::default();
        if let Ok(of) = ResourceType::new(of) {
            let mut newest = self.newest_of(&of);
            while let Some((entry, resource)) = newest.next(self).await? {
                references.add(&entry.id, &resource, self.asked.extractor.parameters());
            }
        }
        references.sort();
        self.known.add_references(of, references);
        Ok(())
    }
}
