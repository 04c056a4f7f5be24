//! What has been looked up so far of the resources that others are matched by.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use fhir_search::{
    Codes, Has, IndexedResource, ParameterId, Parameters, ReferenceTarget, Unanswered, World,
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
    /// What is referred to, as each of these says.
    referred_to: Vec<(Has, Targets)>,
}

/// Resources that are referred to.
#[derive(Default)]
pub(super) struct Targets(HashSet<Name>);

impl Targets {
    /// Adds what a resource refers to by a parameter.
    pub(super) fn add(&mut self, resource: &IndexedResource, parameter: ParameterId) {
        for reference in resource.references(parameter) {
            if let ReferenceTarget::Local { resource_type, id, .. } = &reference.target {
                self.0.insert(((&**resource_type).into(), (&**id).into()));
            }
        }
    }
}

impl<'s> Known<'s> {
    pub(super) fn new(asked: &Asked<'s>) -> Self {
        Self {
            parameters: asked.extractor.parameters(),
            codes: asked.codes,
            base: asked.base,
            resources: HashMap::new(),
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

    fn is_referred_to(&self, has: &Has, resource_type: &str, id: &str) -> Result<bool, Unanswered> {
        match self.referred_to.iter().find(|(known, _)| known == has) {
            Some((_, targets)) => Ok(targets.0.contains(&(resource_type.into(), id.into()))),
            None => Err(Unanswered::Has(Box::new(has.clone()))),
        }
    }

    fn codes(&self) -> &dyn Codes {
        self.codes
    }
}
