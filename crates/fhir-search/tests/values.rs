//! What each datatype gives to each kind of parameter (FHIR R4 3.1.1.5), on resources that have
//! little more than the element in question.

#![expect(clippy::unwrap_used, reason = "a test that fails here says where")]

mod support;

use fhir_core::Instant;
use fhir_core::json::Document;
use fhir_search::{DateRange, ExtractOptions, IndexValue, Problem, ProblemReason, TokenFrom, Zone};
use support::{R4, values, values_with};

fn patient(members: &str) -> String {
    format!(r#"{{"resourceType":"Patient",{members}}}"#)
}

fn observation(members: &str) -> String {
    format!(r#"{{"resourceType":"Observation",{members}}}"#)
}

fn check(json: &str, code: &str, expected: &[&str]) {
    assert_eq!(values(json, code), expected, "{code} of {json}");
}

#[test]
fn the_precision_of_a_date_is_the_length_of_its_interval() {
    // SRCH-060, SRCH-074, SRCH-075
    for (text, expected) in [
        ("2013", "2013-01-01..2014-01-01"),
        ("2013-12", "2013-12-01..2014-01-01"),
        ("2012-02", "2012-02-01..2012-03-01"),
        ("2012-02-29", "2012-02-29..2012-03-01"),
        ("2013-01-14T10:00:00Z", "2013-01-14T10:00:00Z..2013-01-14T10:00:01Z"),
        ("2013-01-14T10:00:00.123Z", "2013-01-14T10:00:00.123000Z..2013-01-14T10:00:00.123001Z"),
        (
            "2013-01-14T10:00:00.1234567Z",
            "2013-01-14T10:00:00.123456Z..2013-01-14T10:00:00.123457Z",
        ),
        ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59Z..2017-01-01"),
        ("0001", "0001-01-01..0002-01-01"),
        ("9999-12-31", "9999-12-31..10000"),
    ] {
        let json = observation(&format!(r#""effectiveDateTime":"{text}""#));
        check(&json, "date", &[expected]);
    }
}

#[test]
fn what_is_no_date_is_told_and_gives_no_value() {
    // SRCH-061, SRCH-076
    for text in [
        "2021-02-30",
        "2021-13",
        "2021-00-01",
        "0000",
        "2021-1",
        "abc",
        "2021-01-01T10",
        "2021-01-01T24:00:00Z",
        "2021-01-01T10:00:61Z",
        "2021-01-01T10:00:00+15:00",
        "2021-01-01T10:00:00.Z",
        "2021T",
        "2021-01-01 ",
        "２021",
        "2021-01-01T10:00:00z",
    ] {
        assert_eq!(DateRange::parse(text, Zone::UTC), None, "{text}");
        let json = observation(&format!(r#""effectiveDateTime":"{text}","status":"final""#));
        check(&json, "date", &[]);
        check(&json, "status", &["http://hl7.org/fhir/observation-status|final"]);
        let document = Document::parse(json.as_bytes()).unwrap();
        let extracted = R4.extract(document.root(), &ExtractOptions::default());
        let date = R4.parameters().get("Observation", "date").unwrap().id;
        let problem = extracted.problems().iter().find(|it| it.parameter == date).unwrap();
        let offset = json.find(text).unwrap() - 1;
        let expected = ProblemReason::Unreadable { what: "no date or dateTime", offset };
        assert_eq!(problem.reason, expected, "{text}");
    }
}

#[test]
fn a_query_may_stop_at_the_minute() {
    // SRCH-061
    let range = DateRange::parse("2013-01-14T10:05Z", Zone::UTC).unwrap();
    assert_eq!(range.high() - range.low(), 60_000_000);
}

#[test]
fn offsets_are_instants_and_what_has_none_is_in_the_given_zone() {
    // SRCH-070, SRCH-071
    let east = ExtractOptions { zone: Zone::east(120).unwrap(), ..ExtractOptions::default() };
    let at = |text: &str| observation(&format!(r#""effectiveDateTime":"{text}""#));
    let midnight = "2013-01-13T22:00:00Z..2013-01-13T22:00:01Z";
    check(&at("2013-01-14T00:00:00+02:00"), "date", &[midnight]);
    assert_eq!(values_with(&at("2013-01-14T00:00:00"), "date", &east), [midnight]);
    assert_eq!(values_with(&at("2013-01-14T00:00:00+02:00"), "date", &east), [midnight]);
    assert_eq!(Zone::east(14 * 60 + 1), None);
}

#[test]
fn a_date_compares_as_the_calendar_does_in_every_zone() {
    // SRCH-071
    let json = patient(r#""birthDate":"1970-03-30""#);
    let document = Document::parse(json.as_bytes()).unwrap();
    let parameter = R4.parameters().get("Patient", "birthdate").unwrap().id;
    for minutes in [-720, 0, 840] {
        let zone = Zone::east(minutes).unwrap();
        let options = ExtractOptions { zone, ..ExtractOptions::default() };
        let extracted = R4.extract(document.root(), &options);
        let stored: Vec<_> = extracted.of(parameter).collect();
        let asked = DateRange::parse("1970-03-30", zone).unwrap();
        assert_eq!(stored, [&IndexValue::Date(asked)]);
        let month = DateRange::parse("1970-03", zone).unwrap();
        assert!(month.low() < asked.low() && asked.high() < month.high());
    }
}

#[test]
fn a_period_without_an_end_lasts_for_ever() {
    // SRCH-068
    for (period, expected) in [
        (r#"{"start":"2013-01","end":"2013-02-03"}"#, vec!["2013-01-01..2013-02-04"]),
        (r#"{"start":"2013-01-01"}"#, vec!["2013-01-01..ever"]),
        (r#"{"end":"2013"}"#, vec!["ever..2014-01-01"]),
        (r#"{"id":"1"}"#, vec![]),
        (r#"{"start":"2014","end":"2013"}"#, vec![]),
    ] {
        let json = format!(r#"{{"resourceType":"Encounter","period":{period}}}"#);
        check(&json, "date", &expected);
    }
}

#[test]
fn a_timing_is_what_its_events_and_bounds_span() {
    // SRCH-069
    for (timing, expected) in [
        (r#"{"event":["2013-05-01","2013-01-02","2013-03"]}"#, vec!["2013-01-02..2013-05-02"]),
        (r#"{"repeat":{"boundsPeriod":{"start":"2013"}}}"#, vec!["2013-01-01..ever"]),
        (
            r#"{"event":["2012-01-01"],"repeat":{"boundsPeriod":{"start":"2013","end":"2014"}}}"#,
            vec!["2012-01-01..2015-01-01"],
        ),
        (r#"{"repeat":{"frequency":1}}"#, vec![]),
    ] {
        let json = format!(r#"{{"resourceType":"ServiceRequest","occurrenceTiming":{timing}}}"#);
        check(&json, "occurrence", &expected);
    }
}

#[test]
fn an_instant_is_a_moment_however_it_is_written() {
    // SRCH-031, SRCH-074
    let json = patient(r#""meta":{"lastUpdated":"2013-01-14T10:00:00Z"}"#);
    check(&json, "_lastUpdated", &["2013-01-14T10:00:00Z..2013-01-14T10:00:00.000001Z"]);
    let told = ExtractOptions {
        last_updated: Some("2020-01-01T00:00:00.5Z".parse::<Instant>().unwrap()),
        ..ExtractOptions::default()
    };
    for json in [json, patient(r#""active":true"#)] {
        let values = values_with(&json, "_lastUpdated", &told);
        assert_eq!(values, ["2020-01-01T00:00:00.500000Z..2020-01-01T00:00:00.500001Z"]);
    }
}

#[test]
fn numbers_are_exact_and_ranges_keep_their_ends() {
    // SRCH-053, SRCH-055, SRCH-057
    let risk = |probability: &str| {
        format!(r#"{{"resourceType":"RiskAssessment","prediction":[{{{probability}}}]}}"#)
    };
    for (probability, expected) in [
        (r#""probabilityDecimal":0.10"#, vec!["0.1"]),
        (r#""probabilityDecimal":1e-7"#, vec!["0.0000001"]),
        (r#""probabilityDecimal":0.1234567890123456789"#, vec!["0.1234567890123456789"]),
        (r#""probabilityRange":{"low":{"value":1},"high":{"value":2.5}}"#, vec!["[1..2.5]"]),
        (r#""probabilityRange":{"low":{"value":1}}"#, vec!["[1..)"]),
        (r#""probabilityRange":{"low":{"value":3},"high":{"value":2}}"#, vec![]),
        (r#""probabilityDecimal":1e99"#, vec![]),
    ] {
        check(&risk(probability), "probability", &expected);
    }
    let json = r#"{"resourceType":"MolecularSequence","variant":[{"start":128273724,"end":0}]}"#;
    check(json, "variant-start", &["128273724"]);
    check(json, "variant-end", &["0"]);
}

#[test]
fn each_part_of_a_name_and_of_an_address_is_a_text_of_its_own() {
    // SRCH-084, SRCH-085
    let json = patient(
        r#""name":[{"use":"official","text":"Dr A Bee","family":"Bee","given":["A","C"],
        "prefix":["Dr"],"suffix":["jr"],"period":{"start":"2013"}}],
        "address":[{"use":"home","type":"both","text":"all","line":["1 a","2 b"],"city":"c",
        "district":"d","state":"e","postalCode":"f","country":"g"}]"#,
    );
    let name = ["'Dr A Bee'", "'Bee'", "'A'", "'C'", "'Dr'", "'jr'"];
    check(&json, "name", &name);
    check(&json, "phonetic", &name);
    check(&json, "family", &["'Bee'"]);
    check(&json, "given", &["'A'", "'C'"]);
    check(&json, "address", &["'all'", "'1 a'", "'2 b'", "'c'", "'d'", "'e'", "'f'", "'g'"]);
    check(&json, "address-postalcode", &["'f'"]);
    check(&json, "address-use", &["http://hl7.org/fhir/address-use|home"]);
}

#[test]
fn texts_are_as_they_were_written_however_long() {
    // SRCH-091
    let long = "x".repeat(1 << 20);
    let json = patient(&format!(r#""name":[{{"family":"M\u00fcller \"x\"","given":["{long}"]}}]"#));
    check(&json, "family", &["'Müller \"x\"'"]);
    check(&json, "given", &[&format!("'{long}'")]);
}

#[test]
fn a_concept_gives_each_coding_and_its_text_by_itself() {
    // SRCH-096, SRCH-105, SRCH-113
    let code = |concept: &str| observation(&format!(r#""code":{concept}"#));
    for (concept, expected) in [
        (
            r#"{"coding":[{"system":"s","code":"a","display":"A"},{"code":"b"}],"text":"T"}"#,
            vec!["s|a 'A'", "|b", " 'T'"],
        ),
        (r#"{"text":"T"}"#, vec![" 'T'"]),
        (r#"{"coding":[{"system":"s"}]}"#, vec![]),
        (r#"{"extension":[{"url":"x","valueCode":"unknown"}]}"#, vec![]),
        (r#"{"coding":[{"_code":{"extension":[{"url":"x","valueCode":"unknown"}]}}]}"#, vec![]),
    ] {
        check(&code(concept), "code", &expected);
    }
}

#[test]
fn each_datatype_of_a_token_says_what_it_is() {
    // SRCH-097, SRCH-099, SRCH-100
    let json = patient(
        r#""id":"p","active":true,"gender":"male",
        "telecom":[{"system":"phone","value":"1"},{"system":"email","value":"e"},{"value":"x"}],
        "identifier":[{"system":"s","value":"v"}],
        "meta":{"tag":[{"system":"t","code":"c"}],"security":[{"code":"R"}],
        "profile":["http://a/b|1"],"source":"http://c#d"}"#,
    );
    check(&json, "_id", &["|p"]);
    check(&json, "active", &["|true"]);
    check(&json, "telecom", &["|1", "|e", "|x"]);
    check(&json, "phone", &["|1"]);
    check(&json, "email", &["|e"]);
    check(&json, "identifier", &["s|v"]);
    check(&json, "_tag", &["t|c"]);
    check(&json, "_security", &["|R"]);
    check(&json, "_profile", &["<http://a/b|1>"]);
    check(&json, "_source", &["<http://c#d>"]);
    let document = Document::parse(json.as_bytes()).unwrap();
    let extracted = R4.extract(document.root(), &ExtractOptions::default());
    for (code, from) in [
        ("_id", TokenFrom::Uri),
        ("active", TokenFrom::Boolean),
        ("gender", TokenFrom::Code),
        ("phone", TokenFrom::ContactPoint),
        ("identifier", TokenFrom::Identifier),
    ] {
        let parameter = R4.parameters().get("Patient", code).unwrap().id;
        assert_eq!(extracted.resource_type(), Some("Patient"));
        for value in extracted.of(parameter) {
            assert!(matches!(value, IndexValue::Token(token) if token.from == from), "{code}");
        }
    }
}

#[test]
fn a_code_is_of_the_system_that_its_binding_implies() {
    // SRCH-098
    let gender = "http://hl7.org/fhir/administrative-gender|male";
    check(&patient(r#""gender":"male""#), "gender", &[gender]);
    check(
        &observation(r#""status":"final""#),
        "status",
        &["http://hl7.org/fhir/observation-status|final"],
    );
    // Where the value set takes codes from several systems the code says of which it is.
    let definition = |of: &str| format!(r#"{{"resourceType":"GraphDefinition","start":"{of}"}}"#);
    check(&definition("Patient"), "start", &["http://hl7.org/fhir/resource-types|Patient"]);
    // The binding of a language is none that must be kept to.
    let json = patient(r#""communication":[{"language":{"coding":[{"code":"de"}]}}]"#);
    check(&json, "language", &["|de"]);
}

#[test]
fn an_identifier_has_its_type_and_is_nothing_without_a_value() {
    // SRCH-105, SRCH-109
    let json = patient(
        r#""identifier":[{"type":{"coding":[{"system":"t","code":"MR"},{"code":"x"}],"text":"T"},
        "system":"s","value":"1"},{"system":"s"},{"value":"2"}]"#,
    );
    check(&json, "identifier", &["s|1 'T' of t|MR", "|2"]);
}

#[test]
fn an_element_with_extensions_alone_has_no_value() {
    // SRCH-113, SRCH-156, SRCH-244
    const ABSENT: &str = r#"{"extension":[{"url":"http://hl7.org/fhir/StructureDefinition/data-absent-reason","valueCode":"unknown"}]}"#;
    let json = patient(&format!(
        r#""_birthDate":{ABSENT},"_gender":{ABSENT},"_active":{ABSENT},
        "name":[{{"_family":{ABSENT},"given":[null,"A"],"_given":[{ABSENT},null]}}]"#
    ));
    for code in ["birthdate", "gender", "active", "family"] {
        check(&json, code, &[]);
    }
    check(&json, "given", &["'A'"]);
}

#[test]
fn references_are_of_this_server_or_of_elsewhere() {
    // SRCH-115, SRCH-118, SRCH-119, SRCH-120, SRCH-122
    let own = ExtractOptions { base: Some("https://own/fhir"), ..ExtractOptions::default() };
    for (text, expected) in [
        ("Patient/1", "Patient/1"),
        ("Patient/1/_history/2", "Patient/1/_history/2"),
        ("https://own/fhir/Patient/1", "Patient/1"),
        ("https://own/fhir/Patient/1/_history/2", "Patient/1/_history/2"),
        ("https://own/fhir/x/Patient/1", "<https://own/fhir/x/Patient/1>"),
        ("https://own/fhirx/Patient/1", "<https://own/fhirx/Patient/1>"),
        ("http://other/Patient/1", "<http://other/Patient/1>"),
        ("urn:uuid:0192", "<urn:uuid:0192>"),
        ("#p", "#p"),
        ("Patient/a_b", "<Patient/a_b>"),
        ("/Patient/1", "</Patient/1>"),
        ("Patient?identifier=1", "<Patient?identifier=1>"),
    ] {
        let json = observation(&format!(r#""subject":{{"reference":"{text}"}}"#));
        assert_eq!(values_with(&json, "subject", &own), [expected], "{text}");
    }
    let json = observation(r#""subject":{"reference":"https:\/\/own/fhir/Patient/1"}"#);
    assert_eq!(values_with(&json, "subject", &own), ["Patient/1"]);
    check(&json, "subject", &["<https://own/fhir/Patient/1>"]);
}

#[test]
fn a_reference_without_a_text_is_found_by_its_identifier() {
    // SRCH-121, SRCH-127
    let json = observation(
        r##""subject":{"identifier":{"system":"s","value":"1"},"display":"D"},
        "focus":[{"display":"F"},{"reference":"#x"},{"id":"1"}]"##,
    );
    check(&json, "subject", &["- identified s|1 'D'"]);
    check(&json, "focus", &["- 'F'", "#x"]);
}

#[test]
fn patient_is_who_the_reference_says_is_one() {
    // SRCH-126
    let contained =
        r#""contained":[{"resourceType":"Patient","id":"p"},{"resourceType":"Group","id":"g"}]"#;
    for (subject, is_patient) in [
        (r#"{"reference":"Patient/1"}"#, true),
        (r#"{"reference":"Patient/1/_history/2"}"#, true),
        (r#"{"reference":"http://other/Patient/1"}"#, true),
        (r##"{"reference":"#p"}"##, true),
        (r#"{"type":"Patient","identifier":{"value":"1"}}"#, true),
        (
            r#"{"type":"http://hl7.org/fhir/StructureDefinition/Patient","reference":"urn:uuid:1"}"#,
            true,
        ),
        (r#"{"reference":"Group/1"}"#, false),
        (r#"{"reference":"Group/1","type":"Patient"}"#, false),
        (r##"{"reference":"#g"}"##, false),
        (r##"{"reference":"#none"}"##, false),
        (r#"{"reference":"urn:uuid:1"}"#, false),
        (r#"{"identifier":{"value":"1"}}"#, false),
    ] {
        let json = observation(&format!(r#"{contained},"subject":{subject}"#));
        assert_eq!(values(&json, "subject").len(), 1, "{subject}");
        assert_eq!(!values(&json, "patient").is_empty(), is_patient, "{subject}");
    }
}

#[test]
fn a_canonical_is_a_url_and_a_version() {
    // SRCH-123
    let json = r#"{"resourceType":"QuestionnaireResponse","questionnaire":"http://a/q|1.0#x"}"#;
    check(json, "questionnaire", &["canonical http://a/q|1.0"]);
    let json = r#"{"resourceType":"ConceptMap","url":"http://a/c|1","sourceUri":"http://a/v"}"#;
    check(json, "source-uri", &["canonical http://a/v"]);
    check(json, "url", &["<http://a/c|1>"]);
}

#[test]
fn quantities_compare_in_their_own_unit_and_in_base_units() {
    // SRCH-130, SRCH-132, SRCH-134, SRCH-137
    const UCUM: &str = r#""system":"http://unitsofmeasure.org""#;
    for (quantity, expected) in [
        (
            format!(r#"{{"value":5.40,"unit":"gram",{UCUM},"code":"g"}}"#),
            vec!["5.4|http://unitsofmeasure.org|g 'gram' = 5.4 g"],
        ),
        (
            format!(r#"{{"value":5400,{UCUM},"code":"mg"}}"#),
            vec!["5400|http://unitsofmeasure.org|mg = 5.4 g"],
        ),
        (
            format!(r#"{{"value":37,{UCUM},"code":"Cel"}}"#),
            vec!["37|http://unitsofmeasure.org|Cel = 310.15 K"],
        ),
        (
            format!(r#"{{"value":7,{UCUM},"code":"no-unit"}}"#),
            vec!["7|http://unitsofmeasure.org|no-unit"],
        ),
        (r#"{"value":7,"system":"s","code":"g"}"#.to_owned(), vec!["7|s|g"]),
        (r#"{"value":7,"unit":"tablets"}"#.to_owned(), vec!["7|| 'tablets'"]),
        (format!(r#"{{"comparator":"<","unit":"g",{UCUM},"code":"g"}}"#), vec![]),
    ] {
        check(&observation(&format!(r#""valueQuantity":{quantity}"#)), "value-quantity", &expected);
    }
    let json = r#"{"resourceType":"Invoice","totalGross":{"value":48,"currency":"EUR"}}"#;
    check(json, "totalgross", &["48|urn:iso:std:iso:4217|EUR"]);
}

#[test]
fn a_comparator_makes_a_quantity_all_that_lies_on_its_side() {
    // SRCH-133
    for (comparator, expected) in
        [("<", "(..5)||"), ("<=", "(..5]||"), (">", "(5..)||"), (">=", "[5..)||")]
    {
        let quantity = format!(r#""valueQuantity":{{"comparator":"{comparator}","value":5}}"#);
        check(&observation(&quantity), "value-quantity", &[expected]);
    }
}

#[test]
fn choices_of_types_give_what_the_parameter_asks_for() {
    // SRCH-134, SRCH-236, SRCH-243
    let onset = |onset: &str| format!(r#"{{"resourceType":"Condition",{onset}}}"#);
    let age = onset(r#""onsetAge":{"value":52,"system":"http://unitsofmeasure.org","code":"a"}"#);
    check(&age, "onset-age", &["52|http://unitsofmeasure.org|a = 1640995200 s"]);
    check(&age, "onset-date", &[]);
    let range =
        onset(r#""onsetRange":{"low":{"value":1,"unit":"a"},"high":{"value":2,"unit":"a"}}"#);
    check(&range, "onset-age", &["[1..2]|| 'a'"]);
    check(&onset(r#""onsetPeriod":{"start":"2013"}"#), "onset-date", &["2013-01-01..ever"]);
    check(&onset(r#""onsetString":"long ago""#), "onset-info", &["'long ago'"]);
    let concept = observation(r#""valueCodeableConcept":{"coding":[{"code":"a"}],"text":"T"}"#);
    check(&concept, "value-concept", &["|a", " 'T'"]);
    check(&concept, "value-string", &["'T'"]);
    check(&concept, "value-quantity", &[]);
    check(&observation(r#""valueDateTime":"2013""#), "value-date", &["2013-01-01..2014-01-01"]);
}

#[test]
fn deceased_is_what_its_expression_says_also_where_it_is_absent() {
    // SRCH-236, SRCH-247
    for (members, expected) in [
        (r#""deceasedBoolean":true"#, "|true"),
        (r#""deceasedBoolean":false"#, "|false"),
        (r#""deceasedDateTime":"2013""#, "|true"),
        (r#""active":true"#, "|false"),
    ] {
        check(&patient(members), "deceased", &[expected]);
    }
    check(&patient(r#""deceasedDateTime":"2013""#), "death-date", &["2013-01-01..2014-01-01"]);
}

#[test]
fn a_composite_keeps_what_stands_in_one_element() {
    // SRCH-145, SRCH-146, SRCH-149, SRCH-236
    let json = observation(
        r#""code":{"coding":[{"code":"bp"}]},"valueDateTime":"2013",
        "component":[{"code":{"coding":[{"code":"sys"}]},"valueQuantity":{"value":120}},
        {"code":{"coding":[{"code":"dia"}]},"valueQuantity":{"value":80}},
        {"code":{"coding":[{"code":"none"}]}}]"#,
    );
    let components = ["|sys $ 120||", "|dia $ 80||"];
    check(&json, "component-code-value-quantity", &components);
    check(&json, "combo-code-value-quantity", &components);
    check(&json, "code-value-quantity", &[]);
    // Whose definition says DateTime and means dateTime.
    check(&json, "code-value-date", &["|bp $ 2013-01-01..2014-01-01"]);
    let json = observation(r#""code":{"coding":[{"code":"a"}]},"valueQuantity":{"value":1}"#);
    for code in ["code-value-quantity", "combo-code-value-quantity"] {
        check(&json, code, &["|a $ 1||"]);
    }
    let json = r#"{"resourceType":"MolecularSequence",
        "referenceSeq":{"chromosome":{"coding":[{"code":"1"}]}},"variant":[{"start":3,"end":4}]}"#;
    check(json, "chromosome-variant-coordinate", &["|1 $ 3 $ 4"]);
}

#[test]
fn a_resource_made_to_have_endless_combinations_has_some_of_them() {
    let codings = vec![r#"{"code":"1"}"#; 2_000].join(",");
    let variants = vec![r#"{"start":1,"end":2}"#; 2_000].join(",");
    let json = format!(
        r#"{{"resourceType":"MolecularSequence","variant":[{variants}],
        "referenceSeq":{{"chromosome":{{"coding":[{codings}]}}}}}}"#
    );
    let document = Document::parse(json.as_bytes()).unwrap();
    let extracted = R4.extract(document.root(), &ExtractOptions::default());
    let code = "chromosome-variant-coordinate";
    let parameter = R4.parameters().get("MolecularSequence", code).unwrap().id;
    let count = extracted.of(parameter).count();
    assert!((10..100).contains(&count), "{count}");
    let problem = Problem { parameter, reason: ProblemReason::TooMuch };
    assert_eq!(extracted.problems().iter().filter(|it| **it == problem).count(), 1);
    assert_eq!(values(&json, "variant-start").len(), 2_000);
}

#[test]
fn a_position_is_somewhere_on_earth() {
    // SRCH-150, SRCH-151
    let location = |latitude: &str, longitude: &str| {
        format!(
            r#"{{"resourceType":"Location","position":{{"latitude":{latitude},"longitude":{longitude}}}}}"#
        )
    };
    check(&location("-83.6945691", "180"), "near", &["-83.6945691 180"]);
    check(&location("91", "0"), "near", &[]);
    check(&location("0", "-180.1"), "near", &[]);
}

#[test]
fn an_extension_gives_its_value() {
    // SRCH-236
    let json = patient(
        r#""extension":[{"url":"http://hl7.org/fhir/StructureDefinition/patient-extensions-Patient-mothersMaidenName","valueString":"Bee"},
        {"url":"http://other","valueString":"Cee"}]"#,
    );
    check(&json, "mothersMaidenName", &["'Bee'"]);
}

#[test]
fn a_bundle_is_found_by_its_first_entry() {
    // SRCH-236
    let json = r#"{"resourceType":"Bundle","type":"document","entry":[
        {"resource":{"resourceType":"Composition","id":"c"}},
        {"resource":{"resourceType":"Patient","id":"p"}}]}"#;
    check(json, "composition", &["Composition/c"]);
}

#[test]
fn what_is_no_known_resource_has_no_values() {
    for json in ["{}", "[]", "1", r#"{"resourceType":"Nothing"}"#, r#"{"resourceType":1}"#] {
        let document = Document::parse(json.as_bytes()).unwrap();
        let extracted = R4.extract(document.root(), &ExtractOptions::default());
        assert_eq!(extracted.iter().count(), 0, "{json}");
        assert_eq!(extracted.problems(), []);
        assert_eq!(extracted.resource_type(), None);
    }
}

#[test]
fn what_cannot_be_supported_is_listed_with_the_reason() {
    // SRCH-235
    let mut listed: Vec<String> = R4
        .unsupported()
        .iter()
        .map(|it| {
            let parameter = R4.parameters().by_id(it.parameter).unwrap();
            format!("{}: {}", parameter.definition.url, it.reason)
        })
        .collect();
    listed.sort();
    listed.dedup();
    let core = "http://hl7.org/fhir/SearchParameter/";
    let without = [
        "DomainResource-text",
        "Resource-content",
        "Resource-query",
        "filter",
        "patient-extensions-Patient-age",
        "patient-extensions-Patient-birthOrderBoolean",
    ]
    .map(|id| format!("{core}{id}: it has no expression"));
    let mut expected: Vec<String> = without.into();
    expected.push(format!("{core}example-extension: its expression is about other types"));
    // Its components name each other's parameters: a reference for the code, a token for the target.
    expected.push(format!(
        "{core}DocumentReference-relationship: its expression leads to BackboneElement, of which a \
         composite has no values"
    ));
    expected.sort();
    listed.iter().zip(&expected).for_each(|(listed, expected)| assert_eq!(listed, expected));
    assert_eq!(listed.len(), expected.len());
}
