//! Parameters as published guides ask for them: dates in each comparison, tags, several statuses,
//! systems as they are written.

use super::Few;

/// Resources of the types of US Core with a day or a period of the one date that each is asked
/// by, and what that parameter is called.
const DATED: [(&str, &str, &str); 18] = [
    ("Patient", "birthdate", r#""birthDate":"2020-06-15""#),
    ("Patient", "death-date", r#""deceasedDateTime":"2020-06-15T10:00:00Z""#),
    ("Condition", "onset-date", r#""onsetDateTime":"2020-06-15""#),
    ("Condition", "onset-date", r#""onsetPeriod":{"start":"2020-06-15","end":"2020-06-15"}"#),
    ("Condition", "abatement-date", r#""abatementDateTime":"2020-06-15""#),
    ("Condition", "recorded-date", r#""recordedDate":"2020-06-15""#),
    ("Observation", "date", r#""effectiveDateTime":"2020-06-15T23:59:59Z""#),
    ("Observation", "date", r#""effectivePeriod":{"start":"2020-06-15","end":"2020-06-15"}"#),
    (
        "Encounter",
        "date",
        r#""period":{"start":"2020-06-15T01:00:00Z","end":"2020-06-15T02:00:00Z"}"#,
    ),
    ("Procedure", "date", r#""performedDateTime":"2020-06-15""#),
    ("Procedure", "date", r#""performedPeriod":{"start":"2020-06-15","end":"2020-06-15"}"#),
    ("DiagnosticReport", "date", r#""effectiveDateTime":"2020-06-15T10:00:00Z""#),
    ("DocumentReference", "date", r#""date":"2020-06-15T10:00:00Z""#),
    (
        "DocumentReference",
        "period",
        r#""context":{"period":{"start":"2020-06-15","end":"2020-06-15"}}"#,
    ),
    ("MedicationRequest", "authoredon", r#""authoredOn":"2020-06-15""#),
    ("Goal", "target-date", r#""target":[{"dueDate":"2020-06-15"}]"#),
    ("Immunization", "date", r#""occurrenceDateTime":"2020-06-15""#),
    ("CarePlan", "date", r#""period":{"start":"2020-06-15","end":"2020-06-15"}"#),
];

#[test]
fn dates_and_periods_are_found_before_and_after_others_and_by_their_own_day() {
    // SRCH-078
    for (of, parameter, members) in DATED {
        let few = Few::of(&[(&format!("{of}/1"), members), (&format!("{of}/2"), "")]);
        for (value, found) in [
            ("gt2020-06-14", "1"),
            ("ge2020-06-15", "1"),
            ("lt2020-06-16", "1"),
            ("le2020-06-15", "1"),
            ("ge2020", "1"),
            ("gt2020-06-15", ""),
            ("ge2020-06-16", ""),
            ("lt2020-06-15", ""),
            ("le2020-06-14", ""),
        ] {
            few.check(&[(&format!("{of}?{parameter}={value}"), found)]);
        }
        few.check(&[(&format!("{of}?{parameter}=ge2020-06-01&{parameter}=lt2020-07-01"), "1")]);
    }
}

#[test]
fn tags_and_labels_are_found_by_system_and_code() {
    // SRCH-032
    let few = Few::of(&[
        ("Patient/1", r#""meta":{"tag":[{"system":"http://t.example","code":"a"}]}"#),
        ("Patient/2", r#""meta":{"security":[{"system":"http://t.example","code":"a"}]}"#),
        ("Patient/3", r#""meta":{"tag":[{"code":"a"},{"system":"http://t.example","code":"b"}]}"#),
    ]);
    few.check(&[
        ("Patient?_tag=http://t.example|a", "1"),
        ("Patient?_tag=a", "1 3"),
        ("Patient?_tag=|a", "3"),
        ("Patient?_tag=http://t.example|", "1 3"),
        ("Patient?_security=http://t.example|a", "2"),
        ("Patient?_tag=a&_tag=b", "3"),
        ("Patient?_tag:not=a", "2"),
    ]);
}

#[test]
fn several_statuses_are_alternatives_and_a_system_is_what_is_written() {
    // SRCH-111, SRCH-249
    let few = Few::of(&[
        ("MedicationRequest/1", r#""status":"active","intent":"order""#),
        ("MedicationRequest/2", r#""status":"completed","intent":"plan""#),
        ("MedicationRequest/3", r#""status":"stopped","intent":"order""#),
        ("Patient/1", r#""identifier":[{"system":"urn:oid:2.16.840.1.113883.4.1","value":"1"}]"#),
        ("Patient/2", r#""identifier":[{"system":"http://hl7.org/fhir/sid/us-ssn","value":"1"}]"#),
    ]);
    few.check(&[
        ("MedicationRequest?status=active,completed", "1 2"),
        ("MedicationRequest?intent=order,plan&status=completed,stopped", "2 3"),
        ("Patient?identifier=urn:oid:2.16.840.1.113883.4.1|1", "1"),
        ("Patient?identifier=http://hl7.org/fhir/sid/us-ssn|1", "2"),
        ("Patient?identifier=1", "1 2"),
    ]);
}

#[test]
fn what_is_current_is_told_by_status_and_category() {
    // SRCH-036
    let coded = |name: &str, system: &str, code: &str| {
        format!(
            r#""{name}":{{"coding":[{{"system":"http://terminology.hl7.org/CodeSystem/{system}","code":"{code}"}}]}}"#
        )
    };
    let clinical = |code| coded("clinicalStatus", "condition-clinical", code);
    let verified = |code| coded("verificationStatus", "condition-ver-status", code);
    let category = |code: &str| {
        format!(
            r#""category":[{{"coding":[{{"system":"http://terminology.hl7.org/CodeSystem/condition-category","code":"{code}"}}]}}]"#
        )
    };
    let allergy = |code| coded("clinicalStatus", "allergyintolerance-clinical", code);
    let subject = r#""subject":{"reference":"Patient/1"}"#;
    let few = Few::of(&[
        ("Condition/active", &format!("{subject},{}", clinical("active"))),
        ("Condition/again", &format!("{},{}", clinical("relapse"), category("problem-list-item"))),
        ("Condition/over", &clinical("resolved")),
        ("Condition/refuted", &format!("{},{}", clinical("active"), verified("refuted"))),
        ("Condition/visit", &format!("{},{}", clinical("active"), category("encounter-diagnosis"))),
        ("Condition/unsaid", ""),
        ("MedicationStatement/1", r#""status":"active""#),
        ("MedicationStatement/2", r#""status":"completed""#),
        ("MedicationRequest/1", r#""status":"active","intent":"order""#),
        ("MedicationRequest/2", r#""status":"active","intent":"plan""#),
        ("AllergyIntolerance/1", &format!(r#"{},"category":["medication"]"#, allergy("active"))),
        ("AllergyIntolerance/2", &format!(r#"{},"category":["food"]"#, allergy("active"))),
        ("AllergyIntolerance/3", &allergy("resolved")),
    ]);
    few.check(&[
        ("Condition?_list=$current-problems", "active again"),
        ("Condition?_list=$current-problems&patient=1", "active"),
        ("MedicationStatement?_list=$current-medications", "1"),
        ("MedicationRequest?_list=$current-medications", "1"),
        ("AllergyIntolerance?_list=$current-allergies", "1 2"),
        ("AllergyIntolerance?_list=$current-drug-allergies", "1"),
    ]);
}
