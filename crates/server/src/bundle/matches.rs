//! The one match of each conditional reference of a transaction: among what was there before, less
//! what the transaction deletes, and what it writes (FHIR R4, 3.1.0.11.2.2; HTTP-184).

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use database::Body;
use fhir_core::json::Replacements;
use fhir_core::{ResourceId, ResourceType};

use super::plan::Planner;
use super::references::{Becomes, Rewritten};
use crate::call::Call;
use crate::criteria::Criteria;
use crate::error::ServerError;

/// What a transaction writes as JSON, by the index of the write, as far as that was asked: with
/// references between its entries resolved, and conditional ones as they were sent.
type Written = HashMap<usize, Bytes>;

impl<'a> Planner<'a> {
    /// The one match of each conditional reference, by its text.
    pub(super) async fn matches(
        &mut self,
        rewrites: &[Vec<Rewritten<'a>>],
    ) -> Result<HashMap<String, ResourceId>, ServerError> {
        let mut matches = HashMap::new();
        let mut written = Written::new();
        for (index, list) in rewrites.iter().enumerate() {
            for rewritten in list {
                let Becomes::Match { resource_type, criteria, text } = &rewritten.becomes else {
                    continue;
                };
                if matches.contains_key(text) {
                    continue;
                }
                let entry = self.writes[index].entry;
                let call = self.targets[entry].call(self.context, None);
                let one = async {
                    let criteria = Criteria::read(&call, resource_type, criteria).await?;
                    self.one_match((&call, &criteria), text, rewrites, &mut written).await
                };
                let one = one.await.map_err(|error| error.at(&rewritten.expression));
                matches.insert(text.clone(), one.map_err(|error| error.in_entry(entry))?);
            }
        }
        Ok(matches)
    }

    async fn one_match(
        &mut self,
        (call, criteria): (&Call<'_>, &Criteria),
        text: &str,
        rewrites: &[Vec<Rewritten<'a>>],
        written: &mut Written,
    ) -> Result<ResourceId, ServerError> {
        let of = &criteria.resource_type;
        if let Some(reached) = self.writes.iter().map(|write| &write.identity.0).find(|of| {
            // Codes mean what they meant before.
            !matches!(of.as_str(), "CodeSystem" | "ValueSet") && criteria.reach(of)
        }) {
            return Err(depends_on_written(text, reached));
        }
        let found = self.find(call, criteria).await?.iter();
        let mut found: BTreeSet<ResourceId> = found.cloned().collect();
        found.retain(|id| !self.written.contains_key(&(of.clone(), id.clone())));
        let schema = self.context.database.schema();
        for (index, write) in self.writes.iter().enumerate() {
            let (true, Some(resource)) = (write.identity.0 == *of, write.resource) else {
                continue;
            };
            let id = &write.identity.1;
            let json = written.entry(index).or_insert_with(|| {
                let mut replacements = Replacements::default();
                for rewritten in &rewrites[index] {
                    if let Becomes::Text(text) = &rewritten.becomes {
                        replacements.push(rewritten.value, text.clone());
                    }
                }
                Body::of(resource, id, &replacements, schema).plain().clone()
            });
            match criteria.match_written(resource, json, schema) {
                Some(true) => drop(found.insert(id.clone())),
                Some(false) => {}
                None => return Err(depends_on_written(text, of)),
            }
        }
        let mut found = found.into_iter();
        let criteria = text.to_owned();
        match (found.next(), found.next()) {
            (Some(one), None) => Ok(one),
            (None, _) => Err(ServerError::NoMatch { criteria }),
            (Some(_), Some(_)) => Err(ServerError::MultipleMatches { criteria }),
        }
    }
}

/// What others refer to is not known before the transaction is written.
fn depends_on_written(text: &str, of: &ResourceType) -> ServerError {
    ServerError::CriteriaNotSupported {
        criteria: text.to_owned(),
        reason: format!(
            "what they match depends on other resources of type {of}, which this transaction \
             writes too; refer to Type/id or to an entry's fullUrl, or send the two apart"
        ),
    }
}
