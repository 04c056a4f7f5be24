//! JSON compared to the digit: numbers are kept as they were written, the order of members does
//! not count, and a name that stands twice is an error.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A JSON value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// `null`, `true` or `false`.
    Word(String),
    /// A number as written.
    Number(String),
    /// A string, its escapes resolved.
    Text(String),
    /// An array.
    List(Vec<Self>),
    /// An object.
    Object(BTreeMap<String, Self>),
}

/// An object's members in their order, their values unread.
#[derive(Debug)]
pub struct Members<'a>(pub Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

impl Document {
    /// Reads a value.
    ///
    /// # Panics
    /// When it is none, or a name stands twice in an object.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let raw: &RawValue = serde_json::from_str(text).expect("JSON");
        let text = raw.get();
        match text.as_bytes()[0] {
            b'"' => Self::Text(serde_json::from_str(text).expect("a string")),
            b'[' => {
                let items: Vec<&RawValue> = serde_json::from_str(text).expect("an array");
                Self::List(items.into_iter().map(|item| Self::read(item.get())).collect())
            }
            b'{' => {
                let Members(members) = serde_json::from_str(text).expect("an object");
                let mut object = BTreeMap::new();
                for (name, value) in members {
                    let twice = object.insert(name.clone(), Self::read(value.get()));
                    assert!(twice.is_none(), "{name} stands twice");
                }
                Self::Object(object)
            }
            b'n' | b't' | b'f' => Self::Word(text.to_owned()),
            _ => Self::Number(text.to_owned()),
        }
    }

    /// Takes out what a server sets itself: `id`, `meta.versionId` and `meta.lastUpdated`, and
    /// a `meta` that has nothing else.
    #[must_use]
    pub fn without_what_servers_set(mut self) -> Self {
        if let Self::Object(members) = &mut self {
            members.remove("id");
            if let Some(Self::Object(meta)) = members.get_mut("meta") {
                meta.remove("versionId");
                meta.remove("lastUpdated");
                if meta.is_empty() {
                    members.remove("meta");
                }
            }
        }
        self
    }

    /// Writes every `reference` as `becomes` says; those of which it says nothing stay.
    pub fn rewrite_references(&mut self, becomes: &dyn Fn(&str) -> Option<String>) {
        match self {
            Self::Object(members) => {
                for (name, value) in members {
                    match value {
                        Self::Text(text) if name == "reference" => {
                            if let Some(new) = becomes(text) {
                                *text = new;
                            }
                        }
                        value => value.rewrite_references(becomes),
                    }
                }
            }
            Self::List(items) => {
                items.iter_mut().for_each(|item| item.rewrite_references(becomes));
            }
            _ => {}
        }
    }

    /// Every `reference` in it.
    #[must_use]
    pub fn references(&self) -> Vec<&str> {
        match self {
            Self::Object(members) => members
                .iter()
                .flat_map(|(name, value)| match value {
                    Self::Text(text) if name == "reference" => vec![text.as_str()],
                    value => value.references(),
                })
                .collect(),
            Self::List(items) => items.iter().flat_map(Self::references).collect(),
            _ => Vec::new(),
        }
    }

    /// Where `found` differs from this, each place in a line.
    #[must_use]
    pub fn differences(&self, found: &Self) -> Vec<String> {
        let mut differences = Vec::new();
        compare("", self, found, &mut differences);
        differences
    }
}

fn compare(path: &str, expected: &Document, found: &Document, differences: &mut Vec<String>) {
    match (expected, found) {
        (Document::Object(expected), Document::Object(found)) => {
            for (name, value) in expected {
                let path = format!("{path}.{name}");
                match found.get(name) {
                    Some(other) => compare(&path, value, other, differences),
                    None => differences.push(format!("{path} is missing")),
                }
            }
            let added = found.keys().filter(|name| !expected.contains_key(*name));
            differences.extend(added.map(|name| format!("{path}.{name} was added")));
        }
        (Document::List(expected), Document::List(found)) if expected.len() == found.len() => {
            for (at, (expected, found)) in expected.iter().zip(found).enumerate() {
                compare(&format!("{path}[{at}]"), expected, found, differences);
            }
        }
        _ if expected == found => {}
        _ => differences.push(format!("{path}: {expected:?} became {found:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_spelling_of_the_same_number_is_a_difference() {
        let read = Document::read;
        for (one, other) in [("1.0", "1.00"), ("1e3", "1000"), ("1e3", "1E3"), ("0", "-0")] {
            let (one, other) = (format!("[{{\"a\":{one}}}]"), format!("[{{\"a\":{other}}}]"));
            assert_eq!(read(&one).differences(&read(&other)).len(), 1, "{one} {other}");
        }
        let (one, other) = (r#"{"a":[1.0,"\u00e4"],"b":null}"#, r#"{ "b":null, "a":[1.0, "ä"]}"#);
        assert_eq!(read(one), read(other));
        assert!(read(one).differences(&read(other)).is_empty());
    }

    #[test]
    fn what_is_missing_added_or_another_is_said_with_its_path() {
        let one = Document::read(r#"{"a":{"b":1,"c":"x"},"d":[1,2]}"#);
        let other = Document::read(r#"{"a":{"c":"y","e":1},"d":[1]}"#);
        let differences = one.differences(&other).join("\n");
        for part in [".a.b is missing", ".a.e was added", ".a.c: Text(\"x\")", ".d: List"] {
            assert!(differences.contains(part), "{part} in {differences}");
        }
    }

    #[test]
    fn references_are_found_and_rewritten_wherever_they_stand() {
        let text = r#"{"a":[{"reference":"u1"}],"reference":"u2","b":{"value":"u1"}}"#;
        let mut document = Document::read(text);
        assert_eq!(document.references(), ["u1", "u2"]);
        document.rewrite_references(&|text| (text == "u1").then(|| "Patient/1".to_owned()));
        let expected = r#"{"a":[{"reference":"Patient/1"}],"reference":"u2","b":{"value":"u1"}}"#;
        assert_eq!(document, Document::read(expected));
    }

    #[test]
    fn only_what_servers_set_is_taken_out() {
        let text =
            r#"{"id":"1","meta":{"versionId":"1","lastUpdated":"t"},"contained":[{"id":"c"}]}"#;
        let stripped = Document::read(text).without_what_servers_set();
        assert_eq!(stripped, Document::read(r#"{"contained":[{"id":"c"}]}"#));
        let profile = r#"{"meta":{"profile":["p"],"versionId":"1"}}"#;
        let stripped = Document::read(profile).without_what_servers_set();
        assert_eq!(stripped, Document::read(r#"{"meta":{"profile":["p"]}}"#));
    }
}
