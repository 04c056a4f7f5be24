//! Every correction of a published invariant: what it lets pass, and what it finds.

mod support;

use std::collections::BTreeSet;

use fhir_validation::Options;
use support::r4;

/// What it finds: the rule at the element, whatever its severity.
fn found(json: &str) -> BTreeSet<String> {
    let issues = r4().validate_json(json.as_bytes(), &Options::default());
    issues.iter().map(|it| format!("{} {}", it.rule, it.expression)).collect()
}

/// A resource of this type with these members, of which each corrected invariant lets the first
/// pass and finds something at this element of the second.
fn check(invariant: &str, resource: &str, passes: &str, fails: (&str, &str)) {
    let of = |members: &str| found(&format!(r#"{{"resourceType":{resource},{members}}}"#));
    let is_of_it = |it: &String| it.starts_with(&format!("{invariant} "));
    let good = of(passes);
    assert!(!good.iter().any(is_of_it), "{invariant}: {good:?}");
    let bad = of(fails.0);
    assert!(bad.contains(&format!("{invariant} {}", fails.1)), "{invariant}: {bad:?}");
}

#[test]
fn what_a_corrected_invariant_means_passes_and_what_it_forbids_is_found() {
    // VAL-209, VAL-098, VAL-099, VAL-100
    check(
        "ref-1",
        r##""Provenance","recorded":"2020-01-01T00:00:00Z","agent":[{"who":{"display":"x"}}]"##,
        r##""target":[{"reference":"#"},{"display":"x"}]"##,
        (r##""target":[{"reference":"#x"}]"##, "Provenance.target[0]"),
    );
    let entry = |url: &str| {
        format!(r#""entry":[{{{url}"resource":{{"resourceType":"Patient","active":true}}}}]"#)
    };
    check(
        "bdl-8",
        r#""Bundle","type":"collection""#,
        &entry(""),
        (&entry(r#""fullUrl":"http://a/Patient/1/_history/2","#), "Bundle.entry[0]"),
    );
    let risk = r#""RiskAssessment","status":"final","subject":{"display":"x"}"#;
    let ten = r#""prediction":[{"probabilityDecimal":100},{"relativeRisk":1}]"#;
    let more = r#""prediction":[{"probabilityDecimal":100.1}]"#;
    check("ras-2", risk, ten, (more, "RiskAssessment.prediction[0]"));
    let question = r#""Questionnaire","status":"draft""#;
    let when =
        |when: &str| format!(r#""item":[{{"linkId":"1","type":"string","enableWhen":[{when}]}}]"#);
    let exists = r#"{"question":"2","operator":"exists","answerBoolean":true}"#;
    let as_text = r#"{"question":"2","operator":"exists","answerString":"x"}"#;
    check(
        "que-7",
        question,
        &when(exists),
        (&when(as_text), "Questionnaire.item[0].enableWhen[0]"),
    );
    check(
        "que-12",
        question,
        &when(exists),
        (&when(&format!("{exists},{exists}")), "Questionnaire.item[0]"),
    );
    let timing =
        |when: &str| format!(r#""occurrenceTiming":{{"repeat":{{"offset":5,"when":[{when}]}}}}"#);
    check(
        "tim-9",
        r#""ServiceRequest","status":"active","intent":"order","subject":{"display":"x"}"#,
        &timing(r#""ACM","PCV""#),
        (&timing(r#""ACM","C""#), "ServiceRequest.occurrence.repeat"),
    );
    let category = |code: &str| {
        format!(
            r#""category":[{{"coding":[{{"system":"http://terminology.hl7.org/CodeSystem/condition-category","code":"{code}"}}]}}]"#
        )
    };
    check(
        "con-3",
        r#""Condition","subject":{"display":"x"}"#,
        &category("encounter-diagnosis"),
        (&category("problem-list-item"), "Condition"),
    );
    let period = |start: &str, end: &str| {
        format!(r#""name":[{{"family":"x","period":{{"start":"{start}","end":"{end}"}}}}]"#)
    };
    check(
        "per-1",
        r#""Patient""#,
        &period("2020-05", "2020"),
        (&period("2021", "2020-12-31"), "Patient.name[0].period"),
    );
    let observation = r#""Observation","status":"final","code":{"text":"x"}"#;
    let range = |low: &str, high: &str| {
        let end = |it: &str| {
            format!(r#"{{"value":2,"system":"http://unitsofmeasure.org","code":"{it}"}}"#)
        };
        format!(r#""valueRange":{{"low":{},"high":{}}}"#, end(low), end(high))
    };
    check("rng-2", observation, &range("kg", "s"), (&range("kg", "g"), "Observation.value"));
    for invariant in ["vsd-0", "cpb-0", "sdf-0"] {
        let name = match invariant {
            "vsd-0" => "ValueSet",
            "cpb-0" => "CapabilityStatement",
            _ => "StructureDefinition",
        };
        let of = format!(r#""{name}","status":"draft""#);
        check(invariant, &of, r#""title":"a-b""#, (r#""name":"a-b""#, name));
    }
    check(
        "ctm-1",
        r#""CareTeam""#,
        r#""participant":[{"member":{"reference":"Practitioner/1"},"onBehalfOf":{"display":"x"}}]"#,
        (
            r##""contained":[{"resourceType":"Patient","id":"p"}],"participant":[{"member":{"reference":"#p"},"onBehalfOf":{"display":"x"}}]"##,
            "CareTeam.participant[0]",
        ),
    );
}

#[test]
fn the_path_of_an_element_is_judged_as_a_whole() {
    // VAL-097, VAL-209
    let structure = r#""StructureDefinition","url":"http://a/b","name":"B","status":"draft","kind":"logical","abstract":false,"type":"http://a/T""#;
    let path = |path: &str| {
        format!(r#""differential":{{"element":[{{"path":"T"}},{{"path":"{path}"}}]}}"#)
    };
    let place = "StructureDefinition.differential.element[1]";
    check("eld-19", structure, &path("T.value[x]"), (&path("T.good.ba d"), place));
    check("eld-20", structure, &path("T.value[x]"), (&path("T.good.Bad"), place));
}

#[test]
fn a_vital_sign_may_have_been_observed_over_a_period() {
    // VAL-209
    let temperature = r#""Observation","status":"final","category":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"vital-signs"}]}],"code":{"coding":[{"system":"http://loinc.org","code":"8310-5"}]},"subject":{"display":"x"}"#;
    check(
        "vs-1",
        temperature,
        r#""effectivePeriod":{"start":"2020-01-01"}"#,
        (r#""effectiveDateTime":"2020-01""#, "Observation.effective"),
    );
}

#[test]
fn every_correction_has_its_pair_here() {
    // VAL-209
    let tested = include_str!("errata.rs");
    // Those checked without an expression have tests of their own: of the form, of narratives and
    // of what is contained.
    let elsewhere = ["ele-1", "ext-1", "dom-3", "txt-1", "txt-2", "*-0"];
    for erratum in fhir_validation::errata() {
        let named = format!("\"{}\"", erratum.key);
        assert!(elsewhere.contains(&erratum.key) || tested.contains(&named), "{}", erratum.key);
    }
}
