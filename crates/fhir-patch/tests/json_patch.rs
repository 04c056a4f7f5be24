//! JSON Patch: each operation, on documents of FHIR's kind and of any kind.

#![expect(clippy::unwrap_used, reason = "a test may fail at once")]

use fhir_core::json::Document;
use fhir_patch::{JsonPatch, Limits, PatchError, PatchProblem};
use proptest::prelude::*;

const LIMITS: Limits = Limits { bytes: 10_000 };

fn apply(target: &str, patch: &str) -> Result<String, PatchError> {
    let [target, patch] = [target, patch].map(|text| Document::parse(text.as_bytes()).unwrap());
    let patched = JsonPatch::read(patch.root())?.apply(target.root(), &LIMITS)?;
    Ok(String::from_utf8(patched).unwrap())
}

#[track_caller]
fn check(target: &str, patch: &str, expected: &str) {
    assert_eq!(apply(target, patch).unwrap(), expected, "{patch}");
}

#[track_caller]
fn refused(target: &str, patch: &str, operation: usize, said: &str) -> PatchError {
    let error = apply(target, patch).unwrap_err();
    assert_eq!(error.operation, Some(operation), "{error}");
    assert!(error.to_string().contains(said), "{error}");
    error
}

#[test]
fn a_member_is_added_or_replaced_by_add() {
    // HTTP-113
    check(r#"{"a":1}"#, r#"[{"op":"add","path":"/b","value":[2]}]"#, r#"{"a":1,"b":[2]}"#);
    check(r#"{"a":1}"#, r#"[{"op":"add","path":"/a","value":null}]"#, r#"{"a":null}"#);
    check(
        r#"{"a":{"b":{}}}"#,
        r#"[{"op":"add","path":"/a/b/c","value":{"d":1}}]"#,
        r#"{"a":{"b":{"c":{"d":1}}}}"#,
    );
    check(r#"{"a":1}"#, r#"[{"op":"add","path":"","value":{"b":2}}]"#, r#"{"b":2}"#);
    refused(r#"{"a":1}"#, r#"[{"op":"add","path":"/b/c","value":2}]"#, 0, "no \"b\"");
}

#[test]
fn an_item_is_added_before_an_index_or_at_the_end() {
    // HTTP-113, HTTP-115
    let target = r#"{"a":["x","z"]}"#;
    check(target, r#"[{"op":"add","path":"/a/1","value":"y"}]"#, r#"{"a":["x","y","z"]}"#);
    check(target, r#"[{"op":"add","path":"/a/2","value":"y"}]"#, r#"{"a":["x","z","y"]}"#);
    check(target, r#"[{"op":"add","path":"/a/-","value":["y"]}]"#, r#"{"a":["x","z",["y"]]}"#);
    for path in ["/a/3", "/a/01", "/a/-1", "/a/b", "/a/1e0", "/a/99999999999999999999"] {
        let patch = format!(r#"[{{"op":"add","path":"{path}","value":1}}]"#);
        refused(target, &patch, 0, "index");
    }
}

#[test]
fn what_is_removed_replaced_or_moved_must_be_there() {
    // HTTP-113, HTTP-116
    let target = r#"{"a":1,"b":[1,2,3],"c":{"d":4}}"#;
    check(target, r#"[{"op":"remove","path":"/a"}]"#, r#"{"b":[1,2,3],"c":{"d":4}}"#);
    check(target, r#"[{"op":"remove","path":"/b/1"}]"#, r#"{"a":1,"b":[1,3],"c":{"d":4}}"#);
    check(
        target,
        r#"[{"op":"replace","path":"/b/1","value":9}]"#,
        r#"{"a":1,"b":[1,9,3],"c":{"d":4}}"#,
    );
    check(
        target,
        r#"[{"op":"move","from":"/c/d","path":"/b/0"}]"#,
        r#"{"a":1,"b":[4,1,2,3],"c":{}}"#,
    );
    check(
        target,
        r#"[{"op":"move","from":"/b/0","path":"/b/2"}]"#,
        r#"{"a":1,"b":[2,3,1],"c":{"d":4}}"#,
    );
    check(target, r#"[{"op":"move","from":"/a","path":"/a"}]"#, target);
    check(
        target,
        r#"[{"op":"copy","from":"/c","path":"/b/-"}]"#,
        r#"{"a":1,"b":[1,2,3,{"d":4}],"c":{"d":4}}"#,
    );
    for patch in [
        r#"[{"op":"test","path":"/a","value":1},{"op":"remove","path":"/foo"}]"#,
        r#"[{"op":"test","path":"/a","value":1},{"op":"replace","path":"/foo","value":1}]"#,
        r#"[{"op":"test","path":"/a","value":1},{"op":"move","from":"/foo","path":"/a"}]"#,
        r#"[{"op":"test","path":"/a","value":1},{"op":"copy","from":"/foo","path":"/a"}]"#,
        r#"[{"op":"test","path":"/a","value":1},{"op":"test","path":"/foo","value":1}]"#,
    ] {
        refused(target, patch, 1, "no \"foo\"");
    }
    refused(target, r#"[{"op":"move","from":"/c","path":"/c/d"}]"#, 0, "into itself");
    refused(target, r#"[{"op":"remove","path":""}]"#, 0, "whole resource");
    refused(target, r#"[{"op":"remove","path":"/b/3"}]"#, 0, "index 3");
}

#[test]
fn a_test_compares_by_value() {
    // HTTP-114
    let target = r#"{"n":71.50,"s":"a\u0062","o":{"x":[1,{"y":null}],"z":true},"~":{"/":1}}"#;
    for (path, value) in [
        ("/n", "71.5"),
        ("/s", "\"ab\""),
        ("/o", r#"{"z":true,"x":[1.0,{"y":null}]}"#),
        ("/o/x/1/y", "null"),
        ("/~0/~1", "1"),
    ] {
        check(target, &format!(r#"[{{"op":"test","path":"{path}","value":{value}}}]"#), target);
    }
    for (path, value) in [
        ("/n", "\"71.50\""),
        ("/n", "71.500001"),
        ("/o", r#"{"z":true}"#),
        ("/o/x", r#"[{"y":null},1]"#),
        ("/o/z", "1"),
        ("/s", "null"),
    ] {
        let patch = format!(r#"[{{"op":"test","path":"{path}","value":{value}}}]"#);
        let error = refused(target, &patch, 0, path);
        assert_eq!(error.problem, PatchProblem::TestFailed);
        assert!(!error.to_string().contains("71.5"), "what is stored is not told");
    }
}

#[test]
fn what_is_not_patched_stays_as_it_was_written() {
    // HTTP-115
    let target = r#"{"resourceType":"Patient","a":0.100,"b":1E+2,"c":"\u00e9\/","birthDate":"1970","_birthDate":{"id":"x"}}"#;
    check(
        target,
        r#"[{"op":"add","path":"/_birthDate/extension","value":[{"url":"u","valueDecimal":1.00}]},{"op":"copy","from":"/a","path":"/d"}]"#,
        r#"{"resourceType":"Patient","a":0.100,"b":1E+2,"c":"\u00e9\/","birthDate":"1970","_birthDate":{"id":"x","extension":[{"url":"u","valueDecimal":1.00}]},"d":0.100}"#,
    );
}

#[test]
fn an_error_names_operation_path_and_element() {
    // HTTP-116
    let error = refused(
        r#"{"resourceType":"Patient","name":[{}]}"#,
        r#"[{"op":"add","path":"/active","value":true},{"op":"remove","path":"/name/0/given/1"}]"#,
        1,
        "operation 1 (/name/0/given/1): ",
    );
    assert_eq!(error.expression, "Patient.name[0].given[1]");
    assert_eq!(error.issue().expression, ["Patient.name[0].given[1]"]);
}

#[test]
fn what_is_no_patch_is_refused_with_the_operation() {
    // HTTP-122
    for patch in [
        r#"[1]"#,
        r#"[{}]"#,
        r#"[{"op":"add","path":"/a"}]"#,
        r#"[{"op":"add","value":1}]"#,
        r#"[{"op":"add","path":1,"value":1}]"#,
        r#"[{"op":"add","path":"a","value":1}]"#,
        r#"[{"op":"add","path":"/~","value":1}]"#,
        r#"[{"op":"move","path":"/a"}]"#,
        r#"[{"op":"put","path":"/a","value":1}]"#,
        r#"[{"op":1,"path":"/a","value":1}]"#,
    ] {
        let error = apply("{}", patch).unwrap_err();
        assert!(matches!(error.problem, PatchProblem::Malformed(_)), "{patch}: {error}");
        assert_eq!(error.operation, Some(0), "{patch}");
    }
    let error = apply("{}", "{}").unwrap_err();
    assert_eq!((error.operation, error.issue().code.as_str()), (None, "structure"));
}

#[test]
fn copies_do_not_grow_without_bound() {
    let copies = vec![r#"{"op":"copy","from":"/a","path":"/a/-"}"#; 60].join(",");
    let error = apply(r#"{"a":[[]]}"#, &format!("[{copies}]")).unwrap_err();
    assert!(matches!(error.problem, PatchProblem::TooCostly(_) | PatchProblem::Inapplicable(_)));
    let deeper = [r#"{"op":"copy","from":"/a","path":"/a/0"}"#; 12].join(",");
    assert!(apply(r#"{"a":[0]}"#, &format!("[{deeper}]")).is_err());
    let many = vec![r#"{"op":"test","path":"","value":{}}"#; 10_001].join(",");
    let error = apply("{}", &format!("[{many}]")).unwrap_err();
    assert!(matches!(error.problem, PatchProblem::TooCostly(_)));
}

#[test]
fn going_through_large_values_again_and_again_is_refused_soon() {
    let items = vec!["1"; 500_000].join(",");
    let target = format!(r#"{{"resourceType":"Basic","a":[{items}]}}"#);
    let repeated = |one: &str| format!("[{}]", vec![one; 4_000].join(","));
    let moved = r#"{"op":"move","from":"/a","path":"/b"},{"op":"move","from":"/b","path":"/a"}"#;
    let error = apply(&target, &repeated(moved)).unwrap_err();
    assert!(matches!(error.problem, PatchProblem::TooCostly(_)), "{error}");
    let long = format!(r#"{{"l":["{}",{{}}]}}"#, "x".repeat(200_000));
    let tested = format!(r#"{{"op":"test","path":"/l","value":["{}",{{}}]}}"#, "x".repeat(200_000));
    let copies = format!(r#"[{}]"#, [tested.as_str(); 4].join(","));
    assert_eq!(apply(&long, &copies).unwrap(), long);
}

fn any_json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        "-?(0|[1-9][0-9]{0,3})(\\.[0-9]{1,3})?".boxed(),
        "[a-c~/]{0,3}".prop_map(|it| format!("\"{it}\"")),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::btree_map("[a-c]", inner, 0..4).prop_map(|members| {
                let members: Vec<_> =
                    members.into_iter().map(|(name, it)| format!("\"{name}\":{it}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

fn any_operation() -> impl Strategy<Value = String> {
    let pointer = || "(/([a-c]|[0-3]|-|~0|~1|~)){0,4}";
    let op = "(add|remove|replace|move|copy|test|other)";
    (op, pointer(), pointer(), any_json()).prop_map(|(op, path, from, value)| {
        format!(r#"{{"op":"{op}","path":"{path}","from":"{from}","value":{value}}}"#)
    })
}

proptest! {
    #[test]
    fn any_patch_of_any_document_is_applied_or_refused(
        target in any_json(),
        operations in prop::collection::vec(any_operation(), 0..6),
    ) {
        let patch = format!("[{}]", operations.join(","));
        if let Ok(patched) = apply(&target, &patch) {
            prop_assert!(Document::parse(patched.as_bytes()).is_ok());
        }
    }

    #[test]
    fn any_json_is_a_patch_or_refused(patch in any_json()) {
        let _ = apply(r#"{"a":[1,{"b":2}]}"#, &patch);
    }

    #[test]
    fn what_was_added_is_there_and_removing_it_undoes_it(
        target in any_json(),
        value in any_json(),
        path in "(/([a-c]|[0-2])){1,3}",
    ) {
        let add = format!(r#"[{{"op":"add","path":"{path}","value":{value}}},{{"op":"test","path":"{path}","value":{value}}}]"#);
        prop_assume!(apply(&target, &format!(r#"[{{"op":"test","path":"{path}","value":0}}]"#))
            .is_err_and(|it| it.problem != PatchProblem::TestFailed));
        if let Ok(added) = apply(&target, &add) {
            let removed = apply(&added, &format!(r#"[{{"op":"remove","path":"{path}"}}]"#));
            prop_assert_eq!(removed.unwrap(), target);
        }
    }
}
