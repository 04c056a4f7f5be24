//! TerminologyCapabilities (FHIR R4, 2.36): what the terminology service knows and does, at
//! `metadata?mode=terminology`.
//!
//! Like the CapabilityStatement it is for everyone: it tells of what is built in, never of a
//! tenant's own definitions.

use bytes::Bytes;
use fhir_core::Instant;
use fhir_terminology::Terminology;
use fhir_terminology::operations::EXPANSION_PARAMETERS;
use serde_json::{Value, json};

use super::capabilities::software;
use crate::PublicBase;

/// The resource. Lays out every code system that is built in.
pub(crate) fn terminology_capabilities(
    base: &PublicBase,
    started: Instant,
    built_in: &Terminology,
) -> Bytes {
    Bytes::from(statement(base, started, built_in).to_string())
}

fn statement(base: &PublicBase, started: Instant, terminology: &Terminology) -> Value {
    let systems: Vec<Value> = terminology
        .code_systems()
        .into_iter()
        .map(|system| {
            let mut stated = json!({ "uri": system.url });
            let versions = system.versions.iter().map(|version| {
                json!({
                    "code": version,
                    "isDefault": system.default.as_deref() == Some(version.as_str()),
                })
            });
            let versions: Vec<Value> = versions.collect();
            if !versions.is_empty() {
                stated["version"] = versions.into();
            }
            stated
        })
        .collect();
    let parameters: Vec<Value> =
        EXPANSION_PARAMETERS.iter().map(|name| json!({ "name": name })).collect();
    json!({
        "resourceType": "TerminologyCapabilities",
        "status": "active",
        "date": started.to_string(),
        "kind": "instance",
        "software": software(),
        "implementation": { "description": "Hearthgate FHIR server", "url": base.as_str() },
        "lockedDate": true,
        "codeSystem": systems,
        "expansion": {
            "hierarchical": true,
            "paging": true,
            "incomplete": false,
            "parameter": parameters,
            "textFilter": "Beginnings of words in any order, without case and accents, in \
                displays, designations and codes.",
        },
        "validateCode": { "translations": true },
        "translation": { "needsMap": false },
        "closure": { "translation": false },
    })
}
