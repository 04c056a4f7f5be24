//! Generated records of patients, asked for what stands in them: the index finds exactly the
//! resources that have a value of which the test holds.

use std::collections::{BTreeSet, HashMap};

use fhir_core::json::Document;
use fhir_core::{ResourceId, ResourceType};
use fhir_search::{
    Clause, CompositeTest, DateTest, Decimal, ExtractOptions, Extracted, IndexValue, NumberRange,
    NumberTest, Parameter, Prefix, QuantityTest, Query, ReferenceTarget, ReferenceTest, Sense,
    StringMatch, StringTest, SystemTest, Test, TokenTest, UnitTest, UriTest, ValueClause, fold,
};
use search_index::{SearchError, Unsupported, Visible};

use crate::support::{Act, BASE, CONTEXT, EXTRACTOR, PARAMETERS, Site, keep, query};

const BUNDLES: usize = 6;
/// One value in so many is asked for.
const EVERY: usize = 97;

const PREFIXES: [Prefix; 9] = [
    Prefix::Eq,
    Prefix::Ne,
    Prefix::Gt,
    Prefix::Lt,
    Prefix::Ge,
    Prefix::Le,
    Prefix::Sa,
    Prefix::Eb,
    Prefix::Ap,
];

struct Resource {
    of: String,
    id: String,
    values: Extracted<'static>,
}

#[expect(clippy::print_stdout, reason = "the output of a test is what this is for")]
fn bundles() -> Option<Vec<String>> {
    #[expect(clippy::disallowed_methods, reason = "where tests learn where their data is")]
    let folder = std::env::var_os("HEARTHGATE_TEST_DATA").filter(|it| !it.is_empty());
    let Some(folder) = folder else {
        println!("skipped: HEARTHGATE_TEST_DATA names no folder");
        return None;
    };
    let path = std::path::Path::new(&folder).join("synthea/bundles.ndjson.zst");
    let text = zstd::decode_all(std::fs::File::open(path).unwrap()).unwrap();
    let text = String::from_utf8(text).unwrap();
    Some(text.lines().take(BUNDLES).map(str::to_owned).collect())
}

/// The resources of a Bundle, their references to one another resolved.
fn resources(bundle: &str) -> Vec<String> {
    let document = Document::parse(bundle.as_bytes()).unwrap();
    let entries = || document.root().get("entry").into_iter().flat_map(|it| it.items());
    let types: HashMap<String, String> = entries()
        .filter_map(|entry| {
            let of = entry.get("resource")?.get_str("resourceType")?;
            Some((entry.get_str("fullUrl")?.into_owned(), of.into_owned()))
        })
        .collect();
    let resolve = |text: &str| {
        let mut pieces = text.split("urn:uuid:");
        let mut resolved = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let url = format!("urn:uuid:{}", &piece[..36]);
            match types.get(&url) {
                Some(of) => resolved.push_str(&format!("{of}/{piece}")),
                None => resolved.push_str(&format!("urn:uuid:{piece}")),
            }
        }
        resolved
    };
    entries().filter_map(|entry| Some(resolve(entry.get("resource")?.raw()))).collect()
}

fn read(json: &str) -> Resource {
    let json: &'static str = Box::leak(json.to_owned().into_boxed_str());
    let document: &'static Document<'static> =
        Box::leak(Box::new(Document::parse(json.as_bytes()).unwrap()));
    let options = ExtractOptions { base: Some(BASE), ..ExtractOptions::default() };
    let root = document.root();
    Resource {
        of: root.get_str("resourceType").unwrap().into_owned(),
        id: root.get_str("id").unwrap().into_owned(),
        values: EXTRACTOR.extract(root, &options),
    }
}

fn numbers(range: &NumberRange) -> Vec<NumberTest> {
    let Some(value) = range.as_point() else { return Vec::new() };
    let high = value.add(Decimal::from(1)).unwrap();
    PREFIXES.map(|prefix| NumberTest { prefix, value, low: value, high }).to_vec()
}

