//! The official FHIRPath suite for R4: read, run, and compared with the list of what is known to
//! differ. Shared by this crate's tests and by `cargo xtask conformance fhirpath`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use fhir_core::json::Document;
use fhir_schema::Schema;
use fhirpath::{
    Context, DateTime, Expression, FhirValue, Host, Item, Options, OrderCheck, Strictness,
    Unavailable,
};
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

/// Tests that differ, each with its reason: `name: reason`.
const KNOWN: &str = include_str!("known_disagreements.txt");

/// One test of the suite.
#[derive(Debug, Default)]
pub(crate) struct Case {
    /// Its name, which need not be unique.
    pub(crate) name: String,
    /// What is evaluated.
    pub(crate) expression: String,
    input: Option<String>,
    is_predicate: bool,
    has_order_check: bool,
    /// Whether it must fail: `syntax`, `semantic` or `execution`.
    invalid: Option<String>,
    /// Type, if given, and text.
    outputs: Vec<(Option<String>, String)>,
    is_ordered: bool,
}

/// What came of a run.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// How many tests there are.
    pub(crate) total: usize,
    /// Name and what differed.
    pub(crate) disagreements: Vec<(String, String)>,
}

impl Outcome {
    /// Disagreements that the list does not have, and entries of the list that agree by now.
    pub(crate) fn surprises(&self) -> Vec<String> {
        let known = known();
        let mut surprises = Vec::new();
        for (name, what) in &self.disagreements {
            if !known.contains_key(&**name) {
                surprises.push(format!("{name}: {what}"));
            }
        }
        for name in known.keys() {
            if !self.disagreements.iter().any(|(other, _)| other == name) {
                surprises.push(format!("{name} agrees by now: take it off the list"));
            }
        }
        surprises
    }
}

/// The list, by name.
pub(crate) fn known() -> BTreeMap<&'static str, &'static str> {
    let lines = KNOWN.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.filter_map(|line| line.split_once(": ")).collect()
}

/// Runs the suite in `folder`.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn run(folder: &Path) -> Result<Outcome, String> {
    let suite = folder.join("tests-fhir-r4.xml");
    let text = fs::read_to_string(&suite).map_err(|error| format!("{suite:?}: {error}"))?;
    let cases = read(&text)?;
    let mut inputs: BTreeMap<String, String> = BTreeMap::new();
    for case in &cases {
        if let Some(name) = &case.input
            && !inputs.contains_key(name)
        {
            inputs.insert(name.clone(), input(&folder.join("input").join(name))?);
        }
    }
    let mut outcome = Outcome { total: cases.len(), disagreements: Vec::new() };
    for case in &cases {
        // Tests without an input ask nothing of it.
        let empty = r#"{"resourceType":"Basic"}"#.to_owned();
        let input = case.input.as_ref().map_or(&empty, |name| &inputs[name]);
        if let Err(what) = check(case, input) {
            outcome.disagreements.push((case.name.clone(), what));
        }
    }
    Ok(outcome)
}

/// An input as JSON.
fn input(path: &Path) -> Result<String, String> {
    let bytes = fs::read(path).map_err(|error| format!("{path:?}: {error}"))?;
    if path.extension().is_some_and(|it| it == "xml") {
        let converted = match fhir_xml::to_json(&bytes, Schema::r4(), &fhir_xml::Limits::default())
        {
            Ok(converted) => converted,
            // One input has an extension in the wrong place, and is read all the same.
            Err(refused) => {
                let what = format!("{path:?}: {refused}");
                refused.readable.ok_or(what)?
            }
        };
        return String::from_utf8(converted.json).map_err(|error| format!("{path:?}: {error}"));
    }
    String::from_utf8(bytes).map_err(|error| format!("{path:?}: {error}"))
}

/// Knows the time, and of profiles only the base types.
struct SuiteHost;

impl<'a> Host<'a> for SuiteHost {
    fn now(&self) -> Option<DateTime> {
        DateTime::parse("2024-05-06T07:08:09.123+02:00")
    }

    fn conforms_to(
        &self,
        value: &FhirValue<'a>,
        profile: &str,
    ) -> Result<Option<bool>, Unavailable> {
        let schema = Schema::r4();
        let name = profile
            .strip_prefix("http://hl7.org/fhir/StructureDefinition/")
            .filter(|name| schema.type_kind(name).is_some())
            .ok_or("no such profile")?;
        Ok(Some(schema.is_subtype(value.type_name(schema), name)))
    }
}

