//! What is added to the matches of a page: `_include` and `_revinclude` (FHIR R4, 3.1.1.5.4).
//!
//! What a reference points at is left out when it is contained, elsewhere, deleted, or not to be
//! seen.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use fhir_core::{ResourceId, ResourceType, VersionId};
use fhir_search::{
    Include, IncludeDirection, IncludeSource, IndexedResource, Kind, Parameter, ParameterId,
    ReferenceTarget, is_named,
};
use store::VersionEntry;

use super::SearchError;
use super::scan::Scan;

/// A version of a resource.
type Name = (ResourceType, ResourceId, VersionId);

fn name(entry: &VersionEntry) -> Name {
    (entry.resource_type.clone(), entry.id.clone(), entry.version)
}

/// What is in the answer so far.
struct Answer {
    there: HashSet<Name>,
    included: Vec<VersionEntry>,
    most: usize,
    cut: bool,
}

impl Answer {
    /// Adds a resource that is not there yet; one too many is not added.
    fn add(&mut self, found: VersionEntry) {
        if self.there.contains(&name(&found)) {
            return;
        }
        if self.included.len() == self.most {
            self.cut = true;
            return;
        }
        self.there.insert(name(&found));
        self.included.push(found);
    }
}

/// A parameter that refers, and the only type that counts as its target if there is one.
type Link<'i> = (ParameterId, Option<&'i ResourceType>);

/// A reference that is followed.
enum Target {
    Local {
        resource_type: ResourceType,
        id: ResourceId,
        version: Option<VersionId>,
    },
    /// A canonical, and the only type that counts if there is one.
    Canonical {
        url: String,
        version: Option<String>,
        only: Option<ResourceType>,
    },
}

/// What is gone on from: a version, or one of the resources that it contains, by its place.
type From<'e> = (&'e VersionEntry, Option<usize>);

