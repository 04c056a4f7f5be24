//! What is read, and what is refused and how.

mod answers;
mod chains;
mod filters;
mod names;
mod properties;
mod values;

use std::sync::LazyLock;

use fhir_core::{Instant, ResourceId, ResourceType};
use fhir_schema::{DefinitionSet, Schema};

use super::{Asked, Reader, decode_form};
use crate::{
    Chain, Clause, Compartment, Handling, Has, Limits, Parameters, Place, Query, QueryError,
    QueryProblem, Sense, Test, Zone,
};

static PARAMETERS: LazyLock<Parameters> =
    LazyLock::new(|| Parameters::new(DefinitionSet::r4(), Schema::r4()));
static LIMITS: LazyLock<Limits> = LazyLock::new(Limits::default);

pub(super) fn reader(handling: Handling) -> Reader<'static> {
    Reader {
        parameters: &PARAMETERS,
        definitions: DefinitionSet::r4(),
        schema: Schema::r4(),
        base: "http://own/fhir",
        zone: Zone::UTC,
        now: "2024-01-01T00:00:00Z".parse::<Instant>().unwrap(),
        handling,
        limits: &LIMITS,
    }
}

/// Reads what stands behind a server's base: `Patient?name=x`, `Patient/1/Observation?…`,
/// `?_type=Patient`.
pub(super) fn read_by(reader: &Reader<'_>, url: &str) -> Result<Query, QueryError> {
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    let parameters = decode_form(query.as_bytes()).unwrap();
    let of = |text: &str| ResourceType::new(text).unwrap();
    let parts: Vec<&str> = path.split('/').collect();
    let (compartment, resource_type) = match parts[..] {
        [""] => (None, None),
        [only] => (None, Some(of(only))),
        [kind, id, member] => {
            let id = ResourceId::new(id).unwrap();
            let compartment = Compartment { resource_type: of(kind), id };
            (Some(compartment), (member != "*").then(|| of(member)))
        }
        _ => panic!("{url}"),
    };
    reader.read(&Asked { resource_type, compartment, parameters: &parameters })
}

pub(crate) fn lenient(url: &str) -> Query {
    read_by(&reader(Handling::Lenient), url).unwrap_or_else(|error| panic!("{url}: {error}"))
}

fn strict(url: &str) -> Query {
    read_by(&reader(Handling::Strict), url).unwrap_or_else(|error| panic!("{url}: {error}"))
}

/// The error with either handling, when it is the same.
fn refused(url: &str) -> QueryError {
    let error = read_by(&reader(Handling::Lenient), url).expect_err(url);
    assert_eq!(read_by(&reader(Handling::Strict), url).as_ref(), Err(&error));
    error
}

/// That strict handling refuses, and lenient handling ignores for the same reason.
fn ignored(url: &str) -> QueryError {
    let error = read_by(&reader(Handling::Strict), url).expect_err(url);
    assert_eq!(lenient(url).ignored, std::slice::from_ref(&error));
    error
}

/// The conditions on the only type that is asked, in few words.
fn clauses(query: &Query) -> Vec<String> {
    let [of_type] = &query.types[..] else { panic!("{:?}", query.types.len()) };
    of_type.clauses.iter().map(show).collect()
}

/// The only condition on the only type that is asked, in few words.
fn clause(url: &str) -> String {
    let query = lenient(url);
    assert_eq!(query.ignored, [], "{url}");
    let [ref clause] = clauses(&query)[..] else { panic!("{url}") };
    clause.clone()
}

fn show(clause: &Clause) -> String {
    let all = |clauses: &[Clause]| clauses.iter().map(show).collect::<Vec<_>>().join(", ");
    match clause {
        Clause::Value(it) => {
            let tests = it.tests.iter().map(show_test).collect::<Vec<_>>().join(" | ");
            let sense = if it.sense == Sense::SomeHolds { "" } else { "differs " };
            format!("{} {sense}{tests}", it.parameter.code())
        }
        Clause::Missing { parameter, missing: true } => format!("no {}", parameter.code()),
        Clause::Missing { parameter, missing: false } => format!("some {}", parameter.code()),
        Clause::Chain(Chain { parameter, targets }) => {
            let target = |(of, clause): &(ResourceType, Clause)| format!("{of}: {}", show(clause));
            let targets: Vec<String> = targets.iter().map(target).collect();
            format!("{} -> ({})", parameter.code(), targets.join("; "))
        }
        Clause::Has(Has { resource_type, parameter, clause }) => {
            format!("{resource_type}.{} <- ({})", parameter.code(), show(clause))
        }
        Clause::Text(test) => format!("text {test:?}"),
        Clause::Content(test) => format!("content {test:?}"),
        Clause::List(id) => format!("list {id}"),
        Clause::All(clauses) => format!("all({})", all(clauses)),
        Clause::Any(clauses) => format!("any({})", all(clauses)),
        Clause::Not(clause) => format!("not({})", show(clause)),
    }
}

