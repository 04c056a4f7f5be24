//! Search parameters that packages bring, of US Core where the folder of test data is there.

#![expect(clippy::unwrap_used, reason = "a test that fails here says where")]
#![expect(clippy::print_stdout, reason = "a skipped test says why")]

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use fhir_core::json::Document;
use fhir_schema::package::{Package, PackageLimits};
use fhir_schema::{DefinitionSet, Schema};
use fhir_search::{ExtractOptions, Extractor, IndexValue, Parameters};
use fhir_terminology::Terminology;

/// R4 with these versions of US Core, or a line that says why the test is skipped.
fn us_core(versions: &[&str]) -> Option<Extractor<'static>> {
    #[expect(clippy::disallowed_methods, reason = "where tests learn where their data is")]
    let folder = std::env::var_os("HEARTHGATE_TEST_DATA").filter(|it| !it.is_empty());
    let Some(folder) = folder.map(PathBuf::from) else {
        println!("skipped: HEARTHGATE_TEST_DATA names no folder");
        return None;
    };
    let packages = versions.iter().map(|version| {
        let file = folder.join(format!("packages/hl7.fhir.us.core-{version}.tgz"));
        Package::read(File::open(file).unwrap(), PackageLimits::default()).unwrap()
    });
    let definitions = DefinitionSet::r4().with_packages(packages.collect()).unwrap();
    let schema = Schema::r4();
    let parameters = Arc::new(Parameters::new(&definitions, schema));
    Some(Extractor::new(schema, parameters, definitions, Terminology::r4()))
}

#[test]
fn a_packages_definition_of_a_code_counts_before_cores_and_a_later_ones_before_an_earlier() {
    // SRCH-238
    let Some(extractor) = us_core(&["6.1.0", "3.1.1"]) else { return };
    let definition = |of, code| &extractor.parameters().get(of, code).unwrap().definition;
    let status = definition("Observation", "status");
    assert_eq!(
        (&*status.url, status.version.as_deref()),
        ("http://hl7.org/fhir/us/core/SearchParameter/us-core-observation-status", Some("6.1.0"))
    );
    assert_eq!(status.multiple_or, Some(true));
    assert_eq!(status.status.as_deref(), Some("active"));
    let core = "http://hl7.org/fhir/SearchParameter/Observation-method";
    assert_eq!(&*definition("Observation", "method").url, core);
}

#[test]
fn everything_that_us_core_searches_by_has_values() {
    // SRCH-248
    for version in ["3.1.1", "6.1.0", "7.0.0"] {
        let Some(extractor) = us_core(&[version]) else { return };
        for unsupported in extractor.unsupported() {
            let parameter = extractor.parameters().by_id(unsupported.parameter).unwrap();
            let url = &parameter.definition.url;
            assert!(!url.contains("/us/core/"), "{url}: {}", unsupported.reason);
        }
    }
    let Some(extractor) = us_core(&["6.1.0"]) else { return };
    let document = Document::parse(
        br#"{"resourceType":"Patient","extension":[
        {"url":"http://hl7.org/fhir/us/core/StructureDefinition/us-core-race","extension":[
        {"url":"ombCategory","valueCoding":{"system":"urn:oid:2.16.840.1.113883.6.238","code":"2106-3"}},
        {"url":"text","valueString":"White"}]}]}"#,
    )
    .unwrap();
    let extracted = extractor.extract(document.root(), &ExtractOptions::default());
    let race = extractor.parameters().get("Patient", "race").unwrap().id;
    let codes: Vec<_> = extracted
        .of(race)
        .map(|value| match value {
            IndexValue::Token(token) => token.code.as_deref().unwrap(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(codes, ["2106-3"]);
}
