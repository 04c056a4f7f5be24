//! Queries as requests have them, over a few resources: which ones are found.

mod linked;
mod ordered;
mod plain;
mod published;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use fhir_core::json::Document;
use fhir_core::{Instant, ResourceType};
use fhir_schema::{DefinitionSet, Schema};
use fhir_terminology::Terminology;

use super::{
    Codes, CodesError, IndexedResource, Parameters, SortPosition, Unanswered, World,
    asks_for_words, is_named, matches, matches_contained,
};
use crate::{
    Asked, Compartment, ExtractOptions, Extractor, Handling, Has, Limits, Query, Reader,
    ReferenceTarget, Zone, decode_form,
};

const BASE: &str = "https://own.example/fhir";

static EXTRACTOR: LazyLock<Extractor<'static>> = LazyLock::new(|| {
    let (definitions, schema) = (DefinitionSet::r4(), Schema::r4());
    let parameters = Arc::new(Parameters::new(definitions, schema));
    Extractor::new(schema, parameters, definitions.clone(), Terminology::r4())
});

/// Some resources, and three codes `a`, `b` and `c` of which each subsumes those after it; a value
/// set has the latter two.
struct Few(BTreeMap<(String, String), Arc<IndexedResource>>);

const LETTERS: &str = "urn:letters";
const VALUE_SET: &str = "http://a.example/vs";

impl Few {
    /// These resources, each of which is given as its type, a slash, its id and its other members.
    fn of(resources: &[(&str, &str)]) -> Self {
        let read = |(name, members): &(&str, &str)| {
            let (resource_type, id) = name.split_once('/').unwrap();
            let comma = if members.is_empty() { "" } else { "," };
            let json =
                format!(r#"{{"resourceType":"{resource_type}","id":"{id}"{comma}{members}}}"#);
            let document = Document::parse(json.as_bytes()).expect(&json);
            let options = ExtractOptions { base: Some(BASE), ..ExtractOptions::default() };
            let indexed = IndexedResource::of(document.root(), &EXTRACTOR, &options);
            let key = (resource_type.to_owned(), id.to_owned());
            (key, Arc::new(indexed.with_words(document.root())))
        };
        Self(resources.iter().map(read).collect())
    }

    /// The ids of those that are found, in the order of the answer: to the log they were written in
    /// the order of types and ids.
    fn ids(&self, request: &str) -> Result<Vec<String>, Unanswered> {
        let query = query(request);
        let mut found = Vec::new();
        for (at, of) in query.types.iter().enumerate() {
            for (written, resource) in (0..).zip(self.0.values()) {
                // Two of each commit.
                let place = (1 + u64::from(written) / 2, written % 2);
                if matches(&query, of, resource, self)? {
                    let position = SortPosition::new(&query, at, place, resource);
                    assert_eq!(SortPosition::from_bytes(&position.to_bytes()).unwrap(), position);
                    found.push((position, resource.id().to_owned()));
                }
            }
        }
        found.sort();
        Ok(found.into_iter().map(|(_, id)| id).collect())
    }

    /// Of those that they contain, which are found, as `id#id`.
    fn contained(&self, request: &str) -> String {
        let query = query(request);
        let mut found = Vec::new();
        for resource in self.0.values() {
            for (at, inner) in resource.contained().iter().enumerate() {
                if matches_contained(&query, &query.types[0], (resource, at), self).unwrap() {
                    found.push(format!("{}#{}", resource.id(), inner.id()));
                }
            }
        }
        found.join(" ")
    }

    /// Asserts which ids each request finds, in their order.
    fn check(&self, cases: &[(&str, &str)]) {
        for (request, expected) in cases {
            let found = self.ids(request).unwrap().join(" ");
            assert_eq!(found, *expected, "{request}");
        }
    }
}

/// A query as after the base of a URL: `Patient?name=a`, `Patient/1/Observation?code=b`.
fn query(request: &str) -> Query {
    let (path, form) = request.split_once('?').unwrap_or((request, ""));
    let parts: Vec<&str> = path.split('/').collect();
    let (compartment, resource_type) = match parts[..] {
        [of] => (None, of),
        [of, id, within] => {
            let (resource_type, id) = (of.parse().unwrap(), id.parse().unwrap());
            (Some(Compartment { resource_type, id }), within)
        }
        _ => panic!("{request}"),
    };
    let resource_type = Some(resource_type).filter(|it| !it.is_empty() && *it != "*");
    let parameters = decode_form(form.as_bytes()).unwrap();
    let reader = Reader {
        parameters: EXTRACTOR.parameters(),
        definitions: DefinitionSet::r4(),
        schema: Schema::r4(),
        base: BASE,
        zone: Zone::UTC,
        now: Instant::from_micros(1_800_000_000_000_000),
        handling: Handling::Lenient,
        limits: &Limits::default(),
    };
    let asked = Asked {
        resource_type: resource_type.map(|it| ResourceType::new(it).unwrap()),
        compartment,
        parameters: &parameters,
    };
    let query = reader.read(&asked).unwrap_or_else(|error| panic!("{request}: {error}"));
    assert_eq!(query.ignored, [], "{request}");
    let asks = query.types.iter().any(|of| asks_for_words(&of.clauses));
    assert_eq!(asks, form.contains("_text") || form.contains("_content"), "{request}");
    query
}

impl World for Few {
    fn parameters(&self) -> &Parameters {
        EXTRACTOR.parameters()
    }

