//! Values, by the type of their parameter (FHIR R4, 3.1.1.4.7 to 3.1.1.4.16).

mod ordered;
mod reference;
mod token;
mod uri;

pub(super) use ordered::ordered_test;

use fhir_core::ResourceType;
use fhir_schema::conformance::SearchParameter;
use fhirpath::{CanonicalUnit, Decimal};

use super::elements::Source;
use super::modifier::Modifier;
use super::{Fault, Piece, Reader};
use crate::{
    Component, CompositeTest, Kind, NearTest, Parameter, QueryProblem, StringMatch, StringTest,
    Test,
};

/// What a value is of: a parameter, or a component of one.
pub(super) struct Of<'a> {
    pub(super) kind: Kind,
    pub(super) definition: &'a SearchParameter,
    /// The type of the resources that have the parameter.
    pub(super) resource_type: &'a str,
    components: &'a [Component],
}

impl<'a> Of<'a> {
    pub(super) fn parameter(parameter: &'a Parameter) -> Self {
        Self {
            kind: parameter.kind,
            definition: &parameter.definition,
            resource_type: &parameter.resource_type,
            components: &parameter.components,
        }
    }

    fn source(&self) -> Source<'a> {
        Source { definition: self.definition, resource_type: self.resource_type }
    }

    fn component(&self, component: &'a Component) -> Self {
        Self {
            kind: component.kind,
            definition: &component.definition,
            resource_type: self.resource_type,
            components: &[],
        }
    }
}

impl Reader<'_> {
    /// What one value asks. The modifier applies to the parameter.
    pub(super) fn test(
        &self,
        of: &Of<'_>,
        modifier: Option<&Modifier>,
        value: Piece<'_>,
    ) -> Result<Test, Fault> {
        match of.kind {
            Kind::Number | Kind::Date | Kind::Quantity => self.with_prefix(of, value),
            Kind::String => {
                let at = match modifier {
                    Some(Modifier::Exact) => StringMatch::Exact,
                    Some(Modifier::Contains) => StringMatch::Contains,
                    _ => StringMatch::Start,
                };
                let text = value.unescape(self.handling)?;
                string(at, &text, value).map(Test::String)
            }
            Kind::Token => self.token(of, modifier, value).map(Test::Token),
            Kind::Reference => self.reference(of, modifier, value).map(Test::Reference),
            Kind::Uri => self.uri(of, modifier, value).map(Test::Uri),
            Kind::Composite => self.composite(of, value).map(Test::Composite),
            Kind::Special => near(value).map(Test::Near),
        }
    }

    /// `part$part`.
    fn composite(&self, of: &Of<'_>, value: Piece<'_>) -> Result<CompositeTest, Fault> {
        let expected = of.components.len();
        let given = value.split(b'$').count();
        if given != expected {
            return Err(value.fault(QueryProblem::CompositeParts { expected, given }));
        }
        let parts = of.components.iter().zip(value.split(b'$')).map(|(component, part)| {
            if part.text.is_empty() {
                return Err(part.fault(QueryProblem::EmptyValue));
            }
            self.test(&of.component(component), None, part)
        });
        Ok(CompositeTest { parts: parts.collect::<Result<_, _>>()? })
    }
}

/// What is asked of a text.
pub(super) fn string(at: StringMatch, text: &str, value: Piece<'_>) -> Result<StringTest, Fault> {
    StringTest::new(at, text).ok_or_else(|| value.fault(QueryProblem::NothingToCompare))
}

/// `latitude|longitude|distance|unit`: the unit is kilometres, and the distance the server's, when
/// they are not given.
fn near(value: Piece<'_>) -> Result<NearTest, Fault> {
    let mend = "write latitude|longitude|distance|unit in degrees, as 48.2|16.4|10|km; distance and \
                unit may be left out";
    let invalid = |at: Piece<'_>, what| at.fault(QueryProblem::invalid(what, mend));
    let parts: Vec<Piece<'_>> = value.split(b'|').collect();
    let (latitude, longitude, rest) = match parts.as_slice() {
        [latitude, longitude, rest @ ..] if rest.len() <= 2 => (*latitude, *longitude, rest),
        _ => return Err(invalid(value, "position")),
    };
    let degrees = |at: Piece<'_>, most: i64, what| {
        Decimal::parse(at.text)
            .filter(|degrees| degrees.abs() <= Decimal::from(most))
            .ok_or_else(|| invalid(at, what))
    };
    let latitude = degrees(latitude, 90, "latitude from -90 to 90")?;
    let longitude = degrees(longitude, 180, "longitude from -180 to 180")?;
    let metres = match rest.first() {
        Some(distance) if !distance.text.is_empty() => {
            let code = rest.get(1).filter(|unit| !unit.text.is_empty());
            let unit = CanonicalUnit::of(code.map_or("km", |unit| unit.text));
            let unit = unit
                .filter(|unit| &**unit.unit() == "m")
                .ok_or_else(|| invalid(*code.unwrap_or(distance), "unit of length in UCUM"))?;
            let metres = Decimal::parse(distance.text)
                .filter(|it| !it.is_negative())
                .and_then(|it| unit.convert(it));
            Some(metres.ok_or_else(|| invalid(*distance, "distance"))?)
        }
        _ => None,
    };
    Ok(NearTest { latitude, longitude, metres })
}

/// The type that a modifier restricts a reference to.
fn type_of(modifier: Option<&Modifier>) -> Option<&ResourceType> {
    match modifier {
        Some(Modifier::Type(of_type)) => Some(of_type),
        _ => None,
    }
}
