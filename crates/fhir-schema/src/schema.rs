//! Definitions as they are asked: one hash lookup from a node and a JSON name to what stands
//! there. Everything is laid out once; a question allocates nothing.

mod layout;

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use crate::definitions::{Definitions, PlainPath, Source, TypeKind, UnresolvedExpression};
use crate::{SchemaError, compiled};
use layout::{ELEMENT_TYPE_INDEX, Layout};

/// R4 core, compiled by `cargo xtask definitions`.
static R4_FILE: &[u8] = include_bytes!("../definitions/r4.zst");

static R4: LazyLock<Schema> = LazyLock::new(|| {
    compiled::decode(R4_FILE).and_then(|definitions| Schema::new(&definitions)).expect(
        "the definitions built in were written by `compiled::encode`, and a test reads them",
    )
});

/// An object in JSON: a resource, a datatype, or an element with elements of its own. Nodes are
/// of one schema and mean nothing in another.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Node(u32);

/// What stands under a JSON name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Element {
    /// What it holds.
    pub kind: Kind,
    /// Whether it is an array in JSON.
    pub is_array: bool,
    /// Whether the name is one of those of a choice of types (`valueQuantity`).
    pub is_choice: bool,
    /// Whether it is an attribute in XML, as the id of an element and the url of an extension.
    pub is_attribute: bool,
    /// The least number of occurrences; of a choice, of all its names together.
    pub min: u32,
    /// The greatest number of occurrences; `None` for any number.
    pub max: Option<u32>,
    /// Index into the names of types, see [`Schema::type_name`].
    type_index: u16,
    /// How much of the JSON name is the choice's.
    choice_length: u8,
}

impl Element {
    /// The name of the choice of types that this JSON name is one of: `value` for
    /// `valueQuantity`, as FHIRPath and XML's definitions write it.
    #[must_use]
    pub fn choice_name<'a>(&self, json_name: &'a str) -> Option<&'a str> {
        if self.is_choice { json_name.get(..usize::from(self.choice_length)) } else { None }
    }
}

/// What an element holds, as far as someone who walks a resource must tell apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// An object with the elements of this node.
    Complex(Node),
    /// A Reference.
    Reference(Node),
    /// An Identifier.
    Identifier(Node),
    /// A resource of any type, which the resource names itself: `contained`,
    /// `Bundle.entry.resource`, `Parameters.parameter.resource`.
    Resource,
    /// A `uri`, and none of the four types derived from it.
    Uri,
    /// A `url`.
    Url,
    /// An `oid`.
    Oid,
    /// A `uuid`.
    Uuid,
    /// A `canonical`.
    Canonical,
    /// The `div` of a Narrative.
    Xhtml,
    /// Any other primitive value. Among them the `id` of a resource or element and
    /// `Extension.url`, which are FHIRPath system types by their definitions.
    Primitive,
}

impl Kind {
    /// The node of what is an object of a known type.
    #[must_use]
    pub fn node(self) -> Option<Node> {
        match self {
            Self::Complex(node) | Self::Reference(node) | Self::Identifier(node) => Some(node),
            Self::Resource
            | Self::Uri
            | Self::Url
            | Self::Oid
            | Self::Uuid
            | Self::Canonical
            | Self::Xhtml
            | Self::Primitive => None,
        }
    }
}

/// The base types of one FHIR version.
pub struct Schema {
    source: Source,
    types: HashMap<Box<str>, Type>,
    /// Concrete ones, sorted.
    resource_types: Vec<Box<str>>,
    node_paths: Vec<Box<str>>,
    /// The node of the type Element, which a primitive's `_name` leads to.
    element_node: Node,
    /// Every JSON name of every node, node by node, in the definition's order.
    edges: Vec<Edge>,
    /// Where each node's edges begin, and after the last, where its end.
    edge_starts: Vec<u32>,
    /// Names of types, for `Element::type_index`.
    type_names: Vec<Box<str>>,
    /// The names of the edges, each once, one after the other.
    names: String,
    /// Open addressing over `edges`: an edge's index plus one, or nought for a free slot. At
    /// least half of the slots are free.
    slots: Vec<u32>,
    identifiers: BTreeMap<Box<str>, Vec<PlainPath>>,
    patient_compartment: BTreeMap<Box<str>, Vec<PlainPath>>,
    unresolved: Vec<UnresolvedExpression>,
}

struct Type {
    kind: TypeKind,
    is_abstract: bool,
    base: Option<Box<str>>,
    /// A primitive has none: in JSON it is a value.
    node: Option<Node>,
}

struct Edge {
    node: Node,
    name_start: u32,
    name_length: u32,
    element: Element,
    /// Whether `_name` may stand beside `name`.
    has_sibling: bool,
}

