//! Every invariant and every search parameter of R4's own definitions is compiled and evaluated
//! on R4's own examples.

#![expect(clippy::unwrap_used, reason = "a test that fails here says where")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use fhir_core::json::{Document, Value};
use fhir_schema::Schema;
use fhirpath::{
    Context, DateTime, Expression, FhirValue, Host, Item, Options, ReferenceTypes, Resolved,
    Unavailable,
};

/// Examples of each type that are looked at.
const EXAMPLES_OF_A_TYPE: usize = 5;

/// The folder of packages, or a line that says why the test is skipped.
#[expect(clippy::print_stdout, reason = "the output of a test is what this is for")]
fn folder() -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "where tests learn where their data is")]
    let folder = std::env::var_os("HEARTHGATE_FHIR_PACKAGES").filter(|it| !it.is_empty());
    if folder.is_none() {
        println!("skipped: HEARTHGATE_FHIR_PACKAGES names no folder of packages");
    }
    folder.map(PathBuf::from)
}

/// The JSON files of a package whose name begins with one of `prefixes`.
fn files(package: &Path, prefixes: &[&str]) -> Vec<String> {
    let file = File::open(package).unwrap_or_else(|error| panic!("{package:?}: {error}"));
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(file));
    let mut files = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().into_owned();
        let name = path.file_name().unwrap().to_str().unwrap();
        let is_wanted = prefixes.iter().any(|prefix| name.starts_with(prefix));
        if is_wanted && name.ends_with(".json") && path.iter().count() == 2 {
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            files.push(text);
        }
    }
    files
}

/// Knows types of references, and lets everything else pass.
struct EasyHost;

impl<'a> Host<'a> for EasyHost {
    fn resolve(&self, reference: &str) -> Resolved<'a> {
        ReferenceTypes.resolve(reference)
    }

    fn member_of(&self, _: &Item<'a>, _: &str) -> Result<Option<bool>, Unavailable> {
        Ok(Some(true))
    }

    fn conforms_to(&self, _: &FhirValue<'a>, _: &str) -> Result<Option<bool>, Unavailable> {
        Ok(Some(true))
    }

    fn html_checks(&self, _: &str) -> Result<bool, Unavailable> {
        Ok(true)
    }

    fn now(&self) -> Option<DateTime> {
        DateTime::parse("2024-05-06T07:08:09.123+02:00")
    }
}

fn strings<'a>(value: Value<'a>, name: &str) -> Vec<String> {
    let each = value.get(name).into_iter().flat_map(|it| it.items());
    each.filter_map(|it| it.as_str()).map(|it| it.into_owned()).collect()
}

/// Where an invariant stands, its key, and the expression.
type Invariant = (String, String, String);

fn invariants(package: &Path) -> BTreeSet<Invariant> {
    let mut found = BTreeSet::new();
    for text in files(package, &["StructureDefinition-"]) {
        let document = Document::parse(text.as_bytes()).unwrap();
        let root = document.root();
        if root.get_str("kind").as_deref() == Some("logical") {
            continue;
        }
        let snapshot = root.get("snapshot").and_then(|it| it.get("element"));
        for element in snapshot.into_iter().flat_map(|it| it.items()) {
            let path = element.get_str("path").unwrap().into_owned();
            let constraints = element.get("constraint");
            for constraint in constraints.into_iter().flat_map(|it| it.items()) {
                if let Some(expression) = constraint.get_str("expression") {
                    let key = constraint.get_str("key").unwrap().into_owned();
                    found.insert((path.clone(), key, expression.into_owned()));
                }
            }
        }
    }
    found
}

/// Some examples of each type.
fn examples(folder: &Path) -> BTreeMap<String, Vec<String>> {
    let mut examples: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for text in files(&folder.join("hl7.fhir.r4.examples-4.0.1.tgz"), &[""]) {
        let Ok(document) = Document::parse(text.as_bytes()) else { continue };
        let Some(name) = document.root().get_str("resourceType") else { continue };
        let of_type = examples.entry(name.into_owned()).or_default();
        if of_type.len() < EXAMPLES_OF_A_TYPE && text.len() < 100_000 {
            of_type.push(text);
        }
    }
    examples
}

