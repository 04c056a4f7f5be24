//! A check of JSON against the part of JSON Schema that documents of ours use. A word of a schema
//! that is not known here is an error of its own, so that none is passed over.

use serde_json::Value;

/// What is wrong with `value` by `schema`, whose references are into `document`; nothing where it
/// is as it should be.
#[must_use]
pub fn wrong(document: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(document, schema, value, "", &mut found);
    found
}

/// The schema that a reference names, or the schema itself.
///
/// # Panics
/// When the reference leads nowhere.
#[must_use]
pub fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        None => schema,
        Some(reference) => {
            let pointer = reference.strip_prefix('#').expect("a reference into the document");
            document.pointer(pointer).unwrap_or_else(|| panic!("{reference} leads nowhere"))
        }
    }
}

fn check(document: &Value, schema: &Value, value: &Value, place: &str, found: &mut Vec<String>) {
    let schema = resolved(document, schema);
    let Some(words) = schema.as_object() else {
        found.push(format!("{place}: its schema is no object"));
        return;
    };
    for (word, says) in words {
        let holds = match word.as_str() {
            "description" | "examples" => true,
            "type" => is_of(says.as_str().unwrap_or_default(), value),
            "enum" => says.as_array().is_some_and(|all| all.contains(value)),
            "maxLength" => {
                let length = value.as_str().map(|text| text.chars().count() as u64);
                length.is_none_or(|length| Some(length) <= says.as_u64())
            }
            "minimum" => value.as_u64().is_none_or(|number| Some(number) >= says.as_u64()),
            "maximum" => value.as_u64().is_none_or(|number| Some(number) <= says.as_u64()),
            "anyOf" => {
                let all = says.as_array().map(Vec::as_slice).unwrap_or_default();
                all.iter().any(|one| wrong(document, one, value).is_empty())
            }
            "items" => {
                for (at, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(document, says, item, &format!("{place}/{at}"), found);
                }
                true
            }
            "required" => {
                let names = says.as_array().into_iter().flatten().filter_map(Value::as_str);
                let missing: Vec<_> = names.filter(|name| value.get(name).is_none()).collect();
                missing.is_empty()
            }
            "properties" => {
                for (name, schema) in says.as_object().into_iter().flatten() {
                    if let Some(member) = value.get(name) {
                        check(document, schema, member, &format!("{place}/{name}"), found);
                    }
                }
                true
            }
            "additionalProperties" => {
                let known = |name: &String| schema["properties"].get(name).is_some();
                says == &Value::Bool(false)
                    && value.as_object().is_none_or(|members| members.keys().all(known))
            }
            _ => false,
        };
        if !holds {
            found.push(format!("{place}: {word} {says} does not hold of {value}"));
        }
    }
}

fn is_of(kind: &str, value: &Value) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_word_can_be_broken_and_an_unknown_one_is() {
        let document = json!({"a": {"b": {"type": "string", "maxLength": 2}}});
        let schema = json!({
            "type": "object",
            "required": ["n"],
            "additionalProperties": false,
            "properties": {
                "n": {"type": "integer", "minimum": 1, "maximum": 2},
                "l": {"type": "array", "items": {"$ref": "#/a/b"}},
                "o": {"anyOf": [{"enum": ["x"]}, {"type": "null"}]},
            },
        });
        for good in
            [json!({"n": 1}), json!({"n": 2, "l": ["ab"], "o": null}), json!({"n": 1, "o": "x"})]
        {
            assert_eq!(wrong(&document, &schema, &good), [""; 0], "{good}");
        }
        for bad in [
            json!([]),
            json!({}),
            json!({"n": 0}),
            json!({"n": 3}),
            json!({"n": "1"}),
            json!({"n": 1, "l": ["abc"]}),
            json!({"n": 1, "l": [1]}),
            json!({"n": 1, "o": "y"}),
            json!({"n": 1, "x": 1}),
        ] {
            assert_ne!(wrong(&document, &schema, &bad), [""; 0], "{bad}");
        }
        assert_ne!(wrong(&document, &json!({"pattern": "a"}), &json!("a")), [""; 0]);
    }
}