/// Tests that have something to do with a value.
fn tests(value: &IndexValue<'_>) -> Vec<Test> {
    match value {
        IndexValue::Number(range) => numbers(range).into_iter().map(Test::Number).collect(),
        IndexValue::Date(range) => {
            PREFIXES.map(|prefix| Test::Date(DateTest { prefix, range: *range })).to_vec()
        }
        IndexValue::String(text) => {
            let half = &text[..text.floor_char_boundary(text.len() / 2)];
            let rest = &text[half.len()..];
            let all = [
                (StringMatch::Start, half),
                (StringMatch::Contains, rest),
                (StringMatch::End, rest),
                (StringMatch::Exact, &**text),
                (StringMatch::Whole, &**text),
            ];
            all.into_iter()
                .filter_map(|(at, it)| StringTest::new(at, it))
                .map(Test::String)
                .collect()
        }
        IndexValue::Token(token) => {
            let mut all = Vec::new();
            if let Some(code) = &token.code {
                let code: Box<str> = (&**code).into();
                let mut systems = vec![SystemTest::Any, SystemTest::None];
                systems.extend(token.system.as_deref().map(|it| SystemTest::Is(it.into())));
                for system in systems {
                    all.push(TokenTest::Code { system, code: code.clone() });
                }
                let system = SystemTest::Any;
                all.push(TokenTest::Code { system, code: code.to_uppercase().into() });
            }
            all.extend(token.system.as_deref().map(|it| TokenTest::System(it.into())));
            all.extend(token.text.as_deref().map(|it| TokenTest::Text(fold(it).into())));
            for (system, code) in &token.identifier_types {
                let value = token.code.as_deref().unwrap_or_default().into();
                let (system, code) = ((&**system).into(), (&**code).into());
                all.push(TokenTest::OfType { system, code, value });
            }
            all.into_iter().map(Test::Token).collect()
        }
        IndexValue::Quantity(quantity) => {
            let units = |number: &NumberTest| {
                let mut units = vec![UnitTest::Any];
                if let Some(code) = quantity.code.as_deref() {
                    units.push(UnitTest::CodeOrUnit(code.into()));
                    let system = quantity.system.as_deref().unwrap_or_default();
                    units.push(UnitTest::coded(system, code, number));
                }
                units
            };
            let numbers = numbers(&quantity.range).into_iter();
            let all = numbers.flat_map(|number| {
                units(&number).into_iter().map(move |unit| QuantityTest { number, unit })
            });
            all.map(Test::Quantity).collect()
        }
        IndexValue::Uri(uri) => {
            let parent = uri.rsplit_once('/').map_or(&**uri, |(parent, _)| parent);
            vec![
                Test::Uri(UriTest::Is((&**uri).into())),
                Test::Uri(UriTest::Below(parent.into())),
                Test::Uri(UriTest::Above(format!("{uri}/x").into())),
            ]
        }
        IndexValue::Reference(reference) => match &reference.target {
            ReferenceTarget::Local { resource_type, id, .. } => {
                let (of, id) = (ResourceType::new(resource_type), ResourceId::new(id).unwrap());
                let types = Vec::new();
                vec![
                    Test::Reference(ReferenceTest::Id { id: id.clone(), types }),
                    Test::Reference(ReferenceTest::Local {
                        resource_type: of.unwrap(),
                        id,
                        version: None,
                    }),
                ]
            }
            _ => Vec::new(),
        },
        IndexValue::Composite(composite) => {
            let parts = composite
                .components
                .iter()
                .map(|values| values.first().and_then(|value| tests(value).into_iter().next()));
            let parts: Option<Vec<_>> = parts.collect();
            parts.map(|parts| Test::Composite(CompositeTest { parts })).into_iter().collect()
        }
        IndexValue::Position(_) => Vec::new(),
    }
}

