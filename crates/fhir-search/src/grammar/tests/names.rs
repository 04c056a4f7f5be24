//! Modifiers, and where names go wrong.

use super::{check_error, clause, refused, strict};
use crate::Place;

#[test]
fn commas_are_or_and_repeats_are_and() {
    // SRCH-013, SRCH-014, SRCH-003
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
