//! capabilities (FHIR R4, 3.1.0.10): the CapabilityStatement, derived from the one table of
//! interactions, so that it says what is there and nothing else.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use database::BeingIndexed;
use fhir_core::{Instant, ResourceType};
use fhir_schema::Schema;
use fhir_terminology::Terminology;
use fhir_terminology::operations::OPERATIONS;
use http::StatusCode;
use serde_json::{Value, json};

use super::search::Stated;
use super::terminology_capabilities::terminology_capabilities;
use super::{quarantine, validate};
use crate::audit;
use crate::call::{Answer, Call};
use crate::error::ServerError;
use crate::negotiation::parameters;
use crate::table::{Place, TABLE};
use crate::terminology::built_in;
use crate::validation::{Definitions, has_validator};
use crate::{Limits, PublicBase};

/// The statements for a tenant, each written when somebody first asks for it: the
/// CapabilityStatement anew when the tenant's packages change, and the TerminologyCapabilities.
pub(crate) struct Statement {
    written: Mutex<Option<Written>>,
    terminology: Arc<OnceLock<Bytes>>,
    base: PublicBase,
    deletes: Deletes,
    started: Instant,
    schema: &'static Schema,
    /// What FHIR itself defines.
    built_in: Terminology,
}

/// The CapabilityStatement with what the packages came to when it was written.
struct Written {
    definitions: Option<Arc<Definitions>>,
    being_indexed: Option<BeingIndexed>,
    json: Bytes,
}

/// What is said of deletions.
#[derive(Debug, Clone)]
struct Deletes {
    /// How many resources one conditional delete deletes at most.
    most: usize,
    /// Types of which no resource is deleted.
    never: BTreeSet<ResourceType>,
}

impl Statement {
    /// Those of a tenant whose resources are of this schema's FHIR version.
    pub(crate) fn new(
        (base, limits, not_deletable): (&PublicBase, &Limits, &BTreeSet<ResourceType>),
        started: Instant,
        schema: &'static Schema,
    ) -> Self {
        let deletes = Deletes { most: limits.conditional_deletes, never: not_deletable.clone() };
        let built_in = built_in(schema.fhir_version());
        let (written, terminology) = (Mutex::default(), Arc::default());
        let base = base.clone();
        Self { written, terminology, base, deletes, started, schema, built_in }
    }

    /// The CapabilityStatement of a tenant with these definitions.
    async fn with(
        &self,
        definitions: Option<Arc<Definitions>>,
        being_indexed: Option<BeingIndexed>,
    ) -> Result<Bytes, ServerError> {
        if let Some(json) = self.kept(definitions.as_ref(), being_indexed.as_ref()) {
            return Ok(json);
        }
        let (base, started, schema) = (self.base.clone(), self.started, self.schema);
        let deletes = self.deletes.clone();
        let of = (definitions.clone(), being_indexed.clone());
        let write = move || {
            let of = (of.0.as_deref(), of.1.as_ref());
            Bytes::from(statement((&base, &deletes), started, schema, of).to_string())
        };
        let json =
            tokio::task::spawn_blocking(write).await.map_err(|_| ServerError::Interrupted)?;
        let written = Written { definitions, being_indexed, json: json.clone() };
        *self.written.lock().unwrap_or_else(PoisonError::into_inner) = Some(written);
        Ok(json)
    }

    /// What was written with the same definitions, when as much was indexed.
    fn kept(
        &self,
        definitions: Option<&Arc<Definitions>>,
        being_indexed: Option<&BeingIndexed>,
    ) -> Option<Bytes> {
        let kept = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let written = kept.as_ref()?;
        let is_same = match (&written.definitions, definitions) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        };
        let is_same = is_same && written.being_indexed.as_ref() == being_indexed;
        is_same.then(|| written.json.clone())
    }

    async fn of_terminology(&self) -> Result<Bytes, ServerError> {
        if let Some(json) = self.terminology.get() {
            return Ok(json.clone());
        }
        let (kept, base, started) =
            (Arc::clone(&self.terminology), self.base.clone(), self.started);
        let built_in = self.built_in.clone();
        let write = move || {
            kept.get_or_init(|| terminology_capabilities(&base, started, &built_in)).clone()
        };
        tokio::task::spawn_blocking(write).await.map_err(|_| ServerError::Interrupted)
    }
}

