//! Where tests have their resources from, and how they write index values.

#![allow(dead_code, reason = "each test file uses a part of this")]

use std::ops::Bound;
use std::sync::{Arc, LazyLock};

use fhir_core::json::Document;
use fhir_schema::{DefinitionSet, Schema};
use fhir_search::{
    ExtractOptions, Extractor, IndexValue, NumberRange, Parameters, Reference, ReferenceTarget,
    Token,
};
use fhir_terminology::Terminology;

/// Of R4 alone.
pub(crate) static R4: LazyLock<Extractor<'static>> = LazyLock::new(|| {
    let (schema, definitions) = (Schema::r4(), DefinitionSet::r4());
    let parameters = Arc::new(Parameters::new(definitions, schema));
    Extractor::new(schema, parameters, definitions.clone(), Terminology::r4())
});

/// The values that a parameter of R4 has in a resource, each as [`show`] writes it.
pub(crate) fn values(json: &str, code: &str) -> Vec<String> {
    values_with(json, code, &ExtractOptions::default())
}

/// As [`values`], with options.
pub(crate) fn values_with(json: &str, code: &str, options: &ExtractOptions<'_>) -> Vec<String> {
    let document = Document::parse(json.as_bytes()).unwrap();
    let of = document.root().get_str("resourceType").unwrap();
    let parameter = R4.parameters().get(&of, code).unwrap_or_else(|| panic!("{of}?{code}")).id;
    R4.extract(document.root(), options).of(parameter).map(show).collect()
}

/// A value on one line.
pub(crate) fn show(value: &IndexValue<'_>) -> String {
    match value {
        IndexValue::Number(range) => numbers(range),
        IndexValue::Date(range) => {
            let moment = |micros: i64| match micros {
                i64::MIN => "ever".to_owned(),
                i64::MAX => "ever".to_owned(),
                // The year after 9999 has no text.
                253_402_300_800_000_000 => "10000".to_owned(),
                micros => {
                    let text = fhir_core::Instant::from_micros(micros).to_string();
                    text.replace(".000000", "").replace("T00:00:00Z", "")
                }
            };
            format!("{}..{}", moment(range.low()), moment(range.high()))
        }
        IndexValue::String(text) => format!("'{text}'"),
        IndexValue::Token(token) => token_text(token),
        IndexValue::Reference(reference) => reference_text(reference),
        IndexValue::Composite(composite) => {
            let parts = composite.components.iter().map(|values| {
                let values: Vec<String> = values.iter().map(show).collect();
                values.join(", ")
            });
            parts.collect::<Vec<_>>().join(" $ ")
        }
        IndexValue::Quantity(quantity) => {
            let part =
                |it: &Option<std::borrow::Cow<'_, str>>| it.as_deref().unwrap_or("").to_owned();
            let mut text = format!(
                "{}|{}|{}",
                numbers(&quantity.range),
                part(&quantity.system),
                part(&quantity.code)
            );
            if let Some(unit) = &quantity.unit {
                text += &format!(" '{unit}'");
            }
            if let Some(canonical) = &quantity.canonical {
                text += &format!(" = {} {}", numbers(&canonical.range), canonical.unit);
            }
            text
        }
        IndexValue::Uri(uri) => format!("<{uri}>"),
        IndexValue::Position(position) => format!("{} {}", position.latitude, position.longitude),
    }
}

fn numbers(range: &NumberRange) -> String {
    if let Some(number) = range.as_point() {
        return number.normalized().to_string();
    }
    let low = match range.low() {
        Bound::Included(number) => format!("[{}", number.normalized()),
        Bound::Excluded(number) => format!("({}", number.normalized()),
        Bound::Unbounded => "(".to_owned(),
    };
    let high = match range.high() {
        Bound::Included(number) => format!("{}]", number.normalized()),
        Bound::Excluded(number) => format!("{})", number.normalized()),
        Bound::Unbounded => ")".to_owned(),
    };
    format!("{low}..{high}")
}

fn token_text(token: &Token<'_>) -> String {
    let mut text = String::new();
    if let Some(system) = &token.system {
        text += system;
    }
    if let Some(code) = &token.code {
        text += &format!("|{code}");
    }
    if let Some(display) = &token.text {
        text += &format!(" '{display}'");
    }
    for (system, code) in &token.identifier_types {
        text += &format!(" of {system}|{code}");
    }
    text
}

fn reference_text(reference: &Reference<'_>) -> String {
    let version = |version: &Option<std::borrow::Cow<'_, str>>, mark| match version {
        Some(version) => format!("{mark}{version}"),
        None => String::new(),
    };
    let mut text = match &reference.target {
        ReferenceTarget::Local { resource_type, id, version: it } => {
            format!("{resource_type}/{id}{}", version(it, "/_history/"))
        }
        ReferenceTarget::Url(url) => format!("<{url}>"),
        ReferenceTarget::Canonical { url, version: it } => {
            format!("canonical {url}{}", version(it, "|"))
        }
        ReferenceTarget::Contained(id) => format!("#{id}"),
        ReferenceTarget::Logical => "-".to_owned(),
    };
    if let Some(identifier) = &reference.identifier {
        text += &format!(" identified {}", token_text(identifier));
    }
    if let Some(display) = &reference.display {
        text += &format!(" '{display}'");
    }
    text
}
