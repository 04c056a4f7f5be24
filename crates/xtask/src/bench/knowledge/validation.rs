//! What validation costs on one core: resources of Synthea's Bundles, each by itself, from its text
//! to its issues; and what it takes to have the definitions, in a process of their own. Times are
//! the thread's processor time.

use std::fs::{File, read_to_string};
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fhir_core::json::Document;
use fhir_schema::package::{Package, PackageLimits};
use fhir_schema::{DefinitionSet, Schema};
use fhir_terminology::{Entry, Layer, Terminology};
use fhir_validation::{Depth, Options, Validator};
use integration_tests::test_data::{documents, folder};

use super::processor::processor_time;
use super::{Failure, Moments, say};
use crate::bench::child::{Child, ready, wait_for_end};
use crate::bench::figures::{print, verdict};

const PACKAGE: &str = "packages/hl7.fhir.us.core-6.1.0.tgz";
pub(super) const PLAIN: &str = "synthea/bundles.ndjson.zst";
const US_CORE: &str = "synthea/bundles-uscore.ndjson.zst";

/// Measures and prints.
pub(super) fn run(moments: Moments) -> Result<(), Failure> {
    let Some(folder) = folder() else {
        say("validation: not measured without the test data");
        return Ok(());
    };
    let package = folder.join(PACKAGE);
    definitions(&package)?;
    let r4 = Validator::new(Schema::r4(), DefinitionSet::r4().clone(), Terminology::r4());
    let us_core = with_package(&package)?;
    let plain = resources(&folder.join(PLAIN))?;
    let claiming = resources(&folder.join(US_CORE))?;
    say(&format!(
        "validation: {} and {} of Synthea's resources, a second of processor time",
        plain.len(),
        claiming.len()
    ));
    let (base, full) = (Depth::Base, Depth::Terminology);
    for (what, validator, resources, depth, wanted) in [
        ("R4, form alone (base)", &r4, &plain, base, Some(30_000.0)),
        ("R4, everything", &r4, &plain, full, None),
        ("R4, everything, newer", &r4, &claiming, full, None),
        ("US Core 6.1.0, everything, newer", &us_core, &claiming, full, Some(10_000.0)),
    ] {
        let rate = rate(moments, validator, resources, depth)?;
        match wanted {
            Some(wanted) => print(&verdict(what, rate, rate >= wanted, &format!(">= {wanted}")))?,
            None => say(&format!("  {what}: {rate:.0}")),
        }
    }
    Ok(())
}

/// Resources a second, in the best round.
fn rate(
    moments: Moments,
    validator: &Validator<'_>,
    resources: &[String],
    depth: Depth,
) -> Result<f64, Failure> {
    let options = Options { depth, ..Options::default() };
    let mut best = 0.0_f64;
    for _ in 0..moments.rounds {
        let begun = processor_time()?;
        for resource in resources {
            black_box(validator.validate_json(resource.as_bytes(), &options).len());
        }
        let taken = processor_time()?.saturating_sub(begun);
        best = best.max(resources.len() as f64 / taken.as_secs_f64());
    }
    Ok(best)
}

/// The resources in the entries of a file's Bundles.
pub(super) fn resources(file: &Path) -> Result<Vec<String>, Failure> {
    let mut resources = Vec::new();
    for bundle in documents(file) {
        let document = Document::parse(bundle.as_bytes())?;
        let entries = document.root().get("entry").ok_or("a Bundle without entries")?;
        let of_entries = entries.items().filter_map(|it| it.get("resource"));
        resources.extend(of_entries.map(|it| it.raw().to_owned()));
    }
    Ok(resources)
}

fn with_package(file: &Path) -> Result<Validator<'static>, Failure> {
    let package = Package::read(File::open(file)?, PackageLimits::default())?;
    let mut layer = Layer::new();
    for resource in &package.resources {
        let document = Document::parse(&resource.json)?;
        if let Ok(entry) = Entry::new(document.root()) {
            layer.add(Arc::new(entry));
        }
    }
    let definitions = DefinitionSet::r4().with_packages(vec![package])?;
    Ok(Validator::new(Schema::r4(), definitions, Terminology::r4().with(layer)))
}

/// Says what a child needed to have the definitions.
fn definitions(package: &Path) -> Result<(), Failure> {
    let child = Child::Knowing { package: package.to_owned() }.start()?;
    let told: Vec<f64> = child
        .told()
        .split(' ')
        .map(str::parse)
        .collect::<Result<_, std::num::ParseFloatError>>()?;
    let [r4, package, memory_r4, memory] = told[..] else {
        return Err("a child that did not tell what it needed".into());
    };
    say("definitions, in a process of their own");
    print(&verdict("R4, ms to the first issue", r4, r4 < 50.0, "< 50"))?;
    print(&verdict("US Core 6.1.0, ms more", package, package <= 300.0, "<= 300"))?;
    say(&format!("  R4, MB: {memory_r4:.1}"));
    print(&verdict("R4 and US Core 6.1.0, MB", memory, memory <= 60.0, "<= 60"))?;
    Ok(())
}

/// The child's part: loads R4, then a package, validates a Patient with each, and tells
/// milliseconds and resident megabytes more than at its start.
pub(crate) fn knowing(package: &Path) -> Result<(), Failure> {
    const PATIENT: &[u8] = br#"{"resourceType":"Patient","meta":{"profile":["http://hl7.org/fhir/us/core/StructureDefinition/us-core-patient"]},"gender":"other"}"#;
    let options = Options::default();
    let (memory, begun) = (resident()?, processor_time()?);
    let r4 = Validator::new(Schema::r4(), DefinitionSet::r4().clone(), Terminology::r4());
    black_box(r4.validate_json(PATIENT, &options).len());
    let (memory_r4, loaded) = (resident()?, processor_time()?);
    let us_core = with_package(package)?;
    black_box(us_core.validate_json(PATIENT, &options).len());
    let (memory_all, done) = (resident()?, processor_time()?);
    let millis = |from: Duration, to: Duration| to.saturating_sub(from).as_secs_f64() * 1e3;
    ready(&format!(
        "{:.1} {:.1} {:.1} {:.1}",
        millis(begun, loaded),
        millis(loaded, done),
        memory_r4 - memory,
        memory_all - memory
    ))?;
    wait_for_end()
}

/// Resident memory of this process, in megabytes.
fn resident() -> Result<f64, Failure> {
    let told = read_to_string("/proc/self/status")?;
    let line = told.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|it| it.split_whitespace().next());
    let kibibytes: f64 = kibibytes.ok_or("a process without memory")?.parse()?;
    Ok(kibibytes * 1024.0 / 1e6)
}
