//! JSON to XML (FHIR R4, 2.6.1): elements in the order of the table, whatever the order in the
//! JSON was.

use std::borrow::Cow;
use std::io;

use fhir_core::json::{Kind as Json, Value};
use fhir_schema::{Element, Kind, Node, Schema};

use crate::error::{Found, XmlIssue, XmlProblem, beginning};
use crate::escape::text_to_attribute;
use crate::narrative;
use crate::path::{Step, expression};

/// White space between elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// None.
    Compact,
    /// A line for each element, two spaces a level (`_pretty`). Never within the narrative.
    Pretty,
}

/// Why XML was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The resource has what XML cannot say; never empty. Lines and columns are those of the
    /// JSON.
    #[error("the resource cannot be written as XML")]
    Content(Vec<XmlIssue>),
    /// The sink failed.
    #[error("the XML could not be written")]
    Sink(#[source] io::Error),
}

/// Writes a resource in FHIR's XML format.
///
/// # Errors
/// All that XML cannot say: unknown elements, values of the wrong kind, empty objects, forbidden
/// characters, a narrative that is no `div`.
pub fn to_xml(
    resource: Value<'_>,
    schema: &Schema,
    style: Style,
) -> Result<Vec<u8>, Vec<XmlIssue>> {
    let mut writer = Writer::new(schema, style, None);
    // Tags repeat the names, so that XML is longer than JSON.
    writer.out.reserve(resource.raw().len() * 2);
    match writer.document(resource) {
        Ok(()) => Ok(writer.out),
        Err(WriteError::Content(issues)) => Err(issues),
        Err(WriteError::Sink(_)) => unreachable!("there is no sink"),
    }
}

/// Writes a resource in FHIR's XML format piece by piece: what is held of it at a time does not
/// grow with its length.
///
/// # Errors
/// As [`to_xml`]; what was written until then is the beginning of a document.
pub fn write(
    resource: Value<'_>,
    schema: &Schema,
    style: Style,
    sink: &mut dyn io::Write,
) -> Result<(), WriteError> {
    Writer::new(schema, style, Some(sink)).document(resource)
}

/// Issues after which writing ends.
const MOST_ISSUES: usize = 100;

/// Bytes that are given to the sink at once.
const PIECE: usize = 64 << 10;

/// Levels that are indented: a text may have more, and would grow with their square.
const INDENTED: usize = 24;

/// A member of an object with its `_name`.
#[derive(Debug, Clone, Copy)]
struct Entry<'a, 's> {
    name: &'s str,
    element: Element,
    value: Option<Value<'a>>,
    beside: Option<Value<'a>>,
}

struct Writer<'a, 's, 'w> {
    schema: &'s Schema,
    style: Style,
    out: Vec<u8>,
    sink: Option<&'w mut dyn io::Write>,
    /// Members of the object whose entries are looked for; those that were found are gone.
    members: Vec<(Cow<'a, str>, Option<Value<'a>>)>,
    /// Of all objects that are being written, innermost last.
    entries: Vec<Entry<'a, 's>>,
    /// Elements that are open.
    level: usize,
    path: Vec<Step<'s>>,
    issues: Vec<XmlIssue>,
}

/// Ends writing.
enum Stop {
    /// There are too many issues.
    Issues,
    Sink(io::Error),
}

type Written = Result<(), Stop>;

impl<'a, 's, 'w> Writer<'a, 's, 'w> {
    fn new(schema: &'s Schema, style: Style, sink: Option<&'w mut dyn io::Write>) -> Self {
        Self {
            schema,
            style,
            out: Vec::new(),
            sink,
            members: Vec::new(),
            entries: Vec::new(),
            level: 0,
            path: Vec::new(),
            issues: Vec::new(),
        }
    }

    fn document(&mut self, resource: Value<'a>) -> Result<(), WriteError> {
        self.push("<?xml version=\"1.0\" encoding=\"UTF-8\"?>");
        let mut written = self.resource(resource);
        if self.style == Style::Pretty {
            self.push("\n");
        }
        if written.is_ok() && self.issues.is_empty() {
            written = self.flush();
        }
        match written {
            Err(Stop::Sink(error)) => Err(WriteError::Sink(error)),
            _ if self.issues.is_empty() => Ok(()),
            _ => Err(WriteError::Content(std::mem::take(&mut self.issues))),
        }
    }

