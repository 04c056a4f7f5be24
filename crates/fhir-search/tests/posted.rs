//! Search parameters that a tenant defines by resources of its own.

#![expect(clippy::unwrap_used, reason = "a test that fails here says where")]

mod support;

use std::sync::Arc;

use fhir_core::json::Document;
use fhir_schema::conformance::SearchParameter;
use fhir_schema::{DefinitionSet, Schema};
use fhir_search::{
    ExtractOptions, Extractor, Kind, Origin, Parameters, PostedError, ProblemReason,
};
use fhir_terminology::Terminology;

fn definition(json: &str) -> Arc<SearchParameter> {
    let document = Document::parse(json.as_bytes()).unwrap();
    Arc::new(SearchParameter::read(document.root(), "posted").unwrap())
}

/// Of one type, by code, kind, expression and what else there is to say.
fn of(base: &str, code: &str, kind: &str, expression: &str, more: &str) -> Arc<SearchParameter> {
    definition(&format!(
        r#"{{"resourceType":"SearchParameter","url":"http://own.example/{code}","status":"active",
            "code":"{code}","base":["{base}"],"type":"{kind}",
            "expression":"{expression}"{more}}}"#
    ))
}

fn r4() -> Extractor<'static> {
    let (definitions, schema) = (DefinitionSet::r4(), Schema::r4());
    let parameters = Arc::new(Parameters::new(definitions, schema));
    Extractor::new(schema, parameters, definitions.clone(), Terminology::r4())
}

fn with(posted: &[Arc<SearchParameter>]) -> (Parameters, Vec<(usize, PostedError)>) {
    let r4 = support::R4.parameters();
    r4.with_posted(posted, DefinitionSet::r4(), Schema::r4())
}

/// What is wrong with a definition, and where.
fn refused(posted: &[Arc<SearchParameter>]) -> String {
    let (_, errors) = with(posted);
    let [(_, error)] = &errors[..] else { panic!("{errors:?}") };
    format!("{}: {error}", error.element)
}

/// What trying it out says.
fn tried(posted: Arc<SearchParameter>) -> Result<(), String> {
    let (parameters, errors) = with(std::slice::from_ref(&posted));
    assert_eq!(errors, []);
    let mut found = parameters.all().filter(|it| it.definition == posted).peekable();
    assert!(found.peek().is_some());
    found.try_for_each(|it| support::R4.try_out(it)).map_err(|error| error.to_string())
}

#[test]
fn a_posted_definition_is_one_of_each_of_its_types_and_leaves_the_others() {
    // SRCH-237
    let favourite = of("Patient", "favourite", "token", "Patient.maritalStatus", "");
    let (parameters, errors) = with(&[favourite]);
    assert_eq!(errors, []);
    let found = parameters.get("Patient", "favourite").unwrap();
    assert_eq!((found.kind, found.origin), (Kind::Token, Origin::Posted));
    assert!(parameters.get("Person", "favourite").is_none());
    for before in support::R4.parameters().all() {
        let after = parameters.get(&before.resource_type, before.code()).unwrap();
        assert_eq!((after.id, after.fingerprint), (before.id, before.fingerprint));
    }
    let of_all = of("Resource", "rules", "uri", "Resource.implicitRules", "");
    let (parameters, _) = with(&[of_all]);
    assert!(["Patient", "Bundle"].iter().all(|of| parameters.get(of, "rules").is_some()));
}

#[test]
fn what_cannot_be_asked_for_is_refused_with_its_element() {
    // SRCH-239
    let check = |posted, expected: &str| {
        let refused = refused(&[posted]);
        assert!(refused.starts_with(expected), "{refused}");
    };
    check(of("Patient", "a:b", "token", "Patient.id", ""), "SearchParameter.code: the code a:b");
    check(of("Patient", "_own", "token", "Patient.id", ""), "SearchParameter.code: the code _own");
    check(of("Pat", "own", "token", "Pat.id", ""), "SearchParameter.base[0]: there is no type");
    check(of("Patient", "own", "special", "Patient.id", ""), "SearchParameter.type: a parameter");
    check(of("Patient", "own", "token", " ", ""), "SearchParameter.expression: there is no");
}

