//! Definitions of one's own on top of what is built in.

#![expect(clippy::unwrap_used, reason = "a test may fail at once")]

use std::sync::Arc;

use fhir_core::json::Document;
use fhir_terminology::{
    Canonical, Coding, Direction, Entry, ExpandRequest, ExpansionLimits, Layer, Looked, Membership,
    NESTING_DEPTH, Nesting, Pins, ResolvedSet, Subsumption, Terminology, TerminologyError,
    TranslateRequest, ValidateOptions, Verdict, subsumes,
};

fn with(resources: &[&str]) -> Terminology {
    let mut layer = Layer::new();
    for json in resources {
        let document = Document::parse(json.as_bytes()).unwrap();
        layer.add(Arc::new(Entry::new(document.root()).unwrap()));
    }
    Terminology::r4().with(layer)
}

const ANIMALS: &str = r#"{"resourceType":"CodeSystem","url":"http://x/animals","version":"1.0.0",
  "status":"active","content":"complete","caseSensitive":false,"valueSet":"http://x/vs/animals","language":"en",
  "property":[{"code":"legs","type":"integer"},{"code":"status","uri":"http://hl7.org/fhir/concept-properties#status","type":"code"},
    {"code":"parent","uri":"http://hl7.org/fhir/concept-properties#parent","type":"code"}],
  "concept":[
    {"code":"animal","display":"Animal","property":[{"code":"notSelectable","valueBoolean":true}],"concept":[
      {"code":"dog","display":"Dog","designation":[{"language":"de","value":"Hund"}],"property":[{"code":"legs","valueInteger":4}],
       "concept":[{"code":"poodle","display":"Poodle"}]},
      {"code":"bird","display":"Bird","property":[{"code":"legs","valueInteger":2}]},
      {"code":"dodo","display":"Dodo","property":[{"code":"status","valueCode":"retired"},{"code":"parent","valueCode":"bird"}]}]},
    {"code":"pet","display":"Pet"},
    {"code":"goldfish","display":"Goldfish","property":[{"code":"parent","valueCode":"pet"},{"code":"parent","valueCode":"animal"}]}]}"#;

fn set(compose: &str) -> String {
    format!(
        r#"{{"resourceType":"ValueSet","url":"http://x/vs/s","status":"active","compose":{compose}}}"#
    )
}

fn codes_of(resources: &[&str], request: &ExpandRequest) -> Result<String, TerminologyError> {
    let resolved = with(resources).resolve("http://x/vs/s")?;
    let expansion = resolved.expand(request, ExpansionLimits::default())?;
    // What the expansion says of a code, membership says too.
    for code in ["animal", "dog", "poodle", "bird", "dodo", "pet", "goldfish"] {
        let listed = expansion.contains.iter().any(|it| it.code == code);
        if *request == ExpandRequest::default() {
            assert_eq!(resolved.check("http://x/animals", code).is_member(), listed, "{code}");
        }
    }
    Ok(expansion.contains.iter().map(|it| it.code).collect::<Vec<_>>().join(" "))
}

fn codes(compose: &str) -> Result<String, TerminologyError> {
    codes_of(&[ANIMALS, &set(compose)], &ExpandRequest::default())
}

fn filtered(property: &str, op: &str, value: &str) -> Result<String, TerminologyError> {
    codes(&format!(
        r#"{{"include":[{{"system":"http://x/animals","filter":[{{"property":"{property}","op":"{op}","value":"{value}"}}]}}]}}"#
    ))
}

