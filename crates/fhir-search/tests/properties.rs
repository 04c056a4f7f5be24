//! What holds of every resource and every text, whatever stands in it.

#![expect(clippy::unwrap_used, reason = "a test that fails here says where")]

mod support;

use fhir_core::json::Document;
use fhir_search::{DateRange, ExtractOptions, IndexValue, Zone};
use proptest::prelude::*;
use support::R4;

/// Names that parameters look for, and others.
const NAMES: [&str; 30] = [
    "resourceType",
    "id",
    "meta",
    "code",
    "coding",
    "system",
    "value",
    "valueQuantity",
    "valueRange",
    "valueCodeableConcept",
    "valueSampledData",
    "effectivePeriod",
    "effectiveTiming",
    "effectiveDateTime",
    "start",
    "end",
    "event",
    "repeat",
    "subject",
    "reference",
    "identifier",
    "type",
    "component",
    "low",
    "high",
    "extension",
    "url",
    "contained",
    "lastUpdated",
    "_value",
];

const TEXTS: [&str; 14] = [
    "Observation",
    "Patient",
    "Patient/1",
    "#1",
    "1",
    "http://a/b|1#c",
    "2013-02-30",
    "2013-02",
    "2013-02-01T10:00:00.5+01:00",
    "http://unitsofmeasure.org",
    "mg",
    "<",
    "",
    "final",
];

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        proptest::sample::select(&TEXTS[..]).prop_map(Into::into),
        ".{0,12}".prop_map(Into::into),
    ];
    leaf.prop_recursive(5, 64, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            proptest::collection::btree_map(proptest::sample::select(&NAMES[..]), inner, 0..6)
                .prop_map(|members| {
                    let members = members.into_iter().map(|(name, it)| (name.to_owned(), it));
                    serde_json::Value::Object(members.collect())
                }),
        ]
    })
}

/// Checks what a value promises of itself.
fn check(value: &IndexValue<'_>) {
    match value {
        IndexValue::Date(range) => assert!(range.low() < range.high()),
        IndexValue::Composite(composite) => {
            for values in &composite.components {
                assert!(!values.is_empty());
                values.iter().for_each(check);
            }
        }
        _ => {}
    }
}

proptest! {
    #[test]
    fn any_json_gives_values_or_problems_and_never_panics(
        of in proptest::sample::select(&["Observation", "Patient", "Bundle", "ServiceRequest"][..]),
        mut resource in json(),
        base in proptest::sample::select(&[None, Some(""), Some("http://a")][..]),
    ) {
        if let Some(members) = resource.as_object_mut() {
            members.insert("resourceType".to_owned(), of.into());
        }
        let text = resource.to_string();
        let document = Document::parse(text.as_bytes()).unwrap();
        let options = ExtractOptions { base, ..ExtractOptions::default() };
        let extracted = R4.extract(document.root(), &options);
        for (parameter, value) in extracted.iter() {
            check(value);
            assert!(extracted.of(parameter).any(|it| std::ptr::eq(it, value)));
        }
    }

    #[test]
    fn any_text_is_a_date_or_none_and_a_date_holds_time(
        text in "[0-9]{4}(-[0-9]{2}(-[0-9]{2}(T[0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,9})?)?(Z|[+-][0-9]{2}:[0-9]{2})?)?)?)?|.*",
        minutes in -840_i16..=840,
    ) {
        let zone = Zone::east(minutes).unwrap();
        if let Some(range) = DateRange::parse(&text, zone) {
            prop_assert!(range.low() < range.high());
            let shorter: String = text.chars().take(4).collect();
            let has_offset = text.len() > 10 && !text.ends_with(|it: char| it.is_ascii_digit())
                || text.get(16..).is_some_and(|it| it.contains(['+', '-']));
            let year = DateRange::parse(&shorter, zone).unwrap();
            // Without an offset of its own it lies within its year.
            prop_assert!(has_offset || (year.low() <= range.low() && range.high() <= year.high()));
        }
    }
}