pub(crate) async fn capabilities(call: &Call<'_>) -> Result<Answer, ServerError> {
    let mode = parameters(call.query).find(|(name, _)| name == "mode");
    let statement = &call.server.capabilities[&call.grant.tenant];
    match mode.as_ref().map(|(_, value)| value.as_str()) {
        None | Some("full" | "normative") => {}
        Some("terminology") => {
            return Ok(Answer::of(statement.of_terminology().await?));
        }
        Some(_) => {
            return Err(ServerError::InvalidParameter {
                name: "mode",
                mend: "use full, normative or terminology, or leave it out",
            });
        }
    }
    let definitions = call.server.validations[&call.grant.tenant].current();
    let being_indexed =
        definitions.as_ref().and_then(|it| call.database.being_indexed(&it.extractor));
    let json = statement.with(definitions, being_indexed).await?;
    Ok(Answer { status: StatusCode::OK, ..Answer::of(json) })
}

/// What defines `$access-log`.
const ACCESS_LOG_DEFINITION: &str = "urn:hearthgate:operation:access-log";

/// `software` of both statements.
pub(crate) fn software() -> Value {
    json!({ "name": "Hearthgate", "version": env!("CARGO_PKG_VERSION") })
}

fn statement(
    (base, deletes): (&PublicBase, &Deletes),
    started: Instant,
    schema: &Schema,
    (definitions, being_indexed): (Option<&Definitions>, Option<&BeingIndexed>),
) -> Value {
    // Without definitions there are no search parameters.
    let can_search = definitions.is_some();
    let conditional_delete = if deletes.most > 1 { "multiple" } else { "single" };
    let there =
        || TABLE.iter().filter(|row| row.there && (can_search || !row.code.starts_with("search-")));
    let types: Vec<&str> = schema.resource_types().collect();
    let search =
        definitions.map(|it| Stated::new(it.extractor.parameters(), &types, being_indexed));
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
    let resources: Vec<Value> = types
        .iter()
        .map(|&name| {
            let mut resource = json!({
                "type": name,
                "profile": format!("http://hl7.org/fhir/StructureDefinition/{name}"),
                "interaction": of_types,
                "versioning": "versioned",
                "readHistory": is_there("vread"),
                "updateCreate": is_there("update"),
                "conditionalCreate": false,
                "conditionalRead": "full-support",
                "conditionalUpdate": false,
                "conditionalDelete": "not-supported",
                "referencePolicy": ["literal", "logical", "local"],
            });
            let of_type = OPERATIONS.iter().filter(|operation| operation.kind.as_str() == name);
            let of_type = of_type.map(|operation| (operation.name, operation.definition));
            let validate = (validate::NAME, validate::DEFINITION);
            let operations: Vec<Value> = Some(validate)
                .filter(|_| has_validator(schema.fhir_version()))
                .into_iter()
                .chain(of_type)
                .chain((name == "Patient").then_some((audit::ACCESS_LOG, ACCESS_LOG_DEFINITION)))
                .filter(|_| is_there("operation"))
                .map(|(name, definition)| {
                    let name = name.trim_start_matches('$');
                    json!({ "name": name, "definition": definition })
                })
                .collect();
            if !operations.is_empty() {
                resource["operation"] = operations.into();
            }
            // Without search parameters one identifier is all that can be asked for.
            let takes_criteria = can_search || !schema.identifier_paths(name).is_empty();
            if takes_criteria {
                resource["conditionalCreate"] = is_there("create").into();
                resource["conditionalUpdate"] = is_there("conditional-update").into();
                if is_there("conditional-delete") {
                    resource["conditionalDelete"] = conditional_delete.into();
                }
            }
            if takes_criteria && !can_search {
                resource["documentation"] = "Conditional interactions and, in transactions, \
                    conditional references take one identifier with its system: \
                    identifier=system|value."
                    .into();
            }
            if let Some(search) = &search {
                search.add_to(&mut resource, name);
            }
            if deletes.never.iter().any(|of| of.as_str() == name) {
                never_deleted(&mut resource);
            }
            if name == audit::AUDIT_EVENT {
                as_recorded(&mut resource);
            }
            resource
        })
        .collect();
    let of_quarantine = quarantine::OPERATIONS.iter();
    let of_quarantine: Vec<Value> = of_quarantine
        .filter(|_| has_validator(schema.fhir_version()) && is_there("operation"))
        .map(|(_, name)| {
            let name = name.trim_start_matches('$');
            let definition = format!("{}{name}", quarantine::DEFINITIONS);
            json!({ "name": name, "definition": definition })
        })
        .collect();
    let mut statement = json!({
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": started.to_string(),
        "kind": "instance",
        "software": software(),
        "implementation": { "description": "Hearthgate FHIR server", "url": base.as_str() },
        "fhirVersion": schema.fhir_version(),
        "patchFormat": ["application/json-patch+json", "application/fhir+json", "application/fhir+xml"],
        "format": ["json", "xml", "application/fhir+json", "application/fhir+xml"],
        "rest": [{
            "mode": "server",
            "documentation": "Order of execution in batch and transaction: DELETE, POST, PUT \
                and PATCH, GET. A conditional reference matches what was there before the transaction \
                and what the transaction writes, less what it deletes.",
            "security": {
                "cors": false,
                "description": "Requests bear a key: Authorization: Bearer KEY",
            },
            "resource": resources,
            "interaction": of_system,
        }],
    });
    if let Some(search) = &search {
        statement["rest"][0]["searchParam"] = search.of_all().into();
    }
    let guides = definitions.map(|it| it.guides.clone()).unwrap_or_default();
    if !guides.is_empty() {
        statement["implementationGuide"] = guides.into();
    }
    if !of_quarantine.is_empty() {
        statement["rest"][0]["operation"] = of_quarantine.into();
    }
    statement
}

