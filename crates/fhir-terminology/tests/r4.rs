//! What is built in: R4 core's own code systems and value sets.

#![expect(clippy::unwrap_used, reason = "a test may fail at once")]

use fhir_terminology::{
    Canonical, Coding, ExpandRequest, ExpansionLimits, Languages, Membership, Subsumption,
    Terminology, TerminologyError, TextFilter, ValidateOptions, Verdict, subsumes,
};

fn check(set: &str, system: &str, code: &str) -> &'static str {
    let set = Terminology::r4().resolve(&format!("http://hl7.org/fhir/ValueSet/{set}")).unwrap();
    match set.check(system, code) {
        Membership::Member(_) => "member",
        Membership::Outside => "outside",
        Membership::NotKnown(_) => "not known",
    }
}

fn expand(set: &str, request: &ExpandRequest) -> Result<(usize, Vec<String>), TerminologyError> {
    let set = Terminology::r4().resolve(set)?;
    let expansion = set.expand(request, ExpansionLimits::default())?;
    let codes = expansion.contains.iter().map(|it| it.code.to_owned()).collect();
    Ok((expansion.total, codes))
}

#[test]
fn the_built_in_file_says_where_it_comes_from_and_is_small() {
    let source = fhir_terminology::r4_source();
    assert_eq!(
        (&*source.package, &*source.version, &*source.licence),
        ("hl7.fhir.r4.core", "4.0.1", "CC0-1.0")
    );
    assert!(include_bytes!("../definitions/r4.zst").len() < 1_300_000);
}

#[test]
fn codes_of_r4_are_in_their_value_sets_and_others_are_not() {
    // TERM-030, TERM-031, TERM-036, TERM-124
    let gender = "http://hl7.org/fhir/administrative-gender";
    assert_eq!(check("administrative-gender", gender, "female"), "member");
    assert_eq!(check("administrative-gender", gender, "Female"), "outside");
    assert_eq!(check("administrative-gender", "http://other", "female"), "outside");
    let act = "http://terminology.hl7.org/CodeSystem/v3-ActCode";
    let encounter = "http://terminology.hl7.org/ValueSet/v3-ActEncounterCode";
    let set = Terminology::r4().resolve(encounter).unwrap();
    assert!(set.check(act, "AMB").is_member());
    assert!(set.check(act, "ACUTE").is_member());
    assert!(set.check(act, "PBILLACCT").is_outside());
    let v2 = Terminology::r4().resolve("http://terminology.hl7.org/ValueSet/v2-0136").unwrap();
    assert!(v2.check("http://terminology.hl7.org/CodeSystem/v2-0136", "Y").is_member());
}

#[test]
fn grammars_and_tables_are_checked_and_what_is_not_loaded_is_not_known() {
    // TERM-051, TERM-086, TERM-006
    assert_eq!(check("all-languages", "urn:ietf:bcp:47", "de-CH"), "member");
    assert_eq!(check("all-languages", "urn:ietf:bcp:47", "xx"), "outside");
    assert_eq!(check("mimetypes", "urn:ietf:bcp:13", "application/fhir+json"), "member");
    assert_eq!(check("ucum-units", "http://unitsofmeasure.org", "mm[Hg]"), "member");
    assert_eq!(check("ucum-units", "http://unitsofmeasure.org", "mmHg"), "outside");
    assert_eq!(check("currencies", "urn:iso:std:iso:4217", "EUR"), "member");
    assert_eq!(check("currencies", "urn:iso:std:iso:4217", "EURO"), "outside");
    assert_eq!(check("timezones", "https://www.iana.org/time-zones", "Europe/Berlin"), "member");
    assert_eq!(check("iso3166-1-3", "urn:iso:std:iso:3166", "DEU"), "member");
    assert_eq!(check("iso3166-1-3", "urn:iso:std:iso:3166", "DE"), "outside");
    let snomed = "http://snomed.info/sct";
    assert_eq!(check("condition-code", snomed, "38341003"), "not known");
    assert_eq!(check("condition-severity", snomed, "24484000"), "member");
    assert_eq!(check("condition-severity", snomed, "1"), "outside");
    assert_eq!(check("observation-codes", "http://loinc.org", "8867-4"), "not known");
    let example = "http://terminology.hl7.org/CodeSystem/service-type";
    assert_eq!(check("service-type", example, "no-such"), "not known");
}

