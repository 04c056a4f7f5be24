//! How much work it is to compare a resource with what a query asks, told before it is done, and
//! how much room values take: for whoever may do or keep so much and no more.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::{IndexedResource, visit};
use crate::{
    Clause, IndexValue, ParameterId, Quantity, Query, ReferenceTarget, ReferenceTest, Test, Token,
    TokenTest,
};

/// Bytes of a text that count as much as a value of its own.
const BYTES: usize = 64;

/// How much a query asks of each resource. The unit is one short value compared with another:
/// tens of nanoseconds.
#[derive(Debug, Clone)]
pub struct Weight {
    /// Clauses in all.
    clauses: usize,
    /// How much is asked of each value of a parameter, sorted by parameter.
    tests: Vec<(ParameterId, usize)>,
    /// Whether it goes on to resources that others refer to.
    has_chains: bool,
}

impl Weight {
    /// That of a query.
    #[must_use]
    pub fn of(query: &Query) -> Self {
        let (mut clauses, mut has_chains) = (1, false);
        let mut tests: BTreeMap<ParameterId, usize> = BTreeMap::new();
        let mut add = |parameter, weight: usize| *tests.entry(parameter).or_default() += weight;
        for of in &query.types {
            visit(&of.clauses, &mut |clause| {
                clauses += 1;
                match clause {
                    Clause::Value(clause) => {
                        add(clause.parameter.id, clause.tests.iter().map(of_test).sum());
                    }
                    Clause::Chain(chain) => {
                        has_chains = true;
                        add(chain.parameter.id, 1);
                    }
                    _ => {}
                }
            });
            let membership = of.membership.iter().flat_map(|it| &it.parameters);
            membership.for_each(|parameter| add(parameter.id, 1));
        }
        Self { clauses, tests: tests.into_iter().collect(), has_chains }
    }

    /// How much work it is at most to tell by a resource's own values whether it matches. Beyond
    /// all bounds where a chain may lead to what it contains.
    #[must_use]
    pub fn on(&self, resource: &IndexedResource) -> usize {
        if self.has_chains && !resource.contained().is_empty() {
            return usize::MAX;
        }
        let of_parameter = |(parameter, tests): &(ParameterId, usize)| {
            resource.values(*parameter).map(of_value).sum::<usize>().saturating_mul(*tests)
        };
        self.tests.iter().map(of_parameter).fold(self.clauses, usize::saturating_add)
    }
}

fn of_test(test: &Test) -> usize {
    match test {
        Test::String(test) => 1 + test.text.len() / BYTES,
        Test::Token(test) | Test::Reference(ReferenceTest::Identifier(test)) => of_token_test(test),
        Test::Composite(composite) => 1 + composite.parts.iter().map(of_test).sum::<usize>(),
        // No more of what is asked is looked at than there is of the value.
        Test::Number(_)
        | Test::Date(_)
        | Test::Reference(_)
        | Test::Quantity(_)
        | Test::Uri(_)
        | Test::Near(_) => 1,
    }
}

fn of_token_test(test: &TokenTest) -> usize {
    let text = match test {
        TokenTest::Code { code, .. }
        | TokenTest::Below { code, .. }
        | TokenTest::Above { code, .. } => code,
        TokenTest::OfType { value, .. } => value,
        TokenTest::System(text)
        | TokenTest::Text(text)
        | TokenTest::In(text)
        | TokenTest::MimeBelow(text) => text,
    };
    1 + text.len() / BYTES
}

fn of_value(value: &IndexValue<'_>) -> usize {
    let parts = match value {
        IndexValue::Composite(composite) => {
            composite.components.iter().flatten().map(of_value).sum()
        }
        IndexValue::Token(token) => token.identifier_types.len(),
        _ => 0,
    };
    1 + parts + text_bytes(value) / BYTES
}

/// Bytes of the texts of a value, those of its parts aside.
fn text_bytes(value: &IndexValue<'_>) -> usize {
    match value {
        IndexValue::String(text) | IndexValue::Uri(text) => text.len(),
        IndexValue::Token(token) => token_bytes(token),
        IndexValue::Reference(reference) => {
            let target = match &reference.target {
                ReferenceTarget::Local { resource_type, id, version } => {
                    resource_type.len() + id.len() + length(version.as_deref())
                }
                ReferenceTarget::Canonical { url, version } => {
                    url.len() + length(version.as_deref())
                }
                ReferenceTarget::Url(text) | ReferenceTarget::Contained(text) => text.len(),
                ReferenceTarget::Logical => 0,
            };
            let identifier = reference.identifier.as_deref().map_or(0, token_bytes);
            target + identifier + length(reference.display.as_deref())
        }
        IndexValue::Quantity(quantity) => {
            let texts = [&quantity.system, &quantity.code, &quantity.unit];
            texts.into_iter().map(|text| length(text.as_deref())).sum()
        }
        IndexValue::Number(_)
        | IndexValue::Date(_)
        | IndexValue::Composite(_)
        | IndexValue::Position(_) => 0,
    }
}

fn token_bytes(token: &Token<'_>) -> usize {
    let types = token.identifier_types.iter().map(|(system, code)| system.len() + code.len());
    let texts = [&token.system, &token.code, &token.text];
    types.sum::<usize>() + texts.into_iter().map(|text| length(text.as_deref())).sum::<usize>()
}

fn length(text: Option<&str>) -> usize {
    text.map_or(0, str::len)
}

/// Bytes that a value takes beside its own place, about.
pub(super) fn heap_bytes(value: &IndexValue<'_>) -> usize {
    let of_token =
        |token: &Token<'_>| token.identifier_types.len() * size_of::<[Cow<'_, str>; 2]>();
    let parts = match value {
        IndexValue::Token(token) => of_token(token),
        IndexValue::Reference(reference) => {
            reference.identifier.as_deref().map_or(0, |it| size_of::<Token<'_>>() + of_token(it))
        }
        IndexValue::Quantity(_) => size_of::<Quantity<'_>>(),
        IndexValue::Composite(composite) => {
            let of_part = |part: &IndexValue<'_>| size_of::<IndexValue<'_>>() + heap_bytes(part);
            let of_component = |parts: &Vec<IndexValue<'_>>| {
                size_of::<Vec<IndexValue<'_>>>() + parts.iter().map(of_part).sum::<usize>()
            };
            composite.components.iter().map(of_component).sum()
        }
        _ => 0,
    };
    parts + text_bytes(value)
}
