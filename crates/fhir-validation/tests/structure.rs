//! Elements, shapes, primitives, choices and cardinalities of base types.

mod support;

use support::errors;

/// A Patient with these members.
fn patient(members: &str) -> String {
    format!(r#"{{"resourceType":"Patient",{members}}}"#)
}

/// Each is a resource and all errors it has.
fn assert_errors(cases: &[(&str, &[&str])]) {
    for (json, expected) in cases {
        let json = if json.starts_with(['{', '[']) { (*json).to_owned() } else { patient(json) };
        assert_eq!(errors(&json), *expected, "{json}");
    }
}

#[test]
fn the_resource_type_is_known_wherever_it_stands() {
    // VAL-001
    assert_errors(&[
        (r#"{"active":true,"resourceType":"Patient"}"#, &[]),
        (r#"{"resourceType":"patient","active":true}"#, &["resource-type "]),
        (r#"{"resourceType":"Unknown","active":true}"#, &["resource-type "]),
        (r#"{"resourceType":"DomainResource"}"#, &["resource-type "]),
        (r#"{"active":true}"#, &["resource-type "]),
        (r#"[]"#, &["type "]),
    ]);
}

#[test]
fn an_unknown_property_is_an_error_at_its_path() {
    // VAL-002, VAL-010
    assert_errors(&[
        (r#""foo":1"#, &["unknown-property Patient.foo"]),
        (r#""name":[{"family":"a"},{"foo":1}]"#, &["unknown-property Patient.name[1].foo"]),
        (
            r##""contained":[{"resourceType":"Patient","id":"a","foo":1}],"link":[{"type":"seealso","other":{"reference":"#a"}}]"##,
            &["unknown-property Patient.contained[0].foo"],
        ),
        (r#""_name":[{"id":"a"}]"#, &["unknown-property Patient._name"]),
    ]);
}

#[test]
fn shapes_are_as_the_cardinality_says_and_one_mistake_is_one_error() {
    // VAL-003, VAL-004, VAL-009, VAL-011
    assert_errors(&[
        (r#""name":{}"#, &["array Patient.name"]),
        (r#""gender":["male"]"#, &["array Patient.gender"]),
        (r#""name":["x"]"#, &["type Patient.name[0]"]),
        (r#""gender":{"a":1}"#, &["type Patient.gender"]),
        (r#""name":[]"#, &["array Patient.name"]),
        (r#""name":[{}]"#, &["ele-1 Patient.name[0]"]),
        (r#""gender":null"#, &["null Patient.gender"]),
        (r#""name":null"#, &["array Patient.name"]),
        (r#""name":[{"family":""}]"#, &["type Patient.name[0].family"]),
        (r#""name":[{"id":"x"}]"#, &["ele-1 Patient.name[0]"]),
    ]);
}

#[test]
fn what_is_no_json_is_one_fatal_issue() {
    // VAL-005, VAL-006
    for json in [
        r#"{"resourceType":"Patient","active":true,"active":true}"#,
        r#"{"resourceType":"Patient"} x"#,
        r#"{"resourceType":"Patient","active":NaN}"#,
        r#"{"resourceType":"Patient"/* x */}"#,
        "{'resourceType':'Patient'}",
    ] {
        assert_eq!(errors(json).len(), 1, "{json}");
    }
}

#[test]
fn primitives_are_of_their_json_kind_and_their_type() {
    // VAL-007, VAL-027, VAL-054
    let long = "a".repeat(65);
    assert_errors(&[
        (r#""active":"true""#, &["type Patient.active"]),
        (r#""multipleBirthInteger":"1""#, &["type Patient.multipleBirth"]),
        (r#""multipleBirthInteger":true"#, &["type Patient.multipleBirth"]),
        (r#""name":[{"family":1}]"#, &["type Patient.name[0].family"]),
        (r#""birthDate":2020"#, &["type Patient.birthDate"]),
        (r#""birthDate":"2021-02-29""#, &["type Patient.birthDate"]),
        (r#""id":"a_b","active":true"#, &["type Patient.id"]),
        (&format!(r#""id":"{long}","active":true"#), &["type Patient.id"]),
        (r#""name":[{"id":"a_b","family":"x"}]"#, &[]),
    ]);
    let observation = |value: &str| {
        format!(
            r#"{{"resourceType":"Observation","status":"final","code":{{"text":"x"}},"valueQuantity":{{"value":{value}}}}}"#
        )
    };
    assert_errors(&[
        (&observation("1.0"), &[]),
        (&observation("\"1.0\""), &["type Observation.value.value"]),
    ]);
}

#[test]
fn extensions_of_primitives_stand_beside_them() {
    // VAL-045, VAL-046, VAL-047, VAL-048, VAL-125
    let absent = r#"{"extension":[{"url":"http://hl7.org/fhir/StructureDefinition/data-absent-reason","valueCode":"unknown"}]}"#;
    let only = format!(r#""_birthDate":{absent},"_gender":{absent}"#);
    let aligned = format!(r#""name":[{{"given":["a",null],"_given":[null,{absent}]}}]"#);
    let shorter = format!(r#""name":[{{"given":["a","b","c"],"_given":[{absent}]}}]"#);
    assert_errors(&[
        (&only, &[]),
        (r#""gender":"male","_gender":{"id":"a"}"#, &[]),
        (&aligned, &[]),
        (&shorter, &[]),
        (r#""name":[{"given":[null],"_given":[null]}]"#, &["null Patient.name[0].given[0]"]),
        (r#""name":[{"given":[null]}]"#, &["null Patient.name[0].given[0]"]),
        (r#""_birthDate":{"foo":1}"#, &["unknown-property Patient.birthDate.foo"]),
        (r#""_birthDate":"x""#, &["type Patient.birthDate"]),
    ]);
    let observation =
        format!(r#"{{"resourceType":"Observation","_status":{absent},"code":{{"text":"x"}}}}"#);
    assert_errors(&[(&observation, &[])]);
}

#[test]
fn a_choice_has_one_value_of_an_allowed_type() {
    // VAL-049, VAL-050
    let observation = |members: &str| {
        format!(
            r#"{{"resourceType":"Observation","status":"final","code":{{"text":"x"}},{members}}}"#
        )
    };
    assert_errors(&[
        (&observation(r#""valueString":"x""#), &[]),
        (&observation(r#""valueString":"x","valueInteger":1"#), &["cardinality Observation"]),
        (&observation(r#""valueDecimal":1"#), &["unknown-property Observation.valueDecimal"]),
        (&observation(r#""value":1"#), &["unknown-property Observation.value"]),
        (
            &observation(r#""valueString":"x","_valueInteger":{"id":"a"}"#),
            &["ele-1 Observation.value", "cardinality Observation"],
        ),
    ]);
}

#[test]
fn cardinality_is_counted_in_each_parent() {
    // VAL-052, VAL-060, VAL-061
    assert_errors(&[
        (
            r#""link":[{"type":"seealso"},{"other":{"display":"x"}}]"#,
            &["cardinality Patient.link[0]", "cardinality Patient.link[1]"],
        ),
        (
            r#"{"resourceType":"Observation"}"#,
            &["cardinality Observation", "cardinality Observation"],
        ),
        (
            r#"{"resourceType":"Questionnaire","status":"draft","item":[{"linkId":"1","type":"group","item":[{"linkId":"2"}]}]}"#,
            &["cardinality Questionnaire.item[0].item[0]"],
        ),
    ]);
}

#[test]
fn issues_say_line_and_column_and_how_to_mend() {
    // VAL-010
    let json = "{\n  \"resourceType\": \"Patient\",\n  \"gender\": 1\n}";
    let issues = support::r4().validate_json(json.as_bytes(), &Default::default());
    let issue = &issues[0];
    assert_eq!((issue.place.line, issue.place.column), (3, 13));
    assert!(issue.text.contains("string in quotes"), "{issue}");
}

#[test]
fn decimals_are_taken_as_they_are_written() {
    // VAL-008
    let observation = |value: &str| {
        format!(
            r#"{{"resourceType":"Observation","status":"final","code":{{"text":"x"}},"valueQuantity":{{"value":{value}}}}}"#
        )
    };
    for value in ["1.00", "1e-10", "0.123456789012345678", "123456789012345678901234567890.10"] {
        assert_eq!(errors(&observation(value)), [""; 0], "{value}");
    }
}

#[test]
fn xhtml_stands_in_a_narrative_alone() {
    // VAL-037
    let div = r#""<div xmlns=\"http://www.w3.org/1999/xhtml\">x</div>""#;
    assert_errors(&[
        (&format!(r#""text":{{"status":"generated","div":{div}}}"#), &[]),
        (
            &format!(r#""extension":[{{"url":"http://a/b","valueXhtml":{div}}}]"#),
            &["unknown-property Patient.extension[0].valueXhtml"],
        ),
        (
            &format!(r#""text":{{"status":"generated","div":{div},"_div":{{"id":"a"}}}}"#),
            &["unknown-property Patient.text._div"],
        ),
    ]);
}

#[test]
fn parameters_have_any_resource_and_parts_in_parts() {
    // VAL-053
    let parameters = |resource: &str| {
        format!(
            r#"{{"resourceType":"Parameters","parameter":[{{"name":"a","part":[{{"name":"b","resource":{resource}}}]}}]}}"#
        )
    };
    let resource = r#"{"resourceType":"Patient","gender":"M"}"#;
    assert_errors(&[
        (&parameters(r#"{"resourceType":"Patient","active":true}"#), &[]),
        (&parameters(resource), &["binding Parameters.parameter[0].part[0].resource.gender"]),
        (
            &parameters(r#"{"resourceType":"Nothing"}"#),
            &["resource-type Parameters.parameter[0].part[0].resource"],
        ),
    ]);
}

#[test]
fn what_supports_or_modifies_is_nothing_to_tell() {
    // VAL-066, VAL-067
    let json = r#"{"resourceType":"Patient","active":false,"deceasedBoolean":true}"#;
    let options = fhir_validation::Options {
        best_practices: fhir_validation::BestPractices::Silent,
        ..fhir_validation::Options::default()
    };
    assert_eq!(support::r4().validate_json(json.as_bytes(), &options), []);
    assert_eq!(errors(&patient(r#""active":false,"implicitRules":"http://a/rules""#)), [""; 0]);
}
