//! The gateway's own OperationOutcome, for crates that do not know FHIR.

use serde::Serialize;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OperationOutcome<'a> {
    resource_type: &'static str,
    issue: [Issue<'a>; 1],
}

#[derive(Serialize)]
struct Issue<'a> {
    severity: &'static str,
    code: &'a str,
    details: Details<'a>,
    diagnostics: String,
}

#[derive(Serialize)]
struct Details<'a> {
    text: &'a str,
}

/// The body of a refusal, as `application/fhir+json`. `code` is from FHIR's value set
/// `issue-type`; `text` is for the client's eyes. A fault of our own (5xx) is `fatal`.
#[must_use]
pub fn refusal(status: u16, code: &str, text: &str, request_id: &str) -> Vec<u8> {
    let outcome = OperationOutcome {
        resource_type: "OperationOutcome",
        issue: [Issue {
            severity: if status >= 500 { "fatal" } else { "error" },
            code,
            details: Details { text },
            diagnostics: format!("request {request_id}"),
        }],
    };
    serde_json::to_vec(&outcome).expect("text members always serialize")
}
