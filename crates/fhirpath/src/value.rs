//! What an evaluation works on: elements of a JSON document, borrowed, and the computed values
//! of FHIRPath's own types.

use std::borrow::Cow;

use fhir_core::json::{Kind as JsonKind, Value};
use fhir_schema::{Element, Kind, Schema};

use crate::decimal::Decimal;
use crate::model::{NodeType, SystemType};
use crate::quantity::{Quantity, Unit};
use crate::temporal::{Date, DateTime, Time};

/// Stands for no place in a document.
const NOWHERE: u32 = u32::MAX;

/// One element of a resource: its value in JSON, what stands beside it under `_name`, and its
/// type. Copying it is cheap.
#[derive(Clone, Copy, Debug)]
pub struct FhirValue<'a> {
    /// The value; what stands beside it where there is none.
    anchor: Value<'a>,
    has_value: bool,
    sibling: u32,
    node_type: NodeType,
}

impl<'a> FhirValue<'a> {
    /// A resource: what it is, it says itself.
    #[must_use]
    pub fn resource(schema: &Schema, value: Value<'a>) -> Self {
        let found = value.get_str("resourceType").and_then(|name| schema.resource(&name));
        let node_type = found.map_or(NodeType::Unknown, NodeType::Root);
        Self { anchor: value, has_value: true, sibling: NOWHERE, node_type }
    }

    /// An element that holds `value`, or is there by the id and extensions in `sibling` alone.
    /// `None` when it is not there at all. A resource is looked at for its type.
    #[must_use]
    pub fn element(
        schema: &Schema,
        element: Element,
        value: Option<Value<'a>>,
        sibling: Option<Value<'a>>,
    ) -> Option<Self> {
        match value {
            Some(value) if element.kind == Kind::Resource => {
                Self::of_type(NodeType::Element(element), Some(value), None).map(|it| {
                    let resource = Self::resource(schema, value);
                    if resource.node_type == NodeType::Unknown { it } else { resource }
                })
            }
            _ => Self::of_type(NodeType::Element(element), value, sibling),
        }
    }

    /// A datatype by itself: `HumanName`, `code`.
    #[must_use]
    pub fn datatype(schema: &Schema, type_name: &str, value: Value<'a>) -> Self {
        let node_type = match schema.datatype(type_name) {
            Some(node) => NodeType::Root(node),
            None => NodeType::Primitive(SystemType::of_primitive(type_name)),
        };
        Self { anchor: value, has_value: true, sibling: NOWHERE, node_type }
    }

    pub(crate) fn of_type(
        node_type: NodeType,
        value: Option<Value<'a>>,
        sibling: Option<Value<'a>>,
    ) -> Option<Self> {
        let value = value.filter(|it| it.kind() != JsonKind::Null);
        let sibling = sibling.filter(|it| it.kind() == JsonKind::Object);
        Some(Self {
            anchor: value.or(sibling)?,
            has_value: value.is_some(),
            sibling: sibling.map_or(NOWHERE, |it| it.place()),
            node_type,
        })
    }

    /// A resource of which only the type is known, since only a reference to it is.
    pub(crate) fn of_referenced_type(node_type: NodeType, reference: Value<'a>) -> Self {
        Self { anchor: reference, has_value: false, sibling: NOWHERE, node_type }
    }

