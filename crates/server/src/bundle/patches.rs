//! The entries of a transaction that patch: what each leaves of the resource that the snapshot
//! has. From there on they are planned as updates are.

use std::collections::BTreeMap;

use contract::Interaction;
use database::Snapshot;
use fhir_core::json::Document;
use fhir_core::{Bundle, Resource, VersionId};

use super::Context;
use super::plan::touched_twice;
use super::target::Target;
use crate::error::ServerError;
use crate::interactions::patch::{Patched, patched};

/// The patched resources by the indexes of their entries.
#[derive(Debug, Default)]
pub(crate) struct Patches(BTreeMap<usize, Patched>);

/// A patched resource that was read, and the version that was patched.
#[derive(Debug)]
pub(crate) struct PatchedResource<'a> {
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
            let Interaction::Patch(instance) = &target.interaction else { continue };
            let identity = (&instance.resource_type, &instance.id);
            // Each may be touched once (HTTP-176): it is not patched twice to find that out.
            if let Some(other) = of.insert(identity, index) {
                return Err(touched_twice((other, index), identity));
            }
            let call = target.call(context, bundle.entries[index].resource.clone());
            let done = match call.known(&instance.resource_type) {
                Ok(()) => patched(&call, instance, snapshot).await,
                Err(error) => Err(error),
            };
            let done = done.map_err(|error| error.in_entry(index))?;
            // All of them are in memory at once, as if they had been sent.
            let more = left.checked_sub(done.json.len());
            left = more.ok_or_else(|| ServerError::BodyTooLong { limit }.in_entry(index))?;
            patches.insert(index, done);
        }
        Ok(Self(patches))
    }

    /// The patched resources as JSON that was read.
    pub(crate) fn documents(&self) -> Result<BTreeMap<usize, Document<'_>>, ServerError> {
        let documents = self.0.iter().map(|(index, patched)| {
            let document = Document::parse(&patched.json).map_err(ServerError::InvalidJson)?;
            Ok((*index, document))
        });
        documents.collect()
    }

    /// The patched resources.
    pub(crate) fn resources<'a>(
        &self,
        documents: &'a BTreeMap<usize, Document<'a>>,
    ) -> Result<BTreeMap<usize, PatchedResource<'a>>, ServerError> {
        let resources = self.0.iter().zip(documents).map(|((index, patched), (_, document))| {
            let resource = Resource::new(document.root()).map_err(ServerError::InvalidResource)?;
            Ok((*index, PatchedResource { resource, version: patched.version }))
        });
        resources.collect()
    }
}
