//! Good examples that others published, each broken in one thing that R4 itself asks for: every
//! copy is found out, at the path of what was broken.
//!
//! What is broken follows from the definitions and the examples alone: of every element of every
//! type that some example has, the first one is broken in every way that its definition forbids.

mod published;
mod support;

use std::collections::{BTreeMap, BTreeSet};

use fhir_schema::structure::{ElementDefinition, StructureDefinition};
use fhir_schema::{DefinitionSet, Element, Kind, Node, Schema};
use fhir_validation::{Issue, Options};
use published::examples_of;
use serde_json::{Map, Value, json};
use support::r4;

const PACKAGES: [&str; 3] = [
    "packages/hl7.fhir.us.core-6.1.0.tgz",
    "packages/hl7.fhir.us.core-7.0.0.tgz",
    "packages/hl7.fhir.uv.ips-1.1.0.tgz",
];

/// A kind of rule that R4 has for the form of resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rule {
    /// What the type does not have stands in it.
    Unknown,
    /// A value has nothing in it.
    Empty,
    /// An object stands where a value must, or the other way round.
    WrongKind,
    /// A value does not have the form of its type.
    Format,
    /// An element that must be there is not.
    TooFew,
    /// An element that stands once at most stands twice.
    TooMany,
    /// What repeats stands without its array.
    NoArray,
    /// Two of a choice of types are there.
    SecondChoice,
    /// A code is not of the value set that it must be of.
    Binding,
    /// A reference leads to a type that it must not.
    Target,
}

/// All kinds, and how many copies the examples are good for at least.
const ALL: [(Rule, usize); 10] = [
    (Rule::Unknown, 330),
    (Rule::Empty, 518),
    (Rule::WrongKind, 540),
    (Rule::Format, 210),
    (Rule::TooFew, 81),
    (Rule::TooMany, 410),
    (Rule::NoArray, 130),
    (Rule::SecondChoice, 43),
    (Rule::Binding, 37),
    (Rule::Target, 69),
];

/// An element in an example.
struct Found<'s> {
    schema: &'s Schema,
    /// What it is an element of.
    node: Node,
    /// Its name in JSON, and what the schema says of it.
    key: &'s str,
    element: Element,
    /// As the resource's definition has it, where that goes so deep.
    definition: Option<&'s ElementDefinition>,
}

impl Found<'_> {
    /// What stands in place of the object around it, when this rule is broken there.
    fn broken(&self, rule: Rule, around: &Map<String, Value>) -> Option<Map<String, Value>> {
        let value = around.get(self.key)?;
        let mut copy = around.clone();
        let mut put = |value: Value| copy.insert(self.key.to_owned(), value);
        match rule {
            Rule::Unknown => {
                let mut first = first(value).as_object()?.clone();
                first.insert("notAnElement".into(), json!(true));
                put(first_replaced(value, first.into()));
            }
            Rule::Empty => {
                let empty = match first(value) {
                    Value::Object(_) => json!({}),
                    Value::String(_) => json!(""),
                    _ => return None,
                };
                put(first_replaced(value, empty));
            }
            Rule::WrongKind => {
                let is_object = first(value).is_object();
                let wrong = if is_object { json!("wrong") } else { json!({ "wrong": 1 }) };
                put(first_replaced(value, wrong));
            }
            Rule::Format => {
                put(first_replaced(value, ill_formed(self.schema.type_name(self.element))?));
            }
            Rule::TooFew => {
                // The types of what has no element left have rules of their own.
                if self.element.min == 0 || around.len() < 2 {
                    return None;
                }
                copy.remove(self.key);
                copy.remove(&format!("_{}", self.key));
            }
            Rule::TooMany => {
                if self.element.is_array {
                    return None;
                }
                put(json!([value.clone(), value]));
            }
            Rule::NoArray => {
                if !self.element.is_array {
                    return None;
                }
                put(first(value).clone());
            }
            Rule::SecondChoice => {
                let name = self.element.choice_name(self.key)?;
                let mut others = self.schema.choice(self.node, name);
                let (other, value) = others.find_map(|(key, element)| {
                    let value = well_formed(self.schema.type_name(element))?;
                    (key != self.key).then_some((key, value))
                })?;
                copy.insert(other.to_owned(), value);
            }
            Rule::Binding => {
                let binding = self.definition?.binding.as_ref()?;
                if &*binding.strength != "required" || !first(value).is_string() {
                    return None;
                }
                put(first_replaced(value, json!("no-such-code")));
            }
            Rule::Target => {
                let Kind::Reference(_) = self.element.kind else { return None };
                let targets = self.definition?.types.iter().flat_map(|it| &it.target_profiles);
                let mut types = targets.filter_map(|it| it.rsplit('/').next()).peekable();
                types.peek()?;
                if types.any(|it| it == "Resource" || it == "Basic") {
                    return None;
                }
                put(first_replaced(value, json!({ "reference": "Basic/1" })));
            }
        }
        Some(copy)
    }

    /// The places that may be named: that of the element, or of what it stands in.
    fn is_right(&self, rule: Rule, around: &str, issue: &str) -> bool {
        let name = self.element.choice_name(self.key).unwrap_or(self.key);
        let own = format!("{around}.{name}");
        let within = |path: &str| {
            let rest = issue.strip_prefix(path);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        match rule {
            Rule::TooFew => issue == around,
            // Which of the two is one too many nobody can say.
            Rule::SecondChoice => issue == around || within(&own),
            Rule::Unknown => within(&own) && issue.ends_with(".notAnElement"),
            _ => within(&own),
        }
    }
}

