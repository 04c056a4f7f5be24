//! The types of FHIR and of FHIRPath's own namespace, as an evaluation asks for them.

use fhir_schema::{Element, Kind, Node, Schema};

/// What a FHIR element is, as far as the schema knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeType {
    /// An element of another: a primitive, a datatype, a backbone element.
    Element(Element),
    /// A resource or a datatype by itself.
    Root(Node),
    /// A primitive datatype by itself.
    Primitive(SystemType),
    /// Something that the schema does not know.
    Unknown,
}

/// The types of FHIRPath's own namespace, `System`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SystemType {
    /// `System.Boolean`
    Boolean,
    /// `System.Integer`
    Integer,
    /// `System.Decimal`
    Decimal,
    /// `System.String`
    String,
    /// `System.Date`
    Date,
    /// `System.DateTime`
    DateTime,
    /// `System.Time`
    Time,
    /// `System.Quantity`
    Quantity,
    /// What `type()` gives.
    TypeInfo,
}

impl SystemType {
    /// The name within `System`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Boolean => "Boolean",
            Self::Integer => "Integer",
            Self::Decimal => "Decimal",
            Self::String => "String",
            Self::Date => "Date",
            Self::DateTime => "DateTime",
            Self::Time => "Time",
            Self::Quantity => "Quantity",
            Self::TypeInfo => "SimpleTypeInfo",
        }
    }

    pub(crate) fn by_name(name: &str) -> Option<Self> {
        Some(match name {
            "Boolean" => Self::Boolean,
            "Integer" => Self::Integer,
            "Decimal" => Self::Decimal,
            "String" => Self::String,
            "Date" => Self::Date,
            "DateTime" => Self::DateTime,
            "Time" => Self::Time,
            "Quantity" => Self::Quantity,
            _ => return None,
        })
    }

    /// What a value of a FHIR primitive type is converted to where a system type is needed.
    pub(crate) fn of_primitive(type_name: &str) -> Self {
        match type_name {
            "boolean" => Self::Boolean,
            "integer" | "positiveInt" | "unsignedInt" => Self::Integer,
            "decimal" => Self::Decimal,
            "date" => Self::Date,
            "dateTime" | "instant" => Self::DateTime,
            "time" => Self::Time,
            _ => Self::String,
        }
    }
}

impl NodeType {
    /// The node with the elements of such a thing.
    pub(crate) fn node(self) -> Option<Node> {
        match self {
            Self::Element(element) => element.kind.node(),
            Self::Root(node) => Some(node),
            Self::Primitive(_) | Self::Unknown => None,
        }
    }

    /// The name of the type, without namespace.
    pub(crate) fn name(self, schema: &Schema) -> &str {
        match self {
            Self::Element(element) => schema.type_name(element),
            Self::Root(node) => schema.node_path(node),
            Self::Primitive(_) | Self::Unknown => "",
        }
    }

    /// Whether it is a value in JSON and no object.
    pub(crate) fn is_primitive(self) -> bool {
        match self {
            Self::Element(element) => match element.kind {
                Kind::Complex(_) | Kind::Reference(_) | Kind::Identifier(_) | Kind::Resource => {
                    false
                }
                Kind::Uri
                | Kind::Url
                | Kind::Oid
                | Kind::Uuid
                | Kind::Canonical
                | Kind::Xhtml
                | Kind::Primitive => true,
            },
            Self::Primitive(_) => true,
            Self::Root(_) | Self::Unknown => false,
        }
    }
}

/// Whether `name` is the type `ancestor` or derived from it.
pub(crate) fn is_type_or_derived(schema: &Schema, name: &str, ancestor: &str) -> bool {
    let mut current = name;
    // No chain of FHIR types is as long; a broken schema must not hold anyone up.
    for _ in 0..32 {
        if current == ancestor {
            return true;
        }
        match schema.base_type(current) {
            Some(base) => current = base,
            None => return false,
        }
    }
    false
}

/// A type that an expression names, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TypeTest {
    System(SystemType),
    Fhir(Box<str>),
    /// `Quantity` is a name in both namespaces.
    AnyQuantity,
    /// A name that its namespace does not have.
    Never,
}
