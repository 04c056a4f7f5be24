//! JSON that can be changed. Strings and numbers stay where they were read from and are written
//! as they were.

use std::borrow::Cow;

use fhir_core::json::{Kind, Value, write_string};

use crate::number;

/// A JSON value.
#[derive(Debug, Clone)]
pub(crate) enum Node<'a> {
    Object(Vec<Member<'a>>),
    Array(Vec<Node<'a>>),
    /// A string, number or truth.
    Scalar(Value<'a>),
    Null,
}

/// A name and what stands under it.
pub(crate) type Member<'a> = (Cow<'a, str>, Node<'a>);

impl<'a> Node<'a> {
    /// The same as what was read. As deep as a document may be.
    pub(crate) fn of(value: Value<'a>) -> Self {
        match value.kind() {
            Kind::Object => {
                Self::Object(value.members().map(|(name, it)| (name, Self::of(it))).collect())
            }
            Kind::Array => Self::Array(value.items().map(Self::of).collect()),
            Kind::Null => Self::Null,
            Kind::String | Kind::Number | Kind::Boolean => Self::Scalar(value),
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The members of an object.
    pub(crate) fn members(&self) -> Option<&[Member<'a>]> {
        match self {
            Self::Object(members) => Some(members),
            _ => None,
        }
    }

    pub(crate) fn members_mut(&mut self) -> Option<&mut Vec<Member<'a>>> {
        match self {
            Self::Object(members) => Some(members),
            _ => None,
        }
    }

    /// What stands under this name.
    pub(crate) fn get(&self, name: &str) -> Option<&Self> {
        self.members()?.iter().find(|(it, _)| it == name).map(|(_, value)| value)
    }

    /// The content of a string.
    pub(crate) fn as_str(&self) -> Option<Cow<'a, str>> {
        match self {
            Self::Scalar(value) => value.as_str(),
            _ => None,
        }
    }

    /// Appends it as compact JSON.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.extend_from_slice(b"null"),
            Self::Scalar(value) => out.extend_from_slice(value.raw().as_bytes()),
            Self::Object(members) => {
                out.push(b'{');
                for (index, (name, value)) in members.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    write_string(name, out);
                    out.push(b':');
                    value.write(out);
                }
                out.push(b'}');
            }
            Self::Array(items) => {
                out.push(b'[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    item.write(out);
                }
                out.push(b']');
            }
        }
    }

    /// As compact JSON.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    /// About how many bytes it has as JSON, and how many levels.
    pub(crate) fn measure(&self) -> Measure {
        let mut inner = Measure { bytes: 0, levels: 0 };
        match self {
            Self::Null => return Measure { bytes: 4, levels: 0 },
            Self::Scalar(value) => return Measure { bytes: value.raw().len(), levels: 0 },
            Self::Object(members) => {
                for (name, value) in members {
                    inner.add(value.measure(), name.len() + 4);
                }
            }
            Self::Array(items) => items.iter().for_each(|item| inner.add(item.measure(), 1)),
        }
        Measure { bytes: inner.bytes + 2, levels: inner.levels + 1 }
    }

    /// Whether both say the same: strings by their content, numbers by their value, objects
    /// whatever the order of their names (RFC 6902, 4.6).
    pub(crate) fn is_equal(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Scalar(one), Self::Scalar(other)) => match (one.kind(), other.kind()) {
                (Kind::String, Kind::String) => one.as_str() == other.as_str(),
                (Kind::Number, Kind::Number) => number::is_same(one.raw(), other.raw()),
                (Kind::Boolean, Kind::Boolean) => one.as_bool() == other.as_bool(),
                _ => false,
            },
            (Self::Array(one), Self::Array(other)) => {
                one.len() == other.len()
                    && one.iter().zip(other).all(|(one, other)| one.is_equal(other))
            }
            (Self::Object(one), Self::Object(other)) => {
                one.len() == other.len() && {
                    let (one, other) = (sorted(one), sorted(other));
                    one.iter()
                        .zip(other)
                        .all(|(one, other)| one.0 == other.0 && one.1.is_equal(&other.1))
                }
            }
            _ => false,
        }
    }
}

fn sorted<'m, 'a>(members: &'m [Member<'a>]) -> Vec<&'m Member<'a>> {
    let mut sorted: Vec<_> = members.iter().collect();
    sorted.sort_unstable_by(|one, other| one.0.cmp(&other.0));
    sorted
}

/// How much a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Measure {
    pub(crate) bytes: usize,
    /// Objects and arrays inside each other; nought for a scalar.
    pub(crate) levels: usize,
}

impl Measure {
    fn add(&mut self, inner: Self, around: usize) {
        self.bytes += inner.bytes + around;
        self.levels = self.levels.max(inner.levels);
    }
}
