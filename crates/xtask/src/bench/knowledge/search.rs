//! What it takes to have the values of all search parameters of Synthea's resources, beside
//! reading their JSON, on one core; and to have the parameters. Processor time.

use std::hint::black_box;
use std::sync::Arc;

use fhir_core::json::Document;
use fhir_schema::{DefinitionSet, Schema};
use fhir_search::{ExtractOptions, Extractor, Parameters};
use fhir_terminology::Terminology;
use integration_tests::test_data::folder;

use super::processor::{micros, processor_time};
use super::validation::{PLAIN, resources};
use super::{Failure, Moments, say};
use crate::bench::figures::{print, verdict};

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
    let options = ExtractOptions::default();
    for (what, resources, wanted) in
        [("Observation", &observations, Some(15.0)), ("resource", &all, None)]
    {
        let read = of_each(moments, resources, |document| {
            black_box(document);
        })?;
        let both = of_each(moments, resources, |document| {
            black_box(extractor.extract(document.root(), &options));
        })?;
        let (what, taken) = (format!("index values of a Synthea {what}, µs"), both - read);
        match wanted {
            Some(wanted) => {
                print(&verdict(&what, taken, taken <= wanted, &format!("<= {wanted}")))?;
            }
            None => say(&format!("  {what}: {taken:.2}")),
        }
        say(&format!("  beside {read:.2} for its JSON; {} of them", resources.len()));
    }
    Ok(())
}

/// Microseconds of each resource for reading it and what is done with it, in the best round.
fn of_each(
    moments: Moments,
    resources: &[String],
    mut work: impl FnMut(&Document<'_>),
) -> Result<f64, Failure> {
    let mut best = f64::INFINITY;
    for _ in 0..moments.rounds {
        let taken = micros(moments.seconds, || {
            for resource in resources {
                if let Ok(document) = Document::parse(resource.as_bytes()) {
                    work(&document);
                }
            }
        })?;
        best = best.min(taken / resources.len() as f64);
    }
    Ok(best)
}
