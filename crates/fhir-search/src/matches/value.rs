//! One value of a resource against one test.

use fhir_core::{ResourceId, ResourceType};

use super::{Unanswered, World, hierarchy, near, token};
use crate::{
    IndexValue, Parameter, Reference, ReferenceTest, StringMatch, StringTest, Test, TokenTest,
    UriTest, fold,
};

/// Whether a test of a parameter holds of a value, whose text is given folded. Of a value of
/// another kind it does not hold.
pub(super) fn holds(
    test: &Test,
    value: &IndexValue<'_>,
    folded: Option<&str>,
    parameter: &Parameter,
    world: &dyn World,
) -> Result<bool, Unanswered> {
    Ok(match (test, value) {
        (Test::Number(test), IndexValue::Number(range)) => test.holds(*range),
        (Test::Date(test), IndexValue::Date(range)) => test.holds(*range),
        (Test::String(test), IndexValue::String(text)) => {
            is_text(test, text, folded.unwrap_or_default(), parameter)
        }
        (Test::Token(test), IndexValue::Token(token)) => {
            token::holds(test, token, folded, world.codes())?
        }
        (Test::Reference(test), IndexValue::Reference(reference)) => {
            is_reference(test, reference, parameter, world)?
        }
        (Test::Composite(test), IndexValue::Composite(composite)) => {
            if test.parts.len() != composite.components.len() {
                return Ok(false);
            }
            for (part, values) in test.parts.iter().zip(&composite.components) {
                let mut found = false;
                for value in values {
                    let folded = text_of(value).map(fold);
                    found = found || holds(part, value, folded.as_deref(), parameter, world)?;
                }
                if !found {
                    return Ok(false);
                }
            }
            true
        }
        (Test::Quantity(test), IndexValue::Quantity(quantity)) => test.holds(quantity),
        (Test::Uri(UriTest::OfResource { resource_type, id }), IndexValue::Uri(uri)) => {
            is_uri_of(resource_type, id, uri, world)?
        }
        (Test::Uri(test), IndexValue::Uri(uri)) => test.holds(uri),
        (Test::Near(test), IndexValue::Position(position)) => near::holds(test, position),
        _ => false,
    })
}

/// Whether it is texts that a test is about, not codes.
pub(super) fn is_of_text(test: &Test) -> bool {
    matches!(test, Test::Token(TokenTest::Text(_)))
}

/// The text of a value that is compared folded.
pub(super) fn text_of<'v>(value: &'v IndexValue<'_>) -> Option<&'v str> {
    match value {
        IndexValue::String(text) => Some(text),
        IndexValue::Token(token) => token.text.as_deref(),
        _ => None,
    }
}

fn is_text(test: &StringTest, text: &str, folded: &str, parameter: &Parameter) -> bool {
    match test.at {
        StringMatch::Exact => test.holds(text),
        _ if parameter.finds_words() => test.holds_of_a_word(folded),
        _ => test.holds(folded),
    }
}

fn is_reference(
    test: &ReferenceTest,
    reference: &Reference<'_>,
    parameter: &Parameter,
    world: &dyn World,
) -> Result<bool, Unanswered> {
    if let Some(holds) = test.holds(&reference.target) {
        return Ok(holds);
    }
    match test {
        ReferenceTest::Identifier(test) => match &reference.identifier {
            Some(identifier) => {
                let text = identifier.text.as_deref().map(fold);
                Ok(token::holds(test, identifier, text.as_deref(), world.codes())?)
            }
            None => Ok(false),
        },
        ReferenceTest::Hierarchy { towards, resource_type, id } => {
            let from = (resource_type.as_str(), id.as_str());
            hierarchy::holds(*towards, from, &reference.target, parameter, world)
        }
        _ => Ok(false),
    }
}

/// Whether a URI is the canonical URL of a resource, or its address here.
fn is_uri_of(
    resource_type: &ResourceType,
    id: &ResourceId,
    uri: &str,
    world: &dyn World,
) -> Result<bool, Unanswered> {
    let address = format!("{resource_type}/{id}");
    let is_own = |base: &str| {
        let rest = uri.strip_prefix(base).and_then(|rest| rest.strip_prefix('/'));
        rest == Some(&*address)
    };
    if uri == address || world.base().is_some_and(is_own) {
        return Ok(true);
    }
    let Some(url) = world.parameters().get(resource_type.as_str(), "url") else {
        return Ok(false);
    };
    let Some(resource) = world.resource(resource_type.as_str(), id.as_str())? else {
        return Ok(false);
    };
    let unversioned = uri.split_once('|').map_or(uri, |(url, _)| url);
    let is_url = |value: &IndexValue<'_>| matches!(value, IndexValue::Uri(of) if of == unversioned);
    Ok(resource.values(url.id).any(is_url))
}
