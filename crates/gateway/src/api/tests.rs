//! The table and its document. What the operations do is tested on the whole product.

use std::collections::{BTreeMap, BTreeSet};

use super::form::Shape;
use super::table::{OPERATIONS, find};
use super::*;

// GW-063
#[test]
fn every_operation_is_there_once_and_its_bodies_have_names_of_their_own() {
    let mut ids = BTreeSet::new();
    let mut ways = BTreeSet::new();
    let mut shapes: BTreeMap<&str, *const Shape> = BTreeMap::new();
    for operation in OPERATIONS {
        assert!(ids.insert(operation.id), "{}", operation.id);
        assert!(ways.insert((operation.verb.word(), operation.path)), "{}", operation.id);
        for shape in operation.body.into_iter().chain(operation.answer) {
            shape.walk(&mut |shape| {
                let known = shapes.entry(shape.name).or_insert(shape);
                assert!(std::ptr::eq(*known, shape), "{} twice", shape.name);
            });
        }
    }
}

// GW-063
#[test]
fn nobody_who_may_only_look_changes_anything() {
    for operation in OPERATIONS.iter().filter(|operation| operation.changes()) {
        assert!(operation.role > registry::OperatorRole::Viewer, "{}", operation.id);
    }
}

// GW-063
#[test]
fn every_reference_of_the_document_leads_somewhere() {
    fn check(document: &Value, value: &Value, count: &mut u32) {
        match value {
            Value::Object(members) => {
                if let Some(reference) = members.get("$ref").and_then(Value::as_str) {
                    let pointer = reference.strip_prefix('#').unwrap();
                    assert!(document.pointer(pointer).is_some(), "{reference}");
                    *count += 1;
                }
                members.values().for_each(|member| check(document, member, count));
            }
            Value::Array(items) => items.iter().for_each(|item| check(document, item, count)),
            _ => {}
        }
    }
    let document = openapi::document();
    let mut count = 0;
    check(&document, &document, &mut count);
    assert!(count > OPERATIONS.len() as u32, "{count}");
}

#[track_caller]
fn found(method: &Method, path: &str, expected: &str) {
    match find(method, path) {
        Ok(found) => {
            let parameters = found.parameters.iter();
            let told: String = parameters.map(|(name, id)| format!(" {name}={id}")).collect();
            assert_eq!(format!("{}{told}", found.operation.id), expected);
        }
        Err(problem) => {
            let answer = problem.response();
            let allow = answer.headers().get(header::ALLOW).map(|allow| allow.to_str().unwrap());
            let allow = allow.map(|allow| format!(" {allow}")).unwrap_or_default();
            assert_eq!(format!("{}{allow}", answer.status().as_u16()), expected);
        }
    }
}

#[test]
fn a_request_is_found_by_its_whole_path() {
    found(&Method::GET, "/admin/v1/clients", "clients.list");
    found(&Method::HEAD, "/admin/v1/clients", "clients.list");
    found(&Method::POST, "/admin/v1/clients", "clients.create");
    found(&Method::PUT, "/admin/v1/clients/lab/plan", "clients.set-plan client=lab");
    found(&Method::DELETE, "/admin/v1/clients", "405 GET, HEAD, POST");
    found(&Method::GET, "/admin/v1/clients/lab/plan", "405 PUT");
    for path in [
        "/admin/v1/clients/",
        "/admin/v1/clients//plan",
        "/admin/v2/clients",
        "/admin",
        "/admin/v1clients",
    ] {
        found(&Method::GET, path, "404");
    }
    assert!(is_below("/admin") && is_below("/admin/v1/x") && !is_below("/administer"));
}

// GW-063
#[test]
fn the_trail_is_told_what_names_something_and_no_tokens_own_id() {
    let path = [("client", "lab".to_owned())];
    let told = |path: &[(&'static str, String)], body| call::object(path, &body);
    assert_eq!(told(&path, json!({"label": "x", "plan": "p"})), "client lab, plan p");
    assert_eq!(told(&[], json!({"kind": "user", "id": "a/b"})), "id a/b, kind user");
    let jti = json!({"kind": "jti", "id": "of-a-token", "issuer": "hospital"});
    assert_eq!(told(&[], jti), "kind jti, issuer hospital");
}

#[test]
fn what_is_presented_is_read_or_is_nobodys() {
    let with = |values: &[&str]| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, value.parse().unwrap());
        }
        headers
    };
    let read = |values: &[&str]| presented(&with(values)).map(|text| text.map(str::to_owned)).ok();
    assert_eq!(read(&[]), Some(None));
    assert_eq!(read(&["Bearer hgo_1"]), Some(Some("hgo_1".to_owned())));
    assert_eq!(read(&["bearer hgo_1"]), Some(Some("hgo_1".to_owned())));
    assert_eq!(read(&["Basic hgo_1"]), Some(Some(String::new())));
    assert_eq!(read(&["hgo_1"]), Some(Some(String::new())));
    assert_eq!(read(&["Bearer a", "Bearer b"]), None);
}
