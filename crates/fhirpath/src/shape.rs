//! What is known of a part of an expression before there is data: which types its items can have
//! and how many there can be.

use fhir_schema::{Element, Kind, Node, Schema};

use crate::model::{NodeType, SystemType, TypeTest, is_type_or_derived};

/// One type that items can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StaticType {
    System(SystemType),
    Fhir(NodeType),
}

/// How many items there can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Count {
    None,
    One,
    Many,
}

#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// `None` when anything can stand there.
    pub(crate) types: Option<Vec<StaticType>>,
    pub(crate) count: Count,
    pub(crate) is_ordered: bool,
}

impl Shape {
    pub(crate) fn unknown(count: Count) -> Self {
        Self { types: None, count, is_ordered: true }
    }

    pub(crate) fn nothing() -> Self {
        Self { types: Some(Vec::new()), count: Count::None, is_ordered: true }
    }

    pub(crate) fn system(system_type: SystemType) -> Self {
        let types = Some(vec![StaticType::System(system_type)]);
        Self { types, count: Count::One, is_ordered: true }
    }

    pub(crate) fn fhir(node_type: NodeType) -> Self {
        let types = Some(vec![StaticType::Fhir(node_type)]);
        Self { types, count: Count::One, is_ordered: true }
    }

    pub(crate) fn with_count(mut self, count: Count) -> Self {
        self.count = count;
        self
    }

    /// Each item by itself.
    pub(crate) fn one_of(&self) -> Self {
        self.clone().with_count(Count::One)
    }

    /// The types of both; `count` is given by whoever knows how they come together.
    pub(crate) fn merged(self, other: Self, count: Count) -> Self {
        let types = match (self.types, other.types) {
            (Some(mut types), Some(others)) => {
                for other in others {
                    if !types.contains(&other) {
                        types.push(other);
                    }
                }
                Some(types)
            }
            _ => None,
        };
        Self { types, count, is_ordered: self.is_ordered && other.is_ordered }
    }

    /// One after the other.
    pub(crate) fn followed_by(self, other: Self) -> Self {
        let count = match (self.count, other.count) {
            (Count::None, count) | (count, Count::None) => count,
            _ => Count::Many,
        };
        self.merged(other, count)
    }

    /// Whether every item is surely of one of these types. Of what is unknown, nothing is sure.
    pub(crate) fn is_surely(&self, is_wanted: impl Fn(&StaticType) -> bool) -> bool {
        self.types.as_ref().is_some_and(|types| !types.is_empty() && types.iter().all(is_wanted))
    }

    /// For error texts.
    pub(crate) fn describe(&self, schema: &Schema) -> String {
        let names: Vec<String> = self
            .types
            .iter()
            .flatten()
            .map(|it| match it {
                StaticType::System(system_type) => format!("System.{}", system_type.name()),
                StaticType::Fhir(node_type) => match node_type.name(schema) {
                    "" => "an unknown type".to_owned(),
                    name => name.to_owned(),
                },
            })
            .collect();
        if names.is_empty() { "nothing".to_owned() } else { names.join(" or ") }
    }
}

impl StaticType {
    /// The type of FHIRPath's own that such an item becomes where one is needed.
    pub(crate) fn as_system(self, schema: &Schema) -> Option<SystemType> {
        match self {
            Self::System(system_type) => Some(system_type),
            Self::Fhir(NodeType::Primitive(system_type)) => Some(system_type),
            Self::Fhir(node_type) if node_type.is_primitive() => {
                Some(SystemType::of_primitive(node_type.name(schema)))
            }
            Self::Fhir(node_type) => {
                let name = node_type.name(schema);
                is_type_or_derived(schema, name, "Quantity").then_some(SystemType::Quantity)
            }
        }
    }

    /// Whether this is a FHIR element with elements and no value.
    pub(crate) fn is_complex(self, schema: &Schema) -> bool {
        match self {
            Self::System(_) => false,
            Self::Fhir(NodeType::Unknown) => false,
            Self::Fhir(_) => self.as_system(schema).is_none(),
        }
    }
}

/// What a type test lets through.
pub(crate) fn tested(schema: &Schema, test: &TypeTest, input: &Shape) -> Option<Vec<StaticType>> {
    match test {
        TypeTest::Never => Some(Vec::new()),
        TypeTest::System(system_type) => Some(vec![StaticType::System(*system_type)]),
        TypeTest::AnyQuantity => Some(vec![
            StaticType::System(SystemType::Quantity),
            StaticType::Fhir(type_named(schema, "Quantity")?),
        ]),
        TypeTest::Fhir(name) => {
            // What is known already of the input tells more than the name does.
            let fitting: Vec<StaticType> = input
                .types
                .iter()
                .flatten()
                .filter(|it| match it {
                    StaticType::System(_) => false,
                    StaticType::Fhir(node_type) => {
                        is_type_or_derived(schema, node_type.name(schema), name)
                    }
                })
                .copied()
                .collect();
            if fitting.is_empty() {
                return Some(vec![StaticType::Fhir(type_named(schema, name)?)]);
            }
            Some(fitting)
        }
    }
}

/// A type by its name; `None` for an abstract one and for what is unknown.
pub(crate) fn type_named(schema: &Schema, name: &str) -> Option<NodeType> {
    if schema.is_abstract(name) {
        return None;
    }
    if let Some(node) = schema.resource(name).or_else(|| schema.datatype(name)) {
        return Some(NodeType::Root(node));
    }
    schema.type_kind(name).map(|_| NodeType::Primitive(SystemType::of_primitive(name)))
}

/// What a name leads to from one type.
pub(crate) enum Found {
    /// One element.
    Element(Node, Element),
    /// A choice of types.
    Choice(Vec<Element>),
    /// A value of FHIRPath's own.
    System(SystemType),
    /// Nobody knows.
    Unknown,
    Nothing,
}

pub(crate) fn find(schema: &Schema, from: StaticType, name: &str) -> Found {
    let node_type = match from {
        StaticType::System(SystemType::TypeInfo) => return Found::System(SystemType::String),
        StaticType::System(_) => return Found::Nothing,
        StaticType::Fhir(node_type) => node_type,
    };
    let node = match node_type {
        NodeType::Unknown => return Found::Unknown,
        NodeType::Element(element) if element.kind == Kind::Resource => return Found::Unknown,
        _ if node_type.is_primitive() => {
            if name == "value" {
                return from.as_system(schema).map_or(Found::Unknown, Found::System);
            }
            schema.datatype("Element")
        }
        _ => node_type.node(),
    };
    let Some(node) = node else {
        return Found::Unknown;
    };
    match schema.element(node, name) {
        Some(element) if !element.is_choice && !name.starts_with('_') => {
            return Found::Element(node, element);
        }
        _ => {}
    }
    let choice: Vec<Element> = schema.choice(node, name).map(|(_, element)| element).collect();
    if choice.is_empty() { Found::Nothing } else { Found::Choice(choice) }
}
