//! What holds of any request.

use proptest::prelude::*;

use super::{Asked, Handling, Place, decode_form, reader};
use crate::{Query, encode_form};
use fhir_core::ResourceType;

/// Names that mean something, and some that do not.
fn name() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "_id",
        "_lastUpdated",
        "_profile",
        "_text",
        "_content",
        "_list",
        "_filter",
        "_sort",
        "_count",
        "_summary",
        "_elements",
        "_include",
        "_revinclude:iterate",
        "_total",
        "_has:Provenance:target:recorded",
        "code",
        "code:in",
        "code:not",
        "code:below",
        "code:text",
        "subject",
        "subject:Patient",
        "subject:identifier",
        "subject:Patient.name",
        "subject.birthdate",
        "date",
        "value-quantity",
        "value-string:contains",
        "code-value-quantity",
        "status:missing",
        "foo",
    ]);
    prop_oneof![4 => known.prop_map(str::to_owned), 1 => "[a-z_:.A-Z]{0,12}", 1 => "\\PC{0,8}"]
}

fn value() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "true",
        "a,b",
        "s|c",
        "ge2020-01,lt2021",
        "2020-01-01T00:00:00 05:00",
        "5.4|http://unitsofmeasure.org|mg",
        "gt1e2",
        "Patient/1",
        "http://own/fhir/Patient/1",
        "urn:uuid:1",
        "http://a|1",
        "a$1||mg",
        r"x\,y\|z\\",
        r"a\b",
        "name eq \"x\" and not (code eq s|c)",
        "code eq a or (status ne final and subject.name co \"é\")",
        "-date,code",
        "count",
        "Observation:subject:Patient",
        "Provenance:*",
        "(bone or liver) not scan",
        "$current-problems",
        "7",
    ]);
    prop_oneof![
        4 => known.prop_map(str::to_owned),
        1 => "[a-z0-9|$,\\\\:/. \"()\\[\\]-]{0,24}",
        1 => "\\PC{0,12}",
    ]
}

fn read(handling: Handling, parameters: &[(String, String)]) -> Result<Query, crate::QueryError> {
    let resource_type = Some(ResourceType::new("Observation").unwrap());
    reader(handling).read(&Asked { resource_type, compartment: None, parameters })
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(
        parameters in prop::collection::vec((name(), value()), 0..5),
        strict in any::<bool>(),
    ) {
        // SRCH-226, SRCH-017
        let handling = if strict { Handling::Strict } else { Handling::Lenient };
        if let Ok(query) = read(handling, &parameters) {
            let written = decode_form(query.to_query_string().as_bytes()).unwrap();
            let again = read(handling, &written).unwrap();
            prop_assert_eq!(&again.ignored, &[]);
            prop_assert_eq!(again, Query { ignored: Vec::new(), ..query });
        }
    }

    #[test]
    fn an_error_names_the_parameter_and_a_place_in_it(
        name in name(),
        value in value(),
        strict in any::<bool>(),
    ) {
        // SRCH-021
        let handling = if strict { Handling::Strict } else { Handling::Lenient };
        let errors = match read(handling, &[(name.clone(), value.clone())]) {
            Ok(query) => query.ignored,
            Err(error) => vec![error],
        };
        for error in errors {
            prop_assert_eq!(&*error.parameter, name.as_str());
            let (at, most) = match error.place {
                Place::Name(at) => (at, name.chars().count()),
                Place::Value(at) => (at, value.chars().count()),
            };
            prop_assert!(at <= most, "{}", error);
            prop_assert!(!error.problem.to_string().is_empty());
        }
    }

    #[test]
    fn what_is_encoded_is_decoded_again(
        parameters in prop::collection::vec((any::<String>(), any::<String>()), 0..4),
    ) {
        let pairs = parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let decoded = decode_form(encode_form(pairs).as_bytes()).unwrap();
        prop_assert_eq!(decoded, parameters);
    }

    #[test]
    fn any_query_string_is_read_or_refused(text in "\\PC{0,60}") {
        if let Ok(parameters) = decode_form(text.as_bytes()) {
            let _ = read(Handling::Lenient, &parameters);
            let _ = read(Handling::Strict, &parameters);
        }
    }
}

#[test]
fn a_long_request_is_read_or_refused_and_errors_stay_short() {
    // SRCH-251
    let many = |text: &str| text.repeat(240_000 / text.len());
    let focus = |last: &str| format!("{}{last}", "focus.".repeat(7));
    let requests = [
        ("Patient", "name".to_owned(), many(",")),
        ("Patient", "name".to_owned(), many("é")),
        ("Patient", "name".to_owned(), many("\\")),
        ("Patient", many("a:"), "x".to_owned()),
        ("Patient", many("link."), "x".to_owned()),
        ("Patient", many("_has:Observation:patient:"), "x".to_owned()),
        ("Patient", "_filter".to_owned(), many("(")),
        ("Patient", "_filter".to_owned(), format!("name eq a{}", many(" and name eq b"))),
        ("Provenance", "_filter".to_owned(), format!("target[{}", many("_id eq b and "))),
        ("Task", "_filter".to_owned(), format!("{} eq {}", focus("subject"), many("x"))),
        ("Task", focus("_id"), "1".to_owned()),
        ("Task", focus("foo"), "1".to_owned()),
        ("Task", focus("code"), many("x")),
        ("Patient", "_text".to_owned(), many("a b ")),
        ("Patient", "_text".to_owned(), many("not ")),
        ("Patient", "_include".to_owned(), many("a:")),
        ("Patient", "_sort".to_owned(), many("a")),
        ("Patient", "_query".to_owned(), many("a")),
        ("Patient", "_elements".to_owned(), many("a,")),
        ("Observation", "code-value-quantity".to_owned(), many("$")),
        ("Observation", "code".to_owned(), many("|")),
        ("Observation", "value-quantity".to_owned(), many("9")),
        ("Patient", "birthdate".to_owned(), many("9")),
    ];
    for (of, name, value) in requests {
        let parameters = [(name, value)];
        let resource_type = Some(ResourceType::new(of).unwrap());
        let asked = Asked { resource_type, compartment: None, parameters: &parameters };
        let errors = match reader(Handling::Lenient).read(&asked) {
            Ok(query) => query.ignored,
            Err(error) => vec![error],
        };
        for error in errors {
            assert!(error.to_string().len() < 2_000, "{of}");
        }
    }
}
