//! Conditions on a resource's own values.

use super::super::{CodesError, Unanswered, check_answerable};
use super::{Few, query};

fn coded(id: &str, codings: &str) -> (String, String) {
    (format!("Observation/{id}"), format!(r#""code":{codings}"#))
}

fn few(resources: &[(String, String)]) -> Few {
    let all: Vec<(&str, &str)> = resources.iter().map(|(name, of)| (&**name, &**of)).collect();
    Few::of(&all)
}

#[test]
fn texts_are_found_by_how_they_begin_whatever_case_and_accents() {
    // SRCH-080, SRCH-081, SRCH-082, SRCH-084, SRCH-086
    let few = Few::of(&[
        ("Patient/1", r#""name":[{"family":"Müller","given":["Jo","Ann"],"prefix":["Dr."]}]"#),
        ("Patient/2", r#""name":[{"family":"Carreño Quiñones"}]"#),
        ("Patient/3", r#""name":[{"family":"Son"}]"#),
        ("Patient/4", r#""name":[{"text":"Johnsonville"}]"#),
        ("Patient/5", r#""active":true"#),
        ("Organization/1", r#""name":"Carreño Quiñones""#),
    ]);
    few.check(&[
        ("Organization?name=carreno", "1"),
        // Of people's names alone any word may be the first.
        ("Organization?name=quinones", ""),
        ("Patient?family=mull", "1"),
        ("Patient?family=MULLER", "1"),
        ("Patient?family=quinones", "2"),
        ("Patient?family=son", "3"),
        ("Patient?family:exact=Son", "3"),
        ("Patient?family:exact=son", ""),
        ("Patient?name:contains=son", "3 4"),
        ("Patient?name=dr", "1"),
        ("Patient?family=dr", ""),
        ("Patient?given=jo,ann&given=ann", "1"),
    ]);
}

#[test]
fn values_of_one_parameter_are_alternatives_and_repeated_ones_all_hold() {
    // SRCH-013, SRCH-014, SRCH-073, SRCH-072
    let few = Few::of(&[
        ("Patient/1", r#""identifier":[{"value":"a"},{"value":"b"}],"birthDate":"2019-01-01""#),
        ("Patient/2", r#""identifier":[{"value":"a"}],"birthDate":"2020-06-01""#),
        ("Patient/3", r#""identifier":[{"value":"c"}],"birthDate":"2021-06-01""#),
    ]);
    few.check(&[
        ("Patient?identifier=a&identifier=b", "1"),
        ("Patient?identifier=b,c", "1 3"),
        ("Patient?birthdate=ge2020-01-01&birthdate=lt2021-01-01", "2"),
        ("Patient?birthdate=2019-01-01,ge2021-01-01", "1 3"),
        ("Patient?_id=1,3,9", "1 3"),
    ]);
}

#[test]
fn a_code_is_found_with_any_system_one_or_none() {
    // SRCH-095, SRCH-096, SRCH-101, SRCH-113
    let few = few(&[
        coded("1", r#"{"coding":[{"system":"urn:x","code":"q"},{"system":"urn:y","code":"r"}]}"#),
        coded("2", r#"{"coding":[{"code":"q"}]}"#),
        coded("3", r#"{"text":"q"}"#),
        coded("4", r#"{"coding":[{"system":"urn:case","code":"Q"}]}"#),
        coded("5", r#"{"coding":[{"system":"urn:x","code":"Q"}]}"#),
        coded("6", r#"{"coding":[{"system":"http://unitsofmeasure.org","code":"mg"}]}"#),
    ]);
    few.check(&[
        ("Observation?code=q", "1 2 5"),
        ("Observation?code=Q", "1 2 4 5"),
        ("Observation?code=urn:x|q", "1 5"),
        ("Observation?code=|q", "2"),
        ("Observation?code=urn:y|", "1"),
        ("Observation?code=r", "1"),
        ("Observation?code=MG", ""),
        ("Observation?code:text=Q", "3"),
        ("Observation?code:missing=false", "1 2 3 4 5 6"),
    ]);
}

#[test]
fn tokens_are_compared_as_the_element_that_they_are_of() {
    // SRCH-097, SRCH-098, SRCH-099, SRCH-109, SRCH-246
    let few = Few::of(&[
        (
            "Patient/a",
            r#""active":true,"gender":"male","telecom":[{"system":"email","value":"J@x.example"}],
            "identifier":[{"type":{"coding":[{"system":"urn:t","code":"MR"}]},"value":"v1"}]"#,
        ),
        (
            "Patient/b",
            r#""active":false,"gender":"female","telecom":[{"system":"phone","value":"1"}],
            "identifier":[{"type":{"coding":[{"system":"urn:t","code":"SS"}]},"value":"v1"}]"#,
        ),
        ("Patient/c", ""),
        ("Patient/d", r#""identifier":[{"system":"urn:case","value":"v1"}]"#),
    ]);
    few.check(&[
        ("Patient?active=true", "a"),
        ("Patient?active=false", "b"),
        ("Patient?active=urn:x|true", ""),
        ("Patient?gender=http://hl7.org/fhir/administrative-gender|male", "a"),
        ("Patient?gender=male", "a"),
        ("Patient?email=j@X.example", "a"),
        ("Patient?email=1", ""),
        ("Patient?identifier=V1", "a b"),
        ("Patient?identifier=v1", "a b d"),
        ("Patient?identifier:of-type=urn:t|MR|v1", "a"),
        ("Patient?_id=a", "a"),
        ("Patient?_id=A", ""),
    ]);
}

#[test]
fn not_finds_also_what_has_no_value_and_excludes_by_any_value() {
    // SRCH-102, SRCH-103, SRCH-104
    let category = |codes: &[&str]| {
        let all: Vec<_> =
            codes.iter().map(|it| format!(r#"{{"coding":[{{"code":"{it}"}}]}}"#)).collect();
        format!(r#""category":[{}]"#, all.join(","))
    };
    let few = few(&[
        ("Observation/1".to_owned(), category(&["a"])),
        ("Observation/2".to_owned(), category(&["b"])),
        ("Observation/3".to_owned(), category(&["a", "b"])),
        ("Observation/4".to_owned(), String::new()),
        ("Observation/5".to_owned(), category(&["c"])),
    ]);
    few.check(&[
        ("Observation?category:not=a", "2 4 5"),
        ("Observation?category:not=a,b", "4 5"),
        ("Observation?category:missing=true", "4"),
        ("Observation?category:missing=false", "1 2 3 5"),
    ]);
}

#[test]
fn ne_of_a_filter_needs_a_value_that_differs() {
    // SRCH-043, SRCH-044
    let few = few(&[
        coded("1", r#"{"coding":[{"system":"urn:x","code":"q"}],"text":"words"}"#),
        coded("2", r#"{"coding":[{"system":"urn:x","code":"q"},{"system":"urn:x","code":"r"}]}"#),
        coded("3", r#"{"text":"words"}"#),
        ("Observation/4".to_owned(), String::new()),
    ]);
    few.check(&[
        ("Observation?_filter=code eq urn:x|q", "1 2"),
        ("Observation?_filter=code ne urn:x|q", "2"),
        ("Observation?_filter=not (code eq urn:x|q)", "3 4"),
        ("Observation?_filter=code eq urn:x|q and code eq urn:x|r", "2"),
        ("Observation?_filter=code eq urn:x|q&_id=1", "1"),
    ]);
}

#[test]
fn codes_are_found_by_value_set_and_by_what_subsumes_them() {
    // SRCH-106, SRCH-108, SRCH-107
    let letter = |id: &str, code: &str| {
        coded(id, &format!(r#"{{"coding":[{{"system":"urn:letters","code":"{code}"}}]}}"#))
    };
    let few = few(&[
        letter("1", "a"),
        letter("2", "b"),
        letter("3", "c"),
        coded("4", r#"{"coding":[{"system":"urn:x","code":"b"}]}"#),
        ("Observation/5".to_owned(), String::new()),
    ]);
    few.check(&[
        ("Observation?code:in=http://a.example/vs", "2 3"),
        ("Observation?code:not-in=http://a.example/vs", "1 4 5"),
        ("Observation?code:below=urn:letters|b", "2 3"),
        ("Observation?code:above=urn:letters|b", "1 2"),
    ]);
    let unknown = query("Observation?code:in=http://a.example/other");
    let error = CodesError::UnknownValueSet("http://a.example/other".into());
    assert_eq!(check_answerable(&unknown, &few), Err(error.clone().into()));
    let failed = few.ids("Observation?code:in=http://a.example/other");
    assert_eq!(failed, Err(Unanswered::from(error)));
    let nested = query("Patient?_has:Observation:patient:code:below=urn:x|b");
    let error = CodesError::UnknownHierarchy("urn:x".into());
    assert_eq!(check_answerable(&nested, &few), Err(error.into()));
}

#[test]
fn a_mime_type_is_found_exactly_or_with_whatever_parameters() {
    // SRCH-255
    let content = |of: &str| format!(r#""content":[{{"attachment":{{"contentType":"{of}"}}}}]"#);
    let few = few(&[
        ("DocumentReference/1".to_owned(), content("text/xml")),
        ("DocumentReference/2".to_owned(), content("text/xml; charset=UTF-8")),
        ("DocumentReference/3".to_owned(), content("text/xml+x")),
    ]);
    few.check(&[
        ("DocumentReference?contenttype=text/xml", "1"),
        ("DocumentReference?contenttype:below=text/xml", "1 2"),
    ]);
}

#[test]
fn the_parts_of_a_composite_hold_of_one_element() {
    // SRCH-145, SRCH-146, SRCH-148
    let pressure = |systolic: i32, diastolic: i32| {
        let part = |code: &str, value| {
            format!(
                r#"{{"code":{{"coding":[{{"system":"urn:l","code":"{code}"}}]}},
                "valueQuantity":{{"value":{value}}}}}"#
            )
        };
        format!(r#""component":[{},{}]"#, part("sys", systolic), part("dia", diastolic))
    };
    let few = few(&[
        ("Observation/1".to_owned(), pressure(150, 90)),
        ("Observation/2".to_owned(), pressure(90, 150)),
    ]);
    few.check(&[
        ("Observation?component-code-value-quantity=urn:l|sys$gt140", "1"),
        ("Observation?component-code-value-quantity=dia$gt140", "2"),
        ("Observation?component-code-value-quantity=sys$gt200,dia$90", "1"),
    ]);
}

#[test]
fn quantities_are_compared_by_number_and_unit_also_converted() {
    // SRCH-130, SRCH-132, SRCH-133, SRCH-135
    let value = |of: &str| format!(r#""valueQuantity":{{{of}}}"#);
    let ucum = r#""system":"http://unitsofmeasure.org""#;
    let few = few(&[
        ("Observation/1".to_owned(), value(&format!(r#""value":5.4,{ucum},"code":"g""#))),
        ("Observation/2".to_owned(), value(&format!(r#""value":5400,{ucum},"code":"mg""#))),
        ("Observation/3".to_owned(), value(r#""value":5.4,"unit":"g""#)),
        ("Observation/4".to_owned(), value(r#""value":5,"comparator":"<","unit":"x""#)),
        ("Observation/5".to_owned(), value(r#""unit":"g""#)),
    ]);
    few.check(&[
        ("Observation?value-quantity=5.4|http://unitsofmeasure.org|g", "1 2"),
        ("Observation?value-quantity=5.4||g", "1 3"),
        ("Observation?value-quantity=5.4", "1 3"),
        ("Observation?value-quantity=5.4|http://loinc.org|g", ""),
        ("Observation?value-quantity=lt10||x", "4"),
        ("Observation?value-quantity:missing=true", "5"),
    ]);
}

#[test]
fn uris_are_found_to_the_letter_and_profiles_in_each_form() {
    // SRCH-033, SRCH-140, SRCH-141, SRCH-144
    let few = Few::of(&[
        ("ValueSet/1", r#""url":"http://acme.example/fhir/x","version":"1.0""#),
        ("ValueSet/2", r#""url":"http://acme.example/fhirx","version":"2.0""#),
        ("StructureDefinition/p", r#""url":"http://acme.example/p""#),
        ("Patient/1", r#""meta":{"profile":["http://acme.example/p|2"]}"#),
        ("Patient/2", r#""meta":{"profile":["http://acme.example/q"]}"#),
        ("Patient/3", r#""meta":{"profile":["https://own.example/fhir/StructureDefinition/p"]}"#),
    ]);
    few.check(&[
        ("ValueSet?url=http://acme.example/fhir/x", "1"),
        ("ValueSet?url=http://acme.example/fhir/x/", ""),
        ("ValueSet?url:below=http://acme.example/fhir", "1"),
        ("ValueSet?url=http://acme.example/fhir/x|1.0", "1"),
        ("ValueSet?url=http://acme.example/fhir/x|2.0", ""),
        ("Patient?_profile=http://acme.example/p", "1"),
        ("Patient?_profile=http://acme.example/p|2", "1"),
        ("Patient?_profile=StructureDefinition/p", "1 3"),
    ]);
}

#[test]
fn places_are_found_by_distance() {
    // SRCH-150
    let at = |latitude: &str, longitude: &str| {
        format!(r#""position":{{"latitude":{latitude},"longitude":{longitude}}}"#)
    };
    let few = few(&[
        ("Location/1".to_owned(), at("48.2", "16.4")),
        ("Location/2".to_owned(), at("48.3", "16.4")),
        ("Location/3".to_owned(), at("0", "179.99")),
        ("Location/4".to_owned(), String::new()),
    ]);
    few.check(&[
        ("Location?near=48.2|16.4|10|km", "1"),
        ("Location?near=48.2|16.4|12", "1 2"),
        ("Location?near=48.2|16.4", "1 2"),
        ("Location?near=0|-179.99|3000|m", "3"),
    ]);
}

#[test]
fn words_are_found_in_the_narrative_or_the_whole_resource() {
    // SRCH-035
    let few = Few::of(&[
        ("Patient/1", r#""text":{"status":"generated","div":"<div>bone marrow</div>"}"#),
        ("Patient/2", r#""name":[{"text":"Bone"}]"#),
    ]);
    few.check(&[
        ("Patient?_text=bone", "1"),
        ("Patient?_text=not bone", "2"),
        ("Patient?_content=bone", "1 2"),
        ("Patient?_content=\"bone marrow\"", "1"),
    ]);
}
