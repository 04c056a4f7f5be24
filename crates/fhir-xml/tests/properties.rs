//! Generated resources come back as they were, and any bytes are read or refused.

#![allow(clippy::unwrap_used, reason = "a test may fail at once")]

mod round_trip;
mod support;

use fhir_core::json::Document;
use fhir_schema::{Element, Kind, Node, Schema};
use fhir_xml::{Limits, Style, to_json, to_xml};
use proptest::prelude::*;

/// Makes a resource out of numbers: each decides one thing, and when there are no more, nothing
/// more is added.
struct Maker<'a> {
    choices: std::slice::Iter<'a, u16>,
    json: String,
}

impl Maker<'_> {
    fn choose(&mut self, of: usize) -> usize {
        self.choices.next().map_or(0, |choice| usize::from(*choice) % of)
    }

    fn resource(&mut self, depth: usize) {
        const TYPES: [&str; 6] =
            ["Patient", "Observation", "Bundle", "Parameters", "Questionnaire", "Binary"];
        let name = TYPES[self.choose(TYPES.len())];
        self.json.push_str(&format!("{{\"resourceType\":\"{name}\""));
        self.members(Schema::r4().resource(name).unwrap(), depth);
        self.json.push('}');
    }

    /// Some members of an object, each after a comma.
    fn members(&mut self, node: Node, depth: usize) {
        let schema = Schema::r4();
        for (name, element) in schema.elements(node) {
            // Few of the fifty alternatives of an extension's value.
            let rarity = if element.is_choice { 40 } else { 6 };
            if self.choose(rarity) == 1 && depth < 8 {
                self.member(node, name, element, depth);
            }
        }
    }

    fn member(&mut self, node: Node, name: &str, element: Element, depth: usize) {
        let is_primitive =
            !matches!(element.kind, Kind::Xhtml | Kind::Resource) && element.kind.node().is_none();
        let has_sibling = Schema::r4().element(node, &format!("_{name}")).is_some();
        let count = if element.is_array { 1 + self.choose(3) } else { 1 };
        // What each has: a value, something beside it, or both.
        let forms: Vec<usize> =
            (0..count).map(|_| if has_sibling { self.choose(4) } else { 0 }).collect();
        let has_value = |form: &usize| *form != 3;
        let has_beside = |form: &usize| *form >= 2;
        if !is_primitive || forms.iter().any(has_value) {
            self.json.push_str(&format!(",\"{name}\":"));
            self.items(&element, &forms, |maker, form| match form {
                3 => maker.json.push_str("null"),
                _ => maker.value(element, depth),
            });
        }
        if forms.iter().any(has_beside) {
            self.json.push_str(&format!(",\"_{name}\":"));
            self.items(&element, &forms, |maker, form| match form {
                0 | 1 => maker.json.push_str("null"),
                _ => {
                    let text = maker.text();
                    maker.json.push_str(&format!(
                        "{{\"id\":\"i\",\"extension\":[{{\"url\":\"urn:x\",\"valueString\":{text}}}]}}"
                    ));
                }
            });
        }
    }

    fn items(
        &mut self,
        element: &Element,
        forms: &[usize],
        mut item: impl FnMut(&mut Self, usize),
    ) {
        if !element.is_array {
            return item(self, forms[0]);
        }
        self.json.push('[');
        for (at, form) in forms.iter().enumerate() {
            if at > 0 {
                self.json.push(',');
            }
            item(self, *form);
        }
        self.json.push(']');
    }

    fn value(&mut self, element: Element, depth: usize) {
        let schema = Schema::r4();
        match (element.kind, schema.type_name(element)) {
            (Kind::Resource, _) => self.resource(depth + 1),
            (Kind::Xhtml, _) => {
                const DIVS: [&str; 3] = ["<p>a &amp; b</p>", "", "\\n <!-- c --><br/>\\u00e9"];
                let inner = DIVS[self.choose(DIVS.len())];
                self.json.push_str(&format!(
                    "\"<div xmlns=\\\"http://www.w3.org/1999/xhtml\\\">{inner}</div>\""
                ));
            }
            (kind, _) if kind.node().is_some() => {
                // An element without elements cannot be said.
                self.json.push_str("{\"extension\":[{\"url\":\"urn:y\",\"valueCode\":\"c\"}]");
                let before = self.json.len();
                self.members(kind.node().unwrap(), depth + 1);
                let members = self.json.split_off(before);
                if members.contains("\"extension\"") || members.contains("\"url\"") {
                    self.json
                        .truncate(self.json.rfind("{\"extension\":[{\"url\":\"urn:y\"").unwrap());
                    self.json.push('{');
                    self.json.push_str(members.trim_start_matches(','));
                } else {
                    self.json.push_str(&members);
                }
                self.json.push('}');
            }
            (_, "boolean") => self.json.push_str("true"),
            (_, "integer" | "positiveInt" | "unsignedInt") => {
                let number = self.choose(60_000);
                self.json.push_str(&number.to_string());
            }
            (_, "decimal") => {
                const DECIMALS: [&str; 5] = ["1.00", "-0.0010", "1e3", "1.2E-7", "0"];
                let decimal = DECIMALS[self.choose(DECIMALS.len())];
                self.json.push_str(decimal);
            }
            (_, "base64Binary") => self.json.push_str("\"QUJD\""),
            _ => {
                let text = self.text();
                self.json.push_str(&text);
            }
        }
    }

    /// A JSON string.
    fn text(&mut self) -> String {
        const TEXTS: [&str; 6] =
            ["a", " \\n\\t\\r ", "<&>\\\"'", "\\ud83d\\ude00é\\\\", "\\u00a0\\u0085", "]]>{[,"];
        format!("\"{}\"", TEXTS[self.choose(TEXTS.len())])
    }
}

