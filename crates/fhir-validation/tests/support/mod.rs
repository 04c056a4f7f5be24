//! What all tests of validation need: one validator of R4, and issues in short.

#![allow(dead_code, reason = "each test uses its part")]

use std::path::PathBuf;
use std::sync::OnceLock;

use fhir_schema::{DefinitionSet, Schema};
use fhir_terminology::Terminology;
use fhir_validation::{Issue, Options, Validator};

/// R4 core, nothing else.
pub(crate) fn r4() -> &'static Validator<'static> {
    static VALIDATOR: OnceLock<Validator<'static>> = OnceLock::new();
    VALIDATOR.get_or_init(|| {
        Validator::new(Schema::r4(), DefinitionSet::r4().clone(), Terminology::r4())
    })
}

/// The errors of a resource: rule and expression.
pub(crate) fn errors(json: &str) -> Vec<String> {
    errors_of(&r4().validate_json(json.as_bytes(), &Options::default()))
}

pub(crate) fn errors_of(issues: &[Issue]) -> Vec<String> {
    let errors = issues.iter().filter(|it| it.is_error());
    errors.map(|it| format!("{} {}", it.rule, it.expression)).collect()
}

/// A folder that an environment variable names, or a line that says why the test is skipped.
#[expect(clippy::print_stdout, reason = "the output of a test is what this is for")]
pub(crate) fn folder(variable: &str) -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "where tests learn where their data is")]
    let folder = std::env::var_os(variable).filter(|it| !it.is_empty());
    if folder.is_none() {
        println!("skipped: {variable} names no folder");
    }
    folder.map(PathBuf::from)
}
