//! Published profiles: the examples of their packages, and copies of them that are broken.

#![expect(clippy::unwrap_used, reason = "a test that fails here says where")]

mod support;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use fhir_core::json::Document;
use fhir_schema::package::{Package, PackageLimits};
use fhir_schema::{DefinitionSet, Schema};
use fhir_terminology::{Entry, Layer, Terminology};
use fhir_validation::{Options, Validator};

/// A validator with a package, and the examples in it.
fn load(file: &Path) -> (Validator<'static>, BTreeMap<String, Vec<u8>>) {
    let package = Package::read(File::open(file).unwrap(), PackageLimits::default()).unwrap();
    let mut layer = Layer::new();
    for resource in &package.resources {
        let document = Document::parse(&resource.json).unwrap();
        if let Ok(entry) = Entry::new(document.root()) {
            layer.add(Arc::new(entry));
        }
    }
    let definitions = DefinitionSet::r4().with_packages(vec![package]).unwrap();
    let terminology = Terminology::r4().with(layer);
    let validator = Validator::new(Schema::r4(), definitions, terminology);
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(File::open(file).unwrap()));
    let mut examples = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_string_lossy().into_owned();
        if name.starts_with("package/example/") && name.ends_with(".json") && !name.contains("/.") {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            examples.insert(name, bytes);
        }
    }
    (validator, examples)
}

#[test]
fn the_examples_of_us_core_conform_and_broken_copies_do_not() {
    // VAL-051, VAL-076, VAL-083, VAL-149
    let Some(folder) = support::folder("HEARTHGATE_TEST_DATA") else { return };
    let (validator, examples) = load(&folder.join("packages/hl7.fhir.us.core-6.1.0.tgz"));
    let errors =
        |json: &[u8]| support::errors_of(&validator.validate_json(json, &Options::default()));
    for (name, json) in &examples {
        let issues = validator.validate_json(json, &Options::default());
        for issue in issues.iter().filter(|it| it.is_error()) {
            // Two Bundles among them have entries whose fullUrl names another id.
            assert!(issue.rule == "full-url" && name.contains("Bundle-"), "{name}: {issue}");
        }
    }
    assert!(examples.len() > 50, "{}", examples.len());

    let patient = r#"{"resourceType":"Patient","meta":{"profile":["http://hl7.org/fhir/us/core/StructureDefinition/us-core-patient"]},"extension":[{"url":"http://hl7.org/fhir/us/core/StructureDefinition/us-core-race","extension":[{"url":"ombCategory","valueCoding":{"system":"urn:oid:2.16.840.1.113883.6.238","code":"2106-3"}},{"url":"text","valueString":"White"}]}],"identifier":[{"system":"http://a/b","value":"1"}],"name":[{"family":"x"}],"gender":"male"}"#;
    assert_eq!(errors(patient.as_bytes()), [""; 0]);
    for (from, to, expected) in [
        (r#""gender":"male""#, r#""active":true"#, "cardinality Patient"),
        (r#""system":"http://a/b","#, "", "cardinality Patient.identifier[0]"),
        (r#"{"family":"x"}"#, r#"{"text":"x"}"#, "us-core-6 Patient.name[0]"),
        (r#",{"url":"text","valueString":"White"}"#, "", "cardinality Patient.extension[0]"),
        (
            r#""valueString":"White""#,
            r#""valueInteger":1"#,
            "type Patient.extension[0].extension[1].value",
        ),
    ] {
        let broken = patient.replacen(from, to, 1);
        assert!(
            errors(broken.as_bytes()).contains(&expected.to_owned()),
            "{to}: {:?}",
            errors(broken.as_bytes())
        );
    }
}

#[test]
fn the_definitions_of_us_core_are_valid_themselves() {
    // VAL-103, VAL-210, VAL-211
    let Some(folder) = support::folder("HEARTHGATE_TEST_DATA") else { return };
    let file = folder.join("packages/hl7.fhir.us.core-6.1.0.tgz");
    let (validator, _) = load(&file);
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(File::open(&file).unwrap()));
    let mut count = 0;
    let mut errors = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_string_lossy().into_owned();
        if !name.starts_with("package/StructureDefinition-") {
            continue;
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        count += 1;
        let issues = validator.validate_json(&bytes, &Options::default());
        errors.extend(issues.iter().filter(|it| it.is_error()).map(|it| format!("{name}: {it}")));
    }
    assert!(count > 50, "{count} definitions");
    assert!(errors.is_empty(), "{}", errors.join("\n"));
}