fn check(case: &Case, input: &str) -> Result<(), String> {
    let schema = Schema::r4();
    let document = Document::parse(input.as_bytes()).map_err(|error| error.to_string())?;
    let resource = FhirValue::resource(schema, document.root());
    let options = Options {
        strictness: Strictness::Strict,
        order_check: if case.has_order_check { OrderCheck::On } else { OrderCheck::Off },
    };
    let type_name = resource.type_name(schema);
    let expression = match Expression::compile(&case.expression, schema, type_name, options) {
        Ok(expression) => expression,
        Err(_) if case.invalid.is_some() => return Ok(()),
        Err(error) => return Err(error.to_string()),
    };
    if matches!(case.invalid.as_deref(), Some("syntax" | "semantic")) {
        return Err(format!("was compiled; {:?} was expected", case.invalid));
    }
    let host = SuiteHost;
    let context = Context::new(schema).with_host(&host);
    let focus = Item::Fhir(resource);
    let found = match expression.evaluate(&context, &focus) {
        Ok(_) if case.invalid.is_some() => return Err("was evaluated without an error".to_owned()),
        Ok(found) => found,
        Err(_) if case.invalid.is_some() => return Ok(()),
        Err(error) => return Err(error.to_string()),
    };
    let mut found: Vec<(String, String)> =
        found.iter().map(|item| described(schema, item)).collect();
    if case.is_predicate {
        let truth = !found.is_empty() && found[0].1 != "false";
        found = vec![("boolean".to_owned(), truth.to_string())];
    }
    let mut wanted: Vec<(Option<String>, String)> = case.outputs.clone();
    if !case.is_ordered {
        found.sort_by(|left, right| left.1.cmp(&right.1));
        wanted.sort_by(|left, right| left.1.cmp(&right.1));
    }
    let agrees = found.len() == wanted.len()
        && found.iter().zip(&wanted).all(|((found_type, found), (wanted_type, wanted))| {
            found == wanted && wanted_type.as_ref().is_none_or(|it| it == found_type)
        });
    if agrees { Ok(()) } else { Err(format!("{wanted:?} was expected, {found:?} was found")) }
}

/// Type and text, in the suite's spelling.
fn described(schema: &Schema, item: &Item<'_>) -> (String, String) {
    let type_name = item.type_name(schema);
    let type_name = match type_name.strip_prefix("System.") {
        Some("Quantity") => "Quantity".to_owned(),
        Some("DateTime") => "dateTime".to_owned(),
        Some(name) => name.to_ascii_lowercase(),
        None => type_name,
    };
    let text = item.to_text(schema).unwrap_or_default();
    let is_moment = matches!(type_name.as_str(), "date" | "dateTime" | "time");
    let prefix = match type_name.as_str() {
        "time" => "@T",
        _ if is_moment => "@",
        _ => "",
    };
    (type_name, format!("{prefix}{text}"))
}

/// The suite's own XML.
fn read(text: &str) -> Result<Vec<Case>, String> {
    let mut reader = Reader::from_str(text);
    let mut cases: Vec<Case> = Vec::new();
    // What the text within the element that is open is for.
    let mut content: Option<String> = None;
    loop {
        match reader.read_event().map_err(|error| error.to_string())? {
            Event::Start(element) => {
                begin(&element, &mut cases)?;
                let is_text = matches!(element.name().as_ref(), "expression" | "output");
                content = is_text.then(String::new);
            }
            Event::Empty(element) => begin(&element, &mut cases)?,
            Event::Text(text) => {
                if let Some(content) = &mut content {
                    content.push_str(&text);
                }
            }
            Event::GeneralRef(reference) => {
                if let Some(content) = &mut content {
                    content.push(entity(&reference)?);
                }
            }
            Event::End(element) => {
                let Some(text) = content.take() else {
                    continue;
                };
                let Some(case) = cases.last_mut() else {
                    continue;
                };
                match element.name().as_ref() {
                    "expression" => case.expression = text,
                    "output" => {
                        if let Some(output) = case.outputs.last_mut() {
                            output.1 = text;
                        }
                    }
                    _ => {}
                }
            }
            Event::Eof => return Ok(cases),
            _ => {}
        }
    }
}

fn begin(element: &BytesStart<'_>, cases: &mut Vec<Case>) -> Result<(), String> {
    let attribute = |name: &str| -> Result<Option<String>, String> {
        let found = element.try_get_attribute(name).map_err(|error| error.to_string())?;
        Ok(found.map(|it| it.value.into_owned()))
    };
    match element.name().as_ref() {
        "test" => cases.push(Case {
            name: attribute("name")?.unwrap_or_default(),
            input: attribute("inputfile")?,
            is_predicate: attribute("predicate")?.as_deref() == Some("true"),
            has_order_check: attribute("checkOrderedFunctions")?.as_deref() == Some("true"),
            is_ordered: attribute("ordered")?.as_deref() != Some("false"),
            ..Case::default()
        }),
        "expression" => {
            if let Some(case) = cases.last_mut() {
                case.invalid = attribute("invalid")?;
            }
        }
        "output" => {
            if let Some(case) = cases.last_mut() {
                case.outputs.push((attribute("type")?, String::new()));
            }
        }
        _ => {}
    }
    Ok(())
}

fn entity(name: &str) -> Result<char, String> {
    let code =
        |digits: &str, radix| u32::from_str_radix(digits, radix).ok().and_then(char::from_u32);
    match name {
        "lt" => Some('<'),
        "gt" => Some('>'),
        "amp" => Some('&'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => match name.strip_prefix("#x") {
            Some(digits) => code(digits, 16),
            None => name.strip_prefix('#').and_then(|digits| code(digits, 10)),
        },
    }
    .ok_or_else(|| format!("&{name}; is not known"))
}
