//! What bodies look like: one description of each, from which requests are checked and the OpenAPI
//! document is written.

use serde_json::{Map, Value, json};

/// What a value is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Form {
    /// Text without control characters, of so many characters at most; and one that is good.
    Text { most: usize, example: &'static str },
    /// A whole number in these bounds.
    Number { least: u64, most: u64 },
    /// True or false.
    Truth,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Any number of these.
    List(&'static Form),
    /// What is said of this shape.
    Shaped(&'static Shape),
    /// One of these, or null.
    OrNull(&'static Form),
}

/// An object: its members, and no others.
#[derive(Debug)]
pub(crate) struct Shape {
    /// Its name in the document.
    pub(crate) name: &'static str,
    pub(crate) says: &'static str,
    pub(crate) fields: &'static [Field],
}

/// A member of an object.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) says: &'static str,
    pub(crate) form: Form,
    pub(crate) is_needed: bool,
}

/// Something in a body is not as it has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wrong {
    /// Where, as a JSON Pointer (RFC 6901), or `?NAME` of a parameter of the query.
    pub(crate) place: String,
    /// What, and what would be right.
    pub(crate) what: String,
}

/// A member that has to be there.
pub(crate) const fn needed(name: &'static str, form: Form, says: &'static str) -> Field {
    Field { name, says, form, is_needed: true }
}

/// A member that may be left out.
pub(crate) const fn optional(name: &'static str, form: Form, says: &'static str) -> Field {
    Field { name, says, form, is_needed: false }
}

impl Wrong {
    pub(crate) fn new(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { place: place.into(), what: what.into() }
    }
}

impl Shape {
    /// What is wrong with a body that should be of this shape; nothing where it is.
    pub(crate) fn check(&'static self, value: &Value) -> Vec<Wrong> {
        let mut found = Vec::new();
        Form::Shaped(self).check(value, "", &mut found);
        found
    }

    fn check_members(&self, members: &Map<String, Value>, place: &str, found: &mut Vec<Wrong>) {
        for field in self.fields {
            let place = format!("{place}/{}", field.name);
            match members.get(field.name) {
                Some(value) => field.form.check(value, &place, found),
                None if field.is_needed => {
                    let what = format!("is missing; give {}", field.form.in_words());
                    found.push(Wrong::new(place, what));
                }
                None => {}
            }
        }
        let is_known = |name: &String| self.fields.iter().any(|field| field.name == name);
        for name in members.keys().filter(|name| !is_known(name)) {
            let known: Vec<_> = self.fields.iter().map(|field| field.name).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            // A pointer writes these two in another way.
            let written = name.replace('~', "~0").replace('/', "~1");
            let what = format!("is no member that is known; known are: {known}");
            found.push(Wrong::new(format!("{place}/{written}"), what));
        }
    }

    /// As JSON Schema (2020-12, which OpenAPI 3.1 takes).
    pub(crate) fn schema(&self) -> Value {
        let properties = self.fields.iter().map(|field| {
            let mut schema = field.form.schema();
            if let (Some(schema), false) = (schema.as_object_mut(), field.says.is_empty()) {
                schema.insert("description".to_owned(), field.says.into());
            }
            (field.name.to_owned(), schema)
        });
        let needed = self.fields.iter().filter(|field| field.is_needed).map(|field| field.name);
        json!({
            "type": "object",
            "description": self.says,
            "properties": properties.collect::<Map<_, _>>(),
            "required": needed.collect::<Vec<_>>(),
            "additionalProperties": false,
        })
    }

    /// Hands this shape and every one within it to `each`.
    pub(crate) fn walk(&'static self, each: &mut dyn FnMut(&'static Shape)) {
        each(self);
        for field in self.fields {
            field.form.walk(each);
        }
    }
}

