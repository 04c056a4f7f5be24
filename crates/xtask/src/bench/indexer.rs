//! The search index without a database: what is prepared of resources, and queries as it is asked
//! them.

use std::sync::Arc;

use fhir_core::json::Document;
use fhir_core::{Instant, ResourceId, ResourceType, VersionId};
use fhir_schema::{DefinitionSet, Schema};
use fhir_search::{
    Asked, ExtractOptions, Extractor, Handling, Limits, Parameters, Query, Reader, Zone,
    decode_form,
};
use fhir_terminology::Terminology;
use search_index::{Change, Index, Subject};

use super::Failure;

/// The server's own base URL.
pub(crate) const OWN: &str = "http://127.0.0.1:8080/fhir";

/// Takes from resources what is indexed of them, by the parameters of R4.
pub(crate) struct Indexer {
    pub(crate) extractor: Arc<Extractor<'static>>,
}

impl Indexer {
    pub(crate) fn new() -> Self {
        let (schema, set) = (Schema::r4(), DefinitionSet::r4());
        let parameters = Arc::new(Parameters::new(set, schema));
        let extractor = Extractor::new(schema, parameters, set.clone(), Terminology::r4());
        Self { extractor: Arc::new(extractor) }
    }

    /// The first version of a resource, in the compartment of a patient if one is named.
    pub(crate) fn change(
        &self,
        index: &Index,
        json: &str,
        patient: Option<&str>,
    ) -> Result<Change, Failure> {
        let document = Document::parse(json.as_bytes())?;
        let root = document.root();
        let of = root.get_str("resourceType").ok_or("a resource without a type")?;
        let id = root.get_str("id").ok_or("a resource without an id")?;
        let (of, id) = (ResourceType::new(&of)?, ResourceId::new(&id)?);
        let patient = match patient {
            Some(patient) => vec![(ResourceType::new("Patient")?, ResourceId::new(patient)?)],
            None => Vec::new(),
        };
        let subject = Subject { resource_type: &of, id: &id, compartments: &patient };
        let options = ExtractOptions { base: Some(OWN), ..ExtractOptions::default() };
        let prepared = index.prepare(root, subject, &self.extractor, &options);
        Ok(Change::Put { prepared, version: VersionId::FIRST })
    }

    /// A query as a URL has it, below the base.
    pub(crate) fn query(&self, url: &str) -> Result<Query, Failure> {
        let (of, query) = url.split_once('?').ok_or("a URL without a query")?;
        let reader = Reader {
            parameters: self.extractor.parameters(),
            definitions: DefinitionSet::r4(),
            schema: Schema::r4(),
            base: OWN,
            zone: Zone::UTC,
            now: Instant::from_micros(0),
            handling: Handling::Strict,
            limits: &Limits::default(),
        };
        let parameters = decode_form(query.as_bytes()).map_err(|_| "a query that is no form")?;
        let resource_type = Some(ResourceType::new(of)?);
        let asked = Asked { resource_type, compartment: None, parameters: &parameters };
        reader.read(&asked).map_err(|error| format!("{url}: {error}").into())
    }
}
