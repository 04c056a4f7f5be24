//! Slices told apart in every way that R4 has.

mod support;

use support::{URL, assert_errors, with_profile};

#[test]
fn a_pattern_as_discriminator_is_a_value() {
    // VAL-071
    let elements = r#"{"id":"Patient.identifier","path":"Patient.identifier","slicing":{"discriminator":[{"type":"pattern","path":"type"}],"rules":"open"}},
        {"id":"Patient.identifier:mr","path":"Patient.identifier","sliceName":"mr","min":1},
        {"id":"Patient.identifier:mr.type","path":"Patient.identifier.type","min":1,"patternCodeableConcept":{"coding":[{"code":"MR"}]}}"#;
    assert_errors(
        elements,
        &[
            (r#""identifier":[{"type":{"coding":[{"code":"MR"}],"text":"x"}}]"#, &[]),
            (r#""identifier":[{"type":{"coding":[{"code":"DL"}]}}]"#, &["cardinality Patient"]),
        ],
    );
}

#[test]
fn a_discriminator_goes_through_a_slice_that_must_be_there() {
    // VAL-070, VAL-076
    let elements = r#"{"id":"Patient.identifier","path":"Patient.identifier","slicing":{"discriminator":[{"type":"value","path":"type.coding.code"}],"rules":"open"}},
        {"id":"Patient.identifier:mr","path":"Patient.identifier","sliceName":"mr","min":1},
        {"id":"Patient.identifier:mr.type","path":"Patient.identifier.type","min":1},
        {"id":"Patient.identifier:mr.type.coding","path":"Patient.identifier.type.coding","slicing":{"discriminator":[{"type":"value","path":"code"}],"rules":"open"}},
        {"id":"Patient.identifier:mr.type.coding:c","path":"Patient.identifier.type.coding","sliceName":"c","min":1},
        {"id":"Patient.identifier:mr.type.coding:c.code","path":"Patient.identifier.type.coding.code","min":1,"fixedCode":"MR"}"#;
    assert_errors(
        elements,
        &[
            (r#""identifier":[{"type":{"coding":[{"code":"x"},{"code":"MR"}]}}]"#, &[]),
            (r#""identifier":[{"type":{"coding":[{"code":"x"}]}}]"#, &["cardinality Patient"]),
        ],
    );
}

#[test]
fn a_discriminator_may_be_the_profile_that_is_met() {
    // VAL-074
    let profile = r#"{"id":"Bundle.entry","path":"Bundle.entry","slicing":{"discriminator":[{"type":"profile","path":"resource"}],"rules":"open"}},
        {"id":"Bundle.entry:weight","path":"Bundle.entry","sliceName":"weight","min":1,"max":"1"},
        {"id":"Bundle.entry:weight.resource","path":"Bundle.entry.resource","min":1,"type":[{"code":"Observation","profile":["http://hl7.org/fhir/StructureDefinition/bodyweight"]}]}"#;
    let validator = with_profile("Bundle", profile);
    let bundle = |code: &str| {
        format!(
            r#"{{"resourceType":"Bundle","type":"collection","entry":[{{"resource":{{"resourceType":"Observation","status":"final","category":[{{"coding":[{{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"vital-signs"}}]}}],"code":{{"coding":[{{"system":"http://loinc.org","code":"{code}"}}]}},"subject":{{"reference":"Patient/1"}},"effectiveDateTime":"2020-01-01","valueQuantity":{{"value":80,"unit":"kg","system":"http://unitsofmeasure.org","code":"kg"}}}}}}]}}"#
        )
    };
    let options = fhir_validation::Options { profiles: &[URL], ..Default::default() };
    let errors =
        |json: String| support::errors_of(&validator.validate_json(json.as_bytes(), &options));
    assert_eq!(errors(bundle("29463-7")), [""; 0]);
    // What does not meet it is in no slice, and why is not told of the entry.
    assert_eq!(errors(bundle("1-8")), ["cardinality Bundle"]);
}

#[test]
fn a_slice_may_be_sliced_again() {
    // VAL-081
    let elements = r#"{"id":"Patient.identifier","path":"Patient.identifier","slicing":{"discriminator":[{"type":"value","path":"system"}],"rules":"open"}},
        {"id":"Patient.identifier:a","path":"Patient.identifier","sliceName":"a","slicing":{"discriminator":[{"type":"value","path":"use"}],"rules":"open"}},
        {"id":"Patient.identifier:a.system","path":"Patient.identifier.system","min":1,"fixedUri":"urn:a"},
        {"id":"Patient.identifier:a/old","path":"Patient.identifier","sliceName":"a/old","max":"1"},
        {"id":"Patient.identifier:a/old.use","path":"Patient.identifier.use","min":1,"fixedCode":"old"}"#;
    let a = |use_code: &str| format!(r#"{{"system":"urn:a","use":"{use_code}","value":"1"}}"#);
    let of = |each: &[String]| format!(r#""identifier":[{}]"#, each.join(","));
    let old_elsewhere = a("old").replace("urn:a", "urn:b");
    assert_errors(
        elements,
        &[
            (&of(&[a("old"), a("usual"), a("usual")]), &[]),
            (&of(&[a("old"), old_elsewhere]), &[]),
            (&of(&[a("old"), a("old")]), &["cardinality Patient"]),
        ],
    );
}

#[test]
fn without_a_discriminator_what_meets_a_slice_is_in_it() {
    // VAL-082
    let elements = r#"{"id":"Patient.name","path":"Patient.name","slicing":{"rules":"open"}},
        {"id":"Patient.name:whole","path":"Patient.name","sliceName":"whole","min":1},
        {"id":"Patient.name:whole.family","path":"Patient.name.family","min":1},
        {"id":"Patient.name:whole.given","path":"Patient.name.given","min":1}"#;
    assert_errors(
        elements,
        &[
            (r#""name":[{"text":"x"},{"family":"a","given":["b"]}]"#, &[]),
            (r#""name":[{"family":"a"}]"#, &["cardinality Patient"]),
        ],
    );
}

#[test]
fn an_alternative_of_a_choice_is_a_slice_by_its_name() {
    // VAL-084
    let elements = r#"{"id":"Patient.deceasedDateTime","path":"Patient.deceasedDateTime","minValueDateTime":"2000-01-01"}"#;
    assert_errors(
        elements,
        &[
            (r#""deceasedDateTime":"2001""#, &[]),
            (r#""deceasedDateTime":"1999""#, &["min-value Patient.deceased"]),
            (r#""deceasedBoolean":true"#, &["type Patient.deceased", "slicing Patient.deceased"]),
        ],
    );
}

#[test]
fn what_is_in_no_other_slice_is_held_to_the_default_one() {
    // VAL-085
    let elements = r#"{"id":"Patient.identifier","path":"Patient.identifier","slicing":{"discriminator":[{"type":"value","path":"system"}],"rules":"closed"}},
        {"id":"Patient.identifier:a","path":"Patient.identifier","sliceName":"a"},
        {"id":"Patient.identifier:a.system","path":"Patient.identifier.system","min":1,"fixedUri":"urn:a"},
        {"id":"Patient.identifier:@default","path":"Patient.identifier","sliceName":"@default"},
        {"id":"Patient.identifier:@default.value","path":"Patient.identifier.value","min":1}"#;
    assert_errors(
        elements,
        &[
            (r#""identifier":[{"system":"urn:a"},{"system":"urn:b","value":"1"}]"#, &[]),
            (r#""identifier":[{"system":"urn:b"}]"#, &["cardinality Patient.identifier[0]"]),
        ],
    );
}

#[test]
fn a_value_set_tells_slices_apart_where_it_is_required() {
    // VAL-086
    let elements = r#"{"id":"Patient.telecom","path":"Patient.telecom","slicing":{"discriminator":[{"type":"value","path":"use"}],"rules":"open"}},
        {"id":"Patient.telecom:use","path":"Patient.telecom","sliceName":"use","max":"1"},
        {"id":"Patient.telecom:use.use","path":"Patient.telecom.use","min":1,"binding":{"strength":"required","valueSet":"http://hl7.org/fhir/ValueSet/contact-point-use"}}"#;
    assert_errors(
        elements,
        &[
            (
                r#""telecom":[{"system":"phone","value":"1","use":"home"},{"value":"2"}]"#,
                &["cpt-2 Patient.telecom[1]"],
            ),
            (
                r#""telecom":[{"value":"1","system":"phone","use":"home"},{"value":"2","system":"phone","use":"work"}]"#,
                &["cardinality Patient"],
            ),
        ],
    );
}

#[test]
fn a_target_that_is_not_there_is_of_no_slice() {
    // VAL-087
    let elements = r#"{"id":"Patient.generalPractitioner","path":"Patient.generalPractitioner","slicing":{"discriminator":[{"type":"value","path":"resolve().active"}],"rules":"open"}},
        {"id":"Patient.generalPractitioner:a","path":"Patient.generalPractitioner","sliceName":"a","min":1}"#;
    assert_errors(
        elements,
        &[(r#""generalPractitioner":[{"reference":"Practitioner/1"}]"#, &["cardinality Patient"])],
    );
}
