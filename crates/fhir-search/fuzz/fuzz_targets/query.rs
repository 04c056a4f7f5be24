//! Any query string is read or refused, and what is read can be written and read again. The first
//! byte says how strictly.

#![no_main]

use std::sync::LazyLock;

use fhir_core::{Instant, ResourceType};
use fhir_schema::{DefinitionSet, Schema};
use fhir_search::{Asked, Handling, Limits, Parameters, Query, Reader, Zone, decode_form};
use libfuzzer_sys::fuzz_target;

static PARAMETERS: LazyLock<Parameters> =
    LazyLock::new(|| Parameters::new(DefinitionSet::r4(), Schema::r4()));

fuzz_target!(|input: &[u8]| {
    let Some((first, text)) = input.split_first() else { return };
    let Ok(parameters) = decode_form(text) else { return };
    let limits = Limits::default();
    let reader = Reader {
        parameters: &PARAMETERS,
        definitions: DefinitionSet::r4(),
        schema: Schema::r4(),
        base: "http://own/fhir",
        zone: Zone::UTC,
        now: Instant::from_micros(0),
        handling: if first & 1 == 0 { Handling::Lenient } else { Handling::Strict },
        limits: &limits,
    };
    let read = |parameters: &[(String, String)]| {
        let resource_type = ResourceType::new("Observation").ok();
        reader.read(&Asked { resource_type, compartment: None, parameters })
    };
    let Ok(query) = read(&parameters) else { return };
    let written = decode_form(query.to_query_string().as_bytes()).expect("is encoded");
    let again = read(&written).expect("was read before");
    assert_eq!(again, Query { ignored: Vec::new(), ..query });
});