fn show_test(test: &Test) -> String {
    match test {
        Test::Number(it) => format!("{} {}", it.prefix.as_str(), it.value),
        Test::Date(it) => format!(
            "{} {}..{}",
            it.prefix.as_str(),
            Instant::from_micros(it.range.low()),
            Instant::from_micros(it.range.high())
        ),
        Test::String(it) => format!("{:?} '{}'", it.at, it.text),
        Test::Token(it) => format!("{it:?}"),
        Test::Reference(it) => format!("{it:?}"),
        Test::Uri(it) => format!("{it:?}"),
        Test::Quantity(it) => {
            format!("{} {} {:?}", it.number.prefix.as_str(), it.number.value, it.unit)
        }
        Test::Composite(it) => it.parts.iter().map(show_test).collect::<Vec<_>>().join(" $ "),
        Test::Near(it) => format!("{it:?}"),
    }
}

/// That a problem stands at a place, and what it says begins so.
fn check_error(error: &QueryError, parameter: &str, place: Place, text: &str) {
    assert_eq!((&*error.parameter, error.place), (parameter, place), "{error}");
    assert!(error.problem.to_string().starts_with(text), "{error}");
}

#[test]
fn names_and_values_are_decoded_once() {
    // SRCH-012, SRCH-017
    let read = |text: &str| decode_form(text.as_bytes()).unwrap();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        read("a=1&b=x%20y&c=x+y&d=%252C"),
        [pair("a", "1"), pair("b", "x y"), pair("c", "x y"), pair("d", "%2C"),]
    );
    assert_eq!(
        read("code=a|b,c&&x%3Aexact=%C3%A9=1&y"),
        [pair("code", "a|b,c"), pair("x:exact", "é=1"), pair("y", ""),]
    );
    assert_eq!(read(""), []);
    for (bad, text) in [
        ("a=%4", "a percent sign at byte 2"),
        ("ab=1&c=x%zz", "a percent sign at byte 8"),
        ("a=1&b=%ff", "the parameter at byte 6 is no UTF-8"),
    ] {
        let error = decode_form(bad.as_bytes()).unwrap_err();
        assert!(error.to_string().starts_with(text), "{error}");
    }
}

#[test]
fn an_empty_value_is_ignored_or_with_strict_handling_refused() {
    // SRCH-015
    let error = ignored("Patient?name=");
    check_error(&error, "name", Place::Value(0), "the value is empty");
    assert!(lenient("Patient?name=").types[0].clauses.is_empty());
    let error = ignored("Patient?name=a,,b");
    check_error(&error, "name", Place::Value(2), "the value is empty");
    assert_eq!(clauses(&lenient("Patient?name=a,,b")), ["name Start 'a' | Start 'b'"]);
    assert_eq!(lenient("Patient?name=a,,b").to_query_string(), "name=a,b");
    ignored("Patient?name=,");
    ignored("Patient?_sort=");
}

#[test]
fn what_is_unknown_is_ignored_or_with_strict_handling_refused() {
    // SRCH-016, SRCH-020, SRCH-021, SRCH-224
    let error = ignored("Patient?foo=1");
    check_error(&error, "foo", Place::Name(0), "Patient has no search parameter 'foo'");
    let error = ignored("Patient?Name=x");
    assert!(error.to_string().contains("'name' is written so"), "{error}");
    for unknown in ["foo:exact", "foo.bar", "_graph", "_maxresults", "_score"] {
        ignored(&format!("Patient?{unknown}=1"));
    }
    let query = lenient("Patient?foo=1&gender=male&_format=json&_pretty=true");
    assert_eq!(query.to_query_string(), "gender=male");
    assert_eq!(query.ignored.len(), 1);
}

#[test]
fn what_restricts_the_matches_is_refused_rather_than_ignored() {
    // SRCH-023, SRCH-024, SRCH-042, SRCH-088
    let error = refused("Patient?birthdate:contains=1");
    check_error(&error, "birthdate:contains", Place::Name(10), "'contains' is no modifier of");
    assert!(error.to_string().contains("it takes missing"), "{error}");
    for bad in [
        "Condition?onset-date:text=x",
        "Patient?name:text=x",
        "Patient?name:nonsense=x",
        "Patient?birthdate=abc",
        "Patient?_query=bogus",
        "Patient?general-practitioner.foo=1",
        "Patient?_count:exact=1",
        "Patient?_text:exact=x",
    ] {
        refused(bad);
    }
    // What merely does not exist is found nowhere.
    for good in ["Observation?subject=nope", "Observation?code=http://loinc.org|zzz"] {
        assert_eq!(strict(good).types[0].clauses.len(), 1);
    }
}