#[test]
fn every_invariant_of_r4_is_compiled_and_evaluated_without_an_error() {
    let Some(folder) = folder() else { return };
    let schema = Schema::r4();
    let (mut problems, mut violated) = (Vec::new(), BTreeMap::<String, usize>::new());
    let (mut compiled, mut evaluated) = (0, 0);
    let mut by_type: BTreeMap<String, Vec<(String, Expression, Expression)>> = BTreeMap::new();
    for (path, key, text) in invariants(&folder.join("hl7.fhir.r4.core.tgz")) {
        match Expression::compile(&text, schema, &path, Options::default()) {
            Ok(expression) => {
                compiled += 1;
                let name = path.split('.').next().unwrap().to_owned();
                let walk = path.strip_suffix("[x]").unwrap_or(&path);
                let walk = Expression::compile(walk, schema, &name, Options::default()).unwrap();
                by_type.entry(name).or_default().push((key, walk, expression));
            }
            Err(error) => problems.push(format!("{path} {key}: {error}: {text}")),
        }
    }
    for (name, texts) in examples(&folder) {
        for text in &texts {
            let document = Document::parse(text.as_bytes()).unwrap();
            let resource = FhirValue::resource(schema, document.root());
            let host = EasyHost;
            let context = Context::new(schema).with_host(&host).with_resource(resource);
            let root = Item::Fhir(resource);
            for (key, walk, expression) in by_type.get(&name).into_iter().flatten() {
                for focus in walk.evaluate(&context, &root).unwrap() {
                    evaluated += 1;
                    match expression.is_true(&context, &focus) {
                        Ok(Some(false)) => *violated.entry(key.clone()).or_default() += 1,
                        Ok(_) => {}
                        Err(error) => problems.push(format!("{name} {key}: {error}")),
                    }
                }
            }
        }
    }
    println!("{compiled} invariants, {evaluated} evaluations; violated: {violated:?}");
    problems.sort();
    problems.dedup();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(compiled > 5_000 && evaluated > 10_000, "{compiled} {evaluated}");
}

#[test]
fn every_search_parameter_of_r4_is_compiled_and_evaluated_without_an_error() {
    let Some(folder) = folder() else { return };
    let schema = Schema::r4();
    let mut problems = Vec::new();
    let mut by_type: BTreeMap<String, Vec<(String, Expression)>> = BTreeMap::new();
    let mut compiled = 0;
    for text in files(&folder.join("hl7.fhir.r4.core.tgz"), &["SearchParameter-"]) {
        let document = Document::parse(text.as_bytes()).unwrap();
        let root = document.root();
        let code = root.get_str("code").unwrap().into_owned();
        let Some(expression) = root.get_str("expression") else { continue };
        for base in strings(root, "base") {
            match Expression::compile(&expression, schema, &base, Options::default()) {
                Ok(expression) => {
                    compiled += 1;
                    by_type.entry(base).or_default().push((code.clone(), expression));
                }
                Err(error) => problems.push(format!("{base} {code}: {error}: {expression}")),
            }
        }
    }
    let mut found = 0;
    for (name, texts) in examples(&folder) {
        for text in &texts {
            let document = Document::parse(text.as_bytes()).unwrap();
            let root = Item::Fhir(FhirValue::resource(schema, document.root()));
            let host = EasyHost;
            let context = Context::new(schema).with_host(&host);
            for base in [&*name, "DomainResource", "Resource"] {
                for (code, expression) in by_type.get(base).into_iter().flatten() {
                    match expression.evaluate(&context, &root) {
                        Ok(items) => found += items.len(),
                        Err(error) => problems.push(format!("{name} {code}: {error}")),
                    }
                }
            }
        }
    }
    println!("{compiled} expressions, {found} values");
    problems.sort();
    problems.dedup();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(compiled > 1_400 && found > 1_000, "{compiled} {found}");
}
