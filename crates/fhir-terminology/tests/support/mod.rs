//! Definitions, and operations over them.

#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(clippy::unwrap_used, reason = "a test may fail at once")]

use std::sync::Arc;

use fhir_core::json::Document;
use fhir_terminology::operations::{Input, Surroundings, operation, perform};
use fhir_terminology::{Entry, Layer, Terminology, TerminologyError};

/// R4 with these resources on top.
pub(crate) fn with(resources: &[&str]) -> Terminology {
    let mut layer = Layer::new();
    for json in resources {
        let document = Document::parse(json.as_bytes()).unwrap();
        layer.add(Arc::new(Entry::new(document.root()).unwrap()));
    }
    Terminology::r4().with(layer)
}

/// Asks by a Parameters resource with these parameters, on an instance if one is given. The
/// operation is named as `ValueSet/$expand`.
pub(crate) fn ask(
    terminology: &Terminology,
    operation_name: &str,
    parameters: &[impl AsRef<str>],
    instance: Option<&str>,
) -> Result<String, TerminologyError> {
    let (of, name) = operation_name.split_once('/').unwrap();
    let parameters: Vec<&str> = parameters.iter().map(AsRef::as_ref).collect();
    let json = format!(r#"{{"resourceType":"Parameters","parameter":[{}]}}"#, parameters.join(","));
    let document = Document::parse(json.as_bytes()).unwrap();
    let mut input = Input::from_parameters(document.root())?;
    let instance = instance.map(|json| Document::parse(json.as_bytes()).unwrap());
    if let Some(instance) = &instance {
        input = input.on(instance.root());
    }
    let surroundings = Surroundings {
        timestamp: "2026-01-02T03:04:05Z",
        identifier: "urn:uuid:1",
        structures: fhir_schema::DefinitionSet::r4(),
    };
    let answer = perform(operation(of, name).unwrap(), terminology, &input, surroundings)?;
    // What is answered is JSON.
    Document::parse(&answer).unwrap();
    Ok(String::from_utf8(answer).unwrap())
}

/// A parameter with a text of this type.
pub(crate) fn text(name: &str, of: &str, value: &str) -> String {
    format!(r#"{{"name":"{name}","{of}":"{value}"}}"#)
}

/// A parameter that is a resource.
pub(crate) fn resource(name: &str, json: &str) -> String {
    format!(r#"{{"name":"{name}","resource":{json}}}"#)
}

/// What an answer has as result.
pub(crate) fn result(answer: &str) -> bool {
    let is =
        |value: &str| answer.contains(&format!(r#"{{"name":"result","valueBoolean":{value}}}"#));
    assert_ne!(is("true"), is("false"), "{answer}");
    is("true")
}

/// A code system `http://x/s` with these members and concepts.
pub(crate) fn system(members: &str, concepts: &str) -> String {
    format!(
        r#"{{"resourceType":"CodeSystem","url":"http://x/s","valueSet":"http://x/vs/all","status":"active",{members},"concept":[{concepts}]}}"#
    )
}

/// A value set `http://x/vs` with this compose.
pub(crate) fn value_set(compose: &str) -> String {
    format!(
        r#"{{"resourceType":"ValueSet","url":"http://x/vs","status":"active","compose":{compose}}}"#
    )
}