#[test]
fn several_types_must_all_have_what_is_asked() {
    // SRCH-005, SRCH-041
    let error = refused("?_type=Patient,Observation&name=x");
    check_error(&error, "name", Place::Name(0), "'name' is no search parameter of Observation");
    let query = strict("?_type=Patient,Observation&_lastUpdated=gt2020&_id=a,b");
    let types: Vec<&str> = query.types.iter().map(|it| it.resource_type.as_str()).collect();
    assert_eq!(types, ["Patient", "Observation"]);
    assert!(query.types.iter().all(|it| it.clauses.len() == 2));
    assert_eq!(query.to_query_string(), "_type=Patient,Observation&_lastUpdated=gt2020&_id=a,b");
    let error = refused("?_type=Patient,Foo");
    check_error(&error, "_type", Place::Value(8), "there is no resource type 'Foo'");
    assert_eq!(strict("?_id=1").types.len(), Schema::r4().resource_types().count());
    ignored("?foo=1");
    let error = ignored("Patient?_type=Observation");
    check_error(&error, "_type", Place::Name(0), "the types are given by the URL");
    refused("?_type=Patient&_type=Group");
}

#[test]
fn a_compartment_says_what_puts_a_resource_into_it() {
    // SRCH-007, SRCH-008, SRCH-009, SRCH-010
    let members = |url: &str| {
        let query = strict(url);
        let members = query.types[0].membership.as_ref().unwrap();
        let codes: Vec<String> = members.parameters.iter().map(|it| it.code().to_owned()).collect();
        (codes.join(","), members.itself)
    };
    assert_eq!(members("Patient/1/Observation?code=x"), ("subject,performer".to_owned(), false));
    assert!(members("Patient/1/Patient").1);
    assert_eq!(members("Encounter/1/Encounter"), (String::new(), true));
    for kind in ["Encounter", "RelatedPerson", "Practitioner", "Device"] {
        assert!(!members(&format!("{kind}/1/Observation")).0.is_empty(), "{kind}");
    }
    let error = refused("Patient/1/ValueSet?name=x");
    check_error(&error, "Patient/1", Place::Name(0), "ValueSet is not in the compartment");
    refused("Organization/1/Patient");
    let all = strict("Patient/1/*?_lastUpdated=gt2020");
    assert!(all.types.len() > 40 && all.types.iter().all(|it| it.membership.is_some()));
    assert_eq!(strict("Patient/1/*?_type=Condition,Observation").types.len(), 2);
    refused("Patient/1/*?_type=ValueSet");
}

#[test]
fn more_than_the_limits_is_refused() {
    // SRCH-251
    let limits = Limits {
        length: 1_000,
        parameters: 3,
        values: 2,
        depth: 2,
        includes: 1,
        sorts: 1,
        clauses: 50,
        page: 100,
    };
    let reader = Reader { limits: &limits, ..reader(Handling::Lenient) };
    for (good, bad, what) in [
        ("Patient?name=a,b", "Patient?name=a,b,c", "values"),
        ("Patient?name=a&name=b&name=c", "Patient?name=a&name=b&name=c&name=d", "parameters"),
        ("Patient?_sort=name", "Patient?_sort=name,birthdate", "keys"),
        ("Patient?_include=*", "Patient?_include=*&_revinclude=*", "includes"),
        ("Patient?_elements=a,b", "Patient?_elements=a,b,c", "elements"),
        (
            "Observation?patient.organization.name=x",
            "Observation?patient.organization.partof.name=x",
            "references",
        ),
        ("Patient?_filter=((name eq x))", "Patient?_filter=(((name eq x)))", "levels"),
        ("Patient?_text=((a))", "Patient?_text=(((a)))", "levels"),
        ("?_type=Patient&_id=1", "?_id=1", "conditions"),
    ] {
        read_by(&reader, good).unwrap_or_else(|error| panic!("{good}: {error}"));
        let error = read_by(&reader, bad).expect_err(bad);
        let text = error.to_string();
        assert!(matches!(error.problem, QueryProblem::TooMany { .. }), "{bad}: {text}");
        assert!(text.contains(what), "{bad}: {text}");
    }
    let long = format!("Patient?name={}", "x".repeat(1_000));
    assert!(read_by(&reader, &long).is_err());
}