impl Schema {
    /// FHIR R4, built in. The first call reads it (some milliseconds), all others are free.
    #[must_use]
    pub fn r4() -> &'static Self {
        &R4
    }

    /// Lays out definitions.
    ///
    /// # Errors
    /// [`SchemaError::Element`] when a type, a parent or a content reference is missing, or a
    /// JSON name stands for two elements.
    pub fn new(definitions: &Definitions) -> Result<Self, SchemaError> {
        Layout::of(definitions)?.schema(definitions)
    }

    /// `4.0.1`.
    #[must_use]
    pub fn fhir_version(&self) -> &str {
        &self.source.fhir_version
    }

    /// The package that the definitions come from.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Whether this names a resource type that a resource can be of: not `Resource`, not
    /// `DomainResource`.
    #[must_use]
    pub fn is_resource_type(&self, name: &str) -> bool {
        self.resource(name).is_some()
    }

    /// Whether this names a type which nothing is of exactly: `Resource`, `DomainResource`,
    /// `Element`, `BackboneElement`.
    #[must_use]
    pub fn is_abstract(&self, name: &str) -> bool {
        self.types.get(name).is_some_and(|it| it.is_abstract)
    }

    /// The concrete resource types, sorted by name.
    pub fn resource_types(&self) -> impl Iterator<Item = &str> {
        self.resource_types.iter().map(|name| &**name)
    }

    /// All types, in no order.
    pub fn type_names(&self) -> impl Iterator<Item = &str> {
        self.types.keys().map(|name| &**name)
    }

    /// The root of a concrete resource type.
    #[must_use]
    pub fn resource(&self, resource_type: &str) -> Option<Node> {
        let found = self.types.get(resource_type)?;
        (found.kind == TypeKind::Resource && !found.is_abstract).then_some(found.node).flatten()
    }

    /// The root of a complex datatype: `Extension`, `Element`. Primitive types have none.
    #[must_use]
    pub fn datatype(&self, name: &str) -> Option<Node> {
        let found = self.types.get(name)?;
        (found.kind == TypeKind::Complex).then_some(found.node).flatten()
    }

    /// What an element of this type holds.
    pub(crate) fn kind_of(&self, type_name: &str) -> Option<Kind> {
        kind_of(&self.types, type_name)
    }

    /// What stands under a name in an object, if anything may: an element, one alternative of a
    /// choice, or, with a leading underscore, the id and extensions of a primitive.
    ///
    /// `resourceType` is no element and gives `None` at a resource's root.
    #[must_use]
    pub fn element(&self, node: Node, json_name: &str) -> Option<Element> {
        if let Some(edge) = self.edge(node, json_name) {
            return Some(edge.element);
        }
        let edge = self.edge(node, json_name.strip_prefix('_')?)?;
        edge.has_sibling.then_some(Element {
            kind: Kind::Complex(self.element_node),
            type_index: ELEMENT_TYPE_INDEX,
            ..edge.element
        })
    }

    /// What may stand in an object, in the definition's order: the JSON name of each element, and
    /// of a choice of types each alternative, one after the other. Names with a leading underscore
    /// are not listed.
    pub fn elements(&self, node: Node) -> impl Iterator<Item = (&str, Element)> + Clone {
        self.edges_of(node).iter().map(|edge| (self.name(edge), edge.element))
    }

    /// The alternatives of a choice of types, by the choice's name without `[x]`; none where the
    /// node has no such choice.
    pub fn choice(&self, node: Node, name: &str) -> impl Iterator<Item = (&str, Element)> {
        self.elements(node)
            .filter(move |(json_name, element)| element.choice_name(json_name) == Some(name))
    }

    /// The name of an element's type: `code`, `Quantity`, `Resource`, `xhtml`; `BackboneElement`
    /// or `Element` where the elements are defined in place. Where the definition gives a FHIRPath
    /// system type, the FHIR type that it means: `id` and `string` of ids, `uri` of
    /// `Extension.url`.
    #[must_use]
    pub fn type_name(&self, element: Element) -> &str {
        &self.type_names[usize::from(element.type_index)]
    }

    /// The type that a type specializes: `Quantity` for `Age`, `string` for `code`.
    #[must_use]
    pub fn base_type(&self, name: &str) -> Option<&str> {
        self.types.get(name)?.base.as_deref()
    }

    /// Whether the name is of a resource type, a complex or a primitive datatype, or of none.
    #[must_use]
    pub fn type_kind(&self, name: &str) -> Option<TypeKind> {
        self.types.get(name).map(|found| found.kind)
    }

    /// Whether one type is the other or specializes it, through however many types.
    #[must_use]
    pub fn is_subtype(&self, name: &str, of: &str) -> bool {
        let mut current = Some(name);
        while let Some(name) = current {
            if name == of {
                return true;
            }
            current = self.base_type(name);
        }
        false
    }

    /// Where a node is defined: `Patient.contact` for a contact, `Quantity` for any quantity.
    #[must_use]
    pub fn node_path(&self, node: Node) -> &str {
        &self.node_paths[node.0 as usize]
    }

    /// What the search parameter `identifier` of this type covers.
    #[must_use]
    pub fn identifier_paths(&self, resource_type: &str) -> &[PlainPath] {
        paths(&self.identifiers, resource_type)
    }

    /// The references which put a resource of this type into the compartment of each patient they
    /// point to. They may point to others too, and these do not count.
    #[must_use]
    pub fn patient_compartment(&self, resource_type: &str) -> &[PlainPath] {
        paths(&self.patient_compartment, resource_type)
    }

    /// Whether resources of this type can be in a patient's compartment. Patient itself can: by
    /// being the patient, and by its links.
    #[must_use]
    pub fn in_patient_compartment(&self, resource_type: &str) -> bool {
        self.patient_compartment.contains_key(resource_type)
    }

    /// What the expressions behind [`Schema::identifier_paths`] and
    /// [`Schema::patient_compartment`] say beyond plain paths, and is therefore missing there.
    #[must_use]
    pub fn unresolved_expressions(&self) -> &[UnresolvedExpression] {
        &self.unresolved
    }

    fn edges_of(&self, node: Node) -> &[Edge] {
        let at = node.0 as usize;
        &self.edges[self.edge_starts[at] as usize..self.edge_starts[at + 1] as usize]
    }

    fn edge(&self, node: Node, name: &str) -> Option<&Edge> {
        let mask = self.slots.len() - 1;
        let mut slot = hash(node, name) & mask;
        loop {
            let edge = &self.edges[self.slots[slot].checked_sub(1)? as usize];
            if edge.node == node && self.name(edge) == name {
                return Some(edge);
            }
            slot = (slot + 1) & mask;
        }
    }

    fn name(&self, edge: &Edge) -> &str {
        let start = edge.name_start as usize;
        &self.names[start..start + edge.name_length as usize]
    }
}

