//! FHIRPath Patch: each operation on each kind of element.

#![expect(clippy::unwrap_used, reason = "a test may fail at once")]

use fhir_core::Resource;
use fhir_core::json::Document;
use fhir_patch::{FhirPathPatch, Limits, PatchError, PatchProblem};
use fhir_schema::Schema;
use proptest::prelude::*;

const LIMITS: Limits = Limits { bytes: 10_000 };

fn apply(target: &str, patch: &str) -> Result<String, PatchError> {
    let [target, patch] = [target, patch].map(|text| {
        Document::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{error}: {text}"))
    });
    let patch = FhirPathPatch::read(&Resource::new(patch.root()).unwrap())?;
    let patched = patch.apply(Schema::r4(), target.root(), &LIMITS)?;
    Ok(String::from_utf8(patched).unwrap())
}

/// A patch of operations, each given by its parts but the type: `"path=Patient.active"`, the
/// value as the JSON of its part's inside.
fn patch(operations: &[&str]) -> String {
    let operations: Vec<_> = operations
        .iter()
        .map(|operation| format!(r#"{{"name":"operation","part":[{operation}]}}"#))
        .collect();
    format!(r#"{{"resourceType":"Parameters","parameter":[{}]}}"#, operations.join(","))
}

fn of_type(of: &str, path: &str) -> String {
    format!(r#"{{"name":"type","valueCode":"{of}"}},{{"name":"path","valueString":"{path}"}}"#)
}

fn add(path: &str, name: &str, value: &str) -> String {
    format!(
        r#"{},{{"name":"name","valueString":"{name}"}},{{"name":"value",{value}}}"#,
        of_type("add", path)
    )
}

fn insert(path: &str, index: i32, value: &str) -> String {
    format!(
        r#"{},{{"name":"index","valueInteger":{index}}},{{"name":"value",{value}}}"#,
        of_type("insert", path)
    )
}

fn delete(path: &str) -> String {
    of_type("delete", path)
}

fn replace(path: &str, value: &str) -> String {
    format!(r#"{},{{"name":"value",{value}}}"#, of_type("replace", path))
}

fn reorder(path: &str, source: i32, destination: i32) -> String {
    format!(
        r#"{},{{"name":"source","valueInteger":{source}}},{{"name":"destination","valueInteger":{destination}}}"#,
        of_type("move", path)
    )
}

fn of(resource_type: &str, members: &str) -> String {
    let comma = if members.is_empty() { "" } else { "," };
    format!(r#"{{"resourceType":"{resource_type}"{comma}{members}}}"#)
}

/// What an operation makes of a Patient with these members.
#[track_caller]
fn check(before: &str, operation: &str, after: &str) {
    let patched = apply(&of("Patient", before), &patch(&[operation]));
    assert_eq!(patched.unwrap(), of("Patient", after), "{operation}");
}

#[track_caller]
fn check_of(resource_type: &str, before: &str, operation: &str, after: &str) {
    let patched = apply(&of(resource_type, before), &patch(&[operation]));
    assert_eq!(patched.unwrap(), of(resource_type, after), "{operation}");
}

#[track_caller]
fn refused(resource_type: &str, before: &str, operation: &str, said: &str) -> PatchError {
    let error = apply(&of(resource_type, before), &patch(&[operation])).unwrap_err();
    assert!(error.to_string().contains(said), "{operation}: {error}");
    assert_eq!(error.operation, Some(0));
    error
}

const BIRTH: &str = r#""birthDate":"1920-01-01""#;

#[test]
fn a_primitive_is_added_replaced_and_deleted() {
    // HTTP-117
    check("", &add("Patient", "birthDate", r#""valueDate":"1920-01-01""#), BIRTH);
    check(BIRTH, &replace("Patient.birthDate", r#""valueDate":"1930""#), r#""birthDate":"1930""#);
    check(BIRTH, &delete("Patient.birthDate"), "");
    let contact = r#""contact":[{"name":{"text":"a"},"gender":"male"}]"#;
    check(
        contact,
        &replace("Patient.contact[0].gender", r#""valueCode":"female""#),
        r#""contact":[{"name":{"text":"a"},"gender":"female"}]"#,
    );
    check(
        r#""contact":[{"name":{"text":"a"}}]"#,
        &add("Patient.contact[0]", "gender", r#""valueCode":"male""#),
        contact,
    );
    check(
        contact,
        &replace("Patient.contact.where(gender = 'male').name.text", r#""valueString":"b""#),
        r#""contact":[{"name":{"text":"b"},"gender":"male"}]"#,
    );
}

#[test]
fn what_is_left_without_content_goes_with_what_is_deleted() {
    // HTTP-117
    let contact = r#""contact":[{"name":{"text":"a"},"gender":"male"}]"#;
    check(contact, &delete("Patient.contact[0].name.text"), r#""contact":[{"gender":"male"}]"#);
    check(r#""contact":[{"name":{"text":"a"}}]"#, &delete("Patient.contact.name.text"), "");
    check(
        r#""contact":[{"name":{"text":"a"}},{"gender":"male"}]"#,
        &delete("Patient.contact[0].name"),
        r#""contact":[{"gender":"male"}]"#,
    );
}

#[test]
fn a_complex_element_is_added_replaced_and_deleted() {
    // HTTP-117
    let married = r#""maritalStatus":{"id":"1","text":"married"}"#;
    check(
        "",
        &add("Patient", "maritalStatus", r#""valueCodeableConcept":{"id":"1","text":"married"}"#),
        married,
    );
    check(
        married,
        &replace("Patient.maritalStatus", r#""valueCodeableConcept":{"id":"2"}"#),
        r#""maritalStatus":{"id":"2"}"#,
    );
    check(married, &delete("Patient.maritalStatus"), "");
}

#[test]
fn an_element_without_a_name_for_its_type_is_given_in_parts() {
    // HTTP-119
    check(
        "",
        &add(
            "Patient",
            "contact",
            r#""part":[{"name":"name","valueHumanName":{"text":"a"}},{"name":"telecom","valueContactPoint":{"value":"1"}},{"name":"telecom","valueContactPoint":{"value":"2"}},{"name":"gender","valueCode":"male"}]"#,
        ),
        r#""contact":[{"name":{"text":"a"},"telecom":[{"value":"1"},{"value":"2"}],"gender":"male"}]"#,
    );
    check_of(
        "Questionnaire",
        r#""status":"draft""#,
        &add(
            "Questionnaire",
            "item",
            r#""part":[{"name":"linkId","valueString":"1"},{"name":"item","part":[{"name":"linkId","valueString":"1.1"},{"name":"initial","part":[{"name":"value","valueDecimal":1.50}]}]}]"#,
        ),
        r#""status":"draft","item":[{"linkId":"1","item":[{"linkId":"1.1","initial":[{"valueDecimal":1.50}]}]}]"#,
    );
    refused(
        "Patient",
        "",
        &add("Patient", "contact", r#""part":[{"name":"nick","valueString":"a"}]"#),
        "nick",
    );
    refused("Patient", "", &add("Patient", "contact", r#""part":[]"#), "no parts");
    refused(
        "Patient",
        "",
        &add("Patient", "birthDate", r#""part":[{"name":"x","valueString":"a"}]"#),
        "of type date",
    );
}

const IDS: &str = r#""identifier":[{"value":"1"},{"value":"2"},{"value":"3"},{"value":"4"}]"#;

fn ids(values: &[u8]) -> String {
    let values: Vec<_> = values.iter().map(|it| format!(r#"{{"value":"{it}"}}"#)).collect();
    format!(r#""identifier":[{}]"#, values.join(","))
}

#[test]
fn an_item_is_inserted_at_its_index_and_added_at_the_end() {
    // HTTP-117, HTTP-118
    let nine = r#""valueIdentifier":{"value":"9"}"#;
    for (index, after) in [(0, [9, 1, 2, 3, 4]), (1, [1, 9, 2, 3, 4]), (4, [1, 2, 3, 4, 9])] {
        check(IDS, &insert("Patient.identifier", index, nine), &ids(&after));
    }
    check(IDS, &add("Patient", "identifier", nine), &ids(&[1, 2, 3, 4, 9]));
    check("", &add("Patient", "identifier", nine), &ids(&[9]));
    refused("Patient", IDS, &insert("Patient.identifier", 5, nine), "no index 5");
    refused("Patient", "", &insert("Patient.identifier", 0, nine), "use add");
    let some = "Patient.identifier.where(value < '3')";
    refused("Patient", IDS, &insert(some, 0, nine), "must find a list");
    refused("Patient", BIRTH, &insert("Patient.birthDate", 0, r#""valueDate":"1930""#), "list");
    refused("Patient", IDS, &insert("Patient.identifier", -1, nine), "valueInteger from 0");
}

#[test]
fn an_item_is_moved_to_the_index_that_it_then_has() {
    // HTTP-117
    for (source, destination, after) in [
        (3, 1, [1, 4, 2, 3]),
        (3, 0, [4, 1, 2, 3]),
        (3, 2, [1, 2, 4, 3]),
        (0, 3, [2, 3, 4, 1]),
        (1, 1, [1, 2, 3, 4]),
    ] {
        check(IDS, &reorder("Patient.identifier", source, destination), &ids(&after));
    }
    refused("Patient", IDS, &reorder("Patient.identifier", 4, 0), "no source 4");
    refused("Patient", IDS, &reorder("Patient.identifier", 0, 4), "no destination 4");
}

#[test]
fn only_one_element_is_changed_and_only_deleting_none_is_no_error() {
    // HTTP-118
    check(IDS, &delete("Patient.identifier[1]"), &ids(&[1, 3, 4]));
    check(IDS, &delete("Patient.identifier.where(value = '4')"), &ids(&[1, 2, 3]));
    check(IDS, &delete("Patient.identifier[7]"), IDS);
    check(IDS, &delete("Patient.maritalStatus"), IDS);
    for path in ["Patient.identifier", "Patient.identifier.value"] {
        refused("Patient", IDS, &delete(path), "4 elements");
        refused("Patient", IDS, &replace(path, r#""valueString":"x""#), "4 elements");
        refused("Patient", IDS, &add(path, "use", r#""valueCode":"usual""#), "4 elements");
    }
    for operation in [
        replace("Patient.birthDate", r#""valueDate":"1930""#),
        add("Patient.contact", "gender", r#""valueCode":"male""#),
        reorder("Patient.name", 0, 0),
    ] {
        refused("Patient", IDS, &operation, "finds no");
    }
    refused("Patient", IDS, &delete("Patient"), "whole resource");
    refused("Patient", IDS, &delete("Patient.identifier[0].value + 'x'"), "no element");
}

#[test]
fn what_stands_there_once_is_added_once() {
    let error =
        refused("Patient", BIRTH, &add("Patient", "birthDate", r#""valueDate":"1930""#), "replace");
    assert_eq!(error.expression, "Patient");
    let deceased = add("Patient", "deceased", r#""valueDateTime":"2020""#);
    check("", &deceased, r#""deceasedDateTime":"2020""#);
    refused("Patient", r#""deceasedBoolean":true"#, &deceased, "deceased already");
    refused(
        "Patient",
        r#""_birthDate":{"id":"x"}"#,
        &add("Patient", "birthDate", r#""valueDate":"1930""#),
        "already",
    );
}

#[test]
fn a_choice_of_types_becomes_what_its_value_is() {
    let value = r#""status":"final","valueString":"x","note":[{"text":"y"}]"#;
    check_of(
        "Observation",
        value,
        &replace("Observation.value", r#""valueQuantity":{"value":1.0}"#),
        r#""status":"final","valueQuantity":{"value":1.0},"note":[{"text":"y"}]"#,
    );
    check_of(
        "Observation",
        r#""valueString":"x","_valueString":{"id":"i"}"#,
        &replace("Observation.value", r#""valueInteger":3"#),
        r#""valueInteger":3"#,
    );
    check_of(
        "Observation",
        value,
        &delete("Observation.value"),
        r#""status":"final","note":[{"text":"y"}]"#,
    );
    refused(
        "Observation",
        value,
        &replace("Observation.value", r#""valueHumanName":{"text":"x"}"#),
        "CodeableConcept",
    );
}

#[test]
fn the_type_of_a_value_must_be_that_of_its_place() {
    for (name, value, said) in [
        ("birthDate", r#""valueBoolean":true"#, "of type date"),
        ("active", r#""valueString":"true""#, "of type boolean"),
        ("maritalStatus", r#""valueCoding":{"code":"M"}"#, "of type CodeableConcept"),
        ("contact", r#""valueHumanName":{"text":"x"}"#, "of type BackboneElement"),
        ("contained", r#""valueString":"x""#, "of type Resource"),
        ("name", r#""resource":{"resourceType":"Patient"}"#, "a resource"),
        ("nick", r#""valueString":"x""#, "no element \"nick\""),
        ("resourceType", r#""valueString":"Person""#, "no element"),
        ("_birthDate", r#""valueString":"x""#, "no element"),
        ("birthDate", r#""id":"x""#, "missing"),
        ("birthDate", r#""valueDate":"1930","valueString":"x""#, "one value[x]"),
    ] {
        refused("Patient", "", &add("Patient", name, value), said);
    }
    check("", &add("Patient", "id", r#""valueString":"x""#), r#""id":"x""#);
    check_of(
        "Observation",
        r#""referenceRange":[{"text":"x"}]"#,
        &add("Observation.referenceRange", "low", r#""valueQuantity":{"value":1}"#),
        r#""referenceRange":[{"text":"x","low":{"value":1}}]"#,
    );
    check(
        r#""text":{"status":"generated","div":"<div/>"}"#,
        &replace("Patient.text.div", r#""valueString":"<div>x</div>""#),
        r#""text":{"status":"generated","div":"<div>x</div>"}"#,
    );
}

#[test]
fn resources_stand_within_resources() {
    let contained = r#""contained":[{"resourceType":"Organization","id":"o","name":"x"}]"#;
    check(
        "",
        &add(
            "Patient",
            "contained",
            r#""resource":{"resourceType":"Organization","id":"o","name":"x"}"#,
        ),
        contained,
    );
    check(
        contained,
        &replace("Patient.contained[0].name", r#""valueString":"y""#),
        r#""contained":[{"resourceType":"Organization","id":"o","name":"y"}]"#,
    );
    check(
        contained,
        &add("Patient.contained.where(id = 'o')", "alias", r#""valueString":"z""#),
        r#""contained":[{"resourceType":"Organization","id":"o","name":"x","alias":["z"]}]"#,
    );
    let referred = format!(r##"{contained},"managingOrganization":{{"reference":"#o"}}"##);
    check(
        &referred,
        &replace("Patient.managingOrganization.resolve().name", r#""valueString":"y""#),
        &referred.replace("\"x\"", "\"y\""),
    );
    // What lies outside is not found.
    refused(
        "Patient",
        r#""managingOrganization":{"reference":"Organization/1"}"#,
        &replace("Patient.managingOrganization.resolve().name", r#""valueString":"y""#),
        "finds no element",
    );
}

#[test]
fn a_primitive_keeps_or_gets_what_stands_beside_it() {
    // HTTP-115
    let url = r#""extension":[{"url":"u","valueString":"e"}]"#;
    let beside = format!(r#"{BIRTH},"_birthDate":{{{url}}}"#);
    check(
        BIRTH,
        &add(
            "Patient.birthDate",
            "extension",
            r#""part":[{"name":"url","valueUri":"u"},{"name":"value","valueString":"e"}]"#,
        ),
        &beside,
    );
    check(&beside, &delete("Patient.birthDate.extension[0]"), BIRTH);
    check(&beside, &delete("Patient.birthDate"), "");
    check(
        &beside,
        &replace("Patient.birthDate.extension[0].value", r#""valueBoolean":true"#),
        &format!(r#"{BIRTH},"_birthDate":{{"extension":[{{"url":"u","valueBoolean":true}}]}}"#),
    );
    check(
        "",
        &add("Patient", "birthDate", r#""valueDate":"1930","_valueDate":{"id":"i"}"#),
        r#""birthDate":"1930","_birthDate":{"id":"i"}"#,
    );
    check(&format!(r#""_birthDate":{{{url}}}"#), &delete("Patient.birthDate.extension"), "");
    check(
        &format!(r#""_birthDate":{{{url}}}"#),
        &replace("Patient.birthDate", r#""valueDate":"1930""#),
        r#""birthDate":"1930""#,
    );
}

#[test]
fn lists_of_primitives_keep_in_step_with_what_stands_beside_them() {
    // HTTP-115
    let name = |inner: &str| format!(r#""name":[{{{inner}}}]"#);
    let given = name(r#""given":["a",null,"c"],"_given":[{"id":"1"},{"id":"2"},null]"#);
    let path = "Patient.name[0].given";
    check(
        &given,
        &insert(path, 1, r#""valueString":"x","_valueString":{"id":"9"}"#),
        &name(r#""given":["a","x",null,"c"],"_given":[{"id":"1"},{"id":"9"},{"id":"2"},null]"#),
    );
    check(
        &given,
        &reorder(path, 0, 2),
        &name(r#""given":[null,"c","a"],"_given":[{"id":"2"},null,{"id":"1"}]"#),
    );
    check(
        &given,
        &delete("Patient.name[0].given[1]"),
        &name(r#""given":["a","c"],"_given":[{"id":"1"},null]"#),
    );
    check(
        &given,
        &replace("Patient.name[0].given[1]", r#""valueString":"b""#),
        &name(r#""given":["a","b","c"],"_given":[{"id":"1"},null,null]"#),
    );
    check(
        &name(r#""given":["a","b"]"#),
        &add(
            "Patient.name[0].given[1]",
            "extension",
            r#""part":[{"name":"url","valueUri":"u"},{"name":"value","valueCode":"c"}]"#,
        ),
        &name(r#""given":["a","b"],"_given":[null,{"extension":[{"url":"u","valueCode":"c"}]}]"#),
    );
    check(
        &name(r#""given":["a","b"],"_given":[null,{"id":"2"}]"#),
        &delete("Patient.name[0].given[1]"),
        &name(r#""given":["a"]"#),
    );
    check(
        &name(r#""given":["a","b"],"_given":[null,{"extension":[{"url":"u","valueCode":"c"}]}]"#),
        &delete("Patient.name[0].given[1].extension"),
        &name(r#""given":["a","b"]"#),
    );
}

#[test]
fn each_operation_sees_what_those_before_it_did_and_one_that_fails_undoes_all() {
    // HTTP-117
    let add_contact = add("Patient", "contact", r#""part":[{"name":"gender","valueCode":"male"}]"#);
    let both = [add_contact, replace("Patient.contact[0].gender", r#""valueCode":"female""#)];
    let both = both.each_ref().map(String::as_str);
    let patched = apply(&of("Patient", ""), &patch(&both)).unwrap();
    assert_eq!(patched, of("Patient", r#""contact":[{"gender":"female"}]"#));
    let fails = replace("Patient.contact[1].gender", r#""valueCode":"other""#);
    let error = apply(&of("Patient", ""), &patch(&[both[0], &fails])).unwrap_err();
    assert_eq!(error.operation, Some(1));
    assert_eq!(error.issue().expression, ["Patient.contact[1].gender"]);
    assert!(error.to_string().starts_with("operation 1 (Patient.contact[1].gender): "), "{error}");
    assert_eq!(apply(&of("Patient", BIRTH), &patch(&[])).unwrap(), of("Patient", BIRTH));
}

#[test]
fn numbers_stay_as_they_were_written() {
    check_of(
        "Observation",
        r#""valueQuantity":{"value":71.50}"#,
        &add("Observation", "status", r#""valueCode":"final""#),
        r#""valueQuantity":{"value":71.50},"status":"final""#,
    );
    check_of(
        "Observation",
        r#""valueQuantity":{"value":71.50}"#,
        &replace("Observation.value.value", r#""valueDecimal":1.00000000000000000001"#),
        r#""valueQuantity":{"value":1.00000000000000000001}"#,
    );
}

#[test]
fn what_is_no_patch_is_refused_where_it_stands() {
    // HTTP-122
    let part = |text: &str| patch(&[text]);
    for (text, expression) in [
        (of("Patient", ""), "resourceType"),
        (of("Parameters", r#""parameter":{}"#), "Parameters.parameter"),
        (of("Parameters", r#""parameter":[1]"#), "Parameters.parameter[0]"),
        (of("Parameters", r#""parameter":[{"name":"op"}]"#), "Parameters.parameter[0]"),
        (part(""), "Parameters.parameter[0]"),
        (part(&of_type("put", "Patient")), "Parameters.parameter[0]"),
        (part(&of_type("add", "Patient")), "Parameters.parameter[0]"),
        (part(&of_type("delete", "Patient..x")), "Parameters.parameter[0]"),
        (part(&format!("{},{}", delete("Patient"), delete("Patient"))), "Parameters.parameter[0]"),
        (part(&format!(r#"{},{{"name":"what"}}"#, delete("Patient"))), "Parameters.parameter[0]"),
        (
            part(r#"{"name":"type","valueCode":"delete"},{"name":"path","valueInteger":1}"#),
            "Parameters.parameter[0]",
        ),
    ] {
        let error = apply(&of("Patient", ""), &text).unwrap_err();
        assert!(matches!(error.problem, PatchProblem::Malformed(_)), "{text}: {error}");
        assert_eq!(error.expression, expression, "{text}");
    }
}

#[test]
fn what_a_patch_may_cost_is_bounded() {
    let many = vec![delete("Patient.name"); 1_001];
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let error = apply(&of("Patient", ""), &patch(&many)).unwrap_err();
    assert!(matches!(error.problem, PatchProblem::TooCostly(_)));
    let long = format!(r#""valueString":"{}""#, "x".repeat(10_000));
    let long = add("Patient", "language", &long);
    let error = refused("Patient", "", &long, "longer");
    assert!(matches!(error.problem, PatchProblem::TooCostly(_)));
    let costly = "Patient.descendants().where(%resource.descendants().where(\
                  %resource.descendants().where($this = 'x').exists()).exists())";
    refused("Patient", &ids(&[1; 200]), &delete(costly), "its path fails");
}

/// Where many elements are found none of them is looked for, and in a long list not each.
#[test]
fn a_path_that_finds_very_many_elements_is_refused_soon() {
    let given = vec!["\"a\""; 100_000].join(",");
    let members = format!(r#""name":[{{"given":[{given}]}}]"#);
    let found = refused("Patient", &members, &delete("Patient.name.given"), "finds 100000");
    assert!(matches!(found.problem, PatchProblem::Inapplicable(_)));
    let moved = reorder("Patient.name.given", 1, 0);
    let costly = refused("Patient", &members, &moved, "too long");
    assert!(matches!(costly.problem, PatchProblem::TooCostly(_)));
}

const WHOLE: &str = r#"{"resourceType":"Patient","id":"p","contained":[{"resourceType":"Organization","id":"o"}],"name":[{"given":["a",null],"_given":[null,{"id":"x"}],"family":"f"},{"text":"t"}],"_birthDate":{"extension":[{"url":"u","valueQuantity":{"value":1.0}}]},"deceasedBoolean":false,"contact":[{"gender":"male","telecom":[{"rank":1}]}],"extra":[[1,{}],{}],"_gender":[null]}"#;

proptest! {
    #[test]
    fn any_patch_is_applied_or_refused(
        operations in prop::collection::vec((
            "(add|insert|delete|replace|move)",
            r"(Patient|descendants\(\)|name|contained|extra)(\.(name|given|extension|value|contact|telecom|contained|deceased|birthDate|gender|extra|children\(\)|first\(\)|id|family))?(\.(given|extension|value|id|rank|first\(\)|last\(\)))?(\[[0-2]\])?",
            "(given|extension|value|name|id|contact|telecom|deceased|family|contained|birthDate|_x)",
            prop::sample::select(vec![
                r#""valueString":"s""#, r#""valueCode":"c","_valueCode":{"id":"1"}"#,
                r#""valueBoolean":true"#, r#""valueHumanName":{"text":"t"}"#,
                r#""part":[{"name":"url","valueUri":"u"}]"#, r#""part":[{"name":"gender","valueCode":"x"}]"#,
                r#""resource":{"resourceType":"Basic"}"#, r#""valueDecimal":1.0"#, r#""valueX":1"#,
            ]),
            0..4,
            0..4,
        ), 1..6),
    ) {
        let operations: Vec<String> = operations
            .iter()
            .map(|(of, path, name, value, one, other)| match of.as_str() {
                "add" => add(path, name, value),
                "insert" => insert(path, *one, value),
                "delete" => delete(path),
                "replace" => replace(path, value),
                _ => reorder(path, *one, *other),
            })
            .collect();
        let operations: Vec<&str> = operations.iter().map(String::as_str).collect();
        if let Ok(patched) = apply(WHOLE, &patch(&operations)) {
            let document = Document::parse(patched.as_bytes()).unwrap();
            prop_assert!(Resource::new(document.root()).is_ok());
        }
    }

    #[test]
    fn any_target_is_patched_or_refused(
        target in r#"\{"resourceType":"(Patient|X|Parameters)"(,"(name|birthDate|_birthDate|given)":(\{\}|\[\]|null|1|\[null,\{\}\]|\{"given":1\}|\[\{"given":\["a"\]\}\])){0,1}\}"#,
        path in r"(Patient|Parameters|name|birthDate)(\.(given|extension|id))?",
    ) {
        let value = r#""valueString":"s""#;
        for operation in [
            add(&path, "given", value), insert(&path, 0, value), delete(&path),
            replace(&path, value), reorder(&path, 0, 0),
            add(&path, "extension", r#""part":[{"name":"url","valueUri":"u"}]"#),
        ] {
            if let Ok(patched) = apply(&target, &patch(&[&operation])) {
                prop_assert!(Document::parse(patched.as_bytes()).is_ok());
            }
        }
    }
}
