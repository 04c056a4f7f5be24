//! How the answer is to look.

use super::{check_error, ignored, lenient, refused, strict};
use crate::{
    Contained, ContainedMatch, Direction, IncludeDirection, IncludeSource, Place, SortBy, Summary,
    Total,
};

#[test]
fn the_order_is_by_several_keys_each_way() {
    // SRCH-190, SRCH-195
    let keys = |url: &str| {
        let query = strict(url);
        let key = |it: &crate::SortKey| {
            let name = match &it.by {
                SortBy::Score => "_score",
                SortBy::Parameter(parameters) => parameters[0].code(),
            };
            let sign = if it.direction == Direction::Descending { "-" } else { "" };
            format!("{sign}{name}")
        };
        query.sort.iter().map(key).collect::<Vec<_>>().join(",")
    };
    for order in ["birthdate", "-birthdate,family", "_lastUpdated", "-_id", "_score,name"] {
        assert_eq!(keys(&format!("Patient?_sort={order}")), order);
    }
    let query = strict("?_type=Patient,Group&_sort=-_lastUpdated");
    let SortBy::Parameter(parameters) = &query.sort[0].by else { panic!() };
    let types: Vec<&str> = parameters.iter().map(|it| &*it.resource_type).collect();
    assert_eq!(types, ["Patient", "Group"]);
}

#[test]
fn an_order_that_is_none_is_ignored_or_with_strict_handling_refused() {
    // SRCH-190, SRCH-196, SRCH-258
    let error = ignored("Patient?_sort=foo");
    check_error(&error, "_sort", Place::Value(0), "Patient has no search parameter 'foo'");
    ignored("Patient?_sort=organization.name");
    ignored("Observation?_sort=code-value-quantity");
    ignored("Location?_sort=near");
    let query = lenient("Patient?_sort=name,-foo,-birthdate");
    assert_eq!((query.sort.len(), query.ignored.len()), (2, 1));
    assert_eq!(query.to_query_string(), "_sort=name,-birthdate");
    assert_eq!(lenient("Patient?_sort=foo").to_query_string(), "");
    refused("Patient?_sort:asc=name");
    refused("Patient?_sort=name&_sort=birthdate");
    refused("?_type=Patient,Group&_sort=birthdate");
}

#[test]
fn the_size_of_a_page_is_brought_below_the_limit() {
    // SRCH-200, SRCH-201, SRCH-202
    let query = strict("Patient?_count=1000000");
    assert_eq!(query.answer.count, Some(1_000));
    assert_eq!(query.to_query_string(), "_count=1000");
    assert_eq!(strict("Patient?_count=99999999999999999999").answer.count, Some(1_000));
    assert!(strict("Patient?_count=0").answer.is_count_only());
    assert!(!strict("Patient?_count=10").answer.is_count_only());
    for bad in ["-1", "x", "1.5", "1e3", "%2B1"] {
        let error = refused(&format!("Patient?_count={bad}"));
        check_error(&error, "_count", Place::Value(0), "this is no count");
    }
}

#[test]
fn the_total_the_summary_and_contained_resources_are_chosen_by_words() {
    // SRCH-208, SRCH-215, SRCH-222, SRCH-257
    let answer = |parameters: &str| strict(&format!("Patient?{parameters}")).answer;
    assert_eq!(answer("_total=none").total, Some(Total::None));
    assert_eq!(answer("_total=estimate").total, Some(Total::Estimate));
    assert_eq!(answer("_total=accurate").total, Some(Total::Accurate));
    for (word, summary) in [
        ("true", Summary::True),
        ("text", Summary::Text),
        ("data", Summary::Data),
        ("count", Summary::Count),
        ("false", Summary::False),
    ] {
        assert_eq!(answer(&format!("_summary={word}")).summary, Some(summary));
    }
    assert_eq!(answer("").contained, Contained::False);
    assert_eq!(answer("_contained=both").contained, Contained::Both);
    assert_eq!(answer("_containedType=contained").contained_match, ContainedMatch::Contained);
    for bad in ["_total=all", "_summary=maybe", "_contained=yes", "_containedType=x"] {
        refused(&format!("Patient?{bad}"));
    }
}

#[test]
fn elements_are_named_with_or_without_their_type() {
    // SRCH-218, SRCH-219, SRCH-220
    let elements = strict("Patient?_elements=name,Patient.birthDate,nonsense").answer.elements;
    let names: Vec<&str> = elements.iter().map(|it| &*it.name).collect();
    assert_eq!(names, ["name", "birthDate", "nonsense"]);
    assert_eq!(elements[1].resource_type.as_ref().unwrap().as_str(), "Patient");
    let error = refused("Patient?_elements=name,na me");
    check_error(&error, "_elements", Place::Value(5), "this is no element");
    refused("Patient?_elements=Foo.name");
}

#[test]
fn includes_follow_a_parameter_to_a_type_or_all_of_them() {
    // SRCH-170, SRCH-171, SRCH-175, SRCH-176, SRCH-182
    let query = strict(
        "Observation?_include=Observation:subject:Patient&_include:iterate=Patient:organization\
         &_revinclude=Provenance:target&_include=*&_revinclude:recurse=Provenance:*",
    );
    let shown: Vec<String> = query
        .includes
        .iter()
        .map(|it| {
            let direction = if it.direction == IncludeDirection::Forward { "" } else { "rev " };
            let iterate = if it.iterate { "iterate " } else { "" };
            let source = match &it.source {
                IncludeSource::Everything => "*".to_owned(),
                IncludeSource::OfType(of) => format!("{of}:*"),
                IncludeSource::Parameter(it) => format!("{}:{}", it.resource_type, it.code()),
            };
            let target = it.target.as_ref().map(|it| format!(":{it}")).unwrap_or_default();
            format!("{direction}{iterate}{source}{target}")
        })
        .collect();
    assert_eq!(
        shown,
        [
            "Observation:subject:Patient",
            "iterate Patient:organization",
            "rev Provenance:target",
            "*",
            "rev iterate Provenance:*",
        ]
    );
    refused("Observation?_include:exact=*");
}

#[test]
fn an_include_that_is_none_is_ignored_or_with_strict_handling_refused() {
    // SRCH-178, SRCH-180
    for (value, at, text) in [
        ("Observation:foo", 12, "Observation has no parameter 'foo' of type reference"),
        ("Observation:code", 12, "Observation has no parameter 'code' of type reference"),
        ("Foo:subject", 0, "there is no resource type 'Foo'"),
        ("Observation:subject:Foo", 20, "there is no resource type 'Foo'"),
        ("Observation:subject:Medication", 20, "'subject' does not refer to Medication"),
        ("Observation:subject,Observation:encounter", 19, "several includes in one"),
        ("Observation", 0, "'Observation' is no include"),
    ] {
        let error = ignored(&format!("Observation?_include={value}"));
        check_error(&error, "_include", Place::Value(at), text);
    }
    strict("PlanDefinition?_include=PlanDefinition:definition");
}

#[test]
fn a_summary_of_the_text_has_no_includes() {
    // SRCH-217
    let error = refused("Observation?_summary=text&_include=Observation:subject");
    check_error(&error, "_summary", Place::Value(0), "with _summary=text nothing can be included");
    strict("Observation?_summary=true&_include=Observation:subject");
}
