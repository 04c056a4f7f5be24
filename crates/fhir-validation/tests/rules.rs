//! Invariants, bindings, references, contained resources, extensions and Bundles of R4.

mod support;

use fhir_validation::{BestPractices, Depth, Options};
use support::{errors, errors_of, r4};

fn assert_errors(cases: &[(&str, &[&str])]) {
    for (json, expected) in cases {
        assert_eq!(errors(json), *expected, "{json}");
    }
}

/// Rules of all issues that are warnings.
fn warnings(json: &str) -> Vec<String> {
    let issues = r4().validate_json(json.as_bytes(), &Options::default());
    let warnings = issues.iter().filter(|it| it.severity == fhir_core::Severity::Warning);
    warnings.map(|it| it.rule.clone()).collect()
}

fn patient(members: &str) -> String {
    format!(r#"{{"resourceType":"Patient",{members}}}"#)
}

#[test]
fn invariants_hold_or_are_told_at_their_element() {
    // VAL-090, VAL-106
    assert_errors(&[
        (&patient(r#""contact":[{"gender":"male"}]"#), &["pat-1 Patient.contact[0]"]),
        (&patient(r#""contact":[{"name":{"text":"x"}}]"#), &[]),
        (&patient(r#""active":true"#), &[]),
    ]);
    let json = patient(r#""active":true"#);
    assert_eq!(warnings(&json), ["dom-6"]);
    let options = Options { best_practices: BestPractices::Silent, ..Options::default() };
    assert!(r4().validate_json(json.as_bytes(), &options).is_empty());
}

#[test]
fn errata_hold_where_published_invariants_misfire() {
    // VAL-091, VAL-094, VAL-100, VAL-101, VAL-209
    let period = |start: &str, end: &str| {
        patient(&format!(
            r#""identifier":[{{"value":"1","period":{{"start":"{start}","end":"{end}"}}}}]"#
        ))
    };
    let enable_when = |answer: &str| {
        format!(
            r#"{{"resourceType":"Questionnaire","status":"draft","item":[{{"linkId":"1","type":"string"}},{{"linkId":"2","type":"string","enableWhen":[{{"question":"1","operator":"exists",{answer}}}]}}]}}"#
        )
    };
    assert_errors(&[
        (&patient(r#""generalPractitioner":[{"display":"x"}]"#), &[]),
        (
            &patient(r##""generalPractitioner":[{"reference":"#x"}]"##),
            &["ref-1 Patient.generalPractitioner[0]"],
        ),
        (&period("2020-05", "2020"), &[]),
        (&period("2021", "2020"), &["per-1 Patient.identifier[0].period"]),
        (&enable_when(r#""answerBoolean":true"#), &[]),
        (&enable_when(r#""answerString":"x""#), &["que-7 Questionnaire.item[1].enableWhen[0]"]),
        (
            r#"{"resourceType":"Bundle","type":"collection","entry":[{"resource":{"resourceType":"Patient","active":true}}]}"#,
            &[],
        ),
    ]);
}

#[test]
fn names_for_machines_are_whole_or_warned_about() {
    // VAL-097, VAL-098
    let set = |name: &str| format!(r#"{{"resourceType":"ValueSet","status":"draft"{name}}}"#);
    assert!(warnings(&set(r#","name":"a-b""#)).contains(&"vsd-0".to_owned()));
    assert!(!warnings(&set("")).contains(&"vsd-0".to_owned()));
    let condition = r#"{"resourceType":"Condition","subject":{"display":"x"},"category":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/condition-category","code":"CATEGORY"}]}]}"#;
    let of = |category: &str| warnings(&condition.replace("CATEGORY", category));
    assert!(!of("encounter-diagnosis").contains(&"con-3".to_owned()));
    assert!(of("problem-list-item").contains(&"con-3".to_owned()));
}

#[test]
fn extensions_have_a_value_or_extensions() {
    // VAL-110, VAL-150
    let extension = |it: &str| patient(&format!(r#""extension":[{it}]"#));
    assert_errors(&[
        (&extension(r#"{"url":"http://a/b","valueString":"x"}"#), &[]),
        (&extension(r#"{"url":"http://a/b"}"#), &["ext-1 Patient.extension[0]"]),
        (
            &extension(
                r#"{"url":"http://a/b","valueString":"x","extension":[{"url":"c","valueString":"x"}]}"#,
            ),
            &["ext-1 Patient.extension[0]"],
        ),
        (
            &extension(r#"{"url":"race","valueString":"x"}"#),
            &["extension-url Patient.extension[0].url"],
        ),
    ]);
}

#[test]
fn known_extensions_are_held_to_their_definitions() {
    // VAL-148, VAL-149, VAL-151
    let url = "http://hl7.org/fhir/StructureDefinition/patient-birthTime";
    let good = format!(
        r#""birthDate":"2020-01-01","_birthDate":{{"extension":[{{"url":"{url}","valueDateTime":"2020-01-01T10:00:00Z"}}]}}"#
    );
    let type_wrong = good.replace("valueDateTime\":\"2020-01-01T10:00:00Z", "valueString\":\"x");
    let elsewhere =
        format!(r#""extension":[{{"url":"{url}","valueDateTime":"2020-01-01T10:00:00Z"}}]"#);
    let modifier = r#""modifierExtension":[{"url":"http://a/b","valueString":"x"}]"#;
    assert_errors(&[
        (&patient(&good), &[]),
        (&patient(&type_wrong), &["type Patient.birthDate.extension[0].value"]),
        (&patient(&elsewhere), &["extension-context Patient.extension[0]"]),
        (&patient(modifier), &["extension-unknown Patient.modifierExtension[0]"]),
    ]);
}

#[test]
fn required_codes_are_in_their_value_sets() {
    // VAL-120, VAL-124, VAL-126, VAL-134
    assert_errors(&[
        (&patient(r#""gender":"male""#), &[]),
        (&patient(r#""gender":"M""#), &["binding Patient.gender"]),
        (&patient(r#""gender":"Male""#), &["binding Patient.gender"]),
        (&patient(r#""photo":[{"contentType":"image/png"}]"#), &[]),
        (&patient(r#""language":"en-US","active":true"#), &[]),
    ]);
}

#[test]
fn what_terminology_is_not_loaded_is_a_warning() {
    // VAL-121, VAL-122, VAL-127
    let snomed = r#"{"resourceType":"Condition","subject":{"display":"x"},"code":{"coding":[{"system":"http://snomed.info/sct","code":"404684003"}]}}"#;
    assert_errors(&[(snomed, &[])]);
    let text = patient(r#""maritalStatus":{"text":"x"}"#);
    assert_eq!(warnings(&text), ["dom-6"]);
    let other = patient(r#""maritalStatus":{"coding":[{"system":"http://a/b","code":"x"}]}"#);
    assert_eq!(errors(&other), [""; 0]);
    assert!(warnings(&other).contains(&"binding".to_owned()));
}

#[test]
fn what_can_be_no_code_of_snomed_ct_is_an_error_without_it_too() {
    // VAL-127
    let condition = |code: &str| {
        format!(
            r#"{{"resourceType":"Condition","subject":{{"display":"x"}},"code":{{"coding":[{{"system":"http://a/b","code":"x"}},{{"system":"http://snomed.info/sct","code":"{code}"}}]}}}}"#
        )
    };
    assert_errors(&[
        (&condition("71341001:272741003=7771000"), &[]),
        (&condition("404684003x"), &["code-invalid Condition.code.coding[1].code"]),
    ]);
    let mistyped = condition("404684004");
    assert_errors(&[(&mistyped, &[])]);
    assert!(warnings(&mistyped).contains(&"code-invalid".to_owned()));
    let base = Options { depth: Depth::Profiles, ..Options::default() };
    assert!(errors_of(&r4().validate_json(condition("x").as_bytes(), &base)).is_empty());
}

#[test]
fn a_code_says_which_code_system_it_is_of() {
    // VAL-130, VAL-131
    let coding =
        |members: &str| patient(&format!(r#""maritalStatus":{{"coding":[{{{members}}}]}}"#));
    let system = "http://terminology.hl7.org/CodeSystem/v3-MaritalStatus";
    let told = |json: &str| {
        let issues = r4().validate_json(json.as_bytes(), &Options::default());
        let ours = issues.iter().filter(|it| it.rule == "coding-system" && !it.is_error());
        ours.map(|it| it.expression.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(told(&coding(&format!(r#""system":"{system}","code":"M""#))), [""; 0]);
    assert_eq!(told(&coding(r#""code":"M""#)), ["Patient.maritalStatus.coding[0]"]);
    assert_eq!(told(&coding(r#""display":"M""#)), [""; 0]);
    assert_eq!(
        told(&coding(&format!(r#""system":"{system}/","code":"M""#))),
        ["Patient.maritalStatus.coding[0].system"]
    );
    let quantity = r#"{"resourceType":"Observation","status":"final","code":{"text":"x"},"valueQuantity":{"value":1,"system":"https://unitsofmeasure.org","code":"mg"}}"#;
    assert_eq!(told(quantity), ["Observation.value.system"]);
    // Where the code must be of a value set, one without a system is of none.
    let subscriber = r#"{"resourceType":"Condition","subject":{"display":"x"},"clinicalStatus":{"coding":[{"code":"active"}]}}"#;
    assert!(errors(subscriber).contains(&"binding Condition.clinicalStatus".to_owned()));
}

#[test]
fn rules_that_nobody_knows_are_warned_about() {
    // VAL-155
    let json = patient(r#""implicitRules":"http://a/rules","active":true"#);
    assert_eq!(errors(&json), [""; 0]);
    assert!(warnings(&json).contains(&"implicit-rules".to_owned()));
}

#[test]
fn references_are_of_a_form_and_to_an_allowed_type() {
    // VAL-140, VAL-141, VAL-142
    let observation = |subject: &str| {
        format!(
            r#"{{"resourceType":"Observation","status":"final","code":{{"text":"x"}},"subject":{subject}}}"#
        )
    };
    assert_errors(&[
        (&observation(r#"{"reference":"Patient/1"}"#), &[]),
        (&observation(r#"{"identifier":{"value":"1"}}"#), &[]),
        (&observation(r#"{"reference":"http://a/fhir/Patient/1"}"#), &[]),
        (
            &observation(r#"{"reference":"Organization/1"}"#),
            &["reference-target Observation.subject"],
        ),
        (
            &observation(r#"{"reference":"http://a/fhir/Organization/1"}"#),
            &["reference-target Observation.subject"],
        ),
        (
            &observation(r#"{"reference":"Patient\\1"}"#),
            &["reference Observation.subject.reference"],
        ),
        (
            &observation(r#"{"reference":"/Patient/1"}"#),
            &["reference Observation.subject.reference"],
        ),
        (
            &observation(r#"{"reference":"patient/1"}"#),
            &["reference Observation.subject.reference"],
        ),
        (&observation(r#"{"reference":"1"}"#), &["reference Observation.subject.reference"]),
    ]);
}

#[test]
fn contained_resources_have_ids_and_are_referred_to() {
    // VAL-095, VAL-146, VAL-147
    let patient = |contained: &str, reference: &str| {
        format!(
            r#"{{"resourceType":"Patient","contained":[{contained}],"managingOrganization":{{"reference":"{reference}"}}}}"#
        )
    };
    let organization = r#"{"resourceType":"Organization","id":"a","name":"x"}"#;
    let none = organization.replace(r#""id":"a","#, "");
    let marked = organization.replace(r#""a""#, r##""#a""##);
    let twice = format!("{organization},{organization}");
    assert_errors(&[
        (&patient(organization, "#a"), &[]),
        (&patient(organization, "Organization/1"), &["dom-3 Patient.contained[0]"]),
        (&patient(&none, "Organization/1"), &["contained-id Patient.contained[0]"]),
        (&patient(&twice, "#a"), &["contained-id Patient.contained[1].id"]),
    ]);
    assert!(!errors(&patient(&marked, "##a")).is_empty());
}

#[test]
fn entries_are_validated_in_their_own_context() {
    // VAL-093, VAL-170, VAL-171, VAL-173
    let bundle = |entry: &str| {
        format!(r#"{{"resourceType":"Bundle","type":"collection","entry":[{entry}]}}"#)
    };
    assert_errors(&[
        (
            &bundle(
                r#"{"fullUrl":"http://a/Patient/1","resource":{"resourceType":"Patient","id":"1","gender":"M"}}"#,
            ),
            &["binding Bundle.entry[0].resource.gender"],
        ),
        (
            &bundle(
                r#"{"fullUrl":"http://a/Patient/2","resource":{"resourceType":"Patient","id":"1","gender":"male"}}"#,
            ),
            &["full-url Bundle.entry[0].fullUrl"],
        ),
        (
            &bundle(
                r#"{"fullUrl":"Patient/1","resource":{"resourceType":"Patient","id":"1","gender":"male"}}"#,
            ),
            &["full-url Bundle.entry[0].fullUrl"],
        ),
        (
            &bundle(r#"{"fullUrl":"urn:uuid:6a2ee390-978e-42c6-8f88-c17dff3bd8aa"}"#),
            &["bdl-5 Bundle.entry[0]"],
        ),
        (
            r#"{"resourceType":"Bundle","type":"collection","total":1,"entry":[{"resource":{"resourceType":"Patient","gender":"male"}}]}"#,
            &["bdl-1 Bundle"],
        ),
    ]);
}

#[test]
fn profiles_that_are_claimed_are_asked() {
    // VAL-134, VAL-152
    let vital = r#"{"resourceType":"Observation","meta":{"profile":["http://hl7.org/fhir/StructureDefinition/bodyweight"]},"status":"final","category":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"vital-signs"}]}],"code":{"coding":[{"system":"http://loinc.org","code":"29463-7"}]},"subject":{"reference":"Patient/1"},"effectiveDateTime":"2020-01-01","valueQuantity":{"value":80,"unit":"kg","system":"http://unitsofmeasure.org","code":"kg"}}"#;
    assert_errors(&[
        (vital, &[]),
        (&vital.replace("vital-signs", "laboratory"), &["cardinality Observation"]),
        (&vital.replace("\"code\":\"kg\"", "\"code\":\"mm\""), &["binding Observation.value.code"]),
        (&vital.replace("29463-7", "29463-8"), &["cardinality Observation.code"]),
        (
            &vital.replace(r#""subject":{"reference":"Patient/1"},"#, ""),
            &["cardinality Observation"],
        ),
    ]);
    let unknown = patient(r#""meta":{"profile":["http://a/b"]},"active":true"#);
    assert!(warnings(&unknown).contains(&"profile-unknown".to_owned()));
}

#[test]
fn depth_says_how_much_is_asked() {
    // VAL-200, VAL-205
    let json = patient(
        r#""foo":1,"gender":"M","contact":[{"gender":"male"}],"meta":{"profile":["http://a/b"]}"#,
    );
    let rules = |depth| {
        let options = Options { depth, ..Options::default() };
        let issues = r4().validate_json(json.as_bytes(), &options);
        assert_eq!(issues, r4().validate_json(json.as_bytes(), &options));
        (errors_of(&issues).len(), issues.iter().any(|it| it.rule == "profile-unknown"))
    };
    assert_eq!(rules(Depth::Base), (1, false));
    assert_eq!(rules(Depth::Invariants), (2, false));
    assert_eq!(rules(Depth::Profiles), (2, true));
    assert_eq!(rules(Depth::Terminology), (3, true));
}

#[test]
fn there_are_never_more_issues_than_the_cap() {
    // VAL-011
    let given = vec!["1"; 5000].join(",");
    let json = patient(&format!(r#""name":[{{"given":[{given}]}}]"#));
    let options = Options { cap: 100, ..Options::default() };
    assert_eq!(r4().validate_json(json.as_bytes(), &options).len(), 100);
}

#[test]
fn warnings_hide_no_error_however_many_there_are() {
    // VAL-011
    let profiles: Vec<_> = (0..50).map(|it| format!(r#""http://a.example/{it}""#)).collect();
    let profiles = profiles.join(",");
    let json = patient(&format!(r#""meta":{{"profile":[{profiles}]}},"photo":[{{"url":7}}]"#));
    let options = Options { cap: 10, ..Options::default() };
    let issues = r4().validate_json(json.as_bytes(), &options);
    assert_eq!(issues.iter().filter(|it| !it.is_error()).count(), 10);
    assert_eq!(errors_of(&issues).len(), 1);
}

#[test]
fn a_code_that_its_loaded_code_system_lacks_is_an_error() {
    // VAL-121, VAL-129
    let coding = |code: &str| {
        patient(&format!(
            r#""maritalStatus":{{"coding":[{{"system":"http://terminology.hl7.org/CodeSystem/v3-MaritalStatus","code":"{code}"}}]}}"#
        ))
    };
    assert_errors(&[
        (&coding("M"), &[]),
        (&coding("nonsense"), &["unknown-code Patient.maritalStatus.coding[0].code"]),
    ]);
}

#[test]
fn resource_types_have_rules_of_their_own() {
    // VAL-172
    let system = |property: &str, concept: &str| {
        format!(
            r#"{{"resourceType":"CodeSystem","status":"draft","content":"complete","property":[{property}],"concept":[{{"code":"a","property":[{concept}]}}]}}"#
        )
    };
    let one = r#"{"code":"p","type":"string"}"#;
    let value = r#"{"code":"p","valueString":"x"}"#;
    let link = r#"{"relation":"self","url":"http://a"}"#;
    assert_errors(&[
        (&system(one, value), &[]),
        (&system(&format!("{one},{one}"), value), &["code-system-property CodeSystem.property[1]"]),
        (
            &system(one, r#"{"code":"p","valueInteger":1}"#),
            &["code-system-property CodeSystem.concept[0].property[0]"],
        ),
        (
            r##"{"resourceType":"ValueSet","status":"draft","compose":{"include":[{"system":"#c"}]}}"##,
            &["value-set-system ValueSet.compose.include[0].system"],
        ),
        (
            &format!(r#"{{"resourceType":"Bundle","type":"searchset","link":[{link},{link}]}}"#),
            &["bundle-link Bundle.link[1]"],
        ),
        (
            r#"{"resourceType":"Bundle","type":"searchset","entry":[{"resource":{"resourceType":"Patient","active":true},"search":{"mode":"match"}}]}"#,
            &["bundle-search Bundle.entry[0].resource"],
        ),
    ]);
}

#[test]
fn a_picture_of_the_narrative_refers_to_what_is_contained() {
    // VAL-095
    let json = r##"{"resourceType":"Patient","text":{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\"><img src=\"#a\"/></div>"},"contained":[{"resourceType":"Binary","id":"a","contentType":"image/png"}]}"##;
    assert_errors(&[(json, &[])]);
}

#[test]
fn a_picture_of_what_is_not_contained_and_another_language_are_told() {
    // VAL-164, VAL-165
    let told = |language: &str, attributes: &str, inner: &str| {
        let json = format!(
            r##"{{"resourceType":"Patient","language":"{language}","text":{{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\"{attributes}>{inner}</div>"}},"contained":[{{"resourceType":"Binary","id":"a","contentType":"image/png"}}],"photo":[{{"url":"#a"}}]}}"##
        );
        let issues = r4().validate_json(json.as_bytes(), &Options::default());
        assert!(!issues.iter().any(fhir_validation::Issue::is_error), "{issues:?}");
        let ours = issues.iter().filter(|it| it.rule.starts_with("narrative-"));
        ours.map(|it| format!("{} {}", it.rule, it.expression)).collect::<Vec<_>>()
    };
    let image = |source: &str| format!(r#"<img src=\"{source}\"/>"#);
    assert_eq!(told("de-CH", "", &image("#a")), [""; 0]);
    assert_eq!(told("de-CH", "", &image("#b")), ["narrative-image Patient.text.div"]);
    assert_eq!(told("de-CH", "", &image("data:image/png;base64,AAAA")), [""; 0]);
    let lang = r#" lang=\"DE\" xml:lang=\"de-DE\""#;
    assert_eq!(told("de-CH", lang, "x"), [""; 0]);
    assert_eq!(told("fr", lang, "x"), ["narrative-language Patient.text.div"]);
}
