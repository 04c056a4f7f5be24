//! What expressions mean where the official suite says nothing: its cases are in
//! `official_suite.rs`.

#![expect(clippy::unwrap_used, reason = "a test that fails here says where")]

use fhir_core::json::Document;
use fhir_schema::Schema;
use fhirpath::{CompileProblem, Context, Expression, FhirValue, Item, Options};

const OBSERVATION: &str = r#"{
    "resourceType": "Observation",
    "valueQuantity": {"value": 5, "comparator": "<", "system": "http://unitsofmeasure.org", "code": "mg"},
    "component": [
        {"valueQuantity": {"unit": "mg"}},
        {"valueQuantity": {"value": 5, "system": "http://unitsofmeasure.org", "code": "mg"}},
        {"_valueString": {"extension": [{"url": "a", "valueCode": "x"}]}},
        {"_valueString": {"extension": [{"url": "a", "valueCode": "y"}]}},
        {"_valueString": {"extension": [{"url": "a", "valueCode": "X"}]}}
    ]
}"#;

/// The texts of what an expression finds.
#[track_caller]
fn check(expression: &str, expected: &[&str]) {
    let schema = Schema::r4();
    let compiled =
        Expression::compile(expression, schema, "Observation", Options::default()).unwrap();
    let document = Document::parse(OBSERVATION.as_bytes()).unwrap();
    let focus = Item::Fhir(FhirValue::resource(schema, document.root()));
    let found = compiled.evaluate(&Context::new(schema), &focus);
    let found = found.unwrap_or_else(|error| panic!("{expression}: {error}"));
    let texts: Vec<_> = found.iter().map(|it| it.to_text(schema).unwrap_or_default()).collect();
    assert_eq!(texts, expected, "{expression}");
}

#[test]
fn a_quantity_with_a_comparator_is_not_its_number() {
    for expression in ["value = 5 'mg'", "5 'mg' = value", "value < 6 'mg'", "value >= 1 'mg'"] {
        check(expression, &[]);
    }
    check("value + 1 'mg'", &[]);
    check("value ~ 5 'mg'", &["false"]);
    check("value = value", &["true"]);
    check("value = component[1].value", &[]);
    check("component[1].value = 5 'mg'", &["true"]);
    check("value.comparator", &["<"]);
}

#[test]
fn a_quantity_without_a_number_compares_with_nothing_and_is_no_error() {
    check("component[0].value < 6 'mg'", &[]);
    check("6 'mg' > component[0].value", &[]);
    check("component[0].value + 6 'mg'", &[]);
}

#[test]
fn elements_that_have_extensions_alone_are_equivalent_when_these_are() {
    check("component[2].value ~ component[3].value", &["false"]);
    check("component[2].value ~ component[4].value", &["true"]);
    check("component[2].value ~ component[2].value", &["true"]);
}

#[test]
fn a_substitute_names_groups_by_their_digits_alone() {
    check("'ab'.replaceMatches('(a)(b)', '$2x$1')", &["bxa"]);
    check("'ab'.replaceMatches('(a)(b)', '$1y')", &["ay"]);
    check("'ab'.replaceMatches('a', '$$')", &["$b"]);
}

#[test]
fn a_pattern_for_a_whole_text_is_a_pattern_by_itself() {
    check("'abc'.matchesFull('a|abc')", &["true"]);
    check("'abc'.matchesFull('a|b')", &["false"]);
    let compile = |text: &str| {
        Expression::compile_for_anything(text, Schema::r4(), Options::default()).unwrap_err()
    };
    let error = compile("'abc'.matchesFull('a)|(?:b')");
    assert!(matches!(error.problem, CompileProblem::InvalidPattern { .. }), "{error}");
}

#[test]
fn half_a_surrogate_pair_is_no_escape() {
    check(r"'\uD83D\uDE00'", &["\u{1F600}"]);
    for text in [r"'\uD83D\uFFFF'", r"'\uD83D\uE000'", r"'\uD83D'", r"'\uD83Dx'"] {
        let error = Expression::compile_for_anything(text, Schema::r4(), Options::default());
        let problem = error.unwrap_err().problem;
        assert!(matches!(problem, CompileProblem::InvalidEscape), "{text}: {problem}");
    }
}
