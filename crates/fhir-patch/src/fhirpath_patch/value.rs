//! What a part of a patch says an element becomes, checked against the element's definition.

use fhir_core::json::{Kind as JsonKind, Value};
use fhir_schema::{Element, Kind, Node as SchemaNode, Schema, TypeKind};

use super::elements::{self, Content};
use crate::error::PatchProblem;
use crate::tree::Node;

/// The type that a part's value has by its name (`HumanName` of `valueHumanName`), and the value
/// with what stands beside it.
struct Typed<'a> {
    type_name: String,
    content: Content<'a>,
}

/// The JSON name and definition of the element `name` in a node; of a choice of types, the one
/// that the value's type makes it.
pub(super) fn named(
    schema: &Schema,
    node: SchemaNode,
    name: &str,
    part: Value<'_>,
) -> Result<(String, Element), PatchProblem> {
    let known = schema.element(node, name).filter(|_| !name.starts_with('_'));
    if let Some(element) = known {
        return Ok((name.to_owned(), element));
    }
    let mut choice = schema.choice(node, name).peekable();
    if choice.peek().is_none() {
        let path = schema.node_path(node);
        return Err(PatchProblem::Inapplicable(format!("{path} has no element \"{name}\"")));
    }
    let type_name = typed(schema, part)?.map(|typed| typed.type_name).unwrap_or_default();
    let types: Vec<&str> = schema.choice(node, name).map(|it| schema.type_name(it.1)).collect();
    let found = choice.find(|(_, element)| schema.type_name(*element) == type_name);
    found.map(|(json_name, element)| (json_name.to_owned(), element)).ok_or_else(|| {
        PatchProblem::Inapplicable(format!(
            "{name} has one of the types {}: give it as such a value[x]",
            types.join(", ")
        ))
    })
}

/// What an element becomes by a part: its `value[x]`, its `resource`, or, for an element that has
/// elements of its own, what its parts say of these.
pub(super) fn content<'a>(
    schema: &Schema,
    part: Value<'a>,
    element: Element,
) -> Result<Content<'a>, PatchProblem> {
    let wanted = schema.type_name(element);
    if let Some(resource) = part.get("resource") {
        let is_resource = resource.kind() == JsonKind::Object
            && resource.get_str("resourceType").is_some_and(|it| schema.is_resource_type(&it));
        return match element.kind {
            Kind::Resource if is_resource => Ok(Content::of(Node::of(resource))),
            Kind::Resource => Err(PatchProblem::inapplicable("its value is no resource")),
            _ => Err(wrong_type("a resource", wanted)),
        };
    }
    if let Some(typed) = typed(schema, part)? {
        return if fits(schema, &typed, wanted, element) {
            Ok(typed.content)
        } else {
            Err(wrong_type(&typed.type_name, wanted))
        };
    }
    let node = element.kind.node().filter(|_| part.get("part").is_some());
    let Some(node) = node else {
        let parts = if element.kind.node().is_some() { " or in parts" } else { "" };
        let text = format!("its value is missing: give it as a value[x] of type {wanted}{parts}");
        return Err(PatchProblem::Inapplicable(text));
    };
    let mut members = Vec::new();
    for part in part.get("part").into_iter().flat_map(|parts| parts.items()) {
        if part.kind() != JsonKind::Object {
            return Err(PatchProblem::malformed("a part is an object"));
        }
        let name = part.get_str("name").unwrap_or_default();
        let (json_name, element) = named(schema, node, &name, part)?;
        let content = content(schema, part, element)?;
        if element.is_array {
            elements::push(&mut members, &json_name, content)?;
        } else if elements::is_there(&members, &json_name) {
            return Err(PatchProblem::Inapplicable(format!("{name} can stand there once")));
        } else {
            elements::set(&mut members, &json_name, content);
        }
    }
    if members.is_empty() {
        return Err(PatchProblem::inapplicable("its value has no parts"));
    }
    Ok(Content::of(Node::Object(members)))
}

fn wrong_type(given: &str, wanted: &str) -> PatchProblem {
    PatchProblem::Inapplicable(format!(
        "its value is {given}, and what stands there is of type {wanted}"
    ))
}

/// The `value[x]` of a part.
fn typed<'a>(schema: &Schema, part: Value<'a>) -> Result<Option<Typed<'a>>, PatchProblem> {
    let node = schema
        .resource("Parameters")
        .and_then(|node| schema.element(node, "parameter").and_then(|element| element.kind.node()));
    let mut found: Option<Typed<'a>> = None;
    for (name, value) in part.members() {
        let bare = name.strip_prefix('_').unwrap_or(&name);
        let element = node.and_then(|node| schema.element(node, bare));
        let Some(element) = element.filter(|element| element.is_choice) else { continue };
        let type_name = schema.type_name(element);
        let typed = found.get_or_insert_with(|| Typed {
            type_name: type_name.to_owned(),
            content: Content { value: Node::Null, sibling: Node::Null },
        });
        if typed.type_name != type_name {
            return Err(PatchProblem::malformed("a part has one value[x]"));
        }
        if name.starts_with('_') {
            typed.content.sibling = Node::of(value);
        } else {
            typed.content.value = Node::of(value);
        }
    }
    Ok(found)
}

/// Whether a value may stand where the definition says `wanted`. Parameters cannot say every
/// type: a primitive that JSON writes alike stands for another (`valueString` for an id or
/// xhtml), and a Quantity for what specializes it.
fn fits(schema: &Schema, typed: &Typed<'_>, wanted: &str, element: Element) -> bool {
    let given = typed.type_name.as_str();
    if given == wanted {
        return true;
    }
    // The name of a choice's alternative says its type, which is then exactly this one.
    if element.is_choice {
        return false;
    }
    let is_primitive = |name: &str| schema.type_kind(name) == Some(TypeKind::Primitive);
    if is_primitive(given) && (is_primitive(wanted) || element.kind == Kind::Xhtml) {
        return json_form(given) == json_form(wanted)
            || (json_form(given), wanted) == ("integer", "decimal");
    }
    if schema.is_abstract(wanted) {
        return false;
    }
    schema.is_subtype(given, wanted) || schema.is_subtype(wanted, given) && given == "Quantity"
}

/// How JSON writes a primitive.
fn json_form(type_name: &str) -> &'static str {
    match type_name {
        "boolean" => "boolean",
        "decimal" => "decimal",
        "integer" | "positiveInt" | "unsignedInt" => "integer",
        _ => "string",
    }
}
