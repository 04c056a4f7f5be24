//! A resource of a type in which every element stands, to try an expression on: made from the
//! definitions alone, so that trying tells nothing of what is stored.

use fhir_schema::{Kind, Node, Schema};

/// Elements within each other.
const DEPTH: usize = 5;
/// Elements in all, about.
const MOST: usize = 2500;

/// How a sample is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// Items of each list.
    pub(super) items: usize,
    /// Which type of a choice: its place, from the first on again where there are fewer.
    pub(super) choice: usize,
    /// What stands in its `meta`.
    pub(super) meta: Meta,
}

/// What stands in the `meta` of a sample.
#[derive(Debug, Clone, Copy)]
pub(super) enum Meta {
    /// Every element.
    Whole,
    /// Every element but those that say which version it is.
    OfNoVersion,
    /// Those alone.
    OfVersionAlone,
    /// None.
    Empty,
}

/// The elements of `meta` that the server gives when a version is written.
pub(super) const OF_VERSION: [&str; 2] = ["versionId", "lastUpdated"];

impl Meta {
    fn has(self, name: &str) -> bool {
        match self {
            Self::Whole => true,
            Self::OfNoVersion => !OF_VERSION.contains(&name),
            Self::OfVersionAlone => OF_VERSION.contains(&name),
            Self::Empty => false,
        }
    }
}

/// A resource of the type as JSON.
pub(super) fn sample(schema: &Schema, resource_type: &str, shape: Shape) -> Vec<u8> {
    let mut writer = Writer { schema, shape, json: String::new(), left: MOST, is_in_meta: false };
    writer.json.push_str(&format!("{{\"resourceType\":\"{resource_type}\""));
    if let Some(node) = schema.resource(resource_type) {
        writer.members(node, DEPTH, false);
    }
    writer.json.push('}');
    writer.json.into_bytes()
}

struct Writer<'s> {
    schema: &'s Schema,
    shape: Shape,
    json: String,
    left: usize,
    /// Whether it is at the `meta` of the resource itself.
    is_in_meta: bool,
}

impl Writer<'_> {
    /// The members of an object, whose brace stands already.
    fn members(&mut self, node: Node, depth: usize, mut is_first: bool) {
        let schema = self.schema;
        let is_meta = std::mem::take(&mut self.is_in_meta);
        let mut choices: Vec<(&str, Vec<&str>)> = Vec::new();
        for (name, element) in schema.elements(node) {
            if let Some(choice) = element.choice_name(name) {
                match choices.last_mut() {
                    Some((last, names)) if *last == choice => names.push(name),
                    _ => choices.push((choice, vec![name])),
                }
            }
        }
        for (name, element) in schema.elements(node) {
            let is_left_out =
                matches!(name, "modifierExtension" | "contained" | "div" | "resourceType")
                    || (name == "extension" && depth < DEPTH)
                    || (element.kind.node().is_some() && depth == 0)
                    || self.left == 0;
            if is_left_out {
                continue;
            }
            if let Some(choice) = element.choice_name(name) {
                let names = choices.iter().find(|(it, _)| *it == choice).map(|(_, names)| names);
                let taken = names.and_then(|it| it.get(self.shape.choice % it.len()));
                if taken != Some(&name) {
                    continue;
                }
            }
            if is_meta && !self.shape.meta.has(name) {
                // All else stays as it is.
                self.left = self.left.saturating_sub(1);
                continue;
            }
            if !std::mem::take(&mut is_first) {
                self.json.push(',');
            }
            self.json.push_str(&format!("\"{name}\":"));
            let type_name = schema.type_name(element);
            if element.is_array {
                self.json.push('[');
                for item in 0..self.shape.items {
                    if item > 0 {
                        self.json.push(',');
                    }
                    self.value((element.kind, type_name), depth);
                }
                self.json.push(']');
            } else {
                self.value((element.kind, type_name), depth);
            }
        }
    }

    fn value(&mut self, (kind, type_name): (Kind, &str), depth: usize) {
        self.left = self.left.saturating_sub(1);
        match kind {
            Kind::Reference(_) => {
                self.json.push_str(
                    "{\"reference\":\"Patient/sample\",\"identifier\":{\"system\":\"urn:sample\",\
                     \"value\":\"sample\"},\"display\":\"sample\"}",
                );
            }
            Kind::Resource => self.json.push_str("{\"resourceType\":\"Basic\",\"id\":\"sample\"}"),
            _ => match kind.node() {
                Some(_) if type_name == "Extension" => self
                    .json
                    .push_str("{\"url\":\"http://example.org/sample\",\"valueString\":\"sample\"}"),
                Some(node) => {
                    self.json.push('{');
                    self.is_in_meta = type_name == "Meta" && depth == DEPTH;
                    self.members(node, depth.saturating_sub(1), true);
                    self.json.push('}');
                }
                None => self.json.push_str(primitive(type_name)),
            },
        }
    }
}

fn primitive(type_name: &str) -> &'static str {
    match type_name {
        "boolean" => "true",
        "integer" | "positiveInt" | "unsignedInt" => "1",
        "decimal" => "1.5",
        "date" => "\"2020-01-02\"",
        "dateTime" | "instant" => "\"2020-01-02T03:04:05Z\"",
        "time" => "\"03:04:05\"",
        "base64Binary" => "\"AAAA\"",
        "uri" | "url" | "canonical" => "\"http://example.org/sample\"",
        "oid" => "\"urn:oid:1.2.3\"",
        "uuid" => "\"urn:uuid:5a3c8b6e-7a5e-4c53-9d6e-0c3a1a2b3c4d\"",
        "xhtml" => "\"<div xmlns=\\\"http://www.w3.org/1999/xhtml\\\">sample</div>\"",
        _ => "\"sample\"",
    }
}
