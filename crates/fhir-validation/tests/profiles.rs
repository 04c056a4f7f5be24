//! Profiles made for these tests: what each kind of demand finds, and what it lets pass.

mod support;

use fhir_validation::Options;
use support::{URL, assert_errors, with_profile};

/// `identifier`, sliced by its system into `a` (0..1) and `b`.
fn slices(slicing: &str) -> String {
    format!(
        r#"{{"id":"Patient.identifier","path":"Patient.identifier","slicing":{{"discriminator":[{{"type":"value","path":"system"}}],{slicing}}}}},
        {{"id":"Patient.identifier:a","path":"Patient.identifier","sliceName":"a","min":1,"max":"1"}},
        {{"id":"Patient.identifier:a.system","path":"Patient.identifier.system","min":1,"fixedUri":"urn:a"}},
        {{"id":"Patient.identifier:a.value","path":"Patient.identifier.value","min":1}},
        {{"id":"Patient.identifier:b","path":"Patient.identifier","sliceName":"b","min":0,"max":"*"}},
        {{"id":"Patient.identifier:b.system","path":"Patient.identifier.system","min":1,"fixedUri":"urn:b"}}"#
    )
}

const A: &str = r#"{"system":"urn:a","value":"1"}"#;
const B: &str = r#"{"system":"urn:b"}"#;
const C: &str = r#"{"system":"urn:c"}"#;

