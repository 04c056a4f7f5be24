//! What has been looked up so far of the resources that others are matched by.

use std::collections::HashMap;
use std::sync::Arc;

use fhir_core::ResourceId;
use fhir_search::{
    Codes, IndexedResource, Kind, Parameter, ParameterId, Parameters, ReferenceTarget, Unanswered,
    World,
};

use super::Asked;

/// Resources that are kept.
const MOST_KEPT: usize = 10_000;

/// A type and an id.
type Name = (Box<str>, Box<str>);

/// The world as far as it is known.
pub(super) struct Known<'s> {
    parameters: &'s Parameters,
    codes: &'s dyn Codes,
    base: &'s str,
    /// None of one that is not there.
    resources: HashMap<Name, Option<Arc<IndexedResource>>>,
    /// By the type that refers.
    references: HashMap<Box<str>, References>,
}

/// Who of a type refers to what, by parameter.
#[derive(Default)]
pub(super) struct References(HashMap<ParameterId, Referring>);

/// By what is referred to.
type Referring = HashMap<Name, Vec<ResourceId>>;

impl References {
    /// Adds those of a resource.
    pub(super) fn add(
        &mut self,
        id: &ResourceId,
        resource: &IndexedResource,
        parameters: &Parameters,
    ) {
        let of_type = parameters.of_type(resource.resource_type());
        for parameter in of_type.iter().filter(|it| it.kind == Kind::Reference) {
            for reference in resource.references(parameter.id) {
                let ReferenceTarget::Local { resource_type, id: to, .. } = &reference.target else {
                    continue;
                };
                let target = ((&**resource_type).into(), (&**to).into());
                let referring = self.0.entry(parameter.id).or_default().entry(target).or_default();
                if referring.last() != Some(id) {
                    referring.push(id.clone());
                }
            }
        }
    }

    /// Puts those that refer to the same in the order of their ids.
    pub(super) fn sort(&mut self) {
        for referring in self.0.values_mut().flat_map(HashMap::values_mut) {
            referring.sort_unstable();
        }
    }

    /// Those that refer to a resource by a parameter.
    fn to(&self, by: ParameterId, resource_type: &str, id: &str) -> &[ResourceId] {
        let to = self.0.get(&by).and_then(|to| to.get(&(resource_type.into(), id.into())));
        to.map_or(&[], |referring| referring)
    }
}

impl<'s> Known<'s> {
    pub(super) fn new(asked: &Asked<'s>) -> Self {
        Self {
            parameters: asked.extractor.parameters(),
            codes: asked.codes,
            base: asked.base,
            resources: HashMap::new(),
            references: HashMap::new(),
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
        resource_type: &str,
        id: &str,
        resource: Option<Arc<IndexedResource>>,
    ) {
        self.resources.insert((resource_type.into(), id.into()), resource);
    }

    pub(super) fn has(&self, resource_type: &str, id: &str) -> bool {
        self.resources.contains_key(&(resource_type.into(), id.into()))
    }

    pub(super) fn add_references(&mut self, of: &str, references: References) {
        self.references.insert(of.into(), references);
    }

    pub(super) fn has_references(&self, of: &str) -> bool {
        self.references.contains_key(of)
    }

    /// Those that refer to a resource by a parameter, as far as that has been looked up.
    pub(super) fn referring(
        &self,
        parameter: &Parameter,
        resource_type: &str,
        id: &str,
    ) -> Vec<ResourceId> {
        let of_type = self.references.get(&*parameter.resource_type);
        of_type.map_or_else(Vec::new, |it| it.to(parameter.id, resource_type, id).to_vec())
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
        let known = self.resources.get(&(resource_type.into(), id.into()));
        let lacking =
            || Unanswered::Resource { resource_type: resource_type.into(), id: id.into() };
        known.cloned().ok_or_else(lacking)
    }

    fn referrers(
        &self,
        parameter: &Arc<Parameter>,
        resource_type: &str,
        id: &str,
    ) -> Result<Vec<Arc<IndexedResource>>, Unanswered> {
        let lacking = || Unanswered::Referrers {
            parameter: Arc::clone(parameter),
            resource_type: resource_type.into(),
            id: id.into(),
        };
        let of_type = self.references.get(&*parameter.resource_type).ok_or_else(lacking)?;
        let mut referrers = Vec::new();
        for referrer in of_type.to(parameter.id, resource_type, id) {
            let known = self.resource(&parameter.resource_type, referrer.as_str());
            referrers.extend(known.map_err(|_| lacking())?);
        }
        Ok(referrers)
    }

    fn codes(&self) -> &dyn Codes {
        self.codes
    }
}