    /// The value in JSON, unless the element has extensions alone.
    #[must_use]
    pub fn value(&self) -> Option<Value<'a>> {
        self.has_value.then_some(self.anchor)
    }

    /// The id and extensions of a primitive.
    #[must_use]
    pub fn sibling(&self) -> Option<Value<'a>> {
        self.anchor.at_place(self.sibling)
    }

    /// What it is.
    #[must_use]
    pub fn node_type(&self) -> NodeType {
        self.node_type
    }

    /// The name of its type: `Patient`, `code`, `BackboneElement`. Empty when the schema does
    /// not know it.
    #[must_use]
    pub fn type_name<'s>(&self, schema: &'s Schema) -> &'s str {
        self.node_type.name(schema)
    }

    /// Whether this is a primitive that has a value (FHIR R4, `hasValue()`).
    #[must_use]
    pub fn has_primitive_value(&self) -> bool {
        self.has_value && !matches!(self.anchor.kind(), JsonKind::Object | JsonKind::Array)
    }

    /// Where the elements of this stand: in the value of what is complex, beside a primitive.
    pub(crate) fn object(&self) -> Option<Value<'a>> {
        if self.has_value && self.anchor.kind() == JsonKind::Object {
            Some(self.anchor)
        } else {
            self.sibling()
        }
    }

    /// Whether both are the same place of the same document.
    pub(crate) fn is_same_place(&self, other: &Self) -> bool {
        self.has_value == other.has_value
            && self.anchor.place() == other.anchor.place()
            && std::ptr::eq(self.anchor.document_text(), other.anchor.document_text())
    }

    /// Whether it is a Quantity of FHIR or of a type derived from that.
    pub(crate) fn is_quantity(&self, schema: &Schema) -> bool {
        let is_object = self.has_value && self.anchor.kind() == JsonKind::Object;
        let name = if is_object { self.type_name(schema) } else { "" };
        name == "Quantity" || (!name.is_empty() && schema.base_type(name) == Some("Quantity"))
    }

    /// Whether a Quantity says that the true value is less or greater than what it names.
    pub(crate) fn has_comparator(&self) -> bool {
        self.value().is_some_and(|value| value.get("comparator").is_some())
    }

    /// As a value of FHIRPath's own types, if it is one of them.
    #[must_use]
    pub fn to_system(&self, schema: &Schema) -> Option<Item<'a>> {
        let value = self.value()?;
        match value.kind() {
            JsonKind::Object => self.is_quantity(schema).then(|| quantity(value)).flatten(),
            JsonKind::Boolean => value.as_bool().map(Item::Boolean),
            JsonKind::Number => {
                let text = value.as_number()?;
                let is_decimal = self.type_name(schema) == "decimal";
                match text.parse::<i64>() {
                    Ok(integer) if !is_decimal => Some(Item::Integer(integer)),
                    _ => Decimal::parse(text).map(Item::Decimal),
                }
            }
            JsonKind::String => {
                let text = value.as_str()?;
                let system_type = match self.node_type {
                    NodeType::Primitive(system_type) => system_type,
                    NodeType::Element(element) if element.kind == Kind::Primitive => {
                        SystemType::of_primitive(schema.type_name(element))
                    }
                    _ => SystemType::String,
                };
                Some(
                    match system_type {
                        SystemType::Date => Date::parse(&text).map(Item::Date),
                        SystemType::DateTime => DateTime::parse(&text).map(Item::DateTime),
                        SystemType::Time => Time::parse(&text).map(Item::Time),
                        _ => None,
                    }
                    .unwrap_or(Item::String(text)),
                )
            }
            JsonKind::Array | JsonKind::Null => None,
        }
    }
}

/// A FHIR Quantity as one of FHIRPath's (FHIR R4, FHIRPath page, "Use of FHIR Quantity"). One with
/// a comparator is none of these: less than 5 is not 5.
fn quantity<'a>(value: Value<'_>) -> Option<Item<'a>> {
    if value.get("comparator").is_some() {
        return None;
    }
    let number = Decimal::parse(value.get("value")?.as_number()?)?;
    let system = value.get_str("system");
    let code = value.get_str("code").or_else(|| value.get_str("unit"));
    let unit = match (system.as_deref(), code) {
        (None, None) => Unit::Ucum("1".into()),
        (Some("http://unitsofmeasure.org"), Some(code)) => match &*code {
            "a" => Unit::Calendar(crate::calendar::CalendarUnit::Year),
            "mo" => Unit::Calendar(crate::calendar::CalendarUnit::Month),
            code => Unit::Ucum(code.into()),
        },
        (system, code) => {
            Unit::Other(system.unwrap_or_default().into(), code.unwrap_or_default().into())
        }
    };
    Some(Item::Quantity(Box::new(Quantity { value: number, unit })))
}

