//! The built-in definitions against real resources and packages, where the folder that
//! `HEARTHGATE_TEST_DATA` names has them.

#![expect(clippy::unwrap_used, reason = "a test may fail at once")]
#![expect(clippy::print_stdout, reason = "a skipped test says why")]

mod support;

use std::fs::{self, File};

use fhir_schema::{Kind, Node, Schema};
use serde_json::Value;
use support::{TEST_DATA, folder};

/// Walks a resource and counts its keys; panics at one that is no element.
fn walk_resource(resource: &Value) -> usize {
    let schema = Schema::r4();
    let resource_type = resource["resourceType"].as_str().unwrap();
    let node = schema.resource(resource_type).unwrap();
    let mut members = resource.as_object().unwrap().clone();
    members.remove("resourceType");
    1 + walk(node, &Value::Object(members))
}

fn walk(node: Node, value: &Value) -> usize {
    let schema = Schema::r4();
    let object = value
        .as_object()
        .unwrap_or_else(|| panic!("{} is not an object: {value}", schema.node_path(node)));
    let mut keys = 0;
    for (name, value) in object {
        let place = || format!("{}.{name}", schema.node_path(node));
        let element =
            schema.element(node, name).unwrap_or_else(|| panic!("{} is no element", place()));
        assert_eq!(value.is_array(), element.is_array, "{}", place());
        let values = value.as_array().map_or(std::slice::from_ref(value), |it| it);
        keys += 1;
        for value in values {
            keys += match element.kind {
                // An array of primitives' extensions has null where a value has none.
                Kind::Complex(_) if value.is_null() && name.starts_with('_') => 0,
                Kind::Complex(node) | Kind::Reference(node) | Kind::Identifier(node) => {
                    walk(node, value)
                }
                Kind::Resource => walk_resource(value),
                _ => {
                    assert!(!value.is_object(), "{}", place());
                    0
                }
            };
        }
    }
    keys
}

#[test]
fn every_key_of_every_synthea_resource_is_an_element() {
    let Some(folder) = folder(TEST_DATA) else { return };
    let mut resources = 0;
    let mut keys = 0;
    for file in ["bundles.ndjson.zst", "bundles-uscore.ndjson.zst"] {
        let file = File::open(folder.join("synthea").join(file)).unwrap();
        let bundles = zstd::decode_all(file).unwrap();
        for bundle in bundles.split(|byte| *byte == b'\n').filter(|it| !it.is_empty()) {
            let bundle: Value = serde_json::from_slice(bundle).unwrap();
            resources += bundle["entry"].as_array().unwrap().len();
            keys += walk_resource(&bundle);
        }
    }
    assert_eq!(resources, 16_790 + 7_537);
    assert!(keys > 500_000, "{keys} keys");
}

#[test]
fn published_packages_are_within_the_limits() {
    let Some(folder) = folder(TEST_DATA) else { return };
    let mut packages = 0;
    for entry in fs::read_dir(folder.join("packages")).unwrap() {
        let package = support::read(&entry.unwrap().path());
        assert!(!package.structure_definitions.is_empty());
        packages += 1;
    }
    assert!(packages > 0);
}
