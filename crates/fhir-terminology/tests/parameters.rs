//! What each parameter of an operation does.

mod support;

use fhir_core::IssueCode;
use fhir_terminology::{Terminology, TerminologyError};
use support::{ask, resource, result, system, text, value_set, with};

const COMPLETE: &str = r#""content":"complete""#;

fn url(value: &str) -> String {
    text("url", "valueUri", value)
}

fn code(value: &str) -> String {
    text("code", "valueCode", value)
}

fn coding(name: &str, members: &str) -> String {
    format!(r#"{{"name":"{name}","valueCoding":{{{members}}}}}"#)
}

/// The kind of issue with which a question is refused.
fn refused(answer: Result<String, TerminologyError>) -> IssueCode {
    answer.expect_err("it is refused").issue().code
}

/// Two versions of a code system, with a code each and one in both.
fn versions() -> Terminology {
    let version = |version: &str, date: &str| {
        system(
            &format!(r#"{COMPLETE},"version":"{version}","date":"{date}""#),
            &format!(r#"{{"code":"both"}},{{"code":"in{version}"}}"#),
        )
    };
    with(&[
        &version("1", "2020-01-01"),
        &version("2", "2022-01-01"),
        &value_set(r#"{"include":[{"system":"http://x/s"}]}"#),
    ])
}

#[test]
fn the_code_system_is_that_of_the_date_and_of_the_version_asked_for() {
    // TERM-084, TERM-002
    let terminology = versions();
    let check = |parameters: &[&str]| {
        let (of, code) = (url("http://x/s"), code("in1"));
        let parameters = [&[&*of, &*code], parameters].concat();
        ask(&terminology, "CodeSystem/$validate-code", &parameters, None)
    };
    assert!(!result(&check(&[]).unwrap()));
    assert!(result(&check(&[&text("version", "valueString", "1")]).unwrap()));
    assert!(result(&check(&[&text("date", "valueDateTime", "2021-05-01")]).unwrap()));
    assert!(!result(&check(&[&text("date", "valueDateTime", "2022-05-01")]).unwrap()));
    let twice = ask(
        &terminology,
        "CodeSystem/$validate-code",
        &[&url("http://x/s|1"), &text("version", "valueString", "2"), &code("in1")],
        None,
    );
    assert_eq!(refused(twice), IssueCode::Invalid);
}

#[test]
fn versions_are_pinned_and_systems_left_out_for_one_request() {
    // TERM-071, TERM-041, TERM-043, TERM-072
    let terminology = versions();
    let expand = |parameters: &[&str]| {
        let of = url("http://x/vs");
        let parameters = [&[&*of], parameters].concat();
        ask(&terminology, "ValueSet/$expand", &parameters, None).unwrap()
    };
    assert!(expand(&[]).contains(r#""code":"in2""#));
    let pinned = expand(&[&text("system-version", "valueCanonical", "http://x/s|1")]);
    assert!(pinned.contains(r#""code":"in1""#) && !pinned.contains(r#""code":"in2""#), "{pinned}");
    let then = expand(&[&text("date", "valueDateTime", "2021-05-01")]);
    assert!(then.contains(r#""code":"in1""#) && !then.contains(r#""code":"in2""#), "{then}");
    let without = expand(&[&text("exclude-system", "valueCanonical", "http://x/s")]);
    assert!(without.contains(r#""total":0"#), "{without}");

    let inline = |compose: &str| {
        let set = resource("valueSet", &value_set(compose));
        ask(&terminology, "ValueSet/$expand", &[&set], None).unwrap()
    };
    let locked = inline(r#"{"lockedDate":"2021-01-01","include":[{"system":"http://x/s"}]}"#);
    assert!(locked.contains(r#""code":"in1""#), "{locked}");
    let imported = inline(r#"{"include":[{"valueSet":["http://x/vs/all|1"]}]}"#);
    assert!(imported.contains(r#""code":"in1""#), "{imported}");
    let imported = inline(r#"{"include":[{"valueSet":["http://x/vs/all|2"]}]}"#);
    assert!(imported.contains(r#""code":"in2""#), "{imported}");
}

#[test]
fn what_is_said_twice_and_differently_is_refused() {
    // TERM-002, TERM-100, TERM-084
    let terminology = versions();
    let own = system(&format!(r#"{COMPLETE},"version":"1""#), r#"{"code":"a"},{"code":"b"}"#);
    let ask = |of: &str, parameters: &[&str], instance| ask(&terminology, of, parameters, instance);
    let (a, b) = (text("codeA", "valueCode", "both"), text("codeB", "valueCode", "both"));
    let coding_a = |members: &str| coding("codingA", members);
    let coding_b = |members: &str| coding("codingB", members);
    let in_x = r#""system":"http://x/s","code":"both""#;
    let in_y = r#""system":"http://y","code":"both""#;
    let of_x = text("system", "valueUri", "http://x/s");
    let of_y = text("system", "valueUri", "http://y");
    let version = |version: &str| text("version", "valueString", version);

    let subsumes = "CodeSystem/$subsumes";
    for (parameters, instance) in [
        (vec![coding_a(in_x), coding_b(in_y)], None),
        (vec![of_x.clone(), a.clone(), coding_b(in_y)], None),
        (vec![of_y.clone(), coding_a(in_x), coding_b(in_x)], None),
        (vec![of_x.clone(), a.clone(), coding_a(in_x), b.clone()], None),
        (vec![of_y, text("codeA", "valueCode", "a"), text("codeB", "valueCode", "b")], Some(&*own)),
        (vec![coding_a(in_y), text("codeB", "valueCode", "b")], Some(&*own)),
        (vec![coding_a(&format!(r#"{in_x},"version":"1""#)), coding_b(in_x), version("2")], None),
    ] {
        let parameters: Vec<&str> = parameters.iter().map(String::as_str).collect();
        let answer = ask(subsumes, &parameters, instance);
        assert_eq!(refused(answer), IssueCode::Invalid, "{parameters:?}");
    }
    // The version of a coding counts.
    let first = r#""system":"http://x/s","version":"1","code":"in1""#;
    let answer = ask(subsumes, &[&coding_a(first), &coding_b(in_x)], None).unwrap();
    assert!(answer.contains("not-subsumed"), "{answer}");
    let unknown = ask(subsumes, &[&of_x, &a, &text("codeB", "valueCode", "none")], None);
    assert_eq!(refused(unknown), IssueCode::NotFound);

    let lookup = "CodeSystem/$lookup";
    let x_1 = text("system", "valueUri", "http://x/s|1");
    assert_eq!(
        refused(ask(lookup, &[&x_1, &version("2"), &code("both")], None)),
        IssueCode::Invalid
    );
    let both = [&*of_x, &*code("both"), &*coding("coding", in_x)];
    assert_eq!(refused(ask(lookup, &both, None)), IssueCode::Invalid);

    let validate = "CodeSystem/$validate-code";
    let other = [&*url("http://y"), &*code("a")];
    assert_eq!(refused(ask(validate, &other, Some(&own))), IssueCode::Invalid);
    let other = [&*version("2"), &*code("a")];
    assert_eq!(refused(ask(validate, &other, Some(&own))), IssueCode::Invalid);
    let both = [&*url("http://x/s"), &*code("both"), &*coding("coding", in_x)];
    assert_eq!(refused(ask(validate, &both, None)), IssueCode::Invalid);
    let set = value_set(r#"{"include":[{"system":"http://x/s"}]}"#);
    let other = ask("ValueSet/$expand", &[&url("http://y")], Some(&set));
    assert_eq!(refused(other), IssueCode::Invalid);
}

#[test]
fn a_code_is_validated_in_a_code_system_however_it_is_said() {
    // TERM-084, TERM-080, TERM-085
    let own = system(
        COMPLETE,
        r#"{"code":"a","display":"Alpha"},{"code":"g","property":[{"code":"notSelectable","valueBoolean":true}]}"#,
    );
    let terminology = with(&[&own]);
    let of = url("http://x/s");
    let inline = resource("codeSystem", &own);
    let check = |parameters: &[&str], instance, expected: bool| {
        let answer = ask(&terminology, "CodeSystem/$validate-code", parameters, instance).unwrap();
        assert_eq!(result(&answer), expected, "{parameters:?}");
        answer
    };
    let named = |code: &str| coding("coding", &format!(r#""system":"http://x/s","code":"{code}""#));
    for (code, expected) in [("a", true), ("z", false)] {
        check(&[&of, &support::text("code", "valueCode", code)], None, expected);
        check(&[&inline, &support::text("code", "valueCode", code)], None, expected);
        check(&[&named(code)], None, expected);
        check(&[&of, &named(code)], None, expected);
        check(&[&named(code)], Some(&own), expected);
    }
    let named = |display: &str| text("display", "valueString", display);
    check(&[&of, &code("a"), &named("Alpha")], None, true);
    let wrong = check(&[&of, &code("a"), &named("Beta")], None, false);
    assert!(wrong.contains(r#"{"name":"display","valueString":"Alpha"}"#), "{wrong}");
    let no_groups = r#"{"name":"abstract","valueBoolean":false}"#;
    check(&[&of, &code("g")], None, true);
    check(&[&of, &code("g"), no_groups], None, false);
    check(&[&of, &code("a"), no_groups], None, true);
}

#[test]
fn a_code_is_validated_in_a_value_set_however_it_is_said() {
    // TERM-080, TERM-081, TERM-083, TERM-085
    let own = system(
        COMPLETE,
        r#"{"code":"a","display":"Alpha"},{"code":"g","property":[{"code":"notSelectable","valueBoolean":true}]}"#,
    );
    let other = own.replace("http://x/s", "http://x/t").replace("http://x/vs/all", "http://x/vs/t");
    let set = value_set(
        r#"{"include":[{"system":"http://x/s"},{"system":"http://x/t","concept":[{"code":"a"}]}]}"#,
    );
    let terminology = with(&[&own, &other, &set]);
    let of = url("http://x/vs");
    let check = |parameters: &[&str], instance, expected: bool| {
        let answer = ask(&terminology, "ValueSet/$validate-code", parameters, instance).unwrap();
        assert_eq!(result(&answer), expected, "{parameters:?}");
        answer
    };
    let of_s = text("system", "valueUri", "http://x/s");
    let a = coding("coding", r#""system":"http://x/s","code":"a""#);
    let z = coding("coding", r#""system":"http://x/s","code":"z""#);
    for (coding, expected) in [(a, true), (z, false)] {
        check(&[&of, &coding], None, expected);
        check(&[&resource("valueSet", &set), &coding], None, expected);
        check(&[&coding], Some(&set), expected);
    }
    let unclear = check(&[&of, &code("a")], None, false);
    assert!(unclear.contains("http://x/s and http://x/t: say which"), "{unclear}");
    check(&[&of, &code("g")], None, true);
    check(&[&of, &of_s, &code("a")], None, true);
    check(&[&of, &of_s, &code("g"), r#"{"name":"abstract","valueBoolean":false}"#], None, false);
    let beta = text("display", "valueString", "Beta");
    check(&[&of, &of_s, &code("a"), &beta], None, false);
    let lenient = r#"{"name":"lenient-display-validation","valueBoolean":true}"#;
    let warned = check(&[&of, &of_s, &code("a"), &beta, lenient], None, true);
    assert!(warned.contains(r#""severity":"warning""#), "{warned}");
    assert!(warned.contains(r#"{"name":"display","valueString":"Alpha"}"#), "{warned}");
}

#[test]
fn what_is_missing_from_a_part_of_a_code_system_is_true_with_a_warning() {
    // TERM-006
    let set = r#"{"include":[{"system":"http://x/s"}]}"#;
    let filtered = r#"{"include":[{"system":"http://x/s","filter":[{"property":"code","op":"regex","value":"a"}]}]}"#;
    let check = |content: &str, compose: &str, expected: bool, severity: &str| {
        let terminology = with(&[
            &system(&format!(r#""content":"{content}""#), r#"{"code":"a"}"#),
            &value_set(compose),
        ]);
        let parameters =
            [url("http://x/vs"), text("system", "valueUri", "http://x/s"), code("missing")];
        let answer = ask(&terminology, "ValueSet/$validate-code", &parameters, None).unwrap();
        assert_eq!(result(&answer), expected, "{content}: {answer}");
        assert!(answer.contains(&format!(r#""severity":"{severity}""#)), "{content}: {answer}");
    };
    check("complete", set, false, "error");
    check("fragment", set, true, "warning");
    check("example", set, true, "warning");
    check("not-present", set, false, "error");
    // Whether the filter would let it through is not known.
    check("fragment", filtered, false, "error");
}

#[test]
fn an_answer_has_no_empty_texts() {
    // TERM-105
    let map = r#"{"resourceType":"ConceptMap","status":"active","group":[{"source":"http://x/s","target":"http://x/t","element":[
      {"code":"a","target":[{"code":"","equivalence":"equal","product":[{"property":"","value":""}]}]}]}]}"#;
    let parameters =
        [text("system", "valueUri", "http://x/s"), code("a"), resource("conceptMap", map)];
    let answer = ask(&Terminology::empty(), "ConceptMap/$translate", &parameters, None).unwrap();
    assert!(
        !answer.contains(r#":"""#) && !answer.contains("{}") && !answer.contains("[]"),
        "{answer}"
    );
    let set = value_set(r#"{"include":[{"system":"http://x/s"}]}"#)
        .replace("{\"resource", "{\"name\":\"\",\"resource");
    let terminology = with(&[&system(COMPLETE, r#"{"code":"a","designation":[{"value":""}]}"#)]);
    let designations = r#"{"name":"includeDesignations","valueBoolean":true}"#;
    let filter = text("filter", "valueString", "");
    let expansion =
        ask(&terminology, "ValueSet/$expand", &[designations, &filter], Some(&set)).unwrap();
    assert!(!expansion.contains(r#":"""#), "{expansion}");
}

#[test]
fn names_are_of_the_languages_and_uses_asked_for() {
    // TERM-067, TERM-068, TERM-096, TERM-060
    let own = system(
        &format!(r#"{COMPLETE},"language":"en""#),
        r#"{"code":"a","display":"Yes","designation":[
            {"language":"fr","value":"Oui"},{"language":"de","use":{"system":"http://u","code":"short"},"value":"Ja"}]}"#,
    );
    let terminology = with(&[&own]);
    let plain = value_set(r#"{"include":[{"system":"http://x/s"}]}"#);
    let expand = |set: &str, parameters: &[&str]| {
        ask(&terminology, "ValueSet/$expand", parameters, Some(set)).unwrap()
    };
    let language = |tag: &str| text("displayLanguage", "valueCode", tag);
    let shows = |set: &str, tag: &str, display: &str| {
        let answer = expand(set, &[&language(tag)]);
        assert!(answer.contains(&format!(r#""display":"{display}""#)), "{tag}: {answer}");
    };
    shows(&plain, "fr-CA", "Oui");
    shows(&plain, "it", "Yes");
    // What the value set calls it is in the value set's language, not the code system's.
    let italian = value_set(
        r#"{"include":[{"system":"http://x/s","concept":[{"code":"a","display":"Certo"}]}]}"#,
    )
    .replace(r#""status""#, r#""language":"it","status""#);
    shows(&italian, "en", "Yes");
    shows(&italian, "it", "Certo");
    shows(&italian, "fr", "Oui");
    shows(&italian, "pl", "Certo");

    let designation = |token: &str| text("designation", "valueString", token);
    let french = expand(&plain, &[&designation("urn:ietf:bcp:47|fr")]);
    assert!(french.contains("Oui") && !french.contains("Ja"), "{french}");
    let short = expand(&plain, &[&designation("http://u|short")]);
    assert!(short.contains("Ja") && !short.contains("Oui"), "{short}");

    let lookup = |wanted: &[&str]| {
        let mut parameters = vec![text("system", "valueUri", "http://x/s"), code("a")];
        parameters.extend(wanted.iter().map(|it| text("property", "valueCode", it)));
        ask(&terminology, "CodeSystem/$lookup", &parameters, None).unwrap()
    };
    let all = lookup(&["designation"]);
    assert!(all.contains("Oui") && all.contains("Ja"), "{all}");
    let one = lookup(&["lang.fr"]);
    assert!(one.contains("Oui") && !one.contains("Ja"), "{one}");
    let none = lookup(&["parent"]);
    assert!(!none.contains("Oui") && !none.contains("Ja"), "{none}");
}

#[test]
fn properties_are_told_in_the_type_that_they_have() {
    // TERM-022
    let values = [
        r#""valueCode":"c""#,
        r#""valueString":"s""#,
        r#""valueInteger":7"#,
        r#""valueBoolean":true"#,
        r#""valueDateTime":"2020-01-01""#,
        r#""valueDecimal":1.50"#,
        r#""valueCoding":{"system":"http://y","version":"1","code":"k","display":"K"}"#,
    ];
    let properties: Vec<String> = values
        .iter()
        .enumerate()
        .map(|(at, value)| format!(r#"{{"code":"p{at}",{value}}}"#))
        .collect();
    let own = system(COMPLETE, &format!(r#"{{"code":"a","property":[{}]}}"#, properties.join(",")));
    let of = text("system", "valueUri", "http://x/s");
    let answer = ask(&with(&[&own]), "CodeSystem/$lookup", &[&of, &code("a")], None).unwrap();
    for (at, value) in values.iter().enumerate() {
        let part = format!(r#"{{"name":"code","valueCode":"p{at}"}},{{"name":"value",{value}}}"#);
        assert!(answer.contains(&part), "{part} in {answer}");
    }
}

#[test]
fn a_code_is_translated_however_it_is_said_and_by_whatever_map() {
    // TERM-105, TERM-106
    let map = r#"{"resourceType":"ConceptMap","url":"http://x/map","status":"active","group":[{"source":"http://x/s","target":"http://x/t","element":[
      {"code":"1","target":[{"code":"one","equivalence":"wider"}]},
      {"code":"2","target":[{"code":"none","equivalence":"disjoint"}]},
      {"code":"3","target":[{"equivalence":"unmatched"}]}]}]}"#;
    let terminology = with(&[map]);
    let check = |parameters: &[&str], instance| {
        ask(&terminology, "ConceptMap/$translate", parameters, instance).unwrap()
    };
    let of = text("system", "valueUri", "http://x/s");
    let ways = [
        format!("{of},{}", code("1")),
        coding("coding", r#""system":"http://x/s","code":"1""#),
        r#"{"name":"codeableConcept","valueCodeableConcept":{"coding":[{"system":"http://z","code":"1"},{"system":"http://x/s","code":"1"}]}}"#.to_owned(),
    ];
    for way in &ways {
        for answer in [
            check(&[&url("http://x/map"), way], None),
            check(&[&resource("conceptMap", map), way], None),
            check(&[way], Some(map)),
            check(&[way, &text("targetsystem", "valueUri", "http://x/t")], None),
        ] {
            assert!(result(&answer), "{way}");
            assert_eq!(answer.matches(r#""code":"one""#).count(), 1, "{way}: {answer}");
        }
    }
    let elsewhere = check(&[&ways[0], &text("targetsystem", "valueUri", "http://z")], None);
    assert!(!result(&elsewhere));
    let reverse = r#"{"name":"reverse","valueBoolean":true}"#;
    let back = coding("coding", r#""system":"http://x/t","code":"one""#);
    let answer = check(&[&url("http://x/map"), &back, reverse], None);
    assert!(result(&answer) && answer.contains(r#""code":"1""#), "{answer}");
    assert!(answer.contains(r#"{"name":"equivalence","valueCode":"narrower"}"#), "{answer}");
    // What is unmatched or disjoint is told, and is no translation.
    for (code_of, equivalence) in [("2", "disjoint"), ("3", "unmatched")] {
        let answer = check(&[&url("http://x/map"), &of, &code(code_of)], None);
        assert!(!result(&answer) && answer.contains(equivalence), "{answer}");
    }
}
