//! What it takes to have the values of all search parameters of Synthea's resources, beside
//! reading their JSON, on one core; and to have the parameters.

use std::hint::black_box;
use std::sync::Arc;

use fhir_core::json::Document;
use fhir_schema::{DefinitionSet, Schema};
use fhir_search::{ExtractOptions, Extractor, Parameters};
use fhir_terminology::Terminology;
use integration_tests::test_data::folder;

use super::validation::{PLAIN, processor_time, resources};
use super::{Failure, Moments, say};
use crate::bench::figures::{print, verdict};

/// Resources that are gone through in a round at least, so that the clock can tell.
const OF_A_ROUND: usize = 40_000;

/// Measures and prints.
pub(super) fn run(moments: Moments) -> Result<(), Failure> {
    let Some(folder) = folder() else {
        say("index values: not measured without the test data");
        return Ok(());
    };
    let (schema, definitions) = (Schema::r4(), DefinitionSet::r4());
    let begun = processor_time()?;
    let parameters = Arc::new(Parameters::new(definitions, schema));
    let terminology = Terminology::r4();
    let extractor = Extractor::new(schema, parameters, definitions.clone(), terminology);
    black_box(extractor.unsupported().len());
    let taken = processor_time()?.saturating_sub(begun).as_secs_f64() * 1e3;
    print(&verdict("search parameters of every type, ms", taken, taken <= 20.0, "<= 20"))?;

    let all = resources(&folder.join(PLAIN))?;
    let is_observation = |it: &&String| it.contains(r#""resourceType":"Observation""#);
    let observations: Vec<String> = all.iter().filter(is_observation).cloned().collect();
    for (what, resources, wanted) in
        [("Observation", &observations, Some(15.0)), ("resource", &all, None)]
    {
        let (read, both) = micros(moments, &extractor, resources)?;
        let taken = both - read;
        let of = format!("index values of a Synthea {what}, µs");
        match wanted {
            Some(wanted) => print(&verdict(&of, taken, taken <= wanted, &format!("<= {wanted}")))?,
            None => say(&format!("  {of}: {taken:.2}")),
        }
        say(&format!("  reading its JSON, µs: {read:.2}; {} of them", resources.len()));
    }
    Ok(())
}

/// Microseconds for the JSON of a resource, and for JSON and index values, in the best round.
fn micros(
    moments: Moments,
    extractor: &Extractor<'_>,
    resources: &[String],
) -> Result<(f64, f64), Failure> {
    let passes = OF_A_ROUND.div_ceil(resources.len().max(1));
    let per_resource = 1e6 / (passes * resources.len()) as f64;
    let options = ExtractOptions::default();
    let mut best = (f64::INFINITY, f64::INFINITY);
    for _ in 0..moments.rounds {
        let begun = processor_time()?;
        for resource in resources.iter().cycle().take(passes * resources.len()) {
            black_box(Document::parse(resource.as_bytes())?);
        }
        let read = processor_time()?;
        for resource in resources.iter().cycle().take(passes * resources.len()) {
            let document = Document::parse(resource.as_bytes())?;
            black_box(extractor.extract(document.root(), &options));
        }
        let done = processor_time()?;
        let taken =
            |from, to: std::time::Duration| to.saturating_sub(from).as_secs_f64() * per_resource;
        best = (best.0.min(taken(begun, read)), best.1.min(taken(read, done)));
    }
    Ok(best)
}