fn holds(test: &Test, value: &IndexValue<'_>, of: &Parameter) -> bool {
    match (test, value) {
        (Test::Number(test), IndexValue::Number(range)) => test.holds(*range),
        (Test::Date(test), IndexValue::Date(range)) => test.holds(*range),
        (Test::String(test), IndexValue::String(text)) => match test.at {
            StringMatch::Exact => test.holds(text),
            _ if matches!(of.code(), "family" | "name") && *of.resource_type != *"Organization" => {
                test.holds_of_a_word(&fold(text))
            }
            _ => test.holds(&fold(text)),
        },
        (Test::Token(test), IndexValue::Token(token)) => {
            let code_is = |wanted: &str| {
                token.code.as_deref().is_some_and(|it| it.eq_ignore_ascii_case(wanted))
            };
            match test {
                TokenTest::Code { system, code } => {
                    system.holds(token.system.as_deref()) && code_is(code)
                }
                TokenTest::System(system) => token.system.as_deref() == Some(system),
                TokenTest::Text(text) => {
                    token.text.as_deref().is_some_and(|it| fold(it).starts_with(&**text))
                }
                TokenTest::OfType { system, code, value } => {
                    let types = token.identifier_types.iter();
                    code_is(value) && types.clone().any(|it| it.0 == **system && it.1 == **code)
                }
                _ => panic!("{test:?}"),
            }
        }
        (Test::Quantity(test), IndexValue::Quantity(quantity)) => test.holds(quantity),
        (Test::Uri(test), IndexValue::Uri(uri)) => test.holds(uri),
        (Test::Reference(test), IndexValue::Reference(it)) => test.holds(&it.target) == Some(true),
        (Test::Composite(test), IndexValue::Composite(composite)) => {
            let parts = test.parts.iter().zip(&composite.components);
            parts.clone().all(|(test, values)| values.iter().any(|it| holds(test, it, of)))
        }
        _ => false,
    }
}

fn asking(parameter: &std::sync::Arc<Parameter>, test: &Test, sense: Sense) -> Query {
    let mut asked = query(&format!("{}?", parameter.resource_type));
    let tests = vec![test.clone()].into();
    let parameter = std::sync::Arc::clone(parameter);
    asked.types[0].clauses.push(Clause::Value(ValueClause { parameter, tests, sense }));
    asked
}

#[test]
fn every_value_of_real_records_finds_the_resources_that_have_it_and_no_others() {
    let Some(bundles) = bundles() else { return };
    let json: Vec<String> = bundles.iter().flat_map(|bundle| resources(bundle)).collect();
    let mut site = Site::default();
    for some in json.chunks(50) {
        site.commit(some.iter().map(|it| Act::Put(it.clone())).collect());
        // A few segments, and the rest in the tail.
        if site.t().get() % 17 == 0 {
            site.index.close_tail();
            site.index.settle(fhir_core::Instant::MIN);
        }
    }
    let all: Vec<Resource> = json.iter().map(|it| read(it)).collect();
    keep(&site.index);
    let search = site.index.search(site.t(), &Visible::Everything, CONTEXT).unwrap();
    let (mut counter, mut asked) = (0, HashMap::new());
    for resource in &all {
        for parameter in PARAMETERS.of_type(&resource.of) {
            if matches!(parameter.code(), "_id" | "_lastUpdated") {
                continue;
            }
            for value in resource.values.of(parameter.id) {
                counter += 1;
                if counter % EVERY != 0 {
                    continue;
                }
                for test in tests(value) {
                    *asked.entry(parameter.kind).or_insert(0) += 1;
                    let cannot_differ = matches!(
                        test,
                        Test::Composite(_)
                            | Test::Token(TokenTest::Text(_) | TokenTest::OfType { .. })
                    );
                    for sense in [Sense::SomeHolds, Sense::SomeDiffers] {
                        let query = asking(parameter, &test, sense);
                        if cannot_differ && sense == Sense::SomeDiffers {
                            let refused = SearchError::Unsupported(Unsupported::Difference);
                            assert_eq!(search.find(&query).map(|it| it.total()), Err(refused));
                            continue;
                        }
                        let found = search.find(&query).unwrap();
                        let page = found.page(None, 100_000).unwrap();
                        let found: BTreeSet<&str> =
                            page.hits.iter().map(|hit| hit.id.as_str()).collect();
                        let wanted = sense == Sense::SomeHolds;
                        let of_type = all.iter().filter(|it| it.of == resource.of);
                        let expected: BTreeSet<&str> = of_type
                            .filter(|it| {
                                let mut values = it.values.of(parameter.id);
                                // A text alone is found by `:text` alone.
                                let is_text = |value: &IndexValue<'_>| {
                                    matches!(value, IndexValue::Token(it) if it.code.is_none())
                                };
                                values.any(|value| (wanted || !is_text(value)) && holds(&test, value, parameter) == wanted)
                            })
                            .map(|it| &*it.id)
                            .collect();
                        assert_eq!(
                            found,
                            expected,
                            "{} {} {test:?} {sense:?}",
                            parameter.resource_type,
                            parameter.code()
                        );
                    }
                }
            }
        }
    }
    assert!(asked.len() >= 6 && asked.values().all(|count| *count >= 10), "{asked:?}");
}
