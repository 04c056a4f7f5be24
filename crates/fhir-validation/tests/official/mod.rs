//! The official validator cases for R4: run, and compared with what the reference validator says
//! and with the list of what is known to differ. Shared by this crate's tests and by
//! `cargo xtask conformance validator`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use fhir_core::Severity;
use fhir_core::json::{Document, Value};
use fhir_schema::{DefinitionSet, Schema};
use fhir_terminology::Terminology;
use fhir_validation::{
    Comments, Contained, ExampleUrls, Html, Options, Targets, UnknownExtensions, Validator,
};

/// Cases that differ, each with its reason: `name: reason`.
const KNOWN: &str = include_str!("known_disagreements.txt");

/// What single cases run with: `name: setting`.
const SETTINGS: &str = include_str!("settings.txt");

/// What all cases run with: the reference validator refuses extensions that it does not know, but
/// for those of HL7's own tools.
const ALL: Options<'static> = Options {
    vital_signs: fhir_validation::VitalSigns::ByCodeOrPart,
    unknown_extensions: UnknownExtensions::Refuse,
    extension_domains: &["http://hl7.org/fhir/tools/StructureDefinition/"],
    ..Options::DEFAULT
};

/// What a case runs with.
///
/// # Errors
/// When a setting is not known.
fn options(name: &str) -> Result<Options<'static>, String> {
    let mut options = ALL;
    let settings = SETTINGS.lines().filter_map(|line| line.split_once(": "));
    for (_, setting) in settings.filter(|(case, _)| *case == name) {
        match setting {
            "refuse-example-urls" => options.example_urls = ExampleUrls::Refuse,
            "refuse-html-in-strings" => options.html_in_strings = Html::Refuse,
            "refuse-html-in-markdown" => options.html_in_markdown = Html::Refuse,
            "pass-over-contained" => options.contained = Contained::PassOver,
            "pass-over-comments" => options.comments = Comments::PassOver,
            "targets-given" => options.targets = Targets::Given,
            "extension-of-the-case" => {
                options.extension_domains = &["http://hl7.org/fhir/test/StructureDefinition/"];
            }
            other => return Err(format!("{name}: the setting {other} is not known")),
        }
    }
    Ok(options)
}

/// One case and what came of it.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    /// Whether the reference validator finds an error.
    pub(crate) wants_error: bool,
    /// Our errors: expression and text.
    pub(crate) got: Vec<(String, String)>,
    /// The expressions of the reference validator's errors.
    pub(crate) reference: Vec<String>,
}

impl Case {
    /// Whether both find an error, or neither.
    pub(crate) fn agrees(&self) -> bool {
        self.wants_error != self.got.is_empty()
    }

    /// Whether some error stands at the same path; `None` where not both found one.
    pub(crate) fn path_agrees(&self) -> Option<bool> {
        if !self.wants_error || self.got.is_empty() {
            return None;
        }
        let ours: Vec<String> = self.got.iter().map(|(path, _)| plain(path)).collect();
        Some(self.reference.iter().any(|it| ours.contains(&plain(it))))
    }
}

/// A path without the reference validator's remarks in it.
fn plain(path: &str) -> String {
    let mut plain = String::new();
    let mut rest = path;
    while let Some(at) = ["/*", ".ofType(", "[url="].iter().filter_map(|it| rest.find(it)).min() {
        plain.push_str(&rest[..at]);
        let end = if rest[at..].starts_with("/*") {
            "*/"
        } else if rest[at..].starts_with('.') {
            ")"
        } else {
            "]"
        };
        let length = rest[at + 2..].find(end).map_or(rest.len() - at - 2, |it| it + end.len());
        rest = &rest[at + 2 + length..];
    }
    plain.push_str(rest);
    plain.trim_end_matches('/').to_owned()
}

/// The list, by name.
pub(crate) fn known() -> BTreeMap<&'static str, &'static str> {
    let lines = KNOWN.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.filter_map(|line| line.split_once(": ")).collect()
}

/// Disagreements that the list does not have, and entries of the list that agree by now.
pub(crate) fn surprises(cases: &[Case]) -> Vec<String> {
    let known = known();
    let mut surprises = Vec::new();
    for case in cases.iter().filter(|it| !it.agrees() && !known.contains_key(&*it.name)) {
        surprises.push(format!("{} differs: {:?}", case.name, case.got));
    }
    for name in known.keys() {
        if !cases.iter().any(|it| it.name == *name && !it.agrees()) {
            surprises.push(format!("{name} agrees by now: take it off the list"));
        }
    }
    surprises
}

fn texts(value: Option<Value<'_>>) -> Vec<String> {
    let each = value.into_iter().flat_map(|it| it.items());
    each.filter_map(|it| it.as_str()).map(Into::into).collect()
}

/// Runs the cases in `folder`.
///
/// # Errors
/// When they cannot be read.
pub(crate) fn run(folder: &Path) -> Result<Vec<Case>, String> {
    let validator = Validator::new(Schema::r4(), DefinitionSet::r4().clone(), Terminology::r4());
    let list = fs::read(folder.join("cases.json")).map_err(|error| error.to_string())?;
    let list = Document::parse(&list).map_err(|error| error.to_string())?;
    let mut cases = Vec::new();
    for case in list.root().items() {
        let text = |name: &str| case.get_str(name).unwrap_or_default().into_owned();
        let file = text("file");
        let bytes = fs::read(folder.join(&file)).map_err(|error| format!("{file}: {error}"))?;
        let issues = case.get("reference_issues");
        let errors = issues
            .into_iter()
            .flat_map(|it| it.items())
            .filter(|it| it.get_str("severity").is_some_and(|it| it == "error" || it == "fatal"));
        let name = text("name");
        let options = options(&name)?;
        cases.push(Case {
            name,
            wants_error: text("want") == "error",
            got: if file.ends_with(".xml") {
                of_xml(&validator, &bytes, &options)
            } else {
                of_json(&validator, &bytes, &options)
            },
            reference: errors.flat_map(|it| texts(it.get("expression"))).collect(),
        });
    }
    Ok(cases)
}

fn of_json(validator: &Validator<'_>, json: &[u8], options: &Options<'_>) -> Vec<(String, String)> {
    let issues = validator.validate_json(json, options);
    let errors = issues.into_iter().filter(|it| it.severity >= Severity::Error);
    errors.map(|it| (it.expression, format!("[{}] {}", it.rule, it.text))).collect()
}

fn of_xml(validator: &Validator<'_>, xml: &[u8], options: &Options<'_>) -> Vec<(String, String)> {
    // The reference validator reads XML as an XML reader does, which knows five names.
    let html_entities = fhir_xml::HtmlEntities::Refuse;
    let limits = fhir_xml::Limits { html_entities, ..fhir_xml::Limits::default() };
    match fhir_xml::to_json(xml, Schema::r4(), &limits) {
        Ok(converted) => of_json(validator, &converted.json, options),
        Err(refused) => {
            let mut errors: Vec<_> = refused
                .issues
                .iter()
                .map(|it| (it.expression.clone(), it.problem.to_string()))
                .collect();
            if let Some(readable) = &refused.readable {
                errors.extend(of_json(validator, &readable.json, options));
            }
            errors
        }
    }
}
