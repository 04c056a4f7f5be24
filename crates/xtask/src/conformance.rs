//! `cargo xtask conformance`: official suites, counted, with each disagreement and its reason; and
//! checklists of requirements, with what no test shows.

mod checklist;
#[path = "../../fhirpath/tests/official/mod.rs"]
mod fhirpath_suite;
mod packages;
#[path = "../../fhir-xml/tests/round_trip/mod.rs"]
mod round_trip;
mod validator;

use std::error::Error;
use std::fs::File;
use std::path::{Path, PathBuf};

use integration_tests::test_data;

/// What is compared.
#[derive(clap::Subcommand)]
pub(crate) enum Conformance {
    /// The official FHIRPath suite for R4, from the folder that HEARTHGATE_TEST_DATA names.
    Fhirpath,
    /// The official validator cases for R4, from the folder that HEARTHGATE_TEST_DATA names.
    Validator,
    /// The examples of US Core and IPS against their profiles, and Synthea's Bundles against R4
    /// and US Core, from the folder that HEARTHGATE_TEST_DATA names.
    Packages,
    /// HL7's examples for R4 (the package hl7.fhir.r4.examples, a .tgz), from JSON to XML and
    /// back.
    Examples {
        /// The package.
        package: PathBuf,
    },
    /// A checklist of requirements, against the ids that the tests of this workspace carry.
    Checklist(checklist::Checklist),
}

impl Conformance {
    /// Runs the suite and prints what came of it; an error when something differs that the list
    /// does not have, or the list has what agrees.
    pub(crate) fn run(self) -> Result<(), Box<dyn Error>> {
        match self {
            Self::Fhirpath => fhirpath(),
            Self::Validator => validator::run(),
            Self::Packages => packages::run(),
            Self::Examples { package } => examples(&package),
            Self::Checklist(command) => command.run(),
        }
    }
}

fn fhirpath() -> Result<(), Box<dyn Error>> {
    let Some(folder) = test_data::folder() else {
        return Ok(());
    };
    let outcome = fhirpath_suite::run(&folder.join("fhirpath"))?;
    let known = fhirpath_suite::known();
    let agreeing = outcome.total - outcome.disagreements.len();
    test_data::say(&format!("{agreeing} of {} agree", outcome.total));
    for (name, what) in &outcome.disagreements {
        let reason = known.get(&**name).copied().unwrap_or("not on the list");
        test_data::say(&format!("{name}: {what}\n    {reason}"));
    }
    let surprises = outcome.surprises();
    if surprises.is_empty() {
        return Ok(());
    }
    Err(format!("not as the list says: {}", surprises.join("; ")).into())
}

fn examples(package: &Path) -> Result<(), Box<dyn Error>> {
    let trips = round_trip::of_package(File::open(package)?)?;
    let equal = trips.total - trips.failures.len();
    test_data::say(&format!(
        "{equal} of {} go from JSON to XML and back equal to the digit; {} bytes of JSON, {} of XML",
        trips.total, trips.bytes.0, trips.bytes.1
    ));
    for (file, difference) in &trips.failures {
        test_data::say(&format!("{file}: {difference}"));
    }
    if trips.failures.is_empty() {
        return Ok(());
    }
    Err(format!("{} do not come back equal", trips.failures.len()).into())
}