#[test]
fn every_filter_operator_selects_what_it_says() {
    // TERM-035, TERM-036, TERM-037, TERM-038, TERM-039
    let check = |property, op, value, expected: &str| {
        assert_eq!(filtered(property, op, value).unwrap(), expected, "{property} {op} {value}");
    };
    check("concept", "is-a", "dog", "dog poodle");
    check("concept", "is-a", "pet", "pet goldfish");
    check("concept", "descendent-of", "animal", "dog poodle bird dodo goldfish");
    check("concept", "is-not-a", "animal", "pet");
    check("concept", "generalizes", "poodle", "animal dog poodle");
    check("concept", "child-of", "animal", "dog bird dodo goldfish");
    check("concept", "descendent-leaf", "animal", "poodle dodo goldfish");
    check("legs", "=", "4", "dog");
    check("legs", "exists", "true", "dog bird");
    check("legs", "exists", "false", "animal poodle dodo pet goldfish");
    check("code", "in", "dog, BIRD", "dog bird");
    check("code", "not-in", "animal,dog,poodle,bird,dodo", "pet goldfish");
    check("code", "regex", "d.*", "dog dodo");
    check("display", "regex", "P.*", "poodle pet");
    check("parent", "=", "bird", "dodo");
}

#[test]
fn a_filter_that_the_system_does_not_have_is_an_error_and_never_all_codes() {
    // TERM-040, TERM-037
    for (property, op, value) in [
        ("colour", "=", "red"),
        ("concept", "near", "dog"),
        ("concept", "is-a", "unicorn"),
        ("code", "regex", "("),
        ("code", "regex", "x)|(.*"),
        ("legs", "exists", "maybe"),
    ] {
        let refused = filtered(property, op, value);
        assert!(
            matches!(refused, Err(TerminologyError::Filter { .. })),
            "{property} {op}: {refused:?}"
        );
    }
    // Going back and forth over this code would take longer than anyone waits.
    let long = ANIMALS.replace(r#""dog""#, &format!("\"{}\"", "a".repeat(1000)));
    let evil = set(
        r#"{"include":[{"system":"http://x/animals","filter":[{"property":"code","op":"regex","value":"(a+)+b"}]}]}"#,
    );
    assert_eq!(codes_of(&[&long, &evil], &ExpandRequest::default()).unwrap(), "");
}

#[test]
fn a_code_stands_once_in_an_expansion_however_often_it_is_included() {
    // TERM-045, TERM-005
    let compose = r#"{"include":[
        {"system":"http://x/animals","concept":[{"code":"DOG"},{"code":"dog"}]},
        {"system":"http://x/animals","concept":[{"code":"Dog"},{"code":"PET"}]},
        {"system":"http://x/animals","filter":[{"property":"concept","op":"is-a","value":"dog"}]}]}"#;
    assert_eq!(codes(compose).unwrap(), "dog pet poodle");
}

