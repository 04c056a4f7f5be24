//! What has been looked up so far of the resources that others are matched by.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use fhir_search::{
    Codes, Has, IndexedResource, ParameterId, Parameters, ReferenceTarget, Unanswered, World,
    is_named, urls_of,
};

use super::Asked;

/// Resources that are kept.
const MOST_KEPT: usize = 1000;

/// A type and an id.
type Name = (Box<str>, Box<str>);

/// The world as far as it is known.
pub(super) struct Known<'s> {
    parameters: &'s Parameters,
    codes: &'s dyn Codes,
    base: &'s str,
    /// None of one that is not there.
    resources: HashMap<Name, Option<Arc<IndexedResource>>>,
    /// By type, the resources that have a canonical URL, by that.
    urls: HashMap<Box<str>, ByUrl>,
    /// What is referred to, as each of these says.
    referred_to: Vec<(Has, Targets)>,
}

/// Resources by their canonical URL.
type ByUrl = HashMap<Box<str>, Vec<Arc<IndexedResource>>>;

/// What is referred to.
#[derive(Default)]
pub(super) struct Targets {
    local: HashSet<Name>,
    /// URLs, each with the versions that are named; none where that is left open.
    canonicals: HashMap<Box<str>, HashSet<Option<Box<str>>>>,
}

impl Targets {
    /// Adds what a resource refers to by a parameter.
    pub(super) fn add(&mut self, resource: &IndexedResource, parameter: ParameterId) {
        for reference in resource.references(parameter) {
            match &reference.target {
                ReferenceTarget::Local { resource_type, id, .. } => {
                    self.local.insert(((&**resource_type).into(), (&**id).into()));
                }
                ReferenceTarget::Canonical { url, version } => {
                    let versions = self.canonicals.entry((&**url).into()).or_default();
                    versions.insert(version.as_deref().map(Into::into));
                }
                _ => {}
            }
        }
    }

    fn has(&self, resource: &IndexedResource, parameters: &Parameters) -> bool {
        let name = (resource.resource_type().into(), resource.id().into());
        let is_named = |url: &str| {
            let versions = self.canonicals.get(url).into_iter().flatten();
            let mut versions = versions.map(Option::as_deref);
            versions.any(|version| is_named(resource, parameters, url, version))
        };
        self.local.contains(&name) || urls_of(resource, parameters).any(is_named)
    }
}

impl<'s> Known<'s> {
    pub(super) fn new(asked: &Asked<'s>) -> Self {
        Self {
            parameters: asked.extractor.parameters(),
            codes: asked.codes,
            base: asked.base,
            resources: HashMap::new(),
            urls: HashMap::new(),
            referred_to: Vec::new(),
        }
    }

    /// Forgets resources, if they are many. Not while a resource is being matched, which may need
    /// all that was looked up for it.
    pub(super) fn make_room(&mut self) {
        if self.resources.len() > MOST_KEPT {
            self.resources.clear();
        }
    }

    pub(super) fn add(
        &mut self,
        resource_type: Box<str>,
        id: Box<str>,
        resource: Option<Arc<IndexedResource>>,
    ) {
        self.resources.insert((resource_type, id), resource);
    }

    /// Adds all resources of a type that have a canonical URL.
    pub(super) fn add_urls(&mut self, of: Box<str>, resources: Vec<Arc<IndexedResource>>) {
        let mut by_url = ByUrl::new();
        for resource in resources {
            for url in urls_of(&resource, self.parameters) {
                by_url.entry(url.into()).or_default().push(Arc::clone(&resource));
            }
        }
        self.urls.insert(of, by_url);
    }

    /// Adds all that is referred to as `has` says.
    pub(super) fn add_targets(&mut self, has: Has, targets: Targets) {
        self.referred_to.push((has, targets));
    }
}

impl World for Known<'_> {
    fn parameters(&self) -> &Parameters {
        self.parameters
    }

    fn base(&self) -> Option<&str> {
        Some(self.base)
    }

    fn resource(
        &self,
        resource_type: &str,
        id: &str,
    ) -> Result<Option<Arc<IndexedResource>>, Unanswered> {
        let name = (resource_type.into(), id.into());
        match self.resources.get(&name) {
            Some(known) => Ok(known.clone()),
            None => Err(Unanswered::Resource { resource_type: name.0, id: name.1 }),
        }
    }

    fn named(
        &self,
        resource_type: &str,
        url: &str,
        version: Option<&str>,
    ) -> Result<Vec<Arc<IndexedResource>>, Unanswered> {
        let of_type = self.urls.get(resource_type);
        let of_type = of_type.ok_or_else(|| Unanswered::Urls(resource_type.into()))?;
        let named = of_type.get(url).into_iter().flatten();
        let named = named.filter(|it| is_named(it, self.parameters, url, version));
        Ok(named.cloned().collect())
    }

    fn is_referred_to(&self, has: &Has, resource: &IndexedResource) -> Result<bool, Unanswered> {
        match self.referred_to.iter().find(|(known, _)| known == has) {
            Some((_, targets)) => Ok(targets.has(resource, self.parameters)),
            None => Err(Unanswered::Has(Box::new(has.clone()))),
        }
    }

    fn codes(&self) -> &dyn Codes {
        self.codes
    }
}
