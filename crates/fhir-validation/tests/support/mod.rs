//! What all tests of validation need: one validator of R4, and issues in short.

#![allow(dead_code, reason = "each test uses its part")]

use std::path::PathBuf;
use std::sync::OnceLock;

use fhir_schema::package::{Package, PackageLimits};
use fhir_schema::{DefinitionSet, Schema};
use fhir_terminology::Terminology;
use fhir_validation::{Issue, Options, Validator};

/// The URL of the profile that [`with_profile`] makes.
pub(crate) const URL: &str = "http://example.com/StructureDefinition/p";

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

/// A validator that knows a profile of a type with this differential.
pub(crate) fn with_profile(type_name: &str, elements: &str) -> Validator<'static> {
    let manifest = r#"{"name":"example.test","version":"1.0.0","fhirVersions":["4.0.1"]}"#;
    let profile = format!(
        r#"{{"resourceType":"StructureDefinition","url":"{URL}","version":"1.0.0","name":"P","status":"draft","kind":"resource","abstract":false,"type":"{type_name}","baseDefinition":"http://hl7.org/fhir/StructureDefinition/{type_name}","derivation":"constraint","differential":{{"element":[{{"id":"{type_name}","path":"{type_name}"}},{elements}]}}}}"#
    );
    let files = [("package.json", manifest.to_owned()), ("StructureDefinition-p.json", profile)];
    let files = files.into_iter().map(|(name, text)| Ok((name.to_owned(), text.into_bytes())));
    let package = Package::from_files(files, PackageLimits::default()).expect("is a package");
    let definitions =
        DefinitionSet::r4().with_packages(vec![package]).expect("the profile can be made");
    Validator::new(Schema::r4(), definitions, Terminology::r4())
}

/// Patients with these members against a profile, and the errors each has.
pub(crate) fn assert_errors(elements: &str, cases: &[(&str, &[&str])]) {
    let validator = with_profile("Patient", elements);
    let options = Options { profiles: &[URL], ..Options::default() };
    for (members, expected) in cases {
        let json = format!(r#"{{"resourceType":"Patient",{members}}}"#);
        let issues = validator.validate_json(json.as_bytes(), &options);
        assert_eq!(errors_of(&issues), *expected, "{json}");
    }
}
