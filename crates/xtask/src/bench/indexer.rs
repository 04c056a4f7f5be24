//! The search index without a database: what is prepared of resources.

use std::sync::Arc;

use fhir_core::json::Document;
use fhir_core::{ResourceId, ResourceType, VersionId};
use fhir_schema::{DefinitionSet, Schema};
use fhir_search::{ExtractOptions, Extractor, Parameters};
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

    /// The first version of a resource, in no compartment.
    pub(crate) fn change(&self, index: &Index, json: &str) -> Result<Change, Failure> {
        let document = Document::parse(json.as_bytes())?;
        let root = document.root();
        let of = root.get_str("resourceType").ok_or("a resource without a type")?;
        let id = root.get_str("id").ok_or("a resource without an id")?;
        let (of, id) = (ResourceType::new(&of)?, ResourceId::new(&id)?);
        let subject = Subject { resource_type: &of, id: &id, compartments: &[] };
        let options = ExtractOptions { base: Some(OWN), ..ExtractOptions::default() };
        let prepared = index.prepare(root, subject, &self.extractor, &options);
        Ok(Change::Put { prepared, version: VersionId::FIRST })
    }
}
