//! `hearthgate demo-data`: made-up patients to try a server with, as FHIR R4 transaction Bundles.
//!
//! One Bundle a line for each patient: the patient, encounters, vital signs, conditions and
//! prescriptions, and, by `ifNoneExist`, the clinic and the practitioners they name. Each Bundle
//! stands alone and can be sent in any order. What is a patient's is PUT under ids of its own
//! (`demo-1`, `demo-1-encounter-2`), so that sending it again changes nothing but versions.
//! Everything follows from the seed; nothing is taken from real people, and every resource is
//! labelled as test data (`HTEST`).

mod bundle;
mod clinic;
mod patient;
mod random;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use random::Random;

/// What to make and where to put it.
#[derive(Debug, Clone, clap::Args)]
pub struct DemoData {
    /// How many patients
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub patients: u32,
    /// Another seed gives other patients, under other ids
    #[arg(long, value_name = "N", default_value_t = DEFAULT_SEED)]
    pub seed: u64,
    /// Write to FILE and not to stdout
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

const DEFAULT_SEED: u64 = 1;

/// The Bundles could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the sample patients to {place}")]
pub struct DemoDataError {
    place: String,
    source: io::Error,
}

impl DemoData {
    /// Writes the Bundles.
    ///
    /// # Errors
    /// [`DemoDataError`]; a reader that has read enough is none.
    pub fn run(&self) -> Result<(), DemoDataError> {
        let (place, written) = match &self.out {
            Some(path) => (
                path.display().to_string(),
                File::create(path).and_then(|file| self.write(BufWriter::new(file))),
            ),
            None => ("stdout".to_owned(), self.write(BufWriter::new(io::stdout().lock()))),
        };
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Err(source) => Err(DemoDataError { place, source }),
            Ok(()) => Ok(()),
        }
    }

    /// Writes the Bundles to `out`, one a line.
    ///
    /// # Errors
    /// What `out` says.
    pub fn write(&self, mut out: impl Write) -> io::Result<()> {
        for number in 1..=self.patients {
            // Each patient has a seed of its own: how many there are changes none of them.
            let mut random = Random::of(self.seed, u64::from(number));
            let bundle = patient::bundle(&mut random, &self.id_of(number));
            serde_json::to_writer(&mut out, &bundle)?;
            out.write_all(b"\n")?;
        }
        out.flush()
    }

