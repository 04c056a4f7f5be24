//! References by an id alone (FHIR R4, 3.1.1.4.13): where resources of several types have that id,
//! it is not clear which is meant.

use fhir_core::{ResourceId, ResourceType};
use fhir_search::{Query, bare_ids};

use super::SearchError;
use crate::Snapshot;

/// So many ids are looked for. Whoever asks for more has an id of each of many types, and knows
/// which are meant.
const MOST: usize = 2_000;

impl Snapshot {
    /// Whether each id that a query asks for without a type is that of one resource at most.
    ///
    /// # Errors
    /// [`SearchError::AmbiguousId`] for the first that is not; [`SearchError::Read`].
    pub async fn check_ids(&self, query: &Query) -> Result<(), SearchError> {
        let all = || self.schema().resource_types().filter_map(|it| ResourceType::new(it).ok());
        let mut left = MOST;
        for bare in bare_ids(query) {
            let types: Vec<ResourceType> =
                if bare.types.is_empty() { all().collect() } else { bare.types.to_vec() };
            if types.len() < 2 {
                continue;
            }
            let Some(rest) = left.checked_sub(types.len()) else { return Ok(()) };
            left = rest;
            let names = self.with_id(bare.id, types).await?;
            if names.len() > 1 {
                return Err(SearchError::AmbiguousId {
                    parameter: bare.parameter.code().into(),
                    id: bare.id.clone(),
                    names: names.join(", ").into(),
                });
            }
        }
        Ok(())
    }

    /// Resources of these types with an id: no more than two.
    async fn with_id(
        &self,
        id: &ResourceId,
        types: Vec<ResourceType>,
    ) -> Result<Vec<String>, SearchError> {
        let mut names = Vec::new();
        for of in types {
            let newest = self.newest(&of, id).await?;
            if newest.is_some_and(|entry| !entry.flags.is_deleted()) {
                names.push(format!("{of}/{id}"));
                if names.len() > 1 {
                    break;
                }
            }
        }
        Ok(names)
    }
}
