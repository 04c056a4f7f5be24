//! Values that outlive the resource they were taken from.

use std::borrow::Cow;

use super::{Composite, IndexValue, Quantity, Reference, ReferenceTarget, Token};

fn text(text: Cow<'_, str>) -> Cow<'static, str> {
    Cow::Owned(text.into_owned())
}

fn optional(of: Option<Cow<'_, str>>) -> Option<Cow<'static, str>> {
    of.map(text)
}

impl IndexValue<'_> {
    /// The same value, with texts of its own.
    #[must_use]
    pub fn into_owned(self) -> IndexValue<'static> {
        match self {
            Self::Number(range) => IndexValue::Number(range),
            Self::Date(range) => IndexValue::Date(range),
            Self::String(string) => IndexValue::String(text(string)),
            Self::Token(token) => IndexValue::Token(token.into_owned()),
            Self::Reference(reference) => IndexValue::Reference(reference.into_owned()),
            Self::Composite(composite) => {
                let owned = |values: Vec<IndexValue<'_>>| {
                    values.into_iter().map(IndexValue::into_owned).collect()
                };
                let components = composite.components.into_iter().map(owned).collect();
                IndexValue::Composite(Composite { components })
            }
            Self::Quantity(quantity) => {
                let Quantity { range, system, code, unit, canonical } = *quantity;
                IndexValue::Quantity(Box::new(Quantity {
                    range,
                    system: optional(system),
                    code: optional(code),
                    unit: optional(unit),
                    canonical,
                }))
            }
            Self::Uri(uri) => IndexValue::Uri(text(uri)),
            Self::Position(position) => IndexValue::Position(position),
        }
    }
}

impl Token<'_> {
    fn into_owned(self) -> Token<'static> {
        let types = self.identifier_types.into_iter();
        Token {
            from: self.from,
            system: optional(self.system),
            code: optional(self.code),
            text: optional(self.text),
            identifier_types: types.map(|(system, code)| (text(system), text(code))).collect(),
        }
    }
}

impl Reference<'_> {
    fn into_owned(self) -> Reference<'static> {
        Reference {
            target: self.target.into_owned(),
            identifier: self.identifier.map(|token| Box::new(token.into_owned())),
            display: optional(self.display),
        }
    }
}

impl ReferenceTarget<'_> {
    fn into_owned(self) -> ReferenceTarget<'static> {
        match self {
            Self::Local { resource_type, id, version } => ReferenceTarget::Local {
                resource_type: text(resource_type),
                id: text(id),
                version: optional(version),
            },
            Self::Url(url) => ReferenceTarget::Url(text(url)),
            Self::Canonical { url, version } => {
                ReferenceTarget::Canonical { url: text(url), version: optional(version) }
            }
            Self::Contained(id) => ReferenceTarget::Contained(text(id)),
            Self::Logical => ReferenceTarget::Logical,
        }
    }
}
