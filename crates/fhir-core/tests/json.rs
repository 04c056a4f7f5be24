//! What the JSON reader takes, refuses, and gives back.

#![expect(clippy::unwrap_used, reason = "a test reports by panicking")]

use fhir_core::json::{Document, JsonProblem, MAX_DEPTH, Replacements, pretty};
use proptest::prelude::*;
use sonic_rs::JsonValueTrait as _;

fn refused(text: &[u8]) -> JsonProblem {
    Document::parse(text).expect_err("must be refused").problem
}

fn compact(text: &str) -> String {
    let mut out = Vec::new();
    let document = Document::parse(text.as_bytes()).unwrap();
    document.root().write(&Replacements::default(), &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn numbers_stay_exactly_as_written() {
    // HTTP-079
    for number in
        ["1.0", "0.010", "1e3", "1E+3", "-0", "-0.00e-07", "123456789012345678901234567890.10"]
    {
        assert_eq!(compact(&format!("[ {number} ]")), format!("[{number}]"));
        let text = format!("{{\"value\":{number}}}");
        let document = Document::parse(text.as_bytes()).unwrap();
        assert_eq!(document.root().get("value").unwrap().as_number(), Some(number));
    }
}

#[test]
fn what_is_no_number_is_refused() {
    for number in ["01", "-01", "1.", ".5", "1e", "1e+", "-", "--1", "+1", "0x1", "NaN", "1.e3"] {
        assert!(Document::parse(format!("[{number}]").as_bytes()).is_err(), "{number}");
    }
}

#[test]
fn a_name_twice_in_one_object_is_refused_also_when_spelled_differently() {
    // HTTP-223
    let twice = |text: &str, name: &str| {
        assert_eq!(refused(text.as_bytes()), JsonProblem::DuplicateName(name.to_owned()), "{text}");
    };
    twice(r#"{"id":"1","id":"2"}"#, "id");
    twice(r#"{"id":"1","\u0069d":"2"}"#, "id");
    twice(r#"{"a":{"x":1,"y":{"z":1},"x":2}}"#, "x");
    let many: Vec<String> = (0..40).map(|count| format!("\"n{count}\":{count}")).collect();
    twice(&format!("{{{},\"n7\":0}}", many.join(",")), "n7");
    assert!(Document::parse(br#"{"a":{"id":1},"b":{"id":1},"id":{"a":1}}"#).is_ok());
}

#[test]
fn nesting_is_limited_and_never_overflows_the_stack() {
    // HTTP-222
    let nested = |depth: usize| [vec![b'['; depth], vec![b']'; depth]].concat();
    assert!(Document::parse(&nested(MAX_DEPTH)).is_ok());
    assert_eq!(refused(&nested(MAX_DEPTH + 1)), JsonProblem::TooDeep);
    assert_eq!(refused(&vec![b'['; 100_000]), JsonProblem::TooDeep);
    assert_eq!(refused("{\"a\":".repeat(100_000).as_bytes()), JsonProblem::TooDeep);
}

#[test]
fn bytes_that_are_not_json_are_refused_with_the_reason() {
    // HTTP-019, HTTP-076
    let unexpected = |found, expected| JsonProblem::Unexpected { found, expected };
    assert_eq!(refused(b""), JsonProblem::Empty);
    assert_eq!(refused(b" \n"), JsonProblem::Empty);
    assert_eq!(refused(b"{"), JsonProblem::UnexpectedEnd);
    assert_eq!(refused(b"{\"a\":\"x"), JsonProblem::UnexpectedEnd);
    assert_eq!(refused(b"{\"a\":\"\xff\"}"), JsonProblem::InvalidUtf8);
    assert_eq!(refused(b"\xEF\xBB\xBF{}"), JsonProblem::ByteOrderMark);
    assert_eq!(refused(b"{} {}"), JsonProblem::TrailingBytes);
    assert_eq!(refused(b"{}\0"), JsonProblem::TrailingBytes);
    assert_eq!(refused(b"\"a\nb\""), JsonProblem::ControlCharacter);
    assert_eq!(refused(br#""\x""#), JsonProblem::InvalidEscape);
    assert_eq!(refused(br#""\ud800""#), JsonProblem::InvalidEscape);
    assert_eq!(refused(br#""\udc00\ud800""#), JsonProblem::InvalidEscape);
    assert_eq!(refused(br#""\u+123""#), JsonProblem::InvalidEscape);
    assert_eq!(refused(b"{a:1}"), unexpected(b'a', "a name in quotes"));
    assert_eq!(refused(b"{\"a\":1,}"), unexpected(b'}', "a name in quotes"));
    assert_eq!(refused(b"[1,]"), unexpected(b']', "a value"));
    assert_eq!(refused(b"nul"), unexpected(b'n', "true, false or null"));
}

#[test]
fn an_error_names_line_column_and_element() {
    let text = "{\n  \"resourceType\": \"Patient\",\n  \"name\": [{\"given\": [\"ä\", x]}]\n}";
    let error = Document::parse(text.as_bytes()).unwrap_err();
    assert_eq!((error.line, error.column), (3, 28));
    assert_eq!(error.expression, "Patient.name[0].given[1]");
}

#[test]
fn strings_are_unescaped_when_asked_for_and_written_as_they_were() {
    let text = r#"{"a":"\u00e4\ud83d\ude00\n\"\\\/","b":"plain"}"#;
    let document = Document::parse(text.as_bytes()).unwrap();
    assert_eq!(document.root().get_str("a").unwrap(), "ä😀\n\"\\/");
    assert_eq!(compact(text), text);
    assert_eq!(compact(&text.replace(',', " ,\t")), text);
}

#[test]
fn replaced_strings_are_written_and_all_else_is_kept() {
    for space in ["", " "] {
        let text = format!(r#"{{"a":"x",{space}"b":["x",{{"c":"x","d":1.00}}],"e":"y"}}"#);
        let document = Document::parse(text.as_bytes()).unwrap();
        let inner = document.root().get("b").unwrap().items().nth(1).unwrap();
        let mut replacements = Replacements::default();
        replacements.push(document.root().get("a").unwrap(), "new \"a\"\u{1}".to_owned());
        replacements.push(inner.get("c").unwrap(), "new c".to_owned());
        let mut out = Vec::new();
        document.root().write(&replacements, &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"a":"new \"a\"\u0001","b":["x",{"c":"new c","d":1.00}],"e":"y"}"#
        );
        let mut out = Vec::new();
        inner.write(&replacements, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), r#"{"c":"new c","d":1.00}"#);
    }
}

#[test]
fn pretty_text_is_the_same_value_over_more_lines() {
    // HTTP-018
    let text = r#"{"a":[1.0,{}],"b":{"c":[]}}"#;
    let shown = String::from_utf8(pretty(text.as_bytes()).unwrap()).unwrap();
    assert_eq!(shown, "{\n  \"a\": [\n    1.0,\n    {}\n  ],\n  \"b\": {\n    \"c\": []\n  }\n}\n");
    assert_eq!(compact(&shown), text);
}

fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        any::<f64>()
            .prop_filter("JSON has no infinities", |value| value.is_finite())
            .prop_map(|value| format!("{value:e}")),
        any::<String>().prop_map(|text| sonic_rs::to_string(&text).unwrap()),
    ];
    leaf.prop_recursive(5, 60, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6)
                .prop_map(|items| format!("[{}]", items.join(" , "))),
            prop::collection::btree_map("[a-zA-Z\"\\\\ä]{0,4}", inner, 0..6).prop_map(|members| {
                let members: Vec<String> = members
                    .iter()
                    .map(|(name, value)| format!("{}:{value}", sonic_rs::to_string(name).unwrap()))
                    .collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

/// The oracle; it, too, keeps numbers as text, so that a huge exponent is no error to it.
fn other(bytes: &[u8]) -> Result<sonic_rs::Value, sonic_rs::Error> {
    let mut reader = sonic_rs::Deserializer::from_slice(bytes).use_rawnumber();
    let value = reader.deserialize()?;
    reader.end().map(|()| value)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_reads_as_the_same_value_to_another_reader(text in json()) {
        let theirs = other(text.as_bytes()).unwrap();
        let ours = other(compact(&text).as_bytes()).unwrap();
        prop_assert_eq!(&ours, &theirs);
        let shown = pretty(text.as_bytes()).unwrap();
        prop_assert_eq!(&other(&shown).unwrap(), &theirs);
    }

    #[test]
    fn any_bytes_are_read_or_refused_and_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if Document::parse(&bytes).is_ok() {
            prop_assert!(other(&bytes).is_ok());
        }
    }

    #[test]
    fn a_damaged_text_is_taken_only_when_another_reader_takes_it(text in json(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = text.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        match Document::parse(&bytes) {
            Ok(document) => {
                let theirs = other(&bytes).unwrap();
                prop_assert_eq!(document.root().as_bool(), theirs.as_bool());
            }
            Err(error) => {
                let not_text = error.problem == JsonProblem::InvalidUtf8;
                prop_assert_eq!(not_text, std::str::from_utf8(&bytes).is_err());
                let only_ours = not_text || matches!(error.problem, JsonProblem::DuplicateName(_) | JsonProblem::TooDeep | JsonProblem::ByteOrderMark);
                prop_assert!(only_ours || other(&bytes).is_err(), "{}", error);
            }
        }
    }
}