#[test]
fn every_built_in_value_set_resolves_and_each_that_cannot_be_expanded_says_why() {
    // TERM-011, TERM-040
    let (mut expanded, mut refused) = (0, Vec::new());
    for canonical in Terminology::r4().canonicals(fhir_terminology::Kind::ValueSet) {
        let set = Terminology::r4().resolve(&canonical).unwrap();
        match set.expand(&ExpandRequest::default(), ExpansionLimits::default()) {
            Ok(_) => expanded += 1,
            Err(
                TerminologyError::SystemNotLoaded { .. }
                | TerminologyError::UnknownCanonical { .. }
                | TerminologyError::TooCostly { .. },
            ) => refused.push(canonical),
            // Its code system declares this filter and does not say what it means.
            Err(TerminologyError::Filter { property, .. }) if property == "acme-plasma" => {
                refused.push(canonical);
            }
            Err(other) => panic!("{canonical}: {other}"),
        }
    }
    assert!(expanded >= 1_200, "{expanded} expanded, not: {refused:#?}");
    assert_eq!(expanded + refused.len(), 1_316);
}

#[test]
fn pages_together_are_the_whole_and_the_total_is_the_whole_ones() {
    // TERM-063, TERM-061, TERM-065
    let url = "http://terminology.hl7.org/ValueSet/v3-ActCode";
    let (total, whole) = expand(url, &ExpandRequest::default()).unwrap();
    assert_eq!(total, whole.len());
    let mut pages = Vec::new();
    while pages.len() < total {
        let request =
            ExpandRequest { offset: pages.len(), count: Some(100), ..ExpandRequest::default() };
        let (of_page, page) = expand(url, &request).unwrap();
        assert_eq!(of_page, total);
        pages.extend(page);
    }
    assert_eq!(pages, whole);
    let nothing = ExpandRequest { count: Some(0), ..ExpandRequest::default() };
    assert_eq!(expand(url, &nothing).unwrap(), (total, Vec::new()));
    let languages = expand("http://hl7.org/fhir/ValueSet/all-languages", &nothing);
    assert!(matches!(languages, Err(TerminologyError::TooCostly { .. })));
    let set = Terminology::r4().resolve(url).unwrap();
    let small = ExpansionLimits { codes: 10, ..ExpansionLimits::default() };
    let refused = set.expand(&ExpandRequest::default(), small);
    assert!(matches!(refused, Err(TerminologyError::TooCostly { .. })));
}

#[test]
fn a_value_set_is_kept_resolved_unless_anyone_could_make_it_up() {
    let is_kept = |canonical: &str| {
        let resolve = || Terminology::r4().resolve(canonical).unwrap();
        std::sync::Arc::ptr_eq(&resolve(), &resolve())
    };
    assert!(is_kept("http://hl7.org/fhir/ValueSet/administrative-gender"));
    assert!(is_kept("http://hl7.org/fhir/ValueSet/condition-code"));
    assert!(is_kept("http://hl7.org/fhir/administrative-gender?fhir_vs"));
    assert!(!is_kept("http://nowhere?fhir_vs"));
    assert!(!is_kept("http://snomed.info/sct?fhir_vs=isa/1"));
}

#[test]
fn text_finds_codes_by_beginnings_of_words() {
    // TERM-062
    let request =
        ExpandRequest { filter: TextFilter::new("card cred"), ..ExpandRequest::default() };
    let (_, codes) = expand("http://terminology.hl7.org/ValueSet/v3-ActCode", &request).unwrap();
    assert!(codes.contains(&"CC".to_owned()), "{codes:?}");
    assert!(codes.len() < 10, "{codes:?}");
}

