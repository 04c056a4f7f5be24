//! What value sets hold: by their definitions, by their URLs, and by what is asked of them.

mod support;

use fhir_terminology::{
    Canonical, Coding, ExpandRequest, ExpansionLimits, Subsumption, Terminology, TerminologyError,
    TranslateRequest, subsumes,
};
use support::{ask, result, system, text, value_set, with};

const COMPLETE: &str = r#""content":"complete""#;

/// The codes of a value set, in order.
fn codes(terminology: &Terminology, url: &str) -> String {
    let resolved = terminology.resolve(url).expect("it is there");
    let expansion = resolved.expand(&ExpandRequest::default(), ExpansionLimits::default());
    let expansion = expansion.expect("it can be expanded");
    expansion.contains.iter().map(|it| it.code).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_concept_may_stand_below_several() {
    // TERM-021
    let own = system(
        COMPLETE,
        r#"{"code":"pet"},{"code":"fish","concept":[{"code":"goldfish","property":[{"code":"parent","valueCode":"pet"}]}]},
           {"code":"zoo","property":[{"code":"child","valueCode":"fish"}]}"#,
    );
    let terminology = with(&[&own]);
    let found = terminology.code_system(Canonical::parse("http://x/s"), None).unwrap().unwrap();
    for above in ["pet", "fish", "zoo"] {
        assert_eq!(subsumes(&found, above, "goldfish").unwrap(), Subsumption::Subsumes, "{above}");
    }
    assert_eq!(subsumes(&found, "zoo", "pet").unwrap(), Subsumption::NotSubsumed);
}

#[test]
fn a_value_set_may_be_of_concepts_in_use_alone() {
    // TERM-042
    let own = system(
        COMPLETE,
        r#"{"code":"now"},{"code":"once","property":[{"code":"inactive","valueBoolean":true}]}"#,
    );
    for (inactive, expected) in
        [("", "now once"), (r#""inactive":true,"#, "now once"), (r#""inactive":false,"#, "now")]
    {
        let set = value_set(&format!(r#"{{{inactive}"include":[{{"system":"http://x/s"}}]}}"#));
        let terminology = with(&[&own, &set]);
        assert_eq!(codes(&terminology, "http://x/vs"), expected, "{inactive}");
        let resolved = terminology.resolve("http://x/vs").unwrap();
        assert_eq!(resolved.check("http://x/s", "once").is_member(), expected != "now");
    }
}

#[test]
fn a_stored_expansion_counts_where_there_is_no_definition() {
    // TERM-044
    let set = r#"{"resourceType":"ValueSet","url":"http://x/vs","status":"active","expansion":{"timestamp":"2020-01-01","contains":[
        {"system":"http://x/a","code":"2","display":"Two","contains":[{"system":"http://x/a","code":"3"}]},
        {"abstract":true,"display":"a heading","contains":[{"system":"http://x/b","code":"1"}]}]}}"#;
    let terminology = with(&[set]);
    assert_eq!(codes(&terminology, "http://x/vs"), "2 3 1");
    let check = |of: &str, code: &str| {
        let parameters = [
            text("url", "valueUri", "http://x/vs"),
            text("system", "valueUri", of),
            text("code", "valueCode", code),
        ];
        result(&ask(&terminology, "ValueSet/$validate-code", &parameters, None).unwrap())
    };
    assert!(check("http://x/a", "3") && check("http://x/b", "1"));
    assert!(!check("http://x/a", "1"));
}

#[test]
fn an_expansion_leaves_out_what_is_not_wanted() {
    // TERM-069
    let own = system(
        COMPLETE,
        r#"{"code":"group","property":[{"code":"notSelectable","valueBoolean":true}],"concept":[{"code":"leaf"}]}"#,
    );
    let terminology = with(&[&own]);
    let expand = |parameter: &str| {
        let of = text("url", "valueUri", "http://x/vs/all");
        let yes = format!(r#"{{"name":"{parameter}}}"#);
        ask(&terminology, "ValueSet/$expand", &[of, yes], None).unwrap()
    };
    let nested = r#""contains":[{"system":"http://x/s","code":"leaf""#;
    let flat = expand(r#"excludeNested","valueBoolean":true"#);
    assert!(flat.contains(r#""total":2"#) && !flat.contains(nested), "{flat}");
    let within = expand(r#"excludeNested","valueBoolean":false"#);
    assert!(within.contains(nested), "{within}");
    let selectable = expand(r#"excludeNotForUI","valueBoolean":true"#);
    assert!(!selectable.contains("group") && selectable.contains("leaf"), "{selectable}");
    // No code is put together from others, so all stay.
    let plain = expand(r#"excludePostCoordinated","valueBoolean":true"#);
    assert!(plain.contains(r#""total":2"#), "{plain}");
}

#[test]
fn a_version_that_is_not_the_one_used_is_told() {
    // TERM-090
    let own = system(&format!(r#"{COMPLETE},"version":"2""#), r#"{"code":"a"}"#);
    let terminology = with(&[&own]);
    let check = |asked: &str, check: Option<&str>| {
        let mut parameters = vec![
            text("url", "valueUri", "http://x/vs/all"),
            text("system", "valueUri", "http://x/s"),
            text("systemVersion", "valueString", asked),
            text("code", "valueCode", "a"),
        ];
        parameters.extend(check.map(|it| text("check-system-version", "valueCanonical", it)));
        ask(&terminology, "ValueSet/$validate-code", &parameters, None)
    };
    let same = check("2", None).unwrap();
    assert!(result(&same) && !same.contains("issues"), "{same}");
    let other = check("1", None).unwrap();
    assert!(other.contains("used in version 2, not 1"), "{other}");
    assert!(result(&check("2", Some("http://x/s|2")).unwrap()));
    let refused = check("2", Some("http://x/s|1"));
    assert!(matches!(refused, Err(TerminologyError::VersionConflict { .. })), "{refused:?}");
}

#[test]
fn a_map_is_for_the_versions_that_it_names() {
    // TERM-112
    let map = r#"{"resourceType":"ConceptMap","url":"http://x/map","status":"active","group":[
        {"source":"http://x/s","sourceVersion":"1","target":"http://x/t","targetVersion":"7","element":[{"code":"a","target":[{"code":"old","equivalence":"equal"}]}]},
        {"source":"http://x/s","sourceVersion":"2","target":"http://x/t","element":[{"code":"a","target":[{"code":"new","equivalence":"equal"}]}]}]}"#;
    let terminology = with(&[map]);
    let map = terminology.map("http://x/map").unwrap();
    let check = |version: Option<&str>, expected: &[(&str, Option<&str>)]| {
        let coding = Coding { system: Some("http://x/s"), version, code: "a", display: None };
        let found = terminology.translate(&map, &coding, &TranslateRequest::default());
        let found: Vec<_> =
            found.iter().map(|it| (it.code.as_deref().unwrap(), it.version.as_deref())).collect();
        assert_eq!(found, expected, "{version:?}");
    };
    check(Some("1"), &[("old", Some("7"))]);
    check(Some("2"), &[("new", None)]);
    check(Some("3"), &[]);
    check(None, &[("old", Some("7")), ("new", None)]);
}

#[test]
fn all_units_are_a_value_set_and_so_are_those_that_convert_to_one() {
    // TERM-122, TERM-050
    let ucum = "http://unitsofmeasure.org";
    let check = |terminology: &Terminology, set: &str, code: &str| {
        terminology.resolve(set).unwrap().check(ucum, code).is_member()
    };
    let all = "http://unitsofmeasure.org/vs";
    assert!(check(&Terminology::r4(), all, "mm[Hg]") && !check(&Terminology::r4(), all, "mmHg"));
    let masses = value_set(&format!(
        r#"{{"include":[{{"system":"{ucum}","filter":[{{"property":"canonical","op":"=","value":"g"}}]}}]}}"#
    ));
    let terminology = with(&[&masses]);
    assert!(check(&terminology, "http://x/vs", "kg") && !check(&terminology, "http://x/vs", "mL"));
}

#[test]
fn the_url_of_a_code_system_names_the_set_of_all_its_codes() {
    // TERM-123
    let cvx = "http://hl7.org/fhir/sid/cvx";
    let own = system(COMPLETE, r#"{"code":"140"},{"code":"141"}"#).replace("http://x/s", cvx);
    let terminology = with(&[&own]);
    let url = format!("{cvx}?fhir_vs");
    assert_eq!(codes(&terminology, &url), "140 141");
    assert!(terminology.resolve(&url).unwrap().check(cvx, "999").is_outside());
    // Of one that is not here nobody knows what is in it.
    let rxnorm = "http://www.nlm.nih.gov/research/umls/rxnorm";
    let unknown = terminology.resolve(&format!("{rxnorm}?fhir_vs")).unwrap();
    let membership = unknown.check(rxnorm, "1");
    assert!(!membership.is_member() && !membership.is_outside());
}

#[test]
fn a_code_that_snomed_ct_cannot_have_is_no_code_of_it() {
    // TERM-086
    let check = |code: &str, said: &str| {
        let parameters =
            [text("url", "valueUri", "http://snomed.info/sct"), text("code", "valueCode", code)];
        let answer =
            ask(&Terminology::r4(), "CodeSystem/$validate-code", &parameters, None).unwrap();
        assert!(!result(&answer) && answer.contains(said), "{answer}");
        answer
    };
    let impossible = check("404684003x", "is no code of SNOMED CT");
    assert!(!impossible.contains("can't be found"), "{impossible}");
    check("404684003", "can't be found");
    let mistyped = check("404684004", "a digit is mistyped");
    assert!(mistyped.contains("can't be found"), "{mistyped}");
}
