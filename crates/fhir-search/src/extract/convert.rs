//! From an element to index values, by its type and the kind of the parameter (FHIR R4 3.1.1.5
//! and its table "Cross-map between search parameter types and datatypes").
//!
//! An element that has an id or extensions alone has no value. What cannot be read is passed over
//! and told.

use std::borrow::Cow;
use std::sync::Arc;

use fhir_core::json::{Kind as JsonKind, Value};
use fhir_schema::Schema;
use fhir_terminology::Terminology;
use fhirpath::{Decimal, Item};

mod quantity;

use super::ExtractOptions;
use super::implied::Implied;
use super::units::Units;
use crate::parameters::Kind;
use crate::value::{
    DateRange, IndexValue, NumberRange, Reference, ReferenceTarget, Token, TokenFrom,
};

/// How an element becomes index values.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Conversion {
    /// With the code system that the element's binding implies.
    Code(Option<Arc<Implied>>),
    Coding,
    CodeableConcept,
    Identifier,
    /// A primitive as a token.
    Plain(TokenFrom),
    ContactPoint,
    Text,
    /// Members of an object, each a text by itself: strings and arrays of strings.
    Texts(&'static [&'static str]),
    /// CodeableConcept or Coding as text.
    ConceptText,
    Date,
    Instant,
    Period,
    Timing,
    Number,
    NumberRange,
    Quantity,
    Money,
    Range,
    Reference,
    Canonical,
    /// A resource within another, as what a reference leads to.
    Resource,
    Uri,
    Position,
    /// The value of an extension.
    Extension(Kind),
}

/// The texts of a HumanName (3.1.1.5.3: any of its parts).
const NAME_PARTS: &[&str] = &["family", "given", "prefix", "suffix", "text"];
/// The texts of an Address (3.1.1.5.3: any of its parts). Use, type and period are none.
const ADDRESS_PARTS: &[&str] =
    &["line", "city", "district", "state", "country", "postalCode", "text"];

const UCUM: &str = "http://unitsofmeasure.org";
/// Of Money (3.1.1.5.7).
const CURRENCIES: &str = "urn:iso:std:iso:4217";

impl Conversion {
    /// How a type is converted for a kind of parameter; `None` when it has no values for it.
    pub(super) fn of(kind: Kind, type_name: &str, schema: &Schema) -> Option<Self> {
        if type_name == "Extension" {
            let is_of_values = !matches!(kind, Kind::Composite | Kind::Special);
            return is_of_values.then_some(Self::Extension(kind));
        }
        Some(match (kind, type_name) {
            (Kind::Token, "code") => Self::Code(None),
            (Kind::Token, "Coding") => Self::Coding,
            (Kind::Token, "CodeableConcept") => Self::CodeableConcept,
            (Kind::Token, "Identifier") => Self::Identifier,
            (Kind::Token, "ContactPoint") => Self::ContactPoint,
            (Kind::Token, "boolean") => Self::Plain(TokenFrom::Boolean),
            (Kind::Token, "uri" | "url" | "canonical" | "oid" | "uuid" | "id") => {
                Self::Plain(TokenFrom::Uri)
            }
            (Kind::Token, "string" | "markdown") => Self::Plain(TokenFrom::String),
            (
                Kind::String,
                "string" | "markdown" | "code" | "id" | "uri" | "url" | "canonical" | "oid"
                | "uuid",
            ) => Self::Text,
            (Kind::String, "HumanName") => Self::Texts(NAME_PARTS),
            (Kind::String, "Address") => Self::Texts(ADDRESS_PARTS),
            (Kind::String, "ContactPoint" | "Identifier") => Self::Texts(&["value"]),
            (Kind::String, "Annotation") => Self::Texts(&["text"]),
            (Kind::String, "Attachment") => Self::Texts(&["title"]),
            (Kind::String, "Reference") => Self::Texts(&["display"]),
            (Kind::String, "CodeableConcept" | "Coding") => Self::ConceptText,
            (Kind::Date, "date" | "dateTime") => Self::Date,
            (Kind::Date, "instant") => Self::Instant,
            (Kind::Date, "Period") => Self::Period,
            (Kind::Date, "Timing") => Self::Timing,
            (Kind::Number, "decimal") => Self::Number,
            (Kind::Number, "Range") => Self::NumberRange,
            (Kind::Number, name) if schema.is_subtype(name, "integer") => Self::Number,
            (Kind::Quantity, "Money") => Self::Money,
            (Kind::Quantity, "Range") => Self::Range,
            (Kind::Quantity, name) if schema.is_subtype(name, "Quantity") => Self::Quantity,
            (Kind::Reference, "Reference") => Self::Reference,
            (Kind::Reference, "canonical" | "uri" | "url" | "oid" | "uuid") => Self::Canonical,
            (Kind::Reference, name) if schema.is_subtype(name, "Resource") => Self::Resource,
            (Kind::Uri, "uri" | "url" | "canonical" | "oid" | "uuid" | "string" | "id") => {
                Self::Uri
            }
            _ => return None,
        })
    }
}