#[test]
fn retired_codes_are_left_out_when_they_are_not_wanted() {
    // TERM-066, TERM-023, TERM-073
    let set = Terminology::r4().resolve("http://terminology.hl7.org/ValueSet/v3-ActMood").unwrap();
    let all = set.expand(&ExpandRequest::default(), ExpansionLimits::default()).unwrap();
    let active = ExpandRequest { active_only: true, ..ExpandRequest::default() };
    let active = set.expand(&active, ExpansionLimits::default()).unwrap();
    assert!(all.contains.iter().any(|it| it.is_inactive));
    assert!(all.contains.iter().any(|it| it.is_abstract && it.code == "_ActMoodPredicate"));
    assert!(active.contains.iter().all(|it| !it.is_inactive));
    assert!(!active.contains.is_empty() && active.total < all.total);
}

#[test]
fn a_concept_above_subsumes_one_below() {
    // TERM-099, TERM-100, TERM-020
    let url = "http://terminology.hl7.org/CodeSystem/v3-ActCode";
    let system = Terminology::r4().code_system(Canonical::parse(url), None).unwrap().unwrap();
    let check = |one, other| subsumes(&system, one, other).unwrap();
    assert_eq!(check("_ActAccountCode", "AE"), Subsumption::Subsumes);
    assert_eq!(check("AE", "_ActAccountCode"), Subsumption::SubsumedBy);
    assert_eq!(check("AE", "AE"), Subsumption::Equivalent);
    assert_eq!(check("AE", "CASH"), Subsumption::NotSubsumed);
    let unknown = subsumes(&system, "AE", "nothing");
    assert!(matches!(unknown, Err(TerminologyError::UnknownCode { .. })));
}

#[test]
fn a_display_is_checked_in_any_language_or_in_the_one_asked_for() {
    // TERM-083, TERM-068
    let set = Terminology::r4().resolve("http://hl7.org/fhir/ValueSet/languages").unwrap();
    let check = |display, languages: &str| {
        let options = ValidateOptions {
            languages: Languages::parse(languages),
            ..ValidateOptions::default()
        };
        let coding = Coding {
            system: Some("urn:ietf:bcp:47"),
            code: "ar",
            display: Some(display),
            version: None,
        };
        let validation = set.validate(&coding, &options);
        (validation.verdict, validation.display)
    };
    assert_eq!(check("arabic", ""), (Verdict::Valid, Some("Arabic".to_owned())));
    assert_eq!(check("Arabisk", ""), (Verdict::Valid, Some("Arabic".to_owned())));
    assert_eq!(check("Arabisk", "da"), (Verdict::Valid, Some("Arabisk".to_owned())));
    assert_eq!(check("German", ""), (Verdict::Invalid, Some("Arabic".to_owned())));
}

#[test]
fn a_code_without_a_system_takes_the_one_that_the_value_set_says() {
    // TERM-081
    let set = Terminology::r4().resolve("http://hl7.org/fhir/ValueSet/observation-status").unwrap();
    let validation =
        set.validate(&Coding { code: "final", ..Coding::default() }, &ValidateOptions::default());
    assert_eq!(validation.verdict, Verdict::Valid);
    assert_eq!(validation.system.as_deref(), Some("http://hl7.org/fhir/observation-status"));
    assert!(set.check_code("final").is_member());
    assert!(set.check_code("done").is_outside());
}

#[test]
#[expect(clippy::disallowed_methods, reason = "it measures how long something takes")]
fn membership_is_found_in_a_microsecond_without_expanding() {
    // TERM-088: far from it even when built for debugging, so that only an expansion would fail.
    let set = Terminology::r4().resolve("http://terminology.hl7.org/ValueSet/v3-ActCode").unwrap();
    let system = "http://terminology.hl7.org/CodeSystem/v3-ActCode";
    let started = std::time::Instant::now();
    let found = (0..10_000).filter(|_| set.check(system, "AMB").is_member()).count();
    assert_eq!(found, 10_000);
    let each = started.elapsed() / 10_000;
    assert!(each < std::time::Duration::from_micros(50), "{each:?}");
}
