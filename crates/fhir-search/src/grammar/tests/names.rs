//! Modifiers, and where names go wrong.

use fhir_schema::package::{Package, PackageLimits};
use fhir_schema::{DefinitionSet, Schema};

use super::{Handling, Reader, check_error, clause, read_by, reader, refused, strict};
use crate::{Parameters, Place};

#[test]
fn commas_are_or_and_repeats_are_and() {
    // SRCH-013, SRCH-014
    let query = strict("Patient?given=a,b&given=c");
    assert_eq!(super::clauses(&query), ["given Start 'a' | Start 'b'", "given Start 'c'"]);
    let both = clause("Observation?code:text=this,that");
    assert_eq!(both, "code Text(\"this\") | Text(\"that\")");
}

#[test]
fn missing_is_asked_of_every_type_of_parameter_but_composites() {
    // SRCH-152, SRCH-155, SRCH-157, SRCH-158
    assert_eq!(clause("Patient?gender:missing=true"), "no gender");
    assert_eq!(clause("Patient?birthdate:missing=false"), "some birthdate");
    for other in ["Observation?value-quantity", "Patient?link", "ValueSet?url", "Location?near"] {
        strict(&format!("{other}:missing=true"));
    }
    let error = refused("Patient?gender:missing=maybe");
    check_error(&error, "gender:missing", Place::Value(0), "this is no answer");
    refused("Patient?gender:missing=true,false");
    refused("Observation?code-value-quantity:missing=true");
    let chain = clause("Observation?subject:Patient.birthdate:missing=true");
    assert_eq!(chain, "subject -> (Patient: no birthdate)");
}

#[test]
fn each_modifier_applies_to_its_types_alone() {
    // SRCH-081, SRCH-082, SRCH-102, SRCH-103, SRCH-116
    assert_eq!(clause("Patient?family:exact=Son"), "family Exact 'Son'");
    assert_eq!(clause("Patient?family:contains=SON"), "family Contains 'son'");
    assert_eq!(
        clause("Patient?gender:not=male,female"),
        "not(gender Code { system: Any, code: \"male\" } | Code { system: Any, code: \"female\" })"
    );
    let subject = |url: &str| clause(&format!("Observation?{url}"));
    assert_eq!(subject("subject:Patient=123"), subject("subject=Patient/123"));
    for bad in [
        "gender:exact",
        "family:not",
        "link:text",
        "birthdate:exact",
        "gender:Patient",
        "link:Nonsense",
        "link:Observation",
        "family:",
        "family:exact:exact",
    ] {
        refused(&format!("Patient?{bad}=1"));
    }
}

#[test]
fn a_name_with_a_part_missing_is_refused_where_it_is_missing() {
    for (name, at) in [
        ("family:", 7),
        ("general-practitioner.", 21),
        ("_has:Observation", 5),
        ("_has:Observation:patient:", 25),
        ("_has", 4),
    ] {
        let error = refused(&format!("Patient?{name}=x"));
        check_error(&error, name, Place::Name(at), "a name is missing");
    }
}

/// The parameters of R4 and one of a package, of Patient's family names.
fn with_one(more: &str) -> Parameters {
    let manifest = r#"{"name": "p", "version": "1.0.0", "fhirVersions": ["4.0.1"]}"#;
    let definition = format!(
        r#"{{"resourceType": "SearchParameter", "url": "http://example.org/own", "name": "own",
            "status": "active", "description": "x", "code": "-own", "base": ["Patient"],
            "type": "string", "expression": "Patient.name.family", {more}}}"#
    );
    let file = |name: &str, text: &str| Ok((name.to_owned(), text.as_bytes().to_vec()));
    let files = [file("package.json", manifest), file("own.json", &definition)];
    let package = Package::from_files(files, PackageLimits::default()).unwrap();
    let definitions = DefinitionSet::r4().with_packages(vec![package]).unwrap();
    Parameters::new(&definitions, Schema::r4())
}

#[test]
fn a_definition_says_what_may_be_given_several_times() {
    // SRCH-241
    let check = |more: &str, url: &str| {
        let parameters = with_one(more);
        let reader = Reader { parameters: &parameters, ..reader(Handling::Lenient) };
        read_by(&reader, url).map(|query| assert_eq!(query.ignored, []))
    };
    let (values, repeated) = ("Patient?-own=a,b", "Patient?-own=a&-own=b");
    assert_eq!(check(r#""multipleOr": true, "multipleAnd": true"#, values), Ok(()));
    assert_eq!(check(r#""multipleOr": true, "multipleAnd": true"#, repeated), Ok(()));
    let error = check(r#""multipleOr": false"#, values).unwrap_err();
    check_error(&error, "-own", Place::Value(2), "more than 1 value of this parameter");
    let error = check(r#""multipleAnd": false"#, repeated).unwrap_err();
    check_error(&error, "-own", Place::Name(0), "this is given more than once");
    let error = check(r#""modifier": ["exact"]"#, "Patient?-own:contains=a").unwrap_err();
    check_error(&error, "-own:contains", Place::Name(5), "'contains' is no modifier");
}
