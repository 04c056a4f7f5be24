//! The resources of a page, as they are answered: in full or in part, and no more bytes of them
//! than an answer may have.

use bytes::Bytes;
use database::{Found, ReadError, Snapshot, VersionEntry};
use fhir_core::json::Document;
use fhir_core::{ResourceId, ResourceType, VersionId};
use fhir_schema::{DefinitionSet, Schema};
use fhir_search::Answer;

use super::bundle::Mode;
use super::projection::Projection;
use crate::error::ServerError;

/// A resource on a page.
pub(super) struct Resource {
    pub(super) name: (ResourceType, ResourceId),
    /// Of a resource that is contained in that one its id there.
    pub(super) within: Option<String>,
    pub(super) json: Bytes,
    pub(super) mode: Mode,
    /// The version it is of, and all that this holds.
    pub(super) stored: (VersionId, Bytes),
}

/// How what was found goes onto a page.
pub(super) enum Filled {
    /// All of it, the matches first; of what was to be included some may be left out when there
    /// is a single match.
    Whole { resources: Vec<Resource>, included_cut: bool },
    /// Only with so many matches, at least one.
    Fewer(usize),
}

/// Reads resources, and of each what is asked for.
pub(super) struct Filler<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) schema: &'a Schema,
    pub(super) definitions: &'a DefinitionSet,
    pub(super) answer: &'a Answer,
    /// Bytes of resources.
    pub(super) limit: usize,
}

/// What is asked for of each type, for matches and for what is included.
type Projections = Vec<((ResourceType, Mode), Option<Projection>)>;

impl Filler<'_> {
    pub(super) async fn fill(&self, found: &Found) -> Result<Filled, ServerError> {
        let mut projections = Projections::new();
        let mut resources = Vec::with_capacity(found.matches.len() + found.included.len());
        let mut bytes = 0;
        for (index, entry) in found.matches.iter().enumerate() {
            let at = found.contained.get(index).copied().flatten();
            let Some(resource) = self.read((entry, at), Mode::Match, &mut projections).await?
            else {
                continue;
            };
            bytes += resource.json.len();
            // One is always there, so that every page leads on.
            if bytes > self.limit && index > 0 {
                return Ok(Filled::Fewer(index));
            }
            resources.push(resource);
        }
        for entry in &found.included {
            let Some(resource) = self.read((entry, None), Mode::Include, &mut projections).await?
            else {
                continue;
            };
            bytes += resource.json.len();
            if bytes > self.limit {
                return Ok(match found.matches.len() {
                    0 | 1 => Filled::Whole { resources, included_cut: true },
                    matches => Filled::Fewer(matches / 2),
                });
            }
            resources.push(resource);
        }
        Ok(Filled::Whole { resources, included_cut: found.included_cut })
    }

    /// What is answered of a version, or of a resource in it by its place there; none when nobody
    /// can read it any more.
    async fn read(
        &self,
        (entry, at): (&VersionEntry, Option<usize>),
        mode: Mode,
        projections: &mut Projections,
    ) -> Result<Option<Resource>, ServerError> {
        let json = match self.snapshot.json(entry).await {
            Err(ReadError::Purged) => None,
            json => json?,
        };
        let Some(json) = json else { return Ok(None) };
        let stored = (entry.version, json.clone());
        let name = (entry.resource_type.clone(), entry.id.clone());
        let (of, within, json) = match at {
            None => (name.0.clone(), None, json),
            Some(at) => {
                let Some((of, id, json)) = contained(&json, at) else { return Ok(None) };
                (of, Some(id), json)
            }
        };
        let known =
            projections.iter().position(|((it, its_mode), _)| (it, *its_mode) == (&of, mode));
        let at = known.unwrap_or_else(|| {
            let project = match mode {
                Mode::Match => Projection::of_matches,
                Mode::Include | Mode::Outcome => Projection::of_included,
            };
            let projection = project(self.answer, of.as_str(), self.definitions);
            projections.push(((of, mode), projection));
            projections.len() - 1
        });
        let projection = projections.get(at).and_then(|(_, projection)| projection.as_ref());
        let part = projection.and_then(|it| it.apply(&json, self.schema));
        let json = part.map_or(json, Bytes::from);
        Ok(Some(Resource { name, within, json, mode, stored }))
    }
}

/// Type, id and text of the resource at a place among those that a resource contains.
fn contained(json: &[u8], at: usize) -> Option<(ResourceType, String, Bytes)> {
    let document = Document::parse(json).ok()?;
    let contained = document.root().get("contained")?.items().nth(at)?;
    let of = ResourceType::new(&contained.get_str("resourceType")?).ok()?;
    let id = contained.get_str("id").unwrap_or_default().into_owned();
    Some((of, id, Bytes::copy_from_slice(contained.raw().as_bytes())))
}
