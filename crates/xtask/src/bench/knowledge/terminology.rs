//! Whether a code is in a value set that was resolved before, by each kind of selection.

use std::hint::black_box;

use fhir_core::Clock;
use fhir_terminology::Terminology;
use hearthgate::doors::SystemClock;

use super::{Failure, Moments, best, say};

/// A value set, a code system, and a code that is in both.
const CASES: [(&str, &str, &str, &str); 5] = [
    (
        "all of a small code system",
        "http://hl7.org/fhir/ValueSet/administrative-gender",
        "http://hl7.org/fhir/administrative-gender",
        "female",
    ),
    (
        "a list of codes",
        "http://hl7.org/fhir/ValueSet/marital-status",
        "http://terminology.hl7.org/CodeSystem/v3-MaritalStatus",
        "M",
    ),
    (
        "what is below a concept",
        "http://terminology.hl7.org/ValueSet/v3-ActEncounterCode",
        "http://terminology.hl7.org/CodeSystem/v3-ActCode",
        "AMB",
    ),
    ("a grammar", "http://hl7.org/fhir/ValueSet/all-languages", "urn:ietf:bcp:47", "de-CH"),
    (
        "a code that is not in it",
        "http://terminology.hl7.org/ValueSet/v3-ActEncounterCode",
        "http://terminology.hl7.org/CodeSystem/v3-ActCode",
        "CC",
    ),
];

/// Measures and prints.
pub(super) fn run(rounds: Moments) -> Result<(), Failure> {
    let terminology = Terminology::r4();
    for (name, value_set, system, code) in CASES {
        let resolved = terminology.resolve(value_set)?;
        let taken = best(rounds, || {
            black_box(resolved.check(black_box(system), black_box(code)).is_member());
        });
        say(&format!("is in: {name:<27}{taken:>8.3} µs"));
    }
    let clock = SystemClock::start();
    let start = clock.monotonic();
    let known = terminology.code_systems().len();
    let taken = (clock.monotonic() - start).as_secs_f64() * 1e3;
    say(&format!("laying out {known} code systems, once {taken:>8.1} ms"));
    Ok(())
}
