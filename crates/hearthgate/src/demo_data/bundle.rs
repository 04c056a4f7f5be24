//! A transaction Bundle and its entries (FHIR R4, 2.36 and 3.1.0.11).

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::random::Random;

/// A transaction in the making.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Bundle {
    resource_type: &'static str,
    r#type: &'static str,
    entry: Vec<Entry>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    full_url: String,
    resource: Resource,
    request: Request,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Resource {
    resource_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    meta: Value,
    #[serde(flatten)]
    members: Map<String, Value>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    method: &'static str,
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    if_none_exist: Option<String>,
}

impl Bundle {
    pub(crate) fn new() -> Self {
        Self { resource_type: "Bundle", r#type: "transaction", entry: Vec::new() }
    }

    /// Adds a resource under an id of its own; a reference to it.
    pub(crate) fn put(
        &mut self,
        random: &mut Random,
        resource_type: &'static str,
        id: &str,
        members: Value,
    ) -> Value {
        let request =
            Request { method: "PUT", url: format!("{resource_type}/{id}"), if_none_exist: None };
        self.add(random, resource_type, Some(id.to_owned()), members, request)
    }

    /// Adds a resource that is made only where no other has its identifier; a reference to it.
    pub(crate) fn once(
        &mut self,
        random: &mut Random,
        resource_type: &'static str,
        (system, value): (&str, &str),
        mut members: Value,
    ) -> Value {
        members["identifier"] = json!([{ "system": system, "value": value }]);
        let request = Request {
            method: "POST",
            url: resource_type.to_owned(),
            if_none_exist: Some(format!("identifier={system}|{value}")),
        };
        self.add(random, resource_type, None, members, request)
    }

    fn add(
        &mut self,
        random: &mut Random,
        resource_type: &'static str,
        id: Option<String>,
        members: Value,
        request: Request,
    ) -> Value {
        let Value::Object(members) = members else {
            unreachable!("the members of a resource are written as an object");
        };
        let full_url = random.urn();
        let reference = json!({ "reference": full_url });
        self.entry.push(Entry {
            full_url,
            resource: Resource { resource_type, id, meta: test_data(), members },
            request,
        });
        reference
    }
}

/// `meta` that says what this is.
fn test_data() -> Value {
    json!({ "security": [{
        "system": "http://terminology.hl7.org/CodeSystem/v3-ActReason",
        "code": "HTEST",
        "display": "test health data"
    }] })
}

/// A CodeableConcept of one coding.
pub(crate) fn concept(system: &str, code: &str, display: &str) -> Value {
    json!({
        "coding": [{ "system": system, "code": code, "display": display }],
        "text": display
    })
}

/// A CodeableConcept of one of HL7's own code systems.
pub(crate) fn hl7(system: &str, code: &str) -> Value {
    let system = format!("http://terminology.hl7.org/CodeSystem/{system}");
    json!({ "coding": [{ "system": system, "code": code }] })
}