#[test]
fn what_is_not_known_counts_only_where_it_could_change_the_answer() {
    // TERM-033, TERM-032
    let unknown = r#"{"valueSet":["http://x/nowhere"]}"#;
    let animals = r#"{"system":"http://x/animals"}"#;
    let check = |compose: &str| codes(compose);
    let excluded = check(&format!(r#"{{"include":[{animals}],"exclude":[{unknown},{animals}]}}"#));
    assert_eq!(excluded.unwrap(), "");
    let both = r#"{"system":"http://x/animals","valueSet":["http://x/nowhere","http://hl7.org/fhir/ValueSet/languages"]}"#;
    assert_eq!(check(&format!(r#"{{"include":[{both}]}}"#)).unwrap(), "");
    let open =
        r#"{"system":"http://x/animals","valueSet":["http://x/nowhere","http://x/vs/animals"]}"#;
    for compose in [
        format!(r#"{{"include":[{open}]}}"#),
        format!(r#"{{"include":[{animals}],"exclude":[{unknown}]}}"#),
    ] {
        let refused = check(&compose);
        assert!(matches!(refused, Err(TerminologyError::UnknownCanonical { .. })), "{refused:?}");
    }
}

#[test]
fn a_hierarchy_of_another_meaning_subsumes_nothing() {
    // TERM-020, TERM-099
    let check = |meaning: &str, is_a: &str, outcome: Subsumption| {
        let system = ANIMALS
            .replace(r#""content""#, &format!(r#""hierarchyMeaning":"{meaning}","content""#));
        let below = set(
            r#"{"include":[{"system":"http://x/animals","filter":[{"property":"concept","op":"is-a","value":"dog"}]}]}"#,
        );
        assert_eq!(codes_of(&[&system, &below], &ExpandRequest::default()).unwrap(), is_a);
        let system = with(&[&system]).code_system(Canonical::parse("http://x/animals"), None);
        let system = system.unwrap().unwrap();
        assert_eq!(subsumes(&system, "dog", "poodle").unwrap(), outcome, "{meaning}");
    };
    check("is-a", "dog poodle", Subsumption::Subsumes);
    for meaning in ["part-of", "grouped-by", "classified-with"] {
        check(meaning, "dog", Subsumption::NotSubsumed);
    }
}

#[test]
fn includes_are_united_imports_intersected_and_excludes_taken_away() {
    // TERM-032, TERM-033, TERM-045, TERM-024
    let check = |compose, expected: &str| assert_eq!(codes(compose).unwrap(), expected);
    check(
        r#"{"include":[{"system":"http://x/animals","concept":[{"code":"pet"},{"code":"dog"}]},
            {"system":"http://x/animals","filter":[{"property":"concept","op":"is-a","value":"dog"}]}]}"#,
        "pet dog poodle",
    );
    check(
        r#"{"include":[{"valueSet":["http://x/vs/animals"]}],
            "exclude":[{"system":"http://x/animals","filter":[{"property":"concept","op":"is-a","value":"animal"}]}]}"#,
        "pet",
    );
    check(
        r#"{"include":[{"system":"http://x/animals","valueSet":["http://x/vs/animals"],
            "filter":[{"property":"legs","op":"exists","value":"true"},{"property":"concept","op":"is-a","value":"dog"}]}]}"#,
        "dog",
    );
}

#[test]
fn what_breaks_the_rules_of_compose_is_refused() {
    // TERM-034
    for compose in [
        r#"{"include":[{}]}"#,
        r#"{"include":[{"concept":[{"code":"dog"}],"valueSet":["http://x/vs/animals"]}]}"#,
        r#"{"include":[{"system":"http://x/animals","concept":[{"code":"dog"}],"filter":[{"property":"code","op":"=","value":"dog"}]}]}"#,
        r#"{"include":[]}"#,
    ] {
        assert!(matches!(codes(compose), Err(TerminologyError::Malformed { .. })), "{compose}");
    }
    let neither = r#"{"resourceType":"ValueSet","url":"http://x/vs/s","status":"active"}"#;
    let refused = codes_of(&[neither], &ExpandRequest::default());
    assert!(matches!(refused, Err(TerminologyError::Malformed { .. })), "{refused:?}");
}

#[test]
fn value_sets_that_import_each_other_in_a_circle_are_told() {
    // TERM-011, TERM-043
    let vs = |url: &str, of: &str| {
        format!(
            r#"{{"resourceType":"ValueSet","url":"{url}","status":"active","compose":{{"include":[{{"valueSet":["{of}"]}}]}}}}"#
        )
    };
    let terminology = with(&[&vs("http://x/a", "http://x/b"), &vs("http://x/b", "http://x/a")]);
    let refused = terminology.resolve("http://x/a");
    assert!(matches!(refused, Err(TerminologyError::ImportCycle { .. })));
    let mut long: Vec<String> =
        (0..40).map(|n| vs(&format!("http://x/{n}"), &format!("http://x/{}", n + 1))).collect();
    long.push(vs("http://x/40", "http://x/vs/animals"));
    let refused = with(&long.iter().map(String::as_str).collect::<Vec<_>>()).resolve("http://x/0");
    assert!(matches!(refused, Err(TerminologyError::ImportsTooDeep { .. })));
    let twice = |n: usize| {
        let next = format!("http://x/{}", n + 1);
        let include = format!(r#"{{"valueSet":["{next}"]}}"#);
        vs(&format!("http://x/{n}"), &next).replace(&include, &format!("{include},{include}"))
    };
    let doubled: Vec<String> = (0..30).map(twice).collect();
    let refused =
        with(&doubled.iter().map(String::as_str).collect::<Vec<_>>()).resolve("http://x/0");
    assert!(matches!(refused, Err(TerminologyError::TooCostly { .. })));
    let missing = with(&[&vs("http://x/a", "http://x/nowhere")]).resolve("http://x/a").unwrap();
    assert!(matches!(missing.check("http://s", "c"), Membership::NotKnown(_)));
}

#[test]
fn a_contained_value_set_is_imported_by_its_id() {
    // TERM-043
    let vs = r##"{"resourceType":"ValueSet","url":"http://x/vs/s","status":"active",
      "contained":[{"resourceType":"ValueSet","id":"in","compose":{"include":[{"system":"http://x/animals","concept":[{"code":"dog"}]}]}}],
      "compose":{"include":[{"valueSet":["#in"]}]}}"##;
    assert_eq!(codes_of(&[ANIMALS, vs], &ExpandRequest::default()).unwrap(), "dog");
}

#[test]
fn the_latest_active_version_counts_and_a_draft_only_when_there_is_nothing_else() {
    // TERM-004, TERM-041, TERM-071, TERM-002
    let version = |version: &str, status: &str| {
        format!(
            r#"{{"resourceType":"CodeSystem","url":"http://x/v","version":"{version}","status":"{status}","content":"complete","concept":[{{"code":"v{version}"}}]}}"#
        )
    };
    let all = [version("1.9.0", "active"), version("1.10.0", "active"), version("2.0.0", "draft")];
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let terminology = with(&all);
    let found = |canonical| {
        let system = terminology.code_system(Canonical::parse(canonical), None).unwrap();
        system.map(|system| system.naming.version.clone().unwrap().into_string())
    };
    assert_eq!(found("http://x/v").as_deref(), Some("1.10.0"));
    assert_eq!(found("http://x/v|1.9.0").as_deref(), Some("1.9.0"));
    assert_eq!(found("http://x/v|3"), None);
    let draft = with(&all[2..]).code_system(Canonical::parse("http://x/v"), None).unwrap();
    assert_eq!(draft.unwrap().naming.version.as_deref(), Some("2.0.0"));

    let pinned = set(r#"{"include":[{"system":"http://x/v","version":"1.9.0"}]}"#);
    let terminology = with(&[all[0], all[1], &pinned]);
    let vs = terminology.value_set(Canonical::parse("http://x/vs/s"), None).unwrap();
    let codes = |pins: &Pins| {
        let set = ResolvedSet::new(&terminology, &vs, pins)?;
        let expansion = set.expand(&ExpandRequest::default(), ExpansionLimits::default())?;
        Ok::<_, TerminologyError>(expansion.contains[0].code.to_owned())
    };
    let pin = |version: &str| vec![("http://x/v".to_owned(), version.to_owned())];
    assert_eq!(codes(&Pins::default()).unwrap(), "v1.9.0");
    assert_eq!(codes(&Pins { default: pin("1.10.0"), ..Pins::default() }).unwrap(), "v1.9.0");
    assert_eq!(codes(&Pins { force: pin("1.10.0"), ..Pins::default() }).unwrap(), "v1.10.0");
    let conflict = codes(&Pins { check: pin("1.10.0"), ..Pins::default() });
    assert!(matches!(conflict, Err(TerminologyError::VersionConflict { .. })));
}

#[test]
fn codes_are_compared_as_the_code_system_says() {
    // TERM-005, TERM-085, TERM-087
    let terminology = with(&[ANIMALS]);
    let set = terminology.resolve("http://x/vs/animals").unwrap();
    let check = |code, abstracts| {
        let options = ValidateOptions { abstracts, ..ValidateOptions::default() };
        let system = Some("http://x/animals");
        set.validate(&Coding { system, code, ..Coding::default() }, &options)
    };
    use fhir_terminology::Abstracts::{Allowed, Refused};
    assert_eq!(check("DOG", Allowed).verdict, Verdict::Valid);
    assert_eq!(check("DOG", Allowed).code, "dog");
    assert_eq!(check("animal", Allowed).verdict, Verdict::Valid);
    assert_eq!(check("animal", Refused).verdict, Verdict::Invalid);
    let retired = check("dodo", Refused);
    assert_eq!((retired.verdict, retired.inactive), (Verdict::Valid, true));
}

#[test]
fn an_expansion_nests_where_it_is_asked_to_and_never_on_a_page() {
    // TERM-064, TERM-067, TERM-076
    let terminology = with(&[ANIMALS]);
    let set = terminology.resolve("http://x/vs/animals").unwrap();
    let request = ExpandRequest {
        nesting: Nesting::Nested,
        include_designations: true,
        ..ExpandRequest::default()
    };
    let expansion = set.expand(&request, ExpansionLimits::default()).unwrap();
    let roots: Vec<_> = expansion.contains.iter().map(|it| it.code).collect();
    assert_eq!(roots, ["animal", "pet"]);
    let dog = &expansion.contains[0].contains[0];
    assert_eq!(
        (dog.code, dog.contains[0].code, dog.designations[0].value),
        ("dog", "poodle", "Hund")
    );
    let page = ExpandRequest { count: Some(3), ..request };
    let page = set.expand(&page, ExpansionLimits::default()).unwrap();
    assert_eq!((page.total, page.contains.len()), (7, 3));
    assert!(page.contains.iter().all(|it| it.contains.is_empty()));
}

/// A code system of concepts that each stand below the one before.
fn chain(length: usize) -> String {
    let concepts: Vec<String> = (0..length)
        .map(|n| match n {
            0 => r#"{"code":"c0"}"#.to_owned(),
            n => format!(
                r#"{{"code":"c{n}","property":[{{"code":"parent","valueCode":"c{}"}}]}}"#,
                n - 1
            ),
        })
        .collect();
    format!(
        r#"{{"resourceType":"CodeSystem","url":"http://x/chain","status":"active","content":"complete","valueSet":"http://x/vs/chain","concept":[{}]}}"#,
        concepts.join(",")
    )
}

#[test]
fn a_hierarchy_that_is_too_deep_for_a_reader_is_laid_out_flat() {
    // TERM-064, TERM-065
    let depth = |length: usize| {
        let terminology = with(&[&chain(length)]);
        let set = terminology.resolve("http://x/vs/chain").unwrap();
        let request = ExpandRequest { nesting: Nesting::Nested, ..ExpandRequest::default() };
        let expansion = set.expand(&request, ExpansionLimits::default()).unwrap();
        assert_eq!(expansion.total, length);
        std::iter::successors(expansion.contains.first(), |it| it.contains.first()).count()
    };
    assert_eq!(depth(NESTING_DEPTH), NESTING_DEPTH);
    assert_eq!(depth(NESTING_DEPTH + 1), 1);
    assert_eq!(depth(10_000), 1);
}

#[test]
fn supplements_add_names_and_one_that_is_broken_takes_nothing_away() {
    // TERM-006, TERM-095
    let supplement = |status: &str, concept: &str| {
        format!(
            r#"{{"resourceType":"CodeSystem","url":"http://x/more","status":"{status}","content":"supplement","supplements":"http://x/animals","concept":[{concept}]}}"#
        )
    };
    let named = |name: &str| format!(r#"{{"code":"dog","designation":[{{"value":"{name}"}}]}}"#);
    let terminology = with(&[
        ANIMALS,
        &supplement("active", &named("Hound")),
        &supplement("draft", &named("Draft")),
        &supplement("active", r#"{"display":"no code"}"#),
    ]);
    let looked = terminology.lookup(Canonical::parse("http://x/animals"), "dog", None);
    let Ok(Looked::Up(found)) = looked else { panic!("{looked:?}") };
    let names: Vec<_> = found
        .supplements
        .iter()
        .flat_map(|(of, at)| of.designations(*at).map(|it| it.value))
        .collect();
    assert_eq!(names, ["Hound"]);
    let alone = with(&[&supplement("active", &named("Hound"))]);
    let refused = alone.value_set(Canonical::parse("http://x/animals"), None);
    assert!(matches!(refused, Err(TerminologyError::UnknownCanonical { .. })), "{refused:?}");
}

#[test]
fn a_resource_put_again_replaces_the_one_before() {
    // TERM-012
    let entry = |code: &str| {
        let json = format!(
            r#"{{"resourceType":"CodeSystem","url":"http://x/c","status":"active","content":"complete","concept":[{{"code":"{code}"}}]}}"#
        );
        let document = Document::parse(json.as_bytes()).unwrap();
        Arc::new(Entry::new(document.root()).unwrap())
    };
    let mut layer = Layer::new();
    layer.put("CodeSystem/1", entry("a"));
    layer.put("CodeSystem/1", entry("b"));
    let has = |layer: &Layer, code: &str| {
        let terminology = Terminology::empty().with(layer.clone());
        matches!(terminology.lookup(Canonical::parse("http://x/c"), code, None), Ok(Looked::Up(_)))
    };
    assert!(has(&layer, "b") && !has(&layer, "a"));
    layer.remove("CodeSystem/1");
    assert!(layer.is_empty() && !has(&layer, "b"));
}

const MAP: &str = r#"{"resourceType":"ConceptMap","url":"http://x/map","status":"active","sourceUri":"http://x/vs/a","targetUri":"http://x/vs/b",
  "group":[{"source":"http://x/a","target":"http://x/b","element":[
    {"code":"1","target":[{"code":"one","equivalence":"equivalent"},{"code":"uno","equivalence":"wider"}]},
    {"code":"2","target":[{"equivalence":"unmatched"}]},
    {"code":"3","target":[{"code":"three","equivalence":"equal","dependsOn":[{"property":"p","value":"v"}]}]}],
    "unmapped":{"mode":"UNMAPPED","code":"other","url":"http://x/other"}}]}"#;

#[test]
fn codes_are_translated_both_ways_and_what_has_no_mapping_as_the_map_says() {
    // TERM-105, TERM-106, TERM-107, TERM-108, TERM-110
    let translate = |mode: &str, code: &str, request: &TranslateRequest<'_>| {
        let map = MAP.replace("UNMAPPED", mode);
        let other = MAP
            .replace("UNMAPPED", "fixed")
            .replace(r#""code":"other""#, r#""code":"elsewhere""#)
            .replace("http://x/map", "http://x/other");
        let terminology = with(&[&map, &other]);
        let map = terminology.map("http://x/map").unwrap();
        let found = terminology.translate(&map, &Coding { code, ..Coding::default() }, request);
        let text = found
            .iter()
            .map(|it| format!("{}={}", it.equivalence, it.code.as_deref().unwrap_or("-")));
        text.collect::<Vec<_>>().join(" ")
    };
    let plain = TranslateRequest::default();
    assert_eq!(translate("fixed", "1", &plain), "equivalent=one wider=uno");
    assert_eq!(translate("fixed", "2", &plain), "unmatched=-");
    assert_eq!(translate("fixed", "9", &plain), "inexact=other");
    assert_eq!(translate("provided", "9", &plain), "inexact=9");
    assert_eq!(translate("other-map", "9", &plain), "inexact=elsewhere");
    let given = TranslateRequest { dependencies: vec![("p", "v")], ..plain.clone() };
    assert_eq!(translate("fixed", "3", &given), "equal=three");
    let reverse = TranslateRequest { direction: Direction::Reverse, ..plain };
    assert_eq!(translate("fixed", "uno", &reverse), "narrower=1");
}

#[test]
fn without_a_map_every_map_between_the_two_is_asked() {
    // TERM-109
    let terminology = with(&[&MAP.replace("UNMAPPED", "fixed")]);
    let coding = Coding { system: Some("http://x/a"), code: "1", ..Coding::default() };
    let request = TranslateRequest { target: Some("http://x/vs/b"), ..TranslateRequest::default() };
    assert_eq!(terminology.translate_by_all(&coding, &request).len(), 2);
    let gender = Coding {
        system: Some("http://hl7.org/fhir/administrative-gender"),
        code: "female",
        ..Coding::default()
    };
    let found = terminology.translate_by_all(&gender, &TranslateRequest::default());
    assert!(found.iter().any(|it| it.code.as_deref() == Some("F")), "{found:?}");
}

const IN_FRENCH: &str = r#"{"resourceType":"CodeSystem","url":"http://x/animals-fr","version":"2","language":"fr",
  "status":"active","content":"supplement","supplements":"http://x/animals",
  "property":[{"code":"food","type":"string"}],
  "concept":[
    {"code":"DOG","display":"chien","designation":[{"language":"it","value":"cane"}],"property":[{"code":"food","valueString":"bones"}]},
    {"code":"bird","display":"oiseau"},{"code":"unheard","display":"x"}]}"#;

#[test]
fn a_supplement_adds_names_and_properties_where_it_is_asked_for() {
    // TERM-007
    use fhir_terminology::{Languages, TextFilter};
    let all = set(r#"{"include":[{"system":"http://x/animals"}]}"#);
    let resources = [ANIMALS, IN_FRENCH, &all];
    let terminology = with(&resources);
    let of = |supplements: &[&str]| {
        let supplements = supplements.iter().map(|it| (*it).to_owned()).collect();
        let pins = Pins { supplements, ..Pins::default() };
        let found = terminology.value_set(Canonical::parse("http://x/vs/s"), None).unwrap();
        ResolvedSet::new(&terminology, &found, &pins)
    };
    let french = || ExpandRequest {
        languages: Languages::parse("fr"),
        include_designations: true,
        ..ExpandRequest::default()
    };
    let shown = |resolved: &ResolvedSet, code: &str| {
        let expansion = resolved.expand(&french(), ExpansionLimits::default()).unwrap();
        let found = expansion.contains.iter().find(|it| it.code == code).unwrap();
        let names = found.designations.iter().map(|it| it.value).collect::<Vec<_>>().join(" ");
        (found.display.unwrap().to_owned(), names)
    };
    assert_eq!(shown(&of(&[]).unwrap(), "dog"), ("Dog".into(), "Hund".into()));
    for named in ["http://x/animals-fr", "http://x/animals-fr|2"] {
        let with_french = of(&[named]).unwrap();
        assert_eq!(shown(&with_french, "dog"), ("chien".into(), "Hund cane chien".into()));
        assert_eq!(shown(&with_french, "bird"), ("oiseau".into(), "oiseau".into()));
        assert_eq!(shown(&with_french, "poodle"), ("Poodle".into(), String::new()));
        // It adds no code, and what it says is found by a search.
        assert!(with_french.check("http://x/animals", "unheard").is_outside());
        let request = ExpandRequest {
            filter: TextFilter::new("cane"),
            properties: vec!["food".into(), "legs".into()],
            ..ExpandRequest::default()
        };
        let found = with_french.expand(&request, ExpansionLimits::default()).unwrap();
        assert_eq!(found.contains.len(), 1);
        assert_eq!(found.contains[0].properties.len(), 2);
    }
    for missing in ["http://x/animals-fr|3", "http://x/none", "http://x/animals"] {
        let error = of(&[missing]).unwrap_err();
        assert!(matches!(error, TerminologyError::UnknownCanonical { kind: "supplement", .. }));
    }
}

#[test]
fn a_value_set_may_need_a_supplement() {
    // TERM-007
    let needs = r#"{"resourceType":"ValueSet","url":"http://x/vs/n","status":"active",
        "extension":[{"url":"http://hl7.org/fhir/StructureDefinition/valueset-supplement","valueCanonical":"http://x/animals-fr"}],
        "compose":{"include":[{"system":"http://x/animals"}]}}"#;
    let french = Coding {
        system: Some("http://x/animals"),
        code: "dog",
        display: Some("chien"),
        ..Coding::default()
    };
    let resolved = with(&[ANIMALS, IN_FRENCH, needs]).resolve("http://x/vs/n").unwrap();
    let valid = resolved.validate(&french, &ValidateOptions::default());
    assert_eq!(valid.verdict, Verdict::Valid, "{:?}", valid.findings);
    let error = with(&[ANIMALS, needs]).resolve("http://x/vs/n").unwrap_err();
    assert!(error.to_string().contains("http://x/animals-fr"), "{error}");
}
