//! Cross-origin requests of web pages (Fetch standard, section 3.2): off unless origins are named.
//!
//! Credentials in a browser's sense (cookies) are never allowed; a page sends its key itself.

use std::borrow::Cow;

use http::{HeaderMap, HeaderValue, Method, header};
use pingora::http::ResponseHeader;

use crate::config::Cors;

const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE";
const ALLOWED_HEADERS: &str = "accept, authorization, content-type, idempotency-key, if-match, \
                               if-modified-since, if-none-exist, if-none-match, prefer, \
                               x-request-id";
const EXPOSED_HEADERS: &str = "etag, location, content-location, last-modified, x-request-id, \
                               ratelimit, ratelimit-policy, retry-after";

/// The request's origin, when it is one of those named.
pub(crate) fn allowed_origin(cors: Option<&Cors>, headers: &HeaderMap) -> Option<HeaderValue> {
    let origin = headers.get(header::ORIGIN)?;
    cors?
        .origins
        .iter()
        .any(|allowed| allowed.as_bytes() == origin.as_bytes())
        .then(|| origin.clone())
}

/// Whether a browser asks for leave rather than for a resource.
pub(crate) fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The method that a request is about: of a preflight, the one that it asks leave for.
pub(crate) fn asked_method<'a>(method: &'a Method, headers: &HeaderMap) -> Cow<'a, Method> {
    let asked = is_preflight(method, headers)
        .then(|| headers.get(header::ACCESS_CONTROL_REQUEST_METHOD))
        .flatten()
        .and_then(|asked| Method::from_bytes(asked.as_bytes()).ok());
    asked.map_or(Cow::Borrowed(method), Cow::Owned)
}

/// Adds to an answer that a page of `origin` may read it.
pub(crate) fn allow(head: &mut ResponseHeader, origin: &HeaderValue) -> pingora::Result<()> {
    head.insert_header(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin)?;
    head.insert_header(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS)?;
    head.append_header(header::VARY, "origin")?;
    Ok(())
}

/// The answer to a preflight.
pub(crate) fn preflight_answer() -> pingora::Result<Box<ResponseHeader>> {
    let mut head = ResponseHeader::build_no_case(204, Some(8))?;
    head.insert_header(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS)?;
    head.insert_header(header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS)?;
    head.insert_header(header::ACCESS_CONTROL_MAX_AGE, "600")?;
    Ok(Box::new(head))
}
