//! What knowing FHIR costs on one core: FHIRPath on a usual Patient, its XML, codes in value
//! sets, index values, and validation. The figures are the best of the rounds, as nothing but the
//! machine makes one slower; each is printed when it is there.

mod beside;
pub(super) mod processor;
mod search;
mod terminology;
pub(crate) mod validation;
mod xml;

use std::hint::black_box;

use fhir_core::json::Document;
use fhir_schema::Schema;
use fhirpath::{Context, Expression, FhirValue, Item, Options};

use fhir_core::Clock;
use hearthgate::doors::SystemClock;

use super::{Failure, patient};

/// How long each figure is measured: work of microseconds needs no seconds.
#[derive(clap::Args, Clone, Copy)]
pub(crate) struct Moments {
    /// Rounds; the best one counts.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of each round; validation takes as long as its resources do.
    #[arg(long, default_value_t = 0.2, value_name = "SECONDS")]
    seconds: f64,
    /// Measure nothing but FHIRPath beside rh-fhirpath, which is built for it.
    #[arg(long)]
    beside: bool,
}

/// Measures and prints.
pub(super) fn run(rounds: Moments) -> Result<(), Failure> {
    let schema = Schema::r4();
    let text = patient::patient();
    if rounds.beside {
        return beside::run(rounds, &text);
    }
    let document = Document::parse(text.as_bytes())?;
    let root = Item::Fhir(FhirValue::resource(schema, document.root()));
    let context = Context::new(schema);
    let compile =
        |text: &str, base: &str| Expression::compile(text, schema, base, Options::default());
    let given = compile("Patient.name.given", "Patient")?;
    let descendants = compile("descendants()", "Patient")?;
    let ele_1 = compile("hasValue() or (children().count() > id.count())", "Element")?;
    let nodes = descendants.evaluate(&context, &root)?;
    say(&format!("a Patient of {} bytes, {} descendants", text.len(), nodes.len()));

    let taken = best(rounds, || {
        let mut count = 0;
        let flow = given.for_each(&context, &root, |item| {
            black_box(&item);
            count += 1;
            std::ops::ControlFlow::Continue(())
        });
        black_box((flow.is_ok(), count));
    });
    say(&format!("Patient.name.given                {taken:>8.3} µs"));
    let taken = best(rounds, || {
        for node in &nodes {
            black_box(ele_1.is_true(&context, node).is_ok());
        }
    });
    say(&format!("ele-1 on every descendant         {taken:>8.3} µs"));
    terminology::run(rounds)?;
    search::run(rounds)?;
    xml::run(rounds, &text)?;
    validation::run(rounds)
}

/// Microseconds that `work` takes in the best of the rounds.
fn best(rounds: Moments, mut work: impl FnMut()) -> f64 {
    /// Between looks at the clock.
    const TIMES: u32 = 100;
    let clock = SystemClock::start();
    let mut best = f64::INFINITY;
    for _ in 0..rounds.rounds {
        let begun = clock.monotonic();
        while (clock.monotonic() - begun).as_secs_f64() < rounds.seconds {
            let start = clock.monotonic();
            for _ in 0..TIMES {
                work();
            }
            let taken = (clock.monotonic() - start).as_secs_f64();
            best = best.min(taken / f64::from(TIMES) * 1e6);
        }
    }
    best
}

fn say(line: &str) {
    integration_tests::test_data::say(line);
}