fn first(value: &Value) -> &Value {
    value.as_array().and_then(|items| items.first()).unwrap_or(value)
}

/// The value with its first item replaced.
fn first_replaced(value: &Value, by: Value) -> Value {
    match value.clone() {
        Value::Array(mut items) if !items.is_empty() => {
            items[0] = by;
            items.into()
        }
        _ => by,
    }
}

/// What no value of a type looks like.
fn ill_formed(type_name: &str) -> Option<Value> {
    Some(match type_name {
        "boolean" => json!("maybe"),
        "integer" => json!(1.5),
        "positiveInt" => json!(0),
        "unsignedInt" => json!(-1),
        "decimal" => json!("one"),
        "date" | "dateTime" => json!("2020-13-45"),
        "instant" => json!("2020-01-01"),
        "time" => json!("25:00:00"),
        "code" => json!(" two  blanks "),
        "id" => json!("under_score"),
        "oid" => json!("urn:oid:none"),
        "uuid" => json!("urn:uuid:none"),
        "base64Binary" => json!("=not base64"),
        "uri" | "url" | "canonical" => json!("has a blank"),
        "string" | "markdown" => json!(7),
        "xhtml" => json!("<p>"),
        _ => return None,
    })
}

/// A value of a type.
fn well_formed(type_name: &str) -> Option<Value> {
    Some(match type_name {
        "boolean" => json!(true),
        "integer" | "positiveInt" | "decimal" => json!(1),
        "dateTime" | "date" => json!("2020-01-01"),
        "string" | "code" => json!("a"),
        "Period" => json!({ "start": "2020-01-01" }),
        "CodeableConcept" => json!({ "text": "a" }),
        "Reference" => json!({ "display": "a" }),
        "Quantity" => json!({ "value": 1 }),
        _ => return None,
    })
}

/// The elements of an example that were not broken yet.
struct Walk<'w> {
    definition: &'w StructureDefinition,
    seen: &'w mut BTreeSet<(String, String)>,
    counts: &'w mut BTreeMap<Rule, usize>,
    missed: &'w mut Vec<String>,
    root: &'w Value,
}

