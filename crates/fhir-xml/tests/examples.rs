//! HL7's own examples and the XML of the shared data.

#![allow(clippy::unwrap_used, reason = "a test may fail at once")]

mod round_trip;
mod support;

use std::path::{Path, PathBuf};

use fhir_schema::Schema;
use fhir_xml::{Limits, Style, XmlIssue, XmlProblem, to_json};

/// The folder that an environment variable names; nothing, with a printed reason, without it.
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
#[expect(clippy::disallowed_methods, reason = "where the test learns where its data is")]
fn folder(variable: &str) -> Option<PathBuf> {
    let folder = std::env::var_os(variable).map(PathBuf::from);
    if folder.is_none() {
        eprintln!("skipped: {variable} is not set");
    }
    folder
}

#[test]
fn every_example_of_r4_comes_back_to_the_digit() {
    // XML-038
    let Some(folder) = folder("HEARTHGATE_FHIR_PACKAGES") else { return };
    let file = std::fs::File::open(folder.join("hl7.fhir.r4.examples-4.0.1.tgz")).unwrap();
    let trips = round_trip::of_package(file).unwrap();
    assert!(trips.total > 5000, "{} examples", trips.total);
    assert!(trips.bytes.0 > 0 && trips.bytes.1 > 0);
    assert_eq!(trips.failures, []);
}

fn xml_files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            xml_files(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "xml") {
            into.push(path);
        }
    }
}

#[test]
fn xml_of_the_fhirpath_suite_is_read_and_comes_back() {
    let Some(folder) = folder("HEARTHGATE_TEST_DATA") else { return };
    let mut files = Vec::new();
    xml_files(&folder.join("fhirpath/input"), &mut files);
    assert!(files.len() >= 5, "{files:?}");
    for path in files {
        let xml = std::fs::read(&path).unwrap();
        let json = match to_json(&xml, Schema::r4(), &Limits::default()) {
            Ok(converted) => converted.json,
            // One of them has an extension after its status, which the suite takes.
            Err(refused) => {
                let is_order =
                    |issue: &XmlIssue| matches!(issue.problem, XmlProblem::WrongOrder { .. });
                assert!(refused.issues.iter().all(is_order), "{path:?}: {refused}");
                refused.readable.unwrap().json
            }
        };
        round_trip::there_and_back(&json, Style::Compact)
            .unwrap_or_else(|error| panic!("{path:?}: {error}"));
    }
}
