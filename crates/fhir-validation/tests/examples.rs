//! HL7's own examples for R4: what is an error in them is listed with its reason.

#![expect(clippy::unwrap_used, reason = "a test that fails here says where")]

mod support;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;

use fhir_validation::Options;
use support::r4;

#[test]
#[expect(clippy::print_stdout, reason = "what is found is to be read")]
fn what_is_reported_in_the_examples_is_listed() {
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
    for (rule, (count, last)) in &rules {
        println!("{count:6} {rule}\n         {last}");
    }
    println!("{valid} of {total} have no error");
    assert!(total > 5000, "{total}");
}
