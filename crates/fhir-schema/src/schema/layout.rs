//! From definitions to a [`Schema`]: which types and nodes there are, what stands under each JSON
//! name of each, and the table that finds it.

use std::collections::{HashMap, HashSet};

use super::{Edge, Element, Kind, Node, Schema, Type, hash, is_system_type, kind_of};
use crate::SchemaError;
use crate::definitions::{Definitions, ElementDefinition, TypeKind, XmlForm, choice_json_name};

/// The first pass: which types and nodes there are.
pub(super) struct Layout<'a> {
    types: HashMap<Box<str>, Type>,
    node_paths: Vec<Box<str>>,
    nodes_by_path: HashMap<&'a str, Node>,
}

impl<'a> Layout<'a> {
    pub(super) fn of(definitions: &'a Definitions) -> Result<Self, SchemaError> {
        let mut layout = Self {
            types: HashMap::with_capacity(definitions.types.len()),
            node_paths: Vec::new(),
            nodes_by_path: HashMap::new(),
        };
        for definition in &definitions.types {
            let node = match definition.kind {
                TypeKind::Resource | TypeKind::Complex => Some(layout.add_node(&definition.name)?),
                TypeKind::Primitive => None,
            };
            layout.types.insert(
                definition.name.clone(),
                Type {
                    kind: definition.kind,
                    is_abstract: definition.is_abstract,
                    base: definition.base.clone(),
                    node,
                },
            );
            if node.is_some() {
                let parents: HashSet<&str> =
                    definition.elements.iter().map(ElementDefinition::parent).collect();
                for element in &definition.elements {
                    if parents.contains(&*element.path) {
                        layout.add_node(&element.path)?;
                    }
                }
            }
        }
        Ok(layout)
    }

    fn add_node(&mut self, path: &'a str) -> Result<Node, SchemaError> {
        let node = Node(u32::try_from(self.node_paths.len()).expect("a file has fewer nodes"));
        if self.nodes_by_path.insert(path, node).is_some() {
            return Err(invalid(path, "is defined twice"));
        }
        self.node_paths.push(path.into());
        Ok(node)
    }

    /// The second pass: every JSON name of every node.
    pub(super) fn schema(self, definitions: &Definitions) -> Result<Schema, SchemaError> {
        let mut edges = Edges::default();
        for definition in &definitions.types {
            if definition.kind == TypeKind::Primitive {
                continue;
            }
            for element in &definition.elements {
                self.add_edges(element, &mut edges)?;
            }
        }
        self.check_bases()?;
        let edge_starts = edges.sort(self.node_paths.len());
        let element_node = self.nodes_by_path.get("Element").copied();
        let mut resource_types: Vec<Box<str>> = self
            .types
            .iter()
            .filter(|(_, it)| it.kind == TypeKind::Resource && !it.is_abstract)
            .map(|(name, _)| name.clone())
            .collect();
        resource_types.sort();
        let mut schema = Schema {
            source: definitions.source.clone(),
            element_node: element_node.ok_or_else(|| invalid("Element", "is not defined"))?,
            types: self.types,
            resource_types,
            node_paths: self.node_paths,
            slots: vec![0; (edges.edges.len() * 2).next_power_of_two()],
            edges: edges.edges,
            edge_starts,
            type_names: edges.type_names,
            names: edges.names,
            identifiers: definitions.identifiers.clone(),
            patient_compartment: definitions.patient_compartment.clone(),
            unresolved: definitions.unresolved.clone(),
        };
        schema.fill_slots()?;
        Ok(schema)
    }

    /// Every type's chain of bases must end.
    fn check_bases(&self) -> Result<(), SchemaError> {
        if self.types.len() > usize::from(u16::MAX) / 2 {
            return Err(SchemaError::TooLarge { what: "types", limit: u64::from(u16::MAX) / 2 });
        }
        for name in self.types.keys() {
            let mut current = &**name;
            let mut steps = 0;
            while let Some(base) = self.types.get(current).and_then(|it| it.base.as_deref()) {
                current = base;
                steps += 1;
                if steps > self.types.len() {
                    return Err(invalid(name, "is, through other types, its own base"));
                }
            }
        }
        Ok(())
    }

