//! Any bytes, validated as a resource: no panic, and the same issues twice.

#![no_main]

use std::sync::LazyLock;

use fhir_schema::{DefinitionSet, Schema};
use fhir_terminology::Terminology;
use fhir_validation::{Options, Validator};
use libfuzzer_sys::fuzz_target;

static VALIDATOR: LazyLock<Validator<'static>> = LazyLock::new(|| {
    Validator::new(Schema::r4(), DefinitionSet::r4().clone(), Terminology::r4())
});

fuzz_target!(|bytes: &[u8]| {
    let options = Options::default();
    let issues = VALIDATOR.validate_json(bytes, &options);
    assert!(issues.len() <= options.cap);
    assert_eq!(issues, VALIDATOR.validate_json(bytes, &options));
});
