//! The operations from Parameters to Parameters.

#![expect(clippy::unwrap_used, reason = "a test may fail at once")]

use std::sync::Arc;

use fhir_core::IssueCode;
use fhir_core::json::Document;
use fhir_schema::DefinitionSet;
use fhir_terminology::operations::{Input, Surroundings, operation, perform};
use fhir_terminology::{Entry, Layer, Terminology, TerminologyError};
use proptest::prelude::*;

fn now() -> Surroundings<'static> {
    Surroundings {
        timestamp: "2026-01-02T03:04:05Z",
        identifier: "urn:uuid:1",
        structures: DefinitionSet::r4(),
    }
}

fn query(text: &str) -> Vec<(String, String)> {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn ask(of: &str, name: &str, text: &str) -> Result<String, TerminologyError> {
    let input = Input::from_query(query(text).into_iter());
    let operation = operation(of, name).unwrap();
    let answer = perform(operation, &Terminology::r4(), &input, now())?;
    Document::parse(&answer).unwrap();
    Ok(String::from_utf8(answer).unwrap())
}

fn post(of: &str, name: &str, parameters: &str) -> Result<String, TerminologyError> {
    let text = format!(r#"{{"resourceType":"Parameters","parameter":[{parameters}]}}"#);
    let document = Document::parse(text.as_bytes()).unwrap();
    let input = Input::from_parameters(document.root())?;
    let answer = perform(operation(of, name).unwrap(), &Terminology::r4(), &input, now())?;
    Document::parse(&answer).unwrap();
    Ok(String::from_utf8(answer).unwrap())
}

const ACT: &str = "http://terminology.hl7.org/CodeSystem/v3-ActCode";

#[test]
fn a_lookup_tells_names_properties_and_neighbours_as_they_are_asked_for() {
    // TERM-095, TERM-096, TERM-022
    let answer = ask("CodeSystem", "$lookup", &format!("system={ACT}&code=CC")).unwrap();
    for part in [
        r#"{"name":"name","valueString":"v3.ActCode"}"#,
        r#"{"name":"display","valueString":"credit card"}"#,
        r#"{"name":"code","valueCode":"parent"},{"name":"value","valueCode":"_ActAccountCode"}"#,
        r#"{"name":"code","valueCode":"child"},{"name":"value","valueCode":"AE"}"#,
        r#"{"name":"code","valueCode":"definition"}"#,
    ] {
        assert!(answer.contains(part), "{part} in {answer}");
    }
    let few =
        ask("CodeSystem", "$lookup", &format!("system={ACT}&code=CC&property=parent")).unwrap();
    assert!(few.contains("_ActAccountCode") && !few.contains("valueCode\":\"child"), "{few}");
    let group =
        ask("CodeSystem", "$lookup", &format!("system={ACT}&code=_ActAccountCode")).unwrap();
    assert!(group.contains(r#"{"name":"abstract","valueBoolean":true}"#), "{group}");
    let unit = ask("CodeSystem", "$lookup", "system=http://unitsofmeasure.org&code=mg/dL").unwrap();
    assert!(unit.contains("UCUM"), "{unit}");
}

#[test]
fn an_expansion_says_how_it_was_asked_for_and_what_it_used() {
    // TERM-061, TERM-063, TERM-010, TERM-070
    let set = "url=http://hl7.org/fhir/ValueSet/administrative-gender";
    let answer = ask("ValueSet", "$expand", &format!("{set}&count=2&offset=1")).unwrap();
    for part in [
        r#""identifier":"urn:uuid:1","timestamp":"2026-01-02T03:04:05Z","total":4,"offset":1"#,
        r#"{"name":"count","valueInteger":2}"#,
        r#"{"name":"version","valueUri":"http://hl7.org/fhir/administrative-gender|4.0.1"}"#,
        r#"{"name":"used-codesystem","#,
        r#""contains":[{"system":"http://hl7.org/fhir/administrative-gender","code":"female","display":"Female"}"#,
    ] {
        assert!(answer.contains(part), "{part} in {answer}");
    }
    let padded = ask("ValueSet", "$expand", &format!("{set}&count=002&offset=+1")).unwrap();
    assert!(padded.contains(r#"{"name":"count","valueInteger":2}"#), "{padded}");
    assert!(padded.contains(r#"{"name":"offset","valueInteger":1}"#), "{padded}");
    assert!(!padded.contains("compose"), "{padded}");
    let definition = ask("ValueSet", "$expand", &format!("{set}&includeDefinition=true")).unwrap();
    assert!(definition.contains(r#""compose":{"include""#), "{definition}");
}

#[test]
fn a_concept_is_valid_when_one_of_its_codings_is() {
    // TERM-082, TERM-080
    let ask = |codings: &str| {
        post(
            "ValueSet",
            "$validate-code",
            &format!(
                r#"{{"name":"url","valueUri":"http://hl7.org/fhir/ValueSet/administrative-gender"}},{{"name":"codeableConcept","valueCodeableConcept":{{"coding":[{codings}]}}}}"#
            ),
        )
        .unwrap()
    };
    let good = r#"{"system":"http://hl7.org/fhir/administrative-gender","code":"male"}"#;
    let bad = r#"{"system":"http://hl7.org/fhir/administrative-gender","code":"m"}"#;
    assert!(ask(&format!("{bad},{good}")).contains(r#""result","valueBoolean":true"#));
    let refused = ask(bad);
    assert!(refused.contains(r#""result","valueBoolean":false"#), "{refused}");
    assert!(refused.contains(r#""expression":["CodeableConcept.coding[0].code"]"#), "{refused}");
}

#[test]
fn what_is_not_loaded_is_false_with_the_reason_and_a_part_is_true_with_a_warning() {
    // TERM-086, TERM-006
    let unknown = ask("CodeSystem", "$validate-code", "url=http://nowhere&code=1").unwrap();
    assert!(unknown.contains(r#""result","valueBoolean":false"#), "{unknown}");
    assert!(unknown.contains("can't be found") && unknown.contains("not-found"), "{unknown}");
    let part = "url=http://terminology.hl7.org/CodeSystem/service-type&code=none";
    let part = ask("CodeSystem", "$validate-code", part).unwrap();
    assert!(part.contains(r#""result","valueBoolean":true"#), "{part}");
    assert!(part.contains(r#""severity":"warning""#), "{part}");
}

#[test]
fn definitions_in_a_request_count_for_it_alone() {
    // TERM-008, TERM-060
    let system = r#"{"name":"tx-resource","resource":{"resourceType":"CodeSystem","url":"http://x/s","status":"active","content":"complete","concept":[{"code":"a"}]}}"#;
    let set = r#"{"name":"valueSet","resource":{"resourceType":"ValueSet","status":"active","compose":{"include":[{"system":"http://x/s"}]}}}"#;
    let answer = post("ValueSet", "$expand", &format!("{system},{set}")).unwrap();
    assert!(answer.contains(r#""code":"a""#), "{answer}");
    let alone = post("ValueSet", "$expand", set);
    assert!(matches!(alone, Err(TerminologyError::SystemNotLoaded { .. })), "{alone:?}");
}

#[test]
fn a_translation_names_its_map_and_says_when_there_is_none() {
    // TERM-105, TERM-106
    let map = "url=http://hl7.org/fhir/ConceptMap/cm-administrative-gender-v3";
    let found = ask("ConceptMap", "$translate", &format!("{map}&code=male")).unwrap();
    assert!(found.contains(r#"{"name":"result","valueBoolean":true}"#), "{found}");
    assert!(found.contains(r#""code":"M""#) && found.contains("cm-administrative-gender-v3"));
    let none = ask("ConceptMap", "$translate", &format!("{map}&code=nobody")).unwrap();
    assert!(none.contains(r#"{"name":"result","valueBoolean":false}"#), "{none}");
}

#[test]
fn parameters_that_are_wrong_are_refused_where_they_stand() {
    // TERM-001, TERM-002
    let check = |parameters: &str, code: IssueCode, expression: &str| {
        let issue = post("ValueSet", "$expand", parameters).unwrap_err().issue();
        assert_eq!((issue.code, issue.expression), (code, vec![expression.to_owned()]));
    };
    let first = "Parameters.parameter[0]";
    check(r#"{"name":"colour","valueCode":"red"}"#, IssueCode::NotSupported, first);
    check(r#"{"name":"url"}"#, IssueCode::Required, first);
    check(r#"{"name":"valueSet","valueString":"x"}"#, IssueCode::Value, first);
    let long =
        format!(r#"{{"name":"url","valueUri":"http://x?fhir_vs=isa/{}"}}"#, "1".repeat(2048));
    check(&long, IssueCode::TooLong, "http.url");
    check(
        r#"{"name":"url","valueUri":"http://x"},{"name":"url","valueUri":"http://y"}"#,
        IssueCode::Invalid,
        "Parameters.parameter[1]",
    );
}

proptest! {
    #[test]
    fn any_value_set_expands_to_what_it_holds_and_nothing_else(
        codes in proptest::collection::vec("[a-d]{1,2}", 1..12),
        parents in proptest::collection::vec(0_usize..12, 12),
        picks in proptest::collection::vec(("(is-a|descendent-of|is-not-a|generalizes)", 0_usize..12), 1..4),
        excluded in proptest::option::of(0_usize..12),
    ) {
        let concepts: Vec<String> = codes.iter().zip(&parents).map(|(code, parent)| {
            let parent = &codes[parent % codes.len()];
            format!(r#"{{"code":"{code}","property":[{{"code":"parent","valueCode":"{parent}"}}]}}"#)
        }).collect();
        let system = format!(
            r#"{{"resourceType":"CodeSystem","url":"http://x/s","status":"active","content":"complete","concept":[{}]}}"#,
            concepts.join(",")
        );
        let part = |op: &str, at: usize| format!(
            r#"{{"system":"http://x/s","filter":[{{"property":"concept","op":"{op}","value":"{}"}}]}}"#,
            codes[at % codes.len()]
        );
        let includes: Vec<String> = picks.iter().map(|(op, at)| part(op, *at)).collect();
        let excludes: Vec<String> = excluded.iter().map(|at| part("is-a", *at)).collect();
        let set = format!(
            r#"{{"resourceType":"ValueSet","url":"http://x/v","status":"active","compose":{{"include":[{}],"exclude":[{}]}}}}"#,
            includes.join(","), excludes.join(",")
        );
        let mut layer = Layer::new();
        for json in [&system, &set] {
            let document = Document::parse(json.as_bytes()).unwrap();
            layer.add(Arc::new(Entry::new(document.root()).unwrap()));
        }
        let set = Terminology::empty().with(layer).resolve("http://x/v").unwrap();
        let expansion = set.expand(&Default::default(), Default::default()).unwrap();
        for code in &codes {
            let listed = expansion.contains.iter().filter(|it| it.code == code).count();
            prop_assert_eq!(listed, usize::from(set.check("http://x/s", code).is_member()), "{}", code);
        }
    }

    #[test]
    fn any_text_is_a_code_or_none_and_never_panics(code in "\\PC{0,40}") {
        for grammar in fhir_terminology::Grammar::ALL {
            let _ = grammar.accepts(&code);
        }
        let _ = fhir_terminology::compare_versions(&code, "1.0");
        let _ = fhir_terminology::Languages::parse(&code).choose([("en", "x"), (&*code, "y")].into_iter());
    }
}

const STRUCTURES: &str = "http://hl7.org/fhir/StructureDefinition/";

#[test]
fn an_element_leads_to_the_value_set_it_is_bound_to() {
    // TERM-060, TERM-080
    let check = |context: &str, set: &str| {
        let answer = ask("ValueSet", "$expand", &format!("context={STRUCTURES}{context}&count=0"));
        let answer = answer.unwrap_or_else(|error| panic!("{context}: {error}"));
        let url = format!(r#""url":"http://hl7.org/fhir/ValueSet/{set}""#);
        assert!(answer.contains(&url), "{context}: {answer}");
    };
    check("Patient#Patient.gender", "administrative-gender");
    check("Patient#Patient.contact.gender", "administrative-gender");
    check("Patient#Patient.name.use", "name-use");
    check("Patient#Patient.contact.name.use&contextDirection=outgoing", "name-use");
    check("HumanName#HumanName.use&contextDirection=incoming", "name-use");
    let query = format!("context={STRUCTURES}Observation#Observation.status&code=final");
    let valid = ask("ValueSet", "$validate-code", &query).unwrap();
    assert!(valid.contains(r#""result","valueBoolean":true"#), "{valid}");
    for (context, said) in [
        ("Patient#Patient.nick", "has no element Patient.nick"),
        ("Patient#Patient.name.use.x", "has no element"),
        ("Patient#Patient.birthDate", "bound to no value set"),
        ("Nothing#Nothing.x", "no StructureDefinition"),
        ("Patient", "the path of an element"),
        ("Patient#Patient.gender&contextDirection=up", "incoming or outgoing"),
    ] {
        let asked = ask("ValueSet", "$expand", &format!("context={STRUCTURES}{context}"));
        let error = asked.unwrap_err();
        assert!(error.issue().diagnostics.contains(said), "{context}: {error:?}");
        assert!(error.issue().expression[0].starts_with("http.context"), "{error:?}");
    }
}

#[test]
fn what_is_accepted_chooses_the_display_unless_one_is_asked_for() {
    // TERM-009, TERM-068
    let text = r#"{"resourceType":"Parameters","parameter":[
        {"name":"tx-resource","resource":{"resourceType":"CodeSystem","url":"http://x/s","status":"active","content":"complete","language":"en","valueSet":"http://x/v",
          "concept":[{"code":"a","display":"water","designation":[{"language":"de","value":"Wasser"},{"language":"fr","value":"eau"}]}]}},
        {"name":"url","valueUri":"http://x/v"}ASKED]}"#;
    let check = |accepted: Option<&str>, asked: &str, display: &str| {
        let text = text.replace("ASKED", asked);
        let document = Document::parse(text.as_bytes()).unwrap();
        let input = Input::from_parameters(document.root()).unwrap().accepting(accepted);
        let expand = operation("ValueSet", "$expand").unwrap();
        let answer = perform(expand, &Terminology::r4(), &input, now()).unwrap();
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.contains(&format!(r#""display":"{display}""#)), "{accepted:?}: {answer}");
    };
    check(None, "", "water");
    check(Some("de-AT, fr;q=0.9"), "", "Wasser");
    check(Some("fr;q=0.1, de;q=0"), "", "eau");
    check(Some("*"), "", "water");
    check(Some("ja"), "", "water");
    check(Some("de"), r#",{"name":"displayLanguage","valueCode":"fr"}"#, "eau");
}

#[test]
fn every_code_system_that_is_known_answers_and_is_named_once() {
    // TERM-141
    let known = Terminology::r4().code_systems();
    let urls: std::collections::BTreeSet<&str> = known.iter().map(|it| &*it.url).collect();
    assert_eq!(urls.len(), known.len());
    for url in ["http://hl7.org/fhir/administrative-gender", ACT, "http://unitsofmeasure.org"] {
        assert!(urls.contains(url), "{url}");
    }
    assert!(!urls.contains("http://snomed.info/sct"));
    let gender = known.iter().find(|it| it.url.ends_with("administrative-gender")).unwrap();
    assert_eq!((gender.versions.len(), gender.default.as_deref()), (1, Some("4.0.1")));
    for system in &known {
        let asked = format!("url={}&code=no such code", system.url);
        let answer = ask("CodeSystem", "$validate-code", &asked).unwrap();
        assert!(!answer.contains("can't be found"), "{}: {answer}", system.url);
    }
}
