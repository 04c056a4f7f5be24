//! What a rule says of content, as conditions of a search: its filter, labels that must be absent,
//! and compartments that are not a patient's, by the parameters of their CompartmentDefinition
//! alone (FHIR R4, 5.4).

use std::sync::Arc;

use contract::{Clause, Instance, Within};
use database::{Filter, IndexedBy};
use fhir_core::ResourceType;
use fhir_search::{
    Answer, Asked, Clause as Condition, Handling, Limits, Query, Reader, Zone, decode_form,
};

use super::Seer;
use crate::error::ServerError;
use crate::interactions::search::SeenCodes;
use crate::validation::Definitions;

/// Whether resources must match something to be reached by `clause`. Of what does not ask for that,
/// every type has the same part.
pub(super) fn asks_for_content(clause: &Clause) -> bool {
    compartment_by_content(clause).is_some()
        || clause.filter.is_some()
        || !clause.without_labels.is_empty()
}

/// The compartment that a clause names, where it is told by what resources say.
fn compartment_by_content(clause: &Clause) -> Option<&Instance> {
    match &clause.within {
        Within::Compartment(about) if about.resource_type.as_str() != "Patient" => Some(about),
        _ => None,
    }
}

impl Seer<'_, '_> {
    /// What resources of a type must match to be reached by `clause`; outer `None` where none can.
    pub(super) async fn filter(
        &mut self,
        of: &ResourceType,
        clause: &Clause,
    ) -> Result<Option<Option<Arc<Filter>>>, ServerError> {
        if !asks_for_content(clause) {
            return Ok(Some(None));
        }
        let about = compartment_by_content(clause);
        // Without search parameters nothing can be told of content.
        let Some(definitions) = self.definitions.clone() else { return Ok(None) };
        let Some(mut query) = self.criteria(&definitions, of, clause) else { return Ok(None) };
        if let Some(about) = about {
            let Some(condition) = self.membership(&definitions, of, about) else {
                return Ok(None);
            };
            query.types.iter_mut().for_each(|of| of.clauses.push(condition.clone()));
        }
        let codes = match &self.codes {
            Some(codes) => Arc::clone(codes),
            None => {
                let codes = Arc::new(SeenCodes::of(self.call).await?);
                Arc::clone(self.codes.insert(codes))
            }
        };
        let by = IndexedBy {
            extractor: Arc::clone(&definitions.extractor),
            base: self.call.server.base.as_str().into(),
            zone: Zone::UTC,
        };
        Ok(Some(Some(Arc::new(Filter { query, by, codes }))))
    }

    /// The filter of a rule and its labels as a query; `None` where a type has not what it asks for.
    fn criteria(
        &self,
        definitions: &Definitions,
        of: &ResourceType,
        clause: &Clause,
    ) -> Option<Query> {
        let filter = clause.filter.as_deref().unwrap_or_default();
        let filter = filter.strip_prefix('?').unwrap_or(filter);
        let mut parameters = decode_form(filter.as_bytes()).ok()?;
        let asks_nothing = |(_, value): &(String, String)| value.is_empty();
        if (clause.filter.is_some() && parameters.is_empty()) || parameters.iter().any(asks_nothing)
        {
            return None;
        }
        let labels = clause.without_labels.iter();
        parameters.extend(labels.map(|label| ("_security:not".to_owned(), escaped(label))));
        self.read(definitions, of, &parameters)
    }

    /// What puts a resource of a type into a compartment; `None` where nothing does.
    fn membership(
        &self,
        definitions: &Definitions,
        of: &ResourceType,
        about: &Instance,
    ) -> Option<Condition> {
        let mut compartments = definitions.set.compartments();
        let compartment = compartments.find(|it| *it.code == *about.resource_type.as_str());
        let mut ways = Vec::new();
        let resources = compartment.iter().flat_map(|it| &it.resources);
        for code in resources.filter(|it| *it.code == *of.as_str()).flat_map(|it| &it.params) {
            // A tenant's own parameter puts nothing into a compartment.
            if !definitions.has_fhirs_own(of, code) {
                continue;
            }
            let parameters = [(code.to_string(), about.to_string())];
            let query = self.read(definitions, of, &parameters);
            ways.extend(query.map(|query| Condition::All(conditions(query))));
        }
        if *of == about.resource_type && compartment.is_some() {
            let parameters = [("_id".to_owned(), about.id.to_string())];
            let query = self.read(definitions, of, &parameters);
            ways.extend(query.map(|query| Condition::All(conditions(query))));
        }
        (!ways.is_empty()).then_some(Condition::Any(ways))
    }

    fn read(
        &self,
        definitions: &Definitions,
        of: &ResourceType,
        parameters: &[(String, String)],
    ) -> Option<Query> {
        let (call, limits) = (self.call, Limits::default());
        let reader = Reader {
            parameters: definitions.extractor.parameters(),
            definitions: &definitions.set,
            schema: call.database.schema(),
            base: call.server.base.as_str(),
            zone: Zone::UTC,
            now: call.server.clock.now(),
            handling: Handling::Strict,
            limits: &limits,
        };
        let asked = Asked { resource_type: Some(of.clone()), compartment: None, parameters };
        let query = reader.read(&asked).ok()?;
        // What was read and not used would have narrowed it.
        let is_used = query.applied.len() == parameters.len()
            && query.ignored.is_empty()
            && query.sort.is_empty()
            && query.includes.is_empty()
            && query.answer == Answer::default();
        is_used.then_some(query)
    }
}

fn conditions(query: Query) -> Vec<Condition> {
    query.types.into_iter().flat_map(|of| of.clauses).collect()
}

/// A label as the value of a token parameter (FHIR R4, 3.1.1.4.1).
fn escaped(label: &str) -> String {
    let mut escaped = String::with_capacity(label.len());
    for char in label.chars() {
        if matches!(char, '\\' | ',' | '$') {
            escaped.push('\\');
        }
        escaped.push(char);
    }
    escaped
}
