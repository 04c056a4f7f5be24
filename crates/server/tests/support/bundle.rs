//! Bundles to be carried out, entry by entry.

use serde_json::{Value, json};

/// An entry that writes `resource`, or nothing when that is null.
pub(crate) fn entry(method: &str, url: &str, resource: Value) -> Value {
    let mut entry = json!({ "request": { "method": method, "url": url } });
    if !resource.is_null() {
        entry["resource"] = resource;
    }
    entry
}

/// An entry that creates `resource`, to be referred to by `full_url`.
pub(crate) fn creation(full_url: &str, resource: Value) -> Value {
    let url = resource["resourceType"].as_str().expect("a type").to_owned();
    let mut entry = entry("POST", &url, resource);
    entry["fullUrl"] = full_url.into();
    entry
}

/// The same entry under a condition: `ifMatch`, `ifNoneExist` and so on.
pub(crate) fn when(mut entry: Value, name: &str, value: &str) -> Value {
    entry["request"][name] = value.into();
    entry
}

pub(crate) fn batch(entries: impl IntoIterator<Item = Value>) -> Value {
    bundle("batch", entries)
}

pub(crate) fn transaction(entries: impl IntoIterator<Item = Value>) -> Value {
    bundle("transaction", entries)
}

fn bundle(of: &str, entries: impl IntoIterator<Item = Value>) -> Value {
    let entries: Vec<Value> = entries.into_iter().collect();
    json!({ "resourceType": "Bundle", "type": of, "entry": entries })
}

/// A patient with an id.
pub(crate) fn patient(id: &str) -> Value {
    json!({ "resourceType": "Patient", "id": id })
}

/// A patient with an identifier of the system `urn:mrn`.
pub(crate) fn identified(value: &str) -> Value {
    json!({ "resourceType": "Patient", "identifier": [{ "system": "urn:mrn", "value": value }] })
}

/// An observation about `subject`.
pub(crate) fn observation(subject: &str) -> Value {
    json!({ "resourceType": "Observation", "status": "final", "subject": { "reference": subject } })
}