fn identifiers(each: &[&str]) -> String {
    format!(r#""identifier":[{}]"#, each.join(","))
}

#[test]
fn slices_have_their_own_cardinality_and_content() {
    // VAL-070, VAL-079
    assert_errors(
        &slices(r#""rules":"open""#),
        &[
            (&identifiers(&[A, B, C, B]), &[]),
            (&identifiers(&[B]), &["cardinality Patient"]),
            (&identifiers(&[A, A]), &["cardinality Patient"]),
            (&identifiers(&[r#"{"system":"urn:a"}"#]), &["cardinality Patient.identifier[0]"]),
        ],
    );
}

#[test]
fn what_is_in_no_slice_may_stand_where_the_rules_say() {
    // VAL-077, VAL-078
    assert_errors(
        &slices(r#""rules":"closed""#),
        &[
            (&identifiers(&[A, B]), &[]),
            (&identifiers(&[A, C]), &["slicing Patient.identifier[1]"]),
        ],
    );
    assert_errors(
        &slices(r#""rules":"openAtEnd""#),
        &[
            (&identifiers(&[A, B, C]), &[]),
            (&identifiers(&[A, C, B]), &["slicing Patient.identifier[2]"]),
        ],
    );
    assert_errors(
        &slices(r#""rules":"open","ordered":true"#),
        &[
            (&identifiers(&[A, B]), &[]),
            (&identifiers(&[B, A]), &["slicing Patient.identifier[1]"]),
        ],
    );
}

#[test]
fn an_occurrence_of_two_slices_is_ambiguous() {
    // VAL-075, VAL-080
    let elements = r#"{"id":"Patient.name","path":"Patient.name","slicing":{"discriminator":[{"type":"pattern","path":"$this"}],"rules":"open"}},
        {"id":"Patient.name:a","path":"Patient.name","sliceName":"a","patternHumanName":{"family":"x"}},
        {"id":"Patient.name:b","path":"Patient.name","sliceName":"b","patternHumanName":{"text":"y"}}"#;
    assert_errors(
        elements,
        &[
            (r#""name":[{"family":"x"},{"text":"y"}]"#, &[]),
            (r#""name":[{"family":"x","text":"y"}]"#, &["slicing Patient.name[0]"]),
        ],
    );
}

#[test]
fn slices_are_told_apart_by_existence_and_by_type() {
    // VAL-072, VAL-073
    let exists = r#"{"id":"Patient.name","path":"Patient.name","slicing":{"discriminator":[{"type":"exists","path":"family"}],"rules":"open"}},
        {"id":"Patient.name:with","path":"Patient.name","sliceName":"with","max":"1"},
        {"id":"Patient.name:with.family","path":"Patient.name.family","min":1},
        {"id":"Patient.name:without","path":"Patient.name","sliceName":"without"},
        {"id":"Patient.name:without.family","path":"Patient.name.family","max":"0"},
        {"id":"Patient.name:without.text","path":"Patient.name.text","min":1}"#;
    assert_errors(
        exists,
        &[
            (r#""name":[{"family":"x"},{"text":"y"}]"#, &[]),
            (r#""name":[{"family":"x"},{"family":"y"}]"#, &["cardinality Patient"]),
            (r#""name":[{"given":["y"]}]"#, &["cardinality Patient.name[0]"]),
        ],
    );
    let by_type = r#"{"id":"Patient.deceased[x]","path":"Patient.deceased[x]","slicing":{"discriminator":[{"type":"type","path":"$this"}],"rules":"closed"}},
        {"id":"Patient.deceased[x]:deceasedBoolean","path":"Patient.deceased[x]","sliceName":"deceasedBoolean","type":[{"code":"boolean"}],"min":0,"max":"1"}"#;
    assert_errors(
        by_type,
        &[
            (r#""deceasedBoolean":true"#, &[]),
            (r#""deceasedDateTime":"2020""#, &["slicing Patient.deceased"]),
        ],
    );
}

#[test]
fn values_are_as_the_profile_fixes_bounds_and_forbids_them() {
    // VAL-039, VAL-051, VAL-062, VAL-063, VAL-064
    let elements = r#"{"id":"Patient.active","path":"Patient.active","fixedBoolean":true},
        {"id":"Patient.photo","path":"Patient.photo","max":"0"},
        {"id":"Patient.name.family","path":"Patient.name.family","maxLength":3},
        {"id":"Patient.birthDate","path":"Patient.birthDate","minValueDate":"1900-01-01"},
        {"id":"Patient.multipleBirth[x]","path":"Patient.multipleBirth[x]","type":[{"code":"integer"}]},
        {"id":"Patient.maritalStatus","path":"Patient.maritalStatus","patternCodeableConcept":{"text":"m"}}"#;
    assert_errors(
        elements,
        &[
            (
                r#""active":true,"name":[{"family":"abc"}],"birthDate":"1990","multipleBirthInteger":2,"maritalStatus":{"text":"m","id":"x"}"#,
                &[],
            ),
            (r#""active":false"#, &["fixed Patient.active"]),
            (r#""photo":[{"title":"x"}]"#, &["cardinality Patient"]),
            (r#""name":[{"family":"abcd"}]"#, &["max-length Patient.name[0].family"]),
            (r#""birthDate":"1899-12-31""#, &["min-value Patient.birthDate"]),
            (r#""multipleBirthBoolean":true"#, &["type Patient.multipleBirth"]),
            (r#""maritalStatus":{"text":"n"}"#, &["pattern Patient.maritalStatus"]),
        ],
    );
}

#[test]
fn invariants_of_a_profile_hold_and_one_that_is_none_is_a_warning() {
    // VAL-107, VAL-112
    let constraint = |expression: &str, severity: &str| {
        format!(
            r#"{{"id":"Patient.name","path":"Patient.name","constraint":[{{"key":"p-1","severity":"{severity}","human":"has a family","expression":"{expression}"}}]}}"#
        )
    };
    let cases: [(&str, &str, usize, usize); 3] = [
        ("family.exists()", "error", 1, 0),
        ("family.exists()", "warning", 0, 1),
        ("family.exists(", "error", 0, 1),
    ];
    for (expression, severity, errors, warnings) in cases {
        let validator = with_profile("Patient", &constraint(expression, severity));
        let options = Options { profiles: &[URL], ..Options::default() };
        let json = br#"{"resourceType":"Patient","name":[{"text":"x"}]}"#;
        let issues = validator.validate_json(json, &options);
        let ours: Vec<_> = issues.iter().filter(|it| it.rule == "p-1").collect();
        let count = ours.iter().filter(|it| it.is_error()).count();
        assert_eq!((count, ours.len() - count), (errors, warnings), "{expression}: {issues:?}");
    }
}

#[test]
fn an_invariant_that_would_take_too_long_is_not_evaluated() {
    // VAL-108
    let letters = format!("'{}'.toChars()", "a".repeat(40));
    let long =
        format!("{letters}.select({letters}).select({letters}).select({letters}).all($this = 'a')");
    let validator = with_profile(
        "Patient",
        &format!(
            r#"{{"id":"Patient.active","path":"Patient.active","constraint":[{{"key":"p-1","severity":"error","human":"ends","expression":"{long}"}}]}}"#
        ),
    );
    let options = Options { profiles: &[URL], ..Options::default() };
    let json = br#"{"resourceType":"Patient","active":true}"#;
    let issues = validator.validate_json(json, &options);
    let ours: Vec<_> = issues.iter().filter(|it| it.rule == "p-1").collect();
    assert!(ours.len() == 1 && !ours[0].is_error(), "{ours:?}");
    assert!(ours[0].text.contains("was not evaluated"), "{}", ours[0].text);
}

#[test]
fn an_invariant_that_a_profile_inherits_is_told_once() {
    // VAL-109
    assert_errors(
        r#"{"id":"Patient.contact","path":"Patient.contact","min":0}"#,
        &[(r#""contact":[{"gender":"male"}]"#, &["pat-1 Patient.contact[0]"])],
    );
}

#[test]
fn a_value_set_is_that_of_the_version_which_the_binding_names() {
    // VAL-132
    let told = |version: &str| {
        let validator = with_profile(
            "Patient",
            &format!(
                r#"{{"id":"Patient.maritalStatus","path":"Patient.maritalStatus","binding":{{"strength":"required","valueSet":"http://hl7.org/fhir/ValueSet/marital-status|{version}"}}}}"#
            ),
        );
        let options = Options { profiles: &[URL], ..Options::default() };
        let json = br#"{"resourceType":"Patient","maritalStatus":{"coding":[{"system":"http://a/b","code":"x"}]}}"#;
        let issues = validator.validate_json(json, &options);
        let mut rules: Vec<_> = issues.iter().filter(|it| it.is_error()).collect();
        rules.extend(issues.iter().filter(|it| it.rule == "binding-unknown"));
        rules.iter().map(|it| it.rule.clone()).collect::<Vec<_>>()
    };
    assert_eq!(told("4.0.1"), ["binding"]);
    assert_eq!(told("9.9.9"), ["binding-unknown"]);
}

#[test]
fn a_profile_that_is_asked_for_must_be_there_and_be_for_the_type() {
    // VAL-152, VAL-193
    let errors = |profile: &str| {
        let options = Options { profiles: &[profile], ..Options::default() };
        let json = br#"{"resourceType":"Patient","active":true}"#;
        support::errors_of(&support::r4().validate_json(json, &options))
    };
    assert_eq!(errors("http://a/b"), ["profile-unknown Patient"]);
    assert_eq!(
        errors("http://hl7.org/fhir/StructureDefinition/bodyweight"),
        ["profile-type Patient"]
    );
}