/// One item of a collection.
#[derive(Clone, Debug)]
pub enum Item<'a> {
    /// An element of a resource, or a resource.
    Fhir(FhirValue<'a>),
    /// `System.Boolean`
    Boolean(bool),
    /// `System.Integer`
    Integer(i64),
    /// `System.Decimal`
    Decimal(Decimal),
    /// `System.String`
    String(Cow<'a, str>),
    /// `System.Date`
    Date(Date),
    /// `System.DateTime`
    DateTime(DateTime),
    /// `System.Time`
    Time(Time),
    /// `System.Quantity`
    Quantity(Box<Quantity>),
    /// What `type()` gives.
    Type(Box<TypeInfo>),
}

/// A type as `type()` tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeInfo {
    /// `FHIR` or `System`.
    pub namespace: &'static str,
    /// `Patient`, `Boolean`.
    pub name: String,
}

impl<'a> Item<'a> {
    /// As one of FHIRPath's own types where that is possible, else as it is.
    #[must_use]
    pub fn into_system(self, schema: &Schema) -> Self {
        match &self {
            Self::Fhir(value) => value.to_system(schema).unwrap_or(self),
            _ => self,
        }
    }

    /// The type within FHIRPath's own namespace; `None` for an element of a resource.
    #[must_use]
    pub fn system_type(&self) -> Option<SystemType> {
        Some(match self {
            Self::Fhir(_) => return None,
            Self::Boolean(_) => SystemType::Boolean,
            Self::Integer(_) => SystemType::Integer,
            Self::Decimal(_) => SystemType::Decimal,
            Self::String(_) => SystemType::String,
            Self::Date(_) => SystemType::Date,
            Self::DateTime(_) => SystemType::DateTime,
            Self::Time(_) => SystemType::Time,
            Self::Quantity(_) => SystemType::Quantity,
            Self::Type(_) => SystemType::TypeInfo,
        })
    }

    /// The name of its type: `code`, `System.Integer`.
    #[must_use]
    pub fn type_name(&self, schema: &Schema) -> String {
        match (self, self.system_type()) {
            (Self::Fhir(value), _) => match value.type_name(schema) {
                "" => "an unknown type".to_owned(),
                name => name.to_owned(),
            },
            (_, system_type) => {
                format!("System.{}", system_type.map_or("Any", SystemType::name))
            }
        }
    }

    /// The element that this is.
    #[must_use]
    pub fn as_fhir(&self) -> Option<&FhirValue<'a>> {
        match self {
            Self::Fhir(value) => Some(value),
            _ => None,
        }
    }

    /// As `toString()` writes it; `None` for what is complex.
    #[must_use]
    pub fn to_text(&self, schema: &Schema) -> Option<Cow<'a, str>> {
        Some(match self {
            Self::Fhir(value) => match value.to_system(schema)? {
                Self::Fhir(_) => return None,
                // A number stays as it was written.
                Self::Integer(_) | Self::Decimal(_) => Cow::Borrowed(value.value()?.as_number()?),
                Self::Date(_) | Self::DateTime(_) | Self::Time(_) => value.value()?.as_str()?,
                system => return system.to_text(schema),
            },
            Self::Boolean(true) => Cow::Borrowed("true"),
            Self::Boolean(false) => Cow::Borrowed("false"),
            Self::Integer(integer) => Cow::Owned(integer.to_string()),
            Self::Decimal(decimal) => Cow::Owned(decimal.to_string()),
            Self::String(text) => text.clone(),
            Self::Date(date) => Cow::Owned(date.to_string()),
            Self::DateTime(moment) => Cow::Owned(moment.to_string()),
            Self::Time(time) => Cow::Owned(time.to_string()),
            Self::Quantity(quantity) => Cow::Owned(quantity.to_string()),
            Self::Type(_) => return None,
        })
    }
}
