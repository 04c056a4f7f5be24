//! capabilities (FHIR R4, 3.1.0.10): the CapabilityStatement, derived from the one table of
//! interactions, so that it says what is there and nothing else.

use bytes::Bytes;
use fhir_core::Instant;
use fhir_schema::Schema;
use fhir_terminology::operations::OPERATIONS;
use http::StatusCode;
use serde_json::{Value, json};

use super::validate;
use crate::PublicBase;
use crate::call::{Answer, Call};
use crate::error::ServerError;
use crate::negotiation::parameters;
use crate::table::{Place, TABLE};

/// The statement, written once when the server starts.
pub(crate) struct Statement {
    json: Bytes,
}

impl Statement {
    pub(crate) fn new(base: &PublicBase, started: Instant) -> Self {
        let statement = statement(base, started, Schema::r4());
        Self { json: Bytes::from(statement.to_string()) }
    }
}

pub(crate) fn capabilities(call: &Call<'_>) -> Result<Answer, ServerError> {
    let mode = parameters(call.query).find(|(name, _)| name == "mode");
    match mode.as_ref().map(|(_, value)| value.as_str()) {
        None | Some("full" | "normative") => {}
        Some("terminology") => return Err(ServerError::NotThereYet("TerminologyCapabilities")),
        Some(_) => {
            return Err(ServerError::InvalidParameter {
                name: "mode",
                mend: "use full or normative, or leave it out",
            });
        }
    }
    let statement = call.server.capabilities.json.clone();
    let guides = &call.server.validations[&call.grant.tenant].current().guides;
    let statement = if guides.is_empty() { statement } else { with_guides(&statement, guides) };
    Ok(Answer { status: StatusCode::OK, ..Answer::of(statement) })
}

/// The statement with the implementation guides of the tenant's packages.
fn with_guides(statement: &[u8], guides: &[String]) -> Bytes {
    let open = statement.strip_suffix(b"}").unwrap_or(statement);
    let guides = Value::from(guides.to_vec()).to_string();
    [open, b",\"implementationGuide\":", guides.as_bytes(), b"}"].concat().into()
}

fn statement(base: &PublicBase, started: Instant, schema: &Schema) -> Value {
    let there = || TABLE.iter().filter(|row| row.there);
    let of_types: Vec<Value> = there()
        .filter_map(|row| match row.place {
            Place::Type(code) => Some(json!({ "code": code })),
            _ => None,
        })
        .collect();
    let of_system: Vec<Value> = there()
        .filter_map(|row| match row.place {
            Place::System(codes) => Some(codes),
            _ => None,
        })
        .flatten()
        .map(|code| json!({ "code": code }))
        .collect();
    let is_there = |code: &str| there().any(|row| row.code == code);
    let resources: Vec<Value> = schema
        .resource_types()
        .map(|name| {
            let mut resource = json!({
                "type": name,
                "profile": format!("http://hl7.org/fhir/StructureDefinition/{name}"),
                "interaction": of_types,
                "versioning": "versioned",
                "readHistory": is_there("vread"),
                "updateCreate": is_there("update"),
                "conditionalCreate": false,
                "conditionalRead": "full-support",
                "conditionalUpdate": is_there("conditional-update"),
                "conditionalDelete": "not-supported",
                "referencePolicy": ["literal", "logical", "local"],
            });
            let of_type = OPERATIONS.iter().filter(|operation| operation.kind.as_str() == name);
            let of_type = of_type.map(|operation| (operation.name, operation.definition));
            let operations: Vec<Value> = [(validate::NAME, validate::DEFINITION)]
                .into_iter()
                .chain(of_type)
                .filter(|_| is_there("operation"))
                .map(|(name, definition)| {
                    let name = name.trim_start_matches('$');
                    json!({ "name": name, "definition": definition })
                })
                .collect();
            if !operations.is_empty() {
                resource["operation"] = operations.into();
            }
            if !schema.identifier_paths(name).is_empty() {
                resource["conditionalCreate"] = true.into();
                resource["documentation"] = "Conditional create (If-None-Exist, ifNoneExist) and, \
                    in transactions, conditional references take one identifier with its system: \
                    identifier=system|value."
                    .into();
            }
            resource
        })
        .collect();
    json!({
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": started.to_string(),
        "kind": "instance",
        "software": { "name": "Hearthgate", "version": env!("CARGO_PKG_VERSION") },
        "implementation": { "description": "Hearthgate FHIR server", "url": base.as_str() },
        "fhirVersion": schema.fhir_version(),
        "format": ["json", "xml", "application/fhir+json", "application/fhir+xml"],
        "rest": [{
            "mode": "server",
            "documentation": "Order of execution in batch and transaction: DELETE, POST, PUT, \
                GET. A conditional reference matches what was there before the transaction \
                and what the transaction writes, less what it deletes.",
            "security": {
                "cors": false,
                "description": "Requests bear a key: Authorization: Bearer KEY",
            },
            "resource": resources,
            "interaction": of_system,
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::statement;
    use crate::table::{Place, TABLE};
    use fhir_core::Instant;
    use fhir_schema::Schema;
    use fhir_terminology::operations::OPERATIONS;

    #[test]
    fn the_statement_names_what_is_there_and_nothing_else() {
        // HTTP-208, HTTP-210, HTTP-211
        let base = "http://h/fhir".parse().unwrap();
        let statement = statement(&base, Instant::from_micros(0), Schema::r4());
        assert_eq!(statement["fhirVersion"], "4.0.1");
        let rest = &statement["rest"][0];
        let codes = |list: &serde_json::Value| -> Vec<String> {
            let list = list.as_array().unwrap();
            list.iter().map(|item| item["code"].as_str().unwrap().to_owned()).collect()
        };
        let types = rest["resource"].as_array().unwrap();
        assert_eq!(types.len(), Schema::r4().resource_types().count());
        for row in &TABLE {
            match row.place {
                Place::Type(code) => assert!(types.iter().all(|of| {
                    codes(&of["interaction"]).contains(&code.to_owned()) == row.there
                })),
                Place::System(system) => {
                    for code in system {
                        let named = codes(&rest["interaction"]).contains(&(*code).to_owned());
                        assert_eq!(named, row.there, "{code}");
                    }
                }
                Place::Operations => {
                    let named = types.iter().filter_map(|of| of["operation"].as_array()).flatten();
                    // Those of terminology each of its type, and `$validate` of every type.
                    let all = OPERATIONS.len() + types.len();
                    assert_eq!(named.count(), if row.there { all } else { 0 });
                }
                Place::Unnamed => {}
            }
        }
        for absent in ["\"search-", "searchParam", "searchInclude"] {
            assert!(!statement.to_string().contains(absent), "{absent} is not there");
        }
    }
}