#[test]
fn a_code_that_is_there_is_replaced_only_by_what_is_derived_from_it() {
    // SRCH-238
    let core = "http://hl7.org/fhir/SearchParameter/Patient-active";
    let plain = of("Patient", "active", "token", "Patient.maritalStatus", "");
    assert!(refused(&[plain]).contains(core));
    let derived = of(
        "Patient",
        "active",
        "token",
        "Patient.maritalStatus",
        &format!(r#","derivedFrom":"{core}""#),
    );
    let (parameters, errors) = with(&[derived]);
    assert_eq!(errors, []);
    let active = parameters.get("Patient", "active").unwrap();
    assert_eq!(&*active.definition.url, "http://own.example/active");
    assert_eq!(parameters.all().filter(|it| it.code() == "active").count(), {
        support::R4.parameters().all().filter(|it| it.code() == "active").count()
    });
    assert_ne!(parameters.fingerprint(), support::R4.parameters().fingerprint());
    // Two of the tenant's own.
    let one = of("Patient", "own", "token", "Patient.gender", "");
    let mut two = (*of("Patient", "own", "token", "Patient.active", "")).clone();
    two.url = "http://own.example/two".into();
    let refused = refused(&[one, Arc::new(two)]);
    assert!(refused.contains("http://own.example/own"), "{refused}");
}

#[test]
fn codes_that_differ_by_case_alone_are_refused() {
    // SRCH-237
    let refused = refused(&[of("Patient", "Active", "token", "Patient.active", "")]);
    assert!(refused.contains("small and capital letters"), "{refused}");
}

#[test]
fn what_fhir_says_itself_may_be_posted_and_changes_nothing() {
    let core = support::R4.parameters().get("Patient", "active").unwrap();
    let (parameters, errors) = with(&[Arc::clone(&core.definition)]);
    assert_eq!(errors, []);
    assert_eq!(parameters.fingerprint(), support::R4.parameters().fingerprint());
}

#[test]
fn an_expression_that_is_none_or_leads_elsewhere_is_told_with_the_reason() {
    // SRCH-239
    let check = |kind: &str, expression: &str, expected: &str| {
        let told = tried(of("Patient", "own", kind, expression, "")).unwrap_err();
        assert!(told.contains(expected), "{expression}: {told}");
    };
    check("token", "Patient.name.where(", "cannot be used on Patient");
    check("token", "Patient.nothing", "no element 'nothing'");
    check("token", "Patient.active.shout()", "shout");
    check("token", "Observation.code", "about other types");
    check("reference", "Patient.active", "of which a reference has no values");
    check("date", "Patient.name.given.first().upper()", "of which a date has no values");
    tried(of("Patient", "own", "token", "Patient.maritalStatus", "")).unwrap();
    tried(of("Patient", "own", "string", "Patient.name.given.first()", "")).unwrap();
    let extension = "Patient.extension.where(url = 'http://example.org/a').value.ofType(Coding)";
    tried(of("Patient", "own", "token", extension, "")).unwrap();
}

#[test]
fn an_expression_that_fails_or_runs_away_is_told_with_the_reason() {
    // SRCH-239
    let twice = "Patient.descendants().select(%resource.descendants()).count()";
    let told = tried(of("Patient", "own", "number", twice, "")).unwrap_err();
    assert!(told.contains("stopped after 100000 steps"), "{told}");
    let one = tried(of("Patient", "own", "string", "Patient.name.family.upper()", ""));
    assert!(one.unwrap_err().contains("2 in each list"));
}

#[test]
fn what_depends_on_the_version_of_a_resource_is_refused() {
    // SRCH-239: values are taken before it is written.
    for (kind, expression) in [
        ("date", "Patient.meta.lastUpdated"),
        ("token", "Patient.meta.versionId"),
        ("string", "Patient.where(meta.lastUpdated > @2099-01-01T00:00:00Z).name.family"),
        ("token", "(Patient.meta.`versionId` = '3')"),
        ("number", "Patient.meta.children().count()"),
        ("token", "Patient.meta.children().exists()"),
        ("number", "Patient.descendants().count()"),
    ] {
        let told = tried(of("Patient", "own", kind, expression, "")).unwrap_err();
        assert!(told.contains("ask by _lastUpdated"), "{expression}: {told}");
    }
    let quoted =
        "Patient.extension.where(url = 'http://a.example/lastUpdated').value.ofType(Coding)";
    for (kind, expression) in [
        ("token", "Patient.meta.tag"),
        ("uri", "Patient.meta.profile"),
        ("number", "Patient.name.descendants().count()"),
        ("token", quoted),
    ] {
        tried(of("Patient", "own", kind, expression, "")).unwrap();
    }
}

#[test]
fn every_definition_of_fhir_itself_passes_the_trial_but_for_two_that_find_nothing() {
    // SRCH-235: one is a composite of what stands nowhere, the other an example for extensions.
    let refused: std::collections::BTreeSet<&str> = support::R4
        .parameters()
        .all()
        .filter(|it| it.expression().is_some() && support::R4.try_out(it).is_err())
        .map(|it| it.definition.url.rsplit('/').next().unwrap())
        .collect();
    assert_eq!(Vec::from_iter(refused), ["DocumentReference-relationship", "example-extension"]);
}

#[test]
fn what_runs_away_on_a_resource_has_no_value_there_and_stops_nothing_else() {
    // SRCH-240
    let long = "Patient.name.where(given.exists()).select(%resource.descendants()).count()";
    let posted = of("Patient", "own", "number", long, "");
    let (parameters, errors) = with(&[posted]);
    assert_eq!(errors, []);
    let extractor = r4().with_parameters(Arc::new(parameters));
    let names = r#"{"family":"F","given":["G"]},"#.repeat(500);
    let json = format!(
        r#"{{"resourceType":"Patient","id":"1","active":true,"name":[{}]}}"#,
        names.trim_end_matches(',')
    );
    let document = Document::parse(json.as_bytes()).unwrap();
    let extracted = extractor.extract(document.root(), &ExtractOptions::default());
    let own = extractor.parameters().get("Patient", "own").unwrap().id;
    assert_eq!(extracted.of(own).count(), 0);
    let problem = extracted.problems().iter().find(|it| it.parameter == own).unwrap();
    assert!(matches!(problem.reason, ProblemReason::Evaluation(_)), "{problem:?}");
    let active = extractor.parameters().get("Patient", "active").unwrap().id;
    assert_eq!(extracted.of(active).count(), 1);
}

#[test]
fn a_fingerprint_is_of_what_the_values_depend_on_alone_and_the_same_in_every_process() {
    let set = |posted: &[Arc<SearchParameter>]| with(posted).0.fingerprint();
    let base = set(&[of("Patient", "own", "token", "Patient.gender", "")]);
    assert_eq!(base, set(&[of("Patient", "own", "token", "Patient.gender", "")]));
    let more = r#","multipleOr":false,"modifier":["not"]"#;
    assert_eq!(base, set(&[of("Patient", "own", "token", "Patient.gender", more)]));
    assert_ne!(base, set(&[of("Patient", "own", "token", "Patient.active", "")]));
    assert_ne!(base, set(&[of("Patient", "own", "string", "Patient.gender", "")]));
    assert_ne!(base, set(&[of("Person", "own", "token", "Patient.gender", "")]));
    let active = support::R4.parameters().get("Patient", "active").unwrap();
    assert_eq!(active.fingerprint.to_string(), "f15798fd2321439eb29ffeb58072a1bc");
}

#[test]
fn a_composite_may_have_posted_parts() {
    // SRCH-239
    let part = of("Patient", "own-part", "token", "Patient.gender", "");
    let composite = |component: &str| {
        let part = |url: &str, expression: &str| {
            format!(r#"{{"definition":"{url}","expression":"{expression}"}}"#)
        };
        let parts = [part(component, "gender"), part(component, "active")].join(",");
        of("Patient", "own-both", "composite", "Patient", &format!(r#","component":[{parts}]"#))
    };
    let url = "http://own.example/own-part";
    let (parameters, errors) = with(&[part.clone(), composite(url)]);
    assert_eq!(errors, []);
    let both = parameters.get("Patient", "own-both").unwrap();
    assert_eq!(both.flaw, None);
    support::R4.try_out(both).unwrap();
    let (parameters, _) = with(&[part, composite("http://own.example/none")]);
    let both = parameters.get("Patient", "own-both").unwrap();
    let told = support::R4.try_out(both).unwrap_err().to_string();
    assert!(told.contains("http://own.example/none is not defined"), "{told}");
}
