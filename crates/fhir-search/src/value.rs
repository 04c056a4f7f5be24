//! What of a resource is indexed, as exact typed values (FHIR R4 3.1.1.5, "Search Parameter
//! Types"). Texts are borrowed from the resource wherever they stand there without escapes.
//!
//! A query is compared with these: nothing is folded, rounded or guessed here.

mod date;
mod number;
mod owned;
mod reference;

use std::borrow::Cow;
use std::sync::Arc;

pub use date::{DateRange, Zone};
pub use number::NumberRange;
pub use reference::{Reference, ReferenceTarget, type_of_reference};

use fhirpath::Decimal;

/// One value that a search parameter has in a resource.
#[derive(Debug, Clone, PartialEq)]
pub enum IndexValue<'a> {
    /// Of a number parameter (3.1.1.5.1): a point, or a range with its ends.
    Number(NumberRange),
    /// Of a date parameter (3.1.1.5.2): when it may be.
    Date(DateRange),
    /// Of a string parameter (3.1.1.5.3): one field, as it is written.
    String(Cow<'a, str>),
    /// Of a token parameter (3.1.1.5.4).
    Token(Token<'a>),
    /// Of a reference parameter (3.1.1.5.5).
    Reference(Reference<'a>),
    /// Of a composite parameter (3.1.1.5.6): what stands in one element.
    Composite(Composite<'a>),
    /// Of a quantity parameter (3.1.1.5.7).
    Quantity(Box<Quantity<'a>>),
    /// Of a uri parameter (3.1.1.5.8): as it is written, to the letter.
    Uri(Cow<'a, str>),
    /// Of `near` (3.1.1.5.9).
    Position(Position),
}

/// A code and where it is from.
///
/// A CodeableConcept gives a token for each coding and, where it has a text, one with that alone,
/// which nothing but `:text` finds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Token<'a> {
    /// What kind of element it is the value of.
    pub from: TokenFrom,
    /// The URI of the code system or of the identifiers. `|code` finds those without.
    pub system: Option<Cow<'a, str>>,
    /// The code, or the value of an identifier.
    pub code: Option<Cow<'a, str>>,
    /// What `:text` searches: a display, CodeableConcept.text, Identifier.type.text.
    pub text: Option<Cow<'a, str>>,
    /// For `:of-type`: the codings of Identifier.type, each a system and a code.
    pub identifier_types: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

/// What a token was made of, which says how it compares (3.1.1.5.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TokenFrom {
    /// A code, Coding or CodeableConcept: case counts if it does in the code system.
    #[default]
    Code,
    /// An Identifier.
    Identifier,
    /// A ContactPoint: it has no system that a query could name.
    ContactPoint,
    /// `true` or `false`: it has no system.
    Boolean,
    /// A uri, or an id: it has no system, and case counts.
    Uri,
    /// A string: it has no system, and case does not count.
    String,
}

/// A quantity, with its unit as it is written and by UCUM.
#[derive(Debug, Clone, PartialEq)]
pub struct Quantity<'a> {
    /// Which numbers it may be: a point; with a comparator all on one side; of a Range those
    /// within.
    pub range: NumberRange,
    /// The system of the unit's code; of Money `urn:iso:std:iso:4217`.
    pub system: Option<Cow<'a, str>>,
    /// The code of the unit.
    pub code: Option<Cow<'a, str>>,
    /// The unit as people read it.
    pub unit: Option<Cow<'a, str>>,
    /// The same in UCUM's base units, where the code is one of UCUM and can be converted.
    pub canonical: Option<CanonicalQuantity>,
}

/// A quantity in base units of UCUM: those of one `unit` compare by number.
#[derive(Debug, Clone, PartialEq)]
pub struct CanonicalQuantity {
    /// Which numbers it may be.
    pub range: NumberRange,
    /// The base units, such as `g.m-3`.
    pub unit: Arc<str>,
}

/// What one element gives to each component of a composite parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct Composite<'a> {
    /// The values of each component, in the order of the definition. None is empty.
    pub components: Box<[Vec<IndexValue<'a>>]>,
}

/// Where something is, in degrees (WGS 84).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// From -90 to 90.
    pub latitude: Decimal,
    /// From -180 to 180.
    pub longitude: Decimal,
}
