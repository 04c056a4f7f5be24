//! Modifiers, and which parameters each applies to (FHIR R4, 3.1.1.4.6).

use fhir_core::ResourceType;
use fhir_schema::conformance::SearchParameter;

use crate::{Kind, QueryProblem};

/// A modifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Modifier {
    Missing,
    Exact,
    Contains,
    Text,
    Not,
    In,
    NotIn,
    Above,
    Below,
    OfType,
    Identifier,
    /// `:Patient`
    Type(ResourceType),
}

/// Each modifier that is a word, as a name has it and as SearchParameter.modifier does, and the
/// types of parameters that it applies to.
const WORDS: [(Modifier, &str, &str, &[Kind]); 11] = [
    (
        Modifier::Missing,
        "missing",
        "missing",
        &[
            Kind::Number,
            Kind::Date,
            Kind::String,
            Kind::Token,
            Kind::Reference,
            Kind::Quantity,
            Kind::Uri,
            Kind::Special,
        ],
    ),
    (Modifier::Exact, "exact", "exact", &[Kind::String]),
    (Modifier::Contains, "contains", "contains", &[Kind::String]),
    (Modifier::Text, "text", "text", &[Kind::Token]),
    (Modifier::Not, "not", "not", &[Kind::Token]),
    (Modifier::In, "in", "in", &[Kind::Token]),
    (Modifier::NotIn, "not-in", "not-in", &[Kind::Token]),
    (Modifier::Above, "above", "above", &[Kind::Token, Kind::Reference, Kind::Uri]),
    (Modifier::Below, "below", "below", &[Kind::Token, Kind::Reference, Kind::Uri]),
    (Modifier::OfType, "of-type", "ofType", &[Kind::Token]),
    (Modifier::Identifier, "identifier", "identifier", &[Kind::Reference]),
];

impl Modifier {
    /// Reads a modifier of a parameter. A definition that lists modifiers allows those alone.
    pub(super) fn parse(
        text: &str,
        kind: Kind,
        definition: &SearchParameter,
    ) -> Result<Self, QueryProblem> {
        let is_listed = |code: &str| {
            let listed = &definition.modifiers;
            listed.is_empty() || listed.iter().any(|it| &**it == code)
        };
        let word = WORDS.iter().find(|(_, word, code, kinds)| {
            *word == text && kinds.contains(&kind) && is_listed(code)
        });
        if let Some((modifier, ..)) = word {
            return Ok(modifier.clone());
        }
        match ResourceType::new(text) {
            Ok(of_type) if kind == Kind::Reference && is_listed("type") => Ok(Self::Type(of_type)),
            _ => Err(unsupported(text, kind, definition, is_listed)),
        }
    }
}

fn unsupported(
    text: &str,
    kind: Kind,
    definition: &SearchParameter,
    is_listed: impl Fn(&str) -> bool,
) -> QueryProblem {
    let mut allowed: Vec<&str> = WORDS
        .iter()
        .filter(|(_, _, code, kinds)| kinds.contains(&kind) && is_listed(code))
        .map(|(_, word, ..)| *word)
        .collect();
    if kind == Kind::Reference && is_listed("type") {
        allowed.push("a resource type");
    }
    let allowed = match allowed.as_slice() {
        [] => "it takes none".into(),
        some => format!("it takes {}", some.join(", ")).into(),
    };
    let of = format!("'{}', which is of type {}", definition.code, kind.as_str()).into();
    QueryProblem::UnsupportedModifier { modifier: text.into(), of, allowed }
}

/// A modifier where none may stand.
pub(super) fn none_here(modifier: &str, code: &str) -> QueryProblem {
    QueryProblem::UnsupportedModifier {
        modifier: modifier.into(),
        of: format!("'{code}'").into(),
        allowed: "it takes none here".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::Modifier;
    use crate::Kind;
    use fhir_schema::DefinitionSet;
    use fhir_schema::conformance::SearchParameter;

    fn with_modifiers(kind: &str, modifiers: &[&str]) -> SearchParameter {
        let mut definitions = DefinitionSet::r4().search_parameters();
        let definition = definitions.find(|it| &*it.kind == kind).unwrap();
        let modifiers = modifiers.iter().map(|it| (*it).into()).collect();
        SearchParameter { modifiers, ..(**definition).clone() }
    }

    #[test]
    fn a_definition_that_lists_modifiers_allows_no_others() {
        // SRCH-241
        let parse =
            |word, definition: &SearchParameter| Modifier::parse(word, Kind::Token, definition);
        let listing = with_modifiers("token", &["missing", "ofType"]);
        assert_eq!(parse("missing", &listing), Ok(Modifier::Missing));
        assert_eq!(parse("of-type", &listing), Ok(Modifier::OfType));
        let error = parse("not", &listing).unwrap_err().to_string();
        assert!(error.ends_with("it takes missing, of-type"), "{error}");
        assert_eq!(parse("not", &with_modifiers("token", &[])), Ok(Modifier::Not));
        let reference = with_modifiers("reference", &["identifier"]);
        assert!(Modifier::parse("Patient", Kind::Reference, &reference).is_err());
    }
}
