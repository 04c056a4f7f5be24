//! What is added to the matches of a page: `_include` and `_revinclude` (FHIR R4, 3.1.1.5.4).
//!
//! What a reference points at is left out when it is contained, elsewhere, deleted, or not to be
//! seen.

use std::collections::HashSet;
use std::sync::Arc;

use fhir_core::{ResourceId, ResourceType, VersionId};
use fhir_search::{
    Include, IncludeDirection, IncludeSource, IndexedResource, Kind, Parameter, ReferenceTarget,
};
use store::VersionEntry;

use super::scan::Scan;
use super::{Match, SearchError};

/// A version of a resource.
type Name = (ResourceType, ResourceId, VersionId);

fn name(entry: &VersionEntry) -> Name {
    (entry.resource_type.clone(), entry.id.clone(), entry.version)
}

/// What is in the answer so far.
struct Answer {
    there: HashSet<Name>,
    included: Vec<Match>,
    most: usize,
    cut: bool,
}

impl Answer {
    /// Adds a resource that is not there yet; one too many is not added.
    fn add(&mut self, found: Match) {
        if self.there.contains(&name(&found.0)) {
            return;
        }
        if self.included.len() == self.most {
            self.cut = true;
            return;
        }
        self.there.insert(name(&found.0));
        self.included.push(found);
    }
}

/// A reference that is followed.
struct Target {
    resource_type: ResourceType,
    id: ResourceId,
    version: Option<VersionId>,
}

impl Scan<'_> {
    /// What is included with these matches, and whether more would have been.
    pub(super) async fn included(
        &mut self,
        matches: &[Match],
    ) -> Result<(Vec<VersionEntry>, bool), SearchError> {
        let mut answer = Answer {
            there: matches.iter().map(|(entry, _)| name(entry)).collect(),
            included: Vec::new(),
            most: self.asked.most_included,
            cut: false,
        };
        let query = self.query;
        for include in &query.includes {
            self.follow(include, matches, &mut answer).await?;
        }
        let mut done = 0;
        while done < answer.included.len() && !answer.cut {
            let added: Vec<Match> = answer.included[done..].to_vec();
            done = answer.included.len();
            for include in query.includes.iter().filter(|include| include.iterate) {
                self.follow(include, &added, &mut answer).await?;
            }
        }
        let included = answer.included.into_iter().map(|(entry, _)| entry);
        Ok((included.collect(), answer.cut))
    }

    /// Adds what one include finds from these resources.
    async fn follow(
        &mut self,
        include: &Include,
        from: &[Match],
        answer: &mut Answer,
    ) -> Result<(), SearchError> {
        match include.direction {
            IncludeDirection::Forward => {
                for (_, resource) in from {
                    for target in self.targets(include, resource) {
                        if answer.cut {
                            return Ok(());
                        }
                        if let Some(found) = self.target(&target, answer).await? {
                            answer.add(found);
                        }
                    }
                }
            }
            IncludeDirection::Reverse => {
                let wanted = include.target.as_ref();
                let from = from.iter().map(|(entry, _)| entry);
                let from: Vec<_> =
                    from.filter(|it| wanted.is_none_or(|of| *of == it.resource_type)).collect();
                if from.is_empty() {
                    return Ok(());
                }
                for parameter in self.followed(&include.source, None) {
                    self.know_references(&parameter.resource_type).await?;
                    self.refer(&parameter, &from, answer).await?;
                }
            }
        }
        Ok(())
    }

    /// Adds what refers to these resources by a parameter.
    async fn refer(
        &mut self,
        parameter: &Parameter,
        to: &[&VersionEntry],
        answer: &mut Answer,
    ) -> Result<(), SearchError> {
        let Ok(of) = ResourceType::new(&parameter.resource_type) else { return Ok(()) };
        for entry in to {
            let (resource_type, id) = (entry.resource_type.as_str(), entry.id.as_str());
            for referrer in self.known.referring(parameter, resource_type, id) {
                if answer.cut {
                    return Ok(());
                }
                if let Some(found) = self.read(&of, &referrer).await? {
                    answer.add(found);
                }
            }
        }
        Ok(())
    }

    /// The references of a resource that an include follows.
    fn targets(&self, include: &Include, resource: &IndexedResource) -> Vec<Target> {
        let mut targets = Vec::new();
        for parameter in self.followed(&include.source, Some(resource.resource_type())) {
            for reference in resource.references(parameter.id) {
                let ReferenceTarget::Local { resource_type, id, version } = &reference.target
                else {
                    continue;
                };
                let names = (ResourceType::new(resource_type), ResourceId::new(id));
                let (Ok(resource_type), Ok(id)) = names else { continue };
                let wanted = include.target.as_ref().is_none_or(|of| *of == resource_type);
                // A version that is no number is none of this server's.
                let number = version.as_ref().map(|it| it.parse().ok());
                match number {
                    None if wanted => targets.push(Target { resource_type, id, version: None }),
                    Some(Some(version)) if wanted => {
                        targets.push(Target { resource_type, id, version: Some(version) });
                    }
                    _ => {}
                }
            }
        }
        targets
    }

    /// What a reference points at, unless it is in the answer already or is not there.
    async fn target(
        &mut self,
        target: &Target,
        answer: &Answer,
    ) -> Result<Option<Match>, SearchError> {
        self.spend(1)?;
        let Target { resource_type, id, version } = target;
        let newest = self.snapshot.newest(resource_type, id).await?;
        // What is deleted is not there, in whatever version.
        let Some(newest) = newest.filter(|entry| !entry.flags.is_deleted()) else {
            return Ok(None);
        };
        let entry = match version {
            Some(version) if *version != newest.version => {
                let found = self.snapshot.vread(resource_type, id, *version).await;
                match found {
                    Err(crate::ReadError::Purged) => None,
                    found => found?.map(|version| version.entry),
                }
            }
            _ => Some(newest),
        };
        let Some(entry) = entry.filter(|entry| !answer.there.contains(&name(entry))) else {
            return Ok(None);
        };
        Ok(self.load(&entry).await?.map(|resource| (entry, resource)))
    }

    /// The parameters whose references are followed; with a type only those of it.
    fn followed(&self, source: &IncludeSource, of: Option<&str>) -> Vec<Arc<Parameter>> {
        let parameters = self.asked.extractor.parameters();
        let found = match (source, of) {
            (IncludeSource::Parameter(parameter), _) => std::slice::from_ref(parameter),
            (IncludeSource::OfType(of_type), _) => parameters.of_type(of_type.as_str()),
            (IncludeSource::Everything, Some(of)) => parameters.of_type(of),
            (IncludeSource::Everything, None) => parameters.all(),
        };
        let is_followed = |it: &&Arc<Parameter>| {
            it.kind == Kind::Reference && of.is_none_or(|of| *it.resource_type == *of)
        };
        found.iter().filter(is_followed).cloned().collect()
    }
}