    fn flush(&mut self) -> Written {
        if let Some(sink) = &mut self.sink {
            sink.write_all(&self.out).map_err(Stop::Sink)?;
            self.out.clear();
        }
        Ok(())
    }

    fn push(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    /// Notes an issue about a value.
    fn issue(&mut self, value: Value<'_>, problem: XmlProblem) -> Written {
        let (line, column) = value.position();
        let expression = expression(&self.path);
        self.issues.push(XmlIssue { problem, line, column, expression });
        if self.issues.len() < MOST_ISSUES { Ok(()) } else { Err(Stop::Issues) }
    }

    /// A line of its own for what follows.
    fn line(&mut self) {
        if self.style == Style::Pretty {
            self.out.push(b'\n');
            self.out.resize(self.out.len() + 2 * self.level.min(INDENTED), b' ');
        }
    }

    fn begin(&mut self, name: &str) {
        self.line();
        self.out.push(b'<');
        self.push(name);
    }

    /// Ends an element that has others in it.
    fn end(&mut self, name: &str) -> Written {
        self.line();
        self.push("</");
        self.push(name);
        self.out.push(b'>');
        if self.out.len() >= PIECE && self.issues.is_empty() {
            return self.flush();
        }
        Ok(())
    }

    /// The element of a resource.
    fn resource(&mut self, resource: Value<'a>) -> Written {
        if resource.kind() != Json::Object {
            return self.issue(resource, XmlProblem::UnexpectedJson("a resource as JSON object"));
        }
        let name = resource.get("resourceType");
        let Some(text) = name.and_then(|name| name.as_str()) else {
            return self.issue(resource, XmlProblem::UnexpectedJson("a resourceType"));
        };
        let Some(node) = self.schema.resource(&text) else {
            let problem = XmlProblem::UnknownResource(beginning(&text));
            return self.issue(name.unwrap_or(resource), problem);
        };
        let name = self.schema.node_path(node);
        let is_root = self.path.is_empty();
        if is_root {
            self.path.push(Step { name, index: None });
        }
        self.begin(name);
        if is_root {
            self.push(" xmlns=\"http://hl7.org/fhir\"");
        }
        let first = self.entries.len();
        self.find_entries(node, resource, Some("resourceType"))?;
        self.content(name, first)?;
        if is_root {
            self.path.pop();
        }
        Ok(())
    }

    /// Puts the members of an object in order, at the end of `entries`.
    fn find_entries(&mut self, node: Node, object: Value<'a>, beside: Option<&str>) -> Written {
        self.members.clear();
        let members = object.members().map(|(name, value)| (name, Some(value)));
        self.members.extend(members.filter(|(name, _)| Some(&**name) != beside));
        let mut left = self.members.len();
        let has_siblings = self.members.iter().any(|(name, _)| name.starts_with('_'));
        // Most JSON has the order of the definitions.
        let mut next = 0;
        for (name, element) in self.schema.elements(node) {
            if left == 0 {
                break;
            }
            let mut take = |is_it: &dyn Fn(&str) -> bool| {
                let is_it = |member: &(Cow<'_, str>, _)| is_it(&member.0);
                let at = match self.members.get(next) {
                    Some(member) if is_it(member) => next,
                    _ => self.members.iter().position(is_it)?,
                };
                next = at + 1;
                left -= 1;
                self.members[at].1.take()
            };
            let value = take(&|it| it == name);
            let beside = match has_siblings {
                true => take(&|it| it.strip_prefix('_') == Some(name)),
                false => None,
            };
            if let Some(beside) = beside
                && self.schema.element(node, &format!("_{name}")).is_none()
            {
                self.beside_nothing(node, beside, name, element)?;
            }
            if value.is_some() || beside.is_some() {
                self.entries.push(Entry { name, element, value, beside });
            }
        }
        if left == 0 {
            return Ok(());
        }
        let members = std::mem::take(&mut self.members);
        for (name, value) in &members {
            if let Some(value) = value {
                let parent = self.schema.node_path(node).to_owned();
                let problem = XmlProblem::UnknownElement { name: beginning(name), parent };
                self.issue(*value, problem)?;
            }
        }
        Ok(())
    }

    /// `_name` of what has no id and extensions beside it.
    fn beside_nothing(
        &mut self,
        node: Node,
        beside: Value<'a>,
        name: &'s str,
        element: Element,
    ) -> Written {
        if element.kind.node().is_some() || element.kind == Kind::Resource {
            let (name, parent) = (format!("_{name}"), self.schema.node_path(node).to_owned());
            return self.issue(beside, XmlProblem::UnknownElement { name, parent });
        }
        self.path.push(Step { name, index: None });
        self.issue(beside, XmlProblem::ValueAlone)?;
        self.path.pop();
        Ok(())
    }

    /// What follows the name in a start tag, up to the end of the element: the entries from
    /// `first` on, which are taken away.
    fn content(&mut self, name: &str, first: usize) -> Written {
        let end = self.entries.len();
        let mut has_elements = false;
        for at in first..end {
            let entry = self.entries[at];
            if entry.element.is_attribute {
                self.attribute(entry)?;
            } else {
                has_elements = true;
            }
        }
        if !has_elements {
            self.push("/>");
            self.entries.truncate(first);
            return Ok(());
        }
        self.out.push(b'>');
        self.level += 1;
        for at in first..end {
            let entry = self.entries[at];
            if !entry.element.is_attribute {
                self.entry(entry)?;
            }
        }
        self.level -= 1;
        self.entries.truncate(first);
        self.end(name)
    }

    /// `id` or `url`.
    fn attribute(&mut self, entry: Entry<'a, 's>) -> Written {
        let Some(value) = entry.value else { return Ok(()) };
        self.path.push(Step { name: entry.name, index: None });
        match value.as_str() {
            Some(text) if text.is_empty() => {
                let name = if entry.name == "id" { "id" } else { "url" };
                self.issue(value, XmlProblem::EmptyAttribute(name))?;
            }
            Some(text) => self.quoted(entry.name, &text, value)?,
            None => self.issue(value, XmlProblem::UnexpectedJson("a JSON string"))?,
        }
        self.path.pop();
        Ok(())
    }

    /// ` name="text"`
    fn quoted(&mut self, name: &str, text: &str, value: Value<'a>) -> Written {
        self.out.push(b' ');
        self.push(name);
        self.push("=\"");
        let written = text_to_attribute(text, &mut self.out);
        self.out.push(b'"');
        match written {
            Ok(()) => Ok(()),
            Err(character) => self.issue(value, XmlProblem::ForbiddenCharacter(character)),
        }
    }

    /// All elements of a member.
    fn entry(&mut self, entry: Entry<'a, 's>) -> Written {
        if entry.element.is_array {
            self.array(entry)
        } else {
            self.path.push(Step { name: entry.name, index: None });
            let written = self.item(entry);
            self.path.pop();
            written
        }
    }

    fn array(&mut self, entry: Entry<'a, 's>) -> Written {
        for value in [entry.value, entry.beside].into_iter().flatten() {
            let problem = match value.kind() {
                Json::Array if value.items().next().is_some() => continue,
                Json::Array => XmlProblem::EmptyElement,
                _ => XmlProblem::UnexpectedJson("a JSON array"),
            };
            self.path.push(Step { name: entry.name, index: None });
            self.issue(value, problem)?;
            self.path.pop();
            return Ok(());
        }
        let mut values = entry.value.map(|value| value.items());
        let mut besides = entry.beside.map(|value| value.items());
        for index in 0.. {
            let value = values.as_mut().and_then(Iterator::next);
            let beside = besides.as_mut().and_then(Iterator::next);
            if value.is_none() && beside.is_none() {
                break;
            }
            self.path.push(Step { name: entry.name, index: Some(index) });
            self.item(Entry { value, beside, ..entry })?;
            self.path.pop();
        }
        Ok(())
    }

    /// One element.
    fn item(&mut self, entry: Entry<'a, 's>) -> Written {
        let kind = entry.element.kind;
        let content = match kind {
            Kind::Uri | Kind::Url | Kind::Oid | Kind::Uuid | Kind::Canonical | Kind::Primitive => {
                return self.primitive(entry);
            }
            Kind::Xhtml | Kind::Resource => None,
            Kind::Complex(node) | Kind::Reference(node) | Kind::Identifier(node) => Some(node),
        };
        let Some(value) = entry.value else { return Ok(()) };
        match (kind, content) {
            (Kind::Xhtml, _) => self.div(value),
            (_, Some(node)) => {
                if value.kind() != Json::Object {
                    return self.issue(value, XmlProblem::UnexpectedJson("a JSON object"));
                }
                self.begin(entry.name);
                let first = self.entries.len();
                self.find_entries(node, value, None)?;
                let entries = &self.entries[first..];
                if entries.iter().all(|it| it.element.is_attribute && it.name == "id") {
                    self.issue(value, XmlProblem::EmptyElement)?;
                }
                self.content(entry.name, first)
            }
            _ => {
                self.begin(entry.name);
                self.out.push(b'>');
                self.level += 1;
                self.resource(value)?;
                self.level -= 1;
                self.end(entry.name)
            }
        }
    }

    fn div(&mut self, value: Value<'a>) -> Written {
        let Some(text) = value.as_str() else {
            return self.issue(value, XmlProblem::UnexpectedJson("a JSON string"));
        };
        self.line();
        match narrative::from_string(&text) {
            Ok(div) => {
                div.pieces(|piece| self.out.extend_from_slice(piece.as_bytes()));
                Ok(())
            }
            Err(Found { problem, .. }) => self.issue(value, problem),
        }
    }

    fn primitive(&mut self, entry: Entry<'a, 's>) -> Written {
        let not_null = |value: &Value<'_>| value.kind() != Json::Null;
        let value = entry.value.filter(not_null);
        let beside = entry.beside.filter(not_null);
        if let Some(beside) = beside
            && beside.kind() != Json::Object
        {
            return self.issue(beside, XmlProblem::UnexpectedJson("a JSON object"));
        }
        self.begin(entry.name);
        let first = self.entries.len();
        if let (Some(beside), Some(node)) = (beside, self.schema.datatype("Element")) {
            self.find_entries(node, beside, None)?;
        }
        let id = self.entries[first..].iter().position(|it| it.element.is_attribute);
        if let Some(id) = id {
            let id = self.entries.remove(first + id);
            self.attribute(id)?;
        }
        match (value, entry.value.or(beside)) {
            (Some(value), _) => self.value(value, entry.element)?,
            (None, Some(at)) if self.entries.len() == first => {
                self.issue(at, XmlProblem::EmptyElement)?;
            }
            (None, _) => {}
        }
        self.content(entry.name, first)
    }

    /// ` value="…"`
    fn value(&mut self, value: Value<'a>, element: Element) -> Written {
        let type_name = self.schema.type_name(element);
        let expected = match type_name {
            "boolean" => (Json::Boolean, "a JSON boolean"),
            "integer" | "positiveInt" | "unsignedInt" | "decimal" => {
                (Json::Number, "a JSON number")
            }
            _ => (Json::String, "a JSON string"),
        };
        if value.kind() != expected.0 {
            return self.issue(value, XmlProblem::UnexpectedJson(expected.1));
        }
        let Some(text) = value.as_str() else {
            self.push(" value=\"");
            self.push(value.raw());
            self.out.push(b'"');
            return Ok(());
        };
        if text.is_empty() {
            return self.issue(value, XmlProblem::EmptyAttribute("value"));
        }
        if type_name == "base64Binary" && text.bytes().any(|it| it.is_ascii_whitespace()) {
            let text: String = text.split_ascii_whitespace().collect();
            if text.is_empty() {
                return self.issue(value, XmlProblem::EmptyAttribute("value"));
            }
            return self.quoted("value", &text, value);
        }
        self.quoted("value", &text, value)
    }
}
