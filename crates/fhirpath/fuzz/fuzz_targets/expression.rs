//! Any expression on any JSON is evaluated or refused. The input is both: the expression up to
//! the first NUL, the JSON after it.

#![no_main]

use fhir_core::json::Document;
use fhir_schema::Schema;
use fhirpath::{Context, Expression, FhirValue, Item, Options, ReferenceTypes};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut halves = input.splitn(2, |byte| *byte == 0);
    let Some(Ok(text)) = halves.next().map(std::str::from_utf8) else { return };
    let json = halves.next().unwrap_or(br#"{"resourceType":"Patient","name":[{"given":["A"]}]}"#);
    let schema = Schema::r4();
    let Ok(expression) = Expression::compile_for_anything(text, schema, Options::default()) else {
        return;
    };
    let Ok(document) = Document::parse(json) else { return };
    let host = ReferenceTypes;
    let context = Context::new(schema).with_host(&host).with_budget(100_000);
    let focus = Item::Fhir(FhirValue::resource(schema, document.root()));
    let _ = expression.evaluate(&context, &focus);
});