/// Something in the resource that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unreadable {
    pub(super) what: &'static str,
    pub(super) offset: usize,
}

/// Makes index values.
pub(super) struct Converter<'a, 'o> {
    pub(super) schema: &'a Schema,
    pub(super) terminology: &'a Terminology,
    pub(super) units: &'a Units,
    pub(super) options: &'o ExtractOptions<'o>,
    pub(super) values: Vec<IndexValue<'a>>,
    pub(super) unreadable: Vec<Unreadable>,
}

fn text(value: Value<'_>) -> Option<Cow<'_, str>> {
    value.as_str().filter(|it| !it.is_empty())
}

impl<'a> Converter<'a, '_> {
    /// Adds the values of an element.
    pub(super) fn take(&mut self, conversion: &'a Conversion, value: Value<'a>) {
        match conversion {
            Conversion::Code(Some(implied)) => {
                if let Some(code) = text(value) {
                    let system = implied.system_of(&code, self.terminology);
                    self.token(Token {
                        system: system.map(Cow::Borrowed),
                        code: Some(code),
                        ..Token::default()
                    });
                }
            }
            other => self.take_unbound(other, value),
        }
    }

    /// Adds the values of an element whose binding does not count.
    fn take_unbound(&mut self, conversion: &Conversion, value: Value<'a>) {
        match conversion {
            Conversion::Code(_) => self.plain(TokenFrom::Code, value),
            Conversion::Plain(from) => self.plain(*from, value),
            Conversion::Coding => self.coding(value),
            Conversion::CodeableConcept => self.concept(value),
            Conversion::Identifier => {
                if let Some(token) = identifier(value) {
                    self.token(token);
                }
            }
            Conversion::ContactPoint => {
                if let Some(value) = value.get("value") {
                    self.plain(TokenFrom::ContactPoint, value);
                }
            }
            Conversion::Text => self.values.extend(text(value).map(IndexValue::String)),
            Conversion::Texts(names) => self.texts(names, value),
            Conversion::ConceptText => {
                self.texts(&["text", "display"], value);
                let codings = value.get("coding");
                for coding in codings.into_iter().flat_map(|it| it.items()) {
                    self.texts(&["display"], coding);
                }
            }
            Conversion::Date => {
                let range = self.date(value);
                self.values.extend(range.map(IndexValue::Date));
            }
            Conversion::Instant => {
                let range = self.date(value).map(|range| DateRange::at(range.low()));
                self.values.extend(range.map(IndexValue::Date));
            }
            Conversion::Period => {
                let range = self.period(value);
                self.values.extend(range.map(IndexValue::Date));
            }
            Conversion::Timing => {
                let range = self.timing(value);
                self.values.extend(range.map(IndexValue::Date));
            }
            Conversion::Number => {
                let number = self.decimal(value).map(NumberRange::point);
                self.values.extend(number.map(IndexValue::Number));
            }
            Conversion::NumberRange => {
                let range = self.range(value).map(|(range, _)| range);
                self.values.extend(range.map(IndexValue::Number));
            }
            Conversion::Quantity => self.quantity(value),
            Conversion::Money => self.money(value),
            Conversion::Range => {
                if let Some((range, unit)) = self.range(value) {
                    self.quantity_of(range, unit);
                }
            }
            Conversion::Reference => self.reference(value),
            Conversion::Canonical => self.values.extend(text(value).map(|text| {
                IndexValue::Reference(Reference {
                    target: ReferenceTarget::of_canonical(text),
                    identifier: None,
                    display: None,
                })
            })),
            Conversion::Resource => self.resource(value),
            Conversion::Uri => self.values.extend(text(value).map(IndexValue::Uri)),
            Conversion::Position => self.position(value),
            Conversion::Extension(kind) => self.extension(*kind, value),
        }
    }

    /// Adds the values of what FHIRPath found.
    pub(super) fn take_item(&mut self, kind: Kind, item: &Item<'a>) {
        match item {
            Item::Fhir(found) => {
                let Some(value) = found.value() else { return };
                let name = found.type_name(self.schema);
                if let Some(conversion) = Conversion::of(kind, name, self.schema) {
                    self.take_unbound(&conversion, value);
                }
            }
            Item::Integer(_) | Item::Decimal(_) if kind == Kind::Number => {
                let number = match item {
                    Item::Integer(integer) => Decimal::from(*integer),
                    Item::Decimal(decimal) => *decimal,
                    _ => return,
                };
                self.values.push(IndexValue::Number(NumberRange::point(number)));
            }
            other => {
                let Some(text) = other.to_text(self.schema).filter(|it| !it.is_empty()) else {
                    return;
                };
                let from = match other {
                    Item::Boolean(_) => TokenFrom::Boolean,
                    _ => TokenFrom::String,
                };
                match kind {
                    Kind::Token => {
                        self.token(Token { from, code: Some(text), ..Token::default() });
                    }
                    Kind::String => self.values.push(IndexValue::String(text)),
                    Kind::Uri => self.values.push(IndexValue::Uri(text)),
                    Kind::Date => {
                        let range = DateRange::parse(&text, self.options.zone);
                        self.values.extend(range.map(IndexValue::Date));
                    }
                    Kind::Number
                    | Kind::Quantity
                    | Kind::Reference
                    | Kind::Composite
                    | Kind::Special => {}
                }
            }
        }
    }

    fn cannot_read(&mut self, what: &'static str, value: Value<'_>) {
        self.unreadable.push(Unreadable { what, offset: value.offset() });
    }

    fn token(&mut self, token: Token<'a>) {
        self.values.push(IndexValue::Token(token));
    }

    fn plain(&mut self, from: TokenFrom, value: Value<'a>) {
        let code = match value.kind() {
            JsonKind::String => text(value),
            JsonKind::Boolean | JsonKind::Number => Some(Cow::Borrowed(value.raw())),
            JsonKind::Object | JsonKind::Array | JsonKind::Null => None,
        };
        if code.is_some() {
            self.token(Token { from, code, ..Token::default() });
        }
    }

    fn coding(&mut self, value: Value<'a>) {
        let coding = coding(value);
        if coding.code.is_some() || coding.text.is_some() {
            self.token(coding);
        }
    }

    /// A token for each coding, and one that has the text.
    fn concept(&mut self, value: Value<'a>) {
        for (name, member) in value.members() {
            match &*name {
                "coding" => member.items().for_each(|coding| self.coding(coding)),
                "text" => {
                    let text = text(member);
                    if text.is_some() {
                        self.token(Token { text, ..Token::default() });
                    }
                }
                _ => {}
            }
        }
    }

    fn texts(&mut self, names: &[&str], value: Value<'a>) {
        for (name, member) in value.members() {
            if names.contains(&&*name) {
                self.values.extend(member.each().filter_map(text).map(IndexValue::String));
            }
        }
    }

    fn date(&mut self, value: Value<'a>) -> Option<DateRange> {
        let text = text(value)?;
        let range = DateRange::parse(&text, self.options.zone);
        if range.is_none() {
            self.cannot_read("no date or dateTime", value);
        }
        range
    }

    /// From its start to its end; without one of them from or to eternity.
    fn period(&mut self, value: Value<'a>) -> Option<DateRange> {
        let start = value.get("start").and_then(|it| self.date(it));
        let end = value.get("end").and_then(|it| self.date(it));
        let range = match (start, end) {
            (None, None) => return None,
            (start, end) => DateRange::between(
                start.map_or(DateRange::BEGINNING, |it| it.low()),
                end.map_or(DateRange::END, |it| it.high()),
            ),
        };
        if range.is_none() {
            self.cannot_read("a Period that ends before it starts", value);
        }
        range
    }

    /// From the first of its events to the last, within its bounds.
    fn timing(&mut self, value: Value<'a>) -> Option<DateRange> {
        let bounds = value.get("repeat").and_then(|it| it.get("boundsPeriod"));
        let mut envelope = bounds.and_then(|it| self.period(it));
        for event in value.get("event").into_iter().flat_map(|it| it.items()) {
            if let Some(event) = self.date(event) {
                envelope = Some(envelope.map_or(event, |it| it.around(event)));
            }
        }
        envelope
    }

    fn reference(&mut self, value: Value<'a>) {
        let (mut target, mut by_identifier, mut display) = (None, None, None);
        for (name, member) in value.members() {
            match &*name {
                "reference" => target = text(member),
                "identifier" => by_identifier = identifier(member),
                "display" => display = text(member),
                _ => {}
            }
        }
        if target.is_none() && by_identifier.is_none() && display.is_none() {
            return;
        }
        self.values.push(IndexValue::Reference(Reference {
            target: target.map_or(ReferenceTarget::Logical, |text| {
                ReferenceTarget::of_reference(text, self.options.base)
            }),
            identifier: by_identifier.map(Box::new),
            display,
        }));
    }

    fn resource(&mut self, value: Value<'a>) {
        let part = |name: &str| value.get(name).and_then(text);
        if let (Some(resource_type), Some(id)) = (part("resourceType"), part("id")) {
            self.values.push(IndexValue::Reference(Reference {
                target: ReferenceTarget::Local { resource_type, id, version: None },
                identifier: None,
                display: None,
            }));
        }
    }

    fn extension(&mut self, kind: Kind, value: Value<'a>) {
        let Some(node) = self.schema.datatype("Extension") else { return };
        for (name, member) in value.members() {
            let element = self.schema.element(node, &name);
            let Some(element) = element.filter(|it| it.choice_name(&name) == Some("value")) else {
                continue;
            };
            let type_name = self.schema.type_name(element);
            if let Some(conversion) = Conversion::of(kind, type_name, self.schema)
                && !name.starts_with('_')
            {
                self.take_unbound(&conversion, member);
            }
        }
    }
}

fn coding(value: Value<'_>) -> Token<'_> {
    let mut token = Token::default();
    for (name, member) in value.members() {
        match &*name {
            "system" => token.system = text(member),
            "code" => token.code = text(member),
            "display" => token.text = text(member),
            _ => {}
        }
    }
    token
}

/// `None` without a value: there is nothing that a query could name.
fn identifier(value: Value<'_>) -> Option<Token<'_>> {
    let mut token = Token { from: TokenFrom::Identifier, ..Token::default() };
    for (name, member) in value.members() {
        match &*name {
            "system" => token.system = text(member),
            "value" => token.code = text(member),
            "type" => {
                token.text = member.get("text").and_then(text);
                let codings = member.get("coding").into_iter().flat_map(|it| it.items());
                token.identifier_types = codings
                    .map(coding)
                    .filter_map(|coding| Some((coding.system?, coding.code?)))
                    .collect();
            }
            _ => {}
        }
    }
    token.code.is_some().then_some(token)
}
