//! Fixed values and patterns (FHIR R4, ElementDefinition `fixed[x]` and `pattern[x]`).

use fhir_core::json::{Document, Kind, Value};

/// A value of a definition, compared with values of resources.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Template {
    Object(Vec<(Box<str>, Template)>),
    Array(Vec<Template>),
    Text(Box<str>),
    /// A number or boolean, as it is written.
    Literal(Box<str>),
    Null,
}

impl Template {
    /// Reads the JSON of a definition.
    pub(crate) fn read(json: &str) -> Option<Self> {
        Document::parse(json.as_bytes()).ok().map(|document| Self::of(document.root()))
    }

    fn of(value: Value<'_>) -> Self {
        match value.kind() {
            Kind::Object => {
                let member = |(name, value): (std::borrow::Cow<'_, str>, Value<'_>)| {
                    (Box::from(&*name), Self::of(value))
                };
                Self::Object(value.members().map(member).collect())
            }
            Kind::Array => Self::Array(value.items().map(Self::of).collect()),
            Kind::String => Self::Text(value.as_str().unwrap_or_default().into()),
            Kind::Number | Kind::Boolean => Self::Literal(value.raw().into()),
            Kind::Null => Self::Null,
        }
    }

    /// Whether a value is exactly this: nothing more, arrays in the same order.
    pub(crate) fn equals(&self, value: Value<'_>) -> bool {
        match self {
            Self::Object(members) => {
                value.kind() == Kind::Object
                    && value.members().count() == members.len()
                    && members
                        .iter()
                        .all(|(name, it)| value.get(name).is_some_and(|value| it.equals(value)))
            }
            Self::Array(items) => {
                value.kind() == Kind::Array
                    && value.items().count() == items.len()
                    && items.iter().zip(value.items()).all(|(item, value)| item.equals(value))
            }
            _ => self.is_scalar(value),
        }
    }

    /// Whether a value has at least this: each item of an array matches some item.
    pub(crate) fn matches(&self, value: Value<'_>) -> bool {
        match self {
            Self::Object(members) => {
                value.kind() == Kind::Object
                    && members
                        .iter()
                        .all(|(name, it)| value.get(name).is_some_and(|value| it.matches(value)))
            }
            Self::Array(items) => {
                value.kind() == Kind::Array
                    && items.iter().all(|item| value.items().any(|value| item.matches(value)))
            }
            _ => self.is_scalar(value),
        }
    }

    fn is_scalar(&self, value: Value<'_>) -> bool {
        match self {
            Self::Text(text) => value.is_string(text),
            // Decimals are compared with their precision: 1.0 is not 1.00.
            Self::Literal(literal) => {
                matches!(value.kind(), Kind::Number | Kind::Boolean) && value.raw() == &**literal
            }
            Self::Null => value.kind() == Kind::Null,
            Self::Object(_) | Self::Array(_) => false,
        }
    }

    /// What of this stands at a path of names below it, through arrays of one item.
    pub(crate) fn at(&self, path: &[&str]) -> Option<&Self> {
        match (self, path) {
            (Self::Array(items), _) => match &items[..] {
                [one] => one.at(path),
                _ => None,
            },
            (_, []) => Some(self),
            (Self::Object(members), [name, rest @ ..]) => {
                members.iter().find(|(it, _)| &**it == *name).and_then(|(_, it)| it.at(rest))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(template: &str, value: &str) -> (bool, bool) {
        let template = Template::read(template).expect("the cases are JSON");
        let document = Document::parse(value.as_bytes()).expect("the cases are JSON");
        (template.equals(document.root()), template.matches(document.root()))
    }

    #[test]
    fn a_fixed_value_is_whole_and_a_pattern_a_part() {
        // VAL-063, VAL-064, VAL-065
        let coding = r#"{"coding":[{"system":"s","code":"c"}]}"#;
        let cases = [
            (coding, coding, (true, true)),
            (coding, r#"{"coding":[{"code":"c","system":"s"}]}"#, (true, true)),
            (
                coding,
                r#"{"coding":[{"code":"d"},{"system":"s","code":"c","display":"x"}]}"#,
                (false, true),
            ),
            (coding, r#"{"coding":[{"system":"s","code":"d"}]}"#, (false, false)),
            (coding, r#"{"text":"c"}"#, (false, false)),
            ("1.0", "1.00", (false, false)),
            (r#"["a","b"]"#, r#"["b","a"]"#, (false, true)),
        ];
        for (template, value, expected) in cases {
            assert_eq!(compare(template, value), expected, "{template} {value}");
        }
    }
}
