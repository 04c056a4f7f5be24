//! The gateway's own OperationOutcome, for crates that do not know FHIR.

/// The body of a refusal, as `application/fhir+json`. `code` is from FHIR's value set
/// `issue-type`; `text` is for the client's eyes. A fault of our own (5xx) is `fatal`.
#[must_use]
pub fn refusal(status: u16, code: &str, text: &str, request_id: &str) -> Vec<u8> {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let severity = if status >= 500 { "fatal" } else { "error" };
    let (code, text) = (quoted(code), quoted(text));
    let request = quoted(&format!("request {request_id}"));
    format!(
        r#"{{"resourceType":"OperationOutcome","issue":[{{"severity":"{severity}","code":{code},"details":{{"text":{text}}},"diagnostics":{request}}}]}}"#
    )
    .into_bytes()
}
