//! Looks at resources one by one, within a budget, and lets others run in between.

use std::pin::Pin;
use std::sync::Arc;

use fhir_core::json::Document;
use fhir_core::{Instant, ResourceId, ResourceType};
use fhir_search::{
    Clause, ExtractOptions, Has, IndexedResource, Query, TypeQuery, Unanswered, World,
    asks_for_words, holds, matches, urls_of,
};
use store::VersionEntry;
use tokio::runtime::Handle;

use super::candidates::{Candidates, Newest};
use super::explain::costliest_by_form;
use super::known::{Known, Targets};
use super::{Asked, SearchError};
use crate::large::NotDone;
use crate::{ReadError, Snapshot};

/// Bytes of JSON that are understood before others run: far less than half a millisecond's.
const BYTES_AT_ONCE: usize = 16 << 10;
/// What looking at a hidden resource is taken for, whatever it has.
const BYTES_OF_HIDDEN: usize = 2048;

/// A test of a query takes about as long as these are understood.
const BYTES_PER_TEST: usize = 16;

/// A resource with more bytes of JSON is understood where no request waits for it.
const LARGE: usize = 64 << 10;

/// So much that may not be seen one search passes over. It is no part of what its caller may spend:
/// that the caller chooses, in a batch by what comes before, and would count by it what is hidden.
const MOST_PASSED_OVER: u64 = 250_000;

/// How much that may not be seen was passed over.
#[derive(Default)]
struct PassedOver(u64);

impl PassedOver {
    /// Notes one, unless there were too many.
    fn one_more(&mut self) -> bool {
        let is_possible = self.0 < MOST_PASSED_OVER;
        self.0 += u64::from(is_possible);
        is_possible
    }
}

/// A search under way.
pub(crate) struct Scan<'s> {
    pub(super) snapshot: &'s Snapshot,
    pub(super) query: &'s Query,
    pub(super) asked: &'s Asked<'s>,
    pub(super) known: Known<'s>,
    /// Whether words of resources are asked for.
    words: bool,
    left: u64,
    passed_over: PassedOver,
    /// Bytes understood since others ran.
    bytes: usize,
}

impl<'s> Scan<'s> {
    pub(crate) fn new(snapshot: &'s Snapshot, query: &'s Query, asked: &'s Asked<'s>) -> Self {
        Self {
            snapshot,
            query,
            asked,
            known: Known::new(asked),
            words: query.types.iter().any(|of| asks_for_words(&of.clauses)),
            left: asked.budget,
            passed_over: PassedOver::default(),
            bytes: 0,
        }
    }

    /// The resources that may match.
    pub(super) fn candidates(&self, of: &TypeQuery) -> Candidates {
        Candidates::of(of, self.snapshot.at())
    }

    /// The resources of a type, each as it is now.
    pub(super) fn newest_of(&self, of: &ResourceType) -> Newest {
        Newest::of(of, self.snapshot.at())
    }

    /// Takes from the budget, while anyone waits.
    pub(super) fn spend(&mut self, versions: u64) -> Result<(), SearchError> {
        if self.snapshot.abandoned.is_set() {
            return Err(SearchError::Abandoned);
        }
        match self.left.checked_sub(versions) {
            Some(left) => self.left = left,
            None => {
                let most = costliest_by_form(self.query).map(Box::new);
                let budget = self.asked.budget;
                return Err(SearchError::TooCostly { budget, estimated: None, most });
            }
        }
        Ok(())
    }

    /// What was taken from it.
    pub(super) fn spent(&self) -> u64 {
        self.asked.budget - self.left
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
        let (asked, words, instant) = (self.asked, self.words, entry.instant);
        if json.len() > LARGE
            && let Ok(runtime) = Handle::try_current()
        {
            let (json, base, zone) = (json.clone(), asked.base.to_owned(), asked.zone);
            let extractor = Arc::clone(asked.extractor);
            let understand = move || {
                let options =
                    ExtractOptions { base: Some(&base), zone, last_updated: Some(instant) };
                understand(&json, words, &extractor, &options)
            };
            match self.snapshot.reading.work(&runtime, understand).await {
                Ok(understood) => return Ok(Some(Arc::new(understood?))),
                Err(NotDone::Busy) => return Err(ReadError::Overloaded.into()),
                Err(NotDone::Ended) => {}
            }
        }
        self.work(json.len()).await;
        let understood = understand(&json, words, asked.extractor, &self.options(instant))?;
        Ok(Some(Arc::new(understood)))
    }

    /// Goes on behind what may not be seen, which costs nothing, while anyone waits: so many times,
    /// and then the search is refused.
    pub(super) async fn pass_over(&mut self) -> Result<(), SearchError> {
        self.spend(0)?;
        if !self.passed_over.one_more() {
            let most = costliest_by_form(self.query).map(Box::new);
            let budget = self.asked.budget;
            return Err(SearchError::TooCostly { budget, estimated: None, most });
        }
        self.work(BYTES_OF_HIDDEN).await;
        Ok(())
    }

    /// Lets others run when there has been much to do since they did.
    async fn work(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > BYTES_AT_ONCE {
            self.bytes = 0;
            tokio::task::yield_now().await;
        }
    }

    fn options(&self, instant: Instant) -> ExtractOptions<'s> {
        let Asked { base, zone, .. } = *self.asked;
        ExtractOptions { base: Some(base), zone, last_updated: Some(instant) }
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

