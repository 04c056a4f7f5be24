//! HL7's own examples for R4: what is an error in them is listed with its reason.

mod support;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;

use fhir_validation::Options;
use support::r4;

/// What is an error in the examples, each with its reason: `rule path: reason`.
const KNOWN: &str = include_str!("known_errors_in_examples.txt");

#[test]
fn the_only_errors_in_the_examples_are_those_listed_with_a_reason() {
    // VAL-212
    let Some(folder) = support::folder("HEARTHGATE_FHIR_PACKAGES") else { return };
    let file = File::open(folder.join("hl7.fhir.r4.examples-4.0.1.tgz")).unwrap();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(file));
    let mut rules: BTreeMap<String, (usize, String)> = BTreeMap::new();
    let (mut total, mut valid) = (0, 0);
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_string_lossy().into_owned();
        if !name.ends_with(".json") || name.matches('/').count() != 1 || name.contains("/.") {
            continue;
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        if !bytes.windows(14).take(200).any(|it| it == b"\"resourceType\"") {
            continue;
        }
        total += 1;
        let issues = r4().validate_json(&bytes, &Options::default());
        if !issues.iter().any(fhir_validation::Issue::is_error) {
            valid += 1;
        }
        for issue in issues.iter().filter(|it| it.is_error()) {
            let path: String = issue.expression.chars().filter(|it| !it.is_ascii_digit()).collect();
            let of = rules.entry(format!("{} {path}", issue.rule)).or_default();
            of.0 += 1;
            of.1 = format!("{name}: {issue}");
        }
    }
    let known: BTreeMap<&str, &str> = KNOWN
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(": "))
        .collect();
    let unexpected: Vec<String> = rules
        .iter()
        .filter(|(rule, _)| !known.contains_key(&***rule))
        .map(|(rule, (count, last))| format!("{count} {rule}\n    {last}"))
        .collect();
    assert!(unexpected.is_empty(), "{}", unexpected.join("\n"));
    let gone: Vec<_> = known.keys().filter(|it| !rules.contains_key(**it)).collect();
    assert!(gone.is_empty(), "no longer found, take them off the list: {gone:?}");
    assert!(total > 5000 && valid * 100 > total * 99, "{valid} of {total} have no error");
}
