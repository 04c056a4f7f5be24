//! What others published, validated: the examples of packages against their profiles, and
//! Synthea's Bundles against R4 and US Core. Every error is compared with the list of those known,
//! each with its reason. Shared by this crate's tests and by `cargo xtask conformance packages`.

#![allow(dead_code, reason = "the tests and xtask each use their part")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::sync::Arc;

use fhir_core::Severity;
use fhir_core::json::Document;
use fhir_schema::package::{Package, PackageLimits};
use fhir_schema::{DefinitionSet, Schema};
use fhir_terminology::{Entry, Layer, Terminology};
use fhir_validation::{Issue, Options, Validator};

/// Errors that are known, each with its reason: `suite rule path: reason`.
const KNOWN: &str = include_str!("known_errors.txt");

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How much of a suite is validated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All of it.
    Whole,
    /// Every so manieth resource.
    Every(usize),
    /// What has so many bytes at most.
    UpTo(usize),
}

impl Extent {
    fn has(self, at: usize, bytes: usize) -> bool {
        match self {
            Self::Whole => true,
            Self::Every(step) => at.is_multiple_of(step),
            Self::UpTo(most) => bytes <= most,
        }
    }
}

/// One suite: its name in the list, what is validated, and against what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Suite {
    pub(crate) name: &'static str,
    /// The package in the folder of test data; `None` for R4 alone.
    package: Option<&'static str>,
    /// Lines of Bundles in the folder of test data; `None` for the package's examples.
    bundles: Option<&'static str>,
    /// What a sample takes.
    sample: Extent,
}

/// All suites.
pub(crate) const SUITES: [Suite; 6] = [
    examples("us-core-6.1.0", "packages/hl7.fhir.us.core-6.1.0.tgz"),
    examples("us-core-7.0.0", "packages/hl7.fhir.us.core-7.0.0.tgz"),
    examples("ips-1.1.0", "packages/hl7.fhir.uv.ips-1.1.0.tgz"),
    Suite {
        name: "synthea",
        package: None,
        bundles: Some("synthea/bundles.ndjson.zst"),
        sample: Extent::UpTo(140_000),
    },
    Suite {
        name: "synthea-newer",
        package: None,
        bundles: Some("synthea/bundles-uscore.ndjson.zst"),
        sample: Extent::UpTo(530_000),
    },
    Suite {
        name: "synthea-newer-us-core-6.1.0",
        package: Some("packages/hl7.fhir.us.core-6.1.0.tgz"),
        bundles: Some("synthea/bundles-uscore.ndjson.zst"),
        sample: Extent::UpTo(530_000),
    },
];

const fn examples(name: &'static str, package: &'static str) -> Suite {
    Suite { name, package: Some(package), bundles: None, sample: Extent::Every(8) }
}

/// What validating a suite came to.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Resources, or Bundles, that were validated.
    pub(crate) total: usize,
    /// Those without an error.
    pub(crate) without_error: usize,
    /// Profiles that were asked for: claimed, or named for the example by the package.
    pub(crate) profiles: BTreeSet<String>,
    /// Issues that are no errors, by severity.
    pub(crate) warnings: usize,
    /// Distinct errors: `rule path`, indexes left out.
    pub(crate) errors: BTreeMap<String, Found>,
    /// Distinct warnings, alike.
    pub(crate) remarks: BTreeMap<String, Found>,
    /// What the suite's package depends on or names for an example, and is not there.
    pub(crate) missing: Vec<String>,
}

/// How often something was found, and where first.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) count: usize,
    pub(crate) first: String,
}

impl Suite {
    /// What a sample of this suite takes.
    pub(crate) fn sample(&self) -> Extent {
        self.sample
    }

    /// Validates it.
    ///
    /// # Errors
    /// When the data cannot be read.
    pub(crate) fn run(&self, folder: &Path, extent: Extent) -> Result<Outcome, Failure> {
        let loaded = match self.package {
            Some(file) => Loaded::read(&folder.join(file))?,
            None => Loaded::r4(),
        };
        let mut outcome = Outcome { missing: loaded.missing.clone(), ..Outcome::default() };
        match (self.bundles, self.package) {
            (Some(bundles), _) => {
                let file = zstd::stream::read::Decoder::new(File::open(folder.join(bundles))?)?;
                for (at, line) in BufReader::new(file).lines().enumerate() {
                    let line = line?;
                    if extent.has(at, line.len()) {
                        let name = format!("line {}", at + 1);
                        loaded.validate(&name, line.as_bytes(), &mut outcome);
                    }
                }
            }
            (None, Some(package)) => {
                let examples = examples_of(&folder.join(package))?;
                for (at, (name, json)) in examples.iter().enumerate() {
                    if extent.has(at, json.len()) {
                        loaded.validate(name, json, &mut outcome);
                    }
                }
            }
            (None, None) => return Err("a suite of nothing".into()),
        }
        Ok(outcome)
    }
}

/// Definitions, and which profile a package names for which of its examples.
pub(crate) struct Loaded {
    pub(crate) validator: Validator<'static>,
    pub(crate) definitions: DefinitionSet,
    profiles: BTreeMap<String, Vec<String>>,
    missing: Vec<String>,
}

impl Loaded {
    /// R4 alone.
    fn r4() -> Self {
        Self::of(DefinitionSet::r4().clone(), Terminology::r4(), BTreeMap::new())
    }