impl Form {
    fn check(&self, value: &Value, place: &str, found: &mut Vec<Wrong>) {
        let fits = match (self, value) {
            (Self::OrNull(_), Value::Null) => true,
            (Self::OrNull(form), value) => return form.check(value, place, found),
            (Self::Text { most, .. }, Value::String(text)) => {
                text.chars().count() <= *most && !text.chars().any(char::is_control)
            }
            (Self::Number { least, most }, value) => {
                value.as_u64().is_some_and(|number| (*least..=*most).contains(&number))
            }
            (Self::Truth, Value::Bool(_)) => true,
            (Self::Word(words), Value::String(text)) => words.contains(&text.as_str()),
            (Self::List(form), Value::Array(items)) => {
                for (at, item) in items.iter().enumerate() {
                    form.check(item, &format!("{place}/{at}"), found);
                }
                true
            }
            (Self::Shaped(shape), Value::Object(members)) => {
                shape.check_members(members, place, found);
                true
            }
            _ => false,
        };
        if !fits {
            found.push(Wrong::new(place, format!("has to be {}", self.in_words())));
        }
    }

    /// What it takes, for people.
    fn in_words(&self) -> String {
        match self {
            Self::Text { most, example } => {
                format!(
                    "a text of at most {most} characters, none of them a control character, such as \"{example}\""
                )
            }
            Self::Number { least, most } => format!("a whole number from {least} to {most}"),
            Self::Truth => "true or false".to_owned(),
            Self::Word(words) => format!("one of {}", words.join(", ")),
            Self::List(form) => format!("a list, each of it {}", form.in_words()),
            Self::Shaped(_) => "an object".to_owned(),
            Self::OrNull(form) => format!("{}, or null", form.in_words()),
        }
    }

    /// As JSON Schema.
    pub(crate) fn schema(&self) -> Value {
        match self {
            Self::Text { most, example } => {
                json!({"type": "string", "maxLength": most, "examples": [example]})
            }
            Self::Number { least, most } => {
                json!({"type": "integer", "minimum": least, "maximum": most})
            }
            Self::Truth => json!({"type": "boolean"}),
            Self::Word(words) => json!({"type": "string", "enum": words}),
            Self::List(form) => json!({"type": "array", "items": form.schema()}),
            Self::Shaped(shape) => {
                json!({"$ref": format!("#/components/schemas/{}", shape.name)})
            }
            Self::OrNull(form) => json!({"anyOf": [form.schema(), {"type": "null"}]}),
        }
    }

    fn walk(&self, each: &mut dyn FnMut(&'static Shape)) {
        match self {
            Self::Shaped(shape) => shape.walk(each),
            Self::List(form) | Self::OrNull(form) => form.walk(each),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static INNER: Shape = Shape {
        name: "Inner",
        says: "",
        fields: &[needed("on", Form::Truth, ""), optional("of", Form::Word(&["a", "b"]), "")],
    };
    static OUTER: Shape = Shape {
        name: "Outer",
        says: "",
        fields: &[
            needed("name", Form::Text { most: 3, example: "ab" }, ""),
            optional("count", Form::Number { least: 1, most: 9 }, ""),
            optional("plan", Form::OrNull(&Form::Text { most: 3, example: "x" }), ""),
            optional("inner", Form::List(&Form::Shaped(&INNER)), ""),
        ],
    };

    #[track_caller]
    fn check(value: Value, places: &[&str]) {
        let found = OUTER.check(&value);
        let at: Vec<_> = found.iter().map(|wrong| wrong.place.as_str()).collect();
        assert_eq!(at, places, "{value} {found:?}");
    }

    // GW-063
    #[test]
    fn what_is_wrong_is_said_by_its_place() {
        check(json!({"name": "abc"}), &[]);
        check(json!({"name": "äöü", "plan": null, "count": 9, "inner": []}), &[]);
        check(json!({"name": "abcd"}), &["/name"]);
        check(json!({"name": "a\n"}), &["/name"]);
        check(json!({}), &["/name"]);
        check(json!({"name": "a", "count": 0}), &["/count"]);
        check(json!({"name": "a", "count": 1.5}), &["/count"]);
        check(json!({"name": "a", "count": "1"}), &["/count"]);
        check(json!({"name": "a", "plan": 7}), &["/plan"]);
        check(json!({"name": "a", "x/y": 1, "z": 2}), &["/x~1y", "/z"]);
        let inner = json!([{"on": true, "of": "a"}, {"on": 1, "of": "c"}, 7]);
        check(json!({"name": "a", "inner": inner}), &["/inner/1/on", "/inner/1/of", "/inner/2"]);
        check(json!([]), &[""]);
        check(json!({"name": null, "count": null}), &["/name", "/count"]);
    }
}
