//! The values of R4's own examples: all are had without an error, and of some every value is
//! written down in tests/golden.txt.

#![expect(clippy::unwrap_used, reason = "a test that fails here says where")]
#![expect(
    clippy::print_stdout,
    reason = "a skipped test says why, and one that fails what changed"
)]

#[path = "support/examples.rs"]
mod package;
mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use fhir_search::{ExtractOptions, ProblemReason};
use package::each_example;
use support::{R4, show};

/// Of each kind of parameter and each odd expression one.
const CHOSEN: [&str; 16] = [
    "Bundle/bundle-references",
    "ChargeItem/example",
    "Condition/f201",
    "ConceptMap/example2",
    "DocumentReference/example",
    "Encounter/f001",
    "Group/herd1",
    "Invoice/example",
    "Location/1",
    "MedicationRequest/medrx0308",
    "MolecularSequence/example",
    "Observation/blood-pressure",
    "Patient/example",
    "QuestionnaireResponse/f201",
    "RiskAssessment/genetic",
    "ServiceRequest/benchpress",
];

#[test]
fn every_example_has_its_values_and_those_chosen_have_the_golden_ones() {
    // SRCH-235, SRCH-236
    let options =
        ExtractOptions { base: Some("http://example.org/fhir"), ..ExtractOptions::default() };
    let mut problems: BTreeMap<String, Vec<ProblemReason>> = BTreeMap::new();
    let mut golden = BTreeMap::new();
    let (mut resources, mut count) = (0, 0);
    let is_there = each_example(|document| {
        let part = |name| document.root().get_str(name).unwrap_or_default();
        let name = format!("{}/{}", part("resourceType"), part("id"));
        let extracted = R4.extract(document.root(), &options);
        resources += 1;
        count += extracted.iter().count();
        for problem in extracted.problems() {
            problems.entry(name.clone()).or_default().push(problem.reason.clone());
        }
        if CHOSEN.contains(&&*name) {
            let mut text = String::new();
            for (parameter, value) in extracted.iter() {
                let code = R4.parameters().by_id(parameter).unwrap().code();
                writeln!(text, "  {code}: {}", show(value)).unwrap();
            }
            golden.insert(name, text);
        }
    });
    if !is_there {
        return;
    }
    assert!(resources > 5_000 && count > 100_000, "{resources} {count}");
    // The one that shows numbers too large for most.
    assert_eq!(problems.keys().collect::<Vec<_>>(), ["Observation/decimal"], "{problems:?}");
    let mut actual = String::new();
    for name in CHOSEN {
        let text = golden.get(name).unwrap_or_else(|| panic!("no example {name}"));
        writeln!(actual, "{name}\n{text}").unwrap();
    }
    compare(&actual);
}

/// When values change on purpose, the new file is read and copied over the old one, by hand.
fn compare(actual: &str) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden.txt");
    let expected = std::fs::read_to_string(&golden).unwrap_or_default();
    if actual == expected {
        return;
    }
    let fresh = Path::new(env!("CARGO_TARGET_TMPDIR")).join("golden.txt");
    std::fs::write(&fresh, actual).unwrap();
    for line in actual.lines().filter(|line| !expected.lines().any(|it| it == *line)) {
        println!("+{line}");
    }
    for line in expected.lines().filter(|line| !actual.lines().any(|it| it == *line)) {
        println!("-{line}");
    }
    panic!("values changed; the new ones are in {}", fresh.display());
}