impl Walk<'_> {
    /// Breaks everything in an object: of this node, at this JSON pointer and FHIRPath, and by
    /// this id in the resource's definition.
    fn object(&mut self, node: Node, pointer: &str, path: &str, id: Option<&str>) {
        let schema = Schema::r4();
        let Some(around) = self.root.pointer(pointer).and_then(Value::as_object) else { return };
        for key in around.keys() {
            let Some(element) = schema.element(node, key) else { continue };
            if key == "resourceType" || key.starts_with('_') {
                continue;
            }
            let (key, value) = (key.as_str(), &around[key]);
            let name = element.choice_name(key);
            let suffix = if name.is_some() { "[x]" } else { "" };
            let name = name.unwrap_or(key);
            let id = id.map(|id| format!("{id}.{name}{suffix}"));
            let definition = id.as_deref().and_then(|id| self.definition.element(id));
            let found = Found { schema, node, key, element, definition };
            let of = (schema.node_path(node).to_owned(), key.to_owned());
            if self.seen.insert(of) {
                for (rule, _) in ALL {
                    self.one(rule, &found, around, pointer, path);
                }
            }
            let Some(inner) = element.kind.node() else { continue };
            match value.as_array() {
                Some(items) => {
                    for at in 0..items.len() {
                        let pointer = format!("{pointer}/{key}/{at}");
                        let path = format!("{path}.{name}[{at}]");
                        self.object(inner, &pointer, &path, id.as_deref());
                    }
                }
                None => {
                    let pointer = format!("{pointer}/{key}");
                    self.object(inner, &pointer, &format!("{path}.{name}"), id.as_deref());
                }
            }
        }
    }

    fn one(
        &mut self,
        rule: Rule,
        found: &Found<'_>,
        around: &Map<String, Value>,
        pointer: &str,
        path: &str,
    ) {
        let Some(broken) = found.broken(rule, around) else { return };
        let mut copy = self.root.clone();
        *copy.pointer_mut(pointer).expect("what is broken is there") = broken.into();
        let issues = r4().validate_json(copy.to_string().as_bytes(), &Options::default());
        *self.counts.entry(rule).or_default() += 1;
        let mut errors = issues.iter().filter(|it| it.is_error());
        if !errors.any(|it| found.is_right(rule, path, &it.expression)) {
            let errors: Vec<String> =
                issues.iter().filter(|it| it.is_error()).map(ToString::to_string).collect();
            self.missed.push(format!("{rule:?} {path}.{}: {errors:?}", found.key));
        }
    }
}

#[test]
fn one_broken_copy_for_each_kind_of_rule_and_element_of_r4_is_found_at_its_path() {
    let Some(folder) = support::folder("HEARTHGATE_TEST_DATA") else { return };
    let (mut seen, mut counts, mut missed) = (BTreeSet::new(), BTreeMap::new(), Vec::new());
    for package in PACKAGES {
        for (name, json) in examples_of(&folder.join(package)).unwrap() {
            let root: Value = serde_json::from_slice(&json).unwrap();
            let type_name = root["resourceType"].as_str().unwrap();
            let issues = r4().validate_json(&json, &Options::default());
            // What is told of a Bundle's entries is told at their places in it.
            if type_name == "Bundle" || issues.iter().any(Issue::is_error) {
                continue;
            }
            let url = format!("http://hl7.org/fhir/StructureDefinition/{type_name}");
            let definition = DefinitionSet::r4().structure(&url).expect(&name);
            let node = Schema::r4().resource(type_name).expect(&name);
            let (seen, counts, missed) = (&mut seen, &mut counts, &mut missed);
            let mut walk = Walk { definition, seen, counts, missed, root: &root };
            walk.object(node, "", type_name, Some(type_name));
        }
    }
    report(&counts);
    for (rule, least) in ALL {
        let broken = counts.get(&rule).copied().unwrap_or_default();
        assert!(broken >= least, "{rule:?}: {broken} copies, and there were {least}");
    }
    assert!(missed.is_empty(), "{} missed\n{}", missed.len(), missed.join("\n"));
}

#[expect(clippy::print_stdout, reason = "the output of a test is what this is for")]
fn report(counts: &BTreeMap<Rule, usize>) {
    for (rule, broken) in counts {
        println!("{rule:?}: {broken}");
    }
}