    fn base(&self) -> Option<&str> {
        Some(BASE)
    }

    fn resource(
        &self,
        resource_type: &str,
        id: &str,
    ) -> Result<Option<Arc<IndexedResource>>, Unanswered> {
        Ok(self.0.get(&(resource_type.to_owned(), id.to_owned())).cloned())
    }

    fn named(
        &self,
        resource_type: &str,
        url: &str,
        version: Option<&str>,
    ) -> Result<Vec<Arc<IndexedResource>>, Unanswered> {
        let is_it = |it: &&Arc<IndexedResource>| {
            it.resource_type() == resource_type
                && is_named(it, EXTRACTOR.parameters(), url, version)
        };
        Ok(self.0.values().filter(is_it).cloned().collect())
    }

    fn is_referred_to(&self, has: &Has, target: &IndexedResource) -> Result<bool, Unanswered> {
        let (of, id) = (target.resource_type().parse().unwrap(), target.id().parse().unwrap());
        for resource in self.0.values() {
            let is_named = |reference: &crate::Reference<'_>| match &reference.target {
                ReferenceTarget::Canonical { url, version } => {
                    is_named(target, EXTRACTOR.parameters(), url, version.as_deref())
                }
                _ => false,
            };
            if resource.resource_type() == has.resource_type.as_str()
                && (super::refers_to(resource, &has.parameter, &of, &id)
                    || resource.references(has.parameter.id).any(is_named))
                && super::holds(&has.clause, resource, self)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn codes(&self) -> &dyn Codes {
        self
    }
}

impl Codes for Few {
    fn check_value_set(&self, value_set: &str) -> Result<(), CodesError> {
        match value_set {
            VALUE_SET => Ok(()),
            _ => Err(CodesError::UnknownValueSet(value_set.into())),
        }
    }

    fn check_hierarchy(&self, system: &str) -> Result<(), CodesError> {
        match system {
            LETTERS => Ok(()),
            _ => Err(CodesError::UnknownHierarchy(system.into())),
        }
    }

    fn is_member(
        &self,
        value_set: &str,
        system: Option<&str>,
        code: &str,
    ) -> Result<bool, CodesError> {
        self.check_value_set(value_set)?;
        Ok(system == Some(LETTERS) && matches!(code, "b" | "c"))
    }

    fn subsumes(&self, system: &str, above: &str, below: &str) -> Result<bool, CodesError> {
        self.check_hierarchy(system)?;
        Ok(above <= below)
    }

    fn is_case_sensitive(&self, system: &str) -> bool {
        system == "urn:case"
    }
}