    fn add_edges(
        &self,
        definition: &ElementDefinition,
        edges: &mut Edges,
    ) -> Result<(), SchemaError> {
        let path = &*definition.path;
        let node = *self
            .nodes_by_path
            .get(definition.parent())
            .ok_or_else(|| invalid(path, "has no parent"))?;
        let choice_length = definition.choice_name().map_or(0, str::len);
        let choice_length =
            u8::try_from(choice_length).map_err(|_| invalid(path, "has too long a name"))?;
        let mut add = |name: &str, kind, type_code: &str| {
            let type_name = match &definition.fhir_type {
                Some(fhir_type) if is_system_type(type_code) => fhir_type,
                _ => type_code,
            };
            let element = Element {
                kind,
                is_array: definition.max.is_none_or(|max| max > 1),
                is_choice: definition.choice_name().is_some(),
                is_attribute: definition.xml == XmlForm::Attribute,
                min: definition.min,
                max: definition.max,
                type_index: edges.type_index(type_name),
                choice_length,
            };
            edges.add(node, name, element, self.has_sibling(type_code));
        };
        if let Some(target) = &definition.content_reference {
            let target = *self
                .nodes_by_path
                .get(&**target)
                .ok_or_else(|| invalid(path, "has the content of an element that is not there"))?;
            add(definition.name(), Kind::Complex(target), "BackboneElement");
            return Ok(());
        }
        let kind_of = |code: &str| {
            kind_of(&self.types, code).ok_or_else(|| invalid(path, "has a type that is not there"))
        };
        if let Some(choice_name) = definition.choice_name() {
            for code in &definition.types {
                add(&choice_json_name(choice_name, code), kind_of(code)?, code);
            }
            return Ok(());
        }
        let [code] = &definition.types[..] else {
            return Err(invalid(path, "is no choice and has not one type"));
        };
        let kind = match self.nodes_by_path.get(path) {
            Some(own) if matches!(&**code, "BackboneElement" | "Element") => Kind::Complex(*own),
            Some(_) => return Err(invalid(path, "has elements and a type with others")),
            None => kind_of(code)?,
        };
        add(definition.name(), kind, code);
        Ok(())
    }

    /// A FHIR primitive may have an id and extensions; xhtml may not, and what a definition gives
    /// a FHIRPath system type is a bare value.
    fn has_sibling(&self, type_code: &str) -> bool {
        type_code != "xhtml"
            && self.types.get(type_code).is_some_and(|it| it.kind == TypeKind::Primitive)
    }
}

/// The index of the type Element, which stands first among the names of types.
pub(super) const ELEMENT_TYPE_INDEX: u16 = 0;

struct Edges {
    edges: Vec<Edge>,
    names: String,
    starts: HashMap<Box<str>, u32>,
    type_names: Vec<Box<str>>,
    type_indexes: HashMap<Box<str>, u16>,
}

impl Default for Edges {
    fn default() -> Self {
        Self {
            edges: Vec::new(),
            names: String::new(),
            starts: HashMap::new(),
            type_names: vec!["Element".into()],
            type_indexes: HashMap::from([("Element".into(), ELEMENT_TYPE_INDEX)]),
        }
    }
}

impl Edges {
    fn type_index(&mut self, name: &str) -> u16 {
        if let Some(index) = self.type_indexes.get(name) {
            return *index;
        }
        let index = u16::try_from(self.type_names.len()).expect("types are checked to be fewer");
        self.type_names.push(name.into());
        self.type_indexes.insert(name.into(), index);
        index
    }

    /// Brings the edges of a node together, in the order in which they were added; gives where
    /// each node's begin.
    fn sort(&mut self, nodes: usize) -> Vec<u32> {
        self.edges.sort_by_key(|edge| edge.node.0);
        let mut starts = Vec::with_capacity(nodes + 1);
        for (at, edge) in self.edges.iter().enumerate() {
            let at = u32::try_from(at).expect("a file has fewer elements");
            let node = edge.node.0 as usize;
            while starts.len() <= node {
                starts.push(at);
            }
        }
        let end = u32::try_from(self.edges.len()).expect("a file has fewer elements");
        starts.resize(nodes + 1, end);
        starts
    }

    fn add(&mut self, node: Node, name: &str, element: Element, has_sibling: bool) {
        let length = |text: &str| u32::try_from(text.len()).expect("a file holds fewer names");
        let name_start = match self.starts.get(name) {
            Some(start) => *start,
            None => {
                let start = length(&self.names);
                self.names.push_str(name);
                self.starts.insert(name.into(), start);
                start
            }
        };
        self.edges.push(Edge { node, name_start, name_length: length(name), element, has_sibling });
    }
}

impl Schema {
    fn fill_slots(&mut self) -> Result<(), SchemaError> {
        let mask = self.slots.len() - 1;
        for (index, edge) in self.edges.iter().enumerate() {
            let name = self.name(edge);
            if self.edge(edge.node, name).is_some() {
                let path = format!("{}.{name}", self.node_path(edge.node));
                return Err(invalid(&path, "is defined twice"));
            }
            let mut slot = hash(edge.node, name) & mask;
            while self.slots[slot] != 0 {
                slot = (slot + 1) & mask;
            }
            self.slots[slot] = u32::try_from(index + 1).expect("a file has fewer elements");
        }
        Ok(())
    }
}

fn invalid(path: &str, problem: &'static str) -> SchemaError {
    SchemaError::Element { path: path.to_owned(), problem }
}
