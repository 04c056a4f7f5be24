//! `_filter`.

use super::{check_error, clause, refused, strict};
use crate::Place;

fn filter(of: &str, text: &str) -> String {
    let encoded = super::super::encode_form([("_filter", text)]);
    clause(&format!("{of}?{encoded}"))
}

const PETER: &str = "given Whole 'peter'";

#[test]
fn comparisons_are_joined_from_left_to_right() {
    // SRCH-043
    let patient = |text: &str| filter("Patient", text);
    assert_eq!(patient("given eq \"Peter\""), PETER);
    let born = "birthdate ge 2014-10-10T00:00:00.000000Z..2014-10-11T00:00:00.000000Z";
    assert_eq!(
        patient("given eq \"peter\" and birthdate ge 2014-10-10"),
        format!("all({PETER}, {born})")
    );
    assert_eq!(
        patient("(given eq peter or given eq John) and birthdate ge 2014-10-10"),
        format!("all(any({PETER}, given Whole 'john'), {born})")
    );
    assert_eq!(
        patient("given eq a or given eq b and given eq c"),
        "all(any(given Whole 'a', given Whole 'b'), given Whole 'c')"
    );
    assert_eq!(
        patient("given eq a and given eq b and given eq c"),
        "all(given Whole 'a', given Whole 'b', given Whole 'c')"
    );
    assert_eq!(patient("not (given eq peter)"), format!("not({PETER})"));
    assert_eq!(
        patient("given eq peter and not(given co x)"),
        format!("all({PETER}, not(given Contains 'x'))")
    );
}

#[test]
fn each_operator_means_what_it_does_for_the_type() {
    // SRCH-043
    for (of, text, expected) in [
        ("Patient", "name ne peter", "name differs Whole 'peter'"),
        ("Patient", "name sw pet", "name Start 'pet'"),
        ("Patient", "name ew er", "name End 'er'"),
        ("Patient", "gender pr true", "some gender"),
        ("Patient", "gender pr false", "no gender"),
        ("Patient", "gender ne male", "gender differs Code { system: Any, code: \"male\" }"),
        (
            "Observation",
            "code eq http://loinc.org|1234-5",
            "code Code { system: Is(\"http://loinc.org\"), code: \"1234-5\" }",
        ),
        ("Observation", "code in http://vs", "code In(\"http://vs\")"),
        ("Observation", "code ni http://vs", "not(code In(\"http://vs\"))"),
        ("Observation", "code ss s|c", "code Below { system: \"s\", code: \"c\" }"),
        ("Observation", "code sb s|c", "code Above { system: \"s\", code: \"c\" }"),
        ("Observation", "value-quantity lt 150||mg", "value-quantity lt 150 CodeOrUnit(\"mg\")"),
        ("RiskAssessment", "probability ap 0.5", "probability ap 0.5"),
        ("ValueSet", "url eq http://a", "url Is(\"http://a\")"),
        (
            "Observation",
            "subject re Group/1",
            "subject Local { resource_type: \"Group\", id: \"1\", version: None }",
        ),
        ("Patient", "_text co bone", "text Phrase([\"bone\"])"),
    ] {
        assert_eq!(filter(of, text), expected);
    }
    let overlaps = filter("Observation", "date po 2020");
    assert!(overlaps.starts_with("date po 2020-01-01"), "{overlaps}");
    assert!(filter("Observation", "date ne 2020").starts_with("date ne 2020-01-01"));
}

#[test]
fn strings_are_written_as_json_does() {
    for (text, name) in [
        (r#"name eq "a \"b\" \\ \u00e9 \ud83d\ude00""#, "name Whole 'a b e 😀'"),
        (r#"name eq "(x)] and""#, "name Whole 'x and'"),
    ] {
        let name =
            if name.contains('😀') { name.replace(" e ", " \\ e ") } else { name.to_owned() };
        let shown = filter("Patient", text);
        assert_eq!(shown.replace("b e", "b \\ e"), name);
    }
}

#[test]
fn a_path_goes_along_references() {
    // SRCH-043
    let male = "gender Code { system: Any, code: \"male\" }";
    assert_eq!(
        filter("Observation", "patient.gender eq male"),
        format!("patient -> (Patient: {male})")
    );
    assert_eq!(
        filter("Observation", "subject:Patient.gender eq male"),
        format!("subject -> (Patient: {male})")
    );
    assert_eq!(
        filter("Observation", "subject[gender eq male].birthdate pr true"),
        format!("subject -> (Patient: all({male}, some birthdate))")
    );
    assert_eq!(
        filter("Observation", "patient.organization.name co x and status eq final"),
        "all(patient -> (Patient: organization -> (Organization: name Contains 'x')), \
         status Code { system: Any, code: \"final\" })"
    );
}

#[test]
fn a_filter_stands_beside_other_parameters() {
    // SRCH-044
    let query = strict("Patient?_filter=given eq peter&gender=male&_filter=name pr true");
    assert_eq!(query.types[0].clauses.len(), 3);
    let both = strict("?_type=Patient,Practitioner&_filter=given eq peter");
    assert!(both.types.iter().all(|it| it.clauses.len() == 1));
}

#[test]
fn what_is_no_filter_is_refused_where_it_goes_wrong() {
    // SRCH-044
    for (text, at, problem) in [
        ("name", 4, "the end where an operator"),
        ("name eq", 7, "the end where a value"),
        ("name xx a", 5, "'xx' where eq, ne"),
        ("nameeq a", 7, "'a' where eq"),
        ("name eq a b", 10, "'b' where and, or or the end"),
        ("name eq a and", 10, "'and' where and, or or the end"),
        ("name eq a and ", 14, "the end where the name"),
        ("(name eq a", 10, "the end where )"),
        ("name eq a)", 9, "')' where and, or or the end"),
        ("name eq \"a", 8, "'\"' where a string that ends"),
        ("name eq \"\"", 9, "the string is empty"),
        ("name eq \"a\\x\"", 10, "JSON has no such escape"),
        ("foo eq a", 0, "Patient, where this leads, has no search parameter 'foo'"),
        ("name gt a", 5, "'gt' cannot be asked of 'name'"),
        ("gender co a", 7, "'co' cannot be asked of 'gender'"),
        ("gender pr maybe", 10, "this is no answer to pr"),
        ("birthdate eq 2020-13", 13, "this is no date"),
        ("name.given eq a", 0, "'name' is of type string"),
        ("organization.foo eq a", 13, "Organization, where this leads"),
        ("organization[name eq a] eq b", 24, "'eq' where a dot"),
        ("organization:Foo.name eq a", 13, "'Foo' is no modifier"),
        ("not name eq a", 4, "'name' where"),
        ("_text eq a", 6, "'eq' cannot be asked of '_text'"),
        ("é eq a", 0, "'é' where the name"),
    ] {
        let encoded = super::super::encode_form([("_filter", text)]);
        let error = refused(&format!("Patient?{encoded}"));
        check_error(&error, "_filter", Place::Value(at), problem);
    }
    refused("Patient?_filter:exact=name eq a");
    // As many changes as there are levels.
    let long = format!("name eq a{}", " and name eq b or name eq c".repeat(1_000));
    let error = refused(&format!("Patient?_filter={long}"));
    assert!(error.problem.to_string().starts_with("more than 8 levels"), "{error}");
}
