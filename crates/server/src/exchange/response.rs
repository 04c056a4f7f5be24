//! Answers and errors as HTTP responses: status, headers and body.
//!
//! Which status an error has, `error_answer` says; in which format a body is, `negotiation`.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use fhir_schema::Schema;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, LAST_MODIFIED, LOCATION,
    REFERRER_POLICY, RETRY_AFTER, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::request_id;
use crate::call::Answer;
use crate::error::ServerError;
use crate::error_answer::ErrorAnswer;
use crate::negotiation::{Format, Return};
use crate::{Server, audit, representation};

/// Sets a header; a value that no header can have is said in the log instead.
pub(super) fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    match HeaderValue::from_str(value) {
        Ok(value) => {
            headers.insert(name, value);
        }
        Err(error) => tracing::error!(%error, %name, "a header could not be written"),
    }
}

/// The response to what was done.
pub(super) fn write(server: &Server, answer: Answer, format: Format) -> Response {
    let mut response = with_body(answer.status, answer.body, format);
    let headers = response.headers_mut();
    if let Some((version, instant)) = answer.version {
        set(headers, ETAG, &format!("W/\"{version}\""));
        set(headers, LAST_MODIFIED, &http_date(instant));
    }
    if let Some(location) = answer.location {
        set(headers, LOCATION, &format!("{}/{location}", server.base.as_str()));
    }
    response
}

/// Says which preference was followed (RFC 7240, 3).
pub(super) fn applied(headers: &mut HeaderMap, preference: Return) {
    let text = match preference {
        Return::Default => return,
        Return::Minimal => "return=minimal",
        Return::Representation => "return=representation",
        Return::OperationOutcome => "return=OperationOutcome",
    };
    let name = HeaderName::from_static("preference-applied");
    headers.insert(name, HeaderValue::from_static(text));
}

fn http_date(instant: fhir_core::Instant) -> String {
    let seconds = u64::try_from(instant.as_seconds()).unwrap_or(0);
    httpdate::fmt_http_date(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds))
}

/// The response to an error; one of our own faults is logged.
pub(super) fn write_error(
    error: &ServerError,
    format: Format,
    head: &Parts,
    schema: &Schema,
) -> Response {
    let answer = ErrorAnswer::of(error);
    if answer.is_our_fault() {
        tracing::error!(
            error = error as &dyn std::error::Error,
            request_id = request_id(head),
            "a request failed by our fault"
        );
    }
    let body = representation::outcome(&answer.outcome, schema, format);
    let mut response = with_body(answer.status, Some(body), format);
    let headers = response.headers_mut();
    if let Some(seconds) = answer.retry_after {
        set(headers, RETRY_AFTER, &seconds.to_string());
    }
    if let Some(methods) = answer.allow {
        headers.insert(ALLOW, HeaderValue::from_static(methods));
    }
    if let Some(version) = answer.deleted {
        set(headers, ETAG, &format!("W/\"{version}\""));
    }
    response
}

/// The response to a browser: a page that loads nothing and runs nothing.
pub(super) fn page(page: Bytes) -> Response {
    let mut response = with_body(StatusCode::OK, Some(page), Format::default());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CONTENT_SECURITY_POLICY, audit::page_policy());
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// More headers than any answer has, those that its connection adds included.
const HEADERS: usize = 12;

fn with_body(status: StatusCode, body: Option<Bytes>, format: Format) -> Response {
    let written = body.is_some();
    let mut response = Response::new(body.map_or_else(Body::empty, Body::from));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    // Room for all that an answer has, found once.
    headers.reserve(HEADERS);
    if written {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(format.media_type));
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers
        .insert(VARY, HeaderValue::from_static("Accept, Accept-Language, Prefer, Authorization"));
    response
}
