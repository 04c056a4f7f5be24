//! What references may lead to by a profile, and expressions in invariants.

mod support;

use fhir_core::Severity;
use fhir_validation::Options;
use support::{URL, assert_errors, errors, r4, with_profile};

/// `managingOrganization` with a type of these members.
fn organization(members: &str) -> String {
    format!(
        r#"{{"id":"Patient.managingOrganization","path":"Patient.managingOrganization","type":[{{"code":"Reference","targetProfile":["http://hl7.org/fhir/StructureDefinition/Organization"],{members}}}]}}"#
    )
}

/// A Patient's members with a reference, and what is contained if it leads there.
fn refers(reference: &str) -> String {
    let contained = match reference.starts_with('#') {
        true => r#""contained":[{"resourceType":"Organization","id":"o","name":"x"}],"#,
        false => "",
    };
    format!(r#"{contained}"managingOrganization":{{"reference":"{reference}"}}"#)
}

#[test]
fn a_reference_leads_where_its_aggregation_says() {
    // VAL-145
    let place = "reference-aggregation Patient.managingOrganization";
    assert_errors(
        &organization(r#""aggregation":["contained"]"#),
        &[(&refers("#o"), &[]), (&refers("Organization/1"), &[place])],
    );
    assert_errors(
        &organization(r#""aggregation":["referenced"]"#),
        &[(&refers("#o"), &[place]), (&refers("Organization/1"), &[])],
    );
}

#[test]
fn a_reference_names_a_version_where_its_versioning_says() {
    // VAL-145
    let place = "reference-versioning Patient.managingOrganization";
    let (with, without) = ("Organization/1/_history/2", "Organization/1");
    assert_errors(
        &organization(r#""versioning":"specific""#),
        &[(&refers(with), &[]), (&refers(without), &[place])],
    );
    assert_errors(
        &organization(r#""versioning":"independent""#),
        &[(&refers(with), &[place]), (&refers(without), &[])],
    );
    assert_errors(
        &organization(r#""versioning":"either""#),
        &[(&refers(with), &[]), (&refers(without), &[])],
    );
}

#[test]
fn what_is_referred_to_meets_one_of_the_profiles_where_it_is_at_hand() {
    // VAL-144
    let validator = with_profile(
        "Observation",
        r#"{"id":"Observation.hasMember","path":"Observation.hasMember","type":[{"code":"Reference","targetProfile":["http://hl7.org/fhir/StructureDefinition/bodyweight"]}]}"#,
    );
    let observation = |id: &str, code: &str, members: &str| {
        format!(
            r#"{{"resourceType":"Observation","id":"{id}","status":"final","category":[{{"coding":[{{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"vital-signs"}}]}}],"code":{{"coding":[{{"system":"http://loinc.org","code":"{code}"}}]}},"subject":{{"reference":"Patient/1"}},"effectiveDateTime":"2020-01-01","valueQuantity":{{"value":80,"unit":"kg","system":"http://unitsofmeasure.org","code":"kg"}}{members}}}"#
        )
    };
    let refers =
        format!(r#","meta":{{"profile":["{URL}"]}},"hasMember":[{{"reference":"Observation/2"}}]"#);
    let bundle = |code: &str| {
        format!(
            r#"{{"resourceType":"Bundle","type":"collection","entry":[{{"resource":{}}},{{"resource":{}}}]}}"#,
            observation("1", "1-8", &refers),
            observation("2", code, &refers.replace("Observation/2", "Observation/1")),
        )
    };
    let errors = |json: String| {
        let issues = validator.validate_json(json.as_bytes(), &Options::default());
        let of_rule = issues.into_iter().filter(|it| it.rule == "reference-profile");
        of_rule.map(|it| it.expression).collect::<Vec<_>>()
    };
    let first = "Bundle.entry[0].resource.hasMember[0]";
    let second = "Bundle.entry[1].resource.hasMember[0]";
    assert_eq!(errors(bundle("29463-7")), [second]);
    assert_eq!(errors(bundle("1-8")), [first, second]);
}

#[test]
fn an_expression_may_use_what_fhir_adds_to_fhirpath() {
    // VAL-092, VAL-096, VAL-102, VAL-104, VAL-105
    let holds = |expression: &str| {
        let elements = format!(
            r#"{{"id":"Patient.name","path":"Patient.name","constraint":[{{"key":"p-1","severity":"error","human":"holds","expression":"{expression}"}}]}}"#
        );
        let validator = with_profile("Patient", &elements);
        let options = Options { profiles: &[URL], ..Options::default() };
        let json = br#"{"resourceType":"Patient","gender":"male","name":[{"use":"official","family":"x","given":["a","b"]}],"generalPractitioner":[{"reference":"Practitioner/1"}]}"#;
        let issues = validator.validate_json(json, &options);
        let ours: Vec<_> = issues.into_iter().filter(|it| it.rule == "p-1").collect();
        match &ours[..] {
            [] => "holds",
            [one] if one.severity == Severity::Error => "does not",
            _ => "not evaluated",
        }
    };
    for (expression, expected) in [
        ("family", "holds"),
        ("suffix.exists()", "does not"),
        ("given.as(string).count() = 2", "holds"),
        ("given.where($this is string).count() = 2", "holds"),
        ("%resource.generalPractitioner.resolve().exists() or true", "holds"),
        ("use.memberOf('http://hl7.org/fhir/ValueSet/name-use')", "holds"),
        ("use.memberOf('http://hl7.org/fhir/ValueSet/administrative-gender')", "does not"),
        ("use.memberOf(%`vs-name-use`)", "holds"),
        ("%resource.conformsTo('http://hl7.org/fhir/StructureDefinition/Patient')", "holds"),
        ("%ucum = 'http://unitsofmeasure.org'", "holds"),
        ("%sct = 'http://snomed.info/sct' and %loinc = 'http://loinc.org'", "holds"),
        ("%context.family = 'x' and %rootResource.gender = 'male'", "holds"),
        ("trace('t').family.exists()", "holds"),
        ("family.matches('^x$') and iif(family.exists(), true, 1 / 0 = 1)", "holds"),
    ] {
        assert_eq!(holds(expression), expected, "{expression}");
    }
}

#[test]
fn published_expressions_that_misfire_are_corrected() {
    // VAL-099, VAL-102
    let timing = |repeat: &str| {
        format!(
            r#"{{"resourceType":"MedicationRequest","status":"active","intent":"order","medicationCodeableConcept":{{"text":"x"}},"subject":{{"display":"x"}},"dosageInstruction":[{{"timing":{{"repeat":{repeat}}}}}]}}"#
        )
    };
    assert_eq!(errors(&timing(r#"{"offset":10,"when":["ACM","PCM"]}"#)), [""; 0]);
    assert_eq!(
        errors(&timing(r#"{"offset":10,"when":["C"]}"#)),
        ["tim-9 MedicationRequest.dosageInstruction[0].timing.repeat"]
    );
    let team = r#"{"resourceType":"CareTeam","participant":[{"member":{"reference":"Practitioner/1"},"onBehalfOf":{"reference":"Organization/1"}}]}"#;
    assert_eq!(errors(team), [""; 0]);
}

#[test]
fn a_value_set_that_codes_must_not_leave_is_required() {
    // VAL-123
    let patient = |language: &str| {
        format!(
            r#"{{"resourceType":"Patient","communication":[{{"language":{{"coding":[{{"system":"urn:ietf:bcp:47","code":"{language}"}}]}}}}]}}"#
        )
    };
    assert_eq!(errors(&patient("de-AT")), [""; 0]);
    assert_eq!(errors(&patient("no language")).len(), 1);
}

#[test]
fn an_identifier_whose_system_says_uri_has_one() {
    // VAL-156
    let patient = |value: &str| {
        format!(
            r#"{{"resourceType":"Patient","identifier":[{{"system":"urn:ietf:rfc:3986","value":"{value}"}}]}}"#
        )
    };
    let told = |value: &str| {
        let issues = r4().validate_json(patient(value).as_bytes(), &Options::default());
        issues.iter().any(|it| it.rule == "identifier-uri")
    };
    assert!(!told("urn:oid:1.2.3"));
    assert!(told("1.2.3"));
}

#[test]
fn quantities_and_times_are_within_their_bounds_as_far_as_they_can_be_compared() {
    // VAL-039
    let validator = with_profile(
        "Observation",
        r#"{"id":"Observation.value[x]","path":"Observation.value[x]","type":[{"code":"Quantity"}],"minValueQuantity":{"value":1,"system":"http://unitsofmeasure.org","code":"kg"},"maxValueQuantity":{"value":10,"unit":"kg","system":"http://unitsofmeasure.org","code":"kg"}}"#,
    );
    let told = |quantity: &str| {
        let json = format!(
            r#"{{"resourceType":"Observation","status":"final","code":{{"text":"x"}},"valueQuantity":{{{quantity}}}}}"#
        );
        let options = Options { profiles: &[URL], ..Options::default() };
        support::errors_of(&validator.validate_json(json.as_bytes(), &options))
    };
    let of = |value: &str, code: &str| {
        format!(r#""value":{value},"system":"http://unitsofmeasure.org","code":"{code}""#)
    };
    assert_eq!(told(&of("1.0", "kg")), [""; 0]);
    assert_eq!(told(&of("2000", "g")), [""; 0]);
    assert_eq!(told(&of("999", "g")), ["min-value Observation.value"]);
    assert_eq!(told(&of("10.01", "kg")), ["max-value Observation.value"]);
    assert_eq!(told(&of("999", "mm")), [""; 0]);
    assert_eq!(told(r#""value":99,"unit":"kg""#), [""; 0]);
    let dates = r#"{"id":"Patient.deceased[x]","path":"Patient.deceased[x]","type":[{"code":"dateTime"}],"maxValueDateTime":"2020-01-01T00:00:00Z"}"#;
    assert_errors(
        dates,
        &[
            (r#""deceasedDateTime":"2020-01-01T01:00:00+02:00""#, &[]),
            (r#""deceasedDateTime":"2020-01-01T01:00:00Z""#, &["max-value Patient.deceased"]),
            (r#""deceasedDateTime":"2020""#, &[]),
        ],
    );
}