    fn of(
        definitions: DefinitionSet,
        terminology: Terminology,
        mut profiles: BTreeMap<String, Vec<String>>,
    ) -> Self {
        let missing = definitions.unmet_dependencies().iter();
        let mut missing: Vec<String> =
            missing.map(|it| format!("the package {}#{}", it.name, it.wanted)).collect();
        // A profile that a missing package has is told as missing, and not asked for.
        for named in profiles.values_mut() {
            named.retain(|profile| {
                let is_there = definitions.structure(profile).is_some();
                let line = format!("the profile {profile}");
                if !is_there && !missing.contains(&line) {
                    missing.push(line);
                }
                is_there
            });
        }
        let validator = Validator::new(Schema::r4(), definitions.clone(), terminology);
        Self { validator, definitions, profiles, missing }
    }

    /// R4 and a package.
    ///
    /// # Errors
    /// When the package cannot be read.
    pub(crate) fn read(file: &Path) -> Result<Self, Failure> {
        let package = Package::read(File::open(file)?, PackageLimits::default())?;
        let mut layer = Layer::new();
        let mut profiles: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for resource in &package.resources {
            let document = Document::parse(&resource.json)?;
            if let Ok(entry) = Entry::new(document.root()) {
                layer.add(Arc::new(entry));
            }
            let definition = document.root().get("definition");
            let listed = definition.and_then(|it| it.get("resource"));
            for listed in listed.into_iter().flat_map(|it| it.items()) {
                let reference = listed.get("reference").and_then(|it| it.get_str("reference"));
                let profile = listed.get_str("exampleCanonical");
                if let (Some(reference), Some(profile)) = (reference, profile) {
                    profiles.entry(reference.into_owned()).or_default().push(profile.into_owned());
                }
            }
        }
        let definitions = DefinitionSet::r4().with_packages(vec![package])?;
        Ok(Self::of(definitions, Terminology::r4().with(layer), profiles))
    }

    /// Validates one resource, by the profiles that it claims and those the package names for it.
    fn validate(&self, name: &str, json: &[u8], outcome: &mut Outcome) {
        outcome.total += 1;
        let mut named: &[String] = &[];
        if let Ok(document) = Document::parse(json) {
            let root = document.root();
            let text = |name: &str| root.get_str(name).unwrap_or_default();
            let key = format!("{}/{}", text("resourceType"), text("id"));
            named = self.profiles.get(&key).map_or(&[], Vec::as_slice);
            let claimed = root.get("meta").and_then(|it| it.get("profile"));
            let claimed = claimed.into_iter().flat_map(|it| it.items());
            outcome.profiles.extend(claimed.filter_map(|it| it.as_str()).map(Into::into));
        }
        outcome.profiles.extend(named.iter().cloned());
        let asked: Vec<&str> = named.iter().map(String::as_str).collect();
        let options = Options { profiles: &asked, cap: 100_000, ..Options::default() };
        let issues = self.validator.validate_json(json, &options);
        if !issues.iter().any(Issue::is_error) {
            outcome.without_error += 1;
        }
        for issue in issues {
            let table = match issue.severity {
                Severity::Error | Severity::Fatal => &mut outcome.errors,
                Severity::Warning => &mut outcome.remarks,
                Severity::Information => continue,
            };
            outcome.warnings += usize::from(!issue.is_error());
            let found = table.entry(format!("{} {}", issue.rule, plain(&issue.expression)));
            let found = found.or_default();
            found.count += 1;
            if found.count == 1 {
                found.first = format!("{name}:{issue}");
            }
        }
    }
}

/// A path without the numbers of its indexes.
pub(crate) fn plain(path: &str) -> String {
    let mut plain = String::with_capacity(path.len());
    let mut within = false;
    for character in path.chars() {
        within = (within || character == '[') && character != ']';
        if !within || character == '[' {
            plain.push(character);
        }
    }
    plain
}

/// The examples in a package: those of `package/example`, by name.
///
/// # Errors
/// When the package cannot be read.
pub(crate) fn examples_of(file: &Path) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(File::open(file)?));
    let mut examples = BTreeMap::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = entry.path()?.to_string_lossy().into_owned();
        let Some(name) = name.strip_prefix("package/example/") else { continue };
        if !name.ends_with(".json") || name.starts_with('.') {
            continue;
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        // A package's indexes stand beside its examples.
        if Document::parse(&bytes).is_ok_and(|it| it.root().get("resourceType").is_some()) {
            examples.insert(name.to_owned(), bytes);
        }
    }
    Ok(examples)
}

/// The list: the reason, by suite and error.
pub(crate) fn known() -> BTreeMap<(&'static str, &'static str), &'static str> {
    let lines = KNOWN.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let entries = lines.filter_map(|line| line.split_once(": "));
    entries.filter_map(|(what, reason)| Some((what.split_once(' ')?, reason))).collect()
}

/// Errors that the list does not have; and where the suite was validated whole, entries of the
/// list that are found no longer.
pub(crate) fn surprises(suite: &Suite, extent: Extent, outcome: &Outcome) -> Vec<String> {
    let known = known();
    let mut surprises = Vec::new();
    for (error, found) in &outcome.errors {
        if !known.contains_key(&(suite.name, error.as_str())) {
            surprises.push(format!(
                "{} {error}: {} times, first {}",
                suite.name, found.count, found.first
            ));
        }
    }
    for (_, error) in known.keys().filter(|(name, _)| *name == suite.name) {
        if extent == Extent::Whole && !outcome.errors.contains_key(*error) {
            surprises
                .push(format!("{} {error}: found no longer, take it off the list", suite.name));
        }
    }
    surprises
}
