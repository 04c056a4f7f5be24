//! Chains along references that name an older version (FHIR R4, 3.1.1.4.17): they lead to the
//! present one, which whoever asks is told.

use std::sync::Arc;

use fhir_core::{ResourceId, ResourceType};
use fhir_search::{Clause, Parameter, Query, ReferenceTarget};

use super::scan::Scan;
use super::{Asked, Found, SearchError};
use crate::Snapshot;

/// What every reference to a version has in it.
const VERSION: &[u8] = b"/_history/";

impl Snapshot {
    /// Whether a match on the page refers to an older version by what the query chains along.
    pub(super) async fn follows_older(
        &self,
        query: &Query,
        asked: &Asked<'_>,
        found: &Found,
    ) -> Result<bool, SearchError> {
        let mut links = Vec::new();
        for of in &query.types {
            of.clauses.iter().for_each(|clause| add_links(clause, &mut links));
        }
        if links.is_empty() || !found.contained.is_empty() {
            return Ok(false);
        }
        let mut scan = Scan::new(self, query, asked);
        for entry in &found.matches {
            let json = match self.load(entry.clone()).await {
                Err(crate::ReadError::Purged) => None,
                version => version?.json,
            };
            let names_versions = |json: &[u8]| json.windows(VERSION.len()).any(|it| it == VERSION);
            if !json.is_some_and(|json| names_versions(&json)) {
                continue;
            }
            let Some(resource) = scan.load(entry).await? else { continue };
            let references = links.iter().flat_map(|link| resource.references(link.id));
            for reference in references {
                let ReferenceTarget::Local { resource_type, id, version: Some(version) } =
                    &reference.target
                else {
                    continue;
                };
                let names = (ResourceType::new(resource_type), ResourceId::new(id));
                let (Ok(of), Ok(id)) = names else { continue };
                let newest = self.newest(&of, &id).await?.filter(|it| !it.flags.is_deleted());
                if newest.is_some_and(|it| it.version.to_string() != **version) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

/// The references that a clause goes along first.
fn add_links<'q>(clause: &'q Clause, links: &mut Vec<&'q Arc<Parameter>>) {
    match clause {
        Clause::Chain(chain) => links.push(&chain.parameter),
        Clause::All(clauses) | Clause::Any(clauses) => {
            clauses.iter().for_each(|clause| add_links(clause, links));
        }
        Clause::Not(clause) => add_links(clause, links),
        _ => {}
    }
}
