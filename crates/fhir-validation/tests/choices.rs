//! What the caller may choose besides how deep validation goes.

mod support;

use fhir_core::Severity;
use fhir_validation::{
    Comments, Contained, ExampleUrls, Html, Options, Targets, VitalSigns, WrongDisplays,
};
use support::{errors, errors_of, r4};

fn patient(members: &str) -> String {
    format!(r#"{{"resourceType":"Patient",{members}}}"#)
}

fn errors_with(json: &str, options: &Options<'_>) -> Vec<String> {
    errors_of(&r4().validate_json(json.as_bytes(), options))
}

fn warnings(json: &str) -> Vec<String> {
    let issues = r4().validate_json(json.as_bytes(), &Options::default());
    let warnings = issues.into_iter().filter(|it| it.severity == Severity::Warning);
    warnings.map(|it| format!("{} {}", it.rule, it.expression)).collect()
}

#[test]
fn texts_are_warned_about_and_refused_where_that_is_asked() {
    // VAL-025, VAL-036, VAL-038
    let spaced = patient(r#""name":[{"family":" x"}]"#);
    assert!(warnings(&spaced).contains(&"white-space Patient.name[0].family".to_owned()));
    let old = patient(r#""birthDate":"0200""#);
    assert!(warnings(&old).contains(&"implausible-date Patient.birthDate".to_owned()));
    let tagged = r#"{"resourceType":"Communication","status":"completed","note":[{"text":"a <script>x</script>"}]}"#;
    assert!(warnings(tagged).contains(&"markdown-html Communication.note[0].text".to_owned()));
    let options = Options { html_in_markdown: Html::Refuse, ..Options::default() };
    assert_eq!(errors_with(tagged, &options), ["markdown-html Communication.note[0].text"]);
    let name = patient(r#""name":[{"text":"<b>x</b>"}]"#);
    assert_eq!(errors(&name), [""; 0]);
    let options = Options { html_in_strings: Html::Refuse, ..Options::default() };
    assert_eq!(errors_with(&name, &options), ["html Patient.name[0].text"]);
}

#[test]
fn urls_of_domains_for_examples_are_refused_where_that_is_asked() {
    let json = patient(r#""photo":[{"contentType":"image/png","url":"https://a.example.org/x"}]"#);
    assert_eq!(errors(&json), [""; 0]);
    let options = Options { example_urls: ExampleUrls::Refuse, ..Options::default() };
    assert_eq!(errors_with(&json, &options), ["example-url Patient.photo[0].url"]);
}

#[test]
fn comments_are_passed_over_where_that_is_asked_and_no_place_moves() {
    // VAL-006
    let json = "{ // one\n \"resourceType\": \"Patient\", /* two */ \"foo\": 1 }";
    let issues = r4().validate_json(json.as_bytes(), &Options::default());
    assert_eq!(issues.len(), 1);
    assert!(issues[0].text.contains("no comments"), "{}", issues[0]);
    let options = Options { comments: Comments::PassOver, ..Options::default() };
    let issues = r4().validate_json(json.as_bytes(), &options);
    assert_eq!(errors_of(&issues), ["unknown-property Patient.foo"]);
    assert_eq!((issues[0].place.line, issues[0].place.column), (2, 39));
}

#[test]
fn contained_resources_are_passed_over_where_that_is_asked() {
    let json = patient(
        r#""contained":[{"resourceType":"Organization","id":"a_b","foo":1}],"active":true"#,
    );
    assert!(errors(&json).len() > 1);
    let options = Options { contained: Contained::PassOver, ..Options::default() };
    assert_eq!(errors_with(&json, &options), [""; 0]);
}

#[test]
fn vital_signs_meet_their_profiles_by_their_code() {
    let json = r#"{"resourceType":"Observation","status":"final","category":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"vital-signs"}]}],"code":{"coding":[{"system":"http://loinc.org","code":"CODE"}]},"subject":{"reference":"Patient/1"},"effectiveDateTime":"2020-01-01"COMPONENT}"#;
    let of = |code: &str, component: &str| {
        let component = match component {
            "" => String::new(),
            code => format!(
                r#","component":[{{"code":{{"coding":[{{"system":"http://loinc.org","code":"{code}"}}]}}}}]"#
            ),
        };
        json.replace("CODE", code).replace("COMPONENT", &component)
    };
    // A body weight needs a value, or a reason why there is none.
    let weight = of("29463-7", "");
    assert_eq!(errors(&weight), ["vs-2 Observation"]);
    let claimed = Options { vital_signs: VitalSigns::WhereClaimed, ..Options::default() };
    assert_eq!(errors_with(&weight, &claimed), [""; 0]);
    assert_eq!(errors(&of("1-8", "")), [""; 0]);
    // What has the components of a blood pressure is one, and has its code.
    let pressure = of("1-8", "8480-6");
    assert_eq!(errors(&pressure), [""; 0]);
    let by_part = Options { vital_signs: VitalSigns::ByCodeOrPart, ..Options::default() };
    let found = errors_with(&pressure, &by_part);
    assert!(found.contains(&"cardinality Observation.code".to_owned()));
    let elsewhere = pressure.replace("vital-signs", "laboratory");
    assert_eq!(errors_with(&elsewhere, &by_part), [""; 0]);
}

#[test]
fn what_references_lead_to_is_given_where_that_is_asked() {
    // VAL-143
    let parameters = |reference: &str| {
        format!(
            r#"{{"resourceType":"Parameters","parameter":[{{"name":"a","resource":{{"resourceType":"Patient","id":"1","active":true}}}},{{"name":"b","part":[{{"name":"c","resource":{{"resourceType":"Observation","status":"final","code":{{"text":"x"}},"subject":{{"reference":"{reference}"}}}}}}]}}]}}"#
        )
    };
    let options = Options { targets: Targets::Given, ..Options::default() };
    let missing = "reference-missing Parameters.parameter[1].part[0].resource.subject";
    assert_eq!(errors_with(&parameters("Patient/1"), &options), [""; 0]);
    assert_eq!(errors_with(&parameters("Patient/2"), &options), [missing]);
    assert_eq!(errors(&parameters("Patient/2")), [""; 0]);
    assert_eq!(errors_with(&parameters("http://a/fhir/Patient/2"), &options), [""; 0]);
}

#[test]
fn a_display_is_one_that_the_code_system_has() {
    // VAL-128
    let json = |display: &str| {
        patient(&format!(
            r#""maritalStatus":{{"coding":[{{"system":"http://terminology.hl7.org/CodeSystem/v3-MaritalStatus","code":"M","display":"{display}"}}]}}"#
        ))
    };
    let place = "display Patient.maritalStatus.coding[0].display".to_owned();
    assert!(!warnings(&json("Married")).contains(&place));
    assert!(!warnings(&json(" married")).contains(&place));
    assert!(warnings(&json("Single")).contains(&place));
    let options = Options { wrong_displays: WrongDisplays::Refuse, ..Options::default() };
    assert_eq!(errors_with(&json("Single"), &options), [place]);
}
