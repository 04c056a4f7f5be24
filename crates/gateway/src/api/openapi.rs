//! The OpenAPI 3.1 document, written from the table that routes the requests.

use serde_json::{Map, Value, json};

use super::BASE;
use super::call::Call;
use super::form::Shape;
use super::problem::{PROBLEM, Problem};
use super::table::{OPERATIONS, Operation, name_of};

/// `GET /openapi.json`.
pub(super) fn answer(_: &Call<'_>) -> Result<Value, Problem> {
    Ok(document())
}

/// The whole document.
pub(crate) fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    let mut schemas: Map<String, Value> = Map::new();
    let mut keep = |shape: &'static Shape| {
        shape.walk(&mut |shape| {
            schemas.entry(shape.name).or_insert_with(|| shape.schema());
        });
    };
    keep(&PROBLEM);
    for operation in OPERATIONS {
        operation.body.into_iter().chain(operation.answer).for_each(&mut keep);
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        if let Some(methods) = path.as_object_mut() {
            methods.insert(operation.verb.word().to_ascii_lowercase(), written(operation));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Hearthgate admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Clients, keys, operators and how the gateway stands. On the admin listener alone.",
        },
        "servers": [{"url": BASE}],
        "security": [{"token": []}, {"certificate": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An operator's token, hgo_…, as `hearthgate operators create` shows it once.",
                },
                "certificate": {
                    "type": "mutualTLS",
                    "description": "The certificate of an operator, where the listener speaks TLS.",
                },
            },
        },
    })
}

fn written(operation: &'static Operation) -> Value {
    let names = operation.path.split('/').filter_map(name_of);
    let in_path = names.map(
        |name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}),
    );
    let in_query = operation.query.iter().map(|parameter| {
        let schema =
            json!({"type": "integer", "minimum": parameter.least, "maximum": parameter.most});
        json!({"name": parameter.name, "in": "query", "description": parameter.says, "schema": schema})
    });
    let in_head = operation.guarded().map(|about| {
        let says = format!("Do it only where the {} still has this ETag, or * for any.", about.word);
        json!({"name": "If-Match", "in": "header", "description": says, "schema": {"type": "string"}})
    });
    let mut written = json!({
        "operationId": operation.id,
        "summary": operation.says,
        "description": format!("Takes the role {} or a stronger one.", operation.role),
        "x-role": operation.role.word(),
        "parameters": in_path.chain(in_query).chain(in_head).collect::<Vec<_>>(),
        "responses": answers(operation),
    });
    if let (Some(shape), Some(members)) = (operation.body, written.as_object_mut()) {
        let body = json!({
            "required": true,
            "content": {"application/json": {"schema": reference(shape)}},
        });
        members.insert("requestBody".to_owned(), body);
    }
    written
}

fn answers(operation: &Operation) -> Value {
    let schema = operation.answer.map_or_else(|| json!({"type": "object"}), reference);
    let mut answers = Map::new();
    let mut success =
        json!({"description": "It is done.", "content": {"application/json": {"schema": schema}}});
    if let (true, Some(members)) = (operation.is_tagged(), success.as_object_mut()) {
        let tag = json!({
            "description": "Which state of it this is; another state has another one.",
            "schema": {"type": "string"},
        });
        members.insert("headers".to_owned(), json!({"ETag": tag}));
    }
    answers.insert(operation.status.to_string(), success);
    let mut statuses = vec![401, 403, 422, 429];
    if operation.path.contains('{') {
        statuses.push(404);
    }
    if operation.changes() {
        statuses.extend([413, 400]);
    }
    if operation.body.is_some() {
        statuses.extend([408, 415]);
    }
    if operation.guarded().is_some() {
        statuses.push(412);
    }
    statuses.extend(operation.refusals);
    for status in statuses {
        let description = match status {
            400 => {
                "The body is no JSON, or broke off; or If-Match is no list of ETags, or this takes none."
            }
            401 => "No operator's credential; `WWW-Authenticate` says how one is sent.",
            403 => "The operator's role is too weak; the answer says which would do.",
            404 => "There is none of that id.",
            408 => "The body did not come in time.",
            409 => "It cannot follow what was done before.",
            412 => "It is in another state than the ETag in If-Match is of.",
            413 => "The body is too long.",
            415 => "The body is not said to be JSON.",
            422 => "Something in the body or the query is wrong; the answer says where.",
            429 => {
                "Too many wrong credentials, or refused changes; `Retry-After` says how long to wait."
            }
            _ => "It cannot be written down; nothing is changed unless the answer says so.",
        };
        let content = json!({"application/problem+json": {"schema": reference(&PROBLEM)}});
        answers.insert(status.to_string(), json!({"description": description, "content": content}));
    }
    Value::Object(answers)
}

fn reference(shape: &Shape) -> Value {
    json!({"$ref": format!("#/components/schemas/{}", shape.name)})
}