fn paths<'a>(by_type: &'a BTreeMap<Box<str>, Vec<PlainPath>>, name: &str) -> &'a [PlainPath] {
    by_type.get(name).map_or(&[], Vec::as_slice)
}

fn kind_of(types: &HashMap<Box<str>, Type>, type_code: &str) -> Option<Kind> {
    if is_system_type(type_code) {
        return Some(Kind::Primitive);
    }
    let found = types.get(type_code)?;
    Some(match (found.kind, type_code) {
        (TypeKind::Resource, _) => Kind::Resource,
        (TypeKind::Complex, "Reference") => Kind::Reference(found.node?),
        (TypeKind::Complex, "Identifier") => Kind::Identifier(found.node?),
        (TypeKind::Complex, _) => Kind::Complex(found.node?),
        (TypeKind::Primitive, "uri") => Kind::Uri,
        (TypeKind::Primitive, "url") => Kind::Url,
        (TypeKind::Primitive, "oid") => Kind::Oid,
        (TypeKind::Primitive, "uuid") => Kind::Uuid,
        (TypeKind::Primitive, "canonical") => Kind::Canonical,
        (TypeKind::Primitive, "xhtml") => Kind::Xhtml,
        (TypeKind::Primitive, _) => Kind::Primitive,
    })
}

fn is_system_type(type_code: &str) -> bool {
    type_code.starts_with("http://hl7.org/fhirpath/System.")
}

/// Mixes eight bytes at a time: names are short, and the table is asked for every key of every
/// object written. The table is fixed, so keys chosen to collide meet only the longest run of
/// used slots that it has, and a test bounds that.
fn hash(node: Node, name: &str) -> usize {
    const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |state: u64, word: u64| (state.rotate_left(23) ^ word).wrapping_mul(MULTIPLIER);
    let (words, rest) = name.as_bytes().as_chunks::<8>();
    let mut state = mix(u64::from(node.0) + 1, name.len() as u64);
    for word in words {
        state = mix(state, u64::from_le_bytes(*word));
    }
    let last = rest.iter().fold(0, |last, byte| last << 8 | u64::from(*byte));
    state = mix(state, last);
    (state ^ (state >> 32)) as usize
}

#[cfg(test)]
mod tests {
    use super::Schema;

    #[test]
    fn no_name_however_chosen_looks_at_more_than_a_few_dozen_slots() {
        let schema = Schema::r4();
        // Twice around, for a run that goes over the end.
        let longest = schema
            .slots
            .iter()
            .chain(&schema.slots)
            .scan(0, |run, slot| {
                *run = if *slot == 0 { 0 } else { *run + 1 };
                Some(*run)
            })
            .max();
        assert!(longest < Some(48), "{longest:?}");
    }
}
