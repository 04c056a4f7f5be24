//! The entries of a transaction that patch: what each leaves of the resource that the snapshot
//! has. From there on they are planned as updates are.

use std::collections::BTreeMap;

use contract::{Instance, Interaction};
use database::Snapshot;
use fhir_core::json::Document;
use fhir_core::{Bundle, Resource, ResourceId, ResourceType, VersionId};

use super::Context;
use super::plan::touched_twice;
use super::target::Target;
use crate::call::Call;
use crate::criteria::Criteria;
use crate::error::ServerError;
use crate::exchange::patches as is_patch;
use crate::interactions::patch::{Patched, one_match, patched};

/// The patched resources by the indexes of their entries.
#[derive(Debug, Default)]
pub(crate) struct Patches(BTreeMap<usize, Patch>);

#[derive(Debug)]
struct Patch {
    instance: Instance,
    /// What found the instance, where the entry does not name it.
    criteria: Option<Criteria>,
    patched: Patched,
}

/// A patched resource that was read, and the version that was patched.
#[derive(Debug)]
pub(crate) struct PatchedResource<'a> {
    pub(crate) instance: &'a Instance,
    /// What the instance is the one match of, where its entry does not name it.
    pub(crate) criteria: Option<&'a Criteria>,
    pub(crate) resource: Resource<'a>,
    pub(crate) version: VersionId,
}

impl Patches {
    /// Applies the patches of a transaction.
    ///
    /// # Errors
    /// The first entry whose patch cannot be applied.
    pub(crate) async fn of(
        context: &Context<'_>,
        snapshot: &Snapshot,
        bundle: &Bundle<'_>,
        targets: &[Target],
    ) -> Result<Self, ServerError> {
        let mut patches = BTreeMap::new();
        let mut of = BTreeMap::new();
        let limit = context.server.limits.body_bytes;
        let mut left = limit;
        for (index, target) in targets.iter().enumerate() {
            if !is_patch(&target.interaction) {
                continue;
            }
            let call = target.call(context, bundle.entries[index].resource.clone());
            let found = instance(&call, snapshot).await;
            let (instance, criteria) = found.map_err(|error| error.in_entry(index))?;
            // Each may be touched once (HTTP-176): it is not patched twice to find that out.
            if let Some(other) = of.insert(identity(&instance), index) {
                let (resource_type, id) = identity(&instance);
                return Err(touched_twice((other, index), (&resource_type, &id)));
            }
            let patched = patched(&call, &instance, snapshot).await;
            let patched = patched.map_err(|error| error.in_entry(index))?;
            // All of them are in memory at once, as if they had been sent.
            let more = left.checked_sub(patched.json.len());
            left = more.ok_or_else(|| ServerError::BodyTooLong { limit }.in_entry(index))?;
            patches.insert(index, Patch { instance, criteria, patched });
        }
        Ok(Self(patches))
    }

    /// The patched resources as JSON that was read.
    pub(crate) fn documents(&self) -> Result<BTreeMap<usize, Document<'_>>, ServerError> {
        let documents = self.0.iter().map(|(index, patch)| {
            let document =
                Document::parse(&patch.patched.json).map_err(ServerError::InvalidJson)?;
            Ok((*index, document))
        });
        documents.collect()
    }

    /// The patched resources.
    pub(crate) fn resources<'a>(
        &'a self,
        documents: &'a BTreeMap<usize, Document<'a>>,
    ) -> Result<BTreeMap<usize, PatchedResource<'a>>, ServerError> {
        let resources = self.0.iter().zip(documents).map(|((index, patch), (_, document))| {
            let resource = Resource::new(document.root()).map_err(ServerError::InvalidResource)?;
            let Patch { instance, criteria, patched } = patch;
            let version = patched.version;
            let criteria = criteria.as_ref();
            Ok((*index, PatchedResource { instance, criteria, resource, version }))
        });
        resources.collect()
    }
}

fn identity(instance: &Instance) -> (ResourceType, ResourceId) {
    (instance.resource_type.clone(), instance.id.clone())
}

/// What an entry patches, and what found it where the entry does not name it.
async fn instance(
    call: &Call<'_>,
    snapshot: &Snapshot,
) -> Result<(Instance, Option<Criteria>), ServerError> {
    match &call.interaction {
        Interaction::Patch(instance) => {
            call.known(&instance.resource_type)?;
            Ok((instance.clone(), None))
        }
        Interaction::ConditionalPatch(of) => {
            call.known(of)?;
            let (instance, criteria) = one_match(call, of, snapshot).await?;
            Ok((instance, Some(criteria)))
        }
        _ => Err(ServerError::Interrupted),
    }
}