impl Scan<'_> {
    /// What is included with these matches, and whether more would have been.
    pub(super) async fn included(
        &mut self,
        matches: &[VersionEntry],
        contained: &[Option<usize>],
    ) -> Result<(Vec<VersionEntry>, bool), SearchError> {
        let places = contained.iter().copied().chain(std::iter::repeat(None));
        let from: Vec<From<'_>> = matches.iter().zip(places).collect();
        let mut answer = Answer {
            // What contains a match is not there for that.
            there: from.iter().filter(|(_, at)| at.is_none()).map(|(it, _)| name(it)).collect(),
            included: Vec::new(),
            most: self.asked.most_included,
            cut: false,
        };
        let includes: Vec<&Include> = self.query.includes.iter().collect();
        self.follow(&includes, &from, &mut answer).await?;
        let iterated: Vec<&Include> = includes.into_iter().filter(|it| it.iterate).collect();
        let mut done = 0;
        while done < answer.included.len() && !answer.cut && !iterated.is_empty() {
            let added = answer.included[done..].to_vec();
            done = answer.included.len();
            let from: Vec<From<'_>> = added.iter().map(|it| (it, None)).collect();
            self.follow(&iterated, &from, &mut answer).await?;
        }
        Ok((answer.included, answer.cut))
    }

    /// Adds what these resources refer to, and then what refers to them.
    async fn follow(
        &mut self,
        includes: &[&Include],
        from: &[From<'_>],
        answer: &mut Answer,
    ) -> Result<(), SearchError> {
        let (forward, reverse): (Vec<&Include>, Vec<&Include>) =
            includes.iter().partition(|it| it.direction == IncludeDirection::Forward);
        for (entry, at) in from.iter().filter(|_| !forward.is_empty()) {
            // Values are not kept from when it was matched: a page may have many large resources.
            let Some(resource) = self.load(entry).await? else { continue };
            let resource = match at {
                None => Some(&*resource),
                Some(at) => resource.contained().get(*at),
            };
            let targets = resource.map(|resource| {
                forward.iter().flat_map(|include| self.targets(include, resource)).collect()
            });
            let targets: Vec<Target> = targets.unwrap_or_default();
            for target in targets {
                for found in self.target(&target, answer).await? {
                    if answer.cut {
                        return Ok(());
                    }
                    answer.add(found);
                }
            }
        }
        // Nothing outside its container refers to what is contained.
        let whole = from.iter().filter(|(_, at)| at.is_none()).map(|(entry, _)| *entry);
        let whole: Vec<&VersionEntry> = whole.collect();
        let links = self.links(&reverse);
        let named = if links.is_empty() { Vec::new() } else { self.with_urls(&whole).await? };
        for (of, links) in links {
            if answer.cut {
                return Ok(());
            }
            self.refer(&of, &links, (&whole, &named), answer).await?;
        }
        Ok(())
    }

    /// Of these resources those that canonicals can name.
    async fn with_urls(
        &mut self,
        of: &[&VersionEntry],
    ) -> Result<Vec<Arc<IndexedResource>>, SearchError> {
        let parameters = self.asked.extractor.parameters();
        let mut found = Vec::new();
        for entry in of {
            if parameters.get(entry.resource_type.as_str(), "url").is_some()
                && let Some(resource) = self.load(entry).await?
            {
                found.push(resource);
            }
        }
        Ok(found)
    }

    /// By type, the parameters whose references to the resources found so far are looked for.
    fn links<'i>(&self, includes: &[&'i Include]) -> BTreeMap<ResourceType, Vec<Link<'i>>> {
        let mut links: BTreeMap<ResourceType, Vec<Link<'i>>> = BTreeMap::new();
        for include in includes {
            for parameter in self.followed(&include.source, None) {
                if let Ok(of) = ResourceType::new(&parameter.resource_type) {
                    let link = (parameter.id, include.target.as_ref());
                    links.entry(of).or_default().push(link);
                }
            }
        }
        links
    }

    /// Adds the resources of a type that refer to these, in the order of their ids.
    async fn refer(
        &mut self,
        of: &ResourceType,
        links: &[Link<'_>],
        (to, to_urls): (&[&VersionEntry], &[Arc<IndexedResource>]),
        answer: &mut Answer,
    ) -> Result<(), SearchError> {
        let names = to.iter().map(|it| (it.resource_type.as_str(), it.id.as_str()));
        let names: HashSet<(&str, &str)> = names.collect();
        let parameters = self.asked.extractor.parameters();
        let leads = |(parameter, wanted): &Link<'_>, resource: &IndexedResource| {
            let is_wanted =
                |resource_type: &str| wanted.is_none_or(|of| of.as_str() == resource_type);
            resource.references(*parameter).any(|reference| match &reference.target {
                ReferenceTarget::Local { resource_type, id, .. } => {
                    is_wanted(resource_type) && names.contains(&(&**resource_type, &**id))
                }
                ReferenceTarget::Canonical { url, version } => to_urls.iter().any(|target| {
                    is_wanted(target.resource_type())
                        && is_named(target, parameters, url, version.as_deref())
                }),
                _ => false,
            })
        };
        let is_wanted = |(_, wanted): &Link<'_>| {
            wanted.is_none_or(|of| to.iter().any(|entry| entry.resource_type == *of))
        };
        if to.is_empty() || !links.iter().any(is_wanted) {
            return Ok(());
        }
        // The first ones, and one more, so that it is seen that there are more.
        let room = (answer.most - answer.included.len()).saturating_add(1);
        let mut first: BTreeMap<ResourceId, VersionEntry> = BTreeMap::new();
        let mut newest = self.newest_of(of);
        while let Some((entry, resource)) = newest.next(self).await? {
            let is_new = !answer.there.contains(&name(&entry));
            if is_new && links.iter().any(|link| leads(link, &resource)) {
                first.insert(entry.id.clone(), entry);
                if first.len() > room {
                    first.pop_last();
                }
            }
        }
        first.into_values().for_each(|found| answer.add(found));
        Ok(())
    }

    /// The references of a resource that an include follows.
    fn targets(&self, include: &Include, resource: &IndexedResource) -> Vec<Target> {
        let mut targets = Vec::new();
        for parameter in self.followed(&include.source, Some(resource.resource_type())) {
            for reference in resource.references(parameter.id) {
                if let ReferenceTarget::Canonical { url, version } = &reference.target {
                    let (url, version) =
                        (url.to_string(), version.as_ref().map(ToString::to_string));
                    targets.push(Target::Canonical { url, version, only: include.target.clone() });
                }
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
                    None if wanted => {
                        targets.push(Target::Local { resource_type, id, version: None })
                    }
                    Some(Some(version)) if wanted => {
                        targets.push(Target::Local { resource_type, id, version: Some(version) });
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
    ) -> Result<Vec<VersionEntry>, SearchError> {
        let (url, version, only) = match target {
            Target::Local { resource_type, id, version } => {
                let found = self.version((resource_type, id), *version, answer).await?;
                return Ok(found.into_iter().collect());
            }
            Target::Canonical { url, version, only } => (url, version.as_deref(), only),
        };
        let mut found = Vec::new();
        for of in self.types_with_urls() {
            if only.as_ref().is_some_and(|only| *only != of) {
                continue;
            }
            for resource in self.named(of.as_str(), url, version).await? {
                let Ok(id) = ResourceId::new(resource.id()) else { continue };
                found.extend(self.version((&of, &id), None, answer).await?);
            }
        }
        Ok(found)
    }

    /// The types whose resources canonicals can name.
    fn types_with_urls(&self) -> Vec<ResourceType> {
        let all = self.asked.extractor.parameters().all();
        let urls = all.filter(|it| it.code() == "url" && it.kind == Kind::Uri);
        urls.filter_map(|it| ResourceType::new(&it.resource_type).ok()).collect()
    }

    /// A resource, or a version of it, unless that is in the answer already or is not there.
    async fn version(
        &mut self,
        (resource_type, id): (&ResourceType, &ResourceId),
        version: Option<VersionId>,
        answer: &Answer,
    ) -> Result<Option<VersionEntry>, SearchError> {
        self.spend(1)?;
        let newest = self.snapshot.newest(resource_type, id).await?;
        // What is deleted is not there, in whatever version.
        let Some(newest) = newest.filter(|entry| !entry.flags.is_deleted()) else {
            return Ok(None);
        };
        let entry = match version {
            Some(version) if version != newest.version => {
                let found = self.snapshot.vread(resource_type, id, version).await;
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
        // It may be that nobody can read it any more.
        Ok(self.load(&entry).await?.map(|_| entry))
    }

    /// The parameters whose references are followed; with a type only those of it.
    fn followed(&self, source: &IncludeSource, of: Option<&str>) -> Vec<Arc<Parameter>> {
        let parameters = self.asked.extractor.parameters();
        let is_followed = |it: &&Arc<Parameter>| {
            it.kind == Kind::Reference && of.is_none_or(|of| *it.resource_type == *of)
        };
        let found = match (source, of) {
            (IncludeSource::Parameter(parameter), _) => std::slice::from_ref(parameter),
            (IncludeSource::OfType(of_type), _) => parameters.of_type(of_type.as_str()),
            (IncludeSource::Everything, Some(of)) => parameters.of_type(of),
            (IncludeSource::Everything, None) => {
                return parameters.all().filter(is_followed).cloned().collect();
            }
        };
        found.iter().filter(is_followed).cloned().collect()
    }
}