proptest! {
    #[test]
    fn generated_resources_come_back_as_they_were(
        choices in proptest::collection::vec(any::<u16>(), 0..3000)
    ) {
        // XML-038
        let mut maker = Maker { choices: choices.iter(), json: String::new() };
        maker.resource(0);
        let json = maker.json;
        for style in [Style::Compact, Style::Pretty] {
            let trip = round_trip::there_and_back(json.as_bytes(), style);
            prop_assert!(trip.is_ok(), "{trip:?}: {json}");
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in any::<Vec<u8>>()) {
        prop_assert!(to_json(&bytes, Schema::r4(), &Limits::default()).is_err());
    }

    #[test]
    fn any_narrative_in_json_is_written_or_refused(
        pieces in proptest::collection::vec(0..NARRATIVES.len(), 0..8)
    ) {
        let div: String = pieces.iter().map(|piece| NARRATIVES[*piece]).collect();
        let json = format!(
            "{{\"resourceType\":\"Patient\",\"text\":{{\"status\":\"generated\",\"div\":\"{div}\"}}}}"
        );
        let document = Document::parse(json.as_bytes()).unwrap();
        if let Ok(xml) = to_xml(document.root(), Schema::r4(), Style::Compact) {
            prop_assert!(to_json(&xml, Schema::r4(), &Limits::default()).is_ok(), "{div}");
        }
    }

    #[test]
    fn pieces_of_xml_in_any_order_are_read_or_refused(
        pieces in proptest::collection::vec(0..PIECES.len(), 0..30)
    ) {
        let xml: String = pieces.iter().map(|piece| PIECES[*piece]).collect();
        let xml = format!("<Patient xmlns=\"http://hl7.org/fhir\">{xml}</Patient>");
        match to_json(xml.as_bytes(), Schema::r4(), &Limits::default()) {
            Ok(converted) => {
                let trip = round_trip::there_and_back(&converted.json, Style::Compact);
                prop_assert!(trip.is_ok(), "{trip:?}: {xml}");
            }
            Err(refused) => {
                prop_assert!(!refused.issues.is_empty());
                if let Some(readable) = refused.readable {
                    prop_assert!(Document::parse(&readable.json).is_ok(), "{xml}");
                }
            }
        }
    }
}

const NARRATIVES: [&str; 10] =
    ["\u{feff}", "\u{e9}", " ", "<div>", "<div/>", "</div>", "<p>", "</p>", "&nbsp;", "<!-- c -->"];

const PIECES: [&str; 20] = [
    "<name>",
    "</name>",
    "<name id='n'>",
    "<given value='a'/>",
    "<given value='b' id='g'>",
    "<given>",
    "</given>",
    "<extension url='urn:x'>",
    "<valueCode value='c'/>",
    "</extension>",
    "<active value='true'/>",
    "<contained><Basic/></contained>",
    "<contained>",
    "</contained>",
    "<text><status value='empty'/><div xmlns='http://www.w3.org/1999/xhtml'>&nbsp;</div></text>",
    "<!-- c -->",
    "<?pi?>",
    "<![CDATA[a]]>",
    "&amp;",
    " ",
];