    /// Makes room for what one more resource may need, and lets others run.
    pub(super) async fn begin_match(&mut self, clauses: &[Clause]) {
        self.known.make_room();
        self.work(clauses.iter().map(tests).sum::<usize>() * BYTES_PER_TEST).await;
    }

    /// Whether a resource matches. What it lacks for that is looked up on the way.
    pub(crate) async fn matches(
        &mut self,
        of: &TypeQuery,
        resource: &IndexedResource,
    ) -> Result<bool, SearchError> {
        self.begin_match(&of.clauses).await;
        loop {
            match matches(self.query, of, resource, &self.known) {
                Ok(matches) => return Ok(matches),
                Err(lacking) => self.provide(lacking).await?,
            }
        }
    }

    /// Asks something of the world, looking up on the way what it lacks for the answer.
    pub(super) async fn ask<R>(
        &mut self,
        mut ask: impl FnMut(&dyn World) -> Result<R, Unanswered>,
    ) -> Result<R, SearchError> {
        loop {
            match ask(&self.known) {
                Ok(answer) => return Ok(answer),
                Err(lacking) => self.provide(lacking).await?,
            }
        }
    }

    /// Whether a clause holds of a resource, likewise.
    pub(super) async fn holds(
        &mut self,
        clause: &Clause,
        resource: &IndexedResource,
    ) -> Result<bool, SearchError> {
        self.begin_match(std::slice::from_ref(clause)).await;
        loop {
            match holds(clause, resource, &self.known) {
                Ok(holds) => return Ok(holds),
                Err(lacking) => self.provide(lacking).await?,
            }
        }
    }

    /// Looks up what is lacking. It may lack something itself, as deep as the query goes.
    pub(super) fn provide(
        &mut self,
        lacking: Unanswered,
    ) -> Pin<Box<dyn Future<Output = Result<(), SearchError>> + Send + '_>> {
        Box::pin(async move {
            match lacking {
                Unanswered::Resource { resource_type, id } => {
                    let names = (ResourceType::new(&resource_type), ResourceId::new(&id));
                    let found = match names {
                        (Ok(of), Ok(id)) => self.read(&of, &id).await?,
                        // There is none of such a name.
                        _ => None,
                    };
                    self.known.add(resource_type, id, found.map(|(_, resource)| resource));
                    Ok(())
                }
                Unanswered::Urls(of) => {
                    let named = match ResourceType::new(&of) {
                        Ok(of) => self.all_with_urls(&of).await?,
                        Err(_) => Vec::new(),
                    };
                    self.known.add_urls(of, named);
                    Ok(())
                }
                Unanswered::Has(has) => {
                    let targets = self.targets_of(&has).await?;
                    self.known.add_targets(*has, targets);
                    Ok(())
                }
                Unanswered::Never(error) => Err(error.into()),
            }
        })
    }

    /// The resources of a type that have a canonical URL.
    async fn all_with_urls(
        &mut self,
        of: &ResourceType,
    ) -> Result<Vec<Arc<IndexedResource>>, SearchError> {
        let parameters = self.asked.extractor.parameters();
        let mut all = Vec::new();
        let mut newest = self.newest_of(of);
        while let Some((_, resource)) = newest.next(self).await? {
            if urls_of(&resource, parameters).next().is_some() {
                all.push(resource);
            }
        }
        Ok(all)
    }

    /// The resources of a type that a canonical names.
    pub(super) async fn named(
        &mut self,
        of: &str,
        url: &str,
        version: Option<&str>,
    ) -> Result<Vec<Arc<IndexedResource>>, SearchError> {
        loop {
            match self.known.named(of, url, version) {
                Ok(named) => return Ok(named),
                Err(lacking) => self.provide(lacking).await?,
            }
        }
    }

    /// All that is referred to as `has` says.
    async fn targets_of(&mut self, has: &Has) -> Result<Targets, SearchError> {
        let mut targets = Targets::default();
        let mut newest = self.newest_of(&has.resource_type);
        while let Some((_, resource)) = newest.next(self).await? {
            if self.holds(&has.clause, &resource).await? {
                targets.add(&resource, has.parameter.id);
            }
        }
        Ok(targets)
    }
}

fn understand(
    json: &[u8],
    words: bool,
    extractor: &fhir_search::Extractor<'_>,
    options: &ExtractOptions<'_>,
) -> Result<IndexedResource, ReadError> {
    let document = Document::parse(json)
        .map_err(|error| ReadError::UnreadableBody { reason: error.to_string() })?;
    let resource = IndexedResource::of(document.root(), extractor, options);
    Ok(if words { resource.with_words(document.root()) } else { resource })
}

/// How many tests a clause asks of one resource.
fn tests(clause: &Clause) -> usize {
    match clause {
        Clause::Value(clause) => clause.tests.len(),
        Clause::All(clauses) | Clause::Any(clauses) => clauses.iter().map(tests).sum(),
        Clause::Not(clause) => tests(clause),
        Clause::Chain(chain) => chain.targets.iter().map(|(_, clause)| tests(clause)).sum(),
        Clause::Missing { .. }
        | Clause::Has(_)
        | Clause::Text(_)
        | Clause::Content(_)
        | Clause::List(_) => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_much_that_may_not_be_seen_is_passed_over_by_one_search_and_no_more() {
        let mut passed_over = PassedOver::default();
        assert!((0..MOST_PASSED_OVER).all(|_| passed_over.one_more()));
        assert!(!passed_over.one_more());
    }
}