/// Says of a type that no client deletes what is of it.
fn never_deleted(resource: &mut Value) {
    if let Some(interactions) = resource["interaction"].as_array_mut() {
        interactions.retain(|it| it["code"] != "delete");
    }
    resource["conditionalDelete"] = "not-supported".into();
}

/// Says of AuditEvent what is there of it: events are read, and written by the server alone.
fn as_recorded(resource: &mut Value) {
    if let Some(interactions) = resource["interaction"].as_array_mut() {
        interactions.retain(|it| it["code"] == "read" || it["code"] == "search-type");
    }
    resource["versioning"] = "no-version".into();
    resource["readHistory"] = false.into();
    resource["conditionalRead"] = "not-supported".into();
    resource["updateCreate"] = false.into();
    resource["conditionalCreate"] = false.into();
    resource["conditionalUpdate"] = false.into();
    resource["conditionalDelete"] = "not-supported".into();
    resource["documentation"] = "What this server recorded of who saw and changed what, for who \
        has the power audit."
        .into();
    if let Some(parameters) = resource.get_mut("searchParam").and_then(Value::as_array_mut) {
        parameters
            .retain(|it| it["name"].as_str().is_some_and(|name| audit::PARAMETERS.contains(&name)));
    }
    for links in ["searchInclude", "searchRevInclude"] {
        if let Some(resource) = resource.as_object_mut() {
            resource.remove(links);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Deletes, quarantine, statement};
    use crate::table::{Place, TABLE};
    use crate::validation::{Validation, WritePolicy};
    use fhir_core::Instant;
    use fhir_schema::Schema;
    use fhir_terminology::operations::OPERATIONS;

    fn deletes() -> Deletes {
        Deletes { most: 1, never: BTreeSet::new() }
    }

    #[test]
    fn the_statement_names_what_is_there_and_nothing_else() {
        // HTTP-208, HTTP-210, HTTP-211
        let base = "http://h/fhir".parse().unwrap();
        let validation = Validation::new(WritePolicy::parse_only(), "4.0.1");
        let definitions = validation.current();
        let started = Instant::from_micros(0);
        let of = (definitions.as_deref(), None);
        let statement = statement((&base, &deletes()), started, Schema::r4(), of);
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
                    // AuditEvents are found and read, and the server alone writes them.
                    let is_recorded = of["type"] == crate::audit::AUDIT_EVENT;
                    let there =
                        row.there && (!is_recorded || ["read", "search-type"].contains(&code));
                    codes(&of["interaction"]).contains(&code.to_owned()) == there
                })),
                Place::System(system) => {
                    for code in system {
                        let named = codes(&rest["interaction"]).contains(&(*code).to_owned());
                        assert_eq!(named, row.there, "{code}");
                    }
                }
                Place::Operations => {
                    let named = types.iter().filter_map(|of| of["operation"].as_array()).flatten();
                    // Those of terminology each of its type, `$validate` of every type, and
                    // `$access-log` of Patient.
                    let all = OPERATIONS.len() + types.len() + 1;
                    assert_eq!(named.count(), if row.there { all } else { 0 });
                    let of_system = rest["operation"].as_array().map_or(0, Vec::len);
                    assert_eq!(of_system, if row.there { quarantine::OPERATIONS.len() } else { 0 });
                }
                Place::Unnamed => {}
            }
        }
    }

    #[test]
    fn without_search_parameters_nothing_is_said_of_search() {
        // HTTP-210
        let base = "http://h/fhir".parse().unwrap();
        let statement =
            statement((&base, &deletes()), Instant::from_micros(0), Schema::r4(), (None, None));
        for absent in ["\"search-", "searchParam", "Include"] {
            assert!(!statement.to_string().contains(absent), "{absent} is not there");
        }
    }
}
