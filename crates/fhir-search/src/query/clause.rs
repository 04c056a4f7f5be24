//! Conditions on a resource: a tree of what its parameters must say (FHIR R4, 3.1.1.4).

use std::sync::Arc;

use fhir_core::{ResourceId, ResourceType};

use super::{
    CompositeTest, DateTest, NearTest, NumberTest, QuantityTest, ReferenceTest, StringTest,
    TextTest, TokenTest, UriTest,
};
use crate::Parameter;

/// Something that holds of a resource or does not.
#[derive(Debug, Clone, PartialEq)]
pub enum Clause {
    /// A value of a parameter.
    Value(ValueClause),
    /// `:missing`: the resource has no value of the parameter, or, with `false`, has one.
    Missing {
        /// The parameter.
        parameter: Arc<Parameter>,
        /// Whether it must be missing.
        missing: bool,
    },
    /// A resource that is referred to.
    Chain(Chain),
    /// `_has`: a resource that refers to this one.
    Has(Has),
    /// `_text`: words of the narrative.
    Text(TextTest),
    /// `_content`: words of the whole resource.
    Content(TextTest),
    /// `_list`: it is on the List with this id.
    List(ResourceId),
    /// All hold. Of an empty one that is true.
    All(Vec<Clause>),
    /// At least one holds. Of an empty one that is false.
    Any(Vec<Clause>),
    /// It does not hold: so of `:not`, which resources without a value pass too.
    Not(Box<Clause>),
}

/// A condition on the values that a resource has of a parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct ValueClause {
    /// The parameter.
    pub parameter: Arc<Parameter>,
    /// The values of the request, of which one suffices; at least one, and all of the parameter's
    /// kind.
    pub tests: Arc<[Test]>,
    /// What must be so of a value of the resource.
    pub sense: Sense,
}

/// How a value of the resource is to stand to the tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sense {
    /// Of some value at least one test holds.
    SomeHolds,
    /// Of some value none of the tests holds: `ne` of `_filter`. It needs a value, unlike
    /// [`Clause::Not`].
    SomeDiffers,
}

/// A test on one value.
#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    /// Of a number.
    Number(NumberTest),
    /// Of a date, time or period.
    Date(DateTest),
    /// Of text.
    String(StringTest),
    /// Of a code.
    Token(TokenTest),
    /// Of a reference.
    Reference(ReferenceTest),
    /// Of values that stand together.
    Composite(CompositeTest),
    /// Of a number with a unit.
    Quantity(QuantityTest),
    /// Of a URI.
    Uri(UriTest),
    /// Of a position.
    Near(NearTest),
}

/// `subject:Patient.name`: one resource that the parameter refers to satisfies the clause of its
/// type. Only resources that are here, or contained, count.
#[derive(Debug, Clone, PartialEq)]
pub struct Chain {
    /// The reference.
    pub parameter: Arc<Parameter>,
    /// What must hold of a target, by its type; no type twice.
    pub targets: Vec<(ResourceType, Clause)>,
}

/// `_has:Observation:patient:code`: one resource of the type refers to this one by the parameter
/// and satisfies the clause.
#[derive(Debug, Clone, PartialEq)]
pub struct Has {
    /// The type of the resources that refer here.
    pub resource_type: ResourceType,
    /// Their reference.
    pub parameter: Arc<Parameter>,
    /// What must hold of them.
    pub clause: Box<Clause>,
}
