//! HL7's own examples and the XML of the shared data.

mod support;

use std::io::Read;
use std::path::{Path, PathBuf};

use fhir_core::json::Document;
use fhir_schema::Schema;
use fhir_xml::{Limits, Style, XmlIssue, XmlProblem, to_json, to_xml};

/// The folder that an environment variable names; nothing, with a printed reason, without it.
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn folder(variable: &str) -> Option<PathBuf> {
    let folder = std::env::var_os(variable).map(PathBuf::from);
    if folder.is_none() {
        eprintln!("skipped: {variable} is not set");
    }
    folder
}

/// JSON to XML to JSON, and what that changed.
fn there_and_back(json: &[u8], style: Style) -> Result<(), String> {
    let document = Document::parse(json).map_err(|error| error.to_string())?;
    let xml =
        to_xml(document.root(), Schema::r4(), style).map_err(|issues| support::lines(&issues))?;
    let back = to_json(&xml, Schema::r4(), &Limits::default())
        .map_err(|refused| support::lines(&refused.issues))?;
    let back = Document::parse(&back.json).map_err(|error| error.to_string())?;
    support::difference(document.root(), back.root(), "").map_or(Ok(()), Err)
}

#[test]
fn every_example_of_r4_comes_back_to_the_digit() {
    // XML-038
    let Some(folder) = folder("HEARTHGATE_FHIR_PACKAGES") else { return };
    let file = std::fs::File::open(folder.join("hl7.fhir.r4.examples-4.0.1.tgz")).unwrap();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(file));
    let mut count = 0;
    let mut failures = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_string_lossy().into_owned();
        let is_resource = name.ends_with(".json")
            && !matches!(&*name, "package/package.json" | "package/.index.json");
        if !is_resource {
            continue;
        }
        let mut json = Vec::new();
        entry.read_to_end(&mut json).unwrap();
        count += 1;
        for style in [Style::Compact, Style::Pretty] {
            if let Err(error) = there_and_back(&json, style) {
                failures.push(format!("{name} ({style:?}): {error}"));
                break;
            }
        }
    }
    assert!(count > 5000, "{count} examples");
    assert!(failures.is_empty(), "{} of {count}:\n{}", failures.len(), failures.join("\n"));
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
        there_and_back(&json, Style::Compact).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    }
}