    fn id_of(&self, number: u32) -> String {
        match self.seed {
            DEFAULT_SEED => format!("demo-{number}"),
            seed => format!("demo-s{seed}-{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::collections::{BTreeMap, BTreeSet};

    fn written(patients: u32, seed: u64) -> String {
        let demo = DemoData { patients, seed, out: None };
        let mut bytes = Vec::new();
        demo.write(&mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    fn bundles(patients: u32, seed: u64) -> Vec<Value> {
        let text = written(patients, seed);
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn entries(bundle: &Value) -> &Vec<Value> {
        bundle["entry"].as_array().unwrap()
    }

    /// Every value under a member named `name`, at any depth.
    fn members<'a>(value: &'a Value, name: &str, found: &mut Vec<&'a Value>) {
        match value {
            Value::Object(object) => {
                for (key, value) in object {
                    if key == name {
                        found.push(value);
                    }
                    members(value, name, found);
                }
            }
            Value::Array(array) => array.iter().for_each(|value| members(value, name, found)),
            _ => {}
        }
    }

    #[test]
    fn a_seed_gives_the_same_bytes_and_another_seed_other_patients() {
        let once = written(20, 1);
        assert_eq!(once, written(20, 1));
        assert!(written(21, 1).starts_with(&once), "more patients change none");
        let other = written(20, 2);
        assert!(other.lines().zip(once.lines()).all(|(a, b)| a != b));
        assert!(other.contains("\"demo-s2-1\"") && once.contains("\"demo-1\""));
    }

    #[test]
    fn fifty_patients_have_all_the_kinds_of_resources() {
        let mut counts = BTreeMap::new();
        for bundle in bundles(50, 1) {
            assert_eq!(bundle["type"], "transaction");
            for entry in entries(&bundle) {
                let name = entry["resource"]["resourceType"].as_str().unwrap();
                *counts.entry(name.to_owned()).or_insert(0) += 1;
            }
        }
        assert_eq!(counts["Patient"], 50);
        assert_eq!(counts["Organization"], 50);
        assert!(counts["Encounter"] >= 100, "{counts:?}");
        assert!(counts["Observation"] >= 500, "{counts:?}");
        assert!(counts["Condition"] >= 20, "{counts:?}");
        assert!(counts["MedicationRequest"] >= 20, "{counts:?}");
        assert!(counts["Practitioner"] >= 50, "{counts:?}");
    }

    #[test]
    fn every_reference_is_to_a_resource_of_the_same_bundle() {
        for bundle in bundles(30, 3) {
            let urls: BTreeSet<&str> =
                entries(&bundle).iter().map(|entry| entry["fullUrl"].as_str().unwrap()).collect();
            assert_eq!(urls.len(), entries(&bundle).len(), "a fullUrl stands once");
            let mut references = Vec::new();
            members(&bundle, "reference", &mut references);
            assert!(references.len() > 10);
            for reference in references {
                let reference = reference.as_str().unwrap();
                assert!(reference.starts_with("urn:uuid:"), "{reference}");
                assert!(urls.contains(reference), "{reference}");
            }
        }
    }

    #[test]
    fn ids_are_the_bundles_own_and_what_is_shared_is_made_once() {
        let mut ids = BTreeSet::new();
        for bundle in bundles(30, 1) {
            for entry in entries(&bundle) {
                let resource = &entry["resource"];
                let name = resource["resourceType"].as_str().unwrap();
                let request = &entry["request"];
                match resource["id"].as_str() {
                    Some(id) => {
                        assert_eq!(request["method"], "PUT");
                        assert_eq!(request["url"], format!("{name}/{id}"));
                        assert!(contract::ResourceId::is_valid(id), "{id}");
                        assert!(ids.insert((name.to_owned(), id.to_owned())), "{id}");
                    }
                    None => {
                        assert!(matches!(name, "Organization" | "Practitioner"), "{name}");
                        assert_eq!(request["method"], "POST");
                        assert_eq!(request["url"], name);
                        let identifier = &resource["identifier"][0];
                        let expected = format!(
                            "identifier={}|{}",
                            identifier["system"].as_str().unwrap(),
                            identifier["value"].as_str().unwrap()
                        );
                        assert_eq!(request["ifNoneExist"], expected);
                    }
                }
            }
        }
    }

    #[test]
    fn every_resource_is_labelled_as_test_data_and_has_what_r4_requires() {
        for bundle in bundles(50, 1) {
            for entry in entries(&bundle) {
                let resource = &entry["resource"];
                assert_eq!(resource["meta"]["security"][0]["code"], "HTEST");
                let required: &[&str] = match resource["resourceType"].as_str().unwrap() {
                    "Encounter" => &["status", "class"],
                    "Observation" => &["status", "code", "effectiveDateTime", "subject"],
                    "Condition" => &["subject", "code", "clinicalStatus", "verificationStatus"],
                    "MedicationRequest" => {
                        &["status", "intent", "medicationCodeableConcept", "subject"]
                    }
                    "Organization" | "Patient" | "Practitioner" => &["identifier", "name"],
                    other => panic!("{other}"),
                };
                for member in required {
                    assert!(!resource[member].is_null(), "{member}: {resource}");
                }
                // Abated conditions are not active (con-4).
                if !resource["abatementDateTime"].is_null() {
                    assert_eq!(resource["clinicalStatus"]["coding"][0]["code"], "resolved");
                }
            }
        }
    }

    #[test]
    fn measurements_have_ucum_codes_and_agree_with_each_other() {
        for bundle in bundles(50, 1) {
            let mut quantities = Vec::new();
            members(&bundle, "valueQuantity", &mut quantities);
            for quantity in quantities {
                assert_eq!(quantity["system"], "http://unitsofmeasure.org");
                assert!(quantity["code"].is_string() && quantity["value"].is_number());
                assert!(quantity["value"].as_f64().unwrap() > 0.0);
            }
            for entry in entries(&bundle) {
                let components = &entry["resource"]["component"];
                if components.is_array() {
                    let value = |at: usize| components[at]["valueQuantity"]["value"].as_i64();
                    assert!(value(0) > value(1), "systolic above diastolic");
                }
            }
        }
    }

    #[test]
    fn times_are_in_order_and_in_the_past_of_the_data() {
        for bundle in bundles(50, 1) {
            let birth = entries(&bundle)
                .iter()
                .find_map(|entry| entry["resource"]["birthDate"].as_str())
                .unwrap()
                .to_owned();
            for entry in entries(&bundle) {
                let resource = &entry["resource"];
                for path in ["/period/start", "/effectiveDateTime", "/onsetDateTime", "/authoredOn"]
                {
                    if let Some(time) = resource.pointer(path).and_then(Value::as_str) {
                        assert!(time[..10] >= birth[..], "{time} before birth {birth}");
                        assert!(time < "2026", "{time}");
                    }
                }
                if let Some(end) = resource.pointer("/period/end").and_then(Value::as_str) {
                    assert!(resource["period"]["start"].as_str().unwrap() < end);
                }
            }
        }
    }
}
