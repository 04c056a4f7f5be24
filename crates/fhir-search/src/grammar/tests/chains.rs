//! Chains and `_has`.

use super::{Handling, check_error, clause, clauses, lenient, read_by, reader, refused, strict};
use crate::{Place, QueryProblem};

const MALE: &str = "gender Code { system: Any, code: \"male\" }";

#[test]
fn a_chain_asks_of_what_is_referred_to() {
    // SRCH-160, SRCH-162, SRCH-163, SRCH-165
    let male = format!("patient -> (Patient: {MALE})");
    assert_eq!(clause("Observation?patient.gender=male"), male);
    assert_eq!(
        clause("Observation?subject:Patient.gender=male"),
        format!("subject -> (Patient: {MALE})")
    );
    assert_eq!(
        clause("Observation?patient.organization.name=x"),
        "patient -> (Patient: organization -> (Organization: name Start 'x'))"
    );
    let query = strict("Observation?patient.gender=male&patient.identifier=s|1");
    assert_eq!(clauses(&query).len(), 2);
    assert_eq!(
        clause("Observation?patient._id=a"),
        "patient -> (Patient: _id Code { system: Any, code: \"a\" })"
    );
    assert_eq!(clause("Observation?patient.name:exact=X"), "patient -> (Patient: name Exact 'X')");
    strict("Observation?patient._lastUpdated=gt2020");
    strict("Observation?patient._text=word");
}

#[test]
fn an_untyped_chain_leads_to_every_type_that_has_the_parameter() {
    // SRCH-161
    let url = "Observation?subject.name=x";
    assert_eq!(clause(url), "subject -> (Patient: name Start 'x'; Location: name Start 'x')");
    let error = read_by(&reader(Handling::Strict), url).unwrap_err();
    check_error(&error, "subject.name", Place::Name(0), "'subject' may lead to Patient, Location");
    // Only one of the types has it.
    assert_eq!(strict("Observation?subject.gender=male").types[0].clauses.len(), 1);
    // With a target of any type, every type that has it.
    let provenance = clause("Provenance?target.gender=male");
    assert!(provenance.contains("Patient: ") && provenance.contains("Practitioner: "));
}

#[test]
fn has_asks_of_what_refers_to_it() {
    // SRCH-037, SRCH-038, SRCH-039, SRCH-040
    assert_eq!(
        clause("Patient?_has:Observation:patient:status=final,amended"),
        "Observation.patient <- (status Code { system: Any, code: \"final\" } | \
         Code { system: Any, code: \"amended\" })"
    );
    assert_eq!(
        clause("Patient?_has:Observation:patient:_has:AuditEvent:entity:action=R"),
        "Observation.patient <- (AuditEvent.entity <- (action Code { system: Any, code: \"R\" }))"
    );
    assert_eq!(
        clause("Encounter?patient._has:Group:member:_id=102"),
        "patient -> (Patient: Group.member <- (_id Code { system: Any, code: \"102\" }))"
    );
    assert_eq!(
        clause("Patient?_has:Observation:patient:encounter.status=planned"),
        "Observation.patient <- (encounter -> (Encounter: status Code { system: Any, code: \
         \"planned\" }))"
    );
    let two = "Patient?_has:Observation:patient:code=a&_has:Observation:patient:status=final";
    assert_eq!(lenient(two).types[0].clauses.len(), 2);
}

#[test]
fn a_chain_that_leads_nowhere_is_refused_and_says_where() {
    // SRCH-121, SRCH-167
    for (name, at, text) in [
        ("subject:identifier.name", 8, "'identifier' is no modifier of 'subject' within a chain"),
        ("subject:Medication.code", 8, "'subject' does not refer to Medication"),
        ("code.name", 0, "'code' is of type token"),
        ("patient.foo", 8, "Patient, where this leads, has no search parameter 'foo'"),
        ("patient.organization.foo", 21, "Organization, where this leads"),
        ("subject.foo", 8, ""),
        ("patient._filter", 8, "'_filter' cannot stand here"),
        ("_has:Foo:patient:code", 5, "there is no resource type 'Foo'"),
        ("_has:Condition:foo:code", 15, "Condition, where this leads"),
        ("_has:Condition:code:code", 15, "'code' is of type token"),
        ("_has:Condition:patient:code", 15, "'patient' does not refer to Observation"),
        ("_has:Condition:evidence-detail:foo", 31, "Condition, where this leads"),
    ] {
        let error = refused(&format!("Observation?{name}=x"));
        check_error(&error, name, Place::Name(at), text);
    }
}

#[test]
fn a_type_is_searched_if_the_whole_chain_leads_on_from_it() {
    // SRCH-161
    assert_eq!(clause("Provenance?target.target.gender=male").matches("Provenance: ").count(), 1);
    let error = refused("Observation?subject.organization.foo=x");
    check_error(&error, "subject.organization.foo", Place::Name(8), "Group, where this leads");
}

#[test]
fn a_chain_that_leads_to_many_types_again_and_again_is_too_much() {
    // SRCH-162, SRCH-251
    let chain = format!("Task?{}_id=1", "focus.".repeat(8));
    let error = read_by(&reader(Handling::Lenient), &chain).unwrap_err();
    assert!(matches!(error.problem, QueryProblem::TooMany { what: "conditions", .. }), "{error}");
}

#[test]
fn where_the_expression_says_what_it_resolves_to_nothing_else_is_a_target() {
    // SRCH-160
    strict("Observation?patient.name=x");
    let error = read_by(&reader(Handling::Strict), "Observation?patient=Group/1").unwrap_err();
    check_error(&error, "patient", Place::Value(0), "'patient' does not refer to Group");
    refused("Observation?patient:Group.name=x");
    // Nor where the element has no other: another type's does, by the same definition.
    strict("Observation?encounter.status=planned");
    let error = read_by(&reader(Handling::Strict), "Observation?encounter=EpisodeOfCare/1");
    check_error(&error.unwrap_err(), "encounter", Place::Value(0), "'encounter' does not refer");
    // What may refer to anything does.
    strict("Provenance?target=Patient/1");
    strict("Provenance?target=Binary/1");
}
